"""Elementwise arithmetic: sums, products, quotients, powers, minima and maxima."""

from abc import ABC
from functools import reduce
from typing import Any, ClassVar

from archdsl.ir.lowering import Call, Infix, Input, OnnxGraph, Operand, Unsupported
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.tiling import Later, Seen
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import place_by_place
from archdsl.ops.contract._tiling import Elementwise, told
from archdsl.ops.elementwise._broadcast import broadcast, operand
from archdsl.ops.elementwise._casting import cast, floating, node_in, refuse_bool, without_int16
from archdsl.sizes.proof import Facts


class _Merge(Elementwise, ABC):
    """A combination of two or more values, taken from the left."""

    onnx_type: ClassVar[str]
    onnx_bool_type: ClassVar[str]

    def infer(self, check: Obligations, *xs: TensorType) -> TensorType:
        if len(xs) < 2:
            raise ShapeError(f"`{self.function}` takes at least 2 values, but got {len(xs)}")
        return broadcast(check, *xs)

    sees = place_by_place

    def torch_call(self, *xs: TensorType) -> Infix | Call:
        result: Any = None
        for place, x in enumerate(xs):
            if place == 0:
                result = operand(0, x, xs[1])
                continue
            before = broadcast(SETTLED, *xs[:place])
            result = self.torch_pair(result, operand(place, x, before))
        return result

    def torch_pair(self, left: Any, right: Any) -> Infix | Call:
        """Two of them in torch."""
        raise NotImplementedError

    def onnx(self, g: OnnxGraph, *xs: Operand) -> Operand:
        return reduce(lambda left, right: self._onnx_pair(g, left, right), xs)

    def _onnx_pair(self, g: OnnxGraph, left: Operand, right: Operand) -> Operand:
        result = broadcast(SETTLED, left.type, right.type)
        if result.dtype is DType.BOOL:
            return g.node(self.onnx_bool_type, left, right, type=result)
        return self.onnx_pair(g, left, right, result)

    def onnx_pair(self, g: OnnxGraph, left: Operand, right: Operand, result: TensorType) -> Operand:
        """Two of them in ONNX, numbers."""
        return node_in(g, result.dtype, self.onnx_type, left, right, type=result)


class Add(_Merge, function="add"):
    """The sum of all inputs.

    `[*], [*], … -> [*]`

    Source: torch.add; ONNX Add.

    Example: `x -> add { skip: identity; body: Linear(8) }`
    """

    onnx_type = "Add"
    onnx_bool_type = "Or"

    def later(
        self,
        row: int,
        column: int,
        known: tuple[Later | Seen | None, ...],
        facts: Facts,
        *inputs: TensorType,
    ) -> Later | Seen | None:
        # Lowest numbers of two masks could leave nothing else in a row.
        seen = next((each for each in known if isinstance(each, Seen)), None)
        return seen or told(known, Later.HIDDEN, Later.HIDDEN)

    def torch_pair(self, left: Any, right: Any) -> Infix:
        return Infix("+", left, right)


class Mul(_Merge, function="mul"):
    """The product of all inputs.

    `[*], [*], … -> [*]`

    Source: torch.mul; ONNX Mul.

    Example: `x -> mul { value: identity; gate: sigmoid }`
    """

    onnx_type = "Mul"
    onnx_bool_type = "And"

    def later(
        self,
        row: int,
        column: int,
        known: tuple[Later | Seen | None, ...],
        facts: Facts,
        *inputs: TensorType,
    ) -> Later | Seen | None:
        return told(known, Later.ZERO, Later.ZERO)

    def torch_pair(self, left: Any, right: Any) -> Infix:
        return Infix("*", left, right)


class _Extreme(_Merge, ABC):
    def infer(self, check: Obligations, *xs: TensorType) -> TensorType:
        return super().infer(check, *xs)

    def torch_call(self, *xs: TensorType) -> Call:
        result: Any = reduce(self.torch_pair, map(Input, range(len(xs))))
        return result

    def onnx_pair(self, g: OnnxGraph, left: Operand, right: Operand, result: TensorType) -> Operand:
        dtype = without_int16(result.dtype)
        return node_in(g, dtype, self.onnx_type, left, right, type=result)


