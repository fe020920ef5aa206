"""RNN, LSTM and GRU layers, stacked and bidirectional."""

from collections.abc import Callable, Iterator
from typing import Literal

from archdsl.ir.lowering import (
    Input,
    Invocation,
    Module,
    OnnxGraph,
    Operand,
    Operands,
    Unsupported,
)
from archdsl.ir.obligations import Obligations
from archdsl.ir.types import ShapeError, TensorType
from archdsl.ops.contract._fields import NonNegative
from archdsl.ops.recurrent._recurrent import Recurrent
from archdsl.ops.recurrent._recurrent_onnx import Elementwise, Fused, lowered
from archdsl.sizes.dims import Dim

_KEYWORDS = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")


class RNN(Recurrent, layer="RNN"):
    """Elman's recurrent network: `h = tanh(W x + b + U h + c)`.

    `[T, N, I], [L, N, H] -> [T, N, H], [L, N, H]`

    Source: Elman 1990; torch.nn.RNN; ONNX RNN.

    Example: `y, h = x -> RNN(8)`
    """

    gates = 1
    variants = ({"nonlinearity": "tanh"}, {"nonlinearity": "relu"})

    nonlinearity: Literal["tanh", "relu"] = "tanh"

    def infer(
        self, check: Obligations, x: TensorType, h0: TensorType | None = None
    ) -> tuple[TensorType, ...]:
        return _inferred(self, check, x, h0)

    def torch_module(self, x: TensorType, h0: TensorType | None = None) -> Module:
        return self.module(x, ("num_layers", "nonlinearity", *_KEYWORDS[1:]))

    def onnx(self, g: OnnxGraph, x: Operand, h0: Operand | None = None) -> Operands:
        function = self.nonlinearity.capitalize()
        activations = (function,) * len(self.directions)
        fused = Fused("RNN", (0,), {} if function == "Tanh" else {"activations": activations})
        return lowered(g, self, x, (h0,), fused)

    def step(
        self,
        g: OnnxGraph,
        inputs: Operand,
        recurrent: Callable[[Operand], Operand],
        states: Operands,
    ) -> Operands:
        total = Elementwise(g).plus(inputs, recurrent(states[0]))
        return (g.node(self.nonlinearity.capitalize(), total, type=total.type),)


class LSTM(Recurrent, layer="LSTM"):
    """Long short-term memory; `proj_size` adds a projection of the outputs of each step.

    `[T, N, I], [L, N, H], [L, N, H] -> [T, N, H], [L, N, H], [L, N, H]`

    Source: Hochreiter and Schmidhuber 1997; Sak et al. 2014; torch.nn.LSTM; ONNX LSTM.

    Example: `y, h, c = x -> LSTM(8)`
    """

    gates = 4
    state_count = 2

    proj_size: NonNegative = 0
    """The number of features that each step's output is projected to; 0 for no projection."""

    @property
    def output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def infer(
        self,
        check: Obligations,
        x: TensorType,
        h0: TensorType | None = None,
        c0: TensorType | None = None,
    ) -> tuple[TensorType, ...]:
        if self.proj_size >= self.hidden_size:
            raise ShapeError(
                f"`proj_size` must be less than `hidden_size`, {self.hidden_size},"
                f" but is {self.proj_size}",
                attribute="proj_size",
            )
        self.check_input(check, x)
        if (h0 is None) != (c0 is None):
            raise ShapeError(
                "the initial states `h0` and `c0` are given together or not at all,"
                " but only `h0` is",
                inputs=(0, 1),
                code="wrong-input-count",
            )
        if h0 is not None and c0 is not None:
            self.check_state(check, x, h0, 1, self.output_size)
            self.check_state(check, x, c0, 2, self.hidden_size)
        return self.results(x, self.output_size, self.hidden_size)

    def cell_weights(self, width: Dim) -> Iterator[tuple[str, tuple[Dim, ...]]]:
        yield from super().cell_weights(width)
        if self.proj_size:
            yield "weight_hr", (Dim.of(self.proj_size), Dim.of(self.hidden_size))

    def torch_module(
        self, x: TensorType, h0: TensorType | None = None, c0: TensorType | None = None
    ) -> Module:
        return self.module(x, (*_KEYWORDS, "proj_size"))

    def torch_invocation(
        self, x: TensorType, h0: TensorType | None = None, c0: TensorType | None = None
    ) -> Invocation:
        states = () if h0 is None else ((Input(1), Input(2)),)
        return self.invocation(states, (0, (1, 2)))

    def onnx(
        self, g: OnnxGraph, x: Operand, h0: Operand | None = None, c0: Operand | None = None
    ) -> Operands:
        # torch has the gates in the order i, f, g, o, ONNX in the order i, o, f, g.
        fused = Fused("LSTM", (0, 3, 1, 2))
        return lowered(g, self, x, (h0, c0), None if self.proj_size else fused)

    def step(
        self,
        g: OnnxGraph,
        inputs: Operand,
        recurrent: Callable[[Operand], Operand],
        states: Operands,
    ) -> Operands:
        step = Elementwise(g)
        gates = step.parts(step.plus(inputs, recurrent(states[0])), 4)
        entry, forget, output = (step.sigmoid(gates[place]) for place in (0, 1, 3))
        kept = step.times(forget, states[1])
        memory = step.plus(kept, step.times(entry, step.tanh(gates[2])))
        return step.times(output, step.tanh(memory)), memory


