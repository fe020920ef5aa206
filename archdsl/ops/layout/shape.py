"""Reshape, flatten, transpose, squeeze and their kin."""

from collections.abc import Sequence
from math import prod
from typing import Any

from archdsl.ir.access import SAME, Sight, Sights
from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import moved
from archdsl.ops.contract._axes import Axes, axis_label, position, positions, torch_axes, torch_axis
from archdsl.ops.contract._fields import Axis, Shape
from archdsl.ops.contract._tiling import Moving, Reshaping, resized, unmoved
from archdsl.ops.layout.joining import new_place
from archdsl.sizes.dims import Dim


class Reshape(Reshaping, function="reshape"):
    """The same elements in another shape; one size may be -1 and is inferred.

    `[*] -> [*shape]`

    Source: torch.reshape; ONNX Reshape.

    Example: `x -> reshape(N, 2, -1)`
    """

    positional = ("*shape",)

    shape: Shape

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        sizes = _solved(check, self.shape, x.dims, x)
        return TensorType(x.dtype, sizes, _kept_names(x, sizes))

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        source = unmoved(axis, x.dims, self.infer(SETTLED, x).dims)
        op = self.model_copy(update={"shape": resized(self.shape, axis, size)})
        return None if source is None else Piece(op, (source,))

    def torch_call(self, x: TensorType) -> Call:
        return Call(".reshape", (Input(0), *(self.shape or ((),))))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return reshaped(g, x, self.infer(SETTLED, x.type))


class Flatten(Reshaping, layer="Flatten", function="flatten"):
    """Merges neighbouring axes into one; by default all except the first.

    `[N, *] -> [N, C]`

    Source: torch.nn.Flatten; ONNX Flatten, Reshape.

    Example: `x -> flatten`
    """

    positional = ("start_axis", "end_axis")

    start_axis: Axis = 1
    end_axis: Axis = -1

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        start, end = position(x, self.start_axis), position(x, self.end_axis)
        if start > end:
            raise ShapeError(
                f"`start_axis` is axis {start} of {x}, which stands after `end_axis`, axis {end}",
                attribute="start_axis",
            )
        if start == end:
            return x
        size = prod(x.dims[start : end + 1], start=Dim.of(1))
        return TensorType(
            x.dtype,
            (*x.dims[:start], size, *x.dims[end + 1 :]),
            (*x.axes[:start], None, *x.axes[end + 1 :]),
        )

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        first, last = position(x, self.start_axis), position(x, self.end_axis)
        if axis == first != last:
            return None
        return Piece(self, (axis if axis <= first else axis + last - first,))

    def share(self, count: int, *inputs: TensorType) -> Piece | None:
        # What stands outermost among the axes that become one is parted as they are.
        return Piece(self, (1,)) if position(inputs[0], self.start_axis) == 1 else None

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        start = position(inputs[0], self.start_axis)
        gone = position(inputs[0], self.end_axis) - start
        if axis == start and gone:
            return None
        return (Sight(0, axis if axis <= start else axis + gone, SAME),)

    def torch_module(self, x: TensorType) -> Module:
        keywords: dict[str, Any] = {}
        if self.start_axis != 1:
            keywords["start_dim"] = torch_axis(x, self.start_axis)
        if self.end_axis != -1:
            keywords["end_dim"] = torch_axis(x, self.end_axis)
        return Module("nn.Flatten", (), keywords)

    def torch_call(self, x: TensorType) -> Call:
        start, end = torch_axis(x, self.start_axis), torch_axis(x, self.end_axis)
        return Call("torch.flatten", (Input(0), start, *(() if end == -1 else (end,))))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        result = self.infer(SETTLED, x.type)
        if result.rank == 2 and result.dims[0] == x.type.dims[0] and x.type.rank > 2:
            return g.node("Flatten", x, type=result, axis=1)
        return reshaped(g, x, result)


