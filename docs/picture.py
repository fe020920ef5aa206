"""Draws `docs/picture.svg`: a spec beside its summary, for the README."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import archdsl
from archdsl.resources import specs_folder

WIDTH = 172
KEYWORDS = re.compile(
    r"\b(edition|model|block|return|require|expect|if|else|for|in|repeat|as|param|import)\b"
)


def coloured(spec: str) -> Text:
    """A spec with its comments, keywords, layers and numbers told apart."""
    text = Text(spec)
    text.highlight_regex(r"\b[A-Z]\w+(?=\()", "bold cyan")
    text.highlight_regex(r"\b\d[\d_.]*\b", "magenta")
    text.highlight_regex(KEYWORDS, "bold blue")
    text.highlight_regex(r"->", "bold green")
    text.highlight_regex(r"\b\w+(?=: ?[A-Z{])", "yellow")
    text.highlight_regex(r"#.*", "dim italic")
    return text


def draw(spec: str, model: str) -> str:
    """The picture as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    both = Table.grid(padding=(0, 3))
    both.add_row(coloured(spec), archdsl.load(model).summary(depth=2))
    console.print(both)
    svg = console.export_svg(title=f"archdsl summary {model}")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    spec = (specs_folder() / "lenet5.arch").read_text("utf-8")
    Path(__file__).with_name("picture.svg").write_text(draw(spec, "lenet5"), "utf-8")


if __name__ == "__main__":
    main()
