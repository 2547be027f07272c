"""Components, folds and splits: no overlap between training rows and the rows that evaluate them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.training_set import (
    NEWEST_DAYS,
    NEWEST_POSITIVES,
    PURPOSES,
    Rows,
    component_folds,
    forward_blocks,
    known_before,
    newest_verdicts,
    read_components,
    read_training_set,
    split_rows,
    thin,
)
from tests.ml_fixtures import CUTOFF_DATE, LISTINGS, Simulation, simulate
from touchstone.core.errors import BadInputError

ENDLESS = date(9999, 12, 31)


def rows(count: int = 60, seed: int = 0, components: int = 12, days: int = 8, **given: Any) -> Rows:
    random = np.random.default_rng(seed)
    component = random.integers(0, components, count)
    label = random.random(count) < 0.3
    day = random.integers(100, 100 + 7 * days, count) // 7 * 7
    made = Rows(
        entity=np.arange(count) % (count // 2),
        merchant=component,
        component=component,
        chance=random.permutation(components)[component] / components,
        category=np.zeros(count, dtype=np.int64),
        categories=("bags",),
        day=day,
        decided_day=np.where(label, day + random.integers(1, 15, count), -1),
        purpose=np.full(count, PURPOSES.index("train")),
        label=label,
        is_verdict=label,
        weight=np.ones(count),
        expansion_weight=np.ones(count),
        is_random_arm=np.zeros(count, dtype=bool),
        features=random.random((count, 2)).astype(np.float32),
    )
    return replace(made, **given)


def write_edges(path: Path, edges: list[dict[str, Any]]) -> Path:
    usual = {
        "kind": "device",
        "value_hash": "v",
        "known_from": date(2026, 1, 1),
        "known_until": ENDLESS,
        "bearer_count": 2,
    }
    pq.write_table(pa.Table.from_pylist([{**usual, **edge} for edge in edges]), path)
    return path


def edge(first: str, second: str, **given: Any) -> dict[str, Any]:
    return {"merchant_id_a": first, "merchant_id_b": second, **given}


def test_merchants_that_share_an_identifier_are_one_component(tmp_path: Path) -> None:
    path = write_edges(tmp_path / "edges.parquet", [edge("C", "B"), edge("A", "B"), edge("X", "Y")])
    found = read_components(path, CUTOFF_DATE)
    assert found.component_of(["C", "B", "A", "X", "Y", "Z"]) == ["A", "A", "A", "X", "X", "Z"]
    assert (found.joined, found.largest, found.split, found.dropped_edges) == (2, 3, 0, 0)


def test_edges_apply_only_while_they_are_known(tmp_path: Path) -> None:
    path = write_edges(
        tmp_path / "edges.parquet",
        [
            edge("A", "B", known_from=CUTOFF_DATE),
            edge("C", "D", known_from=date(2026, 6, 16)),
            edge("E", "F", known_until=CUTOFF_DATE),
            edge("G", "H", known_until=date(2026, 6, 16)),
        ],
    )
    assert set(read_components(path, CUTOFF_DATE).names) == {"A", "B", "G", "H"}


def test_without_edges_every_merchant_is_its_own_component(tmp_path: Path) -> None:
    assert read_components(None, CUTOFF_DATE).component_of(["A", "B"]) == ["A", "B"]
    path = write_edges(tmp_path / "edges.parquet", [edge("A", "B", known_from=date(2027, 1, 1))])
    assert read_components(path, CUTOFF_DATE).component_of(["A", "B"]) == ["A", "B"]


def test_a_too_large_component_loses_its_weakest_edges(tmp_path: Path) -> None:
    strong = [edge(f"A{at}", f"A{at + 1}", bearer_count=2) for at in range(3)]
    strong += [edge(f"B{at}", f"B{at + 1}", bearer_count=2) for at in range(3)]
    weak = [edge("A0", "B0", bearer_count=15), edge("A1", "B1", bearer_count=15)]
    path = write_edges(tmp_path / "edges.parquet", [*weak, *strong, edge("X", "Y")])
    found = read_components(path, CUTOFF_DATE, max_members=4)
    assert (found.split, found.dropped_edges, found.largest) == (1, 2, 4)
    assert found.names["A3"] == "A0"
    assert found.names["B3"] == "B0"
    assert found.names["Y"] == "X"


@settings(max_examples=40)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25), st.integers(2, 20)), min_size=1, max_size=60),
    order=st.randoms(use_true_random=False),
    most=st.integers(2, 9),
)
def test_components_are_capped_and_do_not_depend_on_the_order_of_edges(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int, int]], order: Any, most: int
) -> None:
    folder = tmp_path_factory.mktemp("edges")
    edges = [
        edge(f"M{min(a, b):02d}", f"M{max(a, b):02d}", bearer_count=bearers, value_hash=f"{a}-{b}-{bearers}")
        for a, b, bearers in pairs
    ]
    first = read_components(write_edges(folder / "a.parquet", edges), CUTOFF_DATE, max_members=most)
    order.shuffle(edges)
    second = read_components(write_edges(folder / "b.parquet", edges), CUTOFF_DATE, max_members=most)
    assert first == second
    sizes = np.unique(list(first.names.values()), return_counts=True)[1]
    assert sizes.max() <= most
    assert first.largest == sizes.max()


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), folds=st.integers(2, 6), components=st.integers(1, 30))
def test_folds_do_not_split_components(seed: int, folds: int, components: int) -> None:
    made = rows(seed=seed, components=components)
    fold = component_folds(made, folds)
    assert fold.min() >= 0
    assert fold.max() < folds
    for name in np.unique(made.component):
        assert len(np.unique(fold[made.component == name])) == 1


def test_folds_have_balanced_positives() -> None:
    made = rows(count=4000, components=400)
    positives = np.bincount(component_folds(made, 4), weights=made.label)
    assert positives.min() > 0.9 * positives.max()


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), blocks=st.integers(1, 6), days=st.integers(1, 12))
def test_blocks_are_ordered_in_time_and_do_not_split_days(seed: int, blocks: int, days: int) -> None:
    made = rows(seed=seed, days=days)
    block = forward_blocks(made, blocks)
    assert block.max() < blocks
    assert sorted(np.unique(block)) == list(range(int(block.max()) + 1))
    order = np.argsort(made.day, kind="stable")
    assert (np.diff(block[order]) >= 0).all()
    for day in np.unique(made.day):
        assert len(np.unique(block[made.day == day])) == 1


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), day=st.integers(100, 160))
def test_rows_known_before_a_day_exclude_that_day_and_later(seed: int, day: int) -> None:
    made = rows(seed=seed)
    known = made.take(known_before(made, day))
    assert (known.day < day).all()
    assert (known.decided_day < day).all()


def test_thinning_keeps_verdicts_and_the_total_weight_of_the_rest() -> None:
    made = rows(count=4000)
    thinned = thin(made, 300, seed=1)
    assert thinned.label.sum() == made.label.sum()
    assert (~thinned.is_verdict).sum() == 300
    assert thinned.weight.sum() == pytest.approx(made.weight.sum())
    assert thin(made, 10_000, seed=1) is made


def verdicts_on(decided: list[int], positives: int) -> Rows:
    """Verdicts decided on these days; the first `positives` of each day are positive."""
    day = np.repeat(decided, 10)
    label = np.tile(np.arange(10) < positives, len(decided))
    purpose = np.full(len(day), PURPOSES.index("calibrate"))
    return rows(count=len(day), decided_day=day, label=label, purpose=purpose, is_verdict=np.ones(len(day), dtype=bool))


def test_merchants_are_calibrated_on_the_newest_verdicts() -> None:
    made = verdicts_on([100, 150, 180, 200], positives=10)
    newest = newest_verdicts(made, "merchant")
    assert set(made.decided_day[newest]) == {180, 200}
    assert 200 - 180 < NEWEST_DAYS < 200 - 150
    assert newest_verdicts(made, "listing").all()
    assert newest_verdicts(made, "review").all()


def test_older_merchant_verdicts_are_added_if_the_newest_have_few_positives() -> None:
    made = verdicts_on([100, 150, 180, 200], positives=6)
    assert 2 * 6 < NEWEST_POSITIVES <= 4 * 6
    newest = newest_verdicts(made, "merchant")
    assert set(made.decided_day[newest]) == {100, 150, 180, 200}
    assert newest_verdicts(verdicts_on([100, 150, 180, 200], positives=8), "merchant").sum() == 30
    few = verdicts_on([100, 200], positives=1)
    assert newest_verdicts(few, "merchant").all()


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("simulation"), listings=3000, merchants=300)


def test_a_split_has_no_forbidden_overlap(simulation: Simulation) -> None:
    read = read_training_set(LISTINGS, simulation.features, simulation.spine, simulation.edges, None, CUTOFF_DATE)
    split = split_rows(read.rows, "listing", 0.2, (10**6, 1, 10**6), 7)
    assert read.components.joined > 10
    assert not set(split.train.entity) & set(split.calibrate.entity)
    assert not set(split.forward.entity) & set(split.calibrate.entity)
    assert not set(split.train.component) & set(split.evaluate.component[~split.evaluate_seen])
    assert set(split.evaluate.component[split.evaluate_seen]) <= set(split.train.component)
    assert 0 < split.evaluate_seen.sum() < len(split.evaluate)
    assert split.train.has_purpose("train").all()
    assert 0.1 < (np.unique(split.forward.chance) < 0.2).mean() < 0.3
    assert split.train.chance.min() >= 0.2
    assert split.train.decided_day.max() < split.evaluate.day.min()


def test_a_spine_of_other_rows_is_refused(simulation: Simulation, tmp_path: Path) -> None:
    table = pq.read_table(simulation.spine)
    pq.write_table(table.slice(1), tmp_path / "spine.parquet")
    with pytest.raises(BadInputError, match="same rows"):
        read_training_set(LISTINGS, simulation.features, tmp_path / "spine.parquet", None, None, CUTOFF_DATE)


def test_a_missing_feature_column_is_named(simulation: Simulation, tmp_path: Path) -> None:
    table = pq.read_table(simulation.features).drop_columns(["complaint_share"])
    pq.write_table(table, tmp_path / "features.parquet")
    with pytest.raises(BadInputError, match="complaint_share"):
        read_training_set(LISTINGS, tmp_path / "features.parquet", simulation.spine, None, None, CUTOFF_DATE)


def test_the_training_set_does_not_depend_on_row_order(simulation: Simulation, tmp_path: Path) -> None:
    for name in ("features", "spine"):
        table = pq.read_table(getattr(simulation, name))
        order = np.random.default_rng(len(name)).permutation(table.num_rows)
        pq.write_table(table.take(pa.array(order)), tmp_path / f"{name}.parquet")
    first = read_training_set(LISTINGS, simulation.features, simulation.spine, None, None, CUTOFF_DATE).rows
    second = read_training_set(
        LISTINGS, tmp_path / "features.parquet", tmp_path / "spine.parquet", None, None, CUTOFF_DATE
    ).rows
    assert np.array_equal(first.features, second.features, equal_nan=True)
    assert np.array_equal(first.label, second.label)
