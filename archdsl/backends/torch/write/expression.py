"""Writes lowered expressions as Python code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from archdsl.backends.python.formula import Formula
from archdsl.backends.python.layout import ATOM, Code, call, infix, list_of, prefix, tuple_of
from archdsl.backends.torch.trace.terms import leaves, taken_apart
from archdsl.backends.torch.write.values import Variables, value_code
from archdsl.diagnostics import InternalError
from archdsl.ir.lowering import (
    AllInputs,
    Call,
    Device,
    Index,
    Infix,
    Input,
    InputOrNumber,
    Lowest,
    Own,
    Training,
)
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression stands: its operands, and what variables and the device are called."""

    operands: Sequence[Code]
    variables: Variables
    device: str

    def code(self, expression: Any) -> Code:
        """The code of an expression or of one of its arguments."""
        match expression:
            case Input() | InputOrNumber():
                return self.operands[expression.index]
            case AllInputs():
                return tuple_of(self.operands)
            case Training():
                return Code("self.training")
            case Device():
                return Code(self.device)
            case Call():
                return self._call(expression)
            case Infix():
                right = self.code(expression.right)
                if expression.left is None:
                    return prefix(expression.symbol, right)
                return infix(expression.symbol, self.code(expression.left), right)
            case Index():
                return self._index(expression)
            case Lowest():
                value = self.code(expression.value).within(ATOM)
                return Code(f"torch.finfo({value}.dtype).min")
            case tuple():
                return tuple_of([self.code(item) for item in cast("tuple[Any, ...]", expression)])
            case list():
                return list_of([self.code(item) for item in cast("list[Any]", expression)])
            case Own():
                raise InternalError(f"weight {expression.name} is read outside its layer")
            case _:
                return value_code(expression, self.variables)

    def _call(self, expression: Call) -> Code:
        arguments = [self.code(argument) for argument in expression.args]
        keywords = {name: self.code(value) for name, value in expression.kwargs.items()}
        if not expression.target.startswith("."):
            return call(expression.target, arguments, keywords)
        receiver = arguments.pop(0).within(ATOM)
        return call(f"{receiver}{expression.target}", arguments, keywords)

    def _index(self, expression: Index) -> Code:
        items = [self._item(item) for item in expression.items]
        text = ", ".join(item.text for item in items)
        return Code(f"{self.code(expression.value).within(ATOM)}[{text}]")

    def _item(self, item: Any) -> Code:
        if item is Ellipsis:
            return Code("...")
        sliced = taken_apart(item) if isinstance(item, slice) else None
        if sliced is None:
            return self.code(item)
        parts = [None if part is None else self.code(part) for part in sliced.parts]
        is_plain = all(part is None or _is_plain(part) for part in parts)
        space = "" if is_plain else " "
        texts = ["" if part is None else part.text for part in parts]
        if texts[2] == "":
            del texts[2]
        pieces = [texts[0], *(f":{space}{text}" if text else ":" for text in texts[1:])]
        return Code(
            pieces[0] + "".join((space if pieces[0] else "") + piece for piece in pieces[1:])
        )


def _is_plain(code: Code) -> bool:
    text = code.text.removeprefix("-")
    return text.isidentifier() or text.isdigit()


def unpacked(names: Sequence[str], results: Sequence[Any]) -> str:
    """The target of an assignment, such as `y, (h, c)`; `_` for a tuple that nothing reads."""
    if not results:
        return ", ".join(names)
    parts: list[str] = []
    for result in results:
        match result:
            case None:
                parts.append("_")
            case int():
                parts.append(names[result])
            case _:
                inner = unpacked(names, result)
                parts.append("_" if set(inner) <= set("_, ") else f"({inner})")
    return ", ".join(parts)


def run_time_sizes(expression: Any) -> Iterator[str]:
    """Names of sizes and parameters in an expression, as often as they stand there."""
    for leaf in leaves(expression):
        if isinstance(leaf, Dim):
            yield from sorted(leaf.symbols)
        elif isinstance(leaf, Formula):
            yield from leaf.names


def reads_device(expression: Any) -> bool:
    """Whether an expression asks for the device."""
    return any(isinstance(leaf, Device) for leaf in leaves(expression))


def negated(condition: Code) -> str:
    """A condition the other way round."""
    if condition.text.endswith(" is not None"):
        return condition.text.replace(" is not None", " is None")
    return prefix("not", condition).text
