"""Operators at all steps at once, each that is said to be that tried against torch step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product

import numpy as np
import op_harness as harness
import pytest
from tiling_trials import CASES, assert_same, output_types, settled

from archdsl.ir.types import TensorType
from archdsl.passes.recurrence.vectorise import OverTime
from archdsl.sizes.proof import Facts

USUAL = ["Linear", "Embedding", "LayerNorm", "relu", "gelu", "softmax", "concat"]
"""Some of what steps are expected to make of elements."""

Types = tuple[TensorType, ...]
Steps = list[harness.Trial]
Varying = tuple[bool, ...]


def choices(trial: harness.Trial, made: Types) -> Iterator[tuple[int, int, Varying]]:
    """Where the steps lie, how many there are (also as many as anything else), and what varies."""
    lengths = {3, *(size for array in trial.inputs for size in array.shape if 1 < size < 5)}
    varying = [which for which in product([True, False], repeat=len(trial.inputs)) if any(which)]
    for axis, length, which in product((0, 1), sorted(lengths), varying[:4]):
        moved = [x for x, varies in zip(trial.inputs, which, strict=True) if varies]
        if all(x.ndim >= axis for x in moved) and all(type.rank >= axis for type in made):
            yield axis, length, which


def at_step(trial: harness.Trial, which: Varying, step: int) -> harness.Trial:
    """The trial with other elements at each step, in what varies."""
    pairs = zip(trial.inputs, which, strict=True)
    inputs = [np.roll(x, step) if varies else x for x, varies in pairs]
    return replace(trial, inputs=tuple(inputs))


def over_time(
    trial: harness.Trial, made: Types, axis: int, length: int, which: Varying
) -> harness.Trial | None:
    """The trial at all steps, with the operator for that; None if there is none."""
    steps = [at_step(trial, which, step).inputs for step in range(length)]
    inputs = [
        np.stack([step[place] for step in steps], axis) if varies else steps[0][place]
        for place, varies in enumerate(which)
    ]
    pairs = zip(trial.types, which, strict=True)
    types = [type.with_axis(axis, length) if varies else type for type, varies in pairs]
    results = [type.with_axis(axis, length) for type in made]
    op = OverTime(trial.op, trial.types, types, which, axis).operator(Facts(), results)
    return op and replace(trial, op=op, types=tuple(types), inputs=tuple(inputs))


def check(whole: harness.Trial, made: Types, axis: int, steps: Steps) -> None:
    """Each form of the operator at all steps, beside those at each."""
    alone = [list(harness.torch_results(step)) for step in steps]
    for form, (name, outputs) in enumerate(harness.torch_results(whole)):
        for place, type in enumerate(made):
            parts = [harness.numpy_of(step[form][1][place]) for step in alone]
            what = f"{whole.op!r} as a {name}, {len(steps)} steps along {axis}"
            assert_same(outputs[place], np.stack(parts, axis), type.dtype, what)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_all_steps_at_once_are_what_each_is_alone(case: harness.Case) -> None:
    found = 0
    for original in islice(harness.trials(case), 2):
        trial, made = settled(original), output_types(original)
        for axis, length, which in choices(trial, made):
            whole = over_time(trial, made, axis, length, which)
            if whole is not None:
                steps = [at_step(trial, which, step) for step in range(length)]
                check(whole, made, axis, steps)
                found += 1
    assert found or case.op not in USUAL
