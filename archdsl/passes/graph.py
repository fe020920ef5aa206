"""Helpers on the nodes of a flat block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from archdsl.ir.model import Block, Member, Node, Scan, Value, every_node
from archdsl.weights.state_dict import still_named


def read(node: Node) -> tuple[int, ...]:
    """The values that a node reads, and what the steps of a scan leave."""
    return node.inputs if node.scan is None else (*node.inputs, *node.scan.results)


def captured(scan: Scan) -> list[int]:
    """The values around a scan that its steps use, in order of first use."""
    made = {*scan.elements, *scan.states}
    used: dict[int, None] = {}
    for node in every_node(scan.nodes):
        made.update(node.outputs)
        if node.scan is not None:
            made.update((*node.scan.elements, *node.scan.states))
        used.update(dict.fromkeys(read(node)))
    return [value for value in (*used, *scan.results) if value not in made]


def needed(nodes: Sequence[Node], wanted: Iterable[int], given: Iterable[int] = ()) -> list[Node]:
    """The nodes that make what is wanted, apart from what is given."""
    kept: list[Node] = []
    wanted, given = set(wanted), set(given)
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted.update(value for value in read(node) if value not in given)
            kept.append(node)
    kept.reverse()
    return kept


def replaced(nodes: Sequence[Node], old: Node, new: Sequence[Node]) -> list[Node]:
    """The nodes with one of them, perhaps within a scan, replaced by several."""
    result: list[Node] = []
    for node in nodes:
        if node is old:
            result += new
        elif node.scan is not None and any(each is old for each in every_node(node.scan.nodes)):
            inner = needed(replaced(node.scan.nodes, old, new), node.scan.results)
            scan = node.scan.replaced({"nodes": tuple(inner)})
            given = node.inputs[: len(scan.axes) + len(scan.states)]
            taken = dict.fromkeys((*captured(scan),))
            changes = {"scan": scan, "inputs": (*given, *taken)}
            result.append(node.replaced(changes))
        else:
            result.append(node)
    return result


def with_nodes(
    block: Block, nodes: Sequence[Node], values: Sequence[Value], members: Mapping[str, Member]
) -> Block:
    """A flat block with other nodes, and with the weights that those use."""
    used = {node.member for node in every_node(nodes)}
    taken = {value for node in every_node(nodes) for value in read(node)}
    taken.update(port.value for port in block.outputs)
    borrowed = tuple(each for each in block.borrowed if each.value in taken)
    owners = used.union(each.path.rpartition(".")[0] for each in borrowed)
    paths = {each.path for each in borrowed}
    weights = tuple(weight for weight in block.weights if weight.name in paths)
    kept = tuple(member for path, member in members.items() if path in owners)
    # A copy would take the old block's cached `member` along.
    fields: dict[str, Any] = {name: getattr(block, name) for name in Block.model_fields}
    fields.update(
        nodes=tuple(nodes),
        values=tuple(values),
        borrowed=borrowed,
        second_names=still_named(block.second_names, weights, kept),
        weights=weights,
        members=kept,
    )
    return Block.model_construct(**fields)
