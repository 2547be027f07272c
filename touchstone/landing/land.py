"""Writes loads: `check` reports on a sources file, `land` lands its tables, `record` lands rows that a command gives.

A table that was extracted and passed every check is written, synced, renamed and appended to the ledger, in this order. A load is
one Parquet file, sorted by time and key, in a folder that is named by its content; the ledger's line commits it. A kill at any
moment leaves at most a folder that no line names. `views` reads the landing zone.

Recorded rows are kept when the source's next full load lands: those whose keys the source does not have are carried over, as an
increment of that load.
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
from touchstone.core.text import list_some, shorten, visible
from touchstone.landing.checks import TableReport, describe_remedy, refusal
from touchstone.landing.connectors import CsvConnector, ParquetConnector
from touchstone.landing.currencies import RATES, describe_unknown_currencies, unknown_currencies
from touchstone.landing.extra import extended_contract
from touchstone.landing.extract import (
    Extraction,
    Extractor,
    Watermark,
    check_mapping,
    entry_location,
    landing_order,
    open_extractor,
)
from touchstone.landing.identifiers import NORMALISATION
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
from touchstone.landing.persons import IDENTIFIERS, erased_persons
from touchstone.landing.provided import filled_columns
from touchstone.landing.quarantine import write_quarantine
from touchstone.landing.sources import Sources, TableSource
from touchstone.landing.sql import Hmac, Limits, literal, parquet, quoted

RECORDABLE = ("test_buys", "moderation_decisions", "appeals", "lead_hand_overs", "cases", "suppressions")
"""The tables whose rows can be recorded by a command."""

ENTITIES = {
    "listing": ("listings", "listing_id"),
    "merchant": ("merchants", "merchant_id"),
    "review": ("reviews", "review_id"),
    "order": ("orders", "order_id"),
}
"""The table and the key column of each kind of entity."""

GIVEN = "given"
"""Name of the only input of recorded rows."""

LOAD_ID_DIGITS = 24
FILE_NAME = "part-0.parquet"
PARQUET_OPTIONS = "format parquet, compression zstd, compression_level 1, row_group_size 122880"
"""With a total order, these give the same bytes at any number of threads. The bytes include DuckDB's version."""


def check(sources: Sources, contract: Contract, *, hmac_key: bytes, limits: Limits | None = None) -> list[TableReport]:
    """Extracts and checks every table without landing anything.

    Args:
        sources: The sources file.
        contract: The contract.
        hmac_key: Key of the HMACs of personal identifiers.
        limits: Threads and memory for DuckDB.

    Returns:
        One report per table, in landing order.

    Raises:
        BadInputError: The file maps a table or a column that the contract does not have, or lacks a required table.
    """
    contract = extended_contract(sources, contract)
    check_mapping(sources, contract)
    with tempfile.TemporaryDirectory(prefix="touchstone-check-") as folder:
        work = Path(folder).resolve()
        with open_extractor(
            sources, contract, Hmac(hmac_key), work, work, limits or Limits(), now=datetime.now(UTC)
        ) as extractor:
            parents: dict[str, str] = {}
            extractions = {}
            for name in landing_order(sources, contract):
                extractions[name] = extractor.extract(name, None, parents)
                if extractions[name].rows and not extractions[name].violations:
                    parents[name] = extractions[name].rows
            return [_report(extractor, name, extraction, parents) for name, extraction in extractions.items()]


def _report(extractor: Extractor, name: str, extraction: Extraction, accepted: Mapping[str, str]) -> TableReport:
    sources, columns = extractor.sources, extractor.contract.tables[name].columns
    message = f"{name}: {format_count(extraction.row_count, 'row')} would land"
    filled: tuple[str, ...] = ()
    if extraction.set_aside.rows:
        message += f"; {extraction.set_aside}"
    if extraction.absent_columns:
        message += f"; the source does not have {list_some(extraction.absent_columns)}, which will be null"
    if name in accepted:
        filled = filled_columns(extractor.connection, extraction.rows, columns)
        if "currency" in filled and name != RATES:
            codes = unknown_currencies(extractor.connection, extraction.rows, accepted.get(RATES, ""))
            message += f"; {describe_unknown_currencies(codes)}" if codes else ""
    if extraction.violations:
        message = refusal(
            name, extraction.violations, describe_remedy(entry_location(sources, name), extraction.violations)
        )
    return TableReport(
        name,
        extraction.row_count,
        extraction.absent_columns,
        extraction.violations,
        sources.origin_of(name),
        message,
        filled,
    )


