"""How rows get in: `check` reports on a sources file, `land` brings its tables in, `record` takes rows that a command gives.

A table that was pulled and passed every check is written, synced, renamed and entered in the ledger, in this order. A
load is one Parquet file, sorted by time and key, in a folder that is named by its content; the ledger's line
makes it count. A kill at any moment leaves at most a folder that no line names. Reading the landing zone is `views`.

What was recorded stays when the source's next full load comes: those of its rows whose keys the source does not have are
carried over, as a load after it.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from expectations.contract import Contract
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.failpoints import failpoint
from touchstone.core.files import (
    TEMPORARY_PREFIX,
    canonical_json,
    discard,
    replacing_directory,
    sha256_bytes,
    sha256_file,
    sync_directory,
)
from touchstone.core.text import shorten, visible
from touchstone.landing.checks import TableReport, correct_at, refusal
from touchstone.landing.connectors import CsvConnector, ParquetConnector
from touchstone.landing.extract import Pulled, Puller, Since, check_mapping, landing_order, open_puller, place_of
from touchstone.landing.ledger import (
    Ledger,
    LoadedFile,
    LoadRecord,
    Mode,
    Person,
    PinnedLoads,
    pinned_loads,
    removed_folders,
    verify_loads,
)
from touchstone.landing.persons import erased_persons
from touchstone.landing.sources import Sources, TableSource
from touchstone.landing.sql import Hmac, Limits, literal, parquet, quoted

RECORDABLE = ("test_buys", "moderation_decisions", "appeals", "lead_hand_overs", "cases", "suppressions")
"""The tables whose rows people give by command."""

ENTITIES = {
    "listing": ("listings", "listing_id"),
    "merchant": ("merchants", "merchant_id"),
    "review": ("reviews", "review_id"),
    "order": ("orders", "order_id"),
}
"""Where each kind of entity is, and the column that names it."""

GIVEN = "given"
"""The only input of what is recorded."""

LOAD_ID_DIGITS = 24
FILE_NAME = "part-0.parquet"
PARQUET_OPTIONS = "format parquet, compression zstd, compression_level 1, row_group_size 122880"
"""With a total order, these give the same bytes at any number of threads (DuckDB's version is in them, too)."""


def check(sources: Sources, contract: Contract, *, hmac_key: bytes, limits: Limits | None = None) -> list[TableReport]:
    """Pulls every table and reports what the contract says about it, without landing anything.

    Args:
        sources: The sources file.
        contract: The contract.
        hmac_key: Key under which personal identifiers are hashed.
        limits: Threads and memory for DuckDB.

    Returns:
        One report a table, in landing order.

    Raises:
        BadInputError: The file maps a table or a column that the contract does not have, or lacks a required table.
    """
    check_mapping(sources, contract)
    reports = []
    with tempfile.TemporaryDirectory(prefix="touchstone-check-") as folder:
        work = Path(folder).resolve()
        with open_puller(
            sources, contract, Hmac(hmac_key), work, work, limits or Limits(), now=datetime.now(UTC)
        ) as puller:
            parents: dict[str, str] = {}
            for name in landing_order(sources, contract):
                pulled = puller.pull(name, None, parents)
                if pulled.rows and not pulled.violations:
                    parents[name] = pulled.rows
                reports.append(_report(sources, name, pulled))
    return reports


def _report(sources: Sources, name: str, pulled: Pulled) -> TableReport:
    message = f"{name}: {format_count(pulled.row_count, 'row')} would land"
    if pulled.absent_columns:
        message += f"; the source does not have {', '.join(pulled.absent_columns)}, which stay empty"
    if pulled.violations:
        message = refusal(name, pulled.violations, correct_at(place_of(sources, name)))
    source = sources.origin_of(name)
    return TableReport(name, pulled.row_count, pulled.absent_columns, pulled.violations, source, message)


def land(
    sources: Sources,
    contract: Contract,
    landing: Path,
    *,
    hmac_key: bytes,
    now: datetime,
    limits: Limits | None = None,
) -> list[LoadRecord]:
    """Pulls every table of a sources file into the landing zone; one writer at a time.

    Args:
        sources: The sources file.
        contract: The contract.
        landing: The landing zone; made if absent.
        hmac_key: Key under which personal identifiers are hashed.
        now: The time that the loads bear, with a zone.
        limits: Threads and memory for DuckDB; the loads do not depend on it.

    Returns:
        One ledger line a table, in landing order. A refused load is a line too: `loads_in_use` says whether an earlier
        load can stand in.

    Raises:
        BadInputError: The file maps a table or a column that the contract does not have, or lacks a required table.
        VerificationError: The ledger is damaged, or a load that counts is not what it says.
    """
    check_mapping(sources, contract)
    landing.mkdir(parents=True, exist_ok=True)
    folder = landing.resolve()
    _sweep(folder)
    work = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    try:
        erased = _verified(folder, contract)
        hmac = Hmac(hmac_key)
        with open_puller(sources, contract, hmac, folder, work, limits or Limits(), now=now, erased=erased) as puller:
            lander = _Lander(puller, folder, work, now.astimezone(UTC))
            return [lander.land(name) for name in landing_order(sources, contract)]
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True)
class Recorded:
    """What came of rows that were given by command.

    Attributes:
        table: The contract's table.
        load: The load that they make; None where all of them stood there already.
        given: Rows that were given.
        new: Those with a key that was not there.
        changed: Those that take the place of others.
    """

    table: str
    load: LoadRecord | None
    given: int
    new: int
    changed: int


