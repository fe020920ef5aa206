"""Reductions over axes, and operators along one axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from op_harness import Case, Given, Refused

ALL_OPSETS = (17, 20)

CUBE: Given = ("float32", ("N", "T", "D"))
CUBES = [{"N": 2, "T": 3, "D": 4}, {"N": 1, "T": 1, "D": 5}]

AXES: list[tuple[Any, tuple[int, ...]]] = [
    (None, (0, 1, 2)),
    (0, (0,)),
    (-1, (2,)),
    ("T", (1,)),
    ((0, 2), (0, 2)),
    (("D", "N"), (0, 2)),
    ((-2, -1), (1, 2)),
    ((0, 1, 2), (0, 1, 2)),
]


def few(generator: Any, shape: tuple[int, ...]) -> Any:
    """Few different numbers, so that extremes are not unique."""
    return generator.integers(-2, 3, shape)


def product(x: torch.Tensor, dim: tuple[int, ...], keepdim: bool = False) -> torch.Tensor:
    for place in sorted(dim, reverse=True):
        x = x.prod(place, keepdim)
    return x


def extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    def oracle(x: torch.Tensor, dim: tuple[int, ...], keepdim: bool = False) -> torch.Tensor:
        for place in sorted(dim, reverse=True):
            x = function(x, place, keepdim).values
        return x

    return oracle


def settings(axis: Any, keepdim: bool, more: dict[str, Any]) -> dict[str, Any]:
    chosen = dict(more)
    if axis is not None:
        chosen["axis"] = axis
    if keepdim:
        chosen["keepdim"] = True
    return chosen


def reduction(
    op: str,
    function: Callable[..., Any],
    dtypes: tuple[str, ...] = (),
    more: dict[str, Any] | None = None,
) -> list[Case]:
    def case(
        given: Given, sizes: Any, axis: Any, places: tuple[int, ...], keepdim: bool, values: Any
    ) -> Case:
        return Case(
            op,
            [given],
            settings(axis, keepdim, more or {}),
            sizes=sizes,
            oracle=lambda x: function(x, places, keepdim),
            values=values,
            opsets=ALL_OPSETS,
            exact=False,
        )

    return [
        *(
            case(CUBE, CUBES, axis, places, keepdim, None)
            for axis, places in AXES
            for keepdim in (False, True)
        ),
        *(
            case(
                (dtype, ("N", "T")), CUBES, axis, places, False, None if dtype == "bool" else values
            )
            for dtype in dtypes
            for values in ("integers(0, 4)" if dtype == "uint8" else few,)
            for axis, places in ((1, (1,)), (None, (0, 1)))
        ),
    ]


def spread(
    op: str,
    function: Callable[..., Any],
    correction: int,
    axis: Any,
    places: tuple[int, ...],
    keepdim: bool,
) -> Case:
    return Case(
        op,
        [CUBE],
        settings(axis, keepdim, {} if correction == 1 else {"correction": 0}),
        sizes=[{"N": 2, "T": 3, "D": 4}, {"N": 5, "T": 2, "D": 2}],
        oracle=lambda x: function(x, places, correction=correction, keepdim=keepdim),
        opsets=(17, 18),
        exact=False,
    )


INTEGERS = ("int64", "int32", "int16", "int8", "uint8")

CASES: list[Case | Refused] = [
    *reduction("sum", torch.sum, (*INTEGERS, "bool")),
    *reduction("prod", product, (*INTEGERS, "bool")),
    *reduction("mean", torch.mean),
    *reduction("logsumexp", torch.logsumexp),
    *reduction("max", extreme(torch.max), (*INTEGERS, "bool")),
    *reduction("min", extreme(torch.min), (*INTEGERS, "bool")),
    *reduction("norm", lambda x, dim, keepdim: x.square().sum(dim, keepdim).sqrt()),
    *reduction("norm", lambda x, dim, keepdim: x.abs().sum(dim, keepdim), more={"p": 1}),
    *(
        spread(op, function, correction, axis, places, keepdim)
        for op, function in (("var", torch.var), ("std", torch.std))
        for correction in (1, 0)
        for axis, places in AXES
        for keepdim in (False, True)
    ),
    *(
        Case(
            op,
            [(dtype, ("N", "T", "D"))],
            settings(axis, keepdim, {}),
            sizes=CUBES,
            oracle=lambda x, function=function, place=place, keepdim=keepdim: function(
                x, place, keepdim
            ),
            values="integers(0, 3)" if dtype == "uint8" else few,
            opsets=(17, 23),
        )
        for op, function in (("argmax", torch.argmax), ("argmin", torch.argmin))
        for dtype, axis, place, keepdim in (
            *(
                ("float32", axis, place, keepdim)
                for axis, place in ((None, None), (0, 0), (-1, 2), ("T", 1))
                for keepdim in (False, True)
            ),
            *((dtype, 1, 1, False) for dtype in INTEGERS),
        )
    ),
    *(
        Case(
            "cumsum",
            [(dtype, ("N", "T", "D"))],
            {"axis": axis},
            sizes=CUBES,
            oracle=lambda x, place=place: x.cumsum(place),
            opsets=(17, 23),
            exact=False,
        )
        for dtype, axis, place in (
            ("float32", 0, 0),
            ("float32", -1, 2),
            ("float32", "T", 1),
            ("int64", 1, 1),
            ("int8", 1, 1),
            ("bool", 2, 2),
        )
    ),
    Refused("mean", [("int64", ("N",))], code="dtype-mismatch", match="must be floating point"),
    Refused("var", [("int64", ("N",))], code="dtype-mismatch", match="must be floating point"),
    Refused("sum", [CUBE], {"axis": 3}, code="unknown-axis", match="axis 3 does not exist"),
    Refused("sum", [CUBE], {"axis": (0, -3)}, match="named more than once"),
    Refused("max", [("float32", ("N", 0))], {"axis": 1}, match="must not be empty"),
    Refused("argmax", [("bool", ("N",))], code="dtype-mismatch", match="takes numbers"),
    Refused("cumsum", [CUBE], {"axis": "C"}, code="unknown-axis", match="names no axis"),
    Refused("norm", [CUBE], {"p": 3}, code="invalid-attribute", match="1 or 2"),
    Refused("var", [CUBE], {"correction": 2}, code="invalid-attribute", match="0 or 1"),
]
