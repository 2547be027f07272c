"""The summary of a run: what was rated and flagged, the riskiest listings with reasons, the published lists, the stage times."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from touchstone.cli.tables import render_table
from touchstone.core.home import Home
from touchstone.core.lists import LISTS
from touchstone.core.settings import Settings
from touchstone.core.text import (
    MOST_SENTENCE_COLUMNS,
    MOST_TITLE_COLUMNS,
    shorten,
    wrap,
)

if TYPE_CHECKING:
    from orchestration.pipeline import PipelineResult

RISKIEST_SHOWN = 10
HELD = "held by "


def summarise(settings: Settings, result: PipelineResult) -> dict[str, Any]:
    """Returns the summary as plain data, as `--json` prints it."""
    from touchstone.casework.coverage import read_coverage

    stages = {stage.name: stage.seconds for stage in result.record.stages}
    return {
        "run_id": result.record.run_id,
        "as_of": str(result.as_of) if result.as_of else None,
        "exit_code": int(result.exit_code),
        "messages": result.messages,
        "notes": result.record.facts.get("notes", []),
        "rated": {name: _rated(result, name) for name in LISTS} if result.as_of else {},
        "fallbacks": result.record.facts.get("fallbacks", {}),
        "coverage": read_coverage(settings.home, result.as_of) if result.as_of else None,
        "worst": _riskiest(settings, result.as_of) if result.as_of else [],
        "lists": {name: _published(settings, name) for name in LISTS},
        "stage_seconds": stages,
        "seconds": round(sum(stages.values()), 1),
        "home": str(settings.home),
    }


def render_summary(summary: dict[str, Any]) -> str:
    """Returns the summary as text."""
    from touchstone.casework.coverage import render_coverage

    was_rated = any(counts["rated"] for counts in summary["rated"].values())
    lines = [f"Touchstone rated the marketplace as of {summary['as_of']}." if was_rated else "Nothing was rated."]
    for name, counts in summary["rated"].items():
        if counts["rated"]:
            held = "".join(f", {count:,} held by {cause}" for cause, count in counts["held"].items())
            lines.append(f"  {name:<18} {counts['rated']:>9,} rated, {counts['flagged']:>6,} flagged{held}")
            for note in summary["fallbacks"].get(name, []):
                lines += wrap(note, "    ", "    ")
        elif was_rated:
            lines.append(f"  {name:<18} not rated: the model is off")
    lines += [f"  {note}" for note in summary["notes"]]
    if summary["coverage"]:
        lines += ["", *render_coverage(summary["coverage"])]
    if summary["worst"]:
        lines += ["", f"The {len(summary['worst'])} riskiest listings"]
    for row in summary["worst"]:
        lines += [f"  {row['score']:5.1f}  {shorten(row['title'], MOST_TITLE_COLUMNS)}", *wrap_reasons(row["why"], 9)]
    lines += ["", "Published lists"]
    for name, path in summary["lists"].items():
        lines.append(f"  {name:18} {path or 'none yet'}")
    lines += ["", "Seconds by stage"]
    stages = [(name, f"{seconds:.1f}") for name, seconds in summary["stage_seconds"].items()]
    lines += render_table((), stages, right=(1,), indent=2)
    lines += ["", "To explore the results: touchstone ui   (or `make ui`)"]
    return "\n".join(lines)


def _rated(result: PipelineResult, name: str) -> dict[str, Any]:
    """Returns how many entities were rated, flagged and, by cause, held back; without a candidate, as scores say."""
    rows = {stage.name: stage.rows for stage in result.record.stages}
    counts = rows.get(f"candidate {name}") or rows.get(f"score {name}", {})
    held = {key.removeprefix(HELD): count for key, count in counts.items() if key.startswith(HELD) and count}
    return {"rated": counts.get("rated", 0), "flagged": counts.get("flagged", 0), "held": held}


def _riskiest(settings: Settings, as_of: date | None) -> list[dict[str, Any]]:
    if as_of is None or not (path := Home(settings.home).mart("rated_listings", as_of)).exists():
        return []
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "select listing_id, title, score, reasons from read_parquet(?, hive_partitioning = false) "
            "where score is not null order by score desc, margin desc, listing_id limit ?",
            [str(path), RISKIEST_SHOWN],
        ).fetchall()
    return [
        {"listing_id": listing_id, "title": title, "score": score, "why": describe_reasons(reasons)}
        for listing_id, title, score, reasons in rows
    ]


def describe_reasons(reasons: str | None, audience: str = "internal") -> str:
    """Describes the first reasons that an audience may read, in one line."""
    texts = [reason["text"] + _quote(reason) for reason in json.loads(reasons or "[]")[:3]]
    if texts:
        return "; ".join(texts)
    is_all = audience == "internal" or not reasons
    return "no reasons recorded" if is_all else f"no reason may be shown to this audience ({audience})"


def wrap_reasons(why: str, indent: int) -> list[str]:
    """Wraps reasons as indented lines; quotes in them may be of any length."""
    return wrap(shorten(why, 2 * MOST_SENTENCE_COLUMNS), " " * indent, " " * indent)


def _quote(reason: dict[str, Any]) -> str:
    return f" ({reason['quote']})" if "quote" in reason else ""


def _published(settings: Settings, name: str) -> str | None:
    latest: Path = Home(settings.home).published / name / "LATEST"
    return str(latest.parent / latest.read_text().strip() / f"{name}.csv") if latest.exists() else None
