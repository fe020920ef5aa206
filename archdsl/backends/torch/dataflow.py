"""Which values each application of a template produces and reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from archdsl.backends.python.formula import Formula
from archdsl.backends.torch.template import (
    Application,
    Apply,
    ApplyBranch,
    ApplyLoop,
    ApplyScan,
    MemberCall,
    Template,
    Variable,
)
from archdsl.backends.torch.trace.terms import taken_apart
from archdsl.ir.lowering import Call, Infix


def walk(items: Sequence[Application]) -> Iterator[Application]:
    """All items, with those inside loops, scans and branches."""
    waiting = list(reversed(items))
    while waiting:
        item = waiting.pop()
        yield item
        if isinstance(item, ApplyLoop | ApplyScan):
            waiting += reversed(item.items)
        elif isinstance(item, ApplyBranch):
            waiting += [*reversed(item.otherwise), *reversed(item.then)]


def conditions(items: Sequence[Application]) -> list[Formula]:
    """The conditions of all branches, once each."""
    found = (item.condition for item in walk(items) if isinstance(item, ApplyBranch))
    return list(dict.fromkeys(found))


def additions(items: Sequence[Application]) -> set[Formula]:
    """The conditions of branches that do nothing but add."""
    found: set[Formula] = set()
    for item in walk(items):
        if isinstance(item, ApplyBranch) and not item.otherwise:
            inner = [one.callee for one in item.then if isinstance(one, Apply)]
            if len(inner) == len(item.then) and all(map(_is_sum, inner)):
                found.add(item.condition)
    return found


def _is_sum(callee: Any) -> bool:
    return isinstance(callee, Infix) and callee.symbol == "+"


def makes(item: Application) -> list[Variable]:
    """The variables that an item itself gives a value."""
    match item:
        case Apply():
            return list(item.outputs)
        case ApplyLoop():
            return [v for carried in item.carried for v in (carried.found, carried.after)]
        case ApplyBranch():
            return [choice.after for choice in item.choices]
        case ApplyScan():
            states = [v for carried in item.carried for v in (carried.found, carried.after)]
            return [*item.elements, *states, *(stacked.whole for stacked in item.stacked)]


def takes(item: Application) -> list[Variable]:
    """The variables that an item itself reads."""
    match item:
        case Apply():
            return list(item.inputs)
        case ApplyLoop():
            return [v for carried in item.carried for v in (carried.before, carried.left)]
        case ApplyBranch():
            return [v for choice in item.choices for v in (choice.then, choice.otherwise)]
        case ApplyScan():
            states = [v for carried in item.carried for v in (carried.before, carried.left)]
            return [*item.sequences, *states, *(stacked.yielded for stacked in item.stacked)]


def count_reads(template: Template) -> Counter[Variable]:
    """How often each variable is read by what is needed."""
    counts: Counter[Variable] = Counter()
    source: dict[Variable, tuple[list[Variable], list[Variable]]] = {}
    for item in walk([*template.applications, *template.training]):
        for made, taken in _flows(item):
            counts.update(taken)
            source.update(dict.fromkeys(made, (made, taken)))
    in_training = any(output.training for output in template.outputs)
    for output in template.outputs:
        counts[output.variable] += 2 if in_training and not output.training else 1
    unused = [variable for variable in source if not counts[variable]]
    dropped: set[int] = set()
    while unused:
        flow = source[unused.pop()]
        if id(flow) in dropped or any(counts[variable] for variable in flow[0]):
            continue
        dropped.add(id(flow))
        counts.subtract(flow[1])
        unused += [variable for variable in flow[1] if variable in source and not counts[variable]]
    return counts


def _flows(item: Application) -> list[tuple[list[Variable], list[Variable]]]:
    """What an item makes of what; of a loop or a branch each value by itself."""
    match item:
        case Apply():
            return [(list(item.outputs), list(item.inputs))]
        case ApplyLoop():
            return [([c.found, c.after], [c.before, c.left]) for c in item.carried]
        case ApplyBranch():
            return [([c.after], [c.then, c.otherwise]) for c in item.choices]
        case ApplyScan():
            # Its sequences say how often it runs, whatever of it is needed.
            walked: tuple[list[Variable], list[Variable]] = ([], list(item.sequences))
            states = [([c.found, c.after], [c.before, c.left]) for c in item.carried]
            return [walked, *states, *(([s.whole], [s.yielded]) for s in item.stacked)]


def outer_reads(items: Sequence[Application]) -> Counter[Variable]:
    """What is read of what stands around, and how often."""
    made: set[Variable] = set()
    read: Counter[Variable] = Counter()
    for item in walk(items):
        made.update(makes(item))
        read.update(takes(item))
    return Counter({variable: count for variable, count in read.items() if variable not in made})


def expressions(items: Sequence[Application]) -> Iterator[Any]:
    """Everything in which sizes and parameters may stand."""
    for item in walk(items):
        if isinstance(item, Apply):
            callee = item.callee
            if isinstance(callee, MemberCall):
                yield callee.path, callee.arguments, tuple(callee.after.values())
            else:
                yield callee
        elif isinstance(item, ApplyLoop):
            yield item.start, item.stop


def called_functions(template: Template) -> set[str]:
    """Names of functions that the file itself defines."""
    found: set[str] = set()
    waiting = [*expressions([*template.applications, *template.training])]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Call) and "." not in item.target:
            found.add(item.target)
        composite = taken_apart(item)
        waiting += composite.parts if composite else ()
    return found


def called_as_members(template: Template) -> set[Variable]:
    """Values that are called as the member that gives them, which says nothing new."""
    return {
        item.outputs[0]
        for item in walk([*template.applications, *template.training])
        if isinstance(item, Apply)
        and isinstance(item.callee, MemberCall)
        and len(item.outputs) == 1
        and item.callee.path[-1] == (item.outputs[0].hint,)
    }
