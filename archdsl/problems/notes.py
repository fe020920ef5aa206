"""Notes, which are no errors; `{place}` stands for the position in the text."""

from __future__ import annotations


def fused_scan(operator: str) -> str:
    article = "an" if operator[0] in "LR" else "a"
    return f"the scan at {{place}} is {article} {operator}: fused"


def towers_meet(operator: str) -> str:
    return f"`{operator}` at {{place}} is not parted: it takes the channels of all towers"


def pooling_left_out(operator: str) -> str:
    return f"`{operator}` at {{place}} is left out: its windows would be one place each"


def pooling_slides(operator: str) -> str:
    return f"`{operator}` at {{place}} slides over larger images as a window of its own size"


def sizes_stay(reason: str) -> str:
    return f"the sizes of images at {{place}} stay as they are: {reason}"


def maps_must_fit() -> str:
    return "maps made of images of other sizes do not fit together"


def window_must_fit() -> str:
    return "a smaller image leaves no place for the window of the first layer of the head"
