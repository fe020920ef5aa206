"""Networks after a transform: that they agree with what they were, and their weights both ways."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import archdsl
from archdsl.api import Transformation
from archdsl.cli import execution
from archdsl.weights.initial import initial
from archdsl.weights.tensor_map import TensorMap

Arrays = dict[str, np.ndarray]


def lively(net: archdsl.Network) -> Arrays:
    """Weights with statistics and biases that are not those of a fresh module."""
    weights = initial(net.ir, 3)
    generator = np.random.default_rng(0)
    for path, array in weights.items():
        if array.ndim == 1 and array.dtype.kind == "f":
            low = 0.5 if "var" in path else -1.0
            weights[path] = generator.uniform(low, 1.5, array.shape).astype(np.float32)
    return weights


def agreeing(
    net: archdsl.Network, weights: Arrays, transform: str, **settings: int
) -> tuple[Transformation, Arrays]:
    """The network after a transform, and its weights then; both networks agree."""
    change = net.transformed(transform, **settings)
    comparisons = execution.compare(net, change, weights)
    assert comparisons and all(each.agrees for each in comparisons), list(map(str, comparisons))
    return change, execution.mapped(change, weights)


def moved_back(change: TensorMap, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The old weights, of the new ones."""
    given = {path: lambda array=array: array for path, array in arrays.items()}
    return {path: np.asarray(array()) for path, array in change.backward(given).items()}
