"""Cells written by hand: as loops, fused, and in ONNX they are one; near ones stay loops."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from op_parity import assert_parity
from recurrent_cells import CELLS, HIDDEN, INPUTS, NEARLY, cell, network
from torch_programs import ScanProgram
from transformed_networks import moved_back

import archdsl
from archdsl.api import Network
from archdsl.backends.torch.source import emit
from archdsl.runtime.run import output_names, run_onnx
from archdsl.weights.initial import initial
from archdsl.weights.tensor_map import Arrays, LostWeightsError, TensorMap

SIZES = [(1, 1), (2, 5), (5, 2), (2, 1), (1, 5)]
STACKS = {
    "forwards": {"reverse": (False,)},
    "reverse": {"reverse": (True,), "time": 0},
    "two_layers": {"layers": 2, "reverse": (False,), "time": 0},
    "both_ways": {"layers": 2, "reverse": (True, False)},
}


def arrays_of(net: Network, seed: int = 0) -> dict[str, np.ndarray]:
    return initial(net.ir, seed)


def lazily(arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {path: partial(np.asarray, array) for path, array in arrays.items()}


def moved(change: TensorMap, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {path: array() for path, array in change.forward(lazily(arrays)).items()}


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def inputs_of(net: Network, batch: int, length: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(10 * batch + length)
    sizes = {"N": batch, "T": length, "S": 3}
    root = net.ir.root
    types = {port.name: root.type(port.value) for port in root.inputs}
    shapes = {name: [dim.evaluate(sizes) for dim in type.dims] for name, type in types.items()}
    return {
        name: generator.standard_normal(shape).astype(np.float32)
        if types[name].dtype.is_floating
        else generator.integers(5, size=shape)
        for name, shape in shapes.items()
    }


def doubled(net: Network, arrays: Mapping[str, np.ndarray]) -> torch.nn.Module:
    """The module in float64, also the tensors that it makes from nothing."""
    source = emit(net.ir).replace("device=device", "device=device, dtype=torch.float64")
    space: dict[str, Any] = {}
    exec(compile(source, "net", "exec"), space)  # noqa: S102
    module = space["Net"]().double().eval()
    module.load_state_dict({path: torch.from_numpy(a).double() for path, a in arrays.items()})
    return module


def run(module: torch.nn.Module, inputs: Mapping[str, np.ndarray], dtype: Any) -> list[Any]:
    with torch.no_grad():
        tensors = map(torch.from_numpy, inputs.values())
        result = module(*(x.to(dtype) if x.is_floating_point() else x for x in tensors))
    return list(result) if isinstance(result, tuple) else [result]


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


class Executions:
    """One network with one set of weights, run in every way."""

    def __init__(self, text: str) -> None:
        self.net = archdsl.load(text)
        self.arrays = arrays_of(self.net)
        self.fused, self.map = self.net.fused()
        self.new = moved(self.map, self.arrays)
        self.loop = self.net.to_torch(self.arrays).eval()
        self.double = doubled(self.net, self.arrays)
        self.module = self.fused.to_torch(self.new).eval()
        self.fused_onnx = self.net.to_onnx(self.arrays)
        self.scan_onnx = self.net.to_onnx(self.arrays, fuse=False)

    def check(self, batch: int, length: int) -> None:
        inputs = inputs_of(self.net, batch, length)
        single = run(self.loop, inputs, torch.float32)
        exact = run(self.double, inputs, torch.float64)
        found = {"fused": [each.numpy() for each in run(self.module, inputs, torch.float32)]}
        for name, proto in (("ONNX fused", self.fused_onnx), ("ONNX Scan", self.scan_onnx)):
            found[name] = run_onnx(proto.SerializeToString(), inputs)
        for name, outputs in found.items():
            for got, want, double in zip(outputs, single, exact, strict=True):
                assert_parity(f"{name} at {batch}, {length}", got, want, double)


@cache
def executions(name: str, stack: str, given: bool) -> Executions:
    return Executions(network(CELLS[name], given=given, **STACKS[stack]))


# ------------------------------------------------------------------------------ what is the same


@pytest.mark.parametrize("given", [True, False], ids=["given", "zero"])
@pytest.mark.parametrize(("name", "stack"), list(product(CELLS, STACKS)))
def test_three_executions_agree(name: str, stack: str, given: bool) -> None:
    written, case = CELLS[name], executions(name, stack, given)
    for batch, length in SIZES:
        case.check(batch, length)
    layers = STACKS[stack].get("layers", 1)
    assert operators(case.scan_onnx).count("Scan") == layers
    assert operators(case.fused_onnx).count(written.operator) == layers
    assert "Scan" not in operators(case.fused_onnx)
    kinds = [type(module).__name__ for module in case.module.modules()]
    assert kinds.count(written.operator) == (0 if written.only_onnx else layers)
    assert len(case.net.fused_scans) == layers


@pytest.mark.parametrize("name", CELLS)
def test_the_map_goes_there_and_back(name: str) -> None:
    case = executions(name, "two_layers", True)
    assert not case.map.dropped and case.map.is_exact
    assert set(case.new) == set(arrays_of(case.fused))
    back = moved_back(case.map, case.new)
    assert {path: bits(a) for path, a in back.items()} == {
        path: bits(a) for path, a in case.arrays.items()
    }


@pytest.mark.parametrize("name", [n for n, w in CELLS.items() if not w.only_onnx])
def test_what_is_trained_fused_goes_back(name: str) -> None:
    """Any weights of the fused network that the loop can have give the loop's the same outputs."""
    case = executions(name, "forwards", True)
    trained = {
        path: (array + np.float32(0.25) * (array != 0)).astype(np.float32)
        for path, array in case.new.items()
    }
    back = moved_back(case.map, trained)
    inputs = inputs_of(case.net, 2, 5)
    exact = run(doubled(case.fused, trained), inputs, torch.float64)
    single = run(case.fused.to_torch(trained).eval(), inputs, torch.float32)
    loop = run(case.net.to_torch(back).eval(), inputs, torch.float32)
    for got, want, double in zip(loop, single, exact, strict=True):
        assert_parity(name, got.numpy(), want, double)