def record(
    table: str,
    file: Path,
    contract: Contract,
    landing: Path,
    *,
    hmac_key: bytes,
    now: datetime,
    told: str | None = None,
    is_dry: bool = False,
    limits: Limits | None = None,
) -> Recorded:
    """Takes the rows of a file into a table, whole or not at all, by the checks that every load passes; one writer at a time.

    A row takes the place of an earlier one with the same key. Given the same again, nothing lands.

    Args:
        table: A table of `RECORDABLE`.
        file: CSV or, by its ending, Parquet, with the contract's columns.
        contract: The contract.
        landing: The landing zone; made if absent.
        hmac_key: Key under which personal identifiers are hashed.
        now: The time that the load bears, with a zone.
        told: What messages and the ledger call the file, if not by its name.
        is_dry: Whether only to check and count.
        limits: Threads and memory for DuckDB; the load does not depend on it.

    Raises:
        BadInputError: The rows break the contract, or the file cannot be read.
        VerificationError: The ledger is damaged, or a load that counts is not what it says.
    """
    landing.mkdir(parents=True, exist_ok=True)
    folder = landing.resolve()
    _sweep(folder)
    work = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    sources = _sources_of(table, file)
    try:
        erased = _verified(folder, contract)
        hmac = Hmac(hmac_key)
        with open_puller(sources, contract, hmac, folder, work, limits or Limits(), now=now, erased=erased) as puller:
            return _Lander(puller, folder, work, now.astimezone(UTC)).record(table, told or file.name, is_dry=is_dry)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _verified(landing: Path, contract: Contract) -> list[Person]:
    """Verifies the loads that count, against which new rows are checked; returns whose rows do not land any more."""
    ledger = Ledger(landing)
    verify_loads(landing, pinned_loads(ledger.read(), contract))
    return erased_persons(ledger.removals())


def _sources_of(table: str, file: Path) -> Sources:
    """Returns a file of rows as the only source of a table."""
    path = str(file.absolute())
    is_parquet = file.suffix == ".parquet"
    connector = (
        ParquetConnector(connector="parquet", path=path) if is_parquet else CsvConnector(connector="csv", path=path)
    )
    return Sources(
        path=file,
        name=GIVEN,
        identifiers="personal",
        inputs={GIVEN: connector},
        origins={},
        views={},
        tables={table: TableSource(input=GIVEN)},
        pictures=None,
        masked=(),
    )


def load_id_of(table: str, sha256: str) -> str:
    """Returns the id of a load: what its file holds, and of which table."""
    return sha256_bytes(f"{table}\0{sha256}".encode())[:LOAD_ID_DIGITS]


