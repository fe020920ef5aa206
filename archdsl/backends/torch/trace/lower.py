"""Lowers operators to PyTorch modules and calls, with the expressions of their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, cast

from archdsl.backends.python.formula import Formula
from archdsl.backends.torch.trace.terms import leaves, rewrite, same, taken_apart
from archdsl.ir.lowering import (
    AllInputs,
    Call,
    Device,
    Expression,
    Input,
    InputOrNumber,
    Module,
)
from archdsl.ir.model import Origin
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import Init, Op, Weight
from archdsl.ir.types import DType, TensorType
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Written:
    """A static value that is no integer, and the formula it was written as."""

    value: Any
    formula: Formula


@dataclass(frozen=True, slots=True)
class Layer:
    """An `nn.Module` to construct.

    `attributes` are the operator's own, for keywords that are left out where they are the default.
    `inits` are the weights that begin otherwise than the module begins by itself.
    """

    module: Module
    attributes: Mapping[str, Any]
    inits: tuple[tuple[str, Init], ...] = ()

    def in_place(self) -> Layer:
        """The same, writing over its input."""
        kwargs = {**self.module.kwargs, "inplace": True}
        return replace(self, module=replace(self.module, kwargs=kwargs))


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of a block: its key, and a value for each of its sizes and parameters."""

    block: str
    values: Mapping[str, Any]


Made = Layer | Instance


def other_values(value: Any) -> tuple[Any, ...]:
    """Values near another one, none for what has no neighbours."""
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1, 2 * value)
        case float():
            return (value / 2 + 0.015625,)
        case _:
            return ()


def plain(value: Any) -> Any:
    """A static value without origins, integers as `int`."""
    match value:
        case Dim():
            return value if value.value is None else value.value
        case Written():
            return value.value
        case tuple() | list():
            return tuple(map(plain, cast("list[Any]", value)))
        case _:
            return value


def is_alike(found: Any, wanted: Any, attributes: Mapping[str, Any]) -> bool:
    """Whether a lowering is the wanted one; keywords left out have the operator's value."""
    wanted = rewrite(wanted, lambda leaf: plain(leaf) if isinstance(leaf, Dim | Written) else leaf)
    if isinstance(found, Call | Module) and isinstance(wanted, Call | Module):
        filled = {
            name: wanted.kwargs[name] if name in wanted.kwargs else plain(attributes[name])
            for name in found.kwargs
        }
        if not wanted.kwargs.keys() <= found.kwargs.keys():
            return False
        wanted = type(wanted)(wanted.target, wanted.args, filled)
    return same(wanted, found)


def layer(
    op: Op, types: Sequence[TensorType], origins: Sequence[Origin], weights: Sequence[Weight]
) -> Layer:
    """The module of an operator in its layer form."""
    attributes = _attributes(op, origins)

    def method(op: Op) -> Module:
        return op.torch_module(*types)

    module = _with_keywords(op, origins, attributes, _lower(op, origins, method), method)
    usual = {weight.name: weight.init for weight in op.weights(*types)}
    inits = tuple((w.name, begun(w.init)) for w in weights if usual.get(w.name) != w.init)
    return Layer(module, attributes, inits)


def begun(init: Init) -> Init:
    """How a weight begins, with the formulas that its arguments were written as."""
    formulas = dict(init.origins)
    arguments: list[tuple[str, Any]] = [
        (name, Written(value, Formula(formulas[name])) if name in formulas else value)
        for name, value in init.arguments
    ]
    return Init(init.kind, tuple(arguments))


def _is_parameter(value: Any) -> bool:
    """Whether it was written with names, so that whoever edits the file may change it."""
    return isinstance(value, Written) or (isinstance(value, Dim) and bool(value.origin.symbols))


def _with_keywords(
    op: Op,
    origins: Sequence[Origin],
    attributes: Mapping[str, Any],
    lowered: Any,
    method: Callable[[Op], Any],
) -> Any:
    """A call with the keywords that are left out only because their values are the defaults."""
    for origin in origins:
        is_call = isinstance(lowered, Call | Module)
        if is_call and _is_parameter(attributes[origin.attribute]):
            lowered = _with_keyword(op, origin.attribute, attributes, lowered, method)
    return lowered


