"""Names and texts in generated Python: data that can never become code."""

from __future__ import annotations

import ast
import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from archdsl.backends.python.naming import (
    MODULE_NAMES,
    Namespace,
    class_name,
    comment,
    docstring,
    identifier,
    is_plain,
    string,
)

HOSTILE = [
    "class",
    "forward",
    "__init__",
    "__class__",
    "a'b",
    'a"b',
    "a\\",
    '"""',
    "x\ny",
    "\u202eabc\u202c",
    "ﬁ",
    "ﬀoo",
    "é",
    "ｆｏｏ",
    "{x}",
    "0",
    "",
    "lambda",
    "l",
    "\x00",
    "match",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_identifiers_are_legal(name: str) -> None:
    for made in (identifier(name), class_name(name)):
        assert made.isidentifier()
        assert made.isascii()
        assert not keyword.iskeyword(made)


@given(st.text())
def test_every_text_has_an_identifier(name: str) -> None:
    assert identifier(name).isidentifier()
    assert not keyword.iskeyword(identifier(name))
    assert class_name(name).isidentifier()


@given(st.text())
def test_strings_are_literals_of_the_same_text(text: str) -> None:
    literal = string(text)
    assert literal.isascii()
    assert ast.literal_eval(literal) == text


@given(st.text())
def test_comments_stay_in_their_line(text: str) -> None:
    assert len(comment(text).splitlines()) == 1
    assert ast.parse(comment(text)).body == []


@given(st.text())
def test_docstrings_stay_texts(text: str) -> None:
    lines = docstring(text, "    ")
    if lines:
        source = "\n".join(["def f():", *lines, "    return 1"])
        (function,) = ast.parse(source).body
        assert isinstance(function, ast.FunctionDef)
        assert len(function.body) == 2


def test_plain_names_can_be_attributes() -> None:
    assert is_plain("conv1")
    for name in ("class", "forward", "training", "_modules", "__init__", "0", "ﬁ", "é", ""):
        assert not is_plain(name)


def test_all_names_of_modules_are_known() -> None:
    for module in (nn.Module(), nn.Sequential(), nn.ModuleList(), nn.ModuleDict()):
        public = {name for name in dir(module) if not name.startswith("_")}
        assert public <= MODULE_NAMES


def test_names_are_unique() -> None:
    names = Namespace(["x"])
    assert [names.claim(name) for name in ("x", "x", "y", "x2", "torch")] == [
        "x2",
        "x3",
        "y",
        "x2_2",
        "torch2",
    ]
    assert names.claim_class("resnet50") == "Resnet50"
    assert names.claim_class("resnet50") == "Resnet50_2"
