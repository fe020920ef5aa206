"""The state dict of a model: every parameter and buffer under its path."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from archdsl.diagnostics import InternalError
from archdsl.ir.model import Block, Member, Model, SecondName
from archdsl.ir.op import Weight
from archdsl.sizes.dims import Dim


def state(model: Model) -> dict[str, Weight]:
    """All weights, also those that only training uses; shared ones stand once.

    They are in torch's order: what a block owns itself, then what its members own.
    """
    found: dict[str, Weight] = {}
    waiting = [_owned(model.root, "")]
    while waiting:
        item = next(waiting[-1], None)
        if item is None:
            waiting.pop()
            continue
        prefix, weights, block = item
        for weight in weights:
            path = prefix + weight.name
            if path not in found:
                found[path] = Weight(path, weight.dims, weight.init, weight.dtype, weight.kind)
        if block is not None:
            waiting.append(_owned(model.blocks[block], prefix))
    return found


def known_shape(name: str, dims: Sequence[Dim]) -> tuple[int, ...]:
    """The shape of a weight; sizes of weights are always known."""
    known = tuple([dim.value for dim in dims if dim.value is not None])
    if len(known) < len(dims):
        raise InternalError(f"the weight {name} has a size that is not known: {list(dims)}")
    return known


_Owned = tuple[str, tuple[Weight, ...], str | None]


def _owned(block: Block, prefix: str) -> Iterator[_Owned]:
    """A prefix and the weights under it, and the block whose weights follow under that prefix."""
    yield prefix, block.weights, None
    for member in block.members:
        yield f"{prefix}{member.path}.", _layer_weights(member), member.block


def second_names(model: Model) -> dict[str, str]:
    """The further paths of tied weights, each with the path that `state` has the weight under."""
    found: dict[str, str] = {}
    waiting = [("", model.root)]
    while waiting:
        prefix, block = waiting.pop()
        found.update({prefix + each.path: prefix + each.weight for each in block.second_names})
        waiting += [
            (f"{prefix}{member.path}.", model.blocks[member.block])
            for member in block.members
            if member.block is not None
        ]
    return found


def _layer_weights(member: Member) -> tuple[Weight, ...]:
    return member.weights if member.block is None else ()


def owned(weights: Iterable[Weight], members: Iterable[Member]) -> dict[str, Weight]:
    """The weights of a flat block by path: its own, and those of its layers."""
    found = {weight.name: weight for weight in weights}
    for member in members:
        found.update({f"{member.path}.{weight.name}": weight for weight in member.weights})
    return found


def still_named(
    second_names: Collection[SecondName], weights: Iterable[Weight], members: Iterable[Member]
) -> tuple[SecondName, ...]:
    """Those second names whose weights a flat block with these still has."""
    known = owned(weights, members) if second_names else {}
    return tuple(each for each in second_names if each.weight in known)
