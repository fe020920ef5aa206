"""Writes `__init__`: stored parameters, constructed members, initial weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from archdsl.backends.python.formula import Formula
from archdsl.backends.python.layout import (
    INDENT,
    Code,
    bracket,
    call,
    comprehension,
    lay_out,
    list_of,
    tuple_of,
)
from archdsl.backends.python.naming import Namespace, is_plain, string
from archdsl.backends.torch.dataflow import additions, conditions
from archdsl.backends.torch.template import (
    Construction,
    Container,
    Label,
    Make,
    MakeBranch,
    MakeLoop,
    NewInstance,
    Template,
)
from archdsl.backends.torch.write.names import (
    ClassNames,
    constant_label,
    is_reserved,
    label_text,
    reach,
    weight_of,
)
from archdsl.backends.torch.write.values import (
    LoopVariables,
    Variables,
    enclosing,
    is_formula,
    loop_clause,
    value_code,
)
from archdsl.backends.torch.write.weights import empty_weight, init_lines
from archdsl.ir.lowering import Unsupported
from archdsl.ir.op import Weight
from archdsl.sizes.dims import Dim

FEWEST_SHARED, SHORTEST_SHARED = 3, 12
"""How often a formula stands, and how long it is, where it gets a name."""

BODY = 2
"""Depth of indentation of a method's statements."""


