"""Specialises a block: binds parameters and input sizes, reuses equal instances, maps results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archdsl import problems
from archdsl.ir.model import Argument, Block, Requirement
from archdsl.ir.obligations import FreshSize
from archdsl.ir.types import MOST_AXES, DType, TensorType
from archdsl.semantics.parameters import (
    bind_parameters,
    defaulted,
    named,
    static_argument,
)
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import FileScope
from archdsl.semantics.values import (
    UNKNOWN,
    BlockDefinition,
    Evaluated,
    Template,
    Tensor,
    Tensors,
)
from archdsl.sizes.conditions import Compare
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body


@dataclass(frozen=True, slots=True)
class InputShape:
    """What a block sees of one input: an element type, its own dims, its own axis names."""

    name: str
    type: TensorType


@dataclass(slots=True)
class Binding:
    """How a block's inputs and symbols correspond to the caller's."""

    inputs: list[InputShape]
    symbols: dict[str, Dim]
    """Each symbol of the block in the caller's terms."""
    sizes: dict[str, Dim]
    """Every named dim of the signature: a symbol, or a constant that remembers its name."""
    axes: dict[str, str | None]
    """The block's axis names in the caller's terms."""
    empty: set[str] = field(default_factory=set[str])
    """Symbols that may be 0."""
    demands: list[Requirement] = field(default_factory=list[Requirement])
    """What the signature needs of its own sizes, such as that it does not divide by 0."""
    preparations: dict[str, Preparation] = field(default_factory=dict[str, "Preparation"])
    """Inputs of a model that are prepared before its body sees them."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """A block that an input of a model is prepared by, in the terms of the model."""

    template: Template
    result: TensorType
    """What the body sees, with the axes of the model's signature."""
    requirements: tuple[Requirement, ...]
    """What it demands of what it is given."""


def apply_block(
    body: Body,
    block: BlockDefinition,
    template: Template,
    tensors: Sequence[Tensor],
    label: str | None,
    path: str | None,
) -> Evaluated:
    """Apply a block to tensors of the caller, as a new instance or as the one at `path`."""
    builder, span = body.builder, template.span
    ports = block.definition.ports
    if len(tensors) != len(ports):
        names = tuple(port.name.text for port in ports)
        raise Problem(problems.wrong_input_count(span, block.name, names, len(tensors)))
    arguments = bind_parameters(body, block, template)
    if arguments is None:
        return UNKNOWN
    types = [builder.type(tensor) for tensor in tensors]
    binding = bind_inputs(body, block, types, arguments, span)
    defaults = defaulted(block, template)
    key = body.program.specialised(block, arguments, binding, span)
    is_new = path is None or path not in builder.members
    path = path or builder.claim(label, span)
    statics = tuple((name, static_key(value)) for name, value in arguments.items())
    builder.check_same(path, (id(block.definition), statics), span)
    if key is None:
        body.failed = True
        return UNKNOWN
    callee = body.program.blocks[key]
    if is_new:
        builder.add_member(path, span, block=key, arguments=_written(arguments, defaults))
    elif builder.members[path].block != key:
        body.program.check_same_weights(builder.members[path].block or "", key, path, span)
    builder.block_names[key] = callee.name
    _take_requirements(body, callee, binding, span)
    symbols = {**binding.symbols, **_fresh_sizes(body, callee, binding, span)}
    origins = dict(symbols)
    for name, value in arguments.items():
        if isinstance(value, Dim):
            origins[name] = value.origin
    for name, size in binding.sizes.items():
        if name not in origins:
            origins[name] = size
    results = [
        _in_callers_terms(callee.type(port.value), symbols, binding.axes, origins)
        for port in callee.outputs
    ]
    names = (*callee.symbols, *(size.name for size in callee.fresh))
    dims = tuple((name, symbols[name].without_origin()) for name in names)
    outputs = builder.add_call(key, path, tensors, results, dims, span)
    body.program.count_call(builder, key, span)
    return outputs[0] if len(outputs) == 1 else Tensors(outputs)


def _written(arguments: Mapping[str, Evaluated], defaults: frozenset[str]) -> tuple[Argument, ...]:
    return tuple(
        static_argument(name, value, is_default=name in defaults)
        for name, value in arguments.items()
    )


def _fresh_sizes(body: Body, callee: Block, binding: Binding, span: Span) -> dict[str, Dim]:
    """For each size that depends on data in a block, one of the caller's: every call has others."""
    sizes, born = dict(binding.symbols), list[FreshSize]()
    for size in callee.fresh:
        name = body.builder.size_name(size.name)
        sizes[size.name] = Dim.symbol(name)
        born.append(FreshSize(name, size.most.substitute(sizes)))
    body.builder.admit(born, span)
    return {size.name: sizes[size.name] for size in callee.fresh}


