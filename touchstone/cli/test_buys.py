"""Commands on test buys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from touchstone.cli.common import (
    DryRun,
    Json,
    day_of,
    print_recorded,
    print_result,
    settings_of,
    writing,
)

app = typer.Typer(no_args_is_help=True, help="What to buy to be examined, and what the verdicts say of all.")


@app.command("plan")
def plan_buys(
    budget: Annotated[float, typer.Option(help="What all buys may cost, at most.")],
    currency: Annotated[str, typer.Option(help="Of the budget, ISO 4217.")] = "USD",
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="DATE", help="Whose live listings; else the newest day that was rated."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the draw; else it follows from the frame and the day.")
    ] = None,
    certain: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Listings to buy for sure: their ids, one a line.")
    ] = None,
    merchant_cap: Annotated[int, typer.Option(min=1, help="Most buys of one merchant.")] = 2,
    window: Annotated[
        int, typer.Option("--window", metavar="DAYS", min=0, help="Nothing is bought twice within.")
    ] = 90,
    as_json: Json = False,
) -> None:
    """Draws what to buy, at known probabilities and within the budget, and writes a sheet to fill in.

    Example: touchstone test-buys plan --budget 20000 --currency USD
    """
    from touchstone.casework.test_buys import (
        Request,
        newest_rated,
        plan_facts,
        plan_test_buys,
        read_certain,
        render_plan,
    )

    with writing("touchstone test-buys plan") as settings:
        request = Request(
            budget=budget,
            currency=currency,
            as_of=day_of(as_of, "--as-of") or newest_rated(settings),
            seed=seed,
            certain=read_certain(certain),
            merchant_cap=merchant_cap,
            window_days=window,
        )
        plan = plan_test_buys(settings, request)
    print_result(plan_facts(plan), as_json, lambda: render_plan(plan))


@app.command("record")
def record_buys(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A plan's buy_sheet.csv, filled in.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Takes the verdicts of a filled buy sheet in, whole or not at all; the next training learns from them.

    Example: touchstone test-buys record buy_sheet.csv --dry-run
    """
    from touchstone.casework.test_buys import record_test_buys

    with writing("touchstone test-buys record") as settings:
        print_recorded(record_test_buys(settings, file, is_dry=dry_run), as_json)


@app.command("report")
def report_buys(
    plan: Annotated[str | None, typer.Option(metavar="PLAN", help="The plan; else the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Says what a plan's verdicts say of all that was on offer, with intervals, and what they cost.

    Example: touchstone test-buys report
    """
    from touchstone.casework.test_buys import render_report, report_test_buys

    facts = report_test_buys(settings_of(), plan)
    print_result(facts, as_json, lambda: render_report(facts))