def place(written: Path, folder: Path, digest: str) -> None:
    """Moves a load's file to the load's folder, unless the same bytes are there already."""
    final = folder / FILE_NAME
    if final.is_file() and sha256_file(final) == digest:
        return
    with failpoint("landing.commit", folder), replacing_directory(folder) as temporary:
        written.rename(temporary / FILE_NAME)
    sync_directory(folder.parent.parent)


def _sweep(landing: Path) -> None:
    """Removes what was left in the middle of their work by landings, prunings and erasures that were killed."""
    for pattern in (f"{TEMPORARY_PREFIX}*", f"*/{TEMPORARY_PREFIX}*"):
        for left in landing.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)
    for folder in removed_folders(landing, Ledger(landing).lines()):
        discard(folder)


@dataclass(frozen=True)
class _Plan:
    """How a table is pulled this time, given what has landed."""

    recipe: str
    last: LoadRecord | None
    since: Since | None


class _Lander:
    """Lands the tables of one sources file, one after the other."""

    def __init__(self, puller: Puller, landing: Path, work: Path, landed_at: datetime) -> None:
        self.puller = puller
        self.landing = landing
        self.work = work
        self.landed_at = landed_at
        self.ledger = Ledger(landing)
        self.records = self.ledger.read()

    def land(self, name: str) -> LoadRecord:
        """Pulls one table, and lands or refuses it; either way the ledger gets a line."""
        pins = pinned_loads(self.records, self.puller.contract)
        plan = self._plan(name, pins)
        parents = {table: self._rows(loads) for table, loads in pins.current.items()}
        pulled = self.puller.pull(name, plan.since, parents)
        record = self._refused(name, plan, pulled) if pulled.violations else self._landed(name, plan, pulled, pins)
        self.puller.drop(pulled)
        self._enter(record)
        self._carry_over(name)
        return record

    def record(self, name: str, told: str, *, is_dry: bool) -> Recorded:
        """Checks rows that were given, and lands those that are new or differ from what is there."""
        self._carry_over(name)
        pins = pinned_loads(self.records, self.puller.contract)
        parents = {table: self._rows(loads) for table, loads in pins.current.items()}
        pulled = self.puller.pull(name, None, parents)
        if pulled.violations:
            what_to_do = "Correct these rows and give the whole file again."
            raise BadInputError(f"{visible(told)}: {refusal(name, pulled.violations, what_to_do)}")
        self._refuse_unknown(name, pulled.rows, parents, told)
        rows, new, changed = self._news(name, pulled.rows, pins.current.get(name, ()))
        if is_dry or not new + changed:
            return Recorded(name, None, pulled.row_count, new, changed)
        mode: Mode = "incremental" if name in pins.current else "full"
        load = self._recorded(name, rows, mode, f"{GIVEN}: {told}", f"{new:,} new rows, {changed:,} in place of others")
        return Recorded(name, load, pulled.row_count, new, changed)

    def _refuse_unknown(self, name: str, rows: str, parents: Mapping[str, str], told: str) -> None:
        """Refuses rows about an entity that the marketplace does not have, which in a command is a slip of the pen.

        Raises:
            BadInputError: There are some; names up to three.
        """
        if "entity_kind" not in self.puller.contract.tables[name].columns:
            return
        unknown = []
        for kind, (table, key) in ENTITIES.items():
            known = f"anti join {parents[table]} as known on known.{key} = entity_id" if table in parents else ""
            query = f"select distinct entity_id from {rows} {known} where entity_kind = $kind order by all limit 3"
            unknown += [
                f"{kind} {shorten(row[0])}" for row in self.puller.connection.execute(query, {"kind": kind}).fetchall()
            ]
        if unknown:
            raise BadInputError(
                f"{visible(told)}: {name}: nothing of it landed, for the marketplace has no {', no '.join(unknown)}. Correct "
                "`entity_kind` and `entity_id`, which are the platform's ids, and give the whole file again."
            )

    def _news(self, name: str, rows: str, current: Sequence[LoadRecord]) -> tuple[str, int, int]:
        """Returns SQL for the rows that say something new, and how many have a new key and how many another's.

        What only the source has said so far is news, too: it has to stay when the source says it no more.
        """
        table = self.puller.contract.tables[name]
        columns, key = (", ".join(map(quoted, names)) for names in (table.columns, table.key))
        recorded = [load for load in current if load.is_recorded]
        present, known = (f"(select {columns} from {self._present(name, loads)})" for loads in (current, recorded))
        told = f"(select {columns} from {rows} except (from {present} intersect from {known}))"
        counts = (
            f"select (select count(*) from {told}), (select count(*) from {told} semi join {present} using ({key}))"
        )
        total, changed = self.puller.connection.execute(counts).fetchall()[0]
        return told, total - changed, changed

    def _present(self, name: str, loads: Sequence[LoadRecord]) -> str:
        """Returns SQL for the newest row of each key in some loads, oldest load first; a column that one lacks is null there."""
        table = self.puller.contract.tables[name]
        key = ", ".join(map(quoted, table.key))
        empty = ", ".join(f"cast(null as {column.sql_type}) as {quoted(at)}" for at, column in table.columns.items())
        numbered = [f"select *, {place} as load_place from {self._rows([load])}" for place, load in enumerate(loads)]
        every = " union all by name ".join([f"(select {empty}, 0 as load_place where false)", *numbered])
        newest = f"qualify row_number() over (partition by {key} order by load_place desc) = 1"
        return f"(select * exclude (load_place) from ({every}) {newest})"

    def _carry_over(self, name: str) -> None:
        """Lands again what was recorded before the newest full load, unless the source has it now.

        A kill between the two lines leaves the second to the next landing: until then the table is as the source has it.
        """
        recorded = [load for load in self.records if load.table == name and load.is_recorded]
        current = pinned_loads(self.records, self.puller.contract).current.get(name, ())
        if not recorded or any(load.is_recorded for load in current):
            return
        key = ", ".join(map(quoted, self.puller.contract.tables[name].key))
        rows = f"(select * from {self._present(name, recorded)} anti join {self._rows(current)} using ({key}))"
        if self.puller.connection.execute(f"select 1 from {rows} limit 1").fetchone():
            self._recorded(name, rows, "incremental", f"{GIVEN}: carried over", "what was recorded before stays")

    def _recorded(self, name: str, rows: str, mode: Mode, source: str, message: str) -> LoadRecord:
        """Writes, places and enters a load of rows that were given by command."""
        written = self._write(name, rows)
        digest = sha256_file(written)
        load_id = load_id_of(name, digest)
        counted = self.puller.connection.execute(f"select count(*) from {parquet([written])}").fetchall()[0][0]
        place(written, self.landing / name / load_id, digest)
        record = LoadRecord(
            table=name,
            load_id=load_id,
            status="accepted",
            mode=mode,
            is_recorded=True,
            row_count=counted,
            files=(LoadedFile(name=FILE_NAME, sha256=digest, rows=counted),),
            source=source,
            recipe=self.puller.contract.tables[name].digest(),
            newest_event_date=self._newest_event_date(name, rows),
            landed_at=self.landed_at,
            message=message,
        )
        self._enter(record)
        return record

    def _enter(self, record: LoadRecord) -> None:
        with failpoint("landing.ledger", self.ledger.log.path):
            self.ledger.append(record)
        self.records.append(record)

    def _rows(self, loads: Sequence[LoadRecord]) -> str:
        return parquet(path for load in loads for path in load.paths(self.landing))

    def _plan(self, name: str, pins: PinnedLoads) -> _Plan:
        """Decides between a whole pull and one of what is new since the last.

        A whole one it is the first time, and whenever what shapes the rows has changed: rows that were hashed under
        another key, or made by another expression, do not belong beside new ones.
        """
        source, contract = self.puller.sources.tables[name], self.puller.contract
        views = canonical_json(self.puller.sources.views)
        made_by = {
            "source": source.digest(),
            "views": sha256_bytes(views),
            "table": contract.tables[name].digest(),
            "key": self.puller.hmac.key_id,
        }
        if masks := self.puller.masks(name):
            made_by["masks"] = sha256_bytes(canonical_json(masks))
        recipe = sha256_bytes(canonical_json(made_by))
        tried = (load for load in self.records if load.table == name and not load.is_recorded)
        seen = [load for load in tried if load.status != "refused"]
        last = seen[-1] if seen else None
        reads_on = source.cursor or source.changed_at
        if not reads_on or last is None or last.recipe != recipe or last.cursor_value is None:
            return _Plan(recipe, last, None)
        loads = tuple(self._rows([load]) for load in pins.pulled(name))
        return _Plan(recipe, last, Since(last.cursor_value, loads))

    def _record(self, name: str, plan: _Plan, pulled: Pulled, **facts: object) -> LoadRecord:
        known: dict[str, object] = {
            "table": name,
            "mode": "incremental" if plan.since else "full",
            "row_count": pulled.row_count,
            "source_rows": pulled.source_rows,
            "source": self.puller.sources.origin_of(name),
            "recipe": plan.recipe,
            "landed_at": self.landed_at,
        }
        return LoadRecord.model_validate(known | facts)

    def _refused(self, name: str, plan: _Plan, pulled: Pulled) -> LoadRecord:
        message = refusal(name, pulled.violations, correct_at(place_of(self.puller.sources, name)))
        return self._record(name, plan, pulled, load_id=None, status="refused", message=message)

    def _landed(self, name: str, plan: _Plan, pulled: Pulled, pins: PinnedLoads) -> LoadRecord:
        cursor_value = pulled.cursor_value or (plan.last.cursor_value if plan.last and plan.since else None)
        if plan.since and plan.last and not pulled.row_count:
            return self._unchanged(name, plan, pulled, plan.last, cursor_value)
        written = self._write(name, pulled.rows)
        digest = sha256_file(written)
        load_id = load_id_of(name, digest)
        current = pins.pulled(name)
        if not plan.since and [load.load_id for load in current] == [load_id]:
            return self._unchanged(name, plan, pulled, current[0], cursor_value)
        place(written, self.landing / name / load_id, digest)
        return self._record(
            name,
            plan,
            pulled,
            load_id=load_id,
            status="accepted",
            files=[LoadedFile(name=FILE_NAME, sha256=digest, rows=pulled.row_count)],
            cursor_value=cursor_value,
            newest_event_date=self._newest_event_date(name, pulled.rows),
            message=f"{format_count(pulled.row_count, 'row')} landed",
        )

    def _unchanged(
        self, name: str, plan: _Plan, pulled: Pulled, load: LoadRecord, cursor_value: str | None
    ) -> LoadRecord:
        """Returns the line that says a load was seen again; it renews nothing."""
        return self._record(
            name,
            plan,
            pulled,
            load_id=load.load_id,
            status="unchanged",
            cursor_value=cursor_value,
            newest_event_date=load.newest_event_date,
            message="nothing new: the load in use stays",
        )

    def _write(self, name: str, rows: str) -> Path:
        """Writes the load's file in the working folder: the contract's columns, sorted."""
        table = self.puller.contract.tables[name]
        columns, sorting = (", ".join(map(quoted, names)) for names in (table.columns, table.sorting))
        target = self.work / f"{name}-load.parquet"
        query = f"select {columns} from {rows} order by {sorting}"
        with failpoint("landing.write", target):
            self.puller.connection.execute(f"copy ({query}) to {literal(str(target))} ({PARQUET_OPTIONS})")
        return target

    def _newest_event_date(self, name: str, rows: str) -> date | None:
        event_at = self.puller.contract.tables[name].event_at
        if event_at is None:
            return None
        day = f"cast({quoted(event_at)} as date)"
        row = self.puller.connection.execute(
            f"select max({day}) filter (where {day} <= $today) from {rows}", {"today": self.landed_at.date()}
        ).fetchone()
        return row[0] if row else None
