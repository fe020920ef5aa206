"""Every sentence the compiler can say to a person: one function for each code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from archdsl.diagnostics import Diagnostic, Fix, Label
from archdsl.source import Span

if TYPE_CHECKING:
    from archdsl.ir.conditions import Condition
    from archdsl.ir.dims import Dim
    from archdsl.ir.model import Requirement
    from archdsl.ir.types import ShapeError, TensorType


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _near(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that look like this one, the nearest first."""
    names = sorted(set(known))
    same = [other for other in names if other.lower() == name.lower()]
    return (same + [n for n in get_close_matches(name, names, 3, 0.6) if n not in same])[:3]


def _did_you_mean(span: Span, name: str, known: Iterable[str]) -> tuple[tuple[str, ...], Fix | None]:
    near = _near(name, known)
    if not near:
        return (), None
    quoted = [f"`{other}`" for other in near]
    return (f"did you mean {_listed(quoted)}?",), Fix(span, near[0])


def inside(diagnostic: Diagnostic, applications: Sequence[tuple[str, Span]]) -> Diagnostic:
    """The same problem, with the applications of blocks through which it was reached."""
    reached = tuple(Label(span, f"reached through `{text}`") for text, span in applications)
    return replace(diagnostic, related=(*diagnostic.related, *reversed(reached[-3:])))


# --------------------------------------------------------------------------- text and syntax


def syntax_error(span: Span, found: str, expected: Sequence[str], hint: str | None) -> Diagnostic:
    wanted = _listed(expected) if 0 < len(expected) <= 6 else "something else"
    return Diagnostic(
        "syntax-error",
        f"unexpected {found}",
        span,
        label=f"expected {wanted}",
        help=(hint,) if hint else (),
    )


def unexpected_character(span: Span, character: str) -> Diagnostic:
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    help = ("names are written in ASCII letters, digits and `_`",) if not character.isascii() else ()
    return Diagnostic("unexpected-character", f"unexpected character `{shown}`", span, help=help)


def unexpected_end(span: Span, expected: Sequence[str]) -> Diagnostic:
    wanted = f"expected {_listed(expected)}" if 0 < len(expected) <= 6 else "something is unfinished"
    return Diagnostic(
        "unexpected-end",
        "the file ends in the middle of a statement",
        span,
        label=wanted,
        help=("every `{`, `(` and `[` needs its closing partner",),
    )


def hidden_character(span: Span, character: str) -> Diagnostic:
    return Diagnostic(
        "hidden-character",
        f"the text contains the invisible character U+{ord(character):04X}",
        span,
        notes=("such characters make a text look different from what it says",),
        help=("remove it",),
        fix=Fix(span, ""),
    )


def bad_literal(span: Span, reason: str) -> Diagnostic:
    return Diagnostic("bad-literal", f"this literal can't be taken: {reason}", span)


def bad_interpolation(span: Span, text: str) -> Diagnostic:
    return Diagnostic(
        "bad-interpolation",
        f"`{{{text}}}` is not an expression",
        span,
        help=("inside braces stands an expression, as in `layer{i + 1}` or \"width {D}\"",),
    )


LIMITS = {
    "file_bytes": "a file is at most {bound:,} bytes long",
    "nesting": "brackets, scopes and blocks nest at most {bound} deep",
    "imported_files": "a program imports at most {bound} files",
    "import_depth": "imports are at most {bound} deep",
    "expansion_steps": "a program expands in at most {bound:,} steps",
    "expanded_nodes": "a model has at most {bound:,} nodes",
    "repeat_count": "one loop repeats at most {bound:,} times",
}


def limit_exceeded(span: Span | None, limit: str, bound: int) -> Diagnostic:
    option = limit.replace("_", "-")
    return Diagnostic(
        "limit-exceeded",
        f"the limit `{option}` is exceeded: {LIMITS[limit].format(bound=bound)}",
        span,
        help=(f"if it is meant, raise it on the command line: `--limit {option}=…`",),
    )


# ------------------------------------------------------------------------- files and imports


def missing_edition(span: Span, edition: int) -> Diagnostic:
    return Diagnostic(
        "missing-edition",
        "the file does not say which edition of the language it is written in",
        span,
        help=(f"begin the file with `edition {edition}`",),
        fix=Fix(span, f"edition {edition}\n"),
    )


def unknown_edition(span: Span, edition: int, known: int) -> Diagnostic:
    return Diagnostic(
        "unknown-edition",
        f"there is no edition {edition}",
        span,
        help=(f"this compiler knows `edition {known}`",),
        fix=Fix(span, f"edition {known}"),
    )


