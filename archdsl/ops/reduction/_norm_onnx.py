"""Normalisations in elementary ONNX operators, where no single operator is exact."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from archdsl.ir.lowering import OnnxGraph, Operand
from archdsl.ir.types import DType, TensorType
from archdsl.ops.elementwise._casting import cast, node_in, wide_below
from archdsl.ops.reduction._reductions import reduced

_NARROW = (DType.FLOAT16, DType.BFLOAT16)


def standardized(g: OnnxGraph, x: Operand, axes: Sequence[int], eps: float) -> Operand:
    """(x - mean) / sqrt(variance + eps) over some axes."""
    wide = _widened(g, x)
    mean = _mean(g, wide, axes)
    centred = g.node("Sub", wide, mean, type=wide.type)
    return cast(g, _over_root(g, centred, centred, axes, eps), x.type.dtype)


def divided_by_root_mean_square(
    g: OnnxGraph, x: Operand, axes: Sequence[int], eps: float
) -> Operand:
    """x / sqrt(mean square + eps) over some axes."""
    wide = _widened(g, x)
    return cast(g, _over_root(g, wide, wide, axes, eps), x.type.dtype)


def scaled(g: OnnxGraph, x: Operand, axis: int, weight: str, bias: str | None) -> Operand:
    """`x * weight + bias`, the layer's own, whose first axis is that axis of `x`."""
    result = g.node("Mul", x, _aligned(g, g.weight(weight), x, axis), type=x.type)
    if bias is None:
        return result
    return g.node("Add", result, _aligned(g, g.weight(bias), x, axis), type=x.type)


def local_response(
    g: OnnxGraph, x: Operand, size: int, alpha: float, beta: float, k: float
) -> Operand:
    """x / (k + alpha * mean of squares of neighbouring channels) ** beta, as torch centres it."""
    square = g.node("Mul", x, x, type=x.type)
    batch, channels, *spatial = x.type.dims
    places = prod(spatial[1:], start=spatial[0])
    plane = TensorType.of(x.type.dtype, batch, 1, channels, places)
    mean = node_in(
        g,
        wide_below(22, g, x.type.dtype),
        "AveragePool",
        g.reshape(square, plane),
        type=plane,
        kernel_shape=(size, 1),
        strides=(1, 1),
        pads=(size // 2, 0, (size - 1) // 2, 0),
        count_include_pad=1,
    )
    mean = g.reshape(mean, x.type)
    scaled_mean = g.node("Mul", mean, g.constant(alpha, x.type.dtype), type=x.type)
    base = g.node("Add", scaled_mean, g.constant(k, x.type.dtype), type=x.type)
    power = g.node("Pow", base, g.constant(beta, x.type.dtype), type=x.type)
    return g.node("Div", x, power, type=x.type)


def _over_root(
    g: OnnxGraph, x: Operand, deviation: Operand, axes: Sequence[int], eps: float
) -> Operand:
    square = g.node("Mul", deviation, deviation, type=deviation.type)
    mean = _mean(g, square, axes)
    shifted = g.node("Add", mean, g.constant(eps, mean.type.dtype), type=mean.type)
    root = g.node("Sqrt", shifted, type=mean.type)
    return g.node("Div", x, root, type=x.type)


def _mean(g: OnnxGraph, x: Operand, axes: Sequence[int]) -> Operand:
    result = x.type
    for axis in axes:
        result = result.with_dim(axis, 1)
    return reduced(g, "ReduceMean", x, axes, result)


def _widened(g: OnnxGraph, x: Operand) -> Operand:
    """Half precision in float32, where torch computes statistics."""
    return cast(g, x, DType.FLOAT32) if x.type.dtype in _NARROW else x


def _aligned(g: OnnxGraph, weight: Operand, x: Operand, axis: int) -> Operand:
    """A weight with as many axes of size 1 after it as broadcasting needs."""
    missing = x.type.rank - axis - weight.type.rank
    if missing == 0:
        return weight
    return g.reshape(weight, TensorType.of(weight.type.dtype, *weight.type.dims, *[1] * missing))
