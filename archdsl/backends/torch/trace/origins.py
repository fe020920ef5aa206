"""Rewrites the expressions that sizes were written as in terms of other names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from archdsl.backends.python.formula import Formula, NoFormulaError
from archdsl.backends.torch.trace.lower import Written
from archdsl.backends.torch.trace.terms import leaves, taken_apart
from archdsl.ir.lowering import Call, Module
from archdsl.sizes.dims import Dim


def in_terms(origin: Dim, values: Mapping[str, Dim | int]) -> Dim:
    """A formula with other formulas, or numbers, for some of its names.

    What is only written, as `2 ** i` is, is computed where its names have become numbers.
    """
    written = origin.substitute(values)
    if not written.is_opaque or origin.symbols.isdisjoint(values):
        return written
    try:
        return Dim.parse(str(written))
    except (ValueError, ArithmeticError):
        return written


def at_pass(origin: Dim, numbers: Mapping[str, int]) -> Dim:
    """A formula at some passes of loops; as it is where it cannot be computed there."""
    written = in_terms(origin, numbers)
    return origin if written.is_opaque else written


def names_of(value: Any) -> Iterator[str]:
    """The names in the formula that a static value was written as, if it was."""
    match value:
        case Written():
            yield from value.formula.names
        case Dim() if value.origin.is_opaque:
            yield from _names_written(str(value.origin)) or value.origin.symbols
        case Dim():
            yield from value.origin.symbols
        case _:
            pass


def lost_names(found: Any, wanted: Any) -> Iterator[str]:
    """The names that something was written with, where the same is now a plain value."""
    if isinstance(found, Call | Module) and isinstance(wanted, Call | Module):
        pairs = [*zip(found.args, wanted.args, strict=False)]
        pairs += [(value, wanted.kwargs.get(name)) for name, value in found.kwargs.items()]
    else:
        one, other = taken_apart(found), taken_apart(wanted)
        if one is None or other is None:
            is_formula = isinstance(found, Formula) or (isinstance(found, Dim) and found.symbols)
            yield from () if is_formula else chain.from_iterable(map(names_of, leaves(wanted)))
            return
        pairs = [*zip(one.parts, other.parts, strict=False)]
    for part, its in pairs:
        yield from lost_names(part, its)


def _names_written(text: str) -> tuple[str, ...]:
    try:
        return Formula(text).names
    except NoFormulaError:
        return ()
