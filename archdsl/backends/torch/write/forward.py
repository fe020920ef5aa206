"""Writes `forward`: nested calls, statements and returned values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from archdsl.backends.python.formula import Formula
from archdsl.backends.python.layout import INDENT, Code, call, fits, lay_out, tuple_of
from archdsl.backends.torch.dataflow import called_as_members, expressions, outer_reads
from archdsl.backends.torch.template import (
    Application,
    Apply,
    ApplyBranch,
    ApplyLoop,
    ApplyScan,
    Carried,
    MemberCall,
    Output,
    Stacked,
    Template,
    Variable,
)
from archdsl.backends.torch.trace.lower import reads
from archdsl.backends.torch.write.expression import (
    Place,
    negated,
    reads_device,
    run_time_sizes,
    unpacked,
)
from archdsl.backends.torch.write.names import ClassNames
from archdsl.backends.torch.write.values import LoopVariables, Variables, loop_clause
from archdsl.backends.torch.write.variables import Locals, Pending
from archdsl.ir.lowering import Expression

BODY = 2
DEEPEST_NESTING = 3


class Forward:
    """Writes the body of `forward`."""

    def __init__(
        self, template: Template, names: ClassNames, conditions: dict[Formula, str]
    ) -> None:
        self.template = template
        self.names = names
        self.conditions = conditions
        self.lines: list[str] = []
        self.pending: dict[Variable, Pending] = {}
        self.sizes: dict[str, str] = {}
        self.device = "device"
        self.last_shape: object = template.inputs[0][1].shape if template.inputs else None
        self.locals = Locals(template)
        self.remaining = self.locals.remaining
        self.returned = {output.variable for output in template.outputs}
        self.branches = called_as_members(template)
        self.arguments = self.locals.arguments
        self._read_sizes()
        self._read_device()

    # ------------------------------------------------------------------------------- the opening

    def _read_sizes(self) -> None:
        """Sizes that are used are read off the inputs first."""
        wanted = Counter(
            name
            for expression in expressions([*self.template.applications, *self.template.training])
            for name in run_time_sizes(expression)
            if name in self.template.sizes
        )
        by_input: dict[int, dict[int, str]] = {}
        for name in wanted:
            place, axis = self.template.sizes[name]
            by_input.setdefault(place, {})[axis] = name
        for place, axes in by_input.items():
            self._read_shape(place, axes)

    def _read_shape(self, place: int, axes: dict[int, str]) -> None:
        argument = self.arguments[place]
        for name in axes.values():
            self.sizes[name] = self.locals.fixed(name)
        if len(axes) == 1:
            ((axis, name),) = axes.items()
            self._line(f"{self.sizes[name]} = {argument}.shape[{axis}]", BODY)
            return
        rank = self.template.ranks[place]
        targets = [self.sizes[axes[axis]] if axis in axes else "_" for axis in range(rank)]
        self._line(f"{', '.join(targets)} = {argument}.shape", BODY)

    def _read_device(self) -> None:
        items = [*self.template.applications, *self.template.training]
        if not any(reads_device(expression) for expression in expressions(items)):
            return
        self.device = self.locals.fixed("device")
        if self.arguments:
            self._line(f"{self.device} = {self.arguments[0]}.device", BODY)
        else:
            self._line(f"{self.device} = next(self.parameters()).device", BODY)

    def variables(self, name: str) -> Code:
        """A size, loop variable or parameter where `forward` reads it."""
        if name in self.sizes:
            return Code(self.sizes[name])
        return self.names.stored_parameter(name)

    # -------------------------------------------------------------------------------- statements

    def write(self) -> None:
        """All statements."""
        self._items(self.template.applications, self.variables, BODY)
        outputs = self.template.outputs
        if any(output.training for output in outputs):
            self._flush_all(self.variables, BODY)
            self._line("if self.training:", BODY)
            self._items(self.template.training, self.variables, BODY + 1)
            self._return(outputs, BODY + 1)
        self._return(outputs, BODY)

    def _return(self, outputs: Sequence[Output], depth: int) -> None:
        in_training = depth > BODY
        given = [output for output in outputs if in_training or not output.training]
        if len(given) == 1 and (self.template.is_root or len(outputs) == 1):
            variable = given[0].variable
            self._lay_out("return ", self._operand(variable), depth, variable)
            return
        codes = [self._operand(o.variable) if o in given else Code("None") for o in outputs]
        if not self.template.is_root:
            self._return_tuple(codes, depth)
            return
        while codes[-1].text == "None":
            codes.pop()
        self.lines += lay_out("return ", call(self.template.output_class, codes), depth)

    def _return_tuple(self, codes: Sequence[Code], depth: int) -> None:
        code = tuple_of(codes)
        if fits(f"return {code.text[1:-1]}", depth):
            self._line(f"return {code.text[1:-1]}", depth)
        else:
            self.lines += lay_out("return ", code, depth)

    def _items(self, items: Sequence[Application], variables: Variables, depth: int) -> None:
        for item in items:
            match item:
                case Apply():
                    self._apply(item, variables, depth)
                case ApplyLoop():
                    self._loop(item, variables, depth)
                case ApplyScan():
                    self._scan(item, variables, depth)
                case ApplyBranch():
                    self._branch(item, variables, depth)

    # ------------------------------------------------------------------------------ applications

    def _apply(self, item: Apply, variables: Variables, depth: int) -> None:
        if not any(self.remaining[output] for output in item.outputs):
            return
        callee = item.callee
        is_function = not isinstance(callee, MemberCall)
        arguments = callee.arguments if isinstance(callee, MemberCall) else callee
        counts = Counter(reads(arguments, len(item.inputs))) if arguments else None
        for place, variable in enumerate(item.inputs):
            pending = self.pending.get(variable)
            if pending is None:
                continue
            repeated = counts is not None and counts[place] != 1
            too_deep = pending.nesting >= DEEPEST_NESTING
            if repeated or too_deep or (pending.is_function and not is_function):
                self._flush(variable, variables, depth)
        code = self._code(item, variables)
        while not self._fits(code, item, depth) and self._flush_longest(item, variables, depth):
            code = self._code(item, variables)
        slots = tuple(slot for variable in item.inputs for slot in self._slots(variable))
        nesting = 1 + max((self._nesting(variable) for variable in item.inputs), default=0)
        for variable in item.inputs:
            self.pending.pop(variable, None)
        pending = Pending(code, nesting, is_function, slots, item.results)
        if not item.results and len(item.outputs) == 1 and self._may_wait(item.outputs[0]):
            self.pending[item.outputs[0]] = pending
        else:
            self._assign(item.outputs, pending, depth)
        if isinstance(callee, MemberCall):
            for place, expression in callee.after.items():
                self._amend(item.outputs[place], expression, variables, depth)

    def _amend(
        self, variable: Variable, expression: Expression, variables: Variables, depth: int
    ) -> None:
        """Say what becomes of an output, if anything reads it."""
        if self.remaining[variable]:
            name = self.locals.name[variable]
            code = Place([Code(name)], variables, self.device).code(expression)
            self._lay_out(f"{name} = ", code, depth, variable)

    def _may_wait(self, variable: Variable) -> bool:
        """Whether a value is written where it is used: once, and without a name of its own."""
        if self.remaining[variable] != 1 or variable in self.locals.fresh:
            return False
        return variable in self.branches or not variable.hint or variable in self.returned

    def _code(self, item: Apply, variables: Variables) -> Code:
        operands = [self._operand(variable) for variable in item.inputs]
        place = Place(operands, variables, self.device)
        if not isinstance(item.callee, MemberCall):
            return place.code(item.callee)
        invocation, keywords = item.callee.invocation, dict[str, Code]()
        if invocation is not None:
            operands = [place.code(argument) for argument in invocation.args]
            keywords = {name: place.code(value) for name, value in invocation.kwargs.items()}
        return call(self.names.member(item.callee.path, variables).text, operands, keywords)

    def _operand(self, variable: Variable) -> Code:
        if variable in self.pending:
            return self.pending[variable].code
        if variable.path is not None:
            return self.names.weight(variable.path)
        return Code(self.locals.name[variable])

    def _slots(self, variable: Variable) -> tuple[Variable, ...]:
        pending = self.pending.get(variable)
        return (variable,) if pending is None else (variable, *pending.slots)

    def _nesting(self, variable: Variable) -> int:
        pending = self.pending.get(variable)
        return 0 if pending is None else pending.nesting

    def _fits(self, code: Code, item: Apply, depth: int) -> bool:
        hint = self.locals.hints.get(item.outputs[0], "") or "return"
        if fits(f"{hint} = {code.text}", depth):
            return True
        # A list of branches reads well with one branch a line.
        return len(item.inputs) > 2 and bool(code.parts) and len(code.parts) <= len(item.inputs)

    def _flush_longest(self, item: Apply, variables: Variables, depth: int) -> bool:
        waiting = [variable for variable in item.inputs if variable in self.pending]
        if not waiting:
            return False
        longest = max(waiting, key=lambda variable: len(self.pending[variable].code.text))
        self._flush(longest, variables, depth)
        return True

    def _flush(self, variable: Variable, variables: Variables, depth: int) -> None:
        self._assign((variable,), self.pending.pop(variable), depth)

    def _flush_all(self, variables: Variables, depth: int) -> None:
        for variable in list(self.pending):
            self._flush(variable, variables, depth)

    def _assign(self, targets: Sequence[Variable], pending: Pending, depth: int) -> None:
        for slot in pending.slots:
            self.locals.demand_current(slot)
            self.remaining[slot] -= 1
        names: list[str] = []
        for target in targets:
            if not self.remaining[target]:
                names.append("_")
                continue
            names.append(self.locals.new_name(target, pending.slots))
        self._lay_out(
            f"{unpacked(names, pending.results)} = ",
            pending.code,
            depth,
            targets[0] if len(targets) == 1 else None,
        )
        for target in targets:
            self._read_fresh(target, depth)

    def _read_fresh(self, variable: Variable, depth: int) -> None:
        """A size that depends on data is read off as soon as there is something that has it."""
        for name, axis in self.locals.fresh.get(variable, ()):
            self.sizes[name] = self.locals.fixed(name)
            self._line(f"{self.sizes[name]} = {self.locals.name[variable]}.shape[{axis}]", depth)
            self.remaining[variable] -= 1

    def _lay_out(self, before: str, code: Code, depth: int, variable: Variable | None) -> None:
        lines = lay_out(before, code, depth)
        shape = variable.shape if variable is not None else None
        if shape is not None and len(lines) == 1 and shape != self.last_shape:
            comment = f"  # [{', '.join(map(str, shape))}]"
            if fits(lines[0] + comment, 0):
                self.last_shape = shape
                lines[0] += comment
        self.lines += lines

    def _line(self, text: str, depth: int) -> None:
        self.lines.append(f"{INDENT * depth}{text}")

    # -------------------------------------------------------------------------------------- loops

    def _loop(self, item: ApplyLoop, variables: Variables, depth: int) -> None:
        self._flush_all(variables, depth)
        inside = Counter(set(outer_reads(item.items)) - {c.found for c in item.carried})
        self.remaining.update(inside)
        passed_on = [c for c in item.carried if self.remaining[c.found] or self.remaining[c.after]]
        names = [self._enter(carried, depth) for carried in passed_on]
        inner = LoopVariables(variables, item.variable, self.locals.loop_variable(item, variables))
        place = len(self.lines)
        self.last_shape = None
        self._items(item.items, inner, depth + 1)
        self._flush_all(inner, depth + 1)
        self._settle([carried.left for carried in passed_on], names, depth + 1)
        self.remaining.subtract(inside)
        self._leave(passed_on, names)
        self.lines.insert(place, f"{INDENT * depth}{loop_clause(inner, item)}:")

    def _enter(self, carried: Carried, depth: int) -> str:
        """The name a loop carries a value under; a copy where the value is needed under its own."""
        before = carried.before
        self.remaining[before] -= 1
        name = self.locals.name.get(before)
        if name is None or self.remaining[before] or self.locals.is_held(name, carried.after):
            name = self.locals.pick_name(carried.found, ())
            self._line(f"{name} = {self._operand(before).text}", depth)
        self._carry(carried, name)
        return name

    def _carry(self, carried: Carried, name: str) -> None:
        self.locals.occupy(name, carried.found)
        self.locals.held[name] += 1
        self.locals.desired[carried.left] = name

    def _leave(self, passed_on: Sequence[Carried], names: Sequence[str]) -> None:
        """From here on the names stand for what a loop has left."""
        for carried, name in zip(passed_on, names, strict=True):
            self.remaining[carried.left] -= 1
            self.locals.held[name] -= 1
            self.locals.occupy(name, carried.after)

    def _settle(self, ends: Sequence[Variable], names: Sequence[str], depth: int) -> None:
        """See that values stand under their names at the end of a pass or of a branch."""
        copies = [
            (name, self._operand(end).text)
            for end, name in zip(ends, names, strict=True)
            if self._operand(end).text != name
        ]
        if copies:
            targets, sources = zip(*copies, strict=True)
            self._line(f"{', '.join(targets)} = {', '.join(sources)}", depth)

    # -------------------------------------------------------------------------------------- scans

    def _scan(self, item: ApplyScan, variables: Variables, depth: int) -> None:
        passed_on = [c for c in item.carried if self.remaining[c.found] or self.remaining[c.after]]
        stacked = [one for one in item.stacked if self.remaining[one.whole]]
        if not passed_on and not stacked:
            return
        self._flush_all(variables, depth)
        own = {*item.elements, *(carried.found for carried in item.carried)}
        inside = Counter(set(outer_reads(item.items)) - own)
        self.remaining.update(inside)
        names = [self._begin(carried, depth) for carried in passed_on]
        rows = {one: self.locals.rows(one) for one in stacked}
        self.lines += [f"{INDENT * depth}{self.locals.name[row]} = []" for row in rows.values()]
        self._walk_clause(item, depth)
        self._pass(item, rows, variables, depth + 1)
        self._settle([carried.left for carried in passed_on], names, depth + 1)
        if self.lines[-1].endswith(":"):
            self._line("pass", depth + 1)
        self.remaining.subtract(inside)
        self._leave(passed_on, names)
        for one, row in rows.items():
            self._stack(one, row, depth, reverse=item.reverse)

    def _pass(
        self,
        item: ApplyScan,
        rows: Mapping[Stacked, Variable],
        variables: Variables,
        depth: int,
    ) -> None:
        """One step: what it yields of what it finds comes first, the rest at the end."""
        self.last_shape = None
        own = {*item.elements, *(carried.found for carried in item.carried)}
        for one, row in rows.items():
            if one.yielded in own:
                self._append(one, row, depth)
                self.remaining[one.yielded] -= 1
        self._items(item.items, variables, depth)
        late = [(one, row) for one, row in rows.items() if one.yielded not in own]
        for one, row in late:
            self._append(one, row, depth)
        self._flush_all(variables, depth)
        self.remaining.subtract(one.yielded for one, _ in late)

    def _begin(self, carried: Carried, depth: int) -> str:
        """The name of a state, which stands for what it begins as."""
        self.remaining[carried.before] -= 1
        name = self.locals.state(carried)
        before = self._operand(carried.before).text
        if before != name:
            self._line(f"{name} = {before}", depth)
        self._carry(carried, name)
        return name

    def _walk_clause(self, item: ApplyScan, depth: int) -> None:
        """`for word in words.unbind(1):`, from the end if reverse, several with `zip`."""
        names: list[str] = []
        for element in item.elements:
            is_read = self.remaining[element]
            names.append(self.locals.new_name(element, ()) if is_read else "_")
        sequences: list[Code] = []
        for variable, axis in zip(item.sequences, item.axes, strict=True):
            self.locals.demand_current(variable)
            walked = call(
                f"{self._operand(variable).text}.unbind", [Code(str(axis))] if axis else []
            )
            sequences.append(call("reversed", [walked]) if item.reverse else walked)
        self.remaining.subtract(item.sequences)
        code = sequences[0]
        if len(sequences) > 1:
            code = call("zip", sequences, {"strict": Code("True")})
        self.lines += lay_out(f"for {', '.join(names)} in ", code, depth, ":")

    def _append(self, stacked: Stacked, rows: Variable, depth: int) -> None:
        """Put what a step yields to what the steps before it did."""
        pending = self.pending.pop(stacked.yielded, None)
        slots = (stacked.yielded,) if pending is None else pending.slots
        for slot in slots:
            self.locals.demand_current(slot)
        if pending is not None:
            self.remaining.subtract(slots)
        code = self._operand(stacked.yielded) if pending is None else pending.code
        self.lines += lay_out("", call(f"{self.locals.name[rows]}.append", [code]), depth)

    def _stack(self, stacked: Stacked, rows: Variable, depth: int, *, reverse: bool) -> None:
        name = self.locals.name[rows]
        # Where a scan begins at the end, so does the list.
        parts = Code(f"{name}[::-1]" if reverse else name)
        axis = {"dim": Code(str(stacked.axis))} if stacked.axis else {}
        pending = Pending(call("torch.stack", [parts], axis), 1, True, (rows,))
        if self._may_wait(stacked.whole):
            self.pending[stacked.whole] = pending
        else:
            self._assign((stacked.whole,), pending, depth)

    # ----------------------------------------------------------------------------------- branches

    def _branch(self, item: ApplyBranch, variables: Variables, depth: int) -> None:
        self._flush_all(variables, depth)
        choices = [choice for choice in item.choices if self.remaining[choice.after]]
        inside = [outer_reads(arm) for arm in (item.then, item.otherwise)]
        names = [self.locals.choose(choice, inside[0] + inside[1]) for choice in choices]
        condition = self._condition(item.condition, variables)
        ends = [choice.then for choice in choices], [choice.otherwise for choice in choices]
        # What only the other arm will read may be overwritten in the first.
        self.remaining.subtract(inside[1])
        arms = [self._arm(item.then, ends[0], names, variables, depth + 1)]
        self.remaining.update(inside[1])
        arms.append(self._arm(item.otherwise, ends[1], names, variables, depth + 1))
        for choice, name in zip(choices, names, strict=True):
            self.remaining.subtract((choice.then, choice.otherwise))
            self.locals.held[name] -= 1
            self.locals.occupy(name, choice.after)
        then, otherwise = arms
        if then:
            self._line(f"if {condition.text}:", depth)
            self.lines += then
            if otherwise:
                self._line("else:", depth)
        elif otherwise:
            self._line(f"if {negated(condition)}:", depth)
        self.lines += otherwise

    def _arm(
        self,
        items: Sequence[Application],
        ends: Sequence[Variable],
        names: Sequence[str],
        variables: Variables,
        depth: int,
    ) -> list[str]:
        lines, self.lines = self.lines, []
        self.last_shape = None
        occupant = dict(self.locals.occupant)
        for end, name in zip(ends, names, strict=True):
            self.locals.desired[end] = name
        self._items(items, variables, depth)
        self._flush_all(variables, depth)
        self._settle(ends, names, depth)
        self.locals.occupant = occupant
        arm, self.lines = self.lines, lines
        self.last_shape = None
        return arm

    def _condition(self, condition: Formula, variables: Variables) -> Code:
        """What `forward` asks of a condition: a member, a stored truth, or the formula itself."""
        if condition in self.conditions:
            return Code(self.conditions[condition])
        return condition.code(variables)
