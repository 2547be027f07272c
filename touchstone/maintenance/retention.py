"""What goes from a home on command: what is too old (`prune`), and a person's rows (`erase`).

Pruning keeps all that the manifest of a kept version names. Kept are the versions as of the last N days, counted back from
the newest as_of (ages count from as_of, never from the clock), and of each list the one that LATEST names. Published
versions themselves always stay, and so do models, the ledger and every load that counts now: of a table whose columns have
history `loads` these are all its loads, for features read from them what was known when. So pruning changes no result.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from expectations.contract import Contract, load_contract
from touchstone.core.errors import BadInputError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import discard, remove_temporaries, size_of
from touchstone.core.home import REBUILT, ensure_schema, home_lock
from touchstone.core.run_record import RunRecord
from touchstone.core.settings import Settings
from touchstone.landing.erase import Reason
from touchstone.landing.erase import erase as erase_loads
from touchstone.landing.ledger import (
    Ledger,
    LoadRecord,
    PinnedLoads,
    Removal,
    pinned_loads,
    removed_folders,
    unread_folders,
)
from touchstone.landing.persons import person
from touchstone.landing.sql import Limits
from touchstone.maintenance.verification import manifests
from touchstone.publishing.history import ListStore, Publication, latest_version
from touchstone.publishing.manifest import version_date

AS_OF = "as_of="
# The marts in which persons are named, by their hashes.
OF_PERSONS = ("brushed_orders", "brushing_services", "rule_findings", "reporters", "notices")
BY_DATE = ("features", "training", "scores", "shadow", "reasons", "marts")


@dataclass(frozen=True)
class Doomed:
    """Something that is too old: what it is, where, its bytes, and the load that it is, if it is one."""

    kind: str
    path: Path
    size: int
    load: LoadRecord | None = None


@dataclass(frozen=True)
class Kept:
    """What must not go.

    Attributes:
        newest: The newest as_of; None in a home that never published or rated.
        oldest: What is as of an earlier date, and not named by a kept version, goes.
        loads: Table and id of the loads that kept versions name.
        dates: The as_of dates of kept versions.
        run_ids: The runs that published kept versions.
    """

    newest: date | None
    oldest: date
    loads: frozenset[tuple[str, str]]
    dates: frozenset[date]
    run_ids: frozenset[str]


@dataclass(frozen=True)
class Pruning:
    """What goes, and what of the loads stays only as history."""

    doomed: list[Doomed]
    history_tables: list[str]
    history_bytes: int

    def totals(self) -> Mapping[str, tuple[int, int]]:
        """Returns how many things of each kind go, and their bytes."""
        counts = Counter(item.kind for item in self.doomed)
        return {
            kind: (count, sum(item.size for item in self.doomed if item.kind == kind))
            for kind, count in sorted(counts.items())
        }


def prune(settings: Settings, keep_days: int, *, dry_run: bool = False) -> Pruning:
    """Removes what is older than some days and no kept version names; the next run gives what it would have given.

    A load's line in the ledger comes before its files go: after a kill in between, the next pruning or landing finds
    files that the ledger calls pruned, and removes them.

    Args:
        settings: The settings.
        keep_days: How many days, the newest as_of the last of them, are kept.
        dry_run: Whether only to say what would go.

    Raises:
        BadInputError: `keep_days` is less than 1, or there is no home.
        VerificationError: History or ledger are damaged: nothing is removed then.
    """
    home = settings.home
    if keep_days < 1:
        raise BadInputError(f"--keep-days {keep_days}: at least the newest day is kept. Give 1 or more.")
    _refuse_absent(home)
    if dry_run:
        return _plan(home, load_contract(), keep_days)
    ensure_schema(settings)
    with home_lock(settings, "touchstone prune"):
        for folder in REBUILT:
            remove_temporaries(home / folder)
        plan = _plan(home, load_contract(), keep_days)
        ledger = Ledger(home / "landing")
        for item in plan.doomed:
            if item.load is not None:
                with failpoint("prune.ledger", ledger.log.path):
                    ledger.append(_pruned(item.load, keep_days))
            with failpoint("prune.remove", item.path):
                discard(item.path)
    return plan


def erase(settings: Settings, kind: str, value_hash: str, *, who: str, why: str) -> list[Removal]:
    """Removes a person's rows from every load, and with them everything else in the home that could hold some.

    That is the warehouse, the rows of trainings and backtests, and the marts that name persons, which are made anew when asked
    for. Features, scores, other marts, models, reports, published lists and leads hold no identifiers of persons.

    Args:
        settings: The settings.
        kind: What kind of identifier names the person.
        value_hash: The identifier's hash, as it landed.
        who: Who gives the command.
        why: Why.

    Returns:
        The ledger's lines about the person.

    Raises:
        BadInputError: There is no such kind or home, the hash is none, or no load knows the person.
        VerificationError: The ledger is damaged, or a load is not what it says.
    """
    contract = load_contract()
    whose = person(contract, kind, value_hash)
    _refuse_absent(settings.home)
    if not who.strip() or not why.strip():
        raise BadInputError("The ledger needs to say who has a person erased and why; one of the two is empty.")
    ensure_schema(settings)
    with home_lock(settings, "touchstone erase"):
        # First, so that a command that was killed leaves a trace in the ledger as long as anything is left to do.
        for name in (
            "warehouse.duckdb",
            "warehouse.duckdb.wal",
            "warehouse.duckdb.tmp",
            "pinned",
            "training",
            "backtests",
            *(f"marts/{mart}" for mart in OF_PERSONS),
        ):
            discard(settings.home / name)
        reason = Reason(who, why, datetime.now(UTC))
        return erase_loads(settings.home / "landing", contract, whose, reason, limits=Limits.from_settings(settings))


def _refuse_absent(home: Path) -> None:
    if not home.is_dir():
        raise BadInputError(f"There is no home at {home}. Name yours with TOUCHSTONE_HOME.")


def _pruned(load: LoadRecord, keep_days: int) -> Removal:
    return Removal(
        status="pruned",
        table=load.table,
        load_id=str(load.load_id),
        files=load.files,
        who="touchstone prune",
        why=f"older than {keep_days} days, and no kept version names it",
        at=datetime.now(UTC),
    )


def _plan(home: Path, contract: Contract, keep_days: int) -> Pruning:
    landing = home / "landing"
    ledger = Ledger(landing)
    lines = ledger.lines()
    records = ledger.read()
    pins = pinned_loads(records, contract)
    kept = _kept(home, keep_days)
    doomed = [
        *_old_loads(landing, records, pins, kept, keep_days),
        *_unnamed(home, lines),
        *_old_dates(home, kept),
        *_old_candidates(home / "candidates", kept),
        *_old_records(home / "runs", kept, keep_days),
    ]
    history = {
        (table, load.load_id): load
        for table, loads in pins.by_table.items()
        for load in loads
        if load not in pins.current[table]
    }
    size = sum(size_of(path) for load in history.values() for path in load.paths(landing))
    return Pruning(doomed, sorted({table for table, _ in history}), size)


def _kept(home: Path, keep_days: int) -> Kept:
    published = home / "published"
    histories: list[tuple[ListStore, list[Publication]]] = []
    for folder in sorted(published.iterdir()) if published.is_dir() else []:
        store = ListStore(published, folder.name)
        histories.append((store, store.history()))
    dates = [version_date(line.version) for _, history in histories for line in history]
    dates = dates or [day for name in BY_DATE for path in (home / name).glob("*/as_of=*") if (day := _day(path))]
    newest = max(dates, default=None)
    oldest = newest - timedelta(days=keep_days - 1) if newest else date.min
    loads: set[tuple[str, str]] = set()
    kept_dates: set[date] = set()
    run_ids: set[str] = set()
    for store, history in histories:
        latest = latest_version(history)
        for line in history:
            if version_date(line.version) < oldest and line.version != latest:
                continue
            tables = store.manifest(line.version).inputs.loads.tables
            loads |= {(table, load_id) for table, load_ids in tables.items() for load_id in load_ids}
            kept_dates.add(version_date(line.version))
            receipt = json.loads((store.version_directory(line.version) / line.receipt).read_bytes())
            run_ids.add(str(receipt["run"].get("run_id")))
    return Kept(newest, oldest, frozenset(loads), frozenset(kept_dates), frozenset(run_ids))


def _old_loads(
    landing: Path, records: list[LoadRecord], pins: PinnedLoads, kept: Kept, keep_days: int
) -> Iterator[Doomed]:
    """Yields the loads that count no more, that no kept version names, and with which no gate compares the next one."""
    accepted = [record for record in records if record.status == "accepted"]
    if not accepted:
        return
    young = max(record.landed_at for record in records) - timedelta(days=keep_days)
    stays = kept.loads | {(table, load.load_id) for table, loads in pins.by_table.items() for load in loads}
    stays |= {(record.table, record.load_id) for record in accepted if record.landed_at >= young}
    for table in {record.table for record in accepted}:
        full = [record for record in accepted if record.table == table and record.mode == "full"]
        stays |= {(table, record.load_id) for record in full[-2:]}
    for key, load in {(record.table, record.load_id): record for record in accepted}.items():
        if key not in stays:
            folder = landing / load.table / str(load.load_id)
            yield Doomed("loads", folder, size_of(folder), load)


def _unnamed(home: Path, lines: Sequence[LoadRecord | Removal]) -> Iterator[Doomed]:
    """Yields folders of loads that were never entered, left by kills; none that a manifest names, and none without a ledger."""
    named = {
        (table, i)
        for found in manifests(home / "published")
        for table, ids in found.inputs.loads.tables.items()
        for i in ids
    }
    for folder in unread_folders(home / "landing", lines) if lines else []:
        if (folder.parent.name, folder.name) not in named or folder in removed_folders(home / "landing", lines):
            yield Doomed("files that no load needs", folder, size_of(folder))


def _old_dates(home: Path, kept: Kept) -> Iterator[Doomed]:
    folders = [(name, path) for name in BY_DATE for path in sorted((home / name).glob(f"*/{AS_OF}*"))]
    folders += [("gates", path) for path in sorted((home / "gates").glob("*"))]
    # The newest leads stay, however old: the next ones are the same by them.
    folders += [("leads", path) for path in sorted((home / "leads").glob(f"{AS_OF}*"))[:-1]]
    for kind, path in folders:
        day = _day(path)
        if day is not None and day < kept.oldest and day not in kept.dates:
            yield Doomed(kind, path, size_of(path))


def _old_candidates(candidates: Path, kept: Kept) -> Iterator[Doomed]:
    """Yields candidates of old dates; the files that say which was built last for a date come before what they name."""
    for pointer in sorted(candidates.glob(f"*/{AS_OF}*.json")):
        day = _day(pointer)
        if day is not None and day < kept.oldest and day not in kept.dates:
            yield Doomed("candidates", pointer, size_of(pointer))
    for manifest in sorted(candidates.glob("*/*/manifest.json")):
        day = date.fromisoformat(json.loads(manifest.read_bytes())["as_of"])
        if day < kept.oldest and day not in kept.dates:
            yield Doomed("candidates", manifest.parent, size_of(manifest.parent))


def _old_records(runs: Path, kept: Kept, keep_days: int) -> Iterator[Doomed]:
    """Yields records of runs that ended more than some days before the newest run began."""
    records = RunRecord.read_all(runs)
    if not records:
        return
    young = datetime.fromisoformat(records[-1].started_at) - timedelta(days=keep_days)
    for record in records:
        is_old = datetime.fromisoformat(record.started_at) < young and record.outcome != "running"
        if is_old and record.run_id not in kept.run_ids:
            yield Doomed("records of runs", record.path, size_of(record.path))


def _day(path: Path) -> date | None:
    """Returns the date in the name of a folder or file, or None where it holds none."""
    try:
        return date.fromisoformat(path.name.removeprefix(AS_OF).removesuffix(".json"))
    except ValueError:
        return None
