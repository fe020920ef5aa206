"""The ONNX graph under construction that operators append nodes to, as raw protobuf messages."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import (
    Callable,
    Generator,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
    Set,
)
from contextlib import contextmanager
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TypeProto

from archdsl.backends.onnx.masks import truth_table
from archdsl.backends.onnx.packing import Packing
from archdsl.backends.onnx.protobuf import (
    ELEMENT_TYPES,
    rename,
    scan_attributes,
    set_attribute,
    turning_of,
    type_proto,
    with_bodies,
)
from archdsl.backends.onnx.shapes import Sizes, reshape_target
from archdsl.diagnostics import InternalError
from archdsl.ir.lowering import Operand, Operands, Rows, ScanStep
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim
from archdsl.weights.dtypes import numpy_dtype


class GraphBuilder:
    """Fills one empty `GraphProto`; `enter` says which operator the nodes that follow belong to.

    Tensors bear the name of the node that makes them. Weights are only referred to, under their
    state-dict path; whoever owns the arrays adds the initializers of `used_weights` and, from
    the rows of several weights each, those of `packings`. Those of which the axes are turned
    somewhere are `turned`.
    """

    def __init__(self, opset: int, graph: GraphProto, may_be_zero: Set[str] = frozenset()) -> None:
        self._opset = opset
        self._may_be_zero = may_be_zero
        self._results: Sequence[TensorType] = ()
        self._graph = self._outermost = graph
        self._around: list[dict[str, TensorType]] = []
        self._types: dict[str, TensorType] = {}
        self._makers: dict[str, NodeProto] = {}
        self._read: set[str] = set()
        self._scope = ""
        self._weights: Mapping[str, Operand] = {}
        self._node_names: set[str] = set()
        self._tensor_names: set[str] = set()
        self._next_number: dict[str, int] = {}
        self._constants: dict[tuple[DType, tuple[int, ...], bytes], Operand] = {}
        self._type_protos: dict[TensorType, TypeProto] = {}
        self._inputs: dict[str, Operand] = {}
        self._sizes = Sizes(self)
        self._taken_apart: dict[tuple[str, TensorType], Operands] = {}
        self._shared = ChainMap[tuple[str, Hashable], Operand]()
        self.used_weights: dict[str, Operand] = {}
        self.packings: dict[str, Packing] = {}
        self.turned: set[str] = set()

    # ------------------------------------------------------------------------ around operators

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names of ports and weights free of intermediate tensors."""
        self._tensor_names.update(names)

    def input(self, name: str, type: TensorType) -> Operand:
        """Declare the next input of the graph."""
        operand = Operand(name, type)
        self._tensor_names.add(name)
        self._inputs[name] = operand
        info = self._graph.input.add(name=name)
        info.type.CopyFrom(self._type_proto(type))
        return operand

    def borrow(self, weight: Operand) -> Operand:
        """A weight that is used as a value."""
        self.used_weights.setdefault(weight.name, weight)
        return weight

    def enter(
        self, scope: str, weights: Mapping[str, Operand], results: Sequence[TensorType] = ()
    ) -> None:
        """Begin an operator: the scope of its node names, its weights under its own names, and
        the types of what it gives."""
        self._scope = scope
        self._weights = weights
        self._results = results

    def declare(self, operand: Operand, type: TensorType) -> Operand:
        """The same tensor with its sizes written another, equal way."""
        if operand.type is type:
            return operand
        if operand.name in self._types:
            self._types[operand.name] = type
        return Operand(operand.name, type)

    def finish(self, outputs: Sequence[tuple[str, Operand]]) -> GraphProto:
        """Name the outputs, declare every intermediate tensor, and give the graph away."""
        renamed: dict[str, str] = {}
        for name, operand in outputs:
            if operand.name not in self._types or operand.name in renamed:
                self._scope = ""
                operand = self.node("Identity", operand, type=operand.type)
            renamed[operand.name] = name
        self._settle(renamed)
        for name, operand in outputs:
            self._graph.output.add(name=name).type.CopyFrom(self._type_proto(operand.type))
        for name, type in self._types.items():
            if name not in renamed:
                self._graph.value_info.add(name=name).type.CopyFrom(self._type_proto(type))
        return self._graph

    def _settle(self, renamed: Mapping[str, str]) -> None:
        """Rename outputs, and drop what only makes what nothing reads."""
        made = [*self._types, *(constant.name for constant in self._constants.values())]
        unread = [name for name in made if name not in self._read]
        if unread == list(renamed):
            for name in unread:
                rename(self._makers[name].output, renamed)
            return
        self._drop_unread(set(renamed))
        for outer in self._graph.node:
            for node in with_bodies(outer):
                rename(node.input, renamed)
                rename(node.output, renamed)

    def _drop_unread(self, wanted: set[str]) -> None:
        nodes, constants = self._graph.node, self._graph.initializer
        for place in reversed(range(len(nodes))):
            if not wanted.isdisjoint(nodes[place].output):
                wanted.update(name for node in with_bodies(nodes[place]) for name in node.input)
                continue
            for name in nodes[place].output:
                del self._types[name]
            del nodes[place]
        for place in reversed(range(len(constants))):
            if constants[place].name not in wanted:
                del constants[place]

    # --------------------------------------------------------------------- what operators ask

    @property
    def opset(self) -> int:
        return self._opset

    @property
    def results(self) -> Sequence[TensorType]:
        return self._results

    def node(
        self, op_type: str, *inputs: Operand | None, type: TensorType, **attributes: Any
    ) -> Operand:
        if op_type == "Transpose" and inputs[0] is not None:
            x, perm = self._untransposed(inputs[0], attributes["perm"])
            if perm == sorted(perm):
                return Operand(x.name, type)
            if x.name in self.used_weights:
                self.turned.add(x.name)
            inputs, attributes = (x,), {"perm": perm}
        elif op_type == "Gemm":
            inputs, attributes = self._straightened(inputs, attributes)
        node = self._append(op_type, inputs, attributes)
        return self._produce(node, self._unique_tensor(node.name), type)

    def _untransposed(self, x: Operand, perm: Sequence[int]) -> tuple[Operand, list[int]]:
        """What was turned to give `x`, if it was, and how both turns are one."""
        maker = self._makers.get(x.name)
        before = () if maker is None else turning_of(maker)
        if maker is None or not before:
            return x, list(perm)
        return Operand(maker.input[0], x.type), [before[place] for place in perm]

    def _straightened(
        self, inputs: tuple[Operand | None, ...], attributes: dict[str, Any]
    ) -> tuple[tuple[Operand | None, ...], dict[str, Any]]:
        """A Gemm that turns its second factor itself, where that was turned before."""
        left, right, *added = inputs
        assert right is not None
        before, perm = self._untransposed(right, (0, 1))
        if perm != [1, 0]:
            return inputs, attributes
        turns = None if attributes.get("transB") else 1
        return (left, before, *added), {**attributes, "transB": turns}

    def nodes(
        self, op_type: str, *inputs: Operand | None, types: Sequence[TensorType], **attributes: Any
    ) -> tuple[Operand, ...]:
        node = self._append(op_type, inputs, attributes)
        return tuple(
            self._produce(node, self._unique_tensor(f"{node.name}.{place}"), type)
            for place, type in enumerate(types)
        )

    def is_padded(self, x: Operand) -> bool:
        maker = self._makers.get(x.name)
        return maker is not None and maker.op_type == "Pad"

    def weight(self, name: str) -> Operand:
        return self.borrow(self._weights[name])

    def packed(self, name: str, groups: Sequence[Sequence[Rows]], dtype: DType) -> Operand:
        first = groups[0][0].weight
        owner = self._weights[first].name.removesuffix(first)
        placed = tuple(
            tuple(Rows(self._weights[rows.weight].name, rows.start, rows.stop) for rows in group)
            for group in groups
        )
        key = f"{owner}{name}"
        known = self.packings.get(key)
        if known is None:
            count = sum(rows.stop - rows.start for rows in groups[0])
            rest = self._weights[first].type.dims[1:]
            type = TensorType.of(dtype, len(groups), count, *rest)
            known = Packing(Operand(self._unique_tensor(key), type), placed)
            self.packings[key] = known
        if (known.operand.type.dtype, known.groups) != (dtype, placed):
            raise InternalError(f"{key} is packed in two ways")
        return known.operand

    def constant(self, value: Any, dtype: DType) -> Operand:
        array = np.ascontiguousarray(np.asarray(value, dtype=numpy_dtype(dtype)))
        array = array.reshape(np.shape(value))
        key = (dtype, array.shape, array.tobytes())
        known = self._constants.get(key)
        if known is not None:
            return known
        name = self._unique_tensor(f"constant_{len(self._constants)}")
        self._outermost.initializer.add(
            name=name, dims=array.shape, data_type=ELEMENT_TYPES[dtype], raw_data=key[2]
        )
        operand = Operand(name, TensorType.of(dtype, *array.shape))
        self._constants[key] = operand
        return operand

    def table(self, condition: Condition, axes: Mapping[str, int]) -> Operand:
        return self.constant(truth_table(condition, axes), DType.BOOL)

    def shared(self, scope: str, key: Hashable, make: Callable[[], Operand]) -> Operand:
        known = self._shared.get((scope, key))
        if known is None:
            with self.within(scope):
                known = self._shared[scope, key] = make()
        return known

    def shape(self, dims: Sequence[Dim]) -> Operand:
        return self._sizes.shape(tuple(dims))

    def reshape(self, x: Operand, type: TensorType) -> Operand:
        x = self._unreshaped(x)
        if x.type.dims == type.dims:
            return x
        part = self._part(x, type)
        if part is not None:
            return part
        target, allow_zero = reshape_target(x.type.dims, type.dims, self._may_be_zero)
        if all(isinstance(size, int) for size in target):
            shape = self.constant(target, DType.INT64)
        else:
            shape = self.shape([Dim.of(size) for size in target])
        attributes = {"allowzero": 1} if allow_zero else {}
        return self.node("Reshape", x, shape, type=type, **attributes)

    def _unreshaped(self, x: Operand) -> Operand:
        """What was reshaped to give `x`, if it was."""
        maker = self._makers.get(x.name)
        if maker is None or maker.op_type != "Reshape":
            return x
        before = self._types.get(maker.input[0])
        return x if before is None else Operand(maker.input[0], before)

    def _part(self, x: Operand, type: TensorType) -> Operand | None:
        """One of equal parts with its last axis taken apart: of the whole, taken apart before."""
        split = self._makers.get(x.name)
        if split is None or split.op_type != "Split" or len(split.input) > 1 or type.rank < 2:
            return None
        before = self._types.get(split.input[0])
        attributes = {attribute.name: attribute.i for attribute in split.attribute}
        if before is None or attributes["axis"] != before.rank - 1:
            return None
        if type.dims[-2] == 1 or type.dims[-2] * type.dims[-1] != x.type.dims[-1]:
            return None
        parts = self._taken_apart.get((split.name, type))
        if parts is None:
            count = len(split.output)
            opened = type.with_dim(-2, count * type.dims[-2])
            whole = self.reshape(Operand(split.input[0], before), opened)
            attributes["axis"] = type.rank - 2
            parts = self.nodes("Split", whole, types=[type] * count, **attributes)
            self._taken_apart[split.name, type] = parts
        return parts[list(split.output).index(x.name)]

    def size(self, dim: Dim, dtype: DType) -> Operand:
        if dim.value is not None:
            return self.constant(dim.value, dtype)
        return self._sizes.scalar(dim, dtype)

    # ---------------------------------------------------------------- what sizes are read from

    @contextmanager
    def within(self, scope: str) -> Generator[None]:
        """A context in which nodes are named under another scope."""
        outer, self._scope = self._scope, scope
        try:
            yield
        finally:
            self._scope = outer

    def inputs(self) -> Iterable[Operand]:
        """The inputs of the graph, in order."""
        return self._inputs.values()

    def sources(self) -> Iterable[Operand]:
        """Tensors whose axes can be asked for their sizes: the inputs, then what was made."""
        yield from self._inputs.values()
        for types in (*self._around, self._types):
            for name, type in types.items():
                yield Operand(name, type)

    # ------------------------------------------------------------------------------- subgraphs

    @contextmanager
    def body(self) -> Generator[GraphProto]:
        """A context whose nodes make a graph of their own, which sees the tensors around it."""
        outer = self._graph, self._types, self._sizes
        self._around.append(self._types)
        self._graph = GraphProto(name=self._unique(f"{self._scope}/body", self._node_names))
        self._types, self._sizes = {}, Sizes(self)
        self._shared = self._shared.new_child()
        try:
            yield self._graph
        finally:
            self._around.pop()
            self._shared = self._shared.parents
            self._graph, self._types, self._sizes = outer

    def body_input(self, name: str, type: TensorType) -> Operand:
        """Declare the next input of the body."""
        operand = Operand(self._unique_tensor(f"{self._scope}/{name}"), type)
        self._graph.input.add(name=operand.name).type.CopyFrom(self._type_proto(type))
        return operand

    def body_outputs(self, outputs: Sequence[Operand]) -> None:
        """End the body: what it gives, in order, and the types of what it makes on the way."""
        given: dict[str, TensorType] = {}
        for operand in outputs:
            if operand.name not in self._types or operand.name in given:
                operand = self.node("Identity", operand, type=operand.type)
            given[operand.name] = operand.type
        for name, type in given.items():
            self._graph.output.add(name=name).type.CopyFrom(self._type_proto(type))
        for name, type in self._types.items():
            if name not in given:
                self._graph.value_info.add(name=name).type.CopyFrom(self._type_proto(type))

    def scan(
        self,
        step: ScanStep,
        states: Operands,
        sequences: Operands,
        axis: int,
        *,
        reverse: bool,
    ) -> tuple[Operands, Operands]:
        length = sequences[0].type.dims[axis]
        with self.body() as body:
            found = tuple(self.body_input("state", state.type) for state in states)
            elements = tuple(
                self.body_input("element", sequence.type.without_axis(axis))
                for sequence in sequences
            )
            left, given = step(found, elements)
            self.body_outputs((*left, *given))
        outputs = self.nodes(
            "Scan",
            *states,
            *sequences,
            types=[
                *(state.type for state in states),
                *(operand.type.with_axis(axis, length) for operand in given),
            ],
            body=body,
            **scan_attributes((axis,) * len(sequences), (axis,) * len(given), reverse=reverse),
        )
        return outputs[: len(states)], outputs[len(states) :]

    # ------------------------------------------------------------------------------ mechanism

    def _append(
        self, op_type: str, inputs: Sequence[Operand | None], attributes: Mapping[str, Any]
    ) -> NodeProto:
        names = ["" if operand is None else operand.name for operand in inputs]
        while names and not names[-1]:
            names.pop()
        self._read.update(names)
        base = f"{self._scope}/{op_type}" if self._scope else op_type
        node = self._graph.node.add(
            op_type=op_type, name=self._unique(base, self._node_names), input=names
        )
        for name, value in attributes.items():
            if value is not None:
                set_attribute(node.attribute.add(name=name), value)
        return node

    def _produce(self, node: NodeProto, name: str, type: TensorType) -> Operand:
        node.output.append(name)
        self._types[name] = type
        self._makers[name] = node
        return Operand(name, type)

    def _unique_tensor(self, base: str) -> str:
        return self._unique(base, self._tensor_names)

    def _unique(self, base: str, taken: set[str]) -> str:
        name = base
        while name in taken:
            number = self._next_number.get(base, 1)
            self._next_number[base] = number + 1
            name = f"{base}_{number}"
        taken.add(name)
        return name

    def _type_proto(self, type: TensorType) -> TypeProto:
        proto = self._type_protos.get(type)
        if proto is None:
            proto = self._type_protos[type] = type_proto(type)
        return proto
