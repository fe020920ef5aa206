"""Initializers that are put together from several weights, as some ONNX operators want them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from archdsl.backends.arrays import numpy_dtype
from archdsl.backends.weights import known_shape
from archdsl.ir.lowering import Operand, Rows

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Packing:
    """Rows of weights, which are under their paths: one after the other within a group."""

    operand: Operand
    groups: tuple[tuple[Rows, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return known_shape(self.operand.name, self.operand.type.dims)

    @property
    def rows(self) -> Iterator[Rows]:
        """All rows of all groups."""
        return (rows for group in self.groups for rows in group)

    def array(self, weights: Mapping[str, Callable[[], Array]]) -> Array:
        """The whole, with one weight at a time beside it."""
        result = np.empty(self.shape, numpy_dtype(self.operand.type.dtype))
        for place, group in enumerate(self.groups):
            start = 0
            for path, parts in groupby(group, key=lambda rows: rows.weight):
                weight = weights[path]()
                for rows in parts:
                    count = rows.stop - rows.start
                    result[place, start : start + count] = weight[rows.start : rows.stop]
                    start += count
        return result
