"""Vectorises operators over a new time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.types import ShapeError, TensorType
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts

_SOME, _ONE = Dim.symbol("some"), Dim.of(1)


@dataclass(frozen=True, slots=True)
class OverTime:
    """An application of an operator at one step, and its inputs at all steps.

    Those that vary have the steps along one axis, all at the same position; the others are as
    they were.
    """

    op: Op
    step: Sequence[TensorType]
    whole: Sequence[TensorType]
    varies: Sequence[bool]
    axis: int

    def operator(self, facts: Facts, results: Sequence[TensorType]) -> Op | None:
        """The operator that gives all steps of these results; None if there is no proof of that."""
        if self.op.differs_in_training:
            return None
        # What is said of axes may be their places, or how many they are.
        choices = (self._moved(), self.op)
        return next((op for op in choices if self._is_over_time(op, facts, results)), None)

    def _is_over_time(self, op: Op, facts: Facts, results: Sequence[TensorType]) -> bool:
        check = Obligations(facts)
        try:
            types = op.output_types(check, *self.whole)
        except ShapeError:
            return False
        if check.deferred or [(t.dtype, t.dims) for t in types] != [
            (t.dtype, t.dims) for t in results
        ]:
            return False
        if op.weights(*self.whole) != self.op.weights(*self.step):
            return False
        return self._keeps_places(op, max(t.rank for t in types))

    def _moved(self) -> Op:
        """The operator with its axes, if counted from the first, where they are now."""
        op = self.op.placed(*self.step)
        changes = {name: self._now(getattr(op, name)) for name in type(op).axis_attributes()}
        return op.model_copy(update=changes) if changes else op

    def _now(self, axes: Any) -> Any:
        match axes:
            case tuple():
                return tuple(map(self._now, cast("tuple[Any, ...]", axes)))
            case int() if axes >= self.axis:
                return axes + 1
            case _:
                return axes

    def _keeps_places(self, op: Op, rank: int) -> bool:
        """Whether steps keep apart, and each other axis comes from where it came from before."""
        steps = op.piece(self.axis, _SOME, _ONE, *self.whole)
        along = tuple(self.axis if varies else None for varies in self.varies)
        if steps is None or (steps.op, steps.axes) != (op, along):
            return False
        return all(self._is_alike(axis, op) for axis in range(rank - 1))

    def _is_alike(self, axis: int, op: Op) -> bool:
        """Whether an axis of one step is for this operator, where it is now, what it was."""
        before = self.op.piece(axis, _SOME, _ONE, *self.step)
        now = op.piece(self._now(axis), _SOME, _ONE, *self.whole)
        if before is None or now is None:
            return before is now
        sources = tuple(
            self._now(source) if varies else source
            for source, varies in zip(before.axes, self.varies, strict=True)
        )
        return now.axes == sources and (now.op == op) is (before.op == self.op)
