"""Names to what they mean: files, blocks under expansion, and labelled scopes."""

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
    """Numbers unlabelled layers and keeps labels unique, under a dotted prefix."""

    prefix: str = ""
    next_number: int = 0
    taken: dict[str, Span] = field(default_factory=dict[str, Span])

    def number(self) -> str:
        """The next number that no label has taken."""
        while str(self.next_number) in self.taken:
            self.next_number += 1
        self.next_number += 1
        return str(self.next_number - 1)


@dataclass(frozen=True, slots=True)
class ReturnedValue:
    name: str | None
    value: Tensor
    training: bool
    span: Span
