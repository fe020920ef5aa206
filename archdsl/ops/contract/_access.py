"""Access maps of elementwise operators and of operators that keep most axes."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.ir.access import EVERYWHERE, KEPT, SAME, Reach, Sight, Sights
from archdsl.ir.op import Op
from archdsl.ir.types import TensorType


def place_by_place(self: Op, axis: int, *inputs: TensorType) -> Sights:
    """Elements of a result see the elements of the inputs that are laid over them."""
    rank = max((x.rank for x in inputs), default=0)
    sights: list[Sight] = []
    for number, x in enumerate(inputs):
        own = axis - (rank - x.rank)
        if own < 0:
            continue
        others = [y.dims[axis - (rank - y.rank)] for y in inputs if axis >= rank - y.rank]
        is_stretched = x.dims[own] == 1 and any(size != 1 for size in others)
        sights.append(Sight(number, own, EVERYWHERE if is_stretched else SAME))
    return sights


def through(axis: int, reach: Reach | None) -> Sights:
    """The same axis of the first input, seen so."""
    return None if reach is None else (Sight(0, axis, reach),)


def all_but(axis: int, places: Sequence[int]) -> Sights:
    """The first input place by place, but for axes of which nothing can be told."""
    return through(axis, None if axis in places else SAME)


def normalised(axis: int, places: Sequence[int]) -> Sights:
    """The first input place by place, but each place depends on all along some axes."""
    return through(axis, KEPT if axis in places else SAME)


def moved(axis: int, places: Sequence[int]) -> Sights:
    """Axes in another order: which axis of the input stands where."""
    return (Sight(0, places[axis], SAME),)


def without(axis: int, gone: Sequence[int], x: TensorType, *, kept: bool) -> Sights:
    """Axes taken together: they go, or are kept with one place that sees all of them."""
    if kept:
        return through(axis, EVERYWHERE if axis in gone else SAME)
    return moved(axis, [place for place in range(x.rank) if place not in gone])
