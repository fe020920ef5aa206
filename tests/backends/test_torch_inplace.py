"""Layers write over their inputs only where nothing notices."""

from __future__ import annotations

import torch
from torch import nn

import archdsl
from archdsl.ir.op import REGISTRY

TEXT = """edition 2026
model m(x: [N, 3, H, W]) -> [N, 8, H, W] {
  shared = ReLU
  y = x -> alone: { Conv(8, 3, padding=1) -> ReLU }
  y = y -> needed: { Conv(8, 1) -> tanh -> ReLU6 } -> normed: { BatchNorm -> ReLU6 }
  named = y -> read: Conv(8, 1)
  twice = (y -> first: Conv(8, 1) -> both: shared) + shared(y)
  return named + (named -> again: ReLU) + twice
}
"""


def test_a_layer_writes_over_what_nothing_else_needs() -> None:
    found = {
        path: bool(module.inplace)
        for path, module in archdsl.load(TEXT).to_torch().named_modules()
        if isinstance(module, nn.ReLU | nn.ReLU6)
    }
    assert found == {
        "both": True,
        "alone.1": True,
        "needed.1": False,
        "normed.1": True,
        "again": False,
    }


def test_gradients_are_those_of_layers_that_do_not() -> None:
    written_over = archdsl.load(TEXT).to_torch().train()
    kept = archdsl.load(TEXT).to_torch(weights=written_over).train()
    for module in kept.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = False
    image = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    for module in (written_over, kept):
        module(image).square().sum().backward()
    pairs = zip(written_over.parameters(), kept.parameters(), strict=True)
    for first, second in pairs:
        assert first.grad is not None and second.grad is not None
        assert torch.equal(first.grad, second.grad)


def test_every_layer_that_frees_its_output_can_be_followed_by_every_one_that_overwrites() -> None:
    freeing = {"Conv": "Conv(4, 1)", "ConvTranspose": "ConvTranspose(4, 1)", "Linear": "Linear(4)"}
    freeing |= {"BatchNorm": "BatchNorm", "GroupNorm": "GroupNorm(2)", "LayerNorm": "LayerNorm"}
    freeing |= {"InstanceNorm": "InstanceNorm(affine=true)"}
    kinds = {REGISTRY[name] for name in REGISTRY}
    assert {op.layer for op in kinds if op.frees_output} == set(freeing)
    for over in sorted(str(op.layer) for op in kinds if op.overwrites):
        for layer in freeing.values():
            text = f"edition 2026\nmodel m(x: [N, 4, H, 4]) {{ x -> a: {{ {layer} -> {over} }} }}"
            module = archdsl.load(text).to_torch().train()
            assert "inplace=True" in archdsl.load(text).to_source()
            module(torch.randn(2, 4, 3, 4)).square().sum().backward()
            assert all(parameter.grad is not None for parameter in module.parameters())
