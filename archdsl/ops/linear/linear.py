"""Linear layers, embeddings and matrix products."""

from collections.abc import Sequence
from itertools import zip_longest
from math import prod

from archdsl.ir.access import Sights
from archdsl.ir.lowering import Call, Input, Module, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Init, Op, Weight
from archdsl.ir.tiling import InputAxes, Later, Piece, Prefix
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._access import all_but
from archdsl.ops.contract._fields import Positive
from archdsl.ops.contract._tiling import broadcast_axes, leading
from archdsl.ops.contract._weights import (
    demand_bias,
    demand_same_dtype,
    dtype_argument,
    known_width,
    uniform_over,
)
from archdsl.ops.elementwise._broadcast import broadcast
from archdsl.sizes.dims import Dim

INDEX_TYPES = (DType.INT32, DType.INT64)
"""What torch takes for an index into a table; ONNX takes the same two."""


class Linear(Op, layer="Linear"):
    """Applies an affine map to the last axis.

    `[*, I] -> [*, out_features]`

    Source: torch.nn.Linear; ONNX Gemm, MatMul, Add.

    Example: `x -> Linear(8)`
    """

    frees_output = True
    positional = ("out_features",)
    weight_output_axis = 0

    out_features: Positive
    bias: bool = True

    def infer(self, check: Obligations, x: TensorType) -> TensorType:
        if x.rank == 0:
            raise ShapeError(f"the input must have at least 1 axis, but is {x}", inputs=(0,))
        x.expect_floating()
        known_width(x, -1, "number of input features")
        return x.with_dim(-1, self.out_features)

    def piece(self, axis: int, start: Dim, size: Dim, x: TensorType) -> Piece | None:
        return leading(self, axis, x.rank - 1, (x,))

    def share(self, count: int, *inputs: TensorType) -> Piece | None:
        if inputs[0].rank != 2 or self.out_features % count:
            return None
        return Piece(self.model_copy(update={"out_features": self.out_features // count}), (None,))

    def at_places(self, kernel: tuple[int, ...]) -> Op | None:
        from archdsl.ops.spatial.conv import Conv

        size = kernel[0] if len(set(kernel)) == 1 else kernel
        return Conv(out_channels=self.out_features, kernel_size=size, bias=self.bias)

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return all_but(axis, (inputs[0].rank - 1,))

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        width = known_width(x, -1, "number of input features")
        init = uniform_over(width)
        outputs = Dim.of(self.out_features)
        weight = Weight("weight", (outputs, x.dims[-1]), init, x.dtype)
        return (weight, Weight("bias", (outputs,), init, x.dtype)) if self.bias else (weight,)

    def macs(self, x: TensorType) -> Dim:
        return prod(x.dims, start=Dim.of(self.out_features))

    def torch_module(self, x: TensorType) -> Module:
        return Module(
            "nn.Linear",
            (x.dims[-1], self.out_features),
            self.changed("bias") | dtype_argument(x.dtype),
        )

    def onnx(self, g: OnnxGraph, x: Operand) -> Operand:
        return affine_map(g, x, g.weight("weight"), g.weight("bias") if self.bias else None)

    def wants_rows(self, *inputs: TensorType) -> bool:
        return self.bias and inputs[0].rank > 2

    def beside(self, others: Sequence[Op], *inputs: TensorType) -> tuple[Op, Op] | None:
        # A product and a sum for each become one of both, and what takes them apart.
        if not self.bias or inputs[0].rank == 2:
            return None
        from archdsl.ops.layout.joining import Split

        layers = [self, *(op for op in others if isinstance(op, Linear) and op.bias)]
        if len(layers) <= len(others):
            return None
        widths = tuple(Dim.of(layer.out_features) for layer in layers)
        wide = Linear(out_features=sum(layer.out_features for layer in layers))
        return wide, Split(parts=widths, axis=-1)


class LinearFunction(Op, function="linear"):
    """Applies an affine map to the last axis, with a weight given as an input, such as a tied one.

    `[*, I], [O, I], [O] -> [*, O]`

    Source: torch.nn.functional.linear; ONNX Gemm, MatMul, Add.

    Example: `linear(x, weight)`
    """

    def infer(
        self,
        check: Obligations,
        x: TensorType,
        weight: TensorType,
        bias: TensorType | None = None,
    ) -> TensorType:
        if x.rank == 0:
            raise ShapeError(f"the input must have at least 1 axis, but is {x}", inputs=(0,))
        x.expect_floating()
        if weight.rank != 2:
            raise ShapeError(f"the weight must have 2 axes, but is {weight}", inputs=(1,))
        check.demand_equal(
            x.dims[-1],
            weight.dims[1],
            f"the weight {weight} takes {weight.dims[1]} features,"
            f" but the last axis of {x} has {x.dims[-1]}",
            inputs=(0, 1),
        )
        demand_same_dtype(x, weight, 1)
        if bias is not None:
            demand_bias(check, weight, bias)
        return x.with_dim(-1, weight.dims[0])

    def piece(
        self, axis: int, start: Dim, size: Dim, x: TensorType, *weights: TensorType
    ) -> Piece | None:
        return leading(self, axis, x.rank - 1, (x, *weights))

    def macs(self, x: TensorType, weight: TensorType, bias: TensorType | None = None) -> Dim:
        return prod(x.dims, start=weight.dims[0])

    def torch_call(self, x: TensorType, weight: TensorType, bias: TensorType | None = None) -> Call:
        count = 2 if bias is None else 3
        return Call("F.linear", tuple(map(Input, range(count))))

    def wants_rows(self, *inputs: TensorType) -> bool:
        return len(inputs) == 3 and inputs[0].rank > 2

    def onnx(
        self, g: OnnxGraph, x: Operand, weight: Operand, bias: Operand | None = None
    ) -> Operand:
        return affine_map(g, x, weight, bias)


class Embedding(Op, layer="Embedding"):
    """Looks up a learned vector for every index.

    `int64[*] -> [*, embedding_dim]`

    Source: torch.nn.Embedding; ONNX Gather.

    Example: `tokens -> Embedding(100, 16)`
    """

    positional = ("num_embeddings", "embedding_dim")

    num_embeddings: Positive
    embedding_dim: Positive
    padding_idx: int | None = None
    """The row that begins as zeros and gets no gradient."""

    def infer(self, check: Obligations, indices: TensorType) -> TensorType:
        _expect_indices(indices)
        row, rows = self.padding_idx, self.num_embeddings
        if row is not None and not -rows <= row < rows:
            raise ShapeError(
                f"`padding_idx` must be one of the {rows} rows, but is {row}",
                attribute="padding_idx",
            )
        return indices.with_axis(indices.rank, self.embedding_dim).with_dtype(DType.FLOAT32)

    def piece(self, axis: int, start: Dim, size: Dim, indices: TensorType) -> Piece | None:
        return leading(self, axis, indices.rank, (indices,))

    def sees(self, axis: int, *inputs: TensorType) -> Sights:
        return all_but(axis, (inputs[0].rank,))

    def weights(self, indices: TensorType) -> tuple[Weight, ...]:
        dims = (Dim.of(self.num_embeddings), Dim.of(self.embedding_dim))
        init = Init.of("normal", mean=0.0, std=1.0)
        if self.padding_idx is not None:
            init = Init.of("normal", mean=0.0, std=1.0, zero_row=self.padding_idx)
        return (Weight("weight", dims, init),)

    def torch_module(self, indices: TensorType) -> Module:
        return Module(
            "nn.Embedding",
            (self.num_embeddings, self.embedding_dim),
            self.changed("padding_idx"),
        )

    def onnx(self, g: OnnxGraph, indices: Operand) -> Operand:
        return _rows(g, g.weight("weight"), indices)


class EmbeddingFunction(Op, function="embedding"):
    """Looks up rows of a table given as an input, such as a tied weight.

    `int64[*], [V, D] -> [*, D]`

    Source: torch.nn.functional.embedding; ONNX Gather.

    Example: `embedding(tokens, weight)`
    """

    def infer(self, check: Obligations, indices: TensorType, weight: TensorType) -> TensorType:
        _expect_indices(indices)
        if weight.rank != 2:
            raise ShapeError(f"the table must have 2 axes, but is {weight}", inputs=(1,))
        result = indices.with_axis(indices.rank, weight.dims[1], weight.axes[1])
        return result.with_dtype(weight.dtype)

    def piece(
        self, axis: int, start: Dim, size: Dim, indices: TensorType, weight: TensorType
    ) -> Piece | None:
        return leading(self, axis, indices.rank, (indices, weight))

    def torch_call(self, indices: TensorType, weight: TensorType) -> Call:
        return Call("F.embedding", (Input(0), Input(1)))

    def onnx(self, g: OnnxGraph, indices: Operand, weight: Operand) -> Operand:
        return _rows(g, weight, indices)


class MatMul(Op, function="matmul"):
    """Matrix product of the last two axes; axes before them broadcast, vectors are allowed.

    `[*, M, K], [*, K, N] -> [*, M, N]`

    Source: torch.matmul; ONNX MatMul.

    Example: `matmul(a, b)`
    """

    def infer(self, check: Obligations, left: TensorType, right: TensorType) -> TensorType:
        for place, operand in enumerate((left, right)):
            if operand.rank == 0:
                raise ShapeError(
                    f"a factor must have at least 1 axis, but is {operand}", inputs=(place,)
                )
        demand_same_dtype(left, right, 1)
        if not left.dtype.is_floating and left.dtype not in INDEX_TYPES:
            raise ShapeError(
                f"`matmul` takes floating point, int32 or int64, but got {left}",
                help="convert it with `cast(int32)`",
                inputs=(0, 1),
                code="dtype-mismatch",
            )
        inner = right.dims[-2] if right.rank > 1 else right.dims[0]
        check.demand_equal(
            left.dims[-1],
            inner,
            f"{left} has {left.dims[-1]} columns, but {right} has {inner} rows",
            inputs=(0, 1),
        )
        return _product(left, right, broadcast(check, _batch(left), _batch(right)))

    def piece(
        self, axis: int, start: Dim, size: Dim, left: TensorType, right: TensorType
    ) -> Piece | None:
        batch = max(left.rank - 2, right.rank - 2, 0)
        if axis < batch:
            return Piece(self, broadcast_axes(axis, (_batch(left), _batch(right)), rank=batch))
        is_row = left.rank > 1 and axis == batch
        return Piece(self, (left.rank - 2, None) if is_row else (None, right.rank - 1))

    def prefix(self, axes: InputAxes, left: TensorType, right: TensorType) -> Prefix | None:
        summed = (left.rank - 1, max(right.rank - 2, 0))
        return Prefix(self, Later.ZERO) if axes == summed else None

    def macs(self, left: TensorType, right: TensorType) -> Dim:
        product = _product(left, right, _larger_batch(left, right))
        return prod(product.dims, start=left.dims[-1])

    def torch_call(self, left: TensorType, right: TensorType) -> Call:
        return Call("torch.matmul", (Input(0), Input(1)))

    def onnx(self, g: OnnxGraph, left: Operand, right: Operand) -> Operand:
        batch = _larger_batch(left.type, right.type)
        return g.node("MatMul", left, right, type=_product(left.type, right.type, batch))


def _batch(x: TensorType) -> TensorType:
    """The axes before the matrix."""
    return TensorType(x.dtype, x.dims[:-2], x.axes[:-2])


def _larger_batch(left: TensorType, right: TensorType) -> TensorType:
    """What the axes before the matrices broadcast to, once that is proved."""
    pairs = zip_longest(left.dims[-3::-1], right.dims[-3::-1], fillvalue=Dim.of(1))
    return TensorType.of(left.dtype, *reversed([b if a == 1 else a for a, b in pairs]))


def _product(left: TensorType, right: TensorType, batch: TensorType) -> TensorType:
    columns = slice(-1, None) if right.rank > 1 else slice(0)
    return TensorType(
        left.dtype,
        (*batch.dims, *left.dims[-2:-1], *right.dims[columns]),
        (*batch.axes, *left.axes[-2:-1], *right.axes[columns]),
    )


def _expect_indices(indices: TensorType) -> None:
    if indices.dtype not in INDEX_TYPES:
        raise ShapeError(
            f"indices must be int32 or int64, but are {indices}",
            help="declare them as integers, `int64[…]`, or convert them with `cast(int64)`",
            inputs=(0,),
            code="dtype-mismatch",
        )


def affine_map(g: OnnxGraph, x: Operand, weight: Operand, bias: Operand | None) -> Operand:
    """The last axis of `x` mapped by a weight as torch has it, output features first."""
    result = x.type.with_dim(-1, weight.type.dims[0])
    if x.type.rank == 2:
        return g.node("Gemm", x, weight, bias, type=result, transB=1)
    turned = TensorType(weight.type.dtype, weight.type.dims[::-1], weight.type.axes[::-1])
    weight = g.node("Transpose", weight, type=turned, perm=(1, 0))
    product = g.node("MatMul", x, weight, type=result)
    return product if bias is None else g.node("Add", product, bias, type=result)


def _rows(g: OnnxGraph, table: Operand, indices: Operand) -> Operand:
    result = indices.type.with_axis(indices.type.rank, table.type.dims[1])
    return g.node("Gather", table, indices, type=result.with_dtype(table.type.dtype), axis=0)
