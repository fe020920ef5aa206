"""The segmentation models beside torchvision's, or nets written here from the papers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from network_parity import (
    assert_lively,
    assert_small,
    compiled,
    described,
    exported,
    filled,
    image,
    lively,
    opened,
    relative_error,
    run_source,
    seeded_dropout,
)
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision_shim import torchvision

from archdsl.backends.onnx.export import export
from archdsl.backends.torch.live import load
from archdsl.backends.torch.source import emit
from archdsl.passes.costs import figures


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tests run side by side already."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ------------------------------------------------------------------------------------- references

DEPTHS = (2, 2, 3, 3, 3)
WIDTHS = (64, 128, 256, 512, 512)


class FCN(nn.Module):
    """fcn32s, fcn16s and fcn8s as the published prototxt has them, the crops included."""

    def __init__(self, finest: int) -> None:
        super().__init__()
        width = 3
        for stage, (depth, wanted) in enumerate(zip(DEPTHS, WIDTHS, strict=True), 1):
            for layer in range(1, depth + 1):
                padding = 100 if stage == layer == 1 else 1
                convolution = nn.Conv2d(width, wanted, 3, padding=padding)
                self.add_module(f"conv{stage}_{layer}", convolution)
                width = wanted
        self.fc6 = nn.Conv2d(512, 4096, 7)
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        self.score_fr = nn.Conv2d(4096, 21, 1)
        if finest < 32:
            self.upscore2 = nn.ConvTranspose2d(21, 21, 4, stride=2, bias=False)
            self.score_pool4 = nn.Conv2d(512, 21, 1)
        if finest < 16:
            self.upscore_pool4 = nn.ConvTranspose2d(21, 21, 4, stride=2, bias=False)
            self.score_pool3 = nn.Conv2d(256, 21, 1)
        self.last = "upscore" if finest == 32 else f"upscore{finest}"
        last = nn.ConvTranspose2d(21, 21, 2 * finest, stride=finest, bias=False)
        self.add_module(self.last, last)
        self.finest = finest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        pools: list[torch.Tensor] = []
        for stage, depth in enumerate(DEPTHS, 1):
            for layer in range(1, depth + 1):
                x = F.relu(self.get_submodule(f"conv{stage}_{layer}")(x))
            x = F.max_pool2d(x, 2, ceil_mode=True)
            pools.append(x)
        x = self.score_fr(F.relu(self.fc7(F.relu(self.fc6(x)))))
        if self.finest < 32:
            x = self.upscore2(x)
            x = x + cropped(self.score_pool4(pools[3]), 5, x)
        if self.finest < 16:
            x = self.upscore_pool4(x)
            x = x + cropped(self.score_pool3(pools[2]), 9, x)
        x = self.get_submodule(self.last)(x)
        start = {32: 19, 16: 27, 8: 31}[self.finest]
        return x[:, :, start : start + height, start : start + width]


def cropped(x: torch.Tensor, start: int, like: torch.Tensor) -> torch.Tensor:
    height, width = like.shape[2:]
    return x[:, :, start : start + height, start : start + width]


class Double(nn.Module):
    def __init__(self, before: int, width: int, padding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, padding=padding)
        self.conv2 = nn.Conv2d(width, width, 3, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class UNet(nn.Module):
    """Ronneberger 2015, figure 1, with the crops that the figure's sizes come to."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding
        widths = [64, 128, 256, 512, 1024]
        for step, (before, width) in enumerate(zip([1, *widths], widths[:4], strict=False), 1):
            self.add_module(f"down{step}", Double(before, width, padding))
        self.bottom = Double(512, 1024, padding)
        for step, width in enumerate([512, 256, 128, 64], 1):
            self.add_module(f"upconv{step}", nn.ConvTranspose2d(2 * width, width, 2, stride=2))
            self.add_module(f"up{step}", Double(2 * width, width, padding))
        self.head = nn.Conv2d(64, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beside: list[torch.Tensor] = []
        for step in range(1, 5):
            beside.append(self.get_submodule(f"down{step}")(x))
            x = F.max_pool2d(beside[-1], 2)
        x = self.bottom(x)
        starts = [0] * 4 if self.padding else [4, 16, 40, 88]
        for step, start in enumerate(starts, 1):
            x = self.get_submodule(f"upconv{step}")(x)
            x = torch.cat([cropped(beside[-step], start, x), x], 1)
            x = self.get_submodule(f"up{step}")(x)
        return self.head(x)


class DeconvNet(nn.Module):
    """Noh 2015, table 2.

    `forced` are the places that another runtime chose in the five poolings. Where two places of a
    window differ by less than rounding (14 of 800,000 windows here), each runtime and processor may
    choose its own, and everything behind the unpooling depends on the choice.
    """

    forced: Sequence[torch.Tensor] = ()
    chosen: Sequence[torch.Tensor] = ()
    """The places that the last call pooled."""

    def __init__(self) -> None:
        super().__init__()
        width = 3
        for stage, (depth, wanted) in enumerate(zip(DEPTHS, WIDTHS, strict=True), 1):
            for layer in range(1, depth + 1):
                self.add(f"conv{stage}_{layer}", nn.Conv2d(width, wanted, 3, padding=1))
                self.add(f"bn{stage}_{layer}", nn.BatchNorm2d(wanted))
                width = wanted
        for name, layer in [
            ("fc6", nn.Conv2d(512, 4096, 7)),
            ("bnfc6", nn.BatchNorm2d(4096)),
            ("fc7", nn.Conv2d(4096, 4096, 1)),
            ("bnfc7", nn.BatchNorm2d(4096)),
            ("fc6_deconv", nn.ConvTranspose2d(4096, 512, 7)),
            ("fc6_deconv_bn", nn.BatchNorm2d(512)),
        ]:
            self.add(name, layer)
        for stage in range(5, 0, -1):
            wanted = [WIDTHS[stage - 1]] * DEPTHS[stage - 1]
            wanted[-1] = WIDTHS[max(stage - 2, 0)]
            for layer, outputs in enumerate(wanted, 1):
                transposed = nn.ConvTranspose2d(width, outputs, 3, padding=1)
                self.add(f"deconv{stage}_{layer}", transposed)
                self.add(f"debn{stage}_{layer}", nn.BatchNorm2d(outputs))
                width = outputs
        self.seg_score = nn.Conv2d(64, 21, 1)

    def add(self, name: str, layer: nn.Module) -> None:
        self.add_module(name, layer)

    def run(self, x: torch.Tensor, first: str, second: str) -> torch.Tensor:
        return F.relu(self.get_submodule(second)(self.get_submodule(first)(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: list[tuple[torch.Size, torch.Tensor]] = []
        for stage, depth in enumerate(DEPTHS, 1):
            for layer in range(1, depth + 1):
                x = self.run(x, f"conv{stage}_{layer}", f"bn{stage}_{layer}")
            size = x.shape[2:]
            before = x
            x, switches = F.max_pool2d(before, 2, return_indices=True)
            if self.forced:
                switches = self.forced[stage - 1]
                greatest, x = x, before.flatten(2).gather(2, switches.flatten(2)).view_as(x)
                assert (greatest - x).max() <= 1e-5 * before.max(), "not a greatest place"
            pooled.append((size, switches))
        self.chosen = [switches for _, switches in pooled]
        x = self.run(self.run(x, "fc6", "bnfc6"), "fc7", "bnfc7")
        x = self.run(x, "fc6_deconv", "fc6_deconv_bn")
        for stage in range(5, 0, -1):
            size, switches = pooled[stage - 1]
            x = F.max_unpool2d(x, switches, 2, output_size=list(size))
            for layer in range(1, DEPTHS[stage - 1] + 1):
                x = self.run(x, f"deconv{stage}_{layer}", f"debn{stage}_{layer}")
        return self.seg_score(x)


def of_torchvision(name: str) -> nn.Module:
    return getattr(torchvision.models.segmentation, name)(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )


REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "fcn32s": lambda: FCN(32),
    "fcn16s": lambda: FCN(16),
    "fcn8s": lambda: FCN(8),
    "unet": lambda: UNet(0),
    "unet_padded": lambda: UNet(1),
    "deconvnet": DeconvNet,
    "fcn_resnet50": lambda: of_torchvision("fcn_resnet50"),
    "fcn_resnet101": lambda: of_torchvision("fcn_resnet101"),
}

SHAPES = {
    "fcn32s": [(1, 3, 17, 30)],
    "fcn16s": [(1, 3, 33, 18)],
    "fcn8s": [(2, 3, 33, 50), (1, 3, 64, 47)],
    "unet": [(2, 1, 189, 204), (1, 1, 220, 191)],
    "unet_padded": [(2, 1, 48, 64), (1, 1, 80, 32)],
    "deconvnet": [(2, 3, 225, 224), (1, 3, 230, 227)],
    "fcn_resnet50": [(2, 3, 65, 96), (1, 3, 112, 71)],
}


def reference_on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return REFERENCES[name]()


def with_pooled_places(path: Path) -> tuple[onnxruntime.InferenceSession, int]:
    """A session that gives the places its max poolings choose too, and how many poolings."""
    model = onnx.load(path)
    pooled = {node.output[1] for node in model.graph.node if len(node.output) == 2}
    places = [
        node for node in model.graph.node if node.op_type == "Mod" and node.input[0] in pooled
    ]
    for node in places:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.output[0]))
    onnx.save(model, path)
    return opened(path), len(places)


def result(outputs: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
    return outputs["out"] if isinstance(outputs, dict) else outputs


# ------------------------------------------------------------------------------ figures and names


@pytest.mark.parametrize("name", REFERENCES)
def test_state_dict_is_that_of_the_reference(name: str) -> None:
    ours, theirs = load(compiled(name), device="meta"), reference_on_meta(name)
    assert described(ours.state_dict()) == described(theirs.state_dict())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, (1, 3, 500, 500)) for name in ("fcn32s", "fcn16s", "fcn8s")),
        ("unet", (1, 1, 572, 572)),
        ("unet_padded", (1, 1, 512, 512)),
        ("deconvnet", (1, 3, 224, 224)),
    ],
)
def test_multiply_adds_are_those_that_torch_counts(name: str, shape: tuple[int, ...]) -> None:
    model = compiled(name)
    sizes = dict(zip(("N", "H", "W"), (shape[0], *shape[2:]), strict=True))
    with FlopCounterMode(display=False) as counter:
        reference_on_meta(name).eval()(torch.empty(shape, device="meta"))
    assert 2 * figures(model)[model.entry].macs.evaluate(sizes) == counter.get_total_flops()


