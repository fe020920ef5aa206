"""Shipped networks with drawn weights, and how closely their runs must agree."""

from __future__ import annotations

import math
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import nn

from archdsl.backends.onnx.export import save
from archdsl.backends.torch.source import root_class
from archdsl.compiler import Compilation
from archdsl.ir.model import Model
from archdsl.resources import shipped_models

SHIPPED = {name: path for name, path in shipped_models().items() if name.islower()}
"""The members of families; the families themselves are capitalised."""


@cache
def compiled(name: str) -> Model:
    compilation = Compilation(SHIPPED[name], model=name)
    diagnostics = compilation.check()
    assert not list(diagnostics), list(diagnostics)
    assert compilation.model is not None
    return compilation.model


def lively(name: str, module: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict in which nothing is as a fresh module has it, batch statistics included."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))

    def draw(path: str, like: torch.Tensor) -> torch.Tensor:
        if path.endswith("num_batches_tracked"):
            return torch.tensor(7)
        if path.endswith("running_var") or (path.endswith("weight") and like.dim() == 1):
            return torch.rand(like.shape, generator=generator) + 0.5
        spread = math.sqrt(1.5 / math.prod(like.shape[1:])) if like.dim() > 1 else 0.1
        return torch.randn(like.shape, generator=generator) * spread

    return {path: draw(path, tensor) for path, tensor in module.state_dict().items()}


def filled(module: nn.Module, weights: dict[str, torch.Tensor]) -> nn.Module:
    """A module from the meta device, with these very tensors."""
    module.load_state_dict(weights, strict=True, assign=True)
    return module.eval()


def run_source(source: str) -> nn.Module:
    """The module that a person gets who saves the source and imports it."""
    with torch.device("meta"):
        return namespace(source)[root_class(source)]()


def namespace(source: str) -> dict[str, Any]:
    """What an emitted file defines."""
    scope: dict[str, Any] = {"__name__": "emitted"}
    exec(compile(source, "emitted.py", "exec"), scope)  # noqa: S102
    return scope


def image(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def described(state: dict[str, torch.Tensor]) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    return [(path, tuple(tensor.shape), tensor.dtype) for path, tensor in state.items()]


def exported(
    model: Model, weights: dict[str, torch.Tensor], path: Path
) -> onnxruntime.InferenceSession:
    save(path, model, {name: tensor.numpy() for name, tensor in weights.items()})
    if path.stat().st_size < 120e6:
        onnx.checker.check_model(str(path), full_check=True)
    return opened(path)


def opened(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def assert_lively(y: torch.Tensor) -> None:
    """An output that is not next to nothing, and not the same for every image."""
    assert torch.isfinite(y).all()
    assert y.abs().max() >= 1e-3
    if len(y) > 1:
        assert (y[0] - y[1]).abs().max() >= 1e-3 * y.abs().max()


def assert_agrees(found: torch.Tensor, single: torch.Tensor, exact: torch.Tensor) -> None:
    """ONNX Runtime beside float64: within 1e-5, and about as exact as PyTorch in float32."""
    assert_small(relative_error(found, exact), relative_error(single, exact))


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest difference as a part of the largest value."""
    assert found.shape == exact.shape
    difference, largest = (found - exact).abs().max(), exact.abs().max()
    return float(difference / largest) if largest > 0 else float(difference)


def assert_small(error: float, torch_error: float) -> None:
    """The bound on ONNX Runtime's error, with that of PyTorch in float32 beside it."""
    assert error <= 1e-5
    assert torch_error <= 1e-5
    assert error <= 4 * torch_error + 1e-6


def seeded_dropout(
    x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> torch.Tensor:
    """Dropout whose mask depends on the shape alone, not on what was drawn before."""
    if not training:
        return x
    keep = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) >= p
    return x * keep / (1 - p)


def as_tuple(outputs: Any) -> tuple[torch.Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
