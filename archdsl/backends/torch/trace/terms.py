"""Takes lowered data apart into terms and puts it together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from archdsl.ir.lowering import Call, Index, Infix, Lowest, Module
from archdsl.ir.op import Init
from archdsl.ir.types import TensorType


@dataclass(frozen=True, slots=True)
class Composite:
    """What something is beside its parts, the parts, and how it is built of them."""

    head: tuple[Any, ...]
    parts: Sequence[Any]
    build: Callable[[list[Any]], Any]


def taken_apart(value: Any) -> Composite | None:
    """The parts of a composite; None for what has none."""
    match value:
        case Call() | Module():
            return _taken_apart_call(value)
        case Infix():
            symbol = value.symbol
            return Composite(
                (Infix, symbol), (value.left, value.right), lambda parts: Infix(symbol, *parts)
            )
        case Index():
            parts = (value.value, *value.items)
            return Composite(
                (Index, len(parts)), parts, lambda parts: Index(parts[0], tuple(parts[1:]))
            )
        case Lowest():
            return Composite((Lowest,), (value.value,), lambda parts: Lowest(parts[0]))
        case Init():
            return _taken_apart_init(value)
        case slice():
            whole = cast("slice[Any, Any, Any]", value)
            parts = (whole.start, whole.stop, whole.step)
            return Composite((slice,), parts, lambda parts: slice(*parts))
        case tuple() | list():
            items = cast("Sequence[Any]", value)
            kind: Callable[[list[Any]], Any] = list if isinstance(value, list) else tuple
            return Composite((kind, len(items)), items, kind)
        case _:
            return None


def _taken_apart_call(call: Call | Module) -> Composite:
    kind, target, names, count = type(call), call.target, tuple(call.kwargs), len(call.args)

    def build(parts: list[Any]) -> Call | Module:
        return kind(target, tuple(parts[:count]), dict(zip(names, parts[count:], strict=True)))

    return Composite((kind, target, names, count), (*call.args, *call.kwargs.values()), build)


def _taken_apart_init(init: Init) -> Composite:
    names = tuple(name for name, _ in init.arguments)

    def build(parts: list[Any]) -> Init:
        return Init(init.kind, tuple(zip(names, parts, strict=True)))

    return Composite((Init, init.kind, names), [value for _, value in init.arguments], build)


def rewrite(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """The same with everything that is no composite replaced."""
    composite = taken_apart(value)
    if composite is None:
        return leaf(value)
    return composite.build([rewrite(part, leaf) for part in composite.parts])


def leaves(value: Any) -> list[Any]:
    """Everything in it that is no composite, in order."""
    found: list[Any] = []

    def visit(leaf: Any) -> Any:
        found.append(leaf)
        return leaf

    rewrite(value, visit)
    return found


def same(plain: Any, written: Any) -> bool:
    """Whether two lowerings are the same apart from the origins of their sizes."""
    one, other = taken_apart(plain), taken_apart(written)
    if one is not None and other is not None:
        return one.head == other.head and all(map(same, one.parts, other.parts))
    if isinstance(plain, TensorType) and isinstance(written, TensorType):
        return plain.dtype == written.dtype and same(plain.dims, written.dims)
    if one is not None or other is not None:
        return False
    return isinstance(plain, bool) == isinstance(written, bool) and bool(plain == written)
