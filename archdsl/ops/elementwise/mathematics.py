"""Elementwise functions of one input."""

from abc import ABC
from math import log
from typing import ClassVar

from archdsl.ir.lowering import Call, Infix, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import place_by_place
from archdsl.ops.contract._tiling import Elementwise
from archdsl.ops.elementwise._casting import (
    cast,
    floating,
    node_in,
    refuse_bool,
    wide_below,
    without_int16,
)
from archdsl.sizes.dims import Dim


class _RealFunction(Elementwise, ABC):
    """A function with real values: integers and truth values are taken as float32."""

    onnx_type: ClassVar[str]
    bfloat16_since: ClassVar[int] = 13

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return x.with_dtype(floating(x.dtype))

    sees = place_by_place

    def torch_call(self, x: TensorType) -> Call:
        return Call(f"torch.{self.function}", (Input(0),))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        x = cast(g, x, floating(x.type.dtype))
        dtype = wide_below(self.bfloat16_since, g, x.type.dtype)
        return node_in(g, dtype, self.onnx_type, x, type=x.type)


class Exp(_RealFunction, function="exp"):
    """`e` to the power of `x`.

    `[*] -> [*]`

    Source: torch.exp; ONNX Exp.

    Example: `x -> exp`
    """

    onnx_type = "Exp"


class Log(_RealFunction, function="log"):
    """The natural logarithm.

    `[*] -> [*]`

    Source: torch.log; ONNX Log.

    Example: `exp(x) -> log`
    """

    onnx_type = "Log"


class Log2(_RealFunction, function="log2"):
    """The logarithm to base 2.

    `[*] -> [*]`

    Source: torch.log2; ONNX Log, Div.

    Example: `exp(x) -> log2`
    """

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        x = cast(g, x, floating(x.type.dtype))
        natural = g.node("Log", x, type=x.type)
        return g.node("Div", natural, g.constant(log(2), x.type.dtype), type=x.type)


class Sqrt(_RealFunction, function="sqrt"):
    """The square root.

    `[*] -> [*]`

    Source: torch.sqrt; ONNX Sqrt.

    Example: `exp(x) -> sqrt`
    """

    onnx_type = "Sqrt"


class Rsqrt(_RealFunction, function="rsqrt"):
    """The reciprocal of the square root.

    `[*] -> [*]`

    Source: torch.rsqrt; ONNX Sqrt, Reciprocal.

    Example: `exp(x) -> rsqrt`
    """

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        x = cast(g, x, floating(x.type.dtype))
        return g.node("Reciprocal", g.node("Sqrt", x, type=x.type), type=x.type)


class Reciprocal(_RealFunction, function="reciprocal"):
    """`1 / x`.

    `[*] -> [*]`

    Source: torch.reciprocal; ONNX Reciprocal.

    Example: `exp(x) -> reciprocal`
    """

    onnx_type = "Reciprocal"


class Sin(_RealFunction, function="sin"):
    """The sine.

    `[*] -> [*]`

    Source: torch.sin; ONNX Sin.

    Example: `x -> sin`
    """

    onnx_type = "Sin"
    bfloat16_since = 22


class Cos(_RealFunction, function="cos"):
    """The cosine.

    `[*] -> [*]`

    Source: torch.cos; ONNX Cos.

    Example: `x -> cos`
    """

    onnx_type = "Cos"
    bfloat16_since = 22


class Erf(_RealFunction, function="erf"):
    """The error function.

    `[*] -> [*]`

    Source: torch.erf; ONNX Erf.

    Example: `x -> erf`
    """

    onnx_type = "Erf"


class _Rounding(Elementwise, ABC):
    """Rounding, which leaves integers as they are."""

    onnx_type: ClassVar[str]
    bfloat16_since: ClassVar[int] = 13

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        refuse_bool(x, f"`{self.function}`")
        return x

    sees = place_by_place

    def torch_call(self, x: TensorType) -> Call:
        return Call(f"torch.{self.function}", (Input(0),))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if not x.type.dtype.is_floating:
            return x
        dtype = wide_below(self.bfloat16_since, g, x.type.dtype)
        return node_in(g, dtype, self.onnx_type, x, type=x.type)


