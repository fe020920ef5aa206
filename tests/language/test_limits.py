"""Limits are named when they are hit; long programs are fine, and too deep ones are told so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from archdsl import api
from archdsl.limits import Limits
from archdsl.semantics.body import Body


def body(statements: str, signature: str = "(x: [N, 4]) -> [N, 4]") -> str:
    return f"\nmodel m{signature} {{\n{statements}\n}}"


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in api.check(f"edition 2026\n{text}").diagnostics]


# ------------------------------------------------------------------------------------- limits


def nested(count: int, opening: str, closing: str, middle: str) -> str:
    return opening * count + middle + closing * count


HITS = {
    "file_bytes": body("return x\n# " + "long " * 110_000),
    "nesting": body("return x -> " + nested(100, "{ ", " }", "relu")),
    "expansion_steps": body("for i in 0..10_000 { for j in 0..10_000 { y = x } }\nreturn x"),
    "expanded_nodes": "\n".join(
        f"block B{i}()(x: [N, C]) {{ return x {f'-> B{i + 1} ' * 8}}}" for i in range(6)
    )
    + "\nblock B6()(x: [N, C]) { return x -> relu }\n"
    + body("return x -> B0"),
    "repeat_count": body("return x -> repeat 10_001 { relu }"),
}


CHECK = """
import json, re, sys
from archdsl import api
found = api.check(sys.stdin.read()).diagnostics
status = open("/proc/self/status").read()  # getrusage would count what the parent had
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
print(json.dumps([[d.code for d in found], found[0].message, peak]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("limit", list(HITS))
def test_a_limit_is_named_in_little_memory(limit: str) -> None:
    """In a process of its own, the front end included; `benchmarks` measures the time."""
    ran = subprocess.run(
        [sys.executable, "-c", CHECK],
        input=f"edition 2026\n{HITS[limit]}",
        capture_output=True,
        text=True,
        check=True,
    )
    codes, message, peak_kilobytes = json.loads(ran.stdout)
    assert codes == ["limit-exceeded"]
    assert limit.replace("_", "-") in message
    assert peak_kilobytes < 200_000


def test_limits_are_raised_on_request() -> None:
    text = "edition 2026\n" + body("return x -> repeat 10_001 { relu }")
    assert api.check(text, limits=Limits(repeat_count=20_000)).ok


FORESEEN = {
    "arithmetic": "for i in 0..10_000 { for j in 0..10_000 { y = i * j } }\nreturn x",
    "in a branch": "for i in 0..10_000 { if i > 0 { for j in 0..200 { y = x } } else {"
    " for j in 0..300 { y = x } } }\nreturn x",
    "operators": "for i in 0..10_000 { for j in 0..1_000 { y = x -> relu } }\nreturn x",
}


@pytest.mark.parametrize("statements", list(FORESEEN.values()), ids=list(FORESEEN))
def test_loops_that_are_too_long_are_refused_before_they_run(
    statements: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: Body, *_: object) -> None:
        raise AssertionError("a pass was run")

    monkeypatch.setattr(Body, "_assign", run)
    assert codes(body(statements)) == ["limit-exceeded"]


@pytest.mark.parametrize(
    "statements",
    [
        "for i in 0..10_000 { for j in 0..10_000 { return x } }\nreturn x",
        "for i in 0..10_000 { if i == 3 { return x }\nfor j in 0..10_000 { y = x } }\nreturn x",
        "for i in 0..100 { if i > 100 { for j in 0..10_000 { y = x } } }\nreturn x",
        "for i in 5..2 { for j in 0..10_000 { for k in 0..10_000 { y = x } } }\nreturn x",
    ],
)
def test_loops_that_end_early_are_not(statements: str) -> None:
    assert codes(body(statements)) == []


# ---------------------------------------------------------------------------- long and deep

LONG = {
    "a sum of a thousand terms": body("return " + " + ".join(["x"] * 1000)),
    "a product of a thousand numbers": body("y = " + " * ".join(["1"] * 1000) + "\nreturn x * y"),
    "a pipeline of a thousand layers": body("return x" + " -> Linear(4) -> relu" * 500),
    "a thousand statements": body("\n".join(["x = x -> relu"] * 1000) + "\nreturn x"),
    "a thousand conditions": body("y = " + " and ".join(["true"] * 1000) + "\nreturn x"),
    "a comparison of a thousand": body("y = " + " < ".join(map(str, range(1000))) + "\nreturn x"),
    "a list of a thousand": body("y = [" + ", ".join(["1"] * 1000) + "]\nreturn x * y[999]"),
    "a thousand else": body(
        "n = 3\nif n == 0 { y = x }\n"
        + "\n".join(f"else if n == {i} {{ y = x }}" for i in range(1, 60))
        + "\nreturn y"
    ),
    "a fork of a thousand branches": body(
        "return x -> add {\n" + "\n".join(f"b{i}: identity" for i in range(1000)) + "\n}"
    ),
    "thirty brackets": body("return " + nested(30, "(", ")", "x")),
    "thirty minus signs": body("return " + "-" * 30 + "x"),
    "thirty scopes": body("return x -> " + nested(30, "{ ", " }", "relu")),
    "thirty conditions": body(nested(30, "if true { ", " }", "y = x") + "\nreturn y"),
}


@pytest.mark.parametrize("text", list(LONG.values()), ids=list(LONG))
def test_long_and_deep_programs(text: str) -> None:
    result = api.check(f"edition 2026\n{text}")
    assert result.ok, str(result)[:2000]


DEEP = {
    "brackets": body("return " + nested(50_000, "(", ")", "x")),
    "lists": body("y = " + nested(50_000, "[", "]", "1")),
    "minus signs": body("return " + "-" * 50_000 + "x"),
    "not": body("y = " + "not " * 50_000 + "true\nreturn x"),
    "powers": body("y = " + "1 ** " * 50_000 + "1\nreturn x"),
    "calls": body("return x -> relu" + "()" * 50_000),
    "indices": body("y = [1]\nreturn x * y" + "[0]" * 50_000),
    "attributes": body("return x" + ".a" * 50_000),
    "choices": body("y = " + "if false then 1 else " * 5_000 + "1\nreturn x"),
    "else if": body("if false { y = x }\n" + "else if false { y = x }\n" * 5_000 + "return x"),
}


@pytest.mark.parametrize("text", list(DEEP.values()), ids=list(DEEP))
def test_programs_that_are_too_deep_are_told_so(text: str) -> None:
    found = codes(text)
    assert found, "too deep a program must not pass"
    assert set(found) <= {"limit-exceeded", "syntax-error", "no-such-attribute", "unknown-weight"}
