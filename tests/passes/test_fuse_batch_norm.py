"""`fuse_batch_norm`: the same outputs in inference, beside PyTorch's own fusion of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from transformed_networks import lively, moved_back

import archdsl
from archdsl.cli import execution
from archdsl.weights.tensor_map import LostWeightsError


def network(body: str, dims: str = "3, H, W", result: str = "C, H2, W2") -> archdsl.Network:
    return archdsl.load(f"""edition 2026
model net(x: [N, {dims}]) -> [N, {result}] {{
  return x -> {body}
}}
""")


@pytest.mark.parametrize(
    ("net", "left"),
    [
        (network("conv: Conv(8, 3, bias=false, padding=1) -> bn: BatchNorm -> relu"), 0),
        (network("conv: Conv(6, 3, groups=3, padding=1) -> bn: BatchNorm(affine=false)"), 0),
        (network("conv: ConvTranspose(8, 3, stride=2) -> bn: BatchNorm(eps=0.1)"), 0),
        (network("conv: Conv(8, 1) -> a: BatchNorm -> b: BatchNorm"), 0),
        (network("conv: Conv(8, 3, padding=1) -> bn: BatchNorm", "4, L", "C, L2"), 0),
        (network("fc: Linear(8) -> bn: BatchNorm", "4", "C"), 0),
        (network("bn: BatchNorm -> conv: Conv(8, 1)"), 1),
        (network("conv: Conv(8, 1) -> relu -> bn: BatchNorm"), 1),
        (network("conv: Conv(8, 1) -> bn: BatchNorm(track_running_stats=false)", "3, 4, 4"), 1),
        (network("conv: ConvTranspose(6, 2, groups=3) -> bn: BatchNorm"), 1),
        (network("conv: Conv(8, 1) -> add { a: identity; b: BatchNorm }"), 1),
        (network("conv: Conv(3, 1) -> bn: BatchNorm -> share conv: Conv(3, 1)"), 1),
    ],
)
def test_what_can_be_fused_is(net: archdsl.Network, left: int) -> None:
    change, weights = net.transformed("fuse_batch_norm"), lively(net)
    assert change.network.expanded().count("BatchNorm") == left
    comparisons = execution.compare(net, change, weights)
    assert comparisons and all(comparison.agrees for comparison in comparisons)
    after = execution.mapped(change, weights)
    again = change.network.transformed("fuse_batch_norm")
    assert again.network.expanded() == change.network.expanded()
    assert all(np.array_equal(after[p], a) for p, a in execution.mapped(again, after).items())


@pytest.mark.parametrize("transposed", [False, True])
def test_weights_are_those_that_pytorch_fuses(transposed: bool) -> None:
    kind = "ConvTranspose" if transposed else "Conv"
    net = network(
        f"conv: {kind}(8, 3) -> bn: BatchNorm(eps=0.01)"
        if transposed
        else "pad([1, 1, 1, 1]) -> conv: Conv(8, 3) -> bn: BatchNorm(eps=0.01)"
    )
    weights = lively(net)
    found = execution.mapped(net.transformed("fuse_batch_norm"), weights)
    wide = {path: torch.from_numpy(array).double() for path, array in weights.items()}
    fused = fuse_conv_bn_weights(
        wide["conv.weight"],
        wide["conv.bias"],
        wide["bn.running_mean"],
        wide["bn.running_var"],
        0.01,
        wide["bn.weight"],
        wide["bn.bias"],
        transpose=transposed,
    )
    for name, expected in zip(("weight", "bias"), fused, strict=True):
        exact = expected.detach().numpy().astype(np.float32)
        np.testing.assert_allclose(found[f"conv.{name}"], exact, rtol=2e-7, atol=1e-8)


def test_weights_of_linear_layers_are_those_that_pytorch_fuses() -> None:
    net = network("fc: Linear(8) -> bn: BatchNorm", "4", "C")
    weights = lively(net)
    found = execution.mapped(net.transformed("fuse_batch_norm"), weights)
    wide = {path: torch.from_numpy(array).double() for path, array in weights.items()}
    fused = fuse_linear_bn_weights(
        wide["fc.weight"],
        wide["fc.bias"],
        wide["bn.running_mean"],
        wide["bn.running_var"],
        1e-5,
        wide["bn.weight"],
        wide["bn.bias"],
    )
    for name, expected in zip(("weight", "bias"), fused, strict=True):
        exact = expected.detach().numpy().astype(np.float32)
        np.testing.assert_allclose(found[f"fc.{name}"], exact, rtol=2e-7, atol=1e-8)


@pytest.mark.parametrize(("name", "left"), [("resnet18", 0), ("mobilenet_v2", 0)])
def test_shipped_models(name: str, left: int) -> None:
    net = archdsl.load(name)
    change = net.transformed("fuse_batch_norm")
    assert change.network.expanded().count("BatchNorm") == left
    comparisons = execution.compare(net, change, lively(net))
    assert all(comparison.agrees for comparison in comparisons), list(map(str, comparisons))
    assert all(path.endswith("num_batches_tracked") for path in change.dropped)


def test_what_was_computed_is_not_taken_apart() -> None:
    net = network("conv: Conv(8, 3, padding=1) -> bn: BatchNorm")
    change, weights = net.transformed("fuse_batch_norm"), lively(net)
    after = execution.mapped(change, weights)
    with pytest.raises(LostWeightsError, match="num_batches_tracked"):
        moved_back(change.map, after)
