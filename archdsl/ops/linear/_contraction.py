"""Contractions over named axes: a plan for torch.einsum and for ONNX MatMul."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from string import ascii_letters
from typing import Any

from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.types import DType, TensorType
from archdsl.ops.elementwise._casting import node_in
from archdsl.ops.layout._pattern import Binding, Pattern, closed, factors, turned
from archdsl.ops.reduction._reductions import reduced
from archdsl.sizes.dims import Dim

Names = tuple[str, ...]


class Contraction:
    """A pattern with its sizes: what it costs and how it is computed."""

    def __init__(self, pattern: Pattern, binding: Binding, dtype: DType) -> None:
        self._pattern = pattern
        self._binding = binding
        self._dtype = dtype
        self._operands = tuple(map(factors, pattern.inputs))
        self._wanted = factors(pattern.output)

    def steps(self) -> list[tuple[Names, Names, Names]]:
        """The products from left to right: both operands and what is kept of them."""
        left = self._operands[0]
        found: list[tuple[Names, Names, Names]] = []
        for number, right in enumerate(self._operands[1:], 1):
            later = {name for names in self._operands[number + 1 :] for name in names}
            kept = self._kept((*left, *right), later)
            found.append((left, right, kept))
            left = kept
        return found

    def _kept(self, names: Names, later: set[str]) -> Names:
        if not later:
            return self._wanted
        return tuple(dict.fromkeys(n for n in names if n in later or n in self._wanted))

    def macs(self) -> Dim:
        """A multiply-add for every combination of places, product by product."""
        return Dim.total(
            prod((self._binding.sizes[name] for name in {*left, *right}), start=Dim.of(1))
            for left, right, _ in self.steps()
        )

    # --------------------------------------------------------------------------------- torch

    def torch_call(self) -> Any:
        letters = _letters([name for names in self._operands for name in names])
        sides = [*self._operands, self._wanted]
        *left, right = ["".join(letters[name] for name in names) for names in sides]
        values = [
            self._binding.opened(Input(number), side)
            for number, side in enumerate(self._pattern.inputs)
        ]
        call = Call("torch.einsum", (f"{','.join(left)}->{right}", *values))
        return closed(call, self._pattern.output)

    # ---------------------------------------------------------------------------------- ONNX

    def onnx(self, g: OnnxGraph, *xs: Operand) -> Operand:
        flat = [
            self._binding.flat(g, x, side) for x, side in zip(xs, self._pattern.inputs, strict=True)
        ]
        if any(len(set(names)) < len(names) for names in self._operands):
            value = self._einsum_node(g, flat)
        elif len(flat) == 1:
            value = self._alone(g, flat[0])
        else:
            value = self._chain(g, flat)
        return self._binding.shaped(g, value, self._pattern.output)

    def _einsum_node(self, g: OnnxGraph, xs: Sequence[Operand]) -> Operand:
        """Diagonals, which no product can take."""
        letters = _letters([name for names in self._operands for name in names])
        left = ",".join("".join(letters[name] for name in names) for names in self._operands)
        right = "".join(letters[name] for name in self._wanted)
        type = self._binding.flat_type(self._wanted, self._dtype)
        dtype = DType.FLOAT32 if self._dtype is DType.BFLOAT16 else self._dtype
        return node_in(g, dtype, "Einsum", *xs, type=type, equation=f"{left}->{right}")

    def _alone(self, g: OnnxGraph, x: Operand) -> Operand:
        x, names = self._summed(g, x, self._operands[0], set(self._wanted))
        return turned(g, x, names, self._wanted)

    def _summed(
        self, g: OnnxGraph, x: Operand, names: Names, kept: set[str]
    ) -> tuple[Operand, Names]:
        """Sum over the axes that nothing else needs."""
        gone = [place for place, name in enumerate(names) if name not in kept]
        if not gone:
            return x, names
        left = tuple(name for name in names if name in kept)
        return reduced(g, "ReduceSum", x, gone, self._binding.flat_type(left, self._dtype)), left

    def _chain(self, g: OnnxGraph, xs: Sequence[Operand]) -> Operand:
        left = xs[0]
        for (first, second, kept), right in zip(self.steps(), xs[1:], strict=True):
            left, first = self._summed(g, left, first, {*second, *kept})
            right, second = self._summed(g, right, second, {*first, *kept})
            left = self._product(g, left, first, right, second, kept)
        return left

    def _product(
        self, g: OnnxGraph, left: Operand, first: Names, right: Operand, second: Names, kept: Names
    ) -> Operand:
        if not (set(first) & set(second)) - set(kept):
            sides = self._aligned(g, left, first, kept), self._aligned(g, right, second, kept)
            return g.node("Mul", *sides, type=self._binding.flat_type(kept, self._dtype))
        plan, swapped = min(_plans(first, second, kept), key=lambda choice: choice[0].cost)
        if swapped:
            left, right = right, left
        sides = self._side(g, left, plan.left), self._side(g, right, plan.right)
        value = g.node("MatMul", *sides, type=self._type(plan.product))
        if plan.dropped:
            axes = g.constant(list(plan.dropped), DType.INT64)
            value = g.node("Squeeze", value, axes, type=self._type(plan.order))
        return turned(g, value, plan.order, kept)

    def _aligned(self, g: OnnxGraph, x: Operand, names: Names, kept: Names) -> Operand:
        """Axes in their final order, those of the other operand inside it with size 1."""
        order = tuple(name for name in kept if name in names)
        x = turned(g, x, names, order)
        start = kept.index(order[0]) if order else len(kept)
        return self._raised(g, x, tuple(n if n in names else "1" for n in kept[start:]))

    def _side(self, g: OnnxGraph, x: Operand, side: _Side) -> Operand:
        x = turned(g, x, side.given, side.order)
        if side.merged:
            return g.reshape(x, self._type(side.shape))
        return self._raised(g, x, side.shape)

    def _raised(self, g: OnnxGraph, x: Operand, shape: Names) -> Operand:
        ones = [place for place, name in enumerate(shape) if name == "1"]
        if not ones:
            return x
        return g.node("Unsqueeze", x, g.constant(ones, DType.INT64), type=self._type(shape))

    def _type(self, shape: Names) -> TensorType:
        """A type from names, `1`, and several names joined by spaces."""
        dims = [
            prod((self._binding.sizes[n] for n in part.split() if n != "1"), start=Dim.of(1))
            for part in shape
        ]
        return TensorType(self._dtype, tuple(dims), (None,) * len(dims))


# --------------------------------------------------------------------------- plans for MatMul


@dataclass(frozen=True, slots=True)
class _Side:
    """An operand: its axes as given, in order, and as MatMul sees them."""

    given: Names
    order: Names
    shape: Names
    merged: bool

    @property
    def cost(self) -> int:
        reshaped = self.merged or "1" in self.shape
        return (self.given != self.order) + reshaped


@dataclass(frozen=True, slots=True)
class _Plan:
    """`left @ right`, what comes out, and which places of it have size 1 and go."""

    left: _Side
    right: _Side
    product: Names
    dropped: tuple[int, ...]
    kept: Names

    @property
    def order(self) -> Names:
        return tuple(n for place, n in enumerate(self.product) if place not in self.dropped)

    @property
    def cost(self) -> int:
        after = bool(self.dropped) + (self.order != self.kept)
        return self.left.cost + self.right.cost + after


def _plans(first: Names, second: Names, kept: Names) -> list[tuple[_Plan, bool]]:
    """The ways to one MatMul: either operand on the left, summed axes in either's order."""
    shared = (set(first) & set(second)) - set(kept)
    orders = {tuple(name for name in names if name in shared) for names in (first, second)}
    return [
        (_plan(left, right, kept, order), swapped)
        for order, (left, right, swapped) in product(
            sorted(orders, key=lambda names: names != tuple(n for n in first if n in shared)),
            ((first, second, False), (second, first, True)),
        )
    ]


