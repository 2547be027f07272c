"""The commands by which people act on lists; they parse, call and print, nothing else.

Each group is a typer application that `add_to` hangs into the `touchstone` command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from touchstone.cli.common import (
    Json,
    Who,
    as_json_text,
    date_of,
    day_of,
    moment_of,
    print_result,
    settings_of,
    writing,
)
from touchstone.core.errors import BadInputError
from touchstone.core.files import write_bytes
from touchstone.landing.land import Recorded

suppress_app = typer.Typer(no_args_is_help=True, help="What is kept off the lists, with the reason.")
decisions_app = typer.Typer(no_args_is_help=True, help="What analysts decided.")
appeals_app = typer.Typer(no_args_is_help=True, help="What was said against a flag, and what came of it.")
cases_app = typer.Typer(no_args_is_help=True, help="Cases in court.")
policies_app = typer.Typer(no_args_is_help=True, help="What is flagged from where on, and what is then done.")
leads_app = typer.Typer(no_args_is_help=True, help="Whom to look into first, and what is handed to whom.")
test_buys_app = typer.Typer(no_args_is_help=True, help="What to buy to be examined, and what the verdicts say of all.")

Kind = Literal["listing", "merchant", "review", "order"]
EntityKind = Annotated[Kind, typer.Argument(metavar="KIND", help="listing, merchant, review or order.")]
EntityId = Annotated[str, typer.Argument(metavar="ID", help="The platform's id.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="DATE", help="The first day it holds for; else the last complete one.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check and count.")]
AsOf = Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="As of which day; else the newest.")]
LeadId = Annotated[str, typer.Argument(metavar="LEAD", help="The lead's id.")]
Given = Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet, with the contract's columns.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the `touchstone` command."""
    app.add_typer(suppress_app, name="suppress")
    app.add_typer(decisions_app, name="decisions")
    app.add_typer(appeals_app, name="appeals")
    app.add_typer(cases_app, name="cases")
    app.add_typer(test_buys_app, name="test-buys")
    app.add_typer(leads_app, name="leads")
    app.add_typer(policies_app, name="policies")
    app.command("trace")(trace_row)
    app.command()(report)


@policies_app.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy.")], as_json: Json = False
) -> None:
    """Says whether a policy is sound, and of each mistake in which line it is and what to write.

    Example: touchstone policies check policies/stricter.yml
    """
    from touchstone.publishing.policy_trial import policy_facts, render_policy

    facts = policy_facts(file)
    print_result(facts, as_json, lambda: render_policy(facts))


@policies_app.command("try")
def try_policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy.")],
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="The first date; else the first that was rated.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="The last date; else the last that was rated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Shows what a policy would list over the dates that are rated, beside the one in force; nothing is rated anew.

    Example: touchstone policies try policies/stricter.yml --from 2026-06-01 --to 2026-06-30
    """
    from touchstone.publishing.policy_trial import render_trial
    from touchstone.publishing.policy_trial import try_policy as tried

    trial = tried(settings_of(), file, day_of(first, "--from"), day_of(last, "--to"))
    print_result(trial.as_dict(), as_json, lambda: render_trial(trial))


@decisions_app.command("record")
def record_decisions(file: Given, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Takes in what analysts decided, one row a decision (the contract's `moderation_decisions`), whole or not at all.

    Example: touchstone decisions record decisions.csv --dry-run
    """
    _record("moderation_decisions", file, dry_run, as_json)


