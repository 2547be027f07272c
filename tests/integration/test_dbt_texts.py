"""Findings in titles and descriptions: scanned once, rescanned when brands or code change, bounded in length."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_fixtures import make_warehouse, open_warehouse, read_rows, run_dbt, table_content

AS_OF = "2026-03-31"
MODELS = ("stg_listing_versions", "int_brand_names", "int_text_findings", "int_listing_texts")
WORDS = [
    f"{head}{tail}" for head in ("ba", "ce", "do", "fi", "gu", "ka", "le", "mo") for tail in ("nt", "rel", "sk", "pper")
]


def listing(listing_id: str, title: str, **columns: Any) -> dict[str, Any]:
    return {"listing_id": listing_id, "merchant_id": "m1", "listed_at": "2026-01-01", "title": title} | columns


def brand(name: str) -> dict[str, Any]:
    return {"brand_id": name, "name": name}


def build(home: Path) -> None:
    """Builds what text scanning depends on, and the findings."""
    run_dbt(home, "build", "--select", "+int_listing_texts", "--exclude-resource-type", "test", "unit_test")


def run_again(home: Path) -> None:
    run_dbt(home, "run", "--select", *MODELS)


def findings(home: Path) -> dict[str, int]:
    """The number of evasive words found in each listing's current text."""
    rows = read_rows(
        home, "select listing_id, evasive_word_count from int_listing_texts where known_until = '9999-12-31'"
    )
    return {row["listing_id"]: row["evasive_word_count"] for row in rows}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    rows = {"listings": [listing("l1", "AAA bag"), listing("l2", "R0lex bag")], "brands": [brand("Rolex")]}
    make_warehouse(tmp_path / "home", rows, AS_OF)
    build(tmp_path / "home")
    return tmp_path / "home"


def tamper(home: Path) -> None:
    """Makes findings wrong, so that a rescanned text is recognisable."""
    with open_warehouse(home, read_only=False) as connection:
        connection.execute("update int_text_findings set evasive_word_count = 99")


def test_a_text_is_scanned_once(home: Path) -> None:
    assert findings(home) == {"l1": 1, "l2": 0}
    tamper(home)
    make_warehouse(home, {
        "listings": [listing("l1", "AAA bag"), listing("l3", "Replica"), listing("l4", "Replica")],
        "brands": [brand("Rolex")],
    }, AS_OF)  # fmt: skip
    run_again(home)
    assert findings(home) == {"l1": 99, "l3": 1, "l4": 1}
    assert len(table_content(home, "int_text_findings")) == 2


@pytest.mark.parametrize("change", ["a brand", "the code"])
def test_all_texts_are_rescanned_when_brands_or_code_change(home: Path, change: str) -> None:
    tamper(home)
    brands = [brand("Rolex"), brand("Replica")] if change == "a brand" else [brand("Rolex")]
    digest = "other" if change == "the code" else "project"
    listings = [listing("l1", "AAA bag"), listing("l2", "Rep1ica bag")]
    make_warehouse(home, {"listings": listings, "brands": brands}, AS_OF, project_digest=digest)
    run_again(home)
    assert findings(home) == {"l1": 1, "l2": 0}
    hidden = read_rows(home, "select listing_id from int_listing_texts where brand_hidden_from is not null")
    assert [row["listing_id"] for row in hidden] == (["l2"] if change == "a brand" else [])


@pytest.mark.parametrize("title", ["x" * 1_000_000, "R0lex " * 200_000])
def test_a_text_of_a_million_characters_is_reported_and_not_scanned(tmp_path: Path, title: str) -> None:
    make_warehouse(
        tmp_path, {"listings": [listing("l1", title), listing("l2", "R0lex")], "brands": [brand("Rolex")]}, AS_OF
    )
    build(tmp_path)
    query = """
        select reason, evasive_word_count, brand_hidden_from is not null as is_hidden
        from int_listing_texts order by listing_id"""
    assert read_rows(tmp_path, query) == [
        {"reason": "too long", "evasive_word_count": None, "is_hidden": False},
        {"reason": None, "evasive_word_count": 0, "is_hidden": True},
    ]


@pytest.mark.parametrize(
    "title",
    [
        "\u202eelfeR\u200b \u200dR\u05d0\u05d1",
        "\u0645\u0631\u062d\u0628\u0627 \u200f\u200fabc",
        "'; drop table x; --",
        "%_\\",
        "\U0001f600" * 50,
        " ",
    ],
)
def test_no_text_makes_a_run_fail(tmp_path: Path, title: str) -> None:
    make_warehouse(tmp_path, {"listings": [listing("l1", title, description=title)], "brands": [brand("Rolex")]}, AS_OF)
    build(tmp_path)
    assert findings(tmp_path) == {"l1": 0}


def test_similar_titles_share_a_band_at_the_documented_rate(tmp_path: Path) -> None:
    """With the last of eleven words changed: 0.79 of the pairs; with four of eleven words in common: hardly ever."""
    draw = random.Random(5)
    titles = {}
    for pair in range(300):
        words = draw.sample(WORDS, 19)
        titles[f"near{pair}a"], titles[f"near{pair}b"] = words[:11], [*words[:10], words[11]]
        titles[f"far{pair}a"], titles[f"far{pair}b"] = words[:11], words[7:18]
    make_warehouse(tmp_path, {"listings": [listing(name, " ".join(words)) for name, words in titles.items()]}, AS_OF)
    build(tmp_path)
    bands = {row[0]: row[-4:] for row in table_content(tmp_path, "int_listing_texts")}

    def agreeing(kind: str) -> int:
        pairs = [(bands[f"{kind}{pair}a"], bands[f"{kind}{pair}b"]) for pair in range(300)]
        return sum(any(one == two for one, two in zip(*pair, strict=True)) for pair in pairs)

    assert 0.70 * 300 <= agreeing("near") <= 0.87 * 300
    assert agreeing("far") <= 2
