"""The load ledger: every load with its time, source and status; and which loads are in use.

The ledger is append-only and hash-chained. Every load has a line, accepted or refused. A load that was pruned, or replaced
because a person's rows were erased, has another line with the digests before and after. Runs use only loads that the ledger
names: a folder in the landing zone that it does not name, or no longer names, is never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from expectations.contract import Contract
from ml.extra import Extra, ExtraColumn
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import TEMPORARY_PREFIX, canonical_json, sha256_bytes, sha256_file
from touchstone.core.hash_chain import PREVIOUS, ChainedLog

Mode = Literal["full", "incremental"]


class LoadedFile(BaseModel):
    """One Parquet file of a load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str
    rows: int


class LoadRecord(BaseModel):
    """One line of the ledger.

    Attributes:
        table: The contract's table.
        load_id: Digest of the content, 24 hexadecimal digits; None for a refused load.
        status: `unchanged` if the content equals that of the load in use.
        mode: `full`, or `incremental`: only rows that are newer than those of the previous load.
        is_recorded: Whether its rows were recorded by a command (see `record`) instead of extracted from the source. Such rows
            are kept when the source's next full load lands.
        row_count: Rows of the load; for a refused load, rows that were extracted.
        source_rows: How many rows the source had, if only new ones were extracted.
        set_aside_rows: Rows that broke the contract and were set aside (see `quarantine`).
        files: The load's files; empty if it was refused or unchanged.
        source: Description of the source, as the sources file spells it.
        recipe: Digest of everything that determines the rows besides the data: the sources file's entry, the contract's table
            and the id of the HMAC key.
        cursor_value: The greatest value of the cursor column that was extracted, as text.
        newest_event_date: Newest event day in the load that is not after the day on which it landed.
        max_age_days: How old the table's newest data may be, in days, as the sources file says; None for the default.
        extra: The marketplace's own columns, as the sources file declares them.
        landed_at: When it was extracted (UTC).
        message: Why it was refused; otherwise a sentence about the result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    load_id: str | None
    status: Literal["accepted", "refused", "unchanged"]
    mode: Mode
    is_recorded: bool = False
    row_count: int
    source_rows: int | None = None
    set_aside_rows: int = 0
    files: tuple[LoadedFile, ...] = ()
    source: str
    recipe: str
    cursor_value: str | None = None
    newest_event_date: date | None = None
    max_age_days: int | None = None
    extra: Mapping[str, ExtraColumn] = {}
    landed_at: datetime
    message: str = ""

    @property
    def content_digest(self) -> str:
        """Returns the SHA-256 over the digests of the load's files."""
        return sha256_bytes("".join(file.sha256 for file in self.files).encode())

    def paths(self, landing: Path) -> list[Path]:
        """Returns the paths of the load's files below `landing`."""
        return [landing / self.table / str(self.load_id) / file.name for file in self.files]

    def existing_paths(self, landing: Path) -> list[Path]:
        """Returns the paths of the load's files below `landing`, for readers that have not verified them.

        Raises:
            VerificationError: A file is missing; the message names all missing files.
        """
        paths = self.paths(landing)
        _raise_if_damaged({path: "is missing" for path in paths if not path.is_file()})
        return paths


class Person(BaseModel):
    """A person, by the kind of an identifier and its hash as it landed. `persons` defines which rows are theirs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    value_hash: str


class Replacement(BaseModel):
    """The load that replaces one from which a person's rows were erased."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    load_id: str
    files: tuple[LoadedFile, ...]


