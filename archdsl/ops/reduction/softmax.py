"""Softmax, log-softmax and GLU."""

from abc import ABC
from typing import ClassVar

from archdsl.ir.access import Sights
from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import InputAxes, Later, Piece, Prefix, Seen
from archdsl.ir.types import TensorType
from archdsl.ops.contract._access import all_but, normalised
from archdsl.ops.contract._axes import axis_label, position, torch_axis
from archdsl.ops.contract._fields import Axis
from archdsl.ops.contract._tiling import beside, told
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts


class _AlongAxis(Op, ABC):
    """A function of the elements along one axis that keeps the shape."""

    positional = ("axis",)
    torch_layer: ClassVar[str]
    torch_function: ClassVar[str]
    onnx_type: ClassVar[str]

    axis: Axis

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_floating()
        position(x, self.axis)
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, (position(x, self.axis),), (x,))

    def prefix(self, axes: InputAxes, x: TensorType) -> Prefix | None:
        return Prefix(self, Later.HIDDEN) if axes == (position(x, self.axis),) else None

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return normalised(axis, (position(inputs[0], self.axis),))

    def torch_module(self, x: TensorType) -> Module:
        return Module(self.torch_layer, (), {"dim": torch_axis(x, self.axis)})

    def torch_call(self, x: TensorType) -> Call:
        return Call(self.torch_function, (Input(0),), {"dim": torch_axis(x, self.axis)})

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return g.node(self.onnx_type, x, type=x.type, axis=position(x.type, self.axis))


class Softmax(_AlongAxis, layer="Softmax", function="softmax"):
    """`exp(x)` divided by its sum along an axis.

    `[*] -> [*]`

    Source: torch.nn.Softmax; ONNX Softmax.

    Example: `x -> softmax(axis=C)`
    """

    torch_layer = "nn.Softmax"
    torch_function = "F.softmax"
    onnx_type = "Softmax"

    def later(
        self,
        row: int,
        column: int,
        known: tuple[Later | Seen | None, ...],
        facts: Facts,
        *inputs: TensorType,
    ) -> Later | Seen | None:
        if column != position(inputs[0], self.axis):
            return None
        unmasked = Seen("nothing hides them before this softmax")
        return told(known, Later.HIDDEN, Later.ZERO) or unmasked


class LogSoftmax(_AlongAxis, layer="LogSoftmax", function="log_softmax"):
    """The logarithm of softmax.

    `[*] -> [*]`

    Source: torch.nn.LogSoftmax; ONNX LogSoftmax.

    Example: `x -> log_softmax(axis=C)`
    """

    torch_layer = "nn.LogSoftmax"
    torch_function = "F.log_softmax"
    onnx_type = "LogSoftmax"


class GLU(Op, layer="GLU", function="glu"):
    """The first half of an axis times the sigmoid of the second half (Dauphin et al. 2016).

    `[N, 2*C, *] -> [N, C, *]`

    Source: torch.nn.GLU; ONNX Split, Sigmoid, Mul.

    Example: `x -> GLU(axis=1)`
    """

    positional = ("axis",)

    axis: Axis = -1

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_floating()
        place = position(x, self.axis)
        check.demand_multiple(
            x.dims[place], 2, f"axis {axis_label(x, place)} of {x} does not split into two halves"
        )
        return x.with_dim(place, x.dims[place] // 2)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, (position(x, self.axis),), (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return all_but(axis, (position(inputs[0], self.axis),))

    def torch_module(self, x: TensorType) -> Module:
        return Module("nn.GLU", (), self._settings(x))

    def torch_call(self, x: TensorType) -> Call:
        return Call("F.glu", (Input(0),), self._settings(x))

    def _settings(self, x: TensorType) -> dict[str, Axis]:
        return {"dim": torch_axis(x, self.axis)} if self.axis != -1 else {}

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        place = position(x.type, self.axis)
        half = x.type.with_dim(place, x.type.dims[place] // 2)
        count = {"num_outputs": 2} if g.opset >= 18 else {}
        value, gate = g.nodes("Split", x, types=(half, half), axis=place, **count)
        return g.node("Mul", value, g.node("Sigmoid", gate, type=half), type=half)
