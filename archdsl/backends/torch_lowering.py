"""Operators lowered to PyTorch's data, with the formulas that their values came from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from archdsl.backends.torch_formula import Formula
from archdsl.ir.dims import Dim
from archdsl.ir.lowering import (
    AllInputs,
    Call,
    Device,
    Expression,
    Index,
    Infix,
    Input,
    InputOrNumber,
    Lowest,
    Module,
)
from archdsl.ir.model import Origin
from archdsl.ir.obligations import SETTLED
from archdsl.ir.op import Init, Op, Weight
from archdsl.ir.types import DType, TensorType


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


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of a block: its key, and a value for each of its sizes and parameters."""

    block: str
    values: Mapping[str, Any]


Made = Layer | Instance


def layer(
    op: Op, types: Sequence[TensorType], origins: Sequence[Origin], weights: Sequence[Weight]
) -> Layer:
    """The module of an operator in its layer form."""
    module = _lower(op, origins, lambda written: written.torch_module(*types))
    usual = {weight.name: weight.init for weight in op.weights(*types)}
    inits = tuple((w.name, w.init) for w in weights if usual.get(w.name) != w.init)
    return Layer(module, _attributes(op, origins), inits)


def function(op: Op, types: Sequence[TensorType], origins: Sequence[Origin]) -> Expression:
    """The expression of an operator in its function form."""
    return _lower(op, origins, lambda written: written.torch_call(*types))


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
        result = op.infer(SETTLED, *types)
    except Exception:
        return None
    return result if isinstance(result, tuple) else (result,)


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
    if isinstance(value, bool):
        other: Any = not value
    elif isinstance(value, float):
        other = value / 2 + 0.015625
    else:
        return _mark_keyword(result, attribute, value, formula)
    try:
        probe = method(op.model_copy(update={attribute: other}))
    except Exception:
        return result
    return _mark(result, plain, probe, Written(value, formula), other)


def _mark_keyword(result: Any, attribute: str, value: Any, formula: Formula) -> Any:
    if isinstance(result, Call | Module) and result.kwargs.get(attribute) == value:
        return replace(result, kwargs={**result.kwargs, attribute: Written(value, formula)})
    return result


def _mark(result: Any, plain: Any, probe: Any, written: Written, other: Any) -> Any:
    match plain, probe:
        case (Call() | Module(), Call() | Module()) if type(plain) is type(probe) and len(
            plain.args
        ) == len(probe.args):
            kwargs = {
                name: _mark(result.kwargs[name], value, probe.kwargs.get(name), written, other)
                for name, value in plain.kwargs.items()
            }
            return replace(
                result,
                args=_mark_all(result.args, plain.args, probe.args, written, other),
                kwargs=kwargs,
            )
        case (tuple(), tuple()) if len(plain) == len(probe):
            return _mark_all(result, plain, probe, written, other)
        case (Infix(), Infix()):
            left = _mark(result.left, plain.left, probe.left, written, other)
            return replace(
                result,
                left=left,
                right=_mark(result.right, plain.right, probe.right, written, other),
            )
        case _:
            hit = type(plain) is type(written.value) and plain == written.value and probe == other
            return written if hit else result


def _mark_all(
    results: Any, plains: Any, probes: Any, written: Written, other: Any
) -> tuple[Any, ...]:
    return tuple(
        _mark(r, p, q, written, other) for r, p, q in zip(results, plains, probes, strict=True)
    )


def same(plain: Any, written: Any) -> bool:
    """Whether two lowerings are the same apart from the origins of their sizes."""
    match plain, written:
        case (Call() | Module(), Call() | Module()):
            return (
                type(plain) is type(written)
                and plain.target == written.target
                and list(plain.kwargs) == list(written.kwargs)
                and same(plain.args, written.args)
                and same((*plain.kwargs.values(),), (*written.kwargs.values(),))
            )
        case (tuple() | list(), tuple() | list()):
            return len(plain) == len(written) and all(map(same, plain, written))
        case (Infix(), Infix()):
            return plain.symbol == written.symbol and same(
                (plain.left, plain.right), (written.left, written.right)
            )
        case (Index(), Index()):
            return same((plain.value, plain.items), (written.value, written.items))
        case (slice(), slice()):
            return same(slice_parts(plain), slice_parts(written))
        case (TensorType(), TensorType()):
            return plain.dtype == written.dtype and same(plain.dims, written.dims)
        case _:
            return isinstance(plain, bool) == isinstance(written, bool) and bool(plain == written)


def slice_parts(value: slice) -> tuple[Any, Any, Any]:
    """Start, stop and step of a slice."""
    return value.start, value.stop, value.step


# --------------------------------------------------------------------- walking an expression


def rewrite(expression: Any, leaf: Callable[[Any], Any]) -> Any:
    """The expression with everything that is no composite replaced."""
    match expression:
        case Call() | Module():
            args = tuple(rewrite(argument, leaf) for argument in expression.args)
            kwargs = {name: rewrite(value, leaf) for name, value in expression.kwargs.items()}
            return replace(expression, args=args, kwargs=kwargs)
        case Infix():
            return Infix(
                expression.symbol, rewrite(expression.left, leaf), rewrite(expression.right, leaf)
            )
        case Index():
            return Index(rewrite(expression.value, leaf), rewrite(expression.items, leaf))
        case Lowest():
            return Lowest(rewrite(expression.value, leaf))
        case slice():
            return slice(*(rewrite(part, leaf) for part in slice_parts(expression)))
        case tuple():
            return tuple(rewrite(item, leaf) for item in expression)
        case list():
            return [rewrite(item, leaf) for item in expression]
        case _:
            return leaf(expression)


def reads(expression: Any, inputs: int) -> list[int]:
    """Positions of the inputs that an expression reads, as often as it reads them."""
    found: list[int] = []

    def visit(leaf: Any) -> Any:
        if isinstance(leaf, Input | InputOrNumber):
            found.append(leaf.index)
        elif isinstance(leaf, AllInputs):
            found.extend(range(inputs))
        return leaf

    rewrite(expression, visit)
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
