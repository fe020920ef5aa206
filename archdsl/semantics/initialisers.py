"""Initialisers under the names of `torch.nn.init`, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from archdsl import problems
from archdsl.ir.op import Init
from archdsl.ir.types import DType
from archdsl.semantics.problem import Problem
from archdsl.semantics.statics import formula_of
from archdsl.semantics.values import (
    Evaluated,
    Given,
    Initialiser,
    Items,
    Real,
    Text,
    Truth,
    describe,
)
from archdsl.sizes.dims import Dim
from archdsl.source import Span

INITIALISERS: dict[str, dict[str, float | str]] = {
    "zeros": {},
    "ones": {},
    "constant": {"val": 0.0},
    "uniform": {"a": 0.0, "b": 1.0},
    "normal": {"mean": 0.0, "std": 1.0},
    "trunc_normal": {"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0},
    "kaiming_uniform": {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"},
    "kaiming_normal": {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"},
    "xavier_uniform": {"gain": 1.0},
    "xavier_normal": {"gain": 1.0},
    "dirac": {},
    "eye": {},
    "bilinear": {},
}
"""Argument names and defaults of every initialiser, as in torch."""

CHOICES = {
    "mode": ("fan_in", "fan_out"),
    "nonlinearity": ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "selu"),
}


def initialiser(
    name: str, positional: Sequence[Given], keywords: Mapping[str, Given], span: Span
) -> Init:
    """The initialiser of that name with these arguments."""
    defaults = INITIALISERS[name]
    if len(positional) > len(defaults):
        raise Problem(problems.too_many_arguments(span, name, len(defaults), len(positional)))
    given = dict(zip(defaults, positional, strict=False))
    for key, value in keywords.items():
        if key not in defaults:
            raise Problem(problems.unknown_argument(value.span, name, key, tuple(defaults)))
        given[key] = value
    arguments = {**defaults, **{key: _plain(name, key, item) for key, item in given.items()}}
    return Init(name, tuple(arguments.items()), _origins(given))


def _origins(given: Mapping[str, Given]) -> tuple[tuple[str, str], ...]:
    texts = {name: formula_of(item.value) for name, item in given.items()}
    return tuple((name, text) for name, text in texts.items() if text is not None)


def _plain(name: str, key: str, given: Given) -> float | str:
    value = given.value
    if key in CHOICES:
        if isinstance(value, Text) and value.value in CHOICES[key]:
            return value.value
        reason = f"must be one of {', '.join(CHOICES[key])}"
        raise Problem(problems.bad_attribute(given.span, name, key, reason))
    if isinstance(value, Real):
        return value.value
    if isinstance(value, Dim) and value.value is not None:
        return float(value.value)
    raise Problem(problems.bad_attribute(given.span, name, key, "must be a number"))


def initialiser_of(value: Evaluated, span: Span) -> Init:
    """An initialiser, or that of the very values: a number, or nested lists of numbers."""
    if isinstance(value, Initialiser):
        return value.init
    if isinstance(value, Dim | Real | Truth):
        return Init(
            "constant", (("val", _number(value, span)),), _origins({"val": Given(value, span)})
        )
    if isinstance(value, Items):
        return Init("values", (("data", _nested(value, span)),))
    raise Problem(problems.wrong_kind(span, "an initialiser, a number or a list", describe(value)))


def _number(value: Evaluated, span: Span) -> float:
    if isinstance(value, Real | Truth):
        return float(value.value)
    if isinstance(value, Dim) and value.value is not None:
        return float(value.value)
    raise Problem(problems.wrong_kind(span, "a number", describe(value)))


def _nested(value: Items, span: Span) -> tuple[object, ...]:
    return tuple(
        _nested(item, span) if isinstance(item, Items) else _number(item, span)
        for item in value.values
    )


# -------------------------------------------------------------------------- what fits a weight

_RANKS = {
    "kaiming_uniform": (2, 64),
    "kaiming_normal": (2, 64),
    "xavier_uniform": (2, 64),
    "xavier_normal": (2, 64),
    "dirac": (3, 5),
    "bilinear": (3, 5),
    "eye": (2, 2),
}
"""How many axes a weight has to have, at least and at most."""

_WHOLE = frozenset({"zeros", "ones", "constant", "values"})
"""Initialisers that also serve integers."""


def misfit(init: Init, dims: Sequence[Dim], dtype: DType) -> str | None:
    """Why a weight of that shape and element type cannot begin so; None if it can."""
    least, most = _RANKS.get(init.kind, (0, 64))
    if not least <= len(dims) <= most:
        wanted = f"{least}" if least == most else f"at least {least}" if most > 5 else "3 to 5"
        return (
            f"must not be `{init.kind}`: that needs {wanted} axes, but the weight has {len(dims)}"
        )
    if not dtype.is_floating and init.kind not in _WHOLE:
        return f"must not be `{init.kind}`: that draws fractions, but the weight is {dtype}"
    numbers = _numbers(init)
    if not dtype.is_floating and not all(number.is_integer() for number in numbers):
        return f"must be whole numbers, as the weight is {dtype}"
    return _bad_values(init, dims) or _bad_range(init)


def _numbers(init: Init) -> list[float]:
    if init.kind != "values":
        return [value for _, value in init.arguments if isinstance(value, float)]
    waiting: list[object] = [dict(init.arguments)["data"]]
    found: list[float] = []
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            waiting += item
        else:
            found.append(float(item))  # pyright: ignore[reportArgumentType]
    return found


def _bad_values(init: Init, dims: Sequence[Dim]) -> str | None:
    if init.kind != "values":
        return None
    level: list[object] = [dict(init.arguments)["data"]]
    for axis, dim in enumerate(dims):
        for item in level:
            count = len(cast("tuple[object, ...]", item)) if isinstance(item, tuple) else None
            if count is None or dim != count:
                given = "a number" if count is None else f"{count} items"
                return f"must have {dim} items along axis {axis}, but has {given}"
        level = [
            part
            for item in level
            if isinstance(item, tuple)
            for part in cast("tuple[object, ...]", item)
        ]
    if any(isinstance(item, tuple) for item in level):
        return f"must be lists {len(dims)} deep, but they are deeper"
    return None


def _bad_range(init: Init) -> str | None:
    given = dict(init.arguments)
    low, high, spread = given.get("a"), given.get("b"), given.get("std")
    is_range = init.kind in ("uniform", "trunc_normal")
    if is_range and isinstance(low, float) and isinstance(high, float) and not low < high:
        return f"must have `a` less than `b`, but they are {low} and {high}"
    if isinstance(spread, float) and not spread > 0:
        return f"must have a positive `std`, not {spread}"
    return None
