"""The operators' pages, generated from the registry."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import archdsl.ops  # noqa: F401  # pyright: ignore[reportUnusedImport]  (fills the registry)
from archdsl.ir.op import REGISTRY, Op

_LARGEST = 2**31 - 1
"""A bound that every integer has, and that is not worth saying."""


_KEYWORDS = "name=size, ..."
"""An attribute that collects arguments with names of the user's."""


def operators() -> list[type[Op]]:
    """Every operator once, in the order of its name."""
    return sorted(set(REGISTRY.values()), key=lambda op: (name_of(op).lower(), name_of(op)))


def operator_names() -> list[str]:
    """Every name an operator can be written by."""
    return sorted(REGISTRY)


def operator(name: str) -> type[Op] | None:
    """The operator of that name, as a layer or as a function."""
    return REGISTRY.get(name)


def name_of(op: type[Op]) -> str:
    """Its name as a layer, or as a function if it is none."""
    return op.layer or op.function or op.__name__


def sentence(op: type[Op]) -> str:
    """The first line of its documentation."""
    return (inspect.getdoc(op) or "").partition("\n")[0]


def signature(op: type[Op], name: str) -> str:
    """`Conv(out_channels, kernel_size, stride=1, ...)(x)`."""
    static = ", ".join(_written_attribute(op, attribute) for attribute in attributes(op))
    return f"{name}({static})({', '.join(op.input_names())})"


def _written_attribute(op: type[Op], attribute: dict[str, Any]) -> str:
    name: str = attribute["name"]
    if f"*{name}" in op.positional:
        return f"*{name}"
    if attribute["values"] == _KEYWORDS:
        return f"**{name}"
    return name if attribute["required"] else f"{name}={attribute['default']}"


def attributes(op: type[Op]) -> list[dict[str, Any]]:
    """Its attributes: name, whether it must be given, default, what values it takes."""
    schema = op.model_json_schema()
    described: list[dict[str, Any]] = []
    for name, field in op.model_fields.items():
        default = (
            None if field.is_required() else written(field.get_default(call_default_factory=True))
        )
        described.append(
            {
                "name": name,
                "required": field.is_required(),
                "positional": name in op.positional or f"*{name}" in op.positional,
                "default": default,
                "values": _domain(schema["properties"][name], schema.get("$defs", {})),
            }
        )
    return described


def record(op: type[Op]) -> dict[str, Any]:
    """Everything about an operator, as plain data."""
    return {
        "name": name_of(op),
        "layer": op.layer,
        "function": op.function,
        "inputs": list(op.input_names()),
        "required_inputs": op.required_inputs(),
        "attributes": attributes(op),
        "doc": inspect.getdoc(op) or "",
        "schema": op.model_json_schema(),
    }


def page(op: type[Op]) -> str:
    """Everything about an operator, for people."""
    names = [name for name in (op.layer, op.function) if name]
    lines = [*(signature(op, name) for name in names), "", inspect.getdoc(op) or ""]
    described = attributes(op)
    if described:
        lines += ["", "Attributes:"]
        width = max(len(attribute["name"]) for attribute in described)
        for attribute in described:
            said = attribute["required"] or attribute["values"] == _KEYWORDS
            default = "" if said else f"; default {attribute['default']}"
            lines.append(f"  {attribute['name']:<{width}}  {attribute['values']}{default}")
    return "\n".join(lines) + "\n"


def document() -> str:
    """All operators by family, in Markdown: the text of docs/operators.md."""
    families: dict[str, list[type[Op]]] = {}
    for op in operators():
        families.setdefault(_family(op), []).append(op)
    lines = [_INTRODUCTION]
    for family in sorted(families):
        lines += [f"## {family}", ""]
        for op in families[family]:
            lines += [_section(op), ""]
    return "\n".join(lines).rstrip() + "\n"


_INTRODUCTION = """\
# Operators

Every layer (capitalised, numbered, may own weights) and function (lower-case) of the language, by
family. This page is generated: `python -m archdsl.reports.operators > docs/operators.md`;
`archdsl ops NAME` shows one operator. Attributes marked `·` can be passed by position. Inputs are
passed with `->` or as arguments. An axis is a position or a name.
"""


def _family(op: type[Op]) -> str:
    """The subject of the file that the operator stands in."""
    sentence = (sys.modules[op.__module__].__doc__ or "").strip().partition("\n")[0]
    return sentence.rstrip(".").partition(":")[0]


def _section(op: type[Op]) -> str:
    names = [name for name in (op.layer, op.function) if name]
    lines = [f"### {', '.join(f'`{name}`' for name in names)}", ""]
    lines += [f"    {signature(op, name)}" for name in names]
    lines += ["", inspect.getdoc(op) or ""]
    described = attributes(op)
    if described:
        lines += ["", "| attribute | takes | default |", "| --- | --- | --- |"]
        lines += [_row(attribute) for attribute in described]
    return "\n".join(lines)


def _row(attribute: dict[str, Any]) -> str:
    mark = " ·" if attribute["positional"] else ""
    is_left_out = attribute["default"] is None or attribute["values"] == _KEYWORDS
    default = "" if is_left_out else f"`{attribute['default']}`"
    values = attribute["values"].replace("|", "\\|")
    return f"| `{attribute['name']}`{mark} | {values} | {default} |"


def written(value: Any) -> str:
    """A default as the language writes it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict):
        return "none"
    if isinstance(value, tuple | list):
        items: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        return f"[{', '.join(map(written, items))}]"
    return str(value)


def _domain(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    if "$ref" in schema:
        return _domain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return _alternatives(schema["anyOf"], definitions)
    if "enum" in schema or "const" in schema:
        return " or ".join(map(written, schema.get("enum", [schema.get("const")])))
    match schema.get("type"):
        case "array":
            return _list_domain(schema, definitions)
        case "integer" | "number" as kind:
            return {"integer": "int", "number": "float"}[kind] + _bounds(schema)
        case "boolean":
            return "bool"
        case "null":
            return "none"
        case "string":
            return "str"
        case "object":
            return _KEYWORDS
        case _:
            return schema.get("description", "any value")


def _alternatives(options: list[dict[str, Any]], definitions: dict[str, Any]) -> str:
    """The options in words; those of a size, which remembers its origin, as one."""
    said: list[str] = []
    if any("origin" in option.get("properties", {}) for option in options):
        plain = ({"type": "integer"}, {"type": "string"})
        options = [each for each in options if "properties" not in each and each not in plain]
        said.append("int or size")
    said += [_domain(option, definitions) for option in options]
    return " or ".join(dict.fromkeys(said))


def _list_domain(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(_domain(item, definitions) for item in schema['prefixItems'])}]"
    return f"[{_domain(schema.get('items', {}), definitions)}, ...]"


def _bounds(schema: dict[str, Any]) -> str:
    signs = {
        "minimum": ">=",
        "exclusiveMinimum": ">",
        "maximum": "<=",
        "exclusiveMaximum": "<",
    }
    said = [
        f"{sign} {schema[key]}"
        for key, sign in signs.items()
        if key in schema and abs(schema[key]) < _LARGEST
    ]
    return f" {' and '.join(said)}" if said else ""


if __name__ == "__main__":
    sys.stdout.write(document())
