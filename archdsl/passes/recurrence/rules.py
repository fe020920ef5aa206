"""How each ONNX operator of a cell is read as algebra."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archdsl.ir.types import TensorType
from archdsl.passes.recurrence.algebra import MOST_RUNS, Algebra, Codes, NotAlgebraError
from archdsl.passes.recurrence.values import Columns, Known, Symbolic, Tensor


@dataclass(frozen=True, slots=True)
class Reading:
    """A node that is read: what its inputs are, the types of its outputs, its attributes."""

    algebra: Algebra
    given: Sequence[Symbolic]
    types: Sequence[TensorType]
    attributes: Mapping[str, Any]


Rule = Callable[[Reading], Iterable[Symbolic]]
"""What the outputs of a node are; raises NotAlgebraError for what has no normal form."""


# ------------------------------------------------------------------------------ other arrangements


def _movable(value: Symbolic) -> Tensor | Columns:
    if isinstance(value, Known):
        raise NotAlgebraError
    return value


def _transpose(node: Reading) -> Iterable[Symbolic]:
    yield _movable(node.given[0]).permuted(node.attributes["perm"])


def _identity(node: Reading) -> Iterable[Symbolic]:
    yield node.given[0]


def _split(node: Reading) -> Iterable[Symbolic]:
    value, start = _movable(node.given[0]), 0
    axis: int = node.attributes["axis"]
    for type in node.types:
        size = type.dims[axis].value
        if size is None:
            raise NotAlgebraError
        yield value.part(axis, start, 1, size)
        start += size


def _slice(node: Reading) -> Iterable[Symbolic]:
    value = _movable(node.given[0])
    starts, _, axes, *steps = [each.value for each in node.given[1:] if isinstance(each, Known)]
    if len(axes) != 1 or (steps and steps[0][0] < 1):
        raise NotAlgebraError
    axis: int = axes[0]
    count = node.types[0].dims[axis].value
    start = starts[0]
    if start is not None and start < 0:
        start += _size(value, axis)
    if count is None or start is None:
        raise NotAlgebraError
    yield value.part(axis, start, steps[0][0] if steps else 1, count)


def _size(value: Tensor | Columns, axis: int) -> int:
    if isinstance(value, Tensor):
        return value.shape[axis]
    if axis == value.batch:
        raise NotAlgebraError
    return value.codes.shape[axis - (axis > value.batch)]


def _gather(node: Reading) -> Iterable[Symbolic]:
    value, index = _movable(node.given[0]), node.given[1]
    if not isinstance(index, Known) or not isinstance(index.value, int):
        raise NotAlgebraError
    axis = node.attributes.get("axis", 0)
    place = index.value % _size(value, axis)
    yield value.part(axis, place, 1, 1).without(axis)


def _squeeze(node: Reading) -> Iterable[Symbolic]:
    value = _movable(node.given[0])
    for axis in sorted(_axes(node.given[1]), reverse=True):
        value = value.without(axis)
    yield value


def _unsqueeze(node: Reading) -> Iterable[Symbolic]:
    value = _movable(node.given[0])
    for axis in sorted(_axes(node.given[1])):
        value = value.raised(axis)
    yield value


def _axes(value: Symbolic) -> list[int]:
    if not isinstance(value, Known):
        raise NotAlgebraError
    return value.value


def _concat(node: Reading) -> Iterable[Symbolic]:
    axis = node.attributes["axis"] % node.types[0].rank
    tensors = [value for value in node.given if isinstance(value, Tensor)]
    columns = [value for value in node.given if isinstance(value, Columns)]
    if len(tensors) == len(node.given):
        if any(len(t.regions) > 1 and t.axis != axis for t in tensors):
            raise NotAlgebraError
        yield Tensor(tuple(region for tensor in tensors for region in tensor.regions), axis)
        return
    batch = columns[0].batch if columns else axis
    if len(columns) < len(node.given) or any(c.batch != batch for c in columns) or axis == batch:
        raise NotAlgebraError
    yield Columns(np.concatenate([c.codes for c in columns], axis - (axis > batch)), batch)


# -------------------------------------------------------------------------------------- arithmetic


def _pair(combine: Callable[[Algebra, int, int], int]) -> Rule:
    """An elementwise combination of two values, of which columns are at least one."""

    def rule(node: Reading) -> Iterable[Symbolic]:
        yield _combined(node.algebra, combine, node.given[0], node.given[1])

    return rule


def _combined(
    algebra: Algebra, combine: Callable[..., int], first: Symbolic, second: Symbolic
) -> Columns:
    backs = {v.rank - v.batch for v in (first, second) if isinstance(v, Columns)}
    if len(backs) != 1:
        raise NotAlgebraError
    back = backs.pop()
    pair = np.broadcast_arrays(*(_codes(algebra, value, back) for value in (first, second)))
    codes = _by_rows(algebra, combine, *pair)
    return Columns(codes, codes.ndim + 1 - back)


def _codes(algebra: Algebra, value: Symbolic, back: int) -> Codes:
    """A value as columns; numbers and weights are the same for the whole batch.

    `back` is the place of the batch axis, counted from the end.
    """
    match value:
        case Columns(codes=codes):
            return codes
        case Known(value=int() | float() as number) if not isinstance(number, bool):
            codes = algebra.codes(algebra.number(float(number), 1)).reshape(())
        case Tensor():
            codes = (
                _of_weights(algebra, value.without(value.rank - back))
                if value.rank >= back
                else _of_weights(algebra, value)
            )
        case _:
            raise NotAlgebraError
    return codes.reshape((1,) * (back - 1 - codes.ndim) + codes.shape)


def _of_weights(algebra: Algebra, value: Tensor) -> Codes:
    """Weights as columns, in rows along the last axis."""
    shape = value.shape
    if not shape:
        raise NotAlgebraError
    codes = np.empty(shape, np.int64)
    for index in _leading(shape):
        row = value
        for place in index:
            row = row.part(0, place, 1, 1).without(0)
        biases = [algebra.codes(algebra.bias(region)) for region in row.regions]
        codes[index] = np.concatenate(biases)
    return codes


def _leading(shape: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """All indices of the axes before the last one, if they are few."""
    if int(np.prod(shape[:-1])) > MOST_RUNS:
        raise NotAlgebraError
    return np.ndindex(*shape[:-1])


def _by_rows(algebra: Algebra, combine: Callable[..., int], *arrays: Codes) -> Codes:
    """What a function of sums makes of runs of columns."""
    shape = arrays[0].shape
    rows = [array.reshape(shape or (1,)) for array in arrays]
    result = np.empty(rows[0].shape, np.int64)
    for index in _leading(result.shape):
        runs = algebra.runs(*(row[index] for row in rows))
        parts = [algebra.codes(combine(algebra, *sums)) for sums in runs]
        result[index] = np.concatenate(parts) if parts else np.empty(0, np.int64)
    return result.reshape(shape)


def _named(name: str) -> Rule:
    """A function of every element, known by its name alone."""

    def rule(node: Reading) -> Iterable[Symbolic]:
        value = node.given[0]
        if not isinstance(value, Columns):
            raise NotAlgebraError

        def apply(algebra: Algebra, x: Any) -> Any:
            return algebra.function(name, x)

        codes = _by_rows(node.algebra, apply, value.codes)
        yield Columns(codes, value.batch)

    return rule


def _negative(node: Reading) -> Iterable[Symbolic]:
    yield _combined(node.algebra, Algebra.times, Known(-1.0), node.given[0])


def _expand(node: Reading) -> Iterable[Symbolic]:
    if not isinstance(node.given[0], Known):
        raise NotAlgebraError
    yield node.given[0]


def _gemm(node: Reading) -> Iterable[Symbolic]:
    x, weight, *bias = node.given
    if not isinstance(weight, Tensor):
        raise NotAlgebraError
    result = _product(
        node.algebra, x, weight.permuted((1, 0)) if node.attributes.get("transB") else weight
    )
    yield _combined(node.algebra, Algebra.plus, result, bias[0]) if bias else result


def _matmul(node: Reading) -> Iterable[Symbolic]:
    left, right = node.given
    if isinstance(right, Tensor):
        yield _product(node.algebra, left, right)
    elif isinstance(left, Tensor) and isinstance(right, Columns) and left.rank == right.rank == 2:
        product = _product(node.algebra, right.permuted((1, 0)), left.permuted((1, 0)))
        yield product.permuted((1, 0))
    else:
        raise NotAlgebraError


def _product(algebra: Algebra, x: Symbolic, weight: Tensor) -> Columns:
    """`[*, batch, in]` times `[*, in, out]`."""
    if not isinstance(x, Columns) or x.batch != x.rank - 2 or weight.rank < 2:
        raise NotAlgebraError
    lead = np.broadcast_shapes(x.codes.shape[:-1], weight.shape[:-2])
    rows = np.broadcast_to(x.codes, (*lead, x.codes.shape[-1]))
    codes = np.empty((*lead, weight.shape[-1]), np.int64)
    for index in _leading(codes.shape):
        matrix = weight
        own = index[len(lead) - (weight.rank - 2) :]
        for place, size in zip(own, weight.shape[: weight.rank - 2], strict=True):
            matrix = matrix.part(0, place if size > 1 else 0, 1, 1).without(0)
        codes[index] = _row_product(algebra, rows[index], matrix)
    return Columns(codes, len(lead))


def _row_product(algebra: Algebra, row: Codes, matrix: Tensor) -> Codes:
    """One row of features times a matrix, `[in, out]`: a sum over the runs of the row."""
    total: Codes | None = None
    start = 0
    for (vector,) in algebra.runs(row):
        width = algebra.sums[vector].width
        part = matrix.part(0, start, 1, width)
        start += width
        pieces = part.regions if len(part.regions) == 1 or part.axis == 1 else None
        if pieces is None:
            raise NotAlgebraError
        products = [algebra.product(region.permuted((1, 0)), vector) for region in pieces]
        codes = np.concatenate([algebra.codes(product) for product in products])
        total = codes if total is None else _by_rows(algebra, Algebra.plus, total, codes)
    if total is None:
        raise NotAlgebraError
    return total


RULES: Mapping[str, Rule] = {
    "Transpose": _transpose,
    "Identity": _identity,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Add": _pair(Algebra.plus),
    "Sub": _pair(lambda algebra, first, second: algebra.plus(first, second, -1.0)),
    "Mul": _pair(Algebra.times),
    "Neg": _negative,
    "Sigmoid": _named("Sigmoid"),
    "Tanh": _named("Tanh"),
    "Relu": _named("Relu"),
    "Expand": _expand,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
"""How the nodes are read that cells are made of."""
