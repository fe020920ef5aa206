"""YOLOv3 and Faster R-CNN beside what their authors published, layer by layer and box by box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from detector_parity import State, compare, convolved, detections, drawn, linear, shipped
from op_cases.boxes import suppress
from op_cases.regions import roi_pool
from torch import Tensor, nn
from torch.nn import functional as F

from archdsl import ArchError, api
from archdsl.resources import shipped_models

# ----------------------------------------------------------------------------------------- YOLOv3

Layer = tuple[str, int, int, int]


def darknet() -> Iterator[Layer]:
    """The layers of yolov3.cfg in their order: what, and its filters, size and stride."""
    yield "convolutional", 32, 3, 1
    for filters, times in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        yield "convolutional", filters, 3, 2
        for _ in range(times):
            yield "convolutional", filters // 2, 1, 1
            yield "convolutional", filters, 3, 1
            yield "shortcut", -3, 0, 0
    for filters, mask, joined in ((512, 6, 61), (256, 3, 36), (128, 0, 0)):
        for _ in range(3):
            yield "convolutional", filters, 1, 1
            yield "convolutional", 2 * filters, 3, 1
        yield "linear", 255, 1, 1
        yield "yolo", mask, 0, 0
        if mask:
            yield "route", -4, 0, 0
            yield "convolutional", filters // 2, 1, 1
            yield "upsample", 0, 0, 2
            yield "route", -1, joined, 0


def darknet_names() -> Iterator[str]:
    """The convolutions in that order, as MMDetection names them."""
    yield "backbone.conv1"
    for stage, times in enumerate((1, 2, 8, 8, 4), 1):
        yield f"backbone.conv_res_block{stage}.conv"
        for place in range(times):
            yield from (f"backbone.conv_res_block{stage}.res{place}.conv{n}" for n in (1, 2))
    for scale in range(3):
        if scale:
            yield f"neck.conv{scale}"
        yield from (f"neck.detect{scale + 1}.conv{n}" for n in range(1, 6))
        yield f"bbox_head.convs_bridge.{scale}"
        yield f"bbox_head.convs_pred.{scale}"


PRIORS = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326),
)  # fmt: skip


def yolov3(state: State, image: Tensor) -> Sequence[Tensor]:
    names, outputs = darknet_names(), list[Tensor]()
    x, places, scores = image, list[Tensor](), list[Tensor]()
    for kind, first, size, stride in darknet():
        match kind:
            case "convolutional":
                path = next(names)
                weight = state[f"{path}.conv.weight"]
                assert weight.shape[-1] == size
                x = F.conv2d(x, weight, stride=stride, padding=size // 2)
                norm = ("running_mean", "running_var", "weight", "bias")
                x = F.batch_norm(x, *(state[f"{path}.bn.{name}"] for name in norm))
                x = F.leaky_relu(x, 0.1)
            case "linear":
                path = next(names)
                x = F.conv2d(x, state[f"{path}.weight"], state[f"{path}.bias"])
            case "shortcut":
                x = x + outputs[first]
            case "upsample":
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            case "route":
                x = outputs[first] if not size else torch.cat((outputs[first], outputs[size]), 1)
            case _:
                found, likely = predicted(x, PRIORS[first : first + 3], image.shape[2])
                places.append(found)
                scores.append(likely)
        outputs.append(x)
    assert next(names, None) is None and len(outputs) == 107
    return detections(torch.cat(places, 1), torch.cat(scores, 2), 0.45, 0.1)


def predicted(x: Tensor, priors: Sequence[tuple[int, int]], height: int) -> tuple[Tensor, Tensor]:
    """Darknet's boxes, place by place, and the probabilities of its classes."""
    step = height // x.shape[2]
    each = x.shape[1] // len(priors)
    boxes, scores = list[Tensor](), list[Tensor]()
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            for number, (width, length) in enumerate(priors):
                own = x[:, number * each : (number + 1) * each, row, column]
                cx = (column + own[:, 0].sigmoid()) * step
                cy = (row + own[:, 1].sigmoid()) * step
                w, h = own[:, 2].exp() * width, own[:, 3].exp() * length
                boxes.append(torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), 1))
                scores.append(own[:, 4:5].sigmoid() * own[:, 5:].sigmoid())
    return torch.stack(boxes, 1), torch.stack(scores, 2)


def settled(network: api.Network) -> tuple[Any, dict[str, Tensor]]:
    """Drawn weights, normalisations as if trained, predictions that move boxes as far as theirs."""
    module, state = drawn(network)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    calm(state, "bbox_head.convs_pred")
    module.load_state_dict(state)
    with torch.no_grad():
        module.train()(torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(1)))
    return module.eval(), module.state_dict()


def calm(state: dict[str, Tensor], *paths: str) -> None:
    """Let these layers say a tenth of what they say."""
    for path in state:
        if path.startswith(paths):
            state[path] *= 0.1


def test_yolov3_is_darknet() -> None:
    settings = {"base": 4, "classes": 3}
    network = api.load(shipped_models()["yolov3"], model="YOLOv3", score=0.1, **settings)
    generator = torch.Generator().manual_seed(0)
    sizes = (1, 3, 96, 128), (2, 3, 64, 32), (1, 3, 32, 32)
    images = [(torch.randn(*size, generator=generator),) for size in sizes]
    compare(network, yolov3, *images, draw=settled)


