"""Recurrent layers from text to PyTorch and ONNX: weights, bits, states, node counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from op_parity import assert_parity, same_bits
from torch import nn

from archdsl.backends.onnx.export import export
from archdsl.backends.torch.live import load
from archdsl.backends.torch.source import emit
from archdsl.compiler import compile_text
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Model
from archdsl.passes.costs import figures
from archdsl.runtime.run import run_onnx
from archdsl.weights.fit import WeightsMismatchError
from archdsl.weights.initial import initial

TAGGER = """
model tagger(hidden: int = 16)(x: [T, N, 8])
    -> y: [T, N, 2 * hidden], h: [4, N, hidden], c: [4, N, hidden] {
  y, h, c = x -> lstm: LSTM(hidden, num_layers=2, bidirectional=true, dropout=0.2)
  return y = y, h = h, c = c
}
"""

GIVEN_STATES = """
model continued(x: [N, T, 8], h0: [1, N, 16], c0: [1, N, 16])
    -> out: [N, T, 5], h: [1, N, 16], c: [1, N, 16] {
  lstm = LSTM(16, batch_first=true)
  y, h, c = lstm(x, h0, c0)
  y, h, c = lstm(y -> back: Linear(8), h0=h, c0=c)
  return out = y -> head: Linear(5), h = h, c = c
}
"""

LANGUAGE_MODEL = """
model words(tokens: int64[N, T]) -> logits: [N, T, 50] {
  return tokens -> embedding: Embedding(50, 12)
                -> rnn: GRU(16, 2, batch_first=true, dropout=0.1) -> fc: Linear(50)
}
"""

FAMILY = """
block Encoder(width: int, layers: int, both: bool = false)(x: [T, N, I]) {
  y, h = x -> rnn: RNN(width, num_layers=layers, nonlinearity="relu", bidirectional=both)
  return y, h
}
model stack(x: [T, N, 8]) -> y: [T, N, 12], h: [4, N, 6], first: [1, N, 4] {
  a, first = x -> bottom: Encoder(4, 1)
  b, h = a -> top: Encoder(6, 2, both=true)
  return y = b, h = h, first = first
}
"""


def model_of(text: str) -> Model:
    compiled = compile_text(f"edition 2026\n{text}")
    model = compiled.model
    assert model is not None, [str(problem) for problem in compiled.diagnostics]
    return model


def problems_of(text: str) -> list[tuple[str, str]]:
    compiled = compile_text(f"edition 2026\n{text}")
    assert compiled.model is None
    return [(problem.code, problem.message) for problem in compiled.diagnostics]


def forward_of(model: Model) -> list[str]:
    """The lines of the last `forward`, without comments."""
    lines = emit(model).rpartition("def forward")[2].splitlines()[1:]
    return [line.partition("#")[0].strip() for line in lines]


def inputs_of(model: Model, **sizes: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {}
    for port in model.root.inputs:
        kind = model.root.type(port.value)
        shape = [dim.evaluate(sizes) for dim in kind.dims]
        if kind.dtype.is_floating:
            inputs[port.name] = generator.standard_normal(shape).astype(kind.dtype.value)
        else:
            inputs[port.name] = generator.integers(0, 50, shape)
    return inputs


def run(module: nn.Module, inputs: dict[str, np.ndarray], *, double: bool = False) -> list[Any]:
    given = [torch.from_numpy(array) for array in inputs.values()]
    if double:
        given = [x.double() if x.is_floating_point() else x for x in given]
    with torch.inference_mode():
        result = module.eval()(*given)
    return list(result) if isinstance(result, tuple) else [result]


def op_types(proto: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


# --------------------------------------------------------------------------------------- PyTorch


def test_the_emitted_line_is_the_idiomatic_one() -> None:
    model = model_of(TAGGER)
    source = emit(model)
    assert "nn.LSTM(8, hidden, num_layers=2, dropout=0.2, bidirectional=True)" in source
    assert forward_of(model) == ["y, (h, c) = self.lstm(x)", "return TaggerOutput(y, h, c)"]


def test_initial_states_go_in_as_a_tuple() -> None:
    lines = forward_of(model_of(GIVEN_STATES))
    assert lines[0] == "y, (h, c) = self.lstm(x, (h0, c0))"
    assert lines[1] == "y, (h, c) = self.lstm(self.back(y), (h, c))"


def test_what_nothing_reads_is_not_unpacked() -> None:
    text = """
