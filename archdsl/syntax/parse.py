"""Parses text to a tree, and turns parse errors into diagnostics."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from archdsl import problems
from archdsl.diagnostics import Diagnostic
from archdsl.limits import Limits
from archdsl.resources import grammar_text, table_cache
from archdsl.source import Source, Span
from archdsl.syntax import ast
from archdsl.syntax.hints import hint_for
from archdsl.syntax.lexer import OneScanLexer
from archdsl.syntax.newlines import NestingTooDeep, Newlines
from archdsl.syntax.tree import LiteralError, TreeBuilder, interpolated

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
    """The tree of a text, or the diagnostics that say why there is none."""
    refused = _refused_text(source, limits)
    if refused is not None:
        return None, [refused]
    builder = TreeBuilder(source.name, lambda text, at: parse_fragment(source, text, at, limits))
    try:
        return _parser().parse(source.text, builder, limits.nesting), []
    except UnexpectedInput as error:
        return None, [_syntax_problem(source, error)]
    except NestingTooDeep as error:
        span = Span(source.name, error.offset, error.offset + 1)
        return None, [problems.limit_exceeded(span, "nesting", limits.nesting)]
    except LiteralError as error:
        return None, [problems.bad_literal(error.span, error.reason)]
    except FragmentError as error:
        return None, [error.diagnostic]


class FragmentError(Exception):
    """The expression inside `{…}` of a label or message could not be parsed."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


FRAGMENT = "_ ="
"""Makes a file of an expression, so that the grammar needs one start only."""


def parse_fragment(source: Source, text: str, offset: int, limits: Limits) -> ast.Expression:
    """An expression that stands inside a label or string, with spans in the whole file."""
    builder = _Shifted(source.name, offset - len(FRAGMENT))
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


class _Shifted(TreeBuilder):
    """A tree builder whose tokens begin at an offset of the file."""

    def __init__(self, file: str, offset: int) -> None:
        super().__init__(file, lambda text, at: ast.String(Span(file, at, at), text))
        self._offset = offset

    def _token(self, token: Token) -> Span:
        span = super()._token(token)
        return Span(span.file, span.start + self._offset, span.end + self._offset)


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


def _syntax_problem(source: Source, error: UnexpectedInput) -> Diagnostic:
    if isinstance(error, UnexpectedCharacters):
        offset = int(cast(Any, error).pos_in_stream or 0)
        span = Span(source.name, offset, offset + 1)
        return problems.unexpected_character(span, source.text[offset : offset + 1])
    if not isinstance(error, UnexpectedToken):
        end = len(source.text)
        return problems.unexpected_end(Span(source.name, end, end), ())
    token = cast(Token, cast(Any, error).token)
    expected = tuple(sorted(error.accepts or error.expected))
    if token.type == "$END":
        end = len(source.text.rstrip())
        return problems.unexpected_end(Span(source.name, end, end), _spoken(expected))
    start = token.start_pos or 0
    span = Span(source.name, start, start + max(len(token), 1))
    before = source.text[:start].rstrip()
    found = "end of line" if token.type == "_NL" else f"`{token}`"
    return problems.syntax_error(span, found, _spoken(expected), hint_for(token, before))


_NAMES = {
    "NAME": "a name", "INT": "an integer", "FLOAT": "a number", "STRING": "a string",
    "LABEL": "a label", "_NL": "a new line", "ARROW": "`->`", "LBRACE": "`{`", "RBRACE": "`}`",
    "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "COMMA": "`,`", "COLON": "`:`",
    "EQUAL": "`=`", "DOT": "`.`", "ELLIPSIS": "`...`", "COMPARISON": "a comparison",
    "PLUS": "`+`", "MINUS": "`-`", "PRODUCT": "`*`", "POWER": "`**`", "DOC": "`##`",
    "$END": "the end of the file", "__ANON_0": "`..`",
}  # fmt: skip


def _spoken(terminals: tuple[str, ...]) -> tuple[str, ...]:
    """Terminals in words, the punctuation that a person would miss first."""
    words = {_NAMES.get(name, f"`{name.lower()}`") for name in terminals}
    return tuple(sorted(words, key=lambda word: (word[0] != "`", word)))
