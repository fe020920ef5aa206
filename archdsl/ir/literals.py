"""Static values as the language writes them, so that they read back exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from archdsl.ir.lowering import Unsupported
from archdsl.ir.op import Init
from archdsl.ir.types import DType
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim

_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


def literal(value: Any) -> str:
    """A number, size, truth value, text, element type, condition, list, initialiser or none."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case DType() | Dim() | int():
            return str(value)
        case float():
            return _number(value)
        case str():
            return quoted(value)
        case Condition():
            # A condition without `not`, which the language resolves too.
            return str(value.negated().negated())
        case Init():
            return _init(value)
        case tuple() | list():
            items = cast("Sequence[Any]", value)
            return f"[{', '.join(map(literal, items))}]"
        case _:
            raise Unsupported(f"{value!r} cannot be written in the language")


def _init(init: Init) -> str:
    arguments = dict(init.arguments)
    if init.kind == "values":
        return literal(arguments["data"])
    return f"{init.kind}({', '.join(f'{n}={literal(value)}' for n, value in arguments.items())})"


def _number(value: float) -> str:
    """A number that reads back exactly; one too large for a float reads back as infinite."""
    if math.isnan(value):
        return "(1e999 - 1e999)"
    return repr(value).replace("inf", "1e999")


def quoted(text: str) -> str:
    """A text in double quotes."""
    return '"' + "".join(_ESCAPED.get(character, character) for character in text) + '"'


def message(text: str) -> str:
    """A message, in which braces would mean an expression."""
    return quoted(text).replace("{", "\\{").replace("}", "\\}")
