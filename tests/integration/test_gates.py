"""What a gate refused stays unpublished: through the pipeline, and through every way around it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import pytest
import yaml
from conftest import FIRST_DAY, NEXT_DAY, ROOT, Homes, Outcome, published_files, touchstone

from tests.alert_fixtures import web_server

REFUSED_DAY, OLDER_DAY = "2026-06-29", "2026-06-28"


def dagster_run(home: Path, job: str, day: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a job from Dagster's own command line, for one day."""
    tags = json.dumps({"dagster/partition": day})
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "dagster"),
            *("job", "execute", "-m", "orchestration.definitions", "-j", job, "--tags", tags),
        ],
        env=os.environ | {"TOUCHSTONE_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def publish_alone(home: Path, day: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Materialises only the published lists of a day, as from Dagster's command line."""
    return subprocess.run(
        [
            *(str(Path(sys.executable).parent / "dagster"), "asset", "materialize", "-m", "orchestration.definitions"),
            *("--select", "key:published/listings or key:published/merchants", "--partition", day),
        ],
        env=os.environ | {"TOUCHSTONE_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def policy_with(policy: Path, folder: Path, **changes: object) -> str:
    """Writes a policy with some values changed, and returns its path."""
    path = folder / "policy.yml"
    path.write_text(yaml.safe_dump(yaml.safe_load(policy.read_text()) | changes))
    return str(path)


def rewrite(parquet: Path, query: str, parameters: Mapping[str, object] | None = None) -> None:
    """Replaces a Parquet file by the result of a query over it (`t` is the file)."""
    connection = duckdb.connect()
    connection.execute(f"create table t as select * from read_parquet('{parquet}', hive_partitioning = false)")
    connection.execute(f"copy ({query}) to '{parquet}' (format parquet)", parameters or {})
    connection.close()


def test_landed_gate_refuses_stale_loads(run_touchstone: Callable[..., Outcome], home: Path):
    before = published_files(home)
    refused = run_touchstone("run", "--as-of", "2026-07-20")
    assert refused.code == 3, refused.stderr
    assert "gate landed refused" in refused.stderr
    assert "2026-07-20" in refused.stderr or "20" in refused.stderr
    assert published_files(home) == before


def test_gates_detect_files_that_were_changed_after_passing(home: Path):
    """Both at once: each gate judges its own file, and one refusal is enough (test_publishing_publish.py)."""

    def listings_of(files: dict[str, bytes]) -> dict[str, bytes]:
        return {file: content for file, content in files.items() if file.startswith("published/listings/")}

    before = published_files(home)
    features = home / f"features/listings/as_of={NEXT_DAY}/features.parquet"
    scores = home / f"scores/listing_counterfeit/as_of={NEXT_DAY}/scores.parquet"
    rewrite(features, "select * from t union all (from t limit 5)")
    rewrite(scores, "select * replace (score + 100 as score) from t")
    refused = dagster_run(home, "publish", NEXT_DAY)
    assert refused.returncode != 0
    verdicts = [json.loads(file.read_text()) for file in (home / "candidates" / "listings").glob("*/verdict.json")]
    for suite in ("features", "scores"):
        assert any(not verdict["gates"][suite]["success"] for verdict in verdicts), suite
    assert listings_of(published_files(home)) == listings_of(before)


@pytest.fixture(scope="module")
def refused_day(homes: Homes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A home in which the gate of scores refused a day, and the outcome of that run."""
    folder = tmp_path_factory.mktemp("refused")
    shutil.copytree(homes.undisturbed, folder / "home")
    policy = policy_with(homes.policy, folder, max_flagged_share=0.00001)
    return folder / "home", touchstone(folder / "home", "run", "--as-of", REFUSED_DAY, TOUCHSTONE_POLICY=policy)


def test_scores_gate_refuses_and_names_expectation_observed_value_and_limit(
    refused_day: tuple[Path, Outcome], rated_home: Path
):
    home, refused = refused_day
    assert refused.code == 3, refused.stderr
    assert "gate scores refused" in refused.stderr
    assert "few_are_flagged" in refused.stderr
    assert "allowed 1e-05" in refused.stderr
    assert published_files(home) == published_files(rated_home)
    assert not (home / "leads" / f"as_of={REFUSED_DAY}").exists(), "what a gate refused is in no lead"


def test_publishing_alone_after_the_candidate_gate_refused_publishes_nothing(home: Path):
    before = published_files(home)
    mart = home / "marts" / "rated_listings" / f"as_of={NEXT_DAY}" / "rated_listings.parquet"
    rewrite(mart, "select * replace (cast(null as varchar) as reasons) from t")
    with web_server() as web:
        refused = dagster_run(home, "publish", NEXT_DAY, TOUCHSTONE_ALERT_WEBHOOK=f"http://{web.address}/hook")
    assert refused.returncode != 0
    assert [post["headline"].rpartition(": ")[2] for post in web.posts] == ["gate candidate listings refused"]
    verdicts = [json.loads(file.read_text()) for file in (home / "candidates" / "listings").glob("*/verdict.json")]
    assert any(not verdict["gates"]["candidate"]["success"] for verdict in verdicts)
    alone = publish_alone(home, NEXT_DAY)
    assert alone.returncode != 0
    assert "GateRefusedError" in alone.stdout + alone.stderr
    assert published_files(home) == before


def test_a_passing_older_day_does_not_release_a_refused_day(
    refused_day: tuple[Path, Outcome], homes: Homes, tmp_path: Path
):
    """Regression: a check without partitions did not record its day, and automation published the refused one."""
    home, policy = tmp_path / "home", str(homes.policy)
    shutil.copytree(refused_day[0], home)
    newest = (home / "published" / "listings" / "LATEST").read_text()
    assert touchstone(home, "run", "--as-of", OLDER_DAY, TOUCHSTONE_POLICY=policy).code == 0
    alone = publish_alone(home, REFUSED_DAY, TOUCHSTONE_POLICY=policy)
    assert alone.returncode != 0
    assert "GateRefusedError" in alone.stdout + alone.stderr
    versions = [json.loads(line)["version"] for line in (home / "published/listings/history.jsonl").open()]
    assert [version[:10] for version in versions] == [FIRST_DAY, NEXT_DAY, OLDER_DAY]
    assert (home / "published" / "listings" / "LATEST").read_text() == newest
    assert touchstone(home, "verify").code == 0


def test_publishing_a_day_that_was_never_rated_publishes_nothing(home: Path):
    before = published_files(home)
    alone = publish_alone(home, "2026-06-01")
    assert alone.returncode != 0
    assert "no candidate" in alone.stdout + alone.stderr
    assert published_files(home) == before


def test_a_refused_load_with_a_fresh_stand_in_lets_the_run_continue(run_touchstone: Callable[..., Outcome], home: Path):
    before = published_files(home)
    newest = "select order_id from t order by greatest(placed_at, shipped_at, delivered_at, refunded_at) desc limit 1"
    broken = f"select * replace (if(order_id in ({newest}), -1, quantity) as quantity) from t"
    rewrite(home / "marketplace/sources/orders.parquet", broken)
    run = run_touchstone("run", "--as-of", NEXT_DAY)
    assert run.code == 0, run.stderr
    assert "orders" in run.stdout
    assert "the new load was refused" in run.stdout
    assert "days old" in run.stdout
    assert published_files(home) == before, "the load in use is the one from before, so the lists are too"
    assert touchstone(home, "verify").code == 0


@pytest.mark.parametrize(
    ("table", "change", "printed", "refusal"),
    [
        pytest.param(
            "merchants",
            "select * from t union all (from t limit 3)",
            ("the new load was refused", "days old"),
            ("stand_ins_for_refused_loads_are_fresh",),
            id="a refused load whose stand-in is too old",
        ),
        pytest.param(
            "orders",
            "select * from t order by order_id limit (select count(*) // 3 from t)",
            (),
            ("gate landed refused", "no table has fewer than half of the rows of the previous full load", "orders"),
            id="a table that shrank by half",
        ),
    ],
)
def test_the_landed_gate_refuses_a_run_and_names_the_reason(
    run_touchstone: Callable[..., Outcome],
    home: Path,
    table: str,
    change: str,
    printed: tuple[str, ...],
    refusal: tuple[str, ...],
):
    before = published_files(home)
    rewrite(home / f"marketplace/sources/{table}.parquet", change)
    refused = run_touchstone("run", "--as-of", NEXT_DAY)
    assert refused.code == 3, refused.stderr
    assert [text for text in printed if text not in refused.stdout] == []
    assert [text for text in refusal if text not in refused.stderr] == []
    assert published_files(home) == before


def test_a_refused_load_without_a_previous_one_exits_with_2(home: Path, tmp_path: Path):
    fresh = tmp_path / "fresh"
    shutil.copytree(home / "marketplace", fresh / "marketplace")
    rewrite(fresh / "marketplace/sources/merchants.parquet", "select * from t union all (from t limit 3)")
    refused = touchstone(fresh, "run")
    assert refused.code == 2, refused.stderr
    assert "merchants" in refused.stderr
    assert "merchant_id" in refused.stderr
    assert not (fresh / "published").exists()
