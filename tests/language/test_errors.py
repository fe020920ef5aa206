"""Every error code has a page, and what the page shows is what really happens.

A page has the files of a wrong example, a `console` block with the command and what it says, and
the fixed files. `<U+202E>` stands for that character. `make bless` rewrites what the commands say.
"""

import ast
import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import archdsl
from archdsl.cli import main

PACKAGE = Path(archdsl.__file__).parent
PAGES = PACKAGE.parent / "docs" / "errors"
FENCE = re.compile(r"^```(\w+)(?: (\S+))?(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HIDDEN = re.compile(r"<U\+([0-9A-F]{4})>")
CODE = re.compile(r"[a-z]+(-[a-z]+)*")


def codes_in_the_compiler() -> set[str]:
    """Every code that some line of the compiler can give to a diagnostic."""
    codes: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                codes |= default_code(node)
            if not isinstance(node, ast.Call):
                continue
            named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            first = node.args[:1] if ast.unparse(node.func) == "Diagnostic" else []
            codes |= {
                value.value
                for value in [*first, *named]
                if isinstance(value, ast.Constant) and isinstance(value.value, str)
            }
    return codes


def default_code(function: ast.FunctionDef) -> set[str]:
    """The value that an argument called `code` has when it is left out."""
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {
        value.value
        for argument, value in pairs
        if argument.arg == "code" and isinstance(value, ast.Constant)
    }


CODES = sorted(codes_in_the_compiler())


@dataclass
class Example:
    """Files, the command to run on them, and what it must say."""

    files: dict[str, bytes]
    command: str
    says: str

    def run(self, folder: Path, *more: str) -> Result:
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        before = Path.cwd()
        os.chdir(folder)
        try:
            command, _, given = self.command.partition(" < ")
            text = Path(given).read_text() if given else None
            return CliRunner().invoke(main, [*shlex.split(command), *more], input=text)
        finally:
            os.chdir(before)


def examples(page: str) -> tuple[Example, Example]:
    """The wrong example and the fixed one, which keeps the other files and the command."""
    wrong_text, heading, fixed_text = page.partition("\n## Fixed\n")
    assert heading, "the page has no section `## Fixed`"
    wrong, fixed = _fences(wrong_text), _fences(fixed_text)
    assert wrong.command, "the page shows no command"
    return wrong, Example({**wrong.files, **fixed.files}, fixed.command or wrong.command, "")


def _fences(text: str) -> Example:
    files, command, says = dict[str, bytes](), "", ""
    for kind, name, encoding, body in FENCE.findall(text):
        if kind == "arch":
            body = HIDDEN.sub(lambda match: chr(int(match[1], 16)), body)
            files[name or "example.arch"] = body.encode(encoding or "utf-8")
        elif kind == "console":
            prompt, _, says = body.partition("\n")
            command = prompt.removeprefix("$ archdsl ")
    return Example(files, command, says)


def page(code: str) -> str:
    return (PAGES / f"{code}.md").read_text("utf-8")


@pytest.mark.parametrize("code", CODES)
def test_the_code_has_a_page(code: str) -> None:
    assert CODE.fullmatch(code)
    assert page(code).startswith(f"# {code}\n")
    assert "\n## Why\n" in page(code)


def test_every_page_has_a_code() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_the_wrong_example_gives_this_code_and_no_other(code: str, tmp_path: Path) -> None:
    wrong, _ = examples(page(code))
    result = wrong.run(tmp_path, "--json")
    assert result.exit_code == (2 if code == "unknown-spec" else 1), result.output
    answer = json.loads(result.stdout)
    found = answer.get("diagnostics") or [
        each for spec in answer.get("specs", []) for each in spec["diagnostics"]
    ]
    assert {each["code"] for each in found} == {code}


@pytest.mark.parametrize("code", CODES)
def test_the_page_shows_what_the_command_says(code: str, tmp_path: Path) -> None:
    text = page(code)
    wrong, _ = examples(text)
    said = wrong.run(tmp_path).output
    if os.environ.get("ARCHDSL_BLESS") == "1":
        prompt = f"```console\n$ archdsl {wrong.command}\n"
        blessed = text.replace(f"{prompt}{wrong.says}```", f"{prompt}{said}```")
        (PAGES / f"{code}.md").write_text(blessed, "utf-8")
    else:
        assert said == wrong.says


@pytest.mark.parametrize("code", CODES)
def test_the_fixed_example_is_clean(code: str, tmp_path: Path) -> None:
    _, fixed = examples(page(code))
    result = fixed.run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "[" + code + "]" not in result.output
