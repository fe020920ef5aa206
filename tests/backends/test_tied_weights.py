"""Second names of weights: what they are in every target, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file, save_model

from archdsl import api
from archdsl.cli import main
from archdsl.diagnostics import ArchError
from archdsl.ir.model import Model
from archdsl.passes.flatten import flatten
from archdsl.weights.fit import TiedWeightsDifferError
from archdsl.weights.state_dict import second_names, state

SPEC = """edition 2026

block Head(classes: int)(x: [N, D]) -> [N, classes] {
  x -> inner: Linear(D) -> relu -> out: Linear(classes)
}

model net(x: int64[N]) -> [N, 10] {
  h = x -> table: Embedding(10, 8)
  buffer mean: [8] = 0.5
  param alone: [10, 8] = table.weight
  y = h - mean -> head: Head(10)
  param head.embed.table: [10, 8] = alone
  z = h -> decoder: {
    param output.weight: [10, 8] = head.embed.table
    param output.bias: [10] = zeros
    buffer output.mean: [8] = mean
    linear(it, output.weight, output.bias)
  }
  return y + z
}
"""
TIES = {
    "alone": "table.weight",
    "head.embed.table": "table.weight",
    "decoder.output.weight": "table.weight",
    "decoder.output.mean": "mean",
}


def test_every_target_has_the_weight_once() -> None:
    network = api.load(SPEC)
    module = network.to_torch()
    expected = state(network.ir).keys()
    assert second_names(network.ir) == TIES
    assert module.state_dict().keys() == expected | TIES.keys()
    assert len([*module.parameters(), *module.buffers()]) == len(expected)
    x = torch.arange(10)
    before = module(x)
    with torch.no_grad():
        module.get_parameter("decoder.output.weight").mul_(2)
        module.get_buffer("decoder.output.mean").add_(1)
    assert not torch.equal(module(x), before)
    graph = network.to_onnx(module, fold=False).graph
    assert {tensor.name for tensor in graph.initializer} == expected


@pytest.mark.parametrize(
    ("device", "given"), [(None, False), ("meta", False), (None, True), ("cpu", True)]
)
def test_one_weight_stays_one(device: str | None, given: bool) -> None:
    network = api.load(SPEC)
    weights = network.to_torch().state_dict() if given else None
    module = network.to_torch(weights, device=device)
    found = {**module.state_dict(keep_vars=True)}
    for second, first in TIES.items():
        assert found[second] is found[first]


def test_texts_and_data_keep_second_names() -> None:
    network = api.load(SPEC)
    assert Model.model_validate_json(network.ir.model_dump_json()) == network.ir
    flat = network.expanded()
    again = api.load(flat)
    assert again.expanded() == flat
    assert second_names(again.ir) == TIES


def test_a_second_name_of_what_a_graph_does_without_is_gone() -> None:
    """The weights of an output for training are no part of an exported graph."""
    text = """edition 2026
