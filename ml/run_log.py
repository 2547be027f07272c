"""Logs runs to MLflow: trainings, evaluations of users' tables, and the drift of the days that a champion rated.

Each experiment has a saved view that shows the main metrics. What may rate is decided elsewhere, in the log of approvals.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from ml import card
from ml.approvals import Champion, utc_now
from ml.mlflow_client import MlflowConnection, load_mlflow
from touchstone.core.files import TEMPORARY_PREFIX, canonical_json

RUNS_VIEW: Final = "main_metrics"
RUNS_VIEW_TAG: Final = f"mlflow.sharedViewState.{RUNS_VIEW}"
RUNS_COLUMNS: Final = {
    "params.`version`": 90,
    "params.`as_of`": 90,
    "params.`gate`": 90,
    "metrics.`forward_auroc_unseen`": 150,
    "metrics.`forward_average_precision_unseen`": 230,
    "metrics.`verdict_precision_all`": 160,
    "metrics.`verdict_recall_all`": 160,
    "metrics.`verdict_calibration_slope_all`": 210,
    "metrics.`verdict_brier_skill_all`": 180,
}
"""The columns of a model's runs in the saved view, and their widths in pixels."""
TABLE_COLUMNS: Final = {
    "params.`label`": 120,
    "params.`rows`": 90,
    "params.`edges`": 120,
    "params.`splits`": 70,
    "metrics.`auroc`": 90,
    "metrics.`average_precision`": 150,
    "metrics.`f1`": 80,
    "metrics.`precision_at_k`": 130,
    "metrics.`calibration_slope`": 140,
    "metrics.`brier_skill`": 110,
}
"""The same for evaluations of users' tables."""


class RunLog:
    """Writes runs to MLflow."""

    def __init__(self, mlflow: MlflowConnection, now: Callable[[], datetime] = utc_now) -> None:
        """Sets the connection and the clock that timestamps metrics."""
        self._mlflow = mlflow
        self._now = now

    def log_training(
        self,
        model: str,
        files: Mapping[str, bytes],
        metrics: Mapping[str, float],
        parameters: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> Any:
        """Logs a training.

        Args:
            model: The model's name, which is the experiment's.
            files: Artifacts by name.
            metrics: What was measured.
            parameters: The training's choices and the result of the gate.
            facts: `card.json`, with as_of, provenance and data.

        Returns:
            MLflow's `RunInfo`.
        """
        run = self._mlflow.client().create_run(self._experiment(model), run_name=f"{model} {facts['as_of']}")
        parameters = {"as_of": facts["as_of"], **parameters}
        self._log(run.info.run_id, files, metrics, parameters, facts["provenance"], facts["data"])
        return run.info

    def log_evaluation(
        self,
        name: str,
        description: str,
        files: Mapping[str, bytes],
        metrics: Mapping[str, float],
        parameters: Mapping[str, Any],
        digest: str,
    ) -> str:
        """Logs the evaluation of a user's table, as a run of the experiment `evaluate`.

        Args:
            name: The table's name, which is the run's.
            description: The result as Markdown; the PNG files are shown below it.
            files: Artifacts by name.
            metrics: What was measured.
            parameters: The options of the evaluation.
            digest: SHA-256 of the table.

        Returns:
            The path of the run in MLflow's UI.
        """
        client = self._mlflow.client()
        experiment = self._experiment("evaluate", TABLE_COLUMNS)
        run_id = client.create_run(experiment, run_name=name).info.run_id
        self._log(run_id, files, metrics, parameters, {}, {name: digest})
        pictures = [card.picture(run_id, path) for path in files if path.endswith(".png")]
        client.set_tag(run_id, "mlflow.note.content", "\n\n".join([description, *pictures]))
        return f"/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"

    def log_drift(self, champion: Champion, metrics: Mapping[str, float], as_of: date, *, days: int) -> None:
        """Adds the drift of a rated day to the run of the version that rated it, for MLflow's charts.

        Args:
            champion: The champion.
            metrics: Metrics, whose names begin with `drift_`.
            as_of: The day; logging it again adds nothing.
            days: Days since the champion's cutoff_date: the step of the chart.
        """
        client, metric = self._mlflow.client(), load_mlflow().entities.Metric
        run_id = client.get_model_version(champion.model, str(champion.version)).run_id
        timestamp = int(datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC).timestamp() * 1000)
        client.log_batch(
            run_id, metrics=[metric(name, value, timestamp, days) for name, value in sorted(metrics.items())]
        )

    def page(self, model: str) -> str | None:
        """Returns the path of a model's runs in MLflow's UI, by the saved view; None before its first training."""
        if not self._mlflow.exists:
            return None
        experiment = self._mlflow.client().get_experiment_by_name(model)
        if experiment is None or RUNS_VIEW_TAG not in experiment.tags:
            return None
        query = f"workflowType=machine_learning&viewStateShareKey={RUNS_VIEW}"
        return f"/#/experiments/{experiment.experiment_id}/runs?{query}"

    def _experiment(self, name: str, widths: Mapping[str, int] = RUNS_COLUMNS) -> str:
        """Returns the experiment, whose artifacts lie in this home; one from before the home moved is renamed."""
        client = self._mlflow.client()
        existing = client.get_experiment_by_name(name)
        location = (self._mlflow.paths.mlflow_artifacts / name).as_uri()
        if existing is not None and existing.artifact_location != location:
            client.rename_experiment(existing.experiment_id, f"{name}, until {existing.experiment_id} moved")
            existing = None
        experiment = (
            client.create_experiment(name, artifact_location=location) if existing is None else existing.experiment_id
        )
        # MLflow's UI keeps a saved view as JSON in a tag of the experiment.
        columns = list(widths)
        state = canonical_json({"selectedColumns": columns, "columnOrder": columns, "columnWidths": dict(widths)})
        view = canonical_json({"name": "Main metrics", "createdAt": 0, "state": state.decode()}).decode()
        client.set_experiment_tag(experiment, RUNS_VIEW_TAG, view)
        return str(experiment)

    def _log(
        self,
        run_id: str,
        files: Mapping[str, bytes],
        metrics: Mapping[str, float],
        parameters: Mapping[str, Any],
        provenance: Mapping[str, str],
        data: Mapping[str, str],
    ) -> None:
        """Logs a run completely, or marks it as failed; no version is created from a failed run."""
        client, entities = self._mlflow.client(), load_mlflow().entities
        timestamp = int(self._now().timestamp() * 1000)
        tags = {name: str(value) for name, value in {**provenance, **data}.items() if value}
        # MLflow keeps 36 characters of a digest; the full one is in the tag.
        datasets = [
            entities.Dataset(name, digest[:36], "touchstone", name) for name, digest in sorted(data.items()) if digest
        ]
        try:
            models = self._mlflow.paths.models
            models.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=models, prefix=TEMPORARY_PREFIX) as folder:
                for name, content in files.items():
                    (Path(folder) / name).parent.mkdir(exist_ok=True)
                    (Path(folder) / name).write_bytes(content)
                client.log_artifacts(run_id, folder)
            client.log_batch(
                run_id,
                metrics=[entities.Metric(name, value, timestamp, 0) for name, value in metrics.items()],
                params=[entities.Param(name, str(value)) for name, value in parameters.items()],
                tags=[entities.RunTag(f"touchstone.{name}", value) for name, value in tags.items()],
            )
            client.log_inputs(run_id, [entities.DatasetInput(dataset) for dataset in datasets])
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id, status="FINISHED")
