"""Commands on source tables."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from touchstone.cli.common import (
    Json,
    Who,
    Why,
    print_message,
    print_result,
    settings_of_command,
    writing,
)
from touchstone.core.errors import BadInputError, ExitCode
from touchstone.core.files import write_bytes

app = typer.Typer(no_args_is_help=True, help="Source tables of a marketplace.")


@app.command("check")
def check_sources(
    file: Annotated[Path, typer.Argument(help="The sources file (YAML).")], as_json: Json = False
) -> None:
    """Checks every source table against the contract without landing it; exits with 2 if one is refused.

    Example: touchstone sources check my_market.yml
    """
    from expectations.contract import load_contract
    from touchstone.casework.coverage import predicted_coverage, render_coverage
    from touchstone.landing.land import check
    from touchstone.landing.provided import as_inputs
    from touchstone.landing.sources import identifier_key, read_sources
    from touchstone.landing.sql import Limits

    settings = settings_of_command(sources=file)
    sources = read_sources(settings.sources_file, os.environ)
    reports = check(
        sources, load_contract(), hmac_key=identifier_key(sources, settings), limits=Limits.from_settings(settings)
    )
    provided = set().union(*(as_inputs(report.table, report.row_count, report.filled_columns) for report in reports))
    coverage = predicted_coverage(provided, {name: source.extra for name, source in sources.tables.items()})
    print_result(
        {"tables": [dataclasses.asdict(report) for report in reports], "coverage": coverage},
        as_json,
        lambda: "\n".join([*(report.message for report in reports), "", *render_coverage(coverage)]),
    )
    raise SystemExit(int(ExitCode.DONE if all(report.accepted for report in reports) else ExitCode.BAD_INPUT))


@app.command("accept")
def accept_load(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The table whose newest load is accepted.")],
    why: Why,
    who: Who = "unnamed reviewer",
    as_json: Json = False,
) -> None:
    """Accepts the newest load of a table that the gate on volume refused; the next run uses it.

    Example: touchstone sources accept reviews --why "reviews before 2024 were archived"
    """
    from datetime import UTC, datetime

    from expectations.contract import load_contract
    from touchstone.core.home import Home
    from touchstone.landing import acceptances

    with writing("touchstone sources accept") as settings:
        accepted = acceptances.accept_load(
            Home(settings.home).landing, load_contract(), table, who=who, why=why, now=datetime.now(UTC)
        )
    print_result(
        accepted.model_dump(mode="json"),
        as_json,
        lambda: (
            f"{accepted.table}: load {accepted.load_id} with {accepted.row_count:,} rows is accepted; the one before has "
            f"{accepted.previous_row_count:,}. Run again to use it; the manifests of its lists name the reason."
        ),
    )


@app.command("draft")
def draft(
    sources: Annotated[
        list[str], typer.Argument(metavar="FILES... | DATABASE_URL", help="CSV, Parquet, JSON lines, or a database.")
    ],
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Default: standard output.")] = None,
    name: Annotated[str, typer.Option("--name", help="The marketplace's name.")] = "my_market",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Drafts a sources file from files or a database: matches names and values to the contract, and checks the result.

    Example: touchstone sources draft exports/*.csv --output my_market.yml
    """
    from expectations.contract import load_contract
    from touchstone.landing.draft.draft import draft_sources, summary
    from touchstone.landing.sources import NAME_PATTERN
    from touchstone.landing.sql import Limits

    if not re.fullmatch(NAME_PATTERN, name):
        raise BadInputError(f"--name {name!r}: use lower-case letters, digits and _, beginning with a letter.")
    if output is not None and output.exists() and not force:
        raise BadInputError(f"{output} exists. Choose another --output, or replace it with --force.")
    if output is not None and not output.parent.is_dir():
        raise BadInputError(f"{output.parent} is not a folder. Make it, or choose another --output.")
    result = draft_sources(
        sources,
        load_contract(),
        name=name,
        folder=Path() if output is None else output.parent,
        environment=os.environ,
        limits=Limits.from_settings(settings_of_command()),
    )
    if output is None:
        typer.echo(result.text, nl=False)
    else:
        write_bytes(output, result.text.encode())
    print_message(summary(result) + (f"\nWritten: {output}" if output else ""))
