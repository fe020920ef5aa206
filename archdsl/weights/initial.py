"""Draws initial weights with numpy: the distributions of `torch.nn.init`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import erf, inf, prod, sqrt
from typing import Any

import numpy as np

from archdsl.diagnostics import InternalError
from archdsl.ir.model import Model
from archdsl.ir.op import Init, Weight
from archdsl.weights.dtypes import numpy_dtype
from archdsl.weights.state_dict import known_shape, state

Array = np.ndarray[Any, Any]
Shape = Sequence[int]
Arguments = Mapping[str, Any]


def initial(model: Model, seed: int) -> dict[str, Array]:
    """The whole state dict, drawn; each weight depends on the seed and on its own path alone."""
    return {path: initial_weight(weight, seed) for path, weight in state(model).items()}


def initial_weight(weight: Weight, seed: int) -> Array:
    """One weight, drawn; its name is its path."""
    array = draw(weight.init, known_shape(weight.name, weight.dims), f"{seed}:{weight.name}")
    return array.astype(numpy_dtype(weight.dtype), copy=False)


def draw(init: Init, shape: Shape, stream: str) -> Array:
    """An array of that distribution; `stream` names the random numbers it is drawn from."""
    distribution = _DISTRIBUTIONS.get(init.kind)
    if distribution is None:
        raise InternalError(f"no distribution is called {init.kind}")
    arguments: dict[str, Any] = dict(init.arguments)
    zero_row = arguments.pop("zero_row", None)
    key = int.from_bytes(sha256(stream.encode()).digest()[:16], "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    array = distribution(generator, tuple(shape), **arguments)
    if zero_row is not None:
        array[int(zero_row)] = 0
    return array


def _uniform(generator: np.random.Generator, shape: Shape, a: float = 0.0, b: float = 1.0) -> Array:
    array = generator.random(shape, dtype=np.float32)
    array *= np.float32(b - a)
    array += np.float32(a)
    return array


def _normal(
    generator: np.random.Generator, shape: Shape, mean: float = 0.0, std: float = 1.0
) -> Array:
    array = generator.standard_normal(shape, dtype=np.float32)
    array *= np.float32(std)
    array += np.float32(mean)
    return array


def _trunc_normal(
    generator: np.random.Generator,
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
) -> Array:
    """A normal distribution within [a, b], by drawing again what falls outside."""
    low, high = (a - mean) / std, (b - mean) / std
    flat = np.empty(prod(shape), np.float32)
    waiting = np.arange(flat.size)
    propose = _proposal(low, high)
    while waiting.size:
        numbers, kept = propose(generator, waiting.size)
        flat[waiting[kept]] = numbers[kept]
        waiting = waiting[~kept]
    flat = flat * np.float32(std) + np.float32(mean)
    return np.clip(flat, a, b).astype(np.float32).reshape(shape)


def _proposal(low: float, high: float) -> Callable[[np.random.Generator, int], tuple[Array, Array]]:
    """Draws numbers and says which to keep; uniform ones where the normal rarely falls within."""

    def normal(generator: np.random.Generator, count: int) -> tuple[Array, Array]:
        numbers = generator.standard_normal(count, dtype=np.float32)
        return numbers, (numbers >= low) & (numbers <= high)

    def uniform(generator: np.random.Generator, count: int) -> tuple[Array, Array]:
        numbers = generator.uniform(low, high, count)
        density = np.exp((peak - np.square(numbers)) / 2)
        return numbers, generator.random(count) < density

    peak = min(low * low, high * high) if low * high > 0 else 0.0
    within = (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2
    return normal if within > 0.25 or high - low == inf else uniform


def _constant(generator: np.random.Generator, shape: Shape, val: float) -> Array:
    return np.full(shape, val)


def _values(generator: np.random.Generator, shape: Shape, data: Any) -> Array:
    return np.array(data).reshape(shape)


def _zeros(generator: np.random.Generator, shape: Shape) -> Array:
    return np.zeros(shape, np.float32)


def _ones(generator: np.random.Generator, shape: Shape) -> Array:
    return np.ones(shape, np.float32)


def _kaiming_uniform(
    generator: np.random.Generator,
    shape: Shape,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Array:
    bound = sqrt(3.0) * _kaiming_std(shape, a, mode, nonlinearity)
    return _uniform(generator, shape, -bound, bound)


def _kaiming_normal(
    generator: np.random.Generator,
    shape: Shape,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Array:
    return _normal(generator, shape, 0.0, _kaiming_std(shape, a, mode, nonlinearity))


def _xavier_uniform(generator: np.random.Generator, shape: Shape, gain: float = 1.0) -> Array:
    bound = gain * sqrt(6.0 / sum(_fans(shape)))
    return _uniform(generator, shape, -bound, bound)


def _xavier_normal(generator: np.random.Generator, shape: Shape, gain: float = 1.0) -> Array:
    return _normal(generator, shape, 0.0, gain * sqrt(2.0 / sum(_fans(shape))))


def _dirac(generator: np.random.Generator, shape: Shape) -> Array:
    array = np.zeros(shape, np.float32)
    channels = np.arange(min(shape[:2]))
    array[(channels, channels, *(size // 2 for size in shape[2:]))] = 1
    return array


def _eye(generator: np.random.Generator, shape: Shape) -> Array:
    return np.eye(*shape, dtype=np.float32)


def _bilinear(generator: np.random.Generator, shape: Shape) -> Array:
    """Each channel upsampled by itself with a triangle along every spatial axis."""
    kernel = np.ones((), np.float64)
    for size in shape[2:]:
        kernel = np.multiply.outer(kernel, _triangle(size))
    array = np.zeros(shape, np.float32)
    if shape[1] == 1:
        array[:] = kernel
    else:
        channels = np.arange(min(shape[:2]))
        array[channels, channels] = kernel
    return array


def _triangle(size: int) -> Array:
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    return 1 - np.abs(np.arange(size) - center) / factor


def _kaiming_std(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = _fans(shape)
    fan = fan_in if mode == "fan_in" else fan_out
    return _gain(nonlinearity, a) / sqrt(fan)


def _gain(nonlinearity: str, a: float) -> float:
    """torch.nn.init.calculate_gain."""
    if nonlinearity == "leaky_relu":
        return sqrt(2.0 / (1 + a * a))
    return {"relu": sqrt(2.0), "tanh": 5.0 / 3, "selu": 0.75}.get(nonlinearity, 1.0)


def _fans(shape: Shape) -> tuple[int, int]:
    """How many inputs and outputs one element connects, as torch counts them."""
    if len(shape) < 2:
        raise InternalError(f"a weight of shape {list(shape)} has no fan-in")
    field = prod(shape[2:])
    return shape[1] * field, shape[0] * field


_DISTRIBUTIONS: Mapping[str, Callable[..., Array]] = {
    "uniform": _uniform,
    "normal": _normal,
    "trunc_normal": _trunc_normal,
    "constant": _constant,
    "values": _values,
    "zeros": _zeros,
    "ones": _ones,
    "kaiming_uniform": _kaiming_uniform,
    "kaiming_normal": _kaiming_normal,
    "xavier_uniform": _xavier_uniform,
    "xavier_normal": _xavier_normal,
    "dirac": _dirac,
    "eye": _eye,
    "bilinear": _bilinear,
}
