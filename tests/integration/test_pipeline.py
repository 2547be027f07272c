"""The main job, end to end, through the real command: its outputs, its reproducibility, and its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import (
    FIRST_DAY,
    LIST_NAMES,
    NEXT_DAY,
    ROOT,
    Homes,
    Outcome,
    make_market,
    published_files,
    run,
    touchstone,
)

from tests.alert_fixtures import web_server
from touchstone.core.lists import LISTS
from touchstone.core.run_record import RunRecord
from touchstone.maintenance.verification import verify_home

REPRODUCED = (
    *(f"{folder}/**/*.parquet" for folder in ("features", "training", "scores", "reasons")),
    *(f"published/*/{name}" for name in ("*/manifest.json", "*/*.parquet", "*/*.csv", "LATEST")),
)
"""Files that depend only on loads, code and models."""


def latest(home: Path, name: str) -> Path:
    """Returns the folder of a list's newest version."""
    return home / "published" / name / (home / "published" / name / "LATEST").read_text().strip()


@pytest.mark.parametrize("name", LIST_NAMES)
def test_every_list_is_published_for_both_dates(rated_home: Path, name: str):
    versions = [json.loads(line)["version"] for line in (rated_home / "published" / name / "history.jsonl").open()]
    assert [version[:10] for version in versions] == [FIRST_DAY, NEXT_DAY]
    assert latest(rated_home, name).name == versions[-1]
    rows = pq.read_table(latest(rated_home, name) / f"{name}.parquet").to_pylist()
    # One honest merchant in two thousand may reach the floor of brushers: of two hundred, possibly none.
    assert rows or name == "brushing_merchants"
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(json.loads(row["reasons"]) for row in rows)


def test_scores_have_one_row_per_active_listing(rated_home: Path):
    scores = rated_home / "scores" / "listing_counterfeit" / f"as_of={NEXT_DAY}" / "scores.parquet"
    features = rated_home / "features" / "listings" / f"as_of={NEXT_DAY}" / "features.parquet"
    of_texts = ["title_text_score", "merchant_text_score"]
    assert pq.read_schema(scores).names == [
        "listing_id",
        "score",
        "own_conduct_score",
        "margin",
        *of_texts,
        "model_digest",
    ]
    rated, distinct, low, high = duckdb.execute(
        "select count(*), count(distinct listing_id), min(score), max(score) from read_parquet(?)", [str(scores)]
    ).fetchone() or (0, 0, 0, 0)
    assert rated == distinct == pq.read_metadata(features).num_rows
    assert 0 <= low < high <= 100


def test_demo_listings_on_offer_are_all_rated(rated_home: Path):
    listings = rated_home / "marketplace" / "sources" / "listings.parquet"
    scores = rated_home / "scores" / "listing_counterfeit" / f"as_of={NEXT_DAY}" / "scores.parquet"
    unrated = duckdb.execute(
        "select count(*) from read_parquet(?) l where l.listing_id in (select listing_id from read_parquet(?)) "
        "and l.delisted_at is not null and cast(l.delisted_at as date) <= cast(? as date)",
        [str(listings), str(scores), NEXT_DAY],
    ).fetchone()
    assert unrated == (0,)


