"""What is to be measured, and how thoroughly."""

from __future__ import annotations

from dataclasses import dataclass

CLASSIFIERS = (
    "alexnet", "vgg16", "vgg11_bn", "googlenet", "resnet18", "resnet50", "resnext50_32x4d",
    "densenet121", "mobilenet_v2", "squeezenet1_0", "squeezenet1_1",
)  # fmt: skip
"""Every family, and every kind of block in it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many rounds, and which classifiers."""

    rounds: int = 15
    classifiers: tuple[str, ...] = CLASSIFIERS

    @property
    def slow_rounds(self) -> int:
        """Rounds of what takes torch many seconds."""
        return max(3, self.rounds // 3)
