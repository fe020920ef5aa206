"""What an operator case is, and how one is tried against torch and ONNX Runtime.

A family's table is a list of `Case` (must work) and `Refused` (must be refused):

    CASES = [
        Case(
            "Conv",
            [("float32", ("N", 4, "H", "W"))],
            sizes=[{"N": 1, "H": 9, "W": 8}, {"N": 3, "H": 12, "W": 7}],
            attributes={"out_channels": 6, "kernel_size": 3, "bias": False},
            oracle=lambda x, w: F.conv2d(x, w["weight"]),
        ),
        Refused("Conv", [("float32", ("N", 4))], {"out_channels": 6, "kernel_size": 3},
                code="shape-mismatch", match="must have 3 or 4 or 5 axes"),
    ]

The oracle gets the input tensors (those of the context, all zeros, if the operator takes none), and
after them the weights by name if the operator has any. It runs in float32 and in float64.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import GraphProto
from op_parity import assert_parity, numpy_of, tensor
from op_torch import Interpreter
from pydantic import ValidationError
from torch import nn

import archdsl.ops
from archdsl.backends.onnx.export import IR_VERSIONS
from archdsl.backends.onnx.graph import GraphBuilder
from archdsl.backends.onnx.protobuf import ELEMENT_TYPES
from archdsl.ir.lowering import (
    Operand,
    Unsupported,
)
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Op, Weight
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Condition, Facts
from archdsl.weights.dtypes import numpy_dtype

Given = (
    tuple[str, tuple[int | str, ...]] | tuple[str, tuple[int | str, ...], tuple[str | None, ...]]
)
"""An input: element type, dims (an expression such as "2*N" is a string), and axis names if they
are not just the symbols."""

Values = str | Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
"""`normal`, `positive`, `uniform(low, high)`, `integers(low, high)`, or a function."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    facts: Sequence[str] = ()
    """What is known of the sizes, as `require` would say it: "H >= 3"."""
    context: Sequence[Given] = ()
    """Inputs of the graph that the operator does not take, where its symbols can be read."""


@dataclass(frozen=True)
class Case(_Entry):
    """An operator with attributes that must be exact in every back end at all these sizes."""

    op: str
    inputs: Sequence[Given] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sizes: Sequence[Mapping[str, int]] = field(kw_only=True)
    oracle: Callable[..., Any] = field(kw_only=True)
    opsets: Sequence[int] = field(kw_only=True, default=(17,))
    values: Values | Sequence[Values | None] | None = field(kw_only=True, default=None)
    """How inputs are drawn: one way for all, or one for each."""
    spread: float = field(kw_only=True, default=1.0)
    """The standard deviation of drawn weights."""
    exact: bool = field(kw_only=True, default=True)
    """Whether the torch lowering has the oracle's very bits; else it keeps the parity rule."""

    @cached_property
    def id(self) -> str:
        return _case_id(self.op, self.inputs, self.attributes)


@dataclass(frozen=True)
class Refused(_Entry):
    """An operator that must be refused with that code (`unsupported` by the ONNX lowering,
    `invalid-attribute` by its fields) and a message that matches."""

    op: str
    inputs: Sequence[Given] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    code: str = field(kw_only=True, default="shape-mismatch")
    match: str = field(kw_only=True)
    opset: int = field(kw_only=True, default=17)

    @cached_property
    def id(self) -> str:
        return _case_id(self.op, self.inputs, self.attributes)


def _case_id(op: str, inputs: Sequence[Given], attributes: Mapping[str, Any]) -> str:
    types = ",".join("x".join(map(str, given[1])) for given in inputs)
    settings = ",".join(f"{name}={value}" for name, value in attributes.items())
    return re.sub(r"[^\w=,.*+-]+", "", f"{op}-{types}-{settings}")[:120]


# --------------------------------------------------------------------------------- what there is