class Unflatten(Reshaping, function="unflatten"):
    """Splits one axis into several; one size may be -1 and is inferred.

    `[*A, B, *C] -> [*A, *shape, *C]`

    Source: torch.unflatten; ONNX Reshape.

    Example: `x -> unflatten(C, [2, -1])`
    """

    positional = ("axis", "shape")

    axis: Axis
    shape: Shape

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        place = position(x, self.axis)
        sizes = _solved(check, self.shape, x.dims[place : place + 1], x)
        names = tuple(dim.symbol_name for dim in self.shape)
        return TensorType(
            x.dtype,
            (*x.dims[:place], *sizes, *x.dims[place + 1 :]),
            (*x.axes[:place], *names, *x.axes[place + 1 :]),
        )

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        source = unmoved(axis, x.dims, self.infer(SETTLED, x).dims)
        shape = resized(self.shape, axis - position(x, self.axis), size)
        op = self.model_copy(update={"shape": shape})
        return None if source is None else Piece(op, (source,))

    def torch_call(self, x: TensorType) -> Call:
        return Call(".unflatten", (Input(0), torch_axis(x, self.axis), self.shape))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return reshaped(g, x, self.infer(SETTLED, x.type))


class Permute(Moving, function="permute"):
    """Reorders the axes.

    `[*A] -> [*B]`

    Source: torch.permute; ONNX Transpose.

    Example: `x -> permute(1, 0)`
    """

    positional = ("*axes",)

    axes: tuple[Axis, ...]

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        places = positions(x, self.axes)
        if len(places) != x.rank:
            raise ShapeError(
                f"`permute` must name every axis of {x} once, but names {len(places)}",
                attribute="axes",
            )
        return reordered(x, places)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return Piece(self, (positions(x, self.axes)[axis],))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return moved(axis, positions(inputs[0], self.axes))

    def torch_call(self, x: TensorType) -> Call:
        axes = tuple(torch_axis(x, axis) for axis in self.axes)
        return Call(".permute", (Input(0), *(axes or ((),))))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return _transposed(g, x, positions(x.type, self.axes))


class Transpose(Moving, function="transpose"):
    """Swaps two axes.

    `[*, A, *, B, *] -> [*, B, *, A, *]`

    Source: torch.transpose; ONNX Transpose.

    Example: `x -> transpose(0, 1)`
    """

    positional = ("axis0", "axis1")

    axis0: Axis
    axis1: Axis

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return reordered(x, self._places(x))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return moved(axis, self._places(inputs[0]))

    def _places(self, x: TensorType) -> list[int]:
        first, second = position(x, self.axis0), position(x, self.axis1)
        places = list(range(x.rank))
        places[first], places[second] = second, first
        return places

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return Piece(self, (self._places(x)[axis],))

    def torch_call(self, x: TensorType) -> Call:
        axes = torch_axis(x, self.axis0), torch_axis(x, self.axis1)
        return Call(".transpose", (Input(0), *axes))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return _transposed(g, x, self._places(x.type))


class Squeeze(Reshaping, function="squeeze"):
    """Removes axes of size 1.

    `[*A, 1, *B] -> [*A, *B]`

    Source: torch.squeeze; ONNX Squeeze.

    Example: `x -> unsqueeze(1) -> squeeze(axis=1)`
    """

    positional = ("axis",)

    axis: Axes

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        result = x
        for place in sorted(positions(x, self.axis), reverse=True):
            check.demand_equal(
                x.dims[place],
                Dim.of(1),
                f"`squeeze` removes axes of size 1,"
                f" but axis {axis_label(x, place)} of {x} has size {x.dims[place]}",
                inputs=(0,),
            )
            result = result.without_axis(place)
        return result

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        gone = positions(x, self.axis)
        left = [place for place in range(x.rank) if place not in gone]
        return Piece(self, (left[axis],))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        gone = positions(inputs[0], self.axis)
        return moved(axis, [place for place in range(inputs[0].rank) if place not in gone])

    def torch_call(self, x: TensorType) -> Call:
        return Call(".squeeze", (Input(0), torch_axes(x, self.axis)))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        axes = g.constant(sorted(positions(x.type, self.axis)), DType.INT64)
        return g.node("Squeeze", x, axes, type=self.infer(SETTLED, x.type))


