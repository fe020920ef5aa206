"""Attention masks in ONNX: constants where every size is known."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

from archdsl.ir.lowering import OnnxGraph, Operand, Unsupported
from archdsl.ir.types import DType, TensorType
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

_LARGEST_WRITTEN = 1 << 22
"""The most elements of a mask that is stored in a graph; a larger one is computed there."""

_RELATIONS = {
    "==": "Equal",
    "!=": "Equal",
    "<": "Less",
    "<=": "LessOrEqual",
    ">": "Greater",
    ">=": "GreaterOrEqual",
}


def kept(g: OnnxGraph, grid: Grid) -> Operand:
    """True where the condition holds, with as many axes as it needs; equal masks are shared."""
    key = (str(grid.predicate), grid.dims)
    return g.shared("masks", key, lambda: _made(g, grid))


def both(g: OnnxGraph, first: Operand, second: Operand) -> Operand:
    """Where two masks hold."""
    return g.node("And", first, second, type=joined(first.type, second.type))


def _made(g: OnnxGraph, grid: Grid) -> Operand:
    dims = [dim.value for dim in grid.dims]
    known = [dim for dim in dims if dim is not None]
    is_constant = len(known) == len(dims) and grid.predicate.symbols <= grid.sizes.keys()
    if is_constant and prod(known) <= _LARGEST_WRITTEN:
        backs = range(grid.rank, 0, -1)
        return g.table(grid.predicate, {f"_{b}": n for b, n in zip(backs, known, strict=True)})
    bands = grid.bands(grid.predicate)
    if bands is not None:
        return _between(g, grid, bands)
    return _Indices(g, grid).holds(grid.predicate)


def _between(g: OnnxGraph, grid: Grid, bands: tuple[Band, ...]) -> Operand:
    type = TensorType.of(DType.BOOL, *grid.dims)
    mask = g.node("Expand", g.constant(True, DType.BOOL), g.shape(grid.dims), type=type)
    for band in bands:
        k = None if band.k == 0 else g.size(band.k, DType.INT64)
        mask = g.node("Trilu", mask, k, type=type, upper=int(band.upper))
    return mask


class _Indices:
    """Computes a condition from the places along axes, in int64."""

    def __init__(self, g: OnnxGraph, grid: Grid) -> None:
        self._g = g
        self._grid = grid
        self._found: dict[str, Operand] = {}

    def holds(self, condition: Condition) -> Operand:
        match condition:
            case Compare():
                left = self._polynomial(condition.left.polynomial)
                right = self._polynomial(condition.right.polynomial)
                result = self._node(_RELATIONS[condition.relation], left, right, dtype=DType.BOOL)
                return self._not(result) if condition.relation == "!=" else result
            case All() | Either():
                op_type = "And" if isinstance(condition, All) else "Or"
                parts = [self.holds(part) for part in condition.parts]
                return reduce(lambda a, b: self._node(op_type, a, b, dtype=DType.BOOL), parts)
            case Negation():
                return self._not(self.holds(condition.condition))
            case _:
                raise Unsupported(f"`{condition}` has no form in ONNX")

    def _not(self, x: Operand) -> Operand:
        return self._g.node("Not", x, type=x.type)

    def _node(
        self, op_type: str, left: Operand, right: Operand, dtype: DType = DType.INT64
    ) -> Operand:
        type = joined(left.type, right.type).with_dtype(dtype)
        return self._g.node(op_type, left, right, type=type)

    def _is_size(self, polynomial: Polynomial) -> bool:
        return self._grid.sizes.keys().isdisjoint(symbols_of(polynomial))

    def _polynomial(self, polynomial: Polynomial) -> Operand:
        if self._is_size(polynomial):
            return self._g.size(Dim.of_polynomial(polynomial), DType.INT64)
        remainder = remainder_form(polynomial)
        if remainder is not None:
            multiple, division, offset = remainder
            rest = self._node("Mod", *self._sides(division))
            return self._plus(self._scaled(rest, multiple), Dim.of(offset))
        total: Operand | None = None
        constant: dict[Monomial, int] = {}
        for coefficient, monomial in ordered_terms(polynomial):
            if self._is_size({monomial: 1}):
                constant[monomial] = coefficient
                continue
            term = self._product(monomial)
            if total is None:
                total = self._scaled(term, coefficient)
            else:
                sign = "Sub" if coefficient < 0 else "Add"
                total = self._node(sign, total, self._scaled(term, abs(coefficient)))
        assert total is not None
        return self._plus(total, Dim.of_polynomial(constant))

    def _plus(self, x: Operand, size: Dim) -> Operand:
        return x if size == 0 else self._node("Add", x, self._g.size(size, DType.INT64))

    def _scaled(self, x: Operand, factor: int) -> Operand:
        return x if factor == 1 else self._node("Mul", x, self._g.constant(factor, DType.INT64))

    def _product(self, monomial: Monomial) -> Operand:
        factors = [self._atom(atom) for atom, power in monomial for _ in range(power)]
        return reduce(lambda left, right: self._node("Mul", left, right), factors)

    def _atom(self, atom: Atom) -> Operand:
        match atom:
            case str():
                is_index = atom in self._grid.sizes
                return self._index(atom) if is_index else self._g.size(Dim.of(atom), DType.INT64)
            case FloorDiv():
                return self._quotient(atom)
            case Maximum() | Minimum():
                op_type = "Max" if isinstance(atom, Maximum) else "Min"
                first, second = self._polynomial(atom.first), self._polynomial(atom.second)
                return self._node(op_type, first, second)
            case _:
                raise Unsupported(f"`{atom.text}` has no formula")

    def _sides(self, division: FloorDiv) -> tuple[Operand, Operand]:
        return self._polynomial(division.dividend), self._polynomial(division.divisor)

    def _quotient(self, division: FloorDiv) -> Operand:
        """ONNX divides towards zero, which is the floor only when nothing is negative."""
        dividend, divisor = self._sides(division)
        least = dict.fromkeys(self._grid.sizes, 0)
        bounds = [
            side.lower_bound(least, default=0)
            for side in (division.numerator, division.denominator)
        ]
        if any(bound is None or bound < 0 for bound in bounds):
            dividend = self._node("Sub", dividend, self._node("Mod", dividend, divisor))
        elif division.numerator == 1:
            # ONNX Runtime takes `(1 / x) * y` for `y / x`, of integers too.
            dividend, divisor = self._scaled(dividend, 2), self._scaled(divisor, 2)
        return self._node("Div", dividend, divisor)

    def _index(self, name: str) -> Operand:
        """The places along an axis, with axes of size 1 after it."""
        known = self._found.get(name)
        if known is None:
            size, after = self._grid.sizes[name], int(name[1:]) - 1
            known = self._found[name] = arange(self._g, Dim.of(0), size, after)
        return known


def arange(g: OnnxGraph, start: Dim, size: Dim, after: int) -> Operand:
    """The integers from `start`, `size` of them, with that many axes of size 1 after them."""
    first, count = start.value, size.value
    if first is not None and count:
        numbers = [_nested(number, after) for number in range(first, first + count)]
        return g.constant(numbers, DType.INT64)
    bounds = [g.size(dim, DType.INT64) for dim in (start, start + size, Dim.of(1))]
    result = g.node("Range", *bounds, type=TensorType.of(DType.INT64, size))
    if not after:
        return result
    axes = g.constant(list(range(1, after + 1)), DType.INT64)
    return g.node("Unsqueeze", result, axes, type=TensorType.of(DType.INT64, size, *(1,) * after))


def _nested(number: int, depth: int) -> Any:
    nested: Any = number
    for _ in range(depth):
        nested = [nested]
    return nested


def joined(left: TensorType, right: TensorType) -> TensorType:
    """What two broadcast to, whose sizes differ only where one is 1."""
    rank = max(left.rank, right.rank)
    ones = (Dim.of(1),)
    pairs = zip(
        ones * (rank - left.rank) + left.dims, ones * (rank - right.rank) + right.dims, strict=True
    )
    return TensorType.of(left.dtype, *(b if a == 1 else a for a, b in pairs))
