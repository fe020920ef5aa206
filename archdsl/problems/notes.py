"""What is no problem, but good to know; `{place}` stands for where in the text it is."""

from __future__ import annotations


def fused_scan(operator: str) -> str:
    article = "an" if operator[0] in "LR" else "a"
    return f"the scan at {{place}} is {article} {operator}: fused"


def towers_meet(operator: str) -> str:
    return f"`{operator}` at {{place}} is not parted: it takes the channels of all towers"
