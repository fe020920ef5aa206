"""The cases of the operator tables as trials at known sizes, for what operators say of places."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import op_harness as harness
import torch

from archdsl.ir.types import DType, TensorType
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim

FROM_DATA = {"nms", "non_max_suppression", "nonzero", "masked_select"}
"""How much they give depends on all of the data, so that no place stands for itself."""

TOLERANCE = {DType.FLOAT16: 4e-3, DType.BFLOAT16: 4e-2}

CASES = [
    entry
    for entry in harness.entries()
    if isinstance(entry, harness.Case) and entry.op not in FROM_DATA
]


def settled(trial: harness.Trial) -> harness.Trial:
    """The trial with its sizes as numbers everywhere."""
    sizes = dict(trial.sizes)
    op = trial.op.placed(*trial.types)
    changed = {name: at_sizes(getattr(op, name), sizes) for name in type(op).model_fields}
    types = [
        TensorType(t.dtype, tuple(dim.substitute(sizes) for dim in t.dims), t.axes)
        for t in trial.types
    ]
    return replace(trial, op=op.model_copy(update=changed), types=tuple(types))


def output_types(trial: harness.Trial) -> tuple[TensorType, ...]:
    """The types of the outputs with numbers in the place of symbols."""
    types = harness.infer(trial.op, trial.case)
    sizes = dict(trial.sizes)
    return tuple(t.with_dims(*(dim.substitute(sizes) for dim in t.dims)) for t in types)


def assert_same(found: torch.Tensor, wanted: np.ndarray, dtype: DType, what: str) -> None:
    got = harness.numpy_of(found)
    assert got.shape == wanted.shape, f"{what}: {got.shape}, not {wanted.shape}"
    if not dtype.is_floating:
        assert np.array_equal(got, wanted), what
        return
    finite = wanted[np.isfinite(wanted)].astype(np.float64)
    scale = max(np.abs(finite).max(), 1e-30) if finite.size else 1.0
    close = np.allclose(
        got.astype(np.float64),
        wanted.astype(np.float64),
        rtol=0,
        atol=TOLERANCE.get(dtype, 1e-5) * scale,
        equal_nan=True,
    )
    assert close, what


def at_sizes(value: Any, sizes: dict[str, Any]) -> Any:
    """An attribute with numbers in the place of symbols."""
    if isinstance(value, Dim | Condition):
        return value.substitute(sizes)
    if isinstance(value, tuple):
        return tuple(at_sizes(item, sizes) for item in value)
    if isinstance(value, dict):
        return {name: at_sizes(item, sizes) for name, item in value.items()}
    return value
