"""Writes a model as flat `.arch` text: one line an operator, every attribute written out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from archdsl.ir.literals import literal, message
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, Member, Model, Node, Port, Requirement, Scan, every_node
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import REGISTRY, Init, Op, Weight
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.passes.flatten import inline
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Condition, Facts
from archdsl.weights.state_dict import owned

KEYWORDS = frozenset(
    {"edition", "import", "block", "model", "return", "if", "then", "else", "for", "in", "repeat"}
    | {
        "as",
        "cell",
        "scan",
        "reverse",
        "over",
        "carry",
        "yield",
        "share",
        "require",
        "expect",
        "and",
        "or",
        "not",
        "true",
        "false",
        "none",
        "training",
    }
    | {"param", "buffer", "it"}
)
STATIC_FUNCTIONS = frozenset({"ceildiv", "min", "max", "len", "int", "float"})
SIZES = "sizes"
"""The attribute whose items are written as arguments of their own (`h=8`)."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")


def emit(model: Model) -> str:
    """Text that compiles to the same network; the text of that network is this text again."""
    block = inline(model)
    writer = _Writer(block)
    lines = [f"edition {model.edition}", ""]
    lines += [f"## {line}".rstrip() for line in model.doc.splitlines()]
    lines.append(f"model {model.name}({writer.inputs()}) -> {writer.outputs()} {{")
    lines += [f"  {line}" for line in writer.statements()]
    lines += [f"  return {writer.returned()}", "}", ""]
    return "\n".join(lines)


