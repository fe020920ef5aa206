"""Element types as numpy has them."""

from __future__ import annotations

from functools import cache

import numpy as np

from archdsl.ir.types import DType


@cache
def numpy_dtype(dtype: DType) -> np.dtype:
    """The numpy dtype of an element type."""
    if dtype is DType.BFLOAT16:
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype.value)
