"""Commands by which people record outcomes: suppressions, decisions, appeals and cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from touchstone.cli.common import (
    DryRun,
    Given,
    Json,
    Who,
    day_of,
    print_recorded,
    print_result,
    settings_of,
    writing,
)

suppress_app = typer.Typer(no_args_is_help=True, help="What is kept off the lists, with the reason.")
decisions_app = typer.Typer(no_args_is_help=True, help="What analysts decided.")
appeals_app = typer.Typer(no_args_is_help=True, help="What was said against a flag, and what came of it.")
cases_app = typer.Typer(no_args_is_help=True, help="Cases in court.")

Kind = Literal["listing", "merchant", "review", "order"]
EntityKind = Annotated[Kind, typer.Argument(metavar="KIND", help="listing, merchant, review or order.")]
EntityId = Annotated[str, typer.Argument(metavar="ID", help="The platform's id.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="DATE", help="The first day it holds for; else the last complete one.")
]


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
        print_recorded(suppress(settings, kind, entity_id, why=why, who=who, **days), as_json)


@suppress_app.command("remove")
def suppress_remove(
    kind: EntityKind, entity_id: EntityId, who: Who = "unnamed", first: From = None, as_json: Json = False
) -> None:
    """Lets an entity back onto the lists.

    Example: touchstone suppress remove listing L0001
    """
    from touchstone.casework.outcomes import unsuppress

    with writing("touchstone suppress remove") as settings:
        print_recorded(unsuppress(settings, kind, entity_id, who=who, first=day_of(first, "--from")), as_json)


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
        print_recorded(import_suppressions(settings, file, who=who, first=day, is_dry=dry_run), as_json)


@suppress_app.command("undo")
def suppress_undo(who: Who = "unnamed", as_json: Json = False) -> None:
    """Undoes the last `suppress` command that is not undone yet; given again, the one before it.

    Example: touchstone suppress undo
    """
    from touchstone.casework.outcomes import undo_suppressions

    with writing("touchstone suppress undo") as settings:
        print_recorded(undo_suppressions(settings, who=who), as_json)


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


def _record(table: str, file: Path, dry_run: bool, as_json: bool) -> None:
    from touchstone.casework.outcomes import record_file

    with writing(f"recording {table}") as settings:
        print_recorded(record_file(settings, table, file, is_dry=dry_run), as_json)
