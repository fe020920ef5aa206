"""Indexing and slicing: slices, positions, index tensors, flips and rolls."""

from typing import Any

from archdsl.ir.access import SAME, Reach, Sight, Sights
from archdsl.ir.lowering import Call, Index, Input, OnnxGraph, Operand
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Newest, Part, Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import through
from archdsl.ops.contract._axes import (
    Axes,
    as_tuple,
    axis_label,
    position,
    positions,
    torch_axes,
    torch_axis,
)
from archdsl.ops.contract._fields import Axis, Positive
from archdsl.ops.contract._tiling import beside
from archdsl.sizes.dims import Dim, ceildiv

_END = 2**63 - 1
"""What ONNX takes for the end of an axis of any size."""


class Slice(Op, function="slice"):
    """Every `step`-th position of an axis, from `start` up to but excluding `end`.

    `[*A, B, *C] -> [*A, ceildiv(end - start, step), *C]`

    Source: Python indexing in torch; ONNX Slice.

    Example: `x -> slice(axis=C, start=1)`
    """

    positional = ("axis", "start", "end", "step")

    axis: Axis
    start: Dim = Dim.of(0)
    """The first place; a negative number counts from the end."""
    end: Dim | None = None
    """The place after the last one; a negative number counts from the end."""
    step: Positive = 1

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        place = position(x, self.axis)
        size, label = x.dims[place], axis_label(x, place)
        start, end = self._bounds(size)
        what = f"the slice from {start} to {end} does not lie in axis {label} of {x}"
        check.demand_at_least(start, 0, what)
        check.demand_at_least(size - end, 0, what)
        check.demand_at_least(end - start, 0, what)
        return self._result(x)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        if axis != position(inputs[0], self.axis):
            return through(axis, SAME)
        start = self.start.value
        if start is None or start < 0:
            return None
        return through(axis, Reach.window(1, self.step, before=-start))

    def _bounds(self, size: Dim) -> tuple[Dim, Dim]:
        end = size if self.end is None else from_start(self.end, size)
        return from_start(self.start, size), end

    def _result(self, x: TensorType) -> TensorType:
        place = position(x, self.axis)
        start, end = self._bounds(x.dims[place])
        return x.with_dim(place, ceildiv(end - start, self.step))

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        place = position(x, self.axis)
        if axis != place:
            return Piece(self, (axis,))
        first = self._bounds(x.dims[place])[0] + start * self.step
        end = first + (size - 1) * self.step + 1
        return Piece(self.model_copy(update={"start": first, "end": end}), (None,))

    def newest(self, axis: int | None, x: TensorType) -> Newest | None:
        last = axis is None and self.start == -1 and self.end is None
        return Newest(self, ((0, Part(new=position(x, self.axis))),)) if last else None

    def torch_call(self, x: TensorType) -> Index:
        place = position(x, self.axis)
        start = None if self.start == 0 else self.start
        part = slice(start, self.end, None if self.step == 1 else self.step)
        return Index(Input(0), (*(slice(None),) * place, part))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        place, result = position(x.type, self.axis), self._result(x.type)
        if self.step == 1 and result.dims == x.type.dims:
            return x
        end = Dim.of(_END) if self.end is None else self.end
        return sliced(g, x, place, self.start, end, self.step, result)


class Select(Op, function="select"):
    """Selects one position of an axis and removes the axis.

    `[*A, B, *C] -> [*A, *C]`

    Source: torch.select; ONNX Gather.

    Example: `x -> select(axis=C, index=0)`
    """

    positional = ("axis", "index")

    axis: Axis
    index: Dim
    """The place; a negative number counts from the end."""

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        place = position(x, self.axis)
        index = from_start(self.index, x.dims[place])
        what = f"axis {axis_label(x, place)} of {x} has no place {self.index}"
        check.demand_at_least(index, 0, what)
        check.demand_at_least(x.dims[place] - index, 1, what)
        return x.without_axis(place)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return Piece(self, (axis + (axis >= position(x, self.axis)),))

    def newest(self, axis: int | None, x: TensorType) -> Newest | None:
        last = axis is None and self.index == -1
        return Newest(self, ((0, Part(new=position(x, self.axis))),)) if last else None

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        gone = position(inputs[0], self.axis)
        return (Sight(0, axis + (axis >= gone), SAME),)

    def torch_call(self, x: TensorType) -> Index:
        return Index(Input(0), (*(slice(None),) * position(x, self.axis), self.index))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        place = position(x.type, self.axis)
        index = g.size(self.index, DType.INT64)
        return g.node("Gather", x, index, type=x.type.without_axis(place), axis=place)


