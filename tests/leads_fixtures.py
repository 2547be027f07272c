"""A made-up marketplace of a few merchants with rated and published days, for the tests of leads and evidence packs.

Marts are Parquet with dbt's declared columns and types, landed tables are in a real landing zone, and lists are built,
judged and published by the pipeline's own code. Only the models are left out: tests set the scores.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import yaml

from expectations.contract import load_contract
from tests.dbt_fixtures import build_models, compile_models, run_tables
from tests.hostile import HOSTILE
from tests.publishing_fixtures import POLICY, SUITES, TERMS, manifest_inputs, passing_gates
from touchstone.casework.leads import TABLES, lead_inputs, mart_file, write_leads
from touchstone.core.files import sha256_bytes, sha256_file
from touchstone.core.lists import LISTS, ListName
from touchstone.landing.ledger import Ledger, LoadedFile, LoadRecord
from touchstone.publishing.candidate import build_candidate
from touchstone.publishing.publish import publish
from touchstone.publishing.verdict import give_verdict

DAY = dt.date(2026, 6, 30)
MARTS_YML = Path(__file__).resolve().parents[1] / "dbt_project" / "models" / "marts" / "marts.yml"
READ = (
    "rated_listings", "rated_merchants", "rated_reviews", "rated_brushing_merchants", "expected_harms", "merchant_ties",
    "lead_merchants", "discrepancies", "brushed_orders", "brushing_services",
)  # fmt: skip


@dataclass(frozen=True)
class Goods:
    """An active listing; it is flagged from a score of 50 on."""

    listing_id: str
    brand: str | None = "Acme"
    title: str = "a title"
    score: float = 90.0
    harm: int = 100
    url: str = "https://market.example/item"
    category: str = "watches/wrist"


@dataclass(frozen=True)
class Merchant:
    """A merchant with its listings; it is flagged from a score of 50 on."""

    merchant_id: str
    goods: tuple[Goods, ...] = ()
    score: float = 90.0
    brushing_score: float = 1.0
    country: str | None = "CN"
    name: str = "a shop"
    city: str = "a town"
    ring: str | None = None
    service: str | None = None

    @property
    def harm(self) -> int:
        """The expected harm of its listings."""
        return sum(one.harm for one in self.goods)


@functools.cache
def lead_models() -> list[Any]:
    """Returns the compiled models of leads, cached per process."""
    return compile_models("tag:leads")


def make_leads(home: Path, day: dt.date, lists: Sequence[ListName]) -> dict[str, int]:
    """Builds and writes the leads of a date as their asset does, with the compiled dbt models, in memory."""
    inputs = lead_inputs(home, day, lists)
    with duckdb.connect(":memory:") as connection:
        connection.execute("attach ':memory:' as warehouse; use warehouse; create schema landed")
        for name, columns in run_tables().items():
            typed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            connection.execute(f"create table landed.{name} ({typed})")
        connection.executemany("insert into landed.published_lists values (?, ?, ?)", inputs.published())
        connection.register("groups", inputs.merchant_groups())
        connection.execute("insert into landed.merchant_groups by name from groups")
        for name in ("lead_candidates", *(f"previous_{table}" for table in TABLES)):
            if name in inputs.files:
                path = str(inputs.files[name])
                connection.execute(
                    f"insert into landed.{name} by name from read_parquet(?, hive_partitioning = false)", [path]
                )
        build_models(connection, lead_models())
        return write_leads(home, inputs, connection)


@functools.cache
def mart_columns() -> dict[str, dict[str, str]]:
    """Returns the columns and types of each mart, as dbt declares them."""
    models = yaml.safe_load(MARTS_YML.read_text())["models"]
    return {model["name"]: {column["name"]: column["data_type"] for column in model["columns"]} for model in models}


def write_rows(
    connection: duckdb.DuckDBPyConnection, path: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Writes rows as Parquet; missing values become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection.execute(
        f"create or replace table made ({', '.join(f'"{name}" {kind}' for name, kind in columns.items())})"
    )
    if rows:
        marks = ", ".join("?" for _ in columns)
        connection.executemany(
            f"insert into made values ({marks})", [[row.get(name) for name in columns] for row in rows]
        )
    connection.execute(f"copy made to '{path}' (format parquet)")


@dataclass
class Made:
    """A marketplace over several days.

    Attributes:
        home: Its folder.
        landed: Rows of the contract's tables.
    """

    home: Path
    landed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def rate(
        self,
        merchants: Sequence[Merchant],
        *,
        day: dt.date = DAY,
        ties: Sequence[tuple[str, str]] = (),
        bearer_count: int = 2,
        rows: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        lists: Sequence[ListName] = tuple(LISTS),
    ) -> None:
        """Writes the day's marts and publishes the lists made from them."""
        marts = marts_of(merchants, day, ties, bearer_count) | dict(rows or {})
        with duckdb.connect(":memory:") as connection:
            for mart in READ:
                write_rows(connection, mart_file(self.home, mart, day), mart_columns()[mart], marts.get(mart, []))
        for name in lists:
            self.publish(name, day)

    def publish(self, name: ListName, day: dt.date) -> None:
        """Builds, judges and publishes a list of the day's mart."""
        scores = self.home / "scores" / LISTS[name].model / f"as_of={day}" / "scores.parquet"
        scores.parent.mkdir(parents=True, exist_ok=True)
        scores.write_bytes(b"scores")
        candidate = build_candidate(
            name,
            mart_file(self.home, LISTS[name].mart, day),
            policy=POLICY,
            terms=TERMS,
            inputs=manifest_inputs(),
            published=self.home / "published",
            candidates=self.home / "candidates",
            as_of=day,
        )
        give_verdict(candidate, passing_gates(candidate), suites_digest=SUITES, policy_digest=POLICY.digest)
        publish(
            candidate,
            self.home / "published",
            suites_digest=SUITES,
            policy_digest=POLICY.digest,
            receipt={"run_id": "r"},
        )

    def find(self, merchants: Sequence[Merchant], *, day: dt.date = DAY, **options: Any) -> dict[str, int]:
        """Rates and publishes a day, and makes its leads; lists of brushing are made if somebody brushes."""
        brush = any(one.brushing_score >= 50 for one in merchants)
        options.setdefault("lists", tuple(LISTS) if brush else ("listings", "merchants"))
        self.rate(merchants, day=day, **options)
        return make_leads(self.home, day, tuple(LISTS))

    def land(self) -> None:
        """Lands `landed` in a landing zone, one load per table."""
        contract = load_contract()
        ledger = Ledger(self.home / "landing")
        for name, rows in self.landed.items():
            table = contract.tables[name]
            load_id = sha256_bytes(json.dumps(rows, default=str).encode())[:24]
            path = self.home / "landing" / name / load_id / "part-0.parquet"
            with duckdb.connect(":memory:") as connection:
                write_rows(connection, path, {column: one.sql_type for column, one in table.columns.items()}, rows)
            ledger.append(
                LoadRecord(
                    table=name, load_id=load_id, status="accepted", mode="full", row_count=len(rows),
                    source="made up", recipe="none",
                    files=(LoadedFile(name=path.name, sha256=sha256_file(path), rows=len(rows)),),
                    landed_at=dt.datetime(2026, 7, 1, tzinfo=dt.UTC),
                )
            )  # fmt: skip