@appeals_app.command("record")
def record_appeals(file: Given, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Takes in appeals and what came of them; one that was upheld lifts its flag in the next publication.

    Example: touchstone appeals record appeals.csv
    """
    _record("appeals", file, dry_run, as_json)


@cases_app.command("record")
def record_cases(file: Given, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Takes in cases in court, one row a case, defendant's account and stage.

    Example: touchstone cases record cases.csv
    """
    _record("cases", file, dry_run, as_json)


@suppress_app.command("add")
def suppress_add(
    kind: EntityKind,
    entity_id: EntityId,
    why: Annotated[str, typer.Option("--why", help="The reason, for whoever meets it in a year.")],
    who: Who = "unnamed",
    first: From = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="The first day it no longer holds for; else for ever.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Keeps an entity off the lists.

    Example: touchstone suppress add listing L0001 --why "the brand's own shop" --until 2027-01-01
    """
    from touchstone.casework.outcomes import suppress

    days = {"first": day_of(first, "--from"), "until": day_of(until, "--until")}
    with writing("touchstone suppress add") as settings:
        _recorded(suppress(settings, kind, entity_id, why=why, who=who, **days), as_json)


@suppress_app.command("remove")
def suppress_remove(
    kind: EntityKind, entity_id: EntityId, who: Who = "unnamed", first: From = None, as_json: Json = False
) -> None:
    """Lets an entity back onto the lists.

    Example: touchstone suppress remove listing L0001
    """
    from touchstone.casework.outcomes import unsuppress

    with writing("touchstone suppress remove") as settings:
        _recorded(unsuppress(settings, kind, entity_id, who=who, first=day_of(first, "--from")), as_json)


@suppress_app.command("import")
def suppress_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with entity_kind, entity_id and reason.")],
    who: Who = "unnamed",
    first: From = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Keeps all entities of a CSV off the lists, or none of them where a row is wrong.

    Example: touchstone suppress import allowed.csv --dry-run
    """
    from touchstone.casework.outcomes import import_suppressions

    with writing("touchstone suppress import") as settings:
        day = day_of(first, "--from")
        _recorded(import_suppressions(settings, file, who=who, first=day, is_dry=dry_run), as_json)


@suppress_app.command("undo")
def suppress_undo(who: Who = "unnamed", as_json: Json = False) -> None:
    """Undoes the last `suppress` command that is not undone yet; given again, the one before it.

    Example: touchstone suppress undo
    """
    from touchstone.casework.outcomes import undo_suppressions

    with writing("touchstone suppress undo") as settings:
        _recorded(undo_suppressions(settings, who=who), as_json)


@suppress_app.command("list")
def suppress_list(
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="As of which day.")] = None,
    as_json: Json = False,
) -> None:
    """Prints what is kept off the lists as of a day, by default the last complete one.

    Example: touchstone suppress list --as-of 2026-06-30
    """
    from touchstone.casework.outcomes import in_force, render_suppressions, suppression_facts

    found = in_force(settings_of(), day_of(as_of, "--as-of"))
    print_result({"suppressions": suppression_facts(found)}, as_json, lambda: render_suppressions(found))


@test_buys_app.command("plan")
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


@test_buys_app.command("record")
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
        _recorded(record_test_buys(settings, file, is_dry=dry_run), as_json)


@test_buys_app.command("report")
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


def trace_row(
    list_name: Annotated[str, typer.Argument(metavar="LIST")],
    entity_id: Annotated[str, typer.Argument(metavar="ID", help="Of reviews, an order's or a review's id will do.")],
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="The list of that date; without it, the newest.")
    ] = None,
    version: Annotated[str | None, typer.Option(metavar="V", help="A version that is not in force any more.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many rows of each source table, the newest.")] = 5,
    as_json: Json = False,
) -> None:
    """Walks back from a row of a list to its score, model, features, gates, loads and source rows; 4 where a digest is off.

    Example: touchstone trace listings l8db06853d139410a --as-of 2026-06-30
    """
    from touchstone.publishing.trace import render, trace

    day = day_of(as_of, "--as-of")
    told = trace(settings_of().home, list_name, entity_id, as_of=day, version=version, rows=rows)
    print_result(told, as_json, lambda: render(told))


@leads_app.command("list")
def list_leads(
    as_of: AsOf = None, limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20, as_json: Json = False
) -> None:
    """Prints the leads, those of the greatest expected harm first.

    Example: touchstone leads list --limit 50
    """
    from touchstone.casework.leads import list_facts, list_text, read_leads

    leads = read_leads(settings_of().home, day_of(as_of, "--as-of"))
    print_result(list_facts(leads, limit), as_json, lambda: list_text(leads, limit))


@leads_app.command("show")
def show_lead(lead: LeadId, as_of: AsOf = None, as_json: Json = False) -> None:
    """Prints a lead: who is in it, what is on lists of whom, and what became of it when.

    Example: touchstone leads show lead-d292d2879db4
    """
    from touchstone.casework.leads import lead_text, read_leads

    leads = read_leads(settings_of().home, day_of(as_of, "--as-of"))
    found = leads.lead(lead)
    print_result({"as_of": leads.as_of, **found}, as_json, lambda: lead_text(leads.as_of, found))


