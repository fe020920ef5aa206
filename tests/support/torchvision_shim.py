"""torchvision's Python models, also beside a torch whose compiled operators do not match."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch

_DECLARED: list[torch.library.Library] = []
"""Kept, because a library's operators vanish with it."""


def _load() -> Any:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)
    return importlib.import_module("torchvision")


torchvision = _load()
