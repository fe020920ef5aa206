"""Problems of names and of compile-time values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from archdsl.diagnostics import Diagnostic, Fix, Label
from archdsl.problems import elsewhere
from archdsl.problems.words import did_you_mean
from archdsl.source import Span


def unknown_name(
    span: Span, name: str, known: Iterable[str], library: str | None = None
) -> Diagnostic:
    """`library` is where the standard library has a block of that name."""
    kind = "layer or block" if name[:1].isupper() else "name"
    names = frozenset(known)
    here, near = elsewhere.named(name, names), did_you_mean(span, name, names)
    help, fix = elsewhere.explained(span, here, near)
    if library is not None:
        help, fix = (f"it is in the standard library: `import {library} ({name})`",), None
    return Diagnostic("unknown-name", f"there is no {kind} `{name}` here", span, help=help, fix=fix)


def lower_case_size(span: Span, name: str) -> Diagnostic:
    """A size in a signature that nothing declares, written as a name of a value is."""
    capital = name[:1].upper() + name[1:]
    return Diagnostic(
        "unknown-name",
        f"there is no number `{name}` here",
        span,
        help=(f"the name of a new size begins with a capital: `{capital}`",),
        fix=Fix(span, capital),
    )


def size_quotient(span: Span) -> Diagnostic:
    return Diagnostic(
        "wrong-kind",
        "a size is an integer, which `/` does not give",
        span,
        help=("write `//`, which rounds down, or `ceildiv(a, b)`, which rounds up",),
    )


def no_such_attribute(span: Span, name: str, operators: Iterable[str] = ()) -> Diagnostic:
    here = elsewhere.dotted(f"x.{name}", frozenset(operators))
    leads = "a dot leads from a labelled layer to its weight, as in `embedding.weight`"
    return Diagnostic(
        "no-such-attribute",
        f"`.{name}` is not something this value has",
        span,
        help=(leads if here is None else here.help.replace("x -> ", "… -> "),),
    )


def unknown_weight(
    span: Span, path: str, known: Sequence[str], operators: Iterable[str]
) -> Diagnostic:
    """A dotted path; what it is called elsewhere is told first."""
    here, near = elsewhere.dotted(path, frozenset(operators)), did_you_mean(span, path, known)
    help, fix = elsewhere.explained(span, here, near)
    return Diagnostic(
        "unknown-weight",
        f"no layer above has a weight `{path}`",
        span,
        help=help or ("label the layer before it is used here: `embedding: Embedding(…)`",),
        fix=fix,
    )


def wrong_kind(span: Span, wanted: str, found: str) -> Diagnostic:
    is_layer = found in ("a layer", "a function") and "tensor" in wanted
    help = "`->` binds weaker than an operator: write `(x -> relu) + y`"
    return Diagnostic(
        "wrong-kind", f"expected {wanted}, found {found}", span, help=(help,) if is_layer else ()
    )


def wrong_operand(span: Span, operator: str, found: str) -> Diagnostic:
    is_place = operator == "[]" and found == "a tensor"
    help = "one place of an axis is `x -> select(axis=0, index=0)`, several are a `slice`"
    return Diagnostic(
        "wrong-operand",
        f"`{operator}` does not apply to {found}",
        span,
        help=(help,) if is_place else (),
    )


def not_constant(span: Span, size: str) -> Diagnostic:
    return Diagnostic(
        "not-constant",
        f"this must be a number known at compile time, but `{size}` depends on the input",
        span,
        help=("fix the size in the signature, or on the command line with `--dim NAME=NUMBER`",),
    )


def static_error(span: Span | None, reason: str) -> Diagnostic:
    return Diagnostic("static-error", f"this has no value: {reason}", span)


def unknown_stride(
    span: Span, name: str, reason: str, lost: Span | None, help: str | None = None
) -> Diagnostic:
    """A place on the inputs that is not known, and the operator that lost it."""
    return Diagnostic(
        "unknown-stride",
        f"`{name}` is not known here: {reason}",
        span,
        related=() if lost is None else (Label(lost, "lost here"),),
        help=() if help is None else (help,),
    )


def undecided_condition(span: Span, condition: str) -> Diagnostic:
    return Diagnostic(
        "undecided-condition",
        f"whether `{condition}` holds depends on the size of the input",
        span,
        help=("decide it with `require`, or branch on parameters and known sizes only",),
    )


def circular_constant(span: Span, name: str) -> Diagnostic:
    return Diagnostic("circular-constant", f"the constant `{name}` is defined by itself", span)


def index_out_of_range(span: Span, index: int, count: int) -> Diagnostic:
    return Diagnostic(
        "index-out-of-range", f"index {index} is outside a list of {count} items", span
    )


def cannot_unpack(span: Span, found: str, count: int) -> Diagnostic:
    return Diagnostic("cannot-unpack", f"{found} can't be bound to {count} names", span)


def unknown_type(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "unknown-type",
        f"`{name}` is not a type",
        span,
        help=(
            "parameters are `int`, `float`, `bool`, `str`, `layer` or lists such as `int[4]`; "
            "inputs are `[N, C, H, W]` or `int64[B, T]`",
        ),
    )