class Maximum(_Extreme, function="maximum"):
    """The elementwise maximum of the inputs.

    `[*], [*], … -> [*]`

    Source: torch.maximum; ONNX Max.

    Example: `maximum(x, relu(x))`
    """

    onnx_type = "Max"
    onnx_bool_type = "Or"

    def torch_pair(self, left: Any, right: Any) -> Call:
        return Call("torch.maximum", (left, right))


class Minimum(_Extreme, function="minimum"):
    """The elementwise minimum of the inputs.

    `[*], [*], … -> [*]`

    Source: torch.minimum; ONNX Min.

    Example: `minimum(x, relu(x))`
    """

    onnx_type = "Min"
    onnx_bool_type = "And"

    def torch_pair(self, left: Any, right: Any) -> Call:
        return Call("torch.minimum", (left, right))


class _Pair(Elementwise, ABC):
    """A combination of two numbers."""

    symbol: ClassVar[str]

    def infer(self, check: Obligations, a: TensorType, b: TensorType) -> TensorType:
        refuse_bool(a, f"`{self.function}`", 0)
        refuse_bool(b, f"`{self.function}`", 1)
        result = broadcast(check, a, b)
        return result.with_dtype(self.result(result.dtype))

    sees = place_by_place

    def result(self, dtype: DType) -> DType:
        """The type of the result, from the type that both are brought to."""
        return dtype

    def torch_call(self, a: TensorType, b: TensorType) -> Infix:
        return Infix(self.symbol, operand(0, a, b), operand(1, b, a))

    def onnx(self, g: OnnxGraph, a: Operand, b: Operand) -> Operand:
        result = self.infer(SETTLED, a.type, b.type)
        return self.onnx_pair(g, cast(g, a, result.dtype), cast(g, b, result.dtype), result)

    def onnx_pair(self, g: OnnxGraph, a: Operand, b: Operand, result: TensorType) -> Operand:
        """The combination in ONNX; both sides have the type of the result."""
        raise NotImplementedError


class Sub(_Pair, function="sub"):
    """The difference of two inputs.

    `[*], [*] -> [*]`

    Source: torch.sub; ONNX Sub.

    Example: `x - relu(x)`
    """

    symbol = "-"

    def onnx_pair(self, g: OnnxGraph, a: Operand, b: Operand, result: TensorType) -> Operand:
        return g.node("Sub", a, b, type=result)


class Div(_Pair, function="div"):
    """The quotient of two inputs; for integers it is float32.

    `[*], [*] -> [*]`

    Source: torch.div; ONNX Div.

    Example: `x / exp(x)`
    """

    symbol = "/"
    divisor = 1

    def later(
        self,
        row: int,
        column: int,
        known: tuple[Later | Seen | None, ...],
        facts: Facts,
        *inputs: TensorType,
    ) -> Later | Seen | None:
        return told(known[:1], Later.ZERO, Later.ZERO)

    def result(self, dtype: DType) -> DType:
        return floating(dtype)

    def onnx_pair(self, g: OnnxGraph, a: Operand, b: Operand, result: TensorType) -> Operand:
        return g.node("Div", a, b, type=result)


class FloorDiv(_Pair, function="floor_div"):
    """The quotient rounded towards minus infinity, like Python's `//`.

    `[*], [*] -> [*]`

    Source: torch.floor_divide; ONNX Div, Mod.

    Example: `floor_div(x, exp(x))`
    """

    symbol = "//"
    divisor = 1

    def onnx_pair(self, g: OnnxGraph, a: Operand, b: Operand, result: TensorType) -> Operand:
        if result.dtype.is_floating:
            return _floor_of_floats(g, a, b, result)
        dtype = without_int16(result.dtype)
        floored = _floor_of_integers(
            g, cast(g, a, dtype), cast(g, b, dtype), result.with_dtype(dtype)
        )
        return cast(g, floored, result.dtype)


