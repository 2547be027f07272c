"""The `touchstone` command: it parses, calls and prints; nothing else.

Results go to stdout, or one JSON object with `--json`; logs and errors go to stderr. Exit codes: 0 done, 1 a fault of
ours, 2 bad usage, configuration or source, or a disk that refuses, 3 a gate refused, 4 verification failed; 128 and the
signal's number where a signal stopped it (130 SIGINT, 143 SIGTERM, 129 SIGHUP), 141 where nobody read what it printed.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from orchestration.process import spare_the_collector
from touchstone.cli import casework as acting
from touchstone.cli import summary as report
from touchstone.cli.common import Json, Who, Why, date_of, print_message, print_result, settings_of, writing
from touchstone.cli.start import stoppable
from touchstone.core.errors import BadInputError, ExitCode, TouchstoneError, disk_refusal
from touchstone.core.secrets import hide
from touchstone.core.text import TerminalFormatter

if TYPE_CHECKING:
    from ml.registry import Registry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rates the goods and merchants of a marketplace for the risk that they are counterfeit, and publishes lists.",
)
sources_app = typer.Typer(no_args_is_help=True, help="The source tables of a marketplace.")
lists_app = typer.Typer(no_args_is_help=True, help="The published lists.")
models_app = typer.Typer(no_args_is_help=True, help="The review: which model may rate.")
alerts_app = typer.Typer(no_args_is_help=True, help="Who is told of failures, by webhook and by mail.")
app.add_typer(sources_app, name="sources")
app.add_typer(lists_app, name="lists")
app.add_typer(models_app, name="models")
app.add_typer(alerts_app, name="alerts")
acting.add_to(app)

AsOf = Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="The date to rate, such as 2026-06-30.")]
Sources = Annotated[Path | None, typer.Option("--sources", metavar="FILE", help="Sources file; without it, the demo.")]


def main() -> None:
    """Runs the command line; every expected failure ends as a sentence and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a terminal that is not of UTF-8 gets the numbers, as on stderr
    _log_to_stderr()
    spare_the_collector()
    try:
        with stoppable():  # already here, for what follows must not explain what a signal broke off
            app(standalone_mode=False)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer's way to end where nobody reads what is printed
            raise SystemExit(128 + signal.SIGPIPE) from None
        raise
    except TouchstoneError as error:
        _fail(str(error), error.exit_code)
    except typer.Abort:
        _fail("Stopped.", ExitCode.FAULT)
    except TyperException as error:
        _fail(f"{error.format_message()} `touchstone --help` shows what there is.", ExitCode.BAD_INPUT)
    except Exception as error:  # noqa: BLE001  # the last resort: a disk that refuses, or a fault of ours, told as one
        if (refusal := disk_refusal(str(error))) is not None:
            _fail(f"{refusal} The home is {settings_of().home}.", ExitCode.BAD_INPUT)
        print_message(hide(traceback.format_exc()))
        _fail(f"A fault of ours: {error!r}. Please report it with the lines above.", ExitCode.FAULT)


