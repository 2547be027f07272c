"""Commands on audits: random samples of entities to decide on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from touchstone.cli.common import DryRun, Json, RatedDay, Seed, Window, parse_day, print_recorded, print_result, writing

if TYPE_CHECKING:
    from touchstone.casework.plans import Plan

app = typer.Typer(
    no_args_is_help=True,
    help="Audits: plan a random sample of listings or merchants to decide on, which calibrates the scores.",
)


@app.command("plan")
def plan_audits(
    size: Annotated[int, typer.Option(min=2, help="Number of entities to decide on.")] = 200,
    list_name: Annotated[
        Literal["listings", "merchants"], typer.Option("--list", help="The list whose rated entities are sampled.")
    ] = "listings",
    as_of: RatedDay = None,
    seed: Seed = None,
    merchant_cap: Annotated[int, typer.Option(min=1, help="Maximum number of listings of one merchant.")] = 2,
    window: Window = 90,
    as_json: Json = False,
) -> None:
    """Draws a random sample of entities to decide on, and writes a decision sheet to fill in.

    Example: touchstone audits plan --size 200
    """
    from touchstone.casework.audits import Request, plan_audit, plan_facts
    from touchstone.casework.plans import newest_rated

    with writing("touchstone audits plan") as settings:
        request = Request(
            list_name=list_name,
            size=size,
            as_of=parse_day(as_of, "--as-of") or newest_rated(settings, list_name),
            seed=seed,
            merchant_cap=merchant_cap,
            window_days=window,
        )
        plan = plan_audit(settings, request)
    print_result(plan_facts(plan), as_json, lambda: render_plan(plan))


@app.command("record")
def record_audits(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The completed decision_sheet.csv of a plan.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Records the decisions of a completed decision sheet atomically; the next training uses them.

    Example: touchstone audits record decision_sheet.csv --dry-run
    """
    from touchstone.casework.audits import record_audit

    with writing("touchstone audits record") as settings:
        print_recorded(record_audit(settings, file, is_dry=dry_run), as_json)


def render_plan(plan: Plan) -> str:
    """Returns a summary of a plan."""
    facts = plan.facts
    return f"""\
Plan {plan.plan_id}: {len(plan.picks):,} {facts["list"]} to decide on, drawn from {facts["frame"]["entities"]:,} rated as of \
{facts["as_of"]}
  half by risk, half at random; at most {facts["merchant_cap"]} of one merchant; seed {facts["seed"]}
Decision sheet: {plan.folder / "decision_sheet.csv"}
Fill in the verdicts (fake or genuine), then run: touchstone audits record FILE"""
