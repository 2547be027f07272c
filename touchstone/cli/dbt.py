"""`touchstone dbt`: any dbt command, over the warehouse of a home."""

from __future__ import annotations

from contextlib import nullcontext

import typer

from touchstone.cli.common import settings_of_command, writing
from touchstone.core.errors import ExitCode
from touchstone.core.home import ensure_schema

# What follows `dbt` is dbt's, options included.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def dbt(context: typer.Context) -> None:
    """Runs a dbt command with the project, profile and home set; commands that open the warehouse wait for its lock.

    Exits with 4 if a model or test failed. Artifacts (compiled SQL, documentation) are written to `dbt/` in the home.

    Example: touchstone dbt build --select int_order_days
    """
    from orchestration.dbt_shell import OFFLINE, run_dbt_command

    arguments = context.args or ["--help"]
    settings = settings_of_command()
    ensure_schema(settings)
    with nullcontext() if arguments[0] in {*OFFLINE, "--help"} else writing(f"touchstone dbt {arguments[0]}"):
        succeeded = run_dbt_command(settings, arguments)
    raise SystemExit(int(ExitCode.DONE if succeeded else ExitCode.VERIFICATION_FAILED))
