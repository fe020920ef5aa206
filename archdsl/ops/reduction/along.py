"""Argmax, argmin and cumulative sums."""

from abc import ABC
from math import prod
from typing import ClassVar

from archdsl.ir.access import Sights
from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, TensorType
from archdsl.ops.contract._access import without
from archdsl.ops.contract._axes import axis_label, position, torch_axis
from archdsl.ops.contract._fields import Axis
from archdsl.ops.contract._tiling import beside
from archdsl.ops.elementwise._casting import cast, refuse_bool, summed, without_int16
from archdsl.sizes.dims import Dim


class _ArgExtreme(Op, ABC):
    """The position of an extreme, the first one of several."""

    positional = ("axis",)
    onnx_type: ClassVar[str]

    axis: Axis | None = None
    """The axis; if none is given, the position is that in the flattened tensor."""
    keepdim: bool = False

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        refuse_bool(x, f"`{self.function}`")
        places = range(x.rank) if self.axis is None else (position(x, self.axis),)
        for place in places:
            check.demand_at_least(
                x.dims[place], 1, f"axis {axis_label(x, place)} of {x} must not be empty"
            )
        return self._result(x)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        x = inputs[0]
        gone = range(x.rank) if self.axis is None else (position(x, self.axis),)
        return without(axis, gone, x, kept=self.keepdim)

    def _result(self, x: TensorType) -> TensorType:
        indices = x.with_dtype(DType.INT64)
        if self.axis is None:
            ones = indices.with_dims(*(1,) * x.rank)
            return ones if self.keepdim else TensorType.of(DType.INT64)
        place = position(x, self.axis)
        return indices.with_dim(place, 1) if self.keepdim else indices.without_axis(place)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        if self.axis is None:
            return None
        place = position(x, self.axis)
        if self.keepdim:
            return beside(self, axis, (place,), (x,))
        return Piece(self, (axis + (axis >= place),))

    def torch_call(self, x: TensorType) -> Call:
        target = f".{self.function}"
        axis = () if self.axis is None else (torch_axis(x, self.axis),)
        return Call(target, (Input(0), *axis), self.changed("keepdim"))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        result = self._result(x.type)
        x = cast(g, x, without_int16(x.type.dtype))
        if self.axis is not None:
            place = position(x.type, self.axis)
            return g.node(self.onnx_type, x, type=result, axis=place, keepdims=int(self.keepdim))
        flat = g.reshape(x, TensorType.of(x.type.dtype, prod(x.type.dims, start=Dim.of(1))))
        found = g.node(self.onnx_type, flat, type=TensorType.of(DType.INT64), axis=0, keepdims=0)
        return g.reshape(found, result)


class ArgMax(_ArgExtreme, function="argmax"):
    """The index of the maximum along an axis; the first index if there are several.

    `[*A, B] -> int64[*A]`

    Source: torch.argmax; ONNX ArgMax.

    Example: `x -> argmax(axis=C)`
    """

    onnx_type = "ArgMax"


class ArgMin(_ArgExtreme, function="argmin"):
    """The index of the minimum along an axis; the first index if there are several.

    `[*A, B] -> int64[*A]`

    Source: torch.argmin; ONNX ArgMin.

    Example: `x -> argmin(axis=C)`
    """

    onnx_type = "ArgMin"


class CumSum(Op, function="cumsum"):
    """The cumulative sum along an axis.

    `[*] -> [*]`

    Source: torch.cumsum; ONNX CumSum.

    Example: `x -> cumsum(axis=C)`
    """

    positional = ("axis",)

    axis: Axis

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        position(x, self.axis)
        return x.with_dtype(summed(x.dtype))

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, (position(x, self.axis),), (x,))

    def torch_call(self, x: TensorType) -> Call:
        return Call(".cumsum", (Input(0), torch_axis(x, self.axis)))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        x = cast(g, x, summed(x.type.dtype))
        place = g.constant(position(x.type, self.axis), DType.INT64)
        return g.node("CumSum", x, place, type=x.type)
