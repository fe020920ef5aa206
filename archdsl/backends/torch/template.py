"""A class to be written, as data: what `__init__` constructs and what `forward` applies.

Leaves are formulas: sizes over the class's parameters and loop variables (`Dim`), other formulas
(`Formula`), or plain values. One template stands for every specialisation it was merged from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from archdsl.backends.python.formula import Formula
from archdsl.ir.lowering import Expression, Invocation, Module
from archdsl.ir.op import Init, Weight
from archdsl.sizes.dims import Dim

Label = tuple[str | Dim, ...]
"""A name, in parts: texts, and numbers that count with a loop."""

ContainerKind = Literal["Sequential", "ModuleList", "ModuleDict", "Module"]

# -------------------------------------------------------------------------- what is constructed


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance of another class of the file, with values for its parameters."""

    template: Template
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Make:
    """A member that is constructed."""

    label: Label
    made: Module | NewInstance
    inits: tuple[tuple[str, Init], ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A labelled scope with members in it."""

    label: Label
    kind: ContainerKind
    items: Sequence[Construction]
    indexed: bool
    """Whether its members are called 0, 1, 2 … in order."""


@dataclass(frozen=True, slots=True)
class MakeLoop:
    """Constructions once for every number from `start` up to `stop`."""

    variable: str
    """Its name in formulas, which no parameter has."""
    hint: str
    start: Any
    stop: Any
    items: Sequence[Construction]


@dataclass(frozen=True, slots=True)
class MakeBranch:
    """Constructions that depend on the parameters."""

    condition: Formula
    then: Sequence[Construction]
    otherwise: Sequence[Construction]


Construction = Make | Container | MakeLoop | MakeBranch


def every_construction(items: Sequence[Construction]) -> Iterator[Construction]:
    """The constructions and those inside them."""
    waiting = list(items)
    while waiting:
        item = waiting.pop()
        yield item
        match item:
            case Container() | MakeLoop():
                waiting += item.items
            case MakeBranch():
                waiting += [*item.then, *item.otherwise]
            case Make():
                pass


# ------------------------------------------------------------------------------ what is applied


@dataclass(eq=False, slots=True)
class Variable:
    """A tensor in `forward`; `path` is set when it is a weight, which needs no variable."""

    hint: str = ""
    shape: tuple[Dim, ...] | None = None
    """Its sizes as they may be written, where they are the same for all specialisations."""
    path: str | None = None


@dataclass(frozen=True, slots=True)
class MemberCall:
    """A member by the labels of its path, and how it is called if not just with its inputs."""

    path: tuple[Label, ...]
    invocation: Invocation | None = None

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What it is called with, if not just with its inputs."""
        if self.invocation is None:
            return ()
        return (*self.invocation.args, *self.invocation.kwargs.values())

    @property
    def after(self) -> Mapping[int, Expression]:
        """What becomes of some of its outputs before anything reads them."""
        return {} if self.invocation is None else self.invocation.after


@dataclass(frozen=True, slots=True)
class Apply:
    """An application."""

    callee: MemberCall | Expression
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]

    @property
    def results(self) -> tuple[Any, ...]:
        """Which output stands where in what the call gives; nothing if one after the other."""
        invocation = self.callee.invocation if isinstance(self.callee, MemberCall) else None
        return () if invocation is None else invocation.results


@dataclass(frozen=True, slots=True)
class Carried:
    """What a loop passes on: before it, as a pass finds it and leaves it, and after the loop."""

    before: Variable
    found: Variable
    left: Variable
    after: Variable


@dataclass(frozen=True, slots=True)
class ApplyLoop:
    """Applications once for every number from `start` up to `stop`."""

    variable: str
    hint: str
    start: Any
    stop: Any
    items: Sequence[Application]
    carried: Sequence[Carried] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What a branch leaves under one name."""

    then: Variable
    otherwise: Variable
    after: Variable


@dataclass(frozen=True, slots=True)
class ApplyBranch:
    """Applications that depend on the parameters."""

    condition: Formula
    then: Sequence[Application]
    otherwise: Sequence[Application]
    choices: Sequence[Choice] = ()


@dataclass(frozen=True, slots=True)
class Stacked:
    """What every step of a scan yields, and all of it along a new axis."""

    yielded: Variable
    whole: Variable
    axis: int


@dataclass(frozen=True, slots=True)
class ApplyScan:
    """Applications once for every place along an axis of some tensors, from the last if reverse."""

    sequences: Sequence[Variable]
    axes: Sequence[int]
    reverse: bool
    elements: Sequence[Variable]
    carried: Sequence[Carried]
    items: Sequence[Application]
    stacked: Sequence[Stacked]


Application = Apply | ApplyLoop | ApplyBranch | ApplyScan


@dataclass(frozen=True, slots=True)
class Output:
    """A result; a `training` one exists only while training."""

    name: str
    variable: Variable
    training: bool = False


@dataclass(frozen=True, slots=True)
class Tie:
    """A second name of a weight: the labels around it, of which the first stand already."""

    owner: tuple[str, ...]
    standing: int
    name: str
    weight: str
    kind: Literal["parameter", "buffer"]


@dataclass(eq=False, slots=True)
class Template:
    """One class."""

    name: str
    doc: str
    parameters: Sequence[str]
    defaults: Mapping[str, Any]
    """Plain values, and formulas over other parameters."""
    sizes: Mapping[str, tuple[int, int]]
    """Sizes read at run time: the position of the input and the axis."""
    constructions: Sequence[Construction]
    applications: Sequence[Application]
    training: Sequence[Application]
    """What only outputs for training need."""
    inputs: Sequence[tuple[str, Variable]]
    ranks: Sequence[int]
    """How many axes each input has."""
    outputs: Sequence[Output]
    fresh: Mapping[str, tuple[Variable, int]] = field(
        default_factory=dict[str, tuple[Variable, int]]
    )
    """Sizes that depend on data and are used: what they are read off, and the axis."""
    weights: Sequence[Weight] = ()
    ties: Sequence[Tie] = ()
    literal: frozenset[str] = frozenset()
    """What would be parameters, had all that was written with them remained a formula."""
    is_chain: bool = False
    """Whether it is nothing but its layers 0, 1, 2 … one after the other."""
    is_root: bool = False
    output_class: str = ""
    """The named tuple that several outputs of the root are returned in."""
