"""Commands on leads, and how leads are printed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from touchstone.cli.common import (
    AsOf,
    Json,
    Who,
    parse_day,
    parse_time,
    print_recorded,
    print_result,
    settings_of_command,
    writing,
)
from touchstone.cli.tables import render_table
from touchstone.core.errors import format_count
from touchstone.core.text import shorten, visible

if TYPE_CHECKING:
    from touchstone.casework.leads import Leads

app = typer.Typer(no_args_is_help=True, help="Leads: which merchants to investigate first, and what is handed to whom.")
LeadId = Annotated[str, typer.Argument(metavar="LEAD", help="The id of the lead.")]


@app.command("list")
def list_leads(
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of leads.")] = 20,
    as_json: Json = False,
) -> None:
    """Lists the leads by expected harm, greatest first.

    Example: touchstone leads list --limit 50
    """
    from touchstone.casework.currencies import base_currency
    from touchstone.casework.leads import lead_facts, read_leads

    home = settings_of_command().home
    leads = read_leads(home, parse_day(as_of, "--as-of"))
    currency = base_currency(home, leads.as_of)
    print_result(lead_facts(leads, limit), as_json, lambda: render_leads(leads, limit, currency))


@app.command("show")
def show_lead(lead: LeadId, as_of: AsOf = None, as_json: Json = False) -> None:
    """Shows a lead with its merchants, their entries on lists, and its history.

    Example: touchstone leads show lead-d292d2879db4
    """
    from touchstone.casework.currencies import base_currency
    from touchstone.casework.leads import read_leads

    home = settings_of_command().home
    leads = read_leads(home, parse_day(as_of, "--as-of"))
    facts, currency = leads.lead(lead), base_currency(home, leads.as_of)
    print_result({"as_of": leads.as_of, **facts}, as_json, lambda: render_lead(leads.as_of, facts, currency))


@app.command("export")
def export_leads(  # noqa: PLR0917  # typer names them
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Output folder; each lead gets a subfolder.")],
    audience: Annotated[Literal["internal", "brand", "authority"], typer.Option(help="Who reads the evidence packs.")],
    lead: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LEAD]...", help="Leads to export; default: the first by expected harm."),
    ] = None,
    brand: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the brand, as on the lists.")] = None,
    jurisdiction: Annotated[
        str | None, typer.Option(metavar="COUNTRY", help="Country of the authority (ISO 3166 alpha-2), such as DE.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of leads if none is named.")] = 20,
    as_of: AsOf = None,
    who: Who = "unnamed",
    as_json: Json = False,
) -> None:
    """Writes an evidence pack for each lead, with only the rows and columns that its audience may see.

    Example: touchstone leads export --audience brand --brand Kolledem --to for_kolledem
    """
    from touchstone.casework.evidence_packs import export
    from touchstone.casework.evidence_sections import Reader

    reader = Reader(audience, brand=brand, jurisdiction=jurisdiction)
    facts = export(
        settings_of_command(), reader, to, lead or [], limit=limit, as_of=parse_day(as_of, "--as-of"), who=who
    )
    print_result(facts, as_json, lambda: render_export(facts))


@app.command("hand-over")
def hand_over_lead(
    lead: LeadId,
    to: Annotated[
        str, typer.Option("--to", metavar="RECIPIENT", help="The rights holder or authority that received it.")
    ],
    audience: Annotated[Literal["brand", "authority"], typer.Option(help="What the recipient may see of the lead.")],
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="Time of the hand-over (UTC), as 2026-07-01T12:00.")],
    as_json: Json = False,
) -> None:
    """Records in an append-only log that a lead was handed over; reports count outcomes from then on.

    Example: touchstone leads hand-over lead-d292d2879db4 --to Kolledem --audience brand --at 2026-07-01T12:00
    """
    from touchstone.casework.hand_overs import record_hand_over

    with writing("touchstone leads hand-over") as settings:
        print_recorded(record_hand_over(settings, lead, to, audience, parse_time(at, "--at")), as_json)


def render_leads(leads: Leads, limit: int, currency: str) -> str:
    """Returns the first leads as a table; `currency` is the base currency."""
    from touchstone.casework.leads import harm_change

    current = leads.current()
    lines = [f"{format_count(len(current), 'lead')} as of {leads.as_of}, by expected harm ({currency}, 30 days)", ""]
    rows = [
        (
            lead["rank"],
            lead["lead_id"],
            lead["kind"],
            lead.get("violation_type"),
            lead["merchant_count"],
            f"{lead['expected_harm_base']:,.0f}",
            lead["since_date"],
            harm_change(lead),
        )
        for lead in current[:limit]
    ]
    headers = ("rank", "lead", "kind", "violation", "members", "harm", "since", "change")
    return "\n".join([*lines, *render_table(headers, rows, right=(0, 4, 5))])


def render_lead(as_of: dt.date, lead: Mapping[str, Any], currency: str) -> str:
    """Returns a lead with its merchants and its history; `currency` is the base currency."""
    from touchstone.casework.leads import harm_change

    status = {"found": f"rank {lead['rank']}", "ended": "ended", "merged": f"merged into {lead['merged_into']}"}
    lines = [
        f"{lead['lead_id']}: {_describe_kind(lead)}, {status[lead['status']]} as of {as_of}, since {lead['since_date']}",
        f"expected harm {lead['expected_harm_base']:,.2f} {currency} in 30 days ({harm_change(lead)})",
        (
            f"on lists: {lead['listed_merchant_count']} of {lead['merchant_count']} merchants and "
            f"{lead['listed_listing_count']} of {lead['listing_count']} listings"
        ),
        "",
    ]
    rows = [
        (
            row["merchant_id"],
            row["role"],
            row["country"],
            _format_score(row["score"]),
            _format_score(row["brushing_score"]),
            f"{row['expected_harm_base']:,.2f}",
            row["since_date"],
        )
        for row in lead["merchants"]
    ]
    headers = ("merchant", "role", "country", "score", "brushing", "harm", "since")
    lines += render_table(headers, rows, right=(3, 4, 5))
    lines += ["", "history"]
    lines += [f"  {row['as_of_date']}  {_describe_change(row, currency)}" for row in lead["history"]]
    return "\n".join(lines)


def render_export(facts: Mapping[str, Any]) -> str:
    """Returns which evidence packs were written."""
    lines = [
        f"{format_count(len(facts['packs']), 'lead')} as of {facts['as_of']} for: {shorten(facts['reader'], 100)}",
        *(visible(path) for path in facts["packs"]),
    ]
    return "\n".join([*lines, "Open lead.html in each folder; custody.json holds the digests."])


def _describe_kind(lead: Mapping[str, Any]) -> str:
    """Returns the kind of a lead and its violation type, which leads that an earlier version made do not have."""
    violation_type = lead.get("violation_type")
    return f"{lead['kind']} ({violation_type})" if violation_type else str(lead["kind"])


def _describe_change(row: Mapping[str, Any], currency: str) -> str:
    parts = [
        f"{row['change']}: {format_count(row['merchant_count'], 'merchant')}, {row['expected_harm_base']:,.2f} {currency}"
    ]
    parts += [f"{len(row['joined_merchants'])} joined"] if row["joined_merchants"] and row["change"] != "found" else []
    parts += [f"{len(row['left_merchants'])} left"] if row["left_merchants"] else []
    parts += [f"see {row['other_lead_id']}"] if row["other_lead_id"] else []
    return ", ".join(parts)


def _format_score(value: Any) -> str:
    return "" if value is None else f"{value:.1f}"
