"""Commands of the model review: versions, decisions on them, shadows, and the log of approvals."""

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
    settings_of,
    writing,
)
from touchstone.core.errors import ExitCode
from touchstone.core.text import LONG_LINE_COLUMNS, MOST_SENTENCE_COLUMNS, shorten, wrap

if TYPE_CHECKING:
    from ml.registry import Registry, Version

app = typer.Typer(no_args_is_help=True, help="The review: which model may rate.")


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """Prints every version of every model, and which one rates.

    Example: touchstone models list
    """
    versions = [version_facts(version) for version in _registry().versions()]
    print_result({"versions": versions}, as_json, lambda: render_versions(versions))


@app.command("show")
def show_model(model: str, version: Annotated[int, typer.Argument()], as_json: Json = False) -> None:
    """Prints what was measured of a version.

    Example: touchstone models show listing_counterfeit 1
    """
    found = _registry().version(model, version)
    facts = {**version_facts(found), "metrics": dict(sorted(found.metrics.items()))}
    print_result(facts, as_json, lambda: render_facts(facts))


@app.command("approve")
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


@app.command("reject")
def reject_model(model: str, version: int, why: Why, who: Who = "unnamed reviewer", as_json: Json = False) -> None:
    """Notes that a version must not rate.

    Example: touchstone models reject listing_counterfeit 2 --why "leans on one signal"
    """
    with _deciding("touchstone models reject") as registry:
        decision = registry.reject(model, version, who=who, why=why)
    _decided(dataclasses.asdict(decision), as_json)


@app.command("rollback")
def rollback_model(model: str, why: Why, who: Who = "unnamed reviewer", as_json: Json = False) -> None:
    """Puts the champion before the present one in force again.

    Example: touchstone models rollback listing_counterfeit --why "appeals have doubled"
    """
    with _deciding("touchstone models rollback") as registry:
        champion = registry.rollback(model, who=who, why=why)
    _decided(dataclasses.asdict(champion.approved), as_json)


@app.command("shadow")
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
    from touchstone.maintenance.approvals import compare_shadow

    champion, shadow, days = compare_shadow(settings_of().home, _registry(), model)
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
        from touchstone.maintenance.approvals import receipt_heads

        heads = dict(receipt_heads(settings_of().home / "published"))
        problems = registry.problems(heads)
        if problems:
            print_result({"problems": problems}, as_json, lambda: "\n".join(problems))
            raise SystemExit(int(ExitCode.VERIFICATION_FAILED))
        held = f"\nThe log holds, by itself and against MLflow, the champions' files and {len(heads):,} receipts."
    decisions = [dataclasses.asdict(decision) for decision in registry.approvals.decisions()]
    print_result(
        {"decisions": decisions},
        as_json,
        lambda: ("\n".join(map(render_decision, decisions)) or "No decision yet.") + held,
    )


def _registry() -> Registry:
    from ml.registry import Registry

    return Registry(settings_of().home)


@contextmanager
def _deciding(purpose: str) -> Iterator[Registry]:
    """Yields the registry while the home's lock is held; without it, two decisions at once would lose one."""
    with writing(purpose):
        yield _registry()


def _decided(decision: dict[str, Any], as_json: bool) -> None:
    print_result(decision, as_json, lambda: render_decision(decision))


def version_facts(version: Version) -> dict[str, Any]:
    """Returns what tells a model's version from another, as plain data."""
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
    """Returns versions as lines."""
    lines = [
        f"{v['model']:24} {v['version']:>4}  {v['status']:10}  gate {v['gate']:6}  {v['model_digest'][:12]}"
        for v in versions
    ]
    return "\n".join(lines) or "No model was trained yet. `touchstone run --train` trains them."


def render_facts(facts: dict[str, Any]) -> str:
    """Returns a version's facts and metrics as lines."""
    lines = [f"{name:24} {value}" for name, value in facts.items() if name not in ("metrics", "failures")]
    lines += [f"  fails: {sentence}" for sentence in facts["failures"]]
    return "\n".join([*lines, *(f"  {name:44} {value:.4f}" for name, value in facts["metrics"].items())])


def render_shadow(facts: dict[str, Any]) -> str:
    """Returns how a version in shadow compares with the champion, a line a day."""
    lines = [
        f"{facts['model']}: champion version {facts['champion']}, in shadow version {facts['shadow']}",
        "as of       rated      flagged              both     ranks   outcomes       precision      recall",
    ]
    for day in facts["days"]:
        one, other = day["champion"], day["shadow"]
        found = f"{day['positive_outcomes']:,} of {day['outcomes']:,}"
        rates = [f"{format_share(one[name]):>5} | {format_share(other[name]):5}" for name in ("precision", "recall")]
        lines.append(
            f"{day['as_of']}  {day['rated']:<9,}  {one['flagged']:>7,} | {other['flagged']:<7,}  {day['both']:<7,}  "
            f"{format_share(day['rank_correlation']):6}  {found:13}  {rates[0]}  {rates[1]}"
        )
    lines.append(
        "Left of the bar is the champion. Outcomes: found positive, of those that were decided on after the day."
    )
    return "\n".join(lines)


def render_decision(decision: dict[str, Any]) -> str:
    """Returns one line of the log of approvals in words."""
    override = " by override" if decision["is_override"] else ""
    line = (
        f"{decision['at']}  {decision['action']:8}  {decision['model']} version {decision['version']} "
        f"({decision['model_digest'][:12]}) by {shorten(decision['who'])}{override}: "
        f"{shorten(decision['why'], MOST_SENTENCE_COLUMNS)}"
    )
    return "\n".join(wrap(line, "", width=LONG_LINE_COLUMNS))
