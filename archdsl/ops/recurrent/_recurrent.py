"""What recurrent layers share: sizes, weights and cost."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from archdsl.ir.lowering import Call, Input, Invocation, Module
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import CellOp, Weight
from archdsl.ir.tiling import States
from archdsl.ir.types import ShapeError, TensorType
from archdsl.ops.contract._fields import Positive, Probability
from archdsl.ops.contract._weights import dtype_argument, known_width, uniform_over
from archdsl.sizes.dims import Dim

LayerCount = Annotated[int, Field(ge=1, le=1000)]

FEATURES = "number of input features"


class Recurrent(CellOp):
    """Layers of cells that walk along the time axis, each layer over what the last one gave."""

    positional = ("hidden_size", "num_layers")
    leading_outputs = 1

    hidden_size: Positive
    num_layers: LayerCount = 1
    bias: bool = True
    batch_first: bool = False
    """Whether the input is `[N, T, I]`; otherwise it is `[T, N, I]`, as in torch."""
    dropout: Probability = 0.0
    """Of what one layer gives to the next, while training."""
    bidirectional: bool = False
    backwards: bool = False
    """Whether every layer walks from the last step to the first."""

    # ------------------------------------------------------------------------------------ sizes

    @property
    def output_size(self) -> int:
        """How many features one direction gives."""
        return self.hidden_size

    @property
    def directions(self) -> tuple[str, ...]:
        """What the names of a direction's weights end in, for each direction."""
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def time_axis(self) -> int:
        return int(self.batch_first)

    @property
    def batch_axis(self) -> int:
        return 1 - self.time_axis

    def widths(self, x: TensorType) -> tuple[Dim, ...]:
        """The number of features that each layer takes."""
        between = Dim.of(self.output_size * len(self.directions))
        return (x.dims[2], *(between,) * (self.num_layers - 1))

    def results(self, x: TensorType, *state_sizes: int) -> tuple[TensorType, ...]:
        """The types of all steps' outputs, and of states of these sizes."""
        y = x.with_dim(2, self.output_size * len(self.directions))
        return (y, *(self._state(x, size) for size in state_sizes))

    def _state(self, x: TensorType, size: int) -> TensorType:
        count = Dim.of(self.num_layers * len(self.directions))
        batch = self.batch_axis
        return TensorType(
            x.dtype, (count, x.dims[batch], Dim.of(size)), (None, x.axes[batch], x.axes[2])
        )

    # ----------------------------------------------------------------------------------- checks

    def check_input(self, check: Obligations, x: TensorType) -> None:
        """Refuse inputs and attributes that no recurrent layer takes."""
        if x.rank != 3:
            axes = "batch, time and features" if self.batch_first else "time, batch and features"
            raise ShapeError(
                f"the input must have 3 axes ({axes}), but is {x}",
                help="give a single sequence a batch axis of size 1" if x.rank == 2 else None,
                inputs=(0,),
            )
        x.expect_floating()
        known_width(x, 2, FEATURES)
        check.demand_at_least(
            x.dims[self.time_axis],
            1,
            f"there must be at least 1 step, but axis {self.time_axis} of {x}"
            f" has {x.dims[self.time_axis]}",
        )
        if self.dropout and self.num_layers == 1:
            raise ShapeError(
                f"`dropout` of {self.dropout:g} acts between layers, but there is 1 layer",
                help="leave it out, or put `Dropout` after the layer",
                attribute="dropout",
            )
        if self.backwards and self.bidirectional:
            raise ShapeError(
                "a `bidirectional` layer walks both ways, so it cannot walk `backwards` alone",
                help="leave one of the two out",
                attribute="backwards",
            )

    def check_state(
        self, check: Obligations, x: TensorType, state: TensorType, place: int, size: int
    ) -> None:
        """Refuse an initial state of another type than the layer's."""
        expected = self._state(x, size)
        name = type(self).input_names()[place]
        message = f"`{name}` must be {expected}, but is {state}"
        if state.rank != 3:
            raise ShapeError(message, inputs=(0, place))
        if state.dtype is not x.dtype:
            raise ShapeError(message, inputs=(0, place), code="dtype-mismatch")
        for found, wanted in zip(state.dims, expected.dims, strict=True):
            check.demand_equal(found, wanted, message, inputs=(0, place))

    def carried(self, axis: int, *inputs: TensorType) -> States | None:
        if axis != self.time_axis or self.bidirectional or self.backwards:
            return None
        return tuple((place, place) for place in range(1, len(type(self).input_names())))

    # ------------------------------------------------------------------------- weights and cost

    def cells(self) -> Iterator[tuple[int, str]]:
        """The layer of each cell and what the names of its weights end in, in torch's order."""
        for layer in range(self.num_layers):
            for direction in self.directions:
                yield layer, f"_l{layer}{direction}"

    def weights(self, x: TensorType, *states: TensorType) -> tuple[Weight, ...]:
        init = uniform_over(self.hidden_size)
        widths = self.widths(x)
        return tuple(
            Weight(f"{name}{suffix}", dims, init, x.dtype)
            for layer, suffix in self.cells()
            for name, dims in self.cell_weights(widths[layer])
        )

    def cell_weights(self, width: Dim) -> Iterator[tuple[str, tuple[Dim, ...]]]:
        """The names and sizes of one cell's weights."""
        rows = Dim.of(self.gates * self.hidden_size)
        yield "weight_ih", (rows, width)
        yield "weight_hh", (rows, Dim.of(self.output_size))
        if self.bias:
            yield "bias_ih", (rows,)
            yield "bias_hh", (rows,)

    def macs(self, x: TensorType, *states: TensorType) -> Dim:
        products = Dim.of(0)
        for width in self.widths(x):
            for _, dims in self.cell_weights(width):
                if len(dims) == 2:
                    products += dims[0] * dims[1] * len(self.directions)
        return x.dims[0] * x.dims[1] * products

    def module(self, x: TensorType, keywords: Sequence[str]) -> Module:
        """torch's module, with those of the keywords that differ from their defaults."""
        return Module(
            f"nn.{self.layer}",
            (x.dims[2], self.hidden_size),
            self.changed(*keywords) | dtype_argument(x.dtype),
        )

    def torch_invocation(self, *inputs: TensorType) -> Invocation | None:
        states = tuple(map(Input, range(1, len(inputs))))
        return self.invocation(states, (0, 1)) if self.backwards else None

    def invocation(self, states: tuple[Any, ...], results: tuple[Any, ...]) -> Invocation:
        """How torch's module, which walks forwards or both ways, is called with these states."""
        if not self.backwards:
            return Invocation((Input(0), *states), results)
        flipped = Call("torch.flip", (Input(0), (self.time_axis,)))
        return Invocation((flipped, *states), results, after={0: flipped})
