"""Attention: masks and scaled dot-product attention."""

from __future__ import annotations

from math import inf, prod
from typing import Annotated, Any

from pydantic import Field

from archdsl.ir.lowering import Call, Infix, Input, Lowest, OnnxGraph, Operand, Operands, Training
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.tiling import InputAxes, Later, Newest, Part, Piece, Prefix, Seen
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.attention import _masks_onnx, _masks_torch
from archdsl.ops.attention._masks import (
    Grid,
    by_position,
    check_predicate,
    hides_later,
    over_places,
)
from archdsl.ops.attention._sdpa_onnx import (
    LOWEST,
    Mask,
    Masking,
    attended,
    causal,
    kept_of,
    kept_with,
    scaled,
)
from archdsl.ops.contract._fields import Probability
from archdsl.ops.contract._tiling import broadcast_axes
from archdsl.ops.elementwise._broadcast import broadcast
from archdsl.sizes.conditions import Condition
from archdsl.sizes.dims import Dim
from archdsl.sizes.proof import Facts

Finite = Annotated[float, Field(allow_inf_nan=False)]

SCORES = "the scores"


class MaskScores(Op, function="mask"):
    """Masks the scores where a condition on positions, or a boolean tensor, is false.

    `[*], bool[*] -> [*]`

    Masked scores become `fill`, by default the lowest finite number, whose softmax is 0 next to any
    greater score. If a whole row is masked, its softmax is uniform.

    Source: torch.Tensor.masked_fill; ONNX Where, with a constant where all sizes are known.

    Example: `einsum("B i e, B j e -> B i j", q, k) -> mask(j <= i)`
    """

    positional = ("predicate",)

    predicate: Condition | None = None
    """A condition on places, counted from 0, along axes by their names (or `_0`, `_1` …)."""
    fill: float | None = None
    """What stands where nothing is kept, instead of the least finite number."""

    def infer(
        self, check: Obligations, x: TensorType, keep: TensorType | None = None
    ) -> TensorType:
        x.expect_floating(SCORES)
        if self.predicate is None and keep is None:
            raise ShapeError(
                "`mask` needs a condition such as `j <= i`, or a tensor that says what is kept",
                attribute="predicate",
            )
        if self.predicate is not None:
            check_predicate(check, self.predicate, x)
        if keep is not None:
            demand_truths(keep, "what is kept", 1)
            demand_within(check, x, keep, 1)
        return x

    def piece(
        self, axis: int, start: Dim, size: Dim, x: TensorType, *keep: TensorType
    ) -> Piece | None:
        changed: dict[str, Condition] = {}
        if self.predicate is not None:
            predicate = by_position(self.predicate, x)
            moved = predicate.substitute({f"_{axis}": Dim.of(f"_{axis}") + start})
            changed = {"predicate": moved}
        return Piece(self.model_copy(update=changed), broadcast_axes(axis, (x, *keep), rank=x.rank))

    def later(
        self,
        row: int,
        column: int,
        known: tuple[Later | Seen | None, ...],
        facts: Facts,
        x: TensorType,
        *keep: TensorType,
    ) -> Later | Seen | None:
        is_lowest = self.fill is None
        if self.predicate is None:
            return Seen("this mask alone does not hide them")
        if not is_lowest and self.fill != -inf:
            return Seen(f"what is not kept becomes {self.fill}, which softmax does not make 0")
        if is_lowest and (keep or known[0] is not None):
            # Of lowest numbers alone softmax makes parts of 1, of infinite ones nothing.
            return Seen("where two masks keep nothing, all are alike; give the last `fill=-1e999`")
        predicate = by_position(self.predicate, x)
        return hides_later(predicate, x, row, column, facts, any_kept=is_lowest)

    def is_idle(self, facts: Facts, x: TensorType, *keep: TensorType) -> bool:
        if self.predicate is None or keep:
            return False
        return over_places(facts, x).prove(by_position(self.predicate, x)).proved

    def placed(self, *inputs: TensorType) -> Op:
        if self.predicate is None:
            return self
        return self.model_copy(update={"predicate": by_position(self.predicate, inputs[0])})

    def torch_call(self, x: TensorType, keep: TensorType | None = None) -> Call:
        kept = None if keep is None else Input(1)
        if self.predicate is not None:
            held = _masks_torch.kept(Grid.of(self.predicate, x))
            kept = held if kept is None else Infix("&", held, kept)
        fill = Lowest(Input(0)) if self.fill is None else self.fill
        return Call(".masked_fill", (Input(0), Infix("~", None, kept), fill))

    def onnx(self, g: OnnxGraph, x: Operand, keep: Operand | None = None) -> Operand:
        if self.predicate is not None:
            held = _masks_onnx.kept(g, Grid.of(self.predicate, x.type))
            keep = held if keep is None else _masks_onnx.both(g, held, keep)
        assert keep is not None
        dtype = x.type.dtype
        fill = g.constant(LOWEST[dtype] if self.fill is None else self.fill, dtype)
        return g.node("Where", keep, x, fill, type=x.type)