def test_a_second_bias_is_added_going_back() -> None:
    case = executions("lstm_order_0", "forwards", True)
    path = next(path for path in case.new if path.endswith("bias_hh_l0"))
    trained = {**case.new, path: np.full_like(case.new[path], 0.5)}
    back = moved_back(case.map, trained)
    for old, array in case.arrays.items():
        added = 0.5 if old.endswith("bias") else 0.0
        assert bits(back[old]) == bits(array + np.float32(added))


def test_what_has_no_place_is_not_taken_back() -> None:
    case = executions("lstm_one_biased_gate", "forwards", True)
    path = next(path for path in case.new if path.endswith("bias_ih_l0"))
    trained = {**case.new, path: np.full_like(case.new[path], 0.5)}
    with pytest.raises(LostWeightsError, match=r"bias_ih_l0 has values for which"):
        moved_back(case.map, trained)


# ----------------------------------------------------------------------------- what is not quite


@pytest.mark.parametrize("stack", ["forwards", "both_ways"])
@pytest.mark.parametrize("name", NEARLY)
def test_near_cells_keep_their_loops(name: str, stack: str) -> None:
    settings = dict(STACKS[stack])
    inputs = HIDDEN if name in ("rnn_twice", "rnn_of_sum") else INPUTS
    case = Executions(network(NEARLY[name], inputs=inputs, **settings))
    assert case.net.fused_scans == () and case.net.transformed("fuse_recurrence").notes == ()
    assert operators(case.fused_onnx) == operators(case.scan_onnx)
    assert not {"LSTM", "GRU", "RNN"} & set(operators(case.fused_onnx))
    assert bits_of(case.map, case.arrays)
    for sizes in ((2, 5), (1, 1)):
        case.check(*sizes)


def bits_of(change: TensorMap, arrays: Mapping[str, np.ndarray]) -> bool:
    return {p: bits(a) for p, a in moved(change, arrays).items()} == {
        p: bits(a) for p, a in arrays.items()
    }


# --------------------------------------------------------------------- what stands around a cell

LSTM = cell(CELLS["lstm_order_0"])
GRU = cell(CELLS["gru"], "Unit")

