"""Emitted PyTorch source: what it says, how it is laid out, and that it is the expanded model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from emitted_source import (
    SCENARIOS,
    assert_same,
    assert_tidy,
    compiled,
    emitted_expanded,
    example,
    model_of,
)
from torch_programs import Program

import archdsl
from archdsl.backends.torch.live import load
from archdsl.backends.torch.source import emit
from archdsl.compiler import Compilation
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Member
from archdsl.resources import spec_files
from archdsl.weights.initial import initial


@pytest.mark.parametrize("name", SCENARIOS)
def test_merged_source_is_the_expanded_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = compiled(name)
    merged = load(model).eval()
    emitted_expanded(monkeypatch)
    assert_tidy(emit(model))
    expanded = load(model, merged.state_dict()).eval()
    with torch.no_grad():
        assert_same(merged(*example(name)), expanded(*example(name)))
        merged.train(), expanded.train()
        torch.manual_seed(1)
        first = merged(*example(name))
        torch.manual_seed(1)
        assert_same(first, expanded(*example(name)))


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(Program(seed).text())
    source = emit(model)
    merged = load(model).eval()
    emitted_expanded(monkeypatch)
    expanded = load(model, merged.state_dict()).eval()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for one, other in zip(merged(x), expanded(x), strict=True):
            assert torch.equal(one.nan_to_num(), other.nan_to_num())
    if seed % 8 == 0:
        assert_tidy(source)
        assert_tidy(emit(model))


@pytest.mark.parametrize("name", SCENARIOS)
def test_source_is_golden_and_tidy(name: str, golden: Callable[[str, str], None]) -> None:
    source = emit(compiled(name))
    golden(f"torch/{name}.py", source)
    assert_tidy(source)


SHIPPED = ["resnet50", "googlenet", "densenet121", "mobilenet_v2", "squeezenet1_0", "vgg11"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_are_golden(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"torch/{name}.py", archdsl.load(name).to_source())


MODELS = [name for path in spec_files() for name in Compilation(path).model_names]


@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_are_tidy_with_one_class_a_block(name: str) -> None:
    network = archdsl.load(name)
    source = network.to_source()
    assert_tidy(source)
    classes = re.findall(r"^class \w+\(nn\.", source, re.MULTILINE)
    assert len(classes) == len({block.name for block in network.ir.blocks.values()})


def test_ten_thousand_layers() -> None:
    layers = "".join(f" -> a{i}: Linear({4 + i % 3})\n" for i in range(10_000))
    source = emit(model_of(f"edition 2026\nmodel net(x: [N, 4]) {{\n x{layers}}}"))
    assert source.count("nn.Linear(") == 10_000
    compile(source, "net.py", "exec")


def test_a_thousand_terms_are_not_nested() -> None:
    terms = " + ".join(f"{i}.5 * x" for i in range(1000))
    source = emit(model_of(f"edition 2026\nmodel net(x: [N, 4]) {{ return {terms} }}"))
    assert max(map(len, source.splitlines())) <= 100
    compile(source, "net.py", "exec")


def test_defaults_are_written_and_left_out() -> None:
    model = compiled("branches")
    defaults = {"stride": 1, "gated": False}

    def with_defaults(member: Member) -> Member:
        arguments = tuple(
            replace(a, is_default=a.name in defaults and a.value == defaults[a.name])
            for a in member.arguments
        )
        return member.model_copy(update={"arguments": arguments})

    members = tuple(map(with_defaults, model.root.members))
    root = model.root.model_copy(update={"members": members})
    blocks = {**model.blocks, model.entry: root}
    source = emit(model.model_copy(update={"blocks": blocks}))
    assert "def __init__(self, C, width, stride=1, gated=False):" in source
    assert "self.a = Unit(3, 8)\n" in source
    assert "self.b = Unit(8, 8, gated=True)\n" in source
    assert "self.e = Unit(16, 16, stride=2, gated=True)\n" in source


def test_bilinear_weights_are_those_of_the_exporter() -> None:
    model = compiled("bilinear")
    drawn = initial(model, seed=0)
    for path, tensor in load(model).state_dict().items():
        if path.endswith("weight"):
            assert torch.equal(tensor, torch.from_numpy(drawn[path]))


def test_training_cannot_be_a_label() -> None:
    model = model_of("edition 2026\nmodel net(x: [N, 4]) { x -> training: Linear(3) }")
    with pytest.raises(Unsupported, match="training"):
        emit(model)


SHARED = """edition 2026
block Encoder(x: [N, C, H, W]) -> [N, 8, H * W] {
  x -> conv: Conv(8, 3, padding=1) -> BODY
}
model net(a: [N, 3, 8, 8], b: [N, 3, 12, 10]) -> y: [N, 8, 64], z: [N, 8, 120] {
  encoder = Encoder()
  return y = a -> encoder, z = b -> encoder
}"""


def test_an_instance_at_several_sizes_is_one_module() -> None:
    module = load(model_of(SHARED.replace("BODY", "flatten(2)")))
    a, b = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 12, 10)
    conv = module.get_submodule("encoder.conv")
    y, z = module(a, b)
    assert torch.equal(y, conv(a).flatten(2)) and torch.equal(z, conv(b).flatten(2))


def test_an_instance_that_would_be_two_modules_is_refused() -> None:
    text = SHARED.replace("BODY", 'rearrange("N C h w -> N C (w h)")')
    load(model_of(text))
    body = 'flatten(2) -> rearrange("N C (h w) -> N C (w h)", h=H)'
    with pytest.raises(Unsupported, match="two modules"):
        emit(model_of(SHARED.replace("BODY", body)))