@cache
def operator_families() -> dict[str, Exception | None]:
    """Import every operator family; what cannot be imported is told, not raised."""
    return dict(_imported(archdsl.ops.__name__, archdsl.ops.__path__))


@cache
def case_families() -> dict[str, Exception | None]:
    """Import every table of cases."""
    operator_families()
    return dict(_imported("op_cases", [str(Path(__file__).parent / "op_cases")]))


def _imported(package: str, path: Sequence[str]) -> Iterator[tuple[str, Exception | None]]:
    for info in pkgutil.walk_packages(path, f"{package}."):
        try:
            importlib.import_module(info.name)
        except Exception as problem:
            yield info.name, problem
        else:
            yield info.name, None


@cache
def entries() -> list[Case | Refused]:
    """All cases of all tables that can be imported."""
    found: list[Case | Refused] = []
    for name, problem in case_families().items():
        if problem is None:
            found.extend(importlib.import_module(name).CASES)
    return found


# -------------------------------------------------------------------------------------- trying


def tensor_type(given: Given) -> TensorType:
    """The symbolic type of an input."""
    dtype, dims, *axes = given
    sizes = [Dim.parse(dim) if isinstance(dim, str) else Dim.of(dim) for dim in dims]
    return TensorType.of(DType(dtype), *sizes, axes=axes[0] if axes else ())


def build_op(entry: Case | Refused) -> Op:
    """The operator with its attributes."""
    assert entry.op in REGISTRY, f"no operator is called {entry.op}"
    return REGISTRY[entry.op].model_validate(dict(entry.attributes))


def input_types(entry: Case | Refused) -> tuple[TensorType, ...]:
    return tuple(tensor_type(given) for given in entry.inputs)


def infer(op: Op, entry: Case | Refused) -> tuple[TensorType, ...]:
    """The types of the outputs."""
    facts = Facts(assumptions=[Condition.parse(text) for text in entry.facts])
    result = op.infer(Obligations(facts), *input_types(entry))
    return result if isinstance(result, tuple) else (result,)


@dataclass(frozen=True)
class Trial:
    """A case at one choice of sizes: its inputs and weights as arrays, and what is right."""

    case: Case
    op: Op
    types: tuple[TensorType, ...]
    sizes: Mapping[str, int]
    inputs: tuple[np.ndarray, ...]
    weights: dict[str, np.ndarray]

    @cached_property
    def context(self) -> tuple[np.ndarray, ...]:
        """Inputs of the graph that the operator does not take, all zeros."""
        types = [tensor_type(given) for given in self.case.context]
        return tuple(np.zeros(_shape(type, self.sizes), numpy_dtype(type.dtype)) for type in types)

    def measured(self, types: Sequence[TensorType]) -> dict[str, int]:
        """The sizes, with those that depend on data as the oracle's results have them."""
        sizes = dict(self.sizes)
        for type, real in zip(types, self.single, strict=True):
            for dim, size in zip(type.dims, real.shape, strict=True):
                if dim.symbol_name is not None:
                    sizes.setdefault(dim.symbol_name, size)
        return sizes

    @cached_property
    def single(self) -> tuple[torch.Tensor, ...]:
        """What the oracle gives in the types of the case."""
        return self._oracle(double=False)

    @cached_property
    def double(self) -> tuple[torch.Tensor, ...]:
        """What the oracle gives in float64."""
        return self._oracle(double=True)

    def _oracle(self, *, double: bool) -> tuple[torch.Tensor, ...]:
        given = self.inputs or self.context
        arguments: list[Any] = [tensor(array, double) for array in given]
        if self.weights:
            arguments.append({name: tensor(array, double) for name, array in self.weights.items()})
        with torch.no_grad():
            result = self.case.oracle(*arguments)
        return tuple(result) if isinstance(result, tuple | list) else (result,)