model last(x: [T, N, 8], h0: [1, N, 4], c0: [1, N, 4]) -> h: [1, N, 4] {
  y, h, c = x -> lstm: LSTM(4, h0=h0, c0=c0)
  return h
}
"""
    assert forward_of(model_of(text))[0] == "_, (h, _) = self.lstm(x, (h0, c0))"
    assert forward_of(model_of(LANGUAGE_MODEL))[0] == "x, _ = self.rnn(self.embedding(tokens))"


BACKWARDS = """
model m(x: [T, N, 8]) -> y: [T, N, 4], h: [1, N, 4] {
  a, _h, _c = x -> first: LSTM(4, backwards=true)
  _y, last = a -> second: RNN(4, backwards=true)
  return y = a, h = last
}
"""


def test_the_steps_are_flipped_around_a_layer_that_walks_backwards() -> None:
    assert forward_of(model_of(BACKWARDS)) == [
        "a, _ = self.first(torch.flip(x, (0,)))",
        "a = torch.flip(a, (0,))",
        "_, last = self.second(torch.flip(a, (0,)))",
        "return MOutput(a, last)",
    ]


def test_one_class_for_layers_of_several_shapes() -> None:
    source = emit(model_of(FAMILY))
    assert source.count("nn.RNN(") == 1
    assert "num_layers=layers" in source
    assert "y, h = self.rnn(x)" in source


@pytest.mark.parametrize("sizes", [{"T": 7, "N": 3}, {"T": 1, "N": 1}])
def test_live_module_equals_torch_in_bits(sizes: dict[str, int]) -> None:
    model = model_of(TAGGER)
    reference = nn.LSTM(8, 16, num_layers=2, bidirectional=True, dropout=0.2).eval()
    state = {f"lstm.{name}": value for name, value in reference.state_dict().items()}
    module = load(model, state)
    reference.load_state_dict(
        {name.removeprefix("lstm."): value for name, value in module.state_dict().items()},
        strict=True,
    )
    inputs = inputs_of(model, **sizes)
    y, h, c = run(module, inputs)
    with torch.inference_mode():
        wanted, (final, memory) = reference(torch.from_numpy(inputs["x"]))
    for got, want in ((y, wanted), (h, final), (c, memory)):
        assert torch.equal(got, want)


def test_weights_begin_as_torch_begins_them() -> None:
    drawn = initial(model_of(TAGGER), seed=0)
    assert list(drawn) == [
        f"lstm.{name}" for name in nn.LSTM(8, 16, 2, bidirectional=True).state_dict()
    ]
    for name, array in drawn.items():
        largest = float(np.abs(array).max())
        assert 0.2 < largest <= 0.25, name


def test_figures() -> None:
    model = model_of(TAGGER)
    found = figures(model)[model.entry]
    assert found.parameters == sum(
        p.numel() for p in nn.LSTM(8, 16, 2, bidirectional=True).parameters()
    )
    per_step = 2 * 64 * (8 + 16) + 2 * 64 * (32 + 16)
    assert found.macs.evaluate({"T": 7, "N": 3}) == 7 * 3 * per_step


def test_macs_of_a_projection() -> None:
    model = model_of("model m(x: [T, N, 8]) { x -> lstm: LSTM(16, proj_size=4) }")
    found = figures(model)[model.entry]
    assert found.macs.evaluate({"T": 5, "N": 2}) == 10 * (64 * (8 + 4) + 16 * 4)


def test_axis_names_are_kept() -> None:
    model = model_of("model m(x: [N, T, 8]) { x -> lstm: LSTM(6, batch_first=true) }")
    types = [model.root.values[value].type for value in model.root.nodes[0].outputs]
    assert [kind.axes for kind in types] == [
        ("N", "T", None),
        (None, "N", None),
        (None, "N", None),
    ]


# ------------------------------------------------------------------------------------------ ONNX


def assert_onnx_parity(model: Model, opset: int, *trials: dict[str, int]) -> onnx.ModelProto:
    """One file, at sizes it was not made for, beside the module with the same weights."""
    weights = initial(model, seed=3)
    proto = export(model, weights, opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    single, double = load(model, weights), load(model, weights).double()
    for sizes in trials:
        inputs = inputs_of(model, **sizes)
        results = run_onnx(proto.SerializeToString(), inputs)
        wanted, exact = run(single, inputs), run(double, inputs, double=True)
        for port, got, want, right in zip(model.root.outputs, results, wanted, exact, strict=True):
            assert_parity(f"{port.name} at {sizes}", got, want, right)
    return proto


TRIALS = [{"T": 5, "N": 2}, {"T": 1, "N": 1}, {"T": 23, "N": 7}]


@pytest.mark.parametrize("opset", [17, 22])
@pytest.mark.parametrize("text", [TAGGER, GIVEN_STATES, LANGUAGE_MODEL, FAMILY, BACKWARDS])
def test_onnx_agrees_at_sizes_never_seen(text: str, opset: int) -> None:
    assert_onnx_parity(model_of(text), opset, *TRIALS)


def test_two_layers_in_both_directions_are_eight_nodes() -> None:
    assert op_types(export(model_of(TAGGER), None)) == {
        "LSTM": 2, "Transpose": 2, "Reshape": 2, "Concat": 2,
    }  # fmt: skip


def test_batch_first_costs_one_node_more() -> None:
    text = TAGGER.replace("[T, N,", "[N, T,").replace("dropout=0.2", "batch_first=true")
    assert sum(op_types(export(model_of(text), None)).values()) == 9


def test_states_that_nothing_reads_cost_nothing() -> None:
    text = """
