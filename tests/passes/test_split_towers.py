"""`split_towers`: groups as parallel towers, with the same outputs and the same parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional as F
from transformed_networks import Arrays, agreeing, lively, moved_back

import archdsl
from archdsl import ArchError
from archdsl.cli import main
from archdsl.diagnostics import GivenError
from archdsl.runtime.compare import RELATIVE_BOUND
from archdsl.runtime.run import run_onnx
from archdsl.weights.tensor_map import LostWeightsError


def network(body: str, dims: str = "4, 12, 12") -> archdsl.Network:
    return archdsl.load(f"edition 2026\nmodel net(x: [N, {dims}]) {{\n  return x -> {body}\n}}\n")


def split(net: archdsl.Network, towers: int) -> tuple[archdsl.api.Transformation, Arrays, Arrays]:
    """The network in towers, its weights before and after; both agree."""
    weights = lively(net)
    change, after = agreeing(net, weights, "split_towers", towers=towers)
    return change, weights, after


GROUPED = "a: Conv(8, 3, padding=1, groups=4) -> relu -> b: Conv(12, 3, groups=2)"

CASES = [
    (GROUPED, 2, 2),
    (GROUPED + " -> max_pool(2) -> flatten -> fc: Linear(10) -> relu -> out: Linear(3)", 2, 3),
    ("a: Conv(8, 3) -> bn: BatchNorm -> PReLU -> b: Conv(8, 1, groups=8, bias=false)", 4, 3),
    ("a: Conv(8, 3) -> gn: GroupNorm(4) -> relu -> b: Conv(8, 1, groups=4)", 4, 3),
    ("a: ConvTranspose(8, 2, stride=2) -> relu -> b: ConvTranspose(6, 3, groups=2)", 2, 2),
    ("a: Conv(8, 3) -> LocalResponseNorm(3) -> b: Conv(6, 1, groups=2)", 2, 2),
    ("a: Conv(8, 3) -> softmax(1) -> b: Conv(6, 1, groups=2) -> global_avg_pool", 2, 2),
    ("a: Conv(6, 3, groups=2) -> b: Conv(9, 1, groups=3) -> c: Conv(4, 1, groups=1)", 2, 1),
    ("stem: Conv(8, 1) -> { it + (it -> a: Conv(8, 3, groups=2, padding=1) -> relu) }", 2, 2),
    ("stem: Conv(8, 1) -> concat(axis=1) { a: Conv(4, 1, groups=2); b: identity }", 2, 2),
    ("a: Conv(8, 3, groups=2) -> relu -> b: Conv(8, 1) -> share b: Conv(8, 1)", 2, 1),
    ("stem: Conv(8, 1) -> avg_pool(2) -> a: Conv(8, 3, groups=8) -> relu6 -> b: Conv(5, 1)", 2, 2),
    ('a: Conv(8, 3, groups=2) -> rearrange("N C H W -> N (C H W)") -> fc: Linear(4)', 2, 1),
]


@pytest.mark.parametrize(("body", "towers", "parted"), CASES)
def test_outputs_and_weights_are_the_same(body: str, towers: int, parted: int) -> None:
    net = network(body)
    change, weights, after = split(net, towers)
    tops = {path.removeprefix("tower0.") for path in after if path.startswith("tower0.")}
    assert len({path.partition(".")[0] for path in tops if path.endswith("weight")}) >= parted
    assert change.map.is_exact and not change.dropped
    assert {p: a.tobytes() for p, a in moved_back(change.map, after).items()} == {
        path: array.tobytes() for path, array in weights.items()
    }
    floating = [
        sum(a.size for a in each.values() if a.dtype.kind == "f") for each in (weights, after)
    ]
    assert floating[0] == floating[1]
    assert archdsl.load(change.network.expanded()).expanded() == change.network.expanded()
    image = np.random.default_rng(1).standard_normal((2, 4, 12, 12)).astype(np.float32)
    module = net.to_torch(weights).eval()
    single = module(torch.from_numpy(image)).detach().numpy()
    wide = module.double()(torch.from_numpy(image).double()).detach().numpy()
    (found,) = run_onnx(change.network.to_onnx(after).SerializeToString(), {"x": image})
    most = np.abs(wide).max()
    assert np.isfinite(found).all()
    assert np.abs(found - wide).max() <= RELATIVE_BOUND * most
    assert np.abs(found - wide).max() <= 4 * np.abs(single - wide).max() + 1e-6 * most


class TwoTowers(nn.Module):
    """AlexNet as in figure 2 of Krizhevsky et al. 2012, written by hand: two columns of layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        for tower in ("tower0", "tower1"):
            column = nn.Module()
            column.conv1 = nn.Conv2d(3, half, 11, stride=4, padding=2)
            column.conv2 = nn.Conv2d(half, half, 5, padding=2)
            column.conv3 = nn.Conv2d(channels, half, 3, padding=1)
            column.conv4 = nn.Conv2d(half, half, 3, padding=1)
            column.conv5 = nn.Conv2d(half, half, 3, padding=1)
            column.fc6 = nn.Linear(channels * 4, 16)
            column.fc7 = nn.Linear(32, 16)
            self.add_module(tower, column)
        self.fc8 = nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        towers = (self.tower0, self.tower1)

        def met(values: list[torch.Tensor]) -> torch.Tensor:
            return torch.cat(values, 1)

        def normalised(values: list[torch.Tensor]) -> list[torch.Tensor]:
            whole = F.local_response_norm(met(values), 5, alpha=5e-4, beta=0.75, k=2.0)
            return [F.max_pool2d(value, 3, 2) for value in whole.chunk(2, 1)]

        x = normalised([F.relu(tower.conv1(image)) for tower in towers])
        x = normalised([F.relu(t.conv2(v)) for t, v in zip(towers, x, strict=True)])
        whole = met(x)
        x = [F.relu(tower.conv3(whole)) for tower in towers]
        x = [F.relu(t.conv4(v)) for t, v in zip(towers, x, strict=True)]
        x = [F.relu(t.conv5(v)) for t, v in zip(towers, x, strict=True)]
        whole = met([F.max_pool2d(value, 3, 2).flatten(1) for value in x])
        whole = met([F.relu(tower.fc6(whole)) for tower in towers])
        whole = met([F.relu(tower.fc7(whole)) for tower in towers])
        return self.fc8(whole)


