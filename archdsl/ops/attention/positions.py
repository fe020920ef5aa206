"""Position encodings: sinusoidal, ALiBi's biases, T5's relative buckets."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, sin
from typing import Annotated, ClassVar

from pydantic import Field

from archdsl.ir.lowering import Call, Device, Index, Infix, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.attention._angles import (
    LARGEST_WRITTEN,
    Places,
    computed_in,
    frequencies,
    numbers,
)
from archdsl.ops.attention._buckets import Buckets
from archdsl.ops.attention._masks_onnx import arange, joined
from archdsl.ops.contract._fields import Positive
from archdsl.ops.contract._tiling import leading
from archdsl.ops.elementwise._casting import cast
from archdsl.sizes.dims import Dim

Base = Annotated[float, Field(gt=0, allow_inf_nan=False)]


_SINUSOIDS = '''
def sinusoids(positions, width, base, dtype=torch.float32):
    """The sine and the cosine of each position, side by side for each wavelength."""
    places = torch.arange(0, width, 2, dtype=dtype, device=positions.device)
    angles = positions[..., None] * (1.0 / base ** (places / width))
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)
'''

_SINES_AND_COSINES = '''
def sines_and_cosines(positions, width, base, dtype=torch.float32):
    """The sines of each position for all wavelengths, then the cosines."""
    places = torch.arange(0, width, 2, dtype=dtype, device=positions.device)
    angles = positions[..., None] * (1.0 / base ** (places / width))
    return torch.cat((angles.sin(), angles.cos()), -1)
'''

_SIGNED_BUCKETS = '''
def signed_buckets(relative, bounds):
    """How many bounds a distance reaches, counted on from there for what comes later."""
    bounds = torch.tensor(bounds, device=relative.device)
    buckets = torch.bucketize(relative.abs(), bounds, right=True)
    return buckets + (relative > 0) * (len(bounds) + 1)
'''

_PAST_BUCKETS = '''
def past_buckets(relative, bounds):
    """How many bounds a distance back reaches; what comes later is at no distance."""
    bounds = torch.tensor(bounds, device=relative.device)
    return torch.bucketize(-relative.clamp(max=0), bounds, right=True)
'''


class SinusoidalPositions(Op, function="sinusoidal_positions"):
    """Sinusoidal position encoding, with wavelengths from `2 pi` to `2 pi base`.

    `-> [length, width]` or `[*] -> [*, width]`

    Pass a length, whose positions count from `start`, or a tensor of positions.

    Source: Vaswani et al. 2017, section 3.5; torch.sin, torch.cos; ONNX Sin, Cos.

    Example: `sinusoidal_positions(T, 16)`
    """

    positional = ("length", "width")
    torch_functions: ClassVar[Mapping[str, str]] = {
        "sinusoids": _SINUSOIDS,
        "sines_and_cosines": _SINES_AND_COSINES,
    }

    length: Dim | None = None
    width: Positive
    start: Dim = Dim.of(0)
    base: Base = 10000.0
    interleaved: bool = True
    """Whether sine and cosine alternate as in the paper, or all sines come before all cosines."""
    dtype: DType = DType.FLOAT32

    def infer(self, check: Obligations, positions: TensorType | None = None) -> TensorType:
        if self.width % 2:
            raise ShapeError(f"`width` must be even, but is {self.width}", attribute="width")
        _demand_floating(self.dtype)
        if (positions is None) == (self.length is None):
            given = "neither" if positions is None else "both"
            raise ShapeError(
                f"`sinusoidal_positions` takes a length or a tensor of positions, but got {given}",
                attribute="length",
            )
        if self.length is not None:
            _demand_length(check, self.length, "length")
        if positions is not None:
            self._check_positions(positions)
        return self._result(positions)

    def _check_positions(self, positions: TensorType) -> None:
        if self.start != 0:
            raise ShapeError(
                f"`start` is for positions that count from it, not for those of {positions}",
                attribute="start",
            )
        computed = computed_in(self.dtype)
        if not positions.dtype.is_integer and positions.dtype is not computed:
            raise ShapeError(
                f"positions must be integers or {computed}, but are {positions}",
                help=f"convert them with `cast({computed})`",
                inputs=(0,),
                code="dtype-mismatch",
            )

    def _result(self, positions: TensorType | None) -> TensorType:
        if positions is None:
            return TensorType.of(self.dtype, self.length or 0, self.width)
        return positions.with_axis(positions.rank, self.width).with_dtype(self.dtype)

    def piece(
        self, axis: int, start: Dim, size: Dim, positions: TensorType | None = None
    ) -> Piece | None:
        if positions is not None:
            return leading(self, axis, positions.rank, (positions,))
        later = {"start": self.start + start, "length": size}
        return Piece(self.model_copy(update=later), ()) if axis == 0 else None

    def torch_call(self, positions: TensorType | None = None) -> Call:
        places = Input(0) if self.length is None else numbers(self.start, self.length)
        function = "sinusoids" if self.interleaved else "sines_and_cosines"
        computed = computed_in(self.dtype)
        precise = {} if computed is DType.FLOAT32 else {"dtype": computed}
        found = Call(function, (places, self.width, self.base), precise)
        return found if self.dtype is computed else Call(".to", (found, self.dtype))

    def onnx(self, g: OnnxGraph, positions: Operand | None = None) -> Operand:
        result = self._result(positions and positions.type)
        places = Places(self.start, self.length or Dim.of(0), tensor=positions)
        known = places.known
        if known and len(known) * self.width <= LARGEST_WRITTEN:
            return g.constant([self._row(place) for place in known], self.dtype)
        single = frequencies(self.width, self.base)
        if not self.interleaved:
            sides = [places.table(g, name, single, self.dtype) for name in ("Sin", "Cos")]
            return g.node("Concat", *sides, type=result, axis=-1)
        doubled = [frequency for frequency in single for _ in range(2)]
        sines, cosines = (places.table(g, name, doubled, self.dtype) for name in ("Sin", "Cos"))
        is_sine = g.constant([True, False] * len(single), DType.BOOL)
        return g.node("Where", is_sine, sines, cosines, type=result)

    def _row(self, place: int) -> list[float]:
        angles = [place * frequency for frequency in frequencies(self.width, self.base)]
        if self.interleaved:
            return [function(angle) for angle in angles for function in (sin, cos)]
        return [function(angle) for function in (sin, cos) for angle in angles]


class ALiBi(Op, function="alibi"):
    """A bias for attention scores that penalises distant keys, with one slope per head.

    `-> [num_heads, query_length, key_length]`

    The bias is minus the distance times the slope. With fewer queries than keys, as with a cache,
    `start` is the position of the first query among the keys.

    Source: Press et al. 2022; torch.arange, torch.abs; ONNX Abs, Mul.

    Example: `alibi(4, T, T)`
    """

    positional = ("num_heads", "query_length", "key_length")

    num_heads: Annotated[int, Field(ge=1, le=65_536)]
    query_length: Dim
    key_length: Dim
    start: Dim = Dim.of(0)
    dtype: DType = DType.FLOAT32

    def infer(self, check: Obligations) -> TensorType:
        _demand_floating(self.dtype)
        _demand_length(check, self.query_length, "query_length")
        _demand_length(check, self.key_length, "key_length")
        return self._result()

    def _result(self) -> TensorType:
        return TensorType.of(self.dtype, self.num_heads, self.query_length, self.key_length)

    def piece(self, axis: int, start: Dim, size: Dim) -> Piece | None:
        return None if axis == 0 else _of_pairs(self, axis - 1, self.start, start, size)

    @property
    def _slopes(self) -> list[float]:
        """Powers of one ratio; where the heads are no power of 2, every second one between."""
        power = 1 << (self.num_heads.bit_length() - 1)
        regular = [2.0 ** (-8.0 * head / power) for head in range(1, power + 1)]
        between = [2.0 ** (-4.0 * head / power) for head in range(1, 2 * power + 1, 2)]
        return regular + between[: self.num_heads - power]

    def torch_call(self) -> Call:
        computed = computed_in(self.dtype)
        settings = {} if computed is DType.FLOAT32 else {"dtype": computed}
        slopes = Call(
            "torch.tensor", ([-slope for slope in self._slopes],), settings | {"device": Device()}
        )
        distances = Call(".abs", (_relative(self.start, self.query_length, self.key_length),))
        product = Call("torch.mul", (distances, Index(slopes, (slice(None), None, None))))
        return product if self.dtype is computed else Call(".to", (product, self.dtype))

    def onnx(self, g: OnnxGraph) -> Operand:
        return g.shared("positions", repr(self), lambda: self._made(g))

    def _made(self, g: OnnxGraph) -> Operand:
        result, computed = self._result(), computed_in(self.dtype)
        relative = _relative_onnx(g, self.start, self.query_length, self.key_length)
        distances = cast(g, g.node("Abs", relative, type=relative.type), computed)
        slopes = g.constant([[[-slope]] for slope in self._slopes], computed)
        product = g.node("Mul", distances, slopes, type=result.with_dtype(computed))
        return cast(g, product, self.dtype)


class RelativePositionBucket(Op, function="relative_position_bucket"):
    """The bucket of the distance from each query to each key; buckets get wider with distance.

    `-> int64[query_length, key_length]`

    An `Embedding` of the bucket is the bias for the scores. With fewer queries than keys, as with
    a cache, `start` is the position of the first query among the keys.

    Source: Raffel et al. 2020 (T5); torch.bucketize; ONNX Gather.

    Example: `relative_position_bucket(T, T)`
    """

    positional = ("query_length", "key_length")
    torch_functions: ClassVar[Mapping[str, str]] = {
        "signed_buckets": _SIGNED_BUCKETS,
        "past_buckets": _PAST_BUCKETS,
    }

    query_length: Dim
    key_length: Dim
    bidirectional: bool = True
    """Whether later keys have buckets of their own, half of all; else all are at distance 0."""
    num_buckets: Positive = 32
    max_distance: Positive = 128
    """From this distance on all are in the last bucket."""
    start: Dim = Dim.of(0)

    def infer(self, check: Obligations) -> TensorType:
        _demand_length(check, self.query_length, "query_length")
        _demand_length(check, self.key_length, "key_length")
        single = self._buckets.single
        if single < 1 or (self.bidirectional and self.num_buckets % 2):
            need = "even and at least 4" if self.bidirectional else "at least 2"
            raise ShapeError(
                f"`num_buckets` must be {need}, but is {self.num_buckets}", attribute="num_buckets"
            )
        if self.max_distance <= single:
            raise ShapeError(
                f"`max_distance` must be more than {single}, the number of distances that have a"
                f" bucket of their own, but is {self.max_distance}",
                attribute="max_distance",
            )
        return self._result()

    def _result(self) -> TensorType:
        return TensorType.of(DType.INT64, self.query_length, self.key_length)

    def piece(self, axis: int, start: Dim, size: Dim) -> Piece | None:
        return _of_pairs(self, axis - 0, self.start, start, size)

    @property
    def _buckets(self) -> Buckets:
        count = self.num_buckets // 2 if self.bidirectional else self.num_buckets
        return Buckets(count, self.max_distance)

    def torch_call(self) -> Call:
        relative = _relative(self.start, self.query_length, self.key_length)
        bounds = self._buckets.thresholds()
        return Call("signed_buckets" if self.bidirectional else "past_buckets", (relative, bounds))

    def onnx(self, g: OnnxGraph) -> Operand:
        return g.shared("positions", repr(self), lambda: self._made(g))

    def _made(self, g: OnnxGraph) -> Operand:
        """Buckets of all different distances in a list, from which each place takes its own."""
        most = self._buckets.thresholds()[-1]
        listed = [self._bucket(distance) for distance in range(-most, most + 1)]
        # Counted from the earliest place in the list.
        relative = _relative_onnx(g, self.start - most, self.query_length, self.key_length)
        bounds = [g.constant(bound, DType.INT64) for bound in (0, 2 * most)]
        places = g.node("Clip", relative, *bounds, type=relative.type)
        return g.node(
            "Gather", g.constant(listed, DType.INT64), places, type=self._result(), axis=0
        )

    def _bucket(self, relative: int) -> int:
        distance = abs(relative) if self.bidirectional else max(0, -relative)
        bucket = sum(bound <= distance for bound in self._buckets.thresholds())
        return bucket + self._buckets.count if self.bidirectional and relative > 0 else bucket


def _relative(start: Dim, queries: Dim, keys: Dim) -> Infix:
    """In torch, how many places each key comes after each query."""
    column = Index(numbers(start, queries), (slice(None), None))
    return Infix("-", numbers(Dim.of(0), keys), column)


def _relative_onnx(g: OnnxGraph, start: Dim, queries: Dim, keys: Dim) -> Operand:
    column, row = arange(g, start, queries, 1), arange(g, Dim.of(0), keys, 0)
    return g.node("Sub", row, column, type=joined(row.type, column.type))


def _of_pairs(op: Op, axis: int, place: Dim, start: Dim, size: Dim) -> Piece:
    """Some of the queries (axis 0), or some of the keys: a later key is as an earlier query."""
    changed = {"query_length": size, "start": place + start}
    if axis == 1:
        changed = {"key_length": size, "start": place - start}
    return Piece(op.model_copy(update=changed), ())


def _demand_floating(dtype: DType) -> None:
    if not dtype.is_floating:
        raise ShapeError(
            f"`dtype` must be a floating point type, but is {dtype}", attribute="dtype"
        )


def _demand_length(check: Obligations, length: Dim, name: str) -> None:
    check.demand_at_least(length, 0, f"`{name}` cannot be negative, but is {length}")
