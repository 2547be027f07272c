"""Audits: plans which entities somebody should decide on, by a random draw with known inclusion probabilities.

    audits/<plan_id>/{plan.json,picks.parquet,decision_sheet.csv}

A test buy without the purchase: the decisions on the drawn entities show which score means which probability. The draw is that of
test buys, with equal costs. Decisions enter as rows of the contract's `moderation_decisions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ml.sampling import Design, design_strata, draw
from touchstone.casework.outcomes import record_rows
from touchstone.casework.plans import (
    WINDOW_DAYS,
    Pick,
    Plan,
    Row,
    Sheet,
    earlier_picks,
    frame_digest,
    plan_id_of,
    read_plan,
    read_sheet,
    sampling_frame,
    seed_of,
    with_risks,
)
from touchstone.core.errors import BadInputError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import replacing_directory, write_json
from touchstone.core.home import Home
from touchstone.core.lists import LISTS
from touchstone.core.settings import Settings
from touchstone.landing.land import Recorded
from touchstone.publishing.candidate import csv_bytes

AuditedList = Literal["listings", "merchants"]
PLANS_COMMAND = "touchstone audits plan"
SHEET = Sheet(
    name="decision_sheet.csv",
    noun="entity",
    key="entity_id",
    needed=("plan_id", "entity_id", "verdict", "decided_at"),
    filled_by=("verdict",),
)
SHEET_COLUMNS = ("verdict", "decided_at", "decided_by", "reason")
"""Columns of the decision sheet that the auditor fills in; the plan fills the others."""
VERDICTS = ("fake", "genuine")
LABELS: Mapping[AuditedList, str] = {"listings": "title", "merchants": "name"}

FRAME = """
select
    rated.{key} as entity_id,
    rated.merchant_id,
    rated.{label} as label,
    rated.url,
    rated.brand,
    coalesce(rated.category, '') as category,
    1.0::double as cost,
    rated.score
from read_parquet($rated, hive_partitioning = false) as rated
anti join planned
    on planned.entity_id = rated.{key}
where rated.score is not null
order by entity_id
"""


@dataclass(frozen=True)
class Request:
    """The parameters of a plan.

    Attributes:
        list_name: The list whose rated entities form the frame.
        size: Number of decisions.
        as_of: The rated day.
        seed: Seed of the draw; None derives it from the frame and the day.
        merchant_cap: Maximum number of decisions on listings of one merchant.
        window_days: An entity is not drawn again within this many days.
    """

    list_name: AuditedList
    size: int
    as_of: date
    seed: int | None = None
    merchant_cap: int = 2
    window_days: int = WINDOW_DAYS


def plan_audit(settings: Settings, request: Request) -> Plan:
    """Draws a plan and writes it with its decision sheet. The same request over the same frame gives the existing plan.

    Args:
        settings: The settings; the caller holds the home's lock.
        request: The parameters.

    Returns:
        The plan as read back.

    Raises:
        BadInputError: The day was not rated, or there are too few entities or merchants for the size.
    """
    frame = _frame(settings, request)
    if frame.num_rows < request.size:
        raise BadInputError(
            f"--size {request.size:,}: only {frame.num_rows:,} of the "
            f"{request.list_name} rated as of {request.as_of} can be drawn. Give a smaller size."
        )
    design = Design(budget=float(request.size), merchant_cap=request.merchant_cap)
    strata = design_strata(sampling_frame(frame, "entity_id"), design)
    digest = frame_digest(frame.select(["entity_id", "merchant_id", "category", "risk"]))
    seed = seed_of(request.seed, digest, request.as_of)
    drawn = draw(strata, seed)
    facts = {
        "list": request.list_name,
        "size": request.size,
        "as_of": str(request.as_of),
        "seed": seed,
        "merchant_cap": request.merchant_cap,
        "window_days": request.window_days,
        "risk_part": design.risk_part,
        "frame": {"sha256": digest, "entities": frame.num_rows},
    }
    plan_id = plan_id_of(request.as_of, facts)
    picks = frame.take(pa.array(drawn.listing)).append_column(
        "inclusion_probability", pa.array(strata.probability[drawn.listing])
    )
    _write(Home(settings.home).audits / plan_id, {"plan_id": plan_id, **facts}, picks)
    return read_audit_plan(settings, plan_id)


def read_audit_plan(settings: Settings, plan_id: str | None = None) -> Plan:
    """Reads an audit plan; see `read_plan`."""
    return read_plan(Home(settings.home).audits, PLANS_COMMAND, plan_id)


def record_audit(settings: Settings, file: Path, *, is_dry: bool = False) -> Recorded:
    """Records the decisions of a completed decision sheet atomically. Rows that are not filled in yet are ignored.

    Args:
        settings: The settings; the caller holds the home's lock.
        file: CSV with plan_id, entity_id, verdict and decided_at, and optionally decided_by and reason.
        is_dry: Only check and count; record nothing.

    Returns:
        The counts, and the load if one was recorded.

    Raises:
        BadInputError: The file cannot be read, or a row is invalid: an entity that the plan did not draw or that is repeated, an
            unknown verdict, or a verdict without a time.
    """
    completed = read_sheet(file, SHEET, partial(read_audit_plan, settings), _problem)
    decisions = [_decision(row, pick, plan) for row, pick, plan in completed]
    return record_rows(settings, "moderation_decisions", decisions, label=file.name, is_dry=is_dry)


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Returns a plan as plain data."""
    picks = [{name: pick[name] for name in ("entity_id", "inclusion_probability")} for pick in plan.picks]
    return {**plan.facts, "picks": picks, "folder": str(plan.folder)}


