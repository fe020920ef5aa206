"""The IR: values, members, nodes, blocks and models; immutable, with an exact JSON form.

A model is a table of blocks and the key of the one that is built. A block is specialised on its
static arguments and on every input size that is a constant; sizes that are symbolic stay symbols
of the block's own, so equal instances are expanded once and shared. Repetition and conditions are
already expanded; `frames` remember which loop pass or branch a node came from, so that emitters
can write loops and conditions again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)

from archdsl.ir.obligations import FreshSize
from archdsl.ir.op import REGISTRY, Op, Weight
from archdsl.ir.types import TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Compare, Condition, Facts
from archdsl.sizes.solver import Effort
from archdsl.source import Span

IR_VERSION = 1


def _read_op(data: Any) -> Op:
    if isinstance(data, Op):
        return data
    attributes = dict(data)
    name = attributes.pop("op")
    if name not in REGISTRY:
        raise ValueError(f"unknown operator {name}")
    return REGISTRY[name].model_validate(attributes)


def _write_op(op: Op) -> dict[str, Any]:
    return {"op": op.layer or op.function, **op.model_dump(mode="json")}


OpField = Annotated[
    Op,
    PlainValidator(_read_op),
    PlainSerializer(_write_op),
    WithJsonSchema(
        {"type": "object", "properties": {"op": {"type": "string"}}, "required": ["op"]}
    ),
]
"""An operator with its attributes, `{"op": "Conv", "out_channels": 64, …}` in JSON."""


@cache
def _dims() -> TypeAdapter[Dim]:
    return TypeAdapter(Dim)


def _read_static(data: Any) -> Any:
    match data:
        case {"size": size}:
            return _dims().validate_python(size)
        case {"text": str(text)}:
            return text
        case {"real": value}:
            return float(value)
        case list() | tuple():
            return tuple(map(_read_static, cast("Sequence[Any]", data)))
        case None | bool() | float() | str() | Dim():
            return data
        case _:
            return _dims().validate_python(data)


def _write_static(value: Any) -> Any:
    match value:
        case str():
            return {"text": value}
        case float():
            return {"real": repr(value)}
        case tuple():
            return list(map(_write_static, cast("Sequence[Any]", value)))
        case Dim():
            size = _dims().dump_python(value, mode="json")
            return {"size": size} if isinstance(size, str) else size
        case _:
            return value


Static = Annotated[
    Any,
    PlainValidator(_read_static),
    PlainSerializer(_write_static, when_used="json"),
    WithJsonSchema(
        {"description": "a size, {real}, {text}, true, false, null, or a list of these"}
    ),
]
"""A compile-time value: an integer is a `Dim`, so that it remembers the expression it came from."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One enclosing `for`, `repeat` or `if`: `site` identifies the statement within the block.

    Loops have the variable (if any), the index of this pass and the bounds; branches have the
    condition, as a Python expression over the block's parameters and dims, and which way it went.
    """

    kind: Literal["for", "repeat", "if"]
    site: int
    variable: str | None = None
    index: int = 0
    start: Dim | None = None
    stop: Dim | None = None
    condition: str | None = None
    taken: bool = True


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor in a block: the variable it was first bound to (or ""), its type, its place."""

    name: str
    type: TensorType
    span: Span


@dataclass(frozen=True, slots=True)
class Argument:
    """A static argument of a block: the parameter's name and its value (layers as their text)."""

    name: str
    kind: Literal["int", "float", "bool", "str", "layer", "list"]
    value: Static
    is_default: bool = False
    """Whether the parameter's default holds: in a call that gives nothing, and in the block itself
    where the default is computed from other parameters."""
    origin: str | None = field(default=None, compare=False)
    """The formula that what is no size was written as, over the caller's parameters; for a computed
    default over those of the block."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an attribute's value came from: a dim with its origin, or a parameter's name."""

    attribute: str
    value: Static


class _Frozen(BaseModel):
    # Infinities, as in masks and paddings, have no other exact form in JSON.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def replaced(self, changes: Mapping[str, Any]) -> Self:
        """The same with other fields, as `model_copy`, which takes four times as long."""
        copy = type(self).__new__(type(self))
        put = object.__setattr__
        put(copy, "__dict__", {**self.__dict__, **changes})
        put(copy, "__pydantic_fields_set__", _every_field(type(self)))
        put(copy, "__pydantic_extra__", None)
        put(copy, "__pydantic_private__", None)
        return copy


