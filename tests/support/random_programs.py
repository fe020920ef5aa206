"""Random typed programs made from the operators' tables, and what each of them must compute.

A program is grown stage by stage: an operator with attributes from the tables of cases is taken
where its own `infer` takes the value at hand. Beside the text stands a list of steps, which is
what the text means by the rules of the language, found without the compiler: which oracle is
applied to which values, with the weights under which path.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from random_stages import (
    POSITIVE,
    SIZED,
    Apply,
    BlockText,
    Chain,
    Context,
    Either,
    Fork,
    Machine,
    Parameter,
    Positive,
    Rejected,
    Repeat,
    Residual,
    Scope,
    Stage,
    Use,
    has_label,
    has_same_constants,
    is_one_layer,
    labelled,
    named_axes,
    parameters_of,
    usable_cases,
    written,
)
from torch.nn import functional as F

from archdsl.ir.op import REGISTRY
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.proof import Condition, Facts

# ------------------------------------------------------------------------------------- programs


DIVISIONS = frozenset({"div", "floor_div", "remainder", "pow"})


class Program:
    """A random program: its text, its inputs and outputs, and the steps it means."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.machine = Machine()
        self.values: dict[str, int] = {}
        """Values of the model by variable."""
        self.lines: list[str] = []
        self.blocks: list[BlockText] = []
        self.scope = Scope()
        self._labels = 0
        self._used: set[str] = set()
        self.second_names: dict[str, str] = {}
        """The paths of weights that have other names too, by those."""
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
        kinds += [("N", 1, 6), (1, "T", 6)]
        shapes = [choose(kinds) for _ in range(choose([1, 1, 2, 2, 3]))]
        self.inputs: dict[str, TensorType] = {}
        known = Facts(assumptions=[Condition.parse(fact) for fact in facts])
        for place, shape in enumerate(shapes):
            dtype = DType(choose(["float32"] * 6 + ["int64", "bool"])) if place else DType.FLOAT32
            self.inputs[f"x{place}"] = TensorType.of(dtype, *shape)
        symbols = {
            name for type in self.inputs.values() for dim in type.dims for name in dim.symbols
        }
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
        body = [
            *(f"  require {fact}" for fact in self.facts),
            *(f"  {line}" for line in self.lines),
        ]
        returned = ", ".join(f"r{place} = {name}" for place, name in enumerate(self.outputs))
        blocks = [f"{block.text()}\n" for block in self.blocks]
        model = [f"model program({inputs}) {{", *body, f"  return {returned}", "}", ""]
        return "\n".join(["edition 2026", "", *blocks, *model])

    # ------------------------------------------------------------------------------ statements

    def _statement(self) -> None:
        makers = [self._pipeline] * 7 + [self._pair] * 3
        makers += [self._shared, self._loop, self._parts, self._tied]
        for _ in range(12):
            mark, number, blocks = self.machine.mark(), self.scope.number, len(self.blocks)
            try:
                self.random.choice(makers)()
            except Rejected:
                self.machine.restore(mark)
                self.scope.number = number
                del self.blocks[blocks:]
            else:
                return

    def _label(self) -> str:
        self._labels += 1
        return f"{self.random.choice(['conv', 'a_b', 'x', 'norm', 'fc', 'up'])}{self._labels}"

    def _maybe_label(self) -> str | None:
        return self._label() if self.random.random() < 0.4 else None

    def _recent(self) -> str:
        names = list(self.values)
        return names[-1] if self.random.random() < 0.6 else self.random.choice(names)

    def _bind(self, value: int, *lines: str, used: Sequence[str]) -> None:
        """A new variable; `@` stands for it in the lines that make it."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        self.lines += [line.replace("@", name) for line in lines]
        self._used.update(used)

    def _pipeline(self) -> None:
        name = self._recent()
        value, texts = self.values[name], list[str]()
        for _ in range(self.random.randint(1, 3)):
            stage, value = self._stage(value, self.scope, self.context)
            texts.append(stage.text())
        self._bind(value, f"@ = {' -> '.join([name, *texts])}", used=[name])

    def _pair(self) -> None:
        """An operator on several values, as a call or as arithmetic."""
        names = [self._recent() for _ in range(self.random.choice([2, 2, 2, 3]))]
        values = [self.values[name] for name in names]
        stage = self._operator(values, False)
        if stage.kind.function in DIVISIONS:
            raise Rejected("a divisor may be zero")
        result = stage.outputs(self.machine, values, None, self.context)[0]
        symbol = {"add": "+", "mul": "*", "sub": "-"}.get(str(stage.kind.function))
        arguments = [*names, *written(stage.kind, stage.attributes)]
        text = f"{stage.kind.function}({', '.join(arguments)})"
        if symbol and self.random.random() < 0.7:
            text = f" {symbol} ".join(names)
        self._bind(result, f"@ = {text}", used=names)

    def _shared(self) -> None:
        """One instance under a name, applied twice."""
        name = self._recent()
        stage = self._operator([self.values[name]], True)
        label = f"shared{len(self.lines)}"
        value = self.values[name]
        for _ in range(2):
            value, *others = stage.outputs(self.machine, [value], label, self.context)
            if others and stage.kind.leading_outputs != 1:
                raise Rejected("several values flow on")
        made = f"{stage.kind.layer}({', '.join(written(stage.kind, stage.attributes))})"
        lines = f"{label} = {made}", f"@ = {name} -> {label} -> {label}"
        self._bind(value, *lines, used=[name])

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
        step = labelled(stage, f"{label}_{{i}}").text()
        lines = f"@ = {name}", f"for i in 0..{count} {{ @ = @ -> {step} }}"
        self._bind(value, *lines, used=[name])

    def _parts(self) -> None:
        """Several results of one operator."""
        name = self._recent()
        stage = self._operator([self.values[name]], False)
        results = stage.outputs(self.machine, [self.values[name]], None, self.context)
        if len(results) < 2:
            raise Rejected("one result")
        self._used.add(name)
        fresh = [f"v{len(self.values) + place}" for place in range(len(results))]
        self.values.update(zip(fresh, results, strict=True))
        self.lines.append(f"{', '.join(fresh)} = {name} -> {stage.text()}")

    def _tied(self) -> None:
        """A map by a weight under a second name."""
        name = self._recent()
        given = self.machine.types[self.values[name]]
        if given.dtype is not DType.FLOAT32 or not given.rank:
            raise Rejected("nothing to map")
        matrices = [
            path
            for path, shape in self.machine.weights.items()
            if len(shape) == 2 and given.dims[-1] == shape[1] and path.endswith(".weight")
        ]
        if not matrices:
            raise Rejected("no such weight")
        path = self.random.choice(matrices)
        sizes = self.machine.weights[path]
        weight = self.machine.weight(path)
        linear = REGISTRY["linear"].model_validate({})
        inputs = [self.values[name], weight]
        (result,) = self.machine.apply(linear, F.linear, inputs, None, self.context)
        second = f"second{len(self.second_names)}.weight"
        self.second_names[second] = path
        declared = f"param {second}: [{', '.join(map(str, sizes))}] = {path}"
        self._bind(result, declared, f"@ = linear({name}, {second})", used=[name])

    # ---------------------------------------------------------------------------------- stages

    def _operator(self, values: Sequence[int], as_layer: bool | None) -> Apply:
        """An operator from the tables for values of these types and ranks."""
        types = [self.machine.types[value] for value in values]
        kinds = tuple((type.dtype.value, type.rank) for type in types)
        by_name = usable_cases(len(values)).get(kinds)
        if not by_name:
            raise Rejected("no operator takes these")
        case = self.random.choice(by_name[self.random.choice(sorted(by_name))])
        if case.op in SIZED and not has_same_constants(case, types):
            raise Rejected("the oracle knows its sizes")
        kind = REGISTRY[case.op]
        forms = [form for form, name in ((True, kind.layer), (False, kind.function)) if name]
        if as_layer is not None:
            forms = [form for form in forms if form == as_layer]
        if not forms:
            raise Rejected("no such form")
        # What has weights has one form only: an oracle expects what the table's form has.
        chosen = self.random.choice(forms)
        axes, rank = named_axes(case), types[0].rank
        return Apply(kind, dict(case.attributes), case.oracle, axes, chosen, rank=rank)

    def _layer_stage(self, value: int, label: str | None) -> Apply:
        stage = self._operator([value], None)
        return replace(stage, label=label) if stage.as_layer else stage

    def _stage(
        self, value: int, scope: Scope, context: Context, depth: int = 0
    ) -> tuple[Stage, int]:
        """A stage that takes the value, and its result."""
        for _ in range(10):
            mark, number = self.machine.mark(), scope.number
            try:
                stage = self._any_stage(value, depth)
                return stage, stage.run(self.machine, value, scope, context)
            except Rejected:
                self.machine.restore(mark)
                scope.number = number
        raise Rejected("nothing fits")

    def _any_stage(self, value: int, depth: int) -> Stage:
        kind = self.random.random()
        if kind < 0.06 and self.machine.types[value].rank > 2:
            return Chain(tuple(self._linear() for _ in range(4)))
        if kind < (0.62, 0.8, 0.9, 1.0)[min(depth, 3)]:
            stage = self._layer_stage(value, self._maybe_label())
            if (stage.kind.function or "") in POSITIVE:
                return Chain((Positive(), stage))
            return (
                Chain((Apply(REGISTRY["tanh"], {}, torch.tanh, {}, False), stage))
                if (stage.kind.function == "exp")
                else stage
            )
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

    def _linear(self) -> Apply:
        """A linear map; of several, ONNX has matrices and not values of many axes."""
        attributes = {"out_features": self.random.choice([1, 4, 6, 8])}
        return Apply(REGISTRY["Linear"], attributes, lambda x, p: F.linear(x, **p), {}, True)

    def _run_of(self, value: int, depth: int, labels: bool = True) -> tuple[Stage, ...]:
        """One to three stages in a row."""
        return self._tried(value, depth, labels)[0]

    def _tried(self, value: int, depth: int, labels: bool) -> tuple[tuple[Stage, ...], TensorType]:
        """Stages in a row and what they make of a value, tried on the side."""
        mark, scope = self.machine.mark(), Scope("trial.")
        stages: list[Stage] = []
        try:
            for _ in range(self.random.randint(1, 3)):
                stage, value = self._stage(value, scope, self.context, depth + 1)
                if not labels and has_label(stage):
                    raise Rejected("a label would stand twice")
                stages.append(stage)
            return tuple(stages), self.machine.types[value]
        finally:
            self.machine.restore(mark)

    def _alike(self, value: int, depth: int, labels: bool = True) -> tuple[Stage, ...]:
        """A run that keeps the type."""
        for _ in range(12):
            stages, type = self._tried(value, depth, labels)
            if type == self.machine.types[value]:
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
        block = BlockText(
            f"B{len(self.blocks)}", tuple(parameters.items()), axes, tuple(stages), ""
        )
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