class Remainder(_Pair, function="remainder"):
    """The remainder of floor division, with the sign of the divisor, like Python's `%`.

    `[*], [*] -> [*]`

    Source: torch.remainder; ONNX Mod.

    Example: `remainder(x, exp(x))`
    """

    symbol = "%"
    divisor = 1

    def onnx_pair(self, g: OnnxGraph, a: Operand, b: Operand, result: TensorType) -> Operand:
        if not result.dtype.is_floating:
            return g.node("Mod", a, b, type=result, fmod=0)
        rest, opposite = _float_remainder(g, a, b, result)
        return g.node("Where", opposite, g.node("Add", rest, b, type=result), rest, type=result)


class Pow(_Pair, function="pow"):
    """The first input to the power of the second.

    `[*], [*] -> [*]`

    Source: torch.pow; ONNX Pow.

    Example: `pow(exp(x), x)`
    """

    symbol = "**"

    def onnx_pair(self, g: OnnxGraph, a: Operand, b: Operand, result: TensorType) -> Operand:
        if not result.dtype.is_floating:
            raise Unsupported(
                "ONNX runtimes compute powers of integers in floating point",
                help="use `square`, or cast to float32 first",
            )
        return g.node("Pow", a, b, type=result)


def _truth(g: OnnxGraph, op_type: str, a: Operand, b: Operand, result: TensorType) -> Operand:
    return g.node(op_type, a, b, type=result.with_dtype(DType.BOOL))


def _float_remainder(
    g: OnnxGraph, a: Operand, b: Operand, result: TensorType
) -> tuple[Operand, Operand]:
    """C's `fmod`, and where it is not 0 and has another sign than the divisor."""
    zero = g.constant(0.0, result.dtype)
    rest = g.node("Mod", a, b, type=result, fmod=1)
    truth = result.with_dtype(DType.BOOL)
    signs = g.node(
        "Xor",
        _truth(g, "Less", rest, zero, result),
        g.node("Less", b, zero, type=b.type.with_dtype(DType.BOOL)),
        type=truth,
    )
    present = g.node("Not", _truth(g, "Equal", rest, zero, result), type=truth)
    return rest, g.node("And", signs, present, type=truth)


def _floor_of_integers(g: OnnxGraph, a: Operand, b: Operand, result: TensorType) -> Operand:
    """Div rounds towards zero: one too many exactly where the floored remainder is not its own."""

    def step(op_type: str, *inputs: Operand) -> Operand:
        return g.node(op_type, *inputs, type=result)

    rest = g.node("Mod", a, b, type=result, fmod=0)
    if result.dtype is DType.UINT8:
        # ONNX Runtime takes `(1 / b) * c` for `c / b`, of integers too, where it sees the 1.
        return step("Div", step("Sub", a, rest), b)
    quotient = step("Div", a, b)
    right = _truth(g, "Equal", step("Mul", quotient, b), step("Sub", a, rest), result)
    return step("Where", right, quotient, step("Sub", quotient, g.constant(1, result.dtype)))


def _floor_of_floats(g: OnnxGraph, a: Operand, b: Operand, result: TensorType) -> Operand:
    """torch's own steps, which differ from `floor(a / b)`: 1.0 // 0.1 is 9."""

    def step(op_type: str, *inputs: Operand) -> Operand:
        return g.node(op_type, *inputs, type=result)

    rest, opposite = _float_remainder(g, a, b, result)
    quotient = step("Div", step("Sub", a, rest), b)
    quotient = step("Sub", quotient, cast(g, opposite, result.dtype))
    floor = step("Floor", quotient)
    excess = step("Sub", quotient, floor)
    up = _truth(g, "Greater", excess, g.constant(0.5, result.dtype), result)
    rounded = step("Add", floor, cast(g, up, result.dtype))
    zero = g.constant(0.0, result.dtype)
    by_zero = g.node("Equal", b, zero, type=b.type.with_dtype(DType.BOOL))
    return step("Where", by_zero, step("Div", a, b), rounded)
