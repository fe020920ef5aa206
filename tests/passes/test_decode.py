"""Prefill and then step by step: the same as all at once, at every place, in ONNX Runtime."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from op_parity import assert_parity
from step_models import MODELS, RECURRENT, REFUSED, StepModel, along

import archdsl
from archdsl.cli import main
from archdsl.runtime.run import run_torch
from archdsl.weights.dtypes import numpy_dtype
from archdsl.weights.initial import initial

Array = np.ndarray[Any, Any]

LENGTHS = [(1, 2, 3), (3, 7, 1), (5, 6, 3), (1, 5, 1)]
"""How many steps come first, how many there are, and how many samples."""

EDITION = "edition 2026\n"


@cache
def network(name: str) -> archdsl.Network:
    model = MODELS[name]
    if model.settings:
        return archdsl.load(model.text, **model.settings)
    return archdsl.load(EDITION + model.text)


@cache
def stepping(name: str) -> archdsl.Stepping:
    return network(name).stepping()


@cache
def weights(name: str) -> Mapping[str, Array]:
    """The weights as drawn, moved at random so that none is 0 or 1."""
    generator = np.random.default_rng(7)
    drawn = initial(network(name).ir, 0)
    return {path: moved(generator, path, array) for path, array in drawn.items()}


def moved(generator: np.random.Generator, path: str, array: Array) -> Array:
    if array.dtype.kind != "f":
        return array
    noise = 0.3 * generator.standard_normal(array.shape)
    return (array + (np.abs(noise) if "var" in path else noise)).astype(array.dtype)


@cache
def sessions(name: str) -> tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession]:
    parts = stepping(name).prefill, stepping(name).step
    protos = [part.to_onnx(weights(name)) for part in parts]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return tuple(  # pyright: ignore[reportReturnType]
        onnxruntime.InferenceSession(proto.SerializeToString(), options) for proto in protos
    )


def call(session: onnxruntime.InferenceSession, given: Mapping[str, Array]) -> dict[str, Array]:
    taken = {port.name: given[port.name] for port in session.get_inputs()}
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, taken), strict=True))


def drawn_inputs(name: str, sizes: Mapping[str, int]) -> dict[str, Array]:
    generator = np.random.default_rng(3)
    root = network(name).ir.root
    found: dict[str, Array] = {}
    for port in root.inputs:
        type = root.type(port.value)
        shape = tuple(dim.evaluate(sizes) for dim in type.dims)
        if type.dtype.is_floating:
            array = generator.standard_normal(shape)
        else:
            array = generator.integers(0, 2 if type.dtype == "bool" else 15, shape)
        found[port.name] = array.astype(numpy_dtype(type.dtype))
    return found


def cut(array: Array, axis: int, start: int, stop: int) -> Array:
    return np.ascontiguousarray(array.take(range(start, stop), axis))


def exact(name: str, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """What PyTorch gives for all at once, in float32 and in float64."""
    net = network(name)
    for double in (False, True):
        module = net.to_torch(weights(name)).eval()
        module = module.double() if double else module
        given = {
            n: x.astype(np.float64) if double and x.dtype.kind == "f" else x
            for n, x in inputs.items()
        }
        found = run_torch(module, net.ir, given)
        yield dict(zip([port.name for port in net.ir.root.outputs], found, strict=True))


def until(model: StepModel, inputs: Mapping[str, Array], stop: int) -> dict[str, Array]:
    """The inputs without the steps from there on."""
    return {
        n: cut(x, model.inputs[n], 0, stop) if n in model.inputs else x for n, x in inputs.items()
    }


def check(
    name: str,
    model: StepModel,
    found: Mapping[str, Array],
    inputs: Mapping[str, Array],
    whole: tuple[Mapping[str, Array], Mapping[str, Array]],
    start: int,
    stop: int,
) -> None:
    """These steps are as in the whole, and what is the latest as if it ended here."""
    for output, axis in model.outputs.items():
        single, double = (torch.from_numpy(cut(each[output], axis, start, stop)) for each in whole)
        assert_parity(f"{name} {output} {start}:{stop}", found[output], single, double)
    for output, (row, column) in model.rows.items():
        single, double = (
            torch.from_numpy(cut(cut(each[output], row, start, stop), column, 0, stop))
            for each in whole
        )
        assert_parity(f"{name} {output} {start}:{stop}", found[output], single, double)
    ended = tuple(exact(name, until(model, inputs, stop))) if model.latest else ()
    for output in model.latest:
        single, double = (torch.from_numpy(each[output]) for each in ended)
        assert_parity(f"{name} {output} after {stop}", found[output], single, double)


@pytest.mark.parametrize(("first", "length", "batch"), LENGTHS)
@pytest.mark.parametrize("name", MODELS)
def test_steps_are_the_whole(name: str, first: int, length: int, batch: int) -> None:
    model = MODELS[name]
    inputs = drawn_inputs(name, {"B": batch, "T": length, "S": 4})
    single, double = exact(name, inputs)
    prefill, step = sessions(name)
    found = call(prefill, until(model, inputs, first))
    check(name, model, found, inputs, (single, double), 0, first)
    states = stepping(name).states
    assert len(states) == model.states
    fixed = {n: x for n, x in inputs.items() if n not in model.inputs}
    fixed |= {n: found[n] for n in stepping(name).fixed}
    for place in range(first, length):
        newest = {n: cut(inputs[n], axis, place, place + 1) for n, axis in model.inputs.items()}
        carried = {past: found[present] for past, present in states.items()}
        found = call(step, {**newest, **carried, **fixed})
        check(name, model, found, inputs, (single, double), place, place + 1)


@pytest.mark.parametrize("name", MODELS)
def test_the_step_is_a_program(name: str) -> None:
    for part in (stepping(name).prefill, stepping(name).step):
        text = part.expanded()
        assert archdsl.load(text).expanded() == text


@pytest.mark.parametrize("name", MODELS)
def test_the_module_of_a_step_gives_what_the_graph_gives(name: str) -> None:
    model, part = MODELS[name], stepping(name).step
    inputs = drawn_inputs(name, {"B": 2, "T": 5, "S": 4})
    begun = call(sessions(name)[0], until(model, inputs, 4))
    given = {
        n: cut(x, model.inputs[n], 4, 5) if n in model.inputs else x for n, x in inputs.items()
    }
    given |= {past: begun[present] for past, present in stepping(name).states.items()}
    given |= begun
    ordered = {port.name: given[port.name] for port in part.ir.root.inputs}
    results: list[list[Array]] = []
    for double in (False, True):
        module = part.to_torch(weights(name)).eval()
        arrays = {n: widened(x) if double else x for n, x in ordered.items()}
        results.append(run_torch(module.double() if double else module, part.ir, arrays))
    found = call(sessions(name)[1], ordered)
    for port, single, double in zip(part.ir.root.outputs, *results, strict=True):
        pair = torch.from_numpy(single), torch.from_numpy(double)
        assert_parity(f"{name} {port.name}", found[port.name], *pair)


def widened(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_later_steps_is_refused(name: str) -> None:
    text, reason = REFUSED[name]
    net = archdsl.load(EDITION + text)
    with pytest.raises(archdsl.ArchError, match=reason) as refused:
        net.stepping()
    assert [each.code for each in refused.value.diagnostics] == ["not-steppable"]


def test_the_loop_that_the_page_shows_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "step.md").read_text("utf-8")
    model, loop = (
        page.partition(f"```{kind}\n")[2].partition("```")[0]
        for kind in ("arch file=lm.arch", "python")
    )
    monkeypatch.chdir(tmp_path)
    Path("lm.arch").write_text(model)
    Path("loop.py").write_text(loop)
    names = runpy.run_path("loop.py")
    tokens = names["tokens"]
    assert len(tokens) == 13
    whole = run_torch(
        names["network"].to_torch(initial(names["network"].ir, 0)).eval(),
        names["network"].ir,
        {"tokens": np.array([tokens])},
    )[0]
    assert tokens[3:] == whole[0, 2:-1].argmax(-1).tolist()


def test_the_command_writes_and_verifies_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.arch").write_text(EDITION + RECURRENT)
    result = CliRunner().invoke(main, ["export", "model.arch", "--step=T", "--verify", "--json"])
    assert result.exit_code == 0, result.output
    records = json.loads(result.stdout)
    assert [each["path"] for each in records] == ["example.prefill.onnx", "example.step.onnx"]
    for record in records:
        assert Path(record["path"]).stat().st_size == record["bytes"]
        assert record["verified"]
    shown = CliRunner().invoke(main, ["expand", "model.arch", "--step"])
    assert shown.output == archdsl.load("model.arch").stepping().step.expanded()


TWO_WAYS = """
model example(x: [B, T, S, 8]) -> y: [B, T, S, 8] {
  y = scan row over x(axis=T) carry h = zeros(B, S, 8) {
    h = tanh(row + h)
    yield h
  }
  return y
}
"""


def test_the_axis_is_found_or_named() -> None:
    net = archdsl.load(EDITION + TWO_WAYS)
    assert list(net.stepping().states) == ["past_h"]
    assert list(net.stepping("T").states) == ["past_h"]
    with pytest.raises(archdsl.ArchError, match="this scan goes along T, not along B"):
        net.stepping("B")
    with pytest.raises(archdsl.ArchError, match="those are: B, T, S"):
        net.stepping("X")


def test_steps_that_could_go_along_two_axes_must_be_told() -> None:
    text = """
model example(x: [B, T, 8], y: [B, S, 8]) -> u: [B, T, 8], v: [B, S, 8] {
  u, h = x -> a: GRU(8, batch_first=true)
  v, g = y -> b: GRU(8, batch_first=true)
  return u, v
}
"""
    net = archdsl.load(EDITION + text)
    with pytest.raises(archdsl.ArchError, match="steps can go along T or S"):
        net.stepping()
    part = net.stepping("S")
    assert list(part.states) == ["past_b_h"]
    assert [port.name for port in part.step.ir.root.outputs] == ["v", "present_b_h"]


def test_weights_of_the_whole_are_taken_and_no_others() -> None:
    net = archdsl.load(EDITION + along("Linear(8)"))
    part = net.stepping().step
    state = initial(net.ir, 0)
    part.to_onnx(state)
    with pytest.raises(Exception, match="strange"):
        part.to_onnx({**state, "strange": np.array(state["gru.bias_hh_l0"])})
