"""Drift by the real command: no alert for twenty undisturbed days, and each disturbance is reported by the next run.

A demo is rated as of a day with models that were trained then, and on each of the twenty days after it. Then its
sources are changed, each time in a copy, and the last day is rated again over the newly landed data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pytest
import yaml
from conftest import ROOT, touchstone

pytestmark = pytest.mark.slow
CUTOFF_DATE, LAST = "2026-06-10", "2026-06-30"
DAYS = (("2026-06-11", "2026-06-15"), ("2026-06-16", "2026-06-20"), ("2026-06-21", "2026-06-25"), ("2026-06-26", LAST))
"""Twenty days in four parts: a test's command may take a quarter of an hour, which a slow machine needs for ten days."""
DRIFT_EXPECTATIONS = (
    "population_is_as_at_the_cut",
    "population_is_not_another",
    "categories_are_as_at_the_cut",
    "outcomes_are_as_expected",
)
DISTURBED: Mapping[str, tuple[Mapping[str, str], dict[str, str]]] = {
    "prices up by 30 %": (
        {
            "listings": "select * replace (price * 1.3 as price) from sources",
            "listing_prices": f"""
                select * replace (case when observed_at > timestamp '{CUTOFF_DATE}' then price * 1.3 else price end as price)
                from sources
            """,
        },
        {"listings": "price_msrp_ratio"},
    ),
    "a category vanishes": (
        {
            "listings": f"""
                select * replace (
                    case when category = (select mode(category) from sources) then timestamp '{CUTOFF_DATE}' else delisted_at end
                    as delisted_at)
                from sources
            """
        },
        {"listings": ""},
    ),
    "a new merchant population": (
        {
            "merchants": f"""
                select * replace (
                    case when hash(merchant_id) % 2 = 0 then timestamp '{CUTOFF_DATE}' else registered_at end as registered_at)
                from sources
            """
        },
        {"merchants": "merchant_age_days", "brushing_merchants": "merchant_age_days"},
    ),
    "a feature goes null": (
        {"orders": "select * replace (null::integer as parcel_weight_g) from sources"},
        {"reviews": "weight_ratio"},
    ),
}
"""The changes by table, and the feature to be named by list; if empty, the largest category."""


def result(home: Path, day: str) -> dict[str, set[str]]:
    """Returns the columns with drift according to the gate on scores, by list."""
    found = {}
    for path in (home / "gates" / day).glob("scores-*.json"):
        failures = json.loads(path.read_text())["failures"]
        found[path.stem.removeprefix("scores-")] = {
            item["column"] for item in failures if item["expectation"] in DRIFT_EXPECTATIONS
        }
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose models were trained as of the cutoff date.

    With so few verdicts a model's calibration may be too poor to pass its review; drift is reported all the same.
    """
    home = tmp_path_factory.mktemp("drift") / "home"
    limits = yaml.safe_load((ROOT / "ml" / "thresholds.yml").read_text())
    for model in limits["models"].values():
        model["calibration"]["calibration_slope"] = [0.1, 10.0]
    (home.parent / "thresholds.yml").write_text(yaml.safe_dump(limits))
    assert touchstone(home, "demo", "--scale", "0.03", "--seed", "31").code == 0
    environment = {"TOUCHSTONE_THRESHOLDS": str(home.parent / "thresholds.yml")}
    done = touchstone(home, "run", "--as-of", CUTOFF_DATE, "--approve-if-passing", **environment)
    assert done.code in (0, 3), done.stderr
    assert set(result(home, CUTOFF_DATE)) == {"listings", "merchants", "reviews", "brushing_merchants"}
    return home


@pytest.fixture(scope="module")
def rated(home: Path) -> Path:
    """The same home after the twenty following days were rated."""
    for first, last in DAYS:
        done = touchstone(home, "backfill", "--from", first, "--to", last, "--json")
        assert [day["outcome"] for day in done.json["days"] if day["outcome"] == "failed"] == [], done.stderr
    return home


def test_at_most_one_drift_alarm_in_twenty_undisturbed_days(rated: Path) -> None:
    days = sorted(path.name for path in (rated / "gates").iterdir() if path.name > CUTOFF_DATE)
    assert (len(days), days[-1]) == (20, LAST)
    alarms = [(day, *alarm) for day in days for alarm in result(rated, day).items() if alarm[1]]
    assert len(alarms) <= 1, alarms


@pytest.mark.parametrize("name", DISTURBED)
def test_a_disturbance_is_reported_by_the_next_run(rated: Path, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    # Everything lands again: a table with a cursor would refuse changed rows that have landed, or not pull them again.
    landed = ("landing", "warehouse.duckdb")
    shutil.copytree(
        rated, home, ignore=lambda folder, names: [n for n in names if n in landed and folder == str(rated)]
    )
    tables, expected = DISTURBED[name]
    sources = home / "marketplace" / "sources"
    with duckdb.connect() as connection:
        query = f"select mode(category) from '{sources}/listings.parquet'"
        ((largest,),) = connection.execute(query).fetchall()
        for table, query in tables.items():
            connection.execute(f"create or replace view sources as from '{sources / table}.parquet'")
            connection.execute(f"copy ({query}) to '{sources / table}.new' (format parquet)")
            (sources / f"{table}.new").rename(sources / f"{table}.parquet")
    done = touchstone(home, "run", "--as-of", LAST)
    assert done.code in (0, 3), done.stderr
    found = result(home, LAST)
    for list_name, feature in expected.items():
        assert (feature or largest) in found[list_name], (found, done.stderr)
