"""What the sentences share: lists, near names, counterexamples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches

from archdsl.diagnostics import Diagnostic, Fix, Label
from archdsl.source import Span


def listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"


MOST_COMPARED = 2_000
"""Looking for near names costs time for each known one; of more, only the likely are compared."""


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that look like this one, the nearest first."""
    names = sorted(set(known))
    if len(names) > MOST_COMPARED or len(name) > MOST_COMPARED:
        names = [other for other in names if other.lower() == name.lower()]
    same = [other for other in names if other.lower() == name.lower()]
    return (same + [n for n in get_close_matches(name, names, 3, 0.6) if n not in same])[:3]


def did_you_mean(span: Span, name: str, known: Iterable[str]) -> tuple[tuple[str, ...], Fix | None]:
    near = near_names(name, known)
    if not near:
        return (), None
    quoted = [f"`{other}`" for other in near]
    return (f"did you mean {listed(quoted)}?",), Fix(span, near[0])


def inside(diagnostic: Diagnostic, applications: Sequence[tuple[str, Span]]) -> Diagnostic:
    """The same problem, with the applications of blocks through which it was reached."""
    reached = tuple(Label(span, f"reached through `{text}`") for text, span in applications)
    return replace(diagnostic, related=(*diagnostic.related, *reversed(reached[-3:])))


Chain = tuple[Label, ...]
"""The operators that made a shape, in order."""

Sizes = dict[str, int] | None
"""A counter-example: a size for each dim."""


def sizes_of(counterexample: Sizes) -> tuple[tuple[str, int], ...]:
    """A counter-example as a diagnostic holds it."""
    return tuple((counterexample or {}).items())