def _in_callers_terms(
    type: TensorType,
    symbols: Mapping[str, Dim],
    axes: Mapping[str, str | None],
    origins: Mapping[str, Dim],
) -> TensorType:
    dims = tuple(dim.substitute(symbols, origins) for dim in type.dims)
    names = tuple(axes.get(axis, axis) if axis else None for axis in type.axes)
    return TensorType(type.dtype, dims, names)


def _take_requirements(body: Body, callee: Block, binding: Binding, span: Span) -> None:
    """Prove what the block demands, or take a lower bound over as a demand of the caller's own."""
    for requirement in callee.requirements:
        condition = requirement.condition.substitute(binding.symbols)
        verdict = body.builder.facts.prove(condition)
        if verdict.proved:
            continue
        if not _can_defer(requirement, condition.truth):
            raise Problem(
                problems.requirement_not_met(
                    span, callee.name, requirement, condition, verdict.counterexample
                )
            )
        body.builder.require(condition, requirement.reason, requirement.span)


def _can_defer(requirement: Requirement, truth: bool | None) -> bool:
    condition = requirement.condition
    is_bound = isinstance(condition, Compare) and condition.relation in (">=", ">")
    return is_bound and truth is not False


# -------------------------------------------------------------------------------------- inputs


def bind_inputs(
    body: Body,
    block: BlockDefinition,
    types: Sequence[TensorType],
    arguments: Mapping[str, Evaluated],
    span: Span,
) -> Binding:
    """Match the caller's types with the signature's; constants are kept, the rest are symbols."""
    binding = Binding([], {}, {}, {})
    taken = {name for port in block.definition.ports for name in _named_dims(port)}
    for port, type in zip(block.definition.ports, types, strict=True):
        if port.type is None:
            shape = _untyped(port.name.text, type, binding, taken | set(arguments))
        else:
            shape = typed_input(body, block, port, type, binding, arguments, span)
        binding.inputs.append(shape)
        for mine, theirs in zip(shape.type.axes, type.axes, strict=True):
            if mine is not None:
                binding.axes.setdefault(mine, theirs)
    binding.empty = {name for name, dim in binding.symbols.items() if _may_be_zero(body, dim)}
    return binding


def _may_be_zero(body: Body, dim: Dim) -> bool:
    facts = body.builder.facts
    least = facts.range_of(dim)[0]
    if least is not None and least >= 1:
        return False
    return not facts.prove(Compare(dim.without_origin(), ">=", Dim.of(1))).proved


def input_dims(type: ast.Type) -> list[ast.Expression | ast.Ellipsis]:
    """The sizes an input is written with; of `R >= 0` the name."""
    dims = type.dims or ()
    return [dim if isinstance(dim, ast.Ellipsis) else _zero_allowed(dim) or dim for dim in dims]


def _zero_allowed(dim: ast.Expression) -> ast.Name | None:
    """The name in `R >= 0`, which is how a signature lets a size be 0."""
    if not isinstance(dim, ast.Chain) or [symbol for symbol, _ in dim.rest] != [">="]:
        return None
    bound = dim.rest[0][1]
    is_zero = isinstance(bound, ast.Integer) and bound.value == 0
    return dim.first if is_zero and isinstance(dim.first, ast.Name) else None


def _named_dims(port: ast.Parameter) -> list[str]:
    dims = input_dims(port.type) if port.type else ()
    return [dim.text for dim in dims if isinstance(dim, ast.Name)]


def _untyped(name: str, type: TensorType, binding: Binding, taken: set[str]) -> InputShape:
    dims: list[Dim] = []
    for position, (dim, axis) in enumerate(zip(type.dims, type.axes, strict=True)):
        if dim.value is not None:
            dims.append(dim.without_origin())
            continue
        same = [symbol for symbol, theirs in binding.symbols.items() if theirs == dim]
        if same:
            dims.append(Dim.symbol(same[0]))
            continue
        wanted = axis if axis and axis not in taken else f"{name}_{position}"
        while wanted in binding.symbols:
            wanted += "_"
        binding.symbols[wanted] = dim
        binding.sizes[wanted] = Dim.symbol(wanted)
        dims.append(Dim.symbol(wanted))
    return InputShape(name, TensorType(type.dtype, tuple(dims), type.axes))


