"""Maps the tensors of a network to those of its transform, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

from archdsl.diagnostics import GivenError, InternalError
from archdsl.ir.model import Block
from archdsl.sizes.conditions import Condition
from archdsl.source import Span
from archdsl.weights.state_dict import known_shape, owned

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Callable[[], Array]]
"""Where each weight comes from, by its path; drawn or read only when it is called."""

Shapes = Mapping[str, tuple[int, ...]]


class LostWeightsError(GivenError):
    """Weights that cannot be brought back into the old network exactly; the reason follows."""


@dataclass(frozen=True, slots=True)
class Region:
    """Some elements of a tensor, its axes in any order: a strided view of its flat elements."""

    path: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def end(self) -> int:
        """What stands after its last element, among the flat elements."""
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((size - 1) * max(stride, 0) for size, stride in steps) + 1

    @staticmethod
    def whole(path: str, shape: Sequence[int]) -> Region:
        """All of a tensor."""
        strides = tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
        return Region(path, 0, tuple(shape), strides)

    def part(self, axis: int, start: int, step: int, count: int) -> Region:
        """Some places of an axis."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = count, strides[axis] * step
        return Region(self.path, offset, tuple(shape), tuple(strides))

    def place(self, axis: int, index: int) -> Region:
        """One place of an axis, which goes."""
        part = self.part(axis, index, 1, 1)
        kept = [number for number in range(len(part.shape)) if number != axis]
        return part.permuted(kept)

    def permuted(self, axes: Sequence[int]) -> Region:
        """The axes in another order; axes of size 1 may be left out."""
        shape = tuple(self.shape[axis] for axis in axes)
        return replace(self, shape=shape, strides=tuple(self.strides[axis] for axis in axes))

    def raised(self, axis: int) -> Region:
        """With a new axis of size 1."""
        shape = (*self.shape[:axis], 1, *self.shape[axis:])
        return replace(self, shape=shape, strides=(*self.strides[:axis], 0, *self.strides[axis:]))

    def reshaped(self, shape: Sequence[int]) -> Region | None:
        """The same elements in another shape; None if they do not lie so that a view could be."""
        runs = _runs(self)
        strides: list[int] = []
        size, stride = 1, 0
        for dim in shape:
            if dim == 1:
                strides.append(0)
                continue
            if size == 1:
                size, stride = runs.pop(0)
            if size % dim:
                return None
            size //= dim
            strides.append(size * stride)
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def view(self, array: Array) -> Array:
        """These elements of an array that lies in order in memory."""
        if not prod(self.shape):
            return np.empty(self.shape, array.dtype)
        flat = array.reshape(-1)[self.offset :]
        strides = [stride * array.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides)


