"""The stages of random programs: what each is as text, and what it means without the compiler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import op_harness as harness
import torch
from pydantic import ValidationError

from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Op
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Condition, Facts

LARGEST = 6000
"""No value of a program has more elements than this at the sizes it is run at."""
DTYPES = ("float32", "int64", "bool")
EXACT = frozenset(
    {"concat", "stack", "split", "chunk", "reshape", "flatten", "Flatten", "unflatten", "permute"}
    | {"transpose", "squeeze", "unsqueeze", "expand", "tile", "repeat_interleave", "slice"}
    | {"select", "flip", "roll", "pad", "identity", "Identity", "Dropout", "ReLU", "neg", "abs"}
    | {"max", "min", "maximum", "minimum", "MaxPool", "AdaptiveMaxPool", "where", "rearrange"}
)
"""Operators whose results have the very same bits in every implementation."""
STEPS = frozenset(
    {"floor", "ceil", "round", "sign", "floor_div", "remainder", "eq", "ne", "lt", "le", "gt"}
    | {"ge", "argmax", "argmin", "cast", "sort", "argsort", "topk", "roi_pool", "roi_align"}
)
"""Operators that make a jump out of a rounding error."""
DEVIATIONS = frozenset({"std", "var"})
"""Operators that need more than one number; torch warns of fewer."""
POSITIVE = frozenset({"log", "log2", "sqrt", "rsqrt", "reciprocal"})
LEFT_OUT = frozenset(
    {"isnan", "embedding", "linear", "take", "gather", "index_select", "sinusoidal_positions"}
    | {"scatter", "scatter_add", "max_unpool", "multi_margin_loss"}
)
SIZED = frozenset(
    {"LayerNorm", "unflatten", "split", "rearrange", "einsum", "reshape", "expand", "select"}
    | {"MultiheadAttention", "scaled_dot_product_attention", "attention"}
)
"""Operators whose oracles hold for the very sizes in the tables."""
WORDS = frozenset(
    {"same", "valid", "zeros", "constant", "reflect", "replicate", "circular", "tanh", "none"}
    | {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area", "relu"}
)


class Rejected(Exception):
    """A choice that does not fit; another one is tried."""


@dataclass(frozen=True)
class Parameter:
    """A static parameter of a block, where an attribute's value stands."""

    name: str


