"""Every shipped model beside torchvision's, or one written here: figures, names, values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from network_parity import (
    SHIPPED,
    as_tuple,
    assert_agrees,
    assert_lively,
    compiled,
    described,
    exported,
    filled,
    image,
    lively,
    run_source,
    seeded_dropout,
)
from torch import nn
from torch.nn import functional as F
from torchvision_shim import torchvision

from archdsl import api
from archdsl.backends.onnx.export import export
from archdsl.backends.torch.live import load
from archdsl.backends.torch.source import emit
from archdsl.compiler import Compilation, compile_text
from archdsl.diagnostics import Diagnostic
from archdsl.passes.costs import figures

CLASSIFIERS = {
    "alexnet",
    "alexnet_2012",
    "densenet",
    "googlenet",
    "lenet5",
    "mobilenet_v2",
    "resnet",
    "squeezenet",
    "vgg",
}
"""The files of models that say what is in an image; others have tests of their own."""

SPECS = {name: path for name, path in SHIPPED.items() if path.stem in CLASSIFIERS}

SHAPES = [(2, 3, 113, 81), (1, 3, 96, 128)]
FIXED_SHAPES = {
    "lenet5": [(2, 1, 28, 28), (5, 1, 28, 28)],
    "alexnet_2012": [(2, 3, 224, 224), (1, 3, 224, 224)],
}
SMALL_SHAPES = [(2, 3, 33, 47), (1, 3, 40, 32)]
LARGE = {
    "vgg11",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "resnext101_32x8d",
}
"""Models that are run on small images, beside smaller ones of their family on larger images."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tests run side by side already; threads of one that wait for another only cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ------------------------------------------------------------------------------------- references


class LeNet5(nn.Module):
    """LeCun 1998 on digits of 28x28."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.fc1(x.flatten(1)))
        return self.fc3(torch.tanh(self.fc2(x)))


class AlexNet2012(nn.Module):
    """Krizhevsky 2012 word for word: two towers apart, and the sum over neighbours written out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4, padding=2)
        self.conv2 = nn.Conv2d(48, 256, 5)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(192, 384, 3)
        self.conv5 = nn.Conv2d(192, 256, 3)
        self.fc6 = nn.Linear(9216, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.responses(F.relu(self.conv1(x))), 3, 2)
        x = F.max_pool2d(self.responses(F.relu(self.towers(x, self.conv2, 2))), 3, 2)
        x = F.relu(self.conv3(x))
        x = F.relu(self.towers(x, self.conv4, 1))
        x = F.max_pool2d(F.relu(self.towers(x, self.conv5, 1)), 3, 2)
        x = F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))
        return self.fc8(x)

    def towers(self, x: torch.Tensor, layer: nn.Conv2d, padding: int) -> torch.Tensor:
        assert layer.bias is not None
        halves = zip(x.chunk(2, 1), layer.weight.chunk(2), layer.bias.chunk(2), strict=True)
        return torch.cat([F.conv2d(a, w, b, padding=padding) for a, w, b in halves], 1)

    def responses(self, x: torch.Tensor) -> torch.Tensor:
        channels = x.shape[1]
        result = torch.empty_like(x)
        for i in range(channels):
            neighbours = x[:, max(0, i - 2) : min(channels - 1, i + 2) + 1]
            result[:, i] = x[:, i] / (2 + 1e-4 * neighbours.square().sum(1)) ** 0.75
        return result


WRITTEN: dict[str, Callable[[], nn.Module]] = {"lenet5": LeNet5, "alexnet_2012": AlexNet2012}


def reference_on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        if name in WRITTEN:
            return WRITTEN[name]()
        if name == "googlenet":
            return torchvision.models.googlenet(aux_logits=True, init_weights=False)
        return torchvision.models.get_model(name)


def published(name: str) -> dict[str, Any]:
    return torchvision.models.get_model_weights(name).DEFAULT.meta


# ---------------------------------------------------------------------------------------- subjects


def parameter_count(name: str, without: str = "nothing") -> int:
    parameters = load(compiled(name), device="meta").named_parameters()
    return sum(tensor.numel() for path, tensor in parameters if not path.startswith(without))


def multiply_adds(name: str) -> int:
    model = compiled(name)
    sizes = {symbol: 1 if symbol == "N" else 224 for symbol in model.root.symbols}
    return figures(model)[model.entry].macs.evaluate(sizes)


# ------------------------------------------------------------------------------ figures and names


