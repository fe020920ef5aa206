"""The contract of an operator, its weights, and the registry that fills itself."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from archdsl.ir.access import Sights
from archdsl.ir.lowering import Expression, Invocation, Module, OnnxGraph, Operand, Unsupported
from archdsl.ir.obligations import Obligations
from archdsl.ir.tiling import InputAxes, Later, Newest, Piece, Prefix, Seen, States
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts


def _tuples(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Nested lists, which JSON has, as nested tuples."""
    return tuple(_tuples(tuple(each)) if isinstance(each, list) else each for each in values)  # pyright: ignore


InitArgument = float | str | Annotated[tuple[Any, ...], AfterValidator(_tuples)]
"""A number, a choice by name, or nested tuples of numbers (the very values)."""


@dataclass(frozen=True, slots=True)
class Init:
    """How a weight begins: a distribution of `torch.nn.init` with its arguments.

    `uniform(a, b)`, `normal(mean, std)` (an embedding's then has zeros in its row `zero_row`),
    `trunc_normal(mean, std, a, b)`, `constant(val)`, `zeros()`, `ones()`,
    `kaiming_uniform(a, mode, nonlinearity)`, `kaiming_normal(…)`, `xavier_uniform(gain)`,
    `xavier_normal(gain)`, `dirac()`, `eye()`, `bilinear()`, `values(data)`.
    """

    kind: str
    arguments: tuple[tuple[str, InitArgument], ...] = ()
    origins: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """The formulas that arguments were written as, over the block's parameters and sizes."""

    @staticmethod
    def of(kind: str, **arguments: InitArgument) -> "Init":
        return Init(kind, tuple(arguments.items()))


ZEROS = Init("zeros")
ONES = Init("ones")


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter (trained) or buffer (state) that an operator owns, under torch's name."""

    name: str
    dims: tuple[Dim, ...]
    init: Init
    dtype: DType = DType.FLOAT32
    kind: Literal["parameter", "buffer"] = "parameter"