model m(x: [T, N, 8]) -> y: [T, N, 32] {
  return x -> lstm: LSTM(16, num_layers=2, bidirectional=true)
}
"""
    assert op_types(export(model_of(text), None)) == {"LSTM": 2, "Transpose": 2, "Reshape": 2}


def test_layers_applied_twice_share_their_weights() -> None:
    proto = export(model_of(GIVEN_STATES), None)
    names = [tensor.name for tensor in proto.graph.initializer]
    assert {"lstm.W_l0", "lstm.R_l0", "lstm.B_l0"} <= set(names)
    assert len(names) == len(set(names))
    assert op_types(proto)["LSTM"] == 2


def test_missing_weights_are_refused() -> None:
    model = model_of(LANGUAGE_MODEL)
    weights = initial(model, seed=0)
    del weights["rnn.bias_hh_l1"]
    with pytest.raises(WeightsMismatchError, match=r"rnn\.bias_hh_l1"):
        export(model, weights)


def test_a_weight_can_be_read_beside_the_layer() -> None:
    text = """
model m(x: [T, N, 8]) -> y: [T, N, 4], w: [12, 8] {
  y, h = x -> gru: GRU(4)
  return y = y, w = gru.weight_ih_l0 * 2.0
}
"""
    proto = assert_onnx_parity(model_of(text), 17, *TRIALS)
    assert {"gru.weight_ih_l0", "gru.W_l0"} <= {tensor.name for tensor in proto.graph.initializer}


def test_folding_changes_nothing() -> None:
    model = model_of("model m(x: [T, N, 8]) { x -> LSTM(4, num_layers=2) -> GRU(3) -> RNN(2) }")
    folded, plain = (export(model, None, fold=fold) for fold in (True, False))
    assert folded.SerializeToString() == plain.SerializeToString()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("layer", ["LSTM(6)", "GRU(6)", "RNN(6)", "LSTM(6, proj_size=4)"])
@pytest.mark.parametrize("opset", [17, 22])
def test_half_precision(dtype: str, layer: str, opset: int) -> None:
    model = model_of(
        f"""
