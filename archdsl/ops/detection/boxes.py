"""Non-maximum suppression."""

from collections.abc import Mapping
from typing import ClassVar

from archdsl.ir.lowering import Call, Input, OnnxGraph, Operand, Unsupported
from archdsl.ir.obligations import Obligations
from archdsl.ir.op import Op
from archdsl.ir.types import DType, ShapeError, TensorType
from archdsl.ops.contract._fields import Positive, Probability
from archdsl.ops.detection._nms_torch import BEST, SUPPRESSION, UNSUPPRESSED
from archdsl.ops.elementwise._casting import cast
from archdsl.sizes.dims import Dim, minimum

_LOWEST = float("-inf")


class Nms(Op, function="nms"):
    """The indices of the boxes kept by non-maximum suppression, the best first.

    `[R, 4], [R] -> int64[Kept]`

    A box is two opposite corners, `[x1, y1, x2, y2]`. Of equal scores the first one wins. A box is
    ignored if its score is NaN or not above `score_threshold`. Boxes without area overlap nothing.

    Source: torchvision.ops.nms; ONNX NonMaxSuppression.

    Example: `nms(boxes, scores, 0.7)`
    """

    positional = ("iou_threshold",)
    torch_functions: ClassVar[Mapping[str, str]] = {"unsuppressed": UNSUPPRESSED, "nms": BEST}

    iou_threshold: Probability
    """How much of their union two boxes may share."""
    score_threshold: float = _LOWEST

    def infer(self, check: Obligations, boxes: TensorType, scores: TensorType) -> TensorType:
        expect_boxes(boxes, 2)
        if scores.rank != 1:
            raise ShapeError(
                f"`nms` takes one score for each box, [R], but the scores are {scores}",
                help="for several classes there is `non_max_suppression`",
                inputs=(1,),
            )
        _expect_same(check, boxes, scores)
        kept = check.fresh("Kept", boxes.dims[0])
        return TensorType.of(DType.INT64, kept, axes=(None,))

    def torch_call(self, boxes: TensorType, scores: TensorType) -> Call:
        return Call("nms", (Input(0), Input(1), self.iou_threshold, self.score_threshold))

    def onnx(self, g: OnnxGraph, boxes: Operand, scores: Operand) -> Operand:
        first, both = (g.constant(axes, DType.INT64) for axes in ([0], [0, 1]))
        boxes = g.node("Unsqueeze", boxes, first, type=boxes.type.with_axis(0, 1))
        type = scores.type.with_axis(0, 1).with_axis(0, 1)
        scores = g.node("Unsqueeze", scores, both, type=type)
        (result,) = g.results
        rows = TensorType.of(DType.INT64, result.dims[0], 3)
        found = _suppressed(g, boxes, scores, self.iou_threshold, self.score_threshold, None, rows)
        return g.node("Gather", found, g.constant(2, DType.INT64), type=result, axis=1)


class NonMaxSuppression(Op, function="non_max_suppression"):
    """Rows [image, class, box] of the boxes kept by non-maximum suppression within each class.

    `[N, R, 4], [N, C, R] -> int64[Kept, 3]`

    Rows are sorted by image, then by class, then the best first. As in `nms`, a box is two opposite
    corners, the first of equal scores wins, and a score must be above `score_threshold`.

    Source: ONNX NonMaxSuppression.

    Example: `non_max_suppression(boxes, scores, 0.5, score_threshold=0.05)`
    """

    positional = ("iou_threshold",)
    torch_functions: ClassVar[Mapping[str, str]] = {
        "unsuppressed": UNSUPPRESSED,
        "non_max_suppression": SUPPRESSION,
    }

    iou_threshold: Probability
    """How much of their union two boxes may share."""
    score_threshold: float = _LOWEST
    most: Positive | None = None
    """How many boxes are kept of each class in each image; all, if it is not given."""

    def infer(self, check: Obligations, boxes: TensorType, scores: TensorType) -> TensorType:
        expect_boxes(boxes, 3)
        if scores.rank != 3:
            raise ShapeError(
                f"`non_max_suppression` takes scores [N, C, R], but they are {scores}",
                help="for one class there is `nms`",
                inputs=(1,),
            )
        check.demand_equal(
            scores.dims[0],
            boxes.dims[0],
            f"there are boxes for {boxes.dims[0]} images, {boxes},"
            f" but scores for {scores.dims[0]}, {scores}",
            inputs=(0, 1),
        )
        _expect_same(check, boxes, scores)
        images, classes, regions = scores.dims
        each = regions if self.most is None else minimum(regions, self.most)
        kept = check.fresh("Kept", images * classes * each)
        return TensorType.of(DType.INT64, kept, 3, axes=(None, None))

    def torch_call(self, boxes: TensorType, scores: TensorType) -> Call:
        settings = self.iou_threshold, self.score_threshold, self.most
        return Call("non_max_suppression", (Input(0), Input(1), *settings))

    def onnx(self, g: OnnxGraph, boxes: Operand, scores: Operand) -> Operand:
        settings = self.iou_threshold, self.score_threshold, self.most
        return _suppressed(g, boxes, scores, *settings, g.results[0])


def expect_boxes(boxes: TensorType, rank: int) -> None:
    """Refuse what are no boxes `[x1, y1, x2, y2]`."""
    boxes.expect_floating("the boxes")
    if boxes.rank == rank and boxes.dims[-1] == 4:
        return
    wanted = "[R, 4]" if rank == 2 else "[N, R, 4]"
    help = "write one box as [x1, y1, x2, y2]"
    if boxes.dims and boxes.dims[-1] == 5:
        help = "take the corners without the number of the image: `slice(axis=-1, start=1)`"
    raise ShapeError(f"boxes must be {wanted}, but are {boxes}", help=help, inputs=(0,))


def _expect_same(check: Obligations, boxes: TensorType, scores: TensorType) -> None:
    if boxes.dtype is not scores.dtype:
        raise ShapeError(
            f"boxes and scores must be of one element type, but are {boxes} and {scores}",
            inputs=(0, 1),
            code="dtype-mismatch",
        )
    check.demand_equal(
        scores.dims[-1],
        boxes.dims[-2],
        f"there are {boxes.dims[-2]} boxes, {boxes}, but {scores.dims[-1]} scores, {scores}",
        inputs=(0, 1),
    )


def _suppressed(
    g: OnnxGraph,
    boxes: Operand,
    scores: Operand,
    iou_threshold: float,
    score_threshold: float,
    most: int | None,
    result: TensorType,
) -> Operand:
    if boxes.type.dtype is DType.FLOAT64:
        raise Unsupported(
            "ONNX suppresses boxes of float32 only", "convert them with `cast(float32)`"
        )
    regions = scores.type.dims[2]
    return g.node(
        "NonMaxSuppression",
        cast(g, boxes, DType.FLOAT32),
        cast(g, scores, DType.FLOAT32),
        g.shape([regions if most is None else Dim.of(most)]),
        g.constant([iou_threshold], DType.FLOAT32),
        g.constant([score_threshold], DType.FLOAT32),
        type=result,
    )