class ScaledDotProductAttention(Op, function="scaled_dot_product_attention"):
    """Computes scaled dot-product attention on queries, keys and values.

    `[*, H, L, E], [*, H, S, E], [*, H, S, V] -> [*, H, L, V]`

    A boolean mask is true where a query attends to a key; a floating-point mask is added to the
    scores. A query that attends to no key gets 0.

    Source: Vaswani et al. 2017; torch.nn.functional.scaled_dot_product_attention; ONNX Attention,
    or MatMul, Softmax.

    Example: `scaled_dot_product_attention(q, k, v, is_causal=true)`
    """

    dropout_p: Probability = 0.0
    """How many of the weights are dropped while training."""
    is_causal: bool = False
    """Whether a query sees only keys at its own place and before, both counted from the first."""
    scale: Finite | None = None
    """What the products are multiplied by, instead of one over the root of the queries' width."""
    enable_gqa: bool = False
    """Whether heads of the queries may share heads of keys and values, in equal groups."""
    predicate: Condition | None = None
    """A condition on places in `[*, H, L, S]`, the scores: which keys a query sees."""

    def infer(
        self,
        check: Obligations,
        query: TensorType,
        key: TensorType,
        value: TensorType,
        attn_mask: TensorType | None = None,
    ) -> TensorType:
        _demand_like(query, key, "key", 1)
        _demand_like(query, value, "value", 2)
        self._demand_heads(check, query, key, value)
        check.demand_equal(
            query.dims[-1],
            key.dims[-1],
            f"queries {query} have {query.dims[-1]} features, but keys {key} have {key.dims[-1]}",
            inputs=(0, 1),
        )
        check.demand_equal(
            key.dims[-2],
            value.dims[-2],
            f"there are {key.dims[-2]} keys in {key}, but {value.dims[-2]} values in {value}",
            inputs=(1, 2),
        )
        if self.predicate is not None:
            self._check_predicate(check, query, key, self.predicate)
        if attn_mask is not None:
            self._check_mask(check, query, key, attn_mask)
        return TensorType(
            query.dtype,
            (*query.dims[:-1], value.dims[-1]),
            (*query.axes[:-1], value.axes[-1]),
        )

    def _demand_heads(
        self, check: Obligations, query: TensorType, key: TensorType, value: TensorType
    ) -> None:
        own = 3 if self.enable_gqa else 2
        if query.rank < own:
            raise ShapeError(
                f"with `enable_gqa` queries must have an axis of heads, but are {query}",
                inputs=(0,),
            )
        for place, other in ((1, key), (2, value)):
            for axis in range(query.rank - own):
                check.demand_equal(
                    query.dims[axis],
                    other.dims[axis],
                    f"axis {axis} is {query.dims[axis]} in the queries {query}, but"
                    f" {other.dims[axis]} in {other}",
                    inputs=(0, place),
                )
        if self.enable_gqa:
            _demand_groups(check, query, key, value)

    def _check_predicate(
        self, check: Obligations, query: TensorType, key: TensorType, predicate: Condition
    ) -> None:
        if self.is_causal:
            raise ShapeError(
                "`is_causal` and a condition exclude each other",
                help="let the condition alone say all that a query sees",
                attribute="predicate",
            )
        check_predicate(check, predicate, _scores(query, key))

    def placed(self, *inputs: TensorType) -> Op:
        if self.predicate is None:
            return self
        scores = _scores(inputs[0], inputs[1])
        return self.model_copy(update={"predicate": by_position(self.predicate, scores)})

    def _grid(self, query: TensorType, key: TensorType) -> Grid | None:
        """Which keys a query sees by their places."""
        if self.is_causal:
            return causal(query.dims[-2], key.dims[-2])
        return None if self.predicate is None else Grid.of(self.predicate, _scores(query, key))

    def _check_mask(
        self, check: Obligations, query: TensorType, key: TensorType, attn_mask: TensorType
    ) -> None:
        if self.is_causal:
            raise ShapeError(
                "`is_causal` and a mask exclude each other",
                help="let the mask alone say all that a query sees",
                inputs=(3,),
                attribute="is_causal",
            )
        if attn_mask.dtype is not DType.BOOL and attn_mask.dtype is not query.dtype:
            raise ShapeError(
                f"the mask must be bool or {query.dtype}, as the queries are, but is {attn_mask}",
                inputs=(3,),
                code="dtype-mismatch",
            )
        demand_within(check, _scores(query, key), attn_mask, 3)

    def piece(
        self, axis: int, start: Dim, size: Dim, query: TensorType, *others: TensorType
    ) -> Piece | None:
        rank = query.rank
        if axis == rank - 1:
            return Piece(self, (None, None, axis, *(None for _ in others[2:])))
        masks = broadcast_axes(axis, others[2:], rank=rank) if others[2:] else ()
        if self.predicate is not None:
            return None
        if axis == rank - 2:
            return None if self.is_causal else Piece(self, (axis, None, None, *masks))
        shared = self.enable_gqa and axis == rank - 3
        return None if shared else Piece(self, (axis, axis, axis, *masks))

    def prefix(self, axes: InputAxes, query: TensorType, *others: TensorType) -> Prefix | None:
        keys = query.rank - 2
        if axes[:3] != (None, keys, keys) or self.is_causal or not others[2:]:
            return None
        if self.predicate is not None:
            return None
        added = others[2].dtype.is_floating and axes[3] == others[2].rank - 1
        return Prefix(self, Later.HIDDEN) if added else None

    def newest(self, axis: int | None, query: TensorType, *others: TensorType) -> Newest | None:
        if axis != query.rank - 2 or not self.is_causal:
            return None
        parts = ((0, Part(new=axis)), (1, Part(all=axis)), (2, Part(all=axis)))
        return Newest(self.model_copy(update={"is_causal": False}), parts)

    def macs(
        self,
        query: TensorType,
        key: TensorType,
        value: TensorType,
        attn_mask: TensorType | None = None,
    ) -> Dim:
        pairs = prod(query.dims[:-1], start=key.dims[-2])
        return pairs * query.dims[-1] + pairs * value.dims[-1]

    def torch_call(
        self,
        query: TensorType,
        key: TensorType,
        value: TensorType,
        attn_mask: TensorType | None = None,
    ) -> Call:
        mask = self._torch_mask(query, key, attn_mask)
        given = {} if mask is None else {"attn_mask": mask}
        dropped = {"dropout_p": Infix("*", self.dropout_p, Training())} if self.dropout_p else {}
        settings = self.changed("is_causal", "scale", "enable_gqa")
        inputs = (Input(0), Input(1), Input(2))
        return Call("F.scaled_dot_product_attention", inputs, given | dropped | settings)

    def _torch_mask(self, query: TensorType, key: TensorType, attn_mask: TensorType | None) -> Any:
        mask: Any = None if attn_mask is None else Input(3)
        rank = 2 if attn_mask is None else attn_mask.rank
        if self.predicate is not None:
            grid = Grid.of(self.predicate, _scores(query, key))
            kept = _masks_torch.kept(grid)
            rank = grid.rank if attn_mask is None else max(rank, grid.rank)
            if attn_mask is None:
                mask = kept
            elif attn_mask.dtype is DType.BOOL:
                mask = Infix("&", kept, mask)
            else:
                mask = Call("torch.where", (kept, mask, -inf))
        # A mask must have an axis of queries and one of keys.
        for _ in range(rank, 2):
            mask = Call(".unsqueeze", (mask, 0))
        return mask

    def onnx_since(self, *inputs: TensorType) -> int | None:
        query = inputs[0]
        if query.rank != 4 or query.dtype is DType.FLOAT64:
            return None
        # ONNX Runtime takes no scale below zero, and its own for a scale of zero.
        return 23 if self.scale is None or self.scale > 0 else None

    def onnx(
        self,
        g: OnnxGraph,
        query: Operand,
        key: Operand,
        value: Operand,
        attn_mask: Operand | None = None,
    ) -> Operand:
        grid = self._grid(query.type, key.type)
        since = self.onnx_since(query.type)
        if since is not None and since <= g.opset:
            return self._fused(g, (query, key, value), attn_mask, grid)
        rank = query.type.rank
        perm = (*range(rank - 2), rank - 1, rank - 2)
        turned = TensorType.of(key.type.dtype, *(key.type.dims[axis] for axis in perm))
        key = g.node("Transpose", key, type=turned, perm=perm)
        masking = Masking(grid)
        if attn_mask is not None and attn_mask.type.dtype is DType.BOOL:
            masking = Masking(grid, mask=Mask(attn_mask))
        elif attn_mask is not None:
            masking = Masking(grid, bias=attn_mask)
        return attended(g, scaled(g, query, self.scale), key, value, masking)

    def _fused(
        self,
        g: OnnxGraph,
        projected: Operands,
        attn_mask: Operand | None,
        grid: Grid | None,
    ) -> Operand:
        query, key, value = projected
        mask = attn_mask
        if self.predicate is not None and grid is not None:
            mask = _with_places(g, grid, attn_mask)
        if mask is not None:
            mask = _whole(g, _above_lowest(g, mask), query.type.dims[-2], key.type.dims[-2])
        return g.node(
            "Attention",
            query,
            key,
            value,
            mask,
            type=query.type.with_dim(-1, value.type.dims[-1]),
            is_causal=1 if self.is_causal else None,
            scale=self.scale,
        )


