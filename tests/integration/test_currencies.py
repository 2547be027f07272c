"""Marketplaces in another currency than the US dollar, and without exchange rates."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import duckdb
import pytest
import yaml
from conftest import FIRST_DAY, Homes, Outcome, SmallHomes, run

from ml.declarations import load_declarations
from touchstone.casework.reports import read_report
from touchstone.core.home import Home

DAY = dt.date.fromisoformat(FIRST_DAY)


def without_rates(small_homes: SmallHomes, home: Path, currency: str | None) -> Outcome:
    """Runs over the small marketplace without exchange rates, and with all amounts in one currency if one is given."""
    shutil.copytree(small_homes.made, home)
    market = home / "marketplace"
    sources = yaml.safe_load((market / "sources.yml").read_text())
    for part in ("inputs", "tables"):
        del sources[part]["fx_rates"]
    (market / "sources.yml").write_text(yaml.safe_dump(sources))
    for file in sorted((market / "sources").glob("*.parquet")) if currency else []:
        names = {row[0] for row in duckdb.sql(f"describe from '{file}'").fetchall()}
        if "currency" in names:
            changed = file.with_suffix(".changed")
            duckdb.sql(
                f"copy (select * replace ('{currency}' as currency) from '{file}') to '{changed}' (format parquet)"
            )
            changed.rename(file)
    return run(home, small_homes.policy, FIRST_DAY)


def known_counts(home: Path, name: str, model: str, where: str = "true") -> dict[str, int]:
    """Returns by feature of a model how many active entities have a value."""
    file = Home(home).features(name, DAY)
    features = load_declarations()[model].stored_columns
    row = duckdb.sql(
        f"select {', '.join(f'count({feature})' for feature in features)} from '{file}' where {where}"
    ).fetchone()
    return dict(zip(features, row or (), strict=True))


@pytest.mark.parametrize(
    ("name", "model"), [("listings", "listing_counterfeit"), ("merchants", "merchant_counterfeit")]
)
def test_one_currency_needs_no_rates(euro_home: Path, homes: Homes, name: str, model: str) -> None:
    """As many entities have a value of each feature as if every amount had a rate."""
    known = known_counts(euro_home, name, model)
    assert known == known_counts(homes.rated, name, model)
    assert known["price_base"] > 0


@pytest.fixture(scope="module")
def euro_home(homes: Homes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("euro") / "home"
    outcome = without_rates(homes, home, "EUR")
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    return home


def test_reports_and_reasons_are_in_the_base_currency(euro_home: Path) -> None:
    report = read_report(euro_home, DAY)[1]
    assert report["base_currency"] == "EUR"
    assert not [note for note in report["notes"] if "exchange rate" in note]
    reasons = duckdb.sql(
        f"select string_agg(reasons, '') from '{Home(euro_home).reasons('listing_counterfeit', DAY)}'"
    ).fetchone()
    assert reasons is not None
    assert " USD" not in reasons[0]


def test_amounts_without_rates_are_unknown_and_reported(homes: Homes, tmp_path: Path) -> None:
    home = tmp_path / "home"
    outcome = without_rates(homes, home, None)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    assert "Base currency: USD (the most frequent" in outcome.stdout + outcome.stderr
    mart = Home(home).mart("currencies", DAY)
    missing = dict(
        duckdb.sql(
            f"select table_name, sum(no_rate_count) / sum(amount_count) from '{mart}' where amount_count > 0 group by table_name"
        ).fetchall()
    )
    assert 0.2 < missing["orders"] < 0.8
    (note,) = (note for note in read_report(home, DAY)[1]["notes"] if "exchange rate" in note)
    assert f"orders {missing['orders']:.2%}" in note
    assert f"{missing['orders']:.2%}" in outcome.stdout + outcome.stderr
    features, listings = Home(home).features("listings", DAY), home / "marketplace" / "sources" / "listings.parquet"
    known = dict(
        duckdb.sql(
            f"select currency = 'USD', count(price_base) / count(*) from '{features}' inner join '{listings}' using (listing_id) "
            "group by all"
        ).fetchall()
    )
    assert known == {True: 1, False: 0}
