"""The ledger: what was pulled, when, from where, and what became of it; and which loads count.

It is append-only and hash-chained. Every load has a line, accepted or refused; a load that was pruned, or that another
stands in for since a person's rows were erased, has one more that says so, with the digests before and after. What counts
for a run is read from it alone: a folder in the landing zone that it does not name any more, or never did, is read by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from expectations.contract import Contract
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
        load_id: Digest of the content, 24 hexadecimal digits; of a refused load there is none.
        status: `unchanged` when the load holds what is in use already.
        mode: `full`, or `incremental`: only rows that came after those of the load before.
        is_recorded: Whether it was given by command (see `record`) and not pulled from the source. Such rows stay when the
            source's next full load comes.
        row_count: Rows of the load; of a refused one, rows that were pulled.
        source_rows: How many rows the source had, where only those that are new were pulled.
        files: The load's files; none when it was refused or unchanged.
        source: What the rows came from, as the sources file spells it.
        recipe: Digest of what shaped the rows: the sources file's entry, the contract's table and the HMAC key's name.
        cursor_value: Up to where an append-only table was read, as text.
        newest_event_date: Newest event day in the load that is not after the day it landed.
        landed_at: When it was pulled (UTC).
        message: Why it was refused; otherwise what happened, in a sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    load_id: str | None
    status: Literal["accepted", "refused", "unchanged"]
    mode: Mode
    is_recorded: bool = False
    row_count: int
    source_rows: int | None = None
    files: tuple[LoadedFile, ...] = ()
    source: str
    recipe: str
    cursor_value: str | None = None
    newest_event_date: date | None = None
    landed_at: datetime
    message: str = ""

    @property
    def content_digest(self) -> str:
        """Returns the SHA-256 over the digests of the load's files."""
        return sha256_bytes("".join(file.sha256 for file in self.files).encode())

    def paths(self, landing: Path) -> list[Path]:
        """Returns where the load's files are below `landing`."""
        return [landing / self.table / str(self.load_id) / file.name for file in self.files]

    def existing_paths(self, landing: Path) -> list[Path]:
        """Returns where the load's files are below `landing`, for whoever reads them without having verified them.

        Raises:
            VerificationError: One is gone; names all that are.
        """
        paths = self.paths(landing)
        _refuse_damage({path: "is gone" for path in paths if not path.is_file()})
        return paths


class Person(BaseModel):
    """Whose rows were erased: what kind of identifier, and its hash as it landed. `persons` says what rows those are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    value_hash: str


class Replacement(BaseModel):
    """The load that stands in for one from which a person's rows were erased."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    load_id: str
    files: tuple[LoadedFile, ...]


