"""Erases a person's rows from every load that has landed.

Each load that holds some is written again without them, under the id of its new content; a line of the ledger names the
old and the new digests, and from then on the new load stands in wherever the old one counted; then the old one's folder
goes. What refers to rows that go is written first, so that a command that was killed finds the rest when given again.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from expectations.contract import Contract
from touchstone.core.errors import BadInputError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import TEMPORARY_PREFIX, discard, sha256_file
from touchstone.landing.land import FILE_NAME, PARQUET_OPTIONS, load_id_of, place
from touchstone.landing.ledger import (
    Ledger,
    LoadedFile,
    LoadRecord,
    Person,
    Removal,
    Replacement,
    removed_folders,
    verify_files,
)
from touchstone.landing.persons import Erasure, erased_persons
from touchstone.landing.sql import Limits, connection_with, literal, parquet, quoted


@dataclass(frozen=True)
class Reason:
    """Who has a person erased, why, and when."""

    who: str
    why: str
    at: datetime


def erase(
    landing: Path, contract: Contract, person: Person, reason: Reason, *, limits: Limits | None = None
) -> list[Removal]:
    """Takes a person's rows out of every load, and keeps them from landing again; one writer at a time.

    Args:
        landing: The landing zone.
        contract: The contract.
        person: Whose rows.
        reason: What the ledger says of it.
        limits: Threads and memory for DuckDB; the loads do not depend on it.

    Returns:
        The ledger's lines about this person, those of an earlier attempt too.

    Raises:
        BadInputError: No load holds anything of this person, and none ever did.
        VerificationError: The ledger is damaged, or a load is not what it says.
    """
    ledger = Ledger(landing)
    records = ledger.read()
    verify_files(landing, (record for record in records if record.status == "accepted"))
    work = landing.resolve() / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    work.mkdir(mode=0o700, parents=True)
    try:
        with connection_with(limits or Limits(), work) as connection:
            eraser = _Eraser(connection, contract, landing, work)
            for removal in eraser.removals(records, person, reason):
                with failpoint("erase.ledger", ledger.log.path):
                    ledger.append(removal)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    found = [line for line in ledger.removals() if line.person == person]
    if not found:
        raise BadInputError(
            f"No load holds anything of this {person.kind}, so nothing was erased. Check kind and hash: the hash must be made "
            "under the key with which the loads landed."
        )
    for folder in removed_folders(landing, ledger.lines()):
        with failpoint("erase.remove", folder):
            discard(folder)
    return found


class _Eraser:
    """Writes loads again without one person."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, contract: Contract, landing: Path, work: Path) -> None:
        self.connection = connection
        self.contract = contract
        self.landing = landing
        self.work = work

    def removals(self, records: list[LoadRecord], person: Person, reason: Reason) -> Iterator[Removal]:
        """Writes and places the loads that stand in, yielding after each the line that makes it count."""
        erasure = Erasure(self.connection, self.contract, [person])
        loads = {
            (record.table, record.load_id): record
            for record in records
            if record.status == "accepted" and record.table in self.contract.tables and erasure.touches(record.table)
        }
        order = {table: place for place, table in enumerate(self.contract.in_landing_order())}
        parents_first = sorted(loads.values(), key=lambda load: (order[load.table], str(load.load_id)))
        for load in parents_first:
            rows = parquet(load.paths(self.landing))
            erasure.collect(load.table, _columns(self.connection, rows), rows)
        for load in sorted(parents_first, key=lambda load: -order[load.table]):
            if (removal := self._written(erasure, load, person, reason)) is not None:
                yield removal

    def _written(self, erasure: Erasure, load: LoadRecord, person: Person, reason: Reason) -> Removal | None:
        """Writes one load again, if it holds something of the person; the same bytes as if it had landed without."""
        rows = parquet(load.paths(self.landing))
        columns = _columns(self.connection, rows)
        goes, is_cleared = erasure.goes(load.table, columns), erasure.is_cleared(load.table, columns)
        counted = self.connection.execute(
            f"select count(*) filter (where {goes}), count(*) filter (where not ({goes}) and ({is_cleared})), count(*) "
            f"from {rows}"
        ).fetchall()
        removed, cleared, total = counted[0]
        if not removed and not cleared:
            return None
        target = self.work / f"{load.table}-{load.load_id}.parquet"
        sorting = ", ".join(quoted(name) for name in self.contract.tables[load.table].sorting if name in columns)
        query = f"{erasure.select(load.table, columns, rows)} order by {sorting}"
        self.connection.execute(f"copy ({query}) to {literal(str(target))} ({PARQUET_OPTIONS})")
        digest = sha256_file(target)
        load_id = load_id_of(load.table, digest)
        place(target, self.landing / load.table / load_id, digest)
        return Removal(
            status="erased",
            table=load.table,
            load_id=str(load.load_id),
            files=load.files,
            replacement=Replacement(
                load_id=load_id, files=(LoadedFile(name=FILE_NAME, sha256=digest, rows=total - removed),)
            ),
            person=person,
            removed_rows=removed,
            cleared_rows=cleared,
            who=reason.who,
            why=reason.why,
            at=reason.at,
        )


def unfinished(landing: Path, contract: Contract) -> list[str]:
    """Returns `<table>/<load_id>` of each load that holds rows of somebody who was erased: the command was cut short."""
    ledger = Ledger(landing)
    persons = erased_persons(ledger.removals())
    if not persons:
        return []
    with duckdb.connect(":memory:") as connection:
        erasure = Erasure(connection, contract, persons)
        found: dict[str, None] = {}
        for load in ledger.read():
            if load.status == "accepted" and load.table in contract.tables and erasure.touches(load.table):
                rows = parquet(load.paths(landing))
                columns = _columns(connection, rows)
                condition = f"{erasure.goes(load.table, columns)} or {erasure.is_cleared(load.table, columns)}"
                if connection.execute(f"select 1 from {rows} where {condition} limit 1").fetchone():
                    found[f"{load.table}/{load.load_id}"] = None
    return list(found)


def _columns(connection: duckdb.DuckDBPyConnection, rows: str) -> list[str]:
    return [row[0] for row in connection.execute(f"describe select * from {rows}").fetchall()]
