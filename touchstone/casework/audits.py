"""Audits: plans which entities somebody should decide on, by a random draw with known inclusion probabilities.

    audits/<plan_id>/{plan.json,picks.parquet,decision_sheet.csv}

A test buy without the purchase: the decisions on the drawn entities show which score means which probability. The draw is that of
test buys (`ml/sampling.py`), with equal costs. Decisions enter as rows of the contract's `moderation_decisions`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ml.flagging import RANK_POWER
from ml.sampling import Design, design_strata, draw
from touchstone.casework.outcomes import read_texts, record_rows
from touchstone.casework.test_buys import rates_by_probability, sampling_frame
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, replacing_directory, sha256_bytes, write_json
from touchstone.core.home import Home
from touchstone.core.lists import LISTS
from touchstone.core.parquet import read_small_parquet
from touchstone.core.settings import Settings
from touchstone.core.text import shorten
from touchstone.landing.land import Recorded
from touchstone.publishing.candidate import csv_bytes

AuditedList = Literal["listings", "merchants"]
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
    case when $is_calibrated then rated.score / 100 else pow(rated.score / 100, $rank_power) end as risk
from read_parquet($rated, hive_partitioning = false) as rated
anti join read_parquet($plans, union_by_name = true) as planned on planned.entity_id = rated.{key}
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
    window_days: int = 90


@dataclass(frozen=True)
class Plan:
    """A plan on disk; `facts` holds plan.json, `picks` the rows of picks.parquet."""

    folder: Path
    facts: Mapping[str, Any]
    picks: Sequence[Mapping[str, Any]]

    @property
    def plan_id(self) -> str:
        """The id of the plan: its day and a digest of its contents."""
        return self.folder.name


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
    strata = design_strata(sampling_frame(frame, key="entity_id"), design)
    digest = sha256_bytes(canonical_json([frame["entity_id"].to_pylist(), frame["risk"].to_pylist()]))
    seed = int(sha256_bytes(f"{digest} {request.as_of}".encode())[:8], 16) if request.seed is None else request.seed
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
    plan_id = f"{request.as_of}-{sha256_bytes(canonical_json(facts))[:12]}"
    picks = frame.take(pa.array(drawn.listing)).append_column(
        "inclusion_probability", pa.array(strata.probability[drawn.listing])
    )
    folder = Home(settings.home).audits / plan_id
    _write(folder, {"plan_id": plan_id, **facts}, picks)
    return read_plan(settings, plan_id)


def read_plan(settings: Settings, plan_id: str) -> Plan:
    """Reads a plan.

    Raises:
        BadInputError: There is no such plan.
    """
    folder = Home(settings.home).audits / plan_id
    known = sorted(path.parent.name for path in Home(settings.home).audits.glob("*/plan.json"))
    if plan_id not in known:
        raise BadInputError(
            f"There is no audit plan {plan_id!r}; the newest are {', '.join(known[-5:]) or 'none'}. `touchstone audits plan` "
            "creates one."
        )
    return Plan(
        folder,
        json.loads((folder / "plan.json").read_bytes()),
        read_small_parquet(folder / "picks.parquet").to_pylist(),
    )


def record_audit(settings: Settings, file: Path, *, is_dry: bool = False) -> Recorded:
    """Records the decisions of a completed decision sheet atomically. Rows that are not filled in yet are ignored.

    Args:
        settings: The settings; the caller holds the home's lock.
        file: CSV with plan_id, entity_id, verdict and decided_at, and optionally decided_by and reason.
        is_dry: Only check and count; record nothing.

    Returns:
        The counts, and the load if one was recorded.

    Raises:
        BadInputError: The file cannot be read, or a row is invalid: an entity that the plan did not draw, an unknown verdict,
            or a verdict without a time.
    """
    header, rows = read_texts(file)
    if missing := [name for name in ("plan_id", "entity_id", "verdict", "decided_at") if name not in header]:
        raise BadInputError(
            f"{file} has no column {', '.join(missing)}. Use the decision_sheet.csv of the plan, which has all columns."
        )
    filled = [(line, row) for line, row in enumerate(rows, start=2) if row.get("verdict")]
    if not filled:
        raise BadInputError(f"{file}: no row has a verdict, so there is nothing to record. Fill in the sheet first.")
    plans = {plan_id: read_plan(settings, plan_id) for plan_id in sorted({row["plan_id"] or "" for _, row in filled})}
    drawn = {(plan_id, pick["entity_id"]): pick for plan_id, plan in plans.items() for pick in plan.picks}
    errors = [f"line {line}: {problem}" for line, row in filled if (problem := _problem(row, drawn))]
    if errors:
        shown = "\n".join(f"  {error}" for error in errors[:10])
        raise BadInputError(
            f"{file}: nothing was recorded; {format_count(len(errors), 'row')} invalid:\n{shown}\nCorrect them in the file "
            "and record it again."
        )
    decisions = [_decision(row, plans[row["plan_id"] or ""], drawn) for _, row in filled]
    return record_rows(settings, "moderation_decisions", decisions, label=file.name, is_dry=is_dry)


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Returns a plan as plain data."""
    picks = [{name: pick[name] for name in ("entity_id", "inclusion_probability")} for pick in plan.picks]
    return {**plan.facts, "picks": picks, "folder": str(plan.folder)}


def _frame(settings: Settings, request: Request) -> pa.Table:
    """Returns the entities that can be drawn, by id: those rated that no plan of an earlier day drew lately."""
    rated = LISTS[request.list_name]
    mart = Home(settings.home).mart(rated.mart, request.as_of)
    if not mart.is_file():
        raise BadInputError(
            f"{request.list_name} were not rated as of {request.as_of}: {mart} does not exist. Run "
            f"`touchstone run --as-of {request.as_of}` first, or name another day with --as-of."
        )
    window_start = request.as_of - timedelta(days=request.window_days)
    plans = sorted(
        str(path)
        for path in Home(settings.home).audits.glob("*/picks.parquet")
        if window_start <= date.fromisoformat(path.parent.name[:10]) < request.as_of
    )
    query = FRAME.format(key=rated.key, label=LABELS[request.list_name])
    parameters: dict[str, object] = {
        "rated": str(mart),
        "is_calibrated": rates_by_probability(settings, request.list_name, mart),
        "rank_power": RANK_POWER,
    }
    if plans:
        parameters["plans"] = plans
    else:
        query = "\n".join(line for line in query.splitlines() if not line.startswith("anti join"))
    with duckdb.connect(":memory:") as connection:
        return connection.execute(query, parameters).to_arrow_table()


def _problem(row: Mapping[str, str | None], drawn: Mapping[tuple[str, str], object]) -> str | None:
    """Returns the error in a row of a decision sheet, or None."""
    plan_id, entity_id = row["plan_id"] or "", row["entity_id"] or ""
    if (plan_id, entity_id) not in drawn:
        return f"plan {plan_id} did not draw {shorten(entity_id)!r}"
    if row["verdict"] not in VERDICTS:
        return f"verdict {row['verdict']!r} is not one of {', '.join(VERDICTS)}"
    if not row.get("decided_at"):
        return f"the verdict {row['verdict']} has no decided_at; give the time of the decision"
    return None


def _decision(
    row: Mapping[str, str | None], plan: Plan, drawn: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, object]:
    """Returns a row of the contract's table moderation_decisions."""
    pick = drawn[plan.plan_id, row["entity_id"] or ""]
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
        (temporary / "decision_sheet.csv").write_bytes(csv_bytes(sheet))
        write_json(temporary / "plan.json", facts)
