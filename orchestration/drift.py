"""What has moved since a model's cut: measured with each scoring, stored next to the scores, and logged to MLflow.

How it is measured is in `ml/drift.py`; what of it warns, and what refuses, in the suite `scores` and the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml import drift
from ml.approvals import Champion
from ml.drift import calibration, label_delay
from ml.model import RiskModel, read_model
from ml.shadow import match_outcomes
from orchestration.resources import Run
from touchstone.core.files import replacing
from touchstone.core.lists import ListDefinition
from touchstone.maintenance.approvals import is_rated_by, outcomes_after

DAYS = 28
"""Outcomes and delays of so many days are the latest."""
DAYS_BEFORE = 90
"""Delays of so many days up to the cut are those that it knew."""
DAYS_SHOWN, FEATURES_SHOWN = 30, 6
CHARTED_FROM = 0.1
"""From this index on a feature has a chart of its own in MLflow."""
DELAYS = {
    "notice": ("stg_notices", "submitted_at"),
    "test buy": ("stg_test_buys", "ordered_at"),
}


def measure(run: Run, rated: ListDefinition, champion: Champion) -> None:
    """Measures the day that was just rated, writes `drift.parquet` next to its scores, and logs to MLflow."""
    model = read_model(champion.folder, champion.model_digest)
    scores = run.paths.scores(rated.model, run.as_of)
    cut = date.fromisoformat(model.body["training"]["as_of"])
    features, days = run.paths.features(rated.list_name, run.as_of), (run.as_of - cut).days
    rows = [
        *drift.measure(model, features, scores, days=days),
        *_calibration(run, rated, champion, model),
        *(_delays(run, cut) if model.body["violation_type"] == "counterfeit" else []),
    ]
    with replacing(run.paths.drift(rated.model, run.as_of)) as temporary:
        pq.write_table(drift.table(model.digest, rows), temporary)
    run.registry.runs.log_drift(champion, _figures(rows), run.as_of, days=days)


def _calibration(run: Run, rated: ListDefinition, champion: Champion, model: RiskModel) -> Iterator[dict[str, Any]]:
    """Holds the oldest scores of the last 28 days that this champion gave against what was decided since."""
    earlier = [run.as_of - timedelta(days=days) for days in range(DAYS, 0, -1)]
    kept = [
        day for day in earlier if (file := run.paths.scores(rated.model, day)).exists() and is_rated_by(file, champion)
    ]
    if not kept:
        return
    with run.warehouse.connect() as connection:
        outcomes = outcomes_after(connection, run.declarations[rated.model], kept[0], run.as_of)
    scores = pq.read_table(
        run.paths.scores(rated.model, kept[0]), columns=[model.id_column, "score"], partitioning=None
    )
    yield from calibration(scores["score"].to_numpy(), match_outcomes(scores[model.id_column], outcomes))


def _delays(run: Run, cut: date) -> Iterator[dict[str, Any]]:
    spans = {"before": (cut - timedelta(days=DAYS_BEFORE), cut), "now": (run.as_of - timedelta(days=DAYS), run.as_of)}
    with run.warehouse.connect() as connection:
        for source, (table, begun_at) in DELAYS.items():
            medians = [
                connection.execute(
                    f"select median(cast(decided_at as date) - cast({begun_at} as date)) from {table} "
                    "where cast(decided_at as date) > $first and cast(decided_at as date) <= $last",
                    {"first": first, "last": last},
                ).fetchall()[0][0]
                for first, last in spans.values()
            ]
            yield from label_delay(source, *medians)


def _figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What MLflow draws over days: the greatest index, that of the score, the large ones, outcomes and delays."""
    indices = {row["name"]: row["amount"] for row in rows if row["measure"] == "psi"}
    figures = {
        f"drift_psi_{name}": value for name, value in indices.items() if name == "score" or value >= CHARTED_FROM
    }
    figures |= {"drift_psi_greatest": max(indices.values())} if indices else {}
    for row in rows:
        if row["measure"] == "calibration":
            figures |= {"drift_share_expected": row["before"], "drift_share_found": row["now"]}
        if row["measure"] == "label_delay":
            figures[f"drift_delay_{row['name'].replace(' ', '_')}_days"] = row["now"]
    return figures


def indices_by_day(run: Run, model: str) -> dict[str, dict[str, float]]:
    """Returns the indices of what has moved most by now, by feature and day, as long as the same model rated."""
    days = [run.as_of - timedelta(days=days) for days in range(DAYS_SHOWN, -1, -1)]
    tables = {
        day: pq.read_table(file, partitioning=None) for day in days if (file := run.paths.drift(model, day)).exists()
    }
    now = tables[run.as_of].filter(pc.equal(tables[run.as_of]["measure"], "psi"))
    by_day: dict[str, dict[str, float]] = {name: {} for name in now["name"].to_pylist()[:FEATURES_SHOWN]}
    for day, table in tables.items():
        for row in table.to_pylist():
            if (
                row["measure"] == "psi"
                and row["name"] in by_day
                and row["model_digest"] == now["model_digest"][0].as_py()
            ):
                by_day[row["name"]][str(day)] = row["amount"]
    return by_day
