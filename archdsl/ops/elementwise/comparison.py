"""Comparisons, logic, where and cast."""

from abc import ABC
from typing import ClassVar

from archdsl.ir.lowering import Call, Infix, Input, OnnxGraph, Operand
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import place_by_place
from archdsl.ops.contract._tiling import Elementwise, Moving
from archdsl.ops.elementwise._broadcast import broadcast, operand
from archdsl.ops.elementwise._casting import cast, result_dtype, without_int16


class _Comparison(Elementwise, ABC):
    """A comparison of two values, element by element."""

    symbol: ClassVar[str]
    onnx_type: ClassVar[str]

    def infer(self, check: Obligations, a: TensorType, b: TensorType) -> TensorType:
        return broadcast(check, a, b, dtype=DType.BOOL)

    sees = place_by_place

    def torch_call(self, a: TensorType, b: TensorType) -> Infix:
        return Infix(self.symbol, operand(0, a, b), operand(1, b, a))

    def onnx(self, g: OnnxGraph, a: Operand, b: Operand) -> Operand:
        dtype = self.compared(result_dtype(a.type, b.type))
        sides = cast(g, a, dtype), cast(g, b, dtype)
        return g.node(self.onnx_type, *sides, type=self.infer(SETTLED, a.type, b.type))

    def compared(self, dtype: DType) -> DType:
        """The type in which ONNX compares; it does not order truth values."""
        return DType.INT32 if dtype is DType.BOOL else dtype


class Eq(_Comparison, function="eq"):
    """Whether the elements are equal.

    `[*], [*] -> bool[*]`

    Source: torch.eq; ONNX Equal.

    Example: `x == relu(x)`
    """

    symbol = "=="
    onnx_type = "Equal"

    def compared(self, dtype: DType) -> DType:
        return dtype


class Ne(_Comparison, function="ne"):
    """Whether the elements are different.

    `[*], [*] -> bool[*]`

    Source: torch.ne; ONNX Equal, Not.

    Example: `x != relu(x)`
    """

    symbol = "!="
    onnx_type = "Equal"

    def onnx(self, g: OnnxGraph, a: Operand, b: Operand) -> Operand:
        equal = super().onnx(g, a, b)
        return g.node("Not", equal, type=equal.type)

    def compared(self, dtype: DType) -> DType:
        return dtype


class Lt(_Comparison, function="lt"):
    """Whether the first element is less than the second.

    `[*], [*] -> bool[*]`

    Source: torch.lt; ONNX Less.

    Example: `x < relu(x)`
    """

    symbol = "<"
    onnx_type = "Less"


class Le(_Comparison, function="le"):
    """Whether the first element is less than or equal to the second.

    `[*], [*] -> bool[*]`

    Source: torch.le; ONNX LessOrEqual.

    Example: `x <= relu(x)`
    """

    symbol = "<="
    onnx_type = "LessOrEqual"


class Gt(_Comparison, function="gt"):
    """Whether the first element is greater than the second.

    `[*], [*] -> bool[*]`

    Source: torch.gt; ONNX Greater.

    Example: `x > relu(x)`
    """

    symbol = ">"
    onnx_type = "Greater"


class Ge(_Comparison, function="ge"):
    """Whether the first element is greater than or equal to the second.

    `[*], [*] -> bool[*]`

    Source: torch.ge; ONNX GreaterOrEqual.

    Example: `x >= relu(x)`
    """

    symbol = ">="
    onnx_type = "GreaterOrEqual"


class _Logic(Elementwise, ABC):
    """A connection of two truth values."""

    symbol: ClassVar[str]
    onnx_type: ClassVar[str]

    def infer(self, check: Obligations, a: TensorType, b: TensorType) -> TensorType:
        for place, side in enumerate((a, b)):
            expect_bool(side, f"`{self.function}`", place)
        return broadcast(check, a, b)

    sees = place_by_place

    def torch_call(self, a: TensorType, b: TensorType) -> Infix:
        return Infix(self.symbol, operand(0, a, b), operand(1, b, a))

    def onnx(self, g: OnnxGraph, a: Operand, b: Operand) -> Operand:
        return g.node(self.onnx_type, a, b, type=self.infer(SETTLED, a.type, b.type))


