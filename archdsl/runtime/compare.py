"""Verifies an exported file: ONNX Runtime's outputs against PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from archdsl.diagnostics import GivenError
from archdsl.ir.model import Model
from archdsl.runtime.run import output_names, run_onnx, run_torch, run_torch_in_float64
from archdsl.sizes.conditions import Condition
from archdsl.sizes.solver import Effort, find_sizes
from archdsl.weights.dtypes import numpy_dtype

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]

RELATIVE_BOUND = 1e-5
"""The most that ONNX Runtime may differ from float64, as a part of the largest output."""

_SIZES = (64, 37, 48, 32, 28, 16, 8, 4, 3, 2, 1, 96, 128, 160, 192, 224, 256, 299, 320, 384, 512)
"""Tried in this order: of middling size first, one of them odd."""
_BATCHES = (2, 1)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one output compares at some sizes; errors are parts of its largest value."""

    output: str
    sizes: Mapping[str, int]
    onnx_error: float
    torch_error: float

    @property
    def agrees(self) -> bool:
        """Within the bound, and about as exact as PyTorch in float32."""
        allowed = min(RELATIVE_BOUND, 4 * self.torch_error + 1e-6)
        return bool(self.onnx_error <= allowed)

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        verdict = "agrees" if self.agrees else "DIFFERS"
        return f"{self.output} {verdict} to {self.onnx_error:.1e} of its largest value ({sizes})"


def verify(path: str | PathLike[str], model: Model, module: nn.Module) -> list[Comparison]:
    """Compare a file with the module that has its weights, at two sets of sizes where possible."""
    single, double = deepcopy(module).eval(), deepcopy(module).eval().double()
    comparisons: list[Comparison] = []
    for turn, sizes in enumerate(_trials(model)):
        inputs = _random_inputs(model, sizes, np.random.default_rng(turn))
        wide = {name: _widened(array) for name, array in inputs.items()}
        exact = run_torch_in_float64(double, model, wide)
        ours, theirs = run_onnx(path, inputs), run_torch(single, model, inputs)
        comparisons += [
            Comparison(name, sizes, _error(ours[place], y), _error(theirs[place], y))
            for place, (name, y) in enumerate(zip(output_names(model), exact, strict=True))
        ]
    return comparisons


def compare(
    old: Model,
    old_module: nn.Module,
    new: Model,
    new_module: nn.Module,
    where: Sequence[Condition] = (),
) -> list[Comparison]:
    """Compare a network that was made of another with that, both with their weights.

    `where` says at which sizes they are to give the same; outputs may have become maps of one
    place there.
    """
    single, double = deepcopy(old_module).eval(), deepcopy(old_module).eval().double()
    changed = deepcopy(new_module).eval()
    comparisons: list[Comparison] = []
    for turn, sizes in enumerate(_trials(old, where)):
        inputs = _random_inputs(old, sizes, np.random.default_rng(turn))
        wide = {name: _widened(array) for name, array in inputs.items()}
        exact = run_torch_in_float64(double, old, wide)
        ours, theirs = run_torch(changed, new, inputs), run_torch(single, old, inputs)
        comparisons += [
            Comparison(name, sizes, _error(_place(ours[at], y), y), _error(theirs[at], y))
            for at, (name, y) in enumerate(zip(output_names(old), exact, strict=True))
        ]
    return comparisons


def compare_onnx(
    old: Model, old_file: bytes, new: Model, new_file: bytes, where: Sequence[Condition] = ()
) -> list[Comparison]:
    """As `compare`, with ONNX Runtime alone, in float32."""
    comparisons: list[Comparison] = []
    for turn, sizes in enumerate(_trials(old, where)):
        inputs = _random_inputs(old, sizes, np.random.default_rng(turn))
        ours, theirs = run_onnx(new_file, inputs), run_onnx(old_file, inputs)
        comparisons += [
            Comparison(name, sizes, _error(_place(ours[place], y), y), RELATIVE_BOUND)
            for place, (name, y) in enumerate(zip(output_names(old), theirs, strict=True))
        ]
    return comparisons


def _error(found: Array, exact: Array) -> float:
    """The largest difference as a part of the largest value; infinite for another shape."""
    if found.shape != exact.shape:
        return float("inf")
    if exact.size == 0:
        return 0.0
    difference = np.abs(found.astype(np.float64) - exact.astype(np.float64)).max()
    largest = np.abs(exact.astype(np.float64)).max()
    return float(difference / largest) if largest > 0 else float(difference)


def _place(found: Array, exact: Array) -> Array:
    """What was found, without the axes of a map that has one place."""
    is_single = set(found.shape[exact.ndim :]) == {1}
    return found.reshape(found.shape[: exact.ndim]) if is_single else found


def _widened(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _trials(model: Model, where: Sequence[Condition] = ()) -> Iterator[dict[str, int]]:
    """Two sizes that the model allows, with batches of two and of one."""
    symbols = model.root.symbols
    batch = _batch(model)
    conditions = [*where, *(requirement.condition for requirement in model.root.requirements)]
    found = 0
    for candidate in _candidates(symbols, where, conditions):
        sizes = dict(candidate)
        if batch in symbols:
            sizes[batch] = _BATCHES[found]
        if all(condition.evaluate(sizes) for condition in conditions):
            yield sizes
            found += 1
        if found == len(_BATCHES) or not symbols:
            return
    if not found:
        raise GivenError("no size was found that the model admits; fix sizes with --dim")


def _candidates(
    symbols: Sequence[str], where: Sequence[Condition], conditions: Sequence[Condition]
) -> Iterator[Mapping[str, int]]:
    """Sizes to try: the same for all symbols, then what solves the conditions."""
    for size in _SIZES:
        yield dict.fromkeys(symbols, size)
    if where:
        solved = find_sizes(conditions, dict.fromkeys(symbols, (1, None)), Effort())
        if isinstance(solved, dict):
            yield {**dict.fromkeys(symbols, 1), **solved}


def _batch(model: Model) -> str:
    """The symbol of the first axis of the first input, if it is one."""
    first = model.root.type(model.root.inputs[0].value)
    return (first.dims[0].symbol_name or "") if first.rank else ""


def _random_inputs(
    model: Model, sizes: Mapping[str, int], generator: np.random.Generator
) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    for port in model.root.inputs:
        expected = model.root.type(port.value)
        shape = tuple(dim.evaluate(sizes) for dim in expected.dims)
        if expected.dtype.is_floating:
            drawn: Array = generator.standard_normal(shape)
        else:
            drawn = generator.integers(0, 2, shape)
        inputs[port.name] = drawn.astype(numpy_dtype(expected.dtype))
    return inputs