@pytest.mark.parametrize("name", SPECS)
def test_check_is_clean_and_the_figures_are_expected(name: str) -> None:
    compilation = Compilation(SPECS[name], model=name)
    assert not list(compilation.check())
    assert len(compilation.expectations(name)) == 2
    model = compilation.model
    assert model is not None
    assert model.doc
    assert figures(model)[model.entry].parameters == parameter_count(name)


@pytest.mark.parametrize("name", [name for name in SPECS if name not in WRITTEN])
def test_figures_are_the_published_ones(name: str) -> None:
    meta = published(name)
    assert parameter_count(name, without="aux") == meta["num_params"]
    assert round(multiply_adds(name) / 1e9, 3) == meta["_ops"]


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("lenet5", 61_706, 416_520),
        ("alexnet_2012", 60_965_224, 724_406_816),
        ("googlenet", 13_004_888, 1_498_376_192),
    ],
)
def test_figures_that_are_published_elsewhere(name: str, parameters: int, macs: int) -> None:
    assert parameter_count(name) == parameters
    assert multiply_adds(name) == macs


@pytest.mark.parametrize("name", SPECS)
def test_batch_and_sizes_stay_symbolic(name: str) -> None:
    model = compiled(name)
    assert model.root.symbols == (("N",) if name in FIXED_SHAPES else ("N", "H", "W"))
    assert [
        str(model.root.type(port.value)) for port in model.root.outputs if not port.training
    ] == [f"float32[N, {10 if name == 'lenet5' else 1000}]"]


@pytest.mark.parametrize("name", [name for name in SPECS if name not in WRITTEN])
def test_state_dict_is_that_of_torchvision(name: str) -> None:
    ours, theirs = load(compiled(name), device="meta"), reference_on_meta(name)
    assert described(ours.state_dict()) == described(theirs.state_dict())
    assert [path for path, _ in ours.named_parameters()] == [
        path for path, _ in theirs.named_parameters()
    ]


@pytest.mark.parametrize("name", [name for name in SPECS if name not in WRITTEN])
def test_the_smallest_size_is_the_published_one(name: str) -> None:
    """A model that needs no minimum admits 1x1; the others begin where torchvision's fail."""
    height, width = published(name)["min_size"]
    requirements = compiled(name).root.requirements

    def admits(h: int, w: int) -> bool:
        sizes = {"N": 1, "H": h, "W": w}
        return all(requirement.condition.evaluate(sizes) for requirement in requirements)

    assert admits(height, width)
    if requirements:
        assert not admits(height - 1, width)
        assert not admits(height, width - 1)


# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize("name", SPECS)
def test_values(name: str, tmp_path: Path) -> None:
    """Live module, emitted source, torchvision and ONNX Runtime give the same."""
    model = compiled(name)
    reference = reference_on_meta(name)
    live = load(model, device="meta")
    weights = lively(name, live)
    filled(live, weights)
    emitted = filled(run_source(emit(model)), weights)
    filled(reference, weights)
    session = exported(model, weights, tmp_path / "model.onnx")
    shapes = SMALL_SHAPES if name in LARGE else FIXED_SHAPES.get(name, SHAPES)
    singles: list[torch.Tensor] = []
    with torch.inference_mode():
        for shape in shapes:
            x = image(shape)
            singles.append(live(x))
            assert_lively(singles[-1])
            assert singles[-1].dtype is torch.float32
            assert torch.equal(emitted(x), singles[-1])
            if name != "alexnet_2012":
                assert torch.equal(reference(x), singles[-1])
        reference.double()
        for shape, single in zip(shapes, singles, strict=True):
            x = image(shape)
            feed = {model.root.inputs[0].name: x.numpy()}
            (found,) = session.run(None, feed)
            assert_agrees(torch.from_numpy(found), single, reference(x.double()))


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "mobilenet_v2", "densenet121"])
def test_training_is_that_of_torchvision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, auxiliary ones included, and the statistics that a step leaves behind."""
    monkeypatch.setattr(F, "dropout", seeded_dropout)
    reference = reference_on_meta(name)
    weights = lively(name, reference)
    filled(reference, {path: tensor.clone() for path, tensor in weights.items()}).train()
    live = load(compiled(name), weights).train()
    x = image(SHAPES[0])
    ours, theirs = live(x), reference(x)
    if name == "googlenet":
        assert ours._fields == ("logits", "aux_logits2", "aux_logits1") == theirs._fields
    for mine, other in zip(as_tuple(ours), as_tuple(theirs), strict=True):
        assert torch.equal(mine, other)
        assert_lively(mine.detach())
    state = reference.state_dict()
    assert all(torch.equal(tensor, state[path]) for path, tensor in live.state_dict().items())


# -------------------------------------------------------------------------------------------- ONNX


def test_auxiliary_outputs_are_exported_only_when_asked_for() -> None:
    model = compiled("googlenet")
    plain, whole = export(model, None), export(model, None, training_outputs=True)
    assert [output.name for output in plain.graph.output] == ["logits"]
    assert [output.name for output in whole.graph.output] == [
        "logits",
        "aux_logits2",
        "aux_logits1",
    ]
    assert not any(tensor.name.startswith("aux") for tensor in plain.graph.initializer)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("resnet50", 122),
        ("googlenet", 139),
        ("densenet121", 368),
        ("mobilenet_v2", 100),
        ("squeezenet1_0", 65),
    ],
)
def test_graphs_have_no_more_nodes_than_torch_exports(name: str, nodes: int) -> None:
    assert len(export(compiled(name), None).graph.node) <= nodes


# ---------------------------------------------------------------------------------------- refusals


def findings(name: str, change: tuple[str, str]) -> list[Diagnostic]:
    text = SPECS[name].read_text("utf-8")
    assert change[0] in text
    return list(compile_text(text.replace(*change), SPECS[name].name, name).check())


@pytest.mark.parametrize(
    ("name", "change", "size"),
    [
        ("alexnet_2012", ("3, 224, 224", "3, H, W"), "256*((H + 1)//32)*((W + 1)//32)"),
        ("lenet5", ("1, 28, 28", "1, H, W"), "16*(H//4)*(W//4)"),
        ("vgg16", ("adaptive_avg_pool(7) -> flatten", "flatten"), "512*(H//32)*(W//32)"),
    ],
)
def test_a_fixed_head_refuses_open_sizes(name: str, change: tuple[str, str], size: str) -> None:
    (finding,) = findings(name, change)
    assert finding.code == "shape-mismatch"
    assert "the number of input features must be a known number" in finding.message
    assert size in finding.message


@pytest.mark.parametrize(
    ("name", "change", "help"),
    [
        ("vgg16", ("H >= 32 and W >= 32", "H >= 16"), "require H >= 32 and W >= 32"),
        ("googlenet", ("H >= 15 and W >= 15", "W >= 15"), "require H >= 15"),
        ("alexnet", ("H >= 63 and W >= 63", "H >= 62"), "require H >= 63 and W >= 63"),
        ("densenet121", ("H >= 29 and W >= 29", "H >= 1"), "require H >= 29 and W >= 29"),
        ("squeezenet1_0", ("kernel_size + 14", "kernel_size"), "require H >= 21 and W >= 21"),
        ("squeezenet1_1", ("kernel_size + 14", "kernel_size"), "require H >= 17 and W >= 17"),
    ],
)
def test_a_size_too_small_is_named(name: str, change: tuple[str, str], help: str) -> None:
    (finding,) = findings(name, change)
    assert finding.code == "size-too-small"
    assert any(help in text for text in finding.help), finding.help


def test_the_signature_that_is_off_by_one_is_refused() -> None:
    finding, *_ = findings("resnet50", ("ceildiv(H, stride)", "H // stride"))
    assert finding.code == "signature-mismatch"
    assert finding.counterexample == (("H", 225),)


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("vgg16", {"H": 31}),
        ("vgg16", {"H": 31, "W": 1}),
        ("unet_padded", {"H": 24}),
        ("yolov3", {"H": 31, "W": 33}),
        ("gpt2", {"T": 1025}),
        ("densenet121", {"W": 28}),
    ],
)
def test_a_size_that_a_spec_does_not_admit_is_one_mistake(name: str, dims: dict[str, int]) -> None:
    (found,) = api.check(name, dims=dims).diagnostics
    assert found.code == "requirement-failed"


def test_an_even_kernel_of_the_library_is_refused() -> None:
    text = """edition 2026
import std.vision (ConvBNReLU)
model small()(x: [N, 3, H, W]) { x -> ConvBNReLU(8, 4) }
"""
    (finding,) = compile_text(text).check()
    assert finding.code == "requirement-failed"
    assert finding.message == "a kernel of 4 has no middle to pad around"
