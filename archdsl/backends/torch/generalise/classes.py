"""Which classes a model becomes: one for each block name whose specialisations merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from archdsl.backends.python.formula import Formula
from archdsl.backends.python.naming import Namespace
from archdsl.backends.torch.dataflow import conditions
from archdsl.backends.torch.generalise.cases import Mismatch
from archdsl.backends.torch.generalise.merge import Wanted, merged
from archdsl.backends.torch.generalise.validate import verify
from archdsl.backends.torch.template import MakeBranch, Template, every_construction
from archdsl.backends.torch.trace.lower import plain
from archdsl.backends.torch.trace.trace import Trace, is_numbered_chain, static_names, trace
from archdsl.diagnostics import InternalError
from archdsl.ir.lowering import Unsupported
from archdsl.ir.model import Argument, Block, Model, every_node
from archdsl.sizes.dims import Dim


def class_templates(model: Model) -> list[Template]:
    """Every class, what is used before what uses it; the outermost last."""
    return list(dict.fromkeys(classes_of_blocks(model).values()))


def classes_of_blocks(model: Model) -> dict[str, Template]:
    """The class of each block by its key, in the order in which classes are written."""
    names = Namespace()
    known: dict[str, Template] = {}
    traced: dict[str, Trace] = {}
    for key in _in_order_of_use(model):
        traced[key] = trace(model, key, traced)
    for keys in _groups(model):
        traces = [traced[key] for key in keys]
        for member in traces:
            _demand_one_object(model, member.block, known)
        defaults = _defaults(model, keys)
        for members, template in _written_together(traces, known, defaults):
            template.name = names.claim_class(members[0].block.name)
            known.update((member.key, template) for member in members)
    root = known[model.entry]
    root.is_root = True
    if len(root.outputs) > 1:
        root.output_class = names.claim_class(f"{root.name}Output")
    return known


def _demand_one_object(model: Model, block: Block, known: Mapping[str, Template]) -> None:
    """An instance that is applied at several sizes must be the same module at all of them."""
    for node in every_node(block.nodes):
        if node.block is None or node.member is None:
            continue
        first = str(block.member[node.member].block)
        template = known[first]
        one, other = static_names(model.blocks[first]), static_names(model.blocks[node.block])
        if known[node.block] is not template or any(
            one.get(name) != other.get(name) for name in template.parameters
        ):
            raise Unsupported(
                f"`{node.member}` in block {block.name} is applied at sizes for which PyTorch would"
                " need two modules",
                "give each size a layer of its own",
            )


_Together = tuple[Sequence[Trace], Template]


def _written_together(
    traces: Sequence[Trace], known: Mapping[str, Template], defaults: Mapping[str, Any]
) -> list[_Together]:
    """The specialisations that make one class: all, or those of one skeleton, or each by itself."""
    wanted = Wanted(known, defaults)
    try:
        return [(traces, _verified(traces, wanted))]
    except Mismatch:
        pass
    alike: dict[Any, list[Trace]] = {}
    for traced in traces:
        alike.setdefault(_skeleton(traced, known), []).append(traced)
    found: list[_Together] = []
    for group in alike.values():
        found += _alike_together(group, wanted)
    return found


def _alike_together(traces: Sequence[Trace], wanted: Wanted) -> list[_Together]:
    if len(traces) > 1:
        try:
            return [(traces, _verified(traces, wanted))]
        except Mismatch:
            pass
    return [([traced], _by_itself(traced, wanted)) for traced in traces]


def _by_itself(traced: Trace, wanted: Wanted) -> Template:
    """The class of one specialisation: with loops if they hold, else just as it was expanded."""
    try:
        return _verified([traced], wanted)
    except Mismatch:
        expanded = Wanted(wanted.classes, {}, expanded=True)
    try:
        return _verified([traced], expanded)
    except Mismatch as problem:
        raise InternalError(f"block {traced.block.name} has no PyTorch form") from problem


def _verified(traces: Sequence[Trace], wanted: Wanted) -> Template:
    """The class of these, all of whose parameters are followed by everything that has to."""
    template = merged(traces, wanted)
    lost = set[str]().union(*(verify(template, traced, wanted.classes) for traced in traces))
    lost |= set[str]().union(*(_unfollowed(template, traced) for traced in traces))
    half_followed = lost.intersection(template.parameters)
    if half_followed:
        return _verified(traces, replace(wanted, literal=wanted.literal | half_followed))
    template.literal = frozenset(lost)
    return template


def _unfollowed(template: Template, traced: Trace) -> Iterator[str]:
    """The names that operators, or branches which the class has not, were decided by."""
    made = every_construction(template.constructions)
    written = {item.condition for item in made if isinstance(item, MakeBranch)}
    written.update(conditions([*template.applications, *template.training]))
    decided = {Formula(text) for text in traced.block.decisions} - written
    names = {*traced.unfollowed, *(name for formula in decided for name in formula.names)}
    return iter(names & traced.names.keys())


def _skeleton(traced: Trace, known: Mapping[str, Template]) -> Any:
    """What specialisations that merge easily have in common."""
    block = traced.block
    members = tuple(
        (m.path, id(known[m.block]) if m.block else None, len(m.weights)) for m in block.members
    )
    nodes = tuple(
        (node.member, type(node.op), len(node.inputs), len(node.frames))
        for node in every_node(block.nodes)
    )
    return is_numbered_chain(block), members, nodes


# ------------------------------------------------------------------------------------- the order


def _groups(model: Model) -> list[list[str]]:
    """Keys of blocks of one name, each group after all that it uses."""
    order = _in_order_of_use(model)
    groups: dict[Any, list[str]] = {}
    height: dict[str, int] = {}
    for key in order:
        inner = [height[used] for used in _used(model.blocks[key])]
        height[key] = 1 + max(inner, default=0)
        groups.setdefault(model.blocks[key].name, []).append(key)
    sorted_groups = _sorted(model, groups)
    if sorted_groups is not None:
        return sorted_groups
    by_height: dict[Any, list[str]] = {}
    for key in sorted(order, key=lambda key: height[key]):
        by_height.setdefault((height[key], model.blocks[key].name), []).append(key)
    return list(by_height.values())


def _sorted(model: Model, groups: Mapping[Any, list[str]]) -> list[list[str]] | None:
    """Groups in order of use; None where two use each other."""
    owner = {key: name for name, keys in groups.items() for key in keys}
    done: dict[Any, None] = {}
    running: set[Any] = set()
    waiting = [(owner[model.entry], False)]
    while waiting:
        name, is_ready = waiting.pop()
        if name in done:
            continue
        if is_ready:
            running.discard(name)
            done[name] = None
            continue
        if name in running:
            return None
        running.add(name)
        waiting.append((name, True))
        used = dict.fromkeys(
            owner[inner] for key in groups[name] for inner in _used(model.blocks[key])
        )
        if any(inner in running for inner in used):
            return None
        waiting += [(inner, False) for inner in reversed(used) if inner not in done]
    return [groups[name] for name in done]


def _in_order_of_use(model: Model) -> list[str]:
    """Block keys, each after all that it uses."""
    order: dict[str, None] = {}
    waiting = [(model.entry, False)]
    while waiting:
        key, is_ready = waiting.pop()
        if key in order:
            continue
        if is_ready:
            order[key] = None
            continue
        waiting.append((key, True))
        inner = reversed(_used(model.blocks[key]))
        waiting += [(block, False) for block in inner if block not in order]
    return list(order)


def _used(block: Block) -> list[str]:
    """The blocks of its members, and those that they are at other sizes."""
    called = [node.block for node in every_node(block.nodes)]
    used = [*(member.block for member in block.members), *called]
    return list(dict.fromkeys(key for key in used if key is not None))


def _defaults(model: Model, keys: Sequence[str]) -> dict[str, Any]:
    """The defaults of a block's parameters; those of the outermost are what it was built with."""
    own = [argument for key in keys for argument in model.blocks[key].arguments]
    computed = {a.name: _formula(a) for a in own if a.is_default and a.kind != "layer"}
    if model.entry in keys:
        return {a.name: plain(a.value) for a in own if a.kind != "layer"} | computed
    wanted = set(keys)
    given = {
        argument.name: plain(argument.value)
        for block in model.blocks.values()
        for member in block.members
        if member.block in wanted
        for argument in member.arguments
        if argument.is_default and argument.kind != "layer"
    }
    return given | computed


def _formula(argument: Argument) -> Any:
    """A default that is computed from other parameters."""
    if isinstance(argument.value, Dim):
        origin = argument.value.origin
        return Formula(str(origin)) if origin.is_opaque else origin
    return plain(argument.value) if argument.origin is None else Formula(argument.origin)
