"""Agora 2014 lands according to its mapping, checked against an independent count of the raw tables in pandas."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from expectations.contract import load_contract
from tests.landing_fixtures import KEY, NOW
from touchstone.core.errors import BadInputError
from touchstone.landing.as_of import default_as_of
from touchstone.landing.land import land
from touchstone.landing.ledger import LoadRecord, pinned_loads
from touchstone.landing.sources import read_sources

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "examples" / "agora" / "sources.yml"
SHARED = Path(os.environ.get("TOUCHSTONE_SHARED", str(ROOT.parent / "shared")))
AGORA = (SHARED if SHARED.is_absolute() else ROOT / SHARED) / "data" / "agora"
ADMISSIONS = re.compile(
    r"replica|counterfeit|\bfake|\bcop(?:y|ies)\b|\bclone|imitation|a{3,}|\b1\s*[:-]\s*1\b|knock-?off|ultimate",
    re.IGNORECASE,
)

needs_agora = pytest.mark.skipif(
    not AGORA.is_dir(), reason=f"the Agora tables are not at {AGORA} (set TOUCHSTONE_SHARED)"
)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, LoadRecord]]:
    landing = tmp_path_factory.mktemp("agora") / "landing"
    sources = read_sources(SOURCES, {"AGORA_DIR": str(AGORA)})
    records = land(sources, load_contract(), landing, hmac_key=KEY, now=NOW)
    return landing, {record.table: record for record in records}


@pytest.fixture(scope="module")
def seen() -> pd.DataFrame:
    """The raw rows with a vendor, with the ID and the first day of their listing."""
    rows = pd.read_parquet(AGORA / "listings_daily.parquet")
    rows = rows[rows["vendor"].notna()].copy()
    rows["day"] = pd.to_datetime(rows["snapshot_date"])
    pairs = zip(rows["vendor"], rows["title"], strict=True)
    rows["listing_id"] = [hashlib.md5(f"{vendor}|{title}".encode()).hexdigest() for vendor, title in pairs]  # noqa: S324
    rows["first"] = rows.groupby("listing_id")["day"].transform("min")
    return rows


def table(landed: tuple[Path, dict[str, LoadRecord]], name: str) -> pd.DataFrame:
    landing, records = landed
    files = [str(path) for path in records[name].paths(landing)]
    return duckdb.connect(":memory:").execute("select * from read_parquet($files)", {"files": files}).df()


def test_a_missing_agora_dir_variable_is_named() -> None:
    with pytest.raises(BadInputError, match="AGORA_DIR"):
        read_sources(SOURCES, {})


@needs_agora
def test_every_table_is_accepted(landed: tuple[Path, dict[str, LoadRecord]]) -> None:
    assert {name: record.message for name, record in landed[1].items() if record.status != "accepted"} == {}
    assert set(landed[1]) == {
        "merchants",
        "merchant_snapshots",
        "merchant_identifiers",
        "listings",
        "listing_prices",
        "moderation_decisions",
        "fx_rates",
    }


@needs_agora
def test_the_default_as_of_is_the_last_crawl(landed: tuple[Path, dict[str, LoadRecord]]) -> None:
    landing, records = landed
    assert default_as_of(landing, pinned_loads(records.values(), load_contract())) == date(2014, 12, 30)


@needs_agora
def test_merchants_are_the_vendors_of_both_tables(
    landed: tuple[Path, dict[str, LoadRecord]], seen: pd.DataFrame
) -> None:
    vendors = pd.read_parquet(AGORA / "vendors_daily.parquet")
    days = pd.concat(
        [seen[["vendor", "day"]], vendors.assign(day=pd.to_datetime(vendors["snapshot_date"]))[["vendor", "day"]]]
    )
    expected = days.groupby("vendor")["day"].min()
    merchants = table(landed, "merchants").set_index("merchant_id")
    assert len(merchants) == 166
    assert "theCartel" in merchants.index
    assert merchants["registered_at"].to_dict() == expected.to_dict()


@needs_agora
def test_a_listing_is_a_pair_of_vendor_and_title(
    landed: tuple[Path, dict[str, LoadRecord]], seen: pd.DataFrame
) -> None:
    listings = table(landed, "listings").set_index("listing_id")
    by_id = seen.groupby("listing_id")
    assert listings["merchant_id"].to_dict() == by_id["vendor"].first().to_dict()
    assert listings["listed_at"].to_dict() == by_id["day"].min().to_dict()
    first_rows = seen[seen["day"] == seen["first"]]
    expected = first_rows.groupby("listing_id")["ship_from"].min()
    assert listings["ships_from"].dropna().to_dict() == expected.dropna().to_dict()


@needs_agora
def test_the_lowest_price_of_several_rows_a_day_is_kept(
    landed: tuple[Path, dict[str, LoadRecord]], seen: pd.DataFrame
) -> None:
    prices = table(landed, "listing_prices").set_index(["listing_id", "observed_at"])["price"].astype(float)
    expected = seen.groupby(["listing_id", "day"])["price_btc"].min()
    assert len(prices) == len(expected)
    joined = pd.concat(
        [prices.rename("landed"), expected.rename("raw").rename_axis(["listing_id", "observed_at"])], axis=1
    )
    assert joined.notna().all(axis=None)
    assert (joined["landed"] - joined["raw"]).abs().max() <= 0.00005 + 1e-12


@needs_agora
def test_listings_active_at_the_end_are_those_seen_within_14_days(
    landed: tuple[Path, dict[str, LoadRecord]], seen: pd.DataFrame
) -> None:
    prices = table(landed, "listing_prices")
    end = datetime(2014, 12, 30)  # noqa: DTZ001  landed times are UTC without a zone
    by_mapping = set(prices[prices["observed_at"] > end - pd.Timedelta(days=14)]["listing_id"])
    by_rows = set(seen[seen["day"] > end - pd.Timedelta(days=14)]["listing_id"])
    assert by_mapping == by_rows
    assert len(by_rows) > 100


@needs_agora
def test_decisions_follow_the_first_seen_category(
    landed: tuple[Path, dict[str, LoadRecord]], seen: pd.DataFrame
) -> None:
    first_rows = seen[(seen["day"] == seen["first"]) & seen["category"].notna()]
    kinds = first_rows["category"].str.startswith("Counterfeits/").groupby(first_rows["listing_id"]).agg(["min", "max"])
    decided = kinds[kinds["min"] == kinds["max"]]["max"]
    decisions = table(landed, "moderation_decisions").set_index("entity_id")
    assert (decisions["verdict"] == "fake").to_dict() == decided.to_dict()
    assert len(kinds) - len(decided) == 7
    assert (len(decisions), int((decisions["verdict"] == "fake").sum())) == (2149, 1249)
    first_days = seen.groupby("listing_id")["day"].min()
    assert decisions["decided_at"].to_dict() == first_days[decisions.index].to_dict()
    assert set(decisions["entity_kind"]) == {"listing"}
    assert set(decisions["violation_type"]) == {"counterfeit"}


@needs_agora
def test_the_category_appears_only_in_the_decisions(landed: tuple[Path, dict[str, LoadRecord]]) -> None:
    listings = table(landed, "listings")
    assert set(listings["category"]) == {"physical goods"}
    assert table(landed, "moderation_decisions")["reason"].isna().all()
    for name in landed[1]:
        values = table(landed, name).astype(str)
        assert not values.apply(lambda column: column.str.contains("Counterfeits/")).any(axis=None)


@needs_agora
def test_titles_contain_no_admission_of_a_copy_and_no_trace_of_masking(
    landed: tuple[Path, dict[str, LoadRecord]], seen: pd.DataFrame
) -> None:
    titles = table(landed, "listings")["title"].dropna()
    assert not [title for title in titles if ADMISSIONS.search(title)]
    assert not titles.str.contains(r"[\[\](){}<>【】]|\s{2}|- -|^[\s\-]|[\s\-]$").any()
    words = " " + titles.str.lower().str.replace(r"[\W_]+", " ", regex=True).str.strip() + " "
    phrases = pd.read_csv(ROOT / "dbt_project" / "seeds" / "evasive_words.csv", comment="#")["phrase"]
    assert not [phrase for phrase in phrases if words.str.contains(f" {phrase} ").any()]
    raw = seen.groupby("listing_id")["title"].first()
    assert raw.str.contains(ADMISSIONS.pattern, flags=re.IGNORECASE).sum() > 500
    assert table(landed, "listings")["title"].isna().sum() < 10


@needs_agora
def test_snapshots_and_shared_keys_match_the_raw_tables(landed: tuple[Path, dict[str, LoadRecord]]) -> None:
    vendors = pd.read_parquet(AGORA / "vendors_daily.parquet")
    snapshots = table(landed, "merchant_snapshots")
    least = vendors["deals"].str.strip().str.extract(r"^(\d+)")[0].astype(float)
    assert snapshots["sales_count"].sum() == least.sum()
    assert snapshots["rating"].astype(float).sum() == pytest.approx(vendors["rating"].astype(float).sum(), abs=0.01)
    keys = table(landed, "merchant_identifiers")
    vendors_per_key = vendors.dropna(subset=["pgp_sha1"]).groupby("pgp_sha1")["vendor"].nunique()
    assert len(keys) == vendors_per_key.sum() == 126
    assert sorted(keys.groupby("value_hash")["merchant_id"].nunique()) == sorted(vendors_per_key)
    assert (vendors_per_key > 1).sum() == 3
    assert not set(keys["value_hash"]) & set(vendors_per_key.index)


@needs_agora
def test_exchange_rates_match_the_file_from_its_second_day_on(landed: tuple[Path, dict[str, LoadRecord]]) -> None:
    rates = table(landed, "fx_rates")
    raw = pd.read_csv(AGORA / "btc_usd.csv")
    bitcoin = rates[rates["currency"] == "BTC"]
    assert dict(zip(bitcoin["date"].dt.strftime("%Y-%m-%d"), bitcoin["rate"], strict=True)) == dict(
        zip(raw["date"], raw["usd_per_btc"], strict=True)
    )
    assert set(rates["currency"]) == {"BTC", "USD"}
    assert set(rates.loc[rates["currency"] == "USD", "rate"]) == {1}
    assert rates["date"].min() == pd.Timestamp("2014-01-02")


@needs_agora
def test_only_rows_without_a_vendor_are_dropped(seen: pd.DataFrame) -> None:
    assert len(pd.read_parquet(AGORA / "listings_daily.parquet")) - len(seen) == 3
