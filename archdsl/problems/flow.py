"""Problems of pipelines, labels and arguments."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.diagnostics import Diagnostic, Fix, Label
from archdsl.problems import elsewhere
from archdsl.problems.words import did_you_mean, listed
from archdsl.source import Span


def not_a_layer(span: Span, found: str) -> Diagnostic:
    return Diagnostic(
        "not-a-layer",
        f"{found} can't be applied with `->`",
        span,
        help=("after `->` stands a layer, a block, a function, a scope `{ … }` or `repeat`",),
    )


def not_a_tensor(span: Span, found: str) -> Diagnostic:
    return Diagnostic("not-a-tensor", f"{found} can't flow through `->`", span)


def not_callable(span: Span, found: str) -> Diagnostic:
    return Diagnostic("not-callable", f"{found} can't be called", span)


def nothing_enters(span: Span) -> Diagnostic:
    return Diagnostic(
        "nothing-enters",
        "this layer has no input: nothing enters here",
        span,
        help=("write what flows into it: `x -> …`",),
    )


def unused_value(span: Span) -> Diagnostic:
    return Diagnostic(
        "unused-value",
        "the value of this pipeline is not used",
        span,
        help=("bind it with `name = …`, return it, or continue it with `->` on the next line",),
    )


def misplaced_statement(span: Span, reason: str, help: str) -> Diagnostic:
    return Diagnostic("misplaced-statement", reason, span, help=(help,))


def bad_preparation(span: Span, reason: str) -> Diagnostic:
    return Diagnostic(
        "bad-preparation",
        reason,
        span,
        help=(
            "write `from` and a block behind the type of a model's input: `from Photograph(520)`",
        ),
    )


def unreachable_statement(span: Span, returned: Span) -> Diagnostic:
    return Diagnostic(
        "unreachable-statement",
        "nothing after a `return` is ever executed",
        span,
        related=(Label(returned, "returns here"),),
        help=("remove it, or put it before the `return`",),
    )


def empty_scope(span: Span) -> Diagnostic:
    return Diagnostic("empty-scope", "this scope is empty", span, help=("`identity` passes on",))


def scope_without_value(span: Span) -> Diagnostic:
    return Diagnostic(
        "scope-without-value",
        "this scope has no value",
        span,
        help=("end it with a pipeline or a `return`",),
    )


def duplicate_label(span: Span, label: str, earlier: Span) -> Diagnostic:
    return Diagnostic(
        "duplicate-label",
        f"the label `{label}` is used twice in this scope",
        span,
        related=(Label(earlier, "first used here"),),
        help=("labels are weight paths; in a loop, put the index into it: `layer{i + 1}: …`",),
    )


def bad_label(span: Span, reason: str) -> Diagnostic:
    return Diagnostic("bad-label", reason, span)


def label_on_function(span: Span, label: str, function: str) -> Diagnostic:
    return Diagnostic(
        "label-on-function",
        f"`{function}` is a function and owns no weights, so it can't be labelled `{label}`",
        span,
        help=("remove the label, or use the layer of that name",),
    )


def share_needs_one_layer(span: Span) -> Diagnostic:
    return Diagnostic(
        "share-needs-one-layer",
        "`repeat … share` applies one layer or block again and again",
        span,
        help=("make the body one layer or one block; several steps go into a block",),
    )


def unknown_argument(
    span: Span, name: str, key: str, known: Sequence[str], without: Fix | None = None
) -> Diagnostic:
    """`without` removes the argument, which mends it where its value is inferred."""
    key_span = span._replace(end=min(span.start + len(key), span.end))
    here, near = elsewhere.argument(key, known), did_you_mean(key_span, key, known)
    help, fix = elsewhere.explained(key_span, here, near)
    if here is not None and fix is None:
        fix = without
    taken = (f"it takes {listed([f'`{k}`' for k in known])}",) if known else ("it takes none",)
    return Diagnostic(
        "unknown-argument", f"`{name}` has no argument `{key}`", span, help=help or taken, fix=fix
    )


def function_without_weight(span: Span, name: str, layer: str) -> Diagnostic:
    name_span = span._replace(end=min(span.start + len(name), span.end))
    return Diagnostic(
        "wrong-kind",
        f"the function `{name}` takes its weight as an input, which is no number",
        span,
        help=(f"the layer with a weight of its own is `{layer}`",),
        fix=Fix(name_span, layer),
    )


def repeated_argument(span: Span, key: str) -> Diagnostic:
    return Diagnostic("repeated-argument", f"the argument `{key}` is given twice", span)


def missing_argument(span: Span, name: str, key: str, known: Sequence[str]) -> Diagnostic:
    order = f"`{name}({', '.join(known)})`" if known else f"`{name}({key}=…)`"
    return Diagnostic(
        "missing-argument",
        f"`{name}` needs the argument `{key}`",
        span,
        help=(f"write it as in {order}",),
    )


def too_many_arguments(
    span: Span,
    name: str,
    allowed: int,
    count: int,
    names: Sequence[str] = (),
    inferred: Fix | None = None,
) -> Diagnostic:
    """`names` can be given by name; `inferred` removes a width that the input tells."""
    arguments = "1 argument" if allowed == 1 else f"{allowed} arguments"
    help = [f"give the others by name: {listed([f'`{each}`' for each in names])}"] if names else []
    if inferred is not None:
        help.insert(0, "the width of the input is inferred: leave it out")
    return Diagnostic(
        "too-many-arguments",
        f"`{name}` takes {arguments} without a name, but got {count}",
        span,
        help=tuple(help),
        fix=inferred,
    )


def bad_attribute(span: Span, name: str, key: str, reason: str) -> Diagnostic:
    return Diagnostic("bad-attribute", f"`{key}` of `{name}` {reason}", span)


def bad_argument(span: Span, name: str, key: str, wanted: str, found: str) -> Diagnostic:
    return Diagnostic("bad-argument", f"`{key}` of `{name}` must be {wanted}, not {found}", span)


def instance_arguments(span: Span, path: str) -> Diagnostic:
    return Diagnostic(
        "instance-arguments",
        f"`{path}` is an instance already; it takes inputs, not arguments",
        span,
        help=("give its arguments where it is made",),
    )
