"""Models and scores as assets: training (no partitions, its cut is the run's date) and the daily scores.

Belongs here: which files a model reads and writes, and what a person sees of it. What a model is, is in `ml/`.
"""

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from ml.score import score
from ml.train import Files, Prepared, TooFewLabels, TrainingResult, prepare, register
from orchestration import charts
from orchestration.automation import ONE_DAY_A_RUN
from orchestration.charts import picture_metadata
from orchestration.checks import picture_of
from orchestration.drift import indices_by_day, measure
from orchestration.resources import Run, logger
from touchstone.casework.coverage import coverage_markdown
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.failpoints import failpoint
from touchstone.core.home import Home
from touchstone.core.lists import LISTS, ListDefinition, ListName
from touchstone.core.revision import code_revision
from touchstone.core.text import visible
from touchstone.landing.provided import provided_inputs
from touchstone.maintenance.approvals import describe_request, reconcile_alias_requests
from touchstone.publishing.terms import fallback_notes

OWNERS = ["team:model-review"]
PLOTS = ("reliability.png", "precision_recall.png", "importances.png")


class TrainingConfig(dg.Config):
    """How a training ends.

    Attributes:
        approve_if_passing: Whether a first model that passes `ml/thresholds.yml` becomes champion without a person.
    """

    approve_if_passing: bool = False


def training_assets() -> dg.AssetsDefinition:
    """Returns the step that trains, evaluates and registers every declared model."""
    specs = [
        dg.AssetSpec(
            ["models", rated.model],
            group_name="stage_4_models",
            owners=OWNERS,
            description=f"A new version of the model that rates {name}, for review. Its cut is the run's date.",
            deps=[["features", f"{rated.relation}_features"], ["features", f"{rated.relation}_spine"]],
            kinds={"xgboost", "mlflow"},
            tags={"model": rated.model, "list": name},
        )
        for name, rated in LISTS.items()
    ]

    @dg.multi_asset(name="train", specs=specs, can_subset=True, required_resource_keys={"run"})
    def train(context: dg.AssetExecutionContext, config: TrainingConfig) -> Iterator[dg.MaterializeResult[None]]:
        run: Run = context.resources.run
        selected = {
            name: rated
            for name, rated in LISTS.items()
            if dg.AssetKey(["models", rated.model]) in context.selected_asset_keys
        }
        trained = 0
        # Two at a time: what one does in Python leaves a core to the other's boosters.
        with ThreadPoolExecutor(max_workers=2) as pool:
            prepared = {name: pool.submit(prepare_model, run, rated) for name, rated in selected.items()}
            run.registry.mlflow.client()
            # That of listings takes the longest: it begins first, and the others are registered meanwhile.
            for name in sorted(selected, key=lambda name: name == "listings"):
                rated = selected[name]
                with run.record.stage(rated.training_stage):
                    result = register_model(run, prepared[name].result(), approve_if_passing=config.approve_if_passing)
                trained += result is not None
                yield dg.MaterializeResult(asset_key=["models", rated.model], metadata=_card_metadata(result, run))
        if not trained and len(selected) == len(LISTS) and not run.policy.rules:
            raise BadInputError(
                "No model could be trained, so nothing can be rated. Labels come from notices, test_buys, "
                "moderation_decisions and enforcement_actions: map one of these tables in the sources file, or more of its rows."
            )

    return train


def training_date(run: Run, rated: ListDefinition) -> date:
    """Returns the date as of which a model is trained: the run's, or else the newest that has rows to train on."""
    if run.as_of_tag is not None:
        return run.as_of_tag
    folders = run.paths.training_rows(rated.list_name, run.as_of).parent.glob("as_of=*")
    return max((date.fromisoformat(folder.name.removeprefix("as_of=")) for folder in folders), default=run.as_of)