def duplicate_declaration(span: Span, name: str, earlier: Span) -> Diagnostic:
    return Diagnostic(
        "duplicate-declaration",
        f"`{name}` is declared twice in this file",
        span,
        related=(Label(earlier, "first declared here"),),
        help=("give one of them another name; an import takes `as Name`",),
    )


def unknown_import(span: Span, name: str, path: str, known: Sequence[str]) -> Diagnostic:
    help, fix = _did_you_mean(span, name, known)
    return Diagnostic(
        "unknown-import",
        f"`{path}` declares no block or constant `{name}`",
        span,
        help=help or ((f"it declares {_listed([f'`{k}`' for k in known])}",) if known else ()),
        fix=fix,
    )


def unknown_library(span: Span, path: str, known: Sequence[str]) -> Diagnostic:
    help, fix = _did_you_mean(span, path, known)
    return Diagnostic(
        "unknown-library",
        f"the standard library has no `{path}`",
        span,
        help=help or (f"it has {_listed([f'`{k}`' for k in known])}",),
        fix=fix,
    )


def import_cycle(span: Span, cycle: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "import-cycle",
        f"these files import each other: {' → '.join(cycle)}",
        span,
        help=("move what they share into a file of its own",),
    )


def import_outside_root(span: Span, path: str) -> Diagnostic:
    return Diagnostic(
        "import-outside-root",
        f"`{path}` leads out of the folder of the project",
        span,
        help=("imports are relative paths with `/` that stay inside the project's folder",),
    )


def import_without_root(span: Span) -> Diagnostic:
    return Diagnostic(
        "import-without-root",
        "a text that is not in a file cannot import files",
        span,
        help=("save it next to the file it imports; `import std.…` works everywhere",),
    )


def file_not_found(span: Span | None, path: str) -> Diagnostic:
    return Diagnostic("file-not-found", f"there is no file `{path}`", span)


def unreadable_file(span: Span | None, path: str, reason: str) -> Diagnostic:
    return Diagnostic("unreadable-file", f"`{path}` can't be read: {reason}", span)


# -------------------------------------------------------------------------- names and values


