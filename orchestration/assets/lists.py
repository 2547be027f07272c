"""Lists as assets: a candidate a day, and what is published of it once its gates have passed.

The gates are in `orchestration/checks.py`; what completes a list, and refuses one without a passing verdict, is in
`touchstone/publishing/`.
"""

import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from expectations.suites import suites_digest
from ml.approvals import Champion
from orchestration.automation import DAILY_FRESHNESS, ONE_DAY_A_RUN
from orchestration.charts import picture_metadata, versions
from orchestration.checks import picture_of, subject_of
from orchestration.resources import Run
from touchstone.core.errors import GateRefusedError
from touchstone.core.files import sha256_file
from touchstone.core.lists import LISTS, ListName
from touchstone.core.revision import code_revision, project_digest
from touchstone.landing.acceptances import accepted_reasons
from touchstone.publishing.candidate import Candidate, build_candidate, newest_candidate
from touchstone.publishing.history import ListStore
from touchstone.publishing.manifest import Loads, ManifestInputs, RatingModel
from touchstone.publishing.publish import publish
from touchstone.publishing.verdict import GATES_BEFORE

VERSIONS_DRAWN = 30
GROUP = "stage_6_lists"
OWNERS = ["team:brand-protection"]


def list_assets(daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Returns, for each list, the step that makes its candidate and the one that publishes it."""
    return [asset for name in LISTS for asset in (_candidate_asset(name, daily), _published_asset(name, daily))]


def _candidate_asset(name: ListName, daily: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    spec = dg.AssetSpec(
        ["candidates", name],
        group_name=GROUP,
        owners=OWNERS,
        description=f"The list of {name} as it would be published, waiting for its gates. Absent where the model is off.",
        deps=[["marts", LISTS[name].mart]],
        kinds={"parquet"},
        tags={"list": name},
        skippable=True,
    )

    @dg.multi_asset(
        name=f"candidate_{name}",
        specs=[spec],
        partitions_def=daily,
        backfill_policy=ONE_DAY_A_RUN,
        required_resource_keys={"run"},
    )
    def candidate(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run: Run = context.resources.run
        if name not in run.policy.lists or not run.paths.scores(LISTS[name].model, run.as_of).exists():
            context.log.info("No candidate: the model that rates %s is off, or the policy makes no such list.", name)
            return
        champion = champion_of(run, name)
        with run.record.stage(f"candidate {name}") as stage:
            built = build_candidate(
                name,
                run.paths.mart(LISTS[name].mart, run.as_of),
                policy=run.policy,
                terms=run.applied_terms(name, champion),
                inputs=manifest_inputs(run, name, champion),
                published=run.paths.published,
                candidates=run.paths.candidates,
                as_of=run.as_of,
            )
            manifest = built.manifest()
            held = {f"held by {what}": count for what, count in manifest.held} if manifest.held else {}
            flagged = manifest.flagged_count or 0
            stage.rows = {"rated": manifest.rated_count, "flagged": flagged, "listed": manifest.row_count, **held}
        yield dg.MaterializeResult(
            asset_key=["candidates", name],
            metadata={
                "rows": manifest.row_count,
                "rated": manifest.rated_count,
                "flagged": manifest.flagged_count,
                "held": held,
                "candidate": built.sha256,
                "plot": picture_metadata(picture_of(run, "candidate", name), "the list, by score"),
            },
        )

    return candidate


def _published_asset(name: ListName, daily: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    spec = dg.AssetSpec(
        ["published", name],
        group_name=GROUP,
        owners=OWNERS,
        description=f"The list of {name} that readers see. It checks the verdict itself: launched alone it refuses too.",
        deps=[["candidates", name]],
        kinds={"parquet"},
        tags={"list": name},
        freshness_policy=DAILY_FRESHNESS,
    )

    @dg.multi_asset(
        name=f"publish_{name}",
        specs=[spec],
        partitions_def=daily,
        backfill_policy=ONE_DAY_A_RUN,
        required_resource_keys={"run"},
    )
    def published(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run: Run = context.resources.run
        with run.record.stage(f"publish {name}"):
            metadata = publish_list(run, context.run.run_id, name)
        yield dg.MaterializeResult(asset_key=["published", name], metadata=metadata)

    return published


def champion_of(run: Run, name: ListName) -> Champion:
    """Returns the version that rates for a list.

    Raises:
        GateRefusedError: None may any more.
    """
    champion = run.registry.champion_to_rate(LISTS[name].model)
    if champion is None:
        raise GateRefusedError(f"{LISTS[name].model} has no champion any more: nothing that it rated is published.")
    return champion


def manifest_inputs(run: Run, name: ListName, champion: Champion) -> ManifestInputs:
    """Returns what a manifest says of where a list comes from, every digest computed from the files themselves."""
    pinned = run.warehouse.pinned_loads()
    tables = {table: tuple(ids) for table, ids in pinned["loads"].items()}
    accepted = accepted_reasons(
        run.landing, [(table, load_id) for table, ids in tables.items() for load_id in ids[-1:]]
    )
    return ManifestInputs(
        loads=Loads(digest=pinned["digest"], tables=tables, accepted=accepted),
        dbt_build=project_digest(),
        features=sha256_file(run.paths.features(name, run.as_of)),
        scores=sha256_file(run.paths.scores(champion.model, run.as_of)),
        model=_rating_model(run, name, champion),
        suites=suites_digest(),
        code_revision=code_revision(),
        subjects={gate: subject_of(run, gate, name) for gate in GATES_BEFORE},
    )


def _rating_model(run: Run, name: ListName, champion: Champion) -> RatingModel:
    """Returns what a manifest says of the model that rated."""
    assumed = None if champion.is_calibrated else run.policy.assumed_prevalence.get(name)
    return RatingModel(
        name=champion.model,
        digest=champion.model_digest,
        threshold=champion.threshold,
        floor=champion.floor,
        is_calibrated=champion.is_calibrated,
        assumed_prevalence=assumed.share if assumed else None,
        assumption_source=assumed.source if assumed else None,
    )


def _approval(run: Run, candidate: Candidate) -> dict[str, Any] | None:
    """Who let the model rate that the list comes from, and why; above all where that was an override."""
    model = candidate.manifest().inputs.model
    approval = run.registry.approvals.approval_of(model.name, model.digest)
    if approval is None:
        return None
    fields = {name: getattr(approval, name) for name in ("action", "version", "who", "why", "at", "is_override")}
    return {**fields, "failures": list(approval.failures)}


def publish_list(run: Run, dagster_run_id: str, name: ListName) -> dict[str, Any]:
    """Publishes the candidate that was built last for the run's date; returns what a person sees.

    Raises:
        GateRefusedError: There is no candidate, or its verdict does not let it through.
    """
    candidate = newest_candidate(name, run.paths.candidates, run.as_of)
    if candidate is None:
        raise GateRefusedError(f"There is no candidate of the list {name} as of {run.as_of}; nothing was published.")
    done = publish(
        candidate,
        run.paths.published,
        suites_digest=suites_digest(),
        policy_digest=run.policy.digest,
        receipt={
            "run_id": run.record.run_id,
            "dagster_run_id": dagster_run_id,
            "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": platform.node(),
            "approvals_head": run.registry.approvals.head(),
            "approval": _approval(run, candidate),
        },
    )
    store = ListStore(run.paths.published, name)
    rows = {line.version[:10]: store.manifest(line.version).row_count for line in store.history()[-VERSIONS_DRAWN:]}
    return {
        "version": done.version,
        "outcome": done.outcome,
        "latest": done.latest,
        "rows": candidate.manifest().row_count,
        "folder": dg.MetadataValue.path(str(done.directory)),
        "plot": picture_metadata(versions(rows, name), "rows by version"),
    }
