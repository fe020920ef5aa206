"""Creation operators: constants, filled tensors, ranges."""

from abc import ABC
from typing import Any, ClassVar

from archdsl.ir.lowering import Call, Device, Number, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._fields import Shape
from archdsl.ops.contract._tiling import resized
from archdsl.ops.elementwise._casting import cast
from archdsl.sizes.dims import Dim, ceildiv

_LONGEST_WRITTEN = 65_536
"""The longest range that is stored in a graph; a longer one is computed there."""

_BITS = {DType.INT8: 7, DType.INT16: 15, DType.INT32: 31, DType.INT64: 63}


class Constant(Op, function="constant"):
    """A compile-time number, or the size of an axis.

    `-> []`

    Source: a Python number in PyTorch; an initializer in ONNX.

    Example: `x * 0.5`
    """

    positional = ("value", "dtype")

    value: Dim | bool | float
    dtype: DType

    def infer(self, check: Obligations) -> TensorType:
        expect_number(self.value, self.dtype)
        return TensorType.of(self.dtype)

    def torch_call(self) -> Number:
        return self.value

    def onnx(self, g: OnnxGraph) -> Operand:
        return _number(g, self.value, self.dtype)


class _Filled(Op, ABC):
    """A tensor with one number everywhere."""

    positional = ("*shape",)
    number: ClassVar[int]

    shape: Shape
    dtype: DType = DType.FLOAT32

    def infer(self, check: Obligations) -> TensorType:
        for dim in self.shape:
            check.demand_at_least(dim, 0, f"a size cannot be negative, but is {dim}")
        return TensorType.of(self.dtype, *self.shape)

    def piece(self, axis: int, start: Dim, size: Dim) -> Piece | None:
        return Piece(self.model_copy(update={"shape": resized(self.shape, axis, size)}), ())

    def torch_call(self) -> Call:
        keywords: dict[str, Any] = {**self.changed("dtype"), "device": Device()}
        sizes = self.shape or ((),)
        return Call(f"torch.{self.function}", sizes, keywords)

    def onnx(self, g: OnnxGraph) -> Operand:
        return _filled(g, self.number, TensorType.of(self.dtype, *self.shape))


class Zeros(_Filled, function="zeros"):
    """A tensor filled with zeros.

    `-> [*shape]`

    Source: torch.zeros; ONNX Expand.

    Example: `zeros(N, 8)`
    """

    number = 0


class Ones(_Filled, function="ones"):
    """A tensor filled with ones.

    `-> [*shape]`

    Source: torch.ones; ONNX Expand.

    Example: `ones(N, 8)`
    """

    number = 1


class Full(Op, function="full"):
    """A tensor filled with one number.

    `-> [*shape]`

    Source: torch.full; ONNX Expand.

    Example: `full([N, 8], 0.5)`
    """

    positional = ("shape", "value")

    shape: Shape
    value: Dim | bool | float
    dtype: DType = DType.FLOAT32

    def infer(self, check: Obligations) -> TensorType:
        expect_number(self.value, self.dtype)
        for dim in self.shape:
            check.demand_at_least(dim, 0, f"a size cannot be negative, but is {dim}")
        return TensorType.of(self.dtype, *self.shape)

    def piece(self, axis: int, start: Dim, size: Dim) -> Piece | None:
        return Piece(self.model_copy(update={"shape": resized(self.shape, axis, size)}), ())

    def torch_call(self) -> Call:
        keywords = {"dtype": self.dtype, "device": Device()}
        return Call("torch.full", (self.shape, self.value), keywords)

    def onnx(self, g: OnnxGraph) -> Operand:
        return _filled(g, self.value, TensorType.of(self.dtype, *self.shape))


class Arange(Op, function="arange"):
    """The integers from `start` up to but excluding `end`.

    `-> [ceildiv(end - start, step)]`

    Source: torch.arange; ONNX Range.

    Example: `arange(N)`
    """

    positional = ("end",)

    end: Dim
    start: Dim = Dim.of(0)
    step: int = 1
    dtype: DType = DType.INT64

    def infer(self, check: Obligations) -> TensorType:
        if self.step == 0:
            raise ShapeError("`step` must not be 0", attribute="step")
        if self.dtype is DType.BOOL:
            raise ShapeError("`arange` counts in numbers, not in bool", attribute="dtype")
        check.demand_at_least(
            (self.end - self.start) * (1 if self.step > 0 else -1),
            0,
            f"`arange` cannot get from {self.start} to {self.end} in steps of {self.step}",
        )
        return self._result()

    def _result(self) -> TensorType:
        distance = self.end - self.start
        if self.step < 0:
            return TensorType.of(self.dtype, ceildiv(-distance, -self.step))
        return TensorType.of(self.dtype, ceildiv(distance, self.step))

    def piece(self, axis: int, start: Dim, size: Dim) -> Piece | None:
        first = self.start + start * self.step
        bounds = {"start": first, "end": first + size * self.step}
        return Piece(self.model_copy(update=bounds), ())

    def torch_call(self) -> Call:
        bounds: tuple[Any, ...] = (self.end,)
        if self.step != 1:
            bounds = (self.start, self.end, self.step)
        elif self.start != 0:
            bounds = (self.start, self.end)
        keywords: dict[str, Any] = {**self.changed("dtype"), "device": Device()}
        return Call("torch.arange", bounds, keywords)

    def onnx(self, g: OnnxGraph) -> Operand:
        result = self._result()
        start, end, length = self.start.value, self.end.value, result.dims[0].value
        if start is not None and end is not None and (length or 0) <= _LONGEST_WRITTEN:
            return g.constant(list(range(start, end, self.step)), self.dtype)
        bounds = [g.size(Dim.of(value), DType.INT64) for value in (self.start, self.end, self.step)]
        return cast(g, g.node("Range", *bounds, type=result.with_dtype(DType.INT64)), self.dtype)


def expect_number(value: Number, dtype: DType) -> None:
    """Refuse a number that the element type cannot hold."""
    kind = "a truth value" if isinstance(value, bool) else f"{value}"
    if isinstance(value, bool) != (dtype is DType.BOOL) or (
        isinstance(value, float) and dtype.is_integer
    ):
        raise ShapeError(f"{kind} is not of type {dtype}", attribute="value", code="dtype-mismatch")
    number = value.value if isinstance(value, Dim) else None
    if number is None or not dtype.is_integer:
        return
    least, limit = (0, 256) if dtype is DType.UINT8 else (-(2 ** _BITS[dtype]), 2 ** _BITS[dtype])
    if not least <= number < limit:
        raise ShapeError(f"{number} does not fit in {dtype}", attribute="value")


def _number(g: OnnxGraph, value: Number, dtype: DType) -> Operand:
    return g.size(value, dtype) if isinstance(value, Dim) else g.constant(value, dtype)


def _filled(g: OnnxGraph, value: Number, result: TensorType) -> Operand:
    number = _number(g, value, result.dtype)
    return g.node("Expand", number, g.shape(result.dims), type=result) if result.rank else number
