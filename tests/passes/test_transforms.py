"""`archdsl transform`, what export says of what it fused, and maps of tensors."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from recurrent_cells import CELLS, network

import archdsl
from archdsl.cli import execution, main
from archdsl.diagnostics import InternalError
from archdsl.passes.transform.transforms import TRANSFORMS
from archdsl.weights.initial import initial
from archdsl.weights.safetensors import load_safetensors
from archdsl.weights.tensor_map import (
    Computed,
    Constant,
    Copy,
    LostWeightsError,
    Region,
    TensorMap,
)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "net.arch"
    path.write_text(network(CELLS["lstm_a_layer_a_gate"]))
    return str(path)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


# ------------------------------------------------------------------------------ the command line


def test_every_transform_is_listed() -> None:
    listed = invoke("transforms")
    assert listed.exit_code == 0
    for name in TRANSFORMS:
        assert name in listed.stdout
    assert set(json.loads(invoke("transforms", "--json").stdout)) == set(TRANSFORMS)


def test_a_transform_writes_text_and_weights(spec: str, tmp_path: Path) -> None:
    old, new, text = tmp_path / "old.safetensors", tmp_path / "new.safetensors", tmp_path / "n.arch"
    net = archdsl.load(spec)
    weights = initial(net.ir, 7)
    execution.save_weights(old, weights)
    result = invoke(
        "transform", "fuse_recurrence", spec, "-o", text, "--weights", old, "--weights-out", new
    )
    assert result.exit_code == 0, result.output
    assert "note: the scan at net.arch:16 is an LSTM: fused" in result.stderr
    assert "y agrees to" in result.stderr
    fused = archdsl.load(text)
    expected = execution.mapped(net.transformed("fuse_recurrence"), weights)
    written = load_safetensors(new)
    assert {path: array.tobytes() for path, array in written.items()} == {
        path: array.tobytes() for path, array in expected.items()
    }
    assert fused.to_torch(str(new)) is not None
    again = invoke("transform", "fuse_recurrence", text)
    assert again.exit_code == 0
    assert again.stdout == text.read_text()


def test_a_transform_tells_in_json(spec: str) -> None:
    result = invoke("transform", "fuse_recurrence", spec, "--json")
    told = json.loads(result.stdout)
    assert told["agrees"] and told["dropped"] == []
    assert told["notes"] == ["the scan at net.arch:16 is an LSTM: fused"]
    assert archdsl.load(told["text"]).expanded() == told["text"]


def test_of_many_weights_that_are_left_out_a_few_are_named(tmp_path: Path) -> None:
    path = tmp_path / "norms.arch"
    path.write_text("""\
