"""Reductions: sums, means, minima, maxima and norms."""

from abc import ABC
from functools import reduce
from math import prod
from typing import Any, ClassVar, Literal

from archdsl.ir.access import Sights
from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import InputAxes, Later, Piece, Prefix
from archdsl.ir.types import DType, TensorType
from archdsl.ops.contract._access import without
from archdsl.ops.contract._axes import Axes, axis_label, positions, torch_axes
from archdsl.ops.contract._tiling import beside
from archdsl.ops.elementwise._casting import cast, summed, without_int16
from archdsl.ops.reduction._reductions import reduced
from archdsl.sizes.dims import Dim


class Reduction(Op, ABC):
    """A reduction over one axis, several, or all."""

    positional = ("axis",)

    axis: Axes | None = None
    """The axis or axes; all of them if none is given."""
    keepdim: bool = False
    """Keep the axes, with size 1."""

    def places(self, x: TensorType) -> tuple[int, ...]:
        """The positions of the axes that go."""
        if self.axis is None:
            return tuple(range(x.rank))
        return tuple(sorted(positions(x, self.axis)))

    def result(self, x: TensorType) -> TensorType:
        """What is left, in the element type of `x`."""
        places = self.places(x)
        if self.keepdim:
            return reduce(lambda type, place: type.with_dim(place, 1), places, x)
        return reduce(TensorType.without_axis, reversed(places), x)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        gone = self.places(x)
        if self.keepdim:
            return beside(self, axis, gone, (x,))
        left = [place for place in range(x.rank) if place not in gone]
        return Piece(self, (left[axis],))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return without(axis, self.places(inputs[0]), inputs[0], kept=self.keepdim)

    def demand_elements(self, check: Obligations, x: TensorType) -> None:
        """Refuse to look for an extreme of nothing."""
        for place in self.places(x):
            check.demand_at_least(
                x.dims[place], 1, f"axis {axis_label(x, place)} of {x} must not be empty"
            )

    def torch_reduction(self, function: str, x: TensorType) -> Call:
        """A method of tensors that takes the axes first and then `keepdim`."""
        if self.axis is None and not self.keepdim:
            return Call(function, (Input(0),))
        axes = self.places(x) if self.axis is None else torch_axes(x, self.axis)
        return Call(function, (Input(0), axes), self.changed("keepdim"))

    def onnx_reduction(self, g: OnnxGraph, op_type: str, x: Operand) -> Operand:
        """The node; without axes there is nothing to do."""
        result = self.result(x.type)
        places = self.places(x.type)
        return reduced(g, op_type, x, places, result) if places else x


class _Summation(Reduction, ABC):
    """A reduction that torch does in int64 for everything that is no floating-point number."""

    onnx_type: ClassVar[str]

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        return self.result(x).with_dtype(summed(x.dtype))

    def torch_call(self, x: TensorType) -> Call:
        return self.torch_reduction(f".{self.function}", x)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return self.onnx_reduction(g, self.onnx_type, cast(g, x, summed(x.type.dtype)))


class Sum(_Summation, function="sum"):
    """The sum over axes.

    `[*A, *B] -> [*A]`

    Source: torch.sum; ONNX ReduceSum.

    Example: `x -> sum(axis=C)`
    """

    onnx_type = "ReduceSum"

    def prefix(self, axes: InputAxes, x: TensorType) -> Prefix | None:
        return Prefix(self, Later.ZERO) if axes[0] in self.places(x) else None


class Prod(_Summation, function="prod"):
    """The product over axes.

    `[*A, *B] -> [*A]`

    Source: torch.prod; ONNX ReduceProd.

    Example: `x -> prod(axis=C)`
    """

    onnx_type = "ReduceProd"

    def torch_call(self, x: TensorType) -> Call:
        """torch takes one axis at a time."""
        if self.axis is None and not self.keepdim:
            return Call(".prod", (Input(0),))
        result: Any = Input(0)
        for place in reversed(self.places(x)):
            result = Call(".prod", (result, place), self.changed("keepdim"))
        return result


class _FloatReduction(Reduction, ABC):
    """A reduction of floating-point numbers."""

    torch_function: ClassVar[str]
    onnx_type: ClassVar[str]

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_floating()
        return self.result(x)

    def torch_call(self, x: TensorType) -> Call:
        return self.torch_reduction(self.torch_function, x)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return self.onnx_reduction(g, self.onnx_type, x)


class Mean(_FloatReduction, function="mean"):
    """The mean over axes.

    `[*A, *B] -> [*A]`

    Source: torch.mean; ONNX ReduceMean.

    Example: `x -> mean(axis=[H, W])`
    """

    torch_function = ".mean"
    onnx_type = "ReduceMean"


