"""What the documentation shows is true: its programs run, its commands say what it says.

A fence `arch` is a whole program that is fine; `arch error=CODE` is refused with just that code;
`arch file=NAME` is also kept as a file for what follows. In `console`, `...` stands for anything.
`ARCHDSL_BLESS=1` rewrites what the commands say, where nothing is left out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from archdsl import api
from archdsl.cli import main
from archdsl.ir.lowering import Unsupported
from archdsl.reports import operators as reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "$ archdsl "


@dataclass
class Fence:
    page: Path
    line: int
    kind: str
    words: dict[str, str]
    text: str

    @property
    def id(self) -> str:
        return f"{self.page.name}:{self.line}"


def fences(page: Path) -> list[Fence]:
    text = page.read_text("utf-8")
    found: list[Fence] = []
    for match in FENCE.finditer(text):
        words = dict(word.split("=", 1) for word in match[2].split())
        line = text.count("\n", 0, match.start()) + 1
        found.append(Fence(page, line, match[1], words, match[3]))
    return found


PROGRAMS = [fence for page in PAGES for fence in fences(page) if fence.kind == "arch"]


@pytest.mark.parametrize("fence", PROGRAMS, ids=lambda fence: fence.id)
def test_the_program_is_fine_or_gives_just_that_error(fence: Fence, tmp_path: Path) -> None:
    for other in fences(fence.page):
        if "file" in other.words:
            (tmp_path / other.words["file"]).write_text(other.text)
    path = tmp_path / fence.words.get("file", "example.arch")
    path.write_text(fence.text)
    result = api.check(path)
    wanted = fence.words.get("error")
    if wanted is not None:
        assert {diagnostic.code for diagnostic in result.diagnostics} == {wanted}, str(result)
        return
    assert result.ok, str(result)
    assert result.models or "file" in fence.words, "nothing is built"
    for model in result.models:
        network = api.load(path, model)
        network.to_onnx(opset=18)
        assert api.load(network.expanded()).expanded() == network.expanded()
        try:
            compile(network.to_source(), model, "exec")
        except Unsupported as refusal:
            pytest.xfail(refusal.reason)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_say_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    text, before = page.read_text("utf-8"), Path.cwd()
    os.chdir(tmp_path)
    try:
        for fence in fences(page):
            if "file" in fence.words:
                Path(fence.words["file"]).write_text(fence.text)
            if fence.kind == "console" and fence.text.startswith(PROMPT):
                shown = said(fence.text)
                if os.environ.get("ARCHDSL_BLESS") and "..." not in fence.text:
                    text = text.replace(fence.text, shown)
                else:
                    assert re.fullmatch(pattern(fence.text), shown), shown
    finally:
        os.chdir(before)
    if os.environ.get("ARCHDSL_BLESS"):
        page.write_text(text, "utf-8")


def said(session: str) -> str:
    """The session as it really goes: each command with what it says."""
    told: list[str] = []
    for line in session.splitlines():
        if line.startswith(PROMPT):
            result = CliRunner().invoke(main, shlex.split(line.removeprefix(PROMPT)))
            told.append(f"{line}\n{result.output}")
    return "".join(told)


def pattern(session: str) -> str:
    return ".*".join(re.escape(part) for part in session.split("...")).replace(".*", "(?s:.*)")


def test_the_reference_of_operators_is_up_to_date() -> None:
    page = ROOT / "docs" / "operators.md"
    if os.environ.get("ARCHDSL_BLESS"):
        page.write_text(reference.document(), "utf-8")
    assert page.read_text("utf-8") == reference.document(), (
        "make it again: python -m archdsl.reports.operators > docs/operators.md"
    )


def test_the_lists_of_files_are_up_to_date() -> None:
    command = [sys.executable, "docs/files.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