AROUND: dict[str, tuple[str, list[str], int]] = {
    "head_inside": (
        """model net(x: [N, T, 4]) -> y: [N, T, 3], m: [N, T] {
  step = Step()
  y, m = scan e over x(axis=T) carry h = zeros(N, 6), c = zeros(N, 6) {
    h, c = step(e, h, c)
    yield h -> head: Linear(3), mean(e, axis=1) + mean(h, axis=1)
  }
  return y = y, m = m
}""",
        ["LSTM"],
        1,
    ),
    "two_cells_in_a_step": (
        """model net(x: [T, N, 4], h0: [N, 6]) -> y: [T, N, 6], h: [N, 6], g: [N, 6] {
  first = Step()
  second = Unit()
  y, h, c, g = scan reverse e over x(axis=T) carry h = h0, c = h0, g = h0 {
    h, c = first(e, h, c)
    g = second(h, g)
    yield g
  }
  return y = y, h = h, g = g
}""",
        ["LSTM", "GRU"],
        0,
    ),
    "other_states": (
        """model net(x: [N, T, 4]) -> y: [N, T, 6], z: [N, T, 6], total: [N, 6] {
  step = Unit()
  y, z, total, h = scan e over x(axis=T) carry total = zeros(N, 6), h = ones(N, 6) {
    h = step(e, h)
    total = total * 0.5 + h
    yield h, total
  }
  return y = y, z = z, total = total
}""",
        ["GRU"],
        1,
    ),
    "several_sequences": (
        """model net(a: [N, T, 4], b: [T, N, 2], m: [N, 3, T]) -> y: [N, T, 6], z: [N, T, 6] {
  step = Unit()
  y, z, last = scan e, f, g over a(axis=T), b(axis=0), m(axis=2) carry h = zeros(N, 6) {
    v = concat(e -> slice(axis=1, start=1, end=3), f, axis=1)
    h = concat(v, g, axis=1) -> step(h)
    yield h, h
  }
  return y = y, z = z
}""",
        ["GRU"],
        0,
    ),
    "gates_of_what_two_elements_make": (
        """model net(x: [N, T, 4], w: [T, N, 4]) -> y: [N, T, 6], last: [N, 6] {
  step = Unit()
  y, last = scan e, f over x(axis=T), w(axis=0) carry h = zeros(N, 6) {
    h = step(e * exp(f), h)
    yield h
  }
  return y = y, last = last
}""",
        ["GRU"],
        0,
    ),
    "an_element_without_axes": (
        """model net(x: [N, T, 4], w: [T]) -> y: [N, T, 6], last: [N, 6] {
  step = Unit()
  y, last = scan e, f over x(axis=T), w(axis=0) carry h = zeros(N, 6) {
    h = step(e * exp(f), h)
    yield h
  }
  return y = y, last = last
}""",
        [],
        1,
    ),
    "last_axis": (
        """model net(x: [N, 4, T]) -> y: [N, 6, T], last: [N, 6] {
  step = Unit()
  y, last = scan e over x(axis=2) carry h = zeros(N, 6) {
    h = step(e, h)
    yield h
  }
  return y = y, last = last
}""",
        ["GRU"],
        0,
    ),
    "within_a_scan": (
        """model net(x: [N, S, T, 4], h0: [N, 6]) -> y: [N, S, T, 6], last: [N, 6] {
  step = Unit()
  outer = Linear(6)
  y, last = scan row over x(axis=S) carry g = h0 {
    cells, h = scan reverse e over row(axis=T) carry h = tanh(g) {
      h = step(e, h)
      yield h
    }
    g = h -> outer -> relu
    yield cells
  }
  return y = y, last = last
}""",
        ["GRU"],
        1,
    ),
    "shared_by_two_scans": (
        """model net(x: [N, T, 4]) -> y: [N, T, 12] {
  step = Unit()
  there = scan e over x(axis=T) carry h = zeros(N, 6) {
    h = step(e, h)
    yield h
  }
  back = scan reverse e over x(axis=T) carry h = zeros(N, 6) {
    h = step(e, h)
    yield h
  }
  return concat(there, back, axis=2)
}""",
        [],
        2,
    ),
    "weights_used_outside": (
        """model net(x: [N, T, 4]) -> y: [N, T, 6] {
  w = Linear(6)
  y = scan e over x(axis=T) carry h = zeros(N, 6) {
    h = tanh(w(e) + (h -> u: Linear(6)))
    yield h
  }
  return y + w(x)
}""",
        [],
        1,
    ),
    "memory_is_yielded": (
        """model net(x: [N, T, 4]) -> y: [N, T, 6] {
  step = Step()
  y = scan e over x(axis=T) carry h = zeros(N, 6), c = zeros(N, 6) {
    h, c = step(e, h, c)
    yield c
  }
  return y
}""",
        [],
        1,
    ),
    "state_before_is_yielded": (
        """model net(x: [N, T, 4]) -> y: [N, T, 6] {
  step = Unit()
  y = scan e over x(axis=T) carry h = zeros(N, 6) {
    before = h
    h = step(e, h)
    yield before
  }
  return y
}""",
        [],
        1,
    ),
    "context": (
        """model net(x: [N, T, 4], context: [N, 6]) -> y: [N, T, 6] {
  w = Linear(6)
  y = scan e over x(axis=T) carry h = zeros(N, 6) {
    h = tanh((concat(e, h, axis=1) -> cell: Linear(6)) + w(context))
    yield h
  }
  return y
}""",
        [],
        1,
    ),
}


