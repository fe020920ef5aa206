"""Angles of sinusoidal and rotary position encodings: `position / base ** (2 i / width)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, sin
from typing import Any, Literal

from archdsl.ir.lowering import Call, Device, OnnxGraph, Operand
from archdsl.ir.types import DType, TensorType
from archdsl.ops.attention._masks_onnx import arange
from archdsl.ops.elementwise._casting import cast
from archdsl.sizes.dims import Dim

LARGEST_WRITTEN = 1 << 20
"""The most numbers of a table that is stored in a graph; a larger one is computed there."""

Function = Literal["Sin", "Cos"]


def computed_in(dtype: DType) -> DType:
    """The element type of angles: never less precise than float32."""
    return DType.FLOAT64 if dtype is DType.FLOAT64 else DType.FLOAT32


def frequencies(width: int, base: float) -> list[float]:
    """The angle of position 1, for each pair of features."""
    return [1.0 / base ** (place / width) for place in range(0, width, 2)]


# ---------------------------------------------------------------------------------- PyTorch


def numbers(start: Dim, length: Dim) -> Call:
    """`length` integers from `start` in PyTorch."""
    bounds = (length,) if start == 0 else (start, start + length)
    return Call("torch.arange", bounds, {"device": Device()})


# ------------------------------------------------------------------------------------- ONNX


@dataclass(frozen=True, slots=True)
class Places:
    """Positions in ONNX: numbers from `start`, or those of a tensor.

    `between` axes of size 1 stand between the first and second axis of a tensor, `after` of them
    follow; an `offset` is added to all.
    """

    start: Dim
    length: Dim
    after: int = 1
    between: int = 0
    tensor: Operand | None = None
    offset: Operand | None = None

    @property
    def known(self) -> range | None:
        """The positions, if they are known."""
        start, length = self.start.value, self.length.value
        if self.tensor is not None or self.offset is not None or start is None or length is None:
            return None
        return range(start, start + length)

    def table(
        self, g: OnnxGraph, function: Function, factors: list[float], dtype: DType
    ) -> Operand:
        """The function of all products of a position and a factor; equal tables are shared."""
        key = (self, function, tuple(factors), dtype)
        return g.shared("positions", key, lambda: self._table(g, function, factors, dtype))

    def _table(
        self, g: OnnxGraph, function: Function, factors: list[float], dtype: DType
    ) -> Operand:
        known = self.known
        if known and len(known) * len(factors) <= LARGEST_WRITTEN:
            compute = sin if function == "Sin" else cos
            rows: list[Any] = [[compute(place * factor) for factor in factors] for place in known]
            for _ in range(self.after - 1):
                rows = [[row] for row in rows]
            return g.constant(rows, dtype)
        angles = self._angles(g, factors, computed_in(dtype))
        return cast(g, g.node(function, angles, type=angles.type), dtype)

    def _angles(self, g: OnnxGraph, factors: Sequence[float], dtype: DType) -> Operand:
        column = g.shared("positions", (self, dtype), lambda: cast(g, self._column(g), dtype))
        type = column.type.with_dim(-1, len(factors))

        def product() -> Operand:
            return g.node("Mul", column, g.constant(factors, dtype), type=type)

        return g.shared("positions", (column.name, tuple(factors)), product)

    def _column(self, g: OnnxGraph) -> Operand:
        if self.tensor is not None:
            return self._spread(g, self.tensor)
        ascending = arange(g, self.start, self.length, self.after)
        if self.offset is None:
            return ascending
        return g.node("Add", ascending, cast(g, self.offset, DType.INT64), type=ascending.type)

    def _spread(self, g: OnnxGraph, tensor: Operand) -> Operand:
        dims = list(tensor.type.dims)
        dims[1:1] = [Dim.of(1)] * self.between
        dims += [Dim.of(1)] * self.after
        places = [*range(1, 1 + self.between), *range(len(dims) - self.after, len(dims))]
        type = TensorType.of(tensor.type.dtype, *dims)
        return g.node("Unsqueeze", tensor, g.constant(places, DType.INT64), type=type)
