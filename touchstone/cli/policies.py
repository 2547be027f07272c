"""Commands on policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from touchstone.cli.common import (
    Json,
    day_of,
    print_result,
    settings_of,
)

app = typer.Typer(no_args_is_help=True, help="What is flagged from where on, and what is then done.")


@app.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy.")], as_json: Json = False
) -> None:
    """Says whether a policy is sound, and of each mistake in which line it is and what to write.

    Example: touchstone policies check policies/stricter.yml
    """
    from touchstone.publishing.policy_trial import policy_facts, render_policy

    facts = policy_facts(file)
    print_result(facts, as_json, lambda: render_policy(facts))


@app.command("try")
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
