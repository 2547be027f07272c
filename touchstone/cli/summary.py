"""What a person sees at the end of a run: how much was rated and flagged, the worst with their reasons, where it all is."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.pipeline import Day, PipelineResult
from orchestration.resources import connect_memory
from touchstone.core.lists import RATED
from touchstone.core.settings import Settings
from touchstone.core.text import (
    LONG_LINE_COLUMNS,
    MOST_SENTENCE_COLUMNS,
    MOST_TITLE_COLUMNS,
    shorten,
    wrap,
)

if TYPE_CHECKING:
    from ml.registry import Version
    from orchestration.backtest import Backtest
    from touchstone.maintenance.doctor import Finding
    from touchstone.maintenance.retention import Pruning
    from touchstone.maintenance.verification import Verification

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
        "rated": {name: _rated(result, name) for name in RATED} if result.as_of else {},
        "fallbacks": result.record.facts.get("fallbacks", {}),
        "worst": _worst(settings, result.as_of) if result.as_of else [],
        "lists": {name: _published(settings, name) for name in RATED},
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
        lines += [f"  {row['score']:5.1f}  {shorten(row['title'], MOST_TITLE_COLUMNS)}", *_wrapped(row["why"], 9)]
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
    with connect_memory() as connection:
        rows = connection.execute(
            "select listing_id, title, score, reasons from read_parquet(?, hive_partitioning = false) "
            "where score is not null order by score desc, margin desc, listing_id limit ?",
            [str(path), WORST_SHOWN],
        ).fetchall()
    return [
        {"listing_id": listing_id, "title": title, "score": score, "why": _why(reasons)}
        for listing_id, title, score, reasons in rows
    ]


def _why(reasons: str | None, audience: str = "internal") -> str:
    told = [reason["text"] + _quote(reason) for reason in json.loads(reasons or "[]")[:3]]
    if told:
        return "; ".join(told)
    is_all = audience == "internal" or not reasons
    return "no reasons recorded" if is_all else f"none of its reasons may be shown to this audience ({audience})"


def _wrapped(why: str, indent: int) -> list[str]:
    """Returns reasons as lines below what they are of; quotes in them may be of any length."""
    return wrap(shorten(why, 2 * MOST_SENTENCE_COLUMNS), " " * indent, " " * indent)


def _quote(reason: dict[str, Any]) -> str:
    return f" ({reason['quote']})" if "quote" in reason else ""


def _published(settings: Settings, name: str) -> str | None:
    latest: Path = settings.home / "published" / name / "LATEST"
    return str(latest.parent / latest.read_text().strip() / f"{name}.csv") if latest.exists() else None


def render_list(key: str, rows: list[dict[str, Any]], audience: str) -> str:
    """Returns a list's rows in words, a line a row and below it its reasons.

    Args:
        key: The column that names a row.
        rows: The rows, with the reasons that the audience may read.
        audience: Who they are for.
    """
    lines = []
    for row in rows:
        name = row.get("title") or row.get("name") or ""
        entity_id = shorten(row[key])
        lines += [
            f"{row['rank']:>5}  {row['score']:7.2f}  {entity_id}  {shorten(name, MOST_TITLE_COLUMNS)}",
            *_wrapped(_why(row["reasons"], audience), 16),
        ]
    return "\n".join(lines) or "The list is empty."


def version_facts(version: Version) -> dict[str, Any]:
    """Returns what tells a model's version from another, as plain data."""
    return {
        "model": version.model,
        "version": version.version,
        "status": version.status,
        "gate": "failed" if version.failures else "passed",
        "failures": list(version.failures),
        "model_digest": version.model_digest,
        "mlflow_run": version.run_id,
    }


def render_versions(versions: list[dict[str, Any]]) -> str:
    """Returns versions as lines."""
    lines = [
        f"{v['model']:24} {v['version']:>4}  {v['status']:10}  gate {v['gate']:6}  {v['model_digest'][:12]}"
        for v in versions
    ]
    return "\n".join(lines) or "No model was trained yet. `touchstone run --train` trains them."


def render_facts(facts: dict[str, Any]) -> str:
    """Returns a version's facts and metrics as lines."""
    lines = [f"{name:24} {value}" for name, value in facts.items() if name not in ("metrics", "failures")]
    lines += [f"  fails: {sentence}" for sentence in facts["failures"]]
    return "\n".join([*lines, *(f"  {name:44} {value:.4f}" for name, value in facts["metrics"].items())])


def render_shadow(facts: dict[str, Any]) -> str:
    """Returns how a version in shadow compares with the champion, a line a day."""
    lines = [
        f"{facts['model']}: champion version {facts['champion']}, in shadow version {facts['shadow']}",
        "as of       rated      flagged              both     ranks   outcomes       precision      recall",
    ]
    for day in facts["days"]:
        one, other = day["champion"], day["shadow"]
        found = f"{day['positive_outcomes']:,} of {day['outcomes']:,}"
        rates = [f"{_share(one[name]):>5} | {_share(other[name]):5}" for name in ("precision", "recall")]
        lines.append(
            f"{day['as_of']}  {day['rated']:<9,}  {one['flagged']:>7,} | {other['flagged']:<7,}  {day['both']:<7,}  "
            f"{_share(day['rank_correlation']):6}  {found:13}  {rates[0]}  {rates[1]}"
        )
    lines.append(
        "Left of the bar is the champion. Outcomes: found positive, of those that were decided on after the day."
    )
    return "\n".join(lines)