def _frame(settings: Settings, request: Request) -> pa.Table:
    """Returns the entities that can be drawn, by id: those rated that no plan of an earlier day drew lately."""
    rated, home = LISTS[request.list_name], Home(settings.home)
    mart = home.mart(rated.mart, request.as_of)
    if not mart.is_file():
        raise BadInputError(
            f"{request.list_name} were not rated as of {request.as_of}: {mart} does not exist. Run "
            f"`touchstone run --as-of {request.as_of}` first, or name another day with --as-of."
        )
    window_start = request.as_of - timedelta(days=request.window_days)
    with duckdb.connect(":memory:") as connection:
        connection.execute("create table planned (entity_id varchar)")
        if plans := earlier_picks(home.audits, window_start, request.as_of):
            connection.execute("insert into planned select entity_id from read_parquet($plans)", {"plans": plans})
        query = FRAME.format(key=rated.key, label=LABELS[request.list_name])
        frame = connection.execute(query, {"rated": str(mart)}).to_arrow_table()
    return with_risks(settings, request.list_name, mart, frame)


def _problem(row: Row) -> str | None:
    """Returns the error in the values of a row of a decision sheet, or None."""
    if row["verdict"] not in VERDICTS:
        return f"verdict {row['verdict']!r} is not one of {', '.join(VERDICTS)}"
    if not row.get("decided_at"):
        return f"the verdict {row['verdict']} has no decided_at; give the time of the decision"
    return None


def _decision(row: Row, pick: Pick, plan: Plan) -> dict[str, object]:
    """Returns a row of the contract's table moderation_decisions, from a row of the sheet and its pick."""
    return {
        "entity_kind": LISTS[plan.facts["list"]].entity,
        "entity_id": pick["entity_id"],
        "violation_type": "counterfeit",
        "decided_at": row["decided_at"],
        "verdict": row["verdict"],
        "decided_by": row.get("decided_by") or None,
        "reason": row.get("reason") or None,
        "inclusion_probability": pick["inclusion_probability"],
    }


def _write(folder: Path, facts: Mapping[str, Any], picks: pa.Table) -> None:
    """Writes the files of a plan, unless the plan exists already."""
    if (folder / "plan.json").is_file():
        return
    sheet = picks.drop_columns(["cost", "risk", "inclusion_probability"])
    sheet = sheet.add_column(0, "plan_id", pa.array([folder.name] * picks.num_rows))
    for name in SHEET_COLUMNS:
        sheet = sheet.append_column(name, pa.array([""] * picks.num_rows))
    with failpoint("audits.plan", folder), replacing_directory(folder) as temporary:
        pq.write_table(picks, temporary / "picks.parquet", compression="zstd")
        (temporary / SHEET.name).write_bytes(csv_bytes(sheet))
        write_json(temporary / "plan.json", facts)
