"""The live module: an ordinary one, with its weights, its lines in tracebacks, and its pickles."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from emitted_source import SCENARIOS, assert_same, compiled, example
from onnx.numpy_helper import to_array
from safetensors.torch import save_file

from archdsl import api
from archdsl.backends.torch import live as torch_live
from archdsl.backends.torch.live import load
from archdsl.backends.torch.source import emit
from archdsl.diagnostics import InternalError
from archdsl.ir.types import DType
from archdsl.runtime.run import run_torch
from archdsl.weights.dtypes import numpy_dtype
from archdsl.weights.fit import WeightsMismatchError


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_module_is_an_ordinary_one(name: str) -> None:
    model = compiled(name)
    module = load(model).eval()
    inputs = example(name)
    with torch.no_grad():
        wanted = module(*inputs)
        assert_same(copy.deepcopy(module)(*inputs), wanted)
        assert_same(pickle.loads(pickle.dumps(module))(*inputs), wanted)
        graph = torch.compile(module, fullgraph=True, backend="eager")
        assert_same(graph(*inputs), wanted)
        if name != "names":  # torch.export cannot reach a member called `forward`
            assert_same(torch.export.export(module, inputs).module()(*inputs), wanted)


@pytest.mark.parametrize("name", SCENARIOS)
def test_meta_device(name: str) -> None:
    on_meta = load(compiled(name), device="meta")
    assert all(tensor.is_meta for tensor in on_meta.state_dict().values())
    assert list(on_meta.state_dict()) == list(load(compiled(name)).state_dict())


def test_gradients_reach_every_parameter() -> None:
    module = load(compiled("several")).train()
    sum(output.sum() for output in module(*example("several"))).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_source_is_that_of_the_classes() -> None:
    model = compiled("branches")
    module = load(model)
    assert type(load(model)) is type(module)
    assert inspect.getsource(type(module)).strip() in emit(model)
    assert type(module).__module__ in sys.modules


def test_tracebacks_show_the_source() -> None:
    module = load(compiled("branches"))
    with pytest.raises(RuntimeError) as caught:
        module(torch.zeros(1, 5, 8, 8))
    lines = [frame.line for frame in traceback.extract_tb(caught.tb)]
    assert any(line and line.startswith("y = self.conv(x)") for line in lines)


def test_another_process_reads_the_pickle(tmp_path: Path) -> None:
    module = load(compiled("branches")).eval()
    inputs = example("branches")
    with torch.no_grad():
        torch.save((module, inputs, module(*inputs)), tmp_path / "module.pt")
    script = (
        "import sys, torch\n"
        "module, inputs, wanted = torch.load(sys.argv[1], weights_only=False)\n"
        "with torch.no_grad(): assert torch.equal(module(*inputs), wanted)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "module.pt")], check=True)


# ---------------------------------------------------------------------------------------- weights


def state() -> dict[str, torch.Tensor]:
    return {
        path: torch.randn(tensor.shape) if tensor.is_floating_point() else tensor + 3
        for path, tensor in load(compiled("repeats")).state_dict().items()
    }


def assert_loaded(module: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    loaded = module.state_dict()
    assert list(loaded) == list(weights)
    assert all(torch.equal(loaded[path], tensor) for path, tensor in weights.items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_weights_from_tensors_arrays_and_files(tmp_path: Path) -> None:
    model, weights = compiled("repeats"), state()
    save_file(weights, tmp_path / "net.safetensors")
    arrays = {path: tensor.numpy() for path, tensor in weights.items()}
    assert_loaded(load(model, weights), weights)
    assert_loaded(load(model, arrays), weights)
    assert_loaded(load(model, tmp_path / "net.safetensors"), weights)
    assert_loaded(load(model, str(tmp_path / "net.safetensors"), device="cpu"), weights)


def test_loaded_weights_are_copies() -> None:
    weights = state()
    module = load(compiled("repeats"), weights)
    with torch.no_grad():
        module.a.tail.weight.zero_()
    assert weights["a.tail.weight"].abs().sum() > 0


def test_weights_must_fit() -> None:
    weights = state()
    del weights["a.tail.bias"]
    weights["d.0.weight"] = torch.zeros(2, 2)
    weights["d.1.bias"] = weights["d.1.bias"].double()
    weights["other"] = torch.zeros(1)
    with pytest.raises(WeightsMismatchError) as caught:
        load(compiled("repeats"), weights)
    report = caught.value.report
    assert report.missing == ("a.tail.bias",)
    assert report.unexpected == ("other",)
    assert [item.path for item in report.misshapen] == ["d.0.weight"]
    assert [item.path for item in report.mistyped] == ["d.1.bias"]


def test_wrong_source_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = emit(compiled("repeats")).replace("nn.Conv2d(5, 5, 1)", "nn.Conv2d(5, 4, 1)")
    monkeypatch.setattr(torch_live, "emit", lambda model: wrong)
    with pytest.raises(InternalError, match=r"d\.0\.weight"):
        load(compiled("repeats"), device="meta")


def test_fresh_weights_are_drawn_once_from_torchs_generator() -> None:
    torch.manual_seed(5)
    first = load(compiled("repeats")).state_dict()
    torch.manual_seed(5)
    again = load(compiled("repeats")).state_dict()
    assert all(torch.equal(tensor, again[path]) for path, tensor in first.items())


def test_float64_arrays_stay_as_they_are() -> None:
    buffer = io.BytesIO()
    np.save(buffer, state()["a.tail.bias"].numpy())
    buffer.seek(0)
    weights = {**state(), "a.tail.bias": np.load(buffer)}
    module = load(compiled("repeats"), weights)
    assert torch.equal(module.a.tail.bias, torch.from_numpy(weights["a.tail.bias"]))


def test_bfloat16_goes_in_and_out() -> None:
    """numpy has it by an extension that torch does not know."""
    network = api.load("edition 2026\nmodel m(x: bfloat16[N, 4]) { return x -> Linear(4) }")
    module = network.to_torch()
    weights = {
        tensor.name: to_array(tensor) for tensor in network.to_onnx(module).graph.initializer
    }
    assert_same(*(tuple(each.parameters()) for each in (network.to_torch(weights), module)))
    x = np.array([[1.5, -2, 0.25, 3]], numpy_dtype(DType.BFLOAT16))
    (found,) = run_torch(module, network.ir, {"x": x})
    assert found.dtype == x.dtype
    wanted = module(torch.tensor(x.astype(np.float32)).bfloat16()).detach()
    assert np.array_equal(found.astype(np.float32), wanted.float().numpy())
