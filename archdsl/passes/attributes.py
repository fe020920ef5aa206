"""Finds and replaces the sizes and conditions among an operator's attributes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from archdsl.ir.op import Op
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Condition

Term = Dim | Condition


def terms(op: Op) -> Iterator[Term]:
    """The sizes and conditions among an operator's attributes."""
    waiting: list[object] = [getattr(op, name) for name in type(op).model_fields]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Dim | Condition):
            yield value
        elif isinstance(value, tuple | list):
            waiting.extend(cast("Iterable[object]", value))
        elif isinstance(value, dict):
            waiting.extend(cast("dict[str, object]", value).values())


def with_terms(op: Op, change: Callable[[Term], Term]) -> Op:
    """The operator with each of these changed."""
    changed: dict[str, object] = {}
    for name in type(op).model_fields:
        value = getattr(op, name)
        moved = _moved(value, change)
        if moved is not value:
            changed[name] = moved
    return op.model_copy(update=changed) if changed else op


def _moved(value: object, change: Callable[[Term], Term]) -> object:
    if isinstance(value, Dim | Condition):
        return change(value)
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return {name: _moved(item, change) for name, item in entries.items()}
    if not isinstance(value, tuple):
        return value
    items = cast("tuple[object, ...]", value)
    moved = tuple(_moved(item, change) for item in items)
    return items if all(map(operator.is_, items, moved)) else moved