class LogSumExp(_FloatReduction, function="logsumexp"):
    """`log(sum(exp(x)))` over axes.

    `[*A, *B] -> [*A]`

    Source: torch.logsumexp; ONNX ReduceLogSumExp.

    Example: `x -> logsumexp(axis=C)`
    """

    onnx_type = "ReduceLogSumExp"

    def torch_call(self, x: TensorType) -> Call:
        axes = self.places(x) if self.axis is None else torch_axes(x, self.axis)
        return Call(".logsumexp", (Input(0), axes), self.changed("keepdim"))


class Norm(_FloatReduction, function="norm"):
    """The 1-norm or 2-norm over axes.

    `[*A, *B] -> [*A]`

    Source: torch.linalg.vector_norm; ONNX ReduceL1, ReduceL2.

    Example: `x -> norm(axis=C)`
    """

    p: Literal[1, 2] = 2

    def torch_call(self, x: TensorType) -> Call:
        keywords: dict[str, Any] = {}
        if self.axis is not None:
            keywords["dim"] = torch_axes(x, self.axis)
        arguments = (Input(0),) if self.p == 2 else (Input(0), self.p)
        return Call("torch.linalg.vector_norm", arguments, keywords | self.changed("keepdim"))

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if not self.places(x.type):
            return g.node("Abs", x, type=x.type)
        return self.onnx_reduction(g, f"ReduceL{self.p}", x)


class _Spread(Reduction, ABC):
    correction: Literal[0, 1] = 1
    """What the number of elements is lessened by: 1 for an unbiased estimate."""

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_floating()
        return self.result(x)

    def torch_call(self, x: TensorType) -> Call:
        keywords: dict[str, Any] = {}
        if self.axis is not None:
            keywords["dim"] = torch_axes(x, self.axis)
        return Call(
            f".{self.function}", (Input(0),), keywords | self.changed("correction", "keepdim")
        )

    def variance(self, g: OnnxGraph, x: Operand) -> Operand:
        """The mean of squared distances from the mean."""
        places = self.places(x.type)
        kept = reduce(lambda type, place: type.with_dim(place, 1), places, x.type)
        mean = reduced(g, "ReduceMean", x, places, kept) if places else x
        distance = g.node("Sub", x, mean, type=x.type)
        squared = g.node("Mul", distance, distance, type=x.type)
        if self.correction == 0:
            return self.onnx_reduction(g, "ReduceMean", squared)
        count = prod((x.type.dims[place] for place in places), start=Dim.of(1))
        total = self.onnx_reduction(g, "ReduceSum", squared)
        divisor = g.size(count - self.correction, x.type.dtype)
        return g.node("Div", total, divisor, type=total.type)


class Var(_Spread, function="var"):
    """The variance over axes.

    `[*A, *B] -> [*A]`

    Source: torch.var; ONNX ReduceMean, Sub, Mul, ReduceSum, Div.

    Example: `x -> var(axis=C, correction=0)`
    """

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return self.variance(g, x)


class Std(_Spread, function="std"):
    """The standard deviation over axes.

    `[*A, *B] -> [*A]`

    Source: torch.std; ONNX ReduceMean, Sub, Mul, ReduceSum, Div, Sqrt.

    Example: `x -> std(axis=C)`
    """

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        variance = self.variance(g, x)
        return g.node("Sqrt", variance, type=variance.type)


class _Extreme(Reduction, ABC):
    torch_function: ClassVar[str]
    onnx_type: ClassVar[str]

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        self.demand_elements(check, x)
        return self.result(x)

    def torch_call(self, x: TensorType) -> Call:
        return self.torch_reduction(self.torch_function, x)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        dtype = DType.UINT8 if x.type.dtype is DType.BOOL else without_int16(x.type.dtype)
        found = self.onnx_reduction(g, self.onnx_type, cast(g, x, dtype))
        return cast(g, found, x.type.dtype)


class Max(_Extreme, function="max"):
    """The maximum over axes.

    `[*A, *B] -> [*A]`

    Source: torch.amax; ONNX ReduceMax.

    Example: `x -> max(axis=C)`
    """

    torch_function = ".amax"
    onnx_type = "ReduceMax"


class Min(_Extreme, function="min"):
    """The minimum over axes.

    `[*A, *B] -> [*A]`

    Source: torch.amin; ONNX ReduceMin.

    Example: `x -> min(axis=C)`
    """

    torch_function = ".amin"
    onnx_type = "ReduceMin"