class GRU(Recurrent, layer="GRU"):
    """Gated recurrent unit; the reset gate acts on the product with the state.

    `[T, N, I], [L, N, H] -> [T, N, H], [L, N, H]`

    Source: Cho et al. 2014 in torch's variant; torch.nn.GRU; ONNX GRU.

    Example: `y, h = x -> GRU(8)`
    """

    gates = 3
    variants = ({"reset_after": True}, {"reset_after": False})

    reset_after: bool = True
    """Whether the reset gate acts on the product with the state; else, as in the paper, on the
    state itself, which PyTorch has no layer for."""

    def infer(
        self, check: Obligations, x: TensorType, h0: TensorType | None = None
    ) -> tuple[TensorType, ...]:
        return _inferred(self, check, x, h0)

    def torch_module(self, x: TensorType, h0: TensorType | None = None) -> Module:
        if not self.reset_after:
            raise Unsupported(
                "torch.nn.GRU resets the product with the state, not the state (`reset_after`)",
                help="write the cell out and `scan` with it; ONNX export fuses it again",
            )
        return self.module(x, _KEYWORDS)

    def onnx(self, g: OnnxGraph, x: Operand, h0: Operand | None = None) -> Operands:
        # torch has the gates in the order r, z, n, ONNX in the order z, r, n.
        fused = Fused("GRU", (1, 0, 2), {"linear_before_reset": int(self.reset_after)})
        return lowered(g, self, x, (h0,), fused)

    def step(
        self,
        g: OnnxGraph,
        inputs: Operand,
        recurrent: Callable[[Operand], Operand],
        states: Operands,
    ) -> Operands:
        step = Elementwise(g)
        given, known = step.parts(inputs, 3), step.parts(recurrent(states[0]), 3)
        reset, update = (step.sigmoid(step.plus(given[place], known[place])) for place in (0, 1))
        if self.reset_after:
            reset_part = step.times(reset, known[2])
        else:
            reset_part = step.parts(recurrent(step.times(reset, states[0])), 3)[2]
        new = step.tanh(step.plus(given[2], reset_part))
        return (step.plus(new, step.times(update, step.minus(states[0], new))),)


def _inferred(
    layer: Recurrent, check: Obligations, x: TensorType, h0: TensorType | None
) -> tuple[TensorType, ...]:
    layer.check_input(check, x)
    if h0 is not None:
        layer.check_state(check, x, h0, 1, layer.hidden_size)
    return layer.results(x, layer.hidden_size)
