"""A text with its name and lines; spans; offsets as lines and columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple


class Span(NamedTuple):
    """A half-open range of zero-based character offsets in the file of that name."""

    file: str
    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of another in the same file."""
        return Span(self.file, self.start, max(self.end, other.end))


class Place(NamedTuple):
    """A line and a column as people count them, both from 1."""

    line: int
    column: int


class Source:
    """One file's text under the name people see."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        position = self.text.find("\n")
        while position >= 0:
            starts.append(position + 1)
            position = self.text.find("\n", position + 1)
        return starts

    @property
    def line_count(self) -> int:
        return len(self._line_starts)

    def place(self, offset: int) -> Place:
        """The line and column of an offset; the end of the text is a place too."""
        offset = min(max(offset, 0), len(self.text))
        line = bisect_right(self._line_starts, offset)
        return Place(line, offset - self._line_starts[line - 1] + 1)

    def line(self, number: int) -> str:
        """The text of a line (from 1), without its line break."""
        start = self._line_starts[number - 1]
        end = self._line_starts[number] - 1 if number < self.line_count else len(self.text)
        return self.text[start:end].rstrip("\r")

    def utf16_column(self, offset: int) -> int:
        """The zero-based column in UTF-16 code units, as editors count."""
        place = self.place(offset)
        before = self.line(place.line)[: place.column - 1]
        return len(before.encode("utf-16-le", "surrogatepass")) // 2


Sources = Mapping[str, Source]
