"""The text of the spec that `archdsl new` writes."""

_TEXT = """\
edition 2026

## Two convolutions with batch norm, each followed by max pooling.
block Stage(width: int)(x: [N, C, H, W]) -> [N, width, H // 2, W // 2] {{
  require H >= 2 and W >= 2, "an image of {{H}} x {{W}} is too small to be halved"
  return x -> conv1: Conv(width, 3, padding=1, bias=false) -> bn1: BatchNorm -> relu
           -> conv2: Conv(width, 3, padding=1, bias=false) -> bn2: BatchNorm -> relu
           -> MaxPool(2)
}}

## An image classifier for images of any size from 4 x 4.
model {name}(width: int = 32, classes: int = 10)(image: [N, 1, H, W]) -> logits: [N, classes] {{
  require H >= 4 and W >= 4, "images are at least 4 x 4, not {{H}} x {{W}}"
  x = image -> stage1: Stage(width) -> stage2: Stage(2 * width)
  return x -> global_avg_pool -> flatten -> fc: Linear(classes)
}}
"""


def starter(name: str) -> str:
    """A small complete model of that name."""
    return _TEXT.format(name=name)
