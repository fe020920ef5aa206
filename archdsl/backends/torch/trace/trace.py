"""Traces a specialised block: its constructions and applications as data for PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from archdsl.backends.python.formula import Formula
from archdsl.backends.torch.trace.inplace import overwriting
from archdsl.backends.torch.trace.lower import (
    Instance,
    Made,
    Written,
    function,
    gives_tuple,
    layer,
    plain,
    result_types,
    tensor_of,
    with_constants,
)
from archdsl.backends.torch.trace.origins import at_pass, in_terms, names_of
from archdsl.backends.torch.trace.unfollowed import unfollowed
from archdsl.diagnostics import InternalError
from archdsl.ir.lowering import Expression, Index, Input, Invocation, Unsupported
from archdsl.ir.model import Argument, Block, Frame, Member, Model, Node, Origin, Scan, every_node
from archdsl.ir.op import Op
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Steps:
    """What a scan applies once for every place along an axis."""

    scan: Scan
    steps: tuple[Step, ...]
    results: tuple[int, ...]
    """The states as a step leaves them, then what it yields."""

    @property
    def form(self) -> tuple[Any, ...]:
        """What scans that are written alike have in common."""
        scan = self.scan
        return scan.reverse, scan.axes, scan.stacked, len(scan.states)


@dataclass(frozen=True, slots=True)
class Step:
    """One application: of a member by its path, of an expression, or of steps again and again.

    A scan's inputs are its sequences, its initial states, and the values around that it reads.
    """

    callee: str | Expression | Steps
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    frames: tuple[Frame, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For keywords of the expression that are left out where they are the default."""
    training: bool = False
    invocation: Invocation | None = None
    """How a member is called, where that is not with the inputs one after the other."""


@dataclass(slots=True)
class Trace:
    """What one specialised block constructs and applies."""

    key: str
    block: Block
    names: dict[str, Any]
    """Constant sizes by their symbol, then parameters; integers are `int`."""
    sizes: dict[str, tuple[int, int]]
    """Symbols read at run time: the position of the input and the axis."""
    made: dict[str, Made] = field(default_factory=dict[str, Made])
    steps: list[Step] = field(default_factory=list[Step])
    alias: dict[int, int] = field(default_factory=dict[int, int])
    fresh: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Sizes that depend on data: the value that first has it, and the axis."""
    types: list[TensorType] = field(default_factory=list[TensorType])
    """The types of all values; their sizes remember the formulas they came from."""
    passed: list[TensorType] = field(default_factory=list[TensorType])
    """The types of the outputs, where sizes that the signature does not name are called after the
    place of the input and the axis that they come from."""
    unfollowed: set[str] = field(default_factory=set[str])
    """The names that an operator's attribute was written with and its lowered form is not."""

    def value(self, value: int) -> int:
        """The value itself, where it was only passed on."""
        return self.alias.get(value, value)


def trace(model: Model, key: str, traces: Mapping[str, Trace]) -> Trace:
    """Lower every member and node of a block; the blocks that it uses were traced before."""
    block = model.blocks[key]
    result = Trace(key, block, static_names(block), _run_time_sizes(block))
    result.types += [value.type for value in block.values]
    _Tracer(model, result, traces).run()
    return result


def static_names(block: Block) -> dict[str, Any]:
    """The values of a block's constant sizes and of its parameters, by name."""
    names: dict[str, Any] = {}
    for dim in _port_dims(block):
        name = dim.origin.symbol_name if dim.has_origin else None
        if name is not None and dim.value is not None:
            names.setdefault(name, dim.value)
    for argument in block.arguments:
        if argument.kind != "layer":
            names[argument.name] = plain(argument.value)
    return names


def _port_dims(block: Block) -> Iterator[Dim]:
    for port in block.inputs:
        yield from block.type(port.value).dims


def _run_time_sizes(block: Block) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for place, port in enumerate(block.inputs):
        for axis, dim in enumerate(block.type(port.value).dims):
            if dim.symbol_name is not None:
                found.setdefault(dim.symbol_name, (place, axis))
    return found


@dataclass(frozen=True, slots=True)
class _Level:
    """The block's own steps, or those of a scan, and the loops that scan stands in."""

    steps: list[Step]
    frames: tuple[Frame, ...]


