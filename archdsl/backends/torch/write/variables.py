"""Assigns local variables of `forward` to values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archdsl.backends.python.layout import Code
from archdsl.backends.python.naming import FILE_NAMES, identifier
from archdsl.backends.torch.dataflow import called_functions, count_reads, makes, walk
from archdsl.backends.torch.template import (
    Apply,
    ApplyLoop,
    ApplyScan,
    Carried,
    Choice,
    Stacked,
    Template,
    Variable,
)
from archdsl.backends.torch.write.values import Variables, enclosing
from archdsl.diagnostics import InternalError


@dataclass(frozen=True, slots=True)
class Pending:
    """A value that is not assigned but written where it is used."""

    code: Code
    nesting: int
    is_function: bool
    slots: tuple[Variable, ...]
    results: tuple[Any, ...] = ()
    """Which output stands where in what a call gives, if not one after the other."""


class Locals:
    """Gives names and takes them back as soon as what they stand for is not needed any more."""

    def __init__(self, template: Template) -> None:
        self.name: dict[Variable, str] = {}
        self.occupant: dict[str, Variable] = {}
        self.remaining = count_reads(template)
        """How often each value has still to be read."""
        self.fresh: dict[Variable, list[tuple[str, int]]] = {}
        """The sizes that are read off a value, as they depend on data, and their axes."""
        for name, (variable, axis) in template.fresh.items():
            self.fresh.setdefault(variable, []).append((name, axis))
            self.remaining[variable] += 1
        self.hints = _hints(template, self.remaining)
        self.desired: dict[Variable, str] = {}
        """Under which name the end of a loop pass or a branch wants a value."""
        self.replaceable: set[Variable] = set()
        """Values whose names a branch may take for what it leaves."""
        self.held: Counter[str] = Counter()
        """Names that loops and branches around keep for what they leave."""
        self.reserved = {*FILE_NAMES, *called_functions(template)}
        self.loop_names: set[str] = set()
        self.arguments: list[str] = []
        for name, variable in template.inputs:
            self.arguments.append(self._argument(name, variable))

    def _argument(self, name: str, variable: Variable) -> str:
        text = identifier(name)
        while text in self.reserved or text in self.occupant:
            text += "_"
        self.occupy(text, variable)
        return text

    def fixed(self, name: str) -> str:
        """A variable that keeps its value to the end."""
        text = identifier(name)
        while (text in self.reserved and text != "device") or text in self.occupant:
            text += "_"
        self.reserved.add(text)
        return text

    def occupy(self, name: str, variable: Variable) -> str:
        """Let a name stand for a value from here on."""
        self.name[variable] = name
        self.occupant[name] = variable
        return name

    def demand_current(self, variable: Variable) -> None:
        """Make sure that a value still stands under its name where it is read."""
        name = self.name.get(variable)
        if name is not None and self.occupant[name] is not variable:
            raise InternalError(f"variable {name} was overwritten too early")

    def _is_free(self, name: str) -> bool:
        occupant = self.occupant.get(name)
        return name not in self.reserved and (occupant is None or not self.remaining[occupant])

    def _is_replaceable(self, name: str) -> bool:
        """Whether a branch may put what it leaves in the place of what it found."""
        occupant = self.occupant.get(name)
        if occupant in self.replaceable and self.remaining[occupant] == 1:
            return True
        return self._is_free(name)

    def new_name(self, variable: Variable, slots: Sequence[Variable]) -> str:
        """The name for a value that is made of some others: what it should be, or a free one."""
        desired = self.desired.get(variable)
        if desired is not None:
            is_free = self._is_replaceable(desired)
            return self.occupy(desired if is_free else self.pick_name(variable, ()), variable)
        return self.occupy(self.pick_name(variable, slots), variable)

    def pick_name(self, variable: Variable, slots: Sequence[Variable]) -> str:
        """A name that no value which is still needed has."""
        hint = self.hints.get(variable, variable.hint)
        candidates = [identifier(hint)] if hint else []
        operands = [self.name[slot] for slot in slots if slot in self.name]
        # An input is not overwritten by what has no name of its own; that is `x`.
        candidates += ["x" if name in self.arguments else name for name in operands]
        for name in candidates:
            if self._is_free(name) and not self.held[name]:
                return name
        base = candidates[0] if candidates else "x"
        name, number = base, 2
        while not self._is_free(name) or self.held[name]:
            name = f"{base}_{number}" if base[-1].isdigit() else f"{base}{number}"
            number += 1
        return name

    def loop_variable(self, item: ApplyLoop, variables: Variables) -> str:
        """A variable that counts the passes of a loop, not that of a loop around it."""
        name = identifier(item.hint)
        around = enclosing(variables)
        while name in around or name in self.occupant or name in self.reserved - self.loop_names:
            name += "_"
        self.reserved.add(name)
        self.loop_names.add(name)
        return name

    def state(self, carried: Carried) -> str:
        """The name of a scan's state: its own, which what it begins as may have as well."""
        before, hint = self.name.get(carried.before), identifier(carried.found.hint)
        is_last = before is not None and not self.remaining[carried.before]
        if before == hint and is_last and not self.is_held(hint, carried.after):
            return hint
        return self.pick_name(carried.found, ())

    def rows(self, stacked: Stacked) -> Variable:
        """A variable for the list of what the steps of a scan yield."""
        hint = self.hints.get(stacked.whole, stacked.whole.hint)
        one = stacked.yielded.hint
        rows = Variable(hint or (f"{one}s" if one else "ys"))
        self.remaining[rows] = 1
        self.occupy(self.pick_name(rows, ()), rows)
        return rows

    def is_held(self, name: str, variable: Variable) -> bool:
        """Whether a name is kept for something else than what a variable becomes."""
        return bool(self.held[name]) and self.desired.get(variable) != name

    def choose(self, choice: Choice, inside: Counter[Variable]) -> str:
        """The name under which a branch leaves a value: that of a value it may replace, or new."""
        for end in (choice.otherwise, choice.then):
            name = self.name.get(end)
            is_last = self.remaining[end] - inside[end] == 1
            if name is not None and is_last and not self.is_held(name, choice.after):
                self.replaceable.add(end)
                break
        else:
            name = self._name_for_choice(choice, inside)
        self.held[name] += 1
        return name

    def _name_for_choice(self, choice: Choice, inside: Counter[Variable]) -> str:
        """The name of what both arms make; it may be that of something only they still read."""
        desired = self.desired.get(choice.after)
        if desired is not None and self._is_free(desired):
            return desired
        hint = identifier(choice.after.hint) if choice.after.hint else ""
        occupant = self.occupant.get(hint)
        is_usable = hint not in self.reserved and not self.held[hint]
        if occupant is not None and is_usable and self.remaining[occupant] == inside[occupant]:
            return hint
        return self.pick_name(choice.after, ())


def _hints(template: Template, reads: Counter[Variable]) -> dict[Variable, str]:
    """A name for every variable: its own, or that of what alone it flows into."""
    hints: dict[Variable, str] = {}
    for item in reversed(list(walk([*template.applications, *template.training]))):
        if isinstance(item, ApplyScan):
            hints.update({variable: variable.hint for variable in makes(item) if variable.hint})
            for carried in item.carried:
                if carried.found.hint and reads[carried.before] == 1:
                    hints.setdefault(carried.before, carried.found.hint)
        if not isinstance(item, Apply):
            continue
        for output in item.outputs:
            if output.hint:
                hints[output] = output.hint
        flows_on = hints.get(item.outputs[0], "") if item.outputs else ""
        if len(item.inputs) == 1 and flows_on and reads[item.inputs[0]] == 1:
            hints.setdefault(item.inputs[0], flows_on)
    return hints
