"""The place of a possible rewrite: what patterns ask about it, and their answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from archdsl.ir.model import Node, Origin
from archdsl.ir.op import Op
from archdsl.ir.types import TensorType
from archdsl.sizes.proof import Facts


@dataclass(frozen=True, slots=True)
class Fusion:
    """An operator in the place of others; what it reads are values there, or fusions again."""

    op: Op
    inputs: tuple[int | Fusion, ...]
    origins: tuple[Origin, ...] = ()
    name: str | None = None
    """What its value is called, if not as what is written out was."""


class Site(Protocol):
    """A node of a block, and what can be asked of the values it reads."""

    @property
    def node(self) -> Node:
        """The node that may be the last one of something written out."""
        ...

    @property
    def facts(self) -> Facts:
        """What is known of the block's sizes."""
        ...

    def type(self, value: int) -> TensorType:
        """The type of a value."""
        ...

    def maker(self, value: int) -> Node | None:
        """The operator without weights that makes a value, beside this node or around it."""
        ...

    def is_read_once(self, value: int) -> bool:
        """Whether nothing but one input of one node reads a value."""
        ...

    def is_surely_finite(self, value: int) -> bool:
        """Whether a value depends on no number that a user gives, which might be infinite."""
        ...
