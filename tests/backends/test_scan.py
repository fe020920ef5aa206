"""Scans in PyTorch: how they read, and that they are the loops one would have written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from emitted_source import assert_tidy, emitted_expanded
from op_parity import assert_parity
from scans import SCANS, STEPS
from torch import nn
from torch_programs import ScanProgram

from archdsl.backends.arch import source as arch_source
from archdsl.backends.onnx.export import export
from archdsl.backends.torch.live import load
from archdsl.backends.torch.source import emit
from archdsl.compiler import compile_text
from archdsl.ir.model import Model
from archdsl.runtime.run import run_onnx

SIZES = [(2, 7), (1, 1), (3, 1), (1, 5)]


@cache
def compiled(name: str) -> Model:
    return model_of(SCANS[name])


def model_of(text: str) -> Model:
    compilation = compile_text(f"edition 2026\n{STEPS}{text}")
    assert compilation.model is not None, [item.message for item in compilation.diagnostics]
    return compilation.model


@cache
def module_of(name: str) -> nn.Module:
    torch.manual_seed(3)
    module = load(compiled(name)).eval()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.4)
    return module


def given(name: str, batch: int, length: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(batch + 10 * length)
    root = compiled(name).root
    sizes = {"B": batch, "T": length, "S": 3}
    shapes = [[dim.evaluate(sizes) for dim in root.type(p.value).dims] for p in root.inputs]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def run(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        result = module(*inputs)
    return list(result) if isinstance(result, tuple) else [result]


def forward_of(name: str) -> str:
    lines = emit(compiled(name)).rpartition("    def forward")[2].splitlines()[1:]
    return "\n".join(line.partition("  # [")[0][8:] for line in lines) + "\n"


# ------------------------------------------------------------------------------- how it reads


def test_a_scan_reads_as_one_would_write_it() -> None:
    assert forward_of("lstm") == (
        "B = words.shape[0]\n"
        "device = words.device\n"
        "h = torch.zeros(B, self.hidden, device=device)\n"
        "c = torch.zeros(B, self.hidden, device=device)\n"
        "ys = []\n"
        "for word in words.unbind(1):\n"
        "    h, c = self.step(word, h, c)\n"
        "    ys.append(h)\n"
        "return NetOutput(torch.stack(ys, dim=1), h, c)\n"
    )
    assert "for word in reversed(words.unbind(1)):" in forward_of("gru")
    assert "torch.stack(ys[::-1], dim=1)" in forward_of("gru")
    assert forward_of("no_yields").endswith(
        "for e in x.unbind():\n    total = total * 0.5 + e\nreturn total\n"
    )


def test_a_state_that_is_still_read_keeps_its_name() -> None:
    lines = forward_of("several").splitlines()
    clause = "for e, m in zip(reversed(x.unbind(1)), reversed(mask.unbind(1)), strict=True):"
    loop = lines[lines.index(clause) :]
    assert loop[1] == "    old.append(h)"
    assert "    h = h2" in loop


@pytest.mark.parametrize("name", SCANS)
def test_source_is_golden_and_tidy(name: str, golden: Callable[[str, str], None]) -> None:
    source = emit(compiled(name))
    golden(f"torch/scan_{name}.py", source)
    assert_tidy(source)


def test_blocks_with_scans_are_merged() -> None:
    assert emit(compiled("merged")).count("class Recurrent(nn.Module)") == 1


# ------------------------------------------------------------------------------ what it computes


def lstm_cell(module: nn.Module) -> nn.LSTMCell:
    """PyTorch's cell with the weights of the one written out."""
    cell = nn.LSTMCell(4, 6)
    gates = [getattr(module.step, f"{name}_gate") for name in ("input", "forget", "cell", "output")]
    weight = torch.cat([gate.weight.detach() for gate in gates])
    bias = torch.cat([gate.bias.detach() for gate in gates])
    cell.load_state_dict(
        {
            "weight_ih": weight[:, :4],
            "weight_hh": weight[:, 4:],
            "bias_ih": bias,
            "bias_hh": torch.zeros_like(bias),
        }
    )
    return cell


