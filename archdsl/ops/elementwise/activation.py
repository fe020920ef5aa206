"""Smooth and saturating activations."""

from abc import ABC
from math import pi, sqrt
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.types import DType, TensorType
from archdsl.ops.contract._access import place_by_place
from archdsl.ops.contract._tiling import Elementwise
from archdsl.ops.elementwise._casting import node_in, wide_below

Finite = Annotated[float, Field(allow_inf_nan=False)]
PositiveFinite = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Activation(Elementwise, ABC):
    """A function of every element of a floating-point tensor."""

    torch_layer: ClassVar[str]
    torch_function: ClassVar[str]
    torch_settings: ClassVar[tuple[str, ...]] = ()
    onnx_type: ClassVar[str]
    bfloat16_since: ClassVar[int] = 13

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_floating()
        return x

    sees = place_by_place

    def torch_module(self, x: TensorType) -> Module:
        return Module(self.torch_layer, (), self.changed(*self.torch_settings))

    def torch_call(self, x: TensorType) -> Call:
        return Call(self.torch_function, (Input(0),), self.changed(*self.torch_settings))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        dtype = wide_below(self.bfloat16_since, g, x.type.dtype)
        return node_in(g, dtype, self.onnx_type, x, type=x.type, **self.onnx_attributes())

    def onnx_attributes(self) -> dict[str, Any]:
        """The attributes of the ONNX node."""
        return {}


class Sigmoid(Activation, layer="Sigmoid", function="sigmoid"):
    """`1 / (1 + exp(-x))`.

    `[*] -> [*]`

    Source: torch.nn.Sigmoid; ONNX Sigmoid.

    Example: `x -> sigmoid`
    """

    torch_layer = "nn.Sigmoid"
    torch_function = "torch.sigmoid"
    onnx_type = "Sigmoid"


class Tanh(Activation, layer="Tanh", function="tanh"):
    """Hyperbolic tangent.

    `[*] -> [*]`

    Source: torch.nn.Tanh; ONNX Tanh.

    Example: `x -> tanh`
    """

    torch_layer = "nn.Tanh"
    torch_function = "torch.tanh"
    onnx_type = "Tanh"


class Hardswish(Activation, layer="Hardswish", function="hardswish"):
    """`x * min(max(x + 3, 0), 6) / 6` (Howard et al. 2019).

    `[*] -> [*]`

    Source: torch.nn.Hardswish; ONNX HardSwish.

    Example: `x -> Hardswish`
    """

    torch_layer = "nn.Hardswish"
    torch_function = "F.hardswish"
    onnx_type = "HardSwish"
    bfloat16_since = 22


class Hardsigmoid(Activation, layer="Hardsigmoid", function="hardsigmoid"):
    """`min(max(x / 6 + 1 / 2, 0), 1)`.

    `[*] -> [*]`

    Source: torch.nn.Hardsigmoid; ONNX HardSigmoid.

    Example: `x -> Hardsigmoid`
    """

    torch_layer = "nn.Hardsigmoid"
    torch_function = "F.hardsigmoid"
    onnx_type = "HardSigmoid"
    bfloat16_since = 22

    def onnx_attributes(self) -> dict[str, Any]:
        return {"alpha": 1 / 6, "beta": 0.5}


class Softsign(Activation, layer="Softsign", function="softsign"):
    """`x / (1 + |x|)`.

    `[*] -> [*]`

    Source: torch.nn.Softsign; ONNX Softsign.

    Example: `x -> softsign`
    """

    torch_layer = "nn.Softsign"
    torch_function = "F.softsign"
    onnx_type = "Softsign"
    bfloat16_since = 22


class LogSigmoid(Activation, layer="LogSigmoid", function="logsigmoid"):
    """`-log(1 + exp(-x))`.

    `[*] -> [*]`

    Source: torch.nn.LogSigmoid; ONNX Softplus of the negative.

    Example: `x -> logsigmoid`
    """

    torch_layer = "nn.LogSigmoid"
    torch_function = "F.logsigmoid"

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        negative = g.node("Neg", x, type=x.type)
        return g.node("Neg", softplus(g, negative), type=x.type)


