"""Multi-head attention: the layer with PyTorch's parameters."""

from __future__ import annotations

from math import inf
from typing import Any

from archdsl.ir.lowering import Call, Device, Input, Invocation, Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import ZEROS, Init, Op, Weight
from archdsl.ir.tiling import Newest, Part, Piece
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.attention._multihead_onnx import Heads, Hidden
from archdsl.ops.contract._fields import Positive, Probability
from archdsl.ops.contract._weights import dtype_argument, known_width, uniform_over
from archdsl.sizes.dims import Dim

_XAVIER = Init.of("xavier_uniform", gain=1.0)

Given = TensorType | None


class MultiheadAttention(Op, layer="MultiheadAttention"):
    """Multi-head attention: each head has its own projection of queries, keys and values.

    `[L, N, E], [S, N, K], [S, N, V] -> [L, N, E]`

    The key defaults to the query, the value to the key. As in PyTorch, a boolean mask is true
    where a key is ignored; other masks are added to the scores. A query that attends to no key
    gets the bias of the output.

    Source: Vaswani et al. 2017; torch.nn.MultiheadAttention; ONNX MatMul, Softmax, Attention.

    Example: `x -> MultiheadAttention(4, batch_first=true)`
    """

    positional = ("num_heads",)

    num_heads: Positive
    dropout: Probability = 0.0
    """How many of the weights are dropped while training."""
    bias: bool = True
    batch_first: bool = False
    is_causal: bool = False
    """Whether a query sees only keys at its own place and before, both counted from the first."""

    @property
    def batch_axis(self) -> int:
        return 0 if self.batch_first else 1

    @property
    def time_axis(self) -> int:
        return 1 - self.batch_axis

    def infer(
        self,
        check: Obligations,
        query: TensorType,
        key: TensorType | None = None,
        value: TensorType | None = None,
        key_padding_mask: TensorType | None = None,
        attn_mask: TensorType | None = None,
    ) -> TensorType:
        self._check_query(query)
        for place, other in ((1, key), (2, value)):
            if other is not None:
                self._check_other(check, query, other, place)
        keys = query if key is None else key
        if value is not None:
            check.demand_equal(
                keys.dims[self.time_axis],
                value.dims[self.time_axis],
                f"there are {keys.dims[self.time_axis]} keys in {keys}, but"
                f" {value.dims[self.time_axis]} values in {value}",
                inputs=(1, 2),
            )
        self._check_masks(check, query, keys, key_padding_mask, attn_mask)
        return query

    def _check_query(self, query: TensorType) -> None:
        if query.rank != 3:
            axes = "batch, time, features" if self.batch_first else "time, batch, features"
            raise ShapeError(
                f"the query must have 3 axes ({axes}), but is {query}",
                help="give a single sequence a batch axis of size 1" if query.rank == 2 else None,
                inputs=(0,),
            )
        query.expect_floating("the query")
        width = known_width(query, 2, "width of the query")
        if width % self.num_heads:
            raise ShapeError(
                f"the width {width} of {query} does not split into {self.num_heads} heads",
                inputs=(0,),
                attribute="num_heads",
            )

    def _check_other(
        self, check: Obligations, query: TensorType, other: TensorType, place: int
    ) -> None:
        name = type(self).input_names()[place]
        if other.rank != 3 or other.dtype is not query.dtype:
            raise ShapeError(
                f"the {name} must have 3 axes of {query.dtype} as the query has, but is {other}",
                inputs=(0, place),
                code="shape-mismatch" if other.rank != 3 else "dtype-mismatch",
            )
        if other.dims[2].value is None:
            raise ShapeError(
                f"the width of the {name} must be a known number, because weights have that size,"
                f" but is {other.dims[2]} in {other}",
                inputs=(place,),
            )
        batch = self.batch_axis
        check.demand_equal(
            query.dims[batch],
            other.dims[batch],
            f"the batch is {query.dims[batch]} in the query {query}, but {other.dims[batch]} in"
            f" the {name} {other}",
            inputs=(0, place),
        )

    def _check_masks(
        self, check: Obligations, query: TensorType, keys: TensorType, padding: Given, mask: Given
    ) -> None:
        batch, length = query.dims[self.batch_axis], query.dims[self.time_axis]
        count = keys.dims[self.time_axis]
        if padding is not None:
            wanted = TensorType.of(query.dtype, batch, count)
            _check_mask(check, padding, wanted, "key_padding_mask", 3)
        if mask is None:
            return
        if self.is_causal:
            raise ShapeError(
                "`is_causal` and `attn_mask` exclude each other",
                help="let the mask alone say all that a query sees",
                inputs=(4,),
                attribute="is_causal",
            )
        wanted = TensorType.of(query.dtype, length, count)
        if mask.rank == 3:
            wanted = TensorType.of(query.dtype, batch * self.num_heads, length, count)
        _check_mask(check, mask, wanted, "attn_mask", 4)
        if padding is not None and padding.dtype is not mask.dtype:
            raise ShapeError(
                f"`key_padding_mask` and `attn_mask` must have one element type, but are {padding}"
                f" and {mask}",
                inputs=(3, 4),
                code="dtype-mismatch",
            )

    # -------------------------------------------------------------------------- place by place

    def piece(
        self, axis: int, start: Dim, size: Dim, query: TensorType, *others: TensorType
    ) -> Piece | None:
        if axis != self.time_axis or self.is_causal or not others or len(others) > 3:
            return None
        return Piece(self, (axis, *(None for _ in others)))

    def newest(self, axis: int | None, query: TensorType, *others: TensorType) -> Newest | None:
        if axis != self.time_axis or not self.is_causal or others:
            return None
        op = self.model_copy(update={"is_causal": False})
        return Newest(op, ((0, Part(new=axis)), (0, Part(all=axis))))

    # ------------------------------------------------------------------------------- weights

    def weights(
        self, query: TensorType, key: Given = None, value: Given = None, *masks: Given
    ) -> tuple[Weight, ...]:
        width, dtype = query.dims[2], query.dtype
        found: list[Weight] = []
        widths = _widths(query, key, value)
        if widths == (width, width, width):
            found.append(Weight("in_proj_weight", (3 * width, width), _XAVIER, dtype))
        else:
            for name, own in zip("qkv", widths, strict=True):
                found.append(Weight(f"{name}_proj_weight", (width, own), _XAVIER, dtype))
        if self.bias:
            found.append(Weight("in_proj_bias", (3 * width,), ZEROS, dtype))
        init = uniform_over(known_width(query, 2, "width of the query"))
        found.append(Weight("out_proj.weight", (width, width), init, dtype))
        if self.bias:
            found.append(Weight("out_proj.bias", (width,), ZEROS, dtype))
        return tuple(found)

    def macs(self, query: TensorType, key: Given = None, value: Given = None, *masks: Given) -> Dim:
        _, keys, values = _widths(query, key, value)
        width = query.dims[2]
        length, batch = query.dims[self.time_axis], query.dims[self.batch_axis]
        count = (query if key is None else key).dims[self.time_axis]
        projected = 2 * length * width + count * keys + count * values
        return batch * width * (projected + 2 * length * count)

    # ------------------------------------------------------------------------------- PyTorch

    def torch_module(
        self, query: TensorType, key: Given = None, value: Given = None, *masks: Given
    ) -> Module:
        width, keys, values = _widths(query, key, value)
        keywords = self.changed("dropout", "bias")
        if (keys, values) != (width, width):
            keywords |= {"kdim": keys, "vdim": values}
        keywords |= self.changed("batch_first") | dtype_argument(query.dtype)
        return Module("nn.MultiheadAttention", (width, self.num_heads), keywords)

    def torch_invocation(
        self,
        query: TensorType,
        key: Given = None,
        value: Given = None,
        key_padding_mask: Given = None,
        attn_mask: Given = None,
    ) -> Invocation:
        keys = 0 if key is None else 1
        inputs = (Input(0), Input(keys), Input(keys if value is None else 2))
        keywords: dict[str, Any] = {}
        if key_padding_mask is not None:
            keywords["key_padding_mask"] = _added(3, key_padding_mask, query.dtype)
        if attn_mask is not None:
            keywords["attn_mask"] = _added(4, attn_mask, query.dtype)
        elif self.is_causal:
            keywords["attn_mask"] = self._causal(query, query if key is None else key)
        keywords["need_weights"] = False
        if self.is_causal:
            keywords["is_causal"] = True
        return Invocation(inputs, (0, None), keywords)

    def _causal(self, query: TensorType, keys: TensorType) -> Call:
        sizes = (query.dims[self.time_axis], keys.dims[self.time_axis])
        keywords = dtype_argument(query.dtype) | {"device": Device()}
        return Call(".triu", (Call("torch.full", (sizes, -inf), keywords), 1))

    # ---------------------------------------------------------------------------------- ONNX

    def onnx(
        self,
        g: OnnxGraph,
        query: Operand,
        key: Operand | None = None,
        value: Operand | None = None,
        key_padding_mask: Operand | None = None,
        attn_mask: Operand | None = None,
    ) -> Operand:
        keys = query if key is None else key
        values = keys if value is None else value
        heads = Heads(g, self.num_heads, self.bias, self.batch_first)
        hidden = Hidden(self.is_causal, key_padding_mask, attn_mask)
        return heads.attend(query, keys, values, hidden)