def render_backtest(result: Backtest) -> str:
    """Returns what came of a walk over history, a line a date and variant."""
    width = max(len(name) for step in result.steps for name in step.variants)
    lines = [
        f"{result.model}, trained anew at each date on what was known by then",
        f"as of       {'variant':{width}}  rated      flagged  outcomes       precision  expected  recall  slope  drawn",
    ]
    for step in result.steps:
        found = f"{step.positive_outcomes:,} of {step.outcomes:,}"
        for name, told in step.variants.items():
            if told is None:
                lines.append(f"{step.as_of}  {name:{width}}  off: {result.off[step.as_of][name]}")
                continue
            lines.append(
                f"{step.as_of}  {name:{width}}  {step.rated:<9,}  {told.flagged:<7,}  {found:13}  {_share(told.precision):9}  "
                f"{_share(told.expected_precision):8}  {_share(told.recall):6}  {_share(told.calibration_slope):5}  "
                f"{_share(told.expected_share)}, {_share(told.positive_share)}"
            )
    lines += [
        "Outcomes: found positive, of those decided on within 28 days after the date. Expected: precision by the scores.",
        "Slope: of the calibration. Drawn: of what was drawn by design, weighted to all, the share expected and found.",
        f"Plot and values: {result.folder}",
    ]
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def render_decision(decision: dict[str, Any]) -> str:
    """Returns one line of the log of approvals in words."""
    override = " by override" if decision["is_override"] else ""
    line = (
        f"{decision['at']}  {decision['action']:8}  {decision['model']} version {decision['version']} "
        f"({decision['model_digest'][:12]}) by {shorten(decision['who'])}{override}: "
        f"{shorten(decision['why'], MOST_SENTENCE_COLUMNS)}"
    )
    return "\n".join(wrap(line, "", width=LONG_LINE_COLUMNS))


def render_day(day: Day) -> str:
    """Returns how a day of a backfill ended, a line and one for each message."""
    words = {
        "rated": "rated and published",
        "stands": "stands: published from the same inputs already",
        "refused": "refused by a gate: nothing was published for it",
        "failed": "failed: the days after it were not tried",
    }
    return "\n".join([f"{day.as_of}  {words[day.outcome]}", *(f"            {said}" for said in day.messages)])


def render_backfill(days: list[Day]) -> str:
    """Returns how many days of a backfill ended in which way."""
    counts = Counter(day.outcome for day in days)
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    rest = " The same command tries those again that are not published." if counts["refused"] + counts["failed"] else ""
    return f"{len(days)} days: {said}.{rest}"


def render_verification(home: Path, found: Verification) -> str:
    """Returns what verification found, a line each."""
    sound = f"Everything published in {home / 'published'} matches its digests."
    return "\n".join([*(found.problems or [sound]), *found.notes])


def render_findings(home: Path, findings: list[Finding]) -> str:
    """Returns the doctor's findings, a line each, and a verdict."""
    to_do = sum(finding.level != "note" for finding in findings)
    verdict = f"{to_do} of these need somebody." if to_do else f"{home} is sound."
    return "\n".join([*map(str, findings), verdict])


def pruning_facts(pruned: Pruning, *, dry_run: bool) -> dict[str, Any]:
    """Returns what was pruned as plain data."""
    items = [{"kind": item.kind, "path": str(item.path), "bytes": item.size} for item in pruned.doomed]
    return {
        "dry_run": dry_run,
        "bytes": sum(item.size for item in pruned.doomed),
        "items": items,
        "kept_as_history": {"tables": pruned.history_tables, "bytes": pruned.history_bytes},
    }


def render_pruning(pruned: Pruning, *, dry_run: bool) -> str:
    """Returns what was pruned in words, a line a kind."""
    lines = [f"  {count:>6} {kind}, {_size(size)}" for kind, (count, size) in pruned.totals().items()]
    head = ("Would go" if dry_run else "Gone") if lines else "Nothing is older and unneeded."
    if pruned.history_tables:
        tables = ", ".join(pruned.history_tables)
        lines.append(
            f"  Kept: {_size(pruned.history_bytes)} of earlier loads, the history that features of {tables} read"
        )
    return "\n".join([head, *lines])


def _size(size: int) -> str:
    return f"{size / 1024 / 1024:,.1f} MiB"


def render_erasure(removals: list[dict[str, Any]]) -> str:
    """Returns what an erasure did in words, a line a load."""
    lines = [
        f"{line['table']}/{line['load_id']} -> {line['replacement']['load_id']}: {line['removed_rows']:,} rows removed, "
        f"{line['cleared_rows']:,} cleared"
        for line in removals
    ]
    head = f"Erased from {len(removals)} loads; such rows do not land again. The next run makes the warehouse anew."
    return "\n".join([head, *lines])
