"""Arrays for the weights of a model: from a file, or drawn as torch would draw them."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from archdsl.backends.arrays import numpy_dtype
from archdsl.backends.initial import draw
from archdsl.diagnostics import GivenError
from archdsl.ir.model import Model
from archdsl.ir.op import Weight
from archdsl.ir.types import DType
from archdsl.passes.state import known_shape, second_names, state

Array = np.ndarray[Any, Any]
Given = TypeVar("Given")


def initial(model: Model, seed: int) -> dict[str, Array]:
    """The whole state dict, drawn; each weight depends on the seed and on its own path alone."""
    return {path: initial_weight(weight, seed) for path, weight in state(model).items()}


def initial_weight(weight: Weight, seed: int) -> Array:
    """One weight, drawn; its name is its path."""
    array = draw(weight.init, known_shape(weight.name, weight.dims), f"{seed}:{weight.name}")
    return array.astype(numpy_dtype(weight.dtype), copy=False)


# ----------------------------------------------------------------------------------- from a file

_SAFETENSORS_TYPES: Mapping[str, DType] = {
    "F16": DType.FLOAT16,
    "BF16": DType.BFLOAT16,
    "F32": DType.FLOAT32,
    "F64": DType.FLOAT64,
    "I8": DType.INT8,
    "I16": DType.INT16,
    "I32": DType.INT32,
    "I64": DType.INT64,
    "U8": DType.UINT8,
    "BOOL": DType.BOOL,
}


class WeightsFileError(GivenError):
    """A file of weights that cannot be read; the reason follows."""


def load_safetensors(path: str | Path) -> dict[str, Array]:
    """The arrays of a file, without copying: they are read from it when they are used."""
    from safetensors import SafetensorError, safe_open

    try:
        # The library validates the header; the arrays are then views of the mapped file.
        with safe_open(str(path), framework="numpy"), Path(path).open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except SafetensorError as problem:
        raise WeightsFileError(f"{path} is not a whole safetensors file: {problem}") from problem
    except (OSError, ValueError) as problem:
        raise WeightsFileError(f"{path} cannot be read: {problem}") from problem
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: _view(name, entry, content, 8 + length) for name, entry in header.items()}


def _view(name: str, entry: dict[str, Any], content: mmap.mmap, start: int) -> Array:
    dtype = _SAFETENSORS_TYPES.get(entry["dtype"])
    if dtype is None:
        raise WeightsFileError(f"{name} has the element type {entry['dtype']}, which is not known")
    shape: list[int] = entry["shape"]
    flat = np.frombuffer(
        content,
        numpy_dtype(dtype),
        count=int(np.prod(shape, dtype=np.int64)),
        offset=start + int(entry["data_offsets"][0]),
    )
    return flat.reshape(shape)


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