def unknown_name(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    kind = "layer or block" if name[:1].isupper() else "name"
    help, fix = _did_you_mean(span, name, known)
    return Diagnostic("unknown-name", f"there is no {kind} `{name}` here", span, help=help, fix=fix)


def no_such_attribute(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "no-such-attribute",
        f"`.{name}` is not something this value has",
        span,
        help=("a dot leads from a labelled layer to its weight, as in `embedding.weight`",),
    )


def unknown_weight(span: Span, path: str, known: Sequence[str]) -> Diagnostic:
    help, fix = _did_you_mean(span, path, known)
    return Diagnostic(
        "unknown-weight",
        f"no layer above has a weight `{path}`",
        span,
        help=help or ("label the layer before it is used here: `embedding: Embedding(…)`",),
        fix=fix,
    )


def wrong_kind(span: Span, wanted: str, found: str) -> Diagnostic:
    return Diagnostic("wrong-kind", f"expected {wanted}, found {found}", span)


def wrong_operand(span: Span, operator: str, found: str) -> Diagnostic:
    return Diagnostic("wrong-operand", f"`{operator}` does not apply to {found}", span)


def not_constant(span: Span, size: str) -> Diagnostic:
    return Diagnostic(
        "not-constant",
        f"this must be a number known at compile time, but `{size}` depends on the input",
        span,
        help=("fix the size in the signature, or on the command line with `--dim NAME=NUMBER`",),
    )


def static_error(span: Span, reason: str) -> Diagnostic:
    return Diagnostic("static-error", f"this has no value: {reason}", span)


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


# ---------------------------------------------------------------------------------- pipelines


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


# ---------------------------------------------------------------------------------- arguments


def unknown_argument(span: Span, name: str, key: str, known: Sequence[str]) -> Diagnostic:
    help, _ = _did_you_mean(span, key, known)
    taken = (f"it takes {_listed([f'`{k}`' for k in known])}",) if known else ("it takes none",)
    return Diagnostic("unknown-argument", f"`{name}` has no argument `{key}`", span, help=help or taken)


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


def too_many_arguments(span: Span, name: str, allowed: int, count: int) -> Diagnostic:
    return Diagnostic(
        "too-many-arguments",
        f"`{name}` takes {allowed} arguments without a name, but got {count}",
        span,
        help=("give further arguments by name",),
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


# ------------------------------------------------------------------------------------- shapes

Chain = tuple[Label, ...]
Sizes = dict[str, int] | None


def _sizes(counterexample: Sizes) -> tuple[tuple[str, int], ...]:
    return tuple((counterexample or {}).items())


def shape_error(
    span: Span,
    name: str,
    error: ShapeError,
    types: Sequence[TensorType],
    chains: Sequence[Chain],
) -> Diagnostic:
    shapes = ", ".join(map(str, types))
    return Diagnostic(
        error.code,
        f"`{name}`: {error.message}",
        span,
        label=f"applied to {shapes}" if shapes else "",
        chain=tuple(label for chain in chains for label in chain),
        counterexample=_sizes(error.counterexample),
        notes=(error.note,) if error.note else (),
        help=(error.help,) if error.help else (),
    )


def wrong_input_count(span: Span, name: str, names: Sequence[str], count: int) -> Diagnostic:
    wanted = f"{len(names)} ({', '.join(names)})" if names else "none"
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
        counterexample=_sizes(counterexample),
    )


def untyped_model_input(span: Span, model: str, port: str) -> Diagnostic:
    return Diagnostic(
        "untyped-model-input",
        f"input `{port}` of the model `{model}` needs a full type",
        span,
        help=(f"write its axes: `{port}: [N, 3, H, W]`",),
    )


def unknown_dim(span: Span, name: str, known: Sequence[str]) -> Diagnostic:
    help, _ = _did_you_mean(span, name, known)
    return Diagnostic(
        "unknown-dim",
        f"the model has no dim `{name}`",
        span,
        help=help or (f"its dims are {_listed([f'`{k}`' for k in known])}",),
    )


def shared_weights_differ(
    span: Span, path: str, weight: str, before: Mapping[str, object], now: Mapping[str, object]
) -> Diagnostic:
    def shown(dims: object) -> str:
        return f"[{', '.join(map(str, dims))}]" if isinstance(dims, tuple) else "absent"

    return Diagnostic(
        "shared-weights-differ",
        f"`{path}` is shared, but its `{weight}` would be {shown(now.get(weight))} here and is "
        f"{shown(before.get(weight))} where it was first applied",
        span,
        help=("make a second instance, or bring both inputs to the same width",),
    )


def requirement_failed(span: Span, message: str | None) -> Diagnostic:
    text = message or "this requirement does not hold"
    return Diagnostic("requirement-failed", text, span, label="required here")


def requirement_not_met(
    span: Span, block: str, requirement: Requirement, condition: Condition, counterexample: Sizes
) -> Diagnostic:
    return Diagnostic(
        "requirement-not-met",
        f"`{block}` requires `{condition}` here, which does not follow: {requirement.reason}",
        span,
        related=(Label(requirement.span, "required here"),),
        counterexample=_sizes(counterexample),
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
        counterexample=_sizes(counterexample),
        help=help,
    )


# --------------------------------------------------------------------------------- recurrence


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
    span: Span, wanted: Dim, found: Dim, counterexample: Sizes
) -> Diagnostic:
    return Diagnostic(
        "scan-lengths-differ",
        f"this sequence is {found} long, the first one {wanted}",
        span,
        counterexample=_sizes(counterexample),
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
        chain=chain,
        counterexample=_sizes(counterexample),
        help=("a state has one type for all steps",),
    )


# ------------------------------------------------------------------------------------ results


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
    return Diagnostic(
        "result-training-differs", f"this result is marked `training` {where}", span
    )


def wrong_result_dtype(span: Span, declared: str, actual: TensorType) -> Diagnostic:
    return Diagnostic(
        "dtype-mismatch", f"the result is declared as {declared}, but is {actual}", span
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
        counterexample=_sizes(counterexample),
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


# ------------------------------------------------------------------- models and expectations


def unknown_spec(name: str, known: Sequence[str]) -> Diagnostic:
    near = [f"`{other}`" for other in _near(name, known)]
    help = (f"did you mean {_listed(near)}?",) if near else ()
    return Diagnostic(
        "unknown-spec",
        f"there is no file and no shipped model `{name}`",
        None,
        help=(*help, "`archdsl list` shows the shipped models"),
    )


def unknown_model(span: Span | None, name: str, known: Sequence[str]) -> Diagnostic:
    near = [f"`{other}`" for other in _near(name, known)]
    listed = [f"`{other}`" for other in known]
    help = f"did you mean {_listed(near)}?" if near else f"there is {_listed(listed)}"
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
    listed = _listed([f"`{name}`" for name in known])
    return Diagnostic(
        "ambiguous-model",
        f"`{file}` declares several models",
        Span(file, 0, 0),
        help=(f"choose one with `--model`: {listed}",),
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


def unsupported_by_target(span: Span | None, target: str, reason: str, help: str | None) -> Diagnostic:
    return Diagnostic(
        "unsupported-by-target",
        f"{target} has no exact form of this: {reason}",
        span,
        help=(help,) if help else (),
    )
