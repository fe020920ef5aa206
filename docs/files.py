"""Writes the lists of files in docs/architecture.md and tests/README.md from module docstrings.

`python docs/files.py` rewrites both pages; `--check` only says whether they are up to date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- files -->\n", "<!-- end of files -->\n"
PAGES = {"docs/architecture.md": "archdsl", "tests/README.md": "tests"}
"""Each page, and the folder whose files it lists between its two marks."""


def sentence(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def folders(top: Path) -> Iterator[Path]:
    """The folder and those in it that hold Python files, from the outside in."""
    if any(top.glob("*.py")) or any(top.glob("*/*.py")):
        yield top
        for inner in sorted(each for each in top.iterdir() if each.is_dir()):
            yield from folders(inner)


def listing(top: Path) -> str:
    """A table of files for each folder, under the folder's own sentence."""
    parts: list[str] = []
    for folder in folders(top):
        files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        package = folder / "__init__.py"
        parts.append(f"### `{folder.relative_to(ROOT).as_posix()}/`\n")
        if package.exists() and sentence(package):
            parts.append(f"{sentence(package)}\n")
        if files:
            rows = [
                f"| `{path.name}` | {sentence(path).replace('|', chr(92) + '|')} |"
                for path in files
            ]
            parts.append("\n".join(["| file | what it does |", "| --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def rewritten(page: Path, top: Path) -> str:
    """The page with its list of files as the docstrings are now."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{listing(top)}\n{END}{after}"


def main() -> None:
    stale = False
    for name, top in PAGES.items():
        page = ROOT / name
        text = rewritten(page, ROOT / top)
        if text != page.read_text(encoding="utf-8"):
            stale = True
            if "--check" not in sys.argv[1:]:
                page.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv[1:]:
        raise SystemExit("the lists of files are out of date: run `make pages`")


if __name__ == "__main__":
    main()