def typed_input(
    body: Body,
    block: BlockDefinition,
    port: ast.Parameter,
    type: TensorType,
    binding: Binding,
    arguments: Mapping[str, Evaluated],
    span: Span,
) -> InputShape:
    """Match the type of one input with what the signature says of it."""
    assert port.type is not None
    written = input_dims(port.type)
    name = port.name.text
    if port.type.name is not None and port.type.name != type.dtype.value:
        raise Problem(problems.wrong_input_dtype(span, block.name, name, port.type.name, type))
    patterns = spread(written, type.rank)
    if patterns is None:
        expected = body.program.text_of(port.type.span)
        raise Problem(problems.wrong_input_rank(span, block.name, name, expected, type))
    dims: list[Dim] = []
    axes: list[str | None] = []
    for position, (pattern, theirs) in enumerate(zip(patterns, type.dims, strict=True)):
        dims.append(
            _match(body, block, name, position, pattern, theirs, type, binding, arguments, span)
        )
        axes.append(pattern.text if isinstance(pattern, ast.Name) else None)
    return InputShape(name, TensorType(type.dtype, tuple(dims), tuple(axes)))


def spread(
    written: Sequence[ast.Expression | ast.Ellipsis], rank: int
) -> list[ast.Expression | None] | None:
    """One pattern for every axis, none for those under `...`; None when the rank is another."""
    places = [place for place, dim in enumerate(written) if isinstance(dim, ast.Ellipsis)]
    if len(places) > 1:
        raise Problem(problems.wrong_kind(written[places[1]].span, "one `...`", "a second one"))
    patterns = [None if isinstance(dim, ast.Ellipsis) else dim for dim in written]
    more = rank - len(patterns)
    if not places:
        return patterns if more == 0 else None
    if more < -1:
        return None
    place = places[0]
    return [*patterns[:place], *([None] * (more + 1)), *patterns[place + 1 :]]


def binds_dim(name: str, file: FileScope) -> bool:
    """Whether a signature binds the size of an axis to a name; all others must be known."""
    return name[0].isupper() and name not in file.constants


def _match(
    body: Body,
    block: BlockDefinition,
    port: str,
    position: int,
    pattern: ast.Expression | None,
    theirs: Dim,
    type: TensorType,
    binding: Binding,
    arguments: Mapping[str, Evaluated],
    span: Span,
) -> Dim:
    if pattern is None:
        return _fresh(f"{port}_{position}", theirs, binding)
    known = {**arguments, **binding.sizes}
    is_new = isinstance(pattern, ast.Name) and pattern.text not in known
    if isinstance(pattern, ast.Name) and is_new and binds_dim(pattern.text, block.file):
        return _fresh(pattern.text, theirs, binding)
    size = known.get(pattern.text) if isinstance(pattern, ast.Name) else None
    if isinstance(pattern, ast.Name) and isinstance(size, Dim):
        mine = size if pattern.text in binding.sizes else named(pattern.text, size)
    else:
        mine = body.program.signature_size(block, pattern, known, binding)
    wanted = mine.substitute(binding.symbols)
    verdict = body.builder.facts.prove(Compare(theirs.without_origin(), "==", wanted))
    if not verdict.proved:
        written = body.program.text_of(pattern.span)
        raise Problem(
            problems.input_size_mismatch(
                span,
                block.name,
                port,
                position,
                written,
                wanted,
                theirs,
                type,
                verdict.counterexample,
            )
        )
    return mine


def _fresh(name: str, theirs: Dim, binding: Binding) -> Dim:
    """The block's own dim of that name: a constant that remembers it, or a symbol."""
    if theirs.value is not None:
        size = theirs.without_origin().with_origin(Dim.symbol(name))
        binding.sizes[name] = size
        # The caller's expression for a constant serves only to write readable source.
        return size
    binding.symbols[name] = theirs
    binding.sizes[name] = Dim.symbol(name)
    return Dim.symbol(name)


def refuse_many_axes(name: str, type: ast.Type) -> None:
    """Refuse the type of an input or a weight that PyTorch cannot hold."""
    count = len(type.dims or ())
    if count > MOST_AXES:
        raise Problem(problems.too_many_axes(type.span, name, count, MOST_AXES))


def dtype_named(type: ast.Type) -> DType:
    """The element type a tensor type names; float32 when it names none."""
    if type.name is None:
        return DType.FLOAT32
    try:
        return DType(type.name)
    except ValueError:
        raise Problem(problems.unknown_type(type.span, type.name)) from None


def static_key(value: Evaluated) -> object:
    """A hashable stand-in for a static argument, equal when the arguments are."""
    match value:
        case Template():
            target = value.target
            name = id(target.definition) if isinstance(target, BlockDefinition) else target
            positional = tuple(static_key(given.value) for given in value.positional)
            keywords = tuple((k, static_key(g.value)) for k, g in sorted(value.keywords.items()))
            return ("layer", name, value.as_layer, positional, keywords)
        case Dim():
            return ("int", value.without_origin())
        case _ if hasattr(value, "values"):
            return ("list", tuple(static_key(item) for item in value.values))  # pyright: ignore
        case _ if hasattr(value, "value"):
            return (type(value).__name__, value.value)  # pyright: ignore
        case _:
            return value
