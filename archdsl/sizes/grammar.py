"""Operators and precedence of size formulas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

ARITHMETIC: Final[Mapping[str, int]] = {"+": 5, "-": 5, "*": 6, "//": 6, "%": 6, "**": 8}
NEGATIVE: Final[Mapping[str, int]] = {"-": 7}

_WORD = re.compile(
    r"\s*(?:(?P<number>\d+)|(?P<call>max|min|ceildiv|opaque)\s*\(|(?P<name>[^\W\d]\w*)|`(?P<quoted>[^`]*)`"
    r"|(?P<sign>\*\*|//|==|!=|<=|>=|[-+*%<>(),]))"
)


class DimSyntaxError(ValueError):
    """A text that is not a formula of sizes."""


@dataclass(frozen=True, slots=True)
class Grammar(Generic[Value]):
    """Which operators a formula may have and what they make of their operands."""

    binary: Mapping[str, int]
    prefix: Mapping[str, int]
    leaf: Callable[[str, str], Value]
    apply: Callable[[str, list[Value]], Value]


@dataclass(slots=True)
class _Pending:
    """An operator, bracket or call that waits for its last operand."""

    text: str
    strength: int
    first_value: int


@dataclass(slots=True)
class _Reader(Generic[Value]):
    grammar: Grammar[Value]
    values: list[Value] = field(default_factory=list[Value])
    pending: list[_Pending] = field(default_factory=list[_Pending])
    wants_operand: bool = True

    def take_operand(self, kind: str, word: str) -> None:
        if word == "(" and kind == "sign":
            self.pending.append(_Pending("", 0, len(self.values)))
        elif kind == "call":
            self.pending.append(_Pending(word, 0, len(self.values)))
        elif kind != "quoted" and word in self.grammar.prefix:
            self.pending.append(_Pending(word, self.grammar.prefix[word], len(self.values)))
        elif kind == "sign" or (kind == "name" and word in self.grammar.binary):
            raise DimSyntaxError(f"{word!r} stands where a size should")
        else:
            self.values.append(self.grammar.leaf(kind, word))
            self.wants_operand = False

    def take_operator(self, kind: str, word: str) -> None:
        if word == ")":
            self.close_bracket()
        elif word == ",":
            self.reduce(1)
            if not self.pending or not self.pending[-1].text:
                raise DimSyntaxError("',' stands outside a call")
            self.wants_operand = True
        elif kind != "quoted" and word in self.grammar.binary:
            strength = self.grammar.binary[word]
            self.reduce(strength + 1 if word == "**" else strength)
            self.pending.append(_Pending(word, strength, len(self.values) - 1))
            self.wants_operand = True
        else:
            raise DimSyntaxError(f"{word!r} stands where an operator should")

    def close_bracket(self) -> None:
        self.reduce(1)
        if not self.pending:
            raise DimSyntaxError("')' closes nothing")
        opened = self.pending.pop()
        if opened.text:
            self.apply(opened)

    def reduce(self, strength: int) -> None:
        while self.pending and self.pending[-1].strength >= strength:
            self.apply(self.pending.pop())

    def apply(self, operator: _Pending) -> None:
        operands = self.values[operator.first_value :]
        self.values[operator.first_value :] = [self.grammar.apply(operator.text, operands)]


def read_formula(text: str, grammar: Grammar[Value]) -> Value:
    """Read a formula without recursion, however deep its brackets are."""
    reader = _Reader(grammar)
    for kind, word in _words(text):
        if reader.wants_operand:
            reader.take_operand(kind, word)
        else:
            reader.take_operator(kind, word)
    if reader.wants_operand:
        raise DimSyntaxError(f"{text!r} ends where a size should stand")
    reader.reduce(1)
    if reader.pending:
        raise DimSyntaxError(f"a bracket is not closed in {text!r}")
    return reader.values[0]


def _words(text: str) -> Iterator[tuple[str, str]]:
    end = len(text.rstrip())
    position = 0
    while position < end:
        match = _WORD.match(text, position)
        if match is None:
            raise DimSyntaxError(f"{text[position:].strip()[:20]!r} is no part of a size")
        kind = str(match.lastgroup)
        yield kind, match[kind]
        position = match.end()
