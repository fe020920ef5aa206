"""Inlines calls of blocks, so that one flat block remains, without dead nodes."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from archdsl.diagnostics import InternalError
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import (
    Block,
    Borrowed,
    Member,
    Model,
    Node,
    Port,
    Scan,
    SecondName,
    Value,
    every_node,
)
from archdsl.ir.op import Op, Weight
from archdsl.ir.types import TensorType
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim, DimOverflow, DimTooComplex
from archdsl.weights.state_dict import still_named


def flatten(model: Model, *, keep_training: bool = False) -> Block:
    """The outermost block with every call inlined.

    Member paths are state-dict prefixes, scopes are full paths, sizes are in the model's own
    symbols. Outputs that exist only while training, and what only they need, are dropped unless
    they are to be kept; so is everything else that no output needs.
    """
    flat = _Flat(model)
    flat.inline()
    return flat.block(keep_training=keep_training)


def inline(model: Model) -> Block:
    """As `flatten`, but with everything kept, also what no output needs."""
    flat = _Flat(model)
    flat.inline()
    return flat.whole()


@dataclass(slots=True)
class _Call:
    """One application of a block: where it stands, and what its values and symbols are outside."""

    block: Block
    prefix: str
    sizes: Mapping[str, Dim]
    values: dict[int, int]
    nodes: Iterator[Node]
    returns: tuple[int, ...] = ()
    """The caller's numbers for what this call returns."""
    dims: dict[Dim, Dim] = field(default_factory=dict[Dim, Dim])

    def dim(self, dim: Dim) -> Dim:
        if not self.sizes or dim.value is not None:
            return dim
        known = self.dims.get(dim)
        if known is None:
            known = self.dims[dim] = _in_the_models_sizes(dim, self.sizes)
        return known

    def type(self, type: TensorType) -> TensorType:
        if not self.sizes:
            return type
        return TensorType(type.dtype, tuple(self.dim(dim) for dim in type.dims), type.axes)

    def weight(self, weight: Weight, name: str) -> Weight:
        if not self.sizes and name == weight.name:
            return weight
        dims = tuple(self.dim(dim) for dim in weight.dims)
        return Weight(name, dims, weight.init, weight.dtype, weight.kind)

    def op(self, op: Op) -> Op:
        """The operator with its sizes in the model's symbols."""
        if not self.sizes:
            return op
        changed: dict[str, Any] = {}
        for name in type(op).model_fields:
            value = getattr(op, name)
            moved = self._attribute(value)
            if moved is not value:
                changed[name] = moved
        return op.model_copy(update=changed) if changed else op

    def _attribute(self, value: object) -> object:
        if isinstance(value, Dim):
            return self.dim(value)
        if isinstance(value, Condition):
            return value.substitute(self.sizes)
        if isinstance(value, dict):
            items = cast("dict[str, object]", value)
            return {name: self._attribute(item) for name, item in items.items()}
        if not isinstance(value, tuple):
            return value
        items = cast("tuple[object, ...]", value)
        moved = tuple(self._attribute(item) for item in items)
        return items if all(map(operator.is_, items, moved)) else moved


def _in_the_models_sizes(dim: Dim, sizes: Mapping[str, Dim]) -> Dim:
    try:
        return dim.substitute(sizes)
    except (DimTooComplex, DimOverflow) as error:
        reason = f"in the sizes of the model, {dim} cannot be written out: {error}"
        raise Unsupported(reason, help="fix sizes of the inputs") from None


