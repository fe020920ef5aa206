"""Expanding and repeating: expand, tile and repeat_interleave."""

from itertools import zip_longest

from archdsl.ir.access import EVERYWHERE, SAME, Sight, Sights
from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._axes import axis_label, position, torch_axis
from archdsl.ops.contract._fields import Axis, Shape
from archdsl.ops.contract._tiling import Moving, beside, broadcast_axes, resized
from archdsl.ops.layout.shape import reshaped
from archdsl.sizes.dims import Dim


class Expand(Moving, function="expand"):
    """Expands axes of size 1, and adds new axes in front; -1 keeps a size.

    `[*A, 1] -> [*B, *A, C]`

    Source: torch.Tensor.expand; ONNX Expand.

    Example: `x -> unsqueeze(1) -> expand(N, 3, -1)`
    """

    positional = ("*shape",)

    shape: Shape

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        new = len(self.shape) - x.rank
        if new < 0:
            raise ShapeError(
                f"`shape` has {len(self.shape)} sizes, but {x} has {x.rank} axes",
                attribute="shape",
            )
        fresh = self.shape[:new]
        for size in fresh:
            if size == -1:
                raise ShapeError("a new axis cannot keep its size (-1)", attribute="shape")
            check.demand_at_least(size, 0, f"a size cannot be negative, but is {size}")
        kept = [
            self._stretched(check, x, place, wanted)
            for place, wanted in enumerate(self.shape[new:])
        ]
        return TensorType(x.dtype, (*fresh, *kept), (*(dim.symbol_name for dim in fresh), *x.axes))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        x = inputs[0]
        own = axis - (len(self.shape) - x.rank)
        if own < 0:
            return None
        is_stretched = x.dims[own] == 1 and self.shape[axis] not in (1, -1)
        return (Sight(0, own, EVERYWHERE if is_stretched else SAME),)

    def _stretched(self, check: Obligations, x: TensorType, place: int, wanted: Dim) -> Dim:
        dim = x.dims[place]
        if wanted == -1 or wanted == dim:
            return dim
        if dim != 1:
            check.demand_equal(
                dim,
                wanted,
                f"axis {axis_label(x, place)} of {x} has size {dim} and cannot become {wanted}",
                inputs=(0,),
            )
        check.demand_at_least(wanted, 0, f"a size cannot be negative, but is {wanted}")
        return wanted

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        op = self.model_copy(update={"shape": resized(self.shape, axis, size)})
        return Piece(op, broadcast_axes(axis, (x,), rank=len(self.shape)))

    def torch_call(self, x: TensorType) -> Call:
        return Call(".expand", (Input(0), *(self.shape or ((),))))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        result = self.infer(SETTLED, x.type)
        if result.dims == x.type.dims:
            return x
        new = result.rank - x.type.rank
        # A 1 keeps a size, so that sizes that stay need not be computed.
        told = [
            Dim.of(1) if place >= new and x.type.dims[place - new] == dim else dim
            for place, dim in enumerate(result.dims)
        ]
        return g.node("Expand", x, g.shape(told), type=result)


class Tile(Moving, function="tile"):
    """Repeats the whole tensor along its axes; missing numbers in front are 1.

    `[*A] -> [*B]`

    Source: torch.tile; ONNX Tile.

    Example: `x -> tile(1, 2)`
    """

    positional = ("*repeats",)

    repeats: Shape

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        for count in self.repeats:
            check.demand_at_least(count, 1, f"`repeats` must be at least 1, but has {count}")
        axes = tuple(reversed(tuple(zip_longest(reversed(x.axes), reversed(self.repeats)))))
        dims, counts = self._aligned(x)
        sizes = tuple(dim * count for dim, count in zip(dims, counts, strict=True))
        return TensorType(x.dtype, sizes, tuple(name for name, _ in axes))

    def _aligned(self, x: TensorType) -> tuple[list[Dim], list[Dim]]:
        one = Dim.of(1)
        pairs = tuple(zip_longest(reversed(x.dims), reversed(self.repeats), fillvalue=one))
        return [dim for dim, _ in reversed(pairs)], [count for _, count in reversed(pairs)]

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        dims, counts = self._aligned(x)
        new = len(dims) - x.rank
        return Piece(self, (axis - new,)) if counts[axis] == 1 and axis >= new else None

    def torch_call(self, x: TensorType) -> Call:
        return Call("torch.tile", (Input(0), self.repeats))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        result = self.infer(SETTLED, x.type)
        dims, counts = self._aligned(x.type)
        if len(dims) > x.type.rank:
            places = list(range(len(dims) - x.type.rank))
            raised = TensorType.of(x.type.dtype, *dims)
            x = g.node("Unsqueeze", x, g.constant(places, DType.INT64), type=raised)
        return g.node("Tile", x, g.shape(counts), type=result) if counts else x


class RepeatInterleave(Moving, function="repeat_interleave"):
    """Repeats every element of an axis in place.

    `[*A, B, *C] -> [*A, repeats * B, *C]`

    Source: torch.repeat_interleave; ONNX Unsqueeze, Expand, Reshape.

    Example: `x -> repeat_interleave(2, axis=C)`
    """

    positional = ("repeats", "axis")

    repeats: Dim
    axis: Axis

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        place = position(x, self.axis)
        check.demand_at_least(
            self.repeats, 1, f"`repeats` must be at least 1, but is {self.repeats}"
        )
        return x.with_dim(place, x.dims[place] * self.repeats)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, (position(x, self.axis),), (x,))

    def torch_call(self, x: TensorType) -> Call:
        axis = torch_axis(x, self.axis)
        return Call(".repeat_interleave", (Input(0), self.repeats), {"dim": axis})

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        place = position(x.type, self.axis)
        raised = x.type.with_axis(place + 1, 1)
        axes = g.constant([place + 1], DType.INT64)
        column = g.node("Unsqueeze", x, axes, type=raised)
        told = [self.repeats if axis == place + 1 else Dim.of(1) for axis in range(raised.rank)]
        copies = g.node(
            "Expand", column, g.shape(told), type=raised.with_dim(place + 1, self.repeats)
        )
        return reshaped(g, copies, self.infer(SETTLED, x.type))
