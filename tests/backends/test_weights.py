"""Weights: torch's distributions, files without copies, and what does not fit."""

from __future__ import annotations

import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hand_models import small_classifier
from safetensors.numpy import save_file
from torch import nn

from archdsl.ir.op import Init
from archdsl.weights.fit import check
from archdsl.weights.initial import draw, initial
from archdsl.weights.safetensors import WeightsFileError, load_safetensors


def test_each_weight_depends_on_seed_and_path_alone() -> None:
    classifier = small_classifier()
    first, again, other = initial(classifier, 0), initial(classifier, 0), initial(classifier, 1)
    assert all(np.array_equal(first[path], again[path]) for path in first)
    assert not np.array_equal(first["fc.weight"], other["fc.weight"])
    assert not np.array_equal(first["fc.bias"], first["aux.fc.bias"][:1])
    assert first["stem.1.num_batches_tracked"].dtype == np.int64


TORCH_INITS = [
    (Init.of("uniform", a=-0.5, b=0.25), nn.init.uniform_),
    (Init.of("normal", mean=0.1, std=0.02), nn.init.normal_),
    (Init.of("trunc_normal", std=0.02, a=-0.03, b=0.01), nn.init.trunc_normal_),
    (Init.of("trunc_normal", mean=0.0, std=1.0, a=1.5, b=4.0), nn.init.trunc_normal_),
    (Init.of("kaiming_uniform", a=math.sqrt(5)), nn.init.kaiming_uniform_),
    (Init.of("kaiming_normal", mode="fan_out", nonlinearity="relu"), nn.init.kaiming_normal_),
    (Init.of("kaiming_normal", nonlinearity="selu"), nn.init.kaiming_normal_),
    (Init.of("kaiming_uniform", nonlinearity="tanh"), nn.init.kaiming_uniform_),
    (Init.of("xavier_uniform", gain=2.0), nn.init.xavier_uniform_),
    (Init.of("xavier_normal"), nn.init.xavier_normal_),
]


@pytest.mark.parametrize(
    ("init", "fill"), TORCH_INITS, ids=lambda item: getattr(item, "kind", "torch")
)
def test_distributions_are_those_of_torch(init: Init, fill) -> None:
    shape = (48, 24, 9, 11)
    ours = np.sort(draw(init, shape, "here"), axis=None)
    torch.manual_seed(0)
    theirs = np.sort(fill(torch.empty(shape), **dict(init.arguments)).numpy(), axis=None)
    assert ours.dtype == np.float32
    spread = theirs[-1] - theirs[0]
    places = np.linspace(0.01, 0.99, 50) * (ours.size - 1)
    distance = np.abs(ours[places.astype(int)] - theirs[places.astype(int)])
    assert distance.max() < 0.01 * spread, distance.max() / spread


@pytest.mark.parametrize(
    ("init", "fill", "shape"),
    [
        (Init.of("constant", val=0.3), lambda w: nn.init.constant_(w, 0.3), (3, 4)),
        (Init("zeros"), nn.init.zeros_, (3,)),
        (Init("ones"), nn.init.ones_, ()),
        (Init("dirac"), nn.init.dirac_, (4, 6, 3, 3)),
        (Init("dirac"), nn.init.dirac_, (6, 4, 5)),
        (Init("eye"), nn.init.eye_, (4, 6)),
    ],
)
def test_fixed_fillings_are_those_of_torch(init: Init, fill, shape: tuple[int, ...]) -> None:
    assert np.array_equal(
        draw(init, shape, "x").astype(np.float32), fill(torch.empty(shape)).numpy()
    )


@pytest.mark.parametrize("size", [3, 4])
def test_bilinear_upsamples_a_constant_to_a_constant(size: int) -> None:
    kernel = torch.from_numpy(draw(Init("bilinear"), (2, 2, size, size), "x"))
    result = nn.functional.conv_transpose2d(torch.ones(1, 2, 6, 6), kernel, stride=2)
    assert torch.allclose(result[:, :, 3:-3, 3:-3], torch.ones(()))


def test_a_row_can_begin_as_zeros() -> None:
    array = draw(Init.of("normal", mean=0.0, std=1.0, zero_row=2), (4, 3), "x")
    assert (array[2] == 0).all()
    assert (array[[0, 1, 3]] != 0).all()


def test_files_are_read_without_copying(tmp_path: Path) -> None:
    arrays = {
        "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.arange(5, dtype=np.int64),
        "half": np.ones((2, 2), np.float16),
        "brain": np.array([1.5, -2.0], ml_dtypes.bfloat16),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
    }
    save_file(arrays, tmp_path / "w.safetensors")
    loaded = load_safetensors(tmp_path / "w.safetensors")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
        assert not loaded[name].flags.owndata


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 64, b"not a file of tensors"])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsFileError, match=r"w\.safetensors"):
        load_safetensors(path)
    with pytest.raises(WeightsFileError, match=r"absent\.safetensors"):
        load_safetensors(tmp_path / "absent.safetensors")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(100, np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsFileError):
        load_safetensors(path)


def test_what_does_not_fit_is_told_in_groups() -> None:
    classifier = small_classifier()
    weights = initial(classifier, 0)
    assert check(classifier, weights).fits
    del weights["fc.bias"]
    weights["fc.extra"] = np.zeros(1)
    weights["fc.weight"] = np.zeros((5, 4), np.float32)
    weights["stem.1.bias"] = np.zeros(4, np.float64)
    report = check(classifier, weights)
    assert not report.fits
    assert report.missing == ("fc.bias",)
    assert report.unexpected == ("fc.extra",)
    (shape,) = report.misshapen
    assert (shape.path, shape.expected, shape.found) == ("fc.weight", "[5, 4, 1, 1]", "[5, 4]")
    (dtype,) = report.mistyped
    assert (dtype.path, dtype.expected, dtype.found) == ("stem.1.bias", "float32", "float64")