def prepare_model(run: Run, rated: ListDefinition) -> Prepared | TrainingResult | TooFewLabels:
    """Trains and judges the model of one list on the run's rows, and leaves nothing behind."""
    as_of = training_date(run, rated)
    folder = run.paths.training_rows(rated.list_name, as_of)
    if not folder.exists():
        raise BadInputError(
            f"There are no rows to train on as of {as_of}. Run the job weekly_training or prepare_training for that day first, "
            "or `touchstone run --train`."
        )
    pinned = run.warehouse.pinned_loads()
    return prepare(
        run.declarations[rated.model],
        Files(
            features=folder / "features.parquet",
            spine=folder / "spine.parquet",
            edges=folder / "edges.parquet",
            active=run.paths.features(rated.list_name, as_of),
            slices=folder / "slices.parquet",
            texts=run.paths.texts(as_of),
        ),
        as_of=as_of,
        registry=run.registry,
        thresholds=run.settings.thresholds,
        provenance={
            "loads_digest": pinned["digest"],
            "base_currency": pinned["base_currency"],
            "sighting_days": pinned["sighting_days"],
            "code_revision": code_revision(),
        },
        parameters=run.training_parameters(run.policy.list_target_precision(rated.list_name)),
        provided=provided_inputs(run.landing, run.pins),
        progress=_log_line,
    )


def register_model(
    run: Run, prepared: "Prepared | TrainingResult | TooFewLabels", *, approve_if_passing: bool
) -> TrainingResult | None:
    """Registers a prepared training for review; returns None where the model has too few labels and is off."""
    if isinstance(prepared, TooFewLabels):
        run.note(prepared.message)
        return None
    if isinstance(prepared, Prepared):
        result = register(prepared, run.registry, trained_by=run.settings.reviewer, progress=_log_line)
    else:
        result = prepared
    model = result.version.model
    if approve_if_passing and not run.registry.has_champion(model):
        verdict = run.registry.approve_if_passing(result.version)
        outcome = "was approved without a person" if verdict.passed else "was NOT approved"
        run.note(f"{model} version {result.version.version} {outcome}: {'; '.join(verdict.messages)}.")
    return result


def _log_line(line: str) -> None:
    logger.info("%s", line)