model m(x: [T, N, 8]) {{ x -> cast({dtype}) -> rnn: {layer} -> cast(float32) }}
"""
    )
    weights = initial(model, seed=1)
    proto = export(model, weights, opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    inputs = inputs_of(model, T=9, N=3)
    (got,) = run_onnx(proto.SerializeToString(), inputs)
    kind = getattr(torch, dtype)
    state = {name: torch.from_numpy(a.astype("float32")).to(kind) for name, a in weights.items()}
    module = load(model, state)
    (want,) = run(module, inputs)
    assert np.abs(got - want.numpy()).max() < (0.03 if dtype == "bfloat16" else 0.004)


def test_double_precision_stays_double() -> None:
    model = model_of("model m(x: float64[T, N, 8]) { x -> rnn: GRU(6, bidirectional=true) }")
    weights = initial(model, seed=1)
    inputs = inputs_of(model, T=9, N=3)
    (got,) = run_onnx(export(model, weights).SerializeToString(), inputs)
    (want,) = run(load(model, weights), inputs)
    assert np.abs(got - want.numpy()).max() < 1e-14


def test_exports_are_the_same_twice() -> None:
    first, second = (export(model_of(TAGGER), None, seed=5) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()
    weights = initial(model_of(TAGGER), seed=5)
    packed = {t.name: onnx.numpy_helper.to_array(t) for t in first.graph.initializer}
    reverse = weights["lstm.weight_ih_l1_reverse"]
    rows = np.concatenate([reverse[:16], reverse[48:], reverse[16:48]])
    assert same_bits(packed["lstm.W_l1"][1], rows)


# ----------------------------------------------------------------- the reset gate on the state


def reset_before(
    weights: dict[str, torch.Tensor], x: torch.Tensor, h0: torch.Tensor, layers: int, ways: int
) -> list[torch.Tensor]:
    """The gated unit of the paper, written by hand: the reset gate acts on the state."""
    final = []
    for layer in range(layers):
        given = []
        for way in range(ways):
            suffix = f"_l{layer}{'_reverse' if way else ''}"
            w, u = weights[f"weight_ih{suffix}"], weights[f"weight_hh{suffix}"]
            zero = torch.zeros(len(w), dtype=x.dtype)
            b = weights.get(f"bias_ih{suffix}", zero)
            d = weights.get(f"bias_hh{suffix}", zero)
            h, size, steps = h0[layer * ways + way], w.shape[0] // 3, []
            for step in reversed(x) if way else x:
                of_x = (step @ w.T + b).chunk(3, 1)
                of_h = (h @ u.T + d).chunk(3, 1)
                r, z = (torch.sigmoid(of_x[place] + of_h[place]) for place in (0, 1))
                n = torch.tanh(of_x[2] + (r * h) @ u[2 * size :].T + d[2 * size :])
                h = (1 - z) * n + z * h
                steps.append(h)
            given.append(torch.stack(steps[::-1] if way else steps))
            final.append(h)
        x = torch.cat(given, 2)
    return [x, torch.stack(final)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("layers", "both", "bias"), [(1, False, True), (2, True, True), (1, True, False)]
)
def test_the_reset_gate_acts_on_the_state(
    dtype: str, batch_first: bool, layers: int, both: bool, bias: bool
) -> None:
    ways = 2 if both else 1
    sizes = "N, T, 4" if batch_first else "T, N, 4"
    settings = (
        f"5, num_layers={layers}, bidirectional={str(both).lower()}, bias={str(bias).lower()},"
        f" batch_first={str(batch_first).lower()}, reset_after=false"
    )
    model = model_of(
        f"model m(x: {dtype}[{sizes}], h0: {dtype}[{layers * ways}, N, 5]) {{\n"
        f"  y, h = x -> gru: GRU({settings}, h0=h0)\n  return y = y, h = h\n}}"
    )
    with pytest.raises(Unsupported, match="reset_after"):
        emit(model)
    weights = initial(model, 3)
    proto = export(model, weights).SerializeToString()
    for length, batch in ((1, 1), (4, 2), (1, 3)):
        inputs = inputs_of(model, T=length, N=batch)
        outputs = {}
        for wide in (torch.float32, torch.float64):
            own = {k.removeprefix("gru."): torch.from_numpy(a).to(wide) for k, a in weights.items()}
            x, h0 = (torch.from_numpy(inputs[name]).to(wide) for name in ("x", "h0"))
            y, h = reset_before(own, x.transpose(0, 1) if batch_first else x, h0, layers, ways)
            outputs[wide] = [y.transpose(0, 1) if batch_first else y, h]
        single = outputs[torch.float64 if dtype == "float64" else torch.float32]
        found = run_onnx(proto, inputs)
        for got, want, exact in zip(found, single, outputs[torch.float64], strict=True):
            assert_parity(f"{length}, {batch}", got, want.contiguous(), exact.contiguous())


# ------------------------------------------------------------------------------------- refusals


def test_one_initial_state_alone_is_refused() -> None:
    text = "model m(x: [T, N, 8], h: [1, N, 4]) { x -> lstm: LSTM(4, h0=h) }"
    ((code, message),) = problems_of(text)
    assert code == "wrong-input-count"
    assert "together or not at all" in message


def test_a_state_of_another_size_is_refused() -> None:
    text = "model m(x: [T, N, 8], h: [1, N, 4]) { x -> gru: GRU(4, num_layers=2, h0=h) }"
    ((code, message),) = problems_of(text)
    assert code == "shape-mismatch"
    assert message == "`GRU`: `h0` must be float32[2, N, 4], but is float32[1, N, 4]"


def test_a_state_of_another_batch_is_refused_with_a_counterexample() -> None:
    compiled = compile_text(
        "edition 2026\nmodel m(x: [T, N, 8], h: [1, M, 4]) { x -> gru: GRU(4, h0=h) }"
    )
    assert compiled.model is None
    (problem,) = compiled.diagnostics
    assert problem.counterexample


def test_an_empty_sequence_is_excluded() -> None:
    model = model_of("model m(x: [T, N, 8]) { x -> slice(start=3, axis=T) -> gru: GRU(4) }")
    conditions = [requirement.condition for requirement in model.root.requirements]
    assert not all(condition.evaluate({"T": 3, "N": 1}) for condition in conditions)
    assert all(condition.evaluate({"T": 4, "N": 1}) for condition in conditions)
    problems = problems_of("model m(x: [3, N, 8]) { x -> slice(start=3, axis=0) -> gru: GRU(4) }")
    assert "at least 1 step" in problems[0][1]


def test_a_scan_can_read_what_is_also_given_out() -> None:
    model = model_of(
        """
model m(x: [T, N, 4], w: [N, 4]) -> s: [N, 4], y: [T, N, 4] {
  s = tanh(w)
  y = scan e over x(axis=T) carry h = zeros(N, 4) {
    h = e + h * s
    yield h
  }
  return s = s, y = y
}
"""
    )
    inputs = inputs_of(model, T=3, N=2)
    s, y = run_onnx(export(model, None).SerializeToString(), inputs)
    h, steps = np.zeros((2, 4), np.float32), []
    for e in inputs["x"]:
        h = e + h * np.tanh(inputs["w"])
        steps.append(h)
    assert np.allclose(s, np.tanh(inputs["w"]), atol=1e-6)
    assert np.allclose(y, np.stack(steps), atol=1e-5)
