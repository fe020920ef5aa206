"""Boxes and detectors: the standard library beside torchvision, whole networks beside loops."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from detector_parity import State, compare, convolved, detections, linear, shipped
from op_cases.boxes import suppress
from op_cases.regions import roi_align, roi_pool
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_shim import torchvision

from archdsl import api
from archdsl.resources import shipped_models

IMPORT = (
    "edition 2026\nimport std.detection (BoxArea, BoxIoU, ClipBoxes, EncodeBoxes, DecodeBoxes,"
    " Anchors, Detections, ClassDetections, OneVersusRestHinge)\n"
)


def boxes(count: int, seed: int = 0, extent: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * extent
    return torch.cat((low, low + 1 + torch.rand(count, 2, generator=generator) * extent / 2), 1)


# ---------------------------------------------------------------------------- the standard library


def test_areas_and_overlaps_are_those_of_torchvision() -> None:
    network = api.load(
        IMPORT + "model m(a: [R >= 0, 4], b: [S, 4]) -> area: [R], iou: [R, S] {\n"
        "  return area = BoxArea()(a), iou = BoxIoU()(a, b)\n}"
    )
    ops = torchvision.ops

    def reference(_: State, a: Tensor, b: Tensor) -> Sequence[Tensor]:
        return ops.box_area(a), ops.box_iou(a, b)

    compare(network, reference, (boxes(9), boxes(5, 1)), (boxes(0), boxes(3)), (boxes(1), boxes(1)))
    module = network.to_torch()
    with torch.inference_mode():
        mine = module(boxes(30), boxes(20, 1))
    assert torch.equal(mine.iou, ops.box_iou(boxes(30), boxes(20, 1)))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (10.0, 5.0)])
def test_boxes_are_coded_as_in_torchvision(weights: tuple[float, float]) -> None:
    centre, extent = weights
    network = api.load(
        IMPORT + "model m(targets: [R >= 0, 4], deltas: [R, 3, 4], boxes: [R, 4])"
        " -> coded: [R, 4], decoded: [R, 3, 4] {\n"
        f"  return coded = EncodeBoxes({centre}, {extent})(targets, boxes),"
        f" decoded = DecodeBoxes({centre}, {extent})(deltas, boxes)\n}}"
    )
    coder = torchvision.models.detection._utils.BoxCoder((centre, centre, extent, extent))

    def reference(_: State, targets: Tensor, deltas: Tensor, own: Tensor) -> Sequence[Tensor]:
        return (
            coder.encode_single(targets, own),
            coder.decode_single(deltas.flatten(1), own).view(-1, 3, 4),
        )

    deltas = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(3)) * 5
    compare(
        network,
        reference,
        (boxes(8), deltas, boxes(8, 1)),
        (boxes(1), deltas[:1], boxes(1, 1)),
        (boxes(0), deltas[:0], boxes(0)),
    )


def test_boxes_are_clipped_as_in_torchvision() -> None:
    network = api.load(
        IMPORT + "model m(a: [R >= 0, K, 4], image: [N, 3, H, W]) -> [R, K, 4] {\n"
        "  return ClipBoxes()(a, image)\n}"
    )

    def reference(_: State, a: Tensor, image: Tensor) -> Sequence[Tensor]:
        return (torchvision.ops.clip_boxes_to_image(a, (image.shape[2], image.shape[3])),)

    far = (boxes(12) - 40).view(6, 2, 4)
    compare(
        network, reference, (far, torch.zeros(1, 3, 31, 64)), (far[:0], torch.zeros(2, 3, 5, 7))
    )


@pytest.mark.parametrize("sizes", [(32.0,), (24.0, 60.0, 133.0)])
def test_anchors_are_those_of_torchvision(sizes: tuple[float, ...]) -> None:
    network = api.load(
        IMPORT + "model m(image: [N, 3, H, W], features: [N, 8, P, Q]) -> [A, 4] {\n"
        "  anchors = []\n"
        f"  for size in {list(sizes)} {{\n"
        "    one = Anchors(size, [0.5, 1.0, 2.0])(features, image)\n"
        "    anchors = anchors + [one -> reshape([P * Q, 3, 4])]\n  }\n"
        "  return stack(anchors, axis=2) -> flatten(0, 2)\n}"
    )
    generator = torchvision.models.detection.anchor_utils.AnchorGenerator(
        (sizes,), ((0.5, 1.0, 2.0),)
    )
    images = torchvision.models.detection.image_list

    def reference(_: State, image: Tensor, features: Tensor) -> Sequence[Tensor]:
        size = [tuple(image.shape[2:])] * len(image)
        found = generator(images.ImageList(image, size), [features])
        return (found[0],)

    def image(height: int, width: int, rows: int, columns: int) -> Sequence[Tensor]:
        return torch.zeros(1, 3, height, width), torch.zeros(1, 8, rows, columns)

    compare(network, reference, image(64, 96, 4, 6), image(113, 81, 8, 6), image(5, 5, 1, 1))


def test_detections_are_what_is_not_suppressed() -> None:
    network = api.load(
        IMPORT + "model m(found: [N, R, 4], scores: [N, C, R])"
        " -> a: [K, 4], b: [K], c: int64[K], d: int64[K] {\n"
        "  return found -> Detections(0.4, 0.2, scores=scores)\n}",
        dims={"C": 3},
    )
    compare(
        network,
        lambda _, found, scores: detections(found, scores, 0.4, 0.2),
        (boxes(24).view(2, 12, 4), torch.rand(2, 3, 12)),
        (boxes(1)[None], torch.zeros(1, 3, 1)),
    )


def test_the_hinge_loss_tells_each_class_from_all_others() -> None:
    network = api.load(
        IMPORT + "model m(scores: [N, 5], labels: int64[N]) -> loss: [] {\n"
        "  OneVersusRestHinge()(scores, labels)\n}"
    )

    def reference(_: State, scores: Tensor, labels: Tensor) -> Sequence[Tensor]:
        terms = [
            (1 - (1 if kind == label else -1) * scores[row, kind]).clamp(min=0)
            for row, label in enumerate(labels.tolist())
            for kind in range(scores.shape[1])
        ]
        return (torch.stack(terms).mean(),)

    compare(network, reference, (torch.randn(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])))


# ------------------------------------------------------------------------------------ the networks


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("yolov1", 197_301_875),
        ("fast_rcnn", 134_690_729),
        ("sppnet", 74_046_692),
        ("rcnn", 57_687_524),
        ("fasterrcnn_resnet50_fpn", 41_755_286),
    ],
)
def test_parameters(name: str, parameters: int) -> None:
    module = shipped(name).to_torch(device="meta")
    assert sum(p.numel() for p in module.parameters()) == parameters


def yolov1(state: State, image: Tensor) -> Sequence[Tensor]:
    """Darknet's layers in order, its local layer by patches, its boxes cell by cell."""
    pooled, strided = {0, 1, 5, 15}, {0, 21}
    x = image
    for number in range(24):
        path = f"features.{number}"
        weight = state[f"{path}.conv.weight"]
        stride = 2 if number in strided else 1
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        names = ("running_mean", "running_var", "weight", "bias")
        x = F.batch_norm(x, *(state[f"{path}.norm.{name}"] for name in names))
        x = F.leaky_relu(x, 0.1)
        x = F.max_pool2d(x, 2) if number in pooled else x
    x = F.leaky_relu(locally(x, state["local.weight"], state["local.bias"]), 0.1)
    x = F.linear(x.flatten(1), state["fc.weight"], state["fc.bias"])
    classes, anchors, cells = 20, 3, 49
    places = x.new_zeros(len(x), cells * anchors, 4)
    scores = x.new_zeros(len(x), classes, cells * anchors)
    for cell in range(cells):
        for n in range(anchors):
            at = cell * anchors + n
            sure = x[:, cells * classes + at]
            cx, cy, w, h = x[:, cells * (classes + anchors) + 4 * at :][:, :4].unbind(1)
            cx, cy = 448 * (cx + cell % 7) / 7, 448 * (cy + cell // 7) / 7
            w, h = 448 * w**2, 448 * h**2
            places[:, at] = torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), 1)
            scores[:, :, at] = x[:, cell * classes : (cell + 1) * classes] * sure[:, None]
    return detections(places, scores, 0.4, 0.2)


