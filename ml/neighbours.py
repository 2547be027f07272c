"""What the neighbours of rows are like, over edges, and where in the network a row is.

Of each feature the mean, sum and maximum over neighbours, one hop away and more; the degree; and coordinates.

One hop is what the link signal's is (dbt_project/macros/neighbours.sql): every neighbour once, the row itself left out, what is
null not counted. A further hop does the same with what the hop before gave, so that its cost grows with the edges and not
with the pairs that are two apart (docs/decisions/0019). An end of an edge that is no row, such as a user or a product, is a
way to the other rows that it has edges to. No label is ever read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

GATHERED: Final = 4_000_000
"""So many edges' values are looked at at a time where a maximum is sought: bounds the memory."""
PLACES: Final = 16
"""How many numbers say where in the network a row is."""


@dataclass(frozen=True)
class Edges:
    """Edges of one kind, undirected, each stored once; all of shape (m,).

    Attributes:
        first: One end: the position of a row, or, from the number of rows on, the number of something that is no row.
        second: The other end.
        weight: How much each counts, above 0.
    """

    first: Integers
    second: Integers
    weight: Floats


def neighbour_features(
    features: Matrix, names: Sequence[str], ways: Mapping[str, Direct | Shared], hops: int
) -> tuple[Matrix, list[str]]:
    """Tells of each row what its neighbours are like, and where in the network it is.

    Args:
        features: The rows' own features, shape (n, d), nan where null.
        names: Their names.
        ways: What leads from row to row, by name; each is followed by itself.
        hops: How far, 1 or more.

    Returns:
        The new features, shape (n, k), null where a row has no neighbour that has the feature; and their names.
    """
    parts: list[Matrix] = []
    told: list[str] = []
    for prefix, way in ways.items():
        degree = way.degree()
        places = way.places()
        parts += [degree.astype(np.float32)[:, None], places.astype(np.float32)]
        told += [f"{prefix} degree".strip(), *(f"{prefix} place {at}".strip() for at in range(places.shape[1]))]
        own = np.column_stack([features.astype(np.float64), degree])
        values = {"mean": own, "sum": own, "max": own}
        for hop in range(1, hops + 1):
            values = {name: way.aggregate(name, table) for name, table in values.items()}
            where = f"{prefix} hop {hop}".strip()
            for name, table in values.items():
                parts.append(table.astype(np.float32))
                told += [f"{where} {name} of {column}" for column in (*names, "degree")]
    if not parts:
        return np.zeros((len(features), 0), dtype=np.float32), []
    return np.concatenate(parts, axis=1), told


def links_over(edges: Mapping[str, Edges], rows: int) -> dict[str, Direct | Shared]:
    """Returns the ways in which edges lead from rows to rows, by name: from one to another, and over what is no row."""
    return {
        f"{kind} {how}".strip() if len(edges) > 1 or how else "": way
        for kind, of_kind in edges.items()
        for how, way in _ways(of_kind, rows)
    }


def _ways(edges: Edges, rows: int) -> Iterator[tuple[str, Direct | Shared]]:
    from scipy.sparse import coo_matrix

    first, second = np.minimum(edges.first, edges.second), np.maximum(edges.first, edges.second)
    between = (second < rows) & (first != second)
    if between.any():
        one, other, weight = first[between], second[between], edges.weight[between]
        both = (np.concatenate([one, other]), np.concatenate([other, one]))
        near = coo_matrix((np.concatenate([weight, weight]), both), shape=(rows, rows)).tocsr()
        yield "", Direct(near)
    over = (first < rows) & (second >= rows)
    if over.any():
        hub = np.unique(second[over], return_inverse=True)[1]
        bears = coo_matrix((edges.weight[over], (first[over], hub)), shape=(rows, int(hub.max()) + 1)).tocsr()
        yield "shared" if between.any() else "", Shared(bears)


class Direct:
    """One hop from row to row."""

    def __init__(self, near: Any) -> None:
        """Takes the symmetric matrix of weights, shape (n, n); what is there twice is one link, of both weights."""
        near.sum_duplicates()
        self.near = near

    def degree(self) -> Floats:
        """The weight of each row's links together: their number, where each weighs 1."""
        return np.asarray(self.near.sum(axis=1), dtype=np.float64).ravel()

    def places(self) -> Floats:
        """Where in the network each row is, shape (n, k), nan for a row without a link; see `_places`."""
        return _places(self.near)

    def aggregate(self, name: str, values: Floats) -> Floats:
        """Mean, sum or maximum of values (n, d) over neighbours."""
        if name == "max":
            return _largest(self.near, values)
        known = np.isfinite(values)
        total = self.near @ np.where(known, values, 0.0)
        weight = self.near @ known.astype(np.float64)
        return _told(name, total, weight)


