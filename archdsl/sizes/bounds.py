"""Interval arithmetic: bounds of a size from ranges of its symbols."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from archdsl.sizes.atoms import (
    Atom,
    FloorDiv,
    Maximum,
    Minimum,
    Opaque,
    Polynomial,
    remainder_form,
)

Range = tuple[int | None, int | None]
"""The least and the greatest value, None where there is none."""

# An end is an int, or an infinity; the two never meet in arithmetic, since a float would round.
_End = int | float
_Ends = tuple[_End, _End]
_EVERYTHING: _Ends = (-inf, inf)


def interval(polynomial: Polynomial, ranges: Mapping[str, Range], default: Range) -> Range:
    """Where the values of a polynomial lie, when its symbols lie in these ranges."""
    low, high = _Intervals(ranges, default).of(polynomial)
    return (
        low if isinstance(low, int) else None,
        high if isinstance(high, int) else None,
    )


class _Intervals:
    def __init__(self, ranges: Mapping[str, Range], default: Range) -> None:
        self.ranges = ranges
        self.default = default

    def of(self, polynomial: Polynomial) -> _Ends:
        low, high = self._of_sum(polynomial)
        bottom, top = self._of_remainder(polynomial)
        negative_top, negative_bottom = self._of_remainder({m: -c for m, c in polynomial.items()})
        return max(low, bottom, -negative_bottom), min(high, top, -negative_top)

    def _of_remainder(self, polynomial: Polynomial) -> _Ends:
        """What is seen of `multiple * (n % d) + offset`, which a sum does not show."""
        form = remainder_form(polynomial)
        if form is None:
            return _EVERYTHING
        multiple, division, offset = form
        least, greatest = self.of(division.divisor)
        if least < 1:
            return _EVERYTHING
        return offset, _plus(_times(multiple, _plus(greatest, -1)), offset)

    def _of_sum(self, polynomial: Polynomial) -> _Ends:
        low: _End = 0
        high: _End = 0
        for monomial, coefficient in polynomial.items():
            ends: _Ends = (coefficient, coefficient)
            for atom, power in monomial:
                ends = _product(ends, _power(self._of_atom(atom), power))
            low = _plus(low, ends[0])
            high = _plus(high, ends[1])
        return low, high

    def _of_atom(self, atom: Atom) -> _Ends:
        match atom:
            case str():
                low, high = self.ranges.get(atom, self.default)
                return -inf if low is None else low, inf if high is None else high
            case FloorDiv():
                return _quotient(self.of(atom.dividend), self.of(atom.divisor))
            case Maximum():
                first, second = self.of(atom.first), self.of(atom.second)
                return max(first[0], second[0]), max(first[1], second[1])
            case Minimum():
                first, second = self.of(atom.first), self.of(atom.second)
                return min(first[0], second[0]), min(first[1], second[1])
            case Opaque():
                return _EVERYTHING


def _plus(left: _End, right: _End) -> _End:
    if isinstance(left, float):
        return left
    return right if isinstance(right, float) else left + right


def _times(left: _End, right: _End) -> _End:
    if left == 0 or right == 0:
        return 0
    if isinstance(left, float) or isinstance(right, float):
        return inf if (left > 0) == (right > 0) else -inf
    return left * right


def _product(left: _Ends, right: _Ends) -> _Ends:
    corners = [_times(a, b) for a in left for b in right]
    return min(corners), max(corners)


def _power(base: _Ends, exponent: int) -> _Ends:
    result = base
    for _ in range(exponent - 1):
        result = _product(result, base)
    return (max(0, result[0]), result[1]) if exponent % 2 == 0 else result


def _quotient(dividend: _Ends, divisor: _Ends) -> _Ends:
    """The ends of a floor division; they are known for a positive divisor."""
    if divisor[0] < 1:
        return _EVERYTHING
    low = min(_floor(dividend[0], end) for end in divisor)
    high = max(_floor(dividend[1], end) for end in divisor)
    return low, high


def _floor(dividend: _End, divisor: _End) -> _End:
    if isinstance(dividend, float):
        return dividend
    if isinstance(divisor, float):
        return -1 if dividend < 0 else 0
    return dividend // divisor
