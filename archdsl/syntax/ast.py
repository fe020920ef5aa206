"""The syntax tree: immutable nodes, each with its span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, dataclass_transform

from archdsl.source import Span

Node = TypeVar("Node")


@dataclass_transform(frozen_default=True, eq_default=False)
def node(cls: type[Node]) -> type[Node]:
    """A dataclass that type checkers know to be frozen.

    Python itself does not enforce it, which halves the time of importing this file and of making
    nodes, of which there are millions in a large text.
    """
    return dataclass(slots=True, eq=False, repr=False)(cls)


# ------------------------------------------------------------------------------- expressions


@node
class Name:
    span: Span
    text: str


@node
class Integer:
    span: Span
    value: int


@node
class Real:
    span: Span
    value: float


@node
class String:
    span: Span
    value: str


@node
class Constant:
    """`true`, `false` or `none`."""

    span: Span
    value: bool | None


@node
class ListLiteral:
    span: Span
    items: tuple[Expression, ...]


@node
class Argument:
    """One argument of a call; `name` is None when it is positional."""

    span: Span
    name: Name | None
    value: Expression


@node
class Call:
    span: Span
    function: Expression
    arguments: tuple[Argument, ...]


@node
class Index:
    span: Span
    value: Expression
    index: Expression


@node
class Attribute:
    span: Span
    value: Expression
    name: str


@node
class Unary:
    """`-x` or `not x`."""

    span: Span
    operator: Literal["-", "not"]
    operand: Expression


@node
class Chain:
    """A run of operators of one precedence, `first (operator operand)*`, without nesting.

    Comparisons chain as in mathematics; `and` and `or` chains hold one operator only.
    """

    span: Span
    first: Expression
    rest: tuple[tuple[str, Expression], ...]


@node
class Choice:
    """`if condition then a else b`."""

    span: Span
    condition: Expression
    then: Expression
    otherwise: Expression


# --------------------------------------------------------------------------------- pipelines


@node
class Label:
    """A name, possibly with interpolated parts: literal texts and expressions by turns."""

    span: Span
    parts: tuple[str | Expression, ...]


@node
class Stage:
    """One step of a pipeline, with or without a label; `share` is the layer of that label again."""

    span: Span
    label: Label | None
    body: Expression
    share: bool = False


@node
class Pipeline:
    """`head -> stage -> stage`."""

    span: Span
    head: Expression
    stages: tuple[Stage, ...]


@node
class Branch:
    span: Span
    label: Label
    stages: tuple[Stage, ...]


@node
class Merge:
    """A fork under its merge: `concat(axis=C) { a: …; b: … }`."""

    span: Span
    function: Expression
    branches: tuple[Branch, ...]


@node
class Scope:
    """`{ … }` as a stage."""

    span: Span
    body: tuple[Statement, ...]


@node
class Repeat:
    """`repeat count [share] [as index] { … }`."""

    span: Span
    count: Expression
    share: bool
    index: str | None
    body: tuple[Statement, ...]


@node
class Carry:
    """One carried state of a scan and what it begins with."""

    span: Span
    name: Name
    initial: Expression


@node
class Scan:
    """`scan [reverse] x over xs(axis=T) carry h = h0 { … yield y }`."""

    span: Span
    reverse: bool
    elements: tuple[Name, ...]
    sequences: tuple[Expression, ...]
    carries: tuple[Carry, ...]
    body: tuple[Statement, ...]


Expression = (
    Name
    | Integer
    | Real
    | String
    | Constant
    | ListLiteral
    | Call
    | Index
    | Attribute
    | Unary
    | Chain
    | Choice
    | Stage
    | Pipeline
    | Merge
    | Scope
    | Repeat
    | Scan
)

# -------------------------------------------------------------------------------- statements


@node
class Assignment:
    span: Span
    targets: tuple[Name, ...]
    value: Expression


@node
class Returned:
    """One returned value: with its name if given; `training` ones exist while training only."""

    span: Span
    name: Name | None
    value: Expression
    training: bool


@node
class Return:
    span: Span
    values: tuple[Returned, ...]


@node
class If:
    span: Span
    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@node
class For:
    """`for i in a..b` (stop is given) or `for item in list` (stop is None)."""

    span: Span
    variable: Name
    start: Expression
    stop: Expression | None
    body: tuple[Statement, ...]


@node
class Require:
    span: Span
    condition: Expression
    message: String | None


@node
class Expect:
    span: Span
    condition: Expression


@node
class WeightDeclaration:
    """`param name: type = initialiser` or `buffer …`."""

    span: Span
    kind: Literal["parameter", "buffer"]
    name: Name
    type: Type
    value: Expression | None


@node
class ExpressionStatement:
    span: Span
    value: Expression


@node
class Yield:
    """What one step of a scan gives out."""

    span: Span
    values: tuple[Expression, ...]


Statement = (
    Assignment
    | Return
    | If
    | For
    | Require
    | Expect
    | WeightDeclaration
    | Yield
    | ExpressionStatement
)

# ------------------------------------------------------------------------------ declarations


@node
class Ellipsis:
    """`...` in a tensor type: any number of further axes."""

    span: Span


PARAMETER_TYPES = ("int", "float", "bool", "str", "layer")
"""The types of static parameters; all others are types of tensors."""


@node
class Type:
    """`int`, `int[4]`, `[N, C]` or `int64[B, T]`: a name or None, and dims or None."""

    span: Span
    name: str | None
    dims: tuple[Expression | Ellipsis, ...] | None


@node
class Parameter:
    span: Span
    name: Name
    type: Type | None
    preparation: Expression | None
    """What an input of a model is prepared by, `from Photograph(520)`."""
    default: Expression | None


@node
class Result:
    span: Span
    name: Name | None
    type: Type
    training: bool


@node
class Definition:
    """A block, cell or model: what is static, what flows in, what flows out, and the body."""

    span: Span
    kind: Literal["block", "cell", "model"]
    name: Name
    doc: str
    parameters: tuple[Parameter, ...]
    ports: tuple[Parameter, ...]
    results: tuple[Result, ...]
    body: tuple[Statement, ...]


@node
class Family:
    """`model resnet50 = ResNet(…) { expect … }`."""

    span: Span
    name: Name
    doc: str
    value: Expression
    body: tuple[Statement, ...]


@node
class FileConstant:
    span: Span
    name: Name
    value: Expression


@node
class ImportedName:
    span: Span
    name: Name
    alias: Name | None


@node
class Import:
    """`import std.vision (A)` has a dotted path, `import "file.arch" (A as B)` a file name."""

    span: Span
    path: str
    is_file: bool
    path_span: Span
    names: tuple[ImportedName, ...]


Item = Import | Definition | Family | FileConstant


@node
class File:
    """A whole file: its edition (None when the line is missing) and its items in order."""

    span: Span
    edition: int | None
    edition_span: Span | None
    items: tuple[Item, ...]
