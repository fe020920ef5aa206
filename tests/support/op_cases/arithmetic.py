"""Arithmetic, functions of one value, comparisons, logic, choice and casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from op_harness import Case, Given, Refused

NUMBERS = ("float32", "int64", "int32", "int16", "int8", "uint8")
INTEGERS = NUMBERS[1:]
ALL_OPSETS = (17, 23)

SIZES = [{"N": 1, "C": 1}, {"N": 3, "C": 5}]


def signed(generator: Any, shape: tuple[int, ...]) -> Any:
    """Integers of both signs with a zero in front."""
    array = generator.integers(-9, 10, shape)
    array.reshape(-1)[:1] = 0
    return array


def nonzero(generator: Any, shape: tuple[int, ...]) -> Any:
    """Divisors of both signs."""
    return generator.integers(1, 5, shape) * generator.choice([-1, 1], shape)


def halves(generator: Any, shape: tuple[int, ...]) -> Any:
    """Numbers that lie exactly between two integers, and others."""
    return generator.integers(-9, 10, shape) / 4


def awkward(generator: Any, shape: tuple[int, ...]) -> Any:
    """NaN and both infinities among ordinary numbers."""
    array = generator.standard_normal(shape)
    flat = array.reshape(-1)
    flat[: min(3, flat.size)] = np.array([np.nan, np.inf, -np.inf])[: flat.size]
    return array


def pair(
    op: str,
    function: Callable[..., Any],
    first: Given,
    second: Given,
    *values: Any,
    sizes: list[dict[str, int]] = SIZES,
    opsets: tuple[int, ...] = (17,),
    facts: tuple[str, ...] = (),
) -> Case:
    return Case(
        op,
        [first, second],
        sizes=sizes,
        oracle=function,
        values=list(values) if values else None,
        opsets=opsets,
        facts=facts,
        exact=False,
    )


def single(
    op: str,
    function: Callable[..., Any],
    dtype: str = "float32",
    values: Any = None,
    attributes: dict[str, Any] | None = None,
    opsets: tuple[int, ...] = (17,),
) -> list[Case]:
    return [
        Case(
            op,
            [(dtype, dims)],
            attributes or {},
            sizes=SIZES,
            oracle=function,
            values=values,
            opsets=opsets,
            exact=False,
        )
        for dims in ((), ("N",), ("N", "C", 2))
    ]


def square(dtype: str) -> Given:
    return (dtype, ("N", "C"))


BROADCASTS: list[tuple[Given, Given]] = [
    (("float32", ("N", "C")), ("float32", ("N", "C"))),
    (("float32", ("N", "C")), ("float32", ("C",))),
    (("float32", ("C",)), ("float32", ("N", "C"))),
    (("float32", ("N", 1, "C")), ("float32", (4, 1))),
    (("float32", ("N", "C")), ("float32", ())),
    (("float32", ()), ("float32", ("N", "C"))),
    (("float32", ()), ("float32", ())),
    (("float32", ("2*N", "C")), ("float32", ("N + N", 1))),
    (("float32", ("N", 1)), ("float32", (1, "C"))),
]

MIXED = [
    ("float32", "int64"),
    ("int64", "float32"),
    ("uint8", "int8"),
    ("int32", "int64"),
    ("bool", "int16"),
    ("float32", "bool"),
]

REAL = {
    "exp": (torch.exp, "normal", "integers(-3, 4)"),
    "log": (torch.log, "positive", "integers(1, 9)"),
    "log2": (torch.log2, "positive", "integers(1, 9)"),
    "sqrt": (torch.sqrt, "positive", "integers(0, 9)"),
    "rsqrt": (torch.rsqrt, "positive", "integers(1, 9)"),
    "reciprocal": (torch.reciprocal, "positive", "integers(1, 9)"),
    "sin": (torch.sin, "uniform(-9, 9)", "integers(-9, 9)"),
    "cos": (torch.cos, "uniform(-9, 9)", "integers(-9, 9)"),
    "erf": (torch.erf, "normal", "integers(-3, 4)"),
}

ORDERS = {
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
}


def quotients(op: str, function: Callable[..., Any]) -> list[Case]:
    """Integer division with every combination of signs, and floats that are close to a step."""
    return [
        *(
            pair(op, function, square(dtype), ("" + dtype, ("C",)), signed, nonzero)
            for dtype in ("int64", "int32", "int16", "int8")
        ),
        pair(op, function, square("uint8"), square("uint8"), "integers(0, 256)", "integers(1, 9)"),
        pair(op, function, square("int64"), square("int32"), signed, nonzero),
        pair(op, function, square("float32"), ("float32", ("C",)), "normal", "normal"),
        pair(op, function, square("float32"), ("float32", ("C",)), halves, nonzero),
        pair(op, function, square("float32"), ("int64", ("C",)), halves, nonzero),
        pair(
            op,
            function,
            square("float32"),
            ("float32", ("N", 1)),
            lambda generator, shape: generator.integers(-20, 20, shape),
            lambda generator, shape: generator.choice([0.1, -0.1, 0.3, 1.0], shape),
        ),
        pair(
            op,
            function,
            ("int64", ("N",)),
            ("int64", ("N",)),
            lambda generator, shape: generator.choice([-(2**63), 2**63 - 1, -5], shape),
            lambda generator, shape: generator.choice([3, -3, 7, 2**62], shape),
        ),
    ]


CASES: list[Case | Refused] = [
    *(pair("add", torch.add, *types, opsets=ALL_OPSETS) for types in BROADCASTS),
    *(pair("mul", torch.mul, *types) for types in BROADCASTS),
    *(pair("sub", torch.sub, *types) for types in BROADCASTS),
    *(pair("div", torch.div, *types, "normal", "positive") for types in BROADCASTS),
    *(pair("maximum", torch.maximum, *types) for types in BROADCASTS),
    *(pair("minimum", torch.minimum, *types) for types in BROADCASTS),
    *(pair("pow", torch.pow, *types, "positive", "normal") for types in BROADCASTS),
    *(
        pair(op, function, square(dtype), ("" + dtype, ("C",)), values, values)
        for op, function in (
            ("add", torch.add),
            ("mul", torch.mul),
            ("sub", torch.sub),
            ("maximum", torch.maximum),
            ("minimum", torch.minimum),
        )
        for dtype in INTEGERS
        for values in ("integers(0, 100)" if dtype == "uint8" else "integers(-100, 100)",)
    ),
    *(
        pair(op, function, square(first), square(second))
        for op, function in (
            ("add", torch.add),
            ("mul", torch.mul),
            ("maximum", torch.maximum),
            ("minimum", torch.minimum),
            ("eq", torch.eq),
            ("lt", torch.lt),
        )
        for first, second in (*MIXED, ("bool", "bool"))
    ),
    *(
        pair("sub", torch.sub, square(first), square(second))
        for first, second in (("float32", "int64"), ("uint8", "int8"), ("int32", "int64"))
    ),
    # A value without axes counts only where it is of a higher kind.
    pair("add", torch.add, square("int32"), ("int64", ())),
    pair("mul", torch.mul, ("float32", ()), square("int64")),
    pair("sub", torch.sub, ("int64", ()), square("uint8")),
    pair("ge", torch.ge, square("int16"), ("float32", ())),
    pair(
        "add",
        torch.add,
        ("float32", ("N", "K")),
        ("float32", ("N", "M")),
        sizes=[{"N": 2, "K": 3, "M": 3}],
        facts=("K == M",),
    ),
    *(
        Case(
            op,
            [("float32", ("N", "C")), ("float32", ("C",)), ("int64", ("N", 1)), ("float32", ())],
            sizes=SIZES,
            oracle=lambda *xs, function=function: reduce(function, xs),
            exact=False,
        )
        for op, function in (
            ("add", torch.add),
            ("mul", torch.mul),
            ("maximum", torch.maximum),
            ("minimum", torch.minimum),
        )
    ),
    pair("div", torch.div, square("int64"), ("int32", ("C",)), signed, nonzero),
    pair("div", torch.div, square("uint8"), square("float32"), None, "positive"),
    pair("pow", torch.pow, square("int32"), square("float32"), "integers(1, 5)", "normal"),
    *quotients("floor_div", torch.floor_divide),
    *quotients("remainder", torch.remainder),
    pair(
        "floor_div",
        torch.floor_divide,
        square("float32"),
        square("float32"),
        None,
        lambda generator, shape: np.zeros(shape),
    ),
    *(
        case
        for op, (function, values, integers) in REAL.items()
        for case in (
            *single(op, function, values=values, opsets=ALL_OPSETS),
            *single(op, function, "int64", integers)[1:2],
            *single(op, function, "uint8", "integers(1, 9)")[1:2],
        )
    ),
    *(case for op in ("exp", "cos") for case in single(op, REAL[op][0], "bool")[1:2]),
    *(
        case
        for op, function in (
            ("floor", torch.floor),
            ("ceil", torch.ceil),
            ("round", torch.round),
            ("neg", torch.neg),
            ("abs", torch.abs),
            ("sign", torch.sign),
            ("square", torch.square),
        )
        for case in (
            *single(op, function, values=halves, opsets=ALL_OPSETS),
            *(
                single(op, function, dtype, "integers(0, 9)" if dtype == "uint8" else signed)[2]
                for dtype in INTEGERS
            ),
        )
    ),
    *(
        case
        for bounds in (
            {"min": -0.5, "max": 0.25},
            {"min": 0.0},
            {"max": 0.5},
            {"min": -1, "max": 1},
        )
        for case in single("clamp", lambda x, bounds=bounds: x.clamp(**bounds), attributes=bounds)
    ),
    *(
        single("clamp", lambda x: x.clamp(2, 5), dtype, attributes={"min": 2, "max": 5})[1]
        for dtype in INTEGERS
    ),
    Case(
        "clamp",
        [("int64", ("N", "C"))],
        {"max": "C - 1"},
        sizes=SIZES,
        oracle=lambda x: x.clamp(max=x.shape[1] - 1),
    ),
    Case(
        "clamp",
        [("float32", ("N", "C"))],
        {"min": "N", "max": "2*N + C"},
        sizes=SIZES,
        oracle=lambda x: x.clamp(x.shape[0], 2 * x.shape[0] + x.shape[1]),
        values="uniform(-10, 20)",
    ),
    *(
        pair(op, function, square(dtype), ("" + dtype, ("C",)), "integers(0, 3)", "integers(0, 3)")
        for op, function in ORDERS.items()
        for dtype in (*NUMBERS, "bool")
    ),
    *(pair(op, function, *types) for op, function in ORDERS.items() for types in BROADCASTS[2:6]),
    *(
        pair(op, function, square("float32"), square("float32"), awkward, awkward)
        for op, function in ORDERS.items()
    ),
    *(
        pair(op, function, *types)
        for op, function in (("logical_and", torch.logical_and), ("logical_or", torch.logical_or))
        for types in (
            (square("bool"), square("bool")),
            (square("bool"), ("bool", ("C",))),
            (("bool", ()), square("bool")),
        )
    ),
    *single("logical_not", torch.logical_not, "bool"),
    *single("isnan", torch.isnan, values=awkward, opsets=ALL_OPSETS),
    *(
        Case(
            "where",
            [condition, (first, dims), (second, other)],
            sizes=SIZES,
            oracle=torch.where,
        )
        for condition, dims, other in (
            (square("bool"), ("N", "C"), ("N", "C")),
            (("bool", ("N", 1)), ("C",), ()),
            (("bool", ()), ("N", 1), ("C",)),
            (("bool", ("C",)), (), ("N", 1)),
        )
        for first, second in (
            ("float32", "float32"),
            ("int64", "float32"),
            ("int16", "int16"),
            ("bool", "bool"),
            ("uint8", "int8"),
        )
    ),
    *(
        Case(
            "cast",
            [(source, ("N", "C"))],
            {"dtype": target},
            sizes=SIZES,
            oracle=lambda x, target=target: x.to(getattr(torch, target)),
            values=values,
        )
        for source, targets, values in (
            ("float32", ("float64", "int64", "int8", "bool", "float32"), halves),
            ("int64", ("float32", "int8", "uint8", "bool", "int16"), "integers(-300, 300)"),
            ("bool", ("float32", "int64", "uint8"), None),
            ("uint8", ("int8", "float32", "int32"), "integers(0, 256)"),
        )
        for target in targets
    ),
    Refused("add", [square("float32")], match="at least 2 values, but got 1"),
    Refused("add", [square("float32"), ("float32", ("N", 4))], match="axis C is C in one and 4"),
    Refused(
        "add",
        [("float32", ("N", 64, "H", "W")), ("float32", ("N", 128, "H", "W"))],
        match="64 in one and 128 in the other",
    ),
    Refused("mul", [("float32", ("N",)), ("float32", ("M",))], match="N in one and M"),
    Refused(
        "add",
        [("float32", ("H", "W")), ("float32", ("2*((H + 1)//2)", "W"))],
        match="H in one and 2",
    ),
    *(
        Refused(op, [square("bool")], code="dtype-mismatch", match="takes numbers")
        for op in ("neg", "abs", "sign", "square", "floor", "clamp")
    ),
    *(
        Refused(op, [square("bool"), square("bool")], code="dtype-mismatch", match="takes numbers")
        for op in ("sub", "div", "floor_div", "remainder", "pow")
    ),
    Refused(
        "pow",
        [square("int64"), square("int64")],
        code="unsupported",
        match="powers of integers in floating point",
    ),
    Refused("clamp", [square("float32")], match="needs `min` or `max`"),
    Refused("clamp", [square("float32")], {"min": 2.0, "max": 1}, match="min` is 2.0"),
    Refused("clamp", [square("int64")], {"min": 0.5}, code="dtype-mismatch", match="an integer"),
    Refused("isnan", [square("int64")], code="dtype-mismatch", match="must be floating point"),
    Refused("logical_not", [square("int64")], code="dtype-mismatch", match="truth values"),
    Refused(
        "logical_and",
        [square("bool"), square("float32")],
        code="dtype-mismatch",
        match="truth values",
    ),
    Refused(
        "where",
        [square("float32"), square("float32"), square("float32")],
        code="dtype-mismatch",
        match="condition of `where`",
    ),
    Refused(
        "cast", [square("float32")], {"dtype": "float8"}, code="invalid-attribute", match="float16"
    ),
]
