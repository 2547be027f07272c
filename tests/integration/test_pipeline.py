"""The main job, end to end, through the real command: what it leaves, that it is the same twice, and how it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import AS_OF, TRAINED_AS_OF, Outcome, make_demo_home, touchstone

from tests.alert_fixtures import web_server

LISTS = ("listings", "merchants")


def latest(home: Path, name: str) -> Path:
    """Returns the folder of a list's newest version."""
    return home / "published" / name / (home / "published" / name / "LATEST").read_text().strip()


@pytest.mark.parametrize("name", LISTS)
def test_both_lists_are_published_for_both_dates(rated_home: Path, name: str):
    versions = [json.loads(line)["version"] for line in (rated_home / "published" / name / "history.jsonl").open()]
    assert [version[:10] for version in versions] == [TRAINED_AS_OF, AS_OF]
    assert latest(rated_home, name).name == versions[-1]
    rows = pq.read_table(latest(rated_home, name) / f"{name}.parquet").to_pylist()
    assert rows
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(json.loads(row["reasons"]) for row in rows)


def test_scores_are_one_row_for_every_live_listing(rated_home: Path):
    scores = rated_home / "scores" / "listing_counterfeit" / f"as_of={AS_OF}" / "scores.parquet"
    features = rated_home / "features" / "listings" / f"as_of={AS_OF}" / "features.parquet"
    assert pq.read_schema(scores).names == ["listing_id", "score", "own_conduct_score", "margin", "model_digest"]
    rated, distinct, low, high = duckdb.execute(
        "select count(*), count(distinct listing_id), min(score), max(score) from read_parquet(?)", [str(scores)]
    ).fetchone() or (0, 0, 0, 0)
    assert rated == distinct == pq.read_metadata(features).num_rows
    assert 0 <= low < high <= 100


def test_demo_listings_on_offer_are_all_rated(rated_home: Path):
    listings = rated_home / "marketplace" / "sources" / "listings.parquet"
    scores = rated_home / "scores" / "listing_counterfeit" / f"as_of={AS_OF}" / "scores.parquet"
    unrated = duckdb.execute(
        "select count(*) from read_parquet(?) l where l.listing_id in (select listing_id from read_parquet(?)) "
        "and l.delisted_at is not null and cast(l.delisted_at as date) <= cast(? as date)",
        [str(listings), str(scores), AS_OF],
    ).fetchone()
    assert unrated == (0,)


def test_two_homes_agree_to_the_byte(rated_home: Path, tmp_path: Path):
    other = tmp_path / "other"
    make_demo_home(other)
    compared = 0
    for pattern in (
        "features/**/*.parquet",
        "training/**/*.parquet",
        "scores/**/*.parquet",
        "reasons/**/*.parquet",
        "published/*/*/manifest.json",
        "published/*/*/*.parquet",
        "published/*/*/*.csv",
        "published/*/LATEST",
    ):
        for file in sorted(rated_home.glob(pattern)):
            twin = other / file.relative_to(rated_home)
            assert twin.read_bytes() == file.read_bytes(), file
            compared += 1
    assert compared > 20
    shutil.rmtree(other)


def test_running_again_publishes_nothing_new(run_touchstone: Callable[..., Outcome], home: Path):
    before = {file: file.read_bytes() for file in (home / "published").rglob("*") if file.is_file()}
    again = run_touchstone("run", "--as-of", AS_OF, "--json")
    assert again.code == 0, again.stderr
    assert {file: file.read_bytes() for file in (home / "published").rglob("*") if file.is_file()} == before


def test_deleting_the_warehouse_loses_nothing(run_touchstone: Callable[..., Outcome], home: Path):
    before = {file: file.read_bytes() for file in (home / "published").rglob("*") if file.is_file()}
    (home / "warehouse.duckdb").unlink()
    again = run_touchstone("run", "--as-of", AS_OF, "--json")
    assert again.code == 0, again.stderr
    assert {file: file.read_bytes() for file in (home / "published").rglob("*") if file.is_file()} == before


