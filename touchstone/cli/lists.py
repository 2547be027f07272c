"""Commands that read published lists and verify them, and how they are printed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import (
    Json,
    print_result,
    settings_of_command,
)
from touchstone.cli.summary import describe_reasons, wrap_reasons
from touchstone.cli.tables import render_table
from touchstone.core.errors import ExitCode
from touchstone.core.home import Home
from touchstone.core.text import LONG_LINE_COLUMNS, MOST_TITLE_COLUMNS, shorten

if TYPE_CHECKING:
    from touchstone.maintenance.verification import Verification
    from touchstone.publishing.read import ListDiff

app = typer.Typer(no_args_is_help=True, help="Published lists: show a list, compare two versions.")


@app.command("show")
def show_list(
    name: Annotated[str, typer.Argument(metavar="LIST", help="The list, such as listings.")],
    version: Annotated[str | None, typer.Option(help="Version of the list; default: the newest.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 20,
    audience: Annotated[
        str, typer.Option(help="Show only reasons for this audience: internal, brand, authority or merchant.")
    ] = "internal",
    as_json: Json = False,
) -> None:
    """Shows a published list, riskiest first, with reasons.

    Example: touchstone lists show listings --limit 50 --audience brand
    """
    from touchstone.publishing.read import read_list

    published = read_list(Home(settings_of_command().home).published, name, version)
    rows = published.rows_for(audience, limit)
    print_result({"rows": rows}, as_json, lambda: render_list(published.key, rows, audience))


@app.command("diff")
def diff_lists(
    name: Annotated[str, typer.Argument(metavar="LIST", help="The list, such as listings.")],
    first: Annotated[str, typer.Argument(metavar="VERSION_A", help="The earlier version: the name of its folder.")],
    second: Annotated[str, typer.Argument(metavar="VERSION_B", help="The later version.")],
    as_json: Json = False,
) -> None:
    """Compares two versions of a list: added, removed and changed rows, with the cause of each change.

    Example: touchstone lists diff listings 2026-06-29-0123456789ab 2026-06-30-ba9876543210
    """
    from touchstone.publishing.read import diff

    home = settings_of_command().home
    changes = diff(Home(home).published, name, first, second, marts=Home(home).marts)
    print_result(changes.as_dict(), as_json, lambda: render_diff(changes))


def verify(
    list_name: Annotated[str | None, typer.Argument(metavar="[LIST]", help="Only this list.")] = None,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="Only this version of the list.")] = None,
    as_json: Json = False,
) -> None:
    """Recomputes the digests of all published files and compares them with the recorded ones; exits with 4 on a mismatch.

    Example: touchstone verify listings
    """
    from touchstone.maintenance.verification import verify_home

    settings = settings_of_command()
    verification = verify_home(settings.home, list_name, version)
    print_result(dataclasses.asdict(verification), as_json, lambda: render_verification(settings.home, verification))
    raise SystemExit(int(ExitCode.VERIFICATION_FAILED if verification.problems else ExitCode.DONE))


def render_list(key: str, rows: list[dict[str, Any]], audience: str) -> str:
    """Renders the rows of a list, each followed by its reasons.

    Args:
        key: The id column.
        rows: The rows, with the reasons that the audience may read.
        audience: The audience.

    Returns:
        The text.
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


def render_diff(changes: ListDiff) -> str:
    """Returns the differences between two versions, one line per entity."""
    lines = [f"{changes.before} -> {changes.after}"]
    if changes.policy:
        lines.append(f"  policy {changes.policy.before[:12]} -> {changes.policy.after[:12]}")
        lines += [f"    - {shorten(term, LONG_LINE_COLUMNS)}" for term in changes.policy.terms_before]
        lines += [f"    + {shorten(term, LONG_LINE_COLUMNS)}" for term in changes.policy.terms_after]
    counts = Counter(change.cause for change in changes.causes)
    if counts:
        lines.append("  causes: " + ", ".join(f"{cause} {count:,}" for cause, count in sorted(counts.items())))
    causes = {change.entity_id: change.description for change in changes.causes}
    rows = [("+", entity, causes.get(entity, "")) for entity in changes.added]
    rows += [("-", entity, causes.get(entity, "")) for entity in changes.removed]
    rows += [("~", change.entity_id, f"{change.before:.2f} -> {change.after:.2f}") for change in changes.changed]
    rows += [("!", change.entity_id, f"{change.before} -> {change.after}") for change in changes.actions]
    if rows:
        lines += render_table((), rows, indent=2, max_cell_columns=MOST_TITLE_COLUMNS)
    return "\n".join(lines if len(lines) > 1 else [*lines, "  no changes"])


def render_verification(home: Path, verification: Verification) -> str:
    """Returns the problems and notes of a verification, one per line."""
    success = f"All published files in {home / 'published'} match their digests."
    return "\n".join([*(verification.problems or [success]), *verification.notes])
