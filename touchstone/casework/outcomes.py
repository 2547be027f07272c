"""What came of acting on lists, taken in from people: verdicts, decisions, appeals, hand-overs, cases; and suppressions.

Each command's rows enter as a load of a contract table, through the checks that every load passes, whole or not at all; what is
made of them is SQL in `dbt_project/`. A suppression holds from a day on (the last complete one, unless said otherwise) until
it expires, is removed or is undone; each of these is a row that takes the place of the one before.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from expectations.contract import load_contract
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.files import check_regular
from touchstone.core.settings import Settings
from touchstone.core.text import LONG_LINE_COLUMNS, MOST_SENTENCE_COLUMNS, list_some, shorten, visible, wrap
from touchstone.landing.land import GIVEN, Recorded, record
from touchstone.landing.ledger import Ledger, LoadRecord, pinned_loads
from touchstone.landing.sources import identifier_key, read_sources
from touchstone.landing.sql import Limits
from touchstone.landing.views import create_views, default_as_of

SUPPRESSIONS = "suppressions"
UNDO = f"{GIVEN}: undo of "


def record_file(settings: Settings, table: str, file: Path, *, is_dry: bool = False) -> Recorded:
    """Takes the rows of a CSV or Parquet file into a table of the contract, whole or not at all.

    Args:
        settings: The settings; the caller holds the home's lock.
        table: A table that people give rows of.
        file: The file, with the contract's columns.
        is_dry: Whether only to check and count.

    Raises:
        BadInputError: The rows break the contract, name what the marketplace does not have, or the file cannot be read.
    """
    return _record(settings, table, file, file.name, is_dry=is_dry)


def record_rows(
    settings: Settings, table: str, rows: Sequence[Mapping[str, object]], *, told: str, is_dry: bool = False
) -> Recorded:
    """Takes rows into a table of the contract, as `record_file` does.

    Args:
        settings: The settings; the caller holds the home's lock.
        table: A table that people give rows of.
        rows: The rows, by the contract's columns; a column may be left out.
        told: What messages and the ledger call them.
        is_dry: Whether only to check and count.

    Raises:
        BadInputError: The rows break the contract, or name what the marketplace does not have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    # What has no value at all gives no type away; text is what every type is read from.
    arrays = {name: pa.array(values, None if any(values) else pa.string()) for name, values in columns.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        pq.write_table(pa.table(arrays), file)
        return _record(settings, table, file, told, is_dry=is_dry)


def _record(settings: Settings, table: str, file: Path, told: str, *, is_dry: bool) -> Recorded:
    sources = read_sources(settings.sources_file, os.environ)
    return record(
        table,
        file,
        load_contract(),
        settings.home / "landing",
        hmac_key=identifier_key(sources, settings),
        now=datetime.now(UTC),
        told=told,
        is_dry=is_dry,
        limits=Limits.from_settings(settings),
    )


@dataclass(frozen=True)
class Suppression:
    """An entity that is kept off the lists: which, from when, until when, and why."""

    entity_kind: str
    entity_id: str
    created_at: datetime
    expires_at: datetime | None
    reason: str | None

    def ended(self, at: datetime, who: str) -> dict[str, object]:
        """Returns the row that ends it; one that had not begun by then never holds."""
        return {**self.row(who), "expires_at": max(at, self.created_at)}

    def row(self, who: str) -> dict[str, object]:
        """Returns its row, with who gives it."""
        return {**self.__dict__, "author": who}


def suppress(
    settings: Settings, entity_kind: str, entity_id: str, *, why: str, who: str, first: date | None, until: date | None
) -> Recorded:
    """Keeps an entity off the lists.

    Args:
        settings: The settings; the caller holds the home's lock.
        entity_kind: listing, merchant, review or order.
        entity_id: Which.
        why: The reason.
        who: By whom.
        first: The first day it holds for; by default the last complete one.
        until: The first day it no longer holds for; None for ever.

    Raises:
        BadInputError: There is no such entity, it is suppressed already, or the days are in the wrong order.
    """
    if not why.strip():
        raise BadInputError("A suppression needs a reason, for whoever meets it in a year. Give it with --why.")
    begins = _from(settings, first)
    if until is not None and _moment(until) <= begins:
        raise BadInputError(f"--until {until} is not after the first day, {begins:%Y-%m-%d}: it would never hold.")
    if in_force(settings, begins.date(), entity_kind, entity_id):
        raise BadInputError(
            f"{entity_kind} {shorten(entity_id)} is suppressed already; `touchstone suppress list` says why."
        )
    expires = None if until is None else _moment(until)
    row = Suppression(entity_kind, entity_id, begins, expires, why).row(who)
    return record_rows(settings, SUPPRESSIONS, [row], told=f"suppress {entity_kind} {entity_id}")


def unsuppress(settings: Settings, entity_kind: str, entity_id: str, *, who: str, first: date | None) -> Recorded:
    """Lets an entity back onto the lists, from a day on.

    Raises:
        BadInputError: It is not suppressed then.
    """
    at = _from(settings, first)
    found = in_force(settings, at.date(), entity_kind, entity_id)
    if not found:
        raise BadInputError(f"{entity_kind} {shorten(entity_id)} is not suppressed as of {at:%Y-%m-%d}.")
    rows = [suppression.ended(at, who) for suppression in found]
    return record_rows(settings, SUPPRESSIONS, rows, told=f"no longer suppress {entity_kind} {entity_id}")


def import_suppressions(
    settings: Settings, file: Path, *, who: str, first: date | None, is_dry: bool = False
) -> Recorded:
    """Takes suppressions from a CSV: entity_kind, entity_id, reason, and if it says so author, created_at and expires_at.

    Raises:
        BadInputError: The file cannot be read, or a row has no reason or breaks the contract: nothing of it holds then.
    """
    header, rows = read_texts(file)
    known = load_contract().tables[SUPPRESSIONS].columns
    if unknown := [name for name in header if name not in known]:
        raise BadInputError(f"{file}: {list_some(unknown)} is no column of suppressions; they are {', '.join(known)}.")
    if without := [number for number, row in enumerate(rows, start=2) if not (row.get("reason") or "").strip()]:
        raise BadInputError(
            f"{file}: line {without[0]} has no reason; {len(without)} such lines. Say why, and give it again."
        )
    begins = _from(settings, first).isoformat(sep=" ")
    full = [{**row, "author": row.get("author") or who, "created_at": row.get("created_at") or begins} for row in rows]
    return record_rows(settings, SUPPRESSIONS, full, told=file.name, is_dry=is_dry)


def read_texts(file: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    """Returns the header and the rows of a CSV, every value as text, an empty one as None.

    Raises:
        BadInputError: The file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    try:
        check_regular(file)
        header = pa_csv.open_csv(file).schema.names
        texts = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
        )
        return header, pa_csv.read_csv(file, convert_options=texts).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(
            f"{file} cannot be read as CSV with a header: {visible(str(error))}. Correct it there."
        ) from error


def undo_suppressions(settings: Settings, *, who: str) -> Recorded:
    """Undoes the last command on suppressions that is not undone yet: each of its rows goes back to what it was before.

    Raises:
        BadInputError: There is none.
    """
    records = Ledger(settings.home / "landing").read()
    given = [load for load in records if load.table == SUPPRESSIONS and load.is_recorded]
    undone = {load.source.removeprefix(UNDO) for load in given if load.source.startswith(UNDO)}
    commands = [load for load in given if not load.source.startswith((UNDO, f"{GIVEN}: carried"))]
    left = [load for load in commands if _command_id(load) not in undone]
    if not left:
        raise BadInputError("No command on suppressions is left to be undone.")
    last = left[-1]
    before = {_key(row): row for row in _rows(settings, records[: records.index(last)])}
    rows = [
        before.get(_key(row), row).row(who) if _key(row) in before else row.ended(row.created_at, who)
        for row in _rows(settings, [last.model_copy(update={"mode": "full"})])
    ]
    return record_rows(settings, SUPPRESSIONS, rows, told=f"undo of {_command_id(last)}")


def in_force(
    settings: Settings, as_of: date | None = None, entity_kind: str | None = None, entity_id: str | None = None
) -> list[Suppression]:
    """Returns the suppressions that hold as of a day, of one entity or of all, by kind and id.

    Args:
        settings: The settings.
        as_of: The day; by default the last complete one.
        entity_kind: Only of this kind, and then of this id.
        entity_id: Only of this one.
    """
    at = _from(settings, as_of)
    return [
        row
        for row in _rows(settings, Ledger(settings.home / "landing").read())
        if row.created_at <= at
        and (row.expires_at is None or row.expires_at > at)
        and (entity_kind is None or (row.entity_kind, row.entity_id) == (entity_kind, entity_id))
    ]


def _rows(settings: Settings, records: Sequence[LoadRecord]) -> list[Suppression]:
    """Returns the suppressions as some lines of the ledger have them, by kind, id and beginning."""
    import duckdb

    contract = load_contract()
    key = ", ".join(contract.tables[SUPPRESSIONS].key)
    with duckdb.connect(":memory:") as connection:
        create_views(connection, settings.home / "landing", pinned_loads(records, contract), contract)
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
    """Returns what names a command in the ledger: the same rows may be given twice, but not at one moment."""
    return f"{load.load_id} of {load.landed_at:%Y-%m-%dT%H:%M:%S.%fZ}"


def _from(settings: Settings, first: date | None) -> datetime:
    if first is not None:
        return _moment(first)
    contract = load_contract()
    landing = settings.home / "landing"
    return _moment(default_as_of(landing, pinned_loads(Ledger(landing).read(), contract)))


def _moment(day: date) -> datetime:
    return datetime.combine(day, time())


def render_recorded(came: Recorded) -> str:
    """Returns in words what came of rows that were given."""
    if came.new + came.changed == 0:
        return f"{came.table}: nothing new: what was given ({format_count(came.given, 'row')}) stands there already."
    said = f"{format_count(came.given, 'row')} given, {came.new:,} new, {came.changed:,} in place of others"
    if came.load is None:
        return f"{came.table}: {said}. Nothing was recorded: this was a dry run."
    return f"{came.table}: {said}. The next run counts them (`touchstone run`)."


def recorded_facts(came: Recorded) -> dict[str, Any]:
    """Returns what came of rows that were given as plain data."""
    load_id = came.load.load_id if came.load else None
    return {"table": came.table, "given": came.given, "new": came.new, "changed": came.changed, "load_id": load_id}


def suppression_facts(found: Sequence[Suppression]) -> list[dict[str, Any]]:
    """Returns suppressions as plain data."""
    return [{name: None if value is None else str(value) for name, value in row.__dict__.items()} for row in found]


def render_suppressions(found: Sequence[Suppression]) -> str:
    """Returns suppressions in words, a line each."""
    lines: list[str] = []
    for row in found:
        until = "for ever" if row.expires_at is None else f"until {row.expires_at:%Y-%m-%d}"
        reason = shorten(row.reason or "no reason given", MOST_SENTENCE_COLUMNS)
        entity_id = shorten(row.entity_id)
        lines += wrap(
            f"{row.entity_kind:9} {entity_id}  from {row.created_at:%Y-%m-%d} {until}: {reason}",
            "",
            width=LONG_LINE_COLUMNS,
        )
    return "\n".join(lines) or "Nothing is suppressed."