class Removal(BaseModel):
    """A line of the ledger by which a load's files go.

    Attributes:
        status: `pruned`: they are too old to be kept. `erased`: they hold a person's rows, and `replacement` stands in.
        table: The contract's table.
        load_id: The load that goes.
        files: Its files as they were.
        replacement: The load that stands in for an erased one.
        person: Whose rows were erased; from then on they do not land again.
        removed_rows: Rows that were left out of the replacement.
        cleared_rows: Rows that stay without the value that named the person.
        who: Who gave the command.
        why: Why.
        at: When (UTC).
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
        """Returns what became of the load, in words."""
        day = f"{self.at:%Y-%m-%d}"
        if self.replacement is None:
            return f"{self.table}/{self.load_id} was pruned on {day}"
        return (
            f"{self.table}/{self.load_id} was erased on {day}: a {self.person and self.person.kind} was taken out of it, and "
            f"{self.replacement.load_id} stands in"
        )


class Ledger:
    """The ledger of one landing zone."""

    def __init__(self, landing: Path) -> None:
        """Names the ledger below `landing`; the first `append` makes it."""
        self.log = ChainedLog(landing / "ledger" / "ledger.jsonl")

    def append(self, record: LoadRecord | Removal) -> None:
        """Adds a line, synced to disk."""
        self.log.append(record.model_dump(mode="json"))

    def lines(self) -> list[LoadRecord | Removal]:
        """Returns every line as it was written, oldest first; raises `VerificationError` if the chain is broken."""
        return [_line({key: value for key, value in line.items() if key != PREVIOUS}) for line in self.log.read()]

    def read(self) -> list[LoadRecord]:
        """Returns every load that was tried, oldest first, as it stands: without pruned ones, erased ones as replaced.

        Raises:
            VerificationError: The chain is broken.
        """
        return standing(self.lines())

    def removals(self) -> list[Removal]:
        """Returns the lines by which loads went, oldest first; raises `VerificationError` if the chain is broken."""
        return [line for line in self.lines() if isinstance(line, Removal)]


def _line(entry: dict[str, Any]) -> LoadRecord | Removal:
    kind = Removal if entry["status"] in {"pruned", "erased"} else LoadRecord
    return kind.model_validate(entry)


def standing(lines: Iterable[LoadRecord | Removal]) -> list[LoadRecord]:
    """Returns the loads as they stand after every line; what lands after a removal is not touched by it."""
    records: list[LoadRecord] = []
    for line in lines:
        if isinstance(line, LoadRecord):
            records.append(line)
        else:
            records = [left for record in records if (left := _after(line, record)) is not None]
    return records


def _after(removal: Removal, record: LoadRecord) -> LoadRecord | None:
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
class Fate:
    """A load, and what became of it since it landed.

    Attributes:
        load: The load as it landed first, or as it began to stand in for an erased one.
        removals: The lines by which its rows went, oldest first; more than one where its replacement was erased from, too.
        stands: The load that holds its rows now: itself, or what stands in; None where they were pruned.
    """

    load: LoadRecord
    removals: tuple[Removal, ...]
    stands: LoadRecord | None


def fates(lines: Iterable[LoadRecord | Removal]) -> dict[tuple[str, str], Fate]:
    """Returns, by table and load id, every load that was accepted or stands in for one, and what became of it."""
    known: dict[tuple[str, str], LoadRecord] = {}
    went: dict[tuple[str, str], Removal] = {}
    for line in lines:
        key = (line.table, str(line.load_id))
        if isinstance(line, Removal):
            went[key] = line
            left = _after(line, known[key])
        else:
            left = line if line.status == "accepted" else None
        if left is not None:
            known.setdefault((left.table, str(left.load_id)), left)
            went.pop((left.table, str(left.load_id)), None)
    return {key: _fate(key, known, went) for key in known}


def _fate(
    key: tuple[str, str], known: Mapping[tuple[str, str], LoadRecord], went: Mapping[tuple[str, str], Removal]
) -> Fate:
    removals: list[Removal] = []
    at = key
    while (removal := went.get(at)) is not None:
        removals.append(removal)
        if removal.replacement is None:
            return Fate(known[key], tuple(removals), None)
        at = (removal.table, removal.replacement.load_id)
    return Fate(known[key], tuple(removals), known[at])


def unread_folders(landing: Path, lines: Sequence[LoadRecord | Removal]) -> list[Path]:
    """Returns the folders of loads that the ledger does not name, or not any more: nothing reads them."""
    named = {(record.table, record.load_id) for record in standing(lines)}
    folders = (folder for folder in landing.glob("*/*") if folder.is_dir() and folder.parent.name != "ledger")
    return sorted(
        folder
        for folder in folders
        if (folder.parent.name, folder.name) not in named and not folder.name.startswith(TEMPORARY_PREFIX)
    )


def removed_folders(landing: Path, lines: Sequence[LoadRecord | Removal]) -> list[Path]:
    """Returns those of the unread folders whose loads were pruned or erased: a kill kept them from going."""
    removed = {(line.table, line.load_id) for line in lines if isinstance(line, Removal)}
    return [folder for folder in unread_folders(landing, lines) if (folder.parent.name, folder.name) in removed]


@dataclass(frozen=True)
class PinnedLoads:
    """The loads that a run stands on, by table in the order in which they landed.

    Attributes:
        by_table: For a table with history `loads`, all accepted loads; for others, the newest full one and its
            increments.
        current: The newest full load and its increments alone: the table as it is now.
    """

    by_table: dict[str, tuple[LoadRecord, ...]]
    current: dict[str, tuple[LoadRecord, ...]]

    @property
    def digest(self) -> str:
        """Returns the SHA-256 that names the set: over tables and load ids, and the landing time of every later load.

        The first load of a table counts with its content alone, so that two homes that landed the same once agree. A
        later one also counts with its time, because what it changed is known from then.
        """
        named = {
            table: [[load.load_id, load.landed_at.isoformat() if place else None] for place, load in enumerate(loads)]
            for table, loads in sorted(self.by_table.items())
        }
        return sha256_bytes(canonical_json(named))

    def as_dict(self) -> dict[str, list[str]]:
        """Returns the load ids by table."""
        return {table: [str(load.load_id) for load in loads] for table, loads in sorted(self.by_table.items())}

    def pulled(self, table: str) -> tuple[LoadRecord, ...]:
        """Returns the current loads of a table that came from its source, none that was given by command."""
        return tuple(load for load in self.current.get(table, ()) if not load.is_recorded)

    def newest_event_date(self, table: str) -> date | None:
        """Returns the newest event day among what was pulled of a table and counts now; None without events."""
        days = [load.newest_event_date for load in self.pulled(table) if load.newest_event_date]
        return max(days, default=None)


def pinned_loads(records: Iterable[LoadRecord], contract: Contract) -> PinnedLoads:
    """Returns the loads that count, given the ledger's lines."""
    by_table: dict[str, list[LoadRecord]] = {}
    current: dict[str, list[LoadRecord]] = {}
    for record in records:
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
    )


