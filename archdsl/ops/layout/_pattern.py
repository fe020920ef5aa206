"""Patterns of named axes such as `B T (3 h e) -> 3 B h T e`: parsed, bound to sizes, applied."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import SETTLED, Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._fields import number_of_parts
from archdsl.sizes.dims import Dim

Term = tuple[str, ...]
"""One axis: a name or number, a group of several, or nothing for an axis of size 1."""

Side = tuple[Term, ...]

_TOKEN = re.compile(r"->|[,()]|\d+|[^\W\d]\w*|\S")


# ------------------------------------------------------------------------------------ reading


@dataclass(frozen=True, slots=True)
class Pattern:
    """What stands before the arrow, one side for each input, and what stands after it."""

    text: str
    inputs: tuple[Side, ...]
    output: Side

    @property
    def names(self) -> set[str]:
        """Everything that sizes can be given for."""
        return {name for side in (*self.inputs, self.output) for name in factors(side)}


def read(text: str) -> Pattern:
    """The pattern of a text."""
    tokens = _TOKEN.findall(text)
    if tokens.count("->") != 1:
        raise bad_pattern(text, "it needs exactly one `->`")
    arrow = tokens.index("->")
    inputs: list[list[str]] = [[]]
    for token in tokens[:arrow]:
        if token == ",":
            inputs.append([])
        else:
            inputs[-1].append(token)
    sides = tuple(_side(text, part) for part in inputs)
    return Pattern(text, sides, _side(text, tokens[arrow + 1 :]))


def _side(text: str, tokens: Sequence[str]) -> Side:
    terms: list[Term] = []
    group: list[str] | None = None
    for token in tokens:
        if token == "(" and group is None:
            group = []
        elif token == ")" and group is not None:
            terms.append(tuple(group))
            group = None
        elif not token[0].isalnum() and token[0] != "_":
            raise bad_pattern(text, f"`{token}` does not belong there")
        else:
            factor = () if token == "1" else (token,)
            if group is None:
                terms.append(factor)
            else:
                group.extend(factor)
    if group is not None:
        raise bad_pattern(text, "a bracket is not closed")
    return tuple(terms)


def factors(side: Side) -> tuple[str, ...]:
    """The names and numbers of a side, without its groups."""
    return tuple(name for term in side for name in term)


def written(side: Side) -> str:
    """A side as it stands in a pattern."""
    terms = (term[0] if len(term) == 1 else f"({' '.join(term)})" for term in side)
    return " ".join(term if term != "()" else "1" for term in terms)


def bad_pattern(text: str, reason: str) -> ShapeError:
    """The error for a pattern that cannot be followed."""
    return ShapeError(f"the pattern `{text}` cannot be followed: {reason}", attribute="pattern")


# ------------------------------------------------------------------------------------ binding


class Binding:
    """The size of everything in a pattern, and which of them follow from a group."""

    def __init__(
        self,
        check: Obligations,
        pattern: Pattern,
        given: Mapping[str, Dim],
        xs: Sequence[TensorType],
    ) -> None:
        self._check = check
        self._pattern = pattern
        self.sizes = {name: Dim.of(int(name)) for name in pattern.names if name.isdecimal()}
        self.solved: set[str] = set()
        self._take(given)
        groups: list[tuple[Term, Dim, int]] = []
        for number, (side, x) in enumerate(zip(pattern.inputs, xs, strict=True)):
            if len(side) != x.rank:
                raise bad_pattern(pattern.text, f"it has {len(side)} axes for {x}")
            for term, dim in zip(side, x.dims, strict=True):
                if len(term) == 1:
                    self._bind(term[0], dim, number)
                else:
                    groups.append((term, dim, number))
        self._solve(groups)

    def _take(self, given: Mapping[str, Dim]) -> None:
        for name, size in given.items():
            if name not in self._pattern.names:
                raise ShapeError(
                    f"`{name}` does not stand in the pattern `{self._pattern.text}`",
                    attribute=name,
                    code="unknown-argument",
                )
            self._check.demand_at_least(size, 1, f"`{name}` must be at least 1, but is {size}")
            self.sizes[name] = size

    def _bind(self, name: str, dim: Dim, number: int) -> None:
        known = self.sizes.setdefault(name, dim)
        self._check.demand_equal(
            known,
            dim,
            f"`{name}` is {known} and {dim} in the pattern `{self._pattern.text}`",
            inputs=(number,),
        )

    def _solve(self, groups: list[tuple[Term, Dim, int]]) -> None:
        while groups:
            ready = [group for group in groups if len(self._unknown(group[0])) <= 1]
            if not ready:
                names = " and ".join(f"`{name}`" for name in self._unknown(groups[0][0]))
                raise bad_pattern(
                    self._pattern.text, f"the sizes of {names} are unknown; give all but one"
                )
            for term, dim, number in ready:
                self._divide(term, dim, number)
            groups = [group for group in groups if group not in ready]

    def _unknown(self, term: Term) -> list[str]:
        return [name for name in term if name not in self.sizes]

    def _divide(self, term: Term, dim: Dim, number: int) -> None:
        unknown = self._unknown(term)
        known = prod((self.sizes[name] for name in term if name in self.sizes), start=Dim.of(1))
        size = dim // known if unknown else Dim.of(1)
        written = f"({' '.join(term)})" if term else "1"
        self._check.demand_equal(
            size * known,
            dim,
            f"{dim} does not split into `{written}` of the pattern `{self._pattern.text}`,"
            f" where `{' '.join(name for name in term if name not in unknown)}` make {known}"
            if unknown
            else f"`{written}` of the pattern `{self._pattern.text}` is {known}, not {dim}",
            inputs=(number,),
        )
        if unknown:
            self.sizes[unknown[0]] = size
            self.solved.add(unknown[0])

    # --------------------------------------------------------------------------- in both targets

    def flat_type(self, names: Sequence[str], dtype: DType) -> TensorType:
        """The type with an axis for each name."""
        axes = [None if name.isdecimal() else name for name in names]
        return TensorType(dtype, tuple(self.sizes[name] for name in names), tuple(axes))

    def side_type(self, side: Side, dtype: DType) -> TensorType:
        """The type with an axis for each term; only single names name their axes."""
        dims = [prod((self.sizes[name] for name in term), start=Dim.of(1)) for term in side]
        names = [term[0] if len(term) == 1 and not term[0].isdecimal() else None for term in side]
        return TensorType(dtype, tuple(dims), tuple(names))

    def opened(self, value: Any, side: Side) -> Any:
        """In torch, the groups of a side taken apart."""
        for place, term in reversed(tuple(enumerate(side))):
            if not term:
                value = Call(".squeeze", (value, place))
            elif len(term) > 1:
                parts = tuple(-1 if n in self.solved else self.sizes[n] for n in term)
                value = Call(".unflatten", (value, place, parts))
        return value

    def flat(self, g: OnnxGraph, x: Operand, side: Side) -> Operand:
        """In ONNX, the groups of a side taken apart."""
        result = self.flat_type(factors(side), x.type.dtype)
        if any(len(term) > 1 for term in side):
            return g.reshape(x, result)
        return _with_ones(g, "Squeeze", x, side, result)

    def shaped(self, g: OnnxGraph, x: Operand, side: Side) -> Operand:
        """In ONNX, the groups of a side put together."""
        result = self.side_type(side, x.type.dtype)
        if any(len(term) > 1 for term in side):
            x = g.reshape(x, result)
        else:
            x = _with_ones(g, "Unsqueeze", x, side, result)
        return Operand(x.name, result)


def _with_ones(g: OnnxGraph, op_type: str, x: Operand, side: Side, result: TensorType) -> Operand:
    """Axes of size 1 removed or inserted: unlike Reshape this needs no sizes."""
    places = [place for place, term in enumerate(side) if not term]
    if not places:
        return x
    return g.node(op_type, x, g.constant(places, DType.INT64), type=result)


def closed(value: Any, side: Side) -> Any:
    """In torch, the groups of a side put together."""
    end = len(factors(side))
    for term in reversed(side):
        start = end - len(term)
        if not term:
            value = Call(".unsqueeze", (value, start))
        elif len(term) > 1:
            value = Call(".flatten", (value, start, end - 1))
        end = start
    return value


def turned(g: OnnxGraph, x: Operand, names: Sequence[str], wanted: Sequence[str]) -> Operand:
    """In ONNX, axes brought from one order into another."""
    order = [names.index(name) for name in wanted]
    if order == sorted(order):
        return x
    dims = tuple(x.type.dims[place] for place in order)
    axes = tuple(x.type.axes[place] for place in order)
    return g.node("Transpose", x, type=TensorType(x.type.dtype, dims, axes), perm=order)


# ------------------------------------------------------------------------------- place by place


def axis_of(side: Side, term: Term) -> int | None:
    """The place of a term on a side."""
    return side.index(term) if term in side else None


def pattern_piece(
    op: Op, sizes: Mapping[str, Dim], text: str, axis: int, size: Dim
) -> Piece | None:
    """The piece along an axis of the result that is one of each input that has its name."""
    pattern = read(text)
    return _piece(op, sizes, pattern.inputs, pattern.output[axis], size)


def split_piece(op: Op, sizes: Mapping[str, Dim], text: str, axis: int, size: Dim) -> Piece | None:
    """The same for a pattern whose leading number becomes that many outputs."""
    pattern = read(text)
    return _piece(op, sizes, pattern.inputs, pattern.output[1:][axis], size)


def _piece(
    op: Op, sizes: Mapping[str, Dim], sides: Sequence[Side], term: Term, size: Dim
) -> Piece | None:
    if len(term) != 1 or term[0].isdecimal():
        return None
    counts = [factors(side).count(term[0]) for side in sides]
    axes = tuple(axis_of(side, term) for side in sides)
    if any(count != (axis is not None) for count, axis in zip(counts, axes, strict=True)):
        return None
    changed = {"sizes": {**sizes, term[0]: size}} if term[0] in sizes else {}
    return Piece(op.model_copy(update=changed), axes)


# ---------------------------------------------------------------------------------- rearranging


class Rearrangement:
    """One input whose axes are taken apart, reordered and put together."""

    def __init__(
        self, check: Obligations, pattern: Pattern, given: Mapping[str, Dim], x: TensorType
    ) -> None:
        if len(pattern.inputs) != 1:
            raise bad_pattern(pattern.text, "it must have one input")
        self._left, self._right = pattern.inputs[0], pattern.output
        before, after = factors(self._left), factors(self._right)
        for side in (before, after):
            repeated = next((name for name in side if side.count(name) > 1), None)
            if repeated:
                raise bad_pattern(pattern.text, f"`{repeated}` stands twice on one side")
        if set(before) != set(after):
            odd = sorted(set(before) ^ set(after))[0]
            raise bad_pattern(pattern.text, f"`{odd}` stands on one side only")
        self._binding = Binding(check, pattern, given, [x])
        self._before, self._after = before, after
        self.result = self._binding.side_type(self._right, x.dtype)

    @property
    def keeps_order(self) -> bool:
        """Whether the axes that it takes apart stand as they stood."""
        return self._before == self._after

    def torch_call(self) -> Any:
        value = self._binding.opened(Input(0), self._left)
        order = [self._before.index(name) for name in self._after]
        moved = [place for place, source in enumerate(order) if place != source]
        if len(moved) == 2:
            value = Call(".transpose", (value, *moved))
        elif moved:
            value = Call(".permute", (value, *order))
        return closed(value, self._right)

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        if self.keeps_order and any(len(term) > 1 for term in self._right):
            return Operand(g.reshape(x, self.result).name, self.result)
        x = self._binding.flat(g, x, self._left)
        x = turned(g, x, self._before, self._after)
        return self._binding.shaped(g, x, self._right)


class Splitting:
    """A rearrangement whose leading number becomes that many outputs."""

    def __init__(
        self, check: Obligations, text: str, given: Mapping[str, Dim], x: TensorType
    ) -> None:
        pattern = read(text)
        self._left = pattern.inputs[0]
        first = pattern.output[0] if pattern.output else ()
        if len(first) != 1 or not first[0].isdecimal():
            raise bad_pattern(text, "its result must begin with the number of outputs")
        self._number = first[0]
        if not any(self._number in term and len(term) > 1 for term in self._left):
            raise bad_pattern(text, f"the {self._number} must also stand in a group on the left")
        self._pattern, self._given = pattern, given
        self._whole = Rearrangement(check, pattern, given, x)
        count = number_of_parts(int(self._number))
        self.outputs = (self._whole.result.without_axis(0),) * count

    def torch_call(self) -> Call:
        return Call(".unbind", (self._whole.torch_call(), 0))

    def onnx(self, g: OnnxGraph, x: Operand) -> tuple[Operand, ...]:
        from archdsl.ops.layout.joining import split

        place = next(p for p, term in enumerate(self._left) if self._number in term)
        if self._left[place][0] != self._number:
            return self._gathered(g, self._whole.onnx(g, x))
        # The outputs are contiguous: splitting first keeps all tensors at the ranks written.
        rest = (*self._left[:place], self._left[place][1:], *self._left[place + 1 :])
        pattern = Pattern(self._pattern.text, (rest,), self._pattern.output[1:])
        count = int(self._number)
        sizes = (x.type.dims[place] // count,) * count
        parts = split(g, x, place, sizes)
        given = {name: size for name, size in self._given.items() if name in pattern.names}
        return tuple(Rearrangement(SETTLED, pattern, given, p.type).onnx(g, p) for p in parts)

    def _gathered(self, g: OnnxGraph, stacked: Operand) -> tuple[Operand, ...]:
        return tuple(
            g.node("Gather", stacked, g.constant(index, DType.INT64), type=type, axis=0)
            for index, type in enumerate(self.outputs)
        )
