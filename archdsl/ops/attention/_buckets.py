"""T5's buckets of relative positions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Buckets:
    """Distances from 0: one bucket each for the nearest, then logarithmic ones up to a farthest.

    Computed in integers, so that no rounding of logarithms moves a boundary.
    """

    count: int
    farthest: int

    @property
    def single(self) -> int:
        """How many distances have a bucket of their own."""
        return self.count // 2

    def thresholds(self) -> list[int]:
        """The least distance of each bucket but the first."""
        found = list(range(1, self.single + 1))
        found += [self._least(step) for step in range(1, self.count - self.single)]
        return found

    def _least(self, step: int) -> int:
        """The least `d` for which `log(d / s) / log(m / s) * n` is at least the step."""
        near, steps = self.single, self.count - self.single
        bound = self.farthest**step * near ** (steps - step)
        low, high = near, self.farthest
        while low < high:
            middle = (low + high) // 2
            if middle**steps >= bound:
                high = middle
            else:
                low = middle + 1
        return low
