"""ONNX export of small models: folding, names, files, refusals."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hand_models import Build, conv_norm_block, model, op, small_classifier
from op_harness import session

import archdsl
from archdsl.backends.onnx import file as onnx_file
from archdsl.backends.onnx.export import IR_VERSIONS, export, refusals, save
from archdsl.backends.onnx.lower import NotExportableError
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Model
from archdsl.ir.op import Init, Op, Weight
from archdsl.sizes.dims import Dim
from archdsl.weights.fit import WeightsMismatchError
from archdsl.weights.initial import initial
from archdsl.weights.state_dict import state


def lively(whole: Model) -> dict[str, np.ndarray]:
    """Weights whose statistics are not those of a fresh model."""
    generator = np.random.default_rng(0)
    weights = initial(whole, 0)
    for path, array in weights.items():
        if array.dtype == np.float32 and array.ndim == 1:
            weights[path] = (np.abs(generator.standard_normal(array.shape)) + 0.5).astype(
                np.float32
            )
    return weights


def check(proto: onnx.ModelProto) -> None:
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)


def run(proto: onnx.ModelProto, *inputs: np.ndarray) -> list[np.ndarray]:
    names = [info.name for info in proto.graph.input]
    return session(proto).run(None, dict(zip(names, inputs, strict=True)))


def op_types(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


# --------------------------------------------------------------------------------------- the graph


@pytest.mark.parametrize("opset", list(IR_VERSIONS))
def test_every_opset_is_checked_and_runs(opset: int) -> None:
    whole = small_classifier()
    proto = export(whole, None, opset=opset)
    check(proto)
    assert proto.ir_version == IR_VERSIONS[opset]
    for shape in [(1, 3, 9, 7), (4, 3, 16, 30)]:
        (logits,) = run(proto, image(*shape))
        assert logits.shape == (shape[0], 5, 1, 1)


def test_other_opsets_are_refused() -> None:
    with pytest.raises(
        NotExportableError, match="opset 16 cannot be emitted; those from 17 to 26 can"
    ):
        export(small_classifier(), None, opset=16)


def test_every_tensor_is_declared_under_the_names_of_the_user() -> None:
    graph = export(small_classifier(), None).graph
    (output,) = graph.output
    assert output.name == "logits"
    declared = {info.name: info for info in graph.value_info}
    produced = {name for node in graph.node for name in node.output}
    assert declared.keys() | {"logits"} == produced
    dims = declared["body/Relu"].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["N", 4, "(H + 1)//2", "(W + 1)//2"]


def test_node_names_follow_the_labels_and_are_unique() -> None:
    names = [node.name for node in export(small_classifier(), None).graph.node]
    assert names[:4] == ["stem/0/Conv", "stem/Relu", "body/0/Conv", "body/1/BatchNormalization"]
    assert len(set(names)) == len(names)


def test_metadata_tells_where_the_model_comes_from() -> None:
    proto = export(small_classifier(), None)
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    assert facts["archdsl.model"] == "small"
    assert facts["archdsl.edition"] == "2026"
    assert facts["archdsl.sizes"] == '{"N": 1, "H": 5, "W": 1}'
    assert proto.doc_string == "A small classifier."
    assert proto.producer_name == "archdsl"


def test_training_outputs_appear_when_asked_for() -> None:
    proto = export(small_classifier(), None, training_outputs=True)
    check(proto)
    assert [output.name for output in proto.graph.output] == ["logits", "aux"]


def test_dropout_and_identity_vanish_also_at_an_output() -> None:
    build = Build("identity", ("N",))
    x = build.input("x", "N", 4)
    y = build.apply(op("relu"), x)
    z = build.apply(op("Dropout", p=0.5), y, member="drop")
    w = build.apply(op("Identity"), x, member="same")
    proto = export(model(build.block(y=y, z=z, w=w)), None)
    check(proto)
    assert op_types(proto) == ["Relu", "Identity", "Identity"]
    y, z, w = run(proto, image(2, 4))
    assert np.array_equal(y, z)
    assert w.min() < 0


def test_shared_and_tied_weights_stand_once() -> None:
    build = Build("tied", ("N",))
    build.symbols = ("N",)
    x = build.input("x", "N", 4)
    x = build.apply(op("Linear", out_features=4, bias=False), x, member="fc")
    x = build.apply(op("Linear", out_features=4, bias=False), x, member="fc")
    table = build.borrow("fc.weight", build.values[x].type.of(build.values[x].type.dtype, 4, 4))
    x = build.apply(op("linear"), x, table)
    whole = model(build.block(out=x))
    proto = export(whole, None)
    check(proto)
    assert [tensor.name for tensor in proto.graph.initializer] == ["fc.weight"]
    weight = initial(whole, 0)["fc.weight"].astype(np.float64)
    given = image(3, 4)
    assert np.allclose(run(proto, given)[0], given @ weight.T @ weight.T @ weight.T, atol=1e-6)


def test_own_weights_are_initializers() -> None:
    build = Build("own", ("N",))
    x = build.input("x", "N", 4)
    scale = build.weight(Weight("scale", (Dim.of(4),), Init.of("constant", val=3.0)))
    proto = export(model(build.block(out=build.apply(op("mul"), x, scale))), None)
    check(proto)
    given = image(2, 4)
    assert np.array_equal(run(proto, given)[0], given * np.float32(3))


def test_names_that_clash_are_refused() -> None:
    build = Build("clash", ("N",))
    x = build.input("x", "N", 4)
    whole = model(build.block(x=build.apply(op("relu"), x)))
    with pytest.raises(NotExportableError, match="`x` is the name of more than one"):
        export(whole, None)


def test_names_of_ports_are_kept_from_intermediates() -> None:
    build = Build("names", ("N",))
    x = build.input("Relu", "N", 4)
    x = build.apply(op("relu"), x)
    x = build.apply(op("relu"), x)
    proto = export(model(build.block(Relu_1=x)), None)
    check(proto)
    assert np.array_equal(run(proto, image(2, 4))[0], np.maximum(image(2, 4), 0))


# ----------------------------------------------------------------------------------------- folding


@pytest.mark.parametrize(
    ("layer", "attributes"),
    [
        ("Conv", {"kernel_size": 3, "bias": False}),
        ("Conv", {"kernel_size": 3, "groups": 2, "padding": 1}),
        ("Conv", {"kernel_size": (2, 3), "padding_mode": "replicate", "padding": 1}),
        ("ConvTranspose", {"kernel_size": 3, "bias": False}),
        ("ConvTranspose", {"kernel_size": (3, 2), "stride": 2, "output_padding": 1}),
    ],
    ids=str,
)
def test_folding_is_exact(layer: str, attributes: dict[str, Any]) -> None:
    build = Build("folds")
    x = build.input("x", "N", 4, "H", "W")
    x = build.apply(op(layer, out_channels=8, **attributes), x, member="conv")
    x = build.apply(op("BatchNorm", eps=0.1), x, member="norm")
    x = build.apply(op("BatchNorm", affine=False), x, member="again")
    whole = model(build.block(out=x))
    weights = lively(whole)
    folded, plain = export(whole, weights), export(whole, weights, fold=False)
    check(folded)
    assert "BatchNormalization" not in op_types(folded)
    assert op_types(plain).count("BatchNormalization") == 2
    given = image(2, 4, 7, 6)
    (got,), (want,) = run(folded, given), run(plain, given)
    assert np.abs(got - want).max() <= 2e-6 * np.abs(want).max()


def test_linear_folds_only_where_its_features_are_axis_1() -> None:
    for dims, folds in [(("N", 4), True), (("N", 5, 4), False)]:
        build = Build("linear", ("N",))
        x = build.input("x", *dims)
        x = build.apply(op("Linear", out_features=6), x, member="fc")
        x = build.apply(op("BatchNorm"), x, member="norm")
        whole = model(build.block(out=x))
        proto = export(whole, lively(whole))
        check(proto)
        assert ("BatchNormalization" not in op_types(proto)) == folds


def test_grouped_transposed_convolutions_stay_exact() -> None:
    build = Build("grouped")
    x = build.input("x", "N", 4, "H", "W")
    x = build.apply(op("ConvTranspose", out_channels=8, kernel_size=3, groups=2), x, member="conv")
    x = build.apply(op("BatchNorm"), x, member="norm")
    whole = model(build.block(out=x))
    weights = lively(whole)
    given = image(2, 4, 7, 6)
    (got,) = run(export(whole, weights), given)
    (want,) = run(export(whole, weights, fold=False), given)
    assert np.abs(got - want).max() <= 2e-6 * np.abs(want).max()


def _conv_norm(build: Build, x: int, conv: str, norm: str) -> tuple[int, int]:
    y = build.apply(op("Conv", out_channels=3, kernel_size=1), x, member=conv)
    return y, build.apply(op("BatchNorm"), y, member=norm)


def test_nothing_folds_into_what_others_use() -> None:
    read_twice = Build("twice")
    x = read_twice.input("x", "N", 3, "H", "W")
    y, z = _conv_norm(read_twice, x, "conv", "norm")
    shared = Build("shared")
    s = shared.input("x", "N", 3, "H", "W")
    _, s = _conv_norm(shared, s, "conv", "norm1")
    _, s = _conv_norm(shared, s, "conv", "norm2")
    for block, count in [(read_twice.block(y=y, z=z), 1), (shared.block(out=s), 2)]:
        proto = export(model(block), None)
        check(proto)
        assert op_types(proto).count("BatchNormalization") == count


def test_a_borrowed_weight_keeps_its_values() -> None:
    build = Build("borrowed")
    x = build.input("x", "N", 3, "H", "W")
    _, x = _conv_norm(build, x, "conv", "norm")
    type = build.values[x].type
    weight = build.borrow("conv.bias", type.of(type.dtype, 3, 1, 1))
    x = build.apply(op("add"), x, weight)
    proto = export(model(build.block(out=x)), None)
    assert op_types(proto) == ["Conv", "BatchNormalization", "Add"]


def test_norm_after_an_activation_stays() -> None:
    build = Build("late")
    x = build.input("x", "N", 3, "H", "W")
    x = build.apply(op("Conv", out_channels=3, kernel_size=1), x, member="conv")
    x = build.apply(op("relu"), x)
    x = build.apply(op("BatchNorm"), x, member="norm")
    assert op_types(export(model(build.block(out=x)), None)) == [
        "Conv",
        "Relu",
        "BatchNormalization",
    ]


def test_unfolded_keeps_every_tensor_that_is_used() -> None:
    whole = small_classifier()
    weights = lively(whole)
    names = {tensor.name for tensor in export(whole, weights, fold=False).graph.initializer}
    counters = {path for path in weights if path.endswith("num_batches_tracked")}
    assert names == {path for path in weights if not path.startswith("aux")} - counters


# ----------------------------------------------------------------------------------------- weights


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    whole = small_classifier()
    weights = initial(whole, 0)
    weights["fc.weight"] = weights["fc.weight"][:2]
    with pytest.raises(WeightsMismatchError):
        save(tmp_path / "x.onnx", whole, weights)
    assert list(tmp_path.iterdir()) == []


def test_only_weights_that_the_graph_uses_must_be_given() -> None:
    whole = small_classifier()
    weights = initial(whole, 0)
    for path in ["aux.fc.weight", "aux.fc.bias", "stem.1.num_batches_tracked"]:
        del weights[path]
    check(export(whole, weights))
    del weights["stem.1.running_var"]
    with pytest.raises(WeightsMismatchError) as problem:
        export(whole, weights)
    assert problem.value.report.missing == ("stem.1.running_var",)


# ------------------------------------------------------------------------------------------- files


def test_a_file_has_the_bytes_of_the_model_in_memory(tmp_path: Path) -> None:
    whole = small_classifier()
    for fold in (True, False):
        save(tmp_path / "x.onnx", whole, lively(whole), fold=fold)
        expected = export(whole, lively(whole), fold=fold).SerializeToString(deterministic=True)
        assert (tmp_path / "x.onnx").read_bytes() == expected


SCRIPT = """
import sys; sys.path.insert(0, {tests!r})
import hashlib
from hand_models import small_classifier
from archdsl.backends.onnx import file as onnx_file
from archdsl.backends.onnx.export import export
print(hashlib.sha256(export(small_classifier(), None).SerializeToString()).hexdigest())
"""


def test_bytes_are_the_same_in_every_process() -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parents[1] / "support"))
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def big(width: int) -> Model:
    build = Build("big", ("N",))
    x = build.input("x", "N", width)
    x = build.apply(op("Linear", out_features=width), x, member="a")
    return model(build.block(out=build.apply(op("Linear", out_features=7), x, member="b")))


def test_weights_beside_the_model_are_aligned_and_load(tmp_path: Path) -> None:
    whole = big(300)
    path = tmp_path / "m.onnx"
    save(path, whole, None, external=True)
    onnx.checker.check_model(str(path), full_check=True)
    (data,) = tmp_path.glob("m.onnx.*.data")
    proto = onnx.load(str(path), load_external_data=False)
    offsets = [
        int(entry.value)
        for tensor in proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    ]
    assert len(offsets) == 3
    assert all(offset % 4096 == 0 for offset in offsets)
    given = image(2, 300)
    runner = onnxruntime.InferenceSession(str(path))
    assert np.array_equal(runner.run(None, {"x": given})[0], run(export(whole, None), given)[0])
    assert data.stat().st_size < 400_000


def test_what_one_file_cannot_hold_goes_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST_FILE", 100_000)
    save(tmp_path / "m.onnx", big(300), None)
    assert len(list(tmp_path.glob("m.onnx.*.data"))) == 1
    onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))


def test_exporting_again_leaves_one_whole_pair(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(path, big(300), None, external=True)
    (first,) = tmp_path.glob("*.data")
    save(path, big(300), None, external=True)
    assert list(tmp_path.glob("*.data")) == [first]
    save(path, big(300), None, seed=1, external=True)
    (second,) = tmp_path.glob("*.data")
    assert second != first
    onnxruntime.InferenceSession(str(path))
    save(path, big(300), None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]


def test_a_failure_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(path, big(300), None, external=True)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for external in (True, False):
        with pytest.raises(KeyboardInterrupt):
            save(path, big(300), None, seed=1, external=external, progress=interrupt)
        assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    save(tmp_path / "m.onnx", big(30), None, progress=lambda *pair: seen.append(pair))
    assert seen[-1][0] == seen[-1][1] == 4 * (30 * 30 + 30 + 30 * 7 + 7)


# ---------------------------------------------------------------------------------------- refusals


class Stubborn(Op):
    """Cannot be exported."""

    def infer(self, check: Any, x: Any) -> Any:
        return x

    def onnx(self, g: Any, x: Any) -> Any:
        raise Unsupported("no exact form", help="use another")


def test_all_refusals_are_collected_with_their_nodes() -> None:
    build = Build("stubborn", ("N",))
    x = build.input("x", "N", 4)
    x = build.apply(Stubborn.model_construct(), x)
    x = build.apply(op("relu"), x)
    x = build.apply(Stubborn.model_construct(), x)
    whole = model(build.block(out=x))
    found = refusals(whole)
    assert [(refusal.reason, refusal.help) for refusal in found] == [
        ("no exact form", "use another")
    ] * 2
    assert all(refusal.node is not None and refusal.node.span for refusal in found)
    assert refusals(small_classifier()) == ()


# ------------------------------------------------------------------------------------------ growth


def test_work_grows_with_the_number_of_layers() -> None:
    def seconds(count: int) -> float:
        build = Build("long")
        x = build.input("x", "N", 2, "H", "W")
        for layer in range(count):
            conv = op("Conv", out_channels=2, kernel_size=3, padding=1, bias=False)
            x = build.apply(conv, x, member=f"conv{layer}")
            x = build.apply(op("BatchNorm"), x, member=f"norm{layer}")
        whole = model(build.block(out=x))
        state(whole)
        started = time.process_time()
        proto = export(whole, None)
        spent = time.process_time() - started
        assert len(proto.graph.node) == count
        return spent

    seconds(10)
    assert seconds(2000) < 30 * seconds(200)


def test_torch_is_not_imported() -> None:
    script = "import sys, archdsl.backends.onnx.export; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_blocks_of_one_definition_can_differ_in_channels() -> None:
    first = conv_norm_block("A", 3, 4, padding=1)
    second = conv_norm_block("B", 4, 6, padding=1)
    build = Build("two")
    x = build.input("x", "N", 3, "H", "W")
    (x,) = build.call(first, x, member="a", N="N", H="H", W="W")
    (x,) = build.call(second, x, member="b", N="N", H="H", W="W")
    proto = export(model(build.block(out=x), first, second), None)
    check(proto)
    assert run(proto, image(2, 3, 5, 4))[0].shape == (2, 6, 5, 4)


@pytest.mark.parametrize("pad", [1, 3])
@pytest.mark.parametrize(
    "pooling",
    [
        "max_pool(2)",
        "max_pool(3, stride=2, padding=1, ceil_mode=true)",
        "avg_pool(1, stride=3)",
        "avg_pool(3, stride=2, padding=1)",
        "avg_pool(3, stride=2, padding=1, count_include_pad=false)",
        "avg_pool(3, stride=2, divisor_override=5)",
        "adaptive_max_pool(2)",
        "adaptive_avg_pool(2)",
    ],
)
def test_padding_by_zeros_stays_apart_from_pooling(pooling: str, pad: int) -> None:
    body = f"x -> pad([{pad}, 2, 2, {pad}]) -> {pooling}"
    text = f"edition 2026\nmodel m(x: [N, 2, 9, 9]) -> [N, 2, P, Q] {{ {body} }}\n"
    network = archdsl.load(text)
    x = -np.random.default_rng(0).random((2, 2, 9, 9), np.float32) - 1
    runner = onnxruntime.InferenceSession(network.to_onnx().SerializeToString())
    (got,) = runner.run(None, {"x": x})
    expected = network.to_torch()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_pooling_in_the_steps_of_a_scan_is_exported() -> None:
    network = archdsl.load(
        "edition 2026\n"
        "model m(x: [T, N, 2, 8]) -> [T, N, 2, 5] {\n"
        "  ys = scan row over x(axis=T) carry h = zeros(N, 2, 5) {\n"
        "    h = tanh(h + (row -> pad([1, 1]) -> max_pool(2)))\n"
        "    yield h\n"
        "  }\n"
        "  return ys\n"
        "}\n"
    )
    x = -np.random.default_rng(0).random((3, 2, 2, 8), np.float32) - 1
    runner = onnxruntime.InferenceSession(network.to_onnx().SerializeToString())
    (got,) = runner.run(None, {"x": x})
    expected = network.to_torch()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-6)
