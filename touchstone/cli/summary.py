"""What a person sees at the end of a run: how much was rated and flagged, the worst with their reasons, where it all is."""

from __future__ import annotations

import json
import textwrap
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

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

WORST_SHOWN = 10
HELD = "held by "
WIDTH = 120


def summarise(settings: Settings, result: PipelineResult) -> dict[str, Any]:
    """Returns the run as data: counts, the worst, lists, stages; what `--json` prints and `render` words."""
    stages = {stage.name: stage.seconds for stage in result.record.stages}
    return {
        "run_id": result.record.run_id,
        "as_of": str(result.as_of) if result.as_of else None,
        "exit_code": int(result.exit_code),
        "messages": result.messages,
        "notes": result.record.facts.get("notes", []),
        "rated": {name: _rated(result, name) for name in LISTS} if result.as_of else {},
        "fallbacks": result.record.facts.get("fallbacks", {}),
        "worst": _worst(settings, result.as_of) if result.as_of else [],
        "lists": {name: _published(settings, name) for name in LISTS},
        "stage_seconds": stages,
        "seconds": round(sum(stages.values()), 1),
        "home": str(settings.home),
    }


def render(summary: dict[str, Any]) -> str:
    """Returns the summary in words, for a terminal."""
    was_rated = any(counts["rated"] for counts in summary["rated"].values())
    lines = [f"Touchstone rated the marketplace as of {summary['as_of']}." if was_rated else "Nothing was rated."]
    for name, counts in summary["rated"].items():
        if counts["rated"]:
            held = "".join(f", {count:,} of them kept off by {what}" for what, count in counts["held"].items())
            lines.append(f"  {name:<18} {counts['rated']:>9,} rated, {counts['flagged']:>6,} flagged{held}")
            for note in summary["fallbacks"].get(name, []):
                lines += textwrap.wrap(note, WIDTH, initial_indent="    ", subsequent_indent="    ")
        elif was_rated:
            lines.append(f"  {name:<18} none rated: the model is off")
    lines += [f"  {note}" for note in summary["notes"]]
    if summary["worst"]:
        lines += ["", f"The {len(summary['worst'])} worst listings"]
    for row in summary["worst"]:
        lines += [f"  {row['score']:5.1f}  {shorten(row['title'], MOST_TITLE_COLUMNS)}", *wrap_reasons(row["why"], 9)]
    lines += ["", "Published lists"]
    for name, path in summary["lists"].items():
        lines.append(f"  {name:18} {path or 'none yet'}")
    lines += ["", "Seconds by stage"]
    lines += [f"  {name:32} {seconds:6.1f}" for name, seconds in summary["stage_seconds"].items()]
    lines += ["", "To look around: touchstone ui   (or `make ui`)"]
    return "\n".join(lines)


def _rated(result: PipelineResult, name: str) -> dict[str, Any]:
    """Returns how many were rated and flagged, and how many of these what kept off the list; without a list, by scores."""
    rows = {stage.name: stage.rows for stage in result.record.stages}
    found = rows.get(f"candidate {name}") or rows.get(f"score {name}", {})
    held = {what.removeprefix(HELD): count for what, count in found.items() if what.startswith(HELD) and count}
    return {"rated": found.get("rated", 0), "flagged": found.get("flagged", 0), "held": held}


def _worst(settings: Settings, as_of: date | None) -> list[dict[str, Any]]:
    path = settings.home / "marts" / "rated_listings" / f"as_of={as_of}" / "rated_listings.parquet"
    if not path.exists():
        return []
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "select listing_id, title, score, reasons from read_parquet(?, hive_partitioning = false) "
            "where score is not null order by score desc, margin desc, listing_id limit ?",
            [str(path), WORST_SHOWN],
        ).fetchall()
    return [
        {"listing_id": listing_id, "title": title, "score": score, "why": describe_reasons(reasons)}
        for listing_id, title, score, reasons in rows
    ]


def describe_reasons(reasons: str | None, audience: str = "internal") -> str:
    """Returns the first reasons that an audience may read, as one line."""
    told = [reason["text"] + _quote(reason) for reason in json.loads(reasons or "[]")[:3]]
    if told:
        return "; ".join(told)
    is_all = audience == "internal" or not reasons
    return "no reasons recorded" if is_all else f"none of its reasons may be shown to this audience ({audience})"


def wrap_reasons(why: str, indent: int) -> list[str]:
    """Returns reasons as lines below what they are of; quotes in them may be of any length."""
    return wrap(shorten(why, 2 * MOST_SENTENCE_COLUMNS), " " * indent, " " * indent)


def _quote(reason: dict[str, Any]) -> str:
    return f" ({reason['quote']})" if "quote" in reason else ""


def _published(settings: Settings, name: str) -> str | None:
    latest: Path = settings.home / "published" / name / "LATEST"
    return str(latest.parent / latest.read_text().strip() / f"{name}.csv") if latest.exists() else None
