"""Finds the names that an operator's lowered form would not follow, were their values changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from archdsl.backends.python.formula import Formula
from archdsl.backends.torch.trace.lower import (
    Written,
    function,
    is_alike,
    layer,
    other_values,
)
from archdsl.backends.torch.trace.origins import names_of
from archdsl.backends.torch.trace.terms import rewrite
from archdsl.ir.model import Origin
from archdsl.ir.op import Op
from archdsl.ir.types import TensorType
from archdsl.passes.attributes import terms
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim

PROBE = "attribute"
"""The name of an attribute's value while it is found out where it ends up."""

SIZES = "sizes"
"""The attribute that holds the sizes which a pattern names."""

Lowering = Callable[[Op, Sequence[Origin]], Any]


def unfollowed(
    op: Op, types: Sequence[TensorType], origins: Sequence[Origin], *, as_layer: bool
) -> Iterator[str]:
    """The names of those attributes whose lowered form at other values is not what it says.

    Conditions are written with numbers, so that none of their names is followed.
    """

    def lower(op: Op, origins: Sequence[Origin]) -> Any:
        return layer(op, types, origins, ()).module if as_layer else function(op, types, origins)

    for origin in origins:
        for written, place in _parts(origin.value):
            is_text = isinstance(written, str)
            names = [*names_of(Written(written, Formula(written)) if is_text else written)]
            if names and not _is_followed(op, origin.attribute, place, lower):
                yield from names
    for term in terms(op):
        if isinstance(term, Condition):
            for side in (side for each in term.comparisons for side in (each.left, each.right)):
                yield from side.origin.symbols - side.symbols


def _parts(value: Any) -> Iterator[tuple[Any, int | None]]:
    """What an attribute was written as, or each item of a list with its place."""
    if isinstance(value, tuple):
        yield from ((item, place) for place, item in enumerate(value))  # pyright: ignore
    else:
        yield value, None


def _is_followed(op: Op, attribute: str, place: int | None, lower: Lowering) -> bool:
    is_named = attribute not in type(op).model_fields
    field, key = (SIZES, attribute) if is_named else (attribute, place)
    whole = getattr(op, field)
    value = whole if key is None else whole[key]
    number: Any = value.value if isinstance(value, Dim) else value
    if isinstance(value, Dim) and number is None:
        return True  # a size that is only known when it runs is written as it is
    is_integer = isinstance(number, int) and not isinstance(number, bool)
    probe: Any = Dim.of(number).with_origin(Dim.symbol(PROBE)) if is_integer else PROBE
    if isinstance(value, Dim):
        written = lower(_with(op, field, _put(whole, key, probe)), ())
    else:
        written = lower(op, (Origin(attribute, _put(whole, key, probe)),))
    for other in other_values(number):
        changed = _with(op, field, _put(whole, key, Dim.of(other) if is_named else other))
        try:
            wanted = lower(changed, ())
        except Exception:  # the operator has no such form
            continue
        attributes = {name: getattr(changed, name) for name in type(op).model_fields}
        if not is_alike(_at(written, other), wanted, attributes):
            return False
    return True


def _put(whole: Any, key: Any, item: Any) -> Any:
    """The value with an item changed; itself changed where it is no list."""
    if key is None:
        return item
    if isinstance(whole, dict):
        return {**cast("dict[str, Any]", whole), key: item}
    return tuple(item if at == key else each for at, each in enumerate(whole))


def _with(op: Op, field: str, value: Any) -> Op:
    return op.model_copy(update={field: value})


def _at(written: Any, other: Any) -> Any:
    """A lowered form with another value of the attribute."""

    def leaf(value: Any) -> Any:
        if isinstance(value, Dim) and PROBE in value.origin.symbols:
            return value.origin.substitute({PROBE: other})
        if isinstance(value, Written) and value.formula.names == (PROBE,):
            return value.formula.evaluate({PROBE: other})
        return value

    return rewrite(written, leaf)
