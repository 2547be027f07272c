"""Commands on the source tables."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from touchstone.cli.common import (
    Json,
    print_result,
    settings_of,
)
from touchstone.core.errors import ExitCode

app = typer.Typer(no_args_is_help=True, help="The source tables of a marketplace.")


@app.command("check")
def check_sources(file: Annotated[Path, typer.Argument(help="The sources file.")], as_json: Json = False) -> None:
    """Reads every source and reports the contract, table by table, without landing; any refusal ends with 2.

    Example: touchstone sources check my_market.yml
    """
    from expectations.contract import load_contract
    from touchstone.landing.land import check
    from touchstone.landing.sources import identifier_key, read_sources
    from touchstone.landing.sql import Limits

    settings = settings_of(sources=file)
    sources = read_sources(settings.sources_file, os.environ)
    reports = check(
        sources, load_contract(), hmac_key=identifier_key(sources, settings), limits=Limits.from_settings(settings)
    )
    print_result(
        {"tables": [dataclasses.asdict(found) for found in reports]},
        as_json,
        lambda: "\n".join(found.message for found in reports),
    )
    raise SystemExit(int(ExitCode.DONE if all(found.accepted for found in reports) else ExitCode.BAD_INPUT))
