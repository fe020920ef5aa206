"""Parses option values such as `N=1` and `small=true`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Setting = bool | int | float | str | None | list["Setting"]

_INTEGER = re.compile(r"[-+]?\d[\d_]*", re.ASCII)
_REAL = re.compile(r"[-+]?(\d[\d_]*\.\d*([eE][-+]?\d+)?|\d+[eE][-+]?\d+)", re.ASCII)
_WORDS = {"true": True, "false": False, "none": None}
_BIGGEST = 2**63
_DIGITS = 20


def _setting_pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Any:
    """`name=value` texts as pairs."""
    return tuple(_pair(text, setting, ctx, param) for text in values)


def _integer_pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Any:
    """`name=integer` texts as pairs."""
    return tuple(_pair(text, _only_integer, ctx, param) for text in values)


def _pair(
    text: str, read: Callable[[str], Setting], ctx: click.Context, param: click.Parameter
) -> tuple[str, Setting]:
    name, equals, value = text.partition("=")
    if not (equals and name.strip()):
        raise click.BadParameter(f"{text!r} is not of the form name=value", ctx, param)
    try:
        return name.strip(), read(value.strip())
    except ValueError as error:
        raise click.BadParameter(f"{name.strip()}: {error}", ctx, param) from None


def _only_integer(text: str) -> int:
    value = setting(text)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{text!r} is not an integer")
    return value


def setting(text: str) -> Setting:
    """A literal of the language, a list of them, or else the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _REAL.fullmatch(text):
        return float(text)
    if text.startswith("[") and text.endswith("]"):
        inside = text[1:-1].strip()
        return [setting(item.strip()) for item in _items(inside)] if inside else []
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def _integer(text: str) -> int:
    if len(text.replace("_", "")) > _DIGITS or abs(int(text)) >= _BIGGEST:
        raise ValueError("the integer does not fit into 64 bits")
    return int(text)


def _items(text: str) -> list[str]:
    """The parts of a list, split at the commas outside brackets and quotes."""
    items, depth, quoted, start = list[str](), 0, False, 0
    for position, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == "," and depth == 0:
            items.append(text[start:position])
            start = position + 1
    return [*items, text[start:]]


# -------------------------------------------------------------------------- common decorators

Function = TypeVar("Function", bound=Callable[..., Any])

model = click.option("--model", metavar="NAME", help="Name of the model in the file.")
settings = click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    callback=_setting_pairs,
    multiple=True,
    help="Set a parameter of the model.",
)
dims = click.option(
    "--dim",
    "dims",
    metavar="NAME=SIZE",
    callback=_integer_pairs,
    multiple=True,
    help="Fix a symbolic size.",
)
limits = click.option(
    "--limit",
    "limits",
    metavar="NAME=BOUND",
    callback=_integer_pairs,
    multiple=True,
    help="Change a limit of the compiler.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output.")
preprocessing = click.option(
    "--with-preprocessing",
    "preprocessing",
    is_flag=True,
    help="Include the preprocessing that the inputs declare.",
)
weights = click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Weights, a .safetensors file.",
)

step = click.option(
    "--step",
    metavar="[=AXIS]",
    is_flag=False,
    flag_value="",
    help="Split the model into prefill and a single step along an axis.",
)


def output(meaning: str) -> Callable[[Function], Function]:
    """`-o FILE`."""
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option("-o", "--output", type=path, help=meaning)


def _picture(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    from archdsl.cli.pictures import SUFFIXES, is_picture

    if path is not None and not is_picture(path):
        raise click.BadParameter(f"{path} must end in one of {', '.join(SUFFIXES)}", ctx, param)
    return path


def picture(written: str, name: str, meaning: str) -> Callable[[Function], Function]:
    """A picture to write."""
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option(
        written, name, type=path, callback=_picture, metavar="PICTURE", help=meaning
    )


def network(function: Function) -> Function:
    """SPEC and the options that say which network it is, with what sizes, within what limits."""
    options = (click.argument("spec"), model, settings, dims, limits, preprocessing)
    return functools.reduce(lambda command, option: option(command), reversed(options), function)