@pytest.mark.slow
def test_after_an_erasure_the_next_run_stands_on_loads_without_the_person(
    run_touchstone: Callable[..., Outcome], home: Path
):
    orders = str(home / "landing" / "orders" / "*" / "*.parquet")
    most = "select buyer_id from read_parquet(?) group by all order by count(*) desc, buyer_id limit 1"
    (buyer,) = duckdb.execute(most, [orders]).fetchone() or ("",)
    before = {manifest: manifest.read_bytes() for manifest in home.glob("published/*/*/manifest.json")}
    assert run_touchstone("erase", "buyer", buyer).code == 0
    again = run_touchstone("run", "--as-of", AS_OF)
    assert again.code == 0, again.stderr
    holding = [path for path in home.rglob("*") if path.is_file() and buyer.encode() in path.read_bytes()]
    assert holding == [home / "landing" / "ledger" / "ledger.jsonl"], "only the ledger, which keeps it from landing"
    for table in ("orders", "buyers", "reviews"):
        files = str(home / "landing" / table / "*" / "*.parquet")
        query = "select count(*) from read_parquet(?) where buyer_id = ?"
        assert duckdb.execute(query, [files, buyer]).fetchone() == (0,)
    assert {manifest: manifest.read_bytes() for manifest in before} == before
    verified = run_touchstone("verify")
    assert verified.code == 0, verified.stdout
    assert "was erased on" in verified.stdout
    rebuilt = {file: file.read_bytes() for file in home.glob("features/*/*/*.parquet")}
    (home / "warehouse.duckdb").unlink()
    assert run_touchstone("run", "--as-of", AS_OF).code == 0
    assert {file: file.read_bytes() for file in rebuilt} == rebuilt, "as a full rebuild"


def test_verify_accepts_what_was_published_and_sees_any_changed_file(
    run_touchstone: Callable[..., Outcome], home: Path
):
    assert run_touchstone("verify").code == 0
    files = [file for file in (home / "published" / "listings").rglob("*") if file.is_file()]
    assert len(files) >= 10
    for file in files:
        content = file.read_bytes()
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        file.write_bytes(bytes(changed))
        found = run_touchstone("verify", "--json")
        assert found.code == 4, file
        assert found.json["problems"], file
        file.write_bytes(content)
    assert run_touchstone("verify").code == 0


def test_the_run_s_record_tells_stages_rows_and_memory(rated_home: Path):
    records = [json.loads(path.read_text()) for path in (rated_home / "runs").glob("*.json")]
    assert {record["outcome"] for record in records} == {"done"}
    stages = {stage["name"] for record in records for stage in record["stages"]}
    assert {"landing", "shape", "features", "score listings", "marts", "publish listings"} <= stages
    assert all(record["peak_memory_mib"] > 0 for record in records)


def test_a_broken_sources_file_ends_with_two_and_changes_nothing(tmp_path: Path):
    sources = tmp_path / "sources.yml"
    sources.write_text("version: 1\nname: x\ninputs: {}\ntables: {}\n")
    with web_server() as web:
        webhook = f"http://{web.address}/hook"
        refused = touchstone(tmp_path / "home", "run", "--sources", str(sources), TOUCHSTONE_ALERT_WEBHOOK=webhook)
    assert refused.code == 2
    assert ["run failed" in post["headline"] for post in web.posts] == [True]
    assert "sources.yml" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "home" / "published").exists()


def test_an_as_of_that_is_no_date_ends_with_two(tmp_path: Path):
    refused = touchstone(tmp_path / "home", "run", "--as-of", "yesterday")
    assert refused.code == 2
    assert "yesterday" in refused.stderr


@pytest.mark.parametrize("command", [["nonsense"], ["run", "--nonsense"], ["models", "show", "listing_counterfeit"]])
def test_bad_usage_ends_with_two(tmp_path: Path, command: list[str]):
    assert touchstone(tmp_path / "home", *command).code == 2
