"""Questions about a value's position on the inputs: `stride(x)` and its kin, `original`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NoReturn

from archdsl import problems
from archdsl.ir.access import Reach
from archdsl.ir.receptive_field import Lost, Origin, Values
from archdsl.ir.types import ShapeError
from archdsl.semantics.problem import Problem
from archdsl.semantics.scope import Environment
from archdsl.semantics.values import (
    NOTHING,
    UNKNOWN,
    Evaluated,
    Real,
    StaticFunction,
    Tensor,
    Text,
    Unknown,
    describe,
)
from archdsl.sizes.dims import Dim
from archdsl.source import Span
from archdsl.syntax import ast

if TYPE_CHECKING:
    from archdsl.semantics.body import Body

FIRST_SPATIAL_AXIS = 2


def original(body: Body, function: StaticFunction, node: ast.Call, env: Environment) -> Evaluated:
    """The value of `original(image)`: what an input was prepared from, `none` if from nothing."""
    if len(node.arguments) != 1 or node.arguments[0].name is not None:
        reason = f"`{function.name}` takes one input and nothing else"
        raise Problem(problems.static_error(node.span, reason))
    tensor = body.expressions.tensor(node.arguments[0].value, env)
    if tensor is None:
        return UNKNOWN
    if tensor.index not in body.builder.originals and tensor.index >= body.builder.inputs:
        reason = f"`{body.program.text_of(node.arguments[0].span)}` is no input here"
        raise Problem(problems.static_error(node.span, reason))
    return body.builder.originals.get(tensor.index, NOTHING)


def measure(body: Body, function: StaticFunction, node: ast.Call, env: Environment) -> Evaluated:
    """The value of `stride(x)` and its like, for one axis or for all spatial ones together."""
    name = function.name
    wanted = _TENSORS[name]
    given = [argument for argument in node.arguments if argument.name is None]
    named = [argument for argument in node.arguments if argument.name is not None]
    for argument in named:
        if argument.name is not None and argument.name.text != "axis":
            key = argument.name.text
            raise Problem(problems.unknown_argument(argument.span, name, key, ("axis",)))
    axes = [*given[wanted:], *named]
    if len(given) < wanted or len(axes) > 1:
        reason = f"`{name}` does not take {len(node.arguments)} arguments"
        raise Problem(problems.static_error(node.span, reason))
    tensors: list[Tensor] = []
    for argument in given[:wanted]:
        tensor = body.expressions.tensor(argument.value, env)
        if tensor is None:
            return UNKNOWN
        tensors.append(tensor)
    axis = body.arguments.axis(axes[0].value, env) if axes else None
    if isinstance(axis, Unknown):
        return UNKNOWN
    return _Measure(body, name, node.span).value(tensors, axis)


@dataclass(frozen=True, slots=True)
class _Measure:
    body: Body
    name: str
    span: Span

    def value(self, tensors: list[Tensor], axis: Evaluated | None) -> Evaluated:
        """What is asked for, if it is the same along all axes that are meant."""
        found = {place: self._along(tensors, place) for place in self._places(tensors[0], axis)}
        values = list(found.values())
        if any(value != values[0] for value in values):
            told = ", ".join(f"{_shown(value)} along axis {axis}" for axis, value in found.items())
            self._refuse(f"it is {told}", help=f"name an axis: `{self.name}(…, axis=H)`")
        return values[0]

    def _places(self, tensor: Tensor, axis: Evaluated | None) -> list[int]:
        type = self.body.builder.type(tensor)
        if axis is None:
            if type.rank <= FIRST_SPATIAL_AXIS:
                help = f"name an axis: `{self.name}(…, axis=T)`"
                self._refuse(f"{type} has no spatial axes, which stand from the third on", help)
            return list(range(FIRST_SPATIAL_AXIS, type.rank))
        wanted = axis.value if isinstance(axis, Dim | Text) else None
        if wanted is None:
            raise Problem(problems.wrong_kind(self.span, "an axis", describe(axis)))
        try:
            return [type.axis(wanted)]
        except ShapeError as error:
            raise Problem(problems.shape_error(self.span, self.name, error, [type], [])) from None

    def _along(self, tensors: list[Tensor], axis: int) -> Dim | Real:
        traces = [self._trace(tensor, axis) for tensor in tensors]
        origins = [origin for origin in traces[0] if all(origin in trace for trace in traces)]
        results = [self._of(origin, [trace[origin] for trace in traces]) for origin in origins]
        if not results:
            self._refuse("it depends on no input along this axis")
        if any(result != results[0] for result in results):
            told = " and ".join(map(_shown, results))
            self._refuse(f"it is another one for each input that is seen: {told}")
        return results[0]

    def _trace(self, tensor: Tensor, axis: int) -> dict[Origin, Reach]:
        trace = self._values().traces(tensor.index)[axis]
        if isinstance(trace, Lost):
            raise Problem(problems.unknown_stride(self.span, self.name, trace.reason, trace.span))
        return dict(trace)

    def _values(self) -> Values:
        return self.body.builder.traced(self.body.program.traced_blocks)

    def _of(self, origin: Origin, reaches: list[Reach]) -> Dim | Real:
        if self.name == "receptive_field":
            field = reaches[0].field
            whole = self.body.builder.values[origin[0]].type.dims[origin[1]]
            return whole.without_origin() if field is None else Dim.of(field.size)
        return _exactly(_NUMBERS[self.name](self, *reaches))

    # ------------------------------------------------------------------------------- numbers

    def stride(self, reach: Reach) -> Fraction:
        """How many places of the input lie between neighbours."""
        if reach.stride is None:
            self._refuse("it is the same at all places")
        return reach.stride

    def offset(self, reach: Reach) -> Fraction:
        """Where on the input the middle of the first place lies."""
        if reach.offset is None:
            self._refuse("what met in it lay differently")
        return reach.offset

    def alignment(self, reach: Reach, like: Reach) -> Fraction:
        """The place where another value begins."""
        stride, other = self.stride(reach), self.stride(like)
        if stride != other:
            self._refuse(f"one place is {stride} places of the input here, but {other} there")
        lead = (self.offset(like) - self.offset(reach)) / stride
        if lead.denominator != 1:
            self._refuse(f"they lie {lead} places apart, which is no whole number")
        if lead < 0:
            help = "exchange them: what is cut must begin first"
            self._refuse(f"the second begins {-lead} places before the first", help)
        return lead

    def _refuse(self, reason: str, help: str | None = None) -> NoReturn:
        raise Problem(problems.unknown_stride(self.span, self.name, reason, None, help))


_TENSORS = {"stride": 1, "offset": 1, "receptive_field": 1, "alignment": 2}

_NUMBERS: dict[str, Callable[..., Fraction]] = {
    "stride": _Measure.stride,
    "offset": _Measure.offset,
    "alignment": _Measure.alignment,
}

QUESTIONS = {"original": original, **dict.fromkeys(_TENSORS, measure)}
"""What answers each function."""


def _exactly(number: Fraction) -> Dim | Real:
    return Dim.of(number.numerator) if number.denominator == 1 else Real(float(number))


def _shown(value: Dim | Real) -> str:
    return str(value.value) if isinstance(value, Real) else str(value)
