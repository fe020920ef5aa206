"""Initialisers, under the names of `torch.nn.init`, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archdsl import problems
from archdsl.ir.dims import Dim
from archdsl.ir.op import Init
from archdsl.semantics.problem import Problem
from archdsl.semantics.values import Evaluated, Given, Items, Real, Text, Truth, describe
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
    return Init(name, tuple(arguments.items()))


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


def literal_values(value: Evaluated, span: Span) -> Init:
    """The initialiser that writes down the very values: a number, or nested lists of numbers."""
    if isinstance(value, Dim | Real | Truth):
        return Init.of("constant", val=_number(value, span))
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
