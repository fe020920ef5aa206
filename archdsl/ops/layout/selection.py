"""Selection by mask or index, and scatter."""

from abc import ABC
from math import prod
from typing import ClassVar

from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.op import Op
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._axes import axis_label, position, torch_axis
from archdsl.ops.contract._fields import Axis
from archdsl.ops.elementwise._broadcast import broadcast
from archdsl.ops.elementwise._casting import refuse_bool
from archdsl.sizes.dims import Dim


class Nonzero(Op, function="nonzero"):
    """The indices of all elements that are not zero, one row for each, in order.

    `[*] -> int64[Found, rank]`

    Source: torch.nonzero; ONNX NonZero.

    Example: `nonzero(x > 0)`
    """

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        if x.rank == 0:
            raise ShapeError(f"{x} has no axes, so that there are no places in it", inputs=(0,))
        found = check.fresh("Found", prod(x.dims, start=Dim.of(1)))
        return TensorType.of(DType.INT64, found, x.rank, axes=(None, None))

    def torch_call(self, x: TensorType) -> Call:
        return Call("torch.nonzero", (Input(0),))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        (result,) = g.results
        if x.type.dtype is not DType.BOOL:
            zero = g.constant(0, x.type.dtype)
            equal = g.node("Equal", x, zero, type=x.type.with_dtype(DType.BOOL))
            x = g.node("Not", equal, type=equal.type)
        turned = TensorType.of(DType.INT64, *reversed(result.dims))
        places = g.node("NonZero", x, type=turned)
        return g.node("Transpose", places, type=result, perm=[1, 0])


class MaskedSelect(Op, function="masked_select"):
    """A one-dimensional tensor of the elements where the mask is true, in order.

    `[*], bool[*] -> [Selected]`

    Source: torch.masked_select; ONNX Compress.

    Example: `masked_select(x, x > 0)`
    """

    def infer(self, check: Obligations, x: TensorType, mask: TensorType) -> TensorType:
        if mask.dtype is not DType.BOOL:
            raise ShapeError(
                f"the mask must be bool, but is {mask}",
                help="compare it with something: `mask > 0`",
                inputs=(1,),
                code="dtype-mismatch",
            )
        whole = broadcast(check, x, mask)
        selected = check.fresh("Selected", prod(whole.dims, start=Dim.of(1)))
        return TensorType.of(x.dtype, selected, axes=(None,))

    def torch_call(self, x: TensorType, mask: TensorType) -> Call:
        return Call(".masked_select", (Input(0), Input(1)))

    def onnx(self, g: OnnxGraph, x: Operand, mask: Operand) -> Operand:
        whole = broadcast(SETTLED, x.type, mask.type)
        flat = TensorType.of(DType.BOOL, prod(whole.dims, start=Dim.of(1)))
        x, mask = (_expanded(g, operand, whole) for operand in (x, mask))
        return g.node("Compress", x, g.reshape(mask, flat), type=g.results[0])


def _expanded(g: OnnxGraph, x: Operand, whole: TensorType) -> Operand:
    if x.type.dims == whole.dims:
        return x
    return g.node("Expand", x, g.shape(whole.dims), type=whole.with_dtype(x.type.dtype))


class _Scattering(Op, ABC):
    """Elements of `source` put into the places of `x` that an index names along an axis."""

    positional = ("axis",)
    reduction: ClassVar[str]

    axis: Axis

    def infer(
        self, check: Obligations, x: TensorType, index: TensorType, source: TensorType
    ) -> TensorType:
        place = position(x, self.axis)
        if index.dtype is not DType.INT64:
            raise ShapeError(
                f"the index must be int64, but is {index}",
                help="convert it with `cast(int64)`",
                inputs=(1,),
                code="dtype-mismatch",
            )
        if source.dtype is not x.dtype:
            raise ShapeError(
                f"{source} cannot be put into {x}, which is of another element type",
                inputs=(0, 2),
                code="dtype-mismatch",
            )
        if not x.rank == index.rank == source.rank:
            raise ShapeError(
                f"`{self.function}` takes an index and a source of as many axes as {x},"
                f" but they are {index} and {source}",
                inputs=(0, 1, 2),
            )
        for axis, (most, size, given) in enumerate(
            zip(x.dims, index.dims, source.dims, strict=True)
        ):
            label = axis_label(x, axis)
            what = f"axis {label} is {size} in the index, but {given} in the source"
            check.demand_equal(size, given, what, inputs=(1, 2))
            if axis != place and most != size:
                what = f"axis {label} is {size} in the index, which is more than the {most} of {x}"
                check.demand_at_least(most - size, 0, what)
        return x

    def torch_call(self, x: TensorType, index: TensorType, source: TensorType) -> Call:
        axis = torch_axis(x, self.axis)
        return Call(f"torch.{self.function}", (Input(0), axis, Input(1), Input(2)))

    def onnx(self, g: OnnxGraph, x: Operand, index: Operand, source: Operand) -> Operand:
        place = position(x.type, self.axis)
        settings = {} if self.reduction == "none" else {"reduction": self.reduction}
        return g.node("ScatterElements", x, index, source, type=x.type, axis=place, **settings)


class Scatter(_Scattering, function="scatter"):
    """`x` with elements of `source` written to the indices along an axis.

    `[*A], int64[*B], [*B] -> [*A]`

    No position may be written twice.

    Source: torch.scatter; ONNX ScatterElements.

    Example: `scatter(x, argmax(x, axis=C, keepdim=true), zeros(N, 1), axis=C)`
    """

    reduction = "none"


class ScatterAdd(_Scattering, function="scatter_add"):
    """`x` with elements of `source` added at the indices along an axis.

    `[*A], int64[*B], [*B] -> [*A]`

    Source: torch.scatter_add; ONNX ScatterElements.

    Example: `scatter_add(x, argmax(x, axis=C, keepdim=true), ones(N, 1), axis=C)`
    """

    reduction = "add"

    def infer(
        self, check: Obligations, x: TensorType, index: TensorType, source: TensorType
    ) -> TensorType:
        refuse_bool(x, "`scatter_add`")
        return super().infer(check, x, index, source)
