"""Links: which merchants form a ring, told from the values that they share.

One shared value is no ring: honest merchants share an address, a courier's phone, a router. A ring's members share more than
chance acquaintances do. So a merchant belongs to a ring only with ties enough of its own (`LEAST_TIES`), and a ring is one
only if its members share clearly more than it takes to join them (`LEAST_SURPLUS`). The rarer a value, the more its ties
weigh: in full where two bear it, nothing where 21 do. All sums are of whole numbers, so they do not depend on the order of
rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MOST_BEARERS: Final = 20
"""A value that more merchants bear joins nobody."""
MOST_MEMBERS: Final = 200
FULL: Final = MOST_BEARERS - 1
"""The weight of a value that two bear: one tie."""
LEAST_TIES: Final = 1.5
"""What the values that a member shares weigh together at least, in ties: two values, unless many bear them. And how many times
as many ties as would join it a ring has at least: a large one needs more than `LEAST_SURPLUS`."""
LEAST_SURPLUS: Final = 3
"""How many ties a ring has beyond the one a member that would join it. Two values never make a ring, however many share them."""

EDGES: Final = ("merchant_id_a", "merchant_id_b", "kind", "value_hash")
RINGS: Final = pa.schema(
    [pa.field("merchant_id", pa.string(), nullable=False), pa.field("ring_id", pa.string(), nullable=False)]
)
"""One row a merchant in a ring; a ring is named by the smallest id in it."""

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def rings(edges: pa.Table) -> pa.Table:
    """Finds the rings among merchants.

    What holds together more than `MOST_MEMBERS` is looked at again without the values that most merchants bear, and so on
    until it falls apart into rings that are small enough; what would stay too large to the last is none.

    Args:
        edges: `EDGES`: pairs of merchants and the value that both bear, each pair of a value's bearers once.

    Returns:
        A table as `RINGS` says, sorted by merchant.
    """
    merchants, merchant, value, bearers = _bearers(edges)
    ring = np.full(len(merchants), -1, dtype=np.int64)
    undecided = np.ones(len(merchant), dtype=np.bool_)
    for most in range(MOST_BEARERS, 1, -1):
        rows = np.flatnonzero(undecided & (bearers <= most))
        if not len(rows):
            break
        found, is_large = _joined(merchant[rows], value[rows], MOST_BEARERS + 1 - bearers[rows], len(merchants))
        ring = np.where((found >= 0) & ~is_large, found, ring)
        undecided &= is_large[merchant]
    member = np.flatnonzero(ring >= 0)
    ids = np.array(merchants, dtype=object)
    return pa.Table.from_arrays(
        [pa.array(ids[member], pa.string()), pa.array(ids[ring[member]], pa.string())], schema=RINGS
    )


def alike(pairs: pa.Table) -> pa.Table:
    """Makes edges of pairs that show much the same: all who hang together by one kind share one value of it.

    Else a dozen merchants with the same three pictures would have a tie for each two of them, and be a ring by that alone.

    Args:
        pairs: merchant_id_a, merchant_id_b and kind.

    Returns:
        A table as `rings` takes it.
    """
    import pyarrow.compute as pc

    ends = [pc.binary_join_element_wise(pairs["kind"], pairs[name], " ").combine_chunks() for name in EDGES[:2]]
    nodes = pa.concat_arrays(ends).dictionary_encode()
    first, second = np.split(nodes.indices.to_numpy().astype(np.int64), 2)
    group, _ = _groups(first, second, len(nodes.dictionary))
    return pairs.select(EDGES[:3]).append_column(EDGES[3], pa.array(group[first]).cast(pa.string()))


def _bearers(edges: pa.Table) -> tuple[list[str], Integers, Integers, Integers]:
    """Returns the merchants by id, and one row a merchant and value that it shares: both as numbers, and how many bear it."""
    kinds, values = (edges[name].combine_chunks().dictionary_encode() for name in ("kind", "value_hash"))
    named = values.indices.to_numpy().astype(np.int64) * max(len(kinds.dictionary), 1) + kinds.indices.to_numpy()
    ends = pa.chunked_array([*edges["merchant_id_a"].chunks, *edges["merchant_id_b"].chunks], pa.string())
    encoded = ends.combine_chunks().dictionary_encode()
    unsorted: list[str] = encoded.dictionary.to_pylist()
    order = sorted(range(len(unsorted)), key=unsorted.__getitem__)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    distinct, number = np.unique(named, return_inverse=True)
    borne = np.unique(place[encoded.indices.to_numpy()] * max(len(distinct), 1) + np.tile(number, 2))
    merchant, value = np.divmod(borne, max(len(distinct), 1))
    return [unsorted[at] for at in order], merchant, value, np.bincount(value)[value]


def _joined(merchant: Integers, value: Integers, weight: Integers, size: int) -> tuple[Integers, Flags]:
    """Joins merchants that bear the values.

    Args:
        merchant: Who bears a value, below `size`.
        value: The value.
        weight: What a tie through it weighs, in parts of `FULL`.
        size: Number of merchants.

    Returns:
        The least member of each merchant's ring, -1 without one, and whether it holds together with too many.
    """
    kept = _with_ties_enough(merchant, value, weight, size)
    merchant, value, weight = merchant[kept], value[kept], weight[kept]
    group, groups = _connected(merchant, value, size)
    members = np.bincount(group[np.unique(merchant)], minlength=groups)
    first = np.unique(value, return_index=True)[1]
    # A value that n of them bear has n - 1 ties.
    ties = _sums(group[merchant], weight, groups) - _sums(group[merchant[first]], weight[first], groups)
    joining = FULL * (members - 1)
    is_ring = (members > 1) & (ties >= np.maximum(joining + FULL * LEAST_SURPLUS, LEAST_TIES * joining))
    is_member = np.zeros(size, dtype=np.bool_)
    is_member[merchant] = True
    least = np.full(groups, size, dtype=np.int64)
    np.minimum.at(least, group, np.arange(size))
    return np.where(is_member & is_ring[group], least[group], -1), is_member & (members > MOST_MEMBERS)[group]


def _with_ties_enough(merchant: Integers, value: Integers, weight: Integers, size: int) -> Flags:
    """Says which rows are left once everybody with too few ties is gone, and whoever has too few without them, and so on."""
    kept = np.ones(len(merchant), dtype=np.bool_)
    values = int(value.max(initial=-1)) + 1
    while True:
        shared = kept & (np.bincount(value[kept], minlength=values) > 1)[value]
        left = shared & (_sums(merchant[shared], weight[shared], size) >= FULL * LEAST_TIES)[merchant]
        if left.sum() == kept.sum():
            return left
        kept = left


def _sums(group: Integers, weight: Integers, size: int) -> Integers:
    """Sums weights by group, in whole numbers."""
    sums = np.zeros(size, dtype=np.int64)
    np.add.at(sums, group, weight)
    return sums


def _connected(merchant: Integers, value: Integers, size: int) -> tuple[Integers, int]:
    """Returns the connected group of each merchant, and how many groups there are."""
    group, count = _groups(merchant, size + value, size + int(value.max(initial=-1)) + 1)
    return group[:size], count


def _groups(first: Integers, second: Integers, nodes: int) -> tuple[Integers, int]:
    """Returns the connected group of each node, and how many groups there are."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not nodes:
        return np.empty(0, dtype=np.int64), 0
    graph: Any = coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(nodes, nodes))
    count, group = connected_components(graph, directed=False)
    return np.asarray(group, dtype=np.int64), int(count)
