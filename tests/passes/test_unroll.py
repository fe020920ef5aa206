"""Scans written out step by step: the same network without a loop, with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from network_parity import assert_agrees
from scans import SCANS, STEPS

import archdsl
from archdsl.api import Network
from archdsl.diagnostics import ArchError
from archdsl.ir.model import every_node
from archdsl.runtime.run import run_onnx, run_torch_in_float64
from archdsl.weights.initial import initial


def loaded(name: str, length: int) -> Network:
    text = f"edition 2026\n{STEPS}{SCANS[name]}"
    sizes = {"T": length, "B": 2, **({"S": 3} if name == "nested" else {})}
    return archdsl.load(text, dims=sizes)


def run(module: torch.nn.Module, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        result: Any = module(*inputs)
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("name", SCANS)
def test_written_out_it_gives_the_same_bits(name: str, length: int) -> None:
    net = loaded(name, length)
    change = net.transformed("unroll")
    assert not change.dropped and change.map.is_exact
    nodes = [n for b in change.network.ir.blocks.values() for n in every_node(b.nodes)]
    assert all(node.scan is None for node in nodes)
    weights = initial(net.ir, 5)
    assert set(initial(change.network.ir, 5)) == set(weights)
    generator = torch.Generator().manual_seed(length)
    root = net.ir.root
    shapes = [[dim.evaluate({}) for dim in root.type(p.value).dims] for p in root.inputs]
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    loop = run(net.to_torch(weights).eval(), inputs)
    written = run(change.network.to_torch(weights).eval(), inputs)
    arrays = {p.name: x.numpy() for p, x in zip(root.inputs, inputs, strict=True)}
    exported = change.network.to_onnx(weights)
    assert not [node for node in exported.graph.node if node.op_type in ("Scan", "GRU", "LSTM")]
    found = run_onnx(exported.SerializeToString(), arrays)
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    exact = run_torch_in_float64(net.to_torch(weights).eval().double(), net.ir, wide)
    for one, other, array, double in zip(loop, written, found, exact, strict=True):
        assert torch.equal(one, other)
        assert_agrees(torch.from_numpy(array), one, torch.from_numpy(double))


def test_the_text_written_out_is_a_program() -> None:
    net = loaded("gru", 3)
    text = net.expanded(unroll=True)
    assert "scan" not in text
    assert text.count("share step.input: Linear(") == 2
    assert archdsl.load(text).expanded() == text


def test_a_length_that_is_not_known_is_refused() -> None:
    net = archdsl.load(f"edition 2026\n{STEPS}{SCANS['gru']}")
    with pytest.raises(ArchError, match=r"known number of steps, not over T") as problem:
        net.expanded(unroll=True)
    assert "--dim T=8" in str(problem.value)
    (found,) = problem.value.diagnostics
    assert found.span is not None
    assert problem.value.sources[found.span.file].text[found.span.start :].startswith("scan")


def test_what_is_too_long_is_refused() -> None:
    net = archdsl.load(f"edition 2026\n{STEPS}{SCANS['no_yields']}", dims={"T": 200_000})
    with pytest.raises(ArchError, match="more than 100,000 operators"):
        net.expanded(unroll=True)


def test_without_scans_nothing_changes() -> None:
    text = "edition 2026\nmodel net(x: [N, 3]) -> [N, 2] { x -> fc: Linear(2) }\n"
    net = archdsl.load(text)
    assert net.expanded(unroll=True) == net.expanded()
