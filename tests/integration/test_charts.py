"""Charts of the gates: deterministic bytes, and no chart instead of an error for a file of the wrong schema."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from orchestration import charts

PNG = b"\x89PNG\r\n"
LOADS = [
    {"table_name": "orders", "row_count": 900, "previous_row_count": 2000, "max_age_days": 7},
    {"table_name": "brands", "row_count": 0, "previous_row_count": None, "max_age_days": 30},
]


def parquet(file: Path, query: str) -> Path:
    """Writes a query's result to a Parquet file and returns the file."""
    duckdb.sql(query).write_parquet(str(file))
    return file


@pytest.fixture
def rated(tmp_path: Path) -> Path:
    """A file of scores."""
    return parquet(tmp_path / "rated.parquet", "select i % 101 as score from range(1000) as t (i)")


def test_charts_are_deterministic(rated: Path):
    def all_charts() -> list[bytes | None]:
        return [
            charts.loads(LOADS, {"orders": 9}, failed={"orders"}),
            charts.loads(LOADS[1:], {}, failed=set()),
            charts.scores(rated, rated, threshold=50, entities="listings"),
            charts.listed(rated, rated, threshold=50, entities="listings"),
            charts.known_shares(rated, rated),
            charts.known_shares(rated, None),
            charts.versions({"2026-06-15": 3, "2026-06-16": 0}, "listings"),
        ]

    drawn = all_charts()
    assert all(picture is not None and picture.startswith(PNG) for picture in drawn)
    assert drawn == all_charts()


@pytest.mark.parametrize(
    ("score", "counts"),
    [
        ("0.0", {0: 3}),
        ("100.0", {19: 3}),
        ("-7.0", {0: 3}),
        ("1e300", {19: 3}),
        ("'nan'::double", {}),
        ("'infinity'::double", {}),
        ("null::double", {}),
        ("'much'", {}),
    ],
)
def test_a_score_of_any_value_is_counted_or_dropped(tmp_path: Path, score: str, counts: dict[int, int]):
    file = parquet(tmp_path / "scores.parquet", f"select {score} as score from range(3)")
    counted = charts._score_counts(file)
    assert counted is not None
    assert {band: count for band, count in enumerate(counted) if count} == counts
    assert charts.scores(file, None, threshold=50, entities="listings") is not None


def test_files_of_the_wrong_schema_give_no_chart(tmp_path: Path, rated: Path):
    other = parquet(tmp_path / "other.parquet", "select 1 as margin")
    empty = parquet(tmp_path / "empty.parquet", "select 1 as margin where false")
    assert charts.scores(other, rated, threshold=50, entities="listings") is None
    assert charts.listed(other, rated, threshold=50, entities="listings") is None
    assert charts.listed(rated, other, threshold=50, entities="listings") is None
    assert charts.known_shares(empty, None) is None


def test_text_is_recovered_without_its_chart():
    text = "gate landed refused:\n- orders: observed 9 days, allowed 7 days."
    assert charts.text_of(charts.with_picture(text, b"PNG", "loads")) == text
    assert charts.text_of(charts.with_picture(text, None, "loads")) == text
    assert "(data:image/png;base64,UE5H)" in charts.with_picture(text, b"PNG", "loads")