@pytest.fixture(scope="module")
def twin(homes: Homes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another home made from the same seed: rated as of the same days, but its warehouse was damaged in between."""
    home = tmp_path_factory.mktemp("twin") / "home"
    make_market(home)
    first = run(home, homes.policy, FIRST_DAY)
    assert first.code == 0, first.stdout + first.stderr
    damage(home, 0.0)
    second = run(home, homes.policy, NEXT_DAY)
    assert second.code == 0, second.stdout + second.stderr
    assert "it is not a valid DuckDB database file" in second.stderr
    return home


def damage(home: Path, start: float) -> None:
    """Zeroes the warehouse's bytes from a fraction of the file on."""
    file = home / "warehouse.duckdb"
    content = file.read_bytes()
    kept = int(len(content) * start)
    file.write_bytes(content[:kept] + bytes(len(content) - kept))


def reproduced(home: Path, *, first_day: bool) -> dict[str, bytes]:
    """Returns the files that another home has to reproduce: those of the first day, or all others."""
    files = (file for pattern in REPRODUCED for file in home.glob(pattern))
    named = {str(file.relative_to(home)): file for file in files}
    return {name: file.read_bytes() for name, file in named.items() if (FIRST_DAY in name) == first_day}


def test_two_homes_have_the_same_demo(homes: Homes, tmp_path: Path):
    make_market(tmp_path)
    for source in ("marketplace/sources", "marketplace/truth"):
        made = {file.name: file.read_bytes() for file in (homes.made / source).iterdir()}
        assert len(made) > 1
        assert {file.name: file.read_bytes() for file in (tmp_path / source).iterdir()} == made


@pytest.mark.slow
def test_two_homes_have_identical_files(rated_home: Path, twin: Path):
    expected = reproduced(rated_home, first_day=True)
    assert len(expected) == len(LIST_NAMES) * 11
    assert differing(reproduced(twin, first_day=True), expected) == set()


@pytest.mark.slow
def test_deleting_the_warehouse_loses_nothing(rated_home: Path, twin: Path):
    """The next day equals that of a home with an intact warehouse, including every byte upstream of the lists."""
    expected = reproduced(rated_home, first_day=False)
    assert len(expected) == len(LIST_NAMES) * 8
    assert differing(reproduced(twin, first_day=False), expected) == set()


def differing(files: dict[str, bytes], expected: dict[str, bytes]) -> set[str]:
    """Returns the names of the files that only one has, or that differ."""
    return {name for name in files.keys() | expected.keys() if files.get(name) != expected.get(name)}


def wait_for[Found](look: Callable[[], Found], seconds: float = 120) -> Found:
    """Polls until `look` returns a truthy value; files and processes are all that a run shows from outside."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_a_run_after_a_killed_one_marks_it_as_killed_and_publishes_nothing_new(
    run_touchstone: Callable[..., Outcome], home: Path
):
    before, known = published_files(home), set(RunRecord.paths(home / "runs"))
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "touchstone"), "run", "--as-of", NEXT_DAY],
        env=os.environ | {"TOUCHSTONE_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begun = wait_for(lambda: set(RunRecord.paths(home / "runs")) - known)
    process.kill()
    process.wait()
    (record,) = begun
    assert json.loads(record.read_text())["outcome"] == "running"
    again = run_touchstone("run", "--as-of", NEXT_DAY, "--json")
    assert again.code == 0, again.stderr
    assert published_files(home) == before
    assert json.loads(record.read_text())["outcome"] == "killed"
    assert run_touchstone("verify").code == 0


def test_a_run_killed_during_demo_generation_leaves_no_partial_demo(tmp_path: Path):
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "touchstone"), "run"],
        env=os.environ | {"TOUCHSTONE_HOME": str(tmp_path / "home"), "TOUCHSTONE_DEMO_SCALE": "0.1"},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begun = wait_for(lambda: [*(tmp_path / "home").glob(".tmp-*-marketplace")])
    process.kill()
    process.wait()
    assert begun
    assert not (tmp_path / "home" / "marketplace").exists()
    assert touchstone(tmp_path / "home", "demo", "--scale", "0.002").code == 0
    assert not any((tmp_path / "home").glob(".tmp-*"))


@pytest.mark.slow
def test_after_an_erasure_the_next_run_uses_loads_without_the_person(
    run_touchstone: Callable[..., Outcome], home: Path
):
    orders = str(home / "landing" / "orders" / "*" / "*.parquet")
    most = "select buyer_id from read_parquet(?) group by all order by count(*) desc, buyer_id limit 1"
    (buyer,) = duckdb.execute(most, [orders]).fetchone() or ("",)
    before = {manifest: manifest.read_bytes() for manifest in home.glob("published/*/*/manifest.json")}
    assert run_touchstone("erase", "buyer", buyer).code == 0
    again = run_touchstone("run", "--as-of", NEXT_DAY)
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
    damage(home, 0.3)
    again = run_touchstone("run", "--as-of", NEXT_DAY)
    assert again.code == 0, again.stderr
    assert "Corrupt database file" in again.stderr
    assert {file: file.read_bytes() for file in rebuilt} == rebuilt, "as a full rebuild"


FEW_LABELS = {
    "listing_counterfeit": {
        "moderation_decisions": "violation_type = 'brushing' or entity_kind = 'merchant'",
        "notices": "false",
        "test_buys": "false",
    },
    "merchant_counterfeit": {
        "moderation_decisions": """
            violation_type = 'brushing' or (entity_kind = 'listing' and (verdict = 'genuine' or entity_id in (from fakes)))
        """,
        "notices": "outcome <> 'upheld' or listing_id in (from fakes)",
        "test_buys": "verdict = 'genuine' or listing_id in (from fakes)",
        "enforcement_actions": "false",
    },
    "review_brushing": {"moderation_decisions": "violation_type = 'counterfeit' or entity_kind = 'merchant'"},
    "merchant_brushing": {"moderation_decisions": "violation_type = 'counterfeit' or entity_kind <> 'merchant'"},
}
"""Rows to keep so that only one model has too few labels for training."""


@pytest.mark.slow
@pytest.mark.parametrize("off", FEW_LABELS)
def test_a_model_that_is_off_does_not_block_other_lists(homes: Homes, off: str, tmp_path: Path):
    """It does not cause the others to be retrained on the next day either."""
    home = tmp_path / "home"
    shutil.copytree(homes.made, home)
    sources = home / "marketplace" / "sources"
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            create table fakes as
            with sellers as (
                select merchant_id from '{sources}/moderation_decisions.parquet'
                inner join '{sources}/listings.parquet' on listing_id = entity_id and entity_kind = 'listing'
                where verdict = 'fake' group by merchant_id order by count(*) desc, merchant_id limit 15
            )
            select listing_id from '{sources}/listings.parquet' semi join sellers using (merchant_id)
            """
        )
        for table, kept in FEW_LABELS[off].items():
            connection.execute(
                f"copy (from '{sources}/{table}.parquet' where {kept}) to '{sources}/kept' (format parquet)"
            )
            (sources / "kept").rename(sources / f"{table}.parquet")
    for day in (FIRST_DAY, NEXT_DAY):
        done = run(home, homes.policy, day)
        assert done.code == 0, done.stdout + done.stderr
        for name, rated in LISTS.items():
            assert (f"{name:<18} not rated: the model is off" in done.stdout) == (rated.model == off)
            assert (f"{rated.model} has no champion" in done.stdout) == (rated.model == off)
            assert (f"{rated.model} is off" in done.stdout) == (rated.model == off and day == FIRST_DAY)
            if rated.model != off:
                assert latest(home, name).name[:10] == day
            else:
                assert not (home / "published" / name).exists()
                assert not list((home / "scores").glob(f"{off}/*/*"))