model net(x: [N, 4]) -> y: [N, 4], training aux: [N, 4] {
  y = x -> main: Linear(4)
  aux = y -> helper: Linear(4)
  param second: [4, 4] = helper.weight
  return y, training aux
}"""
    network = api.load(text)
    assert second_names(network.ir) == {"second": "helper.weight"}
    assert flatten(network.ir).second_names == ()
    assert network.to_onnx(network.to_torch()).graph.initializer


RECURRENT = """edition 2026
cell Step(hidden: int)(x: [B, I], h: [B, hidden]) -> [B, hidden] {
  return tanh((x -> input: Linear(hidden)) + (h -> state: Linear(hidden)))
}
model net(tokens: int64[B, T]) -> [B, T, 20] {
  x = tokens -> table: Embedding(20, 8)
  step = Step(8)
  ys = scan word over x(axis=T) carry h = zeros(B, 8) {
    h = step(word, h)
    yield h
  }
  param head.weight: [20, 8] = table.weight
  return linear(ys, head.weight)
}"""


def test_transforms_keep_the_second_names_of_what_they_keep() -> None:
    network = api.load(RECURRENT)
    change = network.transformed("fuse_recurrence")
    assert second_names(change.network.ir) == {"head.weight": "table.weight"}
    old = {path: value.numpy(force=True) for path, value in network.to_torch().state_dict().items()}
    given = {path: (lambda array=array: array) for path, array in old.items()}
    new = {path: np.asarray(array()) for path, array in change.map.forward(given).items()}
    tokens = torch.randint(20, (2, 5))
    mine, fused = network.to_torch(old)(tokens), change.network.to_torch(new)(tokens)
    assert torch.allclose(mine, fused, atol=1e-6)


def test_both_parts_of_a_stepping_take_all_names() -> None:
    network = api.load(RECURRENT)
    weights = network.to_torch().state_dict()
    for part in (network.stepping().prefill, network.stepping().step):
        assert part.to_torch(weights).state_dict().keys() >= {"head.weight", "table.weight"}


def test_files_with_one_name_or_with_both_load() -> None:
    network = api.load(SPEC)
    whole = {path: value.numpy() for path, value in network.to_torch().state_dict().items()}
    for dropped in (["table.weight", "alone"], ["decoder.output.weight"], []):
        given = {path: array.copy() for path, array in whole.items() if path not in dropped}
        loaded = network.to_torch(given).state_dict()
        assert all(np.array_equal(loaded[path].numpy(), array) for path, array in whole.items())
    whole["alone"] = whole["alone"] + 1
    with pytest.raises(TiedWeightsDifferError, match=r"alone is another name of table\.weight"):
        network.to_torch(whole)


def test_what_safetensors_saves_of_a_module_loads(tmp_path: Path) -> None:
    network = api.load(RECURRENT)
    module, path = network.to_torch(), tmp_path / "net.safetensors"
    with pytest.raises(RuntimeError, match="save_model"):
        save_file(module.state_dict(), path)
    save_model(module, str(path))
    assert len(load_file(path)) == len(module.state_dict()) - 1
    tokens = torch.randint(20, (2, 5))
    assert torch.equal(network.to_torch(path)(tokens), module(tokens))
    assert network.to_onnx(path) == network.to_onnx(module)
    (tmp_path / "net.arch").write_text(RECURRENT)
    new = tmp_path / "new.safetensors"
    options = ["--weights", str(path), "--weights-out", str(new)]
    transform = ["transform", "fuse_recurrence", str(tmp_path / "net.arch"), *options]
    assert CliRunner().invoke(main, transform).exit_code == 0
    fused, _ = network.fused()
    assert torch.allclose(fused.to_torch(new)(tokens), module(tokens), atol=1e-6)


REFUSED = [
    ("param two: [8, 10] = table.weight", "bad-attribute", "must be that of `table.weight`"),
    ("buffer two: [10, 8] = table.weight", "bad-attribute", "the parameter float32[10, 8]"),
    ("param two: [10] = mean", "bad-attribute", "must be that of `mean`"),
    (
        "param two: [10, 8] = 2 * table.weight",
        "bad-attribute",
        "must be an initialiser or a weight as it is",
    ),
    ("param two: [10, 8] = table.wieght", "unknown-weight", "`table.wieght`"),
    ("param table.second: [10, 8] = table.weight", "bad-label", "nothing can stand under it"),
    ("param head.out.second: [10, 8] = table.weight", "bad-label", "has a `out` of its own"),
    ("param head.classes: [10, 8] = table.weight", "bad-label", "has a `classes` of its own"),
    ("param alone: [10, 8] = table.weight", "duplicate-label", "`alone` is used twice"),
]


@pytest.mark.parametrize(("line", "code", "message"), REFUSED)
def test_what_cannot_be_a_second_name(line: str, code: str, message: str) -> None:
    with pytest.raises(ArchError) as caught:
        api.load(SPEC.replace("  return y", f"  {line}\n  return y"))
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert message in found.message


@pytest.mark.parametrize("owner", ["body", "chain"])
def test_a_chain_has_no_room_for_a_second_name(owner: str) -> None:
    text = f"""edition 2026
block Chain(x: [N, D]) -> [N, D] {{ x -> Linear(D) -> ReLU }}
model net(x: [N, 4]) -> [N, 4] {{
  y = x -> first: Linear(4) -> body: {{ Linear(4) -> ReLU }} -> chain: Chain
  param {owner}.extra.weight: [4, 4] = first.weight
  return y
}}"""
    with pytest.raises(ArchError, match="chain") as caught:
        api.load(text).to_torch()
    assert caught.value.diagnostics[0].code == "unsupported-by-target"


def test_a_scope_with_one_of_weights_in_it_is_no_chain() -> None:
    text = """edition 2026
block Part(x: [N, D]) -> [N, D] {
  y = x -> first: Linear(D) -> relu
  param again.weight: [D, D] = first.weight
  param more.shift: [D] = normal
  return linear(y, again.weight) + more.shift
}
model net(x: [N, 4]) -> [N, 4] { return x -> body: repeat 3 { Part } -> last: Part }"""
    network = api.load(text)
    module, x = network.to_torch().eval(), torch.randn(2, 4)
    flat = api.load(network.expanded()).to_torch(module.state_dict()).eval()
    assert flat.state_dict().keys() == module.state_dict().keys()
    assert torch.equal(flat(x), module(x))


def test_a_second_name_is_no_attribute_of_an_instance_already() -> None:
    """What a block stores for itself is called otherwise where a second name needs the name."""
    text = """edition 2026
block Scale(rate: float)(x: [N, D]) -> [N, D] { x -> fc: Linear(D) -> dropout(rate) }
model net(x: [N, 4]) -> [N, 4] {
  y = x -> first: Linear(4) -> scale: Scale(0.5)
  param scale.rates.weight: [4, 4] = first.weight
  param other.rate: [4, 4] = first.weight
  return y
}"""
    module = api.load(text).to_torch().eval()
    assert module(torch.ones(2, 4)).shape == (2, 4)
    assert "other.rate" in module.state_dict()
