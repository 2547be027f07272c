"""Commands on test buys, and how plans and estimates are printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import (
    DryRun,
    Json,
    RatedDay,
    Seed,
    Window,
    parse_day,
    print_recorded,
    print_result,
    settings_of_command,
    writing,
)
from touchstone.cli.tables import render_table

if TYPE_CHECKING:
    from touchstone.casework.plans import Plan

app = typer.Typer(
    no_args_is_help=True, help="Test buys: plan a random sample of listings to buy, and estimate from the verdicts."
)


@app.command("plan")
def plan_buys(
    budget: Annotated[float, typer.Option(help="Maximum total cost of the buys.")],
    currency: Annotated[
        str | None, typer.Option(help="Currency of the budget, ISO 4217; default: the base currency.")
    ] = None,
    as_of: RatedDay = None,
    seed: Seed = None,
    certain: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Listings to buy with certainty: one id per line.")
    ] = None,
    merchant_cap: Annotated[int, typer.Option(min=1, help="Maximum number of buys from one merchant.")] = 2,
    window: Window = 90,
    as_json: Json = False,
) -> None:
    """Draws a random sample of listings to buy within a budget, and writes a buy sheet to fill in.

    Example: touchstone test-buys plan --budget 20000 --currency USD
    """
    from touchstone.casework.currencies import base_currency
    from touchstone.casework.plans import newest_rated
    from touchstone.casework.test_buys import Request, plan_facts, plan_test_buys, read_certain

    with writing("touchstone test-buys plan") as settings:
        day = parse_day(as_of, "--as-of") or newest_rated(settings, "listings")
        request = Request(
            budget=budget,
            currency=currency or base_currency(settings.home, day),
            as_of=day,
            seed=seed,
            certain=read_certain(certain),
            merchant_cap=merchant_cap,
            window_days=window,
        )
        plan = plan_test_buys(settings, request)
    print_result(plan_facts(plan), as_json, lambda: render_plan(plan))


@app.command("record")
def record_buys(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The completed buy_sheet.csv of a plan.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Records the verdicts of a completed buy sheet atomically; the next training uses them.

    Example: touchstone test-buys record buy_sheet.csv --dry-run
    """
    from touchstone.casework.test_buy_results import record_test_buys

    with writing("touchstone test-buys record") as settings:
        print_recorded(record_test_buys(settings, file, is_dry=dry_run), as_json)


@app.command("report")
def report_buys(
    plan: Annotated[str | None, typer.Option(metavar="PLAN", help="Id of the plan; default: the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Estimates the prevalence of counterfeits among all active listings from a plan's verdicts, with intervals and costs.

    Example: touchstone test-buys report
    """
    from touchstone.casework.test_buy_results import report_test_buys

    facts = report_test_buys(settings_of_command(), plan)
    print_result(facts, as_json, lambda: render_estimates(facts))


def render_plan(plan: Plan) -> str:
    """Returns a summary of a plan."""
    facts, frame = plan.facts, plan.facts["frame"]
    cost = sum(pick["cost"] for pick in plan.picks)
    arms = {"risk": "drawn by risk", "random": "drawn at random", "certain": "with certainty"}
    counts = {arm: sum(pick["arm"] == arm for pick in plan.picks) for arm in arms}
    return f"""\
Plan {plan.plan_id}: {len(plan.picks):,} buys in {len(facts["strata"])} strata
  cost {cost:,.2f} of {facts["budget"]:,.2f} {facts["currency"]} at today's prices; at most {facts["merchant_cap"]} per merchant
  {", ".join(f"{counts[arm]:,} {label}" for arm, label in arms.items() if counts[arm])}; seed {facts["seed"]}
  sampled from {frame["listings"]:,} active listings; left out: {frame["left_out_bought_lately"]:,} bought within \
{facts["window_days"]} days, {frame["left_out_without_cost"]:,} without a price
Buy sheet: {plan.folder / "buy_sheet.csv"} (to print: buy_sheet.html)
Fill in the verdicts, then run: touchstone test-buys record FILE"""


def render_estimates(facts: Mapping[str, Any]) -> str:
    """Returns the estimates from a plan's verdicts."""
    counts = ", ".join(f"{count:,} {name}" for name, count in facts["verdicts"].items() if count)
    lines = [f"Plan {facts['plan_id']}: {facts['bought']:,} of {facts['picks']:,} bought; {counts or 'no verdict yet'}"]
    if facts["prevalence"]["share"] is None:
        return "\n".join([*lines, "There are no verdicts to estimate from. Fill in the buy sheet and record it."])
    if facts["pending"]:
        lines.append(f"  {facts['pending']:,} without a verdict, represented by the other picks of their strata")
    lines.append(
        f"Prevalence among the listings active as of {facts['as_of']}: {_format_estimate(facts['prevalence'])}"
    )
    if facts["strata_without_verdict"]:
        lines.append(f"  {facts['strata_without_verdict']} strata have no verdict and are left out of the estimate")
    categories = [
        (name, _format_estimate(share))
        for name, share in facts["prevalence_by_category"].items()
        if share["share"] is not None
    ]
    lines += render_table((), categories, indent=2)
    for title, rates in (("arm", facts["hit_rate_by_arm"]), ("score band", facts["hit_rate_by_band"])):
        lines.append(
            f"Hit rate among the bought listings, by {title} (not the prevalence: risky listings are drawn more often)"
        )
        rows = [(name, f"{100 * rate['share']:.1f} %", f"of {rate['verdicts']:,}") for name, rate in rates.items()]
        lines += render_table((), rows, right=(1,), indent=2)
    lines.append(_format_costs(facts))
    if facts["budget_for_half_the_interval"]:
        lines.append(
            f"A budget of about {facts['budget_for_half_the_interval']:,.0f} {facts['currency']} would halve the interval."
        )
    return "\n".join(lines)


def _format_estimate(estimate: Mapping[str, float | None]) -> str:
    share, low, high = (100 * (estimate[name] or 0) for name in ("share", "low", "high"))
    return f"{share:.2f} % (95 % interval {low:.2f} to {high:.2f} %)"


def _format_costs(facts: Mapping[str, Any]) -> str:
    text = f"Paid {facts['paid']:,.2f} {facts['currency']}"
    if facts["paid_per_counterfeit"] is not None:
        text += f", {facts['paid_per_counterfeit']:,.2f} per counterfeit"
    others = facts["paid_in_other_currencies_count"]
    return text + (f"; without {others} buys in other currencies" if others else "")
