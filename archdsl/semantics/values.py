"""The values of the language during expansion.

Static integers are `Dim`s; floats, booleans and lists remember in `text` the Python expression
over the block's parameters that they came from, as a dim remembers its origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archdsl.ir.op import Init, Op
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.scope import FileScope


@dataclass(frozen=True, slots=True)
class Real:
    value: float
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    value: bool
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Text:
    value: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """`none`."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of static values."""

    values: tuple[Evaluated, ...]
    text: str | None = None
    size: int = field(init=False, compare=False, repr=False)
    """How many values there are, those of lists inside counted each."""
    depth: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        inner = [value for value in self.values if isinstance(value, Items)]
        size = len(self.values) + sum(items.size for items in inner)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "depth", 1 + max((items.depth for items in inner), default=0))


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the block under construction, by its number."""

    index: int


@dataclass(frozen=True, slots=True)
class Tensors:
    """Several outputs of one application; only the first `leading` flow on along an arrow."""

    items: tuple[Tensor, ...]
    leading: int | None = None

    @property
    def flowing(self) -> tuple[Tensor, ...]:
        return self.items[: self.leading]


def as_operand(value: Evaluated) -> Evaluated:
    """What a value is as an operand: of several outputs the one that flows on, if it is one."""
    if isinstance(value, Tensors) and len(value.flowing) == 1:
        return value.flowing[0]
    return value


@dataclass(frozen=True, slots=True)
class Unknown:
    """The outcome of something that already failed; absorbs all consequences."""


@dataclass(frozen=True, slots=True)
class BlockDefinition:
    """A block or model as it stands in a file, with the names it sees."""

    definition: ast.Definition
    file: FileScope

    @property
    def name(self) -> str:
        return self.definition.name.text


@dataclass(frozen=True, slots=True)
class Given:
    """One static argument with the place it was written at."""

    value: Evaluated
    span: Span


@dataclass(frozen=True, slots=True)
class Template:
    """A layer, function or block with arguments given, to be applied; each application is new.

    `constructed` tells `Linear(10)` from the bare name `ReLU`: binding a constructed layer to a
    name makes one instance.
    """

    target: type[Op] | BlockDefinition
    span: Span
    positional: tuple[Given, ...] = ()
    keywords: Mapping[str, Given] = field(default_factory=dict[str, Given])
    constructed: bool = False

    @property
    def name(self) -> str:
        if isinstance(self.target, BlockDefinition):
            return self.target.name
        name = self.target.layer if self.as_layer else self.target.function
        return name or self.target.layer or self.target.__name__

    @property
    def is_numbered(self) -> bool:
        """Whether it counts as a layer when numbering (functions do not)."""
        return isinstance(self.target, BlockDefinition) or self.as_layer

    as_layer: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """A layer or block bound to a name: applied twice, it shares its weights."""

    template: Template
    path: str


@dataclass(frozen=True, slots=True)
class Initialiser:
    init: Init


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on places along axes, as in `mask(j <= i)`."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class StaticFunction:
    """A function over static values, by name."""

    name: str


Evaluated = (
    Dim
    | Real
    | Truth
    | Text
    | Nothing
    | Items
    | Tensor
    | Tensors
    | Unknown
    | Template
    | Instance
    | Initialiser
    | Predicate
    | StaticFunction
)

UNKNOWN = Unknown()
NOTHING = Nothing()


def shown(value: Evaluated) -> str:
    """A number as it is, and anything else by its kind, for messages."""
    if isinstance(value, Dim):
        return str(value.without_origin())
    inner = getattr(value, "value", None)
    return describe(value) if inner is None else str(inner)


def describe(value: Evaluated) -> str:
    """The kind of a value, in words for messages."""
    match value:
        case Dim():
            return "an integer"
        case Real():
            return "a number"
        case Truth():
            return "a truth value"
        case Text():
            return "a string"
        case Nothing():
            return "`none`"
        case Items():
            return "a list"
        case Tensor() | Tensors(items=(_,)):
            return "a tensor"
        case Tensors():
            return f"{len(value.items)} tensors"
        case Template():
            return "a layer" if value.is_numbered else "a function"
        case Instance():
            return "a layer that is bound already"
        case Initialiser():
            return "an initialiser"
        case Predicate():
            return "a condition on axes"
        case StaticFunction():
            return "a function"
        case Unknown():
            return "unknown"
