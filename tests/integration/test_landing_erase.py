"""Erasing a person: from every load, permanently, crash-safe, and leaving the rest as if landed without the person."""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from tests.landing_fixtures import BUYERS, CONTRACT, KEY, LISTINGS, MERCHANTS, NOW, ORDERS, Market
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.failpoints import VARIABLE
from touchstone.landing.erase import Reason, erase, unfinished_erasures
from touchstone.landing.ledger import Ledger, Person, Removal, unread_folders, verify_loads
from touchstone.landing.persons import IDENTIFIERS, NAMED_IN, OWN_ROWS, identifier_kinds, kinds, person

ROOT = Path(__file__).resolve().parents[2]
REASON = Reason("an officer", "asked to", NOW)
REVIEWS = """
    select 'r' || i as review_id, 'l1' as listing_id, 'b' || (1 + i % 3) as buyer_id, 'o' || i as order_id,
        timestamp '2026-06-10' as created_at, 5 as rating
    from range(1, 4) as r(i)
    union all select 'r9', 'l1', null, 'o3', timestamp '2026-06-10', 1
"""
NOTICES = "select 'n1' as notice_id, 'l1' as listing_id, 'r1' as reporter_id, timestamp '2026-06-10' as submitted_at"
LINES = {
    "merchants": MERCHANTS, "listings": LISTINGS, "orders": ORDERS, "buyers": BUYERS, "reviews": REVIEWS, "notices": NOTICES,
}  # fmt: skip


def hashed(identifier: str) -> str:
    return hmac.new(KEY, identifier.encode(), hashlib.sha256).hexdigest()[:32]