def _with_keyword(
    op: Op,
    attribute: str,
    attributes: Mapping[str, Any],
    lowered: Call | Module,
    method: Callable[[Op], Any],
) -> Call | Module:
    value = getattr(op, attribute, None)
    if attribute in lowered.kwargs or not isinstance(value, int | float):
        return lowered
    other = other_values(value)[0]
    try:
        probe = method(op.model_copy(update={attribute: other}))
    except Exception:
        return lowered
    if type(probe) is not type(lowered) or probe.kwargs.get(attribute) != other:
        return lowered
    if probe.kwargs.keys() - lowered.kwargs.keys() != {attribute}:
        return lowered
    known = {**lowered.kwargs, attribute: attributes[attribute]}
    places = {name: place for place, name in enumerate(type(op).model_fields)}
    names = sorted(known, key=lambda name: places.get(name, len(places)))
    return replace(lowered, kwargs={name: known[name] for name in names})


def function(op: Op, types: Sequence[TensorType], origins: Sequence[Origin]) -> Expression:
    """The expression of an operator in its function form."""

    def method(op: Op) -> Expression:
        return op.torch_call(*types)

    lowered = _lower(op, origins, method)
    return _with_keywords(op, origins, _attributes(op, origins), lowered, method)


def _attributes(op: Op, origins: Sequence[Origin]) -> dict[str, Any]:
    attributes = {name: getattr(op, name) for name in type(op).model_fields}
    for origin in origins:
        value = origin.value
        if isinstance(value, str):
            value = Written(attributes[origin.attribute], Formula(value))
        attributes[origin.attribute] = value
    return attributes


def _lower(op: Op, origins: Sequence[Origin], method: Callable[[Op], Any]) -> Any:
    plain = method(op)
    sizes = {
        origin.attribute: origin.value for origin in origins if not isinstance(origin.value, str)
    }
    result = _with_sizes(op, sizes, plain, method) if sizes else plain
    for origin in origins:
        if isinstance(origin.value, str):
            result = _with_formula(
                op, origin.attribute, Formula(origin.value), plain, result, method
            )
    return result


def _with_sizes(op: Op, sizes: dict[str, Any], plain: Any, method: Callable[[Op], Any]) -> Any:
    """Lower with sizes that remember their origins; they count only if nothing else changes."""
    written = _tried(op, sizes, plain, method)
    if written is not None:
        return written
    usable: dict[str, Any] = {}
    best = plain
    for attribute, value in sizes.items():
        written = _tried(op, {**usable, attribute: value}, plain, method)
        if written is not None:
            usable[attribute], best = value, written
    return best


def _tried(op: Op, sizes: dict[str, Any], plain: Any, method: Callable[[Op], Any]) -> Any | None:
    try:
        written = method(op.model_copy(update=sizes))
    except Exception:
        return None
    return written if same(plain, written) else None


def result_types(
    op: Op,
    types: Sequence[TensorType],
    origins: Sequence[Origin],
    known: Sequence[TensorType],
) -> Sequence[TensorType]:
    """The types of the outputs, whose sizes remember what the inputs and attributes were."""
    found = known
    if any(_remembers(dim) for type in types for dim in type.dims):
        found = _inferred(op, types) or known
        found = found if same(tuple(known), tuple(found)) else known
    for origin in origins:
        if isinstance(origin.value, Dim):
            found = _remembering(op, types, origin.attribute, origin.value, found)
    return found


def _inferred(op: Op, types: Sequence[TensorType]) -> Sequence[TensorType] | None:
    try:
        return op.output_types(SETTLED, *types)
    except Exception:
        return None


def gives_tuple(op: Op, types: Sequence[TensorType]) -> bool:
    """Whether what an operator gives is a tuple, even if there is one output."""
    return _may_give_tuple(type(op)) and isinstance(op.infer(SETTLED, *types), tuple)


@cache
def _may_give_tuple(operator: type[Op]) -> bool:
    return "tuple" in str(inspect.signature(operator.infer).return_annotation)


