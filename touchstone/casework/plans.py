"""Plans of random draws and their completed sheets: what test buys and audits have in common.

    <folder>/<plan_id>/{plan.json,picks.parquet,...}

A plan is a probability sample of the rated entities of a day, drawn by `ml/sampling.py`. People fill in its sheet; the rows of
the sheet are matched with the picks, which hold the inclusion probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.flagging import rank_risk
from ml.registry import Registry
from ml.sampling import Frame
from touchstone.casework.outcomes import read_texts
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.files import canonical_json, sha256_bytes
from touchstone.core.home import Home
from touchstone.core.last_run import what_is_missing
from touchstone.core.lists import LISTS, ListName
from touchstone.core.parquet import read_small_parquet
from touchstone.core.settings import Settings
from touchstone.core.text import shorten
from touchstone.publishing.candidate import cell_of

WINDOW_DAYS = 90
Row = Mapping[str, str | None]
Pick = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A plan on disk; `facts` holds plan.json, `picks` the rows of picks.parquet."""

    folder: Path
    facts: Mapping[str, Any]
    picks: Sequence[Pick]

    @property
    def plan_id(self) -> str:
        """The id of the plan: its day and a digest of its contents."""
        return self.folder.name


@dataclass(frozen=True)
class Sheet:
    """The sheet of a kind of plan.

    Attributes:
        name: Its file name.
        noun: What a row is about, for messages.
        key: The column with the id of what was drawn.
        needed: The columns without which a row cannot be recorded.
        filled_by: The columns of which at least one is filled in when a row is to be recorded.
    """

    name: str
    noun: str
    key: str
    needed: tuple[str, ...]
    filled_by: tuple[str, ...]


# Drawing --------------------------------------------------------------------------------------------------------------


def newest_rated(settings: Settings, list_name: ListName) -> date:
    """Returns the newest day on which the entities of a list were rated.

    Raises:
        BadInputError: No day was rated.
    """
    days = Home(settings.home).mart_dates(LISTS[list_name].mart)
    if not days:
        raise BadInputError(f"No day was rated yet. {what_is_missing(settings.home, 'Run `touchstone run` first.')}")
    return days[-1]


def with_risks(settings: Settings, list_name: ListName, mart: Path, frame: pa.Table) -> pa.Table:
    """Replaces the column score by the risk to assume, from 0 to 1, which is the probability where scores are calibrated.

    Args:
        settings: The settings.
        list_name: The list of the mart.
        mart: The mart that the frame was made of.
        frame: Rows with a score.
    """
    digests = pc.unique(pq.read_table(mart, columns=["model_digest"], partitioning=None)["model_digest"]).to_pylist()
    registry = Registry(settings.home)
    champions = [registry.once_champion(LISTS[list_name].model, digest) for digest in digests if digest is not None]
    score = frame["score"].to_numpy()
    is_ranking = any(champion is not None and not champion.is_calibrated for champion in champions)
    risk = rank_risk(score) if is_ranking else score / 100.0
    return frame.drop_columns(["score"]).append_column("risk", pa.array(risk))


