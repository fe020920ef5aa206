"""Problems of syntax and of the size of a text."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.diagnostics import Diagnostic, Fix, Label
from archdsl.problems.words import listed
from archdsl.source import Place, Span


def syntax_error(span: Span, found: str, expected: Sequence[str], hint: str | None) -> Diagnostic:
    wanted = listed(expected) if expected else "something else"
    return Diagnostic(
        "syntax-error",
        f"unexpected {found}",
        span,
        label=f"expected {wanted}",
        help=(hint,) if hint else (),
    )


def unexpected_character(span: Span, character: str) -> Diagnostic:
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    help = (
        ("names are written in ASCII letters, digits and `_`",) if not character.isascii() else ()
    )
    return Diagnostic("unexpected-character", f"unexpected character `{shown}`", span, help=help)


def unexpected_end(span: Span, expected: Sequence[str]) -> Diagnostic:
    wanted = f"expected {listed(expected)}" if expected else "something is unfinished"
    return Diagnostic(
        "unexpected-end",
        "the file ends in the middle of a statement",
        span,
        label=wanted,
    )


def known_mistake(code: str, message: str, span: Span, help: str, fix: Fix | None) -> Diagnostic:
    """A mistake that people make who know another notation."""
    return Diagnostic(code, message, span, help=(help,), fix=fix)


def unfinished_line(span: Span, word: str, last: str, end: Span) -> Diagnostic:
    return Diagnostic(
        "syntax-error",
        f"`{word}` begins a statement, but the line above ends with `{last}`",
        span,
        related=(Label(end, "something has to follow here"),),
        help=(f"finish the line above, or remove its `{last}`",),
    )


def missing_separator(span: Span, separator: str, found: str, gap: Span) -> Diagnostic:
    name, help = {
        ",": ("comma", "arguments and items are separated by `,`"),
        ":": ("colon", "a label or parameter has a `:` before what it is"),
    }[separator]
    return Diagnostic(
        "syntax-error",
        f"a {name} is missing before `{found}`",
        span,
        help=(help,),
        fix=Fix(gap, separator),
    )


def type_before_name(span: Span, type: str, name: str) -> Diagnostic:
    return Diagnostic(
        "syntax-error",
        "a type follows its name",
        span,
        help=(f"write `{name}: {type}`",),
        fix=Fix(span, f"{name}: {type}"),
    )


def unopened_bracket(span: Span, bracket: str) -> Diagnostic:
    return Diagnostic(
        "syntax-error",
        f"this `{bracket}` closes nothing",
        span,
        help=("remove it, or write its partner where it begins",),
        fix=Fix(span, ""),
    )


def unclosed_bracket(span: Span, bracket: str, opened: Place, noticed: Span) -> Diagnostic:
    partner = {"(": ")", "[": "]", "{": "}"}[bracket]
    return Diagnostic(
        "unclosed-bracket",
        f"the `{bracket}` on line {opened.line}, column {opened.column} is never closed",
        span,
        label=f"opened here, without its `{partner}`",
        related=(Label(noticed, "noticed here"),),
        help=(f"write `{partner}` where it ends",),
    )


def hidden_character(span: Span, character: str) -> Diagnostic:
    return Diagnostic(
        "hidden-character",
        f"the text contains the invisible character U+{ord(character):04X}",
        span,
        notes=("such characters make a text look different from what it says",),
        help=("remove it",),
        fix=Fix(span, ""),
    )


def bad_literal(span: Span, reason: str) -> Diagnostic:
    return Diagnostic("bad-literal", f"this literal can't be taken: {reason}", span)


def bad_interpolation(span: Span, text: str) -> Diagnostic:
    return Diagnostic(
        "bad-interpolation",
        f"`{{{text}}}` is not an expression",
        span,
        help=('inside braces stands an expression, as in `layer{i + 1}` or "width {D}"',),
    )


LIMITS = {
    "file_bytes": "a file is at most {bound:,} bytes long",
    "nesting": "brackets, scopes and blocks nest at most {bound} deep",
    "imported_files": "a program imports at most {bound} files",
    "import_depth": "imports are at most {bound} deep",
    "expansion_steps": "a program expands in at most {bound:,} steps",
    "expanded_nodes": "a model has at most {bound:,} nodes",
    "repeat_count": "one loop repeats at most {bound:,} times",
    "diagnostics": "after {bound} errors nothing more is looked at",
}


def limit_exceeded(span: Span | None, limit: str, bound: int) -> Diagnostic:
    option = limit.replace("_", "-")
    return Diagnostic(
        "limit-exceeded",
        f"the limit `{option}` is exceeded: {LIMITS[limit].format(bound=bound)}",
        span,
        help=(f"if it is meant, raise it on the command line: `--limit {option}=…`",),
    )
