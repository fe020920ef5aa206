"""Finds the grammar, the shipped specs and the error pages, in a checkout and in a wheel."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_MODEL = re.compile(r"^model +([A-Za-z_]\w*)", re.MULTILINE | re.ASCII)
_BLOCK = re.compile(r"^(?:block|cell) +([A-Za-z_]\w*)", re.MULTILINE | re.ASCII)


@cache
def _installed() -> bool:
    """Whether the files stand inside the package, as a wheel has them, or in the folder above."""
    return (_PACKAGE / "grammars").is_dir()


@cache
def _root() -> Path:
    """The folder that holds `grammars/` and `specs/`."""
    return _PACKAGE if _installed() else _PACKAGE.parent


def grammar_text() -> str:
    """The one grammar."""
    return (_root() / "grammars" / "arch.lark").read_text("utf-8")


def specs_folder() -> Path:
    """The folder of the shipped specs; the standard library is its `std`."""
    return _root() / "specs"


def spec_files() -> list[Path]:
    """The shipped model files, without the standard library, in order of their names."""
    return sorted(specs_folder().glob("*.arch"))


@cache
def shipped_models() -> dict[str, Path]:
    """The file of every shipped model, by the model's name: what a line begins with `model`."""
    return {name: path for path in spec_files() for name in _MODEL.findall(path.read_text("utf-8"))}


@cache
def library_blocks() -> dict[str, str]:
    """What the standard library has each of its blocks in, such as `std.vision`."""
    return {
        name: f"{path.parent.name}.{path.stem}"
        for path in sorted((specs_folder() / "std").glob("*.arch"))
        for name in _BLOCK.findall(path.read_text("utf-8"))
    }


def _explanations_folder() -> Path:
    return _PACKAGE / "explanations" if _installed() else _root() / "docs" / "errors"


def explained_codes() -> list[str]:
    """Every error code that has a page."""
    return sorted(path.stem for path in _explanations_folder().glob("*.md"))


def explanation(code: str) -> str | None:
    """The page of an error code, in Markdown."""
    if code not in explained_codes():
        return None
    return (_explanations_folder() / f"{code}.md").read_text("utf-8")


def table_cache() -> str | bool:
    """The file in the user's cache folder that keeps the parser's table; False where there is none.

    Lark rebuilds the table whenever the grammar, Lark or Python differ from those it was made of.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "archdsl"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return False
    return str(folder / "arch.table") if os.access(folder, os.W_OK) else False