class Constructor:
    """Writes `__init__`; what a branch made can be asked of `self.…` in `forward`."""

    def __init__(self, template: Template, names: ClassNames) -> None:
        self.template = template
        self.names = names
        self.conditions: dict[Formula, str] = {}
        """What `forward` asks instead of a condition."""
        self.optional: dict[Formula, str] = {}
        """Members that are None where a condition does not hold."""
        self.defaults = self._computed_defaults()
        self.lines: list[str] = []
        self.shared = self._share_formulas()
        if template.is_chain:
            self._write_chain()
            return
        self._plan_conditions()
        self._write_weights()
        self._write_items(template.constructions, "self", (), None, names.parameter, BODY)
        self._write_scoped_weights(names.parameter)
        self._write_ties(names.parameter)

    def _computed_defaults(self) -> list[str]:
        """Statements that compute the parameters for which nothing is given from others."""
        lines: list[str] = []
        for name in self.template.parameters:
            default = self.template.defaults.get(name)
            if is_formula(default):
                own = self.names.parameters[name]
                code = value_code(default, self.names.parameter)
                lines += lay_out(f"if {own} is None", Code(":"), BODY)
                lines += lay_out(f"{own} = ", code, BODY + 1)
        return lines

    # --------------------------------------------------------------------------- shared formulas

    def _share_formulas(self) -> dict[Dim, str]:
        """Give long formulas that stand in several places a name."""
        counts = Counter(sizes_given(self.template.constructions))
        known = self.names.parameters.keys()
        taken = Namespace(self.names.parameters.values())
        shared: dict[Dim, str] = {}
        for size, count in counts.items():
            if count < FEWEST_SHARED or not size.symbols <= known or size.is_opaque:
                continue
            code = value_code(size, self.names.parameter)
            if len(code.text) >= SHORTEST_SHARED:
                shared[size] = taken.claim("hidden")
                self.lines += lay_out(f"{shared[size]} = ", code, BODY)
        return shared

    def _value(self, value: Any, variables: Variables) -> Code:
        """A value that a member is constructed with."""
        if isinstance(value, Dim) and value in self.shared:
            return Code(self.shared[value])
        return value_code(value, variables)

    # ------------------------------------------------------------------------------- conditions

    def _plan_conditions(self) -> None:
        """Decide what `forward` asks for: a parameter, a member, or a truth stored for it."""
        branches = {
            item.condition: item
            for item in self.template.constructions
            if isinstance(item, MakeBranch) and not item.otherwise
        }
        items = [*self.template.applications, *self.template.training]
        sums = additions(items)
        for condition in conditions(items):
            (name, *more) = condition.names or ("",)
            if not set(condition.names) <= self.names.parameters.keys():
                continue
            member = _first_member(branches.get(condition))
            if condition.text == name and not more:
                self.conditions[condition] = self.names.stored_parameter(name).text
            elif member is not None:
                self.optional[condition] = member
                self.conditions[condition] = f"self.{member} is not None"
            else:
                is_sum = condition in sums
                attribute = self.names.attribute("is_residual" if is_sum else "has_branch")
                code = condition.code(self.names.parameter).text
                self._line(f"self.{attribute} = {code}", BODY)
                self.conditions[condition] = f"self.{attribute}"

    # ---------------------------------------------------------------------------------- members

    def _write_items(
        self,
        items: Sequence[Construction],
        owner: str,
        path: tuple[Label, ...],
        scope: Container | None,
        variables: Variables,
        depth: int,
    ) -> None:
        for item in items:
            match item:
                case Make() | Container():
                    self._write_member(item, owner, path, scope, variables, depth)
                case MakeLoop():
                    inner = self._loop_variables(item, variables)
                    place = len(self.lines)
                    self._write_items(item.items, owner, path, scope, inner, depth + 1)
                    self.lines.insert(place, INDENT * depth + loop_clause(inner, item) + ":")
                case MakeBranch():
                    self._write_branch(item, owner, path, scope, variables, depth)

    def _write_branch(
        self,
        item: MakeBranch,
        owner: str,
        path: tuple[Label, ...],
        scope: Container | None,
        variables: Variables,
        depth: int,
    ) -> None:
        self._line(f"if {item.condition.code(variables).text}:", depth)
        self._write_items(item.then, owner, path, scope, variables, depth + 1)
        if not item.then:
            self._line("pass", depth + 1)
        absent = self.optional.get(item.condition) if depth == BODY else None
        if item.otherwise or absent:
            self._line("else:", depth)
        self._write_items(item.otherwise, owner, path, scope, variables, depth + 1)
        if absent:
            self._line(f"self.{absent} = None", depth + 1)

    def _loop_variables(self, loop: MakeLoop, variables: Variables) -> LoopVariables:
        taken = {*self.names.parameters.values(), *enclosing(variables)}
        return LoopVariables(variables, loop.variable, Namespace(taken).claim(loop.hint))

    def _write_member(
        self,
        item: Make | Container,
        owner: str,
        path: tuple[Label, ...],
        scope: Container | None,
        variables: Variables,
        depth: int,
    ) -> None:
        target = reach(owner, item.label, scope, variables) if item.label else owner
        if isinstance(item, Make):
            self._assign(owner, scope, item.label, self._made(item, variables), variables, depth)
            self._begin(item, target, variables, depth)
        elif is_expressible(item):
            code = self._container(item, variables)
            self._assign(owner, scope, item.label, code, variables, depth)
            for make, inner in _made_within(item, target, variables):
                self._begin(make, inner, variables, depth)
        else:
            self._assign(owner, scope, item.label, call(f"nn.{item.kind}"), variables, depth)
            inner_path = (*path, item.label)
            self._write_items(item.items, target, inner_path, item, variables, depth)

    def _assign(
        self,
        owner: str,
        scope: Container | None,
        label: Label,
        code: Code,
        variables: Variables,
        depth: int,
    ) -> None:
        name = constant_label(label)
        if scope is not None and scope.indexed:
            self.lines += lay_out("", call(f"{owner}.append", [code]), depth)
        elif name is not None and is_plain(name):
            self.lines += lay_out(f"{owner}.{name} = ", code, depth)
        elif name is not None and is_reserved(name):
            self.lines += lay_out(f"{owner}._modules[{string(name)}] = ", code, depth)
        else:
            added = call(f"{owner}.add_module", [Code(label_text(label, variables)), code])
            self.lines += lay_out("", added, depth)

    def _made(self, item: Make, variables: Variables) -> Code:
        made = item.made
        if isinstance(made, NewInstance):
            return self._new_instance(made, variables)
        arguments = [self._value(argument, variables) for argument in made.args]
        keywords = {name: self._value(value, variables) for name, value in made.kwargs.items()}
        return call(made.target, arguments, keywords)

    def _new_instance(self, made: NewInstance, variables: Variables) -> Code:
        template = made.template
        inner = ClassNames(template).parameters
        arguments: list[Code] = []
        keywords: dict[str, Code] = {}
        for name in template.parameters:
            code = self._value(made.values[name], variables)
            if name not in template.defaults:
                arguments.append(code)
            elif (
                is_formula(template.defaults[name])
                or code.text != value_code(template.defaults[name], variables).text
            ):
                keywords[inner[name]] = code
        return call(template.name, arguments, keywords)

    def _write_chain(self) -> None:
        """A class that is nothing but a chain is its own container."""
        whole = Container((), "Sequential", self.template.constructions, indexed=True)
        variables = self.names.parameter
        if not is_expressible(whole):
            self._line("super().__init__()", BODY)
            self._write_items(whole.items, "self", (), whole, variables, BODY)
            return
        layers = call("super().__init__", self._elements(whole.items, variables))
        self.lines += lay_out("", layers, BODY)
        for make, inner in _made_within(whole, "self", variables):
            self._begin(make, inner, variables, BODY)

    def _container(self, item: Container, variables: Variables) -> Code:
        if item.kind == "ModuleList":
            return call("nn.ModuleList", [self._list(item.items, variables)])
        if item.kind == "ModuleDict":
            return call("nn.ModuleDict", [self._dictionary(item.items, variables)])
        if item.indexed:
            return call("nn.Sequential", self._elements(item.items, variables))
        return call("nn.Sequential", [self._ordered(item.items, variables)])

    def _elements(self, items: Sequence[Construction], variables: Variables) -> list[Code]:
        return [self._element(item, variables) for item in items]

    def _element(self, item: Construction, variables: Variables) -> Code:
        match item:
            case Make():
                return self._made(item, variables)
            case Container():
                return self._container(item, variables)
            case MakeLoop():
                return self._comprehension("*(", item, variables, ")")
            case MakeBranch():
                raise AssertionError("a branch has no place in an expression")

    def _comprehension(
        self, opening: str, item: MakeLoop, variables: Variables, closing: str
    ) -> Code:
        inner = self._loop_variables(item, variables)
        elements = self._elements(item.items, inner)
        clauses = [loop_clause(inner, item)]
        if len(elements) == 1:
            return comprehension(opening, elements[0], clauses, closing)
        clauses.append(f"for layer in {tuple_of(elements).text}")
        return comprehension(opening, Code("layer"), clauses, closing)

    def _list(self, items: Sequence[Construction], variables: Variables) -> Code:
        if len(items) == 1 and isinstance(items[0], MakeLoop):
            return self._comprehension("[", items[0], variables, "]")
        return list_of(self._elements(items, variables))

    def _dictionary(self, items: Sequence[Construction], variables: Variables) -> Code:
        return bracket("{", self._pairs(items, variables), "}")

    def _pairs(self, items: Sequence[Construction], variables: Variables) -> list[Code]:
        labelled = [item for item in items if isinstance(item, Make | Container)]
        return [
            self._element(item, variables).prefixed(f"{label_text(item.label, variables)}: ")
            for item in labelled
        ]

    def _ordered(self, items: Sequence[Construction], variables: Variables) -> Code:
        names = [constant_label(i.label) or "" for i in items if isinstance(i, Make | Container)]
        if all(is_plain(name) for name in names):
            elements = self._elements(items, variables)
            return call("OrderedDict", [], dict(zip(names, elements, strict=True)))
        return call("OrderedDict", [bracket("{", self._pairs(items, variables), "}")])

    # ---------------------------------------------------------------------------------- weights

    def _begin(self, item: Make, target: str, variables: Variables, depth: int) -> None:
        for name, init in item.inits:
            self.lines += init_lines(f"{target}.{name}", init, variables, depth)

    def _write_weights(self) -> None:
        for weight in self.template.weights:
            if "." not in weight.name:
                self._write_weight(weight, "self", weight.name, self.names.parameter)

    def _write_scoped_weights(self, variables: Variables) -> None:
        """Weights declared in a labelled scope belong to the container of that scope."""
        for weight in self.template.weights:
            *path, name = weight.name.split(".")
            if not path:
                continue
            self._write_weight(weight, self._owner(path, variables), name, variables)

    def _write_ties(self, variables: Variables) -> None:
        """Second names of weights, which are these very weights."""
        for tie in self.template.ties:
            owner = self._owner(tie.owner, variables, tie.standing)
            self._register(owner, tie.name, tie.kind, self.names.weight(tie.weight))

    def _owner(self, path: Sequence[str], variables: Variables, standing: int = 0) -> str:
        """The container of a labelled scope, made here if the scope holds nothing but weights.

        So many of the first labels are known to stand.
        """
        scopes = self.names.scopes
        text, outer = "self", tuple[str, ...]()
        for place, label in enumerate(path):
            inner, scope = (*outer, label), scopes.get(outer)
            if place >= standing and inner not in scopes:
                if scope is not None and scope.kind in ("Sequential", "ModuleList"):
                    raise Unsupported("a chain of layers cannot hold a scope of weights alone")
                self._assign(text, None, (label,), call("nn.Module"), variables, BODY)
                scopes[inner] = Container((label,), "Module", (), indexed=False)
            text, outer = reach(text, (label,), scope, variables), inner
        return text

    def _write_weight(self, weight: Weight, owner: str, name: str, variables: Variables) -> None:
        code, is_begun = empty_weight(weight, variables)
        if weight.kind == "parameter":
            code = call("nn.Parameter", [code])
        self._register(owner, name, weight.kind, code)
        if not is_begun:
            target = weight_of(owner, name, weight.kind)
            self.lines += init_lines(target, weight.init, variables, BODY)

    def _register(self, owner: str, name: str, kind: str, code: Code) -> None:
        """Let a module have a parameter or a buffer of that name."""
        if kind == "parameter" and is_plain(name):
            self.lines += lay_out(f"{owner}.{name} = ", code, BODY)
        elif is_reserved(name):
            self.lines += lay_out(f"{owner}._{kind}s[{string(name)}] = ", code, BODY)
        else:
            arguments = [Code(string(name)), code]
            self.lines += lay_out("", call(f"{owner}.register_{kind}", arguments), BODY)

    def _line(self, text: str, depth: int) -> None:
        self.lines.append(f"{INDENT * depth}{text}")


