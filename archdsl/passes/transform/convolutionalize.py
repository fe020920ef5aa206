"""The transform `convolutionalize`: linear layers become convolutions over maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from archdsl import problems
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Block, Node, Port, Requirement, every_node
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op, Weight
from archdsl.ir.receptive_field import Blocks, Lost, Values
from archdsl.ir.types import ShapeError, TensorType
from archdsl.passes.graph import needed, with_nodes
from archdsl.passes.transform.classifier_heads import (
    NO_HEAD,
    Heads,
    Pooling,
    at_each_place,
    find_heads,
)
from archdsl.sizes.conditions import Compare, Condition, all_of
from archdsl.sizes.dims import Dim
from archdsl.sizes.multiples import sufficient
from archdsl.sizes.proof import Facts, smallest_admissible
from archdsl.weights.tensor_map import Copy, Note, Part, Region, TensorMap, Transformed

_SPATIAL = {3: ("L",), 4: ("H", "W"), 5: ("D", "H", "W")}
"""What the sizes of images are called, by the number of axes."""

MOST_MULTIPLES: Final = 8
"""Each axis of an image needs one; more are no image's."""

_TWO_AXES = frozenset({"values", "eye"})
"""How weights of two axes begin and kernels cannot."""


class _Misfit(Exception):
    """An operator does not take the maps that stand in the place of its inputs."""

    def __init__(self, node: Node, error: ShapeError) -> None:
        super().__init__(error.message)
        self.node = node
        self.error = error

    def refusal(self) -> Unsupported:
        reason = f"maps do not fit in the place of rows: {self.error.message}"
        return Unsupported(reason, self.error.help, self.node.span)


def convolutionalize(block: Block) -> Transformed:
    """Fully connected layers made convolutions, which give a map of outputs for larger images.

    Where an image has the size that the layers were made for, the map has one place, and the
    outputs are the same (Long et al. 2015). Sizes that are fixed become symbolic where all
    operators take others, be they only multiples.
    """
    heads = find_heads(block)
    opened, sizes = _opened(block, heads)
    try:
        return _at_multiples(opened, heads, sizes)
    except _Misfit as misfit:
        if opened is block:
            raise misfit.refusal() from None
        note = Note(block.span, problems.sizes_stay(misfit.error.message))
    try:
        result = _converted(block, heads)
    except _Misfit as misfit:
        raise misfit.refusal() from None
    return replace(result, notes=(*result.notes, note))


def _at_multiples(block: Block, heads: Heads, sizes: Mapping[str, int]) -> Transformed:
    """The block converted, with what it must require of the sizes so that maps fit together."""
    for _ in range(MOST_MULTIPLES):
        try:
            return _converted(block, heads)
        except _Misfit as misfit:
            goal = misfit.error.condition
            multiple = goal and sufficient(goal, _facts(block), sizes)
            if multiple is None:
                raise
        reason = problems.maps_must_fit()
        demand = Requirement(condition=multiple, reason=reason, span=block.span)
        block = block.replaced({"requirements": (*block.requirements, demand)})
    return _converted(block, heads)


def _converted(block: Block, heads: Heads) -> Transformed:
    converting = _Converting(block, heads)
    converting.run()
    return converting.result()


def _facts(block: Block) -> Facts:
    """What is known of the sizes, and required of them."""
    facts = block.facts()
    for requirement in block.requirements:
        facts = facts.assume(requirement.condition)
    return facts


def _opened(block: Block, heads: Heads) -> tuple[Block, Mapping[str, int]]:
    """The block with symbols for the sizes of the images that its heads are made of."""
    taken = {*block.symbols, *(port.name for port in block.inputs)}
    taken.update(each.name for each in (*block.weights, *block.fresh))
    read = {value for node in needed(block.nodes, heads.windows) for value in node.inputs}
    values, symbols = list(block.values), dict[tuple[str, int], str]()
    for port in block.inputs:
        type = values[port.value].type
        if port.value not in read or type.rank not in _SPATIAL:
            continue
        dims = list(type.dims)
        for axis, name in enumerate(_SPATIAL[type.rank], 2):
            size = dims[axis].value
            if size is not None:
                if (name, size) not in symbols:
                    symbols[name, size] = _free(name, taken)
                dims[axis] = Dim.symbol(symbols[name, size])
        changed = TensorType.of(type.dtype, *dims)
        values[port.value] = replace(values[port.value], type=changed)
    sizes = {symbol: size for (_, size), symbol in symbols.items()}
    if not sizes:
        return block, sizes
    names = (*block.symbols, *sizes)
    return block.replaced({"values": tuple(values), "symbols": names}), sizes


