"""The commands `transform` and `transforms`: equivalent networks in another form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from archdsl.cli import options
from archdsl.cli.failures import FINDINGS, Command, write_json
from archdsl.cli.loading import Pairs, load, table, tell, unknown, write

MOST_NAMED: Final = 4
"""Of weights that are left out, as of a norm in every layer, so many are named."""


@click.command(cls=Command)
@click.argument("name")
@options.network
@options.weights
@click.option(
    "--weights-out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Output .safetensors file for the new weights.",
)
@click.option("--towers", type=int, help="Number of towers for `split_towers`.")
@options.as_json
@options.output("Output file (default: standard output).")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed for random weights.")
@click.pass_context
def transform(
    ctx: click.Context,
    name: str,
    spec: str,
    model: str | None,
    settings: Pairs,
    dims: Pairs,
    limits: Pairs,
    preprocessing: bool,
    weights: Path | None,
    weights_out: Path | None,
    towers: int | None,
    as_json: bool,
    output: Path | None,
    seed: int,
) -> None:
    """Rewrite a network into an equivalent one, with its weights.

    NAME is a transform (see `archdsl transforms`). Both networks are run on random inputs and
    compared.
    """
    from archdsl.cli import execution
    from archdsl.passes.transform.transforms import TRANSFORMS

    if name not in TRANSFORMS:
        raise unknown("transform", name, list(TRANSFORMS))
    network = load(spec, model, settings, dims, limits, preprocessing)
    numbers = {} if towers is None else {"towers": towers}
    change = network.transformed(name, **numbers)
    given = execution.fitting_weights(network, weights, seed)
    comparisons = execution.compare(network, change, given)
    agrees = all(comparison.agrees for comparison in comparisons)
    text, dropped = change.network.expanded(), list(change.dropped)
    where = " and ".join(map(str, change.where))
    same = [f"the outputs are the same where {where}"] if where else []
    unused = [f"of no use any more: {_some(dropped)}"] if dropped else []
    tell([*change.notes, *same, *unused])
    click.echo("\n".join(map(str, comparisons)), err=True)
    if agrees and weights_out is not None:
        execution.save_weights(weights_out, execution.mapped(change, given))
        click.echo(f"wrote {weights_out}", err=True)
    if agrees and not (as_json and output is None):
        write(output, text)
    if as_json:
        facts = {"notes": list(change.notes), "where": where or None, "dropped": dropped}
        shown = [str(comparison) for comparison in comparisons]
        write_json({"text": text, **facts, "compared": shown, "agrees": agrees})
    ctx.exit(0 if agrees else FINDINGS)


@click.command(cls=Command)
@options.as_json
def transforms(as_json: bool) -> None:
    """List the transforms."""
    from archdsl.passes.transform.transforms import TRANSFORMS, sentence

    table({name: sentence(name) for name in TRANSFORMS}, as_json)


def _some(paths: Sequence[str]) -> str:
    named = ", ".join(paths[:MOST_NAMED])
    return named if len(paths) <= MOST_NAMED else f"{named}, … ({len(paths)} in all)"
