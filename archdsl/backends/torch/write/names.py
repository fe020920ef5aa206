"""Names the parameters and attributes of one class and the paths to its members."""

from __future__ import annotations

from collections.abc import Sequence, Set

from archdsl.backends.python.layout import Code
from archdsl.backends.python.naming import MODULE_NAMES, Namespace, is_plain, string
from archdsl.backends.torch.template import (
    Construction,
    Container,
    Label,
    MakeBranch,
    MakeLoop,
    Template,
)
from archdsl.backends.torch.write.values import Variables, value_code
from archdsl.sizes.dims import Dim


class ClassNames:
    """Parameters as variables of `__init__` and as attributes; members by their path."""

    def __init__(self, template: Template, given: Set[str] = frozenset()) -> None:
        """`given` is what else may be put into an instance, so that no attribute is called so."""
        self.scopes: dict[tuple[str, ...], Container] = {}
        self._note_scopes(template.constructions)
        own = {weight.name for weight in template.weights}
        self.weight_kinds = {weight.name: weight.kind for weight in template.weights}
        members = {constant_label(label) or "" for label in _labels(template.constructions)}
        variables = Namespace()
        self.parameters = {name: variables.claim(name) for name in template.parameters}
        self._attributes = Namespace({*MODULE_NAMES, *own, *members, *given})
        self.stored: dict[str, str] = {}
        """Parameters that `forward` needs, with their attributes."""

    def _note_scopes(self, constructions: Sequence[Construction]) -> None:
        waiting: list[tuple[tuple[str, ...], Construction]] = [((), item) for item in constructions]
        while waiting:
            outer, item = waiting.pop()
            match item:
                case Container():
                    path = (*outer, "".join(map(str, item.label)))
                    self.scopes[path] = item
                    waiting += [(path, child) for child in item.items]
                case MakeLoop():
                    waiting += [(outer, child) for child in item.items]
                case MakeBranch():
                    waiting += [(outer, child) for child in (*item.then, *item.otherwise)]
                case _:
                    pass

    def attribute(self, name: str) -> str:
        """A new attribute of `self`, as near to the name as can be."""
        return self._attributes.claim(name)

    def parameter(self, name: str) -> Code:
        """A parameter in `__init__`."""
        return Code(self.parameters[name])

    def stored_parameter(self, name: str) -> Code:
        """A parameter in `forward`, which `__init__` has to store."""
        if name not in self.stored:
            self.stored[name] = self.attribute(name)
        return Code(f"self.{self.stored[name]}")

    def member(self, path: Sequence[Label], variables: Variables) -> Code:
        """A member by the labels of its path."""
        text: str = "self"
        outer: tuple[str, ...] = ()
        for label in path:
            text = reach(text, label, self.scopes.get(outer), variables)
            outer = (*outer, "".join(map(str, label)))
        return Code(text)

    def weight(self, path: str) -> Code:
        """A weight of the block itself or of a member."""
        *owners, name = path.split(".")
        owner = self.member([(label,) for label in owners], self.parameter).text
        return Code(weight_of(owner, name, self.weight_kinds.get(path, "parameter")))


def weight_of(owner: str, name: str, kind: str) -> str:
    """A parameter or buffer of a module."""
    if is_plain(name):
        return f"{owner}.{name}"
    if is_reserved(name):
        return f"{owner}._{kind}s[{string(name)}]"
    return f"getattr({owner}, {string(name)})"


def _labels(constructions: Sequence[Construction]) -> list[Label]:
    found: list[Label] = []
    for item in constructions:
        match item:
            case MakeLoop():
                found += _labels(item.items)
            case MakeBranch():
                found += _labels([*item.then, *item.otherwise])
            case _:
                found.append(item.label)
    return found


def reach(owner: str, label: Label, scope: Container | None, variables: Variables) -> str:
    """The child of that label: an attribute, an item, or a look-up by its text."""
    name = constant_label(label)
    if scope is not None and scope.indexed:
        return f"{owner}[{_index(label, variables)}]"
    if name is None:
        return f"getattr({owner}, {label_text(label, variables)})"
    if is_plain(name):
        return f"{owner}.{name}"
    if is_reserved(name):
        return f"{owner}._modules[{string(name)}]"
    if scope is not None and scope.kind == "ModuleDict":
        return f"{owner}[{string(name)}]"
    return f"getattr({owner}, {string(name)})"


def is_reserved(name: str) -> bool:
    """Names that `nn.Module` has something of its own under."""
    return name in MODULE_NAMES or name.startswith("_")


def constant_label(label: Label) -> str | None:
    """The name, when it does not count with a loop."""
    if all(isinstance(part, str) or part.value is not None for part in label):
        return "".join(map(str, label))
    return None


def _index(label: Label, variables: Variables) -> str:
    name = constant_label(label)
    if name is not None:
        return name
    (part,) = label
    return value_code(part, variables).text


def label_text(label: Label, variables: Variables) -> str:
    """A label as a string literal, formatted where it counts with a loop."""
    name = constant_label(label)
    if name is not None:
        return string(name)
    pieces = [_piece(part, variables) for part in label]
    return f'f"{"".join(pieces)}"'


def _piece(part: str | Dim, variables: Variables) -> str:
    if isinstance(part, Dim):
        return f"{{{value_code(part, variables).text}}}"
    return string(part)[1:-1].replace("{", "{{").replace("}", "}}").replace('"', '\\"')
