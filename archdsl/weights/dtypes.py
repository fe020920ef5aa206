"""Dtypes of numpy and torch for each element type."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from archdsl.ir.types import DType

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]


@cache
def numpy_dtype(dtype: DType) -> np.dtype:
    """The numpy dtype of an element type."""
    if dtype is DType.BFLOAT16:
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype.value)


def tensor_of(array: Array) -> torch.Tensor:
    """A copy of an array; torch does not know numpy's extension for bfloat16."""
    import torch

    if array.dtype == numpy_dtype(DType.BFLOAT16):
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)


def array_of(tensor: torch.Tensor) -> Array:
    """The numbers of a tensor; numpy knows bfloat16 by its extension only."""
    try:
        return tensor.numpy(force=True)
    except TypeError:
        import torch

        if tensor.dtype is not torch.bfloat16:
            raise
        return tensor.view(torch.int16).numpy(force=True).view(numpy_dtype(DType.BFLOAT16))
