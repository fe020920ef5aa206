"""What commands share: loading the network that SPEC names, and writing results."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archdsl.cli.failures import write_json

if TYPE_CHECKING:
    from archdsl.api import Network
    from archdsl.limits import Limits

Pairs = tuple[tuple[str, Any], ...]


def load(
    spec: str,
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    preprocessing: bool | None,
) -> Network:
    from archdsl import api

    bounds = limits_of(limits)
    named = text_or_name(spec, bounds)
    return api.loaded(
        named,
        model,
        dict(settings),
        dims=dict(dims),
        limits=bounds,
        preprocessing=preprocessing,
    )


def text_or_name(spec: str, limits: Limits) -> str:
    """SPEC as it is, or for `-` the text from standard input."""
    if spec != "-":
        return spec
    data = sys.stdin.buffer.read(limits.file_bytes + 1)
    return data.decode("utf-8", "replace") + "\n"


def limits_of(changed: Pairs) -> Limits:
    from dataclasses import fields

    from archdsl.limits import Limits

    known = [field.name for field in fields(Limits)]
    bounds: dict[str, int] = {}
    for written, bound in changed:
        name = written.replace("-", "_")
        if name not in known:
            raise unknown("limit", written, [each.replace("_", "-") for each in known])
        if bound < 1:
            raise click.BadParameter(f"the limit {written} must be at least 1")
        bounds[name] = bound
    return Limits(**bounds)


def write(output: Path | None, text: str) -> None:
    """A text to a file, or to standard output."""
    if output is None or str(output) == "-":
        click.echo(text, nl=not text.endswith("\n"))
        return
    from archdsl.atomic_files import write_text

    write_text(output, text if text.endswith("\n") else f"{text}\n")
    click.echo(f"wrote {output}", err=True)


def tell(notes: Sequence[str]) -> None:
    """What is good to know, on standard error."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def unknown(what: str, name: str, known: list[str]) -> click.BadParameter:
    """The usage error for a name that does not exist, with the nearest ones."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 3, 0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return click.BadParameter(f"there is no {what} {name!r}{hint}")


def table(rows: Mapping[str, str], as_json: bool) -> None:
    """Names and what belongs to them."""
    if as_json:
        write_json(rows)
        return
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        click.echo(f"{name:<{width}}  {text}")
