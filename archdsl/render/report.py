"""Diagnostics for people: the source underlined, the reasons, the fix."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from archdsl.diagnostics import Diagnostic, Fix, Label
from archdsl.render.rows import Piece, Row, coloured, plain
from archdsl.render.snippet import Mark, excerpt, gutter_row, snippet
from archdsl.render.visible import cell_width, visible
from archdsl.source import Sources, Span

if TYPE_CHECKING:
    from rich.text import Text

WIDTH = 100
MOST = 50
"""How many diagnostics are shown before the rest is only counted."""
_MOST_REASONS = 12
_MOST_FIX_LINES = 8
_NARROWEST = 40


def report(diagnostics: Iterable[Diagnostic], sources: Sources, width: int = WIDTH) -> str:
    """The report as plain text."""
    return plain(_rows(list(diagnostics), sources, width))


def coloured_report(
    diagnostics: Iterable[Diagnostic], sources: Sources, width: int = WIDTH
) -> Text:
    """The report for a rich console."""
    return coloured(_rows(list(diagnostics), sources, width))


def place(span: Span | None, sources: Sources) -> str:
    """`file:line:column`, or as much of it as is known."""
    if span is None:
        return ""
    source = sources.get(span.file)
    if source is None:
        return visible(span.file)
    line, column = source.place(span.start)
    return f"{visible(span.file)}:{line}:{column}"


def _rows(diagnostics: Sequence[Diagnostic], sources: Sources, width: int) -> list[Row]:
    rows: list[Row] = []
    for diagnostic in diagnostics[:MOST]:
        rows += _Drawing(diagnostic, sources, width).rows()
        rows.append(())
    if len(diagnostics) > MOST:
        rows += [(Piece(f"... and {len(diagnostics) - MOST} more"),), ()]
    codes = dict.fromkeys(each.code for each in diagnostics[:MOST])
    if codes:
        first, *others = codes
        also = f" (also: {', '.join(others)})" if others else ""
        more = f"for more, try: archdsl explain {first}{also}"
        rows += [(Piece(line),) for line in textwrap.wrap(more, width)]
    return rows


class _Drawing:
    """One diagnostic on its way to rows."""

    def __init__(self, diagnostic: Diagnostic, sources: Sources, width: int) -> None:
        self.diagnostic = diagnostic
        self.sources = sources
        self.gutter = self._gutter()
        self.width = max(width - self.gutter - 3, _NARROWEST)

    def rows(self) -> list[Row]:
        return [
            self._header(),
            *self._snippets(),
            *self._reasons(),
            *self._counterexample(),
            *(row for note in self.diagnostic.notes for row in self._remark("note", note)),
            *(row for text in self.diagnostic.help for row in self._remark("help", text)),
            *self._fix(),
        ]

    def _header(self) -> Row:
        severity = self.diagnostic.severity.value
        return (
            Piece(f"{severity}[{self.diagnostic.code}]", severity),
            Piece(f": {visible(self.diagnostic.message)}", "message"),
        )

    def _gutter(self) -> int:
        """As wide as the largest line number that is shown."""
        fix = self.diagnostic.fix
        spans = [self.diagnostic.span, *(label.span for label in self.diagnostic.related)]
        if fix is not None:
            spans.append(fix.span)
        lines = [
            self.sources[span.file].place(span.end).line
            for span in spans
            if span is not None and span.file in self.sources
        ]
        return len(str(max(lines, default=1)))

    # ---------------------------------------------------------------------------- source lines

    def _snippets(self) -> list[Row]:
        """The primary place with what is related in its file, then the other files."""
        primary = self.diagnostic.span
        marks: dict[str, list[Mark]] = {}
        if primary is not None:
            mark = Mark(primary, self.diagnostic.label, self.diagnostic.severity.value)
            marks[primary.file] = [mark]
        for label in self.diagnostic.related:
            marks.setdefault(label.span.file, []).append(Mark(label.span, label.text))
        rows: list[Row] = []
        for position, (file, shown) in enumerate(marks.items()):
            arrow = "-->" if position == 0 and primary is not None else ":::"
            rows.append(self._arrow(arrow, shown[0].span))
            source = self.sources.get(file)
            if source is None:
                rows += [row for each in shown if each.text for row in self._remark("", each.text)]
            else:
                rows += snippet(source, shown, self.gutter, self.width)
        if rows and self._has_remarks():
            rows.append(gutter_row(self.gutter))
        return rows

    def _has_remarks(self) -> bool:
        it = self.diagnostic
        return bool(it.chain or it.counterexample or it.notes or it.help or it.fix)

    def _arrow(self, arrow: str, span: Span) -> Row:
        return Piece(" " * self.gutter + f"{arrow} ", "gutter"), Piece(place(span, self.sources))

    # --------------------------------------------------------------------------------- remarks

    def _remark(self, keyword: str, text: str) -> list[Row]:
        """`= keyword: text`, wrapped under itself."""
        lead = f"{keyword}: " if keyword else ""
        room = max(self.width - len(lead), 1)
        parts = [textwrap.wrap(visible(part), room) or [""] for part in text.split("\n")]
        first, *rest = [line for part in parts for line in part]
        margin = " " * (self.gutter + 3 + len(lead))
        return [
            (Piece(" " * self.gutter + " = ", "gutter"), Piece(lead, "keyword"), Piece(first)),
            *((Piece(margin + line),) for line in rest),
        ]

    def _reasons(self) -> list[Row]:
        chain = self.diagnostic.chain
        if not chain:
            return []
        places = [place(label.span, self.sources) for label in chain]
        aligned = max(map(cell_width, places))
        rows = [
            self._reason(label, where + " " * (aligned - cell_width(where)))
            for label, where in zip(chain, places, strict=True)
        ]
        if len(rows) > _MOST_REASONS:
            left_out = len(rows) - _MOST_REASONS
            half = _MOST_REASONS // 2
            gap = (Piece(" " * (self.gutter + 5) + f"... {left_out} more steps ..."),)
            rows = [*rows[:half], gap, *rows[-half:]]
        return [*self._remark("how the sizes came about", ""), *rows]

    def _reason(self, label: Label, where: str) -> Row:
        margin = " " * (self.gutter + 5)
        return Piece(margin), Piece(where, "related"), Piece(f"  {visible(label.text)}")

    def _counterexample(self) -> list[Row]:
        sizes = ", ".join(f"{name} = {size}" for name, size in self.diagnostic.counterexample)
        return self._remark("counter-example", sizes) if sizes else []

    # ------------------------------------------------------------------------------------- fix

    def _fix(self) -> list[Row]:
        fix = self.diagnostic.fix
        if fix is None or fix.span.file not in self.sources:
            return []
        primary = self.diagnostic.span
        elsewhere = primary is None or primary.file != fix.span.file
        number, before, after = _change(fix, self.sources)
        column = self.sources[fix.span.file].place(fix.span.start).column - 1
        removed = self._changed(number, "-", before, column)
        added = self._changed(number, "+", after, column)
        where = visible(fix.span.file) if elsewhere else ""
        return [*self._remark("fix", where), *_cut(removed), *_cut(added)]

    def _changed(self, number: int, sign: str, lines: list[str], column: int) -> list[Row]:
        """Lines with their numbers and a sign; the first changes at that column."""
        style = "added" if sign == "+" else "removed"
        rows: list[Row] = []
        for offset, line in enumerate(lines):
            start = 0 if offset else column
            shown = excerpt(line, start, start + self.width // 2, self.width)
            gutter = Piece(f"{number + offset:>{self.gutter}} ", "gutter")
            rows.append((gutter, Piece(f"{sign} {shown}", style)))
        return rows


def _change(fix: Fix, sources: Sources) -> tuple[int, list[str], list[str]]:
    """The number of the first line that changes, the lines before, and the lines after."""
    source = sources[fix.span.file]
    first, last = source.place(fix.span.start), source.place(fix.span.end)
    before = [source.line(number) for number in range(first.line, last.line + 1)]
    head, tail = before[0][: first.column - 1], before[-1][last.column - 1 :]
    return first.line, before, (head + fix.replacement + tail).split("\n")


def _cut(rows: list[Row]) -> list[Row]:
    if len(rows) <= _MOST_FIX_LINES:
        return rows
    return [*rows[: _MOST_FIX_LINES - 1], (Piece(f"... {len(rows) - _MOST_FIX_LINES + 1} more"),)]
