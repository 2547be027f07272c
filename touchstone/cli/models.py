"""Commands of the model review (versions, decisions, shadow versions, approvals log), and how they are printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import (
    Json,
    Who,
    Why,
    format_share,
    print_result,
    settings_of_command,
    writing,
)
from touchstone.cli.tables import render_table
from touchstone.core.errors import ExitCode
from touchstone.core.home import Home
from touchstone.core.last_run import what_is_missing
from touchstone.core.text import LONG_LINE_COLUMNS, MOST_SENTENCE_COLUMNS, shorten, wrap

if TYPE_CHECKING:
    from ml.registry import Registry, Version

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model, such as listing_counterfeit.")]
VersionNumber = Annotated[int, typer.Argument(metavar="VERSION", help="Number of the version.")]
app = typer.Typer(no_args_is_help=True, help="Model review: approve, reject and roll back the models that rate.")


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """Lists all versions of all models with their status.

    Example: touchstone models list
    """
    versions = [version_facts(version) for version in _registry().versions()]
    print_result({"versions": versions}, as_json, lambda: render_versions(versions))


@app.command("show")
def show_model(model: Model, version: VersionNumber, as_json: Json = False) -> None:
    """Shows the metrics and the gate result of a version.

    Example: touchstone models show listing_counterfeit 1
    """
    evaluated = _registry().version(model, version)
    facts = {**version_facts(evaluated), "metrics": dict(sorted(evaluated.metrics.items()))}
    print_result(facts, as_json, lambda: render_facts(facts))


@app.command("approve")
def approve_model(
    model: Model,
    version: VersionNumber,
    why: Why,
    who: Who = "unnamed reviewer",
    override: Annotated[
        bool,
        typer.Option(
            "--override", help="Approve although the promotion gate fails; --why is recorded on every receipt."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Approves a version as champion: it rates from the next run on.

    Example: touchstone models approve listing_counterfeit 2 --who "A. Reviewer" --why "better on unseen merchants"
    """
    with _locked_registry("touchstone models approve") as registry:
        champion = registry.approve(
            model, version, who=who, why=why, override=override, by_trainer=settings_of_command().is_trainer_trusted
        )
    _print_decision(dataclasses.asdict(champion.approved), as_json)


@app.command("reject")
def reject_model(
    model: Model, version: VersionNumber, why: Why, who: Who = "unnamed reviewer", as_json: Json = False
) -> None:
    """Rejects a version: it must not rate.

    Example: touchstone models reject listing_counterfeit 2 --why "leans on one signal"
    """
    with _locked_registry("touchstone models reject") as registry:
        decision = registry.reject(model, version, who=who, why=why)
    _print_decision(dataclasses.asdict(decision), as_json)


@app.command("rollback")
def rollback_model(model: Model, why: Why, who: Who = "unnamed reviewer", as_json: Json = False) -> None:
    """Restores the previous champion.

    Example: touchstone models rollback listing_counterfeit --why "appeals have doubled"
    """
    with _locked_registry("touchstone models rollback") as registry:
        champion = registry.rollback(model, who=who, why=why)
    _print_decision(dataclasses.asdict(champion.approved), as_json)


@app.command("shadow")
def shadow_model(
    model: Model,
    version: Annotated[
        int | None, typer.Argument(help="Version to score alongside the champion; default: show the comparison.")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="Reason, for the log.")] = "",
    who: Who = "unnamed reviewer",
    stop: Annotated[bool, typer.Option("--stop", help="Stop the shadow version.")] = False,
    as_json: Json = False,
) -> None:
    """Scores with a shadow version alongside the champion, without effect on lists; without a version, compares the two.

    Example: touchstone models shadow listing_counterfeit 2 --why "a week of both before I decide"
    """
    if stop:
        with _locked_registry("touchstone models shadow") as registry:
            _print_decision(dataclasses.asdict(registry.unshadow(model, who=who, why=why)), as_json)
        return
    if version is not None:
        with _locked_registry("touchstone models shadow") as registry:
            _print_decision(dataclasses.asdict(registry.shadow(model, version, who=who, why=why)), as_json)
        return
    from touchstone.maintenance.approvals import compare_shadow

    champion, shadow, days = compare_shadow(settings_of_command().home, _registry(), model)
    facts = {
        "model": model,
        "champion": champion.version,
        "shadow": shadow.version,
        "days": [day.as_dict() for day in days],
    }
    print_result(facts, as_json, lambda: render_shadow(facts))


