"""Abstract tensors: numbers, weights, and features by column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archdsl.passes.recurrence.algebra import Codes, NotAlgebraError
from archdsl.sizes.dims import Dim
from archdsl.weights.tensor_map import Region


@dataclass(frozen=True, slots=True)
class Known:
    """A number, or a list of integers; None where an integer is a symbolic size."""

    value: Any


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of weights, or of several one after the other along an axis."""

    regions: tuple[Region, ...]
    axis: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        shape = list(self.regions[0].shape)
        if shape:
            shape[self.axis] = sum(region.shape[self.axis] for region in self.regions)
        return tuple(shape)

    @property
    def rank(self) -> int:
        return len(self.regions[0].shape)

    @property
    def sole(self) -> Region:
        """The only region."""
        if len(self.regions) != 1:
            raise NotAlgebraError
        return self.regions[0]

    def permuted(self, axes: Sequence[int]) -> Tensor:
        if len(self.regions) == 1:
            return Tensor((self.sole.permuted(axes),))
        return Tensor(tuple(r.permuted(axes) for r in self.regions), list(axes).index(self.axis))

    def part(self, axis: int, start: int, step: int, count: int) -> Tensor:
        if not count:
            raise NotAlgebraError
        if len(self.regions) == 1 or axis != self.axis:
            return Tensor(tuple(r.part(axis, start, step, count) for r in self.regions), self.axis)
        if step != 1:
            raise NotAlgebraError
        kept: list[Region] = []
        for region in self.regions:
            size = region.shape[axis]
            first, last = max(start, 0), min(start + count, size)
            if first < last:
                kept.append(region.part(axis, first, 1, last - first))
            start -= size
        return Tensor(tuple(kept), axis)

    def raised(self, axis: int) -> Tensor:
        moved = self.axis + (axis <= self.axis)
        return Tensor(tuple(region.raised(axis) for region in self.regions), moved)

    def without(self, axis: int) -> Tensor:
        if self.shape[axis] != 1:
            raise NotAlgebraError
        return self.permuted([place for place in range(self.rank) if place != axis])

    def reshaped(self, shape: Sequence[int | None]) -> Tensor:
        region = self.sole.reshaped([size for size in shape if size is not None])
        if region is None or None in shape:
            raise NotAlgebraError
        return Tensor((region,))


@dataclass(frozen=True, slots=True)
class Columns:
    """A tensor of computed features: its columns in the order of the axes beside the batch axis."""

    codes: Codes
    batch: int

    @property
    def rank(self) -> int:
        return self.codes.ndim + 1

    def _place(self, axis: int) -> int:
        if axis == self.batch:
            raise NotAlgebraError
        return axis - (axis > self.batch)

    def permuted(self, axes: Sequence[int]) -> Columns:
        batch = list(axes).index(self.batch)
        return Columns(
            self.codes.transpose([self._place(a) for a in axes if a != self.batch]), batch
        )

    def part(self, axis: int, start: int, step: int, count: int) -> Columns:
        place = self._place(axis)
        indices = start + step * np.arange(count)
        return Columns(self.codes.take(indices, place), self.batch)

    def raised(self, axis: int) -> Columns:
        if axis <= self.batch:
            return Columns(np.expand_dims(self.codes, axis), self.batch + 1)
        return Columns(np.expand_dims(self.codes, axis - 1), self.batch)

    def without(self, axis: int) -> Columns:
        place = self._place(axis)
        return Columns(self.codes.squeeze(place), self.batch - (axis < self.batch))

    def reshaped(self, shape: Sequence[int | None], places: Iterable[int]) -> Columns:
        """In another shape, of which one of these places is the batch axis."""
        before = int(np.prod(self.codes.shape[: self.batch]))
        for place in places:
            others = [size for at, size in enumerate(shape) if at != place]
            sizes = [size for size in others if size is not None]
            if len(sizes) == len(others) and int(np.prod(sizes[:place])) == before:
                return Columns(self.codes.reshape(sizes), place)
        raise NotAlgebraError


Symbolic = Known | Tensor | Columns


def weight_tensor(path: str, dims: Sequence[Dim]) -> Tensor | None:
    """A whole weight, if it has elements."""
    shape = [dim.value for dim in dims if dim.value]
    return Tensor((Region.whole(path, shape),)) if len(shape) == len(dims) else None
