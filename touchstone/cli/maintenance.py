"""Commands that keep a home sound: doctor, prune, erase, and the test of alerts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import (
    Json,
    Who,
    Why,
    print_result,
    settings_of,
)
from touchstone.core.errors import BadInputError, ExitCode

if TYPE_CHECKING:
    from touchstone.maintenance.doctor import Finding
    from touchstone.maintenance.retention import Pruning

alerts_app = typer.Typer(no_args_is_help=True, help="Who is told of failures, by webhook and by mail.")


def doctor(as_json: Json = False) -> None:
    """Looks the home over and says what to do: 4 where a digest does not match, 2 where somebody has to act, else 0.

    Example: touchstone doctor
    """
    from touchstone.maintenance.doctor import as_data, examine, exit_code

    settings = settings_of()
    findings = examine(settings)
    code = exit_code(findings)
    print_result(
        {"home": str(settings.home), "exit_code": int(code), "findings": as_data(findings)},
        as_json,
        lambda: render_findings(settings.home, findings),
    )
    raise SystemExit(int(code))


def prune(
    keep_days: Annotated[int, typer.Option("--keep-days", metavar="N", help="The newest as_of is the last of them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Removes what is older than N days, but nothing that the manifest of a kept version names.

    Example: touchstone prune --keep-days 90 --dry-run
    """
    from touchstone.maintenance.retention import prune as prune_home

    pruned = prune_home(settings_of(), keep_days, dry_run=dry_run)
    print_result(pruning_facts(pruned, dry_run=dry_run), as_json, lambda: render_pruning(pruned, dry_run=dry_run))


def erase(
    kind: Annotated[str, typer.Argument(help="What the hash is of: buyer, payer, phone, email, and others.")],
    value_hash: Annotated[str, typer.Argument(metavar="HASH", help="The identifier's HMAC, as it landed.")],
    who: Who = "unnamed",
    why: Why = "the person's erasure was asked for",
    as_json: Json = False,
) -> None:
    """Removes a person's rows from all loads, for good; the ledger keeps the old and the new digests.

    Example: touchstone erase buyer 1f0c6a2b8d9e4f7a1f0c6a2b8d9e4f7a --who "A. Officer" --why "request 17"
    """
    from touchstone.maintenance.retention import erase as erase_person

    removals = [
        line.model_dump(mode="json") for line in erase_person(settings_of(), kind, value_hash, who=who, why=why)
    ]
    print_result({"removals": removals}, as_json, lambda: render_erasure(removals))


@alerts_app.command("test")
def try_alerts(as_json: Json = False) -> None:
    """Sends a test by every channel that is set, and says what came of it; ends with 2 where one does not work.

    Example: touchstone alerts test
    """
    from touchstone.maintenance.alerts import send_test

    results = send_test(settings_of())
    if not results:
        raise BadInputError(
            "No channel is set. Set TOUCHSTONE_ALERT_WEBHOOK, or TOUCHSTONE_ALERT_SMTP with _FROM and _TO."
        )
    print_result({"channels": results}, as_json, lambda: "\n".join(f"{name}: {said}" for name, said in results.items()))
    raise SystemExit(int(ExitCode.DONE if set(results.values()) == {"sent"} else ExitCode.BAD_INPUT))


def render_findings(home: Path, findings: list[Finding]) -> str:
    """Returns the doctor's findings, a line each, and a verdict."""
    to_do = sum(finding.level != "note" for finding in findings)
    verdict = f"{to_do} of these need somebody." if to_do else f"{home} is sound."
    return "\n".join([*map(str, findings), verdict])


def pruning_facts(pruned: Pruning, *, dry_run: bool) -> dict[str, Any]:
    """Returns what was pruned as plain data."""
    items = [{"kind": item.kind, "path": str(item.path), "bytes": item.size} for item in pruned.expired]
    return {
        "dry_run": dry_run,
        "bytes": sum(item.size for item in pruned.expired),
        "items": items,
        "kept_as_history": {"tables": pruned.history_tables, "bytes": pruned.history_bytes},
    }


def render_pruning(pruned: Pruning, *, dry_run: bool) -> str:
    """Returns what was pruned in words, a line a kind."""
    lines = [f"  {count:>6} {kind}, {_size(size)}" for kind, (count, size) in pruned.totals().items()]
    head = ("Would go" if dry_run else "Gone") if lines else "Nothing is older and unneeded."
    if pruned.history_tables:
        tables = ", ".join(pruned.history_tables)
        lines.append(
            f"  Kept: {_size(pruned.history_bytes)} of earlier loads, the history that features of {tables} read"
        )
    return "\n".join([head, *lines])


def _size(size: int) -> str:
    return f"{size / 1024 / 1024:,.1f} MiB"


def render_erasure(removals: list[dict[str, Any]]) -> str:
    """Returns what an erasure did in words, a line a load."""
    lines = [
        f"{line['table']}/{line['load_id']} -> {line['replacement']['load_id']}: {line['removed_rows']:,} rows removed, "
        f"{line['cleared_rows']:,} cleared"
        for line in removals
    ]
    head = f"Erased from {len(removals)} loads; such rows do not land again. The next run makes the warehouse anew."
    return "\n".join([head, *lines])