@leads_app.command("export")
def export_leads(  # noqa: PLR0917  # typer names them
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where; one folder a lead is made in it.")],
    audience: Annotated[Literal["internal", "brand", "authority"], typer.Option(help="For whom.")],
    lead: Annotated[
        list[str] | None, typer.Argument(metavar="[LEAD]...", help="Which; else the first by harm.")
    ] = None,
    brand: Annotated[str | None, typer.Option(metavar="NAME", help="The brand, by its own name.")] = None,
    jurisdiction: Annotated[str | None, typer.Option(metavar="COUNTRY", help="The authority's country, as DE.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many leads, where none is named.")] = 20,
    as_of: AsOf = None,
    who: Who = "unnamed",
    as_json: Json = False,
) -> None:
    """Writes a pack of each lead, with what its readers may see alone: their own rows, and the columns that are for them.

    Example: touchstone leads export --audience brand --brand Kolledem --to for_kolledem
    """
    from touchstone.casework.evidence_packs import export, render_export
    from touchstone.casework.evidence_sections import Reader

    reader = Reader(audience, brand=brand, jurisdiction=jurisdiction)
    done = export(settings_of(), reader, to, lead or [], limit=limit, as_of=day_of(as_of, "--as-of"), who=who)
    print_result(done, as_json, lambda: render_export(done))


@leads_app.command("hand-over")
def hand_over_lead(
    lead: LeadId,
    to: Annotated[str, typer.Option("--to", metavar="WHOM", help="The brand's rights holder, or the authority.")],
    audience: Annotated[Literal["brand", "authority"], typer.Option(help="What of the lead they may see.")],
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="When, as 2026-07-01T12:00 (UTC).")],
    as_json: Json = False,
) -> None:
    """Notes that a lead was handed over, in a log to which rows are only added; what comes of it is counted from there.

    Example: touchstone leads hand-over lead-d292d2879db4 --to Kolledem --audience brand --at 2026-07-01T12:00
    """
    from touchstone.casework.leads import hand_over

    with writing("touchstone leads hand-over") as settings:
        _recorded(hand_over(settings, lead, to, audience, moment_of(at, "--at")), as_json)


def report(
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="The report of which day; else the newest.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="What can be shown to others: no entity, no person, no small number.")
    ] = False,
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="With --public, the first day.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="With --public, the last day.")] = None,
    to_file: Annotated[
        Path | None, typer.Option("--to-file", metavar="FILE", help="With --public, writes it there instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Says where the report of a day is, and its figures; or, with --public, what of a period can be shown to others.

    Example: touchstone report --public --from 2026-04-01 --to 2026-06-30 --to-file report.md
    """
    from touchstone.casework import reports

    home = settings_of().home
    if not public:
        if first or last or to_file:
            raise BadInputError("--from, --to and --to-file go with --public. For the report of a day give --as-of.")
        path, told = reports.read_report(home, day_of(as_of, "--as-of"))
        print_result({"path": str(path), **told}, as_json, lambda: reports.render_report(path, told))
        return
    if first is None or last is None or as_of is not None:
        raise BadInputError("--public needs --from and --to, and takes no --as-of.")
    shown = reports.compose_public(home, date_of(first, "--from"), date_of(last, "--to"))
    if to_file is None:
        print_result(shown, as_json, lambda: reports.render_public(shown))
        return
    write_bytes(to_file, as_json_text(shown).encode() if as_json else f"{reports.render_public(shown)}\n".encode())
    print_result({"written": str(to_file)}, as_json, lambda: f"The public report is in {to_file}.")


def _record(table: str, file: Path, dry_run: bool, as_json: bool) -> None:
    from touchstone.casework.outcomes import record_file

    with writing(f"recording {table}") as settings:
        _recorded(record_file(settings, table, file, is_dry=dry_run), as_json)


def _recorded(came: Recorded, as_json: bool) -> None:
    from touchstone.casework.outcomes import recorded_facts, render_recorded

    print_result(recorded_facts(came), as_json, lambda: render_recorded(came))