class Take(Op, function="take"):
    """Selects the positions of an axis that an index tensor of any shape lists.

    `[*A, B, *C], int64[*D] -> [*A, *D, *C]`

    Source: Python indexing in torch; ONNX Gather.

    Example: `x -> take(argmax(x, axis=C), axis=C)`
    """

    positional = ("axis",)

    axis: Axis

    def infer(self, check: Obligations, x: TensorType, index: TensorType) -> TensorType:
        place = position(x, self.axis)
        if index.dtype not in (DType.INT32, DType.INT64):
            raise ShapeError(
                f"the index must be int32 or int64, but is {index}",
                help="convert it with `cast(int64)`",
                inputs=(1,),
                code="dtype-mismatch",
            )
        return TensorType(
            x.dtype,
            (*x.dims[:place], *index.dims, *x.dims[place + 1 :]),
            (*x.axes[:place], *index.axes, *x.axes[place + 1 :]),
        )

    def piece(
        self, axis: int, start: Dim, size: Dim, x: TensorType, index: TensorType
    ) -> Piece | None:
        place = position(x, self.axis)
        if place <= axis < place + index.rank:
            return Piece(self, (None, axis - place))
        return Piece(self, (axis if axis < place else axis - index.rank + 1, None))

    def torch_call(self, x: TensorType, index: TensorType) -> Index | Call:
        if index.rank == 1:
            return Call("torch.index_select", (Input(0), torch_axis(x, self.axis), Input(1)))
        return Index(Input(0), (*(slice(None),) * position(x, self.axis), Input(1)))

    def onnx(self, g: OnnxGraph, x: Operand, index: Operand) -> Operand:
        result = self.infer(SETTLED, x.type, index.type)
        return g.node("Gather", x, index, type=result, axis=position(x.type, self.axis))


class IndexSelect(Take, function="index_select"):
    """Selects the positions of an axis that a one-dimensional index tensor lists.

    `[*A, B, *C], int64[D] -> [*A, D, *C]`

    Source: torch.index_select; ONNX Gather.

    Example: `x -> index_select(argmax(x, axis=C), axis=C)`
    """

    def infer(self, check: Obligations, x: TensorType, index: TensorType) -> TensorType:
        index.expect_rank(1, what="the index")
        return super().infer(check, x, index)


class Gather(Op, function="gather"):
    """Gathers elements along an axis, one for each position of the index.

    `[*A], int64[*B] -> [*B]`

    Source: torch.gather; ONNX GatherElements.

    Example: `x -> gather(argmax(x, axis=C, keepdim=true), axis=C)`
    """

    positional = ("axis",)

    axis: Axis

    def infer(self, check: Obligations, x: TensorType, index: TensorType) -> TensorType:
        place = position(x, self.axis)
        if index.dtype is not DType.INT64:
            raise ShapeError(
                f"the index must be int64, but is {index}",
                help="convert it with `cast(int64)`",
                inputs=(1,),
                code="dtype-mismatch",
            )
        if index.rank != x.rank:
            raise ShapeError(
                f"`gather` takes an index of as many axes: {x} has {x.rank}, {index} has"
                f" {index.rank}",
                inputs=(0, 1),
            )
        for axis, (most, size) in enumerate(zip(x.dims, index.dims, strict=True)):
            if axis != place and most != size:
                check.demand_at_least(
                    most - size,
                    0,
                    f"axis {axis_label(x, axis)} is {size} in the index,"
                    f" which is more than the {most} of {x}",
                )
        return index.with_dtype(x.dtype)

    def piece(
        self, axis: int, start: Dim, size: Dim, x: TensorType, index: TensorType
    ) -> Piece | None:
        return Piece(self, (None if axis == position(x, self.axis) else axis, axis))

    def torch_call(self, x: TensorType, index: TensorType) -> Call:
        return Call("torch.gather", (Input(0), torch_axis(x, self.axis), Input(1)))

    def onnx(self, g: OnnxGraph, x: Operand, index: Operand) -> Operand:
        result = index.type.with_dtype(x.type.dtype)
        return g.node("GatherElements", x, index, type=result, axis=position(x.type, self.axis))