def _free(name: str, taken: set[str]) -> str:
    """A name for a size that nothing else has."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}{number}"
    taken.add(found)
    return found


@dataclass(frozen=True, slots=True)
class _Map:
    """A map in the place of rows: its value, and the window of it that was one row."""

    value: int
    window: tuple[int, ...]


class _Converting:
    def __init__(self, block: Block, heads: Heads) -> None:
        self.block = block
        self.heads = heads
        self.values = list(block.values)
        self.nodes: list[Node] = []
        self.members = dict(block.member)
        self.parts: list[Part] = []
        self.notes: list[Note] = []
        self.where: list[Condition] = []
        self.maps: dict[int, _Map] = {}
        self.same: dict[int, int] = {}
        """Values that another one stands for."""
        self.facts = _facts(block)
        self.check = Obligations(self.facts)
        self.applications = Counter(node.member for node in every_node(block.nodes))
        self.borrowed = {each.path for each in block.borrowed}

    def run(self) -> None:
        """Take every node in order."""
        for node in self.block.nodes:
            inputs = tuple(self.same.get(value, value) for value in node.inputs)
            node = node.replaced({"inputs": inputs})
            pooling = self.heads.poolings.get(node.outputs[0])
            if any(value in self.maps for value in node.inputs):
                self._on_maps(node)
            elif node.outputs[0] in self.heads.windows:
                window = self.heads.windows[node.outputs[0]]
                self.maps[node.outputs[0]] = _Map(node.inputs[0], window)
            elif pooling is not None:
                self._pool(node, pooling)
            else:
                self._keep(node)
        if not self.parts:
            raise Unsupported(*NO_HEAD)

    def _pool(self, node: Node, pooling: Pooling) -> None:
        """What made maps of one size slides over them, or is left out."""
        self.where += pooling.where
        if pooling.op is None:
            self.same[node.outputs[0]] = node.inputs[0]
            self.notes.append(Note(node.span, problems.pooling_left_out(node.called)))
            return
        self.notes.append(Note(node.span, problems.pooling_slides(node.called)))
        self._keep(node.replaced({"op": pooling.op, "origins": ()}))

    def _keep(self, node: Node) -> None:
        """A node with the types of what it gives now."""
        if node.op is None:
            if any(self._type(v) != self.block.type(v) for v in node.inputs):
                reason = "a scan goes over what depends on the size of the image"
                raise Unsupported(reason, span=node.span)
        else:
            names = iter(node.fresh)
            self.check.named = lambda _: next(names)
            try:
                types = node.op.output_types(self.check, *map(self._type, node.inputs))
            except ShapeError as error:
                raise _Misfit(node, error) from None
            for value, type in zip(node.outputs, types, strict=True):
                self.values[value] = replace(self.values[value], type=type)
        self.nodes.append(node)

    def _type(self, value: int) -> TensorType:
        return self.values[value].type

    # --------------------------------------------------------------------------------- on maps

    def _on_maps(self, node: Node) -> None:
        """What is done to rows, done to maps at every place."""
        maps = [self.maps[value] for value in node.inputs if value in self.maps]
        windows = {each.window for each in maps}
        if node.op is None or len(maps) < len(node.inputs) or len(windows) > 1:
            raise _refusal(node)
        window = maps[0].window
        rows = [self.block.type(value) for value in node.inputs]
        inputs = tuple(each.value for each in maps)
        op = node.op.at_places(window) if len(maps) == 1 else None
        if op is not None:
            self._convolve(node, op, inputs)
            window = (1,) * len(window)
        elif node.op.keeps_order(*rows) and rows[0] == self.block.type(node.outputs[0]):
            self.maps[node.outputs[0]] = maps[0]
            return
        else:
            op = at_each_place(node.op, rows, [self._type(value) for value in inputs], window)
            if op is None or not self._has_same_weights(node, op, inputs):
                raise _refusal(node)
        self._keep(node.replaced({"op": op, "inputs": inputs, "origins": ()}))
        for value in node.outputs:
            self.maps[value] = _Map(value, window)

    def _has_same_weights(self, node: Node, op: Op, inputs: tuple[int, ...]) -> bool:
        own = op.weights(*map(self._type, inputs))
        before = () if node.member is None else self.block.member[node.member].weights
        return [weight.dims for weight in own] == [weight.dims for weight in before]

    def _convolve(self, node: Node, op: Op, inputs: tuple[int, ...]) -> None:
        """The layer's weights in the shape of kernels."""
        assert node.member is not None
        old = self.members[node.member]
        paths = {f"{old.path}.{weight.name}" for weight in old.weights}
        if self.applications[old.path] > 1 or not self.borrowed.isdisjoint(paths):
            reason = f"the weights of {old.path} are used in several places"
            raise Unsupported(reason, span=node.span)
        if any(weight.init.kind in _TWO_AXES for weight in old.weights):
            reason = f"the weights of {old.path} begin as a table, which no kernel is"
            raise Unsupported(reason, span=node.span)
        weights: list[Weight] = []
        own = op.weights(*map(self._type, inputs))
        for weight, before in zip(own, old.weights, strict=True):
            weights.append(replace(weight, init=before.init))
            path = f"{old.path}.{weight.name}"
            target = Region.whole(path, _sizes(weight))
            source = Region.whole(path, _sizes(before)).reshaped(_sizes(weight))
            assert source is not None
            self.parts.append(Copy(target, source))
        self.members[old.path] = old.replaced({"weights": tuple(weights)})

    # ----------------------------------------------------------------------------- the result

    def result(self) -> Transformed:
        """The block with maps for outputs, and what it requires of their sizes."""
        outputs = tuple(self._output(port) for port in self.block.outputs)
        requirements = tuple(self._requirements())
        block = self.block.replaced({"outputs": outputs, "requirements": requirements})
        result = with_nodes(block, self.nodes, self.values, self.members)
        self._demand_windows(result)
        map = TensorMap.between(self.block, result, self.parts)
        return Transformed(result, map, tuple(self.notes), tuple(self.where))

    def _output(self, port: Port) -> Port:
        found = self.maps.get(port.value)
        if found is None:
            return port.replaced({"value": self.same.get(port.value, port.value)})
        if set(found.window) != {1}:
            reason = f"the output {port.name} is a flattened map itself"
            raise Unsupported(reason, span=self.values[port.value].span)
        return port.replaced({"value": found.value})

    def _requirements(self) -> Iterator[Requirement]:
        """What operators demand of the sizes, and what was required beyond that."""
        demands = [condition for condition, _ in self.check.deferred]
        bounds = smallest_admissible(demands, self.facts)
        if bounds is not None:
            demands = [Compare(Dim.symbol(n), ">=", Dim.of(least)) for n, least in bounds.items()]
        facts = self.block.facts()
        for demand in demands:
            facts = facts.assume(demand)
        for requirement in self.block.requirements:
            if not facts.prove(requirement.condition).proved:
                yield requirement
        if demands:
            reason = problems.window_must_fit()
            yield Requirement(condition=all_of(demands), reason=reason, span=self.block.span)

    def _demand_windows(self, result: Block) -> None:
        """Refuse where a place of an output would not come from a window of the image."""
        traced = Values.of_block(Blocks({}), result)
        for port in result.outputs:
            if all(each.value != port.value for each in self.maps.values()):
                continue
            for trace in traced.traces(port.value)[2:]:
                if isinstance(trace, Lost):
                    reason = f"{trace.reason}, so larger images give no map of windows"
                    raise Unsupported(reason, span=trace.span)
            for node in needed(result.nodes, [port.value]):
                if any(_sees_all(traced, value) for value in node.outputs):
                    raise Unsupported(
                        f"every place of {port.name} would depend on all of a larger image,"
                        " not on a window of it",
                        "what takes a mean over the whole image belongs right before `flatten`",
                        node.span,
                    )


def _sees_all(traced: Values, value: int) -> bool:
    """Whether a place of a map depends on all of an image along some axis."""
    traces = [trace for trace in traced.traces(value)[2:] if not isinstance(trace, Lost)]
    return any(reach.field is None for trace in traces for reach in trace.values())


def _refusal(node: Node) -> Unsupported:
    return Unsupported(
        f"`{node.called}` has no equal on maps, as it takes rows of features",
        "behind the flattened map, use `Linear` layers and what works feature by feature",
        node.span,
    )


def _sizes(weight: Weight) -> tuple[int, ...]:
    return tuple(dim.value for dim in weight.dims if dim.value is not None)
