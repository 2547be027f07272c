"""Commands that run the pipeline (demo, run, backfill, backtest, ui), and how their results are printed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from touchstone.cli.common import (
    Json,
    format_share,
    parse_date,
    print_message,
    print_result,
    settings_of_command,
    writing,
)
from touchstone.cli.summary import render_summary, summarise
from touchstone.cli.tables import render_table
from touchstone.core.errors import BadInputError

if TYPE_CHECKING:
    from orchestration.backtest import Backtest
    from orchestration.pipeline import Day

RatedDate = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="As-of date, such as 2026-06-30; default: the last complete day."),
]
Sources = Annotated[
    Path | None, typer.Option("--sources", metavar="FILE", help="Sources file (YAML); default: the demo marketplace.")
]


def demo(
    scale: Annotated[float, typer.Option(help="Size; 1 is 100,000 merchants and 20 million orders.")] = 0.02,
    days: Annotated[int, typer.Option(help="Days of history, ending on 2026-06-30.")] = 120,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same bytes.")] = 7,
    hardness: Annotated[float, typer.Option(help="Overlap of counterfeiters and honest merchants.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Generates the demo marketplace, with its ground truth, in the home.

    Example: touchstone demo --scale 0.02 --days 120 --seed 7
    """
    from touchstone.demo.create import refuse_next_to_others
    from touchstone.demo.generate import generate

    settings = settings_of_command()
    with writing("touchstone demo"):
        refuse_next_to_others(settings)
        generate(settings.demo, scale=scale, days=days, seed=seed, hardness=hardness)
    print_result({"written": str(settings.demo)}, as_json, lambda: f"The demo marketplace is in {settings.demo}.")


def run(
    sources: Sources = None,
    as_of: RatedDate = None,
    train: Annotated[bool, typer.Option("--train", help="Train all models even if they have a champion.")] = False,
    approve_if_passing: Annotated[
        bool, typer.Option("--approve-if-passing", help="Approve a first version that passes ml/thresholds.yml.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Runs the whole pipeline: land, transform, train if needed, score, check, publish.

    Example: touchstone run --sources my_market.yml --as-of 2026-06-30 --approve-if-passing
    """
    from orchestration.pipeline import run_pipeline

    settings = settings_of_command(**({"sources": sources} if sources else {}))
    day = None if as_of is None else parse_date(as_of, "--as-of")
    result = run_pipeline(settings, as_of=day, train=train, approve_if_passing=approve_if_passing)
    summary = summarise(settings, result)
    print_result(summary, as_json, lambda: render_summary(summary))
    for message in result.messages:
        print_message(message)
    raise SystemExit(int(result.exit_code))


def backfill(
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="First day.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="Last day.")],
    again: Annotated[bool, typer.Option("--again", help="Also rate days whose lists are up to date.")] = False,
    as_json: Json = False,
) -> None:
    """Rates each day of a range from the landed data, oldest first; resumes when it is run again.

    Example: touchstone backfill --from 2026-06-01 --to 2026-06-30
    """
    from orchestration.pipeline import backfill as backfill_days
    from orchestration.pipeline import backfill_exit_code

    days = backfill_days(
        settings_of_command(),
        parse_date(first, "--from"),
        parse_date(last, "--to"),
        again=again,
        on_day=lambda day: print_message(render_day(day)),
    )
    code = backfill_exit_code(days)
    facts = [{**dataclasses.asdict(day), "as_of": str(day.as_of), "exit_code": int(day.exit_code)} for day in days]
    print_result({"days": facts, "exit_code": int(code)}, as_json, lambda: render_backfill(days))
    raise SystemExit(int(code))


def backtest(
    model: Annotated[str, typer.Argument(help="The model, such as listing_counterfeit.")],
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="First as-of date to train and score.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="Last as-of date.")],
    every: Annotated[str, typer.Option(metavar="Nd", help="Days between two steps, such as 7d.")] = "7d",
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Policy to compare with the one in force.")
    ] = None,
    without: Annotated[str, typer.Option(metavar="a,b", help="Signals or features to leave out in a comparison.")] = "",
    as_json: Json = False,
) -> None:
    """Trains a model at past dates on the data known by then, and compares its flags with later outcomes; resumes if run again.

    Example: touchstone backtest listing_counterfeit --from 2026-05-01 --to 2026-06-12 --every 7d --without link
    """
    from orchestration.backtest import backtest as walk

    days = every.removesuffix("d")
    if not days.isdecimal() or int(days) < 1:
        raise BadInputError(f"--every {every}: not a number of days. Write it as 7d.")
    result = walk(
        settings_of_command(),
        model,
        parse_date(first, "--from"),
        parse_date(last, "--to"),
        every=int(days),
        policy=policy,
        without=[name.strip() for name in without.split(",") if name.strip()],
        on_step=lambda day, message: print_message(f"{day}  {message}"),
    )
    print_result({**result.as_dict(), "folder": str(result.folder)}, as_json, lambda: render_backtest(result))


def ui(
    port: Annotated[int, typer.Option(help="Port of Dagster's UI; MLflow uses the next one.")] = 3000,
) -> None:
    """Serves the web UIs of Dagster and MLflow on this machine until interrupted.

    Example: touchstone ui --port 3000
    """
    from orchestration.ui import serve

    serve(settings_of_command(), port=port)


def render_backtest(result: Backtest) -> str:
    """Returns the result of a backtest, one row per date and variant."""
    rows: list[tuple[object, ...]] = []
    notes = []
    for step in result.steps:
        outcomes = f"{step.positive_outcomes:,} of {step.outcomes:,}"
        for name, variant in step.variants.items():
            if variant is None:
                notes.append(f"{step.as_of}  {name} is off: {result.off[step.as_of][name]}")
                continue
            rows.append(
                (
                    step.as_of,
                    name,
                    f"{step.rated:,}",
                    f"{variant.flagged:,}",
                    outcomes,
                    format_share(variant.precision),
                    format_share(variant.expected_precision),
                    format_share(variant.recall),
                    format_share(variant.calibration_slope),
                    f"{format_share(variant.expected_share)}, {format_share(variant.positive_share)}",
                )
            )
    headers = (
        "as of",
        "variant",
        "rated",
        "flagged",
        "outcomes",
        "precision",
        "expected",
        "recall",
        "slope",
        "sampled",
    )
    return "\n".join(
        [
            f"{result.model}, trained at each date on the data known by then",
            *render_table(headers, rows, right=(2, 3)),
            *notes,
            "Outcomes: positive, of those decided within 28 days after the date. Expected: precision expected from the scores.",
            "Slope: of the calibration. Sampled: share of positives among designed samples, weighted to all: expected, observed.",
            f"Chart and values: {result.folder}",
        ]
    )


def render_day(day: Day) -> str:
    """Returns the outcome of a day of a backfill, with its messages."""
    outcomes = {
        "rated": "rated and published",
        "up to date": "up to date: already published from the same inputs",
        "refused": "refused by a gate: nothing was published for it",
        "failed": "failed: the days after it were not tried",
    }
    return "\n".join([f"{day.as_of}  {outcomes[day.outcome]}", *(f"            {message}" for message in day.messages)])


def render_backfill(days: list[Day]) -> str:
    """Returns the number of days of a backfill by outcome."""
    counts = Counter(day.outcome for day in days)
    summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    rest = (
        " Run the same command again to retry the days that are not published."
        if counts["refused"] + counts["failed"]
        else ""
    )
    return f"{len(days)} days: {summary}.{rest}"
