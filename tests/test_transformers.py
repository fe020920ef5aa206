"""The language models beside transformers': names, figures, beginnings, values, causality."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torchvision_shim import torchvision

assert torchvision
"""transformers imports it, too, and must find it whole."""

transformers = pytest.importorskip("transformers")

from archdsl import api  # noqa: E402
from archdsl.backends.onnx_export import save  # noqa: E402

Tensors = dict[str, torch.Tensor]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