class Removal(BaseModel):
    """A line of the ledger that records the removal of a load.

    Attributes:
        status: `pruned` if the load was too old to be kept; `erased` if it held a person's rows and `replacement` replaces it.
        table: The contract's table.
        load_id: The removed load.
        files: Its files.
        replacement: The load that replaces an erased one.
        person: The person whose rows were erased; they do not land again.
        removed_rows: Rows that the replacement does not contain.
        cleared_rows: Rows that the replacement contains without the value that identified the person.
        who: Who ran the command.
        why: The reason given.
        at: When the load was removed (UTC).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["pruned", "erased"]
    table: str
    load_id: str
    files: tuple[LoadedFile, ...]
    replacement: Replacement | None = None
    person: Person | None = None
    removed_rows: int = 0
    cleared_rows: int = 0
    who: str
    why: str
    at: datetime

    def __str__(self) -> str:
        """Returns a sentence about the removal."""
        day = f"{self.at:%Y-%m-%d}"
        if self.replacement is None:
            return f"{self.table}/{self.load_id} was pruned on {day}"
        return (
            f"{self.table}/{self.load_id} was erased on {day}: the rows of a {self.person and self.person.kind} were removed; "
            f"{self.replacement.load_id} replaces it"
        )


class Ledger:
    """The ledger of one landing zone."""

    def __init__(self, landing: Path) -> None:
        """Sets the path of the ledger below `landing`; the first `append` creates it."""
        self.log = ChainedLog(landing / "ledger" / "ledger.jsonl")

    def append(self, record: LoadRecord | Removal) -> None:
        """Appends a line and syncs it to disk."""
        self.log.append(record.model_dump(mode="json"))

    def lines(self) -> list[LoadRecord | Removal]:
        """Returns every line as it was written, oldest first.

        Raises:
            VerificationError: The hash chain is broken.
        """
        return [_line({key: value for key, value in line.items() if key != PREVIOUS}) for line in self.log.read()]

    def read(self) -> list[LoadRecord]:
        """Returns every accepted, refused or unchanged load in its current state, oldest first.

        Pruned loads are omitted; erased loads appear as their replacements.

        Raises:
            VerificationError: The hash chain is broken.
        """
        return current_loads(self.lines())

    def removals(self) -> list[Removal]:
        """Returns the lines that record removals, oldest first.

        Raises:
            VerificationError: The hash chain is broken.
        """
        return [line for line in self.lines() if isinstance(line, Removal)]


def _line(entry: dict[str, Any]) -> LoadRecord | Removal:
    kind = Removal if entry["status"] in {"pruned", "erased"} else LoadRecord
    return kind.model_validate(entry)


def current_loads(lines: Iterable[LoadRecord | Removal]) -> list[LoadRecord]:
    """Returns the loads in the state after all lines. A removal does not affect loads that land after it."""
    records: list[LoadRecord] = []
    for line in lines:
        if isinstance(line, LoadRecord):
            records.append(line)
        else:
            records = [current for record in records if (current := _apply_removal(line, record)) is not None]
    return records


def _apply_removal(removal: Removal, record: LoadRecord) -> LoadRecord | None:
    if (record.table, record.load_id) != (removal.table, removal.load_id):
        return record
    if removal.replacement is None:
        return None
    replaced: dict[str, object] = {"load_id": removal.replacement.load_id}
    if record.files:
        rows = sum(file.rows for file in removal.replacement.files)
        replaced |= {"files": removal.replacement.files, "row_count": rows}
    return record.model_copy(update=replaced)


@dataclass(frozen=True)
class LoadStatus:
    """A load with its removals.

    Attributes:
        load: The load when it landed, or when it replaced an erased one.
        removals: The removals of its rows, oldest first; more than one if its replacement was also erased from.
        current: The load that holds its rows now: itself or its replacement; None if they were pruned.
    """

    load: LoadRecord
    removals: tuple[Removal, ...]
    current: LoadRecord | None


def load_statuses(lines: Iterable[LoadRecord | Removal]) -> dict[tuple[str, str], LoadStatus]:
    """Returns the status of every accepted load and every replacement, by table and load id."""
    loads: dict[tuple[str, str], LoadRecord] = {}
    removals: dict[tuple[str, str], Removal] = {}
    for line in lines:
        key = (line.table, str(line.load_id))
        if isinstance(line, Removal):
            removals[key] = line
            current = _apply_removal(line, loads[key])
        else:
            current = line if line.status == "accepted" else None
        if current is not None:
            loads.setdefault((current.table, str(current.load_id)), current)
            removals.pop((current.table, str(current.load_id)), None)
    return {key: _load_status(key, loads, removals) for key in loads}


def _load_status(
    key: tuple[str, str], loads: Mapping[tuple[str, str], LoadRecord], removals: Mapping[tuple[str, str], Removal]
) -> LoadStatus:
    own_removals: list[Removal] = []
    current_key = key
    while (removal := removals.get(current_key)) is not None:
        own_removals.append(removal)
        if removal.replacement is None:
            return LoadStatus(loads[key], tuple(own_removals), None)
        current_key = (removal.table, removal.replacement.load_id)
    return LoadStatus(loads[key], tuple(own_removals), loads[current_key])


def unread_folders(landing: Path, lines: Sequence[LoadRecord | Removal]) -> list[Path]:
    """Returns the folders of loads that the ledger does not name, or no longer names: nothing reads them."""
    named = {(record.table, record.load_id) for record in current_loads(lines)}
    folders = (folder for folder in landing.glob("*/*") if folder.is_dir() and folder.parent.name != "ledger")
    return sorted(
        folder
        for folder in folders
        if (folder.parent.name, folder.name) not in named and not folder.name.startswith(TEMPORARY_PREFIX)
    )


def removed_folders(landing: Path, lines: Sequence[LoadRecord | Removal]) -> list[Path]:
    """Returns the unread folders whose loads were pruned or erased: a kill prevented their removal."""
    removed = {(line.table, line.load_id) for line in lines if isinstance(line, Removal)}
    return [folder for folder in unread_folders(landing, lines) if (folder.parent.name, folder.name) in removed]


@dataclass(frozen=True)
class PinnedLoads:
    """The loads that a run uses, by table in the order in which they landed.

    Attributes:
        by_table: For a table with history `loads`, all accepted loads; for others, the newest full one and its
            increments.
        current: The newest full load and its increments: the current state of the table.
        extra: The marketplace's own columns by table and name, as declared when the table last landed.
    """

    by_table: dict[str, tuple[LoadRecord, ...]]
    current: dict[str, tuple[LoadRecord, ...]]
    extra: Extra = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Returns the SHA-256 that identifies the set: over tables, load ids, and the landing time of every later load.

        The first load of a table is identified by its content, so that two homes that landed the same data once agree. A later
        load is also identified by its time, because its changes are known from then on.
        """
        named = {
            table: [[load.load_id, load.landed_at.isoformat() if index else None] for index, load in enumerate(loads)]
            for table, loads in sorted(self.by_table.items())
        }
        return sha256_bytes(canonical_json(named))

    def as_dict(self) -> dict[str, list[str]]:
        """Returns the load ids by table."""
        return {table: [str(load.load_id) for load in loads] for table, loads in sorted(self.by_table.items())}

    def source_loads(self, table: str) -> tuple[LoadRecord, ...]:
        """Returns the current loads of a table that were extracted from its source, without recorded ones."""
        return tuple(load for load in self.current.get(table, ()) if not load.is_recorded)

    def newest_event_date(self, table: str) -> date | None:
        """Returns the newest event day of a table's current source loads; None without events."""
        days = [load.newest_event_date for load in self.source_loads(table) if load.newest_event_date]
        return max(days, default=None)


