"""Random programs through the whole compiler.

`ARCHDSL_SEEDS=5000` tries that many, from `ARCHDSL_SEED` on. What each program computes is known
without the compiler (see `random_programs`). The emitted module, the emitted source, the expanded
text and ONNX Runtime must compute it at two sizes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from op_parity import tensor
from random_programs import Program
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archdsl import api
from archdsl.backends.torch.source import root_class
from archdsl.diagnostics import ArchError
from archdsl.ir.model import Model
from archdsl.passes.costs import figures
from archdsl.passes.flatten import inline
from archdsl.weights.dtypes import numpy_dtype

FIRST = int(os.environ.get("ARCHDSL_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("ARCHDSL_SEEDS", "60")))
BOUND = 1e-5
COUNTED = frozenset({"Conv", "ConvTranspose", "Linear"})

State = Mapping[str, torch.Tensor]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class IllConditioned(Exception):
    """Rounding errors decide what comes out, so that nothing can be compared."""


# ----------------------------------------------------------------------------- what must come out


def drawn_weights(program: Program, seed: int) -> dict[str, torch.Tensor]:
    """Weights by the paths that the rules of the language give them."""
    state: dict[str, torch.Tensor] = {}
    for path, shape in program.machine.weights.items():
        generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(path.encode())]))
        name = path.rpartition(".")[2]
        if name == "num_batches_tracked":
            state[path] = torch.zeros((), dtype=torch.int64)
            continue
        array = generator.standard_normal(shape)
        if name == "running_var":
            array = 0.5 + np.abs(array)
        elif len(shape) > 1:
            array = array / max(np.prod(shape[1:]), 1) ** 0.5
        elif name == "weight":
            array = 1 + 0.2 * array
        else:
            array = 0.2 * array
        state[path] = torch.from_numpy(np.asarray(array, np.float32).reshape(shape))
    return state


def drawn_inputs(program: Program, sizes: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
    generator = np.random.Generator(np.random.Philox(seed))
    arrays: dict[str, np.ndarray] = {}
    for name, type in program.inputs.items():
        shape = tuple(dim.evaluate(sizes) for dim in type.dims)
        floating = type.dtype.is_floating
        most = 2 if type.dtype.value == "bool" else 3
        array = generator.standard_normal(shape) if floating else generator.integers(0, most, shape)
        arrays[name] = np.asarray(array).astype(numpy_dtype(type.dtype))
    return arrays


def interpret(
    program: Program,
    inputs: Mapping[str, np.ndarray],
    state: State,
    *,
    double: bool,
    noise: float = 0,
) -> list[torch.Tensor]:
    """The values of the outputs, by the oracles of the operators' tables."""
    values: dict[int, torch.Tensor] = {}
    for number, (name, array) in enumerate(inputs.items()):
        value = tensor(array, double)
        values[program.values[name]] = disturbed(value, noise, number)
    weights = {path: widened(value, double) for path, value in state.items()}
    with torch.no_grad():
        for number, step in enumerate(program.machine.steps):
            given: list[Any] = [values[value] for value in step.inputs]
            if step.weights:
                given.append({name: weights[f"{step.path}.{name}"] for name in step.weights})
            results = step.oracle(*given)
            several = results if isinstance(results, tuple | list) else (results,)
            assert len(several) == len(step.outputs)
            for place, result in zip(step.outputs, several, strict=True):
                values[place] = disturbed(widened(result, double), noise, number)
    return [values[program.values[name]] for name in program.outputs]


def widened(value: torch.Tensor, double: bool) -> torch.Tensor:
    return value.double() if double and value.is_floating_point() else value


def disturbed(value: torch.Tensor, noise: float, seed: int) -> torch.Tensor:
    if not noise or not value.is_floating_point():
        return value
    generator = torch.Generator().manual_seed(seed)
    scale = noise * float(value.abs().max()) if value.numel() else 0.0
    return value + scale * torch.randn(value.shape, generator=generator, dtype=value.dtype)


class Expected:
    """What is right at some sizes, and how much of it rounding errors may move."""

    def __init__(self, program: Program, inputs: Mapping[str, np.ndarray], state: State) -> None:
        self.single = interpret(program, inputs, state, double=False)
        self.double = interpret(program, inputs, state, double=True)
        moved = interpret(program, inputs, state, double=True, noise=3e-8)
        for single, double, other in zip(self.single, self.double, moved, strict=True):
            if not double.is_floating_point():
                continue
            if not (torch.isfinite(double).all() and torch.isfinite(single).all()):
                raise IllConditioned
            scale = float(double.abs().max()) if double.numel() else 0.0
            errors = (double - other).abs().max(), (double - single).abs().max()
            if float(max(errors)) > BOUND / 4 * scale or scale < 0.02:
                raise IllConditioned

    def compare(self, what: str, results: Sequence[np.ndarray]) -> None:
        assert len(results) == len(self.single), what
        for place, found in enumerate(results):
            self._compare(f"{what}, output {place}", found, self.single[place], self.double[place])

    def _compare(
        self, what: str, found: np.ndarray, single: torch.Tensor, double: torch.Tensor
    ) -> None:
        assert found.shape == tuple(single.shape), f"{what}: {found.shape}, not {single.shape}"
        assert found.dtype == single.numpy().dtype, f"{what}: {found.dtype}"
        if not single.is_floating_point():
            assert np.array_equal(found, single.numpy()), what
            return
        scale = float(double.abs().max())
        error = float(np.abs(found.astype(np.float64) - double.numpy()).max())
        theirs = float((single.double() - double).abs().max())
        allowed = min(BOUND * scale, 8 * theirs + 4e-6 * scale)
        assert error <= allowed, f"{what}: error {error / scale:.1e}, torch's {theirs / scale:.1e}"


