"""A real marketplace through the whole pipeline: rated, evaluated on unseen vendors, refused by a gate or published."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pytest
from conftest import ROOT, Outcome, shared_data, touchstone

pytestmark = (
    pytest.mark.slow
)  # small versions: test_agora_mapping.py, and another market's tables in test_order_brushing.py
AS_OF = "2014-12-30"
SOURCES = str(ROOT / "examples" / "agora" / "sources.yml")


def run_agora(home: Path, **environment: str) -> Outcome:
    """Runs the command of the example's page."""
    arguments = ("run", "--sources", SOURCES, "--as-of", AS_OF, "--approve-if-passing", "--json")
    return touchstone(home, *arguments, AGORA_DIR=str(shared_data("agora")), **environment)


@pytest.fixture(scope="module")
def agora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A home in which Agora was run under the default policy, and the outcome."""
    home = tmp_path_factory.mktemp("agora") / "home"
    return home, run_agora(home)


def metrics(home: Path, model: str) -> Mapping[str, float]:
    """Returns the metrics of a model's newest run, read from MLflow's store."""
    with sqlite3.connect(home / "mlflow.db") as store:
        rows = store.execute(
            "select latest_metrics.key, latest_metrics.value from latest_metrics "
            "join runs on runs.run_uuid = latest_metrics.run_uuid "
            "join experiments on experiments.experiment_id = runs.experiment_id where experiments.name = ?",
            [model],
        ).fetchall()
    return dict(rows)


def test_the_gate_named_in_the_decision_record_refuses_it(agora: tuple[Path, Outcome]):
    home, outcome = agora
    assert outcome.code == 3, outcome.stderr
    assert "few_are_flagged" in outcome.stderr
    assert "0.1" in outcome.stderr
    assert "few_are_flagged" in (ROOT / "docs" / "decisions" / "0017-policies.md").read_text()
    assert not (home / "published").exists()


def test_exactly_the_listings_seen_within_14_days_are_rated(agora: tuple[Path, Outcome]):
    home, _ = agora
    daily = shared_data("agora") / "listings_daily.parquet"
    scores = home / "scores" / "listing_counterfeit" / f"as_of={AS_OF}" / "scores.parquet"
    unequal = duckdb.execute(
        """
        with active as (
            select distinct md5(vendor || '|' || title) as listing_id from read_parquet(?)
            where vendor is not null and cast(snapshot_date as date) > cast(? as date) - 14
        ), rated as (select listing_id from read_parquet(?))
        select
          (select count(*) from active), (select count(*) from active anti join rated using (listing_id)),
          (select count(*) from rated anti join active using (listing_id))
        """,
        [str(daily), AS_OF, str(scores)],
    ).fetchone() or (0, 0, 0)
    assert unequal[0] > 300
    assert unequal[1:] == (0, 0)


@pytest.mark.parametrize("cell", ["seen", "unseen"])
@pytest.mark.parametrize("metric", ["auroc", "average_precision"])
def test_mlflow_has_forward_metrics_with_intervals(agora: tuple[Path, Outcome], metric: str, cell: str):
    home, _ = agora
    found = metrics(home, "listing_counterfeit")
    value = found[f"forward_{metric}_{cell}"]
    assert found[f"forward_{metric}_{cell}_low"] <= value <= found[f"forward_{metric}_{cell}_high"]
    assert 0 < value < 1
    assert found[f"forward_merchants_{cell}"] >= 20


def test_it_is_published_under_the_market_s_own_policy(agora: tuple[Path, Outcome]):
    home, _ = agora
    outcome = run_agora(home, TOUCHSTONE_POLICY=str(ROOT / "examples" / "agora" / "policy.yml"))
    assert outcome.code == 0, outcome.stderr
    assert touchstone(home, "verify").code == 0
    assert json.loads(outcome.stdout)["lists"]["listings"]