def pinned_loads(records: Iterable[LoadRecord], contract: Contract) -> PinnedLoads:
    """Returns the loads that are in use, given the ledger's records."""
    by_table: dict[str, list[LoadRecord]] = {}
    current: dict[str, list[LoadRecord]] = {}
    extra: dict[str, Mapping[str, ExtraColumn]] = {}
    for record in records:
        if record.status != "refused" and not record.is_recorded:
            extra[record.table] = record.extra
        if record.status != "accepted" or record.table not in contract.tables:
            continue
        if record.mode == "full":
            current[record.table] = []
            if not contract.tables[record.table].keeps_loads:
                by_table[record.table] = []
        current.setdefault(record.table, []).append(record)
        by_table.setdefault(record.table, []).append(record)
    return PinnedLoads(
        by_table={table: tuple(loads) for table, loads in by_table.items()},
        current={table: tuple(loads) for table, loads in current.items()},
        extra={table: columns for table, columns in extra.items() if columns},
    )


def damage(landing: Path, loads: Iterable[LoadRecord]) -> Iterator[tuple[Path, str]]:
    """Recomputes the digest of every file of some loads; yields each damaged file with a description of the damage."""
    for load in loads:
        for path, file in zip(load.paths(landing), load.files, strict=True):
            if not path.is_file():
                yield path, "is missing"
            elif sha256_file(path) != file.sha256:
                yield path, "was changed after it landed"


