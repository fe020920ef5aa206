"""Diagnostics, and the list that collects them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from archdsl.source import Sources, Span

LONGEST_TEXT = 1_000
"""A sentence may quote what a text says, which may be of any length."""


def clipped(text: str) -> str:
    """The text, cut off where nobody reads on."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


class Severity(StrEnum):
    """How much a diagnostic matters: an error stops the compilation, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A further place in the source and what it has to do with the problem."""

    span: Span
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clipped(self.text))


@dataclass(frozen=True, slots=True)
class Fix:
    """A replacement of a range of the source that mends the problem."""

    span: Span
    replacement: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: a stable code, a sentence, a place, and what helps to understand and mend it.

    `label` is what stands under the underlined source; `chain` names the operators that made the
    shapes, in order; `counterexample` is a size of every dim for which it goes wrong.
    """

    code: str
    message: str
    span: Span | None
    label: str = ""
    related: tuple[Label, ...] = ()
    chain: tuple[Label, ...] = ()
    counterexample: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    fix: Fix | None = None
    severity: Severity = Severity.ERROR

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", clipped(self.message))
        object.__setattr__(self, "label", clipped(self.label))
        object.__setattr__(self, "notes", tuple(map(clipped, self.notes)))
        object.__setattr__(self, "help", tuple(map(clipped, self.help)))


MOST_KEPT = 1_000
"""A text that is wrong in more places than this is known well enough."""


@dataclass(slots=True)
class Diagnostics:
    """A growing collection that drops repeats and remembers whether anything was an error."""

    items: list[Diagnostic] = field(default_factory=list[Diagnostic])
    _seen: set[tuple[str, Span | None, str]] = field(
        default_factory=set[tuple[str, Span | None, str]]
    )

    def add(self, diagnostic: Diagnostic) -> None:
        key = (diagnostic.code, diagnostic.span, diagnostic.message)
        if key in self._seen or len(self.items) >= MOST_KEPT:
            return
        self._seen.add(key)
        self.items.append(diagnostic)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def errors(self) -> int:
        """How many of them are errors."""
        return sum(item.severity is Severity.ERROR for item in self.items)

    @property
    def has_errors(self) -> bool:
        return self.errors > 0


class ArchError(Exception):
    """A text could not be compiled; `diagnostics` says why, `str()` is the rendered report."""

    def __init__(
        self,
        diagnostics: tuple[Diagnostic, ...],
        report: str,
        sources: Sources | None = None,
    ) -> None:
        super().__init__(report)
        self.diagnostics = diagnostics
        self.sources: Sources = sources or {}


class GivenError(Exception):
    """Something given beside the text (weights, inputs) can't be used; `str()` says why."""


class InternalError(Exception):
    """The compiler itself is wrong; never the fault of the text."""
