"""Compares weights with those a model has: missing, unexpected, wrong shape, wrong dtype."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from archdsl.diagnostics import GivenError
from archdsl.ir.model import Model
from archdsl.ir.op import Weight
from archdsl.weights.dtypes import numpy_dtype
from archdsl.weights.state_dict import known_shape, second_names, state

Array = np.ndarray[Any, Any]
Given = TypeVar("Given")


# ------------------------------------------------------------------------------------ comparing


class TiedWeightsDifferError(GivenError):
    """Two values are given for what is one weight under two names."""

    def __init__(self, path: str, other: str) -> None:
        super().__init__(f"{other} is another name of {path}, but other numbers are given for it")


def by_first_names(
    model: Model,
    expected: Container[str],
    given: Mapping[str, Given],
    place: Callable[[Given], Hashable],
    equal: Callable[[Given, Given], bool],
) -> dict[str, Given]:
    """Given weights under the names that `state` has, the expected ones; others no weight has.

    Any name of a tied weight will do; if several are given, they must agree.
    """
    found = dict(given)
    for other, path in second_names(model).items():
        if other not in found:
            continue
        value = found.pop(other)
        first = found.setdefault(path, value)
        if place(first) != place(value) and not equal(first, value):
            raise TiedWeightsDifferError(path, other)
    return _once(expected, found, place)


def _once(
    expected: Container[str], given: Mapping[str, Given], place: Callable[[Given], Hashable]
) -> dict[str, Given]:
    """Given weights without names that the model does not know of tied weights.

    Only what lies at the same place in memory is the same: equal numbers may be chance.
    """
    if all(path in expected for path in given):
        return dict(given)
    places = {place(value) for path, value in given.items() if path in expected}
    return {
        path: value
        for path, value in given.items()
        if path in expected or place(value) not in places
    }


def arrays_by_first_names(
    model: Model, expected: Container[str], given: Mapping[str, Array]
) -> dict[str, Array]:
    """Given arrays under the names that `state` has, the expected ones."""
    return by_first_names(model, expected, given, _place, np.array_equal)


def _place(array: Array) -> Hashable:
    """Where the numbers of an array lie."""
    return array.ctypes.data, array.shape, array.strides, array.dtype


@dataclass(frozen=True, slots=True)
class Different:
    """A weight that is not as the model has it."""

    path: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """How given weights differ from what a model has; paths are in the model's order."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[Different, ...] = ()
    mistyped: tuple[Different, ...] = ()

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen or self.mistyped)

    def without_missing(self, paths: Set[str]) -> WeightsReport:
        """The report when these weights may be missing."""
        missing = tuple(path for path in self.missing if path not in paths)
        return replace(self, missing=missing)


class WeightsMismatchError(GivenError):
    """Weights that do not fit the model; the report says which and how."""

    def __init__(self, report: WeightsReport) -> None:
        super().__init__("the weights do not fit the model: " + "; ".join(_differences(report)))
        self.report = report


_MOST_NAMED = 4


def _differences(report: WeightsReport) -> Iterator[str]:
    """What differs, each kind with its first few paths."""
    for kind, paths in (("missing", report.missing), ("unknown", report.unexpected)):
        if paths:
            more = ", …" if len(paths) > _MOST_NAMED else ""
            yield f"{len(paths)} {kind} ({', '.join(paths[:_MOST_NAMED])}{more})"
    different = (*report.misshapen, *report.mistyped)
    for each in different[:_MOST_NAMED]:
        yield f"{each.path} is {each.found}, not {each.expected}"
    if len(different) > _MOST_NAMED:
        yield f"{len(different) - _MOST_NAMED} more differ"


def check(model: Model, weights: Mapping[str, Array]) -> WeightsReport:
    """Compare given weights with the whole state dict of a model."""
    return compare(state(model), weights)


def compare(expected: Mapping[str, Weight], weights: Mapping[str, Array]) -> WeightsReport:
    """Compare given weights with expected ones."""
    misshapen: list[Different] = []
    mistyped: list[Different] = []
    for path, weight in expected.items():
        array = weights.get(path)
        if array is None:
            continue
        shape = known_shape(weight.name, weight.dims)
        if tuple(array.shape) != shape:
            misshapen.append(Different(path, str(list(shape)), str(list(array.shape))))
        elif array.dtype != numpy_dtype(weight.dtype):
            mistyped.append(Different(path, weight.dtype.value, array.dtype.name))
    return WeightsReport(
        missing=tuple(path for path in expected if path not in weights),
        unexpected=tuple(path for path in weights if path not in expected),
        misshapen=tuple(misshapen),
        mistyped=tuple(mistyped),
    )
