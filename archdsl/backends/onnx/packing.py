"""Initializers that are packed from several weights or transposed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from archdsl.ir.lowering import Operand, Rows
from archdsl.weights.dtypes import numpy_dtype
from archdsl.weights.state_dict import known_shape

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
    def paths(self) -> Iterator[str]:
        """The weights it is made of."""
        return (rows.weight for group in self.groups for rows in group)

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


@dataclass(frozen=True, slots=True)
class Turned:
    """A weight under its path, its axes in another order."""

    operand: Operand
    weight: str
    perm: tuple[int, ...]

    @property
    def paths(self) -> Iterator[str]:
        """The weight it is made of."""
        return iter((self.weight,))

    def array(self, weights: Mapping[str, Callable[[], Array]]) -> Array:
        """The weight as it is to stand in the file."""
        return np.ascontiguousarray(weights[self.weight]().transpose(self.perm))


Made = Packing | Turned
"""What is computed of weights when it is written."""
