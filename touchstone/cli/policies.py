"""Commands on policies, and how policies and trials are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import (
    Json,
    parse_day,
    print_result,
    settings_of_command,
)
from touchstone.cli.tables import render_table
from touchstone.core.text import LONG_LINE_COLUMNS, MOST_SENTENCE_COLUMNS, shorten, visible, wrap

if TYPE_CHECKING:
    from touchstone.publishing.policy_trial import PolicyOutcome, PolicyTrial, TriedList

app = typer.Typer(no_args_is_help=True, help="Policies: which scores are flagged, and which action the lists ask for.")
CATEGORIES_SHOWN = 12


@app.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy file.")], as_json: Json = False
) -> None:
    """Validates a policy file; each error names the line and the correct value.

    Example: touchstone policies check policies/stricter.yml
    """
    from touchstone.publishing.policy_trial import policy_facts

    facts = policy_facts(file)
    print_result(facts, as_json, lambda: render_policy(facts))


@app.command("try")
def try_policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy file.")],
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First date; default: the first rated date.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Last date; default: the last rated date.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compares what a policy would list on the rated dates with the policy in force, without rating again.

    Example: touchstone policies try policies/stricter.yml --from 2026-06-01 --to 2026-06-30
    """
    from touchstone.publishing import policy_trial

    dates = (parse_day(first, "--from"), parse_day(last, "--to"))
    trial = policy_trial.try_policy(settings_of_command(), file, *dates)
    print_result(trial.as_dict(), as_json, lambda: render_trial(trial))


def render_policy(facts: Mapping[str, Any]) -> str:
    """Returns that a policy is valid, and its terms in their order."""
    lines = [f"{visible(facts['file'])} is valid: {facts['digest'][:12]}."]
    for number, term in enumerate(facts["terms"], start=1):
        lines += wrap(", ".join(f"{name} {shorten(value)}" for name, value in term.items()), f"  {number}. ")
    return "\n".join(lines)


def render_trial(trial: PolicyTrial) -> str:
    """Returns the result of a policy trial: by list and date, by category and by term, with notes."""
    from touchstone.publishing.policy_trial import trial_totals

    totals = trial_totals(trial.days)
    lines = [
        (
            f"{shorten(trial.file.name)} ({trial.digest[:12]}) compared with the policy in force ({trial.digest_in_force[:12]}), "
            f"{trial.first} to {trial.last}. Left of the bar: the policy in force."
        ),
        *_comparison(trial.days, totals),
        (
            "By scores: expected precision of the listed rows from their calibrated scores; by bands: from the verdicts in their "
            "bands of score, where there are enough."
        ),
    ]
    for name, total in totals.items():
        lines += _category_lines(name, total["categories"])
    lines += _term_lines(trial.days)
    return "\n".join([*lines, *_notes(trial, totals)])


def _comparison(days: Sequence[TriedList], totals: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the table of both policies, by list and date and for all dates."""
    rows: list[tuple[object, ...]] = [
        (
            str(day.as_of),
            str(day.list_name),
            f"{day.rated:,}",
            *_listed(day.in_force.listed, day.tried.listed),
            f"{day.added:,}",
            f"{day.dropped:,}",
            _precisions(day.in_force.by_scores, day.tried.by_scores),
            _precisions(day.in_force.by_bands, day.tried.by_bands),
        )
        for day in days
    ]
    rows += [
        (
            "all dates",
            name,
            "",
            *_listed(total["in_force"]["listed"], total["tried"]["listed"]),
            f"{total['added']:,}",
            f"{total['dropped']:,}",
            _precisions(total["in_force"]["by_scores"], total["tried"]["by_scores"]),
            "",
        )
        for name, total in totals.items()
    ]
    headers = ("as of", "list", "rated", "listed", "", "added", "dropped", "by scores", "by bands")
    return render_table(headers, rows, right=(2, 3, 5, 6))


def _listed(before: int, after: int) -> tuple[str, str]:
    return f"{before:,}", f"| {after:,}"


def _precisions(before: float | None, after: float | None) -> str:
    return " | ".join("-    " if value is None else f"{value:.3f}" for value in (before, after))


def _category_lines(name: str, categories: Mapping[str, tuple[int, int]]) -> list[str]:
    """Returns the categories that change most."""
    by_change = sorted(categories.items(), key=lambda item: (-abs(item[1][1] - item[1][0]), -max(item[1]), item[0]))
    shown = by_change[:CATEGORIES_SHOWN]
    if not shown:
        return []
    rows = [(category or "none", *_listed(before, after)) for category, (before, after) in shown]
    lines = [f"{name}, listed rows by category, greatest change first", *render_table((), rows, right=(1,), indent=2)]
    rest = len(by_change) - len(shown)
    return [*lines, f"  and {rest} more"] if rest else lines


def _term_lines(days: Sequence[TriedList]) -> list[str]:
    """Returns the rows that each term of the tried policy decides, over all dates; thresholds are those of the last date."""
    lines = []
    for name in dict.fromkeys(day.list_name for day in days):
        outcomes: list[PolicyOutcome] = [day.tried for day in days if day.list_name == name]
        if outcomes[-1].terms:
            lines.append(f"{name}, by term of the tried policy")
        for index, term in enumerate(outcomes[-1].terms):
            rated, flagged, listed = (
                sum(outcome.terms[index][count] for outcome in outcomes) for count in ("rated", "flagged", "listed")
            )
            lines += wrap(
                f"{shorten(term['description'], MOST_SENTENCE_COLUMNS)}: {rated:,} rows, {flagged:,} flagged, {listed:,} listed",
                f"  {term['term']}. ",
                width=LONG_LINE_COLUMNS,
            )
    return lines


def _notes(trial: PolicyTrial, totals: Mapping[str, Mapping[str, Any]]) -> list[str]:
    notes = [
        f"{day.list_name} as of {day.as_of} would be refused: {day.tried.refusal}."
        for day in trial.days
        if day.tried.refusal
    ]
    for name, total in totals.items():
        if total["other_action"]:
            notes.append(f"{name}: {total['other_action']:,} rows remain with another action.")
        if total["unexplained"]:
            notes.append(
                f"{name}: {total['unexplained']:,} rows are held back for missing corroboration only because they have no "
                f"recorded "
                "reasons."
            )
    others = [f"{day.list_name} {day.as_of}" for day in trial.days if day.is_current_policy is False]
    if others:
        notes.append(f"Published under another policy than the one in force now: {', '.join(others)}.")
    if trial.not_rated:
        notes.append(f"Not rated: {', '.join(map(str, trial.not_rated))}.")
    return [*notes, *(f"Not tried: {reason}" for reason in trial.not_tried)]