# ----------------------------------------------------------------------------------------- checks


def run(module: nn.Module, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        results = module.eval()(*(tensor(array) for array in inputs.values()))
    several = results if isinstance(results, tuple) else (results,)
    return [value.numpy() for value in several]


def same(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
    return all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(left, right, strict=True)
    )


def emitted_module(source: str, state: State) -> nn.Module:
    """The emitted source in a namespace of its own."""
    namespace = ModuleType("emitted")
    exec(compile(source, "emitted.py", "exec"), namespace.__dict__)  # noqa: S102
    module: nn.Module = getattr(namespace, root_class(source))()
    module.load_state_dict(dict(state), strict=True)
    return module


def check_shapes(program: Program, network: api.Network, sizes: Mapping[str, int],
                 results: Sequence[np.ndarray]) -> None:  # fmt: skip
    root = network.ir.root
    for port, name, found in zip(root.outputs, program.outputs, results, strict=True):
        inferred = root.type(port.value)
        assert tuple(dim.evaluate(sizes) for dim in inferred.dims) == found.shape
        assert inferred == program.machine.types[program.values[name]]


def check_figures(
    network: api.Network, module: nn.Module, sizes: Mapping[str, int], inputs: Mapping[str, Any]
) -> None:
    """Parameters as torch counts them, and multiply-adds where torch counts all of them."""
    counted = figures(network.ir)[network.ir.entry]
    assert counted.parameters == sum(each.numel() for each in module.parameters())
    flat = inline(network.ir)
    costly = [n for n in flat.nodes if n.op and n.op.macs(*(flat.type(v) for v in n.inputs)) != 0]
    if all(type(node.op).layer in COUNTED for node in costly):
        with FlopCounterMode(display=False) as counter:
            run(module, inputs)
        assert 2 * counted.macs.evaluate(sizes) == counter.get_total_flops()


def check_round_trips(network: api.Network) -> api.Network:
    """The IR through JSON, and the text through its expanded form."""
    written = network.ir.model_dump_json()
    again = Model.model_validate_json(written)
    assert again == network.ir
    assert again.model_dump_json() == written
    expanded = network.expanded()
    flat = api.load(expanded)
    assert flat.expanded() == expanded
    return flat


def onnx_session(network: api.Network, state: State, *, fold: bool) -> onnxruntime.InferenceSession:
    arrays = {path: value.numpy() for path, value in state.items()}
    model = network.to_onnx(arrays, fold=fold)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def check_program(seed: int) -> str:
    """Everything about one program; says how far it could be compared."""
    program = Program(seed)
    state = drawn_weights(program, seed)
    network = api.load(program.text)
    flat = check_round_trips(network)
    module = network.to_torch(state)
    state |= {other: state[path] for other, path in program.second_names.items()}
    assert module.state_dict().keys() == state.keys()
    emitted = emitted_module(network.to_source(), state)
    expanded = flat.to_torch(state)
    try:
        session = onnx_session(network, state, fold=bool(seed % 2))
    except ArchError as error:
        assert {each.code for each in error.diagnostics} == {"unsupported-by-target"}
        session = None
    outcome = "compared" if session else "refused by ONNX"
    for turn, sizes in enumerate(program.sizes):
        inputs = drawn_inputs(program, sizes, turn)
        results = run(module, inputs)
        check_shapes(program, network, sizes, results)
        check_figures(network, module, sizes, inputs)
        assert same(results, run(emitted, inputs)), "the emitted source differs"
        assert same(results, run(expanded, inputs)), "the expanded text differs"
        try:
            expected = Expected(program, inputs, state)
        except IllConditioned:
            outcome = "ill-conditioned"
            continue
        expected.compare("torch", results)
        if session is not None:
            expected.compare("ONNX", [np.asarray(each) for each in session.run(None, inputs)])
    return outcome


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_program_computes_what_it_says(seed: int) -> None:
    check_program(seed)


def test_most_random_programs_can_be_compared() -> None:
    outcomes = [check_program(seed) for seed in range(FIRST, FIRST + 20)]
    assert outcomes.count("compared") >= 12, outcomes
