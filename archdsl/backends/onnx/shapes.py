"""Sizes in an ONNX graph: reading them off a tensor, computing them, and the shapes for Reshape."""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import AbstractContextManager
from itertools import groupby
from typing import TYPE_CHECKING

from archdsl.diagnostics import InternalError
from archdsl.ir.lowering import Operand, Unsupported
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.atoms import (
    Atom,
    FloorDiv,
    Maximum,
    Minimum,
    Monomial,
    ordered_terms,
    remainder_form,
)
from archdsl.sizes.dims import Dim

if TYPE_CHECKING:
    from archdsl.backends.onnx.graph import GraphBuilder

SCOPE = "sizes"
_ONE = TensorType.of(DType.INT64, 1)
_SCALAR = TensorType.of(DType.INT64)


def reshape_target(
    source: Sequence[Dim], target: Sequence[Dim], may_be_zero: Set[str] = frozenset()
) -> tuple[tuple[int | Dim, ...], bool]:
    """What Reshape is told for each axis, and whether a 0 there means a size of zero.

    A symbolic size is copied (0) from the axis in the same place, inferred (-1) once, and
    otherwise left to be computed. Nothing follows from the others where one of them is zero.
    """
    exact = tuple(dim if dim.value is None else dim.value for dim in target)
    if any(dim.value == 0 for dim in target):
        return exact, True
    told: list[int | Dim] = []
    for place, dim in enumerate(target):
        if dim.value is not None:
            told.append(dim.value)
        else:
            told.append(0 if place < len(source) and source[place] == dim else dim)
    unknown = [place for place, size in enumerate(told) if isinstance(size, Dim)]
    if not unknown:
        return tuple(told), False
    empty = [place for place, dim in enumerate(target) if not dim.symbols.isdisjoint(may_be_zero)]
    if len(empty) > 1 or not set(empty) <= set(unknown):
        return exact, True
    told[min(empty or unknown, key=lambda place: target[place].symbol_name is not None)] = -1
    return tuple(told), False


