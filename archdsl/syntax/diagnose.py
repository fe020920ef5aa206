"""Explains why a text does not parse: by brackets, known mistakes, separators, or the token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from lark import Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from archdsl import problems
from archdsl.diagnostics import Diagnostic, Fix
from archdsl.problems.words import did_you_mean
from archdsl.source import Source, Span
from archdsl.syntax.ast import PARAMETER_TYPES
from archdsl.syntax.brackets import closes_nothing, never_closed, open_brackets
from archdsl.syntax.mistakes import explained


def diagnosed(source: Source, text: str, start: int, error: UnexpectedInput) -> Diagnostic:
    """What is wrong with a piece of a file that begins at an offset, as a person would say it."""
    failure = _failure(source, text, start, error)
    plain = failure.plain()
    return (
        failure.bracket()
        or failure.mistake(plain.code)
        or failure.declaration()
        or failure.unfinished()
        or failure.separator()
        or plain
    )


def _failure(source: Source, text: str, start: int, error: UnexpectedInput) -> _Failure:
    if isinstance(error, UnexpectedCharacters):
        place = int(cast(Any, error).pos_in_stream or 0)
        return _Failure(source, text, start, place, None, frozenset())
    if not isinstance(error, UnexpectedToken):
        return _Failure(source, text, start, len(text.rstrip()), None, frozenset())
    token = cast(Token, cast(Any, error).token)
    accepted = frozenset[str](error.accepts or error.expected)
    if token.type == "$END":
        return _Failure(source, text, start, len(text.rstrip()), None, accepted)
    return _Failure(source, text, start, token.start_pos or 0, token, accepted)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Where a piece of a file stops to be the language."""

    source: Source
    text: str
    """The piece."""
    start: int
    """Where it begins in the file."""
    offset: int
    """Where it fails, in the piece."""
    token: Token | None
    """What stands there; None for a character that begins no token, and at the end."""
    accepted: frozenset[str]
    """The terminals that the grammar allows there."""

    @property
    def at_end(self) -> bool:
        return self.offset >= len(self.text.rstrip())

    def span(self, start: int, end: int) -> Span:
        """The span in the file of a range of the piece."""
        return Span(self.source.name, self.start + start, self.start + end)

    def plain(self) -> Diagnostic:
        """What stands there, and what could."""
        if self.at_end:
            return problems.unexpected_end(self.span(self.offset, self.offset), self.expected)
        here = self.span(self.offset, self.offset + 1)
        if self.token is None:
            return problems.unexpected_character(here, self.text[self.offset])
        if self.token.type == "_NL":
            hint = BODY_HINT if "LBRACE" in self.accepted else None
            return problems.syntax_error(here, "end of line", self.expected, hint)
        hint = HINTS.get(str(self.token))
        return problems.syntax_error(self.token_span, f"`{self.token}`", self.expected, hint)

    @property
    def token_span(self) -> Span:
        return self.span(self.offset, self.offset + max(len(self.token or ""), 1))

    @property
    def expected(self) -> tuple[str, ...]:
        return spoken(self.accepted)

    def bracket(self) -> Diagnostic | None:
        """A bracket that nothing closes, or one that closes nothing."""
        bracket = never_closed(self.text, self.offset)
        if bracket is None and closes_nothing(self.text, self.offset):
            here = self.span(self.offset, self.offset + 1)
            return problems.unopened_bracket(here, self.text[self.offset])
        if bracket is None:
            return None
        opened = self.span(bracket.offset, bracket.offset + 1)
        return problems.unclosed_bracket(
            opened, bracket.character, self.source.place(opened.start), self._noticed()
        )

    def _noticed(self) -> Span:
        """The word at which it shows; at the end of a piece the first of the next one."""
        whole = self.source.text
        after = self.start + len(self.text)
        at = after if self.at_end and after < len(whole) else self.start + self.offset
        word = _WORD.match(whole, at)
        return Span(self.source.name, at, word.end() if word is not None else at)

    def mistake(self, code: str) -> Diagnostic | None:
        """What the table of mistakes says of the line."""
        known = explained(self.text, self.offset)
        if known is None:
            return None
        span = self.span(known.start, known.end)
        fix = None if known.replacement is None else Fix(span, known.replacement)
        return problems.known_mistake(code, known.message, span, known.help, fix)

    def declaration(self) -> Diagnostic | None:
        """A word at the left margin that looks like one with which declarations begin."""
        line = self.text.rfind("\n", 0, self.offset) + 1
        word = _DECLARED.match(self.text, line)
        if word is None or word.end() != self.offset or word[1] in DECLARATIONS:
            return None
        span = self.span(line, line + len(word[1]))
        help, fix = did_you_mean(span, word[1], DECLARATIONS)
        if not help:
            return None
        return problems.known_mistake(
            "syntax-error", f"no declaration begins with `{word[1]}`", span, help[0], fix
        )

    def unfinished(self) -> Diagnostic | None:
        """A statement that begins where the line above is not finished."""
        before = self.text[: self.offset].rstrip()
        word = _last_word(before)
        above = before.removesuffix(word)
        ended = above.rstrip()
        if word not in STATEMENT_WORDS or "\n" not in above[len(ended) :] or not ended:
            return None
        last = "->" if ended.endswith("->") else ended[-1]
        end = self.span(len(ended) - len(last), len(ended))
        return problems.unfinished_line(self.span(len(above), len(before)), word, last, end)

    def separator(self) -> Diagnostic | None:
        """Two words side by side: a label or parameter without a colon, items without a comma."""
        if self.token is None or self.token.type not in OPERANDS:
            return None
        before = self.text[: self.offset].rstrip()
        gap, found = self.span(len(before), len(before)), str(self.token)
        word = _last_word(before)
        if word and "COLON" in self.accepted and "\n" not in self.text[len(before) : self.offset]:
            if word in PARAMETER_TYPES:
                both = self.span(len(before) - len(word), self.offset + len(found))
                return problems.type_before_name(both, word, found)
            return problems.missing_separator(self.token_span, ":", found, gap)
        brackets, _ = open_brackets(self.text, self.offset)
        if "COMMA" not in self.accepted or not brackets or brackets[-1].character == "{":
            return None
        return problems.missing_separator(self.token_span, ",", found, gap)


DECLARATIONS = ("block", "cell", "model", "import", "edition")
STATEMENT_WORDS = frozenset({"return", "require", "expect", "for", "param", "buffer", "yield"})
_DECLARED = re.compile(r"([A-Za-z_]\w*)[ \t]+(?=\w)")
_WORD = re.compile(r"\w+|.?", re.DOTALL)


def _last_word(text: str) -> str:
    """The name that a text ends with, if it ends with one."""
    start = len(text)
    while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    return "" if text[start : start + 1].isdigit() else text[start:]


BODY_HINT = "a body begins with `{` on the line of its head"
HINTS = {
    "=": "compare with `==`; `=` binds a name or gives an argument",
    ":": "a label stands before a layer, `name: Layer(…)`",
    "->": "a pipeline stands in brackets here: `(x -> …)`",
    ",": "arguments are separated by one comma; statements by a new line or `;`",
}
"""What is meant where a token is not allowed."""

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


def spoken(terminals: frozenset[str]) -> tuple[str, ...]:
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
