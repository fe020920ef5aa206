"""Sorting, the first few, choosing by what elements are, scattering, and the margin loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from op_harness import Case, Given, Refused
from torch.nn import functional as F

CUBE: Given = ("float32", ("N", "T", 6))
CUBES = [{"N": 2, "T": 5}, {"N": 1, "T": 3}, {"N": 3, "T": 40}]
EMPTY = [*CUBES, {"N": 2, "T": 0}]
DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8")


def ties(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Few different numbers, so that many are equal."""
    return generator.integers(0, 4, shape)


def strange(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """NaN, infinities and the largest numbers among equal ones."""
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, 3.0e38, -3.0e38], np.float32)
    return values[generator.integers(0, len(values), shape)]


def top(k: int, axis: int, largest: bool = True) -> Any:
    def oracle(x: torch.Tensor) -> Any:
        values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
        values, places = values.narrow(axis, 0, k), places.narrow(axis, 0, k)
        reference = torch.topk(x, k, axis, largest).values
        assert torch.equal(values.nan_to_num(7.5), reference.nan_to_num(7.5))
        return values, places

    return oracle


SORTING: list[Case | Refused] = [
    *(
        Case(
            op,
            [(dtype, CUBE[1])],
            settings,
            sizes=EMPTY if op == "sort" else CUBES,
            oracle=oracle,
            values=ties,
        )
        for dtype in DTYPES
        for op, settings, oracle in (
            ("sort", {"axis": 1}, lambda x: torch.sort(x, dim=1, stable=True)),
            (
                "sort",
                {"descending": True},
                lambda x: torch.sort(x, dim=-1, descending=True, stable=True),
            ),
            ("argsort", {"axis": "T"}, lambda x: torch.argsort(x, dim=1, stable=True)),
            (
                "argsort",
                {"axis": 0, "descending": True},
                lambda x: torch.argsort(x, dim=0, descending=True, stable=True),
            ),
            ("topk", {"k": 3, "axis": "T"}, top(3, 1)),
            ("topk", {"k": 6, "largest": False}, top(6, -1, False)),
        )
    ),
    *(
        Case(op, [CUBE], settings, sizes=CUBES, oracle=oracle, values=strange, opsets=(17, 23))
        for op, settings, oracle in (
            ("sort", {"axis": 1}, lambda x: torch.sort(x, dim=1, stable=True)),
            (
                "argsort",
                {"axis": 1, "descending": True},
                lambda x: torch.argsort(x, dim=1, descending=True, stable=True),
            ),
            ("topk", {"k": 2, "axis": 2}, top(2, 2)),
            ("topk", {"k": 1, "axis": 0, "largest": False}, top(1, 0, False)),
        )
    ),
    Case(
        "topk",
        [("float32", ("R",))],
        {"k": "min(R, 5)"},
        sizes=[{"R": 9}, {"R": 2}, {"R": 0}],
        oracle=lambda x: top(min(5, len(x)), 0)(x),
    ),
    Refused("topk", [("float32", ("N", 3))], {"k": 4}, match="takes 4 elements, but axis"),
    Refused("sort", [("float32", ())], {}, match="nothing to order"),
    Refused("topk", [CUBE], {"k": 1, "axis": 3}, code="unknown-axis", match="axis 3"),
]

MASK: Given = ("bool", ("N", "T"))
TABLE: Given = ("float32", ("N", "T"))

CHOOSING: list[Case | Refused] = [
    *(
        Case(
            "nonzero",
            [(dtype, CUBE[1])],
            sizes=EMPTY,
            oracle=torch.nonzero,
            values=None if dtype == "bool" else "integers(0, 3)",
        )
        for dtype in ("bool", *DTYPES)
    ),
    Case(
        "nonzero",
        [("float32", ("R",))],
        sizes=[{"R": 4}, {"R": 0}],
        oracle=torch.nonzero,
        values=lambda generator, shape: np.resize([np.nan, -0.0, 0.0, np.inf], shape),
    ),
    Case(
        "nonzero",
        [("bool", ("R",))],
        sizes=[{"R": 3}],
        oracle=torch.nonzero,
        values="integers(0, 1)",
    ),
    *(
        Case(
            "masked_select",
            [(dtype, ("N", "T")), mask],
            sizes=EMPTY,
            oracle=torch.masked_select,
        )
        for dtype in ("float32", "int64", "bool")
        for mask in (MASK, ("bool", ("T",)), ("bool", ("N", 1)))
    ),
    Case(
        "masked_select",
        [("float32", ("T",)), MASK],
        sizes=CUBES,
        oracle=torch.masked_select,
    ),
    Refused("nonzero", [("bool", ())], match="no axes"),
    Refused(
        "masked_select",
        [TABLE, ("int64", ("N", "T"))],
        code="dtype-mismatch",
        match="mask must be bool",
    ),
    Refused("masked_select", [TABLE, ("bool", ("N", "K"))], match="do not fit together"),
]


