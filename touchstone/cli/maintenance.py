"""Commands that maintain a home (doctor, prune, erase, alerts), and how their results are printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import (
    Json,
    Who,
    Why,
    print_result,
    settings_of_command,
)
from touchstone.core.errors import BadInputError, ExitCode

if TYPE_CHECKING:
    from touchstone.maintenance.doctor import Finding
    from touchstone.maintenance.retention import Pruning

alerts_app = typer.Typer(no_args_is_help=True, help="Alerts on failures, by webhook and mail.")


def doctor(as_json: Json = False) -> None:
    """Checks the home and lists what to do; exits with 4 on a wrong digest, with 2 if action is needed, else with 0.

    Example: touchstone doctor
    """
    from touchstone.maintenance.doctor import as_data, examine, exit_code

    settings = settings_of_command()
    findings = examine(settings)
    code = exit_code(findings)
    print_result(
        {"home": str(settings.home), "exit_code": int(code), "findings": as_data(findings)},
        as_json,
        lambda: render_findings(settings.home, findings),
    )
    raise SystemExit(int(code))


def prune(
    keep_days: Annotated[
        int, typer.Option("--keep-days", metavar="N", help="Days to keep, up to the newest as-of date.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be removed, without removing it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Removes files older than N days, except those that the manifest of a kept version names.

    Example: touchstone prune --keep-days 90 --dry-run
    """
    from touchstone.maintenance.retention import prune as prune_home

    pruned = prune_home(settings_of_command(), keep_days, dry_run=dry_run)
    print_result(pruning_facts(pruned, dry_run=dry_run), as_json, lambda: render_pruning(pruned, dry_run=dry_run))


def erase(
    kind: Annotated[str, typer.Argument(help="Kind of the identifier: buyer, payer, phone, email, and others.")],
    value_hash: Annotated[str, typer.Argument(metavar="HASH", help="HMAC of the identifier, as landed.")],
    who: Who = "unnamed",
    why: Why = "request for erasure",
    as_json: Json = False,
) -> None:
    """Permanently removes a person's rows from all loads; the ledger records the old and the new digests.

    Example: touchstone erase buyer 1f0c6a2b8d9e4f7a1f0c6a2b8d9e4f7a --who "A. Officer" --why "request 17"
    """
    from touchstone.maintenance.retention import erase as erase_person

    removals = [
        line.model_dump(mode="json") for line in erase_person(settings_of_command(), kind, value_hash, who=who, why=why)
    ]
    print_result({"removals": removals}, as_json, lambda: render_erasure(removals))


@alerts_app.command("test")
def try_alerts(as_json: Json = False) -> None:
    """Sends a test alert to every configured channel; exits with 2 if one fails.

    Example: touchstone alerts test
    """
    from touchstone.maintenance.alerts import send_test

    results = send_test(settings_of_command())
    if not results:
        raise BadInputError(
            "No alert channel is configured. Set TOUCHSTONE_ALERT_WEBHOOK, or TOUCHSTONE_ALERT_SMTP with _FROM and _TO."
        )
    print_result(
        {"channels": results}, as_json, lambda: "\n".join(f"{name}: {result}" for name, result in results.items())
    )
    raise SystemExit(int(ExitCode.DONE if set(results.values()) == {"sent"} else ExitCode.BAD_INPUT))


def render_findings(home: Path, findings: list[Finding]) -> str:
    """Returns the findings, one per line, and a summary."""
    actionable = sum(finding.level != "note" for finding in findings)
    verdict = f"{actionable} of these need action." if actionable else f"No problems in {home}."
    return "\n".join([*map(str, findings), verdict])


def pruning_facts(pruned: Pruning, *, dry_run: bool) -> dict[str, Any]:
    """Returns the result of pruning as plain data."""
    items = [{"kind": item.kind, "path": str(item.path), "bytes": item.size} for item in pruned.expired]
    return {
        "dry_run": dry_run,
        "bytes": sum(item.size for item in pruned.expired),
        "items": items,
        "kept_as_history": {"tables": pruned.history_tables, "bytes": pruned.history_bytes},
    }


def render_pruning(pruned: Pruning, *, dry_run: bool) -> str:
    """Returns the number and size of the removed files by kind."""
    lines = [f"  {count:>6} {kind}, {_size(size)}" for kind, (count, size) in pruned.totals().items()]
    head = ("Would be removed" if dry_run else "Removed") if lines else "Nothing to remove."
    if pruned.history_tables:
        tables = ", ".join(pruned.history_tables)
        lines.append(
            f"  Kept: {_size(pruned.history_bytes)} of earlier loads, which the features of {tables} need as history"
        )
    return "\n".join([head, *lines])


def _size(size: int) -> str:
    return f"{size / 1024 / 1024:,.1f} MiB"


def render_erasure(removals: list[dict[str, Any]]) -> str:
    """Returns the result of an erasure, one line per load."""
    lines = [
        f"{line['table']}/{line['load_id']} -> {line['replacement']['load_id']}: {line['removed_rows']:,} rows removed, "
        f"{line['cleared_rows']:,} cleared"
        for line in removals
    ]
    head = f"Erased from {len(removals)} loads; these rows will not land again. The next run rebuilds the warehouse."
    return "\n".join([head, *lines])
