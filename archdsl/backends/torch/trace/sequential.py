"""Finds labelled scopes that are plain chains and become `nn.Sequential`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from archdsl.backends.torch.trace.lower import Made
from archdsl.backends.torch.trace.trace import Step, Steps, Trace
from archdsl.ir.model import Frame


def chains(result: Trace) -> dict[str, list[str]]:
    """Labelled scopes that are one chain of all their layers in order, with those layers."""
    children = containers(result.made)
    calls = _single_calls(result)
    uses = _uses(result)
    apart = {"", *_around_weights(result, children)}
    found: dict[str, list[str]] = {}
    scopes = [scope for scope in children if scope not in apart]
    for scope in sorted(scopes, key=lambda path: -path.count(".")):
        linked = _linked(scope, children[scope], calls, uses)
        if linked is not None:
            found[scope] = children[scope]
            calls[scope] = linked
    return found


def containers(made: Mapping[str, Made]) -> dict[str, list[str]]:
    """The paths directly under each labelled scope and under the block itself (""), in order."""
    children: dict[str, dict[str, None]] = {"": {}}
    for path in made:
        while path:
            parent = path.rpartition(".")[0]
            known = children.setdefault(parent, {})
            if path in known:
                break
            known[path] = None
            path = parent
    return {parent: list(paths) for parent, paths in children.items()}


def _around_weights(result: Trace, children: Container[str]) -> Iterator[str]:
    """Labelled scopes in which one of weights alone stands, which a chain has no room for."""
    block = result.block
    names = [weight.name for weight in block.weights]
    for path in (*names, *(each.path for each in block.second_names)):
        scope = owner = path.rpartition(".")[0]
        while scope and scope not in children and scope not in result.made:
            scope = scope.rpartition(".")[0]
        if scope != owner:
            yield scope


@dataclass(frozen=True, slots=True)
class _Call:
    """The input and output of what is applied once, and the scan that it is applied in."""

    input: int
    output: int
    scan: int | None


def _single_calls(result: Trace) -> dict[str, _Call]:
    """Each member that is applied once, to one value."""
    every = list(every_step(result.steps))
    counts = Counter(step.callee for _, step in every if isinstance(step.callee, str))
    return {
        step.callee: _Call(step.inputs[0], step.outputs[0], scan)
        for scan, step in every
        if isinstance(step.callee, str)
        and counts[step.callee] == 1
        and step.invocation is None
        and len(step.inputs) == len(step.outputs) == 1
    }


def every_step(steps: Iterable[Step], scan: int | None = None) -> Iterator[tuple[int | None, Step]]:
    """All steps, also those in scans, each with a mark of the scan that it stands in."""
    for step in steps:
        yield scan, step
        if isinstance(step.callee, Steps):
            yield from every_step(step.callee.steps, id(step.callee))


def _uses(result: Trace) -> Counter[int]:
    uses: Counter[int] = Counter()
    for _, step in every_step(result.steps):
        uses.update(step.inputs)
        if isinstance(step.callee, Steps):
            uses.update(step.callee.results)
    uses.update(result.value(port.value) for port in result.block.outputs)
    return uses


def _linked(
    scope: str,
    paths: Sequence[str],
    calls: Mapping[str, _Call],
    uses: Mapping[int, int],
) -> _Call | None:
    """A chain as one call; None where the layers are no chain."""
    ends = [calls.get(path) for path in paths]
    if None in ends:
        return None
    linked = [end for end in ends if end is not None]
    for one, other in pairwise(linked):
        if one.output != other.input or uses[one.output] != 1 or one.scan != other.scan:
            return None
    return _Call(linked[0].input, linked[-1].output, linked[0].scan)


def collapse(result: Trace, scopes: Mapping[str, list[str]]) -> list[Step]:
    """The steps with every chain applied as one."""
    owner = {path: scope for scope, paths in scopes.items() for path in paths}
    return _collapsed(result.steps, owner)


def _collapsed(steps: Iterable[Step], owner: Mapping[str, str]) -> list[Step]:
    collapsed: list[Step] = []
    place: dict[str, int] = {}
    for step in steps:
        if isinstance(step.callee, Steps):
            inner = tuple(_collapsed(step.callee.steps, owner))
            collapsed.append(replace(step, callee=replace(step.callee, steps=inner)))
            continue
        scope = _outermost(step.callee, owner) if isinstance(step.callee, str) else None
        if scope is None:
            collapsed.append(step)
        elif scope in place:
            before = collapsed[place[scope]]
            frames = common(before.frames, step.frames)
            collapsed[place[scope]] = replace(before, outputs=step.outputs, frames=frames)
        else:
            place[scope] = len(collapsed)
            collapsed.append(replace(step, callee=scope))
    return collapsed


def _outermost(path: str, owner: Mapping[str, str]) -> str | None:
    found = None
    while path in owner:
        path = found = owner[path]
    return found


def common(first: Sequence[Frame], second: Sequence[Frame]) -> tuple[Frame, ...]:
    """The enclosing loops and branches that two share."""
    shared: list[Frame] = []
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        shared.append(one)
    return tuple(shared)
