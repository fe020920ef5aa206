"""Diagnostics drawn for people and for programs."""

import json
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archdsl.diagnostics import Diagnostic, Fix, Label, Severity
from archdsl.render import coloured_report, concise, record, report, visible
from archdsl.source import Source, Span

BLOCK = """\
edition 2026

block Bottleneck(stride: int)(x: [N, C, H, W]) -> [N, C, H // stride, W] {
  y = x -> conv1: Conv(64, 1) -> relu
        -> conv2: Conv(64, (3, 1), stride=(stride, 1), padding=(1, 0))
  return relu(y + x)
}
"""
SOURCES = {"net.arch": Source("net.arch", BLOCK)}


def span(text: str, source: str = BLOCK, file: str = "net.arch") -> Span:
    start = source.index(text)
    return Span(file, start, start + len(text))


MISMATCH = Diagnostic(
    "shape-mismatch",
    "axis `H` of the result is (H + 1)//2, but the signature promises H//2",
    span("return relu(y + x)"),
    label="returns [N, 64, (H + 1)//2, W]",
    related=(Label(span("H // stride"), "promised here"),),
    chain=(
        Label(span("Conv(64, 1)"), "Conv gives [N, 64, H, W]"),
        Label(span("Conv(64, (3"), "Conv gives [N, 64, (H + 1)//2, W]"),
    ),
    counterexample=(("H", 225), ("W", 1)),
    notes=("division of sizes rounds down",),
    help=("write what the convolution gives", "or `require H % stride == 0`"),
    fix=Fix(span("H // stride"), "ceildiv(H, stride)"),
)


def test_everything_at_once() -> None:
    assert report([MISMATCH], SOURCES) == (
        """\
error[shape-mismatch]: axis `H` of the result is (H + 1)//2, but the signature promises H//2
 --> net.arch:6:3
  |
3 | block Bottleneck(stride: int)(x: [N, C, H, W]) -> [N, C, H // stride, W] {
  |                                                          ----------- promised here
...
6 |   return relu(y + x)
  |   ^^^^^^^^^^^^^^^^^^ returns [N, 64, (H + 1)//2, W]
  |
  = how the sizes came about:
      net.arch:4:19  Conv gives [N, 64, H, W]
      net.arch:5:19  Conv gives [N, 64, (H + 1)//2, W]
  = counter-example: H = 225, W = 1
  = note: division of sizes rounds down
  = help: write what the convolution gives
  = help: or `require H % stride == 0`
  = fix:
3 - block Bottleneck(stride: int)(x: [N, C, H, W]) -> [N, C, H // stride, W] {
3 + block Bottleneck(stride: int)(x: [N, C, H, W]) -> [N, C, ceildiv(H, stride), W] {

for more, try: archdsl explain shape-mismatch"""
    )


def one(text: str, *marks: tuple[str, str], width: int = 100) -> str:
    """A report on one file with the first mark as the place and the others related."""
    sources = {"a.arch": Source("a.arch", text)}
    first, *others = [Label(span(part, text, "a.arch"), label) for part, label in marks]
    diagnostic = Diagnostic("code", "message", first.span, first.text, tuple(others))
    body, _, _ = report([diagnostic], sources, width).partition("\n\nfor more")
    return body.removeprefix("error[code]: message\n")


def test_several_labels_on_one_line_hang_from_stems() -> None:
    text = "y = concat(left, right, axis=C)\n"
    assert one(text, ("right", "13 wide"), ("left", "12 wide"), ("axis=C", "along this")) == (
        """\
 --> a.arch:1:18
  |
1 | y = concat(left, right, axis=C)
  |            ----  ^^^^^  ------ along this
  |            |     |
  |            |     13 wide
  |            12 wide"""
    )


def test_a_label_inside_another_hangs_below() -> None:
    assert one("relu(y + x)", ("relu(y + x)", "whole"), ("y + x", "part")) == (
        """\
 --> a.arch:1:1
  |
1 | relu(y + x)
  | ^^^^^^^^^^^
  | |    |
  | |    part
  | whole"""
    )


