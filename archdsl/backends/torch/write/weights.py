"""Writes initial weights: `nn.Parameter`s, buffers and calls of `torch.nn.init`."""

from __future__ import annotations

from collections.abc import Mapping

from archdsl.backends.python.layout import INDENT, Code, call, lay_out, tuple_of
from archdsl.backends.torch.write.values import Variables, value_code
from archdsl.ir.op import Init, Weight
from archdsl.ir.types import DType

BILINEAR = '''
def bilinear_(weight):
    """Upsample each channel by itself, with a triangle along every spatial axis."""
    kernel = torch.ones((), dtype=torch.float64)
    for size in weight.shape[2:]:
        factor = (size + 1) // 2
        center = factor - 1 if size % 2 else factor - 0.5
        kernel = kernel[..., None] * (1 - (torch.arange(size) - center).abs() / factor)
    channels = torch.arange(min(weight.shape[:2]))
    with torch.no_grad():
        if weight.shape[1] == 1:
            weight.copy_(kernel.expand(weight.shape))
        else:
            weight.zero_()
            weight[channels, channels] = kernel.to(weight)
'''.strip()
"""What `torch.nn.init` does not have."""

_KAIMING = {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"}
_TORCH_DEFAULTS: Mapping[str, Mapping[str, float | str]] = {
    "uniform": {"a": 0.0, "b": 1.0},
    "normal": {"mean": 0.0, "std": 1.0},
    "trunc_normal": {"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0},
    "kaiming_uniform": _KAIMING,
    "kaiming_normal": _KAIMING,
    "xavier_uniform": {"gain": 1.0},
    "xavier_normal": {"gain": 1.0},
}
"""What the functions of `torch.nn.init` take where nothing is given."""


def empty_weight(weight: Weight, variables: Variables) -> tuple[Code, bool]:
    """The tensor a weight begins as, and whether it is begun with that."""
    keywords: dict[str, Code] = {}
    if weight.dtype is not DType.FLOAT32:
        keywords["dtype"] = value_code(weight.dtype, variables)
    dims = [value_code(dim, variables) for dim in weight.dims]
    shape = dims if dims else [Code("()")]
    arguments = dict(weight.init.arguments)
    match weight.init.kind:
        case "zeros" | "ones" as kind:
            return call(f"torch.{kind}", shape, keywords), True
        case "constant" if weight.dtype.is_floating:
            if not isinstance(arguments["val"], float):
                # What a formula gives may be an integer, and so would be all that it fills.
                keywords["dtype"] = value_code(weight.dtype, variables)
            filled = [tuple_of(dims), value_code(arguments["val"], variables)]
            return call("torch.full", filled, keywords), True
        case "values":
            data = value_code(arguments["data"], variables)
            return call("torch.tensor", [data], keywords), True
        case _:
            return call("torch.empty", shape, keywords), False


def init_lines(target: str, init: Init, variables: Variables, depth: int) -> list[str]:
    """The statements that begin a weight."""
    if init.kind == "values":
        data = value_code(dict(init.arguments)["data"], variables)
        copied = call(f"{target}.copy_", [call("torch.tensor", [data])])
        return [f"{INDENT * depth}with torch.no_grad():", *lay_out("", copied, depth + 1)]
    return lay_out("", _init_call(target, init, variables), depth)


def _init_call(target: str, init: Init, variables: Variables) -> Code:
    if init.kind == "bilinear":
        return call("bilinear_", [Code(target)])
    if init.kind == "constant":
        value = value_code(dict(init.arguments)["val"], variables)
        return call("nn.init.constant_", [Code(target), value])
    usual = _TORCH_DEFAULTS.get(init.kind, {})
    keywords = {
        name: value_code(value, variables)
        for name, value in init.arguments
        if value != usual.get(name)
    }
    return call(f"nn.init.{init.kind}_", [Code(target)], keywords)
