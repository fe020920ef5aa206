"""Attention masks in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from archdsl.ir.lowering import Call, Device, Index, Infix, Unsupported
from archdsl.ir.types import DType
from archdsl.ops.attention._masks import Band, Grid
from archdsl.sizes.atoms import (
    Atom,
    FloorDiv,
    Maximum,
    Minimum,
    Monomial,
    Polynomial,
    ordered_terms,
    remainder_form,
    symbols_of,
)
from archdsl.sizes.conditions import All, Compare, Condition, Either, Negation
from archdsl.sizes.dims import Dim


def kept(grid: Grid) -> Any:
    """True where the condition holds, with as many axes as it needs."""
    return _holds(grid, grid.predicate)


def _holds(grid: Grid, condition: Condition) -> Any:
    bands = grid.bands(condition)
    if bands is not None:
        return _between(grid, bands)
    match condition:
        case Compare():
            left, right = _size(grid, condition.left), _size(grid, condition.right)
            return Infix(condition.relation, left, right)
        case All() | Either():
            symbol = "&" if isinstance(condition, All) else "|"
            parts = [_holds(grid, part) for part in condition.parts]
            return reduce(lambda left, right: Infix(symbol, left, right), parts)
        case Negation():
            return Infix("~", None, _holds(grid, condition.condition))
        case _:
            raise Unsupported(f"`{condition}` has no form in PyTorch")


def _between(grid: Grid, bands: Sequence[Band]) -> Any:
    sizes = (grid.sizes["_2"], grid.sizes["_1"])
    mask = Call("torch.ones", sizes, {"dtype": DType.BOOL, "device": Device()})
    for band in bands:
        diagonal = () if band.k == 0 else (band.k,)
        mask = Call(".triu" if band.upper else ".tril", (mask, *diagonal))
    return mask


def _size(grid: Grid, dim: Dim) -> Any:
    return _polynomial(grid, dim.polynomial)


def _polynomial(grid: Grid, polynomial: Polynomial) -> Any:
    """A sum; what no index stands in is a size and stays one term, which comes last."""
    if grid.sizes.keys().isdisjoint(symbols_of(polynomial)):
        return Dim.of_polynomial(polynomial)
    remainder = remainder_form(polynomial)
    if remainder is not None:
        multiple, division, offset = remainder
        rest = _division(grid, "%", division)
        rest = rest if multiple == 1 else Infix("*", rest, multiple)
        return _plus(rest, Dim.of(offset))
    total: Any = None
    constant: dict[Monomial, int] = {}
    for coefficient, monomial in ordered_terms(polynomial):
        if grid.sizes.keys().isdisjoint(symbols_of({monomial: 1})):
            constant[monomial] = coefficient
            continue
        term = _term(grid, abs(coefficient), monomial)
        if total is None:
            total = Infix("-", None, term) if coefficient < 0 else term
        else:
            total = Infix("-" if coefficient < 0 else "+", total, term)
    return _plus(total, Dim.of_polynomial(constant))


def _plus(value: Any, size: Dim) -> Any:
    if size == 0:
        return value
    if size.value is not None and size.value < 0:
        return Infix("-", value, -size)
    return Infix("+", value, size)


def _term(grid: Grid, coefficient: int, monomial: Monomial) -> Any:
    factors: list[Any] = []
    for atom, power in monomial:
        factor = _atom(grid, atom)
        factors.append(factor if power == 1 else Infix("**", factor, power))
    if coefficient != 1:
        factors.append(coefficient)
    return reduce(lambda left, right: Infix("*", left, right), factors)


def _atom(grid: Grid, atom: Atom) -> Any:
    match atom:
        case str():
            return _index(grid, atom) if atom in grid.sizes else Dim.of(atom)
        case FloorDiv():
            return _division(grid, "//", atom)
        case Maximum() | Minimum():
            return _choice(grid, atom)
        case _:
            raise Unsupported(f"`{atom.text}` has no formula")


def _division(grid: Grid, symbol: str, division: FloorDiv) -> Any:
    dividend = _polynomial(grid, division.dividend)
    return Infix(symbol, dividend, _polynomial(grid, division.divisor))


def _choice(grid: Grid, atom: Maximum | Minimum) -> Any:
    first, second = _polynomial(grid, atom.first), _polynomial(grid, atom.second)
    if isinstance(first, Dim) and isinstance(second, Dim):
        return Dim.of_polynomial({((atom, 1),): 1})
    if isinstance(first, Dim):
        first, second = second, first
    if isinstance(second, Dim):
        bound = "min" if isinstance(atom, Maximum) else "max"
        return Call(".clamp", (first,), {bound: second})
    return Call(f"torch.{atom.function}imum", (first, second))


def _index(grid: Grid, name: str) -> Any:
    """The places along an axis, with axes of size 1 after it."""
    numbers = Call("torch.arange", (grid.sizes[name],), {"device": Device()})
    after = int(name[1:]) - 1
    return Index(numbers, (slice(None), *(None,) * after)) if after else numbers