def _with_places(g: OnnxGraph, grid: Grid, mask: Operand | None) -> Operand:
    """A mask that lets through only what a condition on places does too."""
    if mask is not None and mask.type.dtype is not DType.BOOL:
        return kept_of(g, grid, mask)
    return _masks_onnx.kept(g, grid) if mask is None else kept_with(g, grid, mask)


def _above_lowest(g: OnnxGraph, mask: Operand) -> Operand:
    """A mask without the least finite number, which ONNX Runtime takes for minus infinity."""
    type = mask.type
    if type.dtype is DType.BOOL:
        return mask
    lowest = g.constant(LOWEST[type.dtype], type.dtype)
    above = g.constant(0.999 * LOWEST[type.dtype], type.dtype)

    def replaced() -> Operand:
        found = g.node("Equal", mask, lowest, type=type.with_dtype(DType.BOOL))
        return g.node("Where", found, above, mask, type=type)

    return g.shared("masks", ("above", mask.name), replaced)


def _whole(g: OnnxGraph, mask: Operand, queries: Dim, keys: Dim) -> Operand:
    """A mask with all queries and keys: runtimes fail where it broadcasts along them."""
    wanted = (queries, keys)
    if mask.type.dims[-2:] == wanted:
        return mask
    batch = mask.type.dims[:-2]
    type = TensorType.of(mask.type.dtype, *batch, *wanted)

    def expanded() -> Operand:
        told = (*(Dim.of(1),) * len(batch), *wanted)
        return g.node("Expand", mask, g.shape(told), type=type)

    return g.shared("masks", (mask.name, wanted), expanded)


