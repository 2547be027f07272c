"""Commands that record outcomes (suppressions, decisions, appeals and cases), and how suppressions are printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from touchstone.cli.common import (
    DryRun,
    Json,
    RowsFile,
    Who,
    parse_day,
    print_recorded,
    print_result,
    settings_of_command,
    writing,
)
from touchstone.core.text import LONG_LINE_COLUMNS, MOST_SENTENCE_COLUMNS, shorten, wrap

if TYPE_CHECKING:
    from touchstone.casework.outcomes import Suppression

suppress_app = typer.Typer(
    no_args_is_help=True, help="Suppressions: entities that are excluded from the lists, with the reason."
)
decisions_app = typer.Typer(no_args_is_help=True, help="Moderation decisions of analysts.")
appeals_app = typer.Typer(no_args_is_help=True, help="Appeals against flags, and their outcomes.")
cases_app = typer.Typer(no_args_is_help=True, help="Court cases.")

Kind = Literal["listing", "merchant", "review", "order"]
EntityKind = Annotated[Kind, typer.Argument(metavar="KIND", help="listing, merchant, review or order.")]
EntityId = Annotated[str, typer.Argument(metavar="ID", help="Id of the entity on the platform.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="DATE", help="First day in force; default: the last complete day.")
]


@decisions_app.command("record")
def record_decisions(file: RowsFile, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Records moderation decisions atomically, one row per decision (table `moderation_decisions` of the contract).

    Example: touchstone decisions record decisions.csv --dry-run
    """
    _record("moderation_decisions", file, dry_run, as_json)


@appeals_app.command("record")
def record_appeals(file: RowsFile, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Records appeals and their outcomes; an upheld appeal lifts the flag in the next publication.

    Example: touchstone appeals record appeals.csv
    """
    _record("appeals", file, dry_run, as_json)


@cases_app.command("record")
def record_cases(file: RowsFile, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Records court cases, one row per case, defendant account and stage.

    Example: touchstone cases record cases.csv
    """
    _record("cases", file, dry_run, as_json)


@suppress_app.command("add")
def suppress_add(
    kind: EntityKind,
    entity_id: EntityId,
    why: Annotated[str, typer.Option("--why", help="Reason for the suppression.")],
    who: Who = "unnamed",
    first: From = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="Day on which it expires; default: never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Excludes an entity from the lists.

    Example: touchstone suppress add listing L0001 --why "the brand's own shop" --until 2027-01-01
    """
    from touchstone.casework.outcomes import suppress

    days = {"first": parse_day(first, "--from"), "until": parse_day(until, "--until")}
    with writing("touchstone suppress add") as settings:
        print_recorded(suppress(settings, kind, entity_id, why=why, who=who, **days), as_json)


@suppress_app.command("remove")
def suppress_remove(
    kind: EntityKind, entity_id: EntityId, who: Who = "unnamed", first: From = None, as_json: Json = False
) -> None:
    """Ends the suppression of an entity.

    Example: touchstone suppress remove listing L0001
    """
    from touchstone.casework.outcomes import unsuppress

    with writing("touchstone suppress remove") as settings:
        print_recorded(unsuppress(settings, kind, entity_id, who=who, first=parse_day(first, "--from")), as_json)


@suppress_app.command("import")
def suppress_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with entity_kind, entity_id and reason.")],
    who: Who = "unnamed",
    first: From = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Excludes the entities of a CSV from the lists, atomically: if one row is invalid, none is recorded.

    Example: touchstone suppress import allowed.csv --dry-run
    """
    from touchstone.casework.outcomes import import_suppressions

    with writing("touchstone suppress import") as settings:
        day = parse_day(first, "--from")
        print_recorded(import_suppressions(settings, file, who=who, first=day, is_dry=dry_run), as_json)


@suppress_app.command("undo")
def suppress_undo(who: Who = "unnamed", as_json: Json = False) -> None:
    """Undoes the last `suppress` command; running it again undoes the one before.

    Example: touchstone suppress undo
    """
    from touchstone.casework.outcomes import undo_suppressions

    with writing("touchstone suppress undo") as settings:
        print_recorded(undo_suppressions(settings, who=who), as_json)


@suppress_app.command("list")
def suppress_list(
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="As-of date; default: the last complete day.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Lists the suppressions in force on a day.

    Example: touchstone suppress list --as-of 2026-06-30
    """
    from touchstone.casework.outcomes import in_force, suppression_facts

    suppressions = in_force(settings_of_command(), parse_day(as_of, "--as-of"))
    print_result({"suppressions": suppression_facts(suppressions)}, as_json, lambda: render_suppressions(suppressions))


def render_suppressions(suppressions: Sequence[Suppression]) -> str:
    """Returns one line per suppression."""
    lines: list[str] = []
    for suppression in suppressions:
        expires_at = suppression.expires_at
        until = "without end" if expires_at is None else f"until {expires_at:%Y-%m-%d}"
        reason = shorten(suppression.reason or "no reason given", MOST_SENTENCE_COLUMNS)
        period = f"from {suppression.created_at:%Y-%m-%d} {until}"
        text = f"{suppression.entity_kind:9} {shorten(suppression.entity_id)}  {period}: {reason}"
        lines += wrap(text, "", width=LONG_LINE_COLUMNS)
    return "\n".join(lines) or "Nothing is suppressed."


def _record(table: str, file: Path, dry_run: bool, as_json: bool) -> None:
    from touchstone.casework.outcomes import record_file

    with writing(f"recording {table}") as settings:
        print_recorded(record_file(settings, table, file, is_dry=dry_run), as_json)
