"""The coverage report: which signals a marketplace's tables allow, and what would enable the rest.

    coverage/as_of=<date>/coverage.json    written by the features step (`orchestration/coverage.py`)

Here it is read, completed by the models as they stand, and rendered: as lines for a terminal, and as rows for the daily report
and for Dagster.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from ml.coverage import describe_signal, predicted_features, read_feature_inputs, signal_coverage
from ml.declarations import SIGNALS, load_declarations
from ml.extra import Extra, with_extra
from ml.registry import Registry
from touchstone.core.errors import VerificationError, format_count
from touchstone.core.home import Home
from touchstone.core.lists import LISTS
from touchstone.core.text import visible, wrap
from touchstone.landing.as_of import LABELS

SUBJECTS: Final = {"listings": "listings", "merchants": "merchants", "reviews": "orders and reviews"}
REASONS: Final = {
    "without_verdict": "without verdict",
    "later": "decided later",
    "unknown_entity": "of unknown entities",
}


def read_coverage(home: Path, as_of: dt.date) -> dict[str, Any] | None:
    """Returns the coverage of a date with the states of the models; None if its features were never built.

    Args:
        home: The home.
        as_of: The date.

    Returns:
        The content of `coverage.json`, with `states`: by model its `state` (trained, starter or off) and `detail`.
    """
    path = Home(home).coverage(as_of)
    if not path.exists():
        return None
    try:
        states = model_states(home, as_of)
    except VerificationError:  # `touchstone verify` says what is wrong; a report about the tables does not fail for it
        unverified = {"state": "off", "detail": "its approval cannot be verified: `touchstone verify`"}
        states = {rated.model: unverified for rated in LISTS.values()}
    return {**json.loads(path.read_bytes()), "states": states}


def model_states(home: Path, as_of: dt.date) -> dict[str, dict[str, str]]:
    """Returns whether each model is trained, a starter, or off, and why."""
    registry = Registry(home)
    decisions = registry.approvals.decisions()
    states = {}
    for rated in LISTS.values():
        champion = registry.champion(rated.model)
        trained = [line.version for line in decisions if line.action == "train" and line.model == rated.model]
        if champion is None:
            detail = (
                f"version {trained[-1]} waits for `touchstone models approve {rated.model} {trained[-1]} --why REASON`"
                if trained
                else "too few labels to train on"
            )
            states[rated.model] = {"state": "off", "detail": detail}
        elif not Home(home).scores(rated.model, as_of).exists():
            states[rated.model] = {"state": "off", "detail": f"version {champion.version} did not rate this date"}
        elif champion.is_starter:
            states[rated.model] = {
                "state": "starter",
                "detail": f"version {champion.version}, a ranking without labels",
            }
        else:
            facts = json.loads((champion.folder.parent / "card.json").read_bytes())
            used = format_count(facts["positives"]["train"] + facts["positives"]["evaluate"], "positive row")
            kind = "" if champion.is_calibrated else ", a ranking"
            states[rated.model] = {"state": "trained", "detail": f"version {champion.version}, on {used}{kind}"}
    return states


def predicted_coverage(provided: Collection[str], extra: Extra | None = None) -> dict[str, Any]:
    """Returns the coverage of the signals to expect of source tables that have not landed.

    Args:
        provided: The tables with rows, and their columns (`table.column`) with values.
        extra: The marketplace's own columns.
    """
    declarations, inputs = with_extra(load_declarations(), extra or {}), read_feature_inputs()
    available = {name: predicted_features(declaration, provided, inputs) for name, declaration in declarations.items()}
    return {"signals": signal_coverage(declarations.values(), available, provided, inputs)}


def coverage_rows(coverage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the report as pairs of a subject and a sentence: a row per signal, and one for each other subject."""
    rows = [("As of", _describe_date(coverage))] if "as_of" in coverage else []
    rows += [
        (signal.capitalize(), describe_signal(coverage["signals"][signal]))
        for signal in SIGNALS
        if signal in coverage["signals"]
    ]
    if "active" in coverage:
        rows.append(("Active", _describe_active(coverage)))
    if "base_currency" in coverage:
        rows.append(("Currencies", _describe_currencies(coverage)))
    if "labels" in coverage:
        rows.append(("Labels", _describe_labels(coverage["labels"])))
    if "states" in coverage:
        rows.append(("Models", _describe_models(coverage["states"])))
    return rows


def render_coverage(coverage: Mapping[str, Any]) -> list[str]:
    """Returns the report as lines for a terminal; without a date, as what is to be expected."""
    kind = "available" if "as_of" in coverage else "expected"
    lines = [f"Coverage: {kind} features by signal, and what would enable the rest (how many)"]
    for subject, sentence in coverage_rows(coverage):
        lines += wrap(f"{subject:<11}{sentence}", "  ", " " * 13)
    return lines


def coverage_markdown(coverage: Mapping[str, Any]) -> str:
    """Returns the report as a Markdown table."""
    rows = [f"| {subject} | {visible(sentence).replace('|', '/')} |" for subject, sentence in coverage_rows(coverage)]
    return "\n".join(["| | |", "|---|---|", *rows])


def _describe_date(coverage: Mapping[str, Any]) -> str:
    days = coverage["complete_days"]
    newest = max(days.values(), default=None)
    known = ", ".join(f"{table} {day}" for table, day in days.items())
    if coverage["as_of"] == newest:
        labels = sorted(table for table, _ in LABELS if days.get(table) == newest)
        why = f"the newest label ({', '.join(labels)})" if labels else "the last complete day of what has landed"
        return f"{coverage['as_of']}: {why} (newest: {known})"
    return f"{coverage['as_of']}: as asked; the last complete day of what has landed is {newest} (newest: {known})"


def _describe_active(coverage: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{coverage['active'][name]:,} {subject}" for name, subject in SUBJECTS.items())
    excluded, days = coverage["not_seen"], coverage["sighting_days"]
    rule = (
        f"as not seen for {format_count(days, 'day')} (TOUCHSTONE_SIGHTING_DAYS; listings.last_seen_at counts as seen)"
    )
    return f"{counts}. {format_count(excluded, 'listing')} that nobody delisted excluded" + (
        f", {rule}" if excluded else ""
    )


def _describe_currencies(coverage: Mapping[str, Any]) -> str:
    base = f"base currency {coverage['base_currency']}"
    missing = [
        f"{one['table']} {one['currency'] or 'without currency'} ({one['without_rate']:,} of {one['amounts']:,} amounts)"
        for one in coverage["without_rate"]
    ]
    return (
        f"{base}; without a rate to it: {', '.join(missing)}; provide fx_rates"
        if missing
        else f"{base}; no rate is missing"
    )


def _describe_labels(labels: Mapping[str, Mapping[str, int]]) -> str:
    parts = []
    for table, counts in labels.items():
        unused = [f"{counts[name]:,} {reason}" for name, reason in REASONS.items() if counts[name]]
        used = f"{counts['positive']:,} positive, {counts['genuine']:,} genuine"
        parts.append(f"{table} {used}" + (f" (not used: {', '.join(unused)})" if unused else ""))
    return "; ".join(parts) or "none: provide notices, test_buys, moderation_decisions or enforcement_actions"


def _describe_models(states: Mapping[str, Mapping[str, str]]) -> str:
    return "; ".join(f"{model} {one['state']} ({one['detail']})" for model, one in states.items())