def lstm_loop(module: nn.Module, words: torch.Tensor) -> list[torch.Tensor]:
    cell = lstm_cell(module).to(words.dtype)
    h = c = torch.zeros(len(words), 6, dtype=words.dtype)
    ys = []
    for place in range(words.shape[1]):
        h, c = cell(words[:, place], (h, c))
        ys.append(h)
    return [torch.stack(ys, 1), h, c]


def gru_loop(module: nn.Module, words: torch.Tensor, h: torch.Tensor) -> list[torch.Tensor]:
    cell = nn.GRUCell(4, 6).to(words.dtype)
    step = module.step
    cell.load_state_dict(
        {
            "weight_ih": step.input.weight,
            "weight_hh": step.state.weight,
            "bias_ih": step.input.bias,
            "bias_hh": step.state.bias,
        }
    )
    ys = torch.zeros(*words.shape[:2], 6, dtype=words.dtype)
    for place in reversed(range(words.shape[1])):
        h = cell(words[:, place], h)
        ys[:, place] = h
    return [ys, h]


def several_loop(module: nn.Module, x: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    mix = nn.Linear(4, 4).to(x.dtype)
    mix.load_state_dict(module.mix.state_dict())
    y = torch.zeros(*x.shape[:2], 12, dtype=x.dtype)
    h = total = torch.zeros(len(x), 4, dtype=x.dtype)
    for place in reversed(range(x.shape[1])):
        before = h
        h = torch.tanh(mix(x[:, place])) * mask[:, place, None] + h
        total = total + before
        y[:, place] = torch.cat([before, h, total], 1)
    return [y, h * total]


def nested_loop(module: nn.Module, x: torch.Tensor, h0: torch.Tensor) -> list[torch.Tensor]:
    inner, outer = nn.Linear(4, 5).to(x.dtype), nn.Linear(5, 5).to(x.dtype)
    inner.load_state_dict(module.inner.state_dict())
    outer.load_state_dict(module.outer.state_dict())
    y = torch.zeros(*x.shape[:3], 5, dtype=x.dtype)
    h = h0
    for row in range(x.shape[1]):
        g = h
        for place in reversed(range(x.shape[2])):
            g = torch.tanh(inner(x[:, row, place]) + g + h)
            y[:, row, place] = g
        h = torch.tanh(outer(g))
    return [y, h]


LOOPS: dict[str, Callable[..., list[torch.Tensor]]] = {
    "lstm": lstm_loop,
    "gru": gru_loop,
    "several": several_loop,
    "nested": nested_loop,
}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", LOOPS)
def test_the_module_is_the_loop_written_by_hand(name: str, sizes: tuple[int, int]) -> None:
    module, inputs = module_of(name), given(name, *sizes)
    with torch.no_grad():
        single = LOOPS[name](module, *inputs)
        double = LOOPS[name](module, *(x.double() for x in inputs))
    for got, want, exact in zip(run(module, inputs), single, double, strict=True):
        assert_parity(name, got.numpy(), want, exact)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", SCANS)
def test_onnx_runtime_agrees(name: str, sizes: tuple[int, int]) -> None:
    module, inputs = module_of(name), given(name, *sizes)
    single = run(module, inputs)
    double = run(doubled(name), [x.double() for x in inputs])
    ports = compiled(name).root.inputs
    arrays = {port.name: x.numpy() for port, x in zip(ports, inputs, strict=True)}
    for got, want, exact in zip(run_onnx(onnx_of(name), arrays), single, double, strict=True):
        assert_parity(name, got, want, exact)


@cache
def onnx_of(name: str) -> bytes:
    weights = {path: tensor.numpy() for path, tensor in module_of(name).state_dict().items()}
    return export(compiled(name), weights=weights, fuse=False).SerializeToString()


@cache
def doubled(name: str) -> nn.Module:
    """The module in float64, also the tensors that it makes from nothing."""
    source = emit(compiled(name)).replace("device=device", "device=device, dtype=torch.float64")
    space: dict[str, Any] = {}
    exec(compile(source, name, "exec"), space)  # noqa: S102
    module = space["Net"]().double().eval()
    module.load_state_dict(module_of(name).state_dict())
    return module


@pytest.mark.parametrize("name", SCANS)
def test_merged_source_is_the_expanded_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, merged = given(name, 2, 5), module_of(name)
    emitted_expanded(monkeypatch)
    expanded = load(compiled(name), merged.state_dict()).eval()
    for one, other in zip(run(merged, inputs), run(expanded, inputs), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(ScanProgram(seed).text().removeprefix("edition 2026\n"))
    merged = load(model).eval()
    assert_tidy(emit(model))
    emitted_expanded(monkeypatch)
    expanded = load(model, merged.state_dict()).eval()
    weights = {path: tensor.numpy() for path, tensor in merged.state_dict().items()}
    proto = export(model, weights=weights, fuse=False).SerializeToString()
    for length in (1, 3):
        x = torch.randn(length, 4, generator=torch.Generator().manual_seed(seed))
        outputs = run(merged, [x])
        found = run_onnx(proto, {"x": x.numpy()})
        for one, other, array in zip(outputs, run(expanded, [x]), found, strict=True):
            assert torch.equal(one.nan_to_num(), other.nan_to_num())
            if one.isfinite().all():
                tolerance = 1e-4 * max(1.0, float(one.abs().max()))
                assert np.allclose(one.numpy(), array, rtol=1e-3, atol=tolerance)


# ------------------------------------------------------------------------- what depends on what


@pytest.mark.parametrize(("name", "is_reverse"), [("lstm", False), ("gru", True)])
def test_a_state_depends_on_one_side_only(name: str, is_reverse: bool) -> None:
    inputs = given(name, 2, 6)
    before = run(module_of(name), inputs)[0]
    for place in range(6):
        moved = [inputs[0].clone(), *inputs[1:]]
        moved[0][:, place] += 1
        after = run(module_of(name), moved)[0]
        changed = [not torch.equal(before[:, t], after[:, t]) for t in range(6)]
        assert changed == [t <= place if is_reverse else t >= place for t in range(6)]


@pytest.mark.parametrize("name", SCANS)
def test_gradients_reach_every_weight_and_input(name: str) -> None:
    inputs = [x.requires_grad_() for x in given(name, 2, 4)]
    module = load(compiled(name), module_of(name).state_dict())
    result = module.eval()(*inputs)
    results = result if isinstance(result, tuple) else (result,)
    torch.stack([output.square().sum() for output in results]).sum().backward()
    for tensor in (*inputs, *module.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


# ------------------------------------------------------------------------------- other forms


@pytest.mark.parametrize("name", SCANS)
def test_the_model_survives_json(name: str) -> None:
    model = compiled(name)
    again = Model.model_validate_json(model.model_dump_json())
    assert again == model
    assert emit(again) == emit(model)


@pytest.mark.parametrize("name", SCANS)
def test_the_flat_text_is_the_same_network(name: str) -> None:
    compilation = compile_text(arch_source.emit(compiled(name)))
    assert compilation.model is not None, [item.message for item in compilation.diagnostics]
    flat = load(compilation.model, module_of(name).state_dict()).eval()
    inputs = given(name, 2, 5)
    for one, other in zip(run(module_of(name), inputs), run(flat, inputs), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["lstm", "several", "nested"])
def test_torch_can_export_it_at_a_fixed_length(name: str) -> None:
    inputs = given(name, 2, 4)
    program = torch.export.export(module_of(name), tuple(inputs)).module()
    for one, other in zip(run(module_of(name), inputs), run(program, inputs), strict=True):
        assert torch.equal(one, other)


def test_torch_can_compile_it() -> None:
    torch.compiler.reset()
    inputs = given("several", 2, 4)
    module = torch.compile(module_of("several"), backend="eager", fullgraph=True)
    for one, other in zip(run(module_of("several"), inputs), run(module, inputs), strict=True):
        assert torch.equal(one, other)