def test_a_mark_over_several_lines_shows_its_ends() -> None:
    text = "model m(x: [N]) {\n  a = x\n  b = a\n  c = b\n  return c\n}\n"
    assert one(text, (text[text.index("{") :], "never used")) == (
        """\
 --> a.arch:1:17
  |
1 | model m(x: [N]) {
  |                 ^
...
6 | }
  | ^ never used"""
    )


def test_a_single_line_between_is_shown() -> None:
    text = "a = 1\nb = 2\nc = 3\n"
    assert one(text, ("c = 3", "here"), ("a = 1", "there")) == (
        """\
 --> a.arch:3:1
  |
1 | a = 1
  | ----- there
2 | b = 2
3 | c = 3
  | ^^^^^ here"""
    )


def test_the_end_of_the_file_is_a_place() -> None:
    sources = {"a.arch": Source("a.arch", "model m {\n")}
    diagnostic = Diagnostic("code", "message", Span("a.arch", 10, 10), "unfinished")
    assert report([diagnostic], sources).splitlines()[1:5] == [
        " --> a.arch:2:1",
        "  |",
        "2 |",
        "  | ^ unfinished",
    ]


def test_tabs_and_wide_characters_keep_the_underline_in_place() -> None:
    assert one("\tx\t= 図(é́, y)", ("y", "here")) == (
        """\
 --> a.arch:1:12
  |
1 |     x   = 図(é́, y)
  |                 ^ here"""
    )


def test_hidden_characters_are_made_visible_everywhere() -> None:
    evil = 'x = "\u202ea\x1b[31m"\u00a0+ y'
    text = one(evil, ("y", "look \u2066 here"))
    assert text == (
        """\
 --> a.arch:1:17
  |
1 | x = "<U+202E>a<U+001B>[31m"<U+00A0>+ y
  |                                      ^ look <U+2066> here"""
    )
    diagnostic = Diagnostic("code", "a\nb\x07", None, notes=("c\u200bd",), help=("one\ntwo",))
    assert report([diagnostic], {}).splitlines()[:4] == [
        "error[code]: a<U+000A>b<U+0007>",
        "  = note: c<U+200B>d",
        "  = help: one",
        "          two",
    ]


def test_a_long_line_is_cut_around_the_marks() -> None:
    text = f"{'a' * 500} here {'b' * 500}"
    shown = one(text, ("here", "look"), width=60)
    assert "… " in shown.replace("…a", "… ")
    assert all(len(line) <= 60 for line in shown.splitlines())
    source_line, underline = shown.splitlines()[2:4]
    assert source_line[underline.index("^^^^") :].startswith("here")


def test_long_labels_and_notes_are_wrapped() -> None:
    words = "many words " * 20
    shown = one("x = y", ("y", words), width=50)
    assert all(len(line) <= 50 for line in shown.splitlines())
    diagnostic = Diagnostic("code", "message", None, notes=(words,))
    assert all(len(line) <= 50 for line in report([diagnostic], {}, 50).splitlines())


def test_a_place_without_its_source_is_named() -> None:
    elsewhere = Label(Span("b.arch", 3, 9), "and this")
    diagnostic = Diagnostic("code", "message", Span("a.arch", 7, 8), "this", related=(elsewhere,))
    body = "error[code]: message\n --> a.arch\n  = this\n ::: b.arch\n  = and this"
    assert report([diagnostic], {}).startswith(body)
    assert concise(diagnostic, {}) == "a.arch: error[code]: message"


def test_another_file_gets_its_own_snippet() -> None:
    sources = {**SOURCES, "b.arch": Source("b.arch", "block B {}")}
    other = Label(Span("b.arch", 6, 7), "declared here")
    diagnostic = Diagnostic("code", "message", span("relu(y"), "used here", related=(other,))
    assert report([diagnostic], sources).splitlines()[4:9] == [
        "  |          ^^^^^^ used here",
        " ::: b.arch:1:7",
        "  |",
        "1 | block B {}",
        "  |       - declared here",
    ]


