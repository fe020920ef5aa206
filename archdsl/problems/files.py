"""Problems of files, editions and imports."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.diagnostics import Diagnostic, Fix, Label
from archdsl.problems.words import did_you_mean, listed, near_names
from archdsl.source import Span


def missing_edition(span: Span, edition: int) -> Diagnostic:
    return Diagnostic(
        "missing-edition",
        "the file does not say which edition of the language it is written in",
        span,
        help=(f"begin the file with `edition {edition}`",),
        fix=Fix(span, f"edition {edition}\n"),
    )


def unknown_edition(span: Span, edition: int, known: int) -> Diagnostic:
    return Diagnostic(
        "unknown-edition",
        f"there is no edition {edition}",
        span,
        help=(f"this compiler knows `edition {known}`",),
        fix=Fix(span, f"edition {known}"),
    )


def duplicate_declaration(span: Span, name: str, earlier: Span) -> Diagnostic:
    return Diagnostic(
        "duplicate-declaration",
        f"`{name}` is declared twice in this file",
        span,
        related=(Label(earlier, "first declared here"),),
        help=("give one of them another name; an import takes `as Name`",),
    )


def duplicate_parameter(span: Span, name: str, earlier: Span) -> Diagnostic:
    return Diagnostic(
        "duplicate-declaration",
        f"`{name}` stands twice in this signature",
        span,
        related=(Label(earlier, "first declared here"),),
        help=("parameters, inputs and dims need different names",),
    )


def unknown_import(span: Span, name: str, path: str, known: Sequence[str]) -> Diagnostic:
    help, fix = did_you_mean(span, name, known)
    return Diagnostic(
        "unknown-import",
        f"`{path}` declares no block or constant `{name}`",
        span,
        help=help or ((f"it declares {listed([f'`{k}`' for k in known])}",) if known else ()),
        fix=fix,
    )


def unknown_library(span: Span, path: str, known: Sequence[str]) -> Diagnostic:
    # What all names begin with does not say which was meant.
    stems = {name.removeprefix("std."): name for name in known}
    near = near_names(path.removeprefix("std."), stems)
    help, fix = did_you_mean(span, path, [stems[stem] for stem in near])
    return Diagnostic(
        "unknown-library",
        f"the standard library has no `{path}`",
        span,
        help=help or (f"it has {listed([f'`{k}`' for k in known])}",),
        fix=fix,
    )


def import_cycle(span: Span, cycle: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "import-cycle",
        f"these files import each other: {' → '.join(cycle)}",
        span,
        help=("move what they share into a file of its own",),
    )


def import_outside_root(span: Span, path: str) -> Diagnostic:
    return Diagnostic(
        "import-outside-root",
        f"`{path}` leads out of the folder of the project",
        span,
        help=("imports are relative paths with `/` that stay inside the project's folder",),
    )


def import_without_root(span: Span) -> Diagnostic:
    return Diagnostic(
        "import-without-root",
        "a text that is not in a file cannot import files",
        span,
        help=("save it next to the file it imports; `import std.…` works everywhere",),
    )


def file_not_found(span: Span | None, path: str) -> Diagnostic:
    return Diagnostic("file-not-found", f"there is no file `{path}`", span)


def unreadable_file(span: Span | None, path: str, reason: str) -> Diagnostic:
    return Diagnostic("unreadable-file", f"`{path}` can't be read: {reason}", span)
