"""Identifiers and string literals in generated Python."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable

MODULE_NAMES = frozenset(
    {
        *("T_destination", "add_module", "append", "apply", "bfloat16", "buffers"),
        *("call_super_init", "children", "clear", "compile", "cpu", "cuda", "double"),
        *("dump_patches", "eval", "extend", "extra_repr", "float", "forward", "get_buffer"),
        *("get_extra_state", "get_parameter", "get_submodule", "half", "insert", "ipu", "items"),
        *("keys", "load_state_dict", "modules", "mtia", "named_buffers", "named_children"),
        *("named_modules", "named_parameters", "parameters", "pop", "register_backward_hook"),
        *("register_buffer", "register_forward_hook", "register_forward_pre_hook"),
        *("register_full_backward_hook", "register_full_backward_pre_hook"),
        *("register_load_state_dict_post_hook", "register_load_state_dict_pre_hook"),
        *("register_module", "register_parameter", "register_state_dict_post_hook"),
        *("register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule"),
        *("share_memory", "state_dict", "to", "to_empty", "train", "training", "type"),
        *("update", "values", "xpu", "zero_grad"),
    }
)
"""What `nn.Module` and its containers already call something of their own."""

FILE_NAMES = frozenset(
    {
        *("F", "NamedTuple", "OrderedDict", "layer", "nn", "self", "torch"),
        *("dict", "float", "getattr", "int", "list", "max", "min", "next", "range", "reversed"),
        *("super", "zip"),
    }
)
"""What the emitted file itself uses."""

_AMBIGUOUS = frozenset("lOI")
_OUTSIDE = re.compile(r"[^A-Za-z0-9_]+")


def is_plain(name: str) -> bool:
    """Whether a name may stand in code just as it is, as an attribute of a module."""
    return (
        name.isascii()
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and not name.startswith("_")
        and name not in MODULE_NAMES
    )


def identifier(name: str) -> str:
    """A legal Python variable that is as near to the name as can be."""
    text = _OUTSIDE.sub("_", unicodedata.normalize("NFKC", name))
    if text.startswith("__"):
        text = text.strip("_")
    if not text or text[0].isdigit():
        text = f"n{text}"
    return f"{text}_" if keyword.iskeyword(text) or text in _AMBIGUOUS else text


def class_name(name: str) -> str:
    """A legal Python class name: `resnet50` becomes `Resnet50`."""
    text = identifier(name)
    if not text[0].isupper():
        words = [part[:1].upper() + part[1:] for part in text.split("_") if part]
        text = identifier("".join(words) or "Model")
    return text if text[0].isupper() else f"{text[0].upper()}{text[1:]}"


class Namespace:
    """Names that are taken, and unique new ones."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {*FILE_NAMES, *taken}
        self._next: dict[str, int] = {}

    def claim(self, name: str) -> str:
        """A variable as near to the name as can be, not taken so far; numbered from 2."""
        return self._unique(identifier(name))

    def claim_class(self, name: str) -> str:
        """As `claim`, for a class."""
        return self._unique(class_name(name))

    def _unique(self, base: str) -> str:
        result, number = base, self._next.get(base, 2)
        while result in self._taken:
            result = f"{base}_{number}" if base[-1].isdigit() else f"{base}{number}"
            number += 1
        self._next[base] = number
        self._taken.add(result)
        return result

    def reserve(self, names: Iterable[str]) -> None:
        """Take names that stand elsewhere."""
        self._taken.update(names)

    def __contains__(self, name: str) -> bool:
        return name in self._taken


# ------------------------------------------------------------------------------------- texts


def string(text: str) -> str:
    """A string literal in ASCII, with the quotes that a formatter would choose."""
    body = ascii(text)[1:-1]
    if ascii(text)[0] == "'":
        body = body.replace("\\'", "'")
    single, double = body.count("'"), body.count('"')
    if double > single:
        return f"'{_escape(body, chr(39))}'"
    return f'"{_escape(body, chr(34))}"'


def _escape(body: str, quote: str) -> str:
    return body.replace(quote, f"\\{quote}")


def visible(text: str) -> str:
    """A text for comments and docstrings: what would not show or reorder others is escaped."""
    return "".join(_visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character == "\t":
        return "    "
    if character == "\n" or unicodedata.category(character)[0] not in "CZ" or character == " ":
        return character
    return f"\\\\u{ord(character):04x}"


def comment(text: str) -> str:
    """One line of comment."""
    return f"# {' '.join(visible(text).split())}".rstrip()


def docstring(text: str, indent: str) -> list[str]:
    """The lines of a docstring as a formatter leaves them; none for an empty text."""
    lines = [line.rstrip() for line in visible(text).strip().splitlines()]
    if not lines:
        return []
    body = [line.replace('"""', "'''") for line in lines]
    if body[-1].endswith('"'):
        body[-1] = f"{body[-1][:-1]}'"
    if len(body) == 1:
        return [f'{indent}"""{body[0]}"""']
    rest = [f"{indent}{line}" if line else "" for line in body[1:]]
    return [f'{indent}"""{body[0]}', *rest, f'{indent}"""']
