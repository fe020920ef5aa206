"""Recurrent layers in ONNX: the fused operator, or one cell at a time where it doesn't apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archdsl.ir.lowering import OnnxGraph, Operand, Operands, Rows
from archdsl.ir.types import DType, TensorType
from archdsl.ops.elementwise._casting import cast
from archdsl.ops.linear.linear import affine_map
from archdsl.ops.recurrent._recurrent import Recurrent
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Fused:
    """ONNX's operator for whole layers, and where its gates stand among torch's."""

    op_type: str
    order: tuple[int, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])


def lowered(
    g: OnnxGraph,
    layer: Recurrent,
    x: Operand,
    initial: Sequence[Operand | None],
    fused: Fused | None,
) -> Operands:
    """The outputs of all steps, then the final states."""
    # Runtimes have no recurrence in bfloat16, whatever the opset.
    dtype = DType.FLOAT32 if x.type.dtype is DType.BFLOAT16 else x.type.dtype
    given = tuple(cast(g, state, dtype) for state in initial if state is not None)
    start = cast(g, x, dtype)
    # Nor have they the fused operators in double precision.
    if fused is None or dtype is DType.FLOAT64:
        results = _CellByCell(g, layer, start, given).run(len(initial))
    else:
        results = _LayerByLayer(g, layer, start, given, fused).run(len(initial))
    return tuple(cast(g, result, x.type.dtype) for result in results)


class _LayerByLayer:
    """One node of the fused operator for each layer; they take and give time before batch."""

    def __init__(
        self, g: OnnxGraph, layer: Recurrent, x: Operand, initial: Operands, fused: Fused
    ) -> None:
        self.g = g
        self.layer = layer
        self.x = x
        self.initial = initial
        self.fused = fused
        self.count = len(layer.directions)
        self.length = x.type.dims[layer.time_axis]
        self.batch = x.type.dims[layer.batch_axis]
        self.dtype = x.type.dtype

    def run(self, states: int) -> Operands:
        layer = self.layer
        x = self._turned(self.x) if layer.batch_first else self.x
        initial = [self._parts(state) for state in self.initial]
        final: list[Operands] = []
        for number in range(layer.num_layers):
            y, *left = self._layer(number, x, [parts[number] for parts in initial], states)
            x = self._joined(y, is_last=number == layer.num_layers - 1)
            final.append(tuple(left))
        return (x, *(self._stacked(parts) for parts in zip(*final, strict=True)))

    def _type(self, *dims: Dim | int) -> TensorType:
        return TensorType.of(self.dtype, *dims)

    def _turned(self, x: Operand) -> Operand:
        type = self._type(self.length, self.batch, x.type.dims[2])
        return self.g.node("Transpose", x, type=type, perm=(1, 0, 2))

    def _parts(self, state: Operand) -> Operands:
        """An initial state, apart for each layer."""
        layers = self.layer.num_layers
        if layers == 1:
            return (state,)
        part = state.type.with_dim(0, self.count)
        sizes = self.g.constant([self.count] * layers, DType.INT64)
        return self.g.nodes("Split", state, sizes, types=(part,) * layers, axis=0)

    def _stacked(self, parts: Sequence[Operand]) -> Operand:
        """A final state of all layers."""
        if len(parts) == 1:
            return parts[0]
        type = parts[0].type.with_dim(0, self.count * len(parts))
        return self.g.node("Concat", *parts, type=type, axis=0)

    def _layer(self, number: int, x: Operand, initial: Sequence[Operand], states: int) -> Operands:
        hidden = self.layer.hidden_size
        state = self._type(self.count, self.batch, hidden)
        return self.g.nodes(
            self.fused.op_type,
            x,
            self._gates(number, "W", "weight_ih"),
            self._gates(number, "R", "weight_hh"),
            self._gates(number, "B", "bias_ih", "bias_hh") if self.layer.bias else None,
            None,
            *initial,
            types=(self._type(self.length, self.count, self.batch, hidden), *(state,) * states),
            hidden_size=hidden,
            direction=self._direction(),
            **self.fused.attributes,
        )

    def _direction(self) -> str | None:
        if self.layer.bidirectional:
            return "bidirectional"
        return "reverse" if self.layer.backwards else None

    def _gates(self, number: int, name: str, *weights: str) -> Operand:
        """Weights of a layer with the gates in ONNX's order, the directions one upon the other."""
        hidden = self.layer.hidden_size
        groups = [
            [
                Rows(f"{weight}_l{number}{direction}", gate * hidden, (gate + 1) * hidden)
                for weight in weights
                for gate in self.fused.order
            ]
            for direction in self.layer.directions
        ]
        return self.g.packed(f"{name}_l{number}", groups, self.dtype)

    def _joined(self, y: Operand, *, is_last: bool) -> Operand:
        """The directions side by side: `[T, D, N, H]` to `[T, N, D * H]`, or with batch first."""
        hidden = self.layer.hidden_size
        batch_first = is_last and self.layer.batch_first
        first, second = (self.batch, self.length) if batch_first else (self.length, self.batch)
        result = self._type(first, second, self.count * hidden)
        if self.count == 1 and not batch_first:
            return self._squeezed(y, 1, result)
        perm = (2, 0, 1, 3) if batch_first else (0, 2, 1, 3)
        turned = self._type(first, second, self.count, hidden)
        y = self.g.node("Transpose", y, type=turned, perm=perm)
        return self._squeezed(y, 2, result) if self.count == 1 else self.g.reshape(y, result)

    def _squeezed(self, y: Operand, axis: int, type: TensorType) -> Operand:
        return self.g.node("Squeeze", y, self.g.constant([axis], DType.INT64), type=type)