edition 2026
model norms(x: [N, 3, H, W]) -> [N, 3, H, W] {
  x -> repeat 6 { Conv(3, 1) -> BatchNorm }
}
""")
    result = invoke("transform", "fuse_batch_norm", path)
    paths = ", ".join(f"{place}.num_batches_tracked" for place in (1, 3, 5, 7))
    assert f"note: of no use any more: {paths}, … (6 in all)\n" in result.stderr
    told = json.loads(invoke("transform", "fuse_batch_norm", path, "--json").stdout)
    assert len(told["dropped"]) == 6


def test_without_torch_a_transform_is_compared_in_onnx(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "find_spec", lambda name: None)
    result = invoke("transform", "fuse_recurrence", spec)
    assert result.exit_code == 0
    assert "y agrees to" in result.stderr


def test_a_wrong_transform_is_found_and_nothing_is_written(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = execution.mapped

    def wrong(change: archdsl.api.Transformation, weights: dict[str, np.ndarray]) -> object:
        return {path: array + 0.01 for path, array in right(change, weights).items()}

    monkeypatch.setattr(execution, "mapped", wrong)
    text = tmp_path / "new.arch"
    result = invoke("transform", "fuse_recurrence", spec, "-o", text)
    assert result.exit_code == 1
    assert "y DIFFERS" in result.stderr
    assert not text.exists()


def test_unknown_transforms_and_other_weights_are_refused(spec: str, tmp_path: Path) -> None:
    result = invoke("transform", "fuse_recurrences", spec)
    assert result.exit_code == 2
    assert "did you mean fuse_recurrence" in result.stderr
    other = tmp_path / "other.safetensors"
    execution.save_weights(other, {"w": np.zeros(3, np.float32)})
    result = invoke("transform", "fuse_recurrence", spec, "--weights", other)
    assert result.exit_code == 2
    assert "the weights do not fit the model" in result.stderr


def test_unrolling_needs_a_length(spec: str) -> None:
    result = invoke("expand", spec, "--unroll")
    assert result.exit_code == 1
    assert "--dim T=8" in result.stderr
    written = invoke("expand", spec, "--unroll", "--dim", "T=3")
    assert written.exit_code == 0 and "scan" not in written.stdout
    transformed = invoke("transform", "unroll", spec, "--dim", "T=3")
    assert transformed.exit_code == 0 and transformed.stdout == written.stdout


def test_export_says_what_it_fused(spec: str, tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    result = invoke("export", spec, "-o", target, "--verify")
    assert result.exit_code == 0, result.output
    assert "note: the scan at net.arch:16 is an LSTM: fused" in result.stderr
    assert "LSTM" in [node.op_type for node in onnx.load(target).graph.node]
    told = json.loads(invoke("export", spec, "-o", target, "--json").stdout)
    assert told["notes"] == ["the scan at net.arch:16 is an LSTM: fused"]
    result = invoke("export", spec, "-o", target, "--no-fuse")
    assert "note" not in result.stderr
    assert "Scan" in [node.op_type for node in onnx.load(target).graph.node]


# ------------------------------------------------------------------------------- maps of tensors


def arrays(**given: np.ndarray) -> dict[str, partial[np.ndarray]]:
    return {name: partial(np.asarray, array) for name, array in given.items()}


def test_regions_are_views_of_any_arrangement() -> None:
    whole = np.arange(24).reshape(2, 3, 4)
    region = Region.whole("a", (2, 3, 4))
    for part, expected in (
        (region.part(2, 1, 2, 2), whole[:, :, 1:4:2]),
        (region.permuted((2, 0, 1)), whole.transpose(2, 0, 1)),
        (region.place(1, 2), whole[:, 2]),
        (region.raised(1), whole[:, None]),
        (region.part(0, 1, -1, 2), whole[::-1]),
        (region.reshaped((6, 4)), whole.reshape(6, 4)),
        (region.part(2, 0, 2, 2).reshaped((6, 2)), whole[:, :, ::2].reshape(6, 2)),
        (region.reshaped((2, 1, 12)), whole.reshape(2, 1, 12)),
    ):
        assert part is not None
        assert np.array_equal(part.view(whole), expected)
        assert part.shape == expected.shape
    assert region.permuted((1, 0, 2)).reshaped((6, 4)) is None


def test_a_map_of_copies_goes_both_ways_in_bits() -> None:
    old = np.array([[-0.0, 1.5, np.nan], [np.inf, -2.5, 0.0]], np.float32)
    change = TensorMap(
        {"a": (2, 3), "same": (1,)},
        {"b": (3, 2), "c": (2,), "same": (1,)},
        (
            Copy(Region.whole("b", (3, 2)), Region.whole("a", (2, 3)).permuted((1, 0)), True),
            Constant(Region.whole("c", (2,)), 1.0, Region.whole("a", (2, 3)).place(1, 1), True),
        ),
    )
    assert change.is_exact and not change.dropped
    given = arrays(a=old, same=np.ones(1))
    new = {path: array() for path, array in change.forward(given).items()}
    assert np.array_equal(new["b"], -old.T, equal_nan=True) and new["c"].tolist() == [1.0, 1.0]
    back = {path: array() for path, array in change.backward(arrays(**new)).items()}
    assert back["a"].tobytes() == old.tobytes()
    new["c"] = np.array([1.0, 3.0], np.float32)
    back = change.backward(arrays(**new))["a"]()
    assert back[1, 1] == -2.5 - 2.0 and back[0, 1] == 1.5


def test_what_is_lost_is_named() -> None:
    half = Copy(Region.whole("b", (2,)), Region.whole("a", (4,)).part(0, 0, 1, 2))
    change = TensorMap({"a": (4,), "gone": (1,)}, {"b": (2,)}, (half,))
    assert change.dropped == ("gone",) and not change.is_exact
    with pytest.raises(LostWeightsError, match="do not have all of gone, a"):
        change.backward(arrays(b=np.zeros(2)))


def test_computed_tensors_are_lazy_and_only_go_one_way() -> None:
    calls: list[int] = []

    def total(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        calls.append(1)
        return a + b

    change = TensorMap(
        {"a": (2,), "b": (2,)}, {"c": (2,)}, computed=(Computed("c", ("a", "b"), total),)
    )
    new = change.forward(arrays(a=np.ones(2), b=np.ones(2)))
    assert not calls
    assert new["c"]().tolist() == [2.0, 2.0]
    with pytest.raises(LostWeightsError, match="c was computed of others"):
        change.backward(new)


def test_a_map_is_total() -> None:
    with pytest.raises(InternalError, match="nothing says what b is made of"):
        TensorMap({"a": (1,)}, {"b": (1,)})
