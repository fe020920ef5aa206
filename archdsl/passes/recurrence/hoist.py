"""Hoists what a scan computes from its element alone out of the loop, over the whole sequence.

Gates take features of elements as they are. What makes such features, an embedding or a relu, is
lifted; what gates themselves make of them, products with weights, stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from archdsl.ir.model import Node, Scan, Value
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import REGISTRY
from archdsl.ir.types import TensorType
from archdsl.passes.graph import captured, read
from archdsl.passes.recurrence.algebra import Algebra, Bias, Product, Source
from archdsl.passes.recurrence.environment import StepValues
from archdsl.passes.recurrence.values import Columns
from archdsl.passes.recurrence.vectorise import OverTime
from archdsl.sizes.proof import Facts


def lifted(values: StepValues, facts: Facts, node: Node, scan: Scan) -> list[Node]:
    """What can be made before a scan, and the scan over that; nothing if that is nothing."""
    lifting = _Lifting(values, facts, node, scan)
    for place, step in enumerate(scan.nodes):
        lifting.see(place, step)
    return lifting.result()


class _Lifting:
    """The nodes of one step, of which those that depend on no state may stand before the scan."""

    def __init__(self, values: StepValues, facts: Facts, node: Node, scan: Scan) -> None:
        self._values, self._facts = values, facts
        self._node, self._scan = node, scan
        self._time = scan.axes[0] if scan.axes[0] < 2 else 0
        self._bound = {*scan.states}
        """What depends on a state."""
        self._varying = {*scan.elements}
        """What depends on an element, and on no state."""
        self._waiting: dict[int, tuple[int, Node]] = {}
        """By what they make, the nodes that depend on no state and are not lifted yet."""
        self._sequences: dict[int, int] = {}
        """What has at all steps what one step has of a varying value."""
        self._before: list[Node] = []
        self._gone: set[int] = set()
        self._elements = list(scan.elements)
        self._known = dict(values.outside)
        for place, value in enumerate(scan.elements):
            values.enter_element(self._known, place, value)

    def see(self, place: int, node: Node) -> None:
        """Take the next node of the step; lift what gates could not take otherwise."""
        if node.scan is not None or not self._bound.isdisjoint(node.inputs):
            self._bound.update(node.outputs)
            return
        self._waiting.update(dict.fromkeys(node.outputs, (place, node)))
        if self._varying.isdisjoint(node.inputs):
            return
        self._varying.update(node.outputs)
        if not self._suits(node):
            self._lift(node.inputs)
            if not self._suits(node):
                self._lift(node.outputs)

    def result(self) -> list[Node]:
        """The lifted nodes, then the scan without them."""
        node, scan, count = self._node, self._scan, len(self._scan.axes)
        nodes = [step for step in scan.nodes if id(step) not in self._gone]
        used = {value for step in nodes for value in read(step)}.union(scan.results)
        new = [value for value in self._elements[count:] if value in used]
        if not new:
            return []
        changes = {
            "elements": (*scan.elements, *new),
            "axes": (*scan.axes, *(self._time,) * len(new)),
            "nodes": tuple(nodes),
        }
        rest = scan.replaced(changes)
        walked = (*node.inputs[:count], *(self._sequences[value] for value in new))
        begin = node.inputs[count : count + len(scan.states)]
        inputs = (*walked, *begin, *captured(rest))
        return [*self._before, node.replaced({"scan": rest, "inputs": inputs})]

    # ----------------------------------------------------------------------------- what gates take

    def _suits(self, node: Node) -> bool:
        """Whether it gives features of an element, or sums of products of these with weights."""
        self._values.apply(node, self._known)
        algebra = self._values.algebra
        for value in node.outputs:
            columns = self._known[value]
            if not isinstance(columns, Columns):
                return False
            sums = {algebra.whole(code) for code in columns.codes.ravel().tolist()}
            if not all(_is_source(algebra, each) or _is_affine(algebra, each) for each in sums):
                return False
        return True

    # ------------------------------------------------------------------------------------- lifting

    def _lift(self, wanted: Iterable[int]) -> None:
        """Lift what makes these values, as far as it can be made for all steps at once."""
        found: dict[int, Node] = {}
        asked = [*wanted]
        while asked:
            place, node = self._waiting.get(asked.pop(), (0, None))
            if node is not None and place not in found:
                found[place] = node
                asked += node.inputs
        for _, node in sorted(found.items(), key=lambda each: each[0]):
            if self._waiting.keys().isdisjoint(node.inputs) and self._place(node):
                self._gone.add(id(node))
                for value in node.outputs:
                    del self._waiting[value]

    def _place(self, node: Node) -> bool:
        """Put a node before the scan, over whole sequences if it varies; whether that can be."""
        varies = [value in self._varying for value in node.inputs]
        if not any(varies):
            self._before.append(node)
            return True
        moving = [v for v in (*node.inputs, *node.outputs) if v in self._varying]
        if node.op is None or node.fresh or any(self._type(v).rank < self._time for v in moving):
            return False
        step = [self._type(value) for value in node.inputs]
        inputs = tuple(map(self._sequence, node.inputs))
        whole = [self._type(value) for value in inputs]
        types = [self._type(v).with_axis(self._time, self._scan.length) for v in node.outputs]
        op = OverTime(node.op, step, whole, varies, self._time).operator(self._facts, types)
        if op is None:
            return False
        outputs = tuple(map(self._enter, node.outputs, types))
        changes = {"op": op, "inputs": inputs, "outputs": outputs, "origins": ()}
        self._before.append(node.replaced(changes))
        return True

    def _enter(self, value: int, type: TensorType) -> int:
        """Make a value one that steps take of a new sequence, which is given back."""
        old = self._values.values[value]
        self._sequences[value] = self._add(Value(old.name, type, old.span))
        self._known[value] = None
        self._values.enter_element(self._known, len(self._elements), value)
        self._elements.append(value)
        return self._sequences[value]

    def _sequence(self, value: int) -> int:
        """What has a value at all steps; the value itself if it is the same at each."""
        if value in self._varying and value not in self._sequences:
            place = self._scan.elements.index(value)
            self._sequences[value] = self._turned(self._node.inputs[place], self._scan.axes[place])
        return self._sequences.get(value, value)

    def _turned(self, value: int, axis: int) -> int:
        if axis == self._time:
            return value
        order = [each for each in range(self._type(value).rank) if each != axis]
        order.insert(self._time, axis)
        op = REGISTRY["permute"].model_validate({"axes": order})
        type = op.infer(SETTLED, self._type(value))
        assert isinstance(type, TensorType)
        turned = self._add(Value("", type, self._node.span))
        scope, span = self._node.scope, self._node.span
        self._before.append(Node(op=op, inputs=(value,), outputs=(turned,), scope=scope, span=span))
        return turned

    def _add(self, value: Value) -> int:
        self._values.values.append(value)
        return len(self._values.values) - 1

    def _type(self, value: int) -> TensorType:
        return self._values.values[value].type


def _is_source(algebra: Algebra, number: int) -> bool:
    """Whether a sum is just some features of an element."""
    terms = algebra.sums[number].terms
    if len(terms) != 1 or len(terms[0][0]) != 1 or terms[0][1] != 1:
        return False
    return isinstance(algebra.atoms[terms[0][0][0]], Source)


def _is_affine(algebra: Algebra, number: int) -> bool:
    """Whether a sum is of biases, numbers, and products of weights with features of elements."""
    for atoms, _ in algebra.sums[number].terms:
        for atom in map(algebra.atoms.__getitem__, atoms):
            of_element = isinstance(atom, Product) and _is_source(algebra, atom.vector)
            if len(atoms) > 1 or not (of_element or isinstance(atom, Bias)):
                return False
    return True
