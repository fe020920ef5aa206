"""What operators say of the places along their axes, each answer tried against torch.

Whatever `piece` answers is carried out: the inputs are cut, the operator that it names is run on
them, and what comes out must be the same places of what the whole operator gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import op_harness as harness
import pytest
from tiling_trials import CASES, FROM_DATA, assert_same, output_types, settled

from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Op
from archdsl.ir.types import ShapeError, TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts

SILENT = {
    *("constant", "RNN", "LSTM", "GRU", "multi_margin_loss", "scatter", "scatter_add"),
    *("roi_align", "roi_pool", "max_unpool"),
    *FROM_DATA,
}
"""What has no axis; what carries states along each (recurrent layers have `carried`); and what
puts values where data says, which no model goes along in steps."""


def cut(array: np.ndarray, axis: int | None, start: int, size: int) -> np.ndarray:
    if axis is None:
        return array
    return np.ascontiguousarray(array.take(range(start, start + size), axis))


def cut_trial(
    trial: harness.Trial, op: Op, axes: tuple[int | None, ...], start: int, size: int
) -> harness.Trial:
    types = [
        t if axis is None else t.with_dim(axis, size)
        for t, axis in zip(trial.types, axes, strict=True)
    ]
    inputs = [cut(x, axis, start, size) for x, axis in zip(trial.inputs, axes, strict=True)]
    return replace(trial, op=op, types=tuple(types), inputs=tuple(inputs))


def spans(length: int) -> Iterator[tuple[int, int]]:
    """The first places, the last one alone, and some between."""
    yield 0, length - 1
    yield length - 1, 1
    if length > 2:
        yield 1, length - 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_piece_is_what_the_whole_has_there(case: harness.Case) -> None:
    for original in harness.trials(case):
        trial = settled(original)
        outputs = output_types(original)
        for axis, dim in enumerate(outputs[0].dims):
            length = dim.value
            assert length is not None
            for start, size in spans(length) if length > 1 else ():
                check_piece(trial, outputs, axis, start, size)


def check_piece(
    trial: harness.Trial, outputs: tuple[TensorType, ...], axis: int, start: int, size: int
) -> None:
    piece = trial.op.piece(axis, Dim.of(start), Dim.of(size), *trial.types)
    if piece is None:
        return
    alone = cut_trial(trial, piece.op, piece.axes, start, size)
    wanted_types = tuple(type.with_dim(axis, size) for type in outputs)
    found_types = inferred(piece.op, alone.types, wanted_types)
    for wanted_type, type in zip(wanted_types, found_types, strict=True):
        assert type.dims == wanted_type.dims, repr(piece.op)
    wholes = list(harness.torch_results(trial))
    parts = list(harness.torch_results(alone))
    for (form, whole), (_, part) in zip(wholes, parts, strict=True):
        for place, type in enumerate(outputs):
            wanted = cut(harness.numpy_of(whole[place]), axis, start, size)
            what = f"{form} {trial.op!r}: axis {axis}, {size} from {start}"
            assert_same(part[place], wanted, type.dtype, what)


def inferred(
    op: Op, types: tuple[TensorType, ...], wanted: tuple[TensorType, ...]
) -> tuple[TensorType, ...]:
    """The types of the outputs; a mask that keeps nothing of these places is fine here."""
    try:
        return as_types(op.infer(Obligations(Facts()), *types))
    except ShapeError as problem:
        assert "holds nowhere" in problem.message
        return wanted


def as_types(found: Any) -> tuple[TensorType, ...]:
    return found if isinstance(found, tuple) else (found,)


def test_every_operator_knows_an_axis_to_cut() -> None:
    answered: set[type[Op]] = set()
    for case in CASES:
        for original in harness.trials(case):
            trial = settled(original)
            one = Dim.of(1)
            for axis in range(output_types(original)[0].rank):
                if trial.op.piece(axis, Dim.of(0), one, *trial.types) is not None:
                    answered.add(type(trial.op))
    silent = {name for name in REGISTRY if REGISTRY[name] not in answered}
    assert silent == SILENT