def score_assets(daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Returns one scoring step a model, partitioned by day."""
    return [_score_asset(rated, daily) for rated in LISTS.values()]


def _score_asset(rated: ListDefinition, daily: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"score_{rated.list_name}",
        specs=[
            dg.AssetSpec(
                ["scores", rated.model],
                group_name="stage_4_scores",
                owners=OWNERS,
                description=f"Every live {rated.entity} of a day rated 0 to 100 by the champion, with reasons for the riskiest.",
                deps=[["features", f"{rated.relation}_features"], ["models", rated.model]],
                kinds={"xgboost", "parquet"},
                tags={"model": rated.model, "list": rated.list_name},
            )
        ],
        partitions_def=daily,
        backfill_policy=ONE_DAY_A_RUN,
        required_resource_keys={"run"},
    )
    def scores(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run: Run = context.resources.run
        yield dg.MaterializeResult(asset_key=["scores", rated.model], metadata=score_entities(run, rated))

    return scores


def score_entities(run: Run, rated: ListDefinition) -> dict[str, Any]:
    """Rates one day's entities with the champion; returns what a person sees. Without a champion it leaves no scores.

    Raises:
        BadInputError: No model at all may rate.
        VerificationError: The log of approvals, MLflow's database or the champion's files are not what they were.
    """
    as_of, model, name = run.as_of, rated.model, rated.list_name
    for request in reconcile_alias_requests(run.settings, run.registry):
        run.note(describe_request(request))
    champion = run.registry.champion_to_rate(model)
    if champion is None:
        if not run.registry.has_any_champion() and not run.policy.rules:
            raise BadInputError(
                "No model may rate yet: none is approved. See `touchstone models list`, then "
                "`touchstone models approve MODEL VERSION --why REASON`, or run with --approve-if-passing."
            )
        run.note(f"{model} has no champion: no list is made of {name}. Approve a version of it, or train with --train.")
        for file in (run.paths.scores(model, as_of), run.paths.drift(model, as_of), run.paths.reasons(model, as_of)):
            file.unlink(missing_ok=True)
        return {"status": "off: no version is approved", "rated": 0}
    if not champion.is_calibrated:
        run.note(_describe_ranking(name, run.policy.assumed_share(name)))
    with run.record.stage(f"score {name}") as stage:
        features = run.paths.features(name, as_of)
        scores = run.paths.scores(model, as_of)
        terms = run.applied_terms(name, champion)
        currency = run.warehouse.pinned_loads()["base_currency"]
        facts = json.loads((champion.folder.parent / "card.json").read_bytes())
        trained_in = facts["provenance"].get("base_currency", currency)
        if trained_in != currency:
            run.note(
                f"{model} was trained with amounts in {trained_in}, and the base currency is {currency} now. Train again, or set "
                f"TOUCHSTONE_BASE_CURRENCY={trained_in}."
            )
        if fallbacks := fallback_notes(name, terms, champion.card["flagging"]):
            run.record.facts.setdefault("fallbacks", {})[name] = fallbacks
            for note in fallbacks:
                logger.warning("%s", note)
        with failpoint("scores.write", scores):
            explain_from = min(term.threshold for term in terms)
            result = score(
                champion,
                features,
                scores,
                run.paths.reasons(model, as_of),
                texts=run.paths.texts(as_of),
                explain_from=explain_from,
                currency=currency,
                assumed_prevalence=run.policy.assumed_share(name),
            )
            measure(run, rated, champion)
        if not champion.is_calibrated and not result.flagged:
            run.note(
                f"{name}: the list is empty. None of the first {name} ranks among the first by its own conduct as well, and what "
                "only third parties say lists nobody."
            )
        stage.rows = {"rated": result.rows, "flagged": result.flagged, "explained": result.explained}
    _rate_in_shadow(run, rated, features)
    return {
        "rated": result.rows,
        "terms": dg.MetadataValue.md("\n".join(f"{term.term}. {visible(str(term))}" for term in terms)),
        "model_version": champion.version,
        "model_digest": champion.model_digest,
        "threshold": champion.threshold,
        "floor": champion.floor,
        "plot": picture_metadata(picture_of(run, "scores", name), "scores"),
        "drift": picture_metadata(charts.drift(indices_by_day(run, model), warn=run.policy.drift.warn), "drift"),
    }


def _describe_ranking(name: ListName, assumed: float | None) -> str:
    """Returns what a list without calibrated scores means, and what would calibrate them."""
    scores = "a ranking, not probabilities" if assumed is None else f"probabilities that assume {assumed:.2%} positives"
    plans = {
        "listings": "`touchstone test-buys plan` or `touchstone audits plan`",
        "merchants": "`touchstone audits plan --list merchants`",
    }
    draw = f"{plans[name]} draws them" if name in plans else "record them in moderation_decisions"
    return f"{name}: the scores are {scores}. About 200 verdicts on randomly drawn {name} would calibrate them: {draw}."


def _rate_in_shadow(run: Run, rated: ListDefinition, features: Path) -> None:
    """Rates one day's entities with the version in shadow, if there is one. What it cannot rate stops no list: it is noted."""
    try:
        shadow = run.registry.shadowing(rated.model)
        if shadow is None:
            return
        with run.record.stage(f"shadow {rated.list_name}") as stage:
            scores = Home(run.home).shadow_scores(rated.model, run.as_of, shadow.model_digest)
            result = score(shadow, features, scores, out_reasons=None, texts=run.paths.texts(run.as_of))
            stage.rows = {"rated": result.rows, "flagged": result.flagged}
    except (BadInputError, VerificationError) as error:
        run.note(f"{rated.model}: the version in shadow does not rate. {error}")


def _card_metadata(result: TrainingResult | None, run: Run) -> dict[str, Any]:
    if result is None:
        return {"status": "off: too few labels to learn from"}
    version = result.version
    plots = [version.folder.parent / "plots" / plot for plot in PLOTS]
    metrics = {name: round(value, 4) for name, value in sorted(result.metrics.items()) if math.isfinite(value)}
    mlflow, runs = run.settings.mlflow_address, run.registry.runs.page(version.model)
    coverage = json.loads((version.folder.parent / "card.json").read_bytes()).get("coverage")
    return {
        **({"coverage": dg.MetadataValue.md(coverage_markdown({"signals": coverage}))} if coverage else {}),
        "version": version.version,
        "model_digest": version.model_digest,
        "was_known": result.reused,
        "metrics": dg.MetadataValue.json(metrics),
        "mlflow_run": dg.MetadataValue.url(f"{mlflow}/#/runs/{version.run_id}?workflowType=machine_learning"),
        **({"mlflow_runs": dg.MetadataValue.url(f"{mlflow}{runs}")} if runs else {}),
        **{f"plot_{path.stem}": picture_metadata(path.read_bytes(), path.stem) for path in plots},
    }
