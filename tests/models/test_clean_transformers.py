"""Graphs of Transformers: few nodes, none that a cleaner would remove, weights as they are read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxsim
import onnxslim
import pytest
import torch
from torch import nn

from archdsl import api
from archdsl.backends.onnx.export import Request, prepare
from archdsl.weights.state_dict import state

HEADS = """edition 2026
block Attend(heads: int)(q: [B, T, D], k: [B, T, D], v: [B, T, D], keep: bool[B, 1, 1, T])
    -> [B, T, D] {
  require D % heads == 0
  q = q -> rearrange("B T (h e) -> B h T e", h=heads)
  k = k -> rearrange("B T (h e) -> B h T e", h=heads)
  v = v -> rearrange("B T (h e) -> B h T e", h=heads)
  return scaled_dot_product_attention(q, k, v, keep) -> rearrange("B h T e -> B T (h e)")
}
"""

ENCODER = (
    HEADS
    + """
block Layer(heads: int)(x: [B, T, D], keep: bool[B, 1, 1, T]) -> [B, T, D] {
  require D % heads == 0
  attend = Attend(heads)
  y = attend(x -> query: Linear(D), x -> key: Linear(D), x -> value: Linear(D), keep)
  x = (y -> out: Linear(D)) + x -> norm1: LayerNorm
  return (x -> up: Linear(4 * D) -> gelu -> down: Linear(D)) + x -> norm2: LayerNorm
}

## What BERT computes.
model Encoder(layers: int = 2, heads: int = 2, width: int = 8, words: int = 11)(
    ids: int64[B, T], keep: bool[B, T]) -> [B, T, width] {
  require width % heads == 0
  require T <= 512
  param places: [512, width] = normal(std=0.02)
  x = (ids -> word: Embedding(words, width)) + (places -> slice(0, end=T)) -> norm: LayerNorm
  keep = keep -> rearrange("B T -> B 1 1 T")
  return x -> layer: repeat layers { Layer(heads, keep=keep) }
}
"""
)

DECODER = """edition 2026
block Conv1D(width: int)(x: [B, T, D]) -> [B, T, width] {
  param weight: [D, width] = normal(std=0.2)
  param bias: [width] = zeros
  return linear(x, weight -> transpose(0, 1), bias)
}