@pytest.mark.parametrize("name", ["fcn_resnet50", "fcn_resnet101"])
def test_figures_are_the_published_ones(name: str) -> None:
    """torchvision counts the auxiliary head, at the size to which images are brought."""
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    model = compiled(name)
    macs = figures(model)[model.entry].macs.evaluate({"N": 1, "H": 520, "W": 520})
    auxiliary = 65 * 65 * (1024 * 256 * 9 + 256 * 21)
    assert figures(model)[model.entry].parameters == meta["num_params"]
    assert round((macs + auxiliary) / 1e9, 3) == meta["_ops"]


def test_the_sizes_are_those_of_the_paper() -> None:
    unet = compiled("unet")
    _, _, height, width = unet.root.type(unet.root.outputs[0].value).dims
    assert height.evaluate({"H": 572}) == width.evaluate({"W": 572}) == 388


# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize("name", SHAPES)
def test_values(name: str, tmp_path: Path) -> None:
    """Live module, emitted source, the reference and ONNX Runtime give the same."""
    model = compiled(name)
    reference = reference_on_meta(name)
    live = load(model, device="meta")
    weights = lively(name, live)
    filled(live, weights)
    emitted = filled(run_source(emit(model)), weights)
    filled(reference, weights)
    exported(model, weights, tmp_path / "model.onnx")
    session, unpooled = with_pooled_places(tmp_path / "model.onnx")
    assert unpooled == (5 if name == "deconvnet" else 0)
    singles: list[tuple[torch.Tensor, Sequence[torch.Tensor]]] = []
    with torch.inference_mode():
        for shape in SHAPES[name]:
            x = image(shape)
            single = live(x)
            assert_lively(single)
            assert torch.equal(emitted(x), single)
            assert torch.equal(result(reference(x)), single)
            singles.append((single, getattr(reference, "chosen", ())))
        reference.double()
        for shape, (single, chosen) in zip(SHAPES[name], singles, strict=True):
            x = image(shape)
            outputs = session.run(None, {model.root.inputs[0].name: x.numpy()})
            found, *places = map(torch.from_numpy, outputs)
            exact = exact_at(reference, x, places)
            same = all(map(torch.equal, places, chosen))
            exact_single = exact if same else exact_at(reference, x, chosen)
            assert_small(relative_error(found, exact), relative_error(single, exact_single))