class SiLU(Activation, layer="SiLU", function="silu"):
    """`x * sigmoid(x)`, also called swish (Elfwing et al. 2017).

    `[*] -> [*]`

    Source: torch.nn.SiLU; ONNX Sigmoid, Mul.

    Example: `x -> silu`
    """

    torch_layer = "nn.SiLU"
    torch_function = "F.silu"

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return g.node("Mul", x, g.node("Sigmoid", x, type=x.type), type=x.type)


class Mish(Activation, layer="Mish", function="mish"):
    """`x * tanh(softplus(x))` (Misra 2019).

    `[*] -> [*]`

    Source: torch.nn.Mish; ONNX Mish, before opset 18 Softplus, Tanh, Mul.

    Example: `x -> mish`
    """

    torch_layer = "nn.Mish"
    torch_function = "F.mish"

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if g.opset >= 18:
            dtype = wide_below(22, g, x.type.dtype)
            return node_in(g, dtype, "Mish", x, type=x.type)
        return g.node("Mul", x, g.node("Tanh", softplus(g, x), type=x.type), type=x.type)


class GELU(Activation, layer="GELU", function="gelu"):
    """`x * P(X <= x)` for a normal `X`, exact or by `tanh` (Hendrycks and Gimpel 2016).

    `[*] -> [*]`

    Source: torch.nn.GELU; ONNX Gelu, before opset 20 by Erf or Tanh.

    Example: `x -> GELU(approximate="tanh")`
    """

    positional = ("approximate",)
    torch_layer = "nn.GELU"
    torch_function = "F.gelu"
    torch_settings = ("approximate",)

    approximate: Literal["none", "tanh"] = "none"

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if g.opset >= 20:
            return g.node("Gelu", x, type=x.type, approximate=self.approximate)
        return self._by_erf(g, x) if self.approximate == "none" else self._by_tanh(g, x)

    def _by_erf(self, g: OnnxGraph, x: Operand) -> Operand:
        """The order of nodes that runtimes fuse into one."""
        erf = g.node("Erf", _with_number(g, "Div", x, sqrt(2)), type=x.type)
        doubled = g.node("Mul", x, _with_number(g, "Add", erf, 1.0), type=x.type)
        return _with_number(g, "Mul", doubled, 0.5)

    def _by_tanh(self, g: OnnxGraph, x: Operand) -> Operand:
        """The order of nodes that runtimes fuse into one."""
        cubic = _with_number(g, "Mul", _with_number(g, "Pow", x, 3.0), 0.044715)
        inner = _with_number(g, "Mul", g.node("Add", x, cubic, type=x.type), sqrt(2 / pi))
        doubled = _with_number(g, "Add", g.node("Tanh", inner, type=x.type), 1.0)
        # The number stands first: if runtimes shared this product with one of the network's own,
        # ONNX Runtime's fusion would take it away from that.
        half = g.node("Mul", g.constant(0.5, x.type.dtype), x, type=x.type)
        return g.node("Mul", half, doubled, type=x.type)


class Softplus(Activation, layer="Softplus", function="softplus"):
    """`log(1 + exp(beta * x)) / beta`, and `x` where `beta * x` exceeds the threshold.

    `[*] -> [*]`

    Source: torch.nn.Softplus; ONNX Softplus, Where.

    Example: `x -> Softplus(beta=2.0)`
    """

    positional = ("beta", "threshold")
    torch_layer = "nn.Softplus"
    torch_function = "F.softplus"
    torch_settings = ("beta", "threshold")

    beta: PositiveFinite = 1.0
    threshold: Finite = 20.0

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        scaled = x if self.beta == 1 else _with_number(g, "Mul", x, self.beta)
        curve = softplus(g, scaled)
        if self.beta != 1:
            curve = _with_number(g, "Div", curve, self.beta)
        # From 20 on the curve is the line, to the last bit that any type but float64 has.
        if self.threshold >= 20 and x.type.dtype is not DType.FLOAT64:
            return curve
        limit = g.constant(self.threshold, x.type.dtype)
        beyond = g.node("Greater", scaled, limit, type=x.type.with_dtype(DType.BOOL))
        return g.node("Where", beyond, x, curve, type=x.type)


def softplus(g: OnnxGraph, x: Operand) -> Operand:
    """The node `log(1 + exp(x))`."""
    return node_in(g, wide_below(22, g, x.type.dtype), "Softplus", x, type=x.type)


def _with_number(g: OnnxGraph, op_type: str, x: Operand, number: float) -> Operand:
    return g.node(op_type, x, g.constant(number, x.type.dtype), type=x.type)
