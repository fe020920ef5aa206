"""Source lines with line numbers, underlines and labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from archdsl.render.rows import Piece, Row
from archdsl.render.visible import cell_width, columns, visible
from archdsl.source import Source, Span

_LABEL_WIDTH = 30
"""A label is never squeezed into fewer columns than this."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A span to underline, what to say about it, and whether it is the place of the problem."""

    span: Span
    text: str
    style: str = "related"

    @property
    def character(self) -> str:
        return "-" if self.style == "related" else "^"


@dataclass(frozen=True, slots=True)
class _Underline:
    """The part of a mark that lies in one line, in columns from 0."""

    line: int
    start: int
    end: int
    text: str
    mark: Mark


def gutter_row(gutter: int, *pieces: Piece) -> Row:
    """A row beside the line numbers."""
    return (Piece(" " * gutter + " | ", "gutter"), *pieces)


def snippet(source: Source, marks: Sequence[Mark], gutter: int, width: int) -> list[Row]:
    """The lines that the marks touch, each followed by its underlines and labels."""
    by_line: dict[int, list[_Underline]] = {}
    for mark in marks:
        for underline in _underlines(source, mark):
            by_line.setdefault(underline.line, []).append(underline)
    rows = [gutter_row(gutter)]
    previous = 0
    for line in sorted(by_line):
        rows += _between(source, previous, line, gutter, width)
        rows += _line(source.line(line), by_line[line], gutter, width)
        previous = line
    return rows


def excerpt(text: str, start: int, end: int, width: int) -> str:
    """A source line as it is shown, or the part of it around some columns."""
    first, last = _window(text, start, end, width)
    shown, _ = columns(text[first:last])
    return ("…" if first else "") + shown + ("…" if last < len(text) else "")


def _underlines(source: Source, mark: Mark) -> list[_Underline]:
    """One underline, or for a mark over several lines one on the first and one on the last."""
    begin = mark.span.start
    marked = source.text[begin : mark.span.end].rstrip()
    first, last = source.place(begin), source.place(begin + max(len(marked) - 1, 0))
    start, end = first.column - 1, last.column
    if first.line == last.line:
        return [_Underline(first.line, start, max(end, start + 1), mark.text, mark)]
    ending = source.line(last.line)
    indent = len(ending) - len(ending.lstrip())
    return [
        _Underline(first.line, start, max(len(source.line(first.line)), start + 1), "", mark),
        _Underline(last.line, min(indent, end - 1), end, mark.text, mark),
    ]


def _between(source: Source, previous: int, line: int, gutter: int, width: int) -> list[Row]:
    """What stands for the lines between two that are shown."""
    if previous == 0 or line == previous + 1:
        return []
    if line == previous + 2:
        number = Piece(f"{previous + 1:>{gutter}} | ", "gutter")
        return [(number, Piece(excerpt(source.line(previous + 1), 0, 0, width)))]
    return [(Piece("...", "gutter"),)]


def _line(text: str, underlines: list[_Underline], gutter: int, width: int) -> list[Row]:
    first = min(each.start for each in underlines)
    last = max(each.end for each in underlines)
    begin, end = _window(text, first, last, width)
    _, places = columns(text[begin:end])
    number = Piece(f"{underlines[0].line:>{gutter}} | ", "gutter")

    def place(column: int) -> int:
        inside = min(max(column - begin, 0), end - begin)
        return places[inside] + (begin > 0) + max(column - max(end, len(text)), 0)

    spans = [(place(each.start), place(each.end), each) for each in underlines]
    drawn = [(start, max(stop, start + 1), each) for start, stop, each in spans]
    return [
        (number, Piece(excerpt(text, first, last, width))),
        *(gutter_row(gutter, *row) for row in _annotations(drawn, width)),
    ]


def _window(text: str, start: int, end: int, width: int) -> tuple[int, int]:
    """Which characters of a line to show: all, or as many as fit, with the marked ones in view."""
    room = width - 2
    if len(text) <= room:
        return 0, len(text)
    begin = 0 if end <= room else max(0, min(start - room // 4, len(text) - room))
    return begin, min(begin + room, len(text))


def _annotations(drawn: list[tuple[int, int, _Underline]], width: int) -> list[Row]:
    """The row of underlines, the last label beside it if it fits, the others hanging below."""
    drawn = sorted(drawn, key=lambda each: (each[0], each[2].mark.style == "related"))
    rows: list[Row] = [_underline_row(drawn)]
    furthest = max(end for _, end, _ in drawn)
    hanging = [each for each in drawn if each[2].text]
    if hanging and hanging[-1][1] == furthest:
        text = visible(hanging[-1][2].text)
        if furthest + 1 + cell_width(text) <= max(width, furthest + _LABEL_WIDTH):
            label = Piece(f" {text}", hanging.pop()[2].mark.style)
            rows = [(*rows[0], label)]
    if hanging:
        rows.append(_stems(hanging))
    while hanging:
        start, _, underline = hanging.pop()
        room = max(width - start, _LABEL_WIDTH)
        for line in textwrap.wrap(visible(underline.text), room):
            stems = _stems([each for each in hanging if each[0] < start])
            used = sum(len(piece.text) for piece in stems)
            rows.append((*stems, Piece(" " * (start - used) + line, underline.mark.style)))
    return rows


def _underline_row(drawn: list[tuple[int, int, _Underline]]) -> Row:
    cells: list[Piece] = []
    for start, end, underline in sorted(drawn, key=lambda each: each[2].mark.style != "related"):
        mark = underline.mark
        cells += [Piece(" ")] * (end - len(cells))
        cells[start:end] = [Piece(mark.character, mark.style)] * (end - start)
    return _joined(cells)


def _stems(hanging: list[tuple[int, int, _Underline]]) -> Row:
    cells: list[Piece] = []
    for start, _, underline in hanging:
        cells += [Piece(" ")] * (start + 1 - len(cells))
        cells[start] = Piece("|", underline.mark.style)
    return _joined(cells)


def _joined(cells: list[Piece]) -> Row:
    """Neighbours of one style as one piece."""
    row: list[Piece] = []
    for cell in cells:
        if row and row[-1].style == cell.style:
            row[-1] = Piece(row[-1].text + cell.text, cell.style)
        else:
            row.append(cell)
    return tuple(row)