class Shared:
    """One hop from row to row over what both have an edge to."""

    def __init__(self, bears: Any) -> None:
        """Takes the matrix of weights between rows and what they share, shape (n, m)."""
        bears.sum_duplicates()
        self.bears, self.borne = bears, bears.T.tocsr()
        self.itself = np.asarray(bears.multiply(bears).sum(axis=1), dtype=np.float64)

    def degree(self) -> Floats:
        """The weight of the ways to others: their number, where each edge weighs 1."""
        ones = np.ones((self.bears.shape[0], 1))
        return np.asarray(self.bears @ (self.borne @ ones) - self.itself * ones, dtype=np.float64).ravel()

    def places(self) -> Floats:
        """Where in the network each row is, shape (n, k), nan for a row without a link; see `_places`."""
        return _places(self.bears)

    def aggregate(self, name: str, values: Floats) -> Floats:
        """Mean, sum or maximum of values (n, d) over the others; whoever is met twice counts twice in mean and sum."""
        if name == "max":
            return self._largest_other(values)
        known = np.isfinite(values)
        sound, there = np.where(known, values, 0.0), known.astype(np.float64)
        total = self.bears @ (self.borne @ sound) - self.itself * sound
        weight = self.bears @ (self.borne @ there) - self.itself * there
        # What is left of a difference of sums that should be nothing is nothing.
        weight[weight < 1e-9 * self.itself] = 0.0
        return _told(name, total, weight)

    def _largest_other(self, values: Floats) -> Floats:
        """The maximum over who shares something with a row: of each thing the largest value, or the next if that is own."""
        largest = np.full(values.shape, np.nan)
        row = np.repeat(np.arange(self.bears.shape[0]), np.diff(self.bears.indptr))
        hub = self.bears.indices
        order = np.argsort(hub, kind="stable")
        starts = self.borne.indptr[:-1]
        for at in range(values.shape[1]):
            column = np.where(np.isfinite(values[:, at]), values[:, at], -np.inf)
            on_edge = column[row]
            first = np.maximum.reduceat(on_edge[order], starts)
            is_first = on_edge == first[hub]
            alone = np.bincount(hub[is_first], minlength=len(first)) == 1
            below = np.where(is_first, -np.inf, on_edge)
            second = np.maximum.reduceat(below[order], starts)
            other = np.where(is_first & alone[hub], second[hub], first[hub])
            found = np.full(len(values), -np.inf)
            bearing = np.diff(self.bears.indptr) > 0
            found[bearing] = np.maximum.reduceat(other, self.bears.indptr[:-1][bearing])
            largest[:, at] = np.where(np.isfinite(found), found, np.nan)
        return largest


def _places(weights: Any) -> Floats:
    """Coordinates of rows: near each other where two have links to the same, or to what has links to the same, and so on.

    They are the left singular vectors of the largest values of the weights, each divided by the root of its row's and its
    column's degree. To the degrees their mean is added, without which the first vectors would each tell of a few rows that have
    links to nobody else (regularised spectral clustering).
    """
    from scipy.sparse import diags
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    degrees = [np.asarray(weights.sum(axis=axis), dtype=np.float64).ravel() for axis in (1, 0)]
    scales = [1.0 / np.sqrt(degree + degree.mean()) for degree in degrees]
    count = min(PLACES, min(weights.shape) - 1)
    places = np.full((weights.shape[0], max(count, 0)), np.nan)
    if count > 0:
        scaled = diags(scales[0]) @ weights @ diags(scales[1])
        with threadpool_limits(limits=1):
            left = randomized_svd(scaled, n_components=count, n_iter=8, random_state=0)[0]
        linked = degrees[0] > 0
        places[linked] = (left * scales[0][:, None])[linked]
    return places


def _told(name: str, total: Floats, weight: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0, total / weight if name == "mean" else total, np.nan)


def _largest(near: Any, values: Floats) -> Floats:
    """The maximum over neighbours, some rows at a time; nan where no neighbour has a value."""
    largest = np.full(values.shape, np.nan)
    sound = np.where(np.isfinite(values), values, -np.inf)
    rows = np.flatnonzero(np.diff(near.indptr) > 0)
    of_row = near.indptr[rows]
    ends = near.indptr[rows + 1]
    each = max(1, GATHERED // max(values.shape[1], 1))
    start = 0
    while start < len(rows):
        end = max(start + 1, int(np.searchsorted(ends, of_row[start] + each, side="right")))
        found = np.maximum.reduceat(
            sound[near.indices[of_row[start] : ends[end - 1]]], of_row[start:end] - of_row[start], axis=0
        )
        largest[rows[start:end]] = np.where(np.isfinite(found), found, np.nan)
        start = end
    return largest