@app.command("log")
def models_log(
    verify: Annotated[
        bool, typer.Option("--verify", help="Also compare the log with MLflow, the champions' files and all receipts.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Lists all decisions on models, oldest first, after verifying the hash chain; exits with 4 on a mismatch.

    Example: touchstone models log --verify
    """
    registry = _registry()
    confirmation = ""
    if verify:
        from touchstone.maintenance.approvals import receipt_heads

        heads = dict(receipt_heads(Home(settings_of_command().home).published))
        problems = registry.problems(heads)
        if problems:
            print_result({"problems": problems}, as_json, lambda: "\n".join(problems))
            raise SystemExit(int(ExitCode.VERIFICATION_FAILED))
        confirmation = f"\nThe log is consistent with itself, MLflow, the champions' files and {len(heads):,} receipts."
    decisions = [dataclasses.asdict(decision) for decision in registry.approvals.decisions()]
    print_result(
        {"decisions": decisions},
        as_json,
        lambda: ("\n".join(map(render_decision, decisions)) or "No decision yet.") + confirmation,
    )


def _registry() -> Registry:
    from ml.registry import Registry

    return Registry(settings_of_command().home)


@contextmanager
def _locked_registry(purpose: str) -> Iterator[Registry]:
    """Yields the registry while holding the home's lock, because concurrent decisions would overwrite each other."""
    with writing(purpose):
        yield _registry()


def _print_decision(decision: dict[str, Any], as_json: bool) -> None:
    print_result(decision, as_json, lambda: render_decision(decision))


def version_facts(version: Version) -> dict[str, Any]:
    """Returns a version as plain data."""
    return {
        "model": version.model,
        "version": version.version,
        "status": version.status,
        "gate": "failed" if version.failures else "passed",
        "failures": list(version.failures),
        "model_digest": version.model_digest,
        "mlflow_run": version.run_id,
    }


def render_versions(versions: list[dict[str, Any]]) -> str:
    """Returns the versions as a table."""
    rows = [(v["model"], v["version"], v["status"], f"gate {v['gate']}", v["model_digest"][:12]) for v in versions]
    if not rows:
        missing = what_is_missing(settings_of_command().home, "Run `touchstone run --train`.")
        return f"No model was trained yet. {missing}"
    return "\n".join(render_table((), rows, right=(1,)))


def render_facts(facts: dict[str, Any]) -> str:
    """Returns the facts, gate failures and metrics of a version."""
    lines = [f"{name:24} {value}" for name, value in facts.items() if name not in ("metrics", "failures")]
    lines += [f"  fails: {failure}" for failure in facts["failures"]]
    return "\n".join([*lines, *(f"  {name:44} {value:.4f}" for name, value in facts["metrics"].items())])


def render_shadow(facts: dict[str, Any]) -> str:
    """Returns the comparison of the shadow version with the champion, one row per day."""
    rows = []
    for day in facts["days"]:
        champion, shadow = day["champion"], day["shadow"]
        rows.append(
            (
                day["as_of"],
                f"{day['rated']:,}",
                f"{champion['flagged']:,} | {shadow['flagged']:,}",
                f"{day['both']:,}",
                format_share(day["rank_correlation"]),
                f"{day['positive_outcomes']:,} of {day['outcomes']:,}",
                *(f"{format_share(champion[name])} | {format_share(shadow[name])}" for name in ("precision", "recall")),
            )
        )
    headers = ("as of", "rated", "flagged", "both", "rank corr.", "outcomes", "precision", "recall")
    return "\n".join(
        [
            f"{facts['model']}: champion version {facts['champion']}, shadow version {facts['shadow']}",
            *render_table(headers, rows, right=(1, 3)),
            "Left of the bar: the champion. Outcomes: positive, of those decided after the day.",
        ]
    )


def render_decision(decision: dict[str, Any]) -> str:
    """Returns one decision of the approvals log."""
    override = " by override" if decision["is_override"] else ""
    line = (
        f"{decision['at']}  {decision['action']:8}  {decision['model']} version {decision['version']} "
        f"({decision['model_digest'][:12]}) by {shorten(decision['who'])}{override}: "
        f"{shorten(decision['why'], MOST_SENTENCE_COLUMNS)}"
    )
    return "\n".join(wrap(line, "", width=LONG_LINE_COLUMNS))