def trials(case: Case) -> Iterator[Trial]:
    """The case at each of its sizes."""
    assert len(case.sizes) >= 1
    op = build_op(case)
    types = input_types(case)
    for number, sizes in enumerate(case.sizes):
        generator = np.random.Generator(np.random.Philox(number))
        inputs = tuple(
            _draw(generator, type, sizes, _values_of(case, place))
            for place, type in enumerate(types)
        )
        weights = {
            w.name: _draw_weight(generator, w, sizes, case.spread) for w in op.weights(*types)
        }
        yield Trial(case, op, types, sizes, inputs, weights)


def _shape(type: TensorType, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dim.evaluate(sizes) for dim in type.dims)


def _values_of(case: Case, place: int) -> Values | None:
    if case.values is None or isinstance(case.values, str) or callable(case.values):
        return case.values
    return case.values[place]


def _draw(
    generator: np.random.Generator,
    type: TensorType,
    sizes: Mapping[str, int],
    values: Values | None,
) -> np.ndarray:
    shape = _shape(type, sizes)
    if values is None:
        if type.dtype is DType.BOOL:
            values = "integers(0, 2)"
        else:
            values = "normal" if type.dtype.is_floating else "integers(0, 10)"
    array = values(generator, shape) if callable(values) else _draw_named(generator, shape, values)
    return np.asarray(array).astype(numpy_dtype(type.dtype))


def _draw_named(generator: np.random.Generator, shape: tuple[int, ...], values: str) -> np.ndarray:
    numbers = [float(text) for text in re.findall(r"-?[\d.]+(?:e-?\d+)?", values)]
    if values == "normal":
        return generator.standard_normal(shape)
    if values == "positive":
        return np.abs(generator.standard_normal(shape)) + 0.1
    if values.startswith("uniform"):
        return generator.uniform(*numbers, shape)
    assert values.startswith("integers"), values
    return generator.integers(int(numbers[0]), int(numbers[1]), shape)


def _draw_weight(
    generator: np.random.Generator, weight: Weight, sizes: Mapping[str, int], spread: float
) -> np.ndarray:
    shape = tuple(dim.evaluate(sizes) for dim in weight.dims)
    dtype = numpy_dtype(weight.dtype)
    if not weight.dtype.is_floating:
        return np.zeros(shape, dtype)
    array = generator.standard_normal(shape) * spread
    if "var" in weight.name:
        array = np.abs(array) + 0.5
    return array.astype(dtype)


# ------------------------------------------------------------------------------- torch lowerings


def torch_results(trial: Trial) -> Iterator[tuple[str, tuple[torch.Tensor, ...]]]:
    """What each torch form of the operator gives: as a layer, as a function."""
    inputs = tuple(tensor(array) for array in trial.inputs)
    weights = {name: tensor(array) for name, array in trial.weights.items()}
    interpreter = Interpreter(trial.sizes, inputs, weights, trial.op.torch_functions)
    with torch.no_grad():
        if trial.op.layer is not None:
            yield "layer", as_tuple(_run_layer(trial, interpreter))
        if trial.op.function is not None:
            result = interpreter.run(trial.op.torch_call(*trial.types))
            if isinstance(result, bool | int | float):
                result = torch.tensor(result, dtype=trial.single[0].dtype)
            yield "function", as_tuple(result)


def _run_layer(trial: Trial, interpreter: Interpreter) -> Any:
    try:
        lowering = trial.op.torch_module(*trial.types)
    except Unsupported:
        return interpreter.run(trial.op.torch_call(*trial.types))
    module: nn.Module = interpreter.run(lowering)
    state = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    declared = {name: tuple(value.shape) for name, value in interpreter.weights.items()}
    assert list(state.items()) == list(declared.items()), "weights differ from the module's"
    for name, value in module.state_dict().items():
        assert value.dtype == interpreter.weights[name].dtype, name
    kinds = {w.name: w.kind for w in trial.op.weights(*trial.types)}
    parameters = {name for name, _ in module.named_parameters()}
    assert parameters == {name for name, kind in kinds.items() if kind == "parameter"}
    module.load_state_dict(dict(interpreter.weights), strict=True)
    invocation = trial.op.torch_invocation(*trial.types)
    if invocation is None:
        return module.eval()(*interpreter.inputs)
    keywords = {name: interpreter.run(value) for name, value in invocation.kwargs.items()}
    given = module.eval()(*interpreter.run(invocation.args), **keywords)
    placed = dict(_placed(invocation.results, given))
    for place, expression in invocation.after.items():
        placed[place] = replace(interpreter, inputs=(placed[place],)).run(expression)
    return tuple(placed[place] for place in range(len(placed)))


