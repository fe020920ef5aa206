"""Attention in whole networks: masks of predicates, padding, positions, sharing, sizes."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from archdsl import api
from archdsl.diagnostics import ArchError
from archdsl.ir.model import Model

WRITTEN_OUT = """edition 2026
block CausalSelfAttention(heads: int)(x: [B, T, D]) -> [B, T, D] {
  require D % heads == 0, "width {D} does not split into {heads} heads"
  q, k, v = x -> c_attn: Linear(3 * D) -> split("B T (3 h e) -> 3 B h T e", h=heads)
  a = einsum("B h i e, B h j e -> B h i j", q, k) * rsqrt(D // heads)
  a = a -> mask(j <= i) -> softmax(axis=j)
  return einsum("B h i j, B h j e -> B i (h e)", a, v) -> c_proj: Linear(D)
}
model m(x: [B, T, 8]) -> y: [B, T, 8] {
  return x -> h: repeat 3 { CausalSelfAttention(2) }
}
"""


def started(network: api.Network) -> nn.Module:
    """The module with no weight that begins as zero."""
    torch.manual_seed(0)
    module = network.to_torch().eval()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.4)
    return module


def compare(
    network: api.Network, inputs: list[tuple[torch.Tensor, ...]], opsets: tuple[int, ...] = (17, 23)
) -> list[onnx.ModelProto]:
    """The exported graphs, which must give what the module gives."""
    module = started(network)
    graphs: list[onnx.ModelProto] = []
    for opset in opsets:
        graph = network.to_onnx(module, opset=opset)
        onnx.checker.check_model(graph, full_check=True)
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        names = [port.name for port in graph.graph.input]
        for given in inputs:
            with torch.no_grad():
                wanted = module(*given).numpy()
            feed = {name: value.numpy() for name, value in zip(names, given, strict=True)}
            (found,) = session.run(None, feed)
            assert np.isfinite(wanted).all()
            assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
        graphs.append(graph)
    return graphs


def test_attention_written_out_is_the_fused_one() -> None:
    network = api.load(WRITTEN_OUT)
    module = started(network)
    x = torch.randn(2, 7, 8)
    layer = next(module.children())[0]
    q, k, v = layer.c_attn(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    fused = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    wanted = layer.c_proj(fused.transpose(1, 2).flatten(2))
    assert torch.allclose(layer(x), wanted, atol=1e-6)


def test_no_output_moves_when_a_later_input_does() -> None:
    module = started(api.load(WRITTEN_OUT))
    x = torch.randn(1, 6, 8)
    before = module(x)
    for place in range(1, 6):
        moved = x.clone()
        moved[:, place:] += 1
        after = module(moved)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.equal(after[:, place:], before[:, place:])


def test_layers_share_one_mask() -> None:
    inputs = [(torch.randn(batch, time, 8),) for batch, time in ((1, 1), (3, 7), (2, 2))]
    graphs = compare(api.load(WRITTEN_OUT), inputs)
    found = [Counter(node.op_type for node in graph.graph.node) for graph in graphs]
    assert [(types["Trilu"], types["Attention"]) for types in found] == [(1, 0), (0, 3)]
    known = api.load(WRITTEN_OUT, dims={"T": 5})
    (graph, *_) = compare(known, [(torch.randn(2, 5, 8),)])
    masks = [w for w in graph.graph.initializer if w.data_type == onnx.TensorProto.BOOL]
    assert [list(mask.dims) for mask in masks] == [[5, 5]]
    types = {node.op_type for node in graph.graph.node}
    assert types.isdisjoint({"Trilu", "Range", "Shape", "Expand"})


def test_the_causal_mask_reads_as_one_would_write_it() -> None:
    assert "(q, k, v, is_causal=True)" in api.load(WRITTEN_OUT).to_source()
    source = api.load(WRITTEN_OUT.replace("softmax(", "log_softmax(")).to_source()
    assert "~torch.ones(T, T, dtype=torch.bool, device=device).tril()" in source
    assert "torch.finfo(a.dtype).min" in source


def test_a_masked_module_runs_in_other_element_types() -> None:
    module = started(api.load(WRITTEN_OUT))
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert module.to(dtype)(torch.randn(2, 3, 8, dtype=dtype)).isfinite().all()


# ------------------------------------------------------------------------------------- predicates

SPARSE = {
    "row": "j <= i and (j // 4 == i // 4 or j < 3)",
    "column": "j <= i and ((i - j) % 4 == 0 or j < 3)",
    "window": "0 <= i - j and i - j < 4",
    "prefix": "j <= i or j < 3",
    "block": "i // 4 == j // 4",
    "not": "not (j > i or i - j >= T)",
}


@pytest.mark.parametrize("predicate", SPARSE.values(), ids=SPARSE)
@pytest.mark.parametrize("known", [{}, {"T": 9}], ids=["symbolic", "known"])
def test_sparse_attention(predicate: str, known: dict[str, int]) -> None:
    text = f"""edition 2026
model m(x: [B, T, 8]) -> y: [B, T, 8] {{
  a = einsum("B i e, B j e -> B i j", x, x) -> mask({predicate}) -> softmax(axis=j)
  return einsum("B i j, B j e -> B i e", a, x)
}}
"""
    network = api.load(text, dims=known)
    compare(network, [(torch.randn(2, 9, 8),)])
    x = torch.randn(1, 9, 8)
    keep = torch.tensor(
        [
            [bool(eval(predicate, {"i": i, "j": j, "T": 9})) for j in range(9)]  # noqa: S307
            for i in range(9)
        ]
    )
    scores = (x @ x.mT).masked_fill(~keep, float("-inf"))
    assert torch.allclose(network.to_torch()(x), scores.softmax(-1) @ x, atol=1e-6)
    flat = api.load(network.expanded())
    assert flat.expanded() == network.expanded()
    assert torch.equal(flat.to_torch()(x), network.to_torch()(x))
    assert Model.model_validate_json(network.ir.model_dump_json()) == network.ir


def test_sizes_from_outside_are_no_axes() -> None:
    text = """edition 2026
block Window(x: [B, T, 4], y: [B, W]) -> [B, T, 4] {
  a = einsum("B I e, B J e -> B I J", x, x) -> mask(J < W) -> softmax(axis=J)
  return einsum("B I J, B J e -> B I e", a, x)
}
model m(x: [B, T, 4], y: [B, I]) -> z: [B, T, 4] {
  return Window(x, y)
}
"""
    network = api.load(text)
    x, y = torch.randn(2, 7, 4), torch.randn(2, 3)
    compare(network, [(x, y)])
    seen = (x @ x[:, :3].mT).softmax(-1) @ x[:, :3]
    assert torch.allclose(network.to_torch()(x, y), seen, atol=1e-6)


def test_windows_of_different_widths() -> None:
    text = """edition 2026
block Window(width: int)(x: [B, T, D]) -> [B, T, D] {
  a = einsum("B i e, B j e -> B i j", x, x) -> mask(0 <= i - j and i - j < width)
  return einsum("B i j, B j e -> B i e", a -> softmax(axis=j), x)
}
model m(x: [B, T, 4]) -> y: [B, T, 4] {
  return x -> a: Window(2) -> b: Window(5) -> c: Window(2)
}
"""
    network = api.load(text)
    compare(network, [(torch.randn(2, 7, 4),), (torch.randn(1, 1, 4),)])


def test_masks_and_positions_within_a_scan() -> None:
    text = """edition 2026
model m(x: [B, S, T, 4]) -> y: [B, S, T, 4] {
  before = einsum("B S i e, B S j e -> B S i j", x, x) -> mask(j <= i) -> softmax(axis=j)
  z = einsum("B S i j, B S j e -> B S i e", before, x) -> rotary(axis=2)
  ys = scan step over z(axis=S) carry h = zeros(B, T, 4) {
    a = einsum("B i e, B j e -> B i j", step, h + step) -> mask(j <= i) -> softmax(axis=j)
    h = einsum("B i j, B j e -> B i e", a, step -> rotary(axis=1)) + sinusoidal_positions(T, 4)
    yield h
  }
  return ys
}
"""
    compare(api.load(text), [(torch.randn(2, 3, 5, 4),), (torch.randn(1, 1, 1, 4),)])


def test_what_a_mask_is_told_of_axes_it_has_not() -> None:
    text = WRITTEN_OUT.replace("mask(j <= i)", "mask(q_place <= i)")
    with pytest.raises(ArchError, match=r"`q_place`.*names no axis") as caught:
        api.load(text)
    assert "its named axes are: B, h, i, j" in str(caught.value)


# ------------------------------------------------------------------------------ the layer of heads

LAYER = """edition 2026
model m(x: [B, T, 8], keep: bool[B, T]) -> y: [B, T, 8] {
  pad = logical_not(keep)
  h = x -> norm1: LayerNorm
  x = x + attn1(h, h, h, pad)
  x = x + (x -> norm2: LayerNorm -> attn2: MultiheadAttention(4, batch_first=true, is_causal=true))
  h = x -> norm3: LayerNorm
  return x + attn3(h, h, h, pad)
}
"""
LAYER = LAYER.replace(
    "  pad =",
    """  attn1 = MultiheadAttention(2, batch_first=true)
  attn3 = MultiheadAttention(2, batch_first=true, is_causal=true, dropout=0.1)
  pad =""",
)


def test_the_layer_of_heads_in_a_network() -> None:
    network = api.load(LAYER)
    inputs: list[tuple[torch.Tensor, ...]] = []
    for batch, time in ((1, 1), (3, 7), (2, 2)):
        keep = torch.rand(batch, time) > 0.4
        keep[0] = False
        inputs.append((torch.randn(batch, time, 8), keep))
    compare(network, inputs)


def test_an_empty_sample_is_no_trouble_in_inference_or_in_training() -> None:
    module = started(api.load(LAYER))
    x, keep = torch.randn(2, 5, 8), torch.tensor([[False] * 5, [True] * 5])
    with torch.inference_mode():
        assert module(x, keep).isfinite().all()
    module.train()(x, keep).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_the_layer_is_called_as_torch_wants_it() -> None:
    source = api.load(LAYER).to_source()
    assert "_ = self.attn2(" in source
    assert "need_weights=False" in source
    assert source.count("self.norm2(") == 1
    assert re.search(r"attn_mask=torch\.full\(\(T, T\), float\(\"-inf\"\), device=device\)", source)


def test_the_function_of_positions_is_written_once() -> None:
    text = """edition 2026
model m(x: [B, H, T, 8]) -> y: [B, H, T, 8] {
  rotated_halves = x -> rotary
  return rotated_halves + (x -> rotary(base=500.0))
}
"""
    network = api.load(text)
    source = network.to_source()
    assert source.count("def rotated_halves(") == 1
    compare(network, [(torch.randn(2, 3, 5, 8),)])


def test_rotary_has_the_bits_of_the_usual_code() -> None:
    """The order of operations of transformers' `apply_rotary_pos_emb`."""
    text = "edition 2026\nmodel m(x: [B, H, T, 8]) -> y: [B, H, T, 8] { return x -> rotary }\n"
    x = torch.randn(2, 3, 50, 8)
    single = 1.0 / (10000.0 ** (torch.arange(0, 8, 2, dtype=torch.int64).float() / 8))
    angles = (single[None, :, None] @ torch.arange(50)[None, None, :].float()).transpose(1, 2)
    whole = torch.cat((angles, angles), dim=-1)
    turned = torch.cat((-x[..., 4:], x[..., :4]), dim=-1)
    wanted = x * whole.cos().unsqueeze(1) + turned * whole.sin().unsqueeze(1)
    assert torch.equal(api.load(text).to_torch()(x), wanted)


def test_a_row_of_the_least_numbers_is_not_a_row_of_nothing() -> None:
    """What is added to the scores may be so low that they are all the same: their mean is due."""
    text = """edition 2026
model m(q: [B, H, T, 8], k: [B, H, S, 8], v: [B, H, S, 8], bias: [B, 1, T, S]) -> y: [B, H, T, 8] {
  return scaled_dot_product_attention(q, k, v, bias)
}
"""
    q, k, v = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
    bias = torch.randn(2, 1, 4, 5)
    bias[:, :, 0] = torch.finfo(bias.dtype).min
    network = api.load(text)
    compare(network, [(q, k, v, bias)])
    assert torch.allclose(network.to_torch()(q, k, v, bias)[:, :, 0], v.mean(2), atol=1e-6)
