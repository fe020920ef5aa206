"""Diagnostics for other programs: one line each, or data for JSON."""

from __future__ import annotations

from typing import Any

from archdsl.diagnostics import Diagnostic, Label
from archdsl.render.report import place
from archdsl.render.visible import visible
from archdsl.source import Source, Sources, Span


def concise(diagnostic: Diagnostic, sources: Sources) -> str:
    """`file:line:column: error[code]: message`, on one line."""
    where = place(diagnostic.span, sources)
    sizes = ", ".join(f"{name} = {size}" for name, size in diagnostic.counterexample)
    return "".join(
        (
            f"{where}: " if where else "",
            f"{diagnostic.severity.value}[{diagnostic.code}]: {visible(diagnostic.message)}",
            f" (for {sizes})" if sizes else "",
        )
    )


def record(diagnostic: Diagnostic, sources: Sources) -> dict[str, Any]:
    """A diagnostic as plain data; lines and columns from 1, offsets and `utf16` from 0."""
    fix = diagnostic.fix
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        **where(diagnostic.span, sources),
        "label": diagnostic.label,
        "related": [_labelled(label, sources) for label in diagnostic.related],
        "chain": [_labelled(label, sources) for label in diagnostic.chain],
        "counterexample": dict(diagnostic.counterexample),
        "notes": list(diagnostic.notes),
        "help": list(diagnostic.help),
        "fix": fix and {**where(fix.span, sources), "replacement": fix.replacement},
    }


def _labelled(label: Label, sources: Sources) -> dict[str, Any]:
    return {**where(label.span, sources), "text": label.text}


def where(span: Span | None, sources: Sources) -> dict[str, Any]:
    """A place as plain data, all None where there is none."""
    if span is None:
        return {"file": None, "start": None, "end": None}
    source = sources.get(span.file)
    if source is None:
        return {"file": span.file, "start": {"offset": span.start}, "end": {"offset": span.end}}
    return {
        "file": span.file,
        "start": _point(source, span.start),
        "end": _point(source, span.end),
    }


def _point(source: Source, offset: int) -> dict[str, int]:
    line, column = source.place(offset)
    utf16 = source.utf16_column(offset)
    return {"line": line, "column": column, "offset": offset, "utf16": utf16}
