"""Turns failures into a sentence and an exit code: 1 for findings, 2 for anything else."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from archdsl.diagnostics import Diagnostic
    from archdsl.source import Sources

FINDINGS, FAILED, INTERRUPTED = 1, 2, 130

_EXTRAS = {"torch": "torch", "onnxruntime": "verify", "PIL": "images"}
"""What to install for a package that is missing."""

_NOT_READ = {"file-not-found", "unknown-spec", "unreadable-file"}


class Command(click.Command):
    """A command from which no traceback reaches the user."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if getattr(error, "errno", None) == errno.EPIPE:
                raise
            ctx.exit(_tell(error, bool(ctx.params.get("as_json"))))


def _tell(error: Exception, as_json: bool) -> int:
    """Say what went wrong; the exit code."""
    from archdsl.diagnostics import ArchError

    if isinstance(error, ArchError) and error.diagnostics:
        if as_json:
            write_json({"diagnostics": records(error.diagnostics, error.sources)})
        else:
            show(error.diagnostics, error.sources, sys.stderr)
        return verdict(error.diagnostics)
    if os.environ.get("ARCHDSL_DEBUG") == "1":
        raise error
    sentence = _sentence(error)
    if as_json:
        write_json({"error": sentence})
    click.echo(f"archdsl: {sentence}", err=True)
    return FAILED


def verdict(diagnostics: Iterable[Diagnostic]) -> int:
    """The exit code: a SPEC that can't be read is wrong usage, anything in it is a finding."""
    errors = [each for each in diagnostics if each.severity.value == "error"]
    if not errors:
        return 0
    unread = all(each.span is None and each.code in _NOT_READ for each in errors)
    return FAILED if unread else FINDINGS


def _sentence(error: Exception) -> str:
    from archdsl.diagnostics import GivenError
    from archdsl.render import visible

    if isinstance(error, GivenError):
        return visible(str(error))
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        extra = _EXTRAS[error.name]
        return f"this needs {error.name}, which is not installed: pip install 'archdsl[{extra}]'"
    if isinstance(error, OSError) and error.strerror:
        name = f"{visible(os.fsdecode(error.filename))}: " if error.filename else ""
        return f"{name}{error.strerror.lower()}"
    if isinstance(error, MemoryError):
        return "there is not enough memory for this"
    what = visible(f"{type(error).__name__}: {error}")
    return f"this is a bug in archdsl ({what}); ARCHDSL_DEBUG=1 shows where"


# ----------------------------------------------------------------------------------- writing


def records(diagnostics: Iterable[Diagnostic], sources: Sources) -> list[dict[str, Any]]:
    """Diagnostics as plain data."""
    from archdsl.render import record

    return [record(diagnostic, sources) for diagnostic in diagnostics]


def write_json(data: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(data, indent=2))


def show(diagnostics: Iterable[Diagnostic], sources: Sources, stream: TextIO) -> None:
    """Draw diagnostics, in colour when a person looks on."""
    from archdsl import render

    if not on_terminal(stream):
        click.echo(render.report(diagnostics, sources), file=stream)
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    drawn = render.coloured_report(diagnostics, sources, console.width)
    console.print(drawn, soft_wrap=True, end="")


def on_terminal(stream: TextIO) -> bool:
    """Whether colours and progress may be drawn there."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


@contextmanager
def progress(what: str) -> Generator[Callable[[int, int], None] | None]:
    """A bar on the terminal, to be told how much of how much is done; None elsewhere."""
    if not on_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(Text(what).markup, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
