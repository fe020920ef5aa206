"""Translation validation: proves that a merged class expands to each of its specialisations.

Every construction and every application of the template is evaluated for one specialisation and
must be exactly one of the expanded ones, in whatever way the merging came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archdsl.backends.python.formula import Formula, NoFormulaError
from archdsl.backends.torch.dataflow import takes
from archdsl.backends.torch.generalise.cases import Case, Mismatch
from archdsl.backends.torch.generalise.reroll import loop_variable
from archdsl.backends.torch.template import (
    Application,
    Apply,
    ApplyBranch,
    ApplyLoop,
    ApplyScan,
    Construction,
    Container,
    Label,
    Make,
    MakeBranch,
    MakeLoop,
    MemberCall,
    NewInstance,
    Template,
    Variable,
)
from archdsl.backends.torch.trace.lower import Instance, Layer, Made, begun, is_alike, plain
from archdsl.backends.torch.trace.origins import lost_names
from archdsl.backends.torch.trace.sequential import containers
from archdsl.backends.torch.trace.terms import rewrite, same
from archdsl.backends.torch.trace.trace import Step, Steps, Trace
from archdsl.ir.lowering import Call, Invocation, Module
from archdsl.ir.model import Frame
from archdsl.sizes.dims import Dim


def verify(template: Template, traced: Trace, classes: Mapping[str, Template]) -> set[str]:
    """Raise Mismatch unless the template, with this block's names, is this very block.

    Given are the names that something was written with which is a plain value in the template.
    """
    replay = _Replay(template, traced, classes)
    try:
        replay.run()
    except (NoFormulaError, KeyError) as problem:
        raise Mismatch(f"not computable: {problem}") from problem
    return replay.lost & traced.names.keys()


@dataclass(slots=True)
class _Waiting:
    """A step that the template has to apply, as often as it stands there."""

    step: Step
    count: int = 1


class _Replay:
    def __init__(self, template: Template, traced: Trace, classes: Mapping[str, Template]) -> None:
        self.template = template
        self.traced = traced
        self.classes = classes
        names = {name: traced.names[name] for name in template.parameters}
        constant = {name: traced.names[name] for name in template.sizes if name in traced.names}
        self.case = Case(0, {**names, **constant})
        self.children: dict[str, list[str]] = {"": []}
        self.kinds: dict[str, str] = {}
        self.made: dict[str, Make] = {}
        self.cases: dict[str, Case] = {}
        self.value: dict[Variable, int] = {}
        self.same: dict[int, int] = {}
        """Values that are computed as an earlier one was, which then stands for both."""
        self.waiting: dict[Any, list[_Waiting]] = {}
        self.left = 0
        self.lost: set[str] = set()
        """The names that something was written with which is a plain value in the template."""
        self.loops: dict[Any, Frame | None] = {}
        """A pass of each loop that is not written as one."""
        self.idle: set[str] = set()
        """The variables of loops of the template that have no pass here."""
        self._await_all(traced.steps)

    def run(self) -> None:
        self._construct(self.template.constructions, "", self.case)
        self._compare_members()
        block = self.traced.block
        for weight, own in zip(self.template.weights, block.weights, strict=True):
            self._note((weight.dims, weight.init), (own.dims, begun(own.init)))
        for (_, variable), port in zip(self.template.inputs, block.inputs, strict=True):
            self.value[variable] = port.value
        self._borrow()
        self._apply(self.template.applications, self.case)
        self._apply(self.template.training, self.case)
        self._note_lengths()
        for output, port in zip(self.template.outputs, block.outputs, strict=True):
            if self.value[output.variable] != self._one(self.traced.value(port.value)):
                raise Mismatch(f"output {output.name}")
        if self.left:
            raise Mismatch("something is not applied")
        for name, (variable, axis) in self.template.fresh.items():
            if block.type(self.value[variable]).dims[axis].symbol_name != name:
                raise Mismatch(f"size {name}")

    def _one(self, value: int) -> int:
        return self.same.get(value, value)

    def _await_all(self, steps: Sequence[Step]) -> None:
        self.waiting = {}
        self.left = len(steps)
        for step in steps:
            self._await(step)

    def _await(self, step: Step) -> None:
        inputs = tuple(self._one(value) for value in step.inputs)
        waiting = self.waiting.setdefault(_key(step.callee, inputs), [])
        for other in waiting:
            if other.step.invocation == step.invocation and _is_twin(other.step, step):
                other.count += 1
                self.same.update(zip(step.outputs, other.step.outputs, strict=True))
                return
        waiting.append(_Waiting(step))

    # ----------------------------------------------------------------------------- constructions

    def _construct(self, items: Sequence[Construction], scope: str, case: Case) -> None:
        for item in items:
            match item:
                case Make() | Container():
                    self._construct_member(item, scope, case)
                case MakeLoop():
                    for number in self._passes(item, case):
                        self._construct(item.items, scope, case.pass_of(item.variable, number))
                case MakeBranch():
                    taken = item.then if case.evaluate(item.condition) else item.otherwise
                    self._construct(taken, scope, case)

    def _construct_member(self, item: Make | Container, scope: str, case: Case) -> None:
        name = _name(item.label, case) if item.label else str(len(self.children[scope]))
        path = f"{scope}.{name}" if scope else name
        self.children[scope].append(path)
        if isinstance(item, Container):
            self.children[path] = []
            self.kinds[path] = item.kind
            self._construct(item.items, path, case)
            if item.indexed and not _is_counted(self.children[path]):
                raise Mismatch("numbers of members")
        else:
            self.made[path] = item
            self.cases[path] = case

    def _compare_members(self) -> None:
        if self.children != containers(self.traced.made):
            raise Mismatch("members")
        for path, made in self.traced.made.items():
            self._compare(self.made[path], made, self.cases[path])
            frames = self.traced.block.member[path].frames
            self._note_loops("constructed", frames, self.cases[path])

    def _compare(self, item: Make, made: Made, case: Case) -> None:
        match item.made, made:
            case Module(), Layer():
                found = _evaluated(item.made, case)
                if not is_alike(found, made.module, made.attributes):
                    raise Mismatch("a module")
                if not is_alike(_evaluated(item.inits, case), made.inits, {}):
                    raise Mismatch("initialisers")
                self._note((item.made, item.inits), (made.module, made.inits))
            case NewInstance(template=template), Instance():
                if template is not self.classes[made.block]:
                    raise Mismatch("a class")
                for name, value in item.made.values.items():
                    if not same(plain(made.values[name]), plain(case.evaluate(value))):
                        raise Mismatch(f"argument {name}")
                    self._note(value, made.values[name])
                for name in template.literal:
                    self._note(None, made.values.get(name))
            case _:
                raise Mismatch("a layer and a block")

    # ------------------------------------------------------------------------------ applications

    def _borrow(self) -> None:
        weights = {borrowed.path: borrowed.value for borrowed in self.traced.block.borrowed}
        items = [*self.template.applications, *self.template.training]
        variables = [output.variable for output in self.template.outputs]
        while items:
            item = items.pop()
            match item:
                case Apply():
                    variables += item.inputs
                case ApplyLoop():
                    items += item.items
                    variables += [carried.before for carried in item.carried]
                case ApplyBranch():
                    items += [*item.then, *item.otherwise]
                    variables += [end for c in item.choices for end in (c.then, c.otherwise)]
                case ApplyScan():
                    items += item.items
                    variables += takes(item)
        for variable in variables:
            if variable.path is not None:
                self.value[variable] = weights[variable.path]

    def _apply(self, items: Sequence[Application], case: Case) -> None:
        for item in items:
            match item:
                case Apply():
                    self._apply_one(item, case)
                case ApplyLoop():
                    self._apply_loop(item, case)
                case ApplyScan():
                    self._apply_scan(item, case)
                case ApplyBranch():
                    is_then = bool(case.evaluate(item.condition))
                    self._apply(item.then if is_then else item.otherwise, case)
                    for choice in item.choices:
                        end = choice.then if is_then else choice.otherwise
                        self._pass_on(end, choice.after)

    def _apply_loop(self, item: ApplyLoop, case: Case) -> None:
        for carried in item.carried:
            self._pass_on(carried.before, carried.after)
        for number in self._passes(item, case):
            for carried in item.carried:
                self._pass_on(carried.after, carried.found)
            self._apply(item.items, case.pass_of(item.variable, number))
            for carried in item.carried:
                self._pass_on(carried.left, carried.after)

    def _apply_scan(self, item: ApplyScan, case: Case) -> None:
        """Run the steps of the one scan of these values that these applications are."""
        given = (*item.sequences, *(carried.before for carried in item.carried))
        key = _scan_key(_form(item), [self.value[variable] for variable in given])
        around, left = self.waiting, self.left
        for waiting in around.get(key, []):
            if not waiting.count:
                continue
            try:
                self._apply_steps(item, waiting.step, case)
            except (Mismatch, NoFormulaError, KeyError):
                continue
            finally:
                self.waiting, self.left = around, left
            waiting.count -= 1
            self.left -= 1
            made = (*(s.whole for s in item.stacked), *(c.after for c in item.carried))
            self.value.update(zip(made, waiting.step.outputs, strict=True))
            return
        raise Mismatch("another scan is applied")

    def _apply_steps(self, item: ApplyScan, step: Step, case: Case) -> None:
        steps = step.callee
        if not isinstance(steps, Steps):
            raise Mismatch("something else than a scan")
        self._await_all(steps.steps)
        begun = (*item.elements, *(carried.found for carried in item.carried))
        self.value.update(zip(begun, (*steps.scan.elements, *steps.scan.states), strict=True))
        self._apply(item.items, case)
        ends = (*(c.left for c in item.carried), *(s.yielded for s in item.stacked))
        for end, result in zip(ends, steps.results, strict=True):
            if self.value[end] != self._one(result):
                raise Mismatch("what a step leaves or yields")
        if self.left:
            raise Mismatch("something is not applied in a scan")

    def _pass_on(self, source: Variable, target: Variable) -> None:
        # A value that only an unused name would need may be missing.
        if source in self.value:
            self.value[target] = self.value[source]
        else:
            self.value.pop(target, None)

    def _apply_one(self, item: Apply, case: Case) -> None:
        inputs = tuple(self.value[variable] for variable in item.inputs)
        if isinstance(item.callee, MemberCall):
            path = ".".join(_name(label, case) for label in item.callee.path)
            outputs = self._call(path, inputs, item.callee, case)
        else:
            step = self._take(_evaluated(item.callee, case), inputs)
            self._note(item.callee, step.callee)
            self._note_loops("applied", step.frames, case)
            outputs = step.outputs
        for variable, value in zip(item.outputs, outputs, strict=True):
            self.value[variable] = value

    def _passes(self, loop: MakeLoop | ApplyLoop, case: Case) -> range:
        numbers = range(_integer(loop.start, case), _integer(loop.stop, case))
        if not numbers:
            self.idle.add(loop.variable)
        return numbers

    def _note(self, found: Any, wanted: Any) -> None:
        """Remember what is written in the template without the names it had."""
        self.lost.update(lost_names(found, wanted))

    def _note_loops(self, way: str, frames: Sequence[Frame], case: Case) -> None:
        """Remember which loops are loops in the template; a first pass may stand before one."""
        for depth, frame in enumerate(frames):
            if frame.kind != "if":
                loop = way, frames[:depth], frame.site
                is_rolled = loop_variable(frame) in case.values
                self.loops[loop] = None if is_rolled else self.loops.get(loop, frame)

    def _note_lengths(self) -> None:
        """Remember what the lengths of those loops depend on that are written out."""
        for frame in self.loops.values():
            if frame is not None and loop_variable(frame) not in self.idle:
                self._note(None, (frame.start, frame.stop))

    def _call(
        self, path: str, inputs: tuple[int, ...], callee: MemberCall, case: Case
    ) -> tuple[int, ...]:
        """Apply a member, or a container that is a chain."""
        waiting, values = [path], inputs
        while waiting:
            current = waiting.pop()
            if current not in self.children:
                step = self._take(current, values, callee.invocation)
                values = step.outputs
                if current == path:
                    self._note_loops("applied", step.frames, case)
            elif self.kinds[current] == "Sequential":
                waiting += reversed(self.children[current])
            else:
                raise Mismatch("a scope that cannot be called")
        return values

    def _take(
        self, callee: Any, inputs: tuple[int, ...], invocation: Invocation | None = None
    ) -> Step:
        """The one step that applies this to these values."""
        for waiting in self.waiting.get(_key(callee, inputs), []):
            step = waiting.step
            if not waiting.count or step.invocation != invocation:
                continue
            if isinstance(callee, str) or is_alike(callee, step.callee, step.attributes):
                waiting.count -= 1
                self.left -= 1
                return step
        raise Mismatch("something else is applied")


def _is_twin(one: Step, other: Step) -> bool:
    if isinstance(one.callee, Steps) or isinstance(other.callee, Steps):
        return False
    if isinstance(one.callee, str) or isinstance(other.callee, str):
        return one.callee == other.callee
    return same(one.callee, other.callee) and len(one.outputs) == len(other.outputs)


def _key(callee: Any, inputs: tuple[int, ...]) -> Any:
    if isinstance(callee, str):
        return callee, inputs
    if isinstance(callee, Steps):
        return _scan_key(callee.form, inputs)
    target = callee.target if isinstance(callee, Call) else ""
    return type(callee), target, inputs


def _scan_key(form: tuple[Any, ...], inputs: Sequence[int]) -> Any:
    """A scan's own form, its sequences and its initial states."""
    _, axes, _, states = form
    return ApplyScan, form, tuple(inputs[: len(axes) + states])


def _form(item: ApplyScan) -> tuple[Any, ...]:
    stacked = tuple(one.axis for one in item.stacked)
    return item.reverse, tuple(item.axes), stacked, len(item.carried)


def _integer(value: Any, case: Case) -> int:
    number = case.evaluate(value)
    if type(number) is not int:
        raise Mismatch("a loop without bounds")
    return number


def _name(label: Label, case: Case) -> str:
    return "".join(str(case.evaluate(part)) for part in label)


def _is_counted(paths: Sequence[str]) -> bool:
    return all(path.rpartition(".")[2] == str(place) for place, path in enumerate(paths))


def _evaluated(expression: Any, case: Case) -> Any:
    def leaf(value: Any) -> Any:
        return case.evaluate(value) if isinstance(value, Dim | Formula) else value

    return rewrite(expression, leaf)
