"""Escapes characters that hide, reorder or imitate others."""

from __future__ import annotations

import unicodedata

TAB = 4
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str) -> str:
    """The text with control, bidi, unassigned and odd space characters written as `<U+202E>`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def columns(line: str) -> tuple[str, list[int]]:
    """A source line as it is shown, and the display column of each character and of the end."""
    if line.isascii() and line.isprintable():
        return line, list(range(len(line) + 1))
    parts: list[str] = []
    places = [0]
    for character in line:
        column = places[-1]
        shown = " " * (TAB - column % TAB) if character == "\t" else _shown(character)
        parts.append(shown)
        places.append(column + cell_width(shown))
    return "".join(parts), places


def cell_width(text: str) -> int:
    """How many terminal columns a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    odd_space = category == "Zs" and character != " "
    return f"<U+{ord(character):04X}>" if odd_space or category in _HIDDEN else character


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