@pytest.mark.parametrize("name", AROUND)
def test_what_stands_around_a_cell(name: str) -> None:
    text, fused, scans = AROUND[name]
    case = Executions(f"edition 2026\n{LSTM}{GRU}{text}\n")
    found = [op for op in all_operators(case.fused_onnx) if op in ("LSTM", "GRU", "RNN")]
    assert sorted(found) == sorted(fused)
    assert all_operators(case.fused_onnx).count("Scan") == scans
    back = moved_back(case.map, case.new)
    assert all(bits(back[path]) == bits(array) for path, array in case.arrays.items())
    for sizes in SIZES:
        case.check(*sizes)


OF_ELEMENTS: dict[str, tuple[str, str, bool]] = {
    "embedding": ("int64[N, T]", "e -> table: Embedding(7, 4)", True),
    "embedding_over_time_first": ("int64[T, N]", "e + 1 -> table: Embedding(7, 4)", True),
    "relu": ("[N, T, 4]", "e -> relu", True),
    "scaled": ("[T, N, 4]", "0.5 * e + 1", True),
    "residual": ("[N, T, 4]", "e + (e -> a: Linear(4))", True),
    "layers": ("[N, T, 3]", "e -> a: Linear(5) -> gelu -> norm: LayerNorm -> b: Linear(4)", True),
    "last_axis": ("[N, 8, T]", "(e -> slice(axis=1, end=4)) * (e -> slice(axis=1, start=4))", True),
    "partly": ("[N, T, 2]", "concat(e, tanh(e), axis=1)", True),
    "parts": ("[T, N, 8]", "mul(e -> chunk(2, axis=1))", True),
    "along_an_axis": ("[T, N, 4]", "e -> softmax(axis=1)", True),
    "along_the_batch": ("[N, T, 4]", "e - mean(e, axis=0, keepdim=true)", True),
    "rearranged": ("[N, T, 4]", 'tanh(e) -> rearrange("N (a b) -> N (b a)", a=2)', True),
    "pattern_of_two_axes": ("[N, T, 4]", 'e * e -> rearrange("a b -> a b")', True),
    "param": ("[N, T, 4]", "e * exp(scale)", True),
    "other_values": ("[N, T, 4]", "e * mean(x, axis=1)", False),
    "by_position": ("[T, N, 4]", "e -> mask(_1 < 2, fill=0.0)", False),
    "channels": ("[N, T, 4]", "e -> norm: BatchNorm", False),
    "channels_over_time_first": ("[T, N, 4]", "e -> act: PReLU(4)", False),
    "draws": ("[N, T, 4]", "e -> dropout(0.5)", False),
}
"""What a step makes of its element before the gates, and whether that can be done at once."""


@pytest.mark.parametrize("way", ["", "reverse "])
@pytest.mark.parametrize("fixed", [False, True], ids=["any size", "all of one size"])
@pytest.mark.parametrize("name", OF_ELEMENTS)
def test_what_is_made_of_elements_alone(name: str, fixed: bool, way: str) -> None:
    taken, made, is_fused = OF_ELEMENTS[name]
    axis = taken.replace("int64", "").strip("[]").split(", ").index("T")
    declared = "param scale: [4] = normal(std=0.4)" if "scale" in made else ""
    text = f"""model net(x: {taken}) {{
  {declared}
  step = Unit()
  y, last = scan {way}e over x(axis={axis}) carry h = zeros(N, 6) {{
    h = step({made}, h)
    yield h
  }}
  return y = y, last = last
}}"""
    if fixed:
        text = text.replace("[N, ", "[4, ").replace("T, N", "4, 4").replace(", T", ", 4")
        text = text.replace("(N, ", "(4, ").replace("[T", "[4").replace("[4, T]", "[4, 4]")
    case = Executions(f"edition 2026\n{GRU}{text}\n")
    assert operators(case.fused_onnx).count("GRU") == len(case.net.fused_scans) == is_fused
    assert all(bits(moved_back(case.map, case.new)[p]) == bits(a) for p, a in case.arrays.items())
    for sizes in ((4, 4),) if fixed else SIZES:
        case.check(*sizes)