@dataclass(frozen=True)
class Step:
    """An oracle applied to values by their numbers; its weights stand under a path."""

    oracle: Callable[..., Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    path: str | None
    weights: tuple[str, ...]


@dataclass
class Scope:
    """A dotted prefix, and the number of the next layer without a label."""

    prefix: str = ""
    number: int = 0

    def path(self, label: str | None) -> str:
        if label is not None:
            return self.prefix + label
        self.number += 1
        return f"{self.prefix}{self.number - 1}"


@dataclass
class Context:
    """What is known inside a block: facts on its own sizes, its arguments, its sizes when run.

    What a block cannot prove of its sizes is a demand on its caller; the model has none.
    """

    facts: Facts
    sizes: Sequence[Mapping[str, int]]
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    demands: list[Condition] | None = None

    def demand(self, condition: Condition) -> None:
        if self.facts.prove(condition).proved:
            return
        if self.demands is None:
            raise Rejected("a size may be too small")
        self.demands.append(condition)
        self.facts = self.facts.assume(condition)


Mark = tuple[int, int, dict[str, tuple[int, ...]]]


class Machine:
    """Runs stages on types, and writes down the steps they mean."""

    def __init__(self) -> None:
        self.types: list[TensorType] = []
        self.exact: list[bool] = []
        self.raw: list[bool] = []
        """Whether a value is an input as it came, so that its numbers are small."""
        self.steps: list[Step] = []
        self.weights: dict[str, tuple[int, ...]] = {}

    def add(self, type: TensorType, *, exact: bool, raw: bool = False) -> int:
        self.types.append(type)
        self.exact.append(exact)
        self.raw.append(raw)
        return len(self.types) - 1

    def mark(self) -> Mark:
        """The present, to come back to."""
        return len(self.types), len(self.steps), dict(self.weights)

    def restore(self, mark: Mark) -> None:
        types, steps, self.weights = mark
        del self.types[types:], self.exact[types:], self.raw[types:], self.steps[steps:]

    def apply(
        self,
        op: Op,
        oracle: Callable[..., Any],
        inputs: Sequence[int],
        path: str | None,
        context: Context,
    ) -> list[int]:
        types = [self.types[value] for value in inputs]
        name = type(op).function or type(op).layer
        check = Obligations(context.facts)
        try:
            found = op.infer(check, *types)
        except ShapeError as error:
            raise Rejected(error.message) from None
        results = found if isinstance(found, tuple) else (found,)
        for condition, _ in check.deferred:
            context.demand(condition)
        self._check_tame(str(name), results, inputs, context)
        same = all(self.exact[value] for value in inputs)
        copies = {type(op).function, type(op).layer} & EXACT
        outputs = [
            self.add(result, exact=same and bool(copies or not result.dtype.is_floating))
            for result in results
        ]
        owned = op.weights(*types) if path is not None else ()
        self._own(path, owned)
        names = tuple(weight.name for weight in owned)
        self.steps.append(Step(oracle, tuple(inputs), tuple(outputs), path, names))
        return outputs

    def weight(self, path: str) -> int:
        """A weight that some layer has, as a value."""
        owner, _, name = path.rpartition(".")
        value = self.add(TensorType.of(DType.FLOAT32, *self.weights[path]), exact=True)
        self.steps.append(Step(lambda given: given[name], (), (value,), owner, (name,)))
        return value

    def _check_tame(
        self, name: str, results: Sequence[TensorType], inputs: Sequence[int], context: Context
    ) -> None:
        for result in results:
            for sizes in context.sizes:
                count = 1
                for dim in result.dims:
                    count *= dim.evaluate(sizes)
                if not 0 < count <= LARGEST or result.dtype.value not in DTYPES:
                    raise Rejected("too large, empty or of another type")
                whole = self.types[inputs[0]].dims if inputs and name in DEVIATIONS else ()
                if whole and math.prod(dim.evaluate(sizes) for dim in whole) <= count:
                    raise Rejected("one number does not deviate")
        floating = [value for value in inputs if self.types[value].dtype.is_floating]
        jumps = name in STEPS or not all(result.dtype.is_floating for result in results)
        if jumps and not all(self.exact[value] for value in floating):
            raise Rejected("a rounding error would jump")
        if name == "Embedding" and not self.raw[inputs[0]]:
            raise Rejected("indices may not exist")

    def _own(self, path: str | None, weights: Sequence[Any]) -> None:
        for weight in weights:
            shape = tuple(dim.value for dim in weight.dims)
            key = f"{path}.{weight.name}"
            if self.weights.setdefault(key, shape) != shape:
                raise Rejected("the weights of that path have another shape")


# ---------------------------------------------------------------------------------------- stages


class Stage:
    """One step of a pipeline: its text, and what it does to a value."""

    def text(self) -> str:
        raise NotImplementedError

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        raise NotImplementedError


@dataclass(frozen=True)
class Apply(Stage):
    """An operator as a layer or as a function; `others` are further inputs by variable."""

    kind: type[Op]
    attributes: Mapping[str, Any]
    oracle: Callable[..., Any]
    axes: Mapping[str, int]
    """Axes that are given by name, and where the oracle takes them to be."""
    as_layer: bool
    label: str | None = None
    rank: int | None = None
    """How many axes the oracle takes the first value to have."""

    def text(self) -> str:
        name = self.kind.layer if self.as_layer else self.kind.function
        label = f"{self.label}: " if self.label else ""
        arguments = written(self.kind, self.attributes)
        return f"{label}{name}({', '.join(arguments)})" if arguments else f"{label}{name}"

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        path = scope.path(self.label) if self.as_layer else None
        results = self.outputs(machine, [value], path, context)
        if len(results) > 1 and self.kind.leading_outputs != 1:
            raise Rejected("several values flow on")
        return results[0]

    def outputs(
        self, machine: Machine, values: Sequence[int], path: str | None, context: Context
    ) -> list[int]:
        first = machine.types[values[0]]
        if self.rank not in (None, first.rank):
            raise Rejected("another rank")
        for name, place in self.axes.items():
            if first.axes.count(name) != 1 or first.axes.index(name) != place:
                raise Rejected("another axis")
        attributes = {
            name: context.arguments[value.name] if isinstance(value, Parameter) else value
            for name, value in self.attributes.items()
        }
        try:
            op = self.kind.model_validate(attributes)
        except ValidationError:
            raise Rejected("an attribute out of range") from None
        return machine.apply(op, self.oracle, values, path, context)


@dataclass(frozen=True)
class Chain(Stage):
    """`A -> B`, in braces under a label or without one."""

    stages: tuple[Stage, ...]
    label: str | None = None

    def text(self) -> str:
        inside = " -> ".join(stage.text() for stage in self.stages)
        return f"{self.label}: {{ {inside} }}" if self.label else f"{{ {inside} }}"

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        inner = scope if self.label is None else Scope(f"{scope.path(self.label)}.")
        for stage in self.stages:
            value = stage.run(machine, value, inner, context)
        return value


def bare(stages: Sequence[Stage]) -> str:
    return " -> ".join(stage.text() for stage in stages)


def is_one_layer(stages: Sequence[Stage]) -> bool:
    """Whether it is one layer or block without a label, which then bears the label above it."""
    if len(stages) != 1:
        return False
    stage = stages[0]
    if isinstance(stage, Apply):
        return stage.as_layer and stage.label is None
    return isinstance(stage, Use) and stage.label is None


def is_bare_repeat(stage: Stage) -> bool:
    return isinstance(stage, Repeat) and stage.label is None


def labelled(stage: Stage, label: str) -> Stage:
    assert isinstance(stage, Apply | Use | Repeat)
    return replace(stage, label=label)


@dataclass(frozen=True)
class Repeat(Stage):
    """`label: repeat n { … }`, also of one shared layer."""

    count: int | Parameter
    stages: tuple[Stage, ...]
    label: str | None
    share: bool = False

    def text(self) -> str:
        label = f"{self.label}: " if self.label else ""
        share = " share" if self.share else ""
        count = self.count.name if isinstance(self.count, Parameter) else self.count
        return f"{label}repeat {count}{share} {{ {bare(self.stages)} }}"

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        count = self.count
        passes: int = context.arguments[count.name] if isinstance(count, Parameter) else count
        inner = scope if self.label is None else Scope(f"{scope.path(self.label)}.")
        shared = str(inner.path(None)).rpartition(".")[2] if self.share else None
        before = machine.types[value]
        for index in range(passes):
            value = self._pass(machine, value, inner, context, shared, index)
            if machine.types[value] != before:
                raise Rejected("a pass changes the type")
        return value

    def _pass(
        self,
        machine: Machine,
        value: int,
        inner: Scope,
        context: Context,
        shared: str | None,
        index: int,
    ) -> int:
        if is_one_layer(self.stages) and (self.label is not None or shared is not None):
            single = labelled(self.stages[0], str(index) if shared is None else shared)
            return single.run(machine, value, inner, context)
        here = inner if self.label is None else Scope(f"{inner.prefix}{index}.")
        for stage in self.stages:
            value = stage.run(machine, value, here, context)
        return value


@dataclass(frozen=True)
class Fork(Stage):
    """`concat(axis=1) { a: … b: … }`: branches under their merge."""

    merge: Apply
    branches: tuple[tuple[str, tuple[Stage, ...]], ...]

    def text(self) -> str:
        inside = "; ".join(f"{label}: {bare(stages)}" for label, stages in self.branches)
        return f"{self.merge.text()} {{ {inside} }}"

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        results: list[int] = []
        for label, stages in self.branches:
            loops = len(stages) == 1 and is_bare_repeat(stages[0])
            if loops or is_one_layer(stages):
                results.append(labelled(stages[0], label).run(machine, value, scope, context))
                continue
            inner, result = Scope(f"{scope.path(label)}."), value
            for stage in stages:
                result = stage.run(machine, result, inner, context)
            results.append(result)
        return self.merge.outputs(machine, results, None, context)[0]


@dataclass(frozen=True)
class Residual(Stage):
    """`{ it + (it -> A -> B) }`."""

    stages: tuple[Stage, ...]

    def text(self) -> str:
        return f"{{ it + (it -> {bare(self.stages)}) }}"

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        result = value
        for stage in self.stages:
            result = stage.run(machine, result, scope, context)
        add = REGISTRY["add"].model_validate({})
        return machine.apply(add, torch.add, [value, result], None, context)[0]


@dataclass(frozen=True)
class Positive(Stage):
    """`{ abs(it) + 0.5 }`, before what wants positive numbers."""

    def text(self) -> str:
        return "{ abs(it) + 0.5 }"

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        if machine.types[value].dtype is not DType.FLOAT32:
            raise Rejected("not a float")
        absolute = REGISTRY["abs"].model_validate({})
        return machine.apply(absolute, lambda x: x.abs() + 0.5, [value], None, context)[0]


@dataclass(frozen=True)
class Either(Stage):
    """`(if condition then A else B)`, of two layers."""

    condition: str
    decide: Callable[[Mapping[str, Any]], bool]
    then: Apply
    otherwise: Apply

    def text(self) -> str:
        return f"(if {self.condition} then {self.then.text()} else {self.otherwise.text()})"

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        chosen = self.then if self.decide(context.arguments) else self.otherwise
        return chosen.run(machine, value, scope, context)


# ---------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True)
class BlockText:
    """A block of one input: its parameters, the axes of its input, its stages."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    axes: tuple[str, ...]
    stages: tuple[Stage, ...]
    result: str

    def text(self) -> str:
        parameters = ", ".join(f"{name}: {kind}" for name, kind in self.parameters)
        lines = [f"block {self.name}({parameters})(x: [{', '.join(self.axes)}]){self.result} {{"]
        lines += ["  y = x"]
        for stage in self.stages:
            lines.append(f"  y = y -> {stage.text()}")
        return "\n".join([*lines, "  return y", "}"])

    def run(
        self,
        machine: Machine,
        value: int,
        prefix: str,
        arguments: Mapping[str, Any],
        outer: Context,
    ) -> int:
        """Inside, sizes that are not known are symbols of the block's own."""
        given = machine.types[value]
        if given.rank != len(self.axes) or given.dtype is not DType.FLOAT32:
            raise Rejected("another rank")
        symbols = {
            name: dim for name, dim in zip(self.axes, given.dims, strict=True) if dim.value is None
        }
        dims = [Dim.of(name) if name in symbols else dim
                for name, dim in zip(self.axes, given.dims, strict=True)]  # fmt: skip
        sizes = [
            {name: dim.evaluate(each) for name, dim in symbols.items()} for each in outer.sizes
        ]
        context = Context(Facts(), sizes, arguments, [])
        machine.types[value] = TensorType(given.dtype, tuple(dims), self.axes)
        first, scope, result = len(machine.types), Scope(prefix), value
        try:
            for stage in self.stages:
                result = stage.run(machine, result, scope, context)
        finally:
            machine.types[value] = given
        for condition in context.demands or ():
            outer.demand(condition.substitute(symbols))
        names = dict(zip(self.axes, given.axes, strict=True))
        for place in range(first, len(machine.types)):
            inside = machine.types[place]
            machine.types[place] = TensorType(
                inside.dtype,
                tuple(dim.substitute(symbols) for dim in inside.dims),
                tuple(names.get(axis, axis) if axis else None for axis in inside.axes),
            )
        return result


@dataclass(frozen=True)
class Use(Stage):
    """A block applied, as a new instance."""

    block: BlockText
    arguments: tuple[tuple[str, Any], ...]
    label: str | None = None

    def text(self) -> str:
        label = f"{self.label}: " if self.label else ""
        given = ", ".join(f"{name}={literal(value)}" for name, value in self.arguments)
        return f"{label}{self.block.name}({given})" if given else f"{label}{self.block.name}"

    def run(self, machine: Machine, value: int, scope: Scope, context: Context) -> int:
        prefix = f"{scope.path(self.label)}."
        return self.block.run(machine, value, prefix, dict(self.arguments), context)


# ------------------------------------------------------------------------------------------ text


def literal(value: Any, *, bare_word: bool = False) -> str:
    """A static value as the language writes it."""
    match value:
        case Parameter():
            return value.name
        case bool():
            return str(value).lower()
        case None:
            return "none"
        case float() if value in (float("inf"), float("-inf")):
            return "-1e999" if value < 0 else "1e999"
        case str():
            return value if bare_word else f'"{value}"'
        case tuple() | list():
            return f"[{', '.join(literal(item, bare_word=bare_word) for item in value)}]"
        case _:
            return str(value)


def written(kind: type[Op], attributes: Mapping[str, Any]) -> list[str]:
    """Arguments by name; free sizes as arguments of their own."""
    arguments: list[str] = []
    for name, value in attributes.items():
        if name == "sizes":
            arguments += [f"{axis}={literal(size)}" for axis, size in value.items()]
        else:
            word = name in kind.axis_attributes() or name == "dtype"
            arguments.append(f"{name}={literal(value, bare_word=word)}")
    return arguments


@cache
def usable_cases(inputs: int) -> dict[tuple[tuple[str, int], ...], dict[str, list[harness.Case]]]:
    """The cases of so many inputs by element types and ranks, then by operator."""
    found: dict[tuple[tuple[str, int], ...], dict[str, list[harness.Case]]] = {}
    for entry in harness.entries():
        if not isinstance(entry, harness.Case) or len(entry.inputs) != inputs:
            continue
        if entry.op in LEFT_OUT or entry.context or 17 not in entry.opsets or not _is_known(entry):
            continue
        if _depends_on_data(entry):
            continue
        kinds = tuple((given[0], len(given[1])) for given in entry.inputs)
        if all(dtype in DTYPES for dtype, _ in kinds):
            found.setdefault(kinds, {}).setdefault(entry.op, []).append(entry)
    return found


def _is_known(case: harness.Case) -> bool:
    """Whether no attribute is told by a size of the case's inputs."""
    kind = REGISTRY[case.op]
    for name, value in case.attributes.items():
        if name in kind.axis_attributes() or name in ("pattern", "dtype"):
            continue
        items = value if isinstance(value, tuple | list) else [value]
        for item in items:
            if isinstance(item, str) and item not in WORDS and "->" not in item:
                return False
    return True


def _depends_on_data(case: harness.Case) -> bool:
    """Whether a size of the result is known only at run time."""
    check = Obligations(Facts(assumptions=[Condition.parse(text) for text in case.facts]))
    harness.build_op(case).infer(check, *harness.input_types(case))
    return bool(check.born)


def has_same_constants(case: harness.Case, types: Sequence[TensorType]) -> bool:
    """Whether every size that is a number in the table is that number here."""
    pairs = [
        (theirs, mine)
        for given, type in zip(harness.input_types(case), types, strict=True)
        for theirs, mine in zip(given.dims, type.dims, strict=True)
    ]
    return all(theirs.value is None or theirs == mine for theirs, mine in pairs)


def named_axes(case: harness.Case) -> dict[str, int]:
    """Axes that attributes give by name, and where they stand in the case's first input."""
    first = harness.input_types(case)[0]
    found: dict[str, int] = {}
    for name in REGISTRY[case.op].axis_attributes():
        value = case.attributes.get(name)
        for axis in value if isinstance(value, tuple | list) else (value,):
            if isinstance(axis, str):
                found[axis] = first.axis(axis)
    return found


def has_label(stage: Stage) -> bool:
    """Whether a label stands in a stage."""
    match stage:
        case Apply() | Use():
            return stage.label is not None
        case Chain() | Repeat():
            return stage.label is not None or any(map(has_label, stage.stages))
        case Residual():
            return any(map(has_label, stage.stages))
        case Fork():
            return True
        case _:
            return False


def parameters_of(stage: Stage) -> list[tuple[str, str]]:
    """The parameters of a block that a stage uses."""
    match stage:
        case Apply():
            return [("width", "int") for v in stage.attributes.values() if isinstance(v, Parameter)]
        case Repeat() if isinstance(stage.count, Parameter):
            return [("times", "int")]
        case Either() if stage.condition == "flag":
            return [("flag", "bool")]
        case _:
            return []
