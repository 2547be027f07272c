"""Links: finds rings of merchants from the identifier values that they share.

One shared value is not a ring: honest merchants share an address, a courier's phone, a router. A merchant belongs to a ring
only if the values that it shares have enough weight (`LEAST_TIES`), and a ring's members must have clearly more ties than are
needed to connect them (`LEAST_SURPLUS`). A rare value has more weight: the full weight if two merchants share it, none if 21 do.
All sums are of integers, so they do not depend on the order of rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MOST_BEARERS: Final = 20
"""A value that more merchants share connects nobody."""
MOST_MEMBERS: Final = 200
FULL: Final = MOST_BEARERS - 1
"""The weight of a value that two merchants share: one tie."""
LEAST_TIES: Final = 1.5
"""Minimum total weight of the values that a member shares, in ties: two values, unless many share them. Also the minimum ratio
of a ring's ties to those needed to connect it: a large ring needs more than `LEAST_SURPLUS`."""
LEAST_SURPLUS: Final = 3
"""Minimum number of ties beyond one per member. Two values never form a ring, however many merchants share them."""

EDGES: Final = ("merchant_id_a", "merchant_id_b", "kind", "value_hash")
RINGS: Final = pa.schema(
    [pa.field("merchant_id", pa.string(), nullable=False), pa.field("ring_id", pa.string(), nullable=False)]
)
"""One row per merchant in a ring; a ring is named by its smallest id."""

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def rings(edges: pa.Table) -> pa.Table:
    """Finds the rings among merchants.

    A ring of more than `MOST_MEMBERS` is searched again without the values that most merchants share, and so on until it
    splits into small enough rings; one that stays too large is discarded.

    Args:
        edges: `EDGES`: pairs of merchants and their shared value, each pair of a value once.

    Returns:
        A table with schema `RINGS`, sorted by merchant.
    """
    merchants, merchant, value, bearers = _bearers(edges)
    ring = np.full(len(merchants), -1, dtype=np.int64)
    undecided = np.ones(len(merchant), dtype=np.bool_)
    for most in range(MOST_BEARERS, 1, -1):
        rows = np.flatnonzero(undecided & (bearers <= most))
        if not len(rows):
            break
        candidate, is_large = _connect(merchant[rows], value[rows], MOST_BEARERS + 1 - bearers[rows], len(merchants))
        ring = np.where((candidate >= 0) & ~is_large, candidate, ring)
        undecided &= is_large[merchant]
    member = np.flatnonzero(ring >= 0)
    ids = np.array(merchants, dtype=object)
    return pa.Table.from_arrays(
        [pa.array(ids[member], pa.string()), pa.array(ids[ring[member]], pa.string())], schema=RINGS
    )


def alike(pairs: pa.Table) -> pa.Table:
    """Converts pairs of merchants with similar content to edges: all merchants connected by one kind share one value.

    Otherwise a dozen merchants with the same three images would have a tie per pair, and be a ring by these alone.

    Args:
        pairs: merchant_id_a, merchant_id_b and kind.

    Returns:
        A table as `rings` expects it.
    """
    ends = [pc.binary_join_element_wise(pairs["kind"], pairs[name], " ").combine_chunks() for name in EDGES[:2]]
    nodes = pa.concat_arrays(ends).dictionary_encode()
    first, second = np.split(nodes.indices.to_numpy().astype(np.int64), 2)
    group, _ = connected_groups(first, second, len(nodes.dictionary))
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
    return [unsorted[index] for index in order], merchant, value, np.bincount(value)[value]


def _connect(merchant: Integers, value: Integers, weight: Integers, size: int) -> tuple[Integers, Flags]:
    """Connects merchants that share values.

    Args:
        merchant: The merchant of each row, below `size`.
        value: Its value.
        weight: Weight of a tie through the value, in units of 1 / `FULL`.
        size: Number of merchants.

    Returns:
        The smallest member of each merchant's ring, -1 without one; and whether it is connected with too many.
    """
    kept = _prune_weak_members(merchant, value, weight, size)
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


def _prune_weak_members(merchant: Integers, value: Integers, weight: Integers, size: int) -> Flags:
    """Returns which rows remain after repeatedly removing merchants with too few ties."""
    kept = np.ones(len(merchant), dtype=np.bool_)
    values = int(value.max(initial=-1)) + 1
    while True:
        shared = kept & (np.bincount(value[kept], minlength=values) > 1)[value]
        left = shared & (_sums(merchant[shared], weight[shared], size) >= FULL * LEAST_TIES)[merchant]
        if left.sum() == kept.sum():
            return left
        kept = left


def _sums(group: Integers, weight: Integers, size: int) -> Integers:
    """Sums integer weights by group."""
    sums = np.zeros(size, dtype=np.int64)
    np.add.at(sums, group, weight)
    return sums


def _connected(merchant: Integers, value: Integers, size: int) -> tuple[Integers, int]:
    """Returns the connected group of each merchant, and how many groups there are."""
    group, count = connected_groups(merchant, size + value, size + int(value.max(initial=-1)) + 1)
    return group[:size], count


def connected_groups(first: Integers, second: Integers, nodes: int) -> tuple[Integers, int]:
    """Returns the connected group of each node, and how many groups there are."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not nodes:
        return np.empty(0, dtype=np.int64), 0
    graph: Any = coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(nodes, nodes))
    count, group = connected_components(graph, directed=False)
    return np.asarray(group, dtype=np.int64), int(count)
