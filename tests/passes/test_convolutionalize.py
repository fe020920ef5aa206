"""`convolutionalize`: the same outputs at the original size, maps of windows at larger ones."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformed_networks import Arrays, agreeing, moved_back

import archdsl
from archdsl import ArchError
from archdsl.cli import main
from archdsl.runtime.compare import RELATIVE_BOUND
from archdsl.runtime.run import run_onnx
from archdsl.weights.initial import initial


def network(
    body: str, dims: str = "3, 20, 20", result: str = "K", head: str = ""
) -> archdsl.Network:
    return archdsl.load(f"""edition 2026
model net(x: [N, {dims}]) -> y: [N, {result}] {{
  {head}
  return x -> {body}
}}
""")


def changed(net: archdsl.Network) -> tuple[archdsl.api.Transformation, Arrays, Arrays]:
    """The network as convolutions, its weights before and after; both agree."""
    weights = initial(net.ir, 3)
    change, after = agreeing(net, weights, "convolutionalize")
    return change, weights, after


def place(refusal: ArchError) -> str | None:
    """What of the text a refusal shows."""
    (found,) = refusal.diagnostics
    span = found.span
    return None if span is None else refusal.sources[span.file].text[span.start : span.end]


def parameters(arrays: Arrays) -> int:
    return sum(array.size for array in arrays.values())


def shapes(net: archdsl.Network) -> list[str]:
    return [str(net.ir.root.type(port.value)) for port in net.ir.root.outputs]


UNPADDED = "conv1: Conv(6, 5, stride=2) -> relu -> max_pool(2) -> conv2: Conv(8, 3)"
"""20x20 becomes 8x8, 4x4, then 2x2."""

HEADS = [
    "flatten -> fc1: Linear(9) -> relu -> dropout(0.5) -> fc2: Linear(5)",
    'rearrange("N C H W -> N (C H W)") -> fc1: Linear(9, bias=false) -> Tanh -> fc2: Linear(5)',
    "reshape(N, 32) -> Dropout -> fc1: Linear(5) -> log_softmax(axis=-1)",
    "flatten -> fc1: Linear(10) -> bn: BatchNorm -> softmax(1) -> fc2: Linear(4)",
    "adaptive_avg_pool(2) -> flatten -> fc1: Linear(5)",
    "adaptive_avg_pool(1) -> flatten -> fc1: Linear(5)",
    "adaptive_max_pool(1) -> flatten -> fc1: Linear(5) -> sigmoid",
    "global_max_pool -> dropout(0.3) -> flatten -> fc1: Linear(5)",
    "global_avg_pool -> squeeze([2, 3]) -> fc1: Linear(5)",
    "flatten -> concat(axis=1) { a: Linear(3); b: { Linear(4) -> relu } }",
]


@pytest.mark.parametrize("head", HEADS)
def test_a_map_has_what_the_original_says_of_the_crops_that_its_places_see(head: str) -> None:
    """Without padding a place of the map is the original network on its window of the image."""
    net = network(f"{UNPADDED} -> {head}")
    change, weights, after = changed(net)
    assert parameters(after) == parameters(weights) and change.map.is_exact
    assert not change.dropped
    assert {p: a.tobytes() for p, a in moved_back(change.map, after).items()} == {
        path: array.tobytes() for path, array in weights.items()
    }
    image = np.random.default_rng(1).standard_normal((2, 3, 33, 29)).astype(np.float32)
    old, new = net.to_torch(weights).eval().double(), change.network.to_torch(after).eval()
    single = new(torch.from_numpy(image)).detach().numpy()
    (found,) = run_onnx(change.network.to_onnx(after).SerializeToString(), {"x": image})
    wide = new.double()(torch.from_numpy(image).double()).detach().numpy()
    assert wide.shape[2:] == (4, 3)
    for row in range(4):
        for column in range(3):
            crop = image[:, :, 4 * row : 4 * row + 20, 4 * column : 4 * column + 20]
            expected = old(torch.from_numpy(crop).double()).detach().numpy()
            np.testing.assert_allclose(wide[:, :, row, column], expected, rtol=1e-11, atol=1e-12)
    most = np.abs(wide).max()
    assert np.isfinite(found).all()
    assert np.abs(found - wide).max() <= RELATIVE_BOUND * most
    assert np.abs(found - wide).max() <= 4 * np.abs(single - wide).max() + 1e-6 * most


@pytest.mark.parametrize(
    ("body", "dims", "larger", "expected"),
    [
        ("conv: Conv(4, 3) -> relu -> flatten -> fc: Linear(5)", "2, 9", (2, 15), (7,)),
        ("conv: Conv(4, 3) -> flatten -> fc: Linear(5)", "2, 5, 6, 7", (2, 6, 8, 7), (2, 3, 1)),
        ("max_pool([2, 1]) -> flatten -> fc: Linear(5)", "2, 6, 5", (2, 8, 9), (2, 5)),
    ],
)
def test_maps_of_one_to_three_axes(
    body: str, dims: str, larger: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    change, _, after = changed(network(body, dims))
    module = change.network.to_torch(after)
    assert module(torch.zeros(2, *larger)).shape == (2, 5, *expected)


@pytest.mark.parametrize(
    ("name", "height", "where"),
    [
        ("alexnet", "(H + 1)//32 - 6", "(H + 1)//32 - 1 == 6 and (W + 1)//32 - 1 == 6"),
        ("vgg16", "H//32 - 6", "H//32 == 7 and W//32 == 7"),
        ("alexnet_2012", "(H + 1)//32 - 6", ""),
        ("lenet5", "H//4 - 6", ""),
    ],
)
def test_shipped_models_have_maps_of_that_size(name: str, height: str, where: str) -> None:
    net = archdsl.load(name)
    change = net.transformed("convolutionalize")
    classes = 10 if name == "lenet5" else 1000
    wide = height.replace("H", "W")
    assert shapes(change.network) == [f"float32[N, {classes}, {height}, {wide}]"]
    assert " and ".join(map(str, change.where)) == where
    assert change.map.is_exact and not change.dropped
    old, new = net.to_torch(device="meta"), change.network.to_torch(device="meta")
    count = sum(weight.numel() for weight in old.parameters())
    assert sum(weight.numel() for weight in new.parameters()) == count
    assert (
        count
        == {
            "alexnet": 61_100_840,
            "vgg16": 138_357_544,
            "alexnet_2012": 60_965_224,
            "lenet5": 61_706,
        }[name]
    )


def test_vgg16_gives_a_map_at_384_by_500() -> None:
    change = archdsl.load("vgg16").transformed("convolutionalize")
    module = change.network.to_torch(device="meta")
    assert module(torch.empty(1, 3, 384, 500, device="meta")).shape == (1, 1000, 6, 9)
    assert module(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000, 1, 1)


def test_alexnet_at_224_and_its_map_at_384_by_500() -> None:
    """Every place is the original's classifier on the window of features that it sees."""
    net = archdsl.load("alexnet")
    change, weights, after = changed(net)
    old, new = net.to_torch(weights).eval(), change.network.to_torch(after).eval()
    image = torch.randn(1, 3, 384, 500, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, found = old.features(image), new(image)
        assert found.shape == (1, 1000, 6, 9)
        for row, column in ((0, 0), (2, 5), (5, 8)):
            window = features[:, :, row : row + 6, column : column + 6]
            expected = old.classifier(torch.flatten(window, 1))
            torch.testing.assert_close(found[:, :, row, column], expected, rtol=1e-5, atol=1e-6)


def test_vgg_of_eight_channels_equals_its_original_and_windows_of_its_features() -> None:
    text = (Path(archdsl.__file__).parent.parent / "specs" / "vgg.arch").read_text()
    small = text.replace("min(64 * 2 ** s, 512)", "8").replace("Linear(4096)", "Linear(16)")
    body = small.partition("model vgg11 ")[0] + "model small = VGG([1, 1, 1, 1, 2], classes=7)\n"
    net = archdsl.load(body, "small")
    change, weights, after = changed(net)
    old, new = net.to_torch(weights).eval(), change.network.to_torch(after).eval()
    image = torch.randn(2, 3, 384, 500, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, found = old.features(image), new(image)
        assert found.shape == (2, 7, 6, 9)
        for row in range(6):
            for column in range(9):
                window = features[:, :, row : row + 7, column : column + 7]
                expected = old.classifier(torch.flatten(window, 1))
                torch.testing.assert_close(found[:, :, row, column], expected)


def test_pooling_over_all_becomes_a_window_of_the_size_that_was_given() -> None:
    net = archdsl.load("resnet18", dims={"H": 96, "W": 64})
    change, weights, after = changed(net)
    assert parameters(after) == parameters(weights)
    assert change.notes == (
        "`global_avg_pool` at resnet.arch:47 slides over larger images as a window of its own size",
    )
    size = "(H + 31)//32 - 2, (W + 31)//32 - 1"
    assert shapes(change.network) == [f"float32[N, 1000, {size}]"]


def test_what_sizes_must_be_is_required() -> None:
    net = network("conv: Conv(4, 3, stride=2) -> flatten -> fc: Linear(5)", "3, 9, 11")
    change, _, _ = changed(net)
    text = change.network.expanded()
    assert "require H >= 9 and W >= 11" in text
    with pytest.raises(ArchError, match="smaller image"):
        archdsl.load(text, dims={"H": 8})
    again = archdsl.load(text)
    with pytest.raises(ArchError, match="no fully connected layer"):
        again.transformed("convolutionalize")


UP = "interpolate(scale_factor=2.0)"
HALF_AND_BACK = f"{{ conv: Conv(4, 2, stride=2) -> relu -> {UP} }}"
SKIP = f"concat(axis=1) {{ skip: identity; half: {HALF_AND_BACK} }}"
ODD = f"concat(axis=1) {{ skip: slice(2, end=-1); half: {HALF_AND_BACK} }}"
DEEP = f"concat(axis=1) {{ skip: max_pool(2); half: max_pool(4) -> {HALF_AND_BACK} -> {UP} }}"
HEAD = "max_pool(4) -> flatten -> fc: Linear(5)"


@pytest.mark.parametrize(
    ("merge", "dims", "required"),
    [
        (SKIP, "3, 16, 8", ("H % 2 == 0", "W % 2 == 0")),
        (ODD, "3, 17, 8", ("H % 2 == 1", "W % 2 == 0")),
        (DEEP, "3, 32, 40", ("H % 8 == 0", "W % 8 == 0")),
    ],
)
def test_where_strides_meet_a_multiple_is_required(
    merge: str, dims: str, required: tuple[str, ...]
) -> None:
    change, _, _ = changed(network(f"{merge} -> {HEAD}", dims))
    text = change.network.expanded()
    assert all(f"require {each}" in text for each in required)
    assert not change.notes


def test_at_a_multiple_every_place_is_the_original_on_its_window() -> None:
    net = network(f"{SKIP} -> {HEAD}", "3, 16, 8")
    change, weights, after = changed(net)
    image = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 3, 24, 18)))
    old = net.to_torch(weights).eval().double()
    wide = change.network.to_torch(after).eval().double()(image)
    assert wide.shape[2:] == (3, 3)
    for row, column in itertools.product(range(3), range(3)):
        crop = image[:, :, 4 * row : 4 * row + 16, 4 * column : 4 * column + 8]
        torch.testing.assert_close(wide[:, :, row, column], old(crop), rtol=1e-11, atol=1e-12)


