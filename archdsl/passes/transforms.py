"""The transforms by name: from one flat block to another with its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from archdsl.ir.model import Block
from archdsl.passes.fuse_batch_norm import fuse_batch_norm
from archdsl.passes.fuse_recurrence import fuse_recurrence
from archdsl.passes.tensor_map import Transformed
from archdsl.passes.unroll import unroll

Transform = Callable[[Block], Transformed]

TRANSFORMS: Mapping[str, Transform] = {
    "fuse_batch_norm": fuse_batch_norm,
    "fuse_recurrence": fuse_recurrence,
    "unroll": unroll,
}
"""Each gives the same outputs for the same inputs; the first line of its docstring says how."""


def sentence(name: str) -> str:
    """What a transform gives, in a sentence."""
    return (TRANSFORMS[name].__doc__ or "").partition("\n")[0]