def _remembers(dim: Dim) -> bool:
    return dim.value is not None and dim.has_origin


def _remembering(
    op: Op, types: Sequence[TensorType], attribute: str, size: Dim, found: Sequence[TensorType]
) -> Sequence[TensorType]:
    """Find the output sizes that are an attribute by inferring with twice as much of it."""
    value = size.value
    if value is None or not any(value == dim.value for type in found for dim in type.dims):
        return found
    probe = _inferred(op.model_copy(update={attribute: 2 * value}), types)
    if probe is None or [type.rank for type in probe] != [type.rank for type in found]:
        return found
    return [
        replace(type, dims=tuple(map(partial(_doubled, size), type.dims, other.dims)))
        for type, other in zip(found, probe, strict=True)
    ]


def _doubled(size: Dim, dim: Dim, probe: Dim) -> Dim:
    value = size.value
    if dim.value is None or value is None or dim.has_origin:
        return dim
    return size if dim.value == value and probe.value == 2 * value else dim


def _with_formula(
    op: Op, attribute: str, formula: Formula, plain: Any, result: Any, method: Callable[[Op], Any]
) -> Any:
    """Find where an attribute ends up by lowering it with another value."""
    value = getattr(op, attribute)
    if not isinstance(value, bool | float):
        return _mark_keyword(result, attribute, value, formula)
    [other] = other_values(value)
    try:
        probe = method(op.model_copy(update={attribute: other}))
    except Exception:
        return result
    marked = _mark(result, plain, probe, Written(value, formula), other)
    # A keyword that is left out for one of two truths stands in only one of them.
    return marked if marked is not result else _mark_keyword(result, attribute, value, formula)


def _mark_keyword(result: Any, attribute: str, value: Any, formula: Formula) -> Any:
    if isinstance(result, Call | Module) and result.kwargs.get(attribute) == value:
        return replace(result, kwargs={**result.kwargs, attribute: Written(value, formula)})
    return result


def _mark(result: Any, plain: Any, probe: Any, written: Written, other: Any) -> Any:
    """The result with the formula wherever the value has become the other one in the probe."""
    whole, before, after = taken_apart(result), taken_apart(plain), taken_apart(probe)
    if whole is None or before is None or after is None or before.head != after.head:
        hit = type(plain) is type(written.value) and plain == written.value and probe == other
        return written if hit and type(probe) is type(other) else result
    parts = zip(whole.parts, before.parts, after.parts, strict=True)
    return whole.build([_mark(r, p, q, written, other) for r, p, q in parts])


# --------------------------------------------------------------------- walking an expression


def reads(expression: Any, inputs: int) -> list[int]:
    """Positions of the inputs that an expression reads, as often as it reads them."""
    found: list[int] = []
    for leaf in leaves(expression):
        if isinstance(leaf, Input | InputOrNumber):
            found.append(leaf.index)
        elif isinstance(leaf, AllInputs):
            found.extend(range(inputs))
    return found


def with_constants(
    expression: Expression, inputs: Sequence[int], constants: Mapping[int, tuple[Any, DType]]
) -> tuple[Expression, tuple[int, ...]]:
    """Write constants into an expression, which then reads only the inputs that are left."""
    if constants.keys().isdisjoint(inputs):
        return expression, tuple(inputs)
    left = [value for value in inputs if value not in constants]

    def place(index: int, *, as_number: bool) -> Any:
        value = inputs[index]
        if value not in constants:
            return Input(left.index(value))
        number, dtype = constants[value]
        return number if as_number else tensor_of(number, dtype)

    def visit(leaf: Any) -> Any:
        match leaf:
            case Input():
                return place(leaf.index, as_number=False)
            case InputOrNumber():
                return place(leaf.index, as_number=True)
            case AllInputs():
                return tuple(place(index, as_number=False) for index in range(len(inputs)))
            case _:
                return leaf

    return rewrite(expression, visit), tuple(left)


def tensor_of(number: Any, dtype: DType) -> Call:
    """A constant as a tensor of rank 0."""
    return Call("torch.tensor", (number,), {"dtype": dtype, "device": Device()})
