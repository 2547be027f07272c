"""The gates as blocking asset checks: each suite of expectations on the asset that it judges.

A gate's result is kept in `gates/<as_of>/`, whole, with the digest of what it judged. The gate on a candidate also gives
the verdict, for which it takes the results of the gates before it, and judges again what has none. A blocking check stops
only its own run, so what keeps an unjudged list from readers is the verdict that publishing reads, not the check.
"""

import warnings
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import duckdb
from pydantic import TypeAdapter

from expectations.contract import Contract
from expectations.results import SuiteResult, subject_digest
from expectations.runner import run_suite
from expectations.suites import load_suite, suite_digest, suites_digest
from ml.approvals import Champion
from orchestration import charts
from orchestration.resources import Run
from touchstone.core.files import write_json
from touchstone.core.lists import LISTS, ListDefinition, ListName
from touchstone.core.settings import MAX_AGE
from touchstone.core.text import visible
from touchstone.landing.acceptances import accepted_reasons
from touchstone.landing.as_of import fresh_date
from touchstone.landing.ledger import LoadRecord, PinnedLoads
from touchstone.publishing.candidate import list_columns, newest_candidate
from touchstone.publishing.verdict import GATES_BEFORE, give_verdict

Files = Mapping[str, list[Path]]
COMPARED_WITH_BEFORE = ("listings", "reviews", "orders")
TERM_PARAMETERS = ("term", "category", "brand", "country", "threshold", "capacity", "corroboration", "action")


class LandedLoads(Protocol):
    """The part of a run that the gate on landed tables reads."""

    @property
    def landing(self) -> Path:
        """Folder of the landing zone."""

    @property
    def pins(self) -> PinnedLoads:
        """The loads that count now."""

    @property
    def ledger(self) -> list[LoadRecord]:
        """Every load that was tried, oldest first."""


