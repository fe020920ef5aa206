"""The classifiers that torchvision has too, and both ways to build and export them."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

import archdsl
from benchmarks.measure import THREADS
from tests.support.torchvision_shim import torchvision

IMAGE = (1, 3, 224, 224)
FIXED_IMAGE = {"H": 224, "W": 224}
POOLED_TO_A_SIZE = ("alexnet", "vgg")
"""Pool to a fixed size: torch's export of that is right for a fixed image size only."""


def compiled(name: str) -> archdsl.Network:
    """Ours, with the sizes free that torch can export freely."""
    fixed = name.startswith(POOLED_TO_A_SIZE)
    return archdsl.load(name, dims=FIXED_IMAGE if fixed else {})


def torchvision_model(name: str) -> nn.Module:
    """torchvision's own, with the weights it begins with."""
    if name == "googlenet":
        return torchvision.models.googlenet(aux_logits=True, init_weights=True)
    return torchvision.models.get_model(name)


def subject(name: str) -> nn.Module:
    """torchvision's model for inference; its batch norms are as if trained, so that folds show."""
    torch.manual_seed(0)
    module = torchvision_model(name).eval().requires_grad_(False)
    for path, tensor in module.state_dict().items():
        if path.endswith("running_mean") or (path.endswith("bias") and tensor.dim() == 1):
            nn.init.normal_(tensor, 0.0, 0.1)
        elif path.endswith("running_var") or (path.endswith("weight") and tensor.dim() == 1):
            nn.init.uniform_(tensor, 0.5, 1.5)
    return module


def export_with_torch(module: nn.Module, path: Path, dynamic: dict[int, str]) -> None:
    """What a PyTorch user runs."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, *IMAGE[1:]),),
            path,
            dynamo=True,
            verbose=False,
            dynamic_shapes=(dynamic,),
        )


def symbolic_axes(network: archdsl.Network) -> dict[int, str]:
    """The axes of the only input that have no fixed size, with their names."""
    root = network.ir.root
    dims = root.type(root.inputs[0].value).dims
    return {axis: str(dim) for axis, dim in enumerate(dims) if dim.value is None}


def both_exports(name: str, folder: Path) -> tuple[Path, Path]:
    """The files of torch's export and of ours, with the same weights and the same free axes."""
    folder.mkdir(parents=True, exist_ok=True)
    module, network = subject(name), compiled(name)
    ours, theirs = folder / f"{name}.onnx", folder / f"{name}.torch.onnx"
    network.save_onnx(ours, module)
    export_with_torch(module, theirs, symbolic_axes(network))
    return theirs, ours


def session(path: Path, level: str = "ALL", optimized: Path | None = None) -> Any:
    """An ONNX Runtime session that does not spin, so that others can be measured beside it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = getattr(levels, f"ORT_ENABLE_{level}")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def image() -> np.ndarray:
    """A picture of noise."""
    return np.random.default_rng(0).standard_normal(IMAGE, dtype=np.float32)


def run(opened: Any, picture: np.ndarray) -> np.ndarray:
    """The only output of a session for its only input."""
    return opened.run(None, {opened.get_inputs()[0].name: picture})[0]


def node_count(graph: onnx.GraphProto) -> int:
    """All nodes, those inside other nodes included."""
    count, waiting = 0, [graph]
    while waiting:
        nodes = waiting.pop().node
        count += len(nodes)
        waiting += [a.g for node in nodes for a in node.attribute if a.HasField("g")]
    return count


def graph_bytes(path: Path) -> int:
    """The size of a model without its weights, wherever they are kept."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for field in ("raw_data", "external_data", "float_data", "data_location"):
            tensor.ClearField(field)
    return model.ByteSize()