def marts_of(
    merchants: Sequence[Merchant], day: dt.date, ties: Sequence[tuple[str, str]] = (), bearer_count: int = 2
) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows of the marts that follow from merchants and from pairs that share a device."""
    goods = [(merchant, one) for merchant in merchants for one in merchant.goods]
    reasons = json.dumps(
        [{"signal": "price", "effect": 1.0, "audiences": ["authority", "brand", "merchant"], "text": "cheap"}]
    )

    def rating(score: float) -> dict[str, Any]:
        return {
            "as_of_date": day, "score": score, "own_conduct_score": score, "margin": score, "band": "[90,100]",
            "reasons": reasons, "model_digest": "d", "is_flagged": score >= 50, "is_suppressed": False,
            "term": 1, "action": "review",
        }  # fmt: skip

    suspects = []
    for merchant in merchants:
        row = {
            "as_of_date": day, "merchant_id": merchant.merchant_id, "country": merchant.country, "score": merchant.score,
            "brushing_score": merchant.brushing_score, "is_listed": merchant.score >= 50,
            "is_brushing_listed": merchant.brushing_score >= 50, "listing_count": len(merchant.goods),
            "listed_listing_count": sum(one.score >= 50 for one in merchant.goods), "listed_transaction_count": 0,
            "unit_count": 1,
            "expected_harm_base": merchant.harm,
        }  # fmt: skip
        if merchant.ring:
            suspects.append(row | {"kind": "ring", "group_id": merchant.ring})
        elif merchant.score >= 50 or merchant.brushing_score >= 50:
            suspects.append(row | {"kind": "merchant", "group_id": merchant.merchant_id})
        if merchant.service:
            suspects.append(row | {"kind": "service", "group_id": merchant.service})
    return {
        "lead_merchants": suspects,
        "rated_merchants": [
            rating(one.score) | {"merchant_id": one.merchant_id, "name": one.name, "active_listing_count": len(one.goods)}
            for one in merchants
        ],
        "rated_brushing_merchants": [
            rating(one.brushing_score)
            | {"merchant_id": one.merchant_id, "name": one.name, "active_listing_count": len(one.goods)}
            for one in merchants
        ],
        "rated_listings": [
            rating(one.score)
            | {"listing_id": one.listing_id, "merchant_id": merchant.merchant_id, "title": one.title, "brand": one.brand}
            | {"category": one.category, "url": one.url, "price": Decimal(10), "currency": "USD"}
            for merchant, one in goods
        ],
        "expected_harms": [
            {
                "as_of_date": day, "listing_id": one.listing_id, "merchant_id": merchant.merchant_id, "category": one.category,
                "brand": one.brand, "price_base": 10, "unit_count": 1, "seriousness": 1, "score": one.score,
                "is_listed": one.score >= 50, "is_suppressed": False, "stake_base": one.harm, "expected_harm_base": one.harm,
            }
            for merchant, one in goods
        ],
        "merchant_ties": [
            {
                "as_of_date": day, "merchant_id_a": min(pair), "merchant_id_b": max(pair), "kind": "device", "value_count": 1,
                "bearer_count": bearer_count, "since_date": day, "is_verified": True,
            }
            for pair in ties
        ],
    }  # fmt: skip


def landed_of(merchants: Sequence[Merchant]) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows of the contract's tables about the merchants and their listings."""
    at = dt.datetime(2026, 1, 1)  # noqa: DTZ001  # landed times have no zone: they are UTC
    return {
        "merchants": [
            {
                "merchant_id": one.merchant_id,
                "name": one.name,
                "registered_at": at,
                "country": one.country,
                "city": one.city,
            }
            for one in merchants
        ],
        "listings": [
            {"listing_id": one.listing_id, "merchant_id": merchant.merchant_id, "title": one.title, "listed_at": at}
            for merchant in merchants
            for one in merchant.goods
        ],
    }


def worth(merchant: Merchant, harm: int) -> Merchant:
    """Returns a merchant whose listings have the given expected harm."""
    return replace(merchant, goods=(Goods(f"{merchant.merchant_id}-goods", harm=harm),))


def hostile_market() -> list[Merchant]:
    """Returns merchants whose texts are all hostile values: IDs, names, titles, brands, categories, addresses."""
    merchants = []
    for number, value in enumerate(HOSTILE):
        goods = Goods(f"{value}{number}", brand=value, title=value, url=value, category=value, harm=number)
        merchants.append(Merchant(f"{value}{number}", (goods,), name=value, city=value, country="DE", ring="one ring"))
    return merchants


__all__ = [
    "DAY", "Goods", "Made", "Merchant", "hostile_market", "landed_of", "make_leads", "mart_columns", "worth", "write_rows",
]  # fmt: skip