def _plan(left: Names, right: Names, kept: Names, summed: Names) -> _Plan:
    rows = [name for name in kept if name not in right][-1:]
    columns = [name for name in kept if name not in left][-1:]
    lead = [name for name in kept if name not in (*rows, *columns)]
    inner = " ".join(summed)
    left_lead, right_lead = _lead(lead, left), _lead(lead, right)
    # MatMul takes a single axis as a vector and drops its other one.
    left_rows = rows or (["1"] if left_lead else [])
    right_columns = columns or (["1"] if right_lead else [])
    product_of = (*lead, *left_rows, *right_columns)
    dropped = tuple(place for place, name in enumerate(product_of) if name == "1")
    merged = len(summed) > 1
    own_left = [name for name in lead if name in left]
    own_right = [name for name in lead if name in right]
    return _Plan(
        _Side(left, (*own_left, *rows, *summed), (*left_lead, *left_rows, inner), merged),
        _Side(right, (*own_right, *summed, *columns), (*right_lead, inner, *right_columns), merged),
        product_of,
        dropped,
        kept,
    )


def _lead(lead: Sequence[str], own: Names) -> list[str]:
    """Batch axes of an operand; those of the other one have size 1, or are left out in front."""
    shape = [name if name in own else "1" for name in lead]
    while shape and shape[0] == "1":
        shape.pop(0)
    return shape


def _letters(names: Sequence[str]) -> dict[str, str]:
    """A letter for every name: its own first one where that is free."""
    letters: dict[str, str] = {}
    for name in dict.fromkeys(names):
        wishes = (name[0].lower(), name[0].upper(), *ascii_letters)
        free = (w for w in wishes if w in ascii_letters and w not in letters.values())
        letters[name] = next(free)
    return letters
