"""Operators on boxes beside ONNX Runtime's, a segmenter and a detector beside torchvision's."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

import archdsl
from benchmarks.claims import Claim, at_most, ratio_at_most
from benchmarks.measure import SCRATCH, THREADS, interleaved, progress, ratio
from benchmarks.plan import Plan
from benchmarks.subjects import FIXED_IMAGE, export_with_torch, image, run, session
from tests.support.torchvision_shim import torchvision

OPERATOR_BAR, EAGER_BAR, ORT_BAR, MEMORY_BAR = 10.0, 1.02, 1.0, 500.0
COUNTS = (100, 1_000, 10_000)
SIDE = 800.0
PHOTOGRAPH = (1, 3, 320, 480)
TOLERANCE = 1e-3
NMS = (
    "edition 2026\nmodel m(boxes: [R >= 0, 4], scores: [R]) -> int64[K] { nms(boxes, scores, 0.5) }"
)
ALIGN = """edition 2026
model m(x: [N, C, H, W], rois: [R >= 0, 5]) -> [R, C, 7, 7] {{
  roi_align(x, rois, 7, {scale}, sampling_ratio=2)
}}"""


def claims(plan: Plan) -> Iterator[Claim]:
    """Each operator at every number of boxes, then whole networks."""
    torch.set_num_threads(THREADS)
    operators = (
        ("nms", "NonMaxSuppression", archdsl.load(NMS), scored_boxes),
        ("roi_align", "RoiAlign", archdsl.load(ALIGN.format(scale=1 / 16), dims={"N": 1}), regions),
    )
    for name, node, network, given in operators:
        yield _memory(name, network, given(1), given(COUNTS[-1]))
        for count in COUNTS:
            progress(f"{name} of {count:,} boxes")
            yield _operator(name, node, network, given(count), plan)
    for measure in (_segmenter_in_onnxruntime, _segmenter_in_torch, _detector_in_torch):
        progress(measure.__name__.strip("_").replace("_", " "))
        yield measure(plan)


def boxes(count: int) -> Tensor:
    """Boxes as a detector proposes them: of every size, many over one another."""
    generator = torch.Generator().manual_seed(count)
    low = torch.rand(count, 2, generator=generator) * SIDE * 0.9
    return torch.cat((low, low + torch.rand(count, 2, generator=generator) * SIDE * 0.1), 1)


def scored_boxes(count: int) -> dict[str, Tensor]:
    """What is to be suppressed."""
    return {"boxes": boxes(count), "scores": torch.rand(count)}


def regions(count: int) -> dict[str, Tensor]:
    """What is to be pooled, and from what."""
    features = torch.randn(1, 64, int(SIDE) // 16, int(SIDE) // 16)
    return {"x": features, "rois": torch.cat((torch.zeros(count, 1), boxes(count)), 1)}


def _memory(
    name: str, network: archdsl.Network, one: Mapping[str, Tensor], many: Mapping[str, Tensor]
) -> Claim:
    """How much more memory many boxes need than one; measured before anything needs more."""
    module = network.to_torch()
    with torch.inference_mode():
        module(*one.values())
        before = _peak()
        module(*many.values())
    what = f"{name} in PyTorch of {COUNTS[-1]:,} boxes: memory"
    return at_most("detection", what, _peak() - before, MEMORY_BAR, "MB")


def _peak() -> float:
    """The most memory that the process has had, in MB."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _operator(
    name: str, node: str, network: archdsl.Network, given: Mapping[str, Tensor], plan: Plan
) -> Claim:
    """The emitted function beside the operator that the export is."""
    exported = network.to_onnx()
    if node not in {one.op_type for one in exported.graph.node}:
        raise AssertionError(f"{name} is not exported as {node}")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / f"{name}.onnx"
    path.write_bytes(exported.SerializeToString())
    opened, module = session(path), network.to_torch().eval()
    arrays, tensors = {key: x.numpy() for key, x in given.items()}, tuple(given.values())
    with torch.inference_mode():
        _expect_same(name, module(*tensors).numpy(), opened.run(None, arrays)[0])
        seconds = interleaved(
            {"ours": lambda: module(*tensors), "ort": lambda: opened.run(None, arrays)},
            plan.rounds,
            repeats=min(30, 20_000 // len(tensors[1])),
        )
    what = f"{name} of {len(tensors[1]):,} boxes: PyTorch / ONNX Runtime's {node}"
    note = f"least {1000 * min(seconds['ours']):.3g} ms"
    return ratio_at_most(
        "detection", what, ratio(seconds["ours"], seconds["ort"]), OPERATOR_BAR, note
    )


def _segmenter() -> nn.Module:
    torch.manual_seed(0)
    create = torchvision.models.segmentation.fcn_resnet50
    module = create(weights=None, weights_backbone=None, aux_loss=True)
    return module.eval().requires_grad_(False)


class Segmented(nn.Module):
    """torchvision's segmenter, giving only what ours gives."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        module.aux_classifier = None
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)["out"]


def _segmenter_in_onnxruntime(plan: Plan) -> Claim:
    theirs = _segmenter()
    folder = SCRATCH / "detection"
    folder.mkdir(parents=True, exist_ok=True)
    archdsl.load("fcn_resnet50", dims=FIXED_IMAGE).save_onnx(folder / "ours.onnx", theirs)
    export_with_torch(Segmented(theirs), folder / "torch.onnx", {0: "N"})
    opened = {name: session(folder / f"{name}.onnx") for name in ("ours", "torch")}
    picture = image()
    _expect_same("fcn_resnet50", *(run(one, picture) for one in opened.values()))
    seconds = interleaved(
        {name: lambda one=one: run(one, picture) for name, one in opened.items()},
        plan.slow_rounds,
    )
    for path in folder.iterdir():
        path.unlink()
    what = "fcn_resnet50 in ONNX Runtime: ours / torch's export"
    return _compared(what, seconds["ours"], seconds["torch"], ORT_BAR)


def _segmenter_in_torch(plan: Plan) -> Claim:
    theirs = _segmenter()
    ours = archdsl.load("fcn_resnet50").to_torch(weights=theirs).eval().requires_grad_(False)
    theirs, picture = Segmented(theirs), torch.from_numpy(image())
    if not torch.equal(ours(picture), theirs(picture)):
        raise AssertionError("fcn_resnet50: the two modules do not compute the same")
    seconds = interleaved(
        {"ours": lambda: ours(picture), "torchvision": lambda: theirs(picture)}, plan.slow_rounds
    )
    what = "fcn_resnet50 in PyTorch: emitted / torchvision"
    return _compared(what, seconds["ours"], seconds["torchvision"], EAGER_BAR)


def _detector_in_torch(plan: Plan) -> Claim:
    detection, frozen = torchvision.models.detection, torchvision.ops.misc.FrozenBatchNorm2d
    torch.manual_seed(0)
    body = torchvision.models.resnet50(weights=None, norm_layer=frozen)
    theirs = detection.FasterRCNN(detection.backbone_utils._resnet_fpn_extractor(body, 3), 91)
    theirs = theirs.eval().requires_grad_(False)
    note = _lend_operators()
    ours = archdsl.load("fasterrcnn_resnet50_fpn").to_torch(weights=theirs)
    ours = ours.eval().requires_grad_(False)
    picture = torch.randn(PHOTOGRAPH, generator=torch.Generator().manual_seed(0))
    size = [PHOTOGRAPH[2:]]
    images = detection.image_list.ImageList(picture, size)

    def detect() -> Mapping[str, Tensor]:
        features = theirs.backbone(picture)
        proposals, _ = theirs.rpn(images, features)
        found, _ = theirs.roi_heads(features, proposals, size)
        return found[0]

    with torch.inference_mode():
        expected, found = detect(), ours(picture)
        for name in ("labels", "scores", "boxes"):
            _expect_same(f"detector's {name}", getattr(found, name).numpy(), expected[name].numpy())
        seconds = interleaved(
            {"ours": lambda: ours(picture), "torchvision": detect}, plan.slow_rounds
        )
    what = "fasterrcnn_resnet50_fpn in PyTorch: emitted / torchvision"
    note = f"{len(found.boxes)} boxes; {note}"
    return _compared(what, seconds["ours"], seconds["torchvision"], EAGER_BAR, note)


def _lend_operators() -> str:
    """Where torchvision's compiled operators are missing it gets those that we emit."""
    try:
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except RuntimeError:
        torchvision.ops.boxes.nms = _nms
        torchvision.ops.poolers.roi_align = _roi_align
        return "torchvision has no compiled operators here and is lent ours"
    return "torchvision's compiled operators"


def _nms(found: Tensor, scores: Tensor, threshold: float) -> Tensor:
    return _operator_of(NMS.replace("0.5", str(threshold)))(found, scores)


def _roi_align(x: Tensor, rois: Tensor, spatial_scale: float, **_: object) -> Tensor:
    return _operator_of(ALIGN.format(scale=spatial_scale))(x, rois)


@cache
def _operator_of(text: str) -> nn.Module:
    return archdsl.load(text).to_torch()


def _compared(
    what: str, ours: Sequence[float], theirs: Sequence[float], bar: float, note: str = ""
) -> Claim:
    least = f"least {1000 * min(ours):.0f} ms"
    note = f"{least}; {note}" if note else least
    return ratio_at_most("detection", what, ratio(ours, theirs), bar, note)


def _expect_same(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    near = TOLERANCE * np.abs(theirs).max(initial=0)
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=TOLERANCE, atol=near):
        raise AssertionError(f"{what}: the two do not compute the same")
