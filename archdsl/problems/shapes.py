"""Problems of shapes, and of states carried along an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archdsl.diagnostics import Diagnostic, Label
from archdsl.problems.words import Chain, Sizes, did_you_mean, listed, sizes_of
from archdsl.source import Span

if TYPE_CHECKING:
    from archdsl.ir.model import Requirement
    from archdsl.ir.types import ShapeError, TensorType
    from archdsl.sizes.conditions import Condition
    from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Mends:
    """Ways out where two maps do not fit together; of the two, 0 is the first."""

    demanded: Condition | None = None
    """Sizes at which they are proved to fit."""
    names: tuple[str, str] = ("", "")
    strides: tuple[str, str] | None = None
    crop: tuple[int, int] | None = None
    """Which to cut, and from which place on."""
    size: tuple[int, str] | None = None
    """Which to resize, and to what."""

    @property
    def notes(self) -> tuple[str, ...]:
        if self.strides is None:
            return ()
        first, second = self.strides
        return (
            f"one place is {first} places of the input in {self._called(0)},"
            f" but {second} in {self._called(1)}",
        )

    @property
    def help(self) -> tuple[str, ...]:
        lines: list[str] = []
        if self.demanded is not None:
            lines.append(f"demand `require {self.demanded}`")
        if self.crop is not None:
            cut, at = self.crop
            lines.append(
                f"cut {self._called(cut)} to the size of the other: `-> Crop({at}, like=…)`"
                " with `import std.segmentation (Crop)`"
            )
        if self.size is not None:
            resized, size = self.size
            lines.append(
                f'resize {self._called(resized)}: `-> interpolate({size}, mode="bilinear")`'
            )
        return tuple(f"or {line}" if place else line for place, line in enumerate(lines))

    def _called(self, place: int) -> str:
        name = self.names[place]
        if name and name != self.names[1 - place]:
            return f"`{name}`"
        return f"the {('first', 'second')[place]} value"


NO_MENDS = Mends()


def divides(divisor: Dim) -> str:
    """Why a size must not be 0."""
    return f"this divides by {divisor.without_origin()}"


def divides_by_place(name: str) -> str:
    """Why a condition on places has no value everywhere."""
    return f"it divides by the place `{name}`, and the first place is 0"


def demand(condition: Condition, operator: str | None, place: str) -> str:
    """What the inputs of a model must satisfy, and why; said where nothing is wrong."""
    if operator is None:
        return f"{condition}, as {place} requires; no operator is known to need it alone"
    return f"{condition}, because of the `{operator}` on {place}"


def shape_error(
    span: Span,
    name: str,
    error: ShapeError,
    types: Sequence[TensorType],
    chains: Sequence[Chain],
    mends: Mends = NO_MENDS,
) -> Diagnostic:
    shapes = ", ".join(map(str, types))
    return Diagnostic(
        error.code,
        f"`{name}`: {error.message}",
        span,
        label=f"applied to {shapes}" if shapes else "",
        chain=tuple(dict.fromkeys(label for chain in chains for label in chain)),
        counterexample=sizes_of(error.counterexample),
        notes=(*((error.note,) if error.note else ()), *mends.notes),
        help=(*((error.help,) if error.help else ()), *mends.help),
    )


def too_many_axes(span: Span, name: str, count: int, most: int) -> Diagnostic:
    return Diagnostic(
        "rank-mismatch", f"`{name}` has {count} axes, but PyTorch takes at most {most}", span
    )


def wrong_input_count(
    span: Span, name: str, names: Sequence[str], count: int, needed: int | None = None
) -> Diagnostic:
    """`needed` is how many there must be, if that is not all."""
    wanted = f"{len(names)} ({', '.join(names)})" if names else "none"
    if needed is not None and needed < len(names):
        wanted = f"{wanted}, at least {needed}"
    return Diagnostic(
        "wrong-input-count", f"`{name}` takes inputs: {wanted}; it is given {count}", span
    )


def wrong_input_dtype(
    span: Span, block: str, port: str, wanted: str, found: TensorType
) -> Diagnostic:
    return Diagnostic(
        "dtype-mismatch",
        f"input `{port}` of `{block}` must be {wanted}, but is {found}",
        span,
        help=(f"convert it with `cast({wanted})`",),
    )


def wrong_input_rank(
    span: Span, block: str, port: str, wanted: str, found: TensorType
) -> Diagnostic:
    return Diagnostic(
        "rank-mismatch",
        f"input `{port}` of `{block}` must have the axes {wanted}, but is {found}",
        span,
    )


def input_size_mismatch(
    span: Span,
    block: str,
    port: str,
    position: int,
    written: str,
    wanted: Dim,
    found: Dim,
    type: TensorType,
    counterexample: Sizes,
) -> Diagnostic:
    meaning = f"`{written}`" if written == str(wanted) else f"`{written}` = {wanted}"
    return Diagnostic(
        "input-size-mismatch",
        f"axis {position} of input `{port}` of `{block}` must be {meaning}, but is {found}",
        span,
        label=f"the input is {type}",
        counterexample=sizes_of(counterexample),
    )


def untyped_model_input(span: Span, model: str, port: str) -> Diagnostic:
    return Diagnostic(
        "untyped-model-input",
        f"input `{port}` of the model `{model}` needs a full type",
        span,
        help=(f"write its axes: `{port}: [N, 3, H, W]`",),
    )


def unknown_dim(span: Span, name: str, known: Sequence[str]) -> Diagnostic:
    help, _ = did_you_mean(span, name, known)
    return Diagnostic(
        "unknown-dim",
        f"the model has no dim `{name}`",
        span,
        help=help or (f"its dims are {listed([f'`{k}`' for k in known])}",),
    )


def shared_weights_differ(
    span: Span,
    path: str,
    weight: str,
    before: Mapping[str, tuple[Dim, ...]],
    now: Mapping[str, tuple[Dim, ...]],
) -> Diagnostic:
    def shown(dims: tuple[Dim, ...] | None) -> str:
        return "absent" if dims is None else f"[{', '.join(map(str, dims))}]"

    return Diagnostic(
        "shared-weights-differ",
        f"`{path}` is shared, but its `{weight}` would be {shown(now.get(weight))} here and is "
        f"{shown(before.get(weight))} where it was first applied",
        span,
        help=("make a second instance, or bring both inputs to the same width",),
    )


def requirement_failed(
    span: Span, message: str | None, condition: str, values: Mapping[str, str]
) -> Diagnostic:
    told = ", ".join(f"{name} is {value}" for name, value in values.items())
    return Diagnostic(
        "requirement-failed",
        message or f"`{condition}` does not hold",
        span,
        label="required here",
        notes=(told,) if told else (),
    )


def requirement_not_met(
    span: Span, block: str, requirement: Requirement, condition: Condition, counterexample: Sizes
) -> Diagnostic:
    return Diagnostic(
        "requirement-not-met",
        f"`{block}` requires `{condition}` here, which does not follow: {requirement.reason}",
        span,
        related=(Label(requirement.span, "required here"),),
        counterexample=sizes_of(counterexample),
        help=(f"if it is meant, write `require {condition}` before",),
    )


def size_too_small(
    requirement: Requirement, counterexample: Sizes, bounds: Sizes, model: Span
) -> Diagnostic:
    needed = " and ".join(f"{name} >= {bound}" for name, bound in (bounds or {}).items())
    help = (f"say which sizes the model admits: `require {needed}`",) if needed else ()
    return Diagnostic(
        "size-too-small",
        f"the model admits sizes that are too small: {requirement.reason}",
        requirement.span,
        label=f"needs {requirement.condition}",
        counterexample=sizes_of(counterexample),
        help=help,
    )


def size_too_large(
    requirement: Requirement, counterexample: Sizes, bounds: Condition
) -> Diagnostic:
    return Diagnostic(
        "size-too-large",
        f"the model admits sizes that are too large: {requirement.reason}",
        requirement.span,
        label=f"needs {requirement.condition}",
        counterexample=sizes_of(counterexample),
        help=(f"say which sizes the model admits: `require {bounds}`",),
    )


def unmet_by_data(span: Span, size: str, condition: str, reason: str) -> Diagnostic:
    return Diagnostic(
        "data-dependent-size",
        f"{reason}; but `{size}` depends on data and may be 0",
        span,
        label=f"needs {condition}",
        help=(
            "no input can promise this: pad with something that is always there (`concat`, `pad`),"
            " or compute it in another way",
        ),
    )


def fresh_size_in_scan(span: Span) -> Diagnostic:
    return Diagnostic(
        "data-dependent-size",
        "the size of this result depends on data, and would be another in every step of the scan",
        span,
        help=("compute it before or after the scan, for all steps at once",),
    )


def scan_counts(span: Span, elements: int, sequences: int) -> Diagnostic:
    return Diagnostic(
        "scan-counts",
        f"{elements} names walk over {sequences} sequences",
        span,
        help=("write as many names before `over` as sequences after it",),
    )


def scan_needs_axis(span: Span, text: str) -> Diagnostic:
    return Diagnostic(
        "scan-needs-axis",
        "a scan must know which axis it walks along",
        span,
        help=(f"write `{text}(axis=T)`",),
    )


def scan_lengths_differ(
    span: Span, found: TensorType, length: Dim, first: Label, wanted: Dim, counterexample: Sizes
) -> Diagnostic:
    return Diagnostic(
        "scan-lengths-differ",
        f"this sequence is {length} long, the first one {wanted}",
        span,
        label=f"walks along {length} of {found}",
        related=(first,),
        counterexample=sizes_of(counterexample),
        help=("a scan takes one step for each place: name the two sizes alike, or slice one",),
    )


def scan_without_yield(span: Span) -> Diagnostic:
    return Diagnostic(
        "scan-without-yield",
        "this scan carries no state and yields nothing",
        span,
        help=("end it with `yield value`",),
    )


def yield_outside_scan(span: Span) -> Diagnostic:
    return Diagnostic(
        "yield-outside-scan",
        "`yield` is the last statement of a scan",
        span,
        help=("move it to the end of the scan's body",),
    )


def state_never_assigned(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "state-never-assigned",
        f"the carried state `{name}` is never assigned in the scan",
        span,
        help=(f"assign it, `{name} = …`, or use it without carrying it",),
    )


def state_changes(
    span: Span,
    name: str,
    before: TensorType,
    after: TensorType,
    chain: Chain,
    counterexample: Sizes,
) -> Diagnostic:
    return Diagnostic(
        "state-changes",
        f"the carried state `{name}` begins a step as {before} and ends it as {after}",
        span,
        label=f"begins as {before}",
        chain=chain,
        counterexample=sizes_of(counterexample),
        help=(
            "a state has one type for all steps: "
            f"let the step end as {before}, or begin with {after}",
        ),
    )
