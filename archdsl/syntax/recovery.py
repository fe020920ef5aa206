"""Syntax recovery: in a broken file, every declaration is parsed by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from archdsl.syntax.brackets import surplus

_HEAD = re.compile(
    r"^(?:(?:block|cell|model)[ \t]+(?P<definition>[A-Za-z_]\w*)|(?P<import>import)\b"
    r"|(?P<constant>[A-Za-z_]\w*)[ \t]*=(?!=))",
    re.MULTILINE,
)
"""A declaration begins at the left margin; what is indented belongs to the one above."""
_MARGIN = re.compile(r"^(?:[A-Za-z_]\w*[ \t]+)?([A-Za-z_]\w*)", re.MULTILINE)
"""What a line at the left margin may declare that begins with no word for declarations."""
_NAME = re.compile(r"[A-Za-z_]\w*")


class Declaration(NamedTuple):
    """A piece of a file: a declaration with its documentation, and the names that it declares."""

    start: int
    end: int
    names: frozenset[str]


def declarations(text: str) -> Iterator[Declaration]:
    """The declarations of a file, and what stands before the first as one more."""
    heads = list(_heads(text))
    starts = [_with_documentation(text, head.start()) for head in heads]
    if not starts or starts[0] > 0:
        end = starts[0] if starts else len(text)
        yield Declaration(0, end, frozenset(_MARGIN.findall(text, 0, end)))
    for at, head in enumerate(heads):
        end = starts[at + 1] if at + 1 < len(heads) else len(text)
        if head["import"]:
            names = frozenset(_NAME.findall(text, head.start(), end))
        else:
            names = frozenset({head["definition"] or head["constant"]})
        yield Declaration(starts[at], end, names)


def _heads(text: str) -> Iterator[re.Match[str]]:
    """Where declarations begin; what looks like a constant inside brackets is a statement."""
    depth = last = 0
    for head in _HEAD.finditer(text):
        is_constant = head["constant"] is not None
        depth = max(0, depth + surplus(text, last, head.start())) if is_constant else 0
        last = head.start()
        if not depth:
            yield head


def _with_documentation(text: str, start: int) -> int:
    """Where the `##` lines above a declaration begin."""
    while True:
        above = text.rfind("\n", 0, max(start - 1, 0)) + 1
        if above >= start or not text.startswith("##", above):
            return start
        start = above


def intact(text: str, whole: Sequence[Declaration], broken: Sequence[Declaration]) -> list[int]:
    """The places of the declarations that name nothing broken, not even through others."""
    users: dict[str, list[int]] = {}
    for at, each in enumerate(whole):
        for name in set(_NAME.findall(text, each.start, each.end)):
            users.setdefault(name, []).append(at)
    lost: set[int] = set()
    waiting = [name for each in broken for name in each.names]
    while waiting:
        for at in users.pop(waiting.pop(), ()):
            if at not in lost:
                lost.add(at)
                waiting += whole[at].names
    return [at for at in range(len(whole)) if at not in lost]
