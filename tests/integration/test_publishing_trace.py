"""Traces over whole homes: equal to the files of features/ and landing/, also without the warehouse, or refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from expectations.contract import load_contract
from tests.conftest import FIRST_DAY, NEXT_DAY, Outcome
from tests.landing_fixtures import LISTINGS, MERCHANTS, ORDERS, Market
from touchstone.core.errors import BadInputError, ExitCode, VerificationError
from touchstone.core.files import sha256_file
from touchstone.core.lists import LISTS
from touchstone.landing.ledger import Ledger, Removal
from touchstone.publishing.history import ListStore, in_force
from touchstone.publishing.read import read_list
from touchstone.publishing.source_rows import SourceRows
from touchstone.publishing.trace import open_evidence, trace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from traces import KEYS, differences  # the expected values are read by independent code

FIRST, NEXT = date.fromisoformat(FIRST_DAY), date.fromisoformat(NEXT_DAY)
MOST_TRACED = 12
"""The number of rows traced per list; `benchmarks/traces.py` traces a hundred of a larger home."""


def published_ids(home: Path, list_name: str, as_of: date) -> list[str]:
    version = in_force(ListStore(home / "published", list_name).history(), as_of)
    return read_list(home / "published", list_name, version).rows[LISTS[list_name].key].to_pylist()


def a_listing(home: Path, as_of: date = NEXT) -> str:
    return published_ids(home, "listings", as_of)[0]


def traced(home: Path, list_name: str, as_of: date) -> list[dict[str, Any]]:
    """Traces the riskiest rows of a list as of a date."""
    ids = published_ids(home, list_name, as_of)[:MOST_TRACED]
    with open_evidence(home, list_name, as_of=as_of) as evidence:
        return [evidence.trace(entity_id, rows=20) for entity_id in ids]


def test_traces_match_the_files_as_of_both_days_and_without_the_warehouse(home: Path) -> None:
    before = {(name, day): traced(home, name, day) for name in LISTS for day in (FIRST, NEXT)}
    assert all(before.values())
    for result in before.values():
        assert differences(home, result) == []
    for name in ("warehouse.duckdb", "mlflow.db", "pinned", "training", "signals"):
        shutil.rmtree(home / name) if (home / name).is_dir() else (home / name).unlink()
    assert {(name, day): traced(home, name, day) for name in LISTS for day in (FIRST, NEXT)} == before


def test_every_table_in_a_trace_is_compared_with_the_landed_rows(home: Path) -> None:
    result = [trace for list_name in LISTS for trace in traced(home, list_name, NEXT)]
    assert {table for trace in result for table in trace["source_rows"]} <= set(KEYS)


def test_a_trace_names_what_its_row_depends_on(home: Path) -> None:
    for name, rated in LISTS.items():
        result = traced(home, name, NEXT)[0]
        version = ListStore(home / "published", name).latest()
        assert version is not None
        manifest = ListStore(home / "published", name).manifest(version)
        assert result["version"] == version
        assert result["manifest"] == manifest.model_dump(mode="json")
        assert {load["load_id"] for load in result["loads"]} == {
            i for ids in manifest.inputs.loads.tables.values() for i in ids
        }
        scores = pq.read_table(home / "scores" / rated.model / f"as_of={NEXT}" / "scores.parquet", partitioning=None)
        row = next(row for row in scores.to_pylist() if row[rated.key] == result["entity_id"])
        assert [result["score"][one] for one in ("score", "own_conduct_score", "margin", "model_digest")] == [
            row[one] for one in ("score", "own_conduct_score", "margin", "model_digest")
        ]
        assert result["model"]["approval"]["who"] == "approve-if-passing"
        assert result["verdict"]["passed"]
        assert [gate["gate"] for gate in result["verdict"]["gates"]] == ["landed", "features", "scores", "candidate"]
        assert result["notes"] == []


def test_a_trace_of_a_past_date_contains_no_later_data(home: Path) -> None:
    result = traced(home, "listings", FIRST)
    assert result[0]["version"].startswith(FIRST_DAY)
    rows = [
        (table, one["row"]) for each in result for table, found in each["source_rows"].items() for one in found["rows"]
    ]
    moments = [value for _, row in rows for value in row.values() if isinstance(value, datetime)]
    assert moments
    assert max(moments).date() <= FIRST
    later = [
        one for each in result for found in each["source_rows"].values() for one in found["rows"] if one["known_later"]
    ]
    assert later, "some order was delivered after the first day"


def test_the_command_prints_the_trace_of_the_module(home: Path, run_touchstone: Callable[..., Outcome]) -> None:
    listing = a_listing(home)
    message = run_touchstone("trace", "listings", listing, "--json", "--rows", "3")
    assert message.code == ExitCode.DONE, message.stderr
    assert message.json == json.loads(json.dumps(trace(home, "listings", listing, rows=3), default=str))
    before = a_listing(home, FIRST)
    words = run_touchstone("trace", "listings", before, "--as-of", FIRST_DAY)
    assert words.code == ExitCode.DONE, words.stderr
    assert words.stdout.startswith(f"{before} is row 1 of")
    assert f"({FIRST_DAY}-" in words.stdout


def test_a_review_is_found_by_its_order(home: Path) -> None:
    result = traced(home, "reviews", NEXT)[0]
    by_order = trace(home, "reviews", result["row"]["order_id"], rows=20)
    assert by_order == result
    assert by_order["source_rows"]["orders"]["rows"][0]["row"]["order_id"] == result["row"]["order_id"]


def test_a_rated_unlisted_entity_is_traced_with_the_reason(home: Path) -> None:
    mart = pq.read_table(
        home / "marts" / "rated_listings" / f"as_of={NEXT}" / "rated_listings.parquet", partitioning=None
    )
    listed = set(published_ids(home, "listings", NEXT))
    row = next(row for row in mart.to_pylist() if row["listing_id"] not in listed and not row["is_suppressed"])
    result = trace(home, "listings", row["listing_id"])
    assert not result["is_listed"]
    assert result["row"] is None
    assert ("threshold" in result["why_not_listed"][0]) == (row["score"] < result["score"]["threshold"])
    assert result["score"]["score"] == row["score"]
    assert differences(home, [result]) == []


def test_a_suppressed_entity_is_traced_with_the_suppressing_row(home: Path) -> None:
    mart = pq.read_table(
        home / "marts" / "rated_listings" / f"as_of={NEXT}" / "rated_listings.parquet", partitioning=None
    )
    row = next(row for row in mart.to_pylist() if row["is_suppressed"])
    result = trace(home, "listings", row["listing_id"])
    assert not result["is_listed"]
    assert "it is suppressed" in result["why_not_listed"][-1]
    assert [one["row"]["entity_id"] for one in result["source_rows"]["suppressions"]["rows"]] == [row["listing_id"]]


def test_an_unpublished_list_is_traced_from_its_candidate(home: Path) -> None:
    listing = a_listing(home)
    shutil.rmtree(home / "published" / "listings")
    result = trace(home, "listings", listing, as_of=NEXT)
    assert result["version"] is None
    assert result["publication"] is None
    assert result["row"]["listing_id"] == listing


@pytest.mark.parametrize(
    ("list_name", "entity_id", "options", "pattern"),
    [
        ("listings", "nobody", {}, "on any date with scores .2026-06-15, 2026-06-30"),
        ("listings", "nobody", {"as_of": date(2026, 6, 20)}, FIRST_DAY),
        ("listings", "nobody", {"version": "2026-06-30-000000000000"}, NEXT_DAY),
        ("goods", "nobody", {}, "listings, merchants"),
    ],
)
def test_an_unknown_list_entity_date_or_version_is_refused_with_the_existing_ones(
    rated_home: Path, list_name: str, entity_id: str, options: dict[str, Any], pattern: str
) -> None:
    with pytest.raises(BadInputError, match=pattern):
        trace(rated_home, list_name, entity_id, **options)


def test_contradictory_date_and_version_are_refused(rated_home: Path) -> None:
    version = ListStore(rated_home / "published", "listings").latest()
    with pytest.raises(BadInputError, match="not as of"):
        trace(rated_home, "listings", "nobody", as_of=FIRST, version=version)


def test_the_command_exits_with_2_for_an_entity_that_was_not_rated(run_touchstone: Callable[..., Outcome]) -> None:
    message = run_touchstone("trace", "listings", "nobody")
    assert message.code == ExitCode.BAD_INPUT
    assert NEXT_DAY in message.stderr


def changed(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize(
    "file",
    [
        f"features/listings/as_of={NEXT_DAY}/features.parquet",
        f"scores/listing_counterfeit/as_of={NEXT_DAY}/scores.parquet",
        f"marts/rated_listings/as_of={NEXT_DAY}/rated_listings.parquet",
        f"published/listings/{NEXT_DAY}-*/listings.parquet",
        f"published/listings/{NEXT_DAY}-*/manifest.json",
        f"published/listings/{NEXT_DAY}-*/receipt.json",
        "published/listings/history.jsonl",
        "landing/orders/*/part-0.parquet",
        "landing/ledger/ledger.jsonl",
        "models/log.jsonl",
        "mlflow-artifacts/listing_counterfeit/*/artifacts/model/model.json",
        "mlflow-artifacts/listing_counterfeit/*/artifacts/model/main.ubj",
    ],
)
def test_a_modified_file_is_refused_by_name(home: Path, file: str) -> None:
    listing = a_listing(home)
    (path,) = home.glob(file)
    changed(path)
    with pytest.raises(VerificationError, match=path.name):
        trace(home, "listings", listing)


def test_the_command_exits_with_4_and_names_the_modified_file(
    home: Path, run_touchstone: Callable[..., Outcome]
) -> None:
    listing = a_listing(home)
    changed(home / "features" / "listings" / f"as_of={NEXT_DAY}" / "features.parquet")
    message = run_touchstone("trace", "listings", listing)
    assert message.code == ExitCode.VERIFICATION_FAILED
    assert "features.parquet" in message.stderr
    assert message.stdout == ""


def test_a_verdict_on_other_files_is_refused_and_a_later_one_on_the_same_is_noted(home: Path) -> None:
    listing = a_listing(home)
    sha256 = trace(home, "listings", listing)["publication"]["manifest_sha256"]
    path = home / "candidates" / "listings" / sha256 / "verdict.json"
    verdict = json.loads(path.read_bytes())
    verdict["gates"]["landed"]["parameters"]["loads"][0]["max_age_days"] = 8
    path.write_text(json.dumps(verdict))
    result = trace(home, "listings", listing)
    assert not result["verdict"]["is_as_published"]
    assert "judged again" in result["notes"][0]
    verdict["gates"]["features"]["subject_digest"] = "0" * 64
    path.write_text(json.dumps(verdict))
    with pytest.raises(VerificationError, match=r"verdict\.json is not about"):
        trace(home, "listings", listing)


def test_a_truncated_log_of_approvals_is_detected(home: Path) -> None:
    listing = a_listing(home)
    log = home / "models" / "log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(VerificationError, match="a receipt names"):
        trace(home, "listings", listing)


def test_an_erasure_is_noted_without_showing_the_person(home: Path, run_touchstone: Callable[..., Outcome]) -> None:
    listing, buyer, load_id = next(
        (result["entity_id"], one["row"]["buyer_id"], one["load_ids"][0])
        for result in traced(home, "listings", NEXT)
        for one in result["source_rows"]["orders"]["rows"]
    )
    before = trace(home, "listings", listing, rows=20)
    erased = run_touchstone("erase", "buyer", buyer, "--who", "an officer", "--why", "request 17")
    assert erased.code == 0, erased.stderr
    result = trace(home, "listings", listing, rows=20)
    assert result["features"] == before["features"]
    orders = next(load for load in result["loads"] if load["load_id"] == load_id)
    assert orders["state"] == "erased"
    assert orders["replaced_by"] not in (None, load_id)
    assert (orders["removals"][0]["who"], orders["removals"][0]["why"]) == ("an officer", "request 17")
    assert orders["files"] == orders["removals"][0]["files"]
    assert orders["files"] != orders["removals"][0]["replacement"]["files"]
    assert any(load_id in note and "erased" in note for note in result["notes"])
    assert buyer not in json.dumps(result, default=str)
    assert result["source_rows"]["orders"]["row_count"] < before["source_rows"]["orders"]["row_count"]
    assert {one["load_ids"][0] for one in result["source_rows"]["orders"]["rows"]} <= {orders["replaced_by"]}
    assert differences(home, [result]) == []


def test_a_pruned_load_is_noted(home: Path) -> None:
    listing = a_listing(home)
    before = trace(home, "listings", listing)
    ranks = next(load for load in before["loads"] if load["table"] == "listing_prices")
    ledger = Ledger(home / "landing")
    load = next(line for line in ledger.read() if line.load_id == ranks["load_id"])
    gone = {"table": load.table, "load_id": ranks["load_id"], "files": load.files}
    ledger.append(Removal(status="pruned", who="touchstone prune", why="older", at=datetime.now(UTC), **gone))
    shutil.rmtree(home / "landing" / load.table / ranks["load_id"])
    result = trace(home, "listings", listing)
    assert {one["load_id"]: one["state"] for one in result["loads"]}[ranks["load_id"]] == "pruned"
    assert any("was pruned" in note for note in result["notes"])
    assert result["source_rows"]["listing_prices"]["row_count"] < before["source_rows"]["listing_prices"]["row_count"]
    assert result["features"] == before["features"]


def test_a_date_with_pruned_files_is_traced_from_the_remaining_ones(
    home: Path, run_touchstone: Callable[..., Outcome]
) -> None:
    before = traced(home, "listings", FIRST)[0]
    pruned = run_touchstone("prune", "--keep-days", "1")
    assert pruned.code == 0, pruned.stderr
    assert not (home / "features" / "listings" / f"as_of={FIRST}").exists()
    result = trace(home, "listings", before["entity_id"], as_of=FIRST, rows=20)
    assert result["features"] is None
    assert result["row"] == before["row"]
    assert result["score"]["score"] == before["score"]["score"]
    assert result["source_rows"] == before["source_rows"]
    assert any("missing" in note for note in result["notes"])


def test_a_version_of_a_day_rated_again_is_traced_without_the_rebuilt_files(home: Path) -> None:
    listing = a_listing(home)
    before = trace(home, "listings", listing)
    mart = home / "marts" / "rated_listings" / f"as_of={NEXT}" / "rated_listings.parquet"
    table = pq.read_table(mart, partitioning=None)
    pq.write_table(table.slice(0, table.num_rows - 1), mart)
    with pytest.raises(VerificationError, match="rated_listings"):
        trace(home, "listings", listing)
    manifest = read_list(home / "published", "listings").manifest
    later = manifest.model_copy(update={"mart": sha256_file(mart)})
    again = home / "candidates" / "listings" / later.sha256
    again.mkdir()
    (again / "manifest.json").write_bytes(later.to_bytes())
    result = trace(home, "listings", listing)
    (note,) = result["notes"]
    assert "mart" in note
    assert later.version in note
    assert result["features"] == before["features"]
    assert result["score"]["margin"] == before["score"]["margin"]


# Source rows over several loads -----------------------------------------------------------------------------------


def rows_of(market: Market, as_of: date, ids: dict[str, str | None], brand: str | None = None) -> dict[str, Any]:
    with duckdb.connect(":memory:") as connection:
        return SourceRows(connection, market.landing, market.pins(), load_contract(), as_of).about(ids, brand, rows=3)


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """Three landings: titles change with the second, and two of them with the third; orders grow with the second."""
    tables = {"merchants": MERCHANTS, "listings": LISTINGS, "orders": f"{ORDERS} where i <= 8"}
    market = Market(tmp_path, tables, {"orders": {"cursor": "placed_at"}})
    market.land()
    tables |= {"listings": f"select * replace (title || '!' as title) from ({LISTINGS})", "orders": ORDERS}
    market.land(days=1)
    tables["listings"] = f"select * replace (title || if(listing_id < 'l3', '?', '!') as title) from ({LISTINGS})"
    market.land(days=2)
    return market


def test_each_version_of_a_row_is_listed_with_its_loads(market: Market) -> None:
    found = rows_of(market, date(2026, 7, 10), {"listing_id": "l4"})["listings"]
    assert found["row_count"] == 1
    assert [one["row"]["title"] for one in found["rows"]] == ["Watch 4!", "Watch 4"]
    loads = [load.load_id for load in market.pins().by_table["listings"]]
    assert [one["load_ids"] for one in found["rows"]] == [loads[1:], loads[:1]]


def test_a_row_version_that_landed_after_the_day_is_excluded_and_the_first_is_not(market: Market) -> None:
    found = rows_of(market, date(2026, 6, 30), {"listing_id": "l4"})["listings"]
    assert [one["row"]["title"] for one in found["rows"]] == ["Watch 4"]


def test_events_after_the_day_are_excluded(market: Market) -> None:
    merchant = {"merchant_id": "m1"}
    counts = [rows_of(market, date(2026, 6, day), merchant)["orders"]["row_count"] for day in (1, 3, 6)]
    assert counts == [1, 5, 10]
    newest = rows_of(market, date(2026, 6, 3), merchant)["orders"]["rows"]
    assert [one["row"]["order_id"] for one in newest] == ["o4", "o5", "o2"]


NOTICES = """
    select 'n' || i as notice_id, 'l' || i as listing_id, timestamp '2026-06-01' as submitted_at from range(1, 7) as r(i)
