"""Scopes: names to what they mean, in files, blocks and labelled scopes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from archdsl.semantics.values import BlockDefinition, Evaluated, Tensor
from archdsl.source import Span
from archdsl.syntax import ast


@dataclass(slots=True, eq=False)
class FileScope:
    """The declarations a file makes or imports."""

    name: str
    edition: int
    blocks: dict[str, BlockDefinition] = field(default_factory=dict[str, BlockDefinition])
    families: dict[str, ast.Family] = field(default_factory=dict[str, ast.Family])
    constants: dict[str, ast.FileConstant] = field(default_factory=dict[str, ast.FileConstant])
    origins: dict[str, tuple[FileScope, str]] = field(
        default_factory=dict[str, "tuple[FileScope, str]"]
    )
    """Imported constants: the file that declares them, and their name there."""
    values: dict[str, Evaluated] = field(default_factory=dict[str, Evaluated])
    """Constants already evaluated."""

    def names(self) -> Iterator[str]:
        yield from self.blocks
        yield from self.constants


@dataclass(slots=True, eq=False)
class Environment:
    """Variables of a block or of a scope inside it; a scope reads outwards and binds inside."""

    file: FileScope
    outer: Environment | None = None
    variables: dict[str, Evaluated] = field(default_factory=dict[str, Evaluated])
    symbols: frozenset[str] = frozenset()
    """Names of the signature's dims: as `axis=` they mean the axis, not the size."""

    def inner(self, entering: Evaluated) -> Environment:
        """The environment of a scope that `entering` flows into as `it`."""
        return Environment(self.file, self, {"it": entering}, self.symbols)

    def find(self, name: str) -> Evaluated | None:
        """The value of a variable, from the innermost scope outwards."""
        environment: Environment | None = self
        while environment is not None:
            if name in environment.variables:
                return environment.variables[name]
            environment = environment.outer
        return None

    def names(self) -> Iterator[str]:
        environment: Environment | None = self
        while environment is not None:
            yield from environment.variables
            environment = environment.outer


@dataclass(slots=True, eq=False)
class NameScope:
    """Where unlabelled layers are numbered: a dotted prefix, and the next number under it."""

    prefix: str = ""
    next_number: int = 0


@dataclass(slots=True, eq=False)
class Labels:
    """The paths of a block that are taken: by what owns weights, and by what stands around it."""

    owners: dict[str, Span] = field(default_factory=dict[str, Span])
    scopes: dict[str, Span] = field(default_factory=dict[str, Span])

    def number(self, scope: NameScope) -> str:
        """The next number that no label has taken."""
        while self.earlier(f"{scope.prefix}{scope.next_number}") is not None:
            scope.next_number += 1
        scope.next_number += 1
        return str(scope.next_number - 1)

    def earlier(self, path: str) -> Span | None:
        """Where a path was taken before."""
        return self.owners.get(path) or self.scopes.get(path)

    def owner_above(self, prefix: str, label: str) -> str | None:
        """The path in a dotted label under which nothing can stand: a layer or a weight has it."""
        above = (prefix + label[:dot] for dot, sign in enumerate(label) if sign == ".")
        return next((path for path in above if path in self.owners), None)

    def take(self, prefix: str, label: str, span: Span, *, scope: bool) -> None:
        """Take a path, and with a dotted label all that it leads through."""
        (self.scopes if scope else self.owners)[prefix + label] = span
        for dot, sign in enumerate(label):
            if sign == ".":
                self.scopes.setdefault(prefix + label[:dot], span)


@dataclass(frozen=True, slots=True)
class ReturnedValue:
    name: str | None
    value: Tensor
    training: bool
    span: Span