def gates(contract: Contract, daily: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Returns the gates: one on what landed; on features, scores and candidates one a list."""
    # A check without partitions forgets which day it was about, so this is worth being early.
    warnings.filterwarnings("ignore", message="Specifying a partitions_def on an AssetCheckSpec")
    found = [_landed_gate(contract)]
    for name, rated in LISTS.items():
        found.append(_gate("features", name, dg.AssetKey(["features", f"{rated.relation}_features"]), daily))
        found.append(_gate("scores", name, dg.AssetKey(["scores", rated.model]), daily))
        found.append(_gate("candidate", name, dg.AssetKey(["candidates", name]), daily))
    return found


def _landed_gate(contract: Contract) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(["landed", "listings"]),
        name="gate_landed",
        description="The loads in use are complete, recent, and similar to the previous ones.",
        additional_deps=[["landed", name] for name in contract.tables if name != "listings"],
        blocking=True,
        required_resource_keys={"run"},
    )
    def gate_landed(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        run: Run = context.resources.run
        with run.record.stage("gate landed"):
            result = judge(run, "landed", "listings")
            failed = {failure.table for failure in result.failures}
            return _check_result(run, result, picture_of(run, "landed", "listings", failed=failed))

    return gate_landed


def _gate(
    suite: str, name: ListName, asset: dg.AssetKey, daily: dg.DailyPartitionsDefinition
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name=f"gate_{suite}",
        description=load_suite(suite).description,
        blocking=True,
        partitions_def=daily,
        required_resource_keys={"run"},
    )
    def gate(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        run: Run = context.resources.run
        if _is_off(run, suite, LISTS[name]):
            return dg.AssetCheckResult(passed=True, description="There is nothing to judge: the model is off.")
        with run.record.stage(f"gate {suite} {name}"):
            result = judge(run, suite, name)
            if suite == "candidate":
                give_verdict_on(run, name, result)
            return _check_result(run, result, picture_of(run, suite, name), name)

    return gate


def _is_off(run: Run, suite: str, rated: ListDefinition) -> bool:
    """Returns whether a list has nothing to judge: no scores, or nobody to rate and no model that would.

    A table that only one list depends on may be missing; the other lists are published all the same.
    """
    if suite == "features":
        return not run.registry.has_champion(rated.model) and _active_count(run, rated) == 0
    return suite == "scores" and not run.paths.scores(rated.model, run.as_of).exists()


def judge(run: Run, suite: str, name: ListName) -> SuiteResult:
    """Judges by one suite what the run has of one list, and keeps the result."""
    result = run_suite(suite, files_of(run, suite, name), _parameters(run, suite, name))
    write_json(run.gate_file(_gate_name(suite, name), run.as_of), result.as_dict())
    return result


def give_verdict_on(run: Run, name: ListName, candidate_result: SuiteResult) -> None:
    """Writes the verdict on the candidate that was just judged, from its own gate's result and those of the gates before."""
    candidate = newest_candidate(name, run.paths.candidates, run.as_of)
    if candidate is None:
        return
    before = [_kept_or_judged(run, gate, name) for gate in GATES_BEFORE]
    give_verdict(candidate, [*before, candidate_result], suites_digest=suites_digest(), policy_digest=run.policy.digest)


def subject_of(run: Run, suite: str, name: ListName) -> str:
    """Returns the digest of the files that a gate has to judge for a list, computed from the files themselves."""
    return subject_digest(files_of(run, suite, name))


def files_of(run: Run, suite: str, name: ListName) -> Files:
    """Returns the Parquet files that a suite judges for a list, by the table they are to it."""
    if suite == "landed":
        return _landed_files(run)
    features = run.paths.features(name, run.as_of)
    scores = run.paths.scores(LISTS[name].model, run.as_of)
    if suite == "scores":
        drift = run.paths.drift(LISTS[name].model, run.as_of)
        return {"scores": [scores], "features": [features], **({"drift": [drift]} if drift.exists() else {})}
    if suite == "candidate":
        return {"candidate": [_candidate_file(run, name)], "rated": [run.paths.mart(LISTS[name].mart, run.as_of)]}
    before = run.paths.features_before(name, run.as_of)
    return {"features": [features], **({"features_before": [before]} if before else {})}


def _gate_name(suite: str, name: str) -> str:
    return suite if suite == "landed" else f"{suite}-{name}"


def _kept_or_judged(run: Run, suite: str, name: ListName) -> SuiteResult:
    """Returns a gate's kept result if it is about the very files, suite and parameters of now, else judges."""
    kept = run.gate_file(_gate_name(suite, name), run.as_of)
    if kept.exists():
        result = SuiteResult.model_validate_json(kept.read_bytes())
        bound = TypeAdapter(Any).dump_python(load_suite(suite).bind(_parameters(run, suite, name)), mode="json")
        now = (subject_of(run, suite, name), suite_digest(suite), bound)
        if (result.subject_digest, result.suite_digest, result.parameters) == now:
            return result
    return judge(run, suite, name)


def _candidate_file(run: Run, name: ListName) -> Path:
    candidate = newest_candidate(name, run.paths.candidates, run.as_of)
    return candidate.parquet if candidate else run.paths.candidates / name / "none"


def _parameters(run: Run, suite: str, name: ListName) -> dict[str, Any]:
    if suite == "landed":
        return {"as_of": run.as_of, "loads": load_rows(run)}
    key, model = LISTS[name].key, LISTS[name].model
    if suite == "features":
        return {"key": key, "as_of": run.as_of, "live_count": _active_count(run, LISTS[name])}
    champion = run.registry.champion(model)
    if champion is None:
        raise RuntimeError(f"{model} has scores and no champion")
    terms = run.applied_terms(name, champion)
    rating: dict[str, Any] = {"key": key, "floor": champion.floor, "max_flagged_share": run.policy.max_flagged_share}
    if suite == "scores":
        # Scores alone do not say which term decides; whoever reaches all of them is flagged by any.
        rating["threshold"] = max(term.threshold for term in terms)
        before = run.paths.scores_before(model, run.as_of)
        rating |= {"model_digest": champion.model_digest, "prevalence": _expected_share(run, name, champion)}
        rating |= {"drift_warn": run.policy.drift.warn, "drift_block": run.policy.drift.block}
        return {**rating, "previous_mean_score": _mean_score(before, champion.model_digest) if before else None}
    return {
        **rating,
        "as_of": run.as_of,
        "columns": list(list_columns(name)),
        "least_rows": run.policy.least_rows(is_calibrated=champion.is_calibrated),
        "terms": [term.model_dump(include=set(TERM_PARAMETERS)) for term in terms],
    }


def _expected_share(run: Run, name: ListName, champion: Champion) -> float | None:
    """Returns the share of positives that the mean score should be near; None for a ranking, whose mean says nothing."""
    return champion.card["prevalence"] if champion.is_calibrated else run.policy.assumed_share(name)


def _active_count(run: Run, rated: ListDefinition) -> int:
    with run.warehouse.connect() as connection:
        counted = connection.execute(f"select count(*) from {rated.relation}_spine where purpose = 'score'").fetchone()
    return int(counted[0]) if counted else 0


def _mean_score(scores: Path, model_digest: str) -> float | None:
    """Returns the mean score of an earlier date (0 to 100), if the same model gave it."""
    with duckdb.connect(":memory:") as connection:
        mean = connection.execute(
            "select avg(cast(score as decimal(9, 4))) from read_parquet(?, hive_partitioning = false) "
            "where model_digest = ?",
            [str(scores), model_digest],
        ).fetchone()
    return float(mean[0]) if mean and mean[0] is not None else None


def _landed_files(run: Run) -> Files:
    loads = run.pins.current
    files = {table: [path for load in found for path in load.paths(run.landing)] for table, found in loads.items()}
    for table in COMPARED_WITH_BEFORE:
        before = _full_load_before(run, table)
        if before is not None:
            files[f"{table}_before"] = before.paths(run.landing)
    return files


def _full_load_before(run: LandedLoads, table: str) -> LoadRecord | None:
    """Returns the full load before the one in use, if its files are still there."""
    full = [load for load in _pulled(run) if load.table == table and load.status == "accepted" and load.mode == "full"]
    if len(full) < 2 or not all(path.exists() for path in full[-2].paths(run.landing)):
        return None
    return full[-2]


def _pulled(run: LandedLoads) -> list[LoadRecord]:
    """Returns every load that was tried of a source's, oldest first; what was given by command is judged with them alone."""
    return [load for load in run.ledger if not load.is_recorded]


def load_rows(run: LandedLoads) -> list[dict[str, Any]]:
    """Returns the rows of the parameter `loads` of the suite `landed`: one for each table in use."""
    ledger = _pulled(run)
    newest = {load.table: load for load in ledger}
    rows = []
    accepted = accepted_reasons(run.landing, [(table, str(load.load_id)) for table, load in newest.items()])
    for table, loads in run.pins.current.items():
        before = None if table in accepted else _full_load_before(run, table)
        at_source = [
            load.source_rows if load.source_rows is not None else load.row_count
            for load in ledger
            if load.table == table and load.status != "refused" and table not in accepted
        ]
        pulled, tried = run.pins.source_loads(table), newest.get(table)
        reads_on = any(load and load.mode == "incremental" for load in (*pulled[-1:], tried))
        rows.append(
            {
                "table_name": table,
                "row_count": sum(load.row_count for load in loads),
                "previous_row_count": before.row_count if before else None,
                "source_row_count": at_source[-1] if reads_on and at_source else None,
                "previous_source_row_count": at_source[-2] if reads_on and len(at_source) > 1 else None,
                "fresh_date": fresh_date(run.landing, run.pins, table),
                "max_age_days": (tried.max_age_days if tried else None) or MAX_AGE.days,
                "landed_date": (pulled or loads)[-1].landed_at.date(),
                "is_refused": tried is not None and tried.status == "refused",
            }
        )
    return rows


def picture_of(run: Run, suite: str, name: ListName, *, failed: AbstractSet[str] = frozenset()) -> bytes | None:
    """Draws what a gate judges for a list, once a run, or None where its files lack what would be drawn.

    Args:
        run: The run.
        suite: The gate's suite.
        name: The list.
        failed: The landed tables of which an expectation did not hold; their picture is asked for once a run.
    """
    if (suite, name) not in run.pictures:
        run.pictures[suite, name] = _draw(run, suite, name, failed)
    return run.pictures[suite, name]


def _draw(run: Run, suite: str, name: ListName, failed: AbstractSet[str]) -> bytes | None:
    if suite == "landed":
        rows = load_rows(run)
        newest = {row["table_name"]: row["fresh_date"] for row in rows if row["fresh_date"]}
        ages = {table: (run.as_of - day).days for table, day in newest.items()}
        return charts.loads(rows, ages, failed=failed)
    files = {table: paths[0] for table, paths in files_of(run, suite, name).items()}
    if suite == "features":
        return charts.known_shares(files["features"], files.get("features_before"))
    champion, entities = run.registry.champion(LISTS[name].model), name.replace("_", " ")
    if champion is None:
        return None
    threshold = min(term.threshold for term in run.applied_terms(name, champion))
    if suite == "scores":
        before = run.paths.scores_before(LISTS[name].model, run.as_of)
        return charts.scores(files["scores"], before, threshold=threshold, entities=entities)
    return charts.listed(files["candidate"], files["rated"], threshold=threshold, entities=entities)


def _check_result(run: Run, result: SuiteResult, picture: bytes | None, name: str = "") -> dg.AssetCheckResult:
    """Reports a gate's result to Dagster as text, picture and table; the run's record keeps refusals and warnings.

    A check that only warns fails in yellow and stops nothing.
    """
    for kind, found in (
        ("refused_gates", result.of_severity("critical")),
        ("warning_gates", result.of_severity("warning")),
    ):
        if found:
            run.record.facts.setdefault(kind, {})[f"{result.suite} {name}".strip()] = [
                f"{failure.expectation}: {failure.column or failure.table}: observed {failure.observed}, allowed {failure.limit}"
                for failure in found
            ]
            run.record.write()
    lines = ["| severity | what must hold | where | observed | limit |", "|---|---|---|---|---|"]
    lines += [
        f"| {failure.severity} | {failure.expectation} | {failure.table} {visible(failure.column or '')} "
        f"| {visible(failure.observed)} | {visible(failure.limit)} |"
        for failure in result.failures
    ]
    held = f"{result.expectations_run - len(result.failures)} of {result.expectations_run} expectations hold."
    metadata: dict[str, Any] = {"expectations": result.expectations_run, "subject_digest": result.subject_digest}
    if result.failures:
        metadata["failures"] = dg.MetadataValue.md("\n".join(lines))
    return dg.AssetCheckResult(
        passed=not result.failures,
        severity=dg.AssetCheckSeverity.WARN if result.success else dg.AssetCheckSeverity.ERROR,
        description=charts.with_picture(
            result.refusal() or result.warning() or held, picture, f"what the gate {result.suite} judged"
        ),
        metadata=metadata,
    )
