"""Any subset of tables, optional columns and label kinds ends with a rating of every active listing, or says what is missing.

Each case draws from a small demo which tables and columns a marketplace has, which kinds of labels, and whether these are older
or newer than everything observed. Cases run in this process (`stage_fixtures.py`); some also as the command.
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
from tests.stage_fixtures import contract_names, first_run
from touchstone.core.errors import BadInputError
from touchstone.core.settings import Settings
from touchstone.demo.generate import generate

CASES = 200
QUICK_CASES = 25
COMMAND_CASES = 10
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


def check_rated(home: Path, drawn: Case) -> None:
    """Checks that every active listing has a score, and that the coverage report was written."""
    (scores,) = (home / "scores" / "listing_counterfeit").glob("as_of=*/scores.parquet")
    (features,) = (home / "features" / "listings").glob("as_of=*/features.parquet")
    rated, active = (
        duckdb.execute("select count(*) from read_parquet(?)", [str(file)]).fetchall()[0][0]
        for file in (scores, features)
    )
    assert rated == active > 0, drawn
    assert (home / "published" / "listings" / "LATEST").exists(), drawn


def check_refused(message: str, drawn: Case) -> None:
    """Checks that a refusal names a table or a column."""
    assert any(f" {name}" in message or f"`{name}" in message for name in contract_names()), f"{drawn}\n{message}"


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=[pytest.mark.slow] * (number >= QUICK_CASES)) for number in range(CASES)]
)
def test_every_active_listing_is_rated_or_what_is_missing_is_named(market: Path, tmp_path: Path, number: int):
    drawn = case(number)
    settings = Settings(home=tmp_path / "home", sources=write_market(market, tmp_path / "market", drawn))
    try:
        first_run(settings)
    except BadInputError as error:
        check_refused(str(error), drawn)
    else:
        check_rated(settings.home, drawn)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(COMMAND_CASES))
def test_the_command_does_so_with_its_exit_codes(market: Path, tmp_path: Path, number: int):
    drawn, home = case(number), tmp_path / "home"
    sources = write_market(market, tmp_path / "market", drawn)
    done = touchstone(home, "run", "--sources", str(sources), "--approve-if-passing")
    message = f"{drawn}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.code in (0, 2), message
    assert "Traceback" not in done.stderr, message
    if done.code == 2:
        check_refused(done.stderr, drawn)
    else:
        check_rated(home, drawn)