# Nothing here or in `archdsl.ops` postpones annotations: Pydantic would compile each of them again
# for every operator that inherits it, which made the command line a fifth slower to start.
class Op(BaseModel):
    """What one operator is: attributes as fields, inputs as the arguments of `infer`.

    A subclass names itself as a layer (`layer="Conv"`, may own weights, is numbered), as a
    function (`function="relu"`), or as both. Everything about it stands in its class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    layer: ClassVar[str | None] = None
    function: ClassVar[str | None] = None
    positional: ClassVar[tuple[str, ...]] = ()
    """Attributes that may be given without their names, in order."""

    torch_functions: ClassVar[Mapping[str, str]] = {}
    """Python functions that `torch_call` calls by their names, each with its source."""

    leading_outputs: ClassVar[int | None] = None
    """How many outputs flow on along an arrow, when the others are by-products such as states."""

    frees_output: ClassVar[bool] = False
    """Whether PyTorch's gradient needs no output of it, so that what follows may overwrite it."""

    overwrites: ClassVar[bool] = False
    """Whether its `nn.Module` takes `inplace=True`, and its gradient then needs no input."""

    differs_in_training: ClassVar[bool] = False
    """Whether it gives something else while training, such as what dropout leaves."""

    divisor: ClassVar[int | None] = None
    """The input that others are divided by: if a size is given as a number there, it is not 0."""

    weight_output_axis: ClassVar[int | None] = None
    """Axis of `weight` that is the output channel, when a following affine map can be folded in."""

    def __init_subclass__(
        cls, *, layer: str | None = None, function: str | None = None, **kwargs: Any
    ) -> None:
        """Takes the names that `__pydantic_init_subclass__` registers."""
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(
        cls, *, layer: str | None = None, function: str | None = None, **kwargs: Any
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if layer is None and function is None:
            return
        cls.layer, cls.function = layer, function
        for name in (layer, function):
            if name is not None:
                REGISTRY.add(name, cls)

    # ------------------------------------------------------------------- what every op answers

    def infer(self, check: Obligations, *inputs: Any) -> TensorType | tuple[TensorType, ...]:
        """The output type (a tuple for several outputs); raises ShapeError."""
        raise NotImplementedError

    def weights(self, *inputs: TensorType) -> tuple[Weight, ...]:
        """Parameters and buffers for these inputs, in the order torch registers them."""
        return ()

    def macs(self, *inputs: TensorType) -> Dim:
        """Multiply-adds of convolutions and matrix products; zero for everything else."""
        return Dim.of(0)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        """What a place along an axis of the outputs sees of the inputs; None if it is not told."""
        return None

    def torch_module(self, *inputs: TensorType) -> Module:
        """The `nn.Module` of the layer form."""
        raise Unsupported(f"{type(self).__name__} has no layer form in PyTorch")

    def torch_invocation(self, *inputs: TensorType) -> Invocation | None:
        """How the module is called; None where it takes the inputs and gives the outputs."""
        return None

    def torch_call(self, *inputs: TensorType) -> Expression:
        """The expression of the function form."""
        raise Unsupported(f"{type(self).__name__} has no function form in PyTorch")

    def onnx(self, g: OnnxGraph, *inputs: Operand) -> Operand | tuple[Operand, ...]:
        """Append nodes to the graph and return the output(s)."""
        raise Unsupported(f"{type(self).__name__} has no ONNX form")

    def as_affine(self, weights: Mapping[str, Any]) -> tuple[Any, Any] | None:
        """(scale, shift) per channel, from float64 arrays, if in inference it is just that."""
        return None

    def beside(self, others: Sequence["Op"], *inputs: TensorType) -> "tuple[Op, Op] | None":
        """One layer for this one and others of the same inputs, if that is worth while.

        Its weights are theirs, one after the other along the first axis. The second operator
        takes its output apart into theirs.
        """
        return None

    def wants_rows(self, *inputs: TensorType) -> bool:
        """Whether runtimes have all of it in one operator only where its input is a matrix."""
        return False

    def onnx_since(self, *inputs: TensorType) -> int | None:
        """The first opset in which all of this is one operator that runtimes have, if any is."""
        return None

    def share(self, count: int, *inputs: TensorType) -> Piece | None:
        """One of so many equal parts of what it gives along axis 1, as a layer of its own.

        It takes that part of its inputs, or (None) all of them. Its weights are parts of these
        along the axis of which they have less, or all of them; part follows part.
        """
        return None

    def at_places(self, kernel: tuple[int, ...]) -> "Op | None":
        """The layer that does at every place of a map what this does to a row of features.

        The row is the window of that size at the place, flattened. Its weights have the same
        elements in the same order.
        """
        return None

    def sliding(self, x: TensorType) -> "Op | None":
        """For inputs of just this size the same, by windows that slide on over larger ones."""
        return None

    def keeps_order(self, *inputs: TensorType) -> bool:
        """Whether it gives the elements of its only input in their order, in another shape."""
        return False

    # ------------------------------------------------------------------ place by place

    def piece(self, axis: int, start: Dim, size: Dim, *inputs: TensorType) -> Piece | None:
        """How `size` places from `start` along that axis of all outputs are made alone.

        None where it is not so: when a place of the outputs needs other places of the inputs.
        """
        return None

    def prefix(self, axes: InputAxes, *inputs: TensorType) -> Prefix | None:
        """How it does without the last places along these axes of its inputs, if it can.

        What it gives is the same but that the last places are missing where its outputs have them.
        """
        return None

    def newest(self, axis: int | None, *inputs: TensorType) -> Newest | None:
        """How the last place along that axis is made alone where `piece` knows no way.

        With None for the axis, how all of it is made of the last places of its inputs.
        """
        return None

    def later(
        self,
        row: int,
        column: int,
        known: tuple[Later | Seen | None, ...],
        facts: Facts,
        *inputs: TensorType,
    ) -> Later | Seen | None:
        """What its output has at later columns than the row, from what is known of its inputs."""
        return None

    def is_idle(self, facts: Facts, *inputs: TensorType) -> bool:
        """Whether it provably gives its first input as it is."""
        return False

    def carried(self, axis: int, *inputs: TensorType) -> States | None:
        """What it carries from place to place along that axis of its first input and output."""
        return None

    # -------------------------------------------------------------------------- conveniences

    def output_types(self, check: Obligations, *inputs: TensorType) -> tuple[TensorType, ...]:
        """The types of all outputs, also of a single one; raises ShapeError."""
        found = self.infer(check, *inputs)
        return found if isinstance(found, tuple) else (found,)

    @classmethod
    def input_names(cls) -> tuple[str, ...]:
        """Port names, from the signature of `infer`; a variadic one begins with `*`."""
        return _ports(cls)[0]

    @classmethod
    def required_inputs(cls) -> int:
        """How many inputs must be given; those with a default may be left out."""
        return _ports(cls)[1]

    @classmethod
    def axis_attributes(cls) -> tuple[str, ...]:
        """Attributes that name axes of the first input, by convention `axis`, `axes`, `axis0` …."""
        return _axis_attributes(cls)

    def placed(self, *inputs: TensorType) -> "Op":
        """The same operator with its axes by position, as they are in these inputs."""
        changed: dict[str, Any] = {}
        for name in _axis_attributes(type(self)):
            value: Any = getattr(self, name)
            given: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]
            if any(isinstance(axis, str) for axis in given):
                places = tuple(inputs[0].axis(a) if isinstance(a, str) else a for a in given)
                changed[name] = places if isinstance(value, tuple) else places[0]
        return self.model_copy(update=changed) if changed else self

    def changed(self, *names: str) -> dict[str, Any]:
        """Those of the named attributes that differ from their defaults, for torch keywords."""
        fields = type(self).model_fields
        return {
            name: getattr(self, name)
            for name in names
            if getattr(self, name) != fields[name].get_default()
        }


