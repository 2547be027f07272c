"""Unreadable input of every kind in one small home: the run succeeds, reports the reasons, and features are null."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import FIRST_DAY, SmallHomes, run

from tests.unit.test_signals_images import png_that_claims
from touchstone.core.files import sha256_bytes

pytestmark = (
    pytest.mark.slow
)  # small versions: tests/integration/test_dbt_specs.py, test_dbt_texts.py, test_landing_images.py
Row = dict[str, Any]
HUGE = png_that_claims(30_000, 30_000)
NESTED = "[" * 10_000 + "]" * 10_000
ARABIC = "\u202b\u200fسلعة\u200b مقلدة\u202c\ufeff"
LISTINGS: dict[str, Row] = {
    "whole": {},
    "huge picture": {},
    "long title": {"title": "replica " * 131_072},
    "no json": {"specs": "{oops"},
    "nested": {"specs": NESTED},
    "nested in a field": {"specs": f'{{"model_ref": {NESTED}}}'},
    "right to left": {},
}
REVIEWS = {
    "whole": {"language": "en", "text": "Surely a f\u200bak\u2060e, as anybody\u202e sees"},
    "right to left": {"language": "ar", "text": ARABIC},
}
TEXT = ("evasive_word_count", "odd_word_count", "is_brand_hidden", "title_word_count", "is_title_copied")
SPEC = ("spec_discrepant_count", "spec_difference_ratio", "spec_impossible_count")
UNKNOWN = {
    "huge picture": ("picture_count", "picture_merchant_count", "altered_picture_share", "unnamed_logo_count"),
    "long title": TEXT,
    "no json": SPEC,
    "nested": SPEC,
    "nested in a field": SPEC,
    "right to left": ("complaint_share", "complaint_90d_share"),
}


def add(sources: Path, table: str, usable: Callable[[Row], bool], changes: list[Row]) -> None:
    """Appends copies of a table's first usable row, each with other columns changed."""
    file = sources / f"{table}.parquet"
    rows = pq.read_table(file)
    first = next(row for row in rows.to_pylist() if usable(row))
    pq.write_table(pa.concat_tables([rows, pa.Table.from_pylist([first | row for row in changes], rows.schema)]), file)


@pytest.fixture(scope="module")
def home(small_homes: SmallHomes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that was rated with broken inputs among valid ones."""
    home = tmp_path_factory.mktemp("broken") / "home"
    shutil.copytree(small_homes.made, home)
    sources = home / "marketplace" / "sources"
    (sources.parent / "pictures" / "huge.png").write_bytes(HUGE)
    huge = {"sha256": sha256_bytes(HUGE), "uri": "pictures/huge.png"}
    add(
        sources,
        "listings",
        lambda row: row["delisted_at"] is None and row["specs"] and f"{row['listed_at']}" < "2026-05",
        [{"listing_id": name} | row for name, row in LISTINGS.items()],
    )
    pictures = [{"image_id": name, "listing_id": name} | (huge if "huge" in name else {}) for name in LISTINGS]
    add(sources, "listing_images", lambda row: row["role"] == "main", pictures)
    reviews = [{"review_id": name, "listing_id": name, "order_id": None} | row for name, row in REVIEWS.items()]
    add(sources, "reviews", lambda row: "2026-06" < f"{row['created_at']}" < FIRST_DAY, reviews)
    done = run(home, small_homes.policy, FIRST_DAY)
    assert done.code == 0, done.stdout + done.stderr
    return home


def test_unreadable_inputs_are_counted_by_reason(home: Path) -> None:
    (record,) = [json.loads(path.read_text()) for path in (home / "runs").glob("*.json")]
    assert record["outcome"] == "done"
    result = [note for note in record["facts"]["notes"] if "cannot be read" in note]
    texts, pictures = result
    assert pictures == "Images that cannot be read: 1 too many pixels. Their features are unknown."
    assert texts == (
        "Texts that cannot be read: review: 1 in a language without words for complaints, "
        "specification: 1 no JSON, specification: 1 no object, specification: 1 too long, "
        "title or description: 1 too long. Their features are unknown."
    )


def test_features_of_unreadable_inputs_are_null_and_others_are_not(home: Path) -> None:
    read = pq.read_table(home / "features" / "listings" / f"as_of={FIRST_DAY}" / "features.parquet").to_pylist()
    rows = {row["listing_id"]: row for row in read if row["listing_id"] in LISTINGS}
    assert rows.keys() == LISTINGS.keys(), "all are rated"
    for name, features in UNKNOWN.items():
        assert {feature: rows[name][feature] for feature in features} == dict.fromkeys(features), name
        assert None not in [rows["whole"][feature] for feature in features], name


def test_a_word_is_found_between_invisible_characters(home: Path) -> None:
    read = pq.read_table(home / "features" / "listings" / f"as_of={FIRST_DAY}" / "features.parquet").to_pylist()
    assert [row["complaint_count"] for row in read if row["listing_id"] == "whole"] == [1]