class Flip(Op, function="flip"):
    """Reverses the order of the elements along axes.

    `[*] -> [*]`

    Source: torch.flip; ONNX Slice.

    Example: `x -> flip(axis=C)`
    """

    positional = ("axis",)

    axis: Axes

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        positions(x, self.axis)
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, positions(x, self.axis), (x,))

    def torch_call(self, x: TensorType) -> Call:
        return Call("torch.flip", (Input(0), as_tuple(torch_axes(x, self.axis))))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        places = positions(x.type, self.axis)
        columns = ([-1] * len(places), [-_END] * len(places), places, [-1] * len(places))
        bounds = [g.constant(list(column), DType.INT64) for column in columns]
        return g.node("Slice", x, *bounds, type=x.type)


class Roll(Op, function="roll"):
    """Shifts the elements along axes; elements shifted past the end reappear at the start.

    `[*] -> [*]`

    Source: torch.roll; ONNX Slice, Concat.

    Example: `x -> roll(1, axis=C)`
    """

    positional = ("shifts", "axis")

    shifts: int | tuple[int, ...]
    axis: Axes

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        shifts, places = self._shifts(), positions(x, self.axis)
        if len(shifts) != len(places):
            raise ShapeError(
                f"`roll` got {len(shifts)} shifts for {len(places)} axes", attribute="shifts"
            )
        return x

    def _shifts(self) -> tuple[int, ...]:
        return self.shifts if isinstance(self.shifts, tuple) else (self.shifts,)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, positions(x, self.axis), (x,))

    def torch_call(self, x: TensorType) -> Call:
        shifts: Any = self.shifts
        return Call("torch.roll", (Input(0), shifts, torch_axes(x, self.axis)))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        for shift, place in zip(self._shifts(), positions(x.type, self.axis), strict=True):
            x = _rolled(g, x, shift, place)
        return x


def _rolled(g: OnnxGraph, x: Operand, shift: int, place: int) -> Operand:
    size = x.type.dims[place]
    # A shift by one place falls inside every axis; a longer one may go round several times.
    start = Dim.of(-shift) if shift in (1, -1) else size - shift % size
    if shift == 0 or start == size:
        return x
    length = size + start if shift == 1 else start
    tail = x.type.with_dim(place, size - length)
    head = x.type.with_dim(place, length)
    parts = (
        sliced(g, x, place, start, Dim.of(_END), 1, tail),
        sliced(g, x, place, Dim.of(0), start, 1, head),
    )
    return g.node("Concat", *parts, type=x.type, axis=place)


def from_start(place: Dim, size: Dim) -> Dim:
    """A place counted from the start; a known negative one was counted from the end."""
    return size + place if place.value is not None and place.value < 0 else place


def sliced(
    g: OnnxGraph, x: Operand, place: int, start: Dim, end: Dim, step: int, result: TensorType
) -> Operand:
    """The Slice node along one axis."""
    bounds = [g.shape([start]), g.shape([end]), g.constant([place], DType.INT64)]
    if step != 1:
        bounds.append(g.constant([step], DType.INT64))
    return g.node("Slice", x, *bounds, type=result)
