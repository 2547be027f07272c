"""Small marketplaces on disk for the landing tests: tables as SQL, written as Parquet, with a sources file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import yaml

from expectations.contract import load_contract
from touchstone.landing.checks import TableReport
from touchstone.landing.land import check, land
from touchstone.landing.ledger import Ledger, LoadRecord, PinnedLoads, pinned_loads
from touchstone.landing.sources import Sources, read_sources
from touchstone.landing.sql import Limits

CONTRACT = load_contract()
KEY = b"a key for tests"
NOW = datetime(2026, 7, 1, 6, 0, tzinfo=UTC)

MERCHANTS = """
    select 'm' || i as merchant_id, 'Ann ' || i as name, timestamptz '2026-01-01 00:00:00+00' as registered_at
    from range(1, 4) as r(i)
"""
LISTINGS = """
    select 'l' || i as listing_id, 'm' || (1 + i % 3) as merchant_id, 'Watch ' || i as title, 10.50 + i as price,
        'USD' as currency, timestamptz '2026-03-01 00:00:00+00' + interval (i) day as listed_at
    from range(1, 7) as r(i)
"""
BUYERS = "select 'b' || i as buyer_id, 'device ' || i as device_hash from range(1, 4) as r(i)"
ORDERS = """
    select 'o' || i as order_id, 'l' || (1 + i % 6) as listing_id, 'm1' as merchant_id, 'b' || (1 + i % 3) as buyer_id,
        1 as quantity, 9.99 as amount, 'USD' as currency, timestamp '2026-06-01' + interval (i // 2) day as placed_at
    from range(1, 11) as r(i)
"""


@dataclass(frozen=True)
class Landed:
    """What the gate on landed tables reads of a run.

    Attributes:
        landing: The landing zone.
        pins: The loads that count.
        ledger: Every load that was tried.
    """

    landing: Path
    pins: PinnedLoads
    ledger: list[LoadRecord]


@dataclass
class Market:
    """A folder with tables, a sources file, and a landing zone.

    Attributes:
        folder: The folder that contains everything.
        tables: SQL by contract table; written as Parquet by `write`.
        entries: Keys of a table's entry in the sources file in addition to its input: columns, where, cursor,
            changed_at.
        masked: Patterns to mask in listings' texts.
    """

    folder: Path
    tables: dict[str, str] = field(default_factory=lambda: {"merchants": MERCHANTS, "listings": LISTINGS})
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    masked: list[str] = field(default_factory=list)

    @property
    def landing(self) -> Path:
        """The landing zone."""
        return self.folder / "landing"

    def write(self) -> Sources:
        """Writes the tables and the sources file, and parses the latter."""
        source = self.folder / "source"
        source.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(":memory:") as connection:
            connection.execute("set TimeZone = 'UTC'")
            for name, sql in self.tables.items():
                connection.execute(f"copy ({sql}) to '{source}/{name}.parquet' (format parquet)")
        content = {
            "version": 1,
            "name": "tiny",
            "inputs": {name: {"connector": "parquet", "path": f"source/{name}.parquet"} for name in self.tables},
            "tables": {name: {"input": name} | self.entries.get(name, {}) for name in self.tables},
            "masked": self.masked,
        }
        path = self.folder / "sources.yml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return read_sources(path, {})

    def land(self, days: float = 0, key: bytes = KEY, threads: int = 2) -> dict[str, LoadRecord]:
        """Writes everything and lands it `days` after `NOW`; returns the ledger's new lines by table."""
        records = land(
            self.write(),
            CONTRACT,
            self.landing,
            hmac_key=key,
            now=NOW + timedelta(days=days),
            limits=Limits(threads=threads, memory="500MB"),
        )
        return {record.table: record for record in records}

    def check(self) -> dict[str, TableReport]:
        """Writes everything and checks it; returns the reports by table."""
        return {report.table: report for report in check(self.write(), CONTRACT, hmac_key=KEY)}

    def pins(self) -> PinnedLoads:
        """Returns the pinned loads."""
        return pinned_loads(Ledger(self.landing).read(), CONTRACT)

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """Returns the current rows of a table, sorted, in the contract's columns."""
        files = [str(path) for load in self.pins().current.get(name, ()) for path in load.paths(self.landing)]
        columns = ", ".join(CONTRACT.tables[name].columns)
        query = f"select {columns} from read_parquet($files) order by all"
        return duckdb.connect(":memory:").execute(query, {"files": files}).fetchall() if files else []

    def present_rows(self, name: str) -> list[tuple[Any, ...]]:
        """Returns the newest row of every key of a table, sorted, in the contract's columns."""
        key = ", ".join(CONTRACT.tables[name].key)
        loads = self.pins().current.get(name, ())
        numbered = [
            f"select *, {place} as place from read_parquet('{path}')"
            for place, load in enumerate(loads)
            for path in load.paths(self.landing)
        ]
        newest = f"qualify row_number() over (partition by {key} order by place desc) = 1"
        columns = ", ".join(CONTRACT.tables[name].columns)
        query = f"select {columns} from (select * from ({' union all '.join(numbered)}) {newest}) order by all"
        return duckdb.connect(":memory:").execute(query).fetchall() if numbered else []


def refusal_of(market: Market, name: str) -> str:
    """Returns a table's refusal message; asserts that landing and checking refuse it equally and that nothing lands."""
    record, report = market.land()[name], market.check()[name]
    assert record.status == "refused", record
    assert not report.accepted
    assert record.message == report.message
    assert not (market.landing / name).exists()
    return record.message
