"""Aggregates over neighbours, compared with an explicit graph walk."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import neighbours
from ml.neighbours import Edges, links_over, neighbour_features

ROWS, SHARED = 7, 3
Matrix = npt.NDArray[np.float32]
Ways = dict[int, list[tuple[int, float]]]

ends = st.integers(0, ROWS - 1)
weights = st.sampled_from([1.0, 0.5, 2.0])
values = st.lists(st.sampled_from([float("nan"), 0.0, 1.0, -3.0, 8.0]), min_size=ROWS, max_size=ROWS)


def edges_of(found: list[tuple[int, int, float]]) -> Edges:
    first, second, weight = zip(*found, strict=True)
    return Edges(np.array(first, dtype=np.int64), np.array(second, dtype=np.int64), np.array(weight, dtype=np.float64))


def neighbours_of(found: list[tuple[int, int, float]]) -> Ways:
    """Each row's neighbours with the weight of the link; duplicate edges are one, with the sum of their weights."""
    linked: dict[tuple[int, int], float] = {}
    for one, other, weight in found:
        if one != other:
            for pair in ((one, other), (other, one)):
                linked[pair] = linked.get(pair, 0.0) + weight
    return {row: [(there, weight) for (here, there), weight in linked.items() if here == row] for row in range(ROWS)}


def neighbours_by_shared_node(found: list[tuple[int, int, float]]) -> Ways:
    """Each row's neighbours via shared nodes, once for each such node."""
    weights_by_node: dict[tuple[int, int], float] = {}
    for row, node, weight in found:
        weights_by_node[row, node] = weights_by_node.get((row, node), 0.0) + weight
    return {
        row: [
            (there, own * weight)
            for (here, node), own in weights_by_node.items()
            for (there, same), weight in weights_by_node.items()
            if here == row and same == node and there != row
        ]
        for row in range(ROWS)
    }


def walked(ways: Ways, column: list[float], name: str) -> list[float]:
    result = []
    for row in range(ROWS):
        known = [(column[there], weight) for there, weight in ways[row] if not np.isnan(column[there])]
        if not known:
            result.append(float("nan"))
        elif name == "max":
            result.append(max(value for value, _ in known))
        else:
            total = sum(value * weight for value, weight in known)
            result.append(total / sum(weight for _, weight in known) if name == "mean" else total)
    return result


def check(ways: Ways, column: list[float], result: Matrix, names: list[str]) -> None:
    degree = [sum(weight for _, weight in ways[row]) for row in range(ROWS)]
    np.testing.assert_allclose(result[:, names.index("degree")], degree, rtol=1e-6)
    for aggregate in ("mean", "sum", "max"):
        for of, own in (("x", column), ("degree", degree)):
            before = own
            for hop in (1, 2):
                before = walked(ways, before, aggregate)
                found = result[:, names.index(f"hop {hop} {aggregate} of {of}")]
                np.testing.assert_allclose(found, np.array(before, dtype=np.float32), rtol=1e-5, atol=1e-6)


@settings(max_examples=150)
@given(st.lists(st.tuples(ends, ends, weights), min_size=1, max_size=15), values)
def test_aggregates_over_edges_between_rows_match_a_graph_walk(
    found: list[tuple[int, int, float]], column: list[float]
) -> None:
    features = np.array(column, dtype=np.float32)[:, None]
    result, names = neighbour_features(features, ["x"], links_over({"edges": edges_of(found)}, len(features)), 2)
    if all(one == other for one, other, _ in found):
        assert names == []
        return
    check(neighbours_of(found), column, result, names)


@settings(max_examples=150)
@given(st.lists(st.tuples(ends, st.integers(ROWS, ROWS + SHARED - 1), weights), min_size=1, max_size=15), values)
def test_aggregates_over_shared_nodes_match_a_graph_walk(
    found: list[tuple[int, int, float]], column: list[float]
) -> None:
    features = np.array(column, dtype=np.float32)[:, None]
    result, names = neighbour_features(features, ["x"], links_over({"edges": edges_of(found)}, len(features)), 2)
    check(neighbours_by_shared_node(found), column, result, names)


def test_each_edge_type_is_aggregated_separately() -> None:
    features = np.arange(4, dtype=np.float32)[:, None]
    kinds = {"buys": edges_of([(0, 1, 1.0)]), "calls": edges_of([(0, 2, 1.0), (0, 3, 1.0)])}
    result, names = neighbour_features(features, ["x"], links_over(kinds, 4), 1)
    assert result[0, names.index("buys hop 1 mean of x")] == 1.0
    assert result[0, names.index("calls hop 1 mean of x")] == 2.5
    assert np.isnan(result[1, names.index("calls hop 1 mean of x")])


def test_aggregates_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(60, 3)).astype(np.float32)
    found = [(int(one), int(other), 1.0) for one, other in random.integers(0, 60, (200, 2))]
    whole = neighbour_features(features, ["a", "b", "c"], links_over({"edges": edges_of(found)}, len(features)), 2)[0]
    monkeypatch.setattr(neighbours, "BATCH_EDGES", 5)
    np.testing.assert_array_equal(
        whole,
        neighbour_features(features, ["a", "b", "c"], links_over({"edges": edges_of(found)}, len(features)), 2)[0],
    )


def test_connected_rows_have_nearby_coordinates() -> None:
    pairs = [(one + part, other + part) for part in (0, 20) for one in range(20) for other in range(one)]
    for found in (
        [*((one, other, 1.0) for one, other in pairs), (0, 20, 1.0)],
        [(row, 42 + row // 20 * 9 + node, 1.0) for row in range(40) for node in range(9)],
    ):
        (way,) = links_over({"edges": edges_of(found)}, 42).values()
        places = way.coordinates()
        assert np.isnan(places[40:]).all(), "rows without a link"
        assert np.isfinite(places[:40]).all()
        own, other = places[:20, :2], places[20:40, :2]
        apart = np.linalg.norm(own.mean(axis=0) - other.mean(axis=0))
        assert max(np.ptp(own, axis=0).max(), np.ptp(other, axis=0).max()) < 0.3 * apart
        np.testing.assert_array_equal(places, way.coordinates())