def test_sizes_that_operators_fix_stay() -> None:
    net = network(
        "conv: Conv(4, 3) -> { it + table } -> flatten -> fc: Linear(5)",
        "3, 6, 6",
        head="param table: [4, 4, 4] = normal(std=1)",
    )
    change, _, _ = changed(net)
    assert shapes(change.network) == ["float32[N, 5, 1, 1]"]
    assert "stay as they are" in change.notes[0]


def test_training_outputs_become_maps_too() -> None:
    net = archdsl.load("""edition 2026
model net(x: [N, 3, 8, 8]) -> y: [N, 5], training aux: [N, 4] {
  x = x -> conv: Conv(6, 3) -> relu
  aux = x -> flatten -> aux: Linear(4)
  return x -> max_pool(2) -> flatten -> fc: Linear(5), training aux
}
""")
    change, _, _ = changed(net)
    assert shapes(change.network) == [
        "float32[N, 5, H//2 - 3, W//2 - 3]",
        "float32[N, 4, H - 7, W - 7]",
    ]


@pytest.mark.parametrize(
    ("body", "dims", "reason", "shown"),
    [
        ("conv: Conv(4, 3) -> relu", "3, 8, 8", "no fully connected layer", None),
        (
            "global_avg_pool -> flatten -> fc: Linear(5)",
            "3, H, W",
            "--dim H=224 --dim W=224",
            "global_avg_pool",
        ),
        ("flatten -> relu", "3, 8, 8", "no fully connected layer", None),
        (
            "flatten -> ln: LayerNorm -> fc: Linear(5)",
            "3, 8, 8",
            "`LayerNorm` has no equal",
            "LayerNorm",
        ),
        (
            "flatten -> fc: Linear(6) -> reshape(N, 2, 3)",
            "3, 8, 8",
            "`reshape` has no equal",
            "reshape(N, 2, 3)",
        ),
        (
            "flatten -> softmax(1) -> fc: Linear(5)",
            "3, 8, 8",
            "`softmax` has no equal",
            "softmax(1)",
        ),
        (
            "flatten -> fc: Linear(192) -> share fc: Linear(192)",
            "3, 8, 8",
            "weights of fc are used in several places",
            "Linear(192)",
        ),
        (
            "inorm: InstanceNorm -> flatten -> fc: Linear(5)",
            "3, 8, 8",
            "depend on all",
            "InstanceNorm",
        ),
        (
            "{ it * (it -> global_avg_pool) } -> flatten -> fc: Linear(5)",
            "3, 8, 8",
            "all of a",
            "global_avg_pool",
        ),
        (
            "flip(axis=2) -> flatten -> fc: Linear(5)",
            "3, 8, 8",
            "no map of windows",
            "flip(axis=2)",
        ),
        (
            "adaptive_avg_pool(3) -> flatten -> fc: Linear(5)",
            "3, 8, 8",
            "no map of windows",
            "adaptive_avg_pool(3)",
        ),
        (
            "flatten -> fc: Linear(3, weight_init=eye)",
            "3, 1, 1",
            "begin as a table",
            "Linear(3, weight_init=eye)",
        ),
    ],
)
def test_refusals_teach(body: str, dims: str, reason: str, shown: str | None) -> None:
    net = archdsl.load(f"edition 2026\nmodel net(x: [N, {dims}]) {{\n  return x -> {body}\n}}\n")
    with pytest.raises(ArchError) as refusal:
        net.transformed("convolutionalize")
    assert reason in str(refusal.value)
    assert place(refusal.value) == shown


def test_the_command_says_where_both_are_the_same(tmp_path: Path) -> None:
    spec = tmp_path / "net.arch"
    spec.write_text("""edition 2026
model net(x: [N, 3, H, W]) -> [N, 5] {
  require H >= 4 and W >= 4
  return x -> conv: Conv(4, 3, padding=1) -> max_pool(4) -> adaptive_avg_pool([2, 3])
    -> flatten -> fc: Linear(5)
}
""")
    result = CliRunner().invoke(main, ["transform", "convolutionalize", str(spec)])
    assert result.exit_code == 0, result.output
    assert "`adaptive_avg_pool` at net.arch:4 is left out" in result.stderr
    assert "the outputs are the same where H//4 == 2 and W//4 == 3" in result.stderr
    assert "output agrees to" in result.stderr
    assert "require H >= 8 and W >= 12" in result.stdout
