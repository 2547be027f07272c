"""What a first day can go wrong with: each error has its exit code, and says what, where, why, and the way out.

One case per error. Commands run in their own process, gates in this one over small landed tables, so no case is a whole run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from expectations.runner import run_suite
from tests.conftest import touchstone
from tests.expectations_fixtures import BAD as BROKEN
from tests.landing_fixtures import CONTRACT, LISTINGS, MERCHANTS, ORDERS, Landed, Market
from touchstone.core.errors import ExitCode, TouchstoneError
from touchstone.core.home import Home, prepare_home
from touchstone.core.run_record import RunRecord
from touchstone.core.settings import POLICY_FILE, Settings
from touchstone.landing.acceptances import accept_load
from touchstone.landing.as_of import default_as_of
from touchstone.landing.ledger import Ledger

Ended = tuple[int, str]
PUBLIC = {"identifiers": "public"}
HEADER = "listing_id,merchant_id,title,currency,listed_at\n"
NEGATIVE = f"select * replace (if(listing_id = 'l2', -3, price) as price) from ({LISTINGS})"
READERS = (
    ("lists", "show", "listings"),
    ("lists", "diff", "listings", "2026-06-01", "2026-06-02"),
    ("trace", "listings", "l1"),
    ("report",),
    ("leads", "list"),
    ("leads", "show", "l"),
    ("test-buys", "plan", "--budget", "50"),
    ("audits", "plan"),
    ("policies", "try", str(POLICY_FILE)),
    ("models", "list"),
    ("dbt", "build"),
    ("backfill", "--from", "2026-06-01", "--to", "2026-06-02"),
)
"""Commands that show or use what a run makes."""


def command(home: Path, *arguments: str, **environment: str) -> Ended:
    """Runs a command; returns its exit code and all its output in one line."""
    done = touchstone(home, *arguments, **environment)
    return done.code, " ".join((done.stdout + done.stderr).split())


def raised(action: Callable[[], object]) -> Ended:
    """Returns the exit code that an error of the product's own would end the command with, and its message."""
    try:
        action()
    except TouchstoneError as error:
        return error.exit_code, " ".join(str(error).split())
    return ExitCode.DONE, ""


def checked_csv(folder: Path, rows: str) -> Ended:
    """Checks a marketplace whose listings are a CSV file."""
    market = Market(folder, {"merchants": MERCHANTS})
    file = market.write().path
    (folder / "items.csv").write_text(rows)
    content = yaml.safe_load(file.read_text())
    content["inputs"]["items"] = {"connector": "csv", "path": "items.csv"}
    content["tables"]["listings"] = {"input": "items"}
    file.write_text(yaml.safe_dump(content | PUBLIC))
    return command(folder / "home", "sources", "check", str(file))


def checked(folder: Path, market: dict[str, str], **keys: object) -> Ended:
    """Checks a marketplace of Parquet files, with other keys in its sources file."""
    file = Market(folder, market).write().path
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | PUBLIC | keys))
    return command(folder / "home", "sources", "check", str(file))


def landed_gate(market: Market, as_of: date) -> Ended:
    """Judges what has landed; returns the refusal, or the warning of a gate that passes."""
    from orchestration.checks import load_rows

    run = Landed(market.landing, market.pins(), Ledger(market.landing).read())
    files = {
        table: [path for load in loads for path in load.paths(market.landing)]
        for table, loads in run.pins.current.items()
    }
    rows = load_rows(run)
    result = run_suite("landed", files, {"as_of": as_of, "loads": rows})
    code, message = raised(result.raise_if_refused)
    return code, message or " ".join((result.warning() or "").split())


def stale_orders(folder: Path) -> Ended:
    """The newest order is of 2026-06-06."""
    market = Market(folder, {"merchants": MERCHANTS, "listings": LISTINGS, "orders": ORDERS})
    market.land()
    return landed_gate(market, date(2026, 6, 20))


def patient_orders(folder: Path) -> Ended:
    """The same with the setting that the refusal names."""
    market = Market(folder, {"merchants": MERCHANTS, "listings": LISTINGS, "orders": ORDERS})
    market.entries["orders"] = {"max_age_days": 14}
    market.land()
    return landed_gate(market, date(2026, 6, 20))


def changed_load(before: str, after: str) -> Callable[[Path], Ended]:
    """Returns a case in which a second load of listings differs much from the first."""

    def case(folder: Path) -> Ended:
        market = Market(folder, {"merchants": MERCHANTS, "listings": before})
        market.land()
        market.tables["listings"] = after
        market.land(days=1)
        return landed_gate(market, date(2026, 7, 1))

    return case