class _Writer:
    """Writes one flat block; knows what every value is called."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._types = _types(block)
        self._default_inits = _default_inits(block)
        self._applied: set[str] = set()
        self._taken = {*KEYWORDS, *STATIC_FUNCTIONS, *REGISTRY, *DType, *block.symbols}
        self._taken.update(size.name for size in block.fresh)
        self._expressions: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._fresh = frozenset(size.name for size in block.fresh)
        for port in block.inputs:
            self._refuse_hiding(port.name, "an input")
            self._expressions[port.value] = port.name
        named = [
            *(weight.name for weight in block.weights),
            *(each.path for each in block.second_names),
        ]
        for name in filter(_PLAIN.match, named):
            self._refuse_hiding(name, "a weight")
        self._taken.update(port.name for port in block.inputs)
        self._taken.update(named)
        for borrowed in block.borrowed:
            self._expressions[borrowed.value] = borrowed.path

    def _refuse_hiding(self, name: str, what: str) -> None:
        nodes = every_node(self._block.nodes)
        used = {node.op.function for node in nodes if node.op and node.member is None}
        if name in used:
            raise Unsupported(
                f"{what} is called `{name}`, which hides the operator of that name",
                f"call {what} something else",
            )

    # --------------------------------------------------------------------------- the signature

    def inputs(self) -> str:
        """`image: float32[N, 3, H, W]`, for every input."""
        empty = dict.fromkeys(self._block.empty)
        written: list[str] = []
        for port in self._block.inputs:
            type = self._types[port.value]
            dims = [_input_dim(dim, empty) for dim in type.dims]
            written.append(f"{port.name}: {type.dtype}[{', '.join(dims)}]")
        return ", ".join(written)

    def outputs(self) -> str:
        """`logits: float32[N, 1000]`, for every output."""
        known = {*self._block.symbols, *(port.name for port in self._block.inputs)}
        return ", ".join(
            f"{_training(port)}{port.name}: {self._output_type(port, known)}"
            for port in self._block.outputs
        )

    def _output_type(self, port: Port, known: set[str]) -> str:
        """The type of an output; a size that depends on data is named by the first that has it."""
        type, declared = self._types[port.value], self._block.type(port.value)
        fresh = {size.name for size in self._block.fresh}
        dims: list[str] = []
        for dim, own in zip(type.dims, declared.dims, strict=True):
            if own.symbols.isdisjoint(fresh):
                dims.append(str(dim))
                continue
            name = own.symbol_name or (
                "" if own.symbols <= known else self._free("Size", numbered=False)
            )
            known.add(name)
            dims.append(name or str(own))
        return f"{type.dtype}[{', '.join(dims)}]"

    def returned(self) -> str:
        """`logits = fc`, for every output; what a name cannot begin, the signature names alone."""
        return ", ".join(
            f"{_training(port)}{named}{self._expressions[port.value]}"
            for port in self._block.outputs
            for named in ("" if port.name in KEYWORDS else f"{port.name} = ",)
        )

    # -------------------------------------------------------------------------- the statements

    def statements(self) -> Iterator[str]:
        """What is required, the weights that are declared, a line for every node, and ties."""
        yield from map(_require, self._block.requirements)
        yield from map(_weight, self._block.weights)
        for node in self._block.nodes:
            yield from self._node(node)
        weights = owned(self._block.weights, self._block.members)
        for each in self._block.second_names:
            yield f"{_declared(weights[each.weight], each.path)} = {each.weight}"

    def _node(self, node: Node) -> Iterator[str]:
        if node.scan is not None:
            yield from self._scan(node, node.scan)
        else:
            yield self._application(node)

    def _application(self, node: Node) -> str:
        assert node.op is not None
        self._refuse_fresh(node, node.op)
        inputs = [self._expressions[value] for value in node.inputs]
        if node.member is None:
            call = f"{node.op.function}({', '.join([*inputs, *_attributes(node.op)])})"
        else:
            call = self._layer(node.op, node.member, inputs)
        return f"{self._names(node)} = {call}"

    def _refuse_fresh(self, node: Node, op: Op) -> None:
        """Nothing in the language names a size that depends on data where it comes to be."""
        waiting: list[Any] = [getattr(op, name) for name in type(op).model_fields]
        while waiting:
            value = waiting.pop()
            if isinstance(value, Dim) and not value.symbols.isdisjoint(self._fresh):
                raise Unsupported(
                    f"`{node.called}` is told {value}, a size that depends on data,"
                    " for which the flat form has no name",
                    "compute it from a tensor of that size, as `cumsum` counts its places",
                    node.span,
                )
            waiting += cast("Sequence[Any]", value) if isinstance(value, tuple | list) else ()

    def _layer(self, op: Op, path: str, inputs: Sequence[str]) -> str:
        share = "share " if path in self._applied else ""
        self._applied.add(path)
        arguments = [*inputs[1:], *_attributes(op)]
        if not share:
            arguments += self._initialisers(self._block.member[path])
        return f"{inputs[0]} -> {share}{path}: {op.layer}({', '.join(arguments)})"

    def _initialisers(self, member: Member) -> Iterator[str]:
        defaults = self._default_inits[member.path]
        for weight in member.weights:
            if weight.init != defaults[weight.name]:
                yield f"{weight.name}_init={literal(weight.init)}"

    def _names(self, node: Node) -> str:
        """Names for the node's values, made of its path or its operator alone."""
        assert node.op is not None
        base = (node.member or str(node.op.function)).replace(".", "_")
        base = base if _PLAIN.match(base) else f"v_{base}"
        return self._call(node.outputs, base, numbered=node.member is None)

    def _call(self, values: Sequence[int], base: str, *, numbered: bool = True) -> str:
        for value in values:
            self._expressions[value] = self._free(base, numbered=numbered)
        return ", ".join(self._expressions[value] for value in values)

    def _scan(self, node: Node, scan: Scan) -> Iterator[str]:
        walked = node.inputs[: len(scan.axes)]
        initials = node.inputs[len(walked) : len(walked) + len(scan.states)]
        sequences = ", ".join(
            f"{self._expressions[value]}(axis={axis})"
            for value, axis in zip(walked, scan.axes, strict=True)
        )
        begun = [self._expressions[value] for value in initials]
        elements = self._call(scan.elements, "element")
        self._call(scan.states, "state")
        states = [self._expressions[value] for value in scan.states]
        carried = ", ".join(f"{s} = {b}" for s, b in zip(states, begun, strict=True))
        step = [f"  {line}" for line in self._step(scan, states)]
        reverse, carry = "reverse " if scan.reverse else "", f" carry {carried}" if carried else ""
        names = self._call(node.outputs, "scan")
        yield f"{names} = scan {reverse}{elements} over {sequences}{carry} {{"
        yield from step
        yield "}"

    def _step(self, scan: Scan, states: Sequence[str]) -> Iterator[str]:
        """The nodes of a step, then what the states become, then what it yields."""
        for node in scan.nodes:
            yield from self._node(node)
        # What a state was at the beginning must be kept before the states change.
        for state in {value: None for value in scan.results if value in scan.states}:
            before = self._expressions[state]
            self._call([state], "before")
            yield f"{self._expressions[state]} = {before}"
        results = [self._expressions[value] for value in scan.results]
        for state, result in zip(states, results, strict=False):
            yield f"{state} = {result}"
        if results[len(states) :]:
            yield f"yield {', '.join(results[len(states) :])}"

    def _free(self, base: str, *, numbered: bool) -> str:
        """A name that nothing else has: of a layer its path if that is free, else a number more."""
        name = base
        number = self._numbers.get(base, 0 if numbered else 1)
        while numbered or name in self._taken:
            number += 1
            name = f"{base}_{number}"
            numbered = False
        self._numbers[base] = number
        self._taken.add(name)
        return name