def exact_at(reference: nn.Module, x: torch.Tensor, places: Sequence[torch.Tensor]) -> torch.Tensor:
    """What the reference gives in float64, its poolings at these places."""
    reference.forced = places  # pyright: ignore[reportAttributeAccessIssue]
    return result(reference(x.double()))


def test_training_is_that_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "dropout", seeded_dropout)
    reference = reference_on_meta("fcn_resnet50")
    weights = lively("fcn_resnet50", reference)
    filled(reference, {path: tensor.clone() for path, tensor in weights.items()}).train()
    live = load(compiled("fcn_resnet50"), weights).train()
    x = image((2, 3, 65, 48))
    ours, theirs = live(x), reference(x)
    assert ours._fields == ("out", "aux") == tuple(theirs)
    for mine, other in zip(ours, theirs.values(), strict=True):
        assert torch.equal(mine, other)
        assert_lively(mine.detach())
    state = reference.state_dict()
    assert all(torch.equal(tensor, state[path]) for path, tensor in live.state_dict().items())


def test_the_auxiliary_head_is_exported_only_when_asked_for() -> None:
    model = compiled("fcn_resnet50")
    plain, whole = export(model, None), export(model, None, training_outputs=True)
    assert [output.name for output in plain.graph.output] == ["out"]
    assert [output.name for output in whole.graph.output] == ["out", "aux"]


def test_upsampling_begins_as_bilinear_interpolation() -> None:
    """Long et al. 2015, section 3.3: each class by itself, a triangle twice the factor wide."""
    weight = load(compiled("fcn8s")).state_dict()["upscore8.weight"]
    expected = torch.zeros(1, 1, 4, 5)
    expected[0, 0, 1, 2] = 1.0
    alone = F.conv_transpose2d(expected, weight[3:4, 3:4], stride=8, padding=4)
    theirs = F.interpolate(expected, scale_factor=8, mode="bilinear")
    inside = (..., slice(4, -4), slice(4, -4))
    assert torch.allclose(alone[inside], theirs[inside])
    assert not weight[3, :3].any()
