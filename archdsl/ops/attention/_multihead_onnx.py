"""Multi-head attention in ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from math import prod

from archdsl.ir.lowering import OnnxGraph, Operand, Operands
from archdsl.ir.types import DType, TensorType
from archdsl.ops.attention._masks_onnx import joined
from archdsl.ops.attention._sdpa_onnx import Mask, Masking, attended, causal, scaled
from archdsl.ops.layout.joining import split
from archdsl.ops.linear.linear import affine_map
from archdsl.sizes.dims import Dim


@dataclass(frozen=True, slots=True)
class Hidden:
    """What queries do not see: later keys, padding `[N, S]`, and what a mask `[L, S]` says."""

    is_causal: bool
    padding: Operand | None
    mask: Operand | None


@dataclass(frozen=True, slots=True)
class Heads:
    """Takes values apart into heads, lets them attend, and puts them together again."""

    g: OnnxGraph
    count: int
    bias: bool
    batch_first: bool

    def attend(self, query: Operand, key: Operand, value: Operand, hidden: Hidden) -> Operand:
        """The layer's output."""
        q, k, v = self._projected(query, key, value)
        way = self._fused if self._is_fused(q.type, hidden) else self._by_heads
        bias = self.g.weight("out_proj.bias") if self.bias else None
        return self._mapped(way(q, k, v, hidden), self.g.weight("out_proj.weight"), bias)

    # --------------------------------------------------------------------------- projections

    def _projected(self, query: Operand, key: Operand, value: Operand) -> Operands:
        width = query.type.dims[2]
        if key.type.dims[2] == value.type.dims[2] == width:
            return tuple(self._by_one_weight((query, key, value), width))
        weights = [self.g.weight(f"{name}_proj_weight") for name in "qkv"]
        maps = zip((query, key, value), weights, self._biases((width,) * 3), strict=True)
        return tuple(self._mapped(x, weight, bias) for x, weight, bias in maps)

    def _by_one_weight(self, inputs: Operands, width: Dim) -> Iterator[Operand]:
        """As few products as there are different inputs, whose rows follow each other."""
        runs = [tuple(run) for _, run in groupby(inputs, key=lambda x: x.name)]
        sizes = tuple(len(run) * width for run in runs)
        weights = split(self.g, self.g.weight("in_proj_weight"), 0, sizes)
        for run, weight, bias in zip(runs, weights, self._biases(sizes), strict=True):
            product = self._mapped(run[0], weight, bias)
            yield from split(self.g, product, 2, (width,) * len(run))

    def _biases(self, sizes: tuple[Dim, ...]) -> tuple[Operand | None, ...]:
        if not self.bias:
            return (None,) * len(sizes)
        return split(self.g, self.g.weight("in_proj_bias"), 0, sizes)

    def _mapped(self, x: Operand, weight: Operand, bias: Operand | None) -> Operand:
        """An affine map of rows, which is one node; the reshapes around it mostly cancel."""
        *leading, width = x.type.dims
        rows = TensorType.of(x.type.dtype, prod(leading, start=Dim.of(1)), width)
        found = affine_map(self.g, self.g.reshape(x, rows), weight, bias)
        return self.g.reshape(found, x.type.with_dim(-1, weight.type.dims[0]))

    # ----------------------------------------------------------------------------- attention

    def _is_fused(self, query: TensorType, hidden: Hidden) -> bool:
        """Whether runtimes have the Attention operator for this, exactly."""
        if self.g.opset < 23 or not self.batch_first or query.dtype is DType.FLOAT64:
            return False
        # Runtimes fail where a mask broadcasts along the queries.
        return hidden.padding is None

    def _fused(self, q: Operand, k: Operand, v: Operand, hidden: Hidden) -> Operand:
        mask = None if hidden.mask is None else self._scores_mask(q, hidden.mask)
        if mask is not None and mask.type.dtype is DType.BOOL:
            mask = self.g.node("Not", mask, type=mask.type)
        return self.g.node(
            "Attention",
            q,
            k,
            v,
            mask,
            type=q.type,
            q_num_heads=self.count,
            kv_num_heads=self.count,
            is_causal=1 if hidden.is_causal else None,
        )

    def _by_heads(self, q: Operand, k: Operand, v: Operand, hidden: Hidden) -> Operand:
        masking = self._masking(q, k, hidden)
        places = (0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3)
        turned = (0, 2, 3, 1) if self.batch_first else (1, 2, 3, 0)
        query = scaled(self.g, self._apart(q, places), None)
        found = attended(self.g, query, self._apart(k, turned), self._apart(v, places), masking)
        back = (0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3)
        return self.g.reshape(self._permuted(found, back), q.type)

    def _apart(self, x: Operand, perm: tuple[int, ...]) -> Operand:
        first, second, width = x.type.dims
        type = TensorType.of(x.type.dtype, first, second, self.count, width // self.count)
        return self._permuted(self.g.reshape(x, type), perm)

    def _permuted(self, x: Operand, perm: tuple[int, ...]) -> Operand:
        type = TensorType.of(x.type.dtype, *(x.type.dims[place] for place in perm))
        return self.g.node("Transpose", x, type=type, perm=perm)

    # --------------------------------------------------------------------------------- masks

    def _masking(self, query: Operand, key: Operand, hidden: Hidden) -> Masking:
        found = [self._padding(hidden.padding)] if hidden.padding else []
        if hidden.mask is not None:
            found.append(self._scores_mask(query, hidden.mask))
        axis = int(self.batch_first)
        grid = causal(query.type.dims[axis], key.type.dims[axis]) if hidden.is_causal else None
        if not found:
            return Masking(grid)
        is_bool = found[0].type.dtype is DType.BOOL
        mask = found[0]
        if len(found) == 2:
            type = joined(mask.type, found[1].type)
            mask = self.g.node("Or" if is_bool else "Add", mask, found[1], type=type)
        if is_bool:
            return Masking(grid, mask=Mask(mask, drops=True))
        return Masking(grid, bias=mask)

    def _padding(self, padding: Operand) -> Operand:
        batch, keys = padding.type.dims
        type = TensorType.of(padding.type.dtype, batch, 1, 1, keys)
        places = self.g.constant([1, 2], DType.INT64)

        def spread() -> Operand:
            return self.g.node("Unsqueeze", padding, places, type=type)

        return self.g.shared("masks", padding.name, spread)

    def _scores_mask(self, query: Operand, mask: Operand) -> Operand:
        """The mask of each head of each sample, or the one for all as it is."""
        if mask.type.rank == 2:
            return mask
        batch = query.type.dims[0 if self.batch_first else 1]
        type = TensorType.of(mask.type.dtype, batch, self.count, *mask.type.dims[1:])
        return self.g.reshape(mask, type)
