"""The coverage report of marketplaces with few tables: every unavailable signal is named, with what would enable it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ml.declarations import SIGNALS
from tests.conftest import Outcome, touchstone
from tests.market_fixtures import write_sources_file
from touchstone.demo.generate import generate

CRAWLED = {
    "merchants": "merchant_id, name",
    "listings": "listing_id, merchant_id, title, category, listed_at, price, currency",
    "merchant_snapshots": "merchant_id, observed_at, rating, sales_count",
}
"""What a crawl sees: titles, prices and sellers, with the seller's rating."""
BARE = {"merchants": "*", "listings": "*"}


@dataclass(frozen=True)
class Market:
    """A marketplace that was run: its home, its sources file, and what the run printed."""

    home: Path
    sources: Path
    run: Outcome

    @property
    def coverage(self) -> dict[str, Any]:
        """The content of its coverage report."""
        (file,) = (self.home / "coverage").glob("as_of=*/coverage.json")
        content: dict[str, Any] = json.loads(file.read_bytes())
        return content


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coverage") / "demo"
    generate(folder, scale=0.002, days=60, seed=11, hardness=1.0)
    return folder


def write_market(demo: Path, folder: Path, tables: dict[str, str]) -> Path:
    """Writes columns of some of the demo's tables, and their sources file."""
    (folder / "sources").mkdir(parents=True)
    for name, columns in tables.items():
        source = demo / "sources" / f"{name}.parquet"
        duckdb.execute(
            f"copy (select {columns} from read_parquet('{source}')) to '{folder / 'sources' / name}.parquet'"
        )
    return write_sources_file(folder, tables)


def run_market(demo: Path, folder: Path, tables: dict[str, str]) -> Market:
    sources = write_market(demo, folder / "tables", tables)
    done = touchstone(folder / "home", "run", "--sources", str(sources), "--approve-if-passing")
    assert done.code == 0, done.stderr
    return Market(folder / "home", sources, done)


@pytest.fixture(scope="module")
def bare(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Market:
    return run_market(demo, tmp_path_factory.mktemp("bare"), BARE)


@pytest.fixture(scope="module")
def crawl(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Market:
    return run_market(demo, tmp_path_factory.mktemp("crawl"), CRAWLED)


@pytest.mark.parametrize("name", ["bare", "crawl"])
def test_names_every_unavailable_signal_and_what_would_enable_it(name: str, request: pytest.FixtureRequest):
    market: Market = request.getfixturevalue(name)
    signals = market.coverage["signals"]
    assert set(signals) == set(SIGNALS)
    unavailable = [signal for signal, counts in signals.items() if not counts["available"]]
    assert {"review", "link", "order", "logo"} <= set(unavailable)
    for signal, counts in signals.items():
        line = next(line for line in market.run.stdout.splitlines() if line.strip().startswith(signal.capitalize()))
        assert f"{counts['available']} of {counts['features']}" in line
        if counts["available"] < counts["features"]:
            assert counts["missing"], signal
            assert "provide " in line
    assert "reviews.text" in signals["review"]["missing"]
    assert "orders" in signals["order"]["missing"]


@pytest.mark.parametrize("name", ["bare", "crawl"])
def test_what_is_said_to_be_missing_is_not_provided(name: str, request: pytest.FixtureRequest):
    market: Market = request.getfixturevalue(name)
    provided = {
        item
        for table, columns in (BARE if name == "bare" else CRAWLED).items()
        for item in (table, *(f"{table}.{column.strip()}" for column in columns.split(",")))
    }
    missing = {one for counts in market.coverage["signals"].values() for one in counts["missing"]}
    assert not missing & provided
    assert "listings.price" not in missing


@pytest.mark.parametrize("name", ["bare", "crawl"])
def test_a_feature_without_what_it_needs_has_no_values(name: str, request: pytest.FixtureRequest):
    market: Market = request.getfixturevalue(name)
    outcome = touchstone(market.home, "sources", "check", str(market.sources), "--json")
    assert outcome.code == 0, outcome.stderr
    predicted = outcome.json["coverage"]["signals"]
    for signal, counts in market.coverage["signals"].items():
        assert counts["available"] <= predicted[signal]["available"], signal
        assert counts["missing"] == predicted[signal]["missing"], signal


def test_says_which_date_entities_labels_and_models_there_are(bare: Market):
    as_of = bare.coverage["as_of"]
    assert f"As of      {as_of}: the last complete day of what has landed" in bare.run.stdout
    assert "Labels     none: provide notices" in bare.run.stdout
    assert "listing_counterfeit starter (version 1" in bare.run.stdout
    assert "review_brushing off (too few labels to train on)" in " ".join(bare.run.stdout.split())
    assert bare.coverage["active"]["listings"] > 0


def test_is_part_of_the_daily_report_and_of_the_model_card(bare: Market):
    (page,) = (bare.home / "reports").glob("as_of=*/report.html")
    assert "<h2>Coverage</h2>" in page.read_text()
    assert "<td>Review</td><td>0 of " in page.read_text()
    cards = list((bare.home / "mlflow-artifacts").glob("listing_counterfeit/*/artifacts/card.html"))
    assert "<td>review</td><td>0 of " in cards[0].read_text()


def test_the_same_loads_give_the_same_bytes(bare: Market):
    (file,) = (bare.home / "coverage").glob("as_of=*/coverage.json")
    before = file.read_bytes()
    file.unlink()
    again = touchstone(bare.home, "run", "--sources", str(bare.sources))
    assert again.code == 0, again.stderr
    assert file.read_bytes() == before


def test_a_complete_marketplace_lacks_little(small_homes: Any):
    home = small_homes.rated
    (file,) = (home / "coverage").glob("as_of=*/coverage.json")
    coverage = json.loads(file.read_bytes())
    assert all(not counts["missing"] for counts in coverage["signals"].values())
    assert coverage["labels"]["moderation_decisions"]["positive"] > 0
