"""Evaluates a condition on indices as a boolean array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Final

import numpy as np

from archdsl.diagnostics import InternalError
from archdsl.sizes.atoms import Atom, FloorDiv, Maximum, Minimum, Polynomial
from archdsl.sizes.conditions import All, Compare, Condition, Either, Negation

Array = np.ndarray[Any, Any]

_RELATIONS: Final[Mapping[str, Callable[[Any, Any], Array]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def truth_table(condition: Condition, axes: Mapping[str, int]) -> Array:
    """An array with an axis of that size for each index the condition is about, in order."""
    grids = np.ogrid[tuple(slice(size) for size in axes.values())]
    held = _holds(condition, dict(zip(axes, grids, strict=True)))
    return np.broadcast_to(held, tuple(axes.values()))


def _holds(condition: Condition, indices: Mapping[str, Array]) -> Array:
    match condition:
        case Compare():
            left, right = condition.left.polynomial, condition.right.polynomial
            return _RELATIONS[condition.relation](_value(left, indices), _value(right, indices))
        case All():
            return np.logical_and.reduce(_all(condition, indices))
        case Either():
            return np.logical_or.reduce(_all(condition, indices))
        case Negation():
            return np.logical_not(_holds(condition.condition, indices))
        case _:
            raise InternalError(f"`{condition}` is no condition that can be computed")


def _all(condition: Condition, indices: Mapping[str, Array]) -> tuple[Array, ...]:
    return tuple(np.broadcast_arrays(*(_holds(part, indices) for part in condition.parts)))


def _value(polynomial: Polynomial, indices: Mapping[str, Array]) -> Any:
    return sum(
        coefficient * prod(_atom(atom, indices) ** power for atom, power in monomial)
        for monomial, coefficient in polynomial.items()
    )


def _atom(atom: Atom, indices: Mapping[str, Array]) -> Any:
    match atom:
        case str():
            return indices[atom]
        case FloorDiv():
            return _value(atom.dividend, indices) // _value(atom.divisor, indices)
        case Maximum():
            return np.maximum(_value(atom.first, indices), _value(atom.second, indices))
        case Minimum():
            return np.minimum(_value(atom.first, indices), _value(atom.second, indices))
        case _:
            raise InternalError(f"`{atom.text}` is no size that can be computed")
