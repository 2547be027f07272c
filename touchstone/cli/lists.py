"""Commands that read what is published: lists, differences, traces and verification."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import (
    Json,
    day_of,
    print_result,
    settings_of,
)
from touchstone.cli.summary import describe_reasons, wrap_reasons
from touchstone.core.errors import ExitCode
from touchstone.core.text import MOST_TITLE_COLUMNS, shorten

if TYPE_CHECKING:
    from touchstone.maintenance.verification import Verification

app = typer.Typer(no_args_is_help=True, help="The published lists.")


@app.command("show")
def show_list(
    name: Annotated[str, typer.Argument(metavar="LIST")],
    version: Annotated[str | None, typer.Option(help="A version; without it, the newest.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows.")] = 20,
    audience: Annotated[
        str, typer.Option(help="Only reasons for these readers: internal, brand, authority or merchant.")
    ] = "internal",
    as_json: Json = False,
) -> None:
    """Prints a published list, the riskiest first.

    Example: touchstone lists show listings --limit 50 --audience brand
    """
    from touchstone.publishing.read import read_list

    found = read_list(settings_of().home / "published", name, version)
    rows = found.told(audience, limit)
    print_result({"rows": rows}, as_json, lambda: render_list(found.key, rows, audience))


@app.command("diff")
def diff_lists(
    name: Annotated[str, typer.Argument(metavar="LIST")],
    first: Annotated[str, typer.Argument(metavar="VERSION_A", help="The one before, by its folder's name.")],
    second: Annotated[str, typer.Argument(metavar="VERSION_B", help="The one after.")],
    as_json: Json = False,
) -> None:
    """Prints what changed from one version of a list to another, and why.

    Example: touchstone lists diff listings 2026-06-29-0123456789ab 2026-06-30-ba9876543210
    """
    from touchstone.publishing.read import diff, render_diff

    home = settings_of().home
    changes = diff(home / "published", name, first, second, marts=home / "marts")
    print_result(changes.as_dict(), as_json, lambda: render_diff(changes))


def verify(
    list_name: Annotated[str | None, typer.Argument(metavar="[LIST]")] = None,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]")] = None,
    as_json: Json = False,
) -> None:
    """Recomputes every digest of what is published; ends with 4 where one does not match.

    Example: touchstone verify listings
    """
    from touchstone.maintenance.verification import verify_home

    settings = settings_of()
    found = verify_home(settings.home, list_name, version)
    print_result(dataclasses.asdict(found), as_json, lambda: render_verification(settings.home, found))
    raise SystemExit(int(ExitCode.VERIFICATION_FAILED if found.problems else ExitCode.DONE))


def trace(
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
    from touchstone.publishing.trace import render
    from touchstone.publishing.trace import trace as trace_row

    day = day_of(as_of, "--as-of")
    told = trace_row(settings_of().home, list_name, entity_id, as_of=day, version=version, rows=rows)
    print_result(told, as_json, lambda: render(told))


def render_list(key: str, rows: list[dict[str, Any]], audience: str) -> str:
    """Returns a list's rows in words, a line a row and below it its reasons.

    Args:
        key: The column that names a row.
        rows: The rows, with the reasons that the audience may read.
        audience: Who they are for.
    """
    lines = []
    for row in rows:
        name = row.get("title") or row.get("name") or ""
        entity_id = shorten(row[key])
        lines += [
            f"{row['rank']:>5}  {row['score']:7.2f}  {entity_id}  {shorten(name, MOST_TITLE_COLUMNS)}",
            *wrap_reasons(describe_reasons(row["reasons"], audience), 16),
        ]
    return "\n".join(lines) or "The list is empty."


def render_verification(home: Path, found: Verification) -> str:
    """Returns what verification found, a line each."""
    sound = f"Everything published in {home / 'published'} matches its digests."
    return "\n".join([*(found.problems or [sound]), *found.notes])
