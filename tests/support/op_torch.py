"""Runs the data of a torch lowering, as the emitted source would."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from archdsl.ir.lowering import (
    AllInputs,
    Call,
    Device,
    Index,
    Infix,
    Input,
    InputOrNumber,
    Lowest,
    Module,
    Own,
    Training,
)
from archdsl.ir.types import DType
from archdsl.sizes.dims import Dim

_SYMBOLS: Mapping[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow, "@": operator.matmul,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge, "&": operator.and_, "|": operator.or_,
    "^": operator.xor, "<<": operator.lshift, ">>": operator.rshift,
}  # fmt: skip
_PREFIXES: Mapping[str, Callable[..., Any]] = {"-": operator.neg, "~": operator.invert}


@dataclass(frozen=True)
class Interpreter:
    """Runs the data of a torch lowering."""

    sizes: Mapping[str, int]
    inputs: tuple[torch.Tensor, ...] = ()
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the functions that the operator has emitted with its calls."""

    def run(self, item: Any) -> Any:
        match item:
            case Input(index) | InputOrNumber(index):
                return self.inputs[index]
            case AllInputs():
                return self.inputs
            case Own(name):
                return self.weights[name]
            case Training():
                return False
            case Device():
                return torch.device("cpu")
            case Call(target, args, kwargs) | Module(target, args, kwargs):
                return self._call(target, self.run(args), kwargs)
            case Infix(symbol, None, right):
                return _PREFIXES[symbol](self.run(right))
            case Infix(symbol, left, right):
                return _SYMBOLS[symbol](self.run(left), self.run(right))
            case Index(value, items):
                return self.run(value)[self.run(items)]
            case Lowest(value):
                return torch.finfo(self.run(value).dtype).min
            case _:
                return self._plain(item)

    def _plain(self, item: Any) -> Any:
        match item:
            case Dim():
                return item.evaluate(self.sizes)
            case DType():
                return getattr(torch, item.value)
            case slice():
                return slice(*(self.run(part) for part in (item.start, item.stop, item.step)))
            case tuple() | list():
                return type(item)(self.run(part) for part in item)
            case _:
                assert item is None or item is ... or isinstance(item, bool | int | float | str)
                return item

    def _call(self, target: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        keywords = {name: self.run(value) for name, value in kwargs.items()}
        if target.startswith("."):
            return getattr(args[0], target[1:])(*args[1:], **keywords)
        first, *rest = target.split(".")
        names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F}
        if not rest:
            for source in self.sources.values():
                exec(source, names)  # noqa: S102
        function: Any = names[first]
        for name in rest:
            function = getattr(function, name)
        return function(*args, **keywords)
