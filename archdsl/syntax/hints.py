"""Hints for frequent mistakes of syntax."""

from __future__ import annotations

from lark import Token

_BY_TOKEN = {
    "=": "compare with `==`; `=` binds a name or gives an argument",
    ":": "a label stands before a layer, `name: Layer(…)`",
    "->": "a pipeline stands in brackets here: `(x -> …)`",
    "}": "this closes a scope that was not opened, or something before it is unfinished",
    ")": "a bracket is closed that was not opened, or an argument is missing",
    ",": "arguments are separated by one comma; statements by a new line or `;`",
}
_PYTHON = {
    "def": "a reusable part is a `block Name(parameters)(inputs) { … }`",
    "class": "a reusable part is a `block Name(parameters)(inputs) { … }`",
    "elif": "write `else if`",
    "lambda": "there are no functions to write; make a `block`",
    "while": "loops are `for i in a..b { … }` and `repeat n { … }`, so that every program ends",
    "let": "a name is bound by `name = value`",
    "scan": "a scan begins a pipeline: `ys = scan x over xs(axis=T) { … }`",
}


def hint_for(token: Token, before: str) -> str | None:
    """A hint for an unexpected token, given the text before it."""
    words = before.split()[-2:]
    if words == ["->", "if"]:
        return "after `->`, a choice stands in brackets: `-> (if … then … else …)`"
    last_word = words[-1] if words else ""
    if token == ">" and before.endswith("-"):
        return "a pipeline needs a value on the left of `->`"
    for word in (str(token), last_word):
        if word in _PYTHON:
            return _PYTHON[word]
    return _BY_TOKEN.get(str(token))
