"""Packs the weights of a matched cell into the layout of the fused operator."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from archdsl.passes.recurrence.match import Affine, Recognised, Signed
from archdsl.weights.tensor_map import Constant, Copy, Part, Region

LAYER = "_l0"
"""What the names of the only layer's weights end in."""


@dataclass(frozen=True, slots=True)
class Rearranged:
    """The new layer's path, the elements it takes in order, and what its weights are made of."""

    path: str
    elements: tuple[int, ...]
    has_bias: bool
    parts: tuple[Part, ...]

    @property
    def sources(self) -> set[str]:
        """The paths of the old weights."""
        return {part.source.path for part in self.parts if part.source is not None}


def rearranged(
    cell: Recognised, widths: Sequence[int], paths: Collection[str]
) -> Rearranged | None:
    """The parts of the new weights; None where they cannot be told apart again."""
    path = _free_path(cell, paths)
    packing = _Packing(cell, widths, path)
    parts = packing.parts()
    if parts is None or _overlap(parts):
        return None
    return Rearranged(path, packing.elements, packing.has_bias, tuple(parts))


class _Packing:
    def __init__(self, cell: Recognised, widths: Sequence[int], path: str) -> None:
        self._cell = cell
        sources = {element.number for gate in cell.gates for _, element in gate.inputs}
        self.elements = tuple(sorted(sources))
        starts = np.cumsum([0, *(widths[number] for number in self.elements)]).tolist()
        self._starts = dict(zip(self.elements, starts, strict=False))
        self.has_bias = any(gate.biases or gate.number for gate in cell.gates)
        self._hidden = cell.width
        rows = cell.op.gates * self._hidden
        self._tensors = {
            name: Region.whole(f"{path}.{name}{LAYER}", shape)
            for name, shape in (
                ("weight_ih", (rows, starts[-1])),
                ("weight_hh", (rows, self._hidden)),
                ("bias_ih", (rows,)),
                ("bias_hh", (rows,)),
            )
        }

    def parts(self) -> list[Part] | None:
        parts: list[Part] = []
        for gate in self._cell.gates:
            biases = self._biases(gate) if self.has_bias else []
            if biases is None:
                return None
            parts += [*self._matrices(gate), *biases]
        return parts

    def _rows(self, name: str, gate: Affine) -> Region:
        return self._tensors[name].part(0, gate.gate * self._hidden, 1, self._hidden)

    def _matrices(self, gate: Affine) -> Iterator[Part]:
        for signed, element in gate.inputs:
            rows = self._rows("weight_ih", gate)
            start = self._starts[element.number] + element.start
            target = rows.part(1, start, element.step, signed.region.shape[1])
            yield _copied(target, signed)
        if gate.state is not None:
            yield _copied(self._rows("weight_hh", gate), gate.state)

    def _biases(self, gate: Affine) -> list[Part] | None:
        """The biases of a gate, and its number, in one of the two tensors or in both."""
        names = (
            ["bias_ih", "bias_hh"]
            if gate.is_both
            else ["bias_ih" if gate.state is None else "bias_hh"]
        )
        targets = [self._rows(name, gate) for name in names]
        biases = _in_order(gate)
        if len(biases) + bool(gate.number) > len(targets):
            return None
        parts: list[Part] = [
            _copied(target, bias) for target, bias in zip(targets, biases, strict=False)
        ]
        for target in targets[len(biases) :]:
            source = biases[0] if biases else None
            number = gate.number if target is targets[-1] else 0.0
            parts.append(
                Constant(target, number, source and source.region, bool(source and source.negated))
            )
        return parts


def _copied(target: Region, signed: Signed) -> Copy:
    return Copy(target, signed.region, signed.negated)


def _in_order(gate: Affine) -> list[Signed]:
    """The biases of a gate, that of the layer which maps the state last."""
    if gate.state is None:
        return list(gate.biases)
    owner = _owner(gate.state)
    return sorted(gate.biases, key=lambda bias: _owner(bias) == owner)


def _owner(signed: Signed) -> str:
    return signed.region.path.rpartition(".")[0]


def _overlap(parts: Sequence[Part]) -> bool:
    """Whether any old element is copied more than once."""
    copies = [part for part in parts if isinstance(part, Copy)]
    sizes: dict[str, int] = {}
    for copy in copies:
        source = copy.source
        sizes[source.path] = max(sizes.get(source.path, 0), source.end)
    counts = {path: np.zeros(size, np.bool_) for path, size in sizes.items()}
    for copy in copies:
        view = copy.source.view(counts[copy.source.path])
        if view.any():
            return True
        view[...] = True
    return False


def _free_path(cell: Recognised, paths: Collection[str]) -> str:
    """Where the new layer stands: where the cell stood, if nothing else is left there."""
    signed = [each for gate in cell.gates for each in _all(gate)]
    owners = {_owner(each) for each in signed}
    weights = {each.region.path for each in signed}
    left = [path for path in paths if path not in weights]
    prefix = _common([owner.split(".") for owner in owners])
    name = str(cell.op.layer).lower()
    under = f"{prefix}.{name}" if prefix else name
    candidates = [prefix, under] if prefix else [under]
    number = 1
    while not _is_free(candidates[0], left):
        candidates.pop(0)
        if not candidates:
            number += 1
            candidates.append(f"{under}_{number}")
    return candidates[0]


def _all(gate: Affine) -> list[Signed]:
    state = [] if gate.state is None else [gate.state]
    return [*(signed for signed, _ in gate.inputs), *state, *gate.biases]


def _common(paths: Sequence[Sequence[str]]) -> str:
    """What dotted paths begin with in common."""
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def _is_free(path: str, taken: Collection[str]) -> bool:
    """Whether nothing stands there, under it, or over it."""
    return not any(
        path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")
        for other in taken
    )
