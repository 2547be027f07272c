"""Removes data from a home: old data (`prune`), and a person's rows (`erase`).

Pruning keeps everything that the manifest of a kept version names. Kept versions are those of the last N days before the newest
as-of date (ages count from it, never from the clock), and the version of each list that LATEST names. Published versions
themselves, models, the ledger and every load in use are always kept. For a table with columns of history `loads`, all loads are
in use, because features read from them what was known when. So pruning does not change any result.
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
from touchstone.core.home import AS_OF_PREFIX, REBUILT, Home, ensure_schema, home_lock, parse_as_of
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

# The marts that contain hashed identifiers of persons.
MARTS_WITH_PERSONS = ("brushed_orders", "brushing_services", "rule_findings", "rule_buyers", "reporters", "notices")
BY_DATE = ("features", "training", "scores", "shadow", "reasons", "marts")


@dataclass(frozen=True)
class ExpiredItem:
    """Something that is too old to be kept.

    Attributes:
        kind: What it is.
        path: The file or folder.
        size: Its bytes.
        load: The load, if it is one.
    """

    kind: str
    path: Path
    size: int
    load: LoadRecord | None = None


@dataclass(frozen=True)
class Kept:
    """What pruning keeps.

    Attributes:
        newest: The newest as-of date; None in a home that never published or rated.
        oldest: The oldest as-of date to keep, except for dates of kept versions.
        loads: Table and id of the loads that kept versions name.
        dates: The as-of dates of kept versions.
        run_ids: The runs that published kept versions.
    """

    newest: date | None
    oldest: date
    loads: frozenset[tuple[str, str]]
    dates: frozenset[date]
    run_ids: frozenset[str]


@dataclass(frozen=True)
class Pruning:
    """The plan or the result of pruning.

    Attributes:
        expired: The items to remove.
        history_tables: Tables whose earlier loads are kept as history.
        history_bytes: Bytes of these loads.
    """

    expired: list[ExpiredItem]
    history_tables: list[str]
    history_bytes: int

    def totals(self) -> Mapping[str, tuple[int, int]]:
        """Returns the number of expired items and their bytes by kind."""
        counts = Counter(item.kind for item in self.expired)
        return {
            kind: (count, sum(item.size for item in self.expired if item.kind == kind))
            for kind, count in sorted(counts.items())
        }


def prune(settings: Settings, keep_days: int, *, dry_run: bool = False) -> Pruning:
    """Removes old data that no kept version names. The results of later runs do not change.

    A load's removal is written to the ledger before its files are removed: after a kill in between, the next pruning or landing
    removes the files.

    Args:
        settings: The settings.
        keep_days: How many days to keep, up to and including the newest as-of date.
        dry_run: Whether only to return the plan.

    Returns:
        What was, or would be, removed.

    Raises:
        BadInputError: `keep_days` is less than 1, or there is no home.
        VerificationError: A history or the ledger is damaged; nothing is removed.
    """
    home = settings.home
    if keep_days < 1:
        raise BadInputError(f"--keep-days {keep_days}: the newest day is always kept. Use 1 or more.")
    _refuse_absent(home)
    if dry_run:
        return _plan(home, load_contract(), keep_days)
    ensure_schema(settings)
    with home_lock(settings, "touchstone prune"):
        for folder in REBUILT:
            remove_temporaries(home / folder)
        plan = _plan(home, load_contract(), keep_days)
        ledger = Ledger(Home(home).landing)
        for item in plan.expired:
            if item.load is not None:
                with failpoint("prune.ledger", ledger.log.path):
                    ledger.append(_pruned(item.load, keep_days))
            with failpoint("prune.remove", item.path):
                discard(item.path)
    return plan


def erase(settings: Settings, kind: str, value_hash: str, *, who: str, why: str) -> list[Removal]:
    """Removes a person's rows from every load, and all derived data that may contain them.

    The derived data are the warehouse, the rows of trainings and backtests, and the marts with persons; they are rebuilt on
    demand. Features, scores, other marts, models, reports, published lists and leads contain no identifiers of persons.

    Args:
        settings: The settings.
        kind: The kind of the person's identifier.
        value_hash: The identifier's hash, as it landed.
        who: Who runs the command.
        why: The reason, for the ledger.

    Returns:
        The ledger's removals for the person.

    Raises:
        BadInputError: There is no such kind or home, the value is not a hash, or no load holds data of the person.
        VerificationError: The ledger is damaged, or a load does not match it.
    """
    contract = load_contract()
    erased = person(contract, kind, value_hash)
    _refuse_absent(settings.home)
    if not who.strip() or not why.strip():
        raise BadInputError("The ledger records who erases a person and why; one of the two is empty.")
    ensure_schema(settings)
    with home_lock(settings, "touchstone erase"):
        # First, so that as long as anything is left to do after a kill, the ledger shows it.
        for name in (
            "warehouse.duckdb",
            "warehouse.duckdb.wal",
            "warehouse.duckdb.tmp",
            "pinned",
            "training",
            "backtests",
            *(f"marts/{mart}" for mart in MARTS_WITH_PERSONS),
        ):
            discard(settings.home / name)
        reason = Reason(who, why, datetime.now(UTC))
        return erase_loads(Home(settings.home).landing, contract, erased, reason, limits=Limits.from_settings(settings))


def _refuse_absent(home: Path) -> None:
    if not home.is_dir():
        raise BadInputError(f"There is no home at {home}. Set TOUCHSTONE_HOME.")


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
    landing = Home(home).landing
    ledger = Ledger(landing)
    lines = ledger.lines()
    records = ledger.read()
    pins = pinned_loads(records, contract)
    kept = _kept(home, keep_days)
    expired = [
        *_old_loads(landing, records, pins, kept, keep_days),
        *_unnamed(home, lines),
        *_old_dates(home, kept),
        *_old_candidates(Home(home).candidates, kept),
        *_old_records(Home(home).runs, kept, keep_days),
    ]
    history = {
        (table, load.load_id): load
        for table, loads in pins.by_table.items()
        for load in loads
        if load not in pins.current[table]
    }
    size = sum(size_of(path) for load in history.values() for path in load.paths(landing))
    return Pruning(expired, sorted({table for table, _ in history}), size)


def _kept(home: Path, keep_days: int) -> Kept:
    published = Home(home).published
    histories: list[tuple[ListStore, list[Publication]]] = []
    for folder in sorted(published.iterdir()) if published.is_dir() else []:
        store = ListStore(published, folder.name)
        histories.append((store, store.history()))
    dates = [version_date(line.version) for _, history in histories for line in history]
    dates = dates or [day for name in BY_DATE for path in (home / name).glob("*/as_of=*") if (day := parse_as_of(path))]
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
) -> Iterator[ExpiredItem]:
    """Yields loads that are not in use, not named by a kept version, and not needed by gates for comparison."""
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
            yield ExpiredItem("loads", folder, size_of(folder), load)


def _unnamed(home: Path, lines: Sequence[LoadRecord | Removal]) -> Iterator[ExpiredItem]:
    """Yields folders of loads that the ledger does not name, left by kills, unless a manifest names them."""
    named = {
        (table, load_id)
        for manifest in manifests(Home(home).published)
        for table, load_ids in manifest.inputs.loads.tables.items()
        for load_id in load_ids
    }
    landing = Home(home).landing
    for folder in unread_folders(landing, lines) if lines else []:
        if (folder.parent.name, folder.name) not in named or folder in removed_folders(landing, lines):
            yield ExpiredItem("unused files of loads", folder, size_of(folder))


def _old_dates(home: Path, kept: Kept) -> Iterator[ExpiredItem]:
    folders = [(name, path) for name in BY_DATE for path in sorted((home / name).glob(f"*/{AS_OF_PREFIX}*"))]
    folders += [("gates", path) for path in sorted(Home(home).all_gates.glob("*"))]
    # The newest leads stay, however old: the next leads keep their identity by them.
    folders += [("leads", path) for path in sorted(Home(home).all_leads.glob(f"{AS_OF_PREFIX}*"))[:-1]]
    for kind, path in folders:
        day = parse_as_of(path)
        if day is not None and day < kept.oldest and day not in kept.dates:
            yield ExpiredItem(kind, path, size_of(path))


def _old_candidates(candidates: Path, kept: Kept) -> Iterator[ExpiredItem]:
    """Yields candidates of old dates; the pointers to the newest candidate of a date before the candidates."""
    for pointer in sorted(candidates.glob(f"*/{AS_OF_PREFIX}*.json")):
        day = parse_as_of(pointer)
        if day is not None and day < kept.oldest and day not in kept.dates:
            yield ExpiredItem("candidates", pointer, size_of(pointer))
    for manifest in sorted(candidates.glob("*/*/manifest.json")):
        day = date.fromisoformat(json.loads(manifest.read_bytes())["as_of"])
        if day < kept.oldest and day not in kept.dates:
            yield ExpiredItem("candidates", manifest.parent, size_of(manifest.parent))


def _old_records(runs: Path, kept: Kept, keep_days: int) -> Iterator[ExpiredItem]:
    """Yields records of runs that started more than `keep_days` days before the newest one."""
    records = RunRecord.read_all(runs)
    if not records:
        return
    young = datetime.fromisoformat(records[-1].started_at) - timedelta(days=keep_days)
    for record in records:
        is_old = datetime.fromisoformat(record.started_at) < young and record.outcome != "running"
        if is_old and record.run_id not in kept.run_ids:
            yield ExpiredItem("run records", record.path, size_of(record.path))
