"""Bins of adaptive pooling: bin i of n covers floor(i*L/n) to ceil((i+1)*L/n)."""

from __future__ import annotations

from archdsl.ir.lowering import OnnxGraph, Operand, Unsupported
from archdsl.ir.types import DType, TensorType
from archdsl.ops.reduction._reductions import reduced
from archdsl.sizes.dims import Dim, ceildiv

MOST_WRITTEN = 1 << 22
"""Larger tables are computed where the model runs."""

MOST_BINS = 1 << 20


def average_over_bins(g: OnnxGraph, x: Operand, axis: int, bins: int) -> Operand:
    """The mean over each bin of an axis, as a product with an averaging matrix."""
    dims = x.type.dims
    matrix = _averaging_matrix(g, dims[axis], bins, x.type.dtype)
    result = x.type.with_dim(axis, bins)
    if axis == x.type.rank - 1:
        turned = TensorType.of(x.type.dtype, dims[axis], bins)
        return g.node(
            "MatMul", x, g.node("Transpose", matrix, type=turned, perm=(1, 0)), type=result
        )
    if axis == x.type.rank - 2:
        return g.node("MatMul", matrix, x, type=result)
    rest = Dim.of(1)
    for dim in dims[axis + 1 :]:
        rest = rest * dim
    flat = g.reshape(x, TensorType.of(x.type.dtype, *dims[: axis + 1], rest))
    pooled = g.node("MatMul", matrix, flat, type=flat.type.with_dim(axis, bins))
    return g.reshape(pooled, result)


def largest_of_bins(g: OnnxGraph, x: Operand, axis: int, bins: int) -> Operand:
    """The maximum of each bin of an axis: every bin gathered, then reduced."""
    indices = _members(g, x.type.dims[axis], bins)
    gathered = x.type.with_dim(axis, bins).with_axis(axis + 1, indices.type.dims[1])
    windows = g.node("Gather", x, indices, type=gathered, axis=axis)
    return reduced(g, "ReduceMax", windows, (axis + 1,), x.type.with_dim(axis, bins))


def _starts(size: int, bins: int) -> list[int]:
    return [place * size // bins for place in range(bins)]


def _ends(size: int, bins: int) -> list[int]:
    return [-(-(place + 1) * size // bins) for place in range(bins)]


def _averaging_matrix(g: OnnxGraph, size: Dim, bins: int, dtype: DType) -> Operand:
    """A matrix [bins, size] with 1/length of a bin where a position belongs to it."""
    if size.value is not None and size.value * bins <= MOST_WRITTEN:
        rows = [
            [1 / (end - start) if start <= place < end else 0.0 for place in range(size.value)]
            for start, end in zip(_starts(size.value, bins), _ends(size.value, bins), strict=True)
        ]
        return g.constant(rows, dtype)
    column = TensorType.of(DType.INT64, bins, 1)
    matrix = TensorType.of(dtype, bins, size)
    inside = matrix.with_dtype(DType.BOOL)
    starts, ends = _edges(g, size, bins)
    places = _range(g, size)
    member = g.node(
        "And",
        g.node("GreaterOrEqual", places, starts, type=inside),
        g.node("Less", places, ends, type=inside),
        type=inside,
    )
    lengths = g.node("Sub", ends, starts, type=column)
    return g.node(
        "Div",
        g.node("Cast", member, type=matrix, to=dtype),
        g.node("Cast", lengths, type=column.with_dtype(dtype), to=dtype),
        type=matrix,
    )


def _members(g: OnnxGraph, size: Dim, bins: int) -> Operand:
    """Positions [bins, length] of each bin's members; shorter bins repeat their last member."""
    if size.value is not None and size.value <= MOST_WRITTEN:
        edges = list(zip(_starts(size.value, bins), _ends(size.value, bins), strict=True))
        length = max(end - start for start, end in edges)
        rows = [[min(start + step, end - 1) for step in range(length)] for start, end in edges]
        return g.constant(rows, DType.INT64)
    longest = ceildiv(size, bins) + 1
    places = TensorType.of(DType.INT64, bins, longest)
    column = TensorType.of(DType.INT64, bins, 1)
    starts, ends = _edges(g, size, bins)
    last = g.node("Sub", ends, g.constant(1, DType.INT64), type=column)
    return g.node("Min", g.node("Add", starts, _range(g, longest), type=places), last, type=places)


def _edges(g: OnnxGraph, size: Dim, bins: int) -> tuple[Operand, Operand]:
    """Starts and ends of the bins as int64 columns, from a size that is known at run time."""
    if bins > MOST_BINS:
        raise Unsupported(f"adaptive pooling to more than {MOST_BINS:,} places is not written out")
    column = TensorType.of(DType.INT64, bins, 1)
    length, divisor = g.size(size, DType.INT64), g.constant(bins, DType.INT64)

    def quotient(factors: list[int], offset: int) -> Operand:
        factor = g.constant([[number] for number in factors], DType.INT64)
        product = g.node("Mul", factor, length, type=column)
        if offset:
            product = g.node("Add", product, g.constant(offset, DType.INT64), type=column)
        return g.node("Div", product, divisor, type=column)

    return quotient(list(range(bins)), 0), quotient(list(range(1, bins + 1)), bins - 1)


def _range(g: OnnxGraph, size: Dim) -> Operand:
    zero, one = g.constant(0, DType.INT64), g.constant(1, DType.INT64)
    length = g.size(size, DType.INT64)
    return g.node("Range", zero, length, one, type=TensorType.of(DType.INT64, size))
