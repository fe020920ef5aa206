"""The commands, each a few lines around one call of the library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archdsl.cli import options
from archdsl.cli.changes import transform, transforms
from archdsl.cli.failures import (
    FINDINGS,
    Command,
    on_terminal,
    progress,
    records,
    show,
    verdict,
    write_json,
)
from archdsl.cli.loading import Pairs, limits_of, load, table, tell, text_or_name, unknown, write
from archdsl.version import VERSION

if TYPE_CHECKING:
    from archdsl.api import Network
    from archdsl.checking import CheckResult
    from archdsl.runtime.compare import Comparison

Exported = tuple[Path, Sequence[str], "list[Comparison] | None"]


class _Commands(click.Group):
    """Lists the commands in the order they are used in, which is that of this file."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="archdsl")
def main() -> None:
    """Compile neural-network architectures to PyTorch and ONNX, with proved shapes.

    SPEC is an .arch file, a shipped model (see `archdsl list`), or - for standard input.
    """


# ------------------------------------------------------------------------------- look at specs


@main.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@options.model
@options.settings
@options.dims
@options.limits
@options.as_json
@click.option("--concise", is_flag=True, help="Print one line for each problem.")
@click.pass_context
def check(
    ctx: click.Context,
    specs: tuple[str, ...],
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    as_json: bool,
    concise: bool,
) -> None:
    """Prove that all shapes fit, and verify every `expect`.

    The proof covers every size. Conditions on input sizes are printed with the operator that needs
    them.
    """
    from archdsl import checking, render

    bounds = limits_of(limits)
    worst = 0
    found: list[dict[str, Any]] = []
    for spec in specs:
        named = text_or_name(spec, bounds)
        result = checking.checked(named, model, dict(settings), dims=dict(dims), limits=bounds)
        worst = max(worst, verdict(result.diagnostics))
        if as_json:
            found.append({"spec": spec, "ok": result.ok, "models": list(result.models)})
            found[-1]["demands"] = _demanded(result) if result.ok else {}
            found[-1]["diagnostics"] = records(result.diagnostics, result.sources)
        elif concise:
            for diagnostic in result.diagnostics:
                click.echo(render.concise(diagnostic, result.sources))
        else:
            if result.diagnostics:
                show(result.diagnostics, result.sources, sys.stdout)
            if result.ok:
                click.echo(f"{render.visible(spec)}: {result.verdict}")
                for sentence, names in result.needs().items():
                    click.echo(f"  {', '.join(names)}: {render.visible(sentence)}")
    if as_json:
        write_json({"ok": worst == 0, "specs": found})
    ctx.exit(worst)


def _demanded(result: CheckResult) -> dict[str, list[dict[str, Any]]]:
    """For each model, what the sizes of its inputs must satisfy, as plain data."""
    from archdsl.render import where

    return {
        model: [
            {
                "condition": str(each.condition),
                "operator": each.operator,
                **where(each.span, result.sources),
            }
            for each in demands
        ]
        for model, demands in result.demands().items()
    }


@main.command()
@options.network
@options.as_json
@click.option("--depth", type=click.IntRange(min=0), help="Number of block levels to show.")
@click.option("--reach", is_flag=True, help="Also show strides and receptive fields on the inputs.")
def summary(
    spec: str,
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    preprocessing: bool,
    as_json: bool,
    depth: int | None,
    reach: bool,
) -> None:
    """Show the tree of blocks: shapes, parameters, multiply-adds."""
    network = load(spec, model, settings, dims, limits, preprocessing)
    table = network.summary_with_reach(depth) if reach else network.summary(depth)
    if as_json:
        write_json(table.to_dict())
    elif on_terminal(sys.stdout):
        from rich.console import Console

        Console().print(table)
    else:
        click.echo(str(table))


@main.command()
@options.network
@options.output("Output file (default: standard output).")
def ir(
    spec: str,
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    preprocessing: bool,
    output: Path | None,
) -> None:
    """Write the compiled model as JSON (see `archdsl schema`)."""
    network = load(spec, model, settings, dims, limits, preprocessing)
    write(output, network.ir.model_dump_json(indent=2))


@main.command()
@options.network
@options.step
@options.output("Output file (default: standard output).")
@click.option("--unroll", is_flag=True, help="Unroll scans into separate steps.")
def expand(
    spec: str,
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    preprocessing: bool,
    step: str | None,
    output: Path | None,
    unroll: bool,
) -> None:
    """Write the flat program. All loops, conditions and parameters are resolved."""
    network = load(spec, model, settings, dims, limits, preprocessing)
    if step is not None:
        network = network.stepping(step or None).step
    write(output, network.expanded(unroll=unroll))


@main.command()
def schema() -> None:
    """Write the JSON schema of the output of `ir`."""
    from archdsl import api

    write_json(api.schema())


# ------------------------------------------------------------------------------- make something


@main.command()
@options.network
@options.output("Output Python file (default: standard output).")
def build(
    spec: str,
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    preprocessing: bool,
    output: Path | None,
) -> None:
    """Write PyTorch source that depends only on torch."""
    write(output, load(spec, model, settings, dims, limits, preprocessing).to_source())


