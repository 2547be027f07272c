"""Graph features: aggregates over the neighbours of a row, and its coordinates in the network.

For each feature: mean, sum and maximum over neighbours, one hop and further; the degree; and coordinates.

One hop equals that of the link signal (dbt_project/macros/neighbours.sql): every neighbour once, without the row itself, nulls
ignored. A further hop aggregates the results of the previous hop, so that the cost grows with the edges and not with the pairs
of rows that are two apart (docs/decisions/0019). An end of an edge that is no row, such as a user or a product, links the rows
that have edges to it. Labels are never read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, diags
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BATCH_EDGES: Final = 4_000_000
"""Edges per batch when computing a maximum, to limit memory."""
COORDINATES: Final = 16
"""Number of coordinates."""


@dataclass(frozen=True)
class Edges:
    """Edges of one kind, undirected, each stored once; all of shape (m,).

    Attributes:
        first: One end: the position of a row, or an integer from the number of rows for other ends.
        second: The other end.
        weight: Weights above 0.
    """

    first: Integers
    second: Integers
    weight: Floats


def neighbour_features(
    features: Matrix, names: Sequence[str], links: Mapping[str, Direct | Shared], hops: int
) -> tuple[Matrix, list[str]]:
    """Computes graph features of each row.

    Args:
        features: The rows' own features, shape (n, d), nan if missing.
        names: Their names.
        links: Links between rows, by name; each is followed separately.
        hops: Number of hops, 1 or more.

    Returns:
        The new features, shape (n, k), nan if no neighbour has the feature; and their names.
    """
    parts: list[Matrix] = []
    feature_names: list[str] = []
    for prefix, link in links.items():
        degree = link.degree()
        coordinates = link.coordinates()
        parts += [degree.astype(np.float32)[:, None], coordinates.astype(np.float32)]
        feature_names += [
            f"{prefix} degree".strip(),
            *(f"{prefix} coordinate {at}".strip() for at in range(coordinates.shape[1])),
        ]
        own = np.column_stack([features.astype(np.float64), degree])
        values = {"mean": own, "sum": own, "max": own}
        for hop in range(1, hops + 1):
            values = {name: link.aggregate(name, table) for name, table in values.items()}
            where = f"{prefix} hop {hop}".strip()
            for name, table in values.items():
                parts.append(table.astype(np.float32))
                feature_names += [f"{where} {name} of {column}" for column in (*names, "degree")]
    if not parts:
        return np.zeros((len(features), 0), dtype=np.float32), []
    return np.concatenate(parts, axis=1), feature_names


def links_over(edges: Mapping[str, Edges], rows: int) -> dict[str, Direct | Shared]:
    """Returns the links between rows by name: direct edges, and edges shared over ends that are no rows."""
    return {
        f"{kind} {how}".strip() if len(edges) > 1 or how else "": link
        for kind, edges_of_kind in edges.items()
        for how, link in _links_of(edges_of_kind, rows)
    }


def _links_of(edges: Edges, rows: int) -> Iterator[tuple[str, Direct | Shared]]:
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
        incidence = coo_matrix((edges.weight[over], (first[over], hub)), shape=(rows, int(hub.max()) + 1)).tocsr()
        yield "shared" if between.any() else "", Shared(incidence)


class Direct:
    """One hop from row to row."""

    def __init__(self, near: Any) -> None:
        """Takes the symmetric matrix of weights, shape (n, n); what is there twice is one link, of both weights."""
        near.sum_duplicates()
        self.near = near

    def degree(self) -> Floats:
        """The weight of each row's links together: their number, where each weighs 1."""
        return np.asarray(self.near.sum(axis=1), dtype=np.float64).ravel()

    def coordinates(self) -> Floats:
        """Where in the network each row is, shape (n, k), nan for a row without a link; see `_places`."""
        return _coordinates(self.near)

    def aggregate(self, name: str, values: Floats) -> Floats:
        """Mean, sum or maximum of values (n, d) over neighbours."""
        if name == "max":
            return _largest(self.near, values)
        known = np.isfinite(values)
        total = self.near @ np.where(known, values, 0.0)
        weight = self.near @ known.astype(np.float64)
        return _mean_or_sum(name, total, weight)


