"""ReLU and its variants."""

from typing import Any

from archdsl.ir.lowering import Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Init, Op, Weight
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import place_by_place
from archdsl.ops.contract._fields import Positive
from archdsl.ops.contract._tiling import beside
from archdsl.ops.contract._weights import dtype_argument
from archdsl.ops.elementwise.activation import Activation, Finite, PositiveFinite
from archdsl.sizes.dims import Dim


class ReLU(Activation, layer="ReLU", function="relu"):
    """`max(x, 0)`.

    `[*] -> [*]`

    Source: torch.nn.ReLU; ONNX Relu.

    Example: `x -> relu`
    """

    overwrites = True
    torch_layer = "nn.ReLU"
    torch_function = "F.relu"
    onnx_type = "Relu"


class ReLU6(Activation, layer="ReLU6", function="relu6"):
    """`min(max(x, 0), 6)`.

    `[*] -> [*]`

    Source: torch.nn.ReLU6; ONNX Clip.

    Example: `x -> ReLU6`
    """

    overwrites = True
    torch_layer = "nn.ReLU6"
    torch_function = "F.relu6"

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return clip(g, x, 0.0, 6.0)


class Hardtanh(Activation, layer="Hardtanh", function="hardtanh"):
    """`min(max(x, min_val), max_val)`.

    `[*] -> [*]`

    Source: torch.nn.Hardtanh; ONNX Clip.

    Example: `x -> Hardtanh(-2.0, 2.0)`
    """

    positional = ("min_val", "max_val")
    torch_layer = "nn.Hardtanh"
    torch_function = "F.hardtanh"
    torch_settings = ("min_val", "max_val")

    min_val: Finite = -1.0
    max_val: Finite = 1.0

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        if self.min_val >= self.max_val:
            raise ShapeError(
                f"`min_val` must be less than `max_val`,"
                f" but they are {self.min_val} and {self.max_val}",
                attribute="min_val",
            )
        return super().infer(check, x)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return clip(g, x, self.min_val, self.max_val)


class LeakyReLU(Activation, layer="LeakyReLU", function="leaky_relu"):
    """`x` where it is positive, `negative_slope * x` elsewhere.

    `[*] -> [*]`

    Source: torch.nn.LeakyReLU; ONNX LeakyRelu.

    Example: `x -> LeakyReLU(0.2)`
    """

    positional = ("negative_slope",)
    torch_layer = "nn.LeakyReLU"
    torch_function = "F.leaky_relu"
    torch_settings = ("negative_slope",)
    onnx_type = "LeakyRelu"

    negative_slope: Finite = 0.01

    def onnx_attributes(self) -> dict[str, Any]:
        return {"alpha": self.negative_slope}


class ELU(Activation, layer="ELU", function="elu"):
    """`x` where it is positive, `alpha * (exp(x) - 1)` elsewhere (Clevert et al. 2015).

    `[*] -> [*]`

    Source: torch.nn.ELU; ONNX Elu.

    Example: `x -> ELU(0.5)`
    """

    positional = ("alpha",)
    torch_layer = "nn.ELU"
    torch_function = "F.elu"
    torch_settings = ("alpha",)
    onnx_type = "Elu"
    bfloat16_since = 22

    alpha: Finite = 1.0

    def onnx_attributes(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


class SELU(Activation, layer="SELU", function="selu"):
    """Scaled ELU, which preserves mean and variance (Klambauer et al. 2017).

    `[*] -> [*]`

    Source: torch.nn.SELU; ONNX Selu.

    Example: `x -> selu`
    """

    torch_layer = "nn.SELU"
    torch_function = "F.selu"
    onnx_type = "Selu"
    bfloat16_since = 22

    def onnx_attributes(self) -> dict[str, Any]:
        return {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}


class CELU(Activation, layer="CELU", function="celu"):
    """`x` where it is positive, `alpha * (exp(x / alpha) - 1)` elsewhere (Barron 2017).

    `[*] -> [*]`

    Source: torch.nn.CELU; ONNX Celu for float32, Elu between Div and Mul otherwise.

    Example: `x -> CELU(2.0)`
    """

    positional = ("alpha",)
    torch_layer = "nn.CELU"
    torch_function = "F.celu"
    torch_settings = ("alpha",)

    alpha: PositiveFinite = 1.0

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if x.type.dtype is DType.FLOAT32:
            return g.node("Celu", x, type=x.type, alpha=self.alpha)
        scale = g.constant(self.alpha, x.type.dtype)
        curve = ELU().onnx(g, g.node("Div", x, scale, type=x.type))
        return g.node("Mul", curve, scale, type=x.type)


class PReLU(Op, layer="PReLU"):
    """`x` where it is positive, a learned slope times `x` elsewhere (He et al. 2015).

    `[N, C, *] -> [N, C, *]`

    Source: torch.nn.PReLU; ONNX PRelu.

    Example: `x -> PReLU(4)`
    """

    positional = ("num_parameters", "init")

    num_parameters: Positive = 1
    """1 for all channels together, or the number of channels."""
    init: Finite = 0.25

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_floating()
        if self.num_parameters == 1:
            return x
        channels = x.dims[1] if x.rank > 1 else Dim.of(1)
        check.demand_equal(
            channels,
            Dim.of(self.num_parameters),
            f"`num_parameters` must be 1 or the number of channels,"
            f" but is {self.num_parameters} for {channels} channels in {x}",
            inputs=(0,),
        )
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        mixed = (1,) if self.num_parameters > 1 else ()
        return beside(self, axis, mixed, (x,))

    sees = place_by_place

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        init = Init.of("constant", val=self.init)
        return (Weight("weight", (Dim.of(self.num_parameters),), init, x.dtype),)

    def torch_module(self, x: TensorType) -> Module:
        settings = self.changed("num_parameters", "init")
        return Module("nn.PReLU", (), settings | dtype_argument(x.dtype))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        slope = g.weight("weight")
        if self.num_parameters != 1:
            trailing = (1,) * (x.type.rank - 2)
            slope = g.reshape(slope, TensorType.of(x.type.dtype, self.num_parameters, *trailing))
        return g.node("PRelu", x, slope, type=x.type)


def clip(g: OnnxGraph, x: Operand, low: float, high: float) -> Operand:
    """The node that keeps elements between two numbers."""
    bounds = [g.constant(bound, x.type.dtype) for bound in (low, high)]
    return g.node("Clip", x, *bounds, type=x.type)
