"""Parses text to a tree, and turns parse errors into diagnostics."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, cast

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from archdsl import problems
from archdsl.diagnostics import Diagnostic, Fix
from archdsl.limits import Limits
from archdsl.resources import grammar_text, table_cache
from archdsl.source import Source, Span
from archdsl.syntax import ast
from archdsl.syntax.brackets import closes_nothing, never_closed, open_brackets
from archdsl.syntax.lexer import OneScanLexer
from archdsl.syntax.mistakes import explained, hint_for
from archdsl.syntax.newlines import NestingTooDeep, Newlines
from archdsl.syntax.recovery import Declaration, declarations, intact
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


class Piece(NamedTuple):
    """A range of a text that is parsed by itself."""

    text: str
    start: int
    end: int

    @property
    def own(self) -> str:
        return self.text[self.start : self.end]

    def span(self, file: str, start: int, end: int) -> Span:
        """The span in the file of a range of the piece."""
        return Span(file, self.start + start, self.start + end)


def parse(source: Source, limits: Limits) -> tuple[ast.File | None, list[Diagnostic]]:
    """The tree of a text, and the diagnostics that say what of the text is missing in it."""
    refused = _refused_text(source, limits)
    if refused is not None:
        return None, [refused]
    file, problem = _parsed(source, Piece(source.text, 0, len(source.text)), limits)
    if file is not None or problem is None:
        return file, []
    return _recovered(source, limits, problem)


def _parsed(
    source: Source, piece: Piece, limits: Limits
) -> tuple[ast.File | None, Diagnostic | None]:
    """The tree of a piece of a text, or what is wrong with it first."""
    builder = TreeBuilder(
        source.name, lambda text, at: parse_fragment(source, text, at, limits), piece.start
    )
    try:
        return _parser().parse(piece.own, builder, limits.nesting), None
    except UnexpectedInput as error:
        return None, _syntax_problem(source, piece, error)
    except NestingTooDeep as error:
        at = piece.start + error.offset
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
    text = source.text
    found: list[Diagnostic] = []
    broken: list[Declaration] = []
    whole: list[tuple[Declaration, ast.File]] = []
    for declaration in declarations(text):
        piece = Piece(text, declaration.start, declaration.end)
        file, problem = _parsed(source, piece, limits)
        if file is not None:
            whole.append((declaration, file))
        elif problem is not None:
            broken.append(declaration)
            found.append(problem)
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


def _syntax_problem(source: Source, piece: Piece, error: UnexpectedInput) -> Diagnostic:
    """Why a piece of a text does not parse, as a person would say it."""
    expected_terminals = _accepted(error)
    expected = _spoken(expected_terminals)
    if isinstance(error, UnexpectedToken) and cast(Any, error).token.type != "$END":
        token = cast(Token, cast(Any, error).token)
        offset = token.start_pos or 0
        is_end = token.type == "_NL"
        span = piece.span(source.name, offset, offset + (1 if is_end else max(len(token), 1)))
        found = "end of line" if is_end else f"`{token}`"
        body = is_end and "LBRACE" in expected_terminals
        hint = BODY_HINT if body else hint_for(str(token))
        problem = problems.syntax_error(span, found, expected, hint)
    elif isinstance(error, UnexpectedCharacters):
        token, offset = None, int(cast(Any, error).pos_in_stream or 0)
        span = piece.span(source.name, offset, offset + 1)
        problem = problems.unexpected_character(span, piece.own[offset : offset + 1])
    else:
        token, offset = None, len(piece.own.rstrip())
        span = piece.span(source.name, offset, offset)
        problem = problems.unexpected_end(span, expected)
    return (
        _unclosed(source, piece, offset)
        or _unopened(source, piece, offset)
        or _mistaken(source, piece, offset, problem)
        or _unseparated(source, piece, token, expected_terminals)
        or problem
    )


def _accepted(error: UnexpectedInput) -> frozenset[str]:
    """The terminals that the grammar allows at the place of an error."""
    if isinstance(error, UnexpectedToken):
        return frozenset(error.accepts or error.expected)
    return frozenset(getattr(error, "allowed", None) or ())


def _unclosed(source: Source, piece: Piece, offset: int) -> Diagnostic | None:
    """The bracket that nothing closes; at the end of a piece, the next declaration shows it."""
    bracket = never_closed(piece.own, offset)
    if bracket is None:
        return None
    opened = piece.span(source.name, bracket.offset, bracket.offset + 1)
    at_end = offset >= len(piece.own.rstrip())
    at = piece.end if at_end and piece.end < len(piece.text) else piece.start + offset
    word = re.compile(r"\w+|.?", re.DOTALL).match(piece.text, at)
    noticed = Span(source.name, at, at if word is None else word.end())
    return problems.unclosed_bracket(opened, bracket.character, source.place(opened.start), noticed)


def _mistaken(source: Source, piece: Piece, offset: int, problem: Diagnostic) -> Diagnostic | None:
    """What the table of mistakes says of the line."""
    known = explained(piece.own, offset)
    if known is None:
        return None
    span = piece.span(source.name, known.start, known.end)
    fix = None if known.replacement is None else Fix(span, known.replacement)
    return problems.known_mistake(problem.code, known.message, span, known.help, fix)


def _unopened(source: Source, piece: Piece, offset: int) -> Diagnostic | None:
    """A closing bracket of which none is open."""
    if not closes_nothing(piece.own, offset):
        return None
    span = piece.span(source.name, offset, offset + 1)
    return problems.unopened_bracket(span, piece.own[offset])


def _unseparated(
    source: Source, piece: Piece, token: Token | None, accepted: frozenset[str]
) -> Diagnostic | None:
    """Two words side by side: a label or parameter without its colon, or items without a comma."""
    if token is None or token.type not in OPERANDS:
        return None
    text, start = piece.own, token.start_pos or 0
    end = len(text[:start].rstrip())
    span = piece.span(source.name, start, start + len(token))
    gap = piece.span(source.name, end, end)
    before = _LAST_WORD.search(text, 0, end)
    if before is not None and "COLON" in accepted and "\n" not in text[end:start]:
        word = before[0]
        if word in TYPE_NAMES:
            both = piece.span(source.name, before.start(), span.end - piece.start)
            return problems.type_before_name(both, word, str(token))
        return problems.missing_separator(span, ":", str(token), gap)
    brackets, _ = open_brackets(text, start)
    if "COMMA" not in accepted or not brackets or brackets[-1].character == "{":
        return None
    return problems.missing_separator(span, ",", str(token), gap)


_LAST_WORD = re.compile(r"[A-Za-z_]\w*\Z")
TYPE_NAMES = frozenset({"int", "float", "bool", "str", "layer", "init"})
BODY_HINT = "a body begins with `{` on the line of its head"
OPERANDS = frozenset(
    {"NAME", "INT", "FLOAT", "STRING", "LPAR", "LSQB", "MINUS", "NOT", "TRUE", "FALSE", "NONE"}
    | {"PATH", "IF", "SCAN"}
)
OPERATORS = frozenset({"PLUS", "MINUS", "PRODUCT", "POWER", "COMPARISON", "AND", "OR"})
CONTINUATIONS = frozenset({"LPAR", "LSQB", "DOT"})
STATEMENTS = frozenset(
    {"RETURN", "FOR", "REQUIRE", "EXPECT", "PARAM", "BUFFER", "YIELD", "SHARE", "LABEL", "REPEAT"}
    | {"LBRACE"}
)
_NAMES = {
    "NAME": "a name", "INT": "an integer", "FLOAT": "a number", "STRING": "a string",
    "LABEL": "a label", "_NL": "a new line", "ARROW": "`->`", "LBRACE": "`{`", "RBRACE": "`}`",
    "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "COMMA": "`,`", "COLON": "`:`",
    "EQUAL": "`=`", "DOT": "`.`", "ELLIPSIS": "`...`", "COMPARISON": "a comparison",
    "PLUS": "`+`", "MINUS": "`-`", "PRODUCT": "`*`", "POWER": "`**`", "DOC": "`##`",
    "$END": "the end of the file", "__ANON_0": "`..`",
}  # fmt: skip


def _spoken(terminals: frozenset[str]) -> tuple[str, ...]:
    """Terminals in words, those of one kind as one, the punctuation first."""
    words: set[str] = set()
    if {"RETURN", "NAME"} <= terminals:
        words.add("a statement")
        terminals -= OPERANDS | STATEMENTS
    elif {"NAME", "INT"} <= terminals:
        words.add("a value")
        terminals -= OPERANDS | STATEMENTS
    elif OPERATORS & terminals:
        words.add("an operator")
        terminals -= OPERATORS | CONTINUATIONS
    words |= {_NAMES.get(name, f"`{name.lower()}`") for name in terminals}
    return tuple(sorted(words, key=lambda word: (word[0] != "`", word)))
