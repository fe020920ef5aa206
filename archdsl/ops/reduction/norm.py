"""Normalisation layers: batch, layer, group, instance, RMS and local response normalisation."""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any

from pydantic import Field

from archdsl.ir.access import Sights
from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import ONES, ZEROS, Op, Weight
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import all_but, normalised, place_by_place
from archdsl.ops.contract._fields import Positive, Probability
from archdsl.ops.contract._tiling import beside, leading
from archdsl.ops.contract._weights import dtype_argument, known_width
from archdsl.ops.elementwise._casting import node_in, wide_below
from archdsl.ops.reduction._norm_onnx import (
    divided_by_root_mean_square,
    local_response,
    scaled,
    standardized,
)
from archdsl.sizes.dims import Dim

Epsilon = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

CHANNELS = "number of channels"


class BatchNorm(Op, layer="BatchNorm"):
    """Normalises each channel over the batch, or with running statistics in inference.

    `[N, C, *S] -> [N, C, *S]`

    Source: Ioffe and Szegedy 2015; torch.nn.BatchNorm1d/2d/3d; ONNX BatchNormalization.

    Example: `x -> BatchNorm`
    """

    frees_output = True
    eps: Epsilon = 1e-5
    momentum: Probability | None = 0.1
    """None averages over all batches seen."""
    affine: bool = True
    track_running_stats: bool = True

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_rank(2, 3, 4, 5)
        x.expect_floating()
        known_width(x, 1, CHANNELS)
        if not self.track_running_stats:
            _demand_several(check, x, prod(x.dims[2:], start=x.dims[0]), "channel")
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, (1,), (x,)) if self.track_running_stats else None

    def share(self, count: int, *inputs: TensorType) -> Piece | None:
        return Piece(self, (1,))

    sees = place_by_place

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return (
            *(_scale_and_shift(x.dims[1:2], x.dtype) if self.affine else ()),
            *(_running_statistics(x) if self.track_running_stats else ()),
        )

    def as_affine(self, weights: Mapping[str, Any]) -> tuple[Any, Any] | None:
        if not self.track_running_stats:
            return None
        scale = (weights["running_var"] + self.eps) ** -0.5
        if self.affine:
            scale = scale * weights["weight"]
        shift = -weights["running_mean"] * scale
        return scale, shift + weights["bias"] if self.affine else shift

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            f"nn.BatchNorm{max(1, x.rank - 2)}d",
            (x.dims[1],),
            self.changed("eps", "momentum", "affine", "track_running_stats")
            | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if self.track_running_stats:
            return _by_running_statistics(g, x, self.affine, self.eps)
        axes = (0, *range(2, x.type.rank))
        result = standardized(g, x, axes, self.eps)
        return scaled(g, result, 1, "weight", "bias") if self.affine else result


