"""Detectors with drawn weights beside references, and what their layers do in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from op_cases.boxes import suppress
from op_parity import assert_parity
from torch import Tensor
from torch.nn import functional as F

from archdsl import api
from archdsl.resources import shipped_models
from archdsl.runtime.run import run_onnx

State = Mapping[str, Tensor]


def drawn(network: api.Network, seed: int = 0) -> tuple[Any, dict[str, Tensor]]:
    """The module with weights of which none is as it begins."""
    generator = torch.Generator().manual_seed(seed)
    module = network.to_torch().eval()
    state: dict[str, Tensor] = {}
    for path, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            state[path] = tensor
        elif path.endswith("running_var") or (path.endswith("weight") and tensor.dim() == 1):
            state[path] = torch.rand(tensor.shape, generator=generator) + 0.5
        else:
            fan = max(1, tensor[0].numel()) if tensor.dim() > 1 else 100
            state[path] = torch.randn(tensor.shape, generator=generator) * (2 / fan) ** 0.5
    module.load_state_dict(state)
    return module, state


def compare(
    network: api.Network,
    reference: Callable[..., Sequence[Tensor]],
    *trials: Sequence[Tensor],
    draw: Callable[[api.Network], tuple[Any, dict[str, Tensor]]] = drawn,
) -> None:
    """The module and ONNX Runtime beside a reference that takes the state and the inputs."""
    module, state = draw(network)
    exported = network.to_onnx({k: v.numpy() for k, v in state.items()}).SerializeToString()
    double = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    names = [port.name for port in network.ir.root.inputs]
    for inputs in trials:
        wide = [x.double() if x.is_floating_point() else x for x in inputs]
        with torch.inference_mode():
            single, exact = reference(state, *inputs), reference(double, *wide)
            result = module(*inputs)
        found = result if isinstance(result, tuple) else (result,)
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        outputs = network.ir.root.outputs
        for port, mine, theirs, one, two in zip(
            outputs, found, run_onnx(exported, given), single, exact, strict=True
        ):
            assert_parity(f"PyTorch {port.name}", mine.numpy(), one, two)
            assert_parity(f"ONNX {port.name}", theirs, one, two)


def detections(found: Tensor, scores: Tensor, iou: float, least: float) -> list[Tensor]:
    """What the published algorithm keeps, image by image, class by class."""
    rows = [
        (image, kind, place)
        for image in range(scores.shape[0])
        for kind in range(scores.shape[1])
        for place in suppress(found[image].numpy(), scores[image, kind].numpy(), iou, least, None)
    ]
    image, kind, place = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3).unbind(1)
    return [found[image, place], scores[image, kind, place], kind, image]


@cache
def shipped(name: str, **settings: int) -> api.Network:
    path = shipped_models()[name]
    return api.load(path, model=name, **settings)


def convolved(state: State, path: str, x: Tensor, **settings: int) -> Tensor:
    return F.relu(F.conv2d(x, state[f"{path}.weight"], state[f"{path}.bias"], **settings))


def linear(state: State, path: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{path}.weight"], state[f"{path}.bias"])
