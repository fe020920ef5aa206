"""Rotary position embedding: pairs of features rotated by an angle proportional to the position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from archdsl.ir.lowering import Call, Index, Infix, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.attention._angles import (
    Places,
    frequencies,
    numbers,
)
from archdsl.ops.contract._axes import axis_label, position
from archdsl.ops.contract._fields import Axis, Positive
from archdsl.ops.contract._weights import known_width
from archdsl.ops.layout.joining import split
from archdsl.ops.linear.linear import INDEX_TYPES
from archdsl.sizes.dims import Dim

Base = Annotated[float, Field(gt=0, allow_inf_nan=False)]


_HALVES = '''
def rotated_halves(x, positions, base):
    """Turn features that are half the width apart by angles that grow with the position."""
    width, dtype = x.shape[-1], torch.promote_types(x.dtype, torch.float32)
    places = torch.arange(0, width, 2, dtype=dtype, device=x.device)
    angles = (positions * (1.0 / base ** (places / width))).tile(2)
    first, second = x.chunk(2, -1)
    turned = torch.cat((-second, first), -1)
    return x * angles.cos().to(x.dtype) + turned * angles.sin().to(x.dtype)
'''

_NEIGHBOURS = '''
def rotated_neighbours(x, positions, base):
    """Turn pairs of neighbouring features by angles that grow with the position."""
    width, dtype = x.shape[-1], torch.promote_types(x.dtype, torch.float32)
    places = torch.arange(0, width, 2, dtype=dtype, device=x.device)
    angles = (positions * (1.0 / base ** (places / width))).repeat_interleave(2, -1)
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * angles.cos().to(x.dtype) + turned * angles.sin().to(x.dtype)
'''


class Rotary(Op, function="rotary"):
    """Rotates pairs of features of the last axis by angles that grow with the position.

    `[*, T, *, E] -> [*, T, *, E]`

    Positions count from `start`. The second input is the first position, or all positions: `[T]`,
    or `[B, T]` for each sample.

    Source: Su et al. 2021; torch.cos, torch.sin; ONNX RotaryEmbedding, or Mul, Add.

    Example: `x -> rotary(axis=1)`
    """

    positional = ("axis",)
    torch_functions: ClassVar[Mapping[str, str]] = {
        "rotated_halves": _HALVES,
        "rotated_neighbours": _NEIGHBOURS,
    }

    axis: Axis = -2
    """The axis of positions."""
    base: Base = 10000.0
    interleaved: bool = False
    """Whether neighbours make a pair, instead of features that are half the width apart."""
    rotary_dim: Positive | None = None
    """How many of the first features are turned; all, if it is not given."""
    start: Dim = Dim.of(0)

    def infer(
        self, check: Obligations, x: TensorType, positions: TensorType | None = None
    ) -> TensorType:
        x.expect_floating()
        if x.rank < 2:
            raise ShapeError(f"the input must have at least 2 axes, but is {x}", inputs=(0,))
        place = position(x, self.axis)
        if place == x.rank - 1:
            raise ShapeError(
                f"axis {axis_label(x, place)} of {x} has the features, not the positions",
                help="give the axis of positions with `axis`",
                attribute="axis",
            )
        self._check_width(known_width(x, -1, "number of features"), x)
        if positions is not None:
            self._check_positions(check, x, place, positions)
        return x

    def _check_width(self, width: int, x: TensorType) -> None:
        turned = self.rotary_dim or width
        if turned > width:
            raise ShapeError(
                f"{turned} features cannot be turned: {x} has {width}", attribute="rotary_dim"
            )
        if turned % 2:
            raise ShapeError(
                f"features are turned in pairs, but {turned} of {x} are to be turned",
                inputs=(0,),
                attribute="rotary_dim",
            )

    def _check_positions(
        self, check: Obligations, x: TensorType, place: int, positions: TensorType
    ) -> None:
        if self.start != 0:
            raise ShapeError(
                "`start` and a tensor of positions exclude each other",
                inputs=(1,),
                attribute="start",
            )
        if positions.dtype not in INDEX_TYPES:
            raise ShapeError(
                f"positions must be int32 or int64, but are {positions}",
                help="convert them with `cast(int64)`",
                inputs=(1,),
                code="dtype-mismatch",
            )
        wanted = ((), (x.dims[place],), (x.dims[0], x.dims[place]))
        if positions.rank > (2 if place else 1):
            raise ShapeError(
                f"positions must be a number, {TensorType.of(positions.dtype, *wanted[1])} or"
                f" {TensorType.of(positions.dtype, *wanted[2])}, but are {positions}",
                inputs=(0, 1),
            )
        for found, size in zip(positions.dims, wanted[positions.rank], strict=True):
            check.demand_equal(
                found, size, f"the positions {positions} are not those of {x}", inputs=(0, 1)
            )

    def piece(
        self, axis: int, start: Dim, size: Dim, x: TensorType, *positions: TensorType
    ) -> Piece | None:
        place = position(x, self.axis)
        if axis == x.rank - 1:
            return None
        if axis != place:
            per_sample = axis == 0 and any(given.rank == 2 for given in positions)
            return Piece(self, (axis, *((0,) if per_sample else (None,) * len(positions))))
        if not positions:
            return Piece(self.model_copy(update={"start": self.start + start}), (axis,))
        rank = positions[0].rank
        return Piece(self, (axis, rank - 1)) if rank else None

    # ------------------------------------------------------------------------------- PyTorch

    def torch_call(self, x: TensorType, positions: TensorType | None = None) -> Call:
        places = self._torch_places(x, positions)
        function = "rotated_neighbours" if self.interleaved else "rotated_halves"
        turned = self.rotary_dim
        if turned is None or x.dims[-1] == turned:
            return Call(function, (Input(0), places, self.base))
        first = Index(Input(0), (..., slice(None, turned)))
        rest = Index(Input(0), (..., slice(turned, None)))
        return Call("torch.cat", ((Call(function, (first, places, self.base)), rest), -1))

    def _torch_places(self, x: TensorType, positions: TensorType | None) -> Index:
        """The positions with axes of size 1 for all of `x` that they do not go along."""
        place = position(x, self.axis)
        places: Any = Input(1)
        if positions is None:
            places = numbers(self.start, x.dims[place])
        elif positions.rank == 0:
            places = Infix("+", numbers(Dim.of(0), x.dims[place]), places)
        after = (None,) * (x.rank - 1 - place)
        if positions is not None and positions.rank == 2:
            return Index(places, (slice(None), *(None,) * (place - 1), slice(None), *after))
        return Index(places, (slice(None), *after))

    # ---------------------------------------------------------------------------------- ONNX

    def onnx(self, g: OnnxGraph, x: Operand, positions: Operand | None = None) -> Operand:
        width = known_width(x.type, -1, "number of features")
        turning = _Turning(g, self.rotary_dim or width, self.base, self.interleaved)
        place = position(x.type, self.axis)
        is_fused = g.opset >= 23 and x.type.rank == 4 and place == 2
        if is_fused and x.type.dtype is not DType.FLOAT64:
            return turning.fused(x, self._places(x.type, place, positions, fused=True))
        return turning.composed(x, self._places(x.type, place, positions, fused=False))

    def _places(
        self, x: TensorType, place: int, positions: Operand | None, *, fused: bool
    ) -> Places:
        after = 1 if fused else x.rank - 1 - place
        length = x.dims[place]
        if positions is None:
            return Places(self.start, length, after)
        if positions.type.rank == 0:
            return Places(Dim.of(0), length, after, offset=positions)
        between = place - 1 if positions.type.rank == 2 and not fused else 0
        return Places(Dim.of(0), length, after, between, tensor=positions)


@dataclass(frozen=True, slots=True)
class _Turning:
    """Turns features in ONNX."""

    g: OnnxGraph
    turned: int
    base: float
    interleaved: bool

    def fused(self, x: Operand, places: Places) -> Operand:
        """By the RotaryEmbedding operator, which wants its angles for each sample."""
        single = frequencies(self.turned, self.base)
        dtype = x.type.dtype
        wanted = TensorType.of(dtype, x.type.dims[0], x.type.dims[2], self.turned // 2)
        tables = [places.table(self.g, name, single, dtype) for name in ("Cos", "Sin")]
        if tables[0].type.rank == 2:
            tables = [self._repeated(table, wanted) for table in tables]
        return self.g.node(
            "RotaryEmbedding",
            x,
            *tables,
            type=x.type,
            interleaved=1 if self.interleaved else None,
            rotary_embedding_dim=None if x.type.dims[-1] == self.turned else self.turned,
        )

    def _repeated(self, table: Operand, type: TensorType) -> Operand:
        return self.g.shared(
            "positions",
            (table.name, type.dims),
            lambda: self.g.node("Expand", table, self.g.shape(type.dims), type=type),
        )

    def composed(self, x: Operand, places: Places) -> Operand:
        """By products with cosines and, the pairs swapped, with sines of the sign they need."""
        rest = x.type.dims[-1] - self.turned
        if rest == 0:
            return self._turned(x, places)
        first, last = split(self.g, x, x.type.rank - 1, (Dim.of(self.turned), rest))
        parts = (self._turned(first, places), last)
        return self.g.node("Concat", *parts, type=x.type, axis=-1)

    def _turned(self, x: Operand, places: Places) -> Operand:
        single = frequencies(self.turned, self.base)
        signed = [-frequency for frequency in single]
        if self.interleaved:
            doubled = [frequency for frequency in single for _ in range(2)]
            signed = [f for pair in zip(signed, single, strict=True) for f in pair]
        else:
            doubled, signed = single + single, signed + single
        g, type = self.g, x.type
        cosines = places.table(g, "Cos", doubled, type.dtype)
        sines = places.table(g, "Sin", signed, type.dtype)
        straight = g.node("Mul", x, cosines, type=type)
        return g.node("Add", straight, g.node("Mul", self._swapped(x), sines, type=type), type=type)

    def _swapped(self, x: Operand) -> Operand:
        if self.interleaved:
            order = [place ^ 1 for place in range(self.turned)]
            return self.g.node(
                "Gather", x, self.g.constant(order, DType.INT64), type=x.type, axis=-1
            )
        first, second = split(self.g, x, x.type.rank - 1, (Dim.of(self.turned // 2),) * 2)
        return self.g.node("Concat", second, first, type=x.type, axis=-1)