block Layer(heads: int)(x: [B, T, D]) -> [B, T, D] {
  require D % heads == 0
  q, k, v = x -> norm1: LayerNorm -> c_attn: Conv1D(3 * D)
              -> split("B T (3 h e) -> 3 B h T e", h=heads)
  a = einsum("B h i e, B h j e -> B h i j", q, k) * rsqrt(D // heads)
  a = a -> mask(j <= i) -> softmax(axis=j)
  x = x + (einsum("B h i j, B h j e -> B i (h e)", a, v) -> c_proj: Conv1D(D))
  return x + (x -> norm2: LayerNorm -> up: Conv1D(4 * D) -> gelu(approximate="tanh")
                -> down: Conv1D(D))
}

## What GPT-2 computes, with the embedding as the output layer.
model Decoder(layers: int = 2, heads: int = 2, width: int = 8, words: int = 11)(
    ids: int64[B, T]) -> [B, T, words] {
  require width % heads == 0
  require T <= 1024
  param places: [1024, width] = normal(std=0.02)
  x = (ids -> wte: Embedding(words, width)) + (places -> slice(0, end=T))
  x = x -> layer: repeat layers { Layer(heads) } -> norm: LayerNorm
  return linear(x, wte.weight)
}
"""

IMAGES = """edition 2026
block Layer(heads: int)(x: [B, T, D]) -> [B, T, D] {
  x = x + (x -> norm1: LayerNorm -> attention: MultiheadAttention(heads, batch_first=true))
  return x + (x -> norm2: LayerNorm -> mlp: { Linear(4 * D) -> GELU -> Linear(D) })
}

## What ViT computes.
model Images(layers: int = 2, heads: int = 2, width: int = 8)(image: [B, 3, 32, 32])
    -> [B, 10] {
  param token: [1, 1, width] = normal
  param places: [1, 5, width] = normal
  x = image -> patches: Conv(width, 16, stride=16) -> rearrange("B D H W -> B (H W) D")
  x = concat(token -> expand(B, -1, -1), x, axis=1) + places
  x = x -> layer: repeat layers { Layer(heads) } -> norm: LayerNorm
  return x -> select(1, 0) -> head: Linear(10)
}
"""

SPECS = {"Encoder": ENCODER, "Decoder": DECODER, "Images": IMAGES}

BARS = [("Encoder", 17, 540), ("Decoder", 17, 651), ("Images", 17, 575)]
"""Nodes of `torch.onnx.export(dynamo=True)` of BERT base, GPT-2 and ViT-B/16, each at an opset."""


def started(network: api.Network) -> nn.Module:
    torch.manual_seed(0)
    module = network.to_torch().eval()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.4)
    return module


def inputs(name: str, batch: int, time: int) -> dict[str, torch.Tensor]:
    if name == "Images":
        return {"image": torch.randn(batch, 3, 32, 32)}
    ids = {"ids": torch.randint(0, 11, (batch, time))}
    return ids if name == "Decoder" else {**ids, "keep": torch.rand(batch, time) > 0.3}


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize(("name", "opset", "torchs"), BARS)
def test_two_thirds_of_torchs_nodes(name: str, opset: int, torchs: int) -> None:
    network = api.load(SPECS[name], layers=12, heads=12, width=768)
    graph = prepare(Request(network.ir, None, opset, 0, True, True, False))[0].graph
    assert len(graph.node) <= 0.65 * torchs


@pytest.mark.parametrize("name", SPECS)
def test_sizes_are_read_once_for_all_layers(name: str) -> None:
    few, many = (_sizes(api.load(SPECS[name], layers=count).to_onnx().graph) for count in (2, 5))
    assert few == many
    assert few.keys() <= {"Shape", "Concat"}
    assert few.total() <= 4


def _sizes(graph: onnx.GraphProto) -> Counter[str]:
    """The operators that compute sizes."""
    return Counter(node.op_type for node in graph.node if node.name.startswith("sizes/"))


@pytest.mark.parametrize("name", SPECS)
def test_no_weight_is_turned_but_one_that_is_tied(name: str) -> None:
    graph = api.load(SPECS[name]).to_onnx().graph
    weights = {tensor.name for tensor in graph.initializer}
    turned = [n.input[0] for n in graph.node if n.op_type == "Transpose" and n.input[0] in weights]
    assert turned == (["wte.weight"] if name == "Decoder" else [])


@pytest.mark.parametrize("name", SPECS)
def test_cleaners_remove_nothing(name: str, tmp_path: Path) -> None:
    network = api.load(SPECS[name])
    exported = network.to_onnx(started(network))
    # The table of words is small here, so that cleaners turn it themselves.
    tied = int(name == "Decoder")
    nodes = len(exported.graph.node) - tied
    copy = onnx.load_from_string(exported.SerializeToString())
    assert len(onnxslim.slim(copy).graph.node) >= nodes
    assert len(onnxsim.simplify(exported)[0].graph.node) >= nodes
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "basic.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(exported.SerializeToString(), options, ["CPUExecutionProvider"])
    assert len(onnx.load(tmp_path / "basic.onnx").graph.node) >= nodes


@pytest.mark.parametrize("opset", [17, 20, 23])
@pytest.mark.parametrize("name", SPECS)
def test_with_weights_of_their_own_or_together_the_outputs_are_torchs(
    name: str, opset: int
) -> None:
    network = api.load(SPECS[name])
    module = started(network)
    folded = network.to_onnx(module, opset=opset)
    plain = network.to_onnx(module, opset=opset, fold=False)
    assert {tensor.name for tensor in plain.graph.initializer} >= state(network.ir).keys()
    for model in (folded, plain):
        onnx.checker.check_model(model, full_check=True)
        running = session(model)
        for batch, time in ((1, 1), (2, 7), (3, 4)):
            given = inputs(name, batch, time)
            single = module(*given.values()).detach()
            exact = module.double()(
                *(x.double() if x.is_floating_point() else x for x in given.values())
            ).detach()
            module.float()
            feed = {key: value.numpy() for key, value in given.items()}
            (found,) = running.run(None, feed)
            greatest = exact.abs().max().item()
            error = np.abs(found - exact.numpy()).max()
            own = (single - exact).abs().max().item()
            assert greatest >= 1e-3
            assert error <= 1e-5 * greatest
            assert error <= 4 * own + 1e-6 * greatest


def test_maps_of_one_value_are_one_product_of_all_their_weights() -> None:
    network = api.load(ENCODER)
    module = started(network)
    graph = network.to_onnx(module).graph
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    parts = [module.get_parameter(f"layer.0.{name}.weight") for name in ("query", "key", "value")]
    found = tensors["layer.0.query+key+value.weight"]
    assert np.array_equal(found, torch.cat(parts).detach().numpy())
    types = Counter(node.op_type for node in graph.node)
    assert (types["Gemm"], types["MatMul"], types["Split"]) == (2 * 4, 2 * 2, 2)


def test_weights_used_elsewhere_too_stay_apart() -> None:
    text = """edition 2026
model m(x: [B, T, 4], y: [B, T, 4]) -> [B, T, 4] {
  a = Linear(4)
  z = (x -> a) * (x -> b: Linear(4)) * (x -> c: Linear(4)) * (y -> a)
  return z + (x -> d: Linear(4, bias=false)) + matmul(x, c.weight)
}
"""
    network = api.load(text)
    module = started(network)
    graph = network.to_onnx(module)
    names = {tensor.name for tensor in graph.graph.initializer}
    assert {"a.bias", "b.bias", "c.weight", "d.weight.transposed"} <= names
    x, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    (found,) = session(graph).run(None, {"x": x.numpy(), "y": y.numpy()})
    wanted = module(x, y).detach().numpy()
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
