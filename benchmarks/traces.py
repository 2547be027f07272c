"""Whether traces tell the truth, and how long they take: random published rows, held against `features/` and `landing/`.

Every feature of the model, each source row and how many there are of them are read again with Arrow, by independent code.
Where it is asked to, it deletes the warehouse first: give it a copy of a home. Prints Markdown.

    python benchmarks/traces.py --home FOLDER --rows 100 --seed 1001 [--as-of 2026-06-30]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from touchstone.core.lists import LISTS
from touchstone.publishing.history import ListStore, in_force
from touchstone.publishing.read import read_list
from touchstone.publishing.trace import open_evidence

Traces = Sequence[Mapping[str, Any]]
KEYS = {
    "merchants": ["merchant_id"], "merchant_snapshots": ["merchant_id", "observed_at"], "listings": ["listing_id"],
    "listing_snapshots": ["listing_id", "observed_at"],
    "merchant_identifiers": ["merchant_id", "kind", "value_hash"], "listing_prices": ["listing_id", "observed_at"],
    "listing_images": ["image_id"], "listing_ranks": ["listing_id", "observed_at", "query"], "orders": ["order_id"],
    "buyers": ["buyer_id"], "reviews": ["review_id"], "brands": ["brand_id"], "brand_logos": ["brand_id", "sha256"],
    "brand_products": ["brand_id", "model_ref", "valid_from"], "notices": ["notice_id"], "test_buys": ["test_buy_id"],
    "authorised_merchants": ["brand_id", "merchant_id", "valid_from"], "platform_actions": ["action_id"],
    "moderation_decisions": ["entity_id", "entity_kind", "violation_type", "decided_at"], "enforcement_actions": ["action_id"],
    "suppressions": ["entity_id", "entity_kind", "created_at"], "appeals": ["appeal_id"],
    "cases": ["case_id", "merchant_id", "stage", "stage_at"],
}  # fmt: skip
EVENTS = {
    "merchants": "registered_at", "merchant_snapshots": "observed_at", "merchant_identifiers": "first_seen_at",
    "listings": "listed_at", "listing_prices": "observed_at", "listing_ranks": "observed_at",
    "listing_snapshots": "observed_at", "orders": "placed_at",
    "reviews": "created_at", "notices": "submitted_at", "test_buys": "ordered_at", "enforcement_actions": "occurred_at",
}  # fmt: skip
OF_LISTING = (
    "listings",
    "listing_prices",
    "listing_images",
    "listing_ranks",
    "listing_snapshots",
    "orders",
    "reviews",
    "notices",
    "test_buys",
)
OF_MERCHANT = ("merchants", "merchant_snapshots", "merchant_identifiers", "enforcement_actions")


def differences(home: Path, traces: Traces) -> list[str]:
    """Returns where traces differ from the files, a line each; traces of one list and date."""
    wrong = [*_features(home, traces), *_counts(home, traces)]
    tables = {table for trace in traces for table in trace["source_rows"]}
    return wrong + [line for table in sorted(tables) for line in _rows(home, table, traces)]


def _features(home: Path, traces: Traces) -> Iterable[str]:
    first = traces[0]
    rated = LISTS[first["list"]]
    path = home / "features" / first["list"] / f"as_of={first['as_of']}" / "features.parquet"
    scores = home / "scores" / rated.model / f"as_of={first['as_of']}" / "scores.parquet"
    ids = {trace["entity_id"] for trace in traces}
    # The scores of texts are columns of the model's scores.
    rated_rows, rows = (
        {row[rated.key]: row for row in _picked(pq.read_table(file, partitioning=None), rated.key, ids).to_pylist()}
        for file in (scores, path)
    )
    for trace in traces:
        model = json.loads((home / trace["model"]["folder"] / "model.json").read_bytes())
        row = rated_rows[trace["entity_id"]] | rows[trace["entity_id"]]
        baseline = model["baseline"].get(row["category"], model["baseline"][""])
        names = [feature["name"] for feature in model["features"]]
        expected = {name: (row[name], baseline[at]) for at, name in enumerate(names)}
        if expected != {one["name"]: (one["value"], one["typical"]) for one in trace["features"]}:
            yield f"{trace['entity_id']}: features differ from {path}"


def _rows(home: Path, table: str, traces: Traces) -> Iterable[str]:
    """Looks up every source row in each load that a trace says holds it."""
    wanted: dict[str, list[dict[str, Any]]] = {}
    for trace in traces:
        for one in trace["source_rows"][table]["rows"]:
            for load_id in one["load_ids"]:
                wanted.setdefault(load_id, []).append(one["row"] | one["known_later"])
    for load_id, rows in wanted.items():
        key = KEYS[table]
        found = _picked(_landed(home, table, load_id), key[0], {row[key[0]] for row in rows})
        there = {tuple(row[name] for name in key): row for row in map(_plain, found.to_pylist())}
        for row in rows:
            if there.get(tuple(row[name] for name in key)) != {name: row[name] for name in found.column_names}:
                yield f"{table}/{load_id}: {row} is not what landed"


def _counts(home: Path, traces: Traces) -> Iterable[str]:
    """Counts in the loads that the manifest names how many rows there are of each listing and merchant."""
    by_id = [("listing_id", OF_LISTING), ("merchant_id", OF_MERCHANT)] if traces[0]["list"] == "listings" else []
    if "merchants" in traces[0]["list"]:
        by_id = [("merchant_id", (*OF_MERCHANT, "listings", "orders"))]
    loads = {(load["table"], load["load_id"]): load for load in traces[0]["loads"]}
    for column, tables in by_id:
        ids = {
            trace["entity_id"]: trace["source_rows"]["merchants"]["rows"][0]["row"]["merchant_id"] for trace in traces
        }
        if column == "listing_id":
            ids = {name: name for name in ids}
        for table in tables:
            held = [load["replaced_by"] or load_id for (name, load_id), load in loads.items() if name == table]
            picked = [_picked(_landed(home, table, load_id), column, set(ids.values())) for load_id in held]
            rows = [row for found in picked for row in map(_plain, found.to_pylist())]
            as_of = date.fromisoformat(traces[0]["as_of"])
            known = [row for row in rows if table not in EVENTS or row[EVENTS[table]].date() <= as_of]
            distinct = {(row[column], *(row[name] for name in KEYS[table])) for row in known}
            for trace in traces:
                counted = sum(one[0] == ids[trace["entity_id"]] for one in distinct)
                traced = trace["source_rows"][table]["row_count"]
                if counted != traced:
                    yield f"{trace['entity_id']}: {table}: {traced} rows in the trace, {counted} in the files"


def _landed(home: Path, table: str, load_id: str) -> pa.Table:
    files = sorted((home / "landing" / table / load_id).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])


def _picked(table: pa.Table, column: str, wanted: set[Any]) -> pa.Table:
    return table.filter(pc.is_in(table[column], value_set=pa.array(sorted(wanted))))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.replace(tzinfo=None) if isinstance(value, datetime) else value for name, value in row.items()}


def main() -> None:
    """Traces random published rows and says whether they hold, and what one takes; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1001)
    parser.add_argument("--as-of", type=date.fromisoformat)
    parser.add_argument("--without-warehouse", action="store_true", help="delete it first: give a copy of a home")
    options = parser.parse_args()
    if options.without_warehouse:
        (options.home / "warehouse.duckdb").unlink(missing_ok=True)
    stores = {name: ListStore(options.home / "published", name) for name in LISTS}
    versions = {
        name: in_force(store.history(), options.as_of) if options.as_of else store.latest()
        for name, store in stores.items()
    }
    published = [
        (name, entity_id)
        for name, rated in LISTS.items()
        for entity_id in read_list(options.home / "published", name, versions[name]).rows[rated.key].to_pylist()
    ]
    order = np.random.default_rng(options.seed).permutation(len(published))
    chosen = [published[at] for at in order[: options.rows]]
    print(
        "| list | rows traced | differences | seconds to open | seconds a row | source rows held |\n|---|---|---|---|---|---|"
    )
    for name in LISTS:
        ids = [entity_id for of, entity_id in chosen if of == name]
        if not ids:
            continue
        begun = time.monotonic()
        with open_evidence(options.home, name, as_of=options.as_of) as evidence:
            open_for = time.monotonic() - begun
            traces = [evidence.trace(entity_id) for entity_id in ids]
        took = (time.monotonic() - begun - open_for) / len(ids)
        wrong = differences(options.home, traces)
        held = sum(len(found["rows"]) for trace in traces for found in trace["source_rows"].values())
        print(f"| {name} | {len(ids)} | {len(wrong)} | {open_for:.2f} | {took:.2f} | {held} |", flush=True)
        print("".join(f"\n{line}" for line in wrong[:10]))


if __name__ == "__main__":
    main()