BUYER = Person(kind="buyer", value_hash=hashed("b1"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A market with two loads of buyers, orders and reviews; read-only."""
    market = Market(tmp_path_factory.mktemp("market"), dict(LINES))
    market.land()
    market.tables |= {"orders": f"{ORDERS} where i > 1", "buyers": f"select *, 'DE' as country from ({BUYERS})"}
    market.tables["reviews"] = f"select * from ({REVIEWS}) where order_id <> 'o1'"
    market.land(days=1)
    return market


@pytest.fixture
def market(made: Market, tmp_path: Path) -> Market:
    """A copy of it to erase from."""
    return copied(made, tmp_path / "market")


@pytest.fixture(scope="module")
def undisturbed(made: Market, tmp_path_factory: pytest.TempPathFactory) -> Market:
    """The market after the buyer was erased."""
    market = copied(made, tmp_path_factory.mktemp("undisturbed") / "market")
    erase(market.landing, CONTRACT, BUYER, REASON)
    return market


def copied(market: Market, folder: Path) -> Market:
    shutil.copytree(market.folder, folder)
    return Market(folder, dict(market.tables))


def without(market: Market, folder: Path) -> Market:
    """The same market, whose source never had the first buyer."""
    left = Market(folder, dict(market.tables))
    own = "(select order_id from ({}) where buyer_id = 'b1')".format(left.tables["orders"])
    left.tables["reviews"] = (
        f"select * from ({left.tables['reviews']}) where coalesce(buyer_id, '') <> 'b1' and order_id not in {own}"
    )
    for name in ("orders", "buyers"):
        left.tables[name] = f"select * from ({left.tables[name]}) where buyer_id <> 'b1'"
    return left


def occurrences(market: Market, digest: str) -> list[str]:
    """Returns the files of the landing zone that contain a digest, in any column."""
    found = []
    for path in sorted(market.landing.rglob("*.parquet")):
        rows = duckdb.execute("select * from read_parquet(?)", [str(path)]).fetchall()
        if any(digest in map(str, row) for row in rows):
            found.append(str(path.relative_to(market.landing)))
    return found


def test_every_hashed_column_belongs_to_a_kind_of_person() -> None:
    named = {column for traces in (*OWN_ROWS.values(), *NAMED_IN.values()) for column in traces}
    hashed_columns = {
        (table, name)
        for table, facts in CONTRACT.tables.items()
        for name, column in facts.columns.items()
        if column.personal == "hash"
    }
    assert hashed_columns - named == {(IDENTIFIERS, "value_hash")}
    assert named <= hashed_columns
    assert set(identifier_kinds(CONTRACT)) < set(kinds(CONTRACT))


def test_a_buyer_is_erased_from_every_load_and_the_rest_is_as_if_landed_without(market: Market, tmp_path: Path) -> None:
    never_there = without(market, tmp_path / "other")
    never_there.land()
    assert len(occurrences(market, BUYER.value_hash)) > 3
    removals = erase(market.landing, CONTRACT, BUYER, REASON)
    assert {line.table for line in removals} == {"buyers", "orders", "reviews"}
    assert occurrences(market, BUYER.value_hash) == []
    for table in ("buyers", "orders", "reviews", "listings"):
        ours, theirs = market.pins().current[table], never_there.pins().current[table]
        assert [load.files for load in ours] == [load.files for load in theirs], table
    assert "r9" not in {row[0] for row in market.rows("reviews")}, "it refers to an order of the buyer"
    verify_loads(market.landing, market.pins())
    assert unread_folders(market.landing, Ledger(market.landing).lines()) == []


def test_the_ledger_records_old_and_new_digests_who_and_why(market: Market) -> None:
    (before,) = market.pins().current["orders"]
    erase(market.landing, CONTRACT, BUYER, REASON)
    (after,) = market.pins().current["orders"]
    (line,) = [line for line in Ledger(market.landing).removals() if line.load_id == before.load_id]
    assert line.files == before.files
    assert line.replacement is not None
    assert line.replacement.files == after.files != before.files
    assert (line.who, line.why, line.removed_rows) == ("an officer", "asked to", before.row_count - after.row_count)
    assert (after.landed_at, after.newest_event_date) == (before.landed_at, before.newest_event_date)


def test_an_erased_person_does_not_land_again(market: Market) -> None:
    erase(market.landing, CONTRACT, BUYER, REASON)
    pins = market.pins()
    assert {record.status for record in market.land(days=2).values()} == {"unchanged"}, (
        "as if the source had erased too"
    )
    assert market.pins() == pins
    market.tables["orders"] = ORDERS
    assert market.land(days=3)["orders"].status == "accepted"
    assert occurrences(market, BUYER.value_hash) == occurrences(market, hashed("o1")) == []


def test_a_row_about_another_entity_is_kept_without_the_person(market: Market) -> None:
    reporter = Person(kind="reporter", value_hash=hashed("r1"))
    (line,) = erase(market.landing, CONTRACT, reporter, REASON)
    assert (line.removed_rows, line.cleared_rows) == (0, 1)
    ((notice, *rest),) = market.rows("notices")
    assert notice == "n1"
    assert reporter.value_hash not in rest
    assert occurrences(market, reporter.value_hash) == []


def test_a_merchant_identifier_is_erased_by_its_kind(tmp_path: Path) -> None:
    market = Market(tmp_path)
    identifiers = (
        "select 'm1' as merchant_id, unnest(['phone', 'email']) as kind, '123' as value_hash, now() as first_seen_at"
    )
    market.tables[IDENTIFIERS] = identifiers
    market.land()
    erase(market.landing, CONTRACT, Person(kind="phone", value_hash=hashed("123")), REASON)
    assert [row[1] for row in market.rows(IDENTIFIERS)] == ["email"]


def test_a_person_in_no_load_is_bad_input(market: Market) -> None:
    with pytest.raises(BadInputError, match="No load holds data of this buyer"):
        erase(market.landing, CONTRACT, Person(kind="buyer", value_hash="0" * 32), REASON)
    assert Ledger(market.landing).removals() == []


@pytest.mark.parametrize(("kind", "digest"), [("cousin", "0" * 32), ("buyer", "b1"), ("buyer", "Z" * 32)])
def test_an_invalid_kind_or_hash_is_bad_input(kind: str, digest: str) -> None:
    with pytest.raises(BadInputError):
        person(CONTRACT, kind, digest)


def test_a_damaged_load_is_not_rewritten(market: Market) -> None:
    (path,) = market.pins().current["orders"][0].paths(market.landing)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VerificationError):
        erase(market.landing, CONTRACT, BUYER, REASON)


PROGRAM = """
import sys
from pathlib import Path
from tests.integration.test_landing_erase import BUYER, CONTRACT, REASON, erase
erase(Path(sys.argv[1]), CONTRACT, BUYER, REASON)
"""


@pytest.mark.parametrize(
    "armed",
    [
        pytest.param("landing.commit:after:kill", marks=pytest.mark.slow),
        pytest.param("erase.ledger:before:kill", marks=pytest.mark.slow),
        "erase.ledger:after:kill",
        pytest.param("erase.ledger:after:kill:3", marks=pytest.mark.slow),
        pytest.param("erase.remove:before:kill", marks=pytest.mark.slow),
        "erase.remove:after:kill:2",
    ],
)
def test_a_killed_erasure_is_completed_by_the_same_command(market: Market, undisturbed: Market, armed: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(market.landing)],
        env=os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: armed},
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    verify_loads(market.landing, market.pins())
    is_begun, is_left = bool(Ledger(market.landing).removals()), not armed.startswith("erase.remove")
    assert bool(unfinished_erasures(market.landing, CONTRACT)) == (is_begun and is_left)
    erase(market.landing, CONTRACT, BUYER, replace(REASON, why="again"))
    assert occurrences(market, BUYER.value_hash) == []
    assert market.pins().digest == undisturbed.pins().digest
    assert unfinished_erasures(market.landing, CONTRACT) == []
    assert unread_folders(market.landing, Ledger(market.landing).lines()) == []
    market.land(days=2)
    assert not list(market.landing.glob("**/.tmp-*"))


def test_removals_are_lines_of_the_same_chain(market: Market) -> None:
    erase(market.landing, CONTRACT, BUYER, REASON)
    lines = Ledger(market.landing).lines()
    assert [isinstance(line, Removal) for line in lines[-3:]] == [True, True, True]
    file = market.landing / "ledger" / "ledger.jsonl"
    file.write_text(file.read_text().replace("an officer", "nobody", 1))
    with pytest.raises(VerificationError, match="chain is broken"):
        Ledger(market.landing).read()


def test_an_identifier_that_was_erased_before_it_was_normalised_does_not_return(tmp_path: Path) -> None:
    """The ledger holds the hash of the identifier as it was written."""
    market = Market(tmp_path)
    market.tables[IDENTIFIERS] = """
        select 'm1' as merchant_id, 'email' as kind, unnest(['Ann@Example.org', 'Bob@Example.org']) as value_hash,
            now() as first_seen_at
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("touchstone.landing.extract.NORMALISED_KINDS", ("phone",))
        market.land()
    erase(market.landing, CONTRACT, Person(kind="email", value_hash=hashed("Ann@Example.org")), REASON)
    market.land(days=1)
    assert [row[2] for row in market.rows(IDENTIFIERS)] == [hashed("bob@example.org")]