def without_repetition(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Along axis 1, different places."""
    return np.argsort(generator.random(shape), 1)


INDEX: Given = ("int64", ("N", "T", 6))
SCATTERING: list[Case | Refused] = [
    *(
        Case(
            "scatter",
            [(dtype, CUBE[1]), INDEX, (dtype, CUBE[1])],
            {"axis": axis},
            sizes=EMPTY,
            oracle=lambda x, index, source: torch.scatter(x, 1, index, source),
            values=(None, without_repetition, None),
        )
        for dtype in ("float32", "int64", "bool")
        for axis in (1, "T", -2)
    ),
    *(
        Case(
            "scatter_add",
            [(dtype, ("N", 4)), ("int64", ("M", "K")), (dtype, ("M", "K"))],
            {"axis": 1},
            sizes=[{"N": 3, "M": 3, "K": 9}, {"N": 2, "M": 2, "K": 0}],
            oracle=lambda x, index, source: torch.scatter_add(x, 1, index, source),
            values=(None, "integers(0, 4)", None),
            facts=["M == N"],
        )
        for dtype in ("float32", "int64")
    ),
    Refused(
        "scatter",
        [CUBE, INDEX, ("float32", ("N", "T", 5))],
        {"axis": 1},
        match="6 in the index, but 5 in the source",
    ),
    Refused(
        "scatter",
        [CUBE, ("int32", INDEX[1]), CUBE],
        {"axis": 1},
        code="dtype-mismatch",
        match="int64",
    ),
    Refused(
        "scatter",
        [CUBE, INDEX, ("int64", CUBE[1])],
        {"axis": 1},
        code="dtype-mismatch",
        match="another element type",
    ),
    Refused(
        "scatter",
        [CUBE, ("int64", ("N", "T")), ("float32", ("N", "T"))],
        {"axis": 1},
        match="as many axes",
    ),
    Refused(
        "scatter",
        [CUBE, ("int64", ("N", "T", 7)), ("float32", ("N", "T", 7))],
        {"axis": 1},
        match="7 in the index, which is more than the 6",
    ),
    Refused(
        "scatter_add",
        [("bool", ("N", 4)), ("int64", ("N", 4)), ("bool", ("N", 4))],
        {"axis": 1},
        code="dtype-mismatch",
        match="takes numbers",
    ),
]

SCORES: Given = ("float32", ("N", 5))
MARGINS: list[Case | Refused] = [
    *(
        Case(
            "multi_margin_loss",
            [(dtype, ("N", 5)), ("int64", ("N",))],
            settings,
            sizes=[{"N": 4}, {"N": 1}],
            oracle=lambda x, target, settings=settings: F.multi_margin_loss(x, target, **settings),
            values=(None, "integers(0, 5)"),
            opsets=(17, 18, 23),
        )
        for dtype in ("float32", "float64")
        for settings in (
            {},
            {"p": 2},
            {"margin": 0.25},
            {"reduction": "sum"},
            {"reduction": "none", "p": 2, "margin": 2.0},
        )
    ),
    Refused("multi_margin_loss", [SCORES, ("int64", ("M",))], match="samples.*but classes for M"),
    Refused(
        "multi_margin_loss",
        [SCORES, ("float32", ("N",))],
        code="dtype-mismatch",
        match="class of each sample",
    ),
    Refused(
        "multi_margin_loss", [("float32", ("N",)), ("int64", ("N",))], match="must have 2 axes"
    ),
    Refused(
        "multi_margin_loss",
        [SCORES, ("int64", ("N",))],
        {"p": 3},
        code="invalid-attribute",
        match="p",
    ),
]

CASES = [*SORTING, *CHOOSING, *SCATTERING, *MARGINS]
