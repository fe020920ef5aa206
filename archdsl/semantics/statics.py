"""Compile-time arithmetic: exact integers, floats, truth values, and their Python text."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from archdsl.semantics.values import Evaluated, Items, Nothing, Real, Tensor, Text, Truth
from archdsl.sizes.conditions import Compare
from archdsl.sizes.dims import Dim, ceildiv, maximum, minimum
from archdsl.sizes.proof import Facts

INTEGER_BOUND = 2**63


class StaticError(Exception):
    """A static expression has no value; the sentence says why."""


class Undecided(Exception):
    """A comparison of sizes is true for some admissible sizes and false for others."""

    def __init__(self, comparison: Compare) -> None:
        super().__init__(str(comparison))
        self.comparison = comparison


Number = Dim | Real

DIVISIONS = frozenset({"//", "%", "ceildiv"})
"""What divides by the second of two sizes."""

_REAL: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": operator.mod,
    "**": lambda a, b: a**b,
}
_DIM: dict[str, Callable[[Dim, Dim], Dim]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": lambda a, b: a // b,
    "%": operator.mod,
    "**": lambda a, b: a**b,
}
NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def text_of(value: Evaluated) -> str | None:
    """The Python expression over parameters and dims that a static value came from."""
    match value:
        case Dim():
            return str(value.origin)
        case Real() | Truth() | Text():
            return value.text or repr(value.value)
        case Nothing():
            return "None"
        case Items():
            return value.text
        case _:
            return None


def arithmetic(symbol: str, left: Number, right: Number) -> Number:
    """`left symbol right`; integers stay integers except under `/`."""
    try:
        if isinstance(left, Dim) and isinstance(right, Dim) and symbol in _DIM:
            return _integers(symbol, left, right)
        a, b = as_float(left), as_float(right)
        result = _REAL[symbol](a, b)
    except ZeroDivisionError:
        raise StaticError("division by zero") from None
    except (OverflowError, ArithmeticError) as error:
        raise StaticError(f"the result is out of range ({error})") from None
    if isinstance(result, complex):
        raise StaticError("the result is not a real number")
    return Real(result, _binary_text(symbol, left, right))


def _integers(symbol: str, left: Dim, right: Dim) -> Number:
    if symbol == "**":
        return _power(left, right)
    result = _DIM[symbol](left, right)
    if result.value is not None and abs(result.value) >= INTEGER_BOUND:
        raise StaticError("integers must be smaller than 2^63")
    return result


def _power(base: Dim, exponent: Dim) -> Number:
    if exponent.value is None:
        raise StaticError("an exponent must be known at compile time")
    if exponent.value < 0:
        return Real(as_float(base) ** exponent.value, _binary_text("**", base, exponent))
    if base.value is not None and abs(base.value) > 1 and exponent.value > 63:
        raise StaticError("integers must be smaller than 2^63")
    result = base**exponent
    if result.value is not None and abs(result.value) >= INTEGER_BOUND:
        raise StaticError("integers must be smaller than 2^63")
    return result


def _binary_text(symbol: str, left: Evaluated, right: Evaluated) -> str | None:
    if not (_has_text(left) or _has_text(right)):
        return None
    return f"({_bracketed(left)} {symbol} {_bracketed(right)})"


def _bracketed(value: Evaluated) -> str | None:
    """A size is a sum or product of its own; what else has a text has its brackets already."""
    text = text_of(value)
    return f"({text})" if isinstance(value, Dim) and text and not text.isalnum() else text


def formula_of(value: Evaluated) -> str | None:
    """As `text_of`, if the value came from a parameter or a dim at all."""
    return text_of(value) if _has_text(value) else None


def _has_text(value: Evaluated) -> bool:
    if isinstance(value, Dim):
        return value.has_origin or value.value is None
    return isinstance(value, Real | Truth | Text | Items) and value.text is not None


def as_float(value: Number) -> float:
    """A static number as a float; a symbolic size is refused."""
    if isinstance(value, Real):
        return value.value
    if value.value is None:
        raise StaticError(
            f"the size {value} is not known at compile time; as a tensor it is `full([], {value})`"
        )
    return float(value.value)


def negative(value: Number) -> Number:
    """`-value`."""
    if isinstance(value, Dim):
        return -value
    return Real(-value.value, f"(-{value.text})" if value.text else None)


def compare(symbol: str, left: Evaluated, right: Evaluated, facts: Facts) -> Truth:
    """`left symbol right`, decided for every admissible size or Undecided."""
    text = f"{text_of(left)} {symbol} {text_of(right)}"
    origin = text if _has_text(left) or _has_text(right) else None
    if isinstance(left, Dim) and isinstance(right, Dim):
        return Truth(_compare_dims(symbol, left, right, facts), origin)
    if isinstance(left, Dim | Real) and isinstance(right, Dim | Real):
        a, b = as_float(left), as_float(right)
        return Truth(_ORDER[symbol](a, b), origin)
    if isinstance(left, Items) and isinstance(right, Items) and symbol in ("==", "!="):
        same = len(left.values) == len(right.values) and all(
            compare("==", a, b, facts).value for a, b in zip(left.values, right.values, strict=True)
        )
        return Truth(same == (symbol == "=="), None)
    if symbol not in ("==", "!="):
        raise StaticError(f"`{symbol}` compares numbers only")
    for side, other in ((left, right), (right, left)):
        if not isinstance(side, _COMPARABLE) and not isinstance(other, Nothing):
            raise StaticError("a layer can be compared with `none` only")
    same = type(left) is type(right) and _plain(left) == _plain(right)
    return Truth(same == (symbol == "=="), origin)


_COMPARABLE = (Dim, Real, Truth, Text, Nothing, Items)

_ORDER: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _plain(value: Evaluated) -> object:
    if isinstance(value, Real | Truth | Text):
        return value.value
    return value


def _compare_dims(symbol: str, left: Dim, right: Dim, facts: Facts) -> bool:
    if left.value is not None and right.value is not None:
        return _ORDER[symbol](left.value, right.value)
    claim = Compare(left, symbol, right)  # pyright: ignore[reportArgumentType]
    if facts.prove(claim).proved:
        return True
    if facts.prove(Compare(left, NEGATED[symbol], right)).proved:  # pyright: ignore[reportArgumentType]
        return False
    raise Undecided(claim)


# ---------------------------------------------------------------------------- functions


def _number(value: Evaluated, function: str) -> Number:
    if isinstance(value, Dim | Real):
        return value
    if isinstance(value, Tensor):
        raise StaticError("of tensors there are `add`, `mul`, `maximum` and `minimum`")
    raise StaticError(f"`{function}` takes numbers")


def _real_function(
    name: str, function: Callable[[float], float], python: str | None = None
) -> Callable[..., Evaluated]:
    def apply(value: Evaluated) -> Evaluated:
        number = _number(value, name)
        try:
            result = function(as_float(number))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise StaticError(f"`{name}` has no value at {text_of(number)}") from None
        written = python is not None and _has_text(number)
        return Real(result, f"(({text_of(number)}) {python})" if written else None)

    return apply


def _folded(name: str, integers: Callable[[Dim, Dim], Dim], reals: Callable[[float, float], float]):
    def apply(*values: Evaluated) -> Evaluated:
        if len(values) == 1 and isinstance(values[0], Items):
            values = values[0].values
        if not values:
            raise StaticError(f"`{name}` needs at least one number")
        result = _number(values[0], name)
        for value in values[1:]:
            number = _number(value, name)
            if isinstance(result, Dim) and isinstance(number, Dim):
                result = integers(result, number)
            else:
                result = Real(reals(as_float(result), as_float(number)))
        return result

    return apply


def _ceildiv(left: Evaluated, right: Evaluated) -> Evaluated:
    a, b = _number(left, "ceildiv"), _number(right, "ceildiv")
    if not (isinstance(a, Dim) and isinstance(b, Dim)):
        raise StaticError("`ceildiv` takes integers")
    if b.value == 0:
        raise StaticError("division by zero")
    return ceildiv(a, b)


def _integer(value: Evaluated) -> Evaluated:
    number = _number(value, "int")
    if isinstance(number, Dim):
        return number
    if not math.isfinite(number.value) or abs(number.value) >= INTEGER_BOUND:
        raise StaticError("integers must be smaller than 2^63")
    text = f"int({number.text})" if number.text else None
    whole = Dim.of(int(number.value))
    return whole.with_origin(Dim.opaque(text, ())) if text else whole


def _float(value: Evaluated) -> Evaluated:
    return Real(as_float(_number(value, "float")), text_of(value))


def _length(value: Evaluated) -> Evaluated:
    if not isinstance(value, Items):
        raise StaticError("`len` takes a list")
    return Dim.of(len(value.values))


def _sum(value: Evaluated) -> Evaluated:
    if not isinstance(value, Items):
        raise StaticError("`sum` of static values takes a list")
    total: Number = Dim.of(0)
    for item in value.values:
        total = arithmetic("+", total, _number(item, "sum"))
    return total


def _absolute(value: Evaluated) -> Evaluated:
    number = _number(value, "abs")
    if isinstance(number, Real):
        return Real(abs(number.value))
    return maximum(number, -number)


FUNCTIONS: dict[str, Callable[..., Evaluated]] = {
    "ceildiv": _ceildiv,
    "min": _folded("min", minimum, min),
    "max": _folded("max", maximum, max),
    "sqrt": _real_function("sqrt", lambda x: x**0.5, "** 0.5"),
    "rsqrt": _real_function("rsqrt", lambda x: x**-0.5, "** -0.5"),
    "log": _real_function("log", math.log),
    "exp": _real_function("exp", math.exp),
    "int": _integer,
    "float": _float,
    "len": _length,
    "sum": _sum,
    "abs": _absolute,
}
"""Functions over static values; several share their name with an operator on tensors."""
