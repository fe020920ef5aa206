"""Graphs as clean as they get: cleaners find nothing to remove, and torch's have no fewer nodes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import onnxslim
import pytest

import archdsl
from archdsl.backends.onnx.export import Request, prepare
from archdsl.resources import specs_folder
from archdsl.weights.state_dict import known_shape, state

LIGHT = {
    "lenet5": "lenet5",
    "alexnet": "alexnet",
    "alexnet_2012": "alexnet_2012",
    "vgg11_bn": "vgg",
    "googlenet": "googlenet",
    "resnet18": "resnet",
    "resnet50": "resnet",
    "densenet121": "densenet",
    "mobilenet_v2": "mobilenet_v2",
    "squeezenet1_0": "squeezenet",
}
"""Every family, with the file it stands in."""

CLEANED = [name for name in LIGHT if name != "resnet50"]

TORCH_NODES = {
    "resnet18": 49,
    "resnet50": 122,
    "googlenet": 139,
    "densenet121": 368,
    "mobilenet_v2": 100,
    "squeezenet1_0": 65,
}
"""Nodes of `torch.onnx.export(dynamo=True)` of torch 2.13 with free image sizes."""

TORCH_NODES_AT_224 = {"alexnet": 20, "vgg16": 38, "fcn_resnet50": 123}
"""The same where torch's export is right for a fixed image size only."""

OPTIMIZED_NODES = {"resnet18": 25, "resnet50": 58, "mobilenet_v2": 56, "squeezenet1_0": 40}
"""What ONNX Runtime 1.31 leaves of torch's export after its full optimisation."""

TORCH_BYTES = 217_000
"""Torch's export of ResNet-50 without weights."""


def narrow(name: str) -> archdsl.Network:
    """The architecture with a small classifier, so that its weights are few."""
    text = (specs_folder() / f"{LIGHT[name]}.arch").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("expect ")]
    return archdsl.load("\n".join(lines).replace("Linear(4096)", "Linear(16)"), name)


@cache
def exported(name: str) -> bytes:
    """Its export, with weights and statistics that are nowhere as fresh layers have them."""
    network, generator = narrow(name), np.random.default_rng(0)
    weights = {
        path: generator.uniform(0.1, 1.0, known_shape(path, weight.dims)).astype(np.float32)
        for path, weight in state(network.ir).items()
        if not path.endswith("num_batches_tracked")
    }
    return network.to_onnx(weights).SerializeToString()


def skeleton(name: str, **sizes: int) -> onnx.ModelProto:
    """Its export without the weights."""
    model = archdsl.load(name, dims=sizes).ir
    return prepare(Request(model, None, 17, 0, True, True, False))[0]


def optimized(model: bytes, level: Any, path: Path) -> int:
    """The nodes that ONNX Runtime leaves."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    return len(onnx.load(path).graph.node)


@pytest.mark.parametrize("name", CLEANED)
def test_cleaners_remove_nothing(name: str, tmp_path: Path) -> None:
    model = onnx.load_from_string(exported(name))
    nodes = len(model.graph.node)
    assert len(onnxslim.slim(onnx.load_from_string(exported(name))).graph.node) == nodes
    assert len(onnxsim.simplify(model)[0].graph.node) == nodes
    basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert optimized(exported(name), basic, tmp_path / "basic.onnx") == nodes


@pytest.mark.parametrize(("name", "bar"), TORCH_NODES.items())
def test_no_more_nodes_than_torch_emits(name: str, bar: int) -> None:
    assert len(skeleton(name).graph.node) <= bar


@pytest.mark.parametrize(("name", "bar"), TORCH_NODES_AT_224.items())
def test_no_more_nodes_than_torch_emits_for_a_fixed_size(name: str, bar: int) -> None:
    assert len(skeleton(name, H=224, W=224).graph.node) <= bar


@pytest.mark.parametrize(("name", "bar"), OPTIMIZED_NODES.items())
def test_full_optimisation_leaves_no_more_nodes_than_of_torch(
    name: str, bar: int, tmp_path: Path
) -> None:
    full = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert optimized(exported(name), full, tmp_path / "full.onnx") <= bar


def test_the_graph_is_a_fifth_of_torchs() -> None:
    assert skeleton("resnet50").ByteSize() <= 0.2 * TORCH_BYTES