class Floor(_Rounding, function="floor"):
    """Rounds down to an integer.

    `[*] -> [*]`

    Source: torch.floor; ONNX Floor.

    Example: `x -> floor`
    """

    onnx_type = "Floor"


class Ceil(_Rounding, function="ceil"):
    """Rounds up to an integer.

    `[*] -> [*]`

    Source: torch.ceil; ONNX Ceil.

    Example: `x -> ceil`
    """

    onnx_type = "Ceil"


class Round(_Rounding, function="round"):
    """Rounds to the nearest integer, halves to the even one.

    `[*] -> [*]`

    Source: torch.round; ONNX Round.

    Example: `x -> round`
    """

    onnx_type = "Round"
    bfloat16_since = 22


class _NumberFunction(Elementwise, ABC):
    """A function that keeps the element type."""

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        refuse_bool(x, f"`{self.function}`")
        return x

    sees = place_by_place

    def torch_call(self, x: TensorType) -> Call | Infix:
        return Call(f"torch.{self.function}", (Input(0),))


class Neg(_NumberFunction, function="neg"):
    """`-x`.

    `[*] -> [*]`

    Source: torch.neg; ONNX Neg.

    Example: `-x`
    """

    def torch_call(self, x: TensorType) -> Infix:
        return Infix("-", None, Input(0))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if x.type.dtype is DType.UINT8:
            return g.node("Sub", g.constant(0, DType.UINT8), x, type=x.type)
        return g.node("Neg", x, type=x.type)


class Abs(_NumberFunction, function="abs"):
    """The absolute value.

    `[*] -> [*]`

    Source: torch.abs; ONNX Abs.

    Example: `x -> abs`
    """

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return g.node("Abs", x, type=x.type)


class Sign(_NumberFunction, function="sign"):
    """The sign: -1, 0 or 1.

    `[*] -> [*]`

    Source: torch.sign; ONNX Sign.

    Example: `x -> sign`
    """

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return g.node("Sign", x, type=x.type)


class Square(_NumberFunction, function="square"):
    """`x * x`.

    `[*] -> [*]`

    Source: torch.square; ONNX Mul.

    Example: `x -> square`
    """

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return g.node("Mul", x, x, type=x.type)


class Clamp(_NumberFunction, function="clamp"):
    """Clamps the elements to [`min`, `max`]; one bound may be omitted.

    `[*] -> [*]`

    Source: torch.clamp; ONNX Clip.

    Example: `x -> clamp(min=0.0, max=1.0)`
    """

    positional = ("min", "max")

    min: Dim | float | None = None
    max: Dim | float | None = None

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        refuse_bool(x, "`clamp`")
        if self.min is None and self.max is None:
            raise ShapeError("`clamp` needs `min` or `max`", attribute="min")
        for name, bound in (("min", self.min), ("max", self.max)):
            if isinstance(bound, float) and not x.dtype.is_floating:
                raise ShapeError(
                    f"`{name}` must be an integer for {x}, but is {bound}",
                    attribute=name,
                    code="dtype-mismatch",
                )
        low, high = _known(self.min), _known(self.max)
        if low is not None and high is not None and low > high:
            raise ShapeError(f"`min` is {low}, which is more than `max`, {high}", attribute="min")
        return x

    def torch_call(self, x: TensorType) -> Call:
        return Call("torch.clamp", (Input(0),), self.changed("min", "max"))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        dtype = without_int16(x.type.dtype)
        bounds = [_bound(g, value, dtype) for value in (self.min, self.max)]
        clipped = g.node("Clip", cast(g, x, dtype), *bounds, type=x.type.with_dtype(dtype))
        return cast(g, clipped, x.type.dtype)


def _known(bound: Dim | float | None) -> float | None:
    return bound.value if isinstance(bound, Dim) else bound


def _bound(g: OnnxGraph, value: Dim | float | None, dtype: DType) -> Operand | None:
    if value is None:
        return None
    return g.size(value, dtype) if isinstance(value, Dim) else g.constant(value, dtype)
