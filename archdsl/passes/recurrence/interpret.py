"""Abstract interpretation of ONNX lowerings: nodes are read as algebra instead of being built.

What an operator computes is known from its lowering alone. What is made of something that is not
known is not known either.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from archdsl.ir.lowering import Operand, Operands, Rows, ScanStep, Unsupported
from archdsl.ir.model import Node
from archdsl.ir.op import Weight
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.passes.recurrence.algebra import Algebra, NotAlgebraError
from archdsl.passes.recurrence.rules import RULES, Reading
from archdsl.passes.recurrence.values import Known, Symbolic, Tensor, weight_tensor
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim


class StepGraph:
    """The graph that operators are lowered into; it keeps what each tensor is."""

    opset = 17

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self._values: dict[str, Symbolic] = {}
        self._weights: Mapping[str, Operand] = {}
        self._count = 0

    # ----------------------------------------------------------------------------- around operators

    def operand(self, value: Symbolic | None, type: TensorType) -> Operand:
        """A tensor of which that is known."""
        self._count += 1
        name = str(self._count)
        if value is not None:
            self._values[name] = value
        return Operand(name, type)

    def value(self, operand: Operand) -> Symbolic | None:
        """What is known of a tensor."""
        return self._values.get(operand.name)

    def apply(
        self,
        node: Node,
        given: Sequence[Symbolic | None],
        types: Sequence[TensorType],
        weights: Sequence[Weight],
    ) -> list[Symbolic | None]:
        """What is known of the outputs of a node, from what is known of its inputs."""
        unknown: list[Symbolic | None] = [None] * len(node.outputs)
        if node.op is None or node.op.differs_in_training:
            return unknown
        self._weights = {
            weight.name: self.operand(
                weight_tensor(f"{node.member}.{weight.name}", weight.dims),
                TensorType.of(weight.dtype, *weight.dims),
            )
            for weight in weights
        }
        operands = [self.operand(*pair) for pair in zip(given, types, strict=True)]
        try:
            result = node.op.onnx(self, *operands)
        except (Unsupported, ShapeError):
            return unknown
        return [self.value(each) for each in (result if isinstance(result, tuple) else (result,))]

    # -------------------------------------------------------------------------- what operators ask

    @property
    def results(self) -> NoReturn:
        raise Unsupported("sizes that depend on data are no algebra")

    def node(
        self, op_type: str, *inputs: Operand | None, type: TensorType, **attributes: Any
    ) -> Operand:
        return self.nodes(op_type, *inputs, types=[type], **attributes)[0]

    def nodes(
        self, op_type: str, *inputs: Operand | None, types: Sequence[TensorType], **attributes: Any
    ) -> Operands:
        found: Iterable[Symbolic | None] = [None] * len(types)
        given = [self.value(each) for each in inputs if each is not None]
        known = [value for value in given if value is not None]
        rule = RULES.get(op_type)
        if rule is not None and len(known) == len(given):
            with suppress(NotAlgebraError):
                found = list(rule(Reading(self.algebra, known, types, attributes)))
        return tuple(self.operand(value, type) for value, type in zip(found, types, strict=True))

    def is_padded(self, x: Operand) -> bool:
        return False

    def weight(self, name: str) -> Operand:
        return self._weights[name]

    def constant(self, value: Any, dtype: DType) -> Operand:
        return self.operand(Known(value), TensorType.of(dtype, *np.shape(value)))

    def shape(self, dims: Sequence[Dim]) -> Operand:
        known = Known([dim.value for dim in dims])
        return self.operand(known, TensorType.of(DType.INT64, len(dims)))

    def size(self, dim: Dim, dtype: DType) -> Operand:
        known = None if dim.value is None else Known(dim.value)
        return self.operand(known, TensorType.of(dtype))

    def reshape(self, x: Operand, type: TensorType) -> Operand:
        value = self.value(x)
        try:
            found = None if value is None else self._reshaped(value, x.type, type)
        except NotAlgebraError:
            found = None
        return self.operand(found, type)

    def _reshaped(self, value: Symbolic, before: TensorType, after: TensorType) -> Symbolic:
        if isinstance(value, Known):
            raise NotAlgebraError
        sizes = [dim.value for dim in after.dims]
        if isinstance(value, Tensor):
            return value.reshaped(sizes)
        batch = before.dims[value.batch]
        return value.reshaped(sizes, [at for at, dim in enumerate(after.dims) if dim == batch])

    def shared(self, scope: str, key: Hashable, make: Callable[[], Operand]) -> Operand:
        return make()

    def table(self, condition: Condition, axes: Mapping[str, int]) -> Operand:
        return self.operand(None, TensorType.of(DType.BOOL, *axes.values()))

    def packed(self, name: str, groups: Sequence[Sequence[Rows]], dtype: DType) -> NoReturn:
        raise Unsupported("what is packed is no algebra")

    def scan(
        self, step: ScanStep, states: Operands, sequences: Operands, axis: int, *, reverse: bool
    ) -> NoReturn:
        raise Unsupported("a loop is no algebra")