def _runs(region: Region) -> list[tuple[int, int]]:
    """Sizes and distances of the axes; those that continue each other are joined."""
    runs: list[tuple[int, int]] = []
    for size, stride in zip(region.shape, region.strides, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        else:
            runs.append((size, stride))
    return runs


@dataclass(frozen=True, slots=True)
class Copy:
    """A region of a new tensor that is one of an old tensor, or its negative."""

    target: Region
    source: Region
    negated: bool = False

    def fill(self, new: Array, old: Array) -> None:
        """What a new tensor takes from an old one."""
        view = self.source.view(np.ascontiguousarray(old))
        self.target.view(new)[...] = -view if self.negated else view

    def restore(self, old: Array, new: Array) -> None:
        """What goes back."""
        view = self.target.view(np.ascontiguousarray(new))
        self.source.view(old)[...] = -view if self.negated else view


@dataclass(frozen=True, slots=True)
class Constant:
    """A region of a new tensor that begins as a number.

    What it differs from it later is added to a region of an old tensor (its negative, if that
    region is copied negated), or is lost.
    """

    target: Region
    value: float = 0.0
    source: Region | None = None
    negated: bool = False

    def restore(self, old: Array, new: Array) -> None:
        """Add what goes back; where there is nothing to add, every bit stays."""
        assert self.source is not None
        change = self.target.view(np.ascontiguousarray(new)) - np.asarray(self.value, new.dtype)
        view = self.source.view(old)
        moved = view - change if self.negated else view + change
        view[...] = np.where(change == 0, view, moved)

    def is_lost(self, new: Array) -> bool:
        """Whether it has changed and there is no place for that."""
        view = self.target.view(np.ascontiguousarray(new))
        return self.source is None and bool((view != np.asarray(self.value, new.dtype)).any())


@dataclass(frozen=True, slots=True)
class Computed:
    """A new tensor that is computed of old ones, and cannot be taken apart again."""

    path: str
    sources: tuple[str, ...]
    compute: Callable[..., Array]


Part = Copy | Constant


@dataclass(frozen=True)
class TensorMap:
    """The tensors of a new network, as parts of those of the old one.

    Tensors of both that no part and no computation makes are the same.
    """

    old: Shapes
    new: Shapes
    parts: tuple[Part, ...] = ()
    computed: tuple[Computed, ...] = ()

    @staticmethod
    def between(
        before: Block, after: Block, parts: Sequence[Part] = (), computed: Sequence[Computed] = ()
    ) -> TensorMap:
        """The map from the weights of one flat block to those of another."""
        old = WeightShapes(before)
        new = old if after is before else WeightShapes(after)
        return TensorMap(old, new, tuple(parts), tuple(computed))

    def __post_init__(self) -> None:
        if self.new is self.old:
            return
        unknown = [path for path in self.new if path not in self._made and path not in self.old]
        if unknown:
            raise InternalError(f"nothing says what {', '.join(unknown)} is made of")

    @cached_property
    def _made(self) -> Mapping[str, list[Part] | Computed]:
        """What each new tensor is made of, unless it is the old one."""
        made: dict[str, list[Part] | Computed] = {each.path: each for each in self.computed}
        for part in self.parts:
            known = made.setdefault(part.target.path, [])
            assert isinstance(known, list)
            known.append(part)
        return made

    @cached_property
    def used(self) -> frozenset[str]:
        """The old tensors of which something is kept."""
        copied = {part.source.path for part in self.parts if isinstance(part, Copy)}
        computed = {path for each in self.computed for path in each.sources}
        same = {path for path in self.new if path not in self._made}
        return frozenset(copied | computed | same)

    @cached_property
    def dropped(self) -> tuple[str, ...]:
        """The old tensors that the new network has no use for."""
        return tuple(path for path in self.old if path not in self.used)

    @cached_property
    def is_exact(self) -> bool:
        """Whether every element of every old tensor stands in the new ones."""
        return not (self.dropped or self.computed or self._uncovered())

    def _uncovered(self) -> list[str]:
        """Old tensors of which elements are missing."""
        return [path for path, count in self._counts.items() if not count.all()]

    @cached_property
    def _counts(self) -> Mapping[str, Array]:
        """In how many places of the new tensors each element of an old one stands, if in parts."""
        counts: dict[str, Array] = {}
        for part in self.parts:
            if isinstance(part, Copy):
                path = part.source.path
                count = counts.setdefault(path, np.zeros(self.old[path], np.uint8))
                part.source.view(count)[...] += 1
        return counts

    # ---------------------------------------------------------------------------- there and back

    def forward(self, arrays: Arrays) -> Arrays:
        """The new tensors, of the old ones."""
        if self.new is self.old and not self._made:
            return arrays
        return {path: self._new(path, arrays) for path in self.new}

    def _new(self, path: str, arrays: Arrays) -> Callable[[], Array]:
        match self._made.get(path):
            case None:
                return lambda: arrays[path]()
            case Computed(sources=sources, compute=compute):
                return lambda: compute(*(arrays[source]() for source in sources))
            case parts:
                return partial(_assembled, self.new[path], parts, arrays)

    def backward(self, arrays: Arrays) -> Arrays:
        """The old tensors, of the new ones; refuses if that is not possible exactly."""
        lost = [*self.dropped, *self._uncovered()]
        if lost:
            raise LostWeightsError(f"the new weights do not have all of {', '.join(lost)}")
        if self.computed:
            names = ", ".join(each.path for each in self.computed)
            raise LostWeightsError(f"{names} was computed of others and cannot be taken apart")
        for path, made in self._made.items():
            assert isinstance(made, list)
            if _has_no_place(np.asarray(arrays[path]()), made):
                raise LostWeightsError(f"{path} has values for which the old network has no place")
        return {path: self._old(path, arrays) for path in self.old}

    def _old(self, path: str, arrays: Arrays) -> Callable[[], Array]:
        parts = [part for part in self.parts if part.source and part.source.path == path]
        if not parts:
            return arrays[path]
        if path in self._counts and (self._counts[path] > 1).any():
            _demand_agreement(path, self.old[path], parts, arrays)
        return partial(_restored, self.old[path], parts, arrays)


def _has_no_place(new: Array, parts: Sequence[Part]) -> bool:
    """Whether elements that nothing old stands for are not what they began as."""
    if any(isinstance(part, Constant) and part.is_lost(new) for part in parts):
        return True
    free = np.ones(new.shape, np.bool_)
    for part in parts:
        part.target.view(free)[...] = False
    return bool(new[free].any())


def _assembled(shape: tuple[int, ...], parts: Sequence[Part], arrays: Arrays) -> Array:
    sources = [part.source.path for part in parts if part.source is not None]
    known = {path: np.asarray(arrays[path]()) for path in dict.fromkeys(sources)}
    dtype = next((array.dtype for array in known.values()), np.dtype(np.float32))
    new = np.zeros(shape, dtype)
    for part in parts:
        if isinstance(part, Copy):
            part.fill(new, known[part.source.path])
        else:
            part.target.view(new)[...] = part.value
    return new


def _restored(shape: tuple[int, ...], parts: Sequence[Part], arrays: Arrays) -> Array:
    known = {path: np.asarray(arrays[path]()) for path in {part.target.path for part in parts}}
    old = np.zeros(shape, known[parts[0].target.path].dtype)
    # What is copied stands before anything is added to it.
    for part in sorted(parts, key=lambda part: isinstance(part, Constant)):
        part.restore(old, known[part.target.path])
    return old


def _demand_agreement(
    path: str, shape: tuple[int, ...], parts: Sequence[Part], arrays: Arrays
) -> None:
    """Refuse a tensor whose elements stand in several places that have come to differ."""
    copies = [part for part in parts if isinstance(part, Copy)]
    old = _restored(shape, copies, arrays)
    for copy in copies:
        new = np.asarray(arrays[copy.target.path]())
        again = new.copy()
        copy.fill(again, old)
        if again.tobytes() != np.ascontiguousarray(new).tobytes():
            raise LostWeightsError(f"{path} stands in several places, which have come to differ")


class WeightShapes(Mapping[str, tuple[int, ...]]):
    """The sizes of all weights of a flat block, by path; read when they are asked for."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def __getitem__(self, path: str) -> tuple[int, ...]:
        return self._known[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    @cached_property
    def _known(self) -> Shapes:
        weights = owned(self._block.weights, self._block.members)
        return {path: known_shape(path, weight.dims) for path, weight in weights.items()}


@dataclass(frozen=True, slots=True)
class Note:
    """What a transform has done, as a sentence with `{place}`, and where that stands."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Transformed:
    """What a transform makes of a flat block: another one, where its tensors come from, and what
    a person should know."""

    block: Block
    map: TensorMap
    notes: tuple[Note, ...] = ()
    where: tuple[Condition, ...] = ()
    """The sizes of the old network's inputs at which the outputs are the same; else at all."""
