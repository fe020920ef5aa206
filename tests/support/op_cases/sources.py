"""Constants, filled tensors and ranges."""

from __future__ import annotations

from typing import Any

import torch
from op_harness import Case, Given, Refused

CONTEXT: list[Given] = [("float32", ("N", "T"))]
SIZES = [{"N": 2, "T": 5}, {"N": 1, "T": 1}, {"N": 4, "T": 12}]

SHAPES: list[tuple[Any, ...]] = [(3, 2), ("N", 4), ("N", "T"), ("2*N", "T + 1"), (), (1, "T", 1)]
DTYPES = ("float64", "int64", "int32", "uint8", "bool", "int8", "int16")


def sized(shape: tuple[Any, ...], x: torch.Tensor) -> tuple[int, ...]:
    rows, columns = x.shape
    known = {"N": rows, "T": columns, "2*N": 2 * rows, "T + 1": columns + 1}
    return tuple(known[size] if isinstance(size, str) else size for size in shape)


def torch_type(name: str) -> torch.dtype:
    return getattr(torch, name)


def constant(value: Any, dtype: str) -> Case:
    return Case(
        "constant",
        attributes={"value": value, "dtype": dtype},
        context=CONTEXT,
        sizes=SIZES,
        oracle=lambda x: torch.tensor(
            {"T": x.shape[1], "N//2 + T": x.shape[0] // 2 + x.shape[1]}.get(value, value),
            dtype=torch_type(dtype),
        ),
    )


def arange(
    start: Any, end: Any, bounds: tuple[Any, Any], step: int = 1, dtype: str = "int64"
) -> Case:
    def oracle(x: torch.Tensor) -> torch.Tensor:
        first, last = (bound(x) if callable(bound) else bound for bound in bounds)
        return torch.arange(first, last, step, dtype=torch_type(dtype))

    attributes: dict[str, Any] = {"end": end}
    if start != 0:
        attributes["start"] = start
    if step != 1:
        attributes["step"] = step
    if dtype != "int64":
        attributes["dtype"] = dtype
    return Case("arange", attributes=attributes, context=CONTEXT, sizes=SIZES, oracle=oracle)


def rows(x: torch.Tensor) -> int:
    return x.shape[0]


def columns(x: torch.Tensor) -> int:
    return x.shape[1]


CASES: list[Case | Refused] = [
    *(
        constant(value, dtype)
        for value, dtype in (
            (0.5, "float32"),
            (-3, "int64"),
            (2, "float32"),
            (True, "bool"),
            (-128, "int8"),
            (255, "uint8"),
            (float("-inf"), "float32"),
            ("T", "int64"),
            ("T", "float32"),
            ("N//2 + T", "int32"),
        )
    ),
    *(
        Case(
            op,
            attributes={"shape": shape} | ({} if dtype == "float32" else {"dtype": dtype}),
            context=CONTEXT,
            sizes=SIZES,
            oracle=lambda x, function=function, shape=shape, dtype=dtype: function(
                sized(shape, x), dtype=torch_type(dtype)
            ),
        )
        for op, function in (("zeros", torch.zeros), ("ones", torch.ones))
        for shape, dtype in (
            *((shape, "float32") for shape in SHAPES),
            *(((3, "T"), dtype) for dtype in DTYPES),
        )
    ),
    *(
        Case(
            "full",
            attributes={"shape": shape, "value": value, "dtype": dtype},
            context=CONTEXT,
            sizes=SIZES,
            oracle=lambda x, shape=shape, value=value, dtype=dtype: torch.full(
                sized(shape, x), x.shape[1] if value == "T" else value, dtype=torch_type(dtype)
            ),
        )
        for shape in SHAPES
        for value, dtype in ((-1.5, "float32"), (7, "int64"), ("T", "float32"), (True, "bool"))
    ),
    arange(0, 7, (0, 7)),
    arange(0, "T", (0, columns)),
    arange("N", "N + T", (rows, lambda x: sum(x.shape))),
    arange(-3, "T", (-3, columns), step=2),
    arange("T", "-N", (columns, lambda x: -x.shape[0]), step=-3),
    arange(5, 0, (5, 0), step=-2),
    arange(3, 3, (3, 3)),
    *(arange(0, "T", (0, columns), dtype=dtype) for dtype in ("float32", "int32", "int8")),
    arange(0, 100_000, (0, 100_000)),
    Refused(
        "constant",
        attributes={"value": 0.5, "dtype": "int64"},
        code="dtype-mismatch",
        match=r"0\.5 is not of type int64",
    ),
    Refused(
        "constant",
        attributes={"value": 1, "dtype": "bool"},
        code="dtype-mismatch",
        match="1 is not of type bool",
    ),
    Refused(
        "full",
        attributes={"shape": (2,), "value": 256, "dtype": "uint8"},
        match="256 does not fit in uint8",
    ),
    Refused(
        "constant", attributes={"value": -129, "dtype": "int8"}, match="-129 does not fit in int8"
    ),
    Refused("zeros", attributes={"shape": (2, -1)}, match="cannot be negative, but is -1"),
    Refused("arange", attributes={"end": 3, "step": 0}, match="must not be 0"),
    Refused("arange", attributes={"end": -3}, match="cannot get from 0 to -3"),
    Refused("arange", attributes={"end": 3, "dtype": "bool"}, match="not in bool"),
]
