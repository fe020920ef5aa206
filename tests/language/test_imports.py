"""Imports: files of the project and the standard library, and what must not be imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from archdsl import api

BODY = "\nmodel m(x: [N, 4]) -> [N, 4] {\n  return %s\n}"
UNIT = """
block Unit(width: int = 4)(x: [N, C]) -> [N, width] {
  return x -> fc: Linear(width, bias=false) -> relu
}
"""


def checked(folder: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"edition 2026\n{text}")
    result = api.check(folder / next(iter(files)))
    return [diagnostic.code for diagnostic in result.diagnostics]


IMPORTS: dict[str, tuple[dict[str, str], list[str]]] = {
    "a file beside": (
        {
            "m.arch": 'import "unit.arch" (Unit as U, K)\n' + BODY % "x -> U(K)",
            "unit.arch": UNIT + "K = 4\n",
        },
        [],
    ),
    "files that import files": (
        {
            "m.arch": 'import "a/b.arch" (B)\n' + BODY % "x -> B",
            "a/b.arch": 'import "../c.arch" (Unit)\n'
            "block B()(x: [N, C]) -> [N, C] { return x -> Unit(C) }",
            "c.arch": UNIT,
        },
        [],
    ),
    "a constant of another file sees that file": (
        {
            "m.arch": 'import "c.arch" (K)\n' + BODY % "x -> Linear(K)",
            "c.arch": "K = HALF * 2\nHALF = 2\n",
        },
        [],
    ),
    "the standard library": (
        {"m.arch": "import std.visoin (ConvBNReLU)\n" + BODY % "x"},
        ["unknown-library"],
    ),
    "a cycle": (
        {
            "m.arch": 'import "a.arch" (A)\n' + BODY % "x",
            "a.arch": 'import "b.arch" (B)\nA = 1',
            "b.arch": 'import "a.arch" (A)\nB = 1',
        },
        ["import-cycle"],
    ),
    "a file that imports itself": (
        {"m.arch": 'import "m.arch" (m)\n' + BODY % "x"},
        ["import-cycle"],
    ),
    "out of the root": (
        {"m.arch": 'import "../m.arch" (A)\n' + BODY % "x"},
        ["import-outside-root"],
    ),
    "out of the root from below": (
        {
            "m.arch": 'import "a/b.arch" (A)\n' + BODY % "x",
            "a/b.arch": 'import "../../c.arch" (A)\n',
        },
        ["import-outside-root", "unknown-import"],
    ),
    "an absolute path": (
        {"m.arch": 'import "/etc/passwd" (A)\n' + BODY % "x"},
        ["import-outside-root"],
    ),
    "a name that is not there": (
        {"m.arch": 'import "c.arch" (Unti)\n' + BODY % "x", "c.arch": UNIT},
        ["unknown-import"],
    ),
    "a file that is not there": (
        {"m.arch": 'import "c.arch" (A)\n' + BODY % "x"},
        ["file-not-found"],
    ),
    "a name that is taken": (
        {"m.arch": 'import "c.arch" (Unit)\n' + UNIT + BODY % "x", "c.arch": UNIT},
        ["duplicate-declaration"],
    ),
}


@pytest.mark.parametrize(("files", "expected"), list(IMPORTS.values()), ids=list(IMPORTS))
def test_imports(files: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    assert checked(tmp_path / "root", files) == expected


def test_a_link_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "secret.arch").write_text(f"edition 2026\n{UNIT}")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link.arch").symlink_to(tmp_path / "secret.arch")
    files = {"m.arch": 'import "link.arch" (Unit)\n' + BODY % "x"}
    assert checked(tmp_path / "root", files) == ["import-outside-root"]


def test_a_text_without_a_file_imports_the_standard_library_only() -> None:
    result = api.check('edition 2026\nimport "a.arch" (A)\n' + BODY % "x")
    assert [diagnostic.code for diagnostic in result.diagnostics] == ["import-without-root"]


def test_limits_of_imports(tmp_path: Path) -> None:
    files = {"m.arch": 'import "f0.arch" (A)\n' + BODY % "x"}
    files |= {f"f{i}.arch": f'import "f{i + 1}.arch" (A)\n' for i in range(40)}
    found = checked(tmp_path, {**files, "f40.arch": "A = 1"})
    assert found[0] == "limit-exceeded"
    many = {
        "m.arch": "\n".join(f'import "g{i}.arch" (A{i})' for i in range(300)) + "\n" + BODY % "x"
    }
    many |= {f"g{i}.arch": f"A{i} = {i}" for i in range(300)}
    assert "limit-exceeded" in checked(tmp_path / "many", many)