@app.command()
def demo(
    scale: Annotated[float, typer.Option(help="1 is 100,000 merchants and 20 million orders.")] = 0.02,
    days: Annotated[int, typer.Option(help="Days of history, ending on 2026-06-30.")] = 120,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 7,
    hardness: Annotated[float, typer.Option(help="How much counterfeiters and honest merchants overlap.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Writes the demo marketplace, with its truth, into the home.

    Example: touchstone demo --scale 0.02 --days 120 --seed 7
    """
    from touchstone.demo.generate import generate

    settings = settings_of()
    with writing("touchstone demo"):
        generate(settings.demo, scale=scale, days=days, seed=seed, hardness=hardness)
    print_result({"written": str(settings.demo)}, as_json, lambda: f"The demo marketplace is in {settings.demo}.")


@app.command()
def run(
    sources: Sources = None,
    as_of: AsOf = None,
    train: Annotated[bool, typer.Option("--train", help="Train every model although one may rate.")] = False,
    approve_if_passing: Annotated[
        bool, typer.Option("--approve-if-passing", help="Let a first model that passes ml/thresholds.yml rate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Runs the whole pipeline: land, shape, train if needed, rate, judge, publish.

    Example: touchstone run --sources my_market.yml --as-of 2026-06-30 --approve-if-passing
    """
    from orchestration.pipeline import run_pipeline

    settings = settings_of(**({"sources": sources} if sources else {}))
    day = None if as_of is None else date_of(as_of, "--as-of")
    result = run_pipeline(settings, as_of=day, train=train, approve_if_passing=approve_if_passing)
    summary = report.summarise(settings, result)
    print_result(summary, as_json, lambda: report.render(summary))
    for message in result.messages:
        print_message(message)
    raise SystemExit(int(result.exit_code))


@app.command()
def backfill(
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="The first day to rate.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="The last day to rate.")],
    again: Annotated[bool, typer.Option("--again", help="Also days whose lists stand on the same inputs.")] = False,
    as_json: Json = False,
) -> None:
    """Rates each day of a range over what has landed, oldest first; given again, it goes on where it stopped.

    Example: touchstone backfill --from 2026-06-01 --to 2026-06-30
    """
    from orchestration.pipeline import backfill as backfill_days
    from orchestration.pipeline import backfill_exit_code

    days = backfill_days(
        settings_of(),
        date_of(first, "--from"),
        date_of(last, "--to"),
        again=again,
        on_day=lambda day: print_message(report.render_day(day)),
    )
    code = backfill_exit_code(days)
    facts = [{**dataclasses.asdict(day), "as_of": str(day.as_of), "exit_code": int(day.exit_code)} for day in days]
    print_result({"days": facts, "exit_code": int(code)}, as_json, lambda: report.render_backfill(days))
    raise SystemExit(int(code))


@app.command()
def backtest(
    model: Annotated[str, typer.Argument(help="The model, such as listing_counterfeit.")],
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="The first date to train and rate as of.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="No step lies after it.")],
    every: Annotated[str, typer.Option(metavar="Nd", help="Days from a step to the next, such as 7d.")] = "7d",
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A policy to compare with the one in force.")
    ] = None,
    without: Annotated[str, typer.Option(metavar="a,b", help="Signals or features to compare without.")] = "",
    as_json: Json = False,
) -> None:
    """Trains a model anew at past dates, on what each knew, and says what came of what it flagged; goes on where it stopped.

    Example: touchstone backtest listing_counterfeit --from 2026-05-01 --to 2026-06-12 --every 7d --without link
    """
    from orchestration.backtest import backtest as walk

    days = every.removesuffix("d")
    if not days.isdecimal() or int(days) < 1:
        raise BadInputError(f"--every {every}: not a number of days. Write it as 7d.")
    result = walk(
        settings_of(),
        model,
        date_of(first, "--from"),
        date_of(last, "--to"),
        every=int(days),
        policy=policy,
        without=[name.strip() for name in without.split(",") if name.strip()],
        on_step=lambda day, said: print_message(f"{day}  {said}"),
    )
    print_result({**result.as_dict(), "folder": str(result.folder)}, as_json, lambda: report.render_backtest(result))


@app.command()
def evaluate(  # noqa: PLR0917  typer passes them by name
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A labelled table, .parquet or .csv.")],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The label, of two values.")],
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Names the rows; never a feature.")
    ] = None,
    features: Annotated[str, typer.Option(metavar="a,b", help="The features; without it, all other columns.")] = "",
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column that is left out; may be repeated.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="A column of text; may be repeated.")] = None,
    group: Annotated[str | None, typer.Option(metavar="COLUMN", help="Rows of one group stay on one side.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="When a row was: the last rows test.")] = None,
    split: Annotated[str | None, typer.Option(metavar="COLUMN", help="Says train, validation or test.")] = None,
    splits: Annotated[Path | None, typer.Option(metavar="FILE", help="The id, and one such column a split.")] = None,
    test_size: Annotated[float, typer.Option(help="The share of rows that test.")] = 0.2,
    seeds: Annotated[
        int, typer.Option(help="How many cuts are drawn, or how many seeds one split is learned with.")
    ] = 5,
    edges: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Columns src, dst, and maybe weight and type.")
    ] = None,
    hops: Annotated[int, typer.Option(help="How far edges are followed.")] = 2,
    trials: Annotated[int, typer.Option(help="How many sets of parameters are tried; 0 for none.")] = 30,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Beside the prevalence and a logistic regression.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Says what our models are worth on a labelled table of your own.

    Example: touchstone evaluate reviews.csv --label fake --id review_id --text body --group author --baseline
    """
    from ml.tables import Roles
    from touchstone.cli import evaluate as evaluation

    roles = Roles(
        label=label,
        id=id_column,
        group=group,
        time=time,
        split=split,
        texts=_names(text),
        features=tuple(_names([features])) or None,
        drop=_names(drop),
    )
    wanted = evaluation.Wanted(table, roles, splits, test_size, seeds, edges, hops, trials, baseline)
    found, address = evaluation.evaluate(settings_of(), wanted, print_message)
    told = found.as_dict()
    print_result(told, as_json, lambda: evaluation.render(told, address))


def _names(given: list[str] | None) -> tuple[str, ...]:
    """The names of an option that may be repeated, or hold several with commas between them."""
    return tuple(name.strip() for each in given or () for name in each.split(",") if name.strip())


@app.command()
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
    print_result(dataclasses.asdict(found), as_json, lambda: report.render_verification(settings.home, found))
    raise SystemExit(int(ExitCode.VERIFICATION_FAILED if found.problems else ExitCode.DONE))


@app.command()
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
        lambda: report.render_findings(settings.home, findings),
    )
    raise SystemExit(int(code))


@app.command()
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
    print_result(
        report.pruning_facts(pruned, dry_run=dry_run), as_json, lambda: report.render_pruning(pruned, dry_run=dry_run)
    )


@app.command()
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
    print_result({"removals": removals}, as_json, lambda: report.render_erasure(removals))


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port of Dagster's pages; MLflow's is the next.")] = 3000,
) -> None:
    """Serves Dagster's UI and MLflow's on this machine, until interrupted.

    Example: touchstone ui --port 3000
    """
    from orchestration.ui import serve

    serve(settings_of(), port=port)


@sources_app.command("check")
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


@lists_app.command("show")
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
    print_result({"rows": rows}, as_json, lambda: report.render_list(found.key, rows, audience))


@lists_app.command("diff")
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


@models_app.command("list")
def list_models(as_json: Json = False) -> None:
    """Prints every version of every model, and which one rates.

    Example: touchstone models list
    """
    versions = [report.version_facts(version) for version in _registry().versions()]
    print_result({"versions": versions}, as_json, lambda: report.render_versions(versions))


@models_app.command("show")
def show_model(model: str, version: Annotated[int, typer.Argument()], as_json: Json = False) -> None:
    """Prints what was measured of a version.

    Example: touchstone models show listing_counterfeit 1
    """
    found = _registry().version(model, version)
    facts = {**report.version_facts(found), "metrics": dict(sorted(found.metrics.items()))}
    print_result(facts, as_json, lambda: report.render_facts(facts))


@models_app.command("approve")
def approve_model(
    model: str,
    version: int,
    why: Why,
    who: Who = "unnamed reviewer",
    override: Annotated[
        bool, typer.Option("--override", help="Although it fails the gate of the review; --why goes on every receipt.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Makes a version champion: from now on it rates.

    Example: touchstone models approve listing_counterfeit 2 --who "A. Reviewer" --why "better on unseen merchants"
    """
    with _deciding("touchstone models approve") as registry:
        champion = registry.approve(
            model, version, who=who, why=why, override=override, by_trainer=settings_of().is_trainer_trusted
        )
    _decided(dataclasses.asdict(champion.approved), as_json)


@models_app.command("reject")
def reject_model(model: str, version: int, why: Why, who: Who = "unnamed reviewer", as_json: Json = False) -> None:
    """Notes that a version must not rate.

    Example: touchstone models reject listing_counterfeit 2 --why "leans on one signal"
    """
    with _deciding("touchstone models reject") as registry:
        decision = registry.reject(model, version, who=who, why=why)
    _decided(dataclasses.asdict(decision), as_json)


@models_app.command("rollback")
def rollback_model(model: str, why: Why, who: Who = "unnamed reviewer", as_json: Json = False) -> None:
    """Puts the champion before the present one in force again.

    Example: touchstone models rollback listing_counterfeit --why "appeals have doubled"
    """
    with _deciding("touchstone models rollback") as registry:
        champion = registry.rollback(model, who=who, why=why)
    _decided(dataclasses.asdict(champion.approved), as_json)


@models_app.command("shadow")
def shadow_model(
    model: str,
    version: Annotated[int | None, typer.Argument(help="The version that is to rate beside the champion.")] = None,
    why: Annotated[str, typer.Option("--why", help="Why, for the log.")] = "",
    who: Who = "unnamed reviewer",
    stop: Annotated[bool, typer.Option("--stop", help="End it.")] = False,
    as_json: Json = False,
) -> None:
    """Lets a version rate beside the champion, touching no list; without a version, says how the two compare so far.

    Example: touchstone models shadow listing_counterfeit 2 --why "a week of both before I decide"
    """
    if stop:
        with _deciding("touchstone models shadow") as registry:
            _decided(dataclasses.asdict(registry.unshadow(model, who=who, why=why)), as_json)
        return
    if version is not None:
        with _deciding("touchstone models shadow") as registry:
            _decided(dataclasses.asdict(registry.shadow(model, version, who=who, why=why)), as_json)
        return
    from touchstone.maintenance.approvals import shadow_report

    champion, shadow, days = shadow_report(settings_of().home, _registry(), model)
    facts = {
        "model": model,
        "champion": champion.version,
        "shadow": shadow.version,
        "days": [day.as_dict() for day in days],
    }
    print_result(facts, as_json, lambda: report.render_shadow(facts))


@models_app.command("log")
def models_log(
    verify: Annotated[
        bool, typer.Option("--verify", help="Also hold the log against MLflow, the champions' files and all receipts.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Prints every decision on a model, oldest first, having checked the chain; ends with 4 where something does not hold.

    Example: touchstone models log --verify
    """
    registry = _registry()
    held = ""
    if verify:
        from touchstone.maintenance.approvals import heads_in_receipts

        heads = dict(heads_in_receipts(settings_of().home / "published"))
        problems = registry.problems(heads)
        if problems:
            print_result({"problems": problems}, as_json, lambda: "\n".join(problems))
            raise SystemExit(int(ExitCode.VERIFICATION_FAILED))
        held = f"\nThe log holds, by itself and against MLflow, the champions' files and {len(heads):,} receipts."
    decisions = [dataclasses.asdict(decision) for decision in registry.log()]
    print_result(
        {"decisions": decisions},
        as_json,
        lambda: ("\n".join(map(report.render_decision, decisions)) or "No decision yet.") + held,
    )


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


def _registry() -> Registry:
    from ml.registry import Registry

    return Registry(settings_of().home)


@contextmanager
def _deciding(purpose: str) -> Iterator[Registry]:
    """Yields the registry while the home's lock is held; without it, two decisions at once would lose one."""
    with writing(purpose):
        yield _registry()


def _decided(decision: dict[str, Any], as_json: bool) -> None:
    print_result(decision, as_json, lambda: report.render_decision(decision))


def _log_to_stderr() -> None:
    """Our own lines as they are; of the libraries only warnings. Dagster rewrites lines that reach the root logger."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    ours = logging.getLogger("touchstone")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def _fail(message: str, code: ExitCode) -> None:
    print_message(hide(message))
    raise SystemExit(int(code))
