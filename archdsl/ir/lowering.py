"""What operators lower to: plain data for PyTorch, a small protocol for ONNX."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from archdsl.ir.types import DType, TensorType
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim
from archdsl.source import Span

# ---------------------------------------------------------------------------------- PyTorch


@dataclass(frozen=True, slots=True)
class Input:
    """The operator's input at that position."""

    index: int


@dataclass(frozen=True, slots=True)
class InputOrNumber:
    """As `Input`, but a constant is written as its plain number, not made a tensor first."""

    index: int


@dataclass(frozen=True, slots=True)
class AllInputs:
    """All inputs as one tuple, for variadic calls such as `torch.cat((a, b))`."""


@dataclass(frozen=True, slots=True)
class Own:
    """The operator's own parameter or buffer of that name (only inside a layer)."""

    name: str


@dataclass(frozen=True, slots=True)
class Training:
    """Whether the module is training: `self.training`."""


@dataclass(frozen=True, slots=True)
class Device:
    """The device of the block's first input or weight, for tensors made from nothing."""


@dataclass(frozen=True, slots=True)
class Lowest:
    """The least finite number of a tensor's element type: `torch.finfo(value.dtype).min`."""

    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    """`target(*args, **kwargs)`; a target that begins with `.` is a method of the first argument.

    Arguments are `Input`, `InputOrNumber`, `AllInputs`, `Own`, `Training`, `Device`, nested
    `Call`/`Infix`/`Index`/`Lowest`, `Dim` (a constant is written out, a symbolic one is read off
    the inputs at run time), `DType`, and plain int, float, bool, str, None, and tuples and lists
    of all these. Targets are written as in source that has
    `import torch`, `from torch import nn` and `from torch.nn import functional as F`.
    """

    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Infix:
    """`left symbol right`, or `symbol right` when `left` is None."""

    symbol: str
    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Index:
    """`value[items]`; an item is an int, Dim, None, `Input`, `slice` of those, or `...`."""

    value: Any
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Module:
    """An `nn.Module` to construct; its arguments are plain values and Dims, no inputs."""

    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Invocation:
    """How a module is called where that is not `outputs = module(*inputs)`.

    Arguments are those of a `Call`; `results` are positions of outputs, nested as what the module
    gives, None for what is no output: `y, (h, c)` is `(0, (1, 2))`. `after` is what becomes of an
    output, there `Input(0)`, before anything reads it.
    """

    args: tuple[Any, ...]
    results: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    after: Mapping[int, Call] = field(default_factory=dict[int, Call])


Number = Dim | bool | int | float
"""A constant: it is written out where `InputOrNumber` takes it, and made a tensor elsewhere."""

Expression = Input | InputOrNumber | AllInputs | Own | Call | Infix | Index | Number


# ------------------------------------------------------------------------------------- ONNX


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor of the ONNX graph under construction: its name there and its type."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class Rows:
    """Some of a weight's rows, which lie along its first axis."""

    weight: str
    start: int
    stop: int


Operands = tuple[Operand, ...]

ScanStep = Callable[[Operands, Operands], tuple[Operands, Operands]]
"""From the states and one element of each sequence to the next states and what is given out."""


class Unsupported(Exception):
    """This operator, with these attributes, has no exact form on the target; the reason follows.

    `help` says what would work (another opset, a fixed size …). `span` is told by who knows the
    node; an operator does not know where it stands.
    """

    def __init__(self, reason: str, help: str | None = None, span: Span | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.help = help
        self.span = span


class OnnxGraph(Protocol):
    """What an operator may ask of the ONNX graph it is lowered into."""

    @property
    def opset(self) -> int:
        """The opset of the default domain that is being emitted."""
        ...

    @property
    def results(self) -> Sequence[TensorType]:
        """The types of what the operator gives, for sizes that depend on data."""
        ...

    def node(
        self, op_type: str, *inputs: Operand | None, type: TensorType, **attributes: Any
    ) -> Operand:
        """Append a node with one output of the given type; None leaves an optional input out."""
        ...

    def nodes(
        self, op_type: str, *inputs: Operand | None, types: Sequence[TensorType], **attributes: Any
    ) -> tuple[Operand, ...]:
        """Append a node with several outputs."""
        ...

    def is_padded(self, x: Operand) -> bool:
        """Whether a Pad gives it."""
        ...

    def weight(self, name: str) -> Operand:
        """The operator's own parameter or buffer, as an initializer."""
        ...

    def packed(self, name: str, groups: Sequence[Sequence[Rows]], dtype: DType) -> Operand:
        """An initializer made of the operator's own weights, in that element type.

        The rows of a group follow each other; the groups stand along a new first axis.
        """
        ...

    def scan(
        self,
        step: ScanStep,
        states: Operands,
        sequences: Operands,
        axis: int,
        *,
        reverse: bool,
    ) -> tuple[Operands, Operands]:
        """Append a Scan along an axis of the sequences, from the last step to the first if reverse.

        Gives the final states, and what all steps give out, stacked along that axis. The nodes
        that `step` appends may read everything around.
        """
        ...

    def constant(self, value: Any, dtype: DType) -> Operand:
        """An initializer from a number or a nested list (shared between equal constants)."""
        ...

    def table(self, condition: Condition, axes: Mapping[str, int]) -> Operand:
        """A boolean initializer with an axis of that size for each name, in order.

        It says where the condition holds, whose symbols are indices along those axes.
        """
        ...

    def shared(self, scope: str, key: Hashable, make: Callable[[], Operand]) -> Operand:
        """What `make` appends under a scope of its own, once in a graph for equal keys."""
        ...

    def shape(self, dims: Sequence[Dim]) -> Operand:
        """A 1-D int64 tensor of the dims: an initializer when all are known, else computed."""
        ...

    def reshape(self, x: Operand, type: TensorType) -> Operand:
        """`x` with the dims of `type`, in the cheapest exact form (0 and -1 before Shape nodes)."""
        ...

    def size(self, dim: Dim, dtype: DType) -> Operand:
        """A dim as a rank-0 tensor of that dtype."""
        ...