def test_what_is_lifted_is_written_as_an_engineer_would() -> None:
    net = archdsl.load(
        f"edition 2026\n{GRU}"
        """model net(tokens: int64[N, T]) -> [N, T, 6] {
  step = Unit()
  return scan word over tokens(axis=T) carry h = zeros(N, 6) {
    h = step(word -> table: Embedding(7, 4), h)
    yield h
  }
}
"""
    )
    assert "step, _ = self.step(self.table(tokens))" in net.fused()[0].to_source()


def all_operators(proto: onnx.ModelProto) -> list[str]:
    """Those of the graph and of the bodies of loops."""
    found: list[str] = []
    waiting = [proto.graph]
    while waiting:
        for node in waiting.pop().node:
            found.append(node.op_type)
            waiting += [a.g for a in node.attribute if a.HasField("g")]
    return found


@pytest.mark.parametrize("name", ["lstm_order_0", "gru", "gru_paper", "rnn"])
def test_a_reverse_scan_is_an_operator_that_walks_backwards(name: str) -> None:
    case = executions(name, "reverse", True)
    proto = case.fused_onnx
    assert "Slice" not in operators(proto)
    (layer,) = [node for node in proto.graph.node if node.op_type == CELLS[name].operator]
    directions = {a.name: a.s for a in layer.attribute if a.name == "direction"}
    assert directions == {"direction": b"reverse"}


def test_a_length_that_may_be_nothing_is_not_fused() -> None:
    text = network(CELLS["rnn"]).replace(
        "over x(axis=T)", "over slice(x, axis=T, end=T//2)(axis=1)"
    )
    net = archdsl.load(text)
    assert net.fused_scans == ()


@pytest.mark.parametrize("seed", range(25))
def test_random_scans_are_the_same_fused(seed: int) -> None:
    text = ScanProgram(seed).text()
    net = archdsl.load(text)
    inputs = {"x": np.random.default_rng(seed).standard_normal((3, 4)).astype(np.float32)}
    weights = arrays_of(net, seed)
    change = net.transformed("fuse_recurrence")
    fused = run(change.network.to_torch(moved(change.map, weights)).eval(), inputs, torch.float32)
    scanned = run_onnx(net.to_onnx(weights, fuse=False).SerializeToString(), inputs)
    for one, other in zip(fused, scanned, strict=True):
        if np.isfinite(other).all():
            scale = 1e-4 * max(1.0, float(np.abs(other).max()))
            assert np.allclose(one.numpy(), other, rtol=1e-3, atol=scale)


def test_the_new_layer_stands_where_the_cell_stood() -> None:
    case = executions("lstm_a_layer_a_gate", "two_layers", True)
    assert list(case.new)[:2] == ["step0.weight_ih_l0", "step0.weight_hh_l0"]
    assert "self.step0 = nn.LSTM(4, 6)" in case.fused.to_source()
    taken = """
model net(x: [N, T, 4]) -> [N, T, 6] {
  x = x -> rnn: Linear(4)
  y = scan e over x(axis=T) carry h = zeros(N, 6) {
    h = tanh((e -> wx: Linear(6)) + (h -> wh: Linear(6)))
    yield h
  }
  return y
}"""
    fused, _ = archdsl.load(f"edition 2026\n{taken}\n").fused()
    assert "rnn_2.weight_ih_l0" in arrays_of(fused)


def test_outputs_keep_their_names_and_types() -> None:
    case = executions("lstm_order_0", "both_ways", True)
    assert output_names(case.fused.ir) == output_names(case.net.ir)
    pairs = zip(case.fused.ir.root.outputs, case.net.ir.root.outputs, strict=True)
    for new, old in pairs:
        assert case.fused.ir.root.type(new.value).dims == case.net.ir.root.type(old.value).dims
