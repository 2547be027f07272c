"""Commands on leads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from touchstone.cli.common import (
    AsOf,
    Json,
    Who,
    day_of,
    moment_of,
    print_recorded,
    print_result,
    settings_of,
    writing,
)

app = typer.Typer(no_args_is_help=True, help="Whom to look into first, and what is handed to whom.")
LeadId = Annotated[str, typer.Argument(metavar="LEAD", help="The lead's id.")]


@app.command("list")
def list_leads(
    as_of: AsOf = None, limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20, as_json: Json = False
) -> None:
    """Prints the leads, those of the greatest expected harm first.

    Example: touchstone leads list --limit 50
    """
    from touchstone.casework.leads import list_facts, list_text, read_leads

    leads = read_leads(settings_of().home, day_of(as_of, "--as-of"))
    print_result(list_facts(leads, limit), as_json, lambda: list_text(leads, limit))


@app.command("show")
def show_lead(lead: LeadId, as_of: AsOf = None, as_json: Json = False) -> None:
    """Prints a lead: who is in it, what is on lists of whom, and what became of it when.

    Example: touchstone leads show lead-d292d2879db4
    """
    from touchstone.casework.leads import lead_text, read_leads

    leads = read_leads(settings_of().home, day_of(as_of, "--as-of"))
    found = leads.lead(lead)
    print_result({"as_of": leads.as_of, **found}, as_json, lambda: lead_text(leads.as_of, found))


@app.command("export")
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


@app.command("hand-over")
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
        print_recorded(hand_over(settings, lead, to, audience, moment_of(at, "--at")), as_json)