def sampling_frame(frame: pa.Table, key: str, certain: Sequence[str] = ()) -> Frame:
    """Returns the rows that can be drawn as arrays.

    Args:
        frame: Columns `key`, merchant_id, category, cost and risk.
        key: The column with the ids.
        certain: Ids that are drawn with certainty.
    """

    def codes(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.asarray(pc.rank(frame[name], tiebreaker="dense").to_numpy(), dtype=np.int64) - 1

    return Frame(
        merchant=codes("merchant_id"),
        category=codes("category"),
        cost=frame["cost"].to_numpy(),
        risk=frame["risk"].to_numpy(),
        certain=np.isin(np.asarray(frame[key].to_pylist(), dtype=object), list(certain)),
    )


def frame_digest(frame: pa.Table) -> str:
    """Returns the SHA-256 of the rows that can be drawn."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, frame.schema) as writer:
        writer.write_table(frame.combine_chunks())
    return sha256_bytes(bytes(sink.getvalue()))


def seed_of(given: int | None, frame_sha256: str, as_of: date) -> int:
    """Returns the seed of a draw: the one given, else one derived from the frame and the day."""
    return int(sha256_bytes(f"{frame_sha256} {as_of}".encode())[:8], 16) if given is None else given


def plan_id_of(as_of: date, facts: Mapping[str, Any]) -> str:
    """Returns the id of a plan with these facts."""
    return f"{as_of}-{sha256_bytes(canonical_json(facts))[:12]}"


def earlier_picks(folder: Path, window_start: date, as_of: date) -> list[str]:
    """Returns the picks of plans of earlier days within the window. Plans of the same day are alternatives."""
    plans = folder.glob("*/picks.parquet")
    return sorted(str(path) for path in plans if window_start <= date.fromisoformat(path.parent.name[:10]) < as_of)


def read_plan(folder: Path, command: str, plan_id: str | None = None) -> Plan:
    """Reads a plan.

    Args:
        folder: The folder of the plans of a kind.
        command: The command that creates such a plan, for messages.
        plan_id: The plan; by default the last by name, so one of the newest day.

    Raises:
        BadInputError: There is no such plan, or no plan at all.
    """
    known = sorted(path.parent.name for path in folder.glob("*/plan.json"))
    if not known:
        raise BadInputError(f"There is no plan in {folder} yet. `{command}` creates one.")
    if plan_id is not None and plan_id not in known:
        raise BadInputError(f"There is no plan {plan_id}; the newest are {', '.join(known[-5:])}.")
    path = folder / (plan_id or known[-1])
    return Plan(
        path, json.loads((path / "plan.json").read_bytes()), read_small_parquet(path / "picks.parquet").to_pylist()
    )


# Recording ------------------------------------------------------------------------------------------------------------


def read_sheet(
    file: Path, sheet: Sheet, read: Callable[[str], Plan], problem: Callable[[Row], str | None]
) -> list[tuple[Row, Pick, Plan]]:
    """Reads the completed rows of a sheet, each with its pick and plan. Rows that are not filled in yet are ignored.

    Args:
        file: The sheet, as CSV; other columns are ignored.
        sheet: What its kind of sheet has.
        read: Reads a plan by its id.
        problem: Returns what is wrong with the values of a row, or None.

    Raises:
        BadInputError: The file cannot be read, no row is filled in, or a row is invalid: not drawn, repeated, or with a problem.
    """
    header, rows = read_texts(file)
    if missing := [name for name in sheet.needed if name not in header]:
        raise BadInputError(
            f"{file} has no column {', '.join(missing)}. Use the {sheet.name} of the plan, which has all columns."
        )
    filled = [(line, row) for line, row in enumerate(rows, start=2) if any(row.get(name) for name in sheet.filled_by)]
    if not filled:
        raise BadInputError(
            f"{file}: no row has a value in {' or '.join(sheet.filled_by)}, so there is nothing to record. Fill in the "
            f"{sheet.name} first."
        )
    plans = {plan_id: read(plan_id) for plan_id in sorted({row["plan_id"] or "" for _, row in filled})}
    # The sheet escapes hidden characters in ids, and puts a ' before an id that a spreadsheet would run as a formula.
    picks = {(name, cell_of(pick[sheet.key])): pick for name, plan in plans.items() for pick in plan.picks}
    picks |= {(name, pick[sheet.key]): pick for name, plan in plans.items() for pick in plan.picks}
    completed: list[tuple[Row, Pick, Plan]] = []
    errors: list[str] = []
    lines: dict[tuple[str, str], int] = {}
    for line, row in filled:
        place = (row["plan_id"] or "", row[sheet.key] or "")
        if place not in picks:
            errors.append(f"line {line}: plan {place[0]} has no {sheet.noun} {place[1]!r}")
        elif place in lines:
            errors.append(f"line {line}: {sheet.noun} {shorten(place[1])} is in line {lines[place]} already")
        elif (message := problem(row)) is not None:
            errors.append(f"line {line}: {message}")
        else:
            lines[place] = line
            completed.append((row, picks[place], plans[place[0]]))
    if errors:
        shown = "\n".join(f"  {error}" for error in errors[:10])
        raise BadInputError(
            f"{file}: nothing was recorded; {format_count(len(errors), 'row')} invalid:\n{shown}\nCorrect them in the file and "
            f"record it again."
        )
    return completed