class _CellByCell:
    """One Scan for each layer and direction; what does not depend on states stands before it."""

    def __init__(self, g: OnnxGraph, layer: Recurrent, x: Operand, initial: Operands) -> None:
        self.g = g
        self.layer = layer
        self.x = x
        self.initial = initial
        self.batch = x.type.dims[layer.batch_axis]
        self.dtype = x.type.dtype
        self.zeros: dict[int, Operand] = {}

    def run(self, states: int) -> Operands:
        sizes = (self.layer.output_size, self.layer.hidden_size)[:states]
        x = self.x
        final: list[Operands] = []
        given: list[Operand] = []
        for place, (_, suffix) in enumerate(self.layer.cells()):
            initial = tuple(self._initial(number, size, place) for number, size in enumerate(sizes))
            left, y = self._scan(x, suffix, initial)
            final.append(left)
            given.append(y)
            if len(given) == len(self.layer.directions):
                x = self._beside(given)
                given = []
        return (x, *(self._stacked(parts) for parts in zip(*final, strict=True)))

    def _initial(self, number: int, size: int, place: int) -> Operand:
        """The state that one cell begins with."""
        type = TensorType.of(self.dtype, self.batch, size)
        if self.initial:
            index = self.g.constant(place, DType.INT64)
            return self.g.node("Gather", self.initial[number], index, type=type, axis=0)
        if size not in self.zeros:
            zero = self.g.constant(0.0, self.dtype)
            self.zeros[size] = self.g.node("Expand", zero, self.g.shape(type.dims), type=type)
        return self.zeros[size]

    def _weight(self, name: str) -> Operand:
        return cast(self.g, self.g.weight(name), self.dtype)

    def _scan(self, x: Operand, suffix: str, initial: Operands) -> tuple[Operands, Operand]:
        layer = self.layer
        weight = self._weight(f"weight_ih{suffix}")
        recurrent = self._weight(f"weight_hh{suffix}")
        bias = self._weight(f"bias_ih{suffix}") if layer.bias else None
        recurrent_bias = self._weight(f"bias_hh{suffix}") if layer.bias else None
        is_projected = layer.output_size != layer.hidden_size
        projection = self._weight(f"weight_hr{suffix}") if is_projected else None

        def mapped(state: Operand) -> Operand:
            return affine_map(self.g, state, recurrent, recurrent_bias)

        def step(states: Operands, elements: Operands) -> tuple[Operands, Operands]:
            output, *others = layer.step(self.g, elements[0], mapped, states)
            if projection is not None:
                output = affine_map(self.g, output, projection, None)
            return (output, *others), (output,)

        left, (y,) = self.g.scan(
            step,
            initial,
            (affine_map(self.g, x, weight, bias),),
            layer.time_axis,
            reverse=layer.backwards or suffix.endswith("_reverse"),
        )
        return left, y

    def _beside(self, given: Sequence[Operand]) -> Operand:
        """What the directions give, along the axis of the features."""
        if len(given) == 1:
            return given[0]
        type = given[0].type.with_dim(2, self.layer.output_size * len(given))
        return self.g.node("Concat", *given, type=type, axis=2)

    def _stacked(self, parts: Sequence[Operand]) -> Operand:
        """A final state of all cells, along a new first axis."""
        g, type = self.g, parts[0].type.with_axis(0, 1)
        axis = g.constant([0], DType.INT64)
        raised = [g.node("Unsqueeze", part, axis, type=type) for part in parts]
        if len(raised) == 1:
            return raised[0]
        return g.node("Concat", *raised, type=type.with_dim(0, len(raised)), axis=0)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """The arithmetic of cells: operands of one shape, and their parts."""

    g: OnnxGraph

    def plus(self, left: Operand, right: Operand) -> Operand:
        return self.g.node("Add", left, right, type=left.type)

    def minus(self, left: Operand, right: Operand) -> Operand:
        return self.g.node("Sub", left, right, type=left.type)

    def times(self, left: Operand, right: Operand) -> Operand:
        return self.g.node("Mul", left, right, type=left.type)

    def sigmoid(self, x: Operand) -> Operand:
        return self.g.node("Sigmoid", x, type=x.type)

    def tanh(self, x: Operand) -> Operand:
        return self.g.node("Tanh", x, type=x.type)

    def parts(self, x: Operand, count: int) -> Operands:
        """Equal parts along the last axis."""
        size = x.type.dims[1] // count
        sizes = self.g.constant([size.value] * count, DType.INT64)
        types = (x.type.with_dim(1, size),) * count
        return self.g.nodes("Split", x, sizes, types=types, axis=1)