def _scores(query: TensorType, key: TensorType) -> TensorType:
    return TensorType(
        query.dtype, (*query.dims[:-1], key.dims[-2]), (*query.axes[:-1], key.axes[-2])
    )


def _demand_like(query: TensorType, other: TensorType, name: str, place: int) -> None:
    if query.rank < 2:
        raise ShapeError(f"the query must have at least 2 axes, but is {query}", inputs=(0,))
    query.expect_floating("the query")
    if other.rank != query.rank:
        raise ShapeError(
            f"query and {name} must have as many axes, but are {query} and {other}",
            inputs=(0, place),
        )
    if other.dtype is not query.dtype:
        raise ShapeError(
            f"query and {name} must have one element type, but are {query} and {other}",
            help="convert one with `cast`",
            inputs=(0, place),
            code="dtype-mismatch",
        )


def _demand_groups(
    check: Obligations, query: TensorType, key: TensorType, value: TensorType
) -> None:
    heads, shared = query.dims[-3], key.dims[-3]
    check.demand_equal(
        shared,
        value.dims[-3],
        f"keys {key} have {shared} heads, but values {value} have {value.dims[-3]}",
        inputs=(1, 2),
    )
    check.demand_multiple(
        heads, shared, f"{heads} heads of {query} do not share {shared} heads of {key} equally"
    )


def demand_truths(mask: TensorType, what: str, place: int) -> None:
    """Refuse a mask that is not of truth values."""
    if mask.dtype is not DType.BOOL:
        raise ShapeError(
            f"{what} must be bool, but is {mask}",
            help="compare it with something, or convert it with `cast(bool)`",
            inputs=(place,),
            code="dtype-mismatch",
        )


def demand_within(check: Obligations, x: TensorType, mask: TensorType, place: int) -> None:
    """Refuse a mask that does not broadcast to the scores as they are."""
    whole = broadcast(check, x, mask.with_dtype(x.dtype))
    if whole.dims != x.dims:
        raise ShapeError(
            f"the mask {mask} is larger than {SCORES} {x}, which it must broadcast to",
            inputs=(0, place),
        )