class LogicalAnd(_Logic, function="logical_and"):
    """Whether both elements are true.

    `bool[*], bool[*] -> bool[*]`

    Source: torch.logical_and; ONNX And.

    Example: `logical_and(x > 0.0, x < 1.0)`
    """

    symbol = "&"
    onnx_type = "And"


class LogicalOr(_Logic, function="logical_or"):
    """Whether at least one of the elements is true.

    `bool[*], bool[*] -> bool[*]`

    Source: torch.logical_or; ONNX Or.

    Example: `logical_or(x < 0.0, x > 1.0)`
    """

    symbol = "|"
    onnx_type = "Or"


class LogicalNot(Elementwise, function="logical_not"):
    """Whether the element is false.

    `bool[*] -> bool[*]`

    Source: torch.logical_not; ONNX Not.

    Example: `logical_not(x > 0.0)`
    """

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        expect_bool(x, "`logical_not`", 0)
        return x

    sees = place_by_place

    def torch_call(self, x: TensorType) -> Infix:
        return Infix("~", None, Input(0))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return g.node("Not", x, type=x.type)


class Where(Elementwise, function="where"):
    """Elements of `a` where the condition is true, of `b` elsewhere.

    `bool[*], [*], [*] -> [*]`

    Source: torch.where; ONNX Where.

    Example: `where(x > 0.0, x, exp(x))`
    """

    def infer(
        self, check: Obligations, condition: TensorType, a: TensorType, b: TensorType
    ) -> TensorType:
        expect_bool(condition, "the condition of `where`", 0)
        chosen = broadcast(check, a, b)
        result = broadcast(check, condition, chosen, dtype=chosen.dtype)
        # A mask does not rename what it is laid over.
        front = result.rank - chosen.rank
        names = (
            chosen.axes[place - front] if place >= front else None for place in range(result.rank)
        )
        axes = (own or name for own, name in zip(names, result.axes, strict=True))
        return TensorType(result.dtype, result.dims, tuple(axes))

    sees = place_by_place

    def torch_call(self, condition: TensorType, a: TensorType, b: TensorType) -> Call:
        return Call("torch.where", (Input(0), operand(1, a, b), operand(2, b, a)))

    def onnx(self, g: OnnxGraph, condition: Operand, a: Operand, b: Operand) -> Operand:
        result = self.infer(SETTLED, condition.type, a.type, b.type)
        if result.dtype is DType.BOOL:
            return self._of_truths(g, condition, a, b, result)
        dtype = without_int16(result.dtype)
        sides = cast(g, a, dtype), cast(g, b, dtype)
        chosen = g.node("Where", condition, *sides, type=result.with_dtype(dtype))
        return cast(g, chosen, result.dtype)

    def _of_truths(
        self, g: OnnxGraph, condition: Operand, a: Operand, b: Operand, result: TensorType
    ) -> Operand:
        """Runtimes have no Where for truth values."""
        otherwise = g.node("Not", condition, type=condition.type)
        first = g.node("And", condition, a, type=broadcast(SETTLED, condition.type, a.type))
        second = g.node("And", otherwise, b, type=broadcast(SETTLED, condition.type, b.type))
        return g.node("Or", first, second, type=result)


class IsNan(Elementwise, function="isnan"):
    """Whether the elements are NaN.

    `[*] -> bool[*]`

    Source: torch.isnan; ONNX IsNaN.

    Example: `x -> isnan`
    """

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_floating()
        return x.with_dtype(DType.BOOL)

    sees = place_by_place

    def torch_call(self, x: TensorType) -> Call:
        return Call("torch.isnan", (Input(0),))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return g.node("IsNaN", x, type=x.type.with_dtype(DType.BOOL))


class Cast(Elementwise, Moving, function="cast"):
    """Converts the elements to another element type.

    `[*] -> dtype[*]`

    Source: torch.Tensor.to; ONNX Cast.

    Example: `x -> cast(float16)`
    """

    positional = ("dtype",)

    dtype: DType

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return x.with_dtype(self.dtype)

    sees = place_by_place

    def torch_call(self, x: TensorType) -> Call:
        return Call(".to", (Input(0), self.dtype))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return cast(g, x, self.dtype)


def expect_bool(x: TensorType, what: str, place: int) -> None:
    """Refuse numbers."""
    if x.dtype is not DType.BOOL:
        raise ShapeError(
            f"{what} takes truth values, but the input is {x}",
            help="compare it with something, as in `x != 0`",
            inputs=(place,),
            code="dtype-mismatch",
        )