def another_marketplace(folder: Path) -> Ended:
    """A second sources file without a merchant of the first."""
    market = Market(folder)
    market.land()
    market.tables = {
        name: f"select * replace ('x' || merchant_id as merchant_id) from ({query})"
        for name, query in market.tables.items()
    }
    return raised(lambda: market.land(days=1))


def demo_next_to_it(*arguments: str) -> Callable[[Path], Ended]:
    """Returns a case in which the demo would be added to a home with a marketplace's tables."""

    def case(folder: Path) -> Ended:
        home = folder / "home"
        prepare_home(Settings(home=home))
        Market(home).land()
        ended = command(home, *arguments)
        assert not (home / "marketplace").exists()
        return ended

    return case


def wrong_policy(folder: Path) -> Ended:
    """A policy with a mistyped key."""
    policy = folder / "policy.yml"
    policy.write_text(POLICY_FILE.read_text().replace("max_flagged_share", "max_flaged_share"))
    ended = command(folder / "home", "run", TOUCHSTONE_POLICY=str(policy))
    assert not (folder / "home" / "landing").exists(), "nothing lands"
    return ended


def many_flagged(folder: Path) -> Ended:
    """More flagged listings than the policy allows."""
    return raised(BROKEN["scores"]["few_are_flagged"].judge(folder).raise_if_refused)


def accepted(why: str) -> Callable[[Path], Ended]:
    """Returns a case in which somebody accepts a load that no gate refused."""

    def case(folder: Path) -> Ended:
        market = Market(folder)
        market.land()
        now = datetime(2026, 7, 2, tzinfo=UTC)
        return raised(lambda: accept_load(market.landing, CONTRACT, "listings", who="Ann", why=why, now=now))

    return case


def future_times(folder: Path) -> Ended:
    """Every time is of the day on which the tables land, or later."""
    future = "timestamptz '2026-07-01 01:00:00+00'"
    market = Market(
        folder, {"merchants": MERCHANTS, "listings": f"select * replace ({future} as listed_at) from ({LISTINGS})"}
    )
    market.land()
    return raised(lambda: default_as_of(market.landing, market.pins()))


@dataclass(frozen=True)
class ErrorCase:
    """An error of a first day.

    Attributes:
        make: Brings it about in an empty folder; returns the exit code and the message.
        code: The exit code.
        parts: What the message names: what, where, why, and the way out.
        absent: What it does not.
    """

    make: Callable[[Path], Ended]
    code: ExitCode
    parts: tuple[str, ...]
    absent: tuple[str, ...] = field(default=())


