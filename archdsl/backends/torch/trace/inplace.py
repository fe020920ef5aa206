"""Decides which layers may overwrite their input (`inplace=True`)."""

from __future__ import annotations

from collections import Counter

from archdsl.ir.model import Block, every_node


def overwriting(block: Block) -> frozenset[str]:
    """The paths of layers that nothing notices overwriting what they are given.

    That is a value without a name, made by a layer whose gradient does not need it, and read here
    alone, by every application of the layer.
    """
    nodes = list(every_node(block.nodes))
    reads = Counter(value for node in nodes for value in node.inputs)
    reads.update(value for node in nodes if node.scan for value in node.scan.results)
    reads.update(port.value for port in block.outputs)
    free = {
        node.outputs[0]
        for node in nodes
        if node.op is not None and node.op.frees_output and not block.values[node.outputs[0]].name
    }
    found: dict[str, bool] = {}
    for node in nodes:
        if node.member is not None and node.op is not None and node.op.overwrites:
            (value,) = node.inputs
            may = value in free and reads[value] == 1
            found[node.member] = found.get(node.member, True) and may
    return frozenset(path for path, may in found.items() if may)
