"""Dropout and identity: layers without effect in inference."""

from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand, Training
from archdsl.ir.obligations import Obligations
from archdsl.ir.types import TensorType
from archdsl.ops.contract._access import place_by_place
from archdsl.ops.contract._fields import Probability
from archdsl.ops.contract._tiling import Elementwise, Moving


class Dropout(Elementwise, Moving, layer="Dropout", function="dropout"):
    """Zeroes random elements in training (Srivastava et al. 2014).

    `[*] -> [*]`

    Source: torch.nn.Dropout; nothing in ONNX.

    Example: `x -> Dropout(0.1)`
    """

    positional = ("p",)
    differs_in_training = True

    p: Probability = 0.5

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_floating()
        return x

    sees = place_by_place

    def torch_module(self, x: TensorType) -> Module:
        return Module("nn.Dropout", (self.p,))

    def torch_call(self, x: TensorType) -> Call:
        return Call("F.dropout", (Input(0), self.p), {"training": Training()})

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return x


class Identity(Elementwise, Moving, layer="Identity", function="identity"):
    """Returns its input.

    `[*] -> [*]`

    Source: torch.nn.Identity.

    Example: `x -> identity`
    """

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return x

    sees = place_by_place

    def torch_module(self, x: TensorType) -> Module:
        return Module("nn.Identity")

    def torch_call(self, x: TensorType) -> Input:
        return Input(0)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return x