"""
ACTIONS = """
    select * from (values
        ('a1', 'listing', 'l3', 'takedown', timestamp '2026-06-02'), ('a2', 'merchant', 'm1', 'ban', timestamp '2026-06-03'),
        ('a3', 'listing', 'l6', 'takedown', timestamp '2026-06-02'), ('a4', 'order', 'o2', 'restriction', timestamp '2026-06-02')
    ) as a(action_id, entity_kind, entity_id, kind, occurred_at)
"""
PRODUCTS = """
    select 'b' || i as brand_id, 'X' as model_ref, timestamp '2025-01-01' as valid_from from range(1, 3) as r(i)
"""


def test_a_listing_trace_has_its_own_rows_and_not_all_of_its_merchants(market: Market) -> None:
    market.tables |= {"notices": NOTICES, "platform_actions": ACTIONS, "brand_products": PRODUCTS}
    market.tables["brands"] = "select 'b1' as brand_id, 'Voltera' as name union all select 'b2', 'Other'"
    market.land(days=3)
    found = rows_of(market, date(2026, 7, 10), {"listing_id": "l3", "review_key": "order:o2"}, brand="Voltera")
    ids = {table: [next(iter(one["row"].values())) for one in result["rows"]] for table, result in found.items()}
    assert ids["listings"][0] == "l3"
    assert ids["merchants"] == ["m1"]
    assert ids["orders"] == ["o8", "o2"]
    assert ids["notices"] == ["n3"]
    assert ids["platform_actions"] == ["a1", "a2", "a4"]
    assert ids["brand_products"] == ["b1"]
    assert "fx_rates" not in found
    of_merchant = rows_of(market, date(2026, 7, 10), {"merchant_id": "m1"})
    assert of_merchant["listings"]["row_count"] == 2
    assert of_merchant["notices"]["row_count"] == 2
    assert of_merchant["platform_actions"]["row_count"] == 4
