"""Decides where a newline ends a statement, between lexer and parser."""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token

OPENING = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
CLOSING = frozenset(OPENING.values())
UNFINISHED = frozenset(
    {"_NL", "LBRACE", "DOC", "EQUAL", "COMMA", "COLON", "ARROW", "PLUS", "MINUS", "PRODUCT"}
    | {"POWER", "COMPARISON", "AND", "OR", "NOT", "THEN", "ELSE"}
)
"""A line that ends with one of these is continued by the next."""


class NestingTooDeep(Exception):
    """More brackets are open than the limit allows."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class Newlines:
    """Drops the newlines that end nothing; a fresh one is used for every text."""

    always_accept = ("_NL",)

    def __init__(self, nesting_limit: int) -> None:
        self.nesting_limit = nesting_limit

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        open_brackets: list[str] = []
        previous = "LBRACE"
        for token in stream:
            kind = token.type
            if kind == "_NL":
                inside = bool(open_brackets) and open_brackets[-1] != "LBRACE"
                if inside or previous in UNFINISHED:
                    continue
            elif kind in OPENING:
                open_brackets.append(kind)
                if len(open_brackets) > self.nesting_limit:
                    raise NestingTooDeep(token.start_pos or 0)
            elif kind in CLOSING and open_brackets:
                open_brackets.pop()
            previous = kind
            yield token