@main.command()
@options.network
@options.weights
@options.as_json
@options.step
@options.output("Output file (default: the name of the model with .onnx).")
@click.option("--opset", type=click.IntRange(min=1), help="ONNX opset version (default: 17).")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed for random weights.")
@click.option("--fold/--no-fold", default=True, help="Fold batch norms, merge layers and axes.")
@click.option("--fuse/--no-fuse", default=True, help="Fuse scans into LSTM, GRU or RNN.")
@click.option("--training-outputs", is_flag=True, help="Keep the outputs marked `training`.")
@click.option("--external", is_flag=True, help="Write the weights to a separate file.")
@click.option("--verify", is_flag=True, help="Run the file and compare it with PyTorch.")
@click.pass_context
def export(
    ctx: click.Context,
    spec: str,
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    preprocessing: bool,
    weights: Path | None,
    as_json: bool,
    step: str | None,
    output: Path | None,
    opset: int | None,
    seed: int,
    fold: bool,
    fuse: bool,
    training_outputs: bool,
    external: bool,
    verify: bool,
) -> None:
    """Write an ONNX file. With `--step`, write one for prefill and one for a single step."""
    network = load(spec, model, settings, dims, limits, preprocessing)
    target = output or Path(f"{network.ir.name}.onnx")
    parts = ((network, target),)
    if step is not None:
        parts = network.stepping(step or None).parts(target)
    exported: list[Exported] = []
    for part, path in parts:
        with progress(f"writing {path}") as advance:
            part.save_onnx(
                path,
                weights=weights,
                opset=opset,
                seed=seed,
                fold=fold,
                fuse=fuse,
                training_outputs=training_outputs,
                external=external,
                progress=advance,
            )
        notes = part.fused_scans if fuse else ()
        tell(notes)
        if not as_json:
            click.echo(f"wrote {path} ({path.stat().st_size:,} bytes)", err=True)
        compared = _verified(part, path, weights, seed) if verify else None
        exported.append((path, notes, compared))
    if as_json:
        records = [_record(*each) for each in exported]
        write_json(records[0] if step is None else records)
    comparisons = [each for *_, compared in exported for each in compared or ()]
    if not as_json:
        for comparison in comparisons:
            click.echo(str(comparison), err=True)
    ctx.exit(0 if all(comparison.agrees for comparison in comparisons) else FINDINGS)


def _verified(part: Network, path: Path, weights: Path | None, seed: int) -> list[Comparison]:
    """The file beside PyTorch."""
    from archdsl.cli import execution

    return execution.verify(part, path, execution.weights_of(part, weights, seed))


def _record(
    path: Path, notes: Sequence[str], comparisons: list[Comparison] | None
) -> dict[str, Any]:
    shown = None if comparisons is None else [str(comparison) for comparison in comparisons]
    facts = {"path": str(path), "bytes": path.stat().st_size, "notes": list(notes)}
    return {**facts, "verified": shown}


@main.command()
@options.network
@options.weights
@click.option(
    "--input",
    "inputs",
    metavar="[NAME=]FILE",
    multiple=True,
    required=True,
    help="Input: a .npy file or a picture. NAME is required for several inputs.",
)
@options.output("Output .npz file.")
@options.picture("--show", "drawing", "Draw the outputs on the picture; a .png or .jpg file.")
@click.option("--onnx", "onnx", is_flag=True, help="Run with ONNX Runtime instead of PyTorch.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed for random weights.")
@options.as_json
def run(
    spec: str,
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    preprocessing: bool,
    weights: Path | None,
    inputs: tuple[str, ...],
    output: Path | None,
    drawing: Path | None,
    onnx: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Run the model on arrays or a picture. A picture is preprocessed as the spec declares."""
    from archdsl.cli import execution

    asked = preprocessing or (None if execution.takes_picture(inputs) else False)
    network = load(spec, model, settings, dims, limits, asked)
    given = execution.read_inputs(network, inputs)
    values = execution.weights_of(network, weights, seed)
    runner = execution.run_with_onnx if onnx else execution.run_with_torch
    outputs = runner(network, given, values)
    if output is not None:
        execution.save(output, outputs)
    if drawing is not None:
        execution.show(drawing, given, outputs)
    described = execution.described(outputs)
    if as_json:
        write_json(described)
        return
    for name, facts in described.items():
        click.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))


main.add_command(transform)
main.add_command(transforms)


# ------------------------------------------------------------------------------- look things up


@main.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the shipped models."""
    from archdsl.resources import shipped_models

    models = {name: path.name for name, path in shipped_models().items() if name.islower()}
    table(models, as_json)


@main.command()
@click.argument("name", required=False)
@options.as_json
def ops(name: str | None, as_json: bool) -> None:
    """List the operators, or show one."""
    from archdsl.reports import operators as reference

    if name is None:
        described = reference.operators()
        if as_json:
            write_json([reference.record(op) for op in described])
            return
        width = max(len(reference.name_of(op)) for op in described)
        for op in described:
            click.echo(f"{reference.name_of(op):<{width}}  {reference.sentence(op)}")
        return
    op = reference.operator(name)
    if op is None:
        raise unknown("operator", name, reference.operator_names())
    if as_json:
        write_json(reference.record(op))
    else:
        click.echo(reference.page(op), nl=False)


@main.command()
@click.argument("name")
@options.output("Output file (default: NAME.arch).")
def new(name: str, output: Path | None) -> None:
    """Write a small model to start from."""
    from archdsl.checking import check as check_text
    from archdsl.cli.starter import starter

    text = starter(name)
    if not (name.isascii() and name.isidentifier() and check_text(text).ok):
        raise click.BadParameter(f"{name!r} can't name a model: take letters, digits and _")
    target = output or Path(f"{name}.arch")
    if target.exists():
        raise click.BadParameter(f"{target} exists already")
    write(target, text)


@main.command()
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Explain an error code with a wrong and a fixed example."""
    from archdsl.resources import explained_codes, explanation

    if code is None:
        click.echo("\n".join(explained_codes()))
        return
    page = explanation(code)
    if page is None:
        raise unknown("error code", code, explained_codes())
    if not on_terminal(sys.stdout):
        click.echo(page, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(page))