class Unsqueeze(Reshaping, function="unsqueeze"):
    """Inserts an axis of size 1.

    `[*A, *B] -> [*A, 1, *B]`

    Source: torch.unsqueeze; ONNX Unsqueeze.

    Example: `x -> unsqueeze(1)`
    """

    positional = ("axis",)

    axis: int

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return x.with_axis(new_place(x, self.axis), 1)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        place = new_place(x, self.axis)
        return None if axis == place else Piece(self, (axis - (axis > place),))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        new = new_place(inputs[0], self.axis)
        return None if axis == new else moved(axis - (axis > new), range(inputs[0].rank))

    def torch_call(self, x: TensorType) -> Call:
        return Call(".unsqueeze", (Input(0), self.axis))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        result = self.infer(SETTLED, x.type)
        axes = g.constant([new_place(x.type, self.axis)], DType.INT64)
        return g.node("Unsqueeze", x, axes, type=result)


def reshaped(g: OnnxGraph, x: Operand, result: TensorType) -> Operand:
    """`x` in the dims of the result, under the result's axis names."""
    return Operand(g.reshape(x, result).name, result)


def reordered(x: TensorType, places: Sequence[int]) -> TensorType:
    """The type with its axes in another order."""
    return TensorType(
        x.dtype, tuple(x.dims[place] for place in places), tuple(x.axes[place] for place in places)
    )


def _transposed(g: OnnxGraph, x: Operand, places: Sequence[int]) -> Operand:
    if list(places) == list(range(x.type.rank)):
        return x
    return g.node("Transpose", x, type=reordered(x.type, places), perm=tuple(places))


def _solved(check: Obligations, wanted: Shape, dims: Shape, x: TensorType) -> Shape:
    """The sizes, with -1 replaced by what is left of the elements of `dims`."""
    total = prod(dims, start=Dim.of(1))
    free = [place for place, size in enumerate(wanted) if size == -1]
    given = [size for size in wanted if size != -1]
    listed = f"[{', '.join(map(str, wanted))}]"
    if len(free) > 1:
        raise ShapeError(
            f"only one size may be -1, but {listed} has {len(free)}", attribute="shape"
        )
    for size in given:
        check.demand_at_least(size, 0, f"a size cannot be negative, but is {size}")
    known = prod(given, start=Dim.of(1))
    if free and known == 0:
        raise ShapeError(f"-1 can be anything in {listed}", attribute="shape")
    sizes = list(wanted)
    if free:
        check.demand_at_least(
            known, 1, f"-1 can be anything in {listed} where {known} is 0; write the size"
        )
        sizes[free[0]] = total // known
        known = known * sizes[free[0]]
    check.demand_equal(
        known,
        total,
        f"{listed} has {prod(given, start=Dim.of(1))} elements"
        f"{' for every one of the size -1' if free else ''},"
        f" but there are {total} in {x if len(dims) == x.rank else f'an axis of {x}'}",
        inputs=(0,),
    )
    return tuple(sizes)


def _kept_names(x: TensorType, sizes: Shape) -> tuple[str | None, ...]:
    """Axes in front and at the end that stay as they are keep their names."""
    names: list[str | None] = [None] * len(sizes)
    shorter = min(x.rank, len(sizes))
    front = 0
    while front < shorter and x.dims[front] == sizes[front]:
        names[front] = x.axes[front]
        front += 1
    back = 1
    while back <= shorter - front and x.dims[-back] == sizes[-back]:
        names[-back] = x.axes[-back]
        back += 1
    return tuple(names)
