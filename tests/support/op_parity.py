"""When two tensors are the same: in bits, or as near to float64 as torch's float32 is."""

from __future__ import annotations

import numpy as np
import torch

from archdsl.ir.types import DType
from archdsl.weights.dtypes import numpy_dtype


def tensor(array: np.ndarray, double: bool = False) -> torch.Tensor:
    """A torch tensor with the same elements, floats in double precision if wanted."""
    if array.dtype == numpy_dtype(DType.BFLOAT16):
        result = torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    else:
        result = torch.from_numpy(array.copy())
    return result.double() if double and result.is_floating_point() else result


def assert_parity(
    what: str, got: np.ndarray, single: torch.Tensor, double: torch.Tensor, *, exact: bool = False
) -> None:
    """The same bits if exact; else as near to float64 as torch's float32 is, within a factor."""
    want = numpy_of(single)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, not {want.shape}"
    assert got.dtype == want.dtype, f"{what}: element type {got.dtype}, not {want.dtype}"
    if exact or not single.is_floating_point():
        assert same_bits(got, want), f"{what}: not equal:\n{got}\n{want}"
        return
    right = double.numpy()
    finite = np.isfinite(right)
    assert np.array_equal(got[~finite], right[~finite].astype(got.dtype), equal_nan=True), what
    assert np.isfinite(got[finite]).all(), f"{what}: not finite"
    if not finite.any():
        return
    scale = float(np.abs(right[finite]).max())
    error = float(np.abs(got[finite].astype(np.float64) - right[finite]).max())
    torch_error = float(np.abs(want[finite].astype(np.float64) - right[finite]).max())
    assert error <= 1e-5 * scale, f"{what}: error {error} at scale {scale}"
    allowed = 4 * torch_error + 1e-6 * scale
    assert error <= allowed, f"{what}: error {error}, torch's is {torch_error} at scale {scale}"


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Equality of elements, except that 0 equals -0 and NaN equals NaN."""
    return np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


def numpy_of(value: torch.Tensor) -> np.ndarray:
    if value.dtype == torch.bfloat16:
        return value.float().numpy().astype(numpy_dtype(DType.BFLOAT16))
    return value.numpy()
