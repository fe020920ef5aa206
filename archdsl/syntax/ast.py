"""The tree: frozen dataclasses, each with its span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from archdsl.source import Span

# ------------------------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Name:
    span: Span
    text: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Integer:
    span: Span
    value: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Real:
    span: Span
    value: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class String:
    span: Span
    value: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Constant:
    """`true`, `false` or `none`."""

    span: Span
    value: bool | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ListLiteral:
    span: Span
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Argument:
    """One argument of a call; `name` is None when it is positional."""

    span: Span
    name: Name | None
    value: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call:
    span: Span
    function: Expression
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Index:
    span: Span
    value: Expression
    index: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Attribute:
    span: Span
    value: Expression
    name: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Unary:
    """`-x` or `not x`."""

    span: Span
    operator: Literal["-", "not"]
    operand: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Chain:
    """A run of operators of one precedence, `first (operator operand)*`, without nesting.

    Comparisons chain as in mathematics; `and` and `or` chains hold one operator only.
    """

    span: Span
    first: Expression
    rest: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Choice:
    """`if condition then a else b`."""

    span: Span
    condition: Expression
    then: Expression
    otherwise: Expression


# --------------------------------------------------------------------------------- pipelines


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Label:
    """A name, possibly with interpolated parts: literal texts and expressions by turns."""

    span: Span
    parts: tuple[str | Expression, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stage:
    """One step of a pipeline, with or without a label; `share` is the layer of that label again."""

    span: Span
    label: Label | None
    body: Expression
    share: bool = False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pipeline:
    """`head -> stage -> stage`."""

    span: Span
    head: Expression
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Branch:
    span: Span
    label: Label
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Merge:
    """A fork under its merge: `concat(axis=C) { a: …; b: … }`."""

    span: Span
    function: Expression
    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Scope:
    """`{ … }` as a stage."""

    span: Span
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Repeat:
    """`repeat count [share] [as index] { … }`."""

    span: Span
    count: Expression
    share: bool
    index: str | None
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Carry:
    """One carried state of a scan and what it begins with."""

    span: Span
    name: Name
    initial: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Assignment:
    span: Span
    targets: tuple[Name, ...]
    value: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Returned:
    """One returned value: with its name if given; `training` ones exist while training only."""

    span: Span
    name: Name | None
    value: Expression
    training: bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Return:
    span: Span
    values: tuple[Returned, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class If:
    span: Span
    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class For:
    """`for i in a..b` (stop is given) or `for item in list` (stop is None)."""

    span: Span
    variable: Name
    start: Expression
    stop: Expression | None
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Require:
    span: Span
    condition: Expression
    message: String | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Expect:
    span: Span
    condition: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WeightDeclaration:
    """`param name: type = initialiser` or `buffer …`."""

    span: Span
    kind: Literal["parameter", "buffer"]
    name: Name
    type: Type
    value: Expression | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExpressionStatement:
    span: Span
    value: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ellipsis:
    """`...` in a tensor type: any number of further axes."""

    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Type:
    """`int`, `int[4]`, `[N, C]` or `int64[B, T]`: a name or None, and dims or None."""

    span: Span
    name: str | None
    dims: tuple[Expression | Ellipsis, ...] | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Parameter:
    span: Span
    name: Name
    type: Type | None
    default: Expression | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Result:
    span: Span
    name: Name | None
    type: Type
    training: bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Family:
    """`model resnet50 = ResNet(…) { expect … }`."""

    span: Span
    name: Name
    doc: str
    value: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FileConstant:
    span: Span
    name: Name
    value: Expression


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImportedName:
    span: Span
    name: Name
    alias: Name | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Import:
    """`import std.vision (A)` has a dotted path, `import "file.arch" (A as B)` a file name."""

    span: Span
    path: str
    is_file: bool
    path_span: Span
    names: tuple[ImportedName, ...]


Item = Import | Definition | Family | FileConstant


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class File:
    """A whole file: its edition (None when the line is missing) and its items in order."""

    span: Span
    edition: int | None
    edition_span: Span | None
    items: tuple[Item, ...]
