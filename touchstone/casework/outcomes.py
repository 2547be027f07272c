"""Outcomes that people record by command: test-buy verdicts, moderation decisions, appeals, hand-overs, cases, suppressions.

The rows of each command enter as a load of a contract table, atomically and through the checks of every load; the SQL that
uses them is in `dbt_project/`. A suppression is in force from a day on (default: the last complete day) until it expires, is
removed or is undone; each of these events is a row that replaces the previous one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from expectations.contract import load_contract
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.files import check_regular
from touchstone.core.home import Home
from touchstone.core.settings import Settings
from touchstone.core.text import list_some, shorten, visible
from touchstone.landing.as_of import default_as_of
from touchstone.landing.land import GIVEN, Recorded, record
from touchstone.landing.ledger import Ledger, LoadRecord, pinned_loads
from touchstone.landing.sources import identifier_key, read_sources
from touchstone.landing.sql import Limits
from touchstone.landing.views import create_views

SUPPRESSIONS = "suppressions"
UNDO = f"{GIVEN}: undo of "


def record_file(settings: Settings, table: str, file: Path, *, is_dry: bool = False) -> Recorded:
    """Records the rows of a CSV or Parquet file in a table of the contract, atomically.

    Args:
        settings: The settings; the caller holds the home's lock.
        table: A table that accepts rows by command.
        file: The file, with the contract's columns.
        is_dry: Only check and count; record nothing.

    Returns:
        The counts, and the load if one was recorded.

    Raises:
        BadInputError: The file cannot be read, a row violates the contract, or names an entity that does not exist.
    """
    return _record(settings, table, file, file.name, is_dry=is_dry)


def record_rows(
    settings: Settings, table: str, rows: Sequence[Mapping[str, object]], *, label: str, is_dry: bool = False
) -> Recorded:
    """Records rows in a table of the contract, as `record_file` does.

    Args:
        settings: The settings; the caller holds the home's lock.
        table: A table that accepts rows by command.
        rows: The rows, by the contract's columns; a column may be left out.
        label: Their name in messages and in the ledger.
        is_dry: Only check and count; record nothing.

    Returns:
        The counts, and the load if one was recorded.

    Raises:
        BadInputError: A row violates the contract, or names an entity that does not exist.
    """
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    # A column without any value has no type of its own; text can be cast to every type.
    arrays = {name: pa.array(values, None if any(values) else pa.string()) for name, values in columns.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        pq.write_table(pa.table(arrays), file)
        return _record(settings, table, file, label, is_dry=is_dry)


def _record(settings: Settings, table: str, file: Path, label: str, *, is_dry: bool) -> Recorded:
    sources = read_sources(settings.sources_file, os.environ)
    return record(
        table,
        file,
        load_contract(),
        Home(settings.home).landing,
        hmac_key=identifier_key(sources, settings),
        now=datetime.now(UTC),
        label=label,
        is_dry=is_dry,
        limits=Limits.from_settings(settings),
    )


@dataclass(frozen=True)
class Suppression:
    """An entity that is excluded from the lists: from when, until when, and why."""

    entity_kind: str
    entity_id: str
    created_at: datetime
    expires_at: datetime | None
    reason: str | None

    def ended(self, moment: datetime, who: str) -> dict[str, object]:
        """Returns the row that ends it at a time; a suppression that starts later is never in force."""
        return {**self.row(who), "expires_at": max(moment, self.created_at)}

    def row(self, who: str) -> dict[str, object]:
        """Returns its row in the contract's table, with its author."""
        return {**self.__dict__, "author": who}