def _widths(query: TensorType, key: Given, value: Given) -> tuple[Dim, Dim, Dim]:
    keys = query if key is None else key
    values = keys if value is None else value
    return query.dims[2], keys.dims[2], values.dims[2]


def _check_mask(
    check: Obligations, mask: TensorType, wanted: TensorType, name: str, place: int
) -> None:
    if mask.dtype is not DType.BOOL and mask.dtype is not wanted.dtype:
        raise ShapeError(
            f"`{name}` must be bool or {wanted.dtype}, as the query is, but is {mask}",
            inputs=(0, place),
            code="dtype-mismatch",
        )
    expected = wanted.with_dtype(mask.dtype)
    if mask.rank != wanted.rank:
        raise ShapeError(f"`{name}` must be {expected}, but is {mask}", inputs=(0, place))
    for found, size in zip(mask.dims, wanted.dims, strict=True):
        check.demand_equal(
            found, size, f"`{name}` must be {expected}, but is {mask}", inputs=(0, place)
        )


def _added(index: int, mask: TensorType, dtype: DType) -> Any:
    """A mask as what is added: torch's faster way with truths gives NaN where nothing is seen."""
    if mask.dtype is not DType.BOOL:
        return Input(index)
    hidden = Call("torch.where", (Input(index), -inf, 0.0))
    return hidden if dtype is DType.FLOAT32 else Call(".to", (hidden, dtype))