def damage(landing: Path, loads: Iterable[LoadRecord]) -> Iterator[tuple[Path, str]]:
    """Recomputes the digest of every file of some loads; yields each that does not hold, and what is wrong with it."""
    for load in loads:
        for path, file in zip(load.paths(landing), load.files, strict=True):
            if not path.is_file():
                yield path, "is gone"
            elif sha256_file(path) != file.sha256:
                yield path, "was changed after it landed"


def verify_loads(landing: Path, pins: PinnedLoads) -> None:
    """Recomputes the digest of every pinned file.

    Raises:
        VerificationError: A file is gone or is not what the ledger says; names all of them.
    """
    verify_files(landing, (load for loads in pins.by_table.values() for load in loads))


def verify_files(landing: Path, loads: Iterable[LoadRecord]) -> None:
    """Recomputes the digest of every file of some loads.

    Raises:
        VerificationError: A file is gone or is not what the ledger says; names all of them.
    """
    _refuse_damage(dict(damage(landing, loads)))


def _refuse_damage(wrong: Mapping[Path, str]) -> None:
    if wrong:
        lines = [f"  {path} {what}" for path, what in sorted(wrong.items())]
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
        is_stale: Whether it is older than may be used; a gate refuses then.
    """

    table: str
    refused: LoadRecord
    load: LoadRecord
    age_days: int
    is_stale: bool

    def __str__(self) -> str:
        """Returns the sentence for the run's summary."""
        state = "too old to be used" if self.is_stale else "in use"
        day = f"{self.load.landed_at:%Y-%m-%d}"
        age = f"its data is {self.age_days} days old"
        return f"{self.table}: the new load was refused; the one of {day} is {state} ({age})."


def loads_in_use(records: Iterable[LoadRecord], pins: PinnedLoads, as_of: date, max_age: timedelta) -> list[InUse]:
    """Says, of each table that a landing refused, which earlier load stays in use and how old it is.

    Args:
        records: What `land` returned.
        pins: The loads that count after it.
        as_of: The day that is rated.
        max_age: The oldest that a load in use may be.

    Returns:
        One entry a refused table that has an earlier load, in the order of `records`.

    Raises:
        BadInputError: A table was refused that has no earlier load; carries every such message.
    """
    refused = [record for record in records if record.status == "refused"]
    without = [record.message for record in refused if not pins.pulled(record.table)]
    if without:
        raise BadInputError("\n\n".join(without) + "\n\nNo earlier load of this can stand in.")
    found = []
    for record in refused:
        load = pins.pulled(record.table)[-1]
        newest = pins.newest_event_date(record.table) or load.landed_at.astimezone(UTC).date()
        age = (as_of - newest).days
        found.append(InUse(record.table, record, load, age, is_stale=age > max_age.days))
    return found
