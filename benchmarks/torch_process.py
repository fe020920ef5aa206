"""What a cold process does that exports ResNet-50 with torch: `weights.safetensors out.onnx`."""

from __future__ import annotations

import sys

import torch
from safetensors.torch import load_file

from tests.support.torchvision_shim import torchvision

weights, target = sys.argv[1:]
with torch.device("meta"):
    module = torchvision.models.resnet50()
module.load_state_dict(load_file(weights), assign=True)
torch.onnx.export(
    module.eval(),
    (torch.zeros(2, 3, 224, 224),),
    target,
    dynamo=True,
    verbose=False,
    dynamic_shapes=({0: "N", 2: "H", 3: "W"},),
)