def verify_loads(landing: Path, pins: PinnedLoads) -> None:
    """Recomputes the digest of every file of the pinned loads.

    Raises:
        VerificationError: Files are missing or do not match the ledger; the message names all of them.
    """
    verify_files(landing, (load for loads in pins.by_table.values() for load in loads))


def verify_files(landing: Path, loads: Iterable[LoadRecord]) -> None:
    """Recomputes the digest of every file of some loads.

    Raises:
        VerificationError: Files are missing or do not match the ledger; the message names all of them.
    """
    _raise_if_damaged(dict(damage(landing, loads)))


def _raise_if_damaged(damaged: Mapping[Path, str]) -> None:
    if damaged:
        lines = [f"  {path} {problem}" for path, problem in sorted(damaged.items())]
        raise VerificationError(
            "\n".join(
                [
                    "The landing zone does not match its ledger:",
                    *lines,
                    "Restore these files from a backup. Without one, land again in a new home (TOUCHSTONE_HOME).",
                ]
            )
        )


@dataclass(frozen=True)
class InUse:
    """A table whose new load was refused while an earlier one stays in use.

    Attributes:
        table: The table.
        refused: The refused load.
        load: The load in use.
        age_days: Its age at as_of: days since its newest event, or without events since the day it landed.
        is_stale: Whether it is too old to be used; a gate refuses then.
    """

    table: str
    refused: LoadRecord
    load: LoadRecord
    age_days: int
    is_stale: bool

    def __str__(self) -> str:
        """Returns a sentence for the run's summary."""
        state = "too old to be used" if self.is_stale else "in use"
        day = f"{self.load.landed_at:%Y-%m-%d}"
        age = f"its data is {self.age_days} days old"
        return f"{self.table}: the new load was refused; the load of {day} is {state} ({age})."


def loads_in_use(records: Iterable[LoadRecord], pins: PinnedLoads, as_of: date, max_age: timedelta) -> list[InUse]:
    """Returns, for each table whose load was refused, the earlier load that stays in use and its age.

    Args:
        records: The result of `land`.
        pins: The loads in use after it.
        as_of: The day that is rated.
        max_age: Maximum age of a load in use, unless the sources file gives one for the table.

    Returns:
        One entry per refused table with an earlier load, in the order of `records`.

    Raises:
        BadInputError: A table was refused that has no earlier load; the message contains all such refusals.
    """
    refused = [record for record in records if record.status == "refused"]
    without = [record.message for record in refused if not pins.source_loads(record.table)]
    if without:
        raise BadInputError("\n\n".join(without) + "\n\nThere is no earlier load to use instead.")
    in_use = []
    for record in refused:
        load = pins.source_loads(record.table)[-1]
        newest = pins.newest_event_date(record.table) or load.landed_at.astimezone(UTC).date()
        age = (as_of - newest).days
        in_use.append(InUse(record.table, record, load, age, is_stale=age > (record.max_age_days or max_age.days)))
    return in_use