class CellOp(Op):
    """An operator that walks a cell along an axis; what the cell computes is part of its contract.

    Its weights for one layer are `weight_ih_l0` and `weight_hh_l0`, the gates one upon the other,
    and, with `bias`, `bias_ih_l0` and `bias_hh_l0`; one layer has one initial state for each state.
    """

    gates: ClassVar[int]
    """How many affine maps of input and state a cell has."""

    state_count: ClassVar[int] = 1
    """How many states it carries; the first is what each step gives."""

    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Attributes that choose another cell."""

    def step(
        self,
        g: OnnxGraph,
        inputs: Operand,
        recurrent: Callable[[Operand], Operand],
        states: tuple[Operand, ...],
    ) -> tuple[Operand, ...]:
        """The next states; given are what all gates take of the input, and of a state, in order."""
        raise NotImplementedError


@cache
def _ports(operator: type[Op]) -> tuple[tuple[str, ...], int]:
    """The names of the inputs, and how many must be given."""
    parameters = list(inspect.signature(operator.infer).parameters.values())[2:]
    variadic = inspect.Parameter.VAR_POSITIONAL
    names = tuple(f"*{p.name}" if p.kind is variadic else p.name for p in parameters)
    required = [p for p in parameters if p.default is p.empty and p.kind is not variadic]
    return names, len(required)


class Registry(Mapping[str, type[Op]]):
    """Every operator under each of its names; its family is imported when it is asked for.

    Most networks need few of the families, and importing all takes longer than checking one.
    """

    def __init__(self) -> None:
        self._operators: dict[str, type[Op]] = {}
        self._families: dict[str, str] = {}

    def announce(self, name: str, family: str) -> None:
        """Say in which module the operator of that name is."""
        if self._families.setdefault(name, family) != family:
            raise TypeError(f"two operators are called {name}")

    def add(self, name: str, operator: type[Op]) -> None:
        """Enter an operator that has been imported."""
        if name in self._operators:
            raise TypeError(f"two operators are called {name}")
        self._operators[name] = operator

    def __getitem__(self, name: str) -> type[Op]:
        if name not in self._operators and name in self._families:
            import_module(self._families[name])
        return self._operators[name]

    def __contains__(self, name: object) -> bool:
        return name in self._operators or name in self._families

    def __iter__(self) -> Iterator[str]:
        return iter({**self._families, **self._operators})

    def __len__(self) -> int:
        return len({**self._families, **self._operators})


REGISTRY = Registry()
"""Filled by the class definitions in `archdsl.ops`."""


@cache
def _axis_attributes(operator: type[Op]) -> tuple[str, ...]:
    return tuple(name for name in operator.model_fields if "axis" in name or "axes" in name)
