"""Erases a person's rows from every load.

Each load that holds such rows is written again without them, under the id of its new content. A line of the ledger names the old
and the new digests; from then on the new load replaces the old one. Finally the old load's folder is removed. Loads whose rows
refer to erased rows are written first, so that a killed command finds the remaining rows when it is run again.
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
from touchstone.landing.land import FILE_NAME, PARQUET_OPTIONS, commit_load, load_id_of
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
    """Who erases a person, why, and when."""

    who: str
    why: str
    at: datetime


def erase(
    landing: Path, contract: Contract, person: Person, reason: Reason, *, limits: Limits | None = None
) -> list[Removal]:
    """Removes a person's rows from every load, and keeps them from landing again. The caller holds the writer lock.

    Args:
        landing: The landing zone.
        contract: The contract.
        person: The person.
        reason: Recorded in the ledger.
        limits: Threads and memory for DuckDB; the loads do not depend on it.

    Returns:
        The ledger's removals for this person, including those of earlier attempts.

    Raises:
        BadInputError: No load holds, or ever held, data of this person.
        VerificationError: The ledger is damaged, or a load does not match it.
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
    removals = [line for line in ledger.removals() if line.person == person]
    if not removals:
        raise BadInputError(
            f"No load holds data of this {person.kind}, so nothing was erased. Check kind and hash: the hash must be computed "
            "with the key with which the loads landed."
        )
    for folder in removed_folders(landing, ledger.lines()):
        with failpoint("erase.remove", folder):
            discard(folder)
    return removals


class _Eraser:
    """Writes loads again without one person's rows."""

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
            if record.status == "accepted"
            and record.table in self.contract.tables
            and erasure.may_contain(record.table)
        }
        order = {table: index for index, table in enumerate(self.contract.in_landing_order())}
        parents_first = sorted(loads.values(), key=lambda load: (order[load.table], str(load.load_id)))
        for load in parents_first:
            rows = parquet(load.paths(self.landing))
            erasure.collect(load.table, _columns(self.connection, rows), rows)
        for load in sorted(parents_first, key=lambda load: -order[load.table]):
            if (removal := self._written(erasure, load, person, reason)) is not None:
                yield removal

    def _written(self, erasure: Erasure, load: LoadRecord, person: Person, reason: Reason) -> Removal | None:
        """Writes one load again if it holds data of the person; the bytes equal those of a load without that data."""
        rows = parquet(load.paths(self.landing))
        columns = _columns(self.connection, rows)
        is_removed, is_cleared = erasure.is_removed(load.table, columns), erasure.is_cleared(load.table, columns)
        counts = self.connection.execute(
            f"select count(*) filter (where {is_removed}), "
            f"count(*) filter (where not ({is_removed}) and ({is_cleared})), count(*) from {rows}"
        ).fetchall()
        removed, cleared, total = counts[0]
        if not removed and not cleared:
            return None
        target = self.work / f"{load.table}-{load.load_id}.parquet"
        sorting = ", ".join(quoted(name) for name in self.contract.tables[load.table].sorting if name in columns)
        query = f"{erasure.select(load.table, columns, rows)} order by {sorting}"
        self.connection.execute(f"copy ({query}) to {literal(str(target))} ({PARQUET_OPTIONS})")
        digest = sha256_file(target)
        load_id = load_id_of(load.table, digest)
        commit_load(target, self.landing / load.table / load_id, digest)
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


def unfinished_erasures(landing: Path, contract: Contract) -> list[str]:
    """Returns `<table>/<load_id>` of each load that still holds rows of an erased person: the command was killed."""
    ledger = Ledger(landing)
    persons = erased_persons(ledger.removals())
    if not persons:
        return []
    with duckdb.connect(":memory:") as connection:
        erasure = Erasure(connection, contract, persons)
        unfinished: dict[str, None] = {}
        for load in ledger.read():
            if load.status == "accepted" and load.table in contract.tables and erasure.may_contain(load.table):
                rows = parquet(load.paths(landing))
                columns = _columns(connection, rows)
                condition = f"{erasure.is_removed(load.table, columns)} or {erasure.is_cleared(load.table, columns)}"
                if connection.execute(f"select 1 from {rows} where {condition} limit 1").fetchone():
                    unfinished[f"{load.table}/{load.load_id}"] = None
    return list(unfinished)


def _columns(connection: duckdb.DuckDBPyConnection, rows: str) -> list[str]:
    return [row[0] for row in connection.execute(f"describe select * from {rows}").fetchall()]