def suppress(
    settings: Settings, entity_kind: str, entity_id: str, *, why: str, who: str, first: date | None, until: date | None
) -> Recorded:
    """Excludes an entity from the lists.

    Args:
        settings: The settings; the caller holds the home's lock.
        entity_kind: listing, merchant, review or order.
        entity_id: Its id.
        why: The reason.
        who: The author.
        first: The first day; by default the last complete one.
        until: The day on which it expires; None if it does not expire.

    Returns:
        The counts, and the load.

    Raises:
        BadInputError: There is no such entity, it is suppressed already, there is no reason, or `until` is not after `first`.
    """
    if not why.strip():
        raise BadInputError("A suppression needs a reason. Give it with --why.")
    starts_at = _start_of(settings, first)
    if until is not None and _midnight(until) <= starts_at:
        raise BadInputError(f"--until {until} is not after the first day, {starts_at:%Y-%m-%d}. Give a later day.")
    if in_force(settings, starts_at.date(), entity_kind, entity_id):
        raise BadInputError(
            f"{entity_kind} {shorten(entity_id)} is suppressed already. `touchstone suppress list` shows the reason."
        )
    expires = None if until is None else _midnight(until)
    row = Suppression(entity_kind, entity_id, starts_at, expires, why).row(who)
    return record_rows(settings, SUPPRESSIONS, [row], label=f"suppress {entity_kind} {entity_id}")


def unsuppress(settings: Settings, entity_kind: str, entity_id: str, *, who: str, first: date | None) -> Recorded:
    """Ends the suppression of an entity.

    Args:
        settings: The settings; the caller holds the home's lock.
        entity_kind: listing, merchant, review or order.
        entity_id: Its id.
        who: The author.
        first: The first day without the suppression; by default the last complete one.

    Returns:
        The counts, and the load.

    Raises:
        BadInputError: It is not suppressed on that day.
    """
    moment = _start_of(settings, first)
    suppressions = in_force(settings, moment.date(), entity_kind, entity_id)
    if not suppressions:
        raise BadInputError(
            f"{entity_kind} {shorten(entity_id)} is not suppressed as of {moment:%Y-%m-%d}. `touchstone suppress list` "
            f"shows what is."
        )
    rows = [suppression.ended(moment, who) for suppression in suppressions]
    return record_rows(settings, SUPPRESSIONS, rows, label=f"no longer suppress {entity_kind} {entity_id}")


def import_suppressions(
    settings: Settings, file: Path, *, who: str, first: date | None, is_dry: bool = False
) -> Recorded:
    """Records suppressions from a CSV, atomically.

    Args:
        settings: The settings; the caller holds the home's lock.
        file: CSV with entity_kind, entity_id and reason, and optionally author, created_at and expires_at.
        who: The author of rows without one.
        first: The first day of rows without created_at; by default the last complete one.
        is_dry: Only check and count; record nothing.

    Returns:
        The counts, and the load if one was recorded.

    Raises:
        BadInputError: The file cannot be read, or a row has no reason or violates the contract.
    """
    header, rows = read_texts(file)
    known = load_contract().tables[SUPPRESSIONS].columns
    if unknown := [name for name in header if name not in known]:
        raise BadInputError(
            f"{file}: unknown columns {list_some(unknown)}. The columns of suppressions are {', '.join(known)}."
        )
    if without := [number for number, row in enumerate(rows, start=2) if not (row.get("reason") or "").strip()]:
        raise BadInputError(
            f"{file}: line {without[0]} has no reason ({format_count(len(without), 'such line')}). Add the reasons and import "
            f"the file again."
        )
    starts_at = _start_of(settings, first).isoformat(sep=" ")
    full = [
        {**row, "author": row.get("author") or who, "created_at": row.get("created_at") or starts_at} for row in rows
    ]
    return record_rows(settings, SUPPRESSIONS, full, label=file.name, is_dry=is_dry)


def read_texts(file: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    """Reads a CSV as text.

    Args:
        file: The file.

    Returns:
        The header and the rows; an empty value is None.

    Raises:
        BadInputError: The file cannot be read.
    """
    try:
        check_regular(file)
        header = pa_csv.open_csv(file).schema.names
        options = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
        )
        return header, pa_csv.read_csv(file, convert_options=options).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(
            f"{file} cannot be read as CSV with a header: {visible(str(error))}. Correct the file."
        ) from error


