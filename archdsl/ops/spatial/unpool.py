"""Unpooling: a partial inverse of max pooling."""

from math import prod

from archdsl.ir.access import SAME, Reach, Sight, Sights
from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._axes import axis_label
from archdsl.ops.contract._fields import Offset, Shape, Size
from archdsl.ops.spatial._windows import Windows, expect_images, windows_of
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Compare


class MaxUnpool(Op, function="max_unpool"):
    """Writes values back to the indices from `max_pool`, with zeros elsewhere.

    `[N, C, *S'], int64[N, C, *S'] -> [N, C, *S]`

    Source: torch.nn.functional.max_unpool1d/2d/3d; ONNX ScatterElements.

    Example: `max_unpool(max_pool(x, 2, return_indices=true), kernel_size=2)`
    """

    positional = ("kernel_size", "stride")

    kernel_size: Size
    stride: Size | None = None
    """As the kernel, unless given."""
    padding: Offset = 0
    size: Shape | None = None
    """The sizes of what was pooled, where these settings alone do not tell them."""

    def infer(self, check: Obligations, x: TensorType, indices: TensorType) -> TensorType:
        expect_images(x)
        if indices.dtype is not DType.INT64 or indices.rank != x.rank:
            raise ShapeError(
                f"the places must be int64 with {x.rank} axes, but are {indices}", inputs=(1,)
            )
        for axis, (size, found) in enumerate(zip(x.dims, indices.dims, strict=True)):
            check.demand_equal(
                size,
                found,
                f"{x} has not as many places as {indices} along axis {axis_label(x, axis)}",
                inputs=(0, 1),
            )
        result = self._result(x)
        settled = zip(result.dims[2:], self._usual(x), self._windows(x).stride, strict=True)
        for axis, (size, usual, step) in enumerate(settled, 2):
            self._demand_near(check, x, axis, size, usual, step)
        return result

    def _demand_near(
        self, check: Obligations, x: TensorType, axis: int, size: Dim, usual: Dim, step: int
    ) -> None:
        """What was pooled is the usual size, give or take less than a stride."""
        label = axis_label(x, axis)
        check.demand_at_least(size, 1, f"axis {label} of {x} would become {size}")
        what = (
            f"axis {label} of {x} comes from one of about {usual},"
            f" by less than the stride of {step}, but `size` says {size}"
        )
        check.demand(Compare(size, ">", usual - step), what, inputs=(0,))
        check.demand(Compare(size, "<", usual + step), what, inputs=(0,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        if axis < 2:
            return tuple(Sight(number, axis, SAME) for number in range(2))
        windows, place = self._windows(inputs[0]), axis - 2
        kernel, stride = windows.kernel[place], windows.stride[place]
        reach = Reach.spread(kernel, stride, windows.before[place], 1)
        return tuple(Sight(number, axis, reach) for number in range(2))

    def _windows(self, x: TensorType) -> Windows:
        return windows_of(x.rank - 2, self.kernel_size, self.stride, self.padding, 1)

    def _usual(self, x: TensorType) -> list[Dim]:
        windows = self._windows(x)
        places = zip(x.dims[2:], windows.kernel, windows.stride, windows.before, strict=True)
        return [(size - 1) * step + width - 2 * pad for size, width, step, pad in places]

    def _result(self, x: TensorType) -> TensorType:
        if self.size is None:
            return x.with_dims(*x.dims[:2], *self._usual(x))
        if len(self.size) != x.rank - 2:
            raise ShapeError(
                f"`size` has {len(self.size)} numbers, but {x} has {x.rank - 2} spatial axes",
                attribute="size",
            )
        return x.with_dims(*x.dims[:2], *self.size)

    def torch_call(self, x: TensorType, indices: TensorType) -> Call:
        keywords = self.changed("stride", "padding")
        if self.size is not None:
            keywords["output_size"] = self.size
        inputs = (Input(0), Input(1), self.kernel_size)
        return Call(f"F.max_unpool{x.rank - 2}d", inputs, keywords)

    def onnx(self, g: OnnxGraph, x: Operand, indices: Operand) -> Operand:
        result = self._result(x.type)
        flat = x.type.with_dims(*x.type.dims[:2], *(1,) * (x.type.rank - 2))
        for axis in range(x.type.rank - 1, 2, -1):
            flat = flat.without_axis(axis)
        few = flat.with_dim(2, prod(x.type.dims[2:], start=Dim.of(1)))
        many = flat.with_dim(2, prod(result.dims[2:], start=Dim.of(1)))
        zero = g.constant(0.0, x.type.dtype)
        zeros = g.node("Expand", zero, g.shape(many.dims), type=many)
        values, places = g.reshape(x, few), g.reshape(indices, few.with_dtype(DType.INT64))
        laid = g.node("ScatterElements", zeros, places, values, type=many, axis=2)
        return g.reshape(laid, result)
