"""What is shipped: the wheel has everything, works without a checkout, and is reproducible."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def built(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that finds the wheel's content and not the checkout."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def run(installed: dict[str, str], folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    result = subprocess.run(command, env=installed, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_has_grammar_specs_pages_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    specs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "specs").rglob("*.arch")}
    assert specs
    assert {f"archdsl/{name}" for name in specs} <= names
    pages = {path.name for path in (ROOT / "docs" / "errors").glob("*.md")}
    assert {f"archdsl/explanations/{name}" for name in pages} <= names
    assert {"archdsl/grammars/arch.lark", "archdsl/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_building_twice_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    again = built(tmp_path)
    assert (
        hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()
    )


def test_an_installed_wheel_works_without_the_checkout(
    installed: dict[str, str], tmp_path: Path
) -> None:
    where = run(installed, tmp_path, "-c", "import archdsl; print(archdsl.__file__)")
    assert where.startswith(installed["PYTHONPATH"])
    assert "resnet50" in run(installed, tmp_path, "-m", "archdsl", "list")
    assert run(installed, tmp_path, "-m", "archdsl", "explain")
    run(installed, tmp_path, "-m", "archdsl", "check", "resnet50")