def locally(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of 3x3 whose weights differ from place to place."""
    padded, result = F.pad(x, (1, 1, 1, 1)), torch.zeros_like(bias).repeat(len(x), 1, 1, 1)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            patch = padded[:, :, i : i + 3, j : j + 3].permute(0, 2, 3, 1).flatten(1)
            result[:, :, i, j] = patch @ weight[i, j].T
    return result + bias


def test_yolov1_is_darknet() -> None:
    network = api.load(shipped_models()["yolov1"], model="YOLOv1", base=2)
    x = torch.randn(2, 3, 448, 448, generator=torch.Generator().manual_seed(0))
    compare(network, yolov1, (x,))


def fast_rcnn(state: State, image: Tensor, rois: Tensor) -> Sequence[Tensor]:
    x = image
    for stage, depth in enumerate((2, 2, 3, 3, 3)):
        for number in range(depth):
            path = f"conv{stage + 1}_{number + 1}"
            x = F.relu(F.conv2d(x, state[f"{path}.weight"], state[f"{path}.bias"], padding=1))
        x = F.max_pool2d(x, 2) if stage < 4 else x
    x = roi_pool(7, 7, 1 / 16)(x, rois).flatten(1)
    for path in ("fc6", "fc7"):
        x = F.relu(F.linear(x, state[f"{path}.weight"], state[f"{path}.bias"]))
    scores = F.linear(x, state["cls_score.weight"], state["cls_score.bias"]).softmax(1)
    deltas = F.linear(x, state["bbox_pred.weight"], state["bbox_pred.bias"])
    coder = torchvision.models.detection._utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    found = coder.decode_single(deltas, rois[:, 1:]).view(len(rois), scores.shape[1], 4)
    found = torchvision.ops.clip_boxes_to_image(found, (image.shape[2], image.shape[3]))
    kept, best, _, kinds = detections(
        found[:, 1:].transpose(0, 1), scores[:, 1:].T[:, None], 0.3, 0.05
    )
    return kept, best, kinds + 1, scores


def test_fast_rcnn_is_its_definition() -> None:
    network = api.load(
        shipped_models()["fast_rcnn"], model="FastRCNN", base=4, hidden=24, classes=5
    )

    def given(height: int, width: int, count: int) -> Sequence[Tensor]:
        generator = torch.Generator().manual_seed(count)
        image = torch.randn(1, 3, height, width, generator=generator)
        regions = boxes(count, count, float(min(height, width)))
        return image, torch.cat((torch.zeros(count, 1), regions), 1)

    compare(network, fast_rcnn, given(97, 130, 25), given(64, 48, 1), given(32, 33, 0))


def by_class(
    state: State, pooled: Tensor, regions: Tensor, size: tuple[int, int] | None
) -> Sequence[Tensor]:
    """Two layers, support vector machines, and boxes from the pooled features."""
    x = F.relu(linear(state, "fc7", F.relu(linear(state, "fc6", pooled))))
    margins = linear(state, "svm", x)
    coder = torchvision.models.detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0))
    found = coder.decode_single(linear(state, "bbox", pooled), regions)
    found = found.view(*margins.shape, 4)
    if size is not None:
        found = torchvision.ops.clip_boxes_to_image(found, size)
    kept, best, _, kinds = detections(found.transpose(0, 1), margins.T[:, None], 0.3, 0.0)
    return kept, best, kinds, margins


def sppnet(state: State, image: Tensor, rois: Tensor) -> Sequence[Tensor]:
    x = convolved(state, "conv1", image, stride=2, padding=3)
    x = F.max_pool2d(F.local_response_norm(x, 5), 3, 2, 1)
    x = convolved(state, "conv2", x, stride=2, padding=2)
    x = F.max_pool2d(F.local_response_norm(x, 5), 3, 2, 1)
    for number in (3, 4, 5):
        x = convolved(state, f"conv{number}", x, padding=1)
    pooled = torch.cat([roi_pool(n, n, 1 / 16)(x, rois).flatten(1) for n in (6, 3, 2, 1)], 1)
    return by_class(state, pooled, rois[:, 1:], (image.shape[2], image.shape[3]))


def rcnn(state: State, crops: Tensor, regions: Tensor) -> Sequence[Tensor]:
    x = F.local_response_norm(F.max_pool2d(convolved(state, "conv1", crops, stride=4), 3, 2), 5)
    x = convolved(state, "conv2", x, padding=2, groups=2)
    x = F.local_response_norm(F.max_pool2d(x, 3, 2), 5)
    x = convolved(state, "conv4", convolved(state, "conv3", x, padding=1), padding=1, groups=2)
    x = F.max_pool2d(convolved(state, "conv5", x, padding=1, groups=2), 3, 2)
    return by_class(state, x.flatten(1), regions, None)


def test_sppnet_is_its_definition() -> None:
    settings = {"base": 6, "hidden": 24, "classes": 4}
    network = api.load(shipped_models()["sppnet"], model="SPPNet", **settings)

    def given(height: int, width: int, count: int) -> Sequence[Tensor]:
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(count))
        regions = boxes(count, count, float(min(height, width)))
        return image, torch.cat((torch.zeros(count, 1), regions), 1)

    compare(network, sppnet, given(113, 150, 20), given(64, 48, 1), given(48, 51, 0))


def test_rcnn_is_its_definition() -> None:
    settings = {"base": 12, "hidden": 24, "classes": 4}
    network = api.load(shipped_models()["rcnn"], model="RCNN", **settings)

    def given(count: int) -> Sequence[Tensor]:
        crops = torch.randn(count, 3, 227, 227, generator=torch.Generator().manual_seed(count))
        return crops, boxes(count, count)

    compare(network, rcnn, given(6), given(1), given(0))


@cache
def torchvision_detector(most: int) -> nn.Module:
    """torchvision's, with the fixed normalisations of its trained weights."""
    detection, frozen = torchvision.models.detection, torchvision.ops.misc.FrozenBatchNorm2d
    body = torchvision.models.resnet50(weights=None, norm_layer=frozen)
    backbone = detection.backbone_utils._resnet_fpn_extractor(body, 3)
    return detection.FasterRCNN(
        backbone, 91, rpn_pre_nms_top_n_test=most, rpn_post_nms_top_n_test=most
    ).eval()


def test_faster_rcnn_has_the_weights_of_torchvision() -> None:
    with torch.device("meta"):
        theirs = torchvision_detector(1000).state_dict()
    ours = shipped("fasterrcnn_resnet50_fpn").to_torch(device="meta").state_dict()
    assert {path: x.shape for path, x in ours.items()} == {p: x.shape for p, x in theirs.items()}


def test_faster_rcnn_finds_what_torchvision_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    detection = torchvision.models.detection

    def nms(found: Tensor, scores: Tensor, threshold: float) -> Tensor:
        kept = suppress(found.numpy(), scores.numpy(), threshold, -np.inf, None)
        return torch.tensor(kept, dtype=torch.int64)

    def align(x: Tensor, rois: Tensor, output_size: Any, spatial_scale: float, **more: int) -> Any:
        height, width = output_size
        return roi_align(height, width, spatial_scale, more["sampling_ratio"])(x, rois)

    monkeypatch.setattr(torchvision.ops.boxes, "nms", nms)
    monkeypatch.setattr(torchvision.ops.poolers, "roi_align", align)
    # Offsets that keep classes apart would round what they move.
    monkeypatch.setattr(
        torchvision.ops.boxes,
        "_batched_nms_coordinate_trick",
        torchvision.ops.boxes._batched_nms_vanilla,
    )

    def reference(state: State, image: Tensor) -> Sequence[Tensor]:
        module = torchvision_detector(30).to(image.dtype)
        module.load_state_dict(state, strict=True)
        with torch.inference_mode():
            size = [(image.shape[2], image.shape[3])] * len(image)
            images = detection.image_list.ImageList(image, size)
            features = module.backbone(image)
            proposals, _ = module.rpn(images, features)
            found, _ = module.roi_heads(features, proposals, size)
        names = ("boxes", "scores", "labels")
        owners = [torch.full_like(one["labels"], i) for i, one in enumerate(found)]
        return *(torch.cat([one[name] for one in found]) for name in names), torch.cat(owners)

    network = api.load(shipped_models()["fasterrcnn_resnet50_fpn"], model="FasterRCNN", most=30)
    generator = torch.Generator().manual_seed(5)
    compare(
        network,
        reference,
        (torch.randn(1, 3, 64, 96, generator=generator),),
        (torch.randn(2, 3, 97, 81, generator=generator),),
    )
