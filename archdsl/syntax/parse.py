"""Parses text to a tree, and turns parse errors into diagnostics."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from lark import Lark, UnexpectedInput

from archdsl import problems
from archdsl.diagnostics import Diagnostic
from archdsl.limits import Limits
from archdsl.resources import grammar_text, table_cache
from archdsl.source import Source, Span
from archdsl.syntax import ast
from archdsl.syntax.lexer import OneScanLexer
from archdsl.syntax.newlines import NestingTooDeep, Newlines
from archdsl.syntax.tree import LiteralError, TreeBuilder, interpolated

if TYPE_CHECKING:
    from archdsl.syntax.recovery import Declaration

HIDDEN_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Bidirectional controls: they make a text look different from what it says."""


class _Callbacks:
    """Hands Lark's rule callbacks to the tree builder of the text being parsed."""

    builder: TreeBuilder

    def __getattr__(self, rule: str) -> Any:
        if not hasattr(TreeBuilder, rule):
            raise AttributeError(rule)
        return lambda children: getattr(self.builder, rule)(children)  # pyright: ignore


class _Parser:
    """Lark with the grammar, and the two things that differ from text to text."""

    def __init__(self) -> None:
        self.callbacks = _Callbacks()
        self.newlines = _NewlineSlot()
        self.lark = Lark(
            grammar_text(),
            parser="lalr",
            start="file",
            transformer=cast(Any, self.callbacks),
            postlex=cast(Any, self.newlines),
            maybe_placeholders=True,
            cache=table_cache(),
            _plugins={"ContextualLexer": OneScanLexer},
        )

    def parse(self, text: str, builder: TreeBuilder, nesting: int) -> ast.File:
        before = getattr(self.callbacks, "builder", builder)
        self.callbacks.builder = builder
        self.newlines.filter = Newlines(nesting)
        try:
            return cast(Any, self.lark).parse(text)
        finally:
            self.callbacks.builder = before


class _NewlineSlot:
    """The newline filter in force; Lark keeps one post-lexer for its whole life."""

    always_accept = Newlines.always_accept
    filter = Newlines(0)

    def process(self, stream: Any) -> Any:
        return self.filter.process(stream)


@cache
def _parser() -> _Parser:
    return _Parser()


def parse(source: Source, limits: Limits) -> tuple[ast.File | None, list[Diagnostic]]:
    """The tree of a text, and the diagnostics that say what of the text is missing in it."""
    refused = _refused_text(source, limits)
    if refused is not None:
        return None, [refused]
    file, problem = _parsed(source, source.text, 0, limits)
    if file is not None or problem is None:
        return file, []
    return _recovered(source, limits, problem)


def _parsed(
    source: Source, text: str, start: int, limits: Limits
) -> tuple[ast.File | None, Diagnostic | None]:
    """The tree of a piece that begins at an offset of a file, or what is wrong with it first."""
    builder = TreeBuilder(
        source.name, lambda text, at: parse_fragment(source, text, at, limits), start
    )
    try:
        return _parser().parse(text, builder, limits.nesting), None
    except UnexpectedInput as error:
        # Most texts are right, and need not wait for the tables of what can be wrong.
        from archdsl.syntax.diagnose import diagnosed

        return None, diagnosed(source, text, start, error)
    except NestingTooDeep as error:
        at = start + error.offset
        span = Span(source.name, at, at + 1)
        return None, problems.limit_exceeded(span, "nesting", limits.nesting)
    except LiteralError as error:
        return None, problems.bad_literal(error.span, error.reason)
    except FragmentError as error:
        return None, error.diagnostic


def _recovered(
    source: Source, limits: Limits, first: Diagnostic
) -> tuple[ast.File | None, list[Diagnostic]]:
    """The declarations that are whole and use none of the others; what is wrong in each other."""
    from archdsl.syntax.recovery import declarations, intact

    text = source.text
    found: list[Diagnostic] = []
    broken: list[Declaration] = []
    whole: list[tuple[Declaration, ast.File]] = []
    for declaration in declarations(text):
        piece = text[declaration.start : declaration.end]
        file, problem = _parsed(source, piece, declaration.start, limits)
        if file is not None:
            whole.append((declaration, file))
        elif problem is not None:
            broken.append(declaration)
            found.append(problem)
            if len(found) == limits.diagnostics:
                bound = limits.diagnostics
                return None, [*found, problems.limit_exceeded(problem.span, "diagnostics", bound)]
    if not found:
        return None, [first]
    kept = intact(text, [declaration for declaration, _ in whole], broken)
    files = [whole[at][1] for at in kept]
    if not files:
        return None, found
    items = tuple(item for file in files for item in file.items)
    return replace(files[0], items=items), found


class FragmentError(Exception):
    """The expression inside `{…}` of a label or message could not be parsed."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


FRAGMENT = "_ ="
"""Makes a file of an expression, so that the grammar needs one start only."""


def parse_fragment(source: Source, text: str, offset: int, limits: Limits) -> ast.Expression:
    """An expression that stands inside a label or string, with spans in the whole file."""
    builder = TreeBuilder(
        source.name,
        lambda text, at: ast.String(Span(source.name, at, at), text),
        offset - len(FRAGMENT),
    )
    span = Span(source.name, offset, offset + len(text))
    try:
        items = _parser().parse(FRAGMENT + text, builder, limits.nesting).items
    except UnexpectedInput:
        items = ()
    except NestingTooDeep:
        problem = problems.limit_exceeded(span, "nesting", limits.nesting)
        raise FragmentError(problem) from None
    except LiteralError as error:
        raise FragmentError(problems.bad_literal(error.span, error.reason)) from None
    if len(items) == 1 and isinstance(items[0], ast.FileConstant):
        return items[0].value
    raise FragmentError(problems.bad_interpolation(span, text))


def message_parts(
    source: Source, message: ast.String, limits: Limits
) -> tuple[str | ast.Expression, ...]:
    """The literal and interpolated parts of a message."""
    raw = source.text[message.span.start + 1 : message.span.end - 1]
    offset = message.span.start + 1
    return interpolated(raw, offset, lambda text, at: parse_fragment(source, text, at, limits))


def _refused_text(source: Source, limits: Limits) -> Diagnostic | None:
    size = len(source.text.encode("utf-8", "surrogatepass"))
    if size > limits.file_bytes:
        return problems.limit_exceeded(Span(source.name, 0, 0), "file_bytes", limits.file_bytes)
    if source.text.isascii() and "\0" not in source.text:
        return None
    for offset, character in enumerate(source.text):
        if character in HIDDEN_CONTROLS or character == "\0" or 0xD800 <= ord(character) < 0xE000:
            return problems.hidden_character(Span(source.name, offset, offset + 1), character)
    return None