def _types(block: Block) -> Sequence[TensorType]:
    """The types of all values as they follow in the flat block, without the blocks' signatures.

    A size can be written otherwise there: `H`, where a block that halves and doubles it has
    `2*(H//2)`. What bounds a size from data is known from the node on that makes it.
    """
    known = block.facts()
    required = [requirement.condition for requirement in block.requirements]
    names = [size.name for size in block.fresh]
    bounds = dict(zip(names, known.assumptions, strict=True))
    types = [value.type for value in block.values]
    _infer(block.nodes, Facts(known.minimums, required), bounds, types)
    return types


def _infer(
    nodes: Sequence[Node], facts: Facts, bounds: Mapping[str, Condition], types: list[TensorType]
) -> None:
    for node in nodes:
        given = [types[value] for value in node.inputs]
        if node.scan is not None:
            results = _infer_scan(node.scan, given, facts, bounds, types)
        else:
            assert node.op is not None
            results = _infer_op(node.op, given, facts, node.fresh)
        for value, result in zip(node.outputs, results, strict=True):
            types[value] = result
        for name in node.fresh:
            facts = facts.assume(bounds[name])


def _infer_op(
    op: Op, given: Sequence[TensorType], facts: Facts, fresh: Sequence[str]
) -> Sequence[TensorType]:
    names = iter(fresh)
    try:
        return op.output_types(Obligations(facts, named=lambda _: next(names)), *given)
    except ShapeError as problem:
        reason = f"without the blocks' signatures it does not follow: {problem.message}"
        raise Unsupported(reason) from None


def _infer_scan(
    scan: Scan,
    given: Sequence[TensorType],
    facts: Facts,
    bounds: Mapping[str, Condition],
    types: list[TensorType],
) -> Sequence[TensorType]:
    """The stacked yields, each as long as the first sequence, and the states as they began."""
    for element, sequence, axis in zip(scan.elements, given, scan.axes, strict=False):
        types[element] = sequence.without_axis(axis)
    initials = given[len(scan.axes) : len(scan.axes) + len(scan.states)]
    for state, initial in zip(scan.states, initials, strict=True):
        types[state] = initial
    _infer(scan.nodes, facts, bounds, types)
    length = given[0].dims[scan.axes[0]]
    yields = scan.results[len(scan.states) :]
    stacked = [types[y].with_axis(at, length) for y, at in zip(yields, scan.stacked, strict=True)]
    return [*stacked, *initials]


def _default_inits(block: Block) -> Mapping[str, Mapping[str, Init]]:
    """How the weights of every layer begin when nothing is said."""
    defaults: dict[str, dict[str, Init]] = {}
    for node in every_node(block.nodes):
        if node.member is not None and node.member not in defaults and node.op is not None:
            weights = node.op.weights(*(block.type(value) for value in node.inputs))
            defaults[node.member] = {weight.name: weight.init for weight in weights}
    return defaults


# ------------------------------------------------------------------------------------- one line


def _training(port: Port) -> str:
    return "training " if port.training else ""


def _input_dim(dim: Dim, empty: dict[str, None]) -> str:
    """A size of an input; that it may be 0 is said where it stands first."""
    name = dim.symbol_name
    if name not in empty:
        return str(dim)
    del empty[name]
    return f"{name} >= 0"


def _require(requirement: Requirement) -> str:
    return f"require {literal(requirement.condition)}, {message(requirement.reason)}"


def _weight(weight: Weight) -> str:
    return f"{_declared(weight, weight.name)} = {literal(weight.init)}"


def _declared(weight: Weight, name: str) -> str:
    kind = "param" if weight.kind == "parameter" else "buffer"
    dims = ", ".join(map(str, weight.dims))
    return f"{kind} {name}: {weight.dtype}[{dims}]"


def _attributes(op: Op) -> Iterator[str]:
    for name in type(op).model_fields:
        value = getattr(op, name)
        if name == SIZES:
            yield from (f"{axis}={size}" for axis, size in value.items())
        else:
            yield f"{name}={literal(value)}"
