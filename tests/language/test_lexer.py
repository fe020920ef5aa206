"""The lexer finds what Lark's own contextual lexer finds, in good texts and in spoiled ones."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from lark import Lark, UnexpectedInput
from lark.lexer import ContextualLexer

from archdsl.resources import grammar_text, specs_folder
from archdsl.syntax.lexer import OneScanLexer
from archdsl.syntax.newlines import Newlines

TEXTS = {path.stem: path.read_text("utf-8") for path in sorted(specs_folder().rglob("*.arch"))}
WORDS = "model if then else repeat in as or not share training"
SIGNS = '{ } ( ) [ ] -> = == * ** / . .. ... , : ; " # ##x 1. 1.5 1e3 a.b.0 x{i}: $ é'
PIECES = [*WORDS.split(), *SIGNS.split(), " ", "\n", "\r\n", "# note\n"]
HEAD = "edition 2026\nmodel a()(x: [N]) -> y: [N] {\n"


class _Postlex:
    always_accept = Newlines.always_accept

    def process(self, stream: Iterator[Any]) -> Iterator[Any]:
        return Newlines(64).process(stream)


def _parser(lexer: type[ContextualLexer]) -> Lark:
    return Lark(
        grammar_text(),
        parser="lalr",
        start="file",
        postlex=_Postlex(),
        maybe_placeholders=True,
        _plugins={"ContextualLexer": lexer},
    )


@pytest.fixture(scope="module")
def parsers() -> tuple[Lark, Lark]:
    return _parser(ContextualLexer), _parser(OneScanLexer)


def _found(parser: Lark, text: str) -> object:
    """The tree with the places of its tokens, or the error with everything it says."""
    try:
        tree = parser.parse(text)
    except UnexpectedInput as error:
        token = getattr(error, "token", None)
        facts = ("pos_in_stream", "expected", "allowed")
        said = [
            str(sorted(v) if isinstance(v := getattr(error, f, None), set) else v) for f in facts
        ]
        return type(error), str(token), getattr(token, "start_pos", None), said
    leaves = tree.scan_values(lambda leaf: leaf is not None)
    return tree, [(leaf.type, leaf.start_pos, leaf.end_pos) for leaf in leaves]


@pytest.mark.parametrize("name", TEXTS)
def test_shipped_texts(parsers: tuple[Lark, Lark], name: str) -> None:
    theirs, ours = (_found(parser, TEXTS[name]) for parser in parsers)
    assert ours == theirs


@pytest.mark.parametrize("seed", range(150))
def test_spoiled_texts(parsers: tuple[Lark, Lark], seed: int) -> None:
    chance = random.Random(seed)
    text = chance.choice(list(TEXTS.values()))
    start = chance.randrange(len(text))
    text = chance.choice(("", HEAD)) + text[start : start + chance.randrange(400)]
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(PIECES) + text[place + chance.choice((0, 0, 1, 5)) :]
    theirs, ours = (_found(parser, text) for parser in parsers)
    assert ours == theirs
