"""Problems of results, models and expectations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archdsl.diagnostics import Diagnostic, Label
from archdsl.problems.words import Chain, Sizes, listed, near_names, sizes_of
from archdsl.source import Span

if TYPE_CHECKING:
    from archdsl.ir.types import TensorType
    from archdsl.sizes.dims import Dim


def missing_return(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "missing-return", f"`{name}` returns nothing", span, help=("end it with `return …`",)
    )


def recursive_block(span: Span, names: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "recursive-block",
        f"a block can't contain itself: {' → '.join(names)}",
        span,
        help=("repeat it with `repeat n { … }`",),
    )


def wrong_result_count(span: Span, declared: int, returned: int) -> Diagnostic:
    return Diagnostic(
        "wrong-result-count",
        f"the signature declares {declared} results, but {returned} are returned",
        span,
    )


def result_name_differs(span: Span, declared: str, name: str) -> Diagnostic:
    return Diagnostic(
        "result-name-differs",
        f"this result is declared as `{declared}` but returned as `{name}`",
        span,
        help=("results are given in the order of the signature",),
    )


def result_training_differs(span: Span, declared: bool) -> Diagnostic:
    where = "in the signature but not here" if declared else "here but not in the signature"
    return Diagnostic("result-training-differs", f"this result is marked `training` {where}", span)


def wrong_result_dtype(
    span: Span, declared_span: Span, declared: str, actual: TensorType
) -> Diagnostic:
    return Diagnostic(
        "dtype-mismatch",
        f"the result is declared as {declared}, but is {actual}",
        declared_span,
        label="declared here",
        related=(Label(span, f"returns {actual}"),),
    )


def wrong_result_rank(
    span: Span, declared_span: Span, declared: str, actual: TensorType, chain: Chain
) -> Diagnostic:
    return Diagnostic(
        "rank-mismatch",
        f"the result is {actual}, but is declared to have the axes {declared}",
        span,
        related=(Label(declared_span, "declared here"),),
        chain=chain,
    )


def signature_mismatch(
    span: Span,
    returned: Span,
    declared: Dim,
    actual: Dim,
    type: TensorType,
    chain: Chain,
    counterexample: Sizes,
    mends: Sequence[str],
) -> Diagnostic:
    if counterexample is None and declared.value is None:
        claim = f"it could not be proved that {actual.origin} is {declared.origin}"
    else:
        claim = f"the result is {actual.origin} here, not {declared.origin}"
    notes: tuple[str, ...] = ()
    if counterexample:
        sizes = ", ".join(f"{name} = {size}" for name, size in counterexample.items())
        notes = (
            f"at {sizes} the declared size is {declared.evaluate(counterexample)}, "
            f"the actual one {actual.evaluate(counterexample)}",
        )
    return Diagnostic(
        "signature-mismatch",
        claim,
        span,
        label="declared here",
        related=(Label(returned, f"returns {type}"),),
        chain=chain,
        counterexample=sizes_of(counterexample),
        notes=notes,
        help=tuple(mends),
    )


def duplicate_output(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "duplicate-output",
        f"two inputs or outputs are called `{name}`",
        span,
        help=("name the results: `return boxes = b, scores = s`",),
    )


def unknown_spec(name: str, known: Sequence[str]) -> Diagnostic:
    near = [f"`{other}`" for other in near_names(name, known)]
    help = (f"did you mean {listed(near)}?",) if near else ()
    return Diagnostic(
        "unknown-spec",
        f"there is no file and no shipped model `{name}`",
        None,
        help=(*help, "`archdsl list` shows the shipped models"),
    )


def unknown_model(span: Span | None, name: str, known: Sequence[str]) -> Diagnostic:
    near = [f"`{other}`" for other in near_names(name, known)]
    others = [f"`{other}`" for other in known]
    help = f"did you mean {listed(near)}?" if near else f"there is {listed(others)}"
    return Diagnostic(
        "unknown-model", f"there is no model `{name}`", span, help=(help,) if known else ()
    )


def no_model(file: str) -> Diagnostic:
    return Diagnostic(
        "no-model",
        f"`{file}` declares no model that can be built",
        Span(file, 0, 0),
        help=("a `model` whose parameters all have values can be built",),
    )


def ambiguous_model(file: str, known: Sequence[str]) -> Diagnostic:
    names = listed([f"`{name}`" for name in known])
    return Diagnostic(
        "ambiguous-model",
        f"`{file}` declares several models",
        Span(file, 0, 0),
        help=(f"choose one with `--model`: {names}",),
    )


def not_a_family(span: Span) -> Diagnostic:
    return Diagnostic(
        "not-a-family",
        "a model is named after a model with its parameters given",
        span,
        help=("write `model name = Model(arguments)`",),
    )


def expectation_failed(span: Span, condition: str, found: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "expectation-failed",
        f"`{condition}` does not hold",
        span,
        notes=tuple(found),
    )


def unsupported_by_target(
    span: Span | None, target: str, reason: str, help: str | None
) -> Diagnostic:
    return Diagnostic(
        "unsupported-by-target",
        f"{target} has no exact form of this: {reason}",
        span,
        help=(help,) if help else (),
    )


def not_steppable(span: Span | None, reason: str, help: str | None) -> Diagnostic:
    return Diagnostic(
        "not-steppable",
        f"the model cannot be taken one step at a time: {reason}",
        span,
        help=(help,) if help else (),
    )
