"""Rows of text before they are coloured: pieces, each with a style."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {
    "": "",
    "error": "bold red",
    "warning": "bold yellow",
    "message": "bold",
    "gutter": "bold blue",
    "related": "blue",
    "keyword": "bold cyan",
    "removed": "red",
    "added": "green",
}
"""The colour of each part on a terminal."""


class Piece(NamedTuple):
    """A stretch of text and the part it plays, a key of `STYLES`."""

    text: str
    style: str = ""


Row = tuple[Piece, ...]


def plain(rows: Iterable[Row]) -> str:
    """The rows as text, without trailing blanks."""
    return "\n".join("".join(piece.text for piece in row).rstrip() for row in rows)


def coloured(rows: Iterable[Row]) -> Text:
    """The rows for a rich console; nothing in them is read as markup."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ignore", end="")
    for row in rows:
        for piece in row:
            text.append(piece.text, STYLES[piece.style])
        text.append("\n")
    return text