class Shared:
    """One hop from row to row over shared ends."""

    def __init__(self, incidence: Any) -> None:
        """Sets the matrix of weights between rows and shared ends, shape (n, m)."""
        incidence.sum_duplicates()
        self.incidence, self.transposed = incidence, incidence.T.tocsr()
        self.self_weight = np.asarray(incidence.multiply(incidence).sum(axis=1), dtype=np.float64)

    def degree(self) -> Floats:
        """Returns the total weight of the links to other rows: their number if each edge weighs 1."""
        ones = np.ones((self.incidence.shape[0], 1))
        return np.asarray(self.incidence @ (self.transposed @ ones) - self.self_weight * ones, dtype=np.float64).ravel()

    def coordinates(self) -> Floats:
        """Where in the network each row is, shape (n, k), nan for a row without a link; see `_places`."""
        return _coordinates(self.incidence)

    def aggregate(self, name: str, values: Floats) -> Floats:
        """Mean, sum or maximum of values (n, d) over the others; whoever is met twice counts twice in mean and sum."""
        if name == "max":
            return self._largest_other(values)
        known = np.isfinite(values)
        sound, there = np.where(known, values, 0.0), known.astype(np.float64)
        total = self.incidence @ (self.transposed @ sound) - self.self_weight * sound
        weight = self.incidence @ (self.transposed @ there) - self.self_weight * there
        # Rounding errors of differences that should be 0.
        weight[weight < 1e-9 * self.self_weight] = 0.0
        return _mean_or_sum(name, total, weight)

    def _largest_other(self, values: Floats) -> Floats:
        """The maximum over who shares something with a row: of each thing the largest value, or the next if that is own."""
        largest = np.full(values.shape, np.nan)
        row = np.repeat(np.arange(self.incidence.shape[0]), np.diff(self.incidence.indptr))
        hub = self.incidence.indices
        order = np.argsort(hub, kind="stable")
        starts = self.transposed.indptr[:-1]
        for position in range(values.shape[1]):
            column = np.where(np.isfinite(values[:, position]), values[:, position], -np.inf)
            on_edge = column[row]
            first = np.maximum.reduceat(on_edge[order], starts)
            is_first = on_edge == first[hub]
            alone = np.bincount(hub[is_first], minlength=len(first)) == 1
            below = np.where(is_first, -np.inf, on_edge)
            second = np.maximum.reduceat(below[order], starts)
            other = np.where(is_first & alone[hub], second[hub], first[hub])
            result = np.full(len(values), -np.inf)
            bearing = np.diff(self.incidence.indptr) > 0
            result[bearing] = np.maximum.reduceat(other, self.incidence.indptr[:-1][bearing])
            largest[:, position] = np.where(np.isfinite(result), result, np.nan)
        return largest


def _coordinates(weights: Any) -> Floats:
    """Coordinates of rows: near each other where two have links to the same, or to what has links to the same, and so on.

    They are the left singular vectors of the largest values of the weights, each divided by the root of its row's and its
    column's degree. To the degrees their mean is added, without which the first vectors would each tell of a few rows that have
    links to nobody else (regularised spectral clustering).
    """
    degrees = [np.asarray(weights.sum(axis=axis), dtype=np.float64).ravel() for axis in (1, 0)]
    scales = [1.0 / np.sqrt(degree + degree.mean()) for degree in degrees]
    count = min(COORDINATES, min(weights.shape) - 1)
    coordinates = np.full((weights.shape[0], max(count, 0)), np.nan)
    if count > 0:
        scaled = diags(scales[0]) @ weights @ diags(scales[1])
        with threadpool_limits(limits=1):
            left = randomized_svd(scaled, n_components=count, n_iter=8, random_state=0)[0]
        linked = degrees[0] > 0
        coordinates[linked] = (left * scales[0][:, None])[linked]
    return coordinates


def _mean_or_sum(name: str, total: Floats, weight: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0, total / weight if name == "mean" else total, np.nan)


def _largest(near: Any, values: Floats) -> Floats:
    """The maximum over neighbours, some rows at a time; nan where no neighbour has a value."""
    largest = np.full(values.shape, np.nan)
    sound = np.where(np.isfinite(values), values, -np.inf)
    rows = np.flatnonzero(np.diff(near.indptr) > 0)
    row_starts = near.indptr[rows]
    ends = near.indptr[rows + 1]
    each = max(1, BATCH_EDGES // max(values.shape[1], 1))
    start = 0
    while start < len(rows):
        end = max(start + 1, int(np.searchsorted(ends, row_starts[start] + each, side="right")))
        result = np.maximum.reduceat(
            sound[near.indices[row_starts[start] : ends[end - 1]]], row_starts[start:end] - row_starts[start], axis=0
        )
        largest[rows[start:end]] = np.where(np.isfinite(result), result, np.nan)
        start = end
    return largest