class _Tracer:
    def __init__(self, model: Model, result: Trace, traces: Mapping[str, Trace]) -> None:
        self.model = model
        self.traces = traces
        self.block = result.block
        self.trace = result
        self.constants: dict[int, tuple[Any, DType]] = {}
        self.levels = [_Level(result.steps, ())]
        self.frames_of: dict[int, tuple[Frame, ...]] = {}
        """The loops and branches in which each value is made."""
        self.level_of: dict[int, int] = {}
        """At which level each constant stands."""
        self.first_use: dict[str, Node] = {}
        for node in every_node(self.block.nodes):
            if node.member is not None:
                self.first_use.setdefault(node.member, node)
        self.overwriting = overwriting(self.block)
        outputs = self.block.outputs
        self.needed = _needed(self.block.nodes, {p.value for p in outputs if not p.training})
        self.needed_in_training = _needed(self.block.nodes, {port.value for port in outputs})

    def run(self) -> None:
        _refuse_names(self.block)
        self._remember_sizes(self.block.nodes)
        for port in self.block.outputs:
            self.trace.types[port.value] = self._type_in((), port.value)
        functions = self._as_functions()
        for member in self.block.members:
            if member.path not in functions:
                self.trace.made[member.path] = self._made(member)
        for node in self.block.nodes:
            self._add(node, functions)
        for port in self.block.outputs:
            self._materialise(port.value, ())
        self.trace.passed += self._passed()
        self.trace.fresh.update(self._fresh_sizes())

    def _passed(self) -> list[TensorType]:
        """The outputs' types with names for the sizes of inputs that have none."""
        outputs = [port.value for port in self.block.outputs]
        own = list(self.trace.types)
        for place, port in enumerate(self.block.inputs):
            type = own[port.value]
            nameless = [dim.value is not None and not dim.has_origin for dim in type.dims]
            dims = (
                dim.with_origin(Dim.symbol(_place(place, axis))) if nameless[axis] else dim
                for axis, dim in enumerate(type.dims)
            )
            if any(nameless):
                self.trace.types[port.value] = TensorType(type.dtype, tuple(dims), type.axes)
        if all(map(operator.is_, own, self.trace.types)):
            return [own[value] for value in outputs]
        self._remember_sizes(self.block.nodes)
        passed = [self._type_in((), value) for value in outputs]
        self.trace.types[:] = own
        return passed

    def _fresh_sizes(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Where each size that depends on data can be read off first."""
        waiting = {size.name for size in self.block.fresh}
        for node in self.block.nodes if waiting else ():
            for value in node.outputs:
                for axis, dim in enumerate(self.block.type(value).dims):
                    if dim.symbol_name in waiting:
                        waiting.discard(dim.symbol_name)
                        yield dim.symbol_name, (self.trace.value(value), axis)

    def _remember_sizes(self, nodes: Sequence[Node]) -> None:
        """Let sizes carry on the formulas of the attributes and sizes they were made of."""
        for node in nodes:
            known = [self.trace.types[value] for value in node.outputs]
            if node.scan is not None:
                found = self._scanned_types(node, node.scan)
            elif node.op is not None:
                found = result_types(node.op, self._types(node), node.origins, known)
            else:
                found = self._returned_types(node, known)
            for value, type in zip(node.outputs, found, strict=True):
                self.trace.types[value] = type
                self.frames_of[value] = node.frames

    def _scanned_types(self, node: Node, scan: Scan) -> Sequence[TensorType]:
        types = self.trace.types
        given = self._types(node)
        for element, sequence, axis in zip(scan.elements, given, scan.axes, strict=False):
            types[element] = sequence.without_axis(axis)
        initials = given[len(scan.axes) : len(scan.axes) + len(scan.states)]
        for state, initial in zip(scan.states, initials, strict=True):
            types[state] = initial
        self._remember_sizes(scan.nodes)
        length = given[0].dims[scan.axes[0]]
        yields = scan.results[len(scan.states) :]
        stacked = [
            types[y].with_axis(at, length) for y, at in zip(yields, scan.stacked, strict=True)
        ]
        found = zip((*stacked, *initials), node.outputs, strict=True)
        return [TensorType(type.dtype, type.dims, types[value].axes) for type, value in found]

    def _returned_types(self, node: Node, known: Sequence[TensorType]) -> Sequence[TensorType]:
        """What a block returns, its sizes in terms of what it was given here."""
        callee = self.traces[str(node.block)]
        made = self._instance(self.block.member[str(node.member)], callee.block, node)
        origins = {
            name: Dim.of(value).origin
            for name, value in made.values.items()
            if isinstance(value, Dim) or type(value) is int
        }
        inner = [
            TensorType(own.dtype, tuple(map(_named_or, own.dims, passed.dims)), own.axes)
            for own, passed in zip(
                (callee.types[port.value] for port in callee.block.outputs),
                callee.passed,
                strict=True,
            )
        ]
        for place, value in enumerate(node.inputs):
            for axis, dim in enumerate(self._type_in(node.frames, value).dims):
                origins[_place(place, axis)] = dim.origin
        return [
            TensorType(
                outer.dtype,
                tuple(map(partial(_in_terms_of, origins), own.dims, outer.dims)),
                outer.axes,
            )
            for own, outer in zip(inner, known, strict=True)
        ]

    # ---------------------------------------------------------------------------------- members

    def _made(self, member: Member) -> Made:
        node = self.first_use.get(member.path)
        if member.block is not None:
            return self._instance(member, self.model.blocks[member.block], node)
        if node is None or node.op is None:
            raise InternalError(f"nothing says what layer {member.path} is")
        types = self._types(node)
        made = layer(node.op, types, node.origins, member.weights)
        self._note_unfollowed(node.op, types, node.origins, as_layer=True)
        return made.in_place() if member.path in self.overwriting else made

    def _note_unfollowed(
        self, op: Op, types: Sequence[TensorType], origins: Sequence[Origin], *, as_layer: bool
    ) -> None:
        self.trace.unfollowed.update(unfollowed(op, types, origins, as_layer=as_layer))

    def _instance(self, member: Member, block: Block, node: Node | None) -> Instance:
        values: dict[str, Any] = static_names(block)
        if node is not None:
            for port, outer in zip(block.inputs, node.inputs, strict=True):
                values.update(_sizes_of(block.type(port.value), self._type_in(node.frames, outer)))
        for argument in member.arguments:
            if argument.name in values:
                values[argument.name] = _as_written(argument)
        return Instance(str(member.block), values)

    def _types(self, node: Node) -> list[TensorType]:
        return [self._type_in(node.frames, value) for value in node.inputs]

    def _type_in(self, frames: Sequence[Frame], value: int) -> TensorType:
        """A type where it is read: loops that were left since have their numbers in it."""
        type, made = self.trace.types[value], self.frames_of.get(value, ())
        left = {f.variable: f.index for f in made if f.variable is not None and f not in frames}
        if not left:
            return type
        dims = (dim.with_origin(at_pass(dim.origin, left)) for dim in type.dims)
        return TensorType(type.dtype, tuple(dims), type.axes)

    def _as_functions(self) -> set[str]:
        """Layers without label and weights at the top of a block, which read better as calls."""
        if is_numbered_chain(self.block):
            return set()
        candidates = (m for m in self.block.members if m.path.isdigit() and not m.weights)
        return {m.path for m in candidates if m.block is None and self._has_function(m.path)}

    def _has_function(self, path: str) -> bool:
        node = self.first_use.get(path)
        if node is None or node.op is None:
            return False
        try:
            node.op.torch_call(*self._types(node))
        except Unsupported:
            return False
        return True

    # ------------------------------------------------------------------------------------ steps

    def _add(self, node: Node, functions: set[str]) -> None:
        inputs = tuple(self.trace.value(value) for value in node.inputs)
        if self.needed_in_training.isdisjoint(node.outputs):
            return
        training = self.needed.isdisjoint(node.outputs)
        if node.scan is not None:
            self._add_scan(node, node.scan, functions, training=training)
            return
        if node.member is not None and node.member not in functions:
            for value in inputs:
                self._materialise(value, node.frames)
            invocation = node.op and node.op.torch_invocation(*self._types(node))
            step = Step(
                node.member,
                inputs,
                node.outputs,
                node.frames,
                training=training,
                invocation=invocation,
            )
            self._append(step)
            return
        if node.op is None:
            raise InternalError(f"a node of {self.block.name} applies nothing")
        expression = function(node.op, self._types(node), node.origins)
        self._note_unfollowed(node.op, self._types(node), node.origins, as_layer=False)
        if isinstance(expression, Dim | bool | int | float | Written):
            self.constants[node.outputs[0]] = expression, self.block.type(node.outputs[0]).dtype
            self.level_of[node.outputs[0]] = len(self.levels) - 1
            return
        if isinstance(expression, Input):
            self.trace.alias[node.outputs[0]] = inputs[expression.index]
            return
        if len(node.outputs) == 1 and gives_tuple(node.op, self._types(node)):
            expression = Index(expression, (0,))
        written, left = with_constants(expression, inputs, self.constants)
        attributes = {name: getattr(node.op, name) for name in type(node.op).model_fields}
        self._append(Step(written, left, node.outputs, node.frames, attributes, training))

    def _append(self, step: Step) -> None:
        self.levels[-1].steps.append(step)

    def _add_scan(self, node: Node, scan: Scan, functions: set[str], *, training: bool) -> None:
        given = [self.trace.value(value) for value in node.inputs]
        given = given[: len(scan.axes) + len(scan.states)]
        for value in given:
            self._materialise(value, node.frames)
        self.levels.append(_Level([], node.frames))
        for inner in scan.nodes:
            self._add(inner, functions)
        results = tuple(self.trace.value(value) for value in scan.results)
        for value in results:
            self._materialise(value, node.frames)
        steps = self.levels.pop().steps
        callee = Steps(scan, tuple(steps), results)
        inputs = (*given, *_captured(callee))
        self._append(Step(callee, inputs, node.outputs, node.frames, training=training))

    def _materialise(self, value: int, frames: tuple[Frame, ...]) -> None:
        """A constant that something else than an operator reads becomes a tensor."""
        constant = self.constants.pop(value, None)
        if constant is None:
            return
        level = self.level_of[value]
        if level + 1 < len(self.levels):
            # It is made where it stands, before the scan, not again in every step.
            frames = self.levels[level + 1].frames
        self.levels[level].steps.append(Step(tensor_of(*constant), (), (value,), frames))


def _as_written(argument: Argument) -> Any:
    if argument.origin is None:
        return argument.value
    return Written(argument.value, Formula(argument.origin))


def _refuse_names(block: Block) -> None:
    """PyTorch assigns `training` itself, so that nothing else can be called that."""
    names = {part for member in block.members for part in member.path.split(".")}
    names.update(part for each in block.second_names for part in each.path.split("."))
    if "training" in names.union(weight.name for weight in block.weights):
        raise Unsupported(
            f"`training` in block {block.name} is what PyTorch calls the mode of every module",
            "choose another label",
        )


def _captured(steps: Steps) -> list[int]:
    """The values around a scan that its steps read, in order of first use."""
    made = {*steps.scan.elements, *steps.scan.states}
    used: dict[int, None] = {}
    for step in steps.steps:
        used.update(dict.fromkeys(step.inputs))
        made.update(step.outputs)
    used.update(dict.fromkeys(steps.results))
    return [value for value in used if value not in made]


def _needed(nodes: Sequence[Node], wanted: set[int]) -> set[int]:
    """The values that some values are made of, and those themselves."""
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted.update(node.inputs)
            if node.scan is not None:
                wanted.update(node.scan.results)
                _needed(node.scan.nodes, wanted)
    return wanted


def _sizes_of(inner: TensorType, outer: TensorType) -> Iterator[tuple[str, Any]]:
    """The block's constant sizes by their symbol, as the caller knows them."""
    for own, given in zip(inner.dims, outer.dims, strict=True):
        name = own.origin.symbol_name if own.has_origin else None
        if name is not None and own.value is not None:
            yield name, given if given.value == own.value else own.value


def _place(place: int, axis: int) -> str:
    """A name for a size of an input that its signature does not name."""
    return f"axis_{axis}_of_input_{place}"


def _named_or(own: Dim, passed: Dim) -> Dim:
    return own if own.has_origin else passed


def _in_terms_of(origins: Mapping[str, Dim], own: Dim, outer: Dim) -> Dim:
    """The caller's size, remembering how the block's formula for it reads in the caller's terms."""
    if outer.value is None or not own.has_origin or not origins.keys() >= {*names_of(own)}:
        return outer
    return outer.with_origin(in_terms(own.origin, origins))


def is_numbered_chain(block: Block) -> bool:
    """Whether a block is nothing but its layers 0, 1, 2 … one after the other."""
    if len(block.inputs) != 1 or len(block.outputs) != 1 or block.outputs[0].training:
        return False
    if block.weights or block.borrowed or not block.nodes:
        return False
    if [m.path for m in block.members] != [str(i) for i in range(len(block.members))]:
        return False
    value = block.inputs[0].value
    for member, node in zip(block.members, block.nodes, strict=False):
        if node.member != member.path or node.inputs != (value,) or len(node.outputs) != 1:
            return False
        value = node.outputs[0]
    return len(block.nodes) == len(block.members) and block.outputs[0].value == value