BAD, DONE, REFUSED = ExitCode.BAD_INPUT, ExitCode.DONE, ExitCode.GATE_REFUSED
PAIR = {"merchants": MERCHANTS, "listings": LISTINGS}
CASES = {
    "a CSV line with another number of columns": ErrorCase(
        lambda folder: checked_csv(folder, f"{HEADER}l1,m1,Watch,USD,2026-03-01,more\n"),
        BAD,
        ("listings", "file items.csv", "Line: 2", "Expected Number of Columns: 5 Found: 6", "delimiter ','"),
    ),
    "a CSV file with another delimiter": ErrorCase(
        lambda folder: checked_csv(folder, f"{HEADER}l1,m1,Watch,USD,2026-03-01\n".replace(",", ";")),
        BAD,
        ("items.csv", "the header has 1 column, split at ';' it has 5", 'Set `delimiter: ";"`'),
    ),
    "a required table that is not mapped": ErrorCase(
        lambda folder: checked(folder, {"merchants": MERCHANTS}),
        BAD,
        ("sources.yml", "tables.listings is required"),
    ),
    "a mistyped age": ErrorCase(
        lambda folder: checked(folder, PAIR, tables={"listings": {"input": "listings", "max_age_days": 0}}),
        BAD,
        ("sources.yml", "listings.max_age_days", "greater than or equal to 1"),
    ),
    "a share of bad rows that is no small share": ErrorCase(
        lambda folder: checked(folder, PAIR, quarantine=0.5),
        BAD,
        ("sources.yml", "quarantine", "less than or equal to 0.1"),
    ),
    "a row that breaks the contract": ErrorCase(
        lambda folder: checked(folder, PAIR | {"listings": NEGATIVE}),
        BAD,
        ("listings: this load was refused", "price: 1 of 6 rows are below 0 [range]", "tables.listings", "`quarantine: SHARE`"),
    ),
    "more bad rows than may be set aside": ErrorCase(
        lambda folder: checked(folder, PAIR | {"listings": NEGATIVE}, quarantine=0.1),
        BAD,
        ("listings: this load was refused", "price: 1 of 6 rows are below 0 [range]", "touchstone sources check"),
    ),
    "codes that are no currencies": ErrorCase(
        lambda folder: checked(
            folder, PAIR | {"listings": f"select * replace ('EURO' as currency) from ({LISTINGS})"}
        ),
        DONE,
        ("listings: 6 rows would land", "no ISO 4217 currency codes: EURO (6 rows); they cannot be converted; map them"),
    ),
    "another marketplace's sources": ErrorCase(
        another_marketplace,
        BAD,
        ("is another marketplace than the home's", "merchants.parquet", "TOUCHSTONE_HOME"),
    ),
    "the demo next to a marketplace": ErrorCase(
        demo_next_to_it("demo"),
        BAD,
        ("holds the tables of another marketplace", "TOUCHSTONE_SOURCES (or --sources)", "TOUCHSTONE_HOME"),
    ),
    "a run without sources next to a marketplace": ErrorCase(
        demo_next_to_it("run"),
        BAD,
        ("holds the tables of another marketplace", "TOUCHSTONE_SOURCES (or --sources)", "TOUCHSTONE_HOME"),
    ),
    "an unknown key in a policy": ErrorCase(
        wrong_policy, BAD, ("policy.yml", "max_flaged_share: unknown key", "Write max_flagged_share")
    ),
    "a sighting rule of no days": ErrorCase(
        lambda folder: command(folder / "home", "verify", TOUCHSTONE_SIGHTING_DAYS="0"),
        BAD,
        ("TOUCHSTONE_SIGHTING_DAYS", "greater than or equal to 1"),
    ),
    "no complete day": ErrorCase(
        future_times, BAD, ("there is no complete day to rate", "listings.last_seen_at", "--as-of")
    ),
    "orders that are too old": ErrorCase(
        stale_orders,
        REFUSED,
        (
            "tables_that_date_a_run_are_fresh (orders)",
            "observed 14 days (newest: 2026-06-06), allowed 7 days",
            "tables.TABLE.max_age_days",
            "`touchstone run --as-of DATE`",
        ),
        ("(listings)",),
    ),
    "orders that may be so old": ErrorCase(patient_orders, DONE, (), ("orders",)),
    "a load that lost most rows": ErrorCase(
        changed_load(LISTINGS, f"select * from ({LISTINGS}) limit 2"),
        REFUSED,
        ("volume_holds (listings)", "observed 2 rows, allowed at least 3", 'touchstone sources accept TABLE --why "…"'),
    ),
    "a load of more than ten times the rows": ErrorCase(
        changed_load(
            f"select * from ({LISTINGS}) limit 1",
            f"select l.* replace (l.listing_id || j as listing_id) from ({LISTINGS}) as l, range(2) as r(j)",
        ),
        DONE,
        ("volume_does_not_explode (listings)", "observed 12 rows, allowed at most 10 rows"),
    ),
    "an acceptance without a reason": ErrorCase(accepted(" "), BAD, ("--why is empty",)),
    "an acceptance of what nobody refused": ErrorCase(
        accepted("moved"), BAD, ("listings", "it has 6 rows, and there is no load before", "nothing to accept")
    ),
    "more flagged than the policy allows": ErrorCase(
        many_flagged,
        REFUSED,
        ("few_are_flagged", "`max_flagged_share` in the policy file (TOUCHSTONE_POLICY)", "touchstone policies try FILE"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_error_says_what_where_why_and_the_way_out(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    code, message = case.make(tmp_path)
    assert code == case.code, message
    assert [part for part in case.parts if part not in message] == [], message
    assert [part for part in case.absent if part in message] == [], message
    assert "Traceback" not in message
    assert "this is a bug" not in message


@pytest.fixture(scope="module")
def refused_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose only run ended before anything landed."""
    home = tmp_path_factory.mktemp("refused") / "home"
    prepare_home(Settings(home=home))
    RunRecord.start(Home(home).runs, "abc").end("refused", "tables.listings is required, and the file does not map it.")
    return home


@pytest.mark.parametrize("arguments", READERS, ids=[" ".join(reader[:2]) for reader in READERS])
def test_after_a_run_no_command_answers_that_one_should_run(refused_home: Path, arguments: tuple[str, ...]) -> None:
    code, message = command(refused_home, *arguments)
    assert code == (DONE if arguments == ("models", "list") else BAD)
    assert "The last run (abc, " in message
    assert "tables.listings is required, and the file does not map it." in message
    assert "touchstone run" not in message