class _Flat:
    """The block that grows while calls are inlined, innermost first, without recursion."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.values: list[Value] = []
        self.nodes: list[Node] = []
        self.members: dict[str, Member] = {}
        self.weights: dict[str, Weight] = {}
        self.borrowed: dict[str, int] = {}
        self.second_names: dict[str, SecondName] = {}
        root = model.root
        inputs = {port.value: self._add(root.values[port.value]) for port in root.inputs}
        self.root = self._enter(root, "", {}, inputs)

    def inline(self) -> None:
        """Take every node of every call, in the order in which they run."""
        self._inline(self.root)

    def _inline(self, outermost: _Call) -> None:
        calls = [outermost]
        while calls:
            call = calls[-1]
            node = next(call.nodes, None)
            if node is None:
                calls.pop()
                if calls:
                    self._return(call, calls[-1])
            elif node.scan is not None:
                self._append_scan(call, node, node.scan)
            elif node.block is None:
                self._append(call, node)
            else:
                calls.append(self._call(call, node))

    def _enter(
        self, block: Block, prefix: str, sizes: Mapping[str, Dim], values: dict[int, int]
    ) -> _Call:
        call = _Call(block, prefix, sizes, values, iter(block.nodes))
        for weight in block.weights:
            name = _join(prefix, weight.name)
            self.weights.setdefault(name, call.weight(weight, name))
        for borrowed in block.borrowed:
            path = _join(prefix, borrowed.path)
            if path not in self.borrowed:
                self.borrowed[path] = self._value(call, borrowed.value)
            call.values[borrowed.value] = self.borrowed[path]
        for each in block.second_names:
            path, weight = _join(prefix, each.path), _join(prefix, each.weight)
            self.second_names[path] = each.replaced({"path": path, "weight": weight})
        return call

    def _call(self, caller: _Call, node: Node) -> _Call:
        block = self.model.blocks[str(node.block)]
        prefix = caller.prefix if node.member is None else _join(caller.prefix, node.member)
        sizes = {name: caller.dim(dim) for name, dim in node.dims}
        renamed = {name: dim for name, dim in sizes.items() if dim.symbol_name != name}
        given = (caller.values[value] for value in node.inputs)
        values = {port.value: value for port, value in zip(block.inputs, given, strict=True)}
        call = self._enter(block, prefix, sizes if renamed else {}, values)
        call.returns = node.outputs
        return call

    def _return(self, call: _Call, caller: _Call) -> None:
        for value, port in zip(call.returns, call.block.outputs, strict=True):
            caller.values[value] = call.values[port.value]

    def _append(self, call: _Call, node: Node) -> None:
        if node.op is None:
            raise InternalError(f"a node of {call.block.name} applies nothing")
        member = None
        if node.member is not None:
            member = _join(call.prefix, node.member)
            self._add_member(call, node.member, member)
        inputs = _renumbered(call, node.inputs)
        for value in node.outputs:
            call.values[value] = self._value(call, value)
        changes = {
            # Axes are found by their names first: sizes from outside may bear the same names.
            "op": call.op(node.op.placed(*map(call.block.type, node.inputs))),
            "member": member,
            "inputs": inputs,
            "outputs": _renumbered(call, node.outputs),
            "fresh": tuple([str(call.dim(Dim.symbol(name))) for name in node.fresh]),
            "scope": _join(call.prefix, node.scope),
            "origins": (),
            "frames": (),
        }
        self.nodes.append(node.replaced(changes))

    def _append_scan(self, call: _Call, node: Node, scan: Scan) -> None:
        """A scan whose steps hold no calls; its values are values of the flat block."""
        for value in (*scan.elements, *scan.states):
            call.values[value] = self._value(call, value)
        around, self.nodes = self.nodes, []
        self._inline(replace(call, nodes=iter(scan.nodes)))
        inside, self.nodes = self.nodes, around
        for value in node.outputs:
            call.values[value] = self._value(call, value)
        step = {
            "length": call.dim(scan.length.without_origin()),
            "elements": _renumbered(call, scan.elements),
            "states": _renumbered(call, scan.states),
            "nodes": tuple(inside),
            "results": _renumbered(call, scan.results),
        }
        changes = {
            "scan": scan.replaced(step),
            "inputs": _with_taken(_renumbered(call, node.inputs), step, inside),
            "outputs": _renumbered(call, node.outputs),
            "scope": _join(call.prefix, node.scope),
            "frames": (),
        }
        self.nodes.append(node.replaced(changes))

    def _add_member(self, call: _Call, path: str, full_path: str) -> None:
        if full_path in self.members:
            return
        member = call.block.member[path]
        weights = tuple([call.weight(weight, weight.name) for weight in member.weights])
        changes = {"path": full_path, "weights": weights, "frames": ()}
        self.members[full_path] = member.replaced(changes)

    def _value(self, call: _Call, value: int) -> int:
        inner = call.block.values[value]
        type = call.type(inner.type)
        return self._add(inner if type is inner.type else Value(inner.name, type, inner.span))

    def _add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    # -------------------------------------------------------------------------------- what stays

    def block(self, *, keep_training: bool) -> Block:
        """The flat block, without what no output needs."""
        root = self.model.root
        outputs = tuple(
            Port(name=port.name, value=self.root.values[port.value], training=port.training)
            for port in root.outputs
            if keep_training or not port.training
        )
        nodes, needed = self._needed({port.value for port in outputs})
        return self._block(outputs, nodes, needed)

    def whole(self) -> Block:
        """The flat block with all that it has."""
        root = self.model.root
        outputs = tuple(
            port.replaced({"value": self.root.values[port.value]}) for port in root.outputs
        )
        return self._block(outputs, self.nodes, set(range(len(self.values))))

    def _block(self, outputs: tuple[Port, ...], nodes: list[Node], needed: set[int]) -> Block:
        root = self.model.root
        used = {node.member for node in every_node(nodes)}
        borrowed = {path: value for path, value in self.borrowed.items() if value in needed}
        weights = tuple(weight for path, weight in self.weights.items() if path in borrowed)
        members = self._kept_members(used, borrowed)
        fields: dict[str, Any] = {
            **{name: getattr(root, name) for name in _ABOUT},
            "inputs": tuple(
                port.replaced({"value": self.root.values[port.value]}) for port in root.inputs
            ),
            "outputs": outputs,
            "values": tuple(self.values),
            "weights": weights,
            "borrowed": tuple(Borrowed(path=path, value=value) for path, value in borrowed.items()),
            "second_names": still_named(self.second_names.values(), weights, members),
            "members": members,
            "nodes": tuple(nodes),
        }
        return Block.model_construct(**fields)

    def _needed(self, wanted: set[int]) -> tuple[list[Node], set[int]]:
        kept: list[Node] = []
        sizes: set[str] = set()
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.outputs) or not sizes.isdisjoint(node.fresh):
                wanted.update(node.inputs)
                kept.append(node)
                sizes.update(self._told(node) if self.model.root.fresh else ())
        kept.reverse()
        return kept, wanted

    def _told(self, node: Node) -> Iterator[str]:
        """Symbols of the sizes that a node is told, or that it gives; some are made by others."""
        for inner in every_node([node]):
            for value in inner.outputs:
                for dim in self.values[value].type.dims:
                    yield from dim.symbols
            waiting: list[object] = (
                [getattr(inner.op, n) for n in type(inner.op).model_fields]
                if (inner.op is not None)
                else []
            )
            while waiting:
                told = waiting.pop()
                if isinstance(told, Dim):
                    yield from told.symbols
                elif isinstance(told, tuple):
                    waiting += cast("tuple[object, ...]", told)

    def _kept_members(
        self, used: set[str | None], borrowed: Mapping[str, int]
    ) -> tuple[Member, ...]:
        owners = used.union(path.rpartition(".")[0] for path in borrowed)
        return tuple(member for path, member in self.members.items() if path in owners)


def _with_taken(
    inputs: tuple[int, ...], step: Mapping[str, Any], nodes: Sequence[Node]
) -> tuple[int, ...]:
    """The inputs of a scan, with what calls that were resolved inside take from around it."""
    made = {*step["elements"], *step["states"], *(v for node in nodes for v in node.outputs)}
    used = dict.fromkeys([*inputs, *(v for node in nodes for v in node.inputs), *step["results"]])
    return (*inputs, *(v for v in used if v not in made and v not in inputs))


def _renumbered(call: _Call, values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([call.values[value] for value in values])


_ABOUT = ("name", "doc", "arguments", "symbols", "empty", "fresh", "requirements", "span")


def _join(prefix: str, path: str) -> str:
    return f"{prefix}.{path}" if prefix and path else prefix or path