def test_verify_accepts_published_files_and_detects_any_changed_file(
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
        assert verify_home(home).problems, file
        if file == files[0]:  # the command only prints the findings, so one process is enough
            found = run_touchstone("verify", "--json")
            assert found.code == 4
            assert found.json["problems"]
        file.write_bytes(content)
    assert run_touchstone("verify").code == 0


def test_the_run_record_has_stages_and_memory(rated_home: Path):
    records = [json.loads(path.read_text()) for path in (rated_home / "runs").glob("*.json")]
    assert {record["outcome"] for record in records} == {"done"}
    stages = {stage["name"] for record in records for stage in record["stages"]}
    assert {"landing", "shape", "features", "score listings", "marts", "publish listings", "leads"} <= stages
    assert all(record["peak_memory_mib"] > 0 for record in records)


def test_an_invalid_sources_file_exits_with_2_and_changes_nothing(tmp_path: Path):
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


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        ("yesterday", "yesterday"),
        ("2013-12-31", "--as-of 2013-12-31 lies before 2014-01-01, the first day there is"),
        ("0001-01-01", "--as-of 0001-01-01 lies before 2014-01-01, the first day there is"),
        ("9999-12-31", "--as-of 9999-12-31 is not over"),
    ],
)
def test_an_invalid_as_of_exits_with_2_before_anything_starts(as_of: str, message: str, tmp_path: Path):
    refused = touchstone(tmp_path / "home", "run", "--as-of", as_of)
    assert refused.code == 2
    assert message in refused.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", [["nonsense"], ["run", "--nonsense"], ["models", "show", "listing_counterfeit"]])
def test_bad_usage_exits_with_2(tmp_path: Path, command: list[str]):
    assert touchstone(tmp_path / "home", *command).code == 2
