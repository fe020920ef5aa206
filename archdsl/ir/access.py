"""Access maps: which positions of an input axis an output position reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Final

LONGEST_PERIOD: Final = 4096
"""Up to so many neighbours may see in ways of their own, before nobody keeps account of them."""


@dataclass(frozen=True, slots=True)
class Field:
    """The first and the last place that each place sees, in a pattern that comes again.

    Place `q * len(spans) + r` sees the places from `q * step + spans[r][0]` to
    `q * step + spans[r][1]`. What a border cuts off is not told.
    """

    step: int
    spans: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """The most places that one place sees, from the first to the last."""
        return max(last - first + 1 for first, last in self.spans)

    def span(self, place: int) -> tuple[int, int]:
        """What one place sees."""
        turn, rest = divmod(place, len(self.spans))
        first, last = self.spans[rest]
        return first + turn * self.step, last + turn * self.step

    def over(self, inner: Field) -> Field | None:
        """What is seen through this field of what `inner` sees; None if it is too intricate."""
        repeats = len(inner.spans) // gcd(self.step, len(inner.spans))
        period = len(self.spans) * repeats
        if period > LONGEST_PERIOD:
            return None
        spans = tuple(inner.hull(*self.span(place)) for place in range(period))
        step = self.step * repeats // len(inner.spans) * inner.step
        return Field(step, spans).shortest()

    def hull(self, first: int, last: int) -> tuple[int, int]:
        """What places from the first to the last see together."""
        # The pattern only moves on, so that its extremes are within one period of the ends.
        period = len(self.spans)
        begin = range(first, min(last, first + period - 1) + 1)
        end = range(max(first, last - period + 1), last + 1)
        return min(self.span(place)[0] for place in begin), max(self.span(p)[1] for p in end)

    def union(self, other: Field) -> Field | None:
        """What two see together that move on alike."""
        period = lcm(len(self.spans), len(other.spans))
        if period > LONGEST_PERIOD:
            return None
        pairs = [(self.span(place), other.span(place)) for place in range(period)]
        spans = tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs)
        return Field(self.step * (period // len(self.spans)), spans).shortest()

    def shortest(self) -> Field:
        """The same with the shortest period."""
        period = len(self.spans)
        for shorter in range(1, period):
            repeats, rest = divmod(period, shorter)
            if rest == 0 and self.step % repeats == 0:
                candidate = Field(self.step // repeats, self.spans[:shorter])
                if all(candidate.span(place) == self.spans[place] for place in range(period)):
                    return candidate
        return self


@dataclass(frozen=True, slots=True)
class Reach:
    """How one axis lies on another, and what its places see there.

    `stride` is how many places of the other axis lie between neighbours, and `offset` where among
    them the middle of place 0 is; both are None for an axis that is the same everywhere, and the
    offset alone where what met there lay differently. A `field` of None is all of the other axis.
    """

    stride: Fraction | None
    offset: Fraction | None
    field: Field | None

    @staticmethod
    def window(kernel: int, stride: int = 1, before: int = 0, dilation: int = 1) -> Reach:
        """Windows that slide over an axis with so much padding before it."""
        span = dilation * (kernel - 1)
        field = Field(stride, ((-before, span - before),))
        return Reach(Fraction(stride), Fraction(span, 2) - before, field)

    @staticmethod
    def spread(kernel: int, stride: int, padding: int, dilation: int) -> Reach:
        """Windows the other way round: each place is laid out as a kernel, as if transposed."""
        span = dilation * (kernel - 1)
        spans = [_sources(place + padding, kernel, stride, dilation) for place in range(stride)]
        offset = Fraction(padding, stride) - Fraction(span, 2 * stride)
        return Reach(Fraction(1, stride), offset, Field(1, tuple(spans)).shortest())

    @staticmethod
    def shifted(places: int) -> Reach:
        """The same places, counted from another one."""
        return Reach(Fraction(1), Fraction(places), Field(1, ((places, places),)))

    @staticmethod
    def scaled(field: Field) -> Reach:
        """As images are resized: pixels are areas, and the borders stay where they are."""
        stride = Fraction(field.step, len(field.spans))
        return Reach(stride, (stride - 1) / 2, field)

    def over(self, inner: Reach) -> Reach | None:
        """What is seen through this reach of what `inner` sees; None if it is too intricate."""
        stride = offset = field = None
        if self.stride is not None and inner.stride is not None:
            stride = self.stride * inner.stride
            if self.offset is not None and inner.offset is not None:
                offset = inner.stride * self.offset + inner.offset
        if self.field is not None and inner.field is not None:
            field = self.field.over(inner.field)
            if field is None:
                return None
        return Reach(stride, offset, field)

    def union(self, other: Reach) -> Reach | None:
        """What is seen where two meet, place by place; None where they move on differently."""
        if self.stride is None or other.stride is None:
            grid = other if self.stride is None else self
        elif self.stride != other.stride:
            return None
        else:
            grid = self if self.offset == other.offset else Reach(self.stride, None, None)
        if self.field is None or other.field is None:
            return Reach(grid.stride, grid.offset, None)
        field = self.field.union(other.field)
        return None if field is None else Reach(grid.stride, grid.offset, field)


def _sources(place: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """The first and the last of the places whose kernel covers this one."""
    reached = [place - dilation * tap for tap in range(kernel)]
    sources = [tap // stride for tap in reached if tap % stride == 0]
    if not sources:
        # Nothing reaches a place between kernels that are shorter than their stride.
        return place // stride, place // stride
    return min(sources), max(sources)


SAME: Final = Reach.shifted(0)
"""Place by place."""

EVERYWHERE: Final = Reach(None, None, None)
"""Every place sees all: there is no place by place."""

KEPT: Final = Reach(Fraction(1), Fraction(0), None)
"""Place by place, but each depends on all, as where a mean of them is taken away."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one axis of an operator's outputs sees of one axis of an input."""

    input: int
    axis: int
    reach: Reach


Sights = Sequence[Sight] | None
"""All that an axis sees; None where an operator does not tell."""