class Sizes:
    """Computes every dim of a graph at most once, from the axes of its inputs."""

    def __init__(self, graph: GraphBuilder) -> None:
        self._graph = graph
        self._vectors: dict[Dim, Operand] = {}
        self._shapes: dict[tuple[Dim, ...], Operand] = {}
        self._scalars: dict[tuple[Dim, DType], Operand] = {}

    def shape(self, dims: tuple[Dim, ...]) -> Operand:
        """The dims as one int64 vector."""
        values = [dim.value for dim in dims]
        if None not in values:
            return self._graph.constant(values, DType.INT64)
        if len(dims) == 1:
            with self._scope():
                return self._vector(dims[0])
        known = self._shapes.get(dims)
        if known is None:
            with self._scope():
                known = self._shapes[dims] = self._read(dims) or self._join(dims)
        return known

    def scalar(self, dim: Dim, dtype: DType) -> Operand:
        """A symbolic dim as a tensor without axes."""
        known = self._scalars.get((dim, dtype))
        if known is not None:
            return known
        with self._scope():
            result = self._graph.node(
                "Squeeze", self._vector(dim), self._graph.constant([0], DType.INT64), type=_SCALAR
            )
            if dtype is not DType.INT64:
                result = self._graph.node("Cast", result, type=TensorType.of(dtype), to=dtype)
        self._scalars[dim, dtype] = result
        return result

    def _scope(self) -> AbstractContextManager[None]:
        return self._graph.within(SCOPE)

    def _join(self, dims: tuple[Dim, ...]) -> Operand:
        pieces: list[Operand] = []
        for is_known, run in groupby(dims, key=lambda dim: dim.value is not None):
            if is_known:
                pieces.append(self._graph.constant([dim.value for dim in run], DType.INT64))
            else:
                pieces.extend(self._vector(dim) for dim in run)
        if len(pieces) == 1:
            return pieces[0]
        return self._graph.node(
            "Concat", *pieces, type=TensorType.of(DType.INT64, len(dims)), axis=0
        )

    def _read(self, dims: tuple[Dim, ...]) -> Operand | None:
        """Neighbouring axes of one input that have exactly these sizes."""
        for source in self._graph.inputs():
            sizes = source.type.dims
            for start in range(len(sizes) - len(dims) + 1):
                if sizes[start : start + len(dims)] == dims:
                    return self._axes(source, start, start + len(dims))
        return None

    def _axes(self, source: Operand, start: int, end: int) -> Operand:
        return self._graph.node(
            "Shape", source, type=TensorType.of(DType.INT64, end - start), start=start, end=end
        )

    def _vector(self, dim: Dim) -> Operand:
        """A dim as an int64 vector of one element."""
        known = self._vectors.get(dim)
        if known is None:
            known = self._vectors[dim] = self._compute(dim)
        return known

    def _compute(self, dim: Dim) -> Operand:
        if dim.value is not None:
            return self._graph.constant([dim.value], DType.INT64)
        if dim.symbol_name is not None:
            return self._symbol(dim)
        remainder = remainder_form(dim.polynomial)
        if remainder is not None:
            multiple, division, offset = remainder
            rest = self._operate(
                "Mod", self._vector(division.numerator), self._vector(division.denominator)
            )
            return self._plus(self._scaled(rest, multiple), offset)
        return self._sum(dim)

    def _symbol(self, dim: Dim) -> Operand:
        for source in self._graph.sources():
            if dim in source.type.dims:
                axis = source.type.dims.index(dim)
                return self._axes(source, axis, axis + 1)
        raise InternalError(f"no axis has the size {dim}")

    def _sum(self, dim: Dim) -> Operand:
        total: Operand | None = None
        for coefficient, monomial in ordered_terms(dim.polynomial):
            if not monomial:
                total = self._plus(total, coefficient)
                continue
            term = self._product(monomial)
            if total is None:
                total = self._scaled(term, coefficient)
            else:
                sign = "Sub" if coefficient < 0 else "Add"
                total = self._operate(sign, total, self._scaled(term, abs(coefficient)))
        assert total is not None
        return total

    def _product(self, monomial: Monomial) -> Operand:
        result: Operand | None = None
        for atom, power in monomial:
            factor = self._atom(atom)
            for _ in range(power):
                result = factor if result is None else self._operate("Mul", result, factor)
        assert result is not None
        return result

    def _atom(self, atom: Atom) -> Operand:
        if isinstance(atom, str):
            return self._vector(Dim.of(atom))
        if isinstance(atom, FloorDiv):
            return self._floor_division(atom)
        if isinstance(atom, Maximum | Minimum):
            op_type = "Max" if isinstance(atom, Maximum) else "Min"
            return self._operate(op_type, self._vector(atom.left), self._vector(atom.right))
        raise Unsupported(f"the size {atom.text} has no formula")

    def _floor_division(self, atom: FloorDiv) -> Operand:
        """ONNX divides towards zero, which is the floor only when nothing is negative.

        ONNX Runtime takes `(1 / x) * y` for `y / x`, of integers too, so a 1 is never divided.
        """
        scale = 2 if atom.numerator == 1 else 1
        numerator = self._vector(atom.numerator * scale)
        denominator = self._scaled(self._vector(atom.denominator), scale)
        if _never_negative(atom.numerator) and _never_negative(atom.denominator):
            return self._operate("Div", numerator, denominator)
        rest = self._operate("Mod", numerator, denominator)
        return self._operate("Div", self._operate("Sub", numerator, rest), denominator)

    def _scaled(self, operand: Operand, factor: int) -> Operand:
        if factor == 1:
            return operand
        return self._operate("Mul", operand, self._graph.constant([factor], DType.INT64))

    def _plus(self, operand: Operand | None, offset: int) -> Operand:
        if operand is None:
            return self._graph.constant([offset], DType.INT64)
        if offset == 0:
            return operand
        op_type = "Sub" if offset < 0 else "Add"
        return self._operate(op_type, operand, self._graph.constant([abs(offset)], DType.INT64))

    def _operate(self, op_type: str, left: Operand, right: Operand) -> Operand:
        return self._graph.node(op_type, left, right, type=_ONE)


def _never_negative(dim: Dim) -> bool:
    bound = dim.lower_bound({}, default=0)
    return bound is not None and bound >= 0