def _placed(results: Sequence[Any], given: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Each output with its position, out of what a module gives."""
    for result, value in zip(results, given, strict=True):
        if isinstance(result, tuple):
            yield from _placed(result, value)
        elif result is not None:
            yield result, value


def as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


# ------------------------------------------------------------------------------------------ ONNX


@dataclass(frozen=True)
class Exported:
    """A checked one-operator model; its weights are inputs, so that one model serves all sizes."""

    model: onnx.ModelProto
    types: Mapping[str, TensorType]

    def feed(self, trial: Trial) -> dict[str, np.ndarray]:
        named = {f"input_{place}": array for place, array in enumerate(trial.inputs)}
        named |= {f"context_{place}": array for place, array in enumerate(trial.context)}
        return named


def export(
    op: Op, entry: Case | Refused, opset: int, weights: Mapping[str, np.ndarray]
) -> Exported:
    """The one-operator model at an opset, through the checker and strict shape inference."""
    graph = GraphBuilder(opset, GraphProto(name="case"))
    types = input_types(entry)
    operands = [graph.input(f"input_{place}", type) for place, type in enumerate(types)]
    for place, given in enumerate(entry.context):
        graph.input(f"context_{place}", tensor_type(given))
    owned = {w.name: Operand(w.name, TensorType.of(w.dtype, *w.dims)) for w in op.weights(*types)}
    graph.reserve([*owned, "output_0"])
    graph.enter("op", owned, infer(op, entry))
    outputs = as_tuple(op.onnx(graph, *operands))
    proto = graph.finish([(f"output_{place}", y) for place, y in enumerate(outputs)])
    for name in graph.used_weights:
        array = weights[name]
        proto.initializer.add(
            name=name,
            dims=array.shape,
            data_type=ELEMENT_TYPES[owned[name].type.dtype],
            raw_data=array.tobytes(),
        )
    for packing in graph.packings.values():
        array = packing.array({name: partial(weights.__getitem__, name) for name in weights})
        proto.initializer.add(
            name=packing.operand.name,
            dims=array.shape,
            data_type=ELEMENT_TYPES[packing.operand.type.dtype],
            raw_data=array.tobytes(),
        )
    model = onnx.ModelProto(ir_version=IR_VERSIONS[opset], graph=proto, producer_name="archdsl")
    model.opset_import.add(domain="", version=opset)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return Exported(model, {f"output_{place}": y.type for place, y in enumerate(outputs)})


def session(model: onnx.ModelProto, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def check_intermediates(exported: Exported, trial: Trial) -> None:
    """Every declared intermediate tensor really has its declared dims and element type."""
    model = onnx.ModelProto()
    model.CopyFrom(exported.model)
    declared = list(model.graph.value_info)
    model.graph.output.extend(declared)
    names = [info.name for info in declared]
    if not names:
        return
    results = session(model, optimized=False).run(names, exported.feed(trial))
    for info, array in zip(declared, results, strict=True):
        dims = info.type.tensor_type.shape.dim
        known = trial.measured(list(exported.types.values()))
        sizes = [
            Dim.parse(dim.dim_param).evaluate(known) if dim.dim_param else dim.dim_value
            for dim in dims
        ]
        assert list(array.shape) == sizes, f"{info.name} is declared {sizes}, is {array.shape}"


# ------------------------------------------------------------------------------------ the checks


def check_inference(case: Case) -> None:
    """Inferred types, evaluated at the sizes, are the oracle's real ones."""
    for trial in trials(case):
        inferred = infer(trial.op, case)
        assert len(inferred) == len(trial.single), "another number of outputs"
        sizes = trial.measured(inferred)
        for type, real in zip(inferred, trial.single, strict=True):
            dims = tuple(dim.evaluate(sizes) for dim in type.dims)
            assert dims == tuple(real.shape), f"inferred {type} = {dims} at {trial.sizes}"
            assert f"torch.{type.dtype.value}" == str(real.dtype)
            assert len(type.axes) == type.rank


def check_torch(case: Case) -> None:
    """The torch lowering, run as data, does what the oracle does."""
    for trial in trials(case):
        forms = list(torch_results(trial))
        assert forms, f"{case.op} has no torch form"
        for form, results in forms:
            assert len(results) == len(trial.single)
            for got, single, double in zip(results, trial.single, trial.double, strict=True):
                what = f"{form} at {dict(trial.sizes)}"
                assert_parity(what, numpy_of(got), single, double, exact=case.exact)


def check_onnx(case: Case, opset: int) -> None:
    """The ONNX lowering does what the oracle does, in ONNX Runtime, at every size."""
    op = build_op(case)
    inferred = infer(op, case)
    exported: Exported | None = None
    runner: onnxruntime.InferenceSession | None = None
    for number, trial in enumerate(trials(case)):
        if exported is None or trial.weights:
            exported = export(op, case, opset, trial.weights)
            runner = session(exported.model)
        assert runner is not None
        for declared, type in zip(exported.types.values(), inferred, strict=True):
            assert (declared.dtype, declared.dims) == (type.dtype, type.dims)
        results = runner.run(list(exported.types), exported.feed(trial))
        for got, single, double in zip(results, trial.single, trial.double, strict=True):
            assert_parity(f"ONNX at {dict(trial.sizes)}", np.asarray(got), single, double)
        if number == 0:
            check_intermediates(exported, trial)


def check_refusal(entry: Refused) -> None:
    """The operator is refused, with the code and the message."""
    try:
        op = build_op(entry)
        infer(op, entry)
        if entry.code == "unsupported":
            weights = {
                w.name: np.zeros([dim.value or 1 for dim in w.dims], numpy_dtype(w.dtype))
                for w in op.weights(*input_types(entry))
            }
            export(op, entry, entry.opset, weights)
    except ShapeError as problem:
        code, message = problem.code, f"{problem.message} {problem.help or ''}"
    except Unsupported as problem:
        code, message = "unsupported", f"{problem.reason} {problem.help or ''}"
    except ValidationError as problem:
        code, message = "invalid-attribute", str(problem)
    else:
        pytest.fail(f"{entry.op} was accepted")
    assert code == entry.code, message
    assert re.search(entry.match, message), message


def untried_attributes() -> list[str]:
    """Operators without a case, and attributes that no entry sets to anything but its default."""
    tried: dict[type[Op], set[str]] = {}
    cased: set[type[Op]] = set()
    for entry in entries():
        if entry.op not in REGISTRY:
            continue
        kind = REGISTRY[entry.op]
        if isinstance(entry, Case):
            cased.add(kind)
        tried.setdefault(kind, set()).update(_non_defaults(kind, entry))
    missing: list[str] = []
    for kind in dict.fromkeys(REGISTRY.values()):
        name = kind.layer or kind.function
        if kind not in cased:
            missing.append(f"{name}: no case")
        untried = set(kind.model_fields) - tried.get(kind, set())
        missing.extend(f"{name}.{attribute}: never set" for attribute in sorted(untried))
    return missing


def _non_defaults(kind: type[Op], entry: Case | Refused) -> set[str]:
    fields = kind.model_fields
    return {
        name
        for name, value in entry.attributes.items()
        if name in fields and (fields[name].is_required() or value != fields[name].get_default())
    }
