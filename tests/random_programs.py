"""Random typed programs made from the operators' tables, and what each of them must compute.

A program is grown stage by stage: an operator with attributes from the tables of cases is taken
where its own `infer` takes the value at hand. Beside the text stands a list of steps, which is
what the text means by the rules of the language, found without the compiler: which oracle is
applied to which values, with the weights under which path.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import op_harness as harness
import torch
from pydantic import ValidationError

from archdsl.ir.dims import Dim
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Op
from archdsl.ir.proof import Condition, Facts
from archdsl.ir.types import DType, ShapeError, TensorType

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
    | {"ge", "argmax", "argmin", "cast"}
)
"""Operators that make a jump out of a rounding error."""
POSITIVE = frozenset({"log", "log2", "sqrt", "rsqrt", "reciprocal"})
LEFT_OUT = frozenset({"isnan", "embedding", "linear", "take", "gather", "index_select"})
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
    """What is known inside a block: facts on its own sizes, its arguments, its sizes when run."""

    facts: Facts
    sizes: Sequence[Mapping[str, int]]
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    deferred: list[Condition] = field(default_factory=list[Condition])


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
            context.deferred.append(condition)
            context.facts = context.facts.assume(condition)
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
        floating = [value for value in inputs if self.types[value].dtype.is_floating]
        if name in STEPS and not all(self.exact[value] for value in floating):
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


def labelled(stage: Stage, label: str) -> Stage:
    assert isinstance(stage, Apply | Use)
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
            if is_one_layer(stages):
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
            name: dim
            for name, dim in zip(self.axes, given.dims, strict=True)
            if dim.value is None
        }
        dims = [Dim.of(name) if name in symbols else dim
                for name, dim in zip(self.axes, given.dims, strict=True)]  # fmt: skip
        sizes = [{name: dim.evaluate(each) for name, dim in symbols.items()} for each in outer.sizes]
        context = Context(Facts(), sizes, arguments)
        machine.types[value] = TensorType(given.dtype, tuple(dims), self.axes)
        first, scope, result = len(machine.types), Scope(prefix), value
        try:
            for stage in self.stages:
                result = stage.run(machine, result, scope, context)
        finally:
            machine.types[value] = given
        for condition in context.deferred:
            known = condition.substitute(symbols)
            if not outer.facts.prove(known).proved:
                outer.deferred.append(known)
                outer.facts = outer.facts.assume(known)
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


# ------------------------------------------------------------------------------------- programs


class Program:
    """A random program: its text, its inputs and outputs, and the steps it means."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = Machine()
        self.names: list[str] = []
        """Of values of the model, by variable."""
        self.values: dict[str, int] = {}
        self.lines: list[str] = []
        self.blocks: list[BlockText] = []
        self.scope = Scope()
        self._labels = 0
        self._used: set[str] = set()
        self._choose_inputs()
        for _ in range(self.random.randint(4, 9)):
            self._statement()
        self.outputs = self._choose_outputs()
        self.text = self._text()

    # ------------------------------------------------------------------------------- the model

    def _choose_inputs(self) -> None:
        choose = self.random.choice
        least = {"N": 1, "T": choose([2, 4]), "H": choose([7, 8, 12]), "W": choose([7, 9])}
        facts = [f"{name} >= {size}" for name, size in least.items() if size > 1]
        even = self.random.random() < 0.4
        facts += ["H % 4 == 0", "T % 2 == 0"] if even else []
        self.sizes = [
            {name: _size(self.random, name, size, even) for name, size in least.items()}
            for _ in range(2)
        ]
        kinds = [("N", 6), ("N", "T", 6), ("N", "T", 24), ("N", 4, "T"), ("N", 4, "H", "W")]
        kinds += [("N", 4, "H", 8), ("N", 2, 3, "H", "W"), (2, 6), ("N", 3, "H", "W"), (2, "T")]
        shapes = [choose(kinds) for _ in range(choose([1, 1, 2, 2, 3]))]
        self.inputs: dict[str, TensorType] = {}
        known = Facts(assumptions=[Condition.parse(fact) for fact in facts])
        for place, shape in enumerate(shapes):
            dtype = DType(choose(["float32"] * 6 + ["int64", "bool"])) if place else DType.FLOAT32
            self.inputs[f"x{place}"] = TensorType.of(dtype, *shape)
        symbols = {name for type in self.inputs.values() for dim in type.dims for name in dim.symbols}
        self.facts = [fact for fact in facts if fact[0] in symbols]
        self.sizes = [{k: v for k, v in each.items() if k in symbols} for each in self.sizes]
        self.context = Context(known, self.sizes)
        for name, type in self.inputs.items():
            self.values[name] = self.machine.add(type, exact=True, raw=True)

    def _choose_outputs(self) -> list[str]:
        """What nothing else uses, and so everything is needed."""
        return [name for name in self.values if name not in self._used] or [list(self.values)[-1]]

    def _text(self) -> str:
        inputs = ", ".join(
            f"{name}: {type.dtype.value}[{', '.join(map(str, type.dims))}]"
            for name, type in self.inputs.items()
        )
        body = [*(f"  require {fact}" for fact in self.facts), *(f"  {line}" for line in self.lines)]
        returned = ", ".join(f"r{place} = {name}" for place, name in enumerate(self.outputs))
        blocks = [f"{block.text()}\n" for block in self.blocks]
        model = [f"model program({inputs}) {{", *body, f"  return {returned}", "}", ""]
        return "\n".join(["edition 2026", "", *blocks, *model])

    # ------------------------------------------------------------------------------ statements

    def _statement(self) -> None:
        makers = [self._pipeline] * 7 + [self._pair] * 3 + [self._shared, self._loop, self._parts]
        for _ in range(12):
            mark = self._mark()
            try:
                self.random.choice(makers)()
            except Rejected:
                self._go_back(mark)
            else:
                return

    def _mark(self) -> tuple[Any, ...]:
        machine = self.machine
        return (
            len(machine.types), len(machine.steps), dict(machine.weights), self.scope.number,
            self.context.facts, len(self.lines), dict(self.values), len(self.blocks),
            set(self._used), len(self.context.deferred),
        )  # fmt: skip

    def _go_back(self, mark: tuple[Any, ...]) -> None:
        machine = self.machine
        types, steps, machine.weights, self.scope.number, facts, lines, values, blocks, used, _ = mark
        del machine.types[types:], machine.exact[types:], machine.raw[types:]
        del machine.steps[steps:], self.lines[lines:], self.blocks[blocks:]
        self.context.facts, self.values, self._used = facts, values, used

    def _label(self) -> str:
        self._labels += 1
        return f"{self.random.choice(['conv', 'a_b', 'x', 'norm', 'fc', 'up'])}{self._labels}"

    def _maybe_label(self) -> str | None:
        return self._label() if self.random.random() < 0.4 else None

    def _recent(self) -> str:
        names = list(self.values)
        return names[-1] if self.random.random() < 0.6 else self.random.choice(names)

    def _bind(self, value: int, text: str) -> None:
        self._check_provable()
        name = f"v{len(self.values)}"
        self.values[name] = value
        self.lines.append(f"{name} = {text}")

    def _check_provable(self) -> None:
        """What is demanded of the model's sizes must follow from what is required of them."""
        if self.context.deferred:
            self.context.deferred.clear()
            raise Rejected("a size may be too small")

    def _pipeline(self) -> None:
        name = self._recent()
        value, texts = self.values[name], list[str]()
        for _ in range(self.random.randint(1, 3)):
            stage, value = self._stage(value, self.scope, self.context)
            texts.append(stage.text())
        self._used.add(name)
        self._bind(value, " -> ".join([name, *texts]))

    def _pair(self) -> None:
        """An operator on several values, as a call or as arithmetic."""
        names = [self._recent() for _ in range(self.random.choice([2, 2, 2, 3]))]
        values = [self.values[name] for name in names]
        stage = self._operator(values, None)
        if stage.kind.function in ("div", "pow") and self.machine.types[values[0]].dtype.is_floating:
            raise Rejected("wants positive numbers")
        result = stage.outputs(self.machine, values, None, self.context)[0]
        symbol = {"add": "+", "mul": "*", "sub": "-"}.get(str(stage.kind.function))
        self._used.update(names)
        if symbol and self.random.random() < 0.7:
            self._bind(result, f" {symbol} ".join(names))
        else:
            arguments = [*names, *written(stage.kind, stage.attributes)]
            self._bind(result, f"{stage.kind.function}({', '.join(arguments)})")

    def _shared(self) -> None:
        """One instance under a name, applied twice."""
        name = self._recent()
        stage = self._operator([self.values[name]], True)
        label = f"shared{len(self.lines)}"
        value = self.values[name]
        for _ in range(2):
            value = stage.outputs(self.machine, [value], label, self.context)[0]
        self._used.add(name)
        self.lines.append(f"{label} = {stage.text()}")
        self._bind(value, f"{name} -> {label} -> {label}")

    def _loop(self) -> None:
        """A loop with labels that count."""
        name, label = self._recent(), self._label()
        value, count = self.values[name], self.random.randint(1, 3)
        stage = self._operator([value], True)
        before = self.machine.types[value]
        for index in range(count):
            value = labelled(stage, f"{label}_{index}").run(
                self.machine, value, self.scope, self.context
            )
            if self.machine.types[value] != before:
                raise Rejected("a pass changes the type")
        self._used.add(name)
        self._bind(value, name)
        bound = list(self.values)[-1]
        step = labelled(stage, f"{label}_{{i}}").text()
        self.lines.append(f"for i in 0..{count} {{ {bound} = {bound} -> {step} }}")

    def _parts(self) -> None:
        """Several results of one operator."""
        name = self._recent()
        stage = self._operator([self.values[name]], False)
        results = stage.outputs(self.machine, [self.values[name]], None, self.context)
        if len(results) < 2:
            raise Rejected("one result")
        self._check_provable()
        self._used.add(name)
        fresh = [f"v{len(self.values) + place}" for place in range(len(results))]
        self.values.update(zip(fresh, results, strict=True))
        self.lines.append(f"{', '.join(fresh)} = {name} -> {stage.text()}")

    # ---------------------------------------------------------------------------------- stages

    def _operator(self, values: Sequence[int], as_layer: bool | None) -> Apply:
        """An operator from the tables for values of these types and ranks."""
        types = [self.machine.types[value] for value in values]
        kinds = tuple((type.dtype.value, type.rank) for type in types)
        by_name = usable_cases(len(values)).get(kinds)
        if not by_name:
            raise Rejected("no operator takes these")
        case = self.random.choice(by_name[self.random.choice(sorted(by_name))])
        kind = REGISTRY[case.op]
        forms = [form for form, name in ((True, kind.layer), (False, kind.function)) if name]
        if as_layer is not None:
            forms = [form for form in forms if form == as_layer]
        if not forms:
            raise Rejected("no such form")
        # What has weights has one form only: an oracle expects what the table's form has.
        chosen = self.random.choice(forms)
        return Apply(kind, dict(case.attributes), case.oracle, named_axes(case), chosen)

    def _layer_stage(self, value: int, label: str | None) -> Apply:
        stage = self._operator([value], None)
        return replace(stage, label=label) if stage.as_layer else stage

    def _stage(
        self, value: int, scope: Scope, context: Context, depth: int = 0
    ) -> tuple[Stage, int]:
        """A stage that takes the value, and its result."""
        for _ in range(10):
            number, types, steps = scope.number, len(self.machine.types), len(self.machine.steps)
            weights, facts, demands = dict(self.machine.weights), context.facts, len(context.deferred)
            try:
                stage = self._any_stage(value, depth)
                return stage, stage.run(self.machine, value, scope, context)
            except Rejected:
                machine = self.machine
                del machine.types[types:], machine.exact[types:], machine.raw[types:]
                del machine.steps[steps:], context.deferred[demands:]
                scope.number, machine.weights, context.facts = number, weights, facts
        raise Rejected("nothing fits")

    def _any_stage(self, value: int, depth: int) -> Stage:
        kind = self.random.random()
        if kind < (0.62, 0.8, 0.9, 1.0)[min(depth, 3)]:
            stage = self._layer_stage(value, self._maybe_label())
            if (stage.kind.function or "") in POSITIVE:
                return Chain((Positive(), stage))
            return Chain((Apply(REGISTRY["tanh"], {}, torch.tanh, {}, False), stage)) if (
                stage.kind.function == "exp"
            ) else stage
        kind = self.random.random()
        if kind < 0.20:
            return Residual(self._alike(value, depth))
        if kind < 0.42:
            return self._repeat(value, depth)
        if kind < 0.54:
            return Chain(self._run_of(value, depth), self._label())
        if kind < 0.74:
            return self._fork(value, depth)
        if kind < 0.78:
            first, second = self._layer_stage(value, None), self._layer_stage(value, None)
            return Either("1 + 1 == 3", lambda _: False, first, second)
        return self._block(value, depth)

    def _run_of(self, value: int, depth: int, labels: bool = True) -> tuple[Stage, ...]:
        """One to three stages in a row, tried on the side."""
        stages: list[Stage] = []
        scope, context = Scope("trial."), replace(self.context, deferred=[])
        for _ in range(self.random.randint(1, 3)):
            stage, value = self._stage(value, scope, context, depth + 1)
            if not labels and has_label(stage):
                raise Rejected("a label would stand twice")
            stages.append(stage)
        return tuple(stages)

    def _alike(self, value: int, depth: int, labels: bool = True) -> tuple[Stage, ...]:
        """A run that keeps the type."""
        for _ in range(20):
            count = len(self.machine.steps)
            stages = self._run_of(value, depth, labels)
            last = self.machine.steps[-1].outputs if len(self.machine.steps) > count else ()
            if any(self.machine.types[each] == self.machine.types[value] for each in last):
                return stages
        raise Rejected("nothing keeps the type")

    def _repeat(self, value: int, depth: int) -> Repeat:
        label = self._label() if self.random.random() < 0.7 else None
        stages = self._alike(value, depth, labels=label is not None)
        share = is_one_layer(stages) and self.random.random() < 0.5
        return Repeat(self.random.randint(0, 3), stages, label, share)

    def _fork(self, value: int, depth: int) -> Fork:
        name = self.random.choice(["add", "mul", "concat", "stack", "maximum"])
        oracle: dict[str, Callable[..., Any]] = {
            "add": lambda *xs: sum(xs[1:], xs[0]),
            "mul": lambda *xs: torch.stack(xs).prod(0) if len(xs) == 1 else _product(xs),
            "concat": lambda *xs: torch.cat(xs, 1),
            "stack": lambda *xs: torch.stack(xs, 1),
            "maximum": lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amax(0),
        }
        attributes = {"axis": 1} if name in ("concat", "stack") else {}
        merge = Apply(REGISTRY[name], attributes, oracle[name], {}, False)
        count = self.random.randint(2, 3)
        branches = [(self._label(), self._alike(value, depth)) for _ in range(count)]
        return Fork(merge, tuple(branches))

    # ---------------------------------------------------------------------------------- blocks

    def _block(self, value: int, depth: int) -> Use:
        if self.blocks and self.random.random() < 0.5:
            block = self.random.choice(self.blocks)
            return Use(block, self._arguments(block), self._maybe_label())
        given = self.machine.types[value]
        if depth or given.rank == 0 or given.dtype is not DType.FLOAT32:
            raise Rejected("no block here")
        axes = tuple("NCHWDEK"[: given.rank])
        stages = [self._parameterised(stage) for stage in self._run_of(value, 1)]
        parameters = {name: kind for stage in stages for name, kind in parameters_of(stage)}
        block = BlockText(f"B{len(self.blocks)}", tuple(parameters.items()), axes, tuple(stages), "")
        self.blocks.append(block)
        return Use(block, self._arguments(block), self._maybe_label())

    def _parameterised(self, stage: Stage) -> Stage:
        """Put a parameter where a number of outputs or of passes stands."""
        chance = self.random.random()
        if isinstance(stage, Repeat) and chance < 0.6:
            return replace(stage, count=Parameter("times"))
        if not isinstance(stage, Apply) or chance > 0.7:
            return stage
        for name in ("out_features", "out_channels"):
            if name in stage.attributes and not stage.attributes.get("groups"):
                attributes = {**stage.attributes, name: Parameter("width")}
                return replace(stage, attributes=attributes)
        if stage.as_layer and stage.label is None:
            other = Apply(REGISTRY["Tanh"], {}, torch.tanh, {}, True)
            return Either("flag", lambda given: given["flag"], stage, other)
        return stage

    def _arguments(self, block: BlockText) -> tuple[tuple[str, Any], ...]:
        choices = {"width": [3, 4, 6, 8], "times": [0, 1, 2, 3], "flag": [True, False]}
        return tuple((name, self.random.choice(choices[name])) for name, _ in block.parameters)


def _product(values: Sequence[torch.Tensor]) -> torch.Tensor:
    result = values[0]
    for value in values[1:]:
        result = result * value
    return result


def _size(generator: random.Random, name: str, least: int, even: bool) -> int:
    size = generator.randint(least, least + (2 if name == "N" else 5))
    return -(-size // 4) * 4 if even and name in "HT" else size


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