def undo_suppressions(settings: Settings, *, who: str) -> Recorded:
    """Undoes the last command on suppressions that is not undone yet: each of its rows is restored to its previous state.

    Args:
        settings: The settings; the caller holds the home's lock.
        who: The author.

    Returns:
        The counts, and the load.

    Raises:
        BadInputError: There is no such command.
    """
    records = Ledger(Home(settings.home).landing).read()
    loads = [load for load in records if load.table == SUPPRESSIONS and load.is_recorded]
    undone = {load.source.removeprefix(UNDO) for load in loads if load.source.startswith(UNDO)}
    commands = [load for load in loads if not load.source.startswith((UNDO, f"{GIVEN}: carried"))]
    undoable = [load for load in commands if _command_id(load) not in undone]
    if not undoable:
        raise BadInputError("There is no command on suppressions to undo.")
    last = undoable[-1]
    before = {_key(row): row for row in _rows(settings, records[: records.index(last)])}
    rows = [
        before.get(_key(row), row).row(who) if _key(row) in before else row.ended(row.created_at, who)
        for row in _rows(settings, [last.model_copy(update={"mode": "full"})])
    ]
    return record_rows(settings, SUPPRESSIONS, rows, label=f"undo of {_command_id(last)}")


def in_force(
    settings: Settings, as_of: date | None = None, entity_kind: str | None = None, entity_id: str | None = None
) -> list[Suppression]:
    """Returns the suppressions in force as of a day, by kind and id.

    Args:
        settings: The settings.
        as_of: The day; by default the last complete one.
        entity_kind: Only those of one entity: its kind.
        entity_id: Its id.

    Returns:
        The suppressions.
    """
    moment = _start_of(settings, as_of)
    return [
        row
        for row in _rows(settings, Ledger(Home(settings.home).landing).read())
        if row.created_at <= moment
        and (row.expires_at is None or row.expires_at > moment)
        and (entity_kind is None or (row.entity_kind, row.entity_id) == (entity_kind, entity_id))
    ]


def _rows(settings: Settings, records: Sequence[LoadRecord]) -> list[Suppression]:
    """Returns the newest version of each suppression in some loads of the ledger, by kind, id and start."""
    contract = load_contract()
    key = ", ".join(contract.tables[SUPPRESSIONS].key)
    with duckdb.connect(":memory:") as connection:
        create_views(connection, Home(settings.home).landing, pinned_loads(records, contract), contract)
        return [
            Suppression(*row)
            for row in connection.execute(
                "select entity_kind, entity_id, created_at, expires_at, reason from landed.suppressions "
                f"qualify row_number() over (partition by {key} order by landed_at desc) = 1 order by {key}"
            ).fetchall()
        ]


def _key(row: Suppression) -> tuple[str, str, datetime]:
    return row.entity_kind, row.entity_id, row.created_at


def _command_id(load: LoadRecord) -> str:
    """Identifies a command in the ledger by load and time, because the same rows may be recorded twice."""
    return f"{load.load_id} of {load.landed_at:%Y-%m-%dT%H:%M:%S.%fZ}"


def _start_of(settings: Settings, first: date | None) -> datetime:
    if first is not None:
        return _midnight(first)
    contract = load_contract()
    landing = Home(settings.home).landing
    return _midnight(default_as_of(landing, pinned_loads(Ledger(landing).read(), contract)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def recorded_facts(recorded: Recorded) -> dict[str, Any]:
    """Returns the result of recording rows as plain data."""
    load_id = recorded.load.load_id if recorded.load else None
    return {
        "table": recorded.table,
        "given": recorded.given,
        "new": recorded.new,
        "changed": recorded.changed,
        "load_id": load_id,
    }


def suppression_facts(suppressions: Sequence[Suppression]) -> list[dict[str, Any]]:
    """Returns suppressions as plain data."""
    return [
        {name: None if value is None else str(value) for name, value in row.__dict__.items()} for row in suppressions
    ]
