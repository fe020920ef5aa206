"""Parameters and multiply-adds of every block, as numbers and as formulas in its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from archdsl.ir.model import Block, Model, Node
from archdsl.ir.op import Weight
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Figures:
    """Trained numbers, untrained state, and multiply-adds of one execution in inference."""

    parameters: int
    buffers: int
    macs: Dim


def weight_size(weight: Weight) -> int:
    """How many numbers a weight holds."""
    return prod(dim.value or 0 for dim in weight.dims)


def figures(model: Model) -> dict[str, Figures]:
    """The figures of every block by key."""
    found: dict[str, Figures] = {}
    for key, block in model.blocks.items():
        found[key] = _of_block(block, found)
    return found


def _of_block(block: Block, known: Mapping[str, Figures]) -> Figures:
    weights = [*block.weights, *(w for member in block.members for w in member.weights)]
    inside = [known[member.block] for member in block.members if member.block is not None]
    parameters = sum(weight_size(w) for w in weights if w.kind == "parameter")
    buffers = sum(weight_size(w) for w in weights if w.kind == "buffer")
    needed = inference_nodes(block)
    return Figures(
        parameters + sum(figure.parameters for figure in inside),
        buffers + sum(figure.buffers for figure in inside),
        Dim.total(node_macs(block, node, known) for node in needed),
    )


def node_macs(block: Block, node: Node, known: Mapping[str, Figures]) -> Dim:
    """Multiply-adds of one node, in the block's sizes."""
    if node.scan is not None:
        step = Dim.total(node_macs(block, inner, known) for inner in node.scan.nodes)
        return step * node.scan.length.without_origin()
    if node.op is not None:
        return node.op.macs(*(block.type(value) for value in node.inputs)).without_origin()
    assert node.block is not None
    return known[node.block].macs.substitute(dict(node.dims))


def runs(nodes: Sequence[Node]) -> Iterator[tuple[Node, Dim]]:
    """Every node, also those inside scans, with how often it runs."""
    pending = [(node, Dim.of(1)) for node in reversed(nodes)]
    while pending:
        node, times = pending.pop()
        yield node, times
        if node.scan is not None:
            steps = times * node.scan.length.without_origin()
            pending += [(inner, steps) for inner in reversed(node.scan.nodes)]


def inference_nodes(block: Block) -> list[Node]:
    """The nodes that some output needs outside training, in order."""
    wanted = {port.value for port in block.outputs if not port.training}
    needed: list[Node] = []
    for node in reversed(block.nodes):
        if wanted.intersection(node.outputs):
            needed.append(node)
            wanted.update(node.inputs)
    needed.reverse()
    return needed
