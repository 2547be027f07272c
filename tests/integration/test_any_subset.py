"""Any subset of tables, optional columns and label kinds ends with a rating of every active listing, or says what is missing.

Each case draws from a small demo which tables and columns a marketplace has, which kinds of labels, and whether these are older
or newer than everything observed. Every case is a run of its own, so all are slow: `make test-all`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from expectations.contract import load_contract
from tests.conftest import touchstone
from tests.market_fixtures import write_sources_file
from touchstone.demo.generate import generate

CASES = 200
QUICK_CASES = 0
SCALE = 0.003
REQUIRED = ("merchants", "listings")
LABELS = ("notices", "test_buys", "moderation_decisions", "platform_actions", "enforcement_actions", "appeals")
SHIFTS = (0, 0, -3650, 60)
"""Days by which labels are moved: not at all, before everything observed, or after it."""
LANDED_LABEL_TIMES = ("submitted_at", "decided_at", "ordered_at", "occurred_at")


@dataclass(frozen=True)
class Case:
    """What a marketplace has.

    Attributes:
        tables: Its tables.
        dropped: By table, the optional columns that it lacks.
        shift: Days by which its labels are moved.
    """

    tables: tuple[str, ...]
    dropped: dict[str, tuple[str, ...]]
    shift: int


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo marketplace from which cases are drawn."""
    folder = tmp_path_factory.mktemp("subsets") / "market"
    generate(folder, scale=SCALE, days=60, seed=11, hardness=1.0)
    return folder


def case(number: int) -> Case:
    """Draws a case."""
    dice, contract = random.Random(number), load_contract()
    optional = [name for name in contract.tables if name not in (*REQUIRED, *LABELS)]
    share = dice.choice([0.0, 0.2, 0.5, 0.9])
    kept = [name for name in optional if dice.random() < share]
    kept += [name for name in LABELS if dice.random() < dice.choice([0.0, 0.4])]
    tables = (*REQUIRED, *kept)
    dropped = {
        name: tuple(
            column
            for column, described in contract.tables[name].columns.items()
            if not described.required
            and column not in (*contract.tables[name].key, contract.tables[name].event_at)
            and dice.random() < dice.choice([0.0, 0.3, 0.8])
        )
        for name in tables
    }
    return Case(tables, dropped, dice.choice(SHIFTS))


def write_market(market: Path, folder: Path, drawn: Case) -> Path:
    """Writes the tables of a case and their sources file."""
    (folder / "sources").mkdir(parents=True)
    there = [name for name in drawn.tables if (market / "sources" / f"{name}.parquet").exists()]
    with duckdb.connect(":memory:") as connection:
        for name in there:
            source = market / "sources" / f"{name}.parquet"
            columns = [row[0] for row in connection.execute("describe from read_parquet(?)", [str(source)]).fetchall()]
            selected = [
                f"{column} + interval ({drawn.shift}) day as {column}"
                if name in LABELS and column in LANDED_LABEL_TIMES
                else column
                for column in columns
                if column not in drawn.dropped[name]
            ]
            connection.execute(
                f"copy (select {', '.join(selected)} from read_parquet('{source}')) "
                f"to '{folder / 'sources' / f'{name}.parquet'}' (format parquet)"
            )
    return write_sources_file(folder, there)


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=[pytest.mark.slow] * (number >= QUICK_CASES)) for number in range(CASES)]
)
def test_a_run_rates_every_active_listing_or_names_what_is_missing(market: Path, tmp_path: Path, number: int):
    drawn = case(number)
    sources = write_market(market, tmp_path / "market", drawn)
    home = tmp_path / "home"
    done = touchstone(home, "run", "--sources", str(sources), "--approve-if-passing")
    message = f"{drawn}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.code in (0, 2), message
    assert "Traceback" not in done.stderr, message
    if done.code == 2:
        named = [
            *load_contract().tables,
            *(column for table in load_contract().tables.values() for column in table.columns),
        ]
        assert any(f" {name}" in done.stderr or f"`{name}" in done.stderr for name in named), message
        return
    (scores,) = (home / "scores" / "listing_counterfeit").glob("as_of=*/scores.parquet")
    (features,) = (home / "features" / "listings").glob("as_of=*/features.parquet")
    rated, active = (
        duckdb.execute("select count(*) from read_parquet(?)", [str(file)]).fetchall()[0][0]
        for file in (scores, features)
    )
    assert rated == active > 0, message
