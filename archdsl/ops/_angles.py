"""Angles of sinusoidal and rotary positions: `position / base ** (2 i / width)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from archdsl.ir.dims import Dim
from archdsl.ir.lowering import Call, Device, Index, Infix, OnnxGraph, Operand
from archdsl.ir.types import DType, TensorType
from archdsl.ops._casting import cast
from archdsl.ops._predicate_onnx import arange

LARGEST_WRITTEN = 1 << 20
"""The most numbers of a table that is stored in a graph; a larger one is computed there."""


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


def torch_angles(positions: Any, items: tuple[Any, ...], width: int, base: float, dtype: DType) -> Infix:
    """Angles in PyTorch: positions, indexed so that an axis for the features can follow."""
    settings: dict[str, Any] = {"device": Device()}
    if computed_in(dtype) is not DType.FLOAT32:
        settings = {"dtype": computed_in(dtype), **settings}
    places = Call("torch.arange", (0, width, 2), settings)
    single = Infix("/", 1.0, Infix("**", base, Infix("/", places, width)))
    return Infix("*", Index(positions, items), single)


def converted(value: Any, dtype: DType) -> Any:
    """What was computed with angles, in PyTorch, in the element type that is wanted."""
    return value if dtype is computed_in(dtype) else Call(".to", (value, dtype))


# ------------------------------------------------------------------------------------- ONNX


@dataclass(frozen=True, slots=True)
class Places:
    """Positions in ONNX: numbers from `start`, or a tensor's, with axes of size 1 between them.

    `between` axes stand between the first and the second axis of the tensor, `after` follow.
    """

    start: Dim
    length: Dim
    after: int
    between: int = 0
    tensor: Operand | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells equal positions of a graph."""
        name = self.tensor and self.tensor.name
        return self.start, self.length, self.after, self.between, name

    @property
    def known(self) -> range | None:
        """The positions, if they are known."""
        start, length = self.start.value, self.length.value
        if self.tensor is not None or start is None or length is None:
            return None
        return range(start, start + length)

    def column(self, g: OnnxGraph, dtype: DType) -> Operand:
        """The positions as floating point numbers."""
        return g.shared("positions", (dtype, *self.key), lambda: cast(g, self._made(g), dtype))

    def _made(self, g: OnnxGraph) -> Operand:
        tensor = self.tensor
        if tensor is None:
            return arange(g, self.start, self.length, self.after)
        if tensor.type.rank == 0:
            offset = cast(g, tensor, DType.INT64)
            ascending = arange(g, self.start, self.length, self.after)
            return g.node("Add", ascending, offset, type=ascending.type)
        dims = list(tensor.type.dims)
        dims[1:1] = [Dim.of(1)] * self.between
        dims += [Dim.of(1)] * self.after
        added = [*range(1, 1 + self.between), *range(len(dims) - self.after, len(dims))]
        type = TensorType.of(tensor.type.dtype, *dims)
        if not added:
            return tensor
        return g.node("Unsqueeze", tensor, g.constant(added, DType.INT64), type=type)

    def table(
        self,
        g: OnnxGraph,
        factors: list[float],
        dtype: DType,
        function: tuple[str, Callable[[float], float]],
    ) -> Operand:
        """A function of all products of a position and a factor, its name in ONNX beside it."""
        op_type, compute = function
        key = (op_type, tuple(factors), dtype, *self.key)
        return g.shared("positions", key, lambda: self._table(g, factors, dtype, op_type, compute))

    def _table(
        self,
        g: OnnxGraph,
        factors: list[float],
        dtype: DType,
        op_type: str,
        compute: Callable[[float], float],
    ) -> Operand:
        known = self.known
        if known is not None and len(known) * len(factors) <= LARGEST_WRITTEN:
            rows: list[Any] = [[compute(place * factor) for factor in factors] for place in known]
            for _ in range(self.after - 1):
                rows = [[row] for row in rows]
            return g.constant(rows, dtype)
        column = self.column(g, computed_in(dtype))
        scales = g.constant(factors, column.type.dtype)
        type = column.type.with_dim(-1, len(factors))
        angles = g.node("Mul", column, scales, type=type)
        return cast(g, g.node(op_type, angles, type=type), dtype)