def test_a_fix_may_add_and_remove_lines() -> None:
    fix = Fix(Span("net.arch", 12, 12), "\nimport std.vision (Stem)")
    diagnostic = Diagnostic("code", "message", None, fix=fix)
    assert report([diagnostic], SOURCES).splitlines()[1:6] == [
        "  = fix: net.arch",
        "1 - edition 2026",
        "1 + edition 2026",
        "2 + import std.vision (Stem)",
        "",
    ]


def test_only_the_first_fifty_are_drawn() -> None:
    many = [Diagnostic(f"code-{number % 3}", f"message {number}", None) for number in range(60)]
    text = report(many, {})
    assert "message 49" in text
    assert "message 50" not in text
    assert "... and 10 more" in text
    assert text.endswith("for more, try: archdsl explain code-0 (also: code-1, code-2)")


def test_a_long_chain_is_cut_in_the_middle() -> None:
    chain = tuple(Label(span("relu"), f"step {number}") for number in range(40))
    text = report([Diagnostic("code", "message", None, chain=chain)], SOURCES)
    assert "... 28 more steps ..." in text
    assert "step 5\n" in text
    assert "step 34\n" in text


def test_concise_and_warning() -> None:
    assert concise(MISMATCH, SOURCES) == (
        "net.arch:6:3: error[shape-mismatch]: axis `H` of the result is (H + 1)//2,"
        " but the signature promises H//2 (for H = 225, W = 1)"
    )
    warning = Diagnostic("code", "message", None, severity=Severity.WARNING)
    assert concise(warning, {}) == "warning[code]: message"


def test_record() -> None:
    text = "é = '𝄞' + z"
    sources = {"a.arch": Source("a.arch", text)}
    diagnostic = Diagnostic(
        "code",
        "message",
        span("z", text, "a.arch"),
        counterexample=(("H", 225),),
        fix=Fix(Span("a.arch", 10, 11), "x"),
    )
    data = json.loads(json.dumps(record(diagnostic, sources)))
    start = {"line": 1, "column": 11, "offset": 10, "utf16": 11}
    end = {"line": 1, "column": 12, "offset": 11, "utf16": 12}
    assert data == {
        "code": "code",
        "severity": "error",
        "message": "message",
        "file": "a.arch",
        "start": start,
        "end": end,
        "label": "",
        "related": [],
        "chain": [],
        "counterexample": {"H": 225},
        "notes": [],
        "help": [],
        "fix": {"file": "a.arch", "start": start, "end": end, "replacement": "x"},
    }
    assert record(Diagnostic("code", "message", None), {})["file"] is None
    assert record(diagnostic, {})["start"] == {"offset": 10}


def test_colours_change_nothing_but_colour() -> None:
    assert coloured_report([MISMATCH], SOURCES).plain.split() == report([MISMATCH], SOURCES).split()


def test_plain_text_does_not_need_rich() -> None:
    program = "import sys, archdsl.render; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@given(
    st.text(max_size=200) | st.just("\ud800 x"),
    st.lists(
        st.tuples(st.integers(-5, 250), st.integers(-5, 250), st.text(max_size=40)), max_size=5
    ),
    st.integers(1, 120),
)
def test_nothing_that_is_asked_for_fails(
    text: str, marks: list[tuple[int, int, str]], width: int
) -> None:
    labels = tuple(Label(Span("a", start, end), words) for start, end, words in marks)
    first = labels[0].span if labels else None
    fix = Fix(first, text) if first else None
    diagnostic = Diagnostic("code", text, first, text, labels, labels, (), (text,), (text,), fix)
    sources = {"a": Source("a", text)}
    shown = report([diagnostic], sources, width)
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not [c for c in shown if c != "\n" and unicodedata.category(c) in hidden]
    assert "\n" not in concise(diagnostic, sources)
    json.dumps(record(diagnostic, sources))


@pytest.mark.parametrize("text", ["plain", "π ≠ 図", "tab\t", "\ud800"])
def test_visible_keeps_what_can_be_seen(text: str) -> None:
    assert visible(text).isprintable()
    assert (visible(text) == text) == text.isprintable()
