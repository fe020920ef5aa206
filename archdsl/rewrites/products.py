"""Products of two tensors in any notation, with names for the axes of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archdsl.ir.model import Node, Origin
from archdsl.ir.obligations import SETTLED
from archdsl.ir.types import TensorType
from archdsl.ops.layout._pattern import Side, factors, read, written
from archdsl.ops.layout.shape import Permute, Transpose
from archdsl.ops.linear.einsum import Einsum, Rearrange
from archdsl.ops.linear.linear import MatMul
from archdsl.rewrites.site import Fusion, Site
from archdsl.sizes.dims import Dim

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Factor:
    """A value that is multiplied, and what its axes are called."""

    value: int
    side: Side

    @property
    def names(self) -> Names:
        """The names without groups."""
        return factors(self.side)


@dataclass(frozen=True, slots=True)
class Product:
    """A product of two values over named axes."""

    left: Factor
    right: Factor
    output: Side
    sizes: Mapping[str, Dim]
    origins: tuple[Origin, ...]

    @staticmethod
    def of(site: Site, node: Node) -> Product | None:
        """The product that a node is, if it is one."""
        match node.op:
            case Einsum() if len(node.inputs) == 2:
                pattern = read(node.op.pattern)
                left, right = map(Factor, node.inputs, pattern.inputs)
                return Product(left, right, pattern.output, node.op.sizes, node.origins)
            case MatMul():
                return _of_matrices(site, *node.inputs)
            case _:
                return None

    @property
    def ways(self) -> tuple[tuple[Factor, Factor], ...]:
        """Both orders of the factors."""
        return (self.left, self.right), (self.right, self.left)

    def arranged(self, factor: Factor, names: Names) -> int | Fusion:
        """A factor with its axes taken apart, in this order."""
        return self.rearranged(factor.value, factor.side, one_by_one(names))

    def rearranged(self, value: int | Fusion, before: Side, after: Side) -> int | Fusion:
        """A value with its axes in another order and other groups."""
        if before == after:
            return value
        grouped = {name for term in before if len(term) > 1 for name in term}
        sizes = {name: size for name, size in self.sizes.items() if name in grouped}
        origins = tuple(origin for origin in self.origins if origin.attribute in sizes)
        pattern = f"{written(before)} -> {written(after)}"
        return Fusion(Rearrange(pattern=pattern, sizes=sizes), (value,), origins)


def _of_matrices(site: Site, left: int, right: int) -> Product | None:
    """A product of matrices, if there are as many and none is taken for several."""
    first, second = site.type(left), site.type(right)
    if first.rank < 2 or first.dims[:-2] != second.dims[:-2]:
        return None
    batch = tuple(f"n{place}" for place in range(first.rank - 2))
    return Product(
        Factor(left, one_by_one((*batch, "i", "e"))),
        Factor(right, one_by_one((*batch, "e", "j"))),
        one_by_one((*batch, "i", "j")),
        {},
        (),
    )


def one_by_one(names: Names) -> Side:
    """Axes that are in no groups."""
    return tuple((name,) for name in names)


def unturned(site: Site, factor: Factor) -> Factor:
    """What a factor was before its axes were reordered, if nothing else reads it reordered."""
    node = site.maker(factor.value) if site.is_read_once(factor.value) else None
    if node is None or not isinstance(node.op, Permute | Transpose):
        return factor
    (value,) = node.inputs
    type = site.type(value)
    places = tuple(map(str, range(type.rank)))
    turned = node.op.placed(type).infer(SETTLED, TensorType(type.dtype, type.dims, places))
    assert isinstance(turned, TensorType)
    side = dict(zip(turned.axes, factor.side, strict=True))
    return Factor(value, tuple(side[place] for place in places))


# ------------------------------------------------------------------------- the two of attention


@dataclass(frozen=True, slots=True)
class Pairs:
    """The products of queries and keys, `batch i j` in this order, summed over `width`."""

    product: Product
    query: Factor
    key: Factor
    batch: Names
    rows: str
    columns: str
    width: str


def pairs(product: Product) -> Iterator[Pairs]:
    """The ways to see a product as every query with every key."""
    names = factors(product.output)
    if len(names) < 2 or product.output != one_by_one(names):
        return
    *batch, rows, columns = names
    for query, key in product.ways:
        width = next((name for name in query.names if name not in names), None)
        if width is not None and (
            sorted(query.names) == sorted((*batch, rows, width))
            and sorted(key.names) == sorted((*batch, columns, width))
        ):
            yield Pairs(product, query, key, tuple(batch), rows, columns, width)


@dataclass(frozen=True, slots=True)
class Means:
    """The products of weights, `batch i j` in this order, and values, summed over `j`."""

    product: Product
    weights: int
    values: Factor
    batch: Names
    rows: str
    columns: str
    width: str


def means(product: Product) -> Iterator[Means]:
    """The ways to see a product as means of values along the last axis of weights."""
    for weights, values in product.ways:
        names = weights.names
        if len(names) < 2 or weights.side != one_by_one(names):
            continue
        *batch, rows, columns = names
        width = next((name for name in values.names if name not in names), None)
        if width is not None and (
            sorted(values.names) == sorted((*batch, columns, width))
            and sorted(factors(product.output)) == sorted((*batch, rows, width))
        ):
            yield Means(product, weights.value, values, tuple(batch), rows, columns, width)
