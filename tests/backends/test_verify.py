"""`export --verify` and `run`: they agree when they should, and only then."""

from pathlib import Path

import numpy as np
import pytest

import archdsl
from archdsl.cli import execution
from archdsl.diagnostics import GivenError
from archdsl.runtime.compare import Comparison, verify
from archdsl.runtime.run import InputsMismatchError
from archdsl.weights.initial import initial

TEXT = """\
edition 2026

model pair(image: [N, 1, H, W], scale: [N, 4]) -> a: [N, 4], b: [N, 4, H - 2, W - 2] {
  require H >= 3 and W >= 3
  h = image -> conv: Conv(4, 3) -> relu
  return (h -> global_avg_pool -> flatten) * scale, h
}
"""


@pytest.fixture(scope="module")
def network() -> archdsl.Network:
    return archdsl.load(TEXT)


def test_an_export_agrees_with_its_weights_and_not_with_others(
    network: archdsl.Network, tmp_path: Path
) -> None:
    path = tmp_path / "pair.onnx"
    network.save_onnx(path, seed=1)
    same = execution.verify(network, path, initial(network.ir, 1))
    assert [each.output for each in same] == ["a", "b"] * 2
    assert len({each.sizes["N"] for each in same}) == 2
    assert all(each.agrees for each in same)
    other = verify(path, network.ir, network.to_torch(initial(network.ir, 2)))
    assert not any(each.agrees for each in other)
    assert "DIFFERS" in str(other[0])


@pytest.mark.parametrize(
    "filled",
    [
        "full([N, 4], -1e999)",
        "full([N, 4], 1)",
        "zeros(N, 4)",
        "where(x > 0, x, 0) -> cast(float16) -> cast(float32)",
    ],
)
def test_float64_meets_no_float32_that_the_spec_makes(filled: str, tmp_path: Path) -> None:
    network = archdsl.load(f"""\
edition 2026

model best(x: [N, 4]) -> [N, 4] {{
  x = x -> fc: Linear(4)
  likely, places = x -> topk(2, axis=1)
  return scatter({filled}, places, likely, axis=1) -> softmax(axis=1)
}}
""")
    path = tmp_path / "best.onnx"
    network.save_onnx(path)
    assert all(each.agrees for each in execution.verify(network, path, initial(network.ir, 0)))


def test_not_a_number_never_agrees() -> None:
    assert not Comparison("y", {}, float("nan"), 0.0).agrees


def test_running_gives_outputs_by_name(network: archdsl.Network, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    np.save(tmp_path / "image.npy", generator.standard_normal((2, 1, 5, 6), np.float32))
    np.save(tmp_path / "scale.npy", generator.standard_normal((2, 4), np.float32))
    written = [f"scale={tmp_path / 'scale.npy'}", f"image={tmp_path / 'image.npy'}"]
    inputs = execution.read_inputs(network, written)
    assert list(inputs) == ["image", "scale"]
    weights = initial(network.ir, 0)
    torch = execution.run_with_torch(network, inputs, weights)
    onnx = execution.run_with_onnx(network, inputs, weights)
    assert {name: array.shape for name, array in torch.items()} == {"a": (2, 4), "b": (2, 4, 3, 4)}
    for name in torch:
        np.testing.assert_allclose(onnx[name], torch[name], atol=1e-6)
    execution.save(tmp_path / "first.npz", torch)
    execution.save(tmp_path / "second.npz", torch)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()


@pytest.mark.parametrize(
    ("image", "scale", "sentence"),
    [
        (np.zeros((2, 1, 5, 5), np.float64), (2, 4), "`image` must be float32"),
        (np.zeros((2, 3, 5, 5), np.float32), (2, 4), "but is float32[2, 3, 5, 5]"),
        (np.zeros((2, 5, 5), np.float32), (2, 4), "`image` must be float32[N, 1, H, W]"),
        (np.zeros((2, 1, 5, 5), np.float32), (3, 4), "while N is 2 elsewhere"),
        (
            np.zeros((2, 1, 2, 5), np.float32),
            (2, 4),
            "requires H >= 3 and W >= 3, but H is 2 and W is 5",
        ),
    ],
)
def test_wrong_inputs_are_refused_with_a_reason(
    network: archdsl.Network, image: np.ndarray, scale: tuple[int, int], sentence: str
) -> None:
    from archdsl.runtime.run import named_inputs

    with pytest.raises(InputsMismatchError) as caught:
        named_inputs(network.ir, {"image": image, "scale": np.zeros(scale, np.float32)})
    assert sentence in str(caught.value)


def test_only_arrays_of_numbers_are_read(network: archdsl.Network, tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    for name in ("text.npy", "objects.npy", "two.npz"):
        with pytest.raises(GivenError, match=name):
            execution.read_inputs(network, [f"image={tmp_path / name}"])
