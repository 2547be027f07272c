"""Candidates: exactly the flagged rows, in order, with their history, and deterministic."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing_fixtures import AS_OF, RATED, Home, Rated

from touchstone.core.errors import VerificationError
from touchstone.core.files import sha256_file
from touchstone.core.text import visible
from touchstone.publishing.candidate import Candidate, list_columns, newest_candidate

TODAY_COLUMNS = ("first_flagged_date", "days_on_list", "is_new")


def rows_of(candidate: Candidate) -> list[dict[str, Any]]:
    return pq.read_table(candidate.parquet).to_pylist()


def csv_of(candidate: Candidate) -> list[dict[str, str]]:
    text = (candidate.directory / f"{candidate.list_name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def test_a_list_has_flagged_unsuppressed_rows_ordered_by_score_margin_and_id(tmp_path: Path):
    rated = [
        Rated("b", 80.0),
        Rated("a", 80.0),
        Rated("c", 80.0, margin=2.0),
        Rated("d", 99.0),
        Rated("e", 99.5, is_flagged=False),
    ]
    rows = rows_of(Home(tmp_path).build([*rated, Rated("f", 100.0, is_suppressed=True)]))
    assert [(row["rank"], row["listing_id"]) for row in rows] == [(1, "d"), (2, "c"), (3, "a"), (4, "b")]
    assert {row["action"] for row in rows} == {"review"}


def test_both_files_have_the_documented_columns(tmp_path: Path):
    candidate = Home(tmp_path).build()
    expected = [
        "rank", "listing_id", "merchant_id", "title", "url", "category", "brand", "price", "currency", "score",
        "own_conduct_score", "band", "expected_precision", "reasons", "is_calibrated", "action", "first_flagged_date",
        "days_on_list", "is_new",
    ]  # fmt: skip
    assert pq.read_schema(candidate.parquet).names == expected == list(list_columns("listings"))
    assert list(csv_of(candidate)[0]) == expected
    assert csv_of(candidate)[0]["price"] == "12.3400"
    assert json.loads(csv_of(candidate)[0]["reasons"])[0]["signal"] == "price"


def test_a_list_of_merchants_has_names_and_may_lack_prices(tmp_path: Path):
    candidate = Home(tmp_path, "merchants").build()
    row = rows_of(candidate)[0]
    assert list(row)[:3] == ["rank", "merchant_id", "name"]
    assert (row["merchant_id"], row["price"], row["currency"]) == ("e2", None, None)


def test_the_history_of_a_row_comes_from_the_previous_version(tmp_path: Path):
    home = Home(tmp_path)
    home.release([Rated("a", 91.0), Rated("b", 92.0)], as_of=AS_OF - dt.timedelta(days=9))
    home.release([Rated("a", 93.0)], as_of=AS_OF - dt.timedelta(days=2))
    rows = {row["listing_id"]: row for row in rows_of(home.build([Rated("a", 91.0), Rated("b", 92.0)]))}
    assert [rows["a"][name] for name in TODAY_COLUMNS] == [AS_OF - dt.timedelta(days=9), 9, False]
    assert [rows["b"][name] for name in TODAY_COLUMNS] == [AS_OF, 0, True]


def test_a_later_version_is_not_used_as_history(tmp_path: Path):
    home = Home(tmp_path)
    home.release(as_of=AS_OF + dt.timedelta(days=1))
    candidate = home.build()
    assert candidate.manifest().previous is None
    assert all(row["is_new"] for row in rows_of(candidate))


def test_history_comes_from_the_version_in_force_and_not_a_replaced_one(tmp_path: Path):
    home = Home(tmp_path)
    yesterday = AS_OF - dt.timedelta(days=1)
    home.release([Rated("a", 91.0)], as_of=yesterday)
    replaced = home.release([Rated("b", 91.0)], as_of=yesterday)
    assert home.build().manifest().previous == replaced.version


def test_the_same_inputs_give_the_same_bytes_in_two_homes(tmp_path: Path):
    first, second = (Home(tmp_path / name).build() for name in ("one", "two"))
    assert first.sha256 == second.sha256
    names = sorted(path.name for path in first.directory.iterdir())
    assert names == ["listings.csv", "listings.parquet", "manifest.json"]
    assert all((first.directory / name).read_bytes() == (second.directory / name).read_bytes() for name in names)


def test_the_list_does_not_depend_on_the_row_order_of_the_mart(tmp_path: Path):
    first = Home(tmp_path / "one").build()
    second = Home(tmp_path / "two").build(tuple(reversed(RATED)))
    assert sha256_file(first.parquet) == sha256_file(second.parquet)


def test_the_manifest_records_all_inputs_of_the_list(tmp_path: Path):
    candidate = Home(tmp_path).build()
    manifest = candidate.manifest()
    content = json.loads((candidate.directory / "manifest.json").read_bytes())
    assert manifest.files == {
        name: sha256_file(candidate.directory / name) for name in ("listings.parquet", "listings.csv")
    }
    assert (manifest.rated_count, manifest.row_count, manifest.as_of) == (len(RATED), 3, AS_OF)
    assert manifest.version == f"2026-06-30-{candidate.sha256[:12]}"
    assert set(content) == {
        "schema_version", "list_name", "as_of", "rated_count", "row_count", "flagged_count", "held", "inputs", "mart", "policy",
        "terms", "previous", "files",
    }  # fmt: skip
    assert set(content["inputs"]) == {
        "loads", "dbt_build", "features", "scores", "model", "suites", "code_revision", "subjects",
    }  # fmt: skip


def test_any_changed_input_of_the_manifest_makes_another_candidate(tmp_path: Path):
    home = Home(tmp_path)
    before = home.build()
    assert home.build(code_revision="r2").sha256 != before.sha256
    assert home.build([*RATED, Rated("z", 1.0, is_flagged=False)]).sha256 != before.sha256


def test_the_newest_candidate_of_a_date_is_found_again(tmp_path: Path):
    home = Home(tmp_path)
    assert newest_candidate("listings", tmp_path / "candidates", AS_OF) is None
    home.build()
    second = home.build(code_revision="r2")
    home.build(as_of=AS_OF + dt.timedelta(days=1))
    assert newest_candidate("listings", tmp_path / "candidates", AS_OF) == second


def test_rebuilding_keeps_the_verdict_unless_the_candidate_was_damaged(tmp_path: Path):
    home = Home(tmp_path)
    verdict = home.judge(home.build()).directory / "verdict.json"
    home.build()
    assert verdict.exists()
    candidate = home.build()
    candidate.parquet.write_bytes(b"damaged")
    assert sha256_file(home.build().parquet) == candidate.manifest().files["listings.parquet"]
    assert not verdict.exists()


def test_a_damaged_previous_version_aborts_the_build(tmp_path: Path):
    home = Home(tmp_path)
    before = home.release(as_of=AS_OF - dt.timedelta(days=1))
    path = before.directory / "listings.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationError, match=r"listings\.parquet does not match"):
        home.build()


def test_without_flagged_rows_the_list_is_empty_with_its_columns(tmp_path: Path):
    candidate = Home(tmp_path).build([Rated("a", 3.0, is_flagged=False)])
    assert candidate.manifest().row_count == 0
    assert pq.read_schema(candidate.parquet).names == list(list_columns("listings"))
    assert csv_of(candidate) == []


@pytest.mark.parametrize("hostile", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "=a\u202eb"])
def test_spreadsheet_formulas_are_inert_in_csv_and_unchanged_in_parquet(tmp_path: Path, hostile: str):
    candidate = Home(tmp_path).build([Rated("a", 91.0, label=hostile)])
    content = (candidate.directory / "listings.csv").read_bytes().decode()
    title = next(csv.DictReader(io.StringIO(content, newline="")))["title"]
    assert title == "'" + visible(hostile)
    assert rows_of(candidate)[0]["title"] == hostile


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rated_entities = st.builds(
    Rated,
    entity_id=st.text('abc=é,"\n', min_size=1, max_size=4),
    score=st.integers(0, 1_000_000).map(lambda ten_thousandths: ten_thousandths / 10_000),
    margin=st.floats(-9, 9),
    is_flagged=st.booleans(),
    is_suppressed=st.booleans(),
    label=st.none() | texts,
    price=st.none() | st.decimals(0, 10**9, places=4),
)


@settings(max_examples=60)
@given(rated=st.lists(rated_entities, max_size=12, unique_by=lambda item: item.entity_id))
def test_ranks_are_one_to_n_and_csv_equals_parquet_for_any_rated_rows(
    rated: list[Rated], tmp_path_factory: pytest.TempPathFactory
):
    candidate = Home(tmp_path_factory.mktemp("home")).build(rated)
    rows = rows_of(candidate)
    listed = [item for item in rated if item.is_flagged and not item.is_suppressed]
    expected = sorted(listed, key=lambda item: (-item.score, -item.margin, item.entity_id.encode()))
    assert [row["listing_id"] for row in rows] == [item.entity_id for item in expected]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    content = (candidate.directory / "listings.csv").read_bytes().decode()
    for row, cells in zip(rows, csv.DictReader(io.StringIO(content, newline="")), strict=True):
        assert float(cells["score"]) == row["score"]
        assert cells["title"].removeprefix("'") == visible(row["title"] or "").removeprefix("'")