def land(
    sources: Sources,
    contract: Contract,
    landing: Path,
    *,
    hmac_key: bytes,
    now: datetime,
    limits: Limits | None = None,
) -> list[LoadRecord]:
    """Lands every table of a sources file. The caller holds the writer lock.

    Args:
        sources: The sources file.
        contract: The contract.
        landing: The landing zone; created if absent.
        hmac_key: Key of the HMACs of personal identifiers.
        now: The landing time of the loads, with a time zone.
        limits: Threads and memory for DuckDB; the loads do not depend on it.

    Returns:
        One ledger record per table, in landing order. Refused loads are included: `loads_in_use` returns the earlier loads that
        are used instead.

    Raises:
        BadInputError: The file maps a table or a column that the contract does not have, or lacks a required table.
        VerificationError: The ledger is damaged, or a load in use does not match it.
    """
    contract = extended_contract(sources, contract)
    check_mapping(sources, contract)
    landing.mkdir(parents=True, exist_ok=True)
    folder = landing.resolve()
    _remove_leftovers(folder)
    work = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    try:
        erased = _verify_current_loads(folder, contract)
        hmac = Hmac(hmac_key)
        with open_extractor(
            sources, contract, hmac, folder, work, limits or Limits(), now=now, erased=erased
        ) as extractor:
            lander = _Lander(extractor, folder, work, now.astimezone(UTC))
            return [lander.land(name) for name in landing_order(sources, contract)]
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True)
class Recorded:
    """The result of recording rows.

    Attributes:
        table: The contract's table.
        load: The new load; None if all rows were already in the table.
        given: Number of rows that were given.
        new: Number of rows with a new key.
        changed: Number of rows that replace rows with the same key.
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
    label: str | None = None,
    is_dry: bool = False,
    limits: Limits | None = None,
) -> Recorded:
    """Lands the rows of a file atomically, after the checks that every load passes. The caller holds the writer lock.

    A row replaces an earlier one with the same key. Rows that are already in the table do not land again.

    Args:
        table: A table of `RECORDABLE`.
        file: CSV or, if its suffix is `.parquet`, Parquet, with the contract's columns.
        contract: The contract.
        landing: The landing zone; created if absent.
        hmac_key: Key of the HMACs of personal identifiers.
        now: The landing time of the load, with a time zone.
        label: How messages and the ledger name the file; by default its name.
        is_dry: Whether only to check and count.
        limits: Threads and memory for DuckDB; the load does not depend on it.

    Raises:
        BadInputError: The rows break the contract, or the file cannot be read.
        VerificationError: The ledger is damaged, or a load in use does not match it.
    """
    landing.mkdir(parents=True, exist_ok=True)
    folder = landing.resolve()
    _remove_leftovers(folder)
    work = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    sources = _sources_of(table, file)
    try:
        erased = _verify_current_loads(folder, contract)
        hmac = Hmac(hmac_key)
        with open_extractor(
            sources, contract, hmac, folder, work, limits or Limits(), now=now, erased=erased
        ) as extractor:
            return _Lander(extractor, folder, work, now.astimezone(UTC)).record(
                table, label or file.name, is_dry=is_dry
            )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _verify_current_loads(landing: Path, contract: Contract) -> list[Person]:
    """Verifies the loads in use, against which new rows are checked; returns the erased persons."""
    ledger = Ledger(landing)
    verify_loads(landing, pinned_loads(ledger.read(), contract))
    return erased_persons(ledger.removals())


def _sources_of(table: str, file: Path) -> Sources:
    """Returns sources with a file of rows as the only source of a table."""
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
    """Returns the id of a load: a digest of its table and its file."""
    return sha256_bytes(f"{table}\0{sha256}".encode())[:LOAD_ID_DIGITS]


def commit_load(written: Path, folder: Path, digest: str) -> None:
    """Moves a load's file to the load's folder, unless the same file is already there.

    Args:
        written: The file.
        folder: The load's folder.
        digest: The file's SHA-256.
    """
    final = folder / FILE_NAME
    if final.is_file() and sha256_file(final) == digest:
        return
    with failpoint("landing.commit", folder), replacing_directory(folder) as temporary:
        written.rename(temporary / FILE_NAME)
    sync_directory(folder.parent.parent)


def _remove_leftovers(landing: Path) -> None:
    """Removes what killed landings, prunings and erasures left."""
    for pattern in (f"{TEMPORARY_PREFIX}*", f"*/{TEMPORARY_PREFIX}*"):
        for leftover in landing.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
    for folder in removed_folders(landing, Ledger(landing).lines()):
        discard(folder)


@dataclass(frozen=True)
class _Plan:
    """How a table is extracted, given what has landed."""

    recipe: str
    last: LoadRecord | None
    watermark: Watermark | None


class _Lander:
    """Lands the tables of one sources file, one after the other."""

    def __init__(self, extractor: Extractor, landing: Path, work: Path, landed_at: datetime) -> None:
        self.extractor = extractor
        self.landing = landing
        self.work = work
        self.landed_at = landed_at
        self.ledger = Ledger(landing)
        self.records = self.ledger.read()

    def land(self, name: str) -> LoadRecord:
        """Extracts one table, lands or refuses it, and appends a line to the ledger in both cases."""
        pins = pinned_loads(self.records, self.extractor.contract)
        plan = self._plan(name, pins)
        parents = {table: self._rows(loads) for table, loads in pins.current.items()}
        if name == IDENTIFIERS and "merchants" in parents:
            parents["merchants"] = self._newest_rows("merchants", pins.current["merchants"])
        extraction = self.extractor.extract(name, plan.watermark, parents)
        if name == "merchants" and not plan.watermark:
            self._refuse_another_marketplace(extraction, pins.source_loads(name))
        is_refused = bool(extraction.violations)
        record = self._refused(name, plan, extraction) if is_refused else self._landed(name, plan, extraction, pins)
        if not is_refused:
            write_quarantine(self.extractor.connection, self.landing, name, extraction.set_aside)
        self.extractor.drop(extraction)
        self._append_to_ledger(record)
        self._carry_over(name)
        return record

    def _refuse_another_marketplace(self, extraction: Extraction, landed: Sequence[LoadRecord]) -> None:
        """Refuses merchants of which none has landed before: their listings would be compared with those of other merchants.

        Raises:
            BadInputError: There are landed and new merchants, and they share none.
        """
        if not landed or not extraction.rows:
            return
        new, old = f"(select merchant_id from {extraction.rows})", f"(select merchant_id from {self._rows(landed)})"
        shares = f"(select count(*) from {new} semi join {old} using (merchant_id))"
        counts = f"select (select count(*) from {new}), (select count(*) from {old}), {shares}"
        given, known, shared = self.extractor.connection.execute(counts).fetchall()[0]
        if shared or not given or not known:
            return
        sources, home = self.extractor.sources, self.landing.parent
        raise BadInputError(
            f"{sources.path} is another marketplace than the home's: none of its {format_count(given, 'merchant')} "
            f"({sources.origin_of('merchants')}) is among the {format_count(known, 'merchant')} in {home} ({landed[-1].source}). "
            "Nothing landed. Give each marketplace its own home (TOUCHSTONE_HOME). If the same merchants have new ids, "
            "start a new home too, or map the old ids in `tables.merchants.columns.merchant_id` of the sources file."
        )

    def record(self, name: str, label: str, *, is_dry: bool) -> Recorded:
        """Checks recorded rows, and lands those that are new or differ from the current ones."""
        self._carry_over(name)
        pins = pinned_loads(self.records, self.extractor.contract)
        parents = {table: self._rows(loads) for table, loads in pins.current.items()}
        extraction = self.extractor.extract(name, None, parents)
        if extraction.violations:
            what_to_do = "Correct these rows and give the complete file again."
            raise BadInputError(f"{visible(label)}: {refusal(name, extraction.violations, what_to_do)}")
        self._refuse_unknown(name, extraction.rows, parents, label)
        rows, new, changed = self._new_rows(name, extraction.rows, pins.current.get(name, ()))
        if is_dry or not new + changed:
            return Recorded(name, None, extraction.row_count, new, changed)
        mode: Mode = "incremental" if name in pins.current else "full"
        load = self._recorded(
            name, rows, mode, f"{GIVEN}: {label}", f"{new:,} new rows, {changed:,} in place of others"
        )
        return Recorded(name, load, extraction.row_count, new, changed)

    def _refuse_unknown(self, name: str, rows: str, parents: Mapping[str, str], label: str) -> None:
        """Refuses recorded rows about an entity that the marketplace does not have: the id was mistyped.

        Raises:
            BadInputError: There are such rows; the message names up to three entities of each kind.
        """
        if "entity_kind" not in self.extractor.contract.tables[name].columns:
            return
        unknown = []
        for kind, (table, key) in ENTITIES.items():
            known = f"anti join {parents[table]} as known on known.{key} = entity_id" if table in parents else ""
            query = f"select distinct entity_id from {rows} {known} where entity_kind = $kind order by all limit 3"
            unknown += [
                f"{kind} {shorten(row[0])}"
                for row in self.extractor.connection.execute(query, {"kind": kind}).fetchall()
            ]
        if unknown:
            raise BadInputError(
                f"{visible(label)}: {name}: nothing landed, because the marketplace has no {', no '.join(unknown)}. Correct "
                "`entity_kind` and `entity_id`, which are the platform's ids, and give the complete file again."
            )

    def _new_rows(self, name: str, rows: str, current: Sequence[LoadRecord]) -> tuple[str, int, int]:
        """Returns SQL for the rows that differ from the current ones, and how many have a new and how many a known key.

        Rows that only the source has had so far count as different: they have to stay when the source no longer has them.
        """
        table = self.extractor.contract.tables[name]
        columns, key = (", ".join(map(quoted, names)) for names in (table.columns, table.key))
        recorded = [load for load in current if load.is_recorded]
        present, known = (f"(select {columns} from {self._newest_rows(name, loads)})" for loads in (current, recorded))
        new = f"(select {columns} from {rows} except (from {present} intersect from {known}))"
        counts = f"select (select count(*) from {new}), (select count(*) from {new} semi join {present} using ({key}))"
        total, changed = self.extractor.connection.execute(counts).fetchall()[0]
        return new, total - changed, changed

    def _newest_rows(self, name: str, loads: Sequence[LoadRecord]) -> str:
        """Returns SQL for the newest row of each key in some loads, oldest load first; columns that a load lacks are null."""
        table = self.extractor.contract.tables[name]
        key = ", ".join(map(quoted, table.key))
        empty = ", ".join(
            f"cast(null as {column.sql_type}) as {quoted(title)}" for title, column in table.columns.items()
        )
        numbered = [f"select *, {index} as load_index from {self._rows([load])}" for index, load in enumerate(loads)]
        every = " union all by name ".join([f"(select {empty}, 0 as load_index where false)", *numbered])
        newest = f"qualify row_number() over (partition by {key} order by load_index desc) = 1"
        return f"(select * exclude (load_index) from ({every}) {newest})"

    def _carry_over(self, name: str) -> None:
        """Lands the rows again that were recorded before the newest full load, unless the source has their keys now.

        After a kill between the full load and this one, the next landing does it. Until then the table lacks these rows.
        """
        recorded = [load for load in self.records if load.table == name and load.is_recorded]
        current = pinned_loads(self.records, self.extractor.contract).current.get(name, ())
        if not recorded or any(load.is_recorded for load in current):
            return
        key = ", ".join(map(quoted, self.extractor.contract.tables[name].key))
        rows = f"(select * from {self._newest_rows(name, recorded)} anti join {self._rows(current)} using ({key}))"
        if self.extractor.connection.execute(f"select 1 from {rows} limit 1").fetchone():
            self._recorded(name, rows, "incremental", f"{GIVEN}: carried over", "recorded rows were carried over")

    def _recorded(self, name: str, rows: str, mode: Mode, source: str, message: str) -> LoadRecord:
        """Writes and commits a load of recorded rows."""
        written = self._write(name, rows)
        digest = sha256_file(written)
        load_id = load_id_of(name, digest)
        row_count = self.extractor.connection.execute(f"select count(*) from {parquet([written])}").fetchall()[0][0]
        commit_load(written, self.landing / name / load_id, digest)
        record = LoadRecord(
            table=name,
            load_id=load_id,
            status="accepted",
            mode=mode,
            is_recorded=True,
            row_count=row_count,
            files=(LoadedFile(name=FILE_NAME, sha256=digest, rows=row_count),),
            source=source,
            recipe=self.extractor.contract.tables[name].digest(),
            newest_event_date=self._newest_event_date(name, rows),
            landed_at=self.landed_at,
            message=message,
        )
        self._append_to_ledger(record)
        return record

    def _append_to_ledger(self, record: LoadRecord) -> None:
        with failpoint("landing.ledger", self.ledger.log.path):
            self.ledger.append(record)
        self.records.append(record)

    def _rows(self, loads: Sequence[LoadRecord]) -> str:
        return parquet(path for load in loads for path in load.paths(self.landing))

    def _plan(self, name: str, pins: PinnedLoads) -> _Plan:
        """Decides between a full and an incremental extraction.

        The extraction is full the first time, and whenever the recipe of the rows has changed: rows that were hashed with
        another key, or computed by another expression, must not be mixed with new ones.
        """
        source, contract = self.extractor.sources.tables[name], self.extractor.contract
        views = canonical_json(self.extractor.sources.views)
        inputs = {
            "source": source.digest(),
            "views": sha256_bytes(views),
            "table": contract.tables[name].digest(),
            "key": self.extractor.hmac.key_id,
        }
        if masks := self.extractor.masks(name):
            inputs["masks"] = sha256_bytes(canonical_json(masks))
        if name == IDENTIFIERS:
            inputs["normalisation"] = NORMALISATION
        recipe = sha256_bytes(canonical_json(inputs))
        loads = (load for load in self.records if load.table == name and not load.is_recorded)
        accepted = [load for load in loads if load.status != "refused"]
        last = accepted[-1] if accepted else None
        is_incremental = source.cursor or source.changed_at
        if not is_incremental or last is None or last.recipe != recipe or last.cursor_value is None:
            return _Plan(recipe, last, None)
        landed = tuple(self._rows([load]) for load in pins.source_loads(name))
        return _Plan(recipe, last, Watermark(last.cursor_value, landed))

    def _record(self, name: str, plan: _Plan, extraction: Extraction, **values: object) -> LoadRecord:
        common: dict[str, object] = {
            "table": name,
            "mode": "incremental" if plan.watermark else "full",
            "row_count": extraction.row_count,
            "source_rows": extraction.source_rows,
            "set_aside_rows": extraction.set_aside.rows,
            "source": self.extractor.sources.origin_of(name),
            "recipe": plan.recipe,
            "max_age_days": self.extractor.sources.tables[name].max_age_days,
            "extra": self.extractor.sources.tables[name].extra,
            "landed_at": self.landed_at,
        }
        return LoadRecord.model_validate(common | values)

    def _refused(self, name: str, plan: _Plan, extraction: Extraction) -> LoadRecord:
        remedy = describe_remedy(entry_location(self.extractor.sources, name), extraction.violations)
        message = refusal(name, extraction.violations, remedy)
        return self._record(name, plan, extraction, load_id=None, status="refused", message=message)

    def _landed(self, name: str, plan: _Plan, extraction: Extraction, pins: PinnedLoads) -> LoadRecord:
        cursor_value = extraction.cursor_value or (plan.last.cursor_value if plan.last and plan.watermark else None)
        if plan.watermark and plan.last and not extraction.row_count:
            return self._unchanged(name, plan, extraction, plan.last, cursor_value)
        written = self._write(name, extraction.rows)
        digest = sha256_file(written)
        load_id = load_id_of(name, digest)
        current = pins.source_loads(name)
        if not plan.watermark and [load.load_id for load in current] == [load_id]:
            return self._unchanged(name, plan, extraction, current[0], cursor_value)
        commit_load(written, self.landing / name / load_id, digest)
        return self._record(
            name,
            plan,
            extraction,
            load_id=load_id,
            status="accepted",
            files=[LoadedFile(name=FILE_NAME, sha256=digest, rows=extraction.row_count)],
            cursor_value=cursor_value,
            newest_event_date=self._newest_event_date(name, extraction.rows),
            message="; ".join(
                filter(None, (f"{format_count(extraction.row_count, 'row')} landed", str(extraction.set_aside)))
            ),
        )

    def _unchanged(
        self, name: str, plan: _Plan, extraction: Extraction, load: LoadRecord, cursor_value: str | None
    ) -> LoadRecord:
        """Returns the record of an extraction whose content is already landed."""
        return self._record(
            name,
            plan,
            extraction,
            load_id=load.load_id,
            status="unchanged",
            cursor_value=cursor_value,
            newest_event_date=load.newest_event_date,
            message="; ".join(filter(None, ("nothing new: the previous load stays in use", str(extraction.set_aside)))),
        )

    def _write(self, name: str, rows: str) -> Path:
        """Writes the load's file to the working folder: the contract's columns, sorted."""
        table = self.extractor.contract.tables[name]
        columns, sorting = (", ".join(map(quoted, names)) for names in (table.columns, table.sorting))
        target = self.work / f"{name}-load.parquet"
        query = f"select {columns} from {rows} order by {sorting}"
        with failpoint("landing.write", target):
            self.extractor.connection.execute(f"copy ({query}) to {literal(str(target))} ({PARQUET_OPTIONS})")
        return target

    def _newest_event_date(self, name: str, rows: str) -> date | None:
        event_at = self.extractor.contract.tables[name].event_at
        if event_at is None:
            return None
        day = f"cast({quoted(event_at)} as date)"
        row = self.extractor.connection.execute(
            f"select max({day}) filter (where {day} <= $today) from {rows}", {"today": self.landed_at.date()}
        ).fetchone()
        return row[0] if row else None
