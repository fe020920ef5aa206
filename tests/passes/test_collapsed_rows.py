"""What works on the last axis alone, exported as matrices: when, and that it stays the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from archdsl import api

MLP = "y = x -> a: Linear(8) -> relu -> b: Linear(4)"

PROGRAMS = [
    ("[B, T, 4]", "return x -> a: Linear(8)", {"MatMul": 1, "Add": 1}),
    ("[B, T, 4]", f"{MLP}\n return y", {"MatMul": 2}),
    ("[B, T, 4]", f"{MLP}\n return y + x -> n: LayerNorm", {"MatMul": 2}),
    ("[B, T, 4]", f"{MLP}\n return y -> c: Linear(4)", {"MatMul": 3}),
    ("[B, T, 4]", f"{MLP}\n return y + x -> c: Linear(9) -> d: Linear(4)", {"MatMul": 4}),
    (
        "[B, T, 4]",
        f"{MLP}\n return y + x -> n: LayerNorm -> c: Linear(9) -> tanh -> d: Linear(4)"
        " -> e: Linear(4)",
        {"Gemm": 5, "MatMul": 0, "Reshape": 2},
    ),
    (
        "[B, T, 4]",  # What an operator says of axes by position it would say of others in rows.
        "return x -> a: Linear(4) -> mask(_1 < 2, fill=0.0) -> b: Linear(4)",
        {"MatMul": 2, "Gemm": 0},
    ),
    ("[2, 3, 4]", f"{MLP}\n return y -> c: Linear(4)", {"Gemm": 3, "Reshape": 2, "Shape": 0}),
    ("[B, 1, 4]", f"{MLP}\n return y -> c: Linear(4)", {"Gemm": 3, "Reshape": 2, "Shape": 0}),
    (
        "[2, 3, 5, 4]",
        f"{MLP}\n return y + x -> n: LayerNorm -> c: Linear(4)",
        {"Gemm": 3, "Reshape": 2},
    ),
    (
        "[2, 3, 4]",  # One row serves all.
        f"{MLP}\n return y + mean(x, axis=[0, 1]) -> c: Linear(4) -> d: Linear(4)",
        {"Gemm": 4, "Reshape": 2},
    ),
    (
        "[2, 3, 4]",  # A row serves those of its sample only.
        f"{MLP}\n return y + mean(x, axis=1, keepdim=true) -> c: Linear(4) -> d: Linear(4)"
        " -> e: Linear(4)",
        {"Gemm": 5, "Reshape": 4},
    ),
    (
        "[2, 3, 4]",
        f"{MLP}\n return y -> softmax(axis=2) -> c: Linear(8) -> glu(axis=2) -> d: Linear(4)",
        {"Gemm": 4, "Reshape": 2},
    ),
    (
        "[2, 3, 4]",
        f"{MLP}\n return y -> softmax(axis=1) -> c: Linear(8) -> relu -> d: Linear(4)"
        " -> e: Linear(4)",
        {"Gemm": 5, "Reshape": 4},
    ),
    *(
        (
            taken,
            f"{MLP}\n return y -> {stage} -> c: Linear(8) -> d: Linear(4) -> e: Linear(4)"
            " -> f: Linear(4) -> g: Linear(4)",
            {"Gemm": 7, "Reshape": 4},
        )
        for taken, stage in (
            ("[2, 1, 4]", "softmax(axis=1)"),  # The axis has one place, and is not the last.
            ("[1, T, 4]", "softmax(axis=0)"),
            ("[1, 1, 4]", "flip(axis=1)"),
            ("[2, T, 4]", "mask(_1 < 3, fill=0.5)"),  # Rows of different places differ.
            ("[2, T, 4]", "rotary"),
        )
    ),
    (
        "[2, 3, 4]",
        f"{MLP}\n z = y -> c: Linear(4) -> d: Linear(4) -> e: Linear(4)\n"
        " return z + flip(y, axis=1)",
        {"Gemm": 5, "Reshape": 4},
    ),
    (
        "[2, 3, 4]",  # The heads are opened before they are parted.
        f"{MLP}\n u, v = y -> c: Linear(12) -> split(2, axis=2)\n"
        ' u = u -> rearrange("B T (h e) -> B h T e", h=2)\n'
        ' v = v -> rearrange("B T (h e) -> B h T e", h=2)\n'
        ' return u * v -> rearrange("B h T e -> B T (h e)") -> d: Linear(4)',
        {"Gemm": 4, "Split": 1, "Reshape": 4, "Transpose": 3},
    ),
    (
        "[2, 3, 4]",  # One part is read as it is too.
        f"{MLP}\n u, v = y -> c: Linear(12) -> split(2, axis=2)\n"
        ' w = v -> rearrange("B T (h e) -> B h T e", h=2) -> rearrange("B h T e -> B T (h e)")\n'
        " return (u * v -> tanh -> d: Linear(6)) + w -> e: Linear(4) -> f: Linear(4)",
        {"Gemm": 6},
    ),
    (
        "[2, 3, 4]",  # What comes last and widens is left, as it would be copied.
        f"param table: [9, 4] = normal\n {MLP}\n return linear(y -> c: Linear(4), table)",
        {"Gemm": 3, "MatMul": 1, "Reshape": 2},
    ),
    (
        "[2, 3, 4]",
        "param weight: [4, 4] = normal\n param bias: [4] = normal\n"
        " y = linear(x, weight, bias) -> relu\n"
        " return linear(y, weight -> transpose(0, 1), bias) -> a: Linear(4)",
        {"Gemm": 3, "Reshape": 2, "Transpose": 0},
    ),
]


@pytest.mark.parametrize(("taken", "body", "wanted"), PROGRAMS)
@pytest.mark.parametrize("opset", [17, 20])
def test_graph_and_outputs(taken: str, body: str, wanted: dict[str, int], opset: int) -> None:
    network = api.load(f"edition 2026\nmodel m(x: {taken}) {{\n {body}\n}}\n")
    torch.manual_seed(0)
    module = network.to_torch().eval()
    model = network.to_onnx(module, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    counts = Counter(node.op_type for node in model.graph.node)
    assert {name: counts[name] for name in wanted} == wanted
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for batch, time in ((1, 1), (1, 5), (3, 1), (2, 7)):
        sizes = {"B": batch, "T": time}
        x = torch.randn([sizes.get(size) or int(size) for size in taken[1:-1].split(", ")])
        (found,) = session.run(None, {"x": x.numpy()})
        single, exact = module(x).detach(), module.double()(x.double()).detach().numpy()
        module.float()
        own = np.abs(single.numpy() - exact).max()
        assert np.abs(found - exact).max() <= 4 * own + 1e-6 * np.abs(exact).max()


def test_rows_may_be_none_at_all() -> None:
    text = f"edition 2026\nmodel m(x: [N >= 0, T, 4]) {{\n {MLP}\n return y -> c: Linear(4)"
    network = api.load(f"{text} -> d: Linear(4) -> e: Linear(4)\n}}\n")
    module = network.to_torch().eval()
    model = network.to_onnx(module)
    assert Counter(node.op_type for node in model.graph.node)["Gemm"] == 5
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for count in (0, 2):
        x = torch.randn(count, 3, 4)
        (found,) = session.run(None, {"x": x.numpy()})
        assert found.shape == (count, 3, 4)
        np.testing.assert_allclose(found, module(x).detach().numpy(), atol=1e-6)


def test_without_folding_the_graph_is_as_written() -> None:
    text = f"edition 2026\nmodel m(x: [2, 3, 4]) {{\n {MLP}\n return y -> c: Linear(4)\n}}\n"
    graph = api.load(text).to_onnx(fold=False).graph
    counts = Counter(node.op_type for node in graph.node)
    assert (counts["MatMul"], counts["Gemm"]) == (3, 0)
