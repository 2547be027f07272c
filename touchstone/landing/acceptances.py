"""Loads that a person accepted although the volume gate refused them, in a hash-chained log next to the ledger.

An acceptance holds for one load of one table, identified by its content: a later load is judged again, against the accepted one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from expectations.contract import Contract
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.hash_chain import PREVIOUS, ChainedLog
from touchstone.landing.ledger import Ledger, LoadRecord, pinned_loads

SMALLEST_SHARE = 0.5
"""The gate `volume_holds` refuses a load with fewer rows than this share of the one before."""


class Acceptance(BaseModel):
    """A line of the log.

    Attributes:
        table: The contract's table.
        load_id: The accepted load.
        row_count: Its rows, or those of its source if the table is extracted incrementally.
        previous_row_count: Those of the load before.
        who: Who accepted it.
        why: The reason given.
        at: When (UTC).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    load_id: str
    row_count: int
    previous_row_count: int
    who: str
    why: str
    at: datetime


def _log(landing: Path) -> ChainedLog:
    return ChainedLog(landing / "ledger" / "acceptances.jsonl")


def read_acceptances(landing: Path) -> list[Acceptance]:
    """Returns every acceptance, oldest first.

    Raises:
        VerificationError: The hash chain is broken.
    """
    lines = _log(landing).read()
    return [Acceptance.model_validate({k: v for k, v in line.items() if k != PREVIOUS}) for line in lines]


def accepted_reasons(landing: Path, load_ids: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns the reason of the acceptance by table, for those of some loads that were accepted.

    Args:
        landing: The landing zone.
        load_ids: Tables and load ids.
    """
    wanted = set(load_ids)
    return {line.table: line.why for line in read_acceptances(landing) if (line.table, line.load_id) in wanted}


def accept_load(landing: Path, contract: Contract, table: str, *, who: str, why: str, now: datetime) -> Acceptance:
    """Accepts the newest load of a table that has fewer than half of the rows of the one before.

    Args:
        landing: The landing zone; the caller holds the writer lock.
        contract: The contract.
        table: The contract's table.
        who: Who accepts it.
        why: The reason.
        now: The time, with a time zone.

    Returns:
        The line that was appended.

    Raises:
        BadInputError: No reason is given, the table has no load, or the volume gate does not refuse its newest one.
        VerificationError: A log is damaged.
    """
    if not why.strip():
        raise BadInputError('--why is empty. Say why the table is smaller, such as --why "closed shops were removed".')
    records = [load for load in Ledger(landing).read() if load.table == table and not load.is_recorded]
    loads = pinned_loads(records, contract).source_loads(table)
    if not loads:
        raise BadInputError(f"No load of {table} is in use. The tables are {', '.join(contract.tables)}.")
    count, before = _shrunken(records, loads)
    if before is None or count >= before * SMALLEST_SHARE:
        than = f"the load before has {before:,}" if before is not None else "there is no load before"
        raise BadInputError(
            f"The newest load of {table} is not refused for its volume: it has {format_count(count, 'row')}, and {than}. "
            "There is nothing to accept."
        )
    line = Acceptance(
        table=table,
        load_id=str(loads[-1].load_id),
        row_count=count,
        previous_row_count=before,
        who=who,
        why=why.strip(),
        at=now,
    )
    _log(landing).append(line.model_dump(mode="json"))
    return line


def _shrunken(records: list[LoadRecord], loads: tuple[LoadRecord, ...]) -> tuple[int, int | None]:
    """Returns the rows of a table and those before: of its source if it is extracted incrementally, else of its full loads."""
    tried = [load for load in records if load.status != "refused"]
    full = [load for load in tried if load.status == "accepted" and load.mode == "full"]
    counted = [load.source_rows if load.source_rows is not None else load.row_count for load in tried]
    if tried[-1].mode == "incremental" and len(counted) > 1 and counted[-1] < counted[-2] * SMALLEST_SHARE:
        return counted[-1], counted[-2]
    return sum(load.row_count for load in loads), full[-2].row_count if len(full) > 1 else None