class LayerNorm(Op, layer="LayerNorm"):
    """Normalises over the last `axes` axes, by default the last one.

    `[*, D] -> [*, D]`

    Source: Ba, Kiros and Hinton 2016; torch.nn.LayerNorm; ONNX LayerNormalization.

    Example: `x -> LayerNorm`
    """

    frees_output = True
    positional = ("axes",)

    axes: Positive = 1
    """How many of the last axes are normalised together."""
    eps: Epsilon = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        _expect_trailing(x, self.axes)
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, x.rank - self.axes, (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        x = inputs[0]
        return normalised(axis, range(x.rank - self.axes, x.rank))

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        if not self.elementwise_affine:
            return ()
        weight, bias = _scale_and_shift(x.dims[-self.axes :], x.dtype)
        return (weight, bias) if self.bias else (weight,)

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            "nn.LayerNorm",
            (_normalized_shape(x, self.axes),),
            self.changed("eps", "elementwise_affine", "bias") | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        first = x.type.rank - self.axes
        has_bias = self.elementwise_affine and self.bias
        if x.type.dtype is DType.FLOAT64:
            # LayerNormalization would compute in float32.
            result = standardized(g, x, range(first, x.type.rank), self.eps)
            if not self.elementwise_affine:
                return result
            return scaled(g, result, first, "weight", "bias" if has_bias else None)
        return g.node(
            "LayerNormalization",
            x,
            _trailing_scale(g, x.type, self.axes, self.elementwise_affine),
            g.weight("bias") if has_bias else None,
            type=x.type,
            axis=-self.axes,
            epsilon=self.eps,
        )


class RMSNorm(Op, layer="RMSNorm"):
    """Divides by the root mean square of the last `axes` axes, by default the last one.

    `[*, D] -> [*, D]`

    Source: Zhang and Sennrich 2019; torch.nn.RMSNorm; ONNX RMSNormalization.

    Example: `x -> RMSNorm(eps=0.00001)`
    """

    positional = ("axes",)

    axes: Positive = 1
    """How many of the last axes are normalised together."""
    eps: Epsilon | None = None
    """The spacing of numbers at 1 in the type torch computes in, unless given."""
    elementwise_affine: bool = True

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        _expect_trailing(x, self.axes)
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, x.rank - self.axes, (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        x = inputs[0]
        return normalised(axis, range(x.rank - self.axes, x.rank))

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        if not self.elementwise_affine:
            return ()
        return (Weight("weight", x.dims[-self.axes :], ONES, x.dtype),)

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            "nn.RMSNorm",
            (_normalized_shape(x, self.axes),),
            self.changed("eps", "elementwise_affine") | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        is_double = x.type.dtype is DType.FLOAT64
        eps = self.eps or (2.0**-52 if is_double else 2.0**-23)
        if g.opset < 23 or is_double:
            first = x.type.rank - self.axes
            result = divided_by_root_mean_square(g, x, range(first, x.type.rank), eps)
            return scaled(g, result, first, "weight", None) if self.elementwise_affine else result
        return g.node(
            "RMSNormalization",
            x,
            _trailing_scale(g, x.type, self.axes, self.elementwise_affine),
            type=x.type,
            axis=-self.axes,
            epsilon=eps,
        )


class GroupNorm(Op, layer="GroupNorm"):
    """Normalises groups of channels, each over all positions.

    `[N, C, *S] -> [N, C, *S]`

    Source: Wu and He 2018; torch.nn.GroupNorm; ONNX GroupNormalization, InstanceNormalization.

    Example: `x -> GroupNorm(2)`
    """

    frees_output = True
    positional = ("num_groups",)

    num_groups: Positive
    eps: Epsilon = 1e-5
    affine: bool = True

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_rank(2, 3, 4, 5)
        x.expect_floating()
        channels = known_width(x, 1, CHANNELS)
        if channels % self.num_groups:
            raise ShapeError(
                f"{channels} channels do not split into {self.num_groups} groups",
                attribute="num_groups",
            )
        each = x.dims[0] * (channels // self.num_groups)
        _demand_several(check, x, prod(x.dims[2:], start=each), "group")
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 1, (x,))

    def share(self, count: int, *inputs: TensorType) -> Piece | None:
        if self.num_groups % count:
            return None
        return Piece(self.model_copy(update={"num_groups": self.num_groups // count}), (1,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return normalised(axis, range(1, inputs[0].rank))

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return _scale_and_shift(x.dims[1:2], x.dtype) if self.affine else ()

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            "nn.GroupNorm",
            (self.num_groups, x.dims[1]),
            self.changed("eps", "affine") | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if g.opset < 21 or x.type.dtype is DType.FLOAT64:
            return self._by_instances(g, x)
        scale, shift = _channel_scale_and_shift(g, x.type, self.affine)
        return g.node(
            "GroupNormalization",
            x,
            scale,
            shift,
            type=x.type,
            num_groups=self.num_groups,
            epsilon=self.eps,
        )

    def _by_instances(self, g: OnnxGraph, x: Operand) -> Operand:
        """Groups as the channels of an instance normalisation (GroupNormalization-18 is wrong)."""
        each = x.type.dims[1] // self.num_groups
        size = prod(x.type.dims[2:], start=each)
        groups = TensorType.of(x.type.dtype, x.type.dims[0], self.num_groups, size)
        ones = g.constant([1.0] * self.num_groups, x.type.dtype)
        zeros = g.constant([0.0] * self.num_groups, x.type.dtype)
        result = node_in(
            g,
            wide_below(22, g, x.type.dtype),
            "InstanceNormalization",
            g.reshape(x, groups),
            ones,
            zeros,
            type=groups,
            epsilon=self.eps,
        )
        result = g.reshape(result, x.type)
        return scaled(g, result, 1, "weight", "bias") if self.affine else result


class InstanceNorm(Op, layer="InstanceNorm"):
    """Normalises each channel of each sample over its positions.

    `[N, C, *S] -> [N, C, *S]`

    Source: Ulyanov et al. 2016; torch.nn.InstanceNorm1d/2d/3d; ONNX InstanceNormalization,
    BatchNormalization.

    Example: `x -> InstanceNorm`
    """

    frees_output = True
    eps: Epsilon = 1e-5
    momentum: Probability = 0.1
    affine: bool = False
    track_running_stats: bool = False

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_rank(3, 4, 5)
        x.expect_floating()
        known_width(x, 1, CHANNELS)
        if not self.track_running_stats:
            _demand_several(check, x, prod(x.dims[2:], start=Dim.of(1)), "channel of a sample")
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, 1, (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return normalised(axis, range(2, inputs[0].rank))

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return (
            *(_scale_and_shift(x.dims[1:2], x.dtype) if self.affine else ()),
            *(_running_statistics(x) if self.track_running_stats else ()),
        )

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            f"nn.InstanceNorm{x.rank - 2}d",
            (x.dims[1],),
            self.changed("eps", "momentum", "affine", "track_running_stats")
            | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if self.track_running_stats:
            return _by_running_statistics(g, x, self.affine, self.eps)
        scale, shift = _channel_scale_and_shift(g, x.type, self.affine)
        return node_in(
            g,
            wide_below(22, g, x.type.dtype),
            "InstanceNormalization",
            x,
            scale,
            shift,
            type=x.type,
            epsilon=self.eps,
        )


class LocalResponseNorm(Op, layer="LocalResponseNorm", function="local_response_norm"):
    """Divides each channel by a power of the mean square of neighbouring channels.

    `[N, C, *S] -> [N, C, *S]`

    Source: Krizhevsky et al. 2012; torch.nn.LocalResponseNorm; ONNX LRN.

    Example: `x -> LocalResponseNorm(5)`
    """

    positional = ("size",)

    size: Positive
    alpha: Finite = 1e-4
    beta: Finite = 0.75
    k: Finite = 1.0

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        x.expect_rank(3, 4, 5)
        x.expect_floating()
        return x

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return beside(self, axis, (1,), (x,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return all_but(axis, (1,))

    def torch_module(self, x: TensorType) -> Module:
        return Module("nn.LocalResponseNorm", (self.size,), self.changed("alpha", "beta", "k"))

    def torch_call(self, x: TensorType) -> Call:
        keywords = self.changed("alpha", "beta", "k")
        return Call("F.local_response_norm", (Input(0), self.size), keywords)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if x.type.rank != 4 or self.size % 2 == 0:
            # LRN puts the odd neighbour of an even size on the other side than torch does.
            return local_response(g, x, self.size, self.alpha, self.beta, self.k)
        return g.node(
            "LRN",
            x,
            type=x.type,
            size=self.size,
            alpha=self.alpha,
            beta=self.beta,
            bias=self.k,
        )


def _demand_several(check: Obligations, x: TensorType, count: Dim, what: str) -> None:
    check.demand_at_least(
        count,
        2,
        f"more than one value is needed in each {what}, but {x} has {count}",
    )


def _expect_trailing(x: TensorType, axes: int) -> None:
    x.expect_floating()
    if axes > x.rank:
        raise ShapeError(
            f"the last {axes} axes cannot be normalised: {x} has {x.rank}",
            help="the width is inferred; a number says over how many axes",
            attribute="axes",
        )
    for axis in range(x.rank - axes, x.rank):
        known_width(x, axis, "normalised size")


def _normalized_shape(x: TensorType, axes: int) -> Dim | tuple[Dim, ...]:
    count = Dim.of(axes).value
    assert count is not None
    return x.dims[-1] if count == 1 else x.dims[-count:]


def _scale_and_shift(dims: tuple[Dim, ...], dtype: DType) -> tuple[Weight, Weight]:
    return Weight("weight", dims, ONES, dtype), Weight("bias", dims, ZEROS, dtype)


def _running_statistics(x: TensorType) -> tuple[Weight, ...]:
    width = x.dims[1:2]
    return (
        Weight("running_mean", width, ZEROS, x.dtype, "buffer"),
        Weight("running_var", width, ONES, x.dtype, "buffer"),
        Weight("num_batches_tracked", (), ZEROS, DType.INT64, "buffer"),
    )


def _channel_scale_and_shift(g: OnnxGraph, x: TensorType, affine: bool) -> tuple[Operand, Operand]:
    """The layer's own scale and shift, or ones and zeros, which ONNX wants in any case."""
    if affine:
        return g.weight("weight"), g.weight("bias")
    width = known_width(x, 1, CHANNELS)
    return g.constant([1.0] * width, x.dtype), g.constant([0.0] * width, x.dtype)


def _trailing_scale(g: OnnxGraph, x: TensorType, axes: int, affine: bool) -> Operand:
    if affine:
        return g.weight("weight")
    ones: Any = 1.0
    for axis in range(x.rank - 1, x.rank - 1 - axes, -1):
        ones = [ones] * known_width(x, axis, "normalised size")
    return g.constant(ones, x.dtype)


def _by_running_statistics(g: OnnxGraph, x: Operand, affine: bool, eps: float) -> Operand:
    scale, shift = _channel_scale_and_shift(g, x.type, affine)
    mean, variance = g.weight("running_mean"), g.weight("running_var")
    return g.node("BatchNormalization", x, scale, shift, mean, variance, type=x.type, epsilon=eps)