@cache
def _every_field(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


class Member(_Frozen):
    """An instance that may own weights, under its dotted path: a layer, or a block's instance.

    `path` is relative to the block. `weights` are a layer's own; a block's are found in the block.
    """

    path: str
    weights: tuple[Weight, ...] = ()
    block: str | None = None
    """Key of the block, for an instance of a block."""
    arguments: tuple[Argument, ...] = ()
    """What was written for the block's parameters, with origins in the caller's terms."""
    frames: tuple[Frame, ...] = ()
    span: Span


class Scan(_Frozen):
    """Nodes that run once for every place along an axis, with states carried from step to step.

    Its values are values of the block around it, whose other values its nodes may use. The
    inputs of the node that holds it are the sequences, the initial states, then all other values
    that its nodes use; the outputs are the stacked yields, then the final states.
    """

    length: Dim
    reverse: bool
    axes: tuple[int, ...]
    """The axis of each sequence that is walked along."""
    elements: tuple[int, ...]
    """What a step sees of each sequence."""
    states: tuple[int, ...]
    """The states as a step finds them."""
    nodes: tuple[Node, ...]
    results: tuple[int, ...]
    """The states as a step leaves them, then what it yields."""
    stacked: tuple[int, ...]
    """Where the new axis stands in each stacked yield."""


class Node(_Frozen):
    """One application: of an operator (`op`), through a `member` if it is a layer; of a block; or
    of nodes that run again and again (`scan`)."""

    op: OpField | None = None
    block: str | None = None
    scan: Scan | None = None
    member: str | None = None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dims: tuple[tuple[str, Dim], ...] = ()
    """For a block: each of its symbols and fresh sizes in the caller's terms."""
    fresh: tuple[str, ...] = ()
    """For an operator: the sizes that come to be here, in the order in which it asks for them."""
    scope: str = ""
    """The labelled scope a function stands in, for node names."""
    origins: tuple[Origin, ...] = ()
    frames: tuple[Frame, ...] = ()
    span: Span

    @property
    def called(self) -> str:
        """What it applies, as a spec calls it: a layer or a function; a block by its key."""
        if self.op is None:
            return self.block or "scan"
        layer, function = self.op.layer, self.op.function
        return str((layer or function) if self.member is not None else (function or layer))


def every_node(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes in order, and after each scan those of its steps."""
    waiting = [iter(nodes)]
    while waiting:
        for node in waiting[-1]:
            yield node
            if node.scan is not None:
                waiting.append(iter(node.scan.nodes))
                break
        else:
            waiting.pop()


class Port(_Frozen):
    """A named input or output; a `training` output exists only while training."""

    name: str
    value: int
    training: bool = False


class Borrowed(_Frozen):
    """A weight used as a value: the block's own `param`/`buffer`, or a member's, by its path."""

    path: str
    value: int


class SecondName(_Frozen):
    """Another path of a weight, under which a state dict has it too; nothing reads it there."""

    path: str
    weight: str
    kind: Literal["parameter", "buffer"]


class Requirement(_Frozen):
    """What a block demands of its sizes, why, and where that was written."""

    condition: Condition
    reason: str
    span: Span


class Block(_Frozen):
    """A specialised block. Values are numbered; nodes stand in an order that can be executed."""

    name: str
    doc: str = ""
    arguments: tuple[Argument, ...] = ()
    symbols: tuple[str, ...] = ()
    """Sizes that stay symbolic, each exactly the size of some input axis."""
    empty: tuple[str, ...] = ()
    """Those of the symbols that may be 0; all others are at least 1."""
    fresh: tuple[FreshSize, ...] = ()
    """Sizes that come to be inside and depend on data; each is that of some value's axis."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    values: tuple[Value, ...]
    weights: tuple[Weight, ...] = ()
    """The block's own `param`s and `buffer`s, under their own names."""
    borrowed: tuple[Borrowed, ...] = ()
    second_names: tuple[SecondName, ...] = ()
    members: tuple[Member, ...] = ()
    nodes: tuple[Node, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    decisions: tuple[str, ...] = ()
    """The conditions that were decided at compile time, as Python expressions like a frame's; of a
    branch that was not taken nothing else is left."""
    span: Span

    def type(self, value: int) -> TensorType:
        """The type of a value by its number."""
        return self.values[value].type

    @property
    def may_be_zero(self) -> frozenset[str]:
        """All sizes, given and fresh, that may be 0."""
        return frozenset([*self.empty, *(size.name for size in self.fresh)])

    def facts(self, effort: Effort | None = None) -> Facts:
        """What is known of its sizes, whatever it requires."""
        names = (*self.symbols, *(size.name for size in self.fresh))
        zero = self.may_be_zero
        minimums = {name: 0 if name in zero else 1 for name in names}
        bounds = [Compare(Dim.symbol(size.name), "<=", size.most) for size in self.fresh]
        return Facts(minimums, bounds, effort)

    @cached_property
    def member(self) -> Mapping[str, Member]:
        """Members by path."""
        return {member.path: member for member in self.members}


class Model(_Frozen):
    """A network that can be built: its blocks by key, and the key of the outermost."""

    ir_version: Literal[1] = IR_VERSION
    edition: int
    name: str
    doc: str = ""
    entry: str
    blocks: dict[str, Block]

    @property
    def root(self) -> Block:
        """The outermost block."""
        return self.blocks[self.entry]