@pytest.mark.parametrize(("classes", "parameters"), [(80, 61_949_149), (20, 61_626_049)])
def test_yolov3_has_the_parameters_of_darknet(classes: int, parameters: int) -> None:
    """Of every convolution its kernels, and a scale and a shift, or a bias."""
    count, channels = 0, list[int]()
    x = 3
    for kind, first, size, _ in darknet():
        match kind:
            case "convolutional":
                count += first * x * size**2 + 2 * first
                x = first
            case "linear":
                x, before = 3 * (5 + classes), x
                count += x * before + x
            case "route":
                x = channels[first] + (channels[size] if size else 0)
            case _:
                pass
        channels.append(x)
    assert count == parameters
    network = api.load(shipped_models()["yolov3"], model="YOLOv3", classes=classes)
    module = network.to_torch(device="meta")
    assert sum(p.numel() for p in module.parameters()) == parameters


def test_yolov3_says_which_images_it_takes() -> None:
    module = api.load(shipped_models()["yolov3"], model="YOLOv3", base=4).to_onnx()
    assert module.graph.input[0].type.tensor_type.shape.dim[2].dim_param == "H"
    with pytest.raises(ArchError, match=r"five times half of 400x416"):
        api.load(shipped_models()["yolov3"], model="yolov3", dims={"H": 400, "W": 416})


# ----------------------------------------------------------------------------------- Faster R-CNN


def anchors(rows: int, columns: int) -> Tensor:
    """Three ratios of three sizes around the middle of every 16x16 pixels, the first being at 0."""
    found = list[tuple[float, ...]]()
    for row in range(rows):
        for column in range(columns):
            x, y = column * 16 + 7.5, row * 16 + 7.5
            for ratio in (0.5, 1.0, 2.0):
                for size in (128, 256, 512):
                    w, h = round(size / ratio**0.5 / 2), round(size * ratio**0.5 / 2)
                    found.append((x - w, y - h, x + w, y + h))
    return torch.tensor(found)


def moved(deltas: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes by what a regression says of them, cut off at the edges of the image."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    middle = (low + high) / 2 + deltas[..., :2] * (high - low)
    extent = (high - low) * deltas[..., 2:].clamp(max=4.135166556742356).exp()
    found = torch.cat((middle - extent / 2, middle + extent / 2), -1)
    height, width = size
    return torch.stack([found[..., i].clamp(0, (width, height)[i % 2]) for i in range(4)], -1)


def proposed(likely: Tensor, deltas: Tensor, size: Sequence[int], most: int) -> Tensor:
    rows, columns = likely.shape[-2:]
    scores = likely[0].permute(1, 2, 0).flatten()
    own = deltas[0].view(9, 4, rows, columns).permute(2, 3, 0, 1).reshape(-1, 1, 4)
    boxes = moved(own, anchors(rows, columns).to(own), size)[:, 0]
    best = sorted(range(len(scores)), key=lambda place: -float(scores[place]))[:most]
    boxes, scores = boxes[best], scores[best]
    large = (boxes[:, 2:] - boxes[:, :2] >= 16).all(1)
    boxes, scores = boxes[large], scores[large]
    return boxes[suppress(boxes.numpy(), scores.numpy(), 0.7, float("-inf"), 12)]


def faster_rcnn(state: State, image: Tensor) -> Sequence[Tensor]:
    x, size = image, (image.shape[2], image.shape[3])
    for stage, depth in enumerate((2, 2, 3, 3, 3)):
        for number in range(depth):
            x = convolved(state, f"conv{stage + 1}_{number + 1}", x, padding=1)
        x = F.max_pool2d(x, 2) if stage < 4 else x
    y = convolved(state, "rpn_conv", x, padding=1)
    likely = F.conv2d(y, state["rpn_cls_score.weight"], state["rpn_cls_score.bias"])
    likely = likely.view(1, 2, 9, *x.shape[2:]).softmax(1)[:, 1]
    deltas = F.conv2d(y, state["rpn_bbox_pred.weight"], state["rpn_bbox_pred.bias"])
    regions = proposed(likely, deltas, size, 400)
    rois = torch.cat((regions.new_zeros(len(regions), 1), regions), 1)
    pooled = roi_pool(7, 7, 1 / 16)(x, rois).flatten(1)
    features = F.relu(linear(state, "fc7", F.relu(linear(state, "fc6", pooled))))
    scores = linear(state, "cls_score", features).softmax(1)
    coded = linear(state, "bbox_pred", features).view(len(regions), -1, 4)
    found = moved(coded / coded.new_tensor([10, 10, 5, 5]), regions, size)
    kept, best, _, kinds = detections(
        found[:, 1:].transpose(0, 1), scores[:, 1:].T[:, None], 0.3, 0.05
    )
    return kept, best, kinds + 1, regions, scores


def timid(network: api.Network) -> tuple[Any, dict[str, Tensor]]:
    """Drawn weights, of which those that move boxes are small, as they begin in the paper."""
    module, state = drawn(network)
    calm(state, "rpn_bbox_pred", "bbox_pred")
    module.load_state_dict(state)
    return module, state


def test_faster_rcnn_is_its_definition() -> None:
    settings = {"base": 4, "hidden": 24, "classes": 5, "most": 400, "proposals": 12}
    network = api.load(shipped_models()["faster_rcnn"], model="FasterRCNN", **settings)
    generator = torch.Generator().manual_seed(0)
    sizes = (331, 500), (160, 128), (16, 31)
    images = [(torch.randn(1, 3, *size, generator=generator),) for size in sizes]
    compare(network, faster_rcnn, *images, draw=timid)


def test_faster_rcnn_has_the_parameters_of_the_paper() -> None:
    """VGG16 without its classifier, the proposals' three layers, two matrices, and two heads."""
    vgg = 14_714_688
    rpn = (512 * 9 + 1) * 512 + (512 + 1) * 9 * (2 + 4)
    head = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 21 * (1 + 4)
    module = shipped("faster_rcnn").to_torch(device="meta")
    assert sum(p.numel() for p in module.parameters()) == vgg + rpn + head == 137_078_239
