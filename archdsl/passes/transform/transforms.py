"""The transforms by name: each returns a flat block and a map of its tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from archdsl.diagnostics import GivenError
from archdsl.ir.model import Block
from archdsl.passes.fold.batch_norm import fuse_batch_norm
from archdsl.passes.recurrence.fuse import fuse_recurrence
from archdsl.passes.transform.convolutionalize import convolutionalize
from archdsl.passes.transform.split_towers import split_towers
from archdsl.passes.transform.unroll import unroll
from archdsl.weights.tensor_map import Transformed

Transform = Callable[..., Transformed]
"""Takes a flat block and, by their names, the numbers that it must be told."""

TRANSFORMS: Mapping[str, Transform] = {
    "convolutionalize": convolutionalize,
    "fuse_batch_norm": fuse_batch_norm,
    "fuse_recurrence": fuse_recurrence,
    "split_towers": split_towers,
    "unroll": unroll,
}
"""Each gives the same outputs for the same inputs; the first line of its docstring says how."""


def apply(name: str, block: Block, settings: Mapping[str, int]) -> Transformed:
    """What a transform makes of a block; refuses settings that it does not take, or lacks."""
    taken = list(inspect.signature(TRANSFORMS[name]).parameters)[1:]
    for setting in settings.keys() - taken:
        raise GivenError(f"{name} takes no `{setting}`")
    for setting in taken:
        if setting not in settings:
            raise GivenError(f"{name} must be told `{setting}`, a number")
    return TRANSFORMS[name](block, **settings)


def sentence(name: str) -> str:
    """What a transform gives, in a sentence."""
    return (TRANSFORMS[name].__doc__ or "").partition("\n")[0]
