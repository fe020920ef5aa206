"""Anti-unification: one formula that is right in every instance and iteration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from archdsl.backends.python.formula import Formula, NoFormulaError
from archdsl.backends.torch.template import Label
from archdsl.backends.torch.trace.lower import Written
from archdsl.backends.torch.trace.origins import at_pass
from archdsl.backends.torch.trace.terms import rewrite, taken_apart
from archdsl.ir.lowering import Call, Module
from archdsl.sizes.dims import Dim

MOST_CANDIDATES = 8


class Mismatch(Exception):
    """These cases cannot be written as one; the caller writes them apart."""


@dataclass(eq=False, slots=True)
class Case:
    """A specialisation, or a pass of a loop in one: the values of all names there."""

    specialisation: int
    values: Mapping[str, Any]
    unrolled: Mapping[str, int] = field(default_factory=dict[str, int])
    """Loop variables that are written out, since their loop is not written as one."""
    parent: Case | None = None
    same_as: Case | None = None

    @property
    def key(self) -> Case:
        """The case itself, whatever loops are written out in it."""
        return self.same_as or self

    def pass_of(self, variable: str, index: int) -> Case:
        """A pass of a loop that is written as a loop."""
        unrolled = {name: value for name, value in self.unrolled.items() if name != variable}
        return Case(self.specialisation, {**self.values, variable: index}, unrolled, self.key)

    def written_out(self, variable: str, index: int) -> Case:
        """A pass of a loop that is written out."""
        values = {**self.values, variable: index}
        unrolled = {**self.unrolled, variable: index}
        return Case(self.specialisation, values, unrolled, self.parent, self.key)

    def evaluate(self, value: Any) -> Any:
        """What a formula is in this case; NoFormulaError where it is nothing."""
        if isinstance(value, Dim):
            if value.is_opaque:
                raise NoFormulaError(str(value))
            known = {n: self.values[n] for n in value.symbols if _is_integer(self.values.get(n))}
            result = value.substitute(known)
            return result if result.value is None else result.value
        if isinstance(value, Formula):
            return value.evaluate(self.values)
        return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


Row = Sequence[Any]
"""One value a case."""


def fit(row: Row, cases: Sequence[Case], variables: Sequence[str] = ()) -> Any:
    """The formula or plain value that is the given one in every case."""
    if all(isinstance(value, Dim) or _is_integer(value) for value in row):
        return _fit_sizes([Dim.of(value) for value in row], cases, variables)
    values = [value.value if isinstance(value, Written) else value for value in row]
    formulas = {value.formula for value in row if isinstance(value, Written)}
    if len(formulas) == 1 and all(isinstance(value, Written) for value in row):
        formula = formulas.pop()
        if _gives(formula, values, cases):
            return formula
    first = values[0]
    if all(type(value) is type(first) and value == first for value in values):
        return first
    return _named(values, cases)


def _fit_sizes(row: Sequence[Dim], cases: Sequence[Case], variables: Sequence[str]) -> Any:
    written = [_written(dim, case) for dim, case in zip(row, cases, strict=True)]
    for candidate in list(dict.fromkeys(written))[:MOST_CANDIDATES]:
        # One formula may hold for the others too, as `C * expansion` where `expansion` is 1.
        if candidate.symbols and not candidate.is_opaque and _gives(candidate, row, cases):
            return candidate
    formula = _opaque_formula(written, row, cases)
    if formula is not None and not set(variables).intersection(formula.names):
        return formula
    if all(dim == row[0] for dim in row):
        return row[0].without_origin()
    if formula is not None:
        return formula
    for candidates in (written, [dim.without_origin() for dim in row]):
        line = _line(candidates, cases, variables)
        if line is not None and _is_telling(line, cases, variables) and _gives(line, row, cases):
            return line
    return _named([dim if dim.value is None else dim.value for dim in row], cases)


def _opaque_formula(
    written: Sequence[Dim], row: Sequence[Dim], cases: Sequence[Case]
) -> Formula | None:
    """A formula that is no polynomial, if it is what all were written as."""
    if not written[0].is_opaque or any(dim != written[0] for dim in written):
        return None
    formula = Formula(str(written[0]))
    return formula if _gives(formula, row, cases) else None


def _is_telling(line: Dim, cases: Sequence[Case], variables: Sequence[str]) -> bool:
    """Whether a line is more than what leads through any two passes of a loop."""
    if line.symbols.isdisjoint(variables):
        return True
    passes: dict[Case | None, int] = {}
    for case in cases:
        passes[case.parent] = passes.get(case.parent, 0) + 1
    return max(passes.values()) > 2


def _written(dim: Dim, case: Case) -> Dim:
    """How a size was written, with the variables of unrolled loops written out."""
    return at_pass(dim.origin.without_origin(), case.unrolled)


def _gives(formula: Any, row: Row, cases: Sequence[Case]) -> bool:
    """Whether a formula is the given value in every case."""
    if isinstance(formula, Formula) and any(
        not case.unrolled.keys().isdisjoint(formula.names) for case in cases
    ):
        return False
    try:
        return all(
            _equal(case.evaluate(formula), value) for value, case in zip(row, cases, strict=True)
        )
    except NoFormulaError:
        return False


def _equal(found: Any, wanted: Any) -> bool:
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _line(row: Sequence[Dim], cases: Sequence[Case], variables: Sequence[str]) -> Dim | None:
    """`a + b * i + c * j` with the variables of the loops around."""
    if not variables or any(dim.is_opaque for dim in row):
        return None
    total = row[0]
    for variable in variables:
        slope = _slope(row, cases, variable, variables)
        if slope is None:
            return None
        total = total + slope * (Dim.symbol(variable) - cases[0].values[variable])
    return total


def _slope(
    row: Sequence[Dim], cases: Sequence[Case], variable: str, variables: Sequence[str]
) -> Dim | None:
    """How much a value grows with a variable: from two cases that differ in nothing else."""
    others = [name for name in variables if name != variable]
    seen: dict[Any, tuple[Dim, int]] = {}
    for dim, case in zip(row, cases, strict=True):
        key = (case.specialisation, *(case.values[name] for name in others))
        number = case.values[variable]
        before, start = seen.setdefault(key, (dim, number))
        if number != start:
            growth = dim - before
            exact = growth.divisible_by(number - start)
            return growth // (number - start) if exact else None
    return Dim.of(0)


def _named(values: Sequence[Any], cases: Sequence[Case]) -> Any:
    """A parameter that has just these values."""
    for name in cases[0].values:
        if any(name in case.unrolled for case in cases):
            continue
        if all(
            name in case.values
            and type(case.values[name]) is type(value)
            and case.values[name] == value
            for value, case in zip(values, cases, strict=True)
        ):
            return Dim.symbol(name) if _is_integer(values[0]) else Formula(name)
    raise Mismatch(f"{values[:3]}")


# ------------------------------------------------------------------------------- composites


def fit_lowered(
    row: Row,
    cases: Sequence[Case],
    variables: Sequence[str] = (),
    attributes: Sequence[Mapping[str, Any]] = (),
) -> Any:
    """As `fit`, for modules, calls and what they consist of.

    `attributes` are the operators' own, for keywords that are left out where they are the default.
    """
    if len(row) == 1:
        return rewrite(row[0], lambda leaf: _fit_alone(leaf, cases))
    if any(isinstance(value, Call | Module) for value in row):
        row = _with_keywords(row, attributes)
    composites = [taken_apart(value) for value in row]
    known = [composite for composite in composites if composite is not None]
    if not known:
        return fit(row, cases, variables) if _are_scalars(row) else _alike(row)
    if len(known) != len(row):
        raise Mismatch("different forms")
    _same([composite.head for composite in known])
    columns = zip(*(composite.parts for composite in known), strict=True)
    return known[0].build([fit_lowered(column, cases, variables) for column in columns])


def _fit_alone(leaf: Any, cases: Sequence[Case]) -> Any:
    return fit([leaf], cases) if isinstance(leaf, Dim | Written) else leaf


def _are_scalars(row: Row) -> bool:
    return all(isinstance(value, Dim | int | float | str | Written | None) for value in row)


def _alike(row: Row) -> Any:
    _same(row)
    return row[0]


def _same(row: Row) -> None:
    if any(value != row[0] for value in row):
        raise Mismatch(f"{row[0]}")


def _with_keywords(row: Row, attributes: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Calls or modules with the same keywords: what one has, all get."""
    if not all(isinstance(value, Call | Module) for value in row):
        raise Mismatch("different forms")
    names: list[str] = []
    for keywords in dict.fromkeys(tuple(value.kwargs) for value in row):
        place = 0
        for name in keywords:
            if name not in names:
                names.insert(place, name)
            place = names.index(name) + 1
    filled: list[Any] = []
    for at, value in enumerate(row):
        known = {**(attributes[at] if attributes else {}), **value.kwargs}
        if not known.keys() >= set(names):
            raise Mismatch("other keywords")
        filled.append(replace(value, kwargs={name: known[name] for name in names}))
    return filled


_DIGITS = re.compile(r"(\d+)")


def fit_label(names: Sequence[str], cases: Sequence[Case], variables: Sequence[str]) -> Label:
    """The name of a member in every case, its numbers counting with the loop."""
    if all(name == names[0] for name in names):
        return (names[0],)
    split = [_DIGITS.split(name) for name in names]
    _same([len(parts) for parts in split])
    label: list[str | Dim] = []
    for at, part in enumerate(split[0]):
        column = [parts[at] for parts in split]
        if all(text == part for text in column):
            if part:
                label.append(part)
        elif at % 2 and not any(text != "0" and text.startswith("0") for text in column):
            label.append(_number(column, cases, variables))
        else:
            raise Mismatch(f"labels {names[:3]}")
    return tuple(label)


def _number(column: Sequence[str], cases: Sequence[Case], variables: Sequence[str]) -> Dim:
    numbers = [Dim.of(int(text)) for text in column]
    line = _line(numbers, cases, variables)
    if line is None or not _gives(line, numbers, cases):
        raise Mismatch("numbers of labels")
    return line
