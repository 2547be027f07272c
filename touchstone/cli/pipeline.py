"""Commands that run stages: the demo, a run, a backfill, a backtest, and the two web interfaces."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from touchstone.cli.common import (
    Json,
    date_of,
    format_share,
    print_message,
    print_result,
    settings_of,
    writing,
)
from touchstone.cli.summary import render, summarise
from touchstone.core.errors import BadInputError

if TYPE_CHECKING:
    from orchestration.backtest import Backtest
    from orchestration.pipeline import Day

RatedDate = Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="The date to rate, such as 2026-06-30.")]
Sources = Annotated[Path | None, typer.Option("--sources", metavar="FILE", help="Sources file; without it, the demo.")]


def demo(
    scale: Annotated[float, typer.Option(help="1 is 100,000 merchants and 20 million orders.")] = 0.02,
    days: Annotated[int, typer.Option(help="Days of history, ending on 2026-06-30.")] = 120,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 7,
    hardness: Annotated[float, typer.Option(help="How much counterfeiters and honest merchants overlap.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Writes the demo marketplace, with its truth, into the home.

    Example: touchstone demo --scale 0.02 --days 120 --seed 7
    """
    from touchstone.demo.generate import generate

    settings = settings_of()
    with writing("touchstone demo"):
        generate(settings.demo, scale=scale, days=days, seed=seed, hardness=hardness)
    print_result({"written": str(settings.demo)}, as_json, lambda: f"The demo marketplace is in {settings.demo}.")


def run(
    sources: Sources = None,
    as_of: RatedDate = None,
    train: Annotated[bool, typer.Option("--train", help="Train every model although one may rate.")] = False,
    approve_if_passing: Annotated[
        bool, typer.Option("--approve-if-passing", help="Let a first model that passes ml/thresholds.yml rate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Runs the whole pipeline: land, shape, train if needed, rate, judge, publish.

    Example: touchstone run --sources my_market.yml --as-of 2026-06-30 --approve-if-passing
    """
    from orchestration.pipeline import run_pipeline

    settings = settings_of(**({"sources": sources} if sources else {}))
    day = None if as_of is None else date_of(as_of, "--as-of")
    result = run_pipeline(settings, as_of=day, train=train, approve_if_passing=approve_if_passing)
    summary = summarise(settings, result)
    print_result(summary, as_json, lambda: render(summary))
    for message in result.messages:
        print_message(message)
    raise SystemExit(int(result.exit_code))


def backfill(
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="The first day to rate.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="The last day to rate.")],
    again: Annotated[bool, typer.Option("--again", help="Also days whose lists stand on the same inputs.")] = False,
    as_json: Json = False,
) -> None:
    """Rates each day of a range over what has landed, oldest first; given again, it goes on where it stopped.

    Example: touchstone backfill --from 2026-06-01 --to 2026-06-30
    """
    from orchestration.pipeline import backfill as backfill_days
    from orchestration.pipeline import backfill_exit_code

    days = backfill_days(
        settings_of(),
        date_of(first, "--from"),
        date_of(last, "--to"),
        again=again,
        on_day=lambda day: print_message(render_day(day)),
    )
    code = backfill_exit_code(days)
    facts = [{**dataclasses.asdict(day), "as_of": str(day.as_of), "exit_code": int(day.exit_code)} for day in days]
    print_result({"days": facts, "exit_code": int(code)}, as_json, lambda: render_backfill(days))
    raise SystemExit(int(code))


def backtest(
    model: Annotated[str, typer.Argument(help="The model, such as listing_counterfeit.")],
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="The first date to train and rate as of.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="No step lies after it.")],
    every: Annotated[str, typer.Option(metavar="Nd", help="Days from a step to the next, such as 7d.")] = "7d",
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A policy to compare with the one in force.")
    ] = None,
    without: Annotated[str, typer.Option(metavar="a,b", help="Signals or features to compare without.")] = "",
    as_json: Json = False,
) -> None:
    """Trains a model anew at past dates, on what each knew, and says what came of what it flagged; goes on where it stopped.

    Example: touchstone backtest listing_counterfeit --from 2026-05-01 --to 2026-06-12 --every 7d --without link
    """
    from orchestration.backtest import backtest as walk

    days = every.removesuffix("d")
    if not days.isdecimal() or int(days) < 1:
        raise BadInputError(f"--every {every}: not a number of days. Write it as 7d.")
    result = walk(
        settings_of(),
        model,
        date_of(first, "--from"),
        date_of(last, "--to"),
        every=int(days),
        policy=policy,
        without=[name.strip() for name in without.split(",") if name.strip()],
        on_step=lambda day, said: print_message(f"{day}  {said}"),
    )
    print_result({**result.as_dict(), "folder": str(result.folder)}, as_json, lambda: render_backtest(result))


def ui(
    port: Annotated[int, typer.Option(help="Port of Dagster's pages; MLflow's is the next.")] = 3000,
) -> None:
    """Serves Dagster's UI and MLflow's on this machine, until interrupted.

    Example: touchstone ui --port 3000
    """
    from orchestration.ui import serve

    serve(settings_of(), port=port)


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
                f"{step.as_of}  {name:{width}}  {step.rated:<9,}  {told.flagged:<7,}  {found:13}  "
                f"{format_share(told.precision):9}  {format_share(told.expected_precision):8}  "
                f"{format_share(told.recall):6}  {format_share(told.calibration_slope):5}  "
                f"{format_share(told.expected_share)}, {format_share(told.positive_share)}"
            )
    lines += [
        "Outcomes: found positive, of those decided on within 28 days after the date. Expected: precision by the scores.",
        "Slope: of the calibration. Drawn: of what was drawn by design, weighted to all, the share expected and found.",
        f"Plot and values: {result.folder}",
    ]
    return "\n".join(lines)


def render_day(day: Day) -> str:
    """Returns how a day of a backfill ended, a line and one for each message."""
    words = {
        "rated": "rated and published",
        "up to date": "up to date: already published from the same inputs",
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
