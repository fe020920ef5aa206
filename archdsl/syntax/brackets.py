"""Finds the bracket that is never closed, by nesting and by indentation."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PARTNER = {"(": ")", "[": "]", "{": "}"}
_CLOSING = frozenset(_PARTNER.values())
_SIGNIFICANT = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[][(){}]')


@dataclass(frozen=True, slots=True)
class Bracket:
    """An opening bracket: the character, its offset, and the indentation of its line."""

    character: str
    offset: int
    indentation: int


def surplus(text: str, start: int, end: int) -> int:
    """How many more brackets are opened than closed in a range."""
    found = [match[0] for match in _SIGNIFICANT.finditer(text, start, end)]
    return sum(each in _PARTNER for each in found) - sum(each in _CLOSING for each in found)


def open_brackets(text: str, end: int) -> tuple[list[Bracket], Bracket | None]:
    """The brackets that are open at an offset, and one that a dedented `}` closed for another.

    A `}` at the beginning of a line closes a line of the same indentation. If it stands further to
    the left, the `}` of the bracket that it closes is missing.
    """
    stack: list[Bracket] = []
    robbed: Bracket | None = None
    for match in _SIGNIFICANT.finditer(text, 0, end):
        character = match[0]
        if character in _PARTNER:
            stack.append(Bracket(character, match.start(), indentation(text, match.start())))
        elif stack and character == _PARTNER[stack[-1].character]:
            closed = stack.pop()
            leads = is_first_of_line(text, match.start())
            if leads and indentation(text, match.start()) < closed.indentation:
                robbed = robbed or closed
    return stack, robbed


def never_closed(text: str, offset: int) -> Bracket | None:
    """The bracket whose end is missing, if that is why the text is wrong at an offset.

    It is so at the end of the text, at a bracket of another kind, and at a line that is indented no
    further than the line on which a `(` or `[` was opened.
    """
    stack, robbed = open_brackets(text, offset)
    if not stack:
        return None
    last = stack[-1]
    if offset >= len(text.rstrip()):
        return last if last.character != "{" else robbed or last
    here = text[offset]
    if here in _CLOSING and here != _PARTNER[last.character]:
        partners = {_PARTNER[outer.character] for outer in stack}
        return last if last.character != "{" or here in partners else None
    if last.character == "{":
        return None
    outside = is_first_of_line(text, offset) and indentation(text, offset) <= last.indentation
    return last if outside else None


def closes_nothing(text: str, offset: int) -> bool:
    """Whether a closing bracket stands at an offset and no bracket of its kind is open."""
    here = text[offset : offset + 1]
    if not here or here not in _CLOSING:
        return False
    stack, _ = open_brackets(text, offset)
    return all(here != _PARTNER[bracket.character] for bracket in stack)


def indentation(text: str, offset: int) -> int:
    """The indentation of the line around an offset."""
    line = text[text.rfind("\n", 0, offset) + 1 : offset + 1]
    return len(line) - len(line.lstrip(" \t"))


def is_first_of_line(text: str, offset: int) -> bool:
    """Whether only blanks stand before an offset on its line."""
    return not text[text.rfind("\n", 0, offset) + 1 : offset].strip()