def sizes_given(items: Sequence[Construction]) -> Iterator[Dim]:
    """Every size that a member is constructed with."""
    for item in items:
        match item:
            case Make():
                made = item.made
                is_new = isinstance(made, NewInstance)
                values = made.values.values() if is_new else (*made.args, *made.kwargs.values())
                yield from (value for value in values if isinstance(value, Dim))
            case MakeBranch():
                yield from sizes_given([*item.then, *item.otherwise])
            case _:
                yield from sizes_given(item.items)


def _first_member(branch: MakeBranch | None) -> str | None:
    """The name of the member that a branch constructs first, as an attribute."""
    first = branch.then[0] if branch is not None and branch.then else None
    if not isinstance(first, Make | Container):
        return None
    name = constant_label(first.label)
    return name if name is not None and is_plain(name) else None


def is_expressible(item: Container) -> bool:
    """Whether a container can be written with its members in one expression."""
    if item.kind == "Module":
        return False
    return all(_is_element(child, item) for child in item.items)


def is_self_contained(item: Make | Container) -> bool:
    """Whether nothing has to reach into it after it is constructed."""
    if isinstance(item, Make):
        return not item.inits
    if not is_expressible(item):
        return False
    inner = [child for child in item.items if isinstance(child, Make | Container)]
    return all(is_self_contained(child) for child in inner)


def _is_element(child: Construction, scope: Container) -> bool:
    match child:
        case Make():
            return True
        case Container():
            return is_expressible(child)
        case MakeLoop():
            makes = [inner for inner in child.items if isinstance(inner, Make)]
            plain = len(makes) == len(child.items) and not any(make.inits for make in makes)
            return scope.indexed and plain
        case MakeBranch():
            return False


def _made_within(item: Container, target: str, variables: Variables) -> Iterator[tuple[Make, str]]:
    """The members of a container written as an expression, and how each is reached."""
    for child in item.items:
        if isinstance(child, Make | Container):
            inner = reach(target, child.label, item, variables)
            if isinstance(child, Make):
                yield child, inner
            else:
                yield from _made_within(child, inner, variables)
