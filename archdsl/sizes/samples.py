"""Sample sizes to try: familiar ones first, then the limits of what is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from archdsl.sizes.knowledge import Knowledge

FAMILIAR_SIZES: Final = (224, 225, 32, 33, 7, 1, 2, 3, 5, 8, 64, 100, 12)
MOST_SHIFTS: Final = 6


def assignments(names: Sequence[str], knowledge: Knowledge) -> Iterator[dict[str, int]]:
    """A deterministic handful of sizes for these symbols, each within its range."""
    choices = {name: _sizes(name, knowledge) for name in names}
    if not all(choices.values()):
        return
    longest = max(map(len, choices.values()), default=1)
    for shift in range(MOST_SHIFTS if len(names) > 1 else 1):
        for turn in range(longest):
            yield {
                name: choices[name][(turn + shift * place) % len(choices[name])]
                for place, name in enumerate(names)
            }


def _sizes(name: str, knowledge: Knowledge) -> tuple[int, ...]:
    low, high = knowledge.ranges.get(name, (1, None))
    step = knowledge.divisors.get(name, 1)
    wanted = [-(-size // step) * step for size in FAMILIAR_SIZES]
    if low is not None:
        wanted += [low + step * place for place in range(4)]
    if high is not None:
        wanted += [high - step * place for place in range(3)]
    allowed = (s for s in wanted if (low is None or s >= low) and (high is None or s <= high))
    return tuple(dict.fromkeys(allowed))
