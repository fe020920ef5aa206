"""Losses: the hinge loss of linear support vector machines."""

from typing import Literal

from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.reduction._reductions import reduced


class MultiMarginLoss(Op, function="multi_margin_loss"):
    """Multi-class hinge loss: the sum of all margin violations, divided by the number of classes.

    `[N, C], int64[N] -> []`

    Source: Crammer and Singer 2001; torch.nn.functional.multi_margin_loss; ONNX GatherElements,
    Relu, ScatterElements, ReduceMean.

    Example: `multi_margin_loss(scores, argmax(scores, axis=C))`
    """

    p: Literal[1, 2] = 1
    margin: float = 1.0
    reduction: Literal["none", "mean", "sum"] = "mean"
    """What is made of the losses of the samples."""

    def infer(self, check: Obligations, scores: TensorType, target: TensorType) -> TensorType:
        scores.expect_floating("the scores")
        scores.expect_rank(2, what="the scores")
        if target.dtype is not DType.INT64 or target.rank != 1:
            raise ShapeError(
                f"the target must be the class of each sample, int64[N], but is {target}",
                help="convert it with `cast(int64)`",
                inputs=(1,),
                code="dtype-mismatch",
            )
        check.demand_equal(
            target.dims[0],
            scores.dims[0],
            f"there are scores for {scores.dims[0]} samples, {scores},"
            f" but classes for {target.dims[0]}, {target}",
            inputs=(0, 1),
        )
        check.demand_at_least(scores.dims[1], 1, f"there are no classes in {scores}")
        return scores.without_axis(1) if self.reduction == "none" else _scalar(scores)

    def torch_call(self, scores: TensorType, target: TensorType) -> Call:
        keywords = self.changed("p", "margin", "reduction")
        return Call("F.multi_margin_loss", (Input(0), Input(1)), keywords)

    def onnx(self, g: OnnxGraph, scores: Operand, target: Operand) -> Operand:
        type, column = scores.type, scores.type.with_dim(1, 1)
        axis = g.constant([1], DType.INT64)
        index = g.node("Unsqueeze", target, axis, type=column.with_dtype(DType.INT64))
        right = g.node("GatherElements", scores, index, type=column, axis=1)
        margin = g.node("Sub", g.constant(self.margin, type.dtype), right, type=column)
        excess = g.node("Relu", g.node("Add", scores, margin, type=type), type=type)
        none = g.node("Expand", g.constant(0, type.dtype), g.shape(column.dims), type=column)
        excess = g.node("ScatterElements", excess, index, none, type=type, axis=1)
        if self.p == 2:
            excess = g.node("Mul", excess, excess, type=type)
        losses = reduced(g, "ReduceMean", excess, (1,), type.without_axis(1))
        if self.reduction == "none":
            return losses
        op_type = "ReduceMean" if self.reduction == "mean" else "ReduceSum"
        return reduced(g, op_type, losses, (0,), _scalar(type))


def _scalar(x: TensorType) -> TensorType:
    return TensorType.of(x.dtype)
