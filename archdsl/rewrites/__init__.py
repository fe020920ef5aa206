"""The rewrites: operators written out in simpler ones, recognised as one operator.

A rewrite looks at one node and answers with the operator that this node and those before it amount
to, or None. It may match operator classes, which no other part of the compiler does but
`passes/transform`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archdsl.rewrites.site import Fusion, Site


def _attention(site: Site) -> Fusion | None:
    if len(site.node.inputs) != 2:
        return None
    # Only networks with products of two values load the operators that attention consists of.
    from archdsl.rewrites.attention import attention

    return attention(site)


PATTERNS: Mapping[str, Callable[[Site], Fusion | None]] = {
    "einsum": _attention,
    "matmul": _attention,
}
"""Function name of the last operator -> the rewrite that may replace it."""