def test_alexnet_in_two_towers_is_the_papers_drawing_in_bits() -> None:
    text = (Path(archdsl.__file__).parent.parent / "specs" / "alexnet_2012.arch").read_text()
    small = text.partition("model alexnet_2012 ")[0].replace("224, 224", "95, 95")
    for size in ("96", "256", "384"):
        small = small.replace(f"Conv({size},", "Conv(16,")
    small = small.replace("Linear(4096)", "Linear(32)").replace("1000", "10")
    change, _, after = split(archdsl.load(small, "AlexNet2012"), 2)
    ours, theirs = change.network.to_torch(after).eval(), TwoTowers(16).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    image = torch.randn(2, 3, 95, 95, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(image), theirs(image))


def test_the_shipped_alexnet_keeps_its_parameters_to_the_digit() -> None:
    net = archdsl.load("alexnet_2012")
    change = net.transformed("split_towers", towers=2)
    module = change.network.to_torch(device="meta")
    assert sum(weight.numel() for weight in module.parameters()) == 60_965_224
    assert change.map.is_exact and not change.dropped
    shapes = {path: tuple(weight.shape) for path, weight in module.state_dict().items()}
    assert shapes["tower1.conv1.weight"] == (48, 3, 11, 11)
    assert shapes["tower1.conv2.weight"] == (128, 48, 5, 5)
    assert shapes["tower0.conv3.weight"] == (192, 256, 3, 3)
    assert shapes["tower0.fc6.weight"] == (2048, 9216)
    assert shapes["fc8.weight"] == (1000, 4096)
    assert len(change.notes) == 2
    assert "`LocalResponseNorm` at alexnet_2012.arch:11 is not parted" in change.notes[0]
    told = str(change.network.summary(dims={"N": 1}))
    assert "60,965,224" in told and "724,406,816" in told


@pytest.mark.parametrize("towers", [2, 8])
def test_depthwise_networks_split_into_many(towers: int) -> None:
    net = archdsl.load("mobilenet_v2", dims={"H": 33, "W": 40})
    change, weights, after = split(net, towers)
    assert {p: a.tobytes() for p, a in moved_back(change.map, after).items()} == {
        path: array.tobytes() for path, array in weights.items()
    }


def test_what_has_come_to_differ_between_towers_is_lost() -> None:
    net = network("a: Conv(8, 1, groups=2) -> bn: BatchNorm -> b: Conv(8, 1, groups=2)")
    change, _, after = split(net, 2)
    after["tower1.bn.num_batches_tracked"] = np.asarray(7)
    with pytest.raises(LostWeightsError, match="num_batches_tracked stands in several places"):
        moved_back(change.map, after)


def test_a_second_split_takes_other_names() -> None:
    net = network(GROUPED)
    once, _, _ = split(network("a: Conv(8, 3, groups=4) -> relu"), 2)
    twice, _, after = split(once.network, 2)
    assert any(path.startswith("tower_0.tower0.") for path in after)
    assert net.transformed("split_towers", towers=2).network.expanded().count("tower0_a =") == 1
    assert twice.map.is_exact


@pytest.mark.parametrize(
    ("body", "towers", "reason"),
    [
        ("a: Conv(8, 3)", 2, "no layer has groups of channels that make 2 towers"),
        ("a: Conv(8, 3, groups=2)", 3, "no layer has groups of channels that make 3 towers"),
        ("a: Conv(8, 3, groups=2) -> share a: Conv(8, 3, groups=2)", 2, "no layer has groups"),
    ],
)
def test_refusals_teach(body: str, towers: int, reason: str) -> None:
    dims = "8, 12, 12" if "share" in body else "4, 12, 12"
    with pytest.raises(ArchError) as refusal:
        network(body, dims).transformed("split_towers", towers=towers)
    assert reason in str(refusal.value)
    assert "give convolutions `groups`" in str(refusal.value)


def test_the_number_of_towers_must_be_told() -> None:
    net = network(GROUPED)
    with pytest.raises(GivenError, match="split_towers must be told `towers`"):
        net.transformed("split_towers")
    with pytest.raises(GivenError, match="at least 2, but is 1"):
        net.transformed("split_towers", towers=1)
    with pytest.raises(GivenError, match="unroll takes no `towers`"):
        net.transformed("unroll", towers=2)


def test_the_command_takes_the_number(tmp_path: Path) -> None:
    spec, text = tmp_path / "net.arch", tmp_path / "towers.arch"
    spec.write_text(
        "edition 2026\nmodel net(x: [N, 4, 8, 8]) {\n  return x -> a: Conv(8, 3, groups=2)\n}\n"
    )
    runner = CliRunner()
    command = ["transform", "split_towers", "--towers", "2", str(spec), "-o", str(text)]
    result = runner.invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "output agrees to" in result.stderr
    assert "tower1.a: Conv(out_channels=4" in text.read_text()
    for wrong, reason in (([], "must be told `towers`"), (["--towers", "0"], "at least 2")):
        result = runner.invoke(main, ["transform", "split_towers", str(spec), *wrong])
        assert result.exit_code == 2
        assert reason in result.stderr
