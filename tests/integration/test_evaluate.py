"""`touchstone evaluate` on generated tables: numbers, text and edges, both file formats, and every option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from conftest import TWO_THREADS, Outcome, shared_data, touchstone

from ml.mlflow_client import load_mlflow

ROWS = 600
QUICK = ("--label", "fake", "--id", "row", "--seeds", "1", "--trials", "0")
PLAIN = ("--drop", "body,shop,day,part", *QUICK)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One marketplace of reviews: fakes show in numbers, in words, and in their neighbours."""
    folder = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(11)
    fake = random.random(ROWS) < 0.25
    rows = [f"r{at}" for at in random.permutation(ROWS)]
    words = np.where(
        fake[:, None],
        random.choice(["great", "best", "buy"], (ROWS, 5)),
        random.choice(["fits", "ok", "slow"], (ROWS, 5)),
    )
    noise = random.choice(["the", "and", "this", "shoe", "watch", "best", "fits"], (ROWS, 12))
    shop = random.integers(0, 60, ROWS)
    content = pa.table({
        "row": rows,
        "fake": fake.astype(int),
        "stars": (random.normal(size=ROWS) + 1.2 * fake).round(6),
        "length": random.normal(size=ROWS).round(6),
        "country": random.choice(["DE", "FR", "CN"], ROWS),
        "shop": [f"s{number}" for number in shop],
        "day": pa.array((np.datetime64("2024-01-01") + random.permutation(ROWS) // 4).astype("datetime64[D]")),
        "body": [
            (' "\n' if at % 7 == 0 else " ").join(each)
            for at, each in enumerate(np.concatenate([words[:, :1], noise], axis=1))
        ],
        "part": random.choice(["train", "train", "validation", "test"], ROWS),
    })  # fmt: skip
    pq.write_table(content, folder / "reviews.parquet")
    pc.write_csv(content, folder / "reviews.csv")
    sides = {f"split_{at}": random.choice(["train", "train", "val", "test"], ROWS) for at in range(2)}
    pq.write_table(pa.table({"row": rows, **sides}), folder / "splits.parquet")
    pairs = [
        (one, int(random.choice(np.flatnonzero(fake == fake[one])) if random.random() < 0.7 else random.integers(ROWS)))
        for one in range(ROWS)
        for _ in range(2)
    ]
    edges = pa.table({"src": [rows[one] for one, _ in pairs], "dst": [rows[other] for _, other in pairs]})
    pq.write_table(edges, folder / "edges.parquet")
    pc.write_csv(edges, folder / "edges.csv")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate") / "home"


def run(home: Path, tables: Path, *arguments: str, table: str = "reviews.parquet", **environment: str) -> Outcome:
    return touchstone(home, "evaluate", str(tables / table), *arguments, "--json", **environment)


def result(home: Path, tables: Path, *arguments: str, **options: Any) -> dict[str, Any]:
    done = run(home, tables, *arguments, **options)
    assert done.code == 0, done.stderr
    found: dict[str, Any] = done.json
    return found


@pytest.fixture(scope="module")
def plain(home: Path, tables: Path) -> dict[str, Any]:
    return result(home, tables, *PLAIN)


def test_the_result_has_the_documented_structure(plain: dict[str, Any]) -> None:
    assert list(plain) == ["metrics", "baseline", "rows", "positives", "warnings"]
    metrics = ("auroc", "average_precision", "f1", "precision_at_k", "calibration_slope", "brier_skill")
    assert tuple(plain["metrics"]) == metrics
    assert all(list(summary) == ["mean", "sd", "low", "high"] for summary in plain["metrics"].values())
    assert (plain["baseline"], plain["rows"], plain["warnings"]) == ({}, ROWS, [])
    assert 0.7 < plain["metrics"]["auroc"]["mean"] < 0.95


def test_csv_and_any_thread_count_give_the_same_result(home: Path, tables: Path, plain: dict[str, Any]) -> None:
    assert result(home, tables, *PLAIN, table="reviews.csv", TOUCHSTONE_THREADS="1", OMP_NUM_THREADS="1") == plain
    assert result(home, tables, *PLAIN, **TWO_THREADS) == plain


@pytest.mark.slow
def test_text_and_edges_improve_the_metrics(home: Path, tables: Path, plain: dict[str, Any]) -> None:
    read = result(home, tables, "--text", "body", "--drop", "shop,day,part", *QUICK)
    near = result(home, tables, "--edges", str(tables / "edges.parquet"), *PLAIN)
    one_hop = result(home, tables, "--edges", str(tables / "edges.parquet"), "--hops", "1", *PLAIN)
    assert read["metrics"]["auroc"]["mean"] > plain["metrics"]["auroc"]["mean"] + 0.05
    assert near["metrics"]["auroc"]["mean"] > plain["metrics"]["auroc"]["mean"] + 0.02
    assert near["metrics"] != one_hop["metrics"]
    by_csv = ("--edges", str(tables / "edges.csv"), "--text", "body", "--drop", "shop,day,part", *QUICK)
    by_parquet = ("--edges", str(tables / "edges.parquet"), "--text", "body", "--drop", "shop,day,part", *QUICK)
    both = result(home, tables, *by_csv, table="reviews.csv")
    assert both == result(home, tables, *by_parquet, **TWO_THREADS)
    assert both["metrics"]["auroc"]["mean"] > max(found["metrics"]["auroc"]["mean"] for found in (read, near))


def test_selected_and_dropped_features_take_effect(home: Path, tables: Path, plain: dict[str, Any]) -> None:
    one = result(home, tables, "--features", "length", *QUICK)
    assert one["metrics"]["auroc"]["mean"] < plain["metrics"]["auroc"]["mean"] - 0.05
    less = result(home, tables, "--drop", "body,shop,day,part", "--drop", "stars", *QUICK)
    assert less["metrics"]["auroc"]["mean"] < plain["metrics"]["auroc"]["mean"] - 0.1


def test_splits_seeds_and_trials_take_effect(home: Path, tables: Path, plain: dict[str, Any]) -> None:
    answers = [plain]
    for options in (
        ("--group", "shop"),
        ("--time", "day"),
        ("--split", "part"),
        ("--splits", str(tables / "splits.parquet")),
        ("--test-size", "0.4"),
    ):
        drop = ",".join(name for name in ("body", "shop", "day", "part") if name not in options)
        answers.append(result(home, tables, *options, "--drop", drop, *QUICK))
        assert answers[-1]["warnings"] == [], options
    answers.append(result(home, tables, *PLAIN, "--trials", "6"))
    answers.append(result(home, tables, *PLAIN, "--seeds", "2"))
    assert len({str(answer["metrics"]) for answer in answers}) == len(answers)
    deviations = [answer["metrics"]["auroc"]["sd"] for answer in answers]
    assert [sd is not None for sd in deviations] == [False, False, False, False, True, False, False, True]


@pytest.mark.slow
def test_demo_features_with_true_labels_are_evaluated_without_warnings(
    home: Path, rated_home: Path, tmp_path: Path
) -> None:
    """Merchants are kept together; what a merchant's listings share is followed over the merchant, which is no row.

    Nine merchants sell counterfeits, so a split tests on two: one or two splits have little power, four suffice.
    """
    day = max((rated_home / "features" / "listings").iterdir())
    duckdb.sql(f"""
        copy (
            select features.*, truth.is_counterfeit and truth.since <= features.as_of_date as is_counterfeit
            from read_parquet('{day}/*.parquet', hive_partitioning = false) as features
            inner join read_parquet('{rated_home}/marketplace/truth/listings.parquet') as truth using (listing_id)
            where features.purpose = 'score' order by listing_id
        ) to '{tmp_path}/goods.parquet'
    """)
    duckdb.sql(
        f"copy (select listing_id as src, merchant_id as dst from '{tmp_path}/goods.parquet') to '{tmp_path}/of.csv'"
    )
    empty = [
        name
        for name, *_ in duckdb.sql(f"select * from '{tmp_path}/goods.parquet'").description
        if duckdb.sql(f"select count({name}) from '{tmp_path}/goods.parquet'").fetchone() == (0,)
    ]
    roles = (
        "--label",
        "is_counterfeit",
        "--id",
        "listing_id",
        "--group",
        "merchant_id",
        "--seeds",
        "4",
        "--trials",
        "0",
    )
    options = ("--drop", ",".join(["purpose", "as_of_date", *empty]), "--edges", str(tmp_path / "of.csv"), "--baseline")
    found = result(home, tmp_path, *roles, *options, table="goods.parquet")
    assert found["warnings"] == []
    assert found["metrics"]["auroc"]["low"] > 0.6
    assert found["metrics"]["average_precision"]["mean"] > 5 * found["positives"] / found["rows"]
    assert found["baseline"]["prevalence"]["auroc"]["mean"] == 0.5


def test_perfectly_separated_classes_have_no_calibration_slope(home: Path, tmp_path: Path) -> None:
    """A logistic regression of the truth on such scores has no finite fit; everything else is reported for each split."""
    random = np.random.default_rng(5)
    fake = random.random(ROWS) < 0.25
    content = {
        "row": [f"r{at}" for at in range(ROWS)],
        "fake": fake.astype(int),
        "stars": random.random(ROWS) + 9 * fake,
    }
    pq.write_table(pa.table(content), tmp_path / "parted.parquet")
    found = result(home, tmp_path, *QUICK, table="parted.parquet")
    assert found["metrics"]["auroc"]["mean"] == 1.0
    assert found["metrics"]["calibration_slope"]["mean"] is None
    client = load_mlflow().MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    (newest,) = client.search_runs([client.get_experiment_by_name("evaluate").experiment_id], max_results=1)
    (fold,) = json.loads(Path(client.download_artifacts(newest.info.run_id, "splits.json", str(tmp_path))).read_text())
    assert (fold["auroc"], fold["calibration_slope"]) == (1.0, None)


def test_a_table_extracted_from_a_real_market(home: Path, tmp_path: Path) -> None:
    """Agora's listings, one row each; the label is the market's own category, and admissions of a copy are masked."""
    daily = shared_data("agora") / "listings_daily.parquet"
    duckdb.sql(
        f"""
        copy (
            select
                vendor || '|' || title as good, vendor, min(snapshot_date) as first_day,
                regexp_replace(lower(title), 'replica|fake|copy|aaa|1:1|counterfeit', ' ', 'g') as title,
                median(price_btc) as price, min(ship_from) as ship_from, min(ship_to) as ship_to,
                bool_or(category like 'Counterfeits%') as is_counterfeit
            from '{daily}' where vendor is not null
            group by vendor, listings_daily.title order by good
        ) to '{tmp_path}/agora.parquet'
    """.replace(f"'{daily}'", f"'{daily}' as listings_daily")
    )
    roles = ("--label", "is_counterfeit", "--id", "good", "--text", "title", "--trials", "0", "--drop", "first_day")
    by_row = result(home, tmp_path, *roles, "--drop", "vendor", "--seeds", "1", table="agora.parquet")
    unseen = result(home, tmp_path, *roles, "--group", "vendor", "--seeds", "3", "--baseline", table="agora.parquet")
    assert by_row["rows"] == unseen["rows"] > 2000
    assert by_row["metrics"]["auroc"]["mean"] > 0.9, "goods of vendors whose others were seen"
    assert 0.6 < unseen["metrics"]["auroc"]["mean"] < by_row["metrics"]["auroc"]["mean"]


def test_baselines_are_reported_as_text_and_in_mlflow(home: Path, tables: Path) -> None:
    done = touchstone(home, "evaluate", str(tables / "reviews.parquet"), *PLAIN, "--baseline")
    assert done.code == 0, done.stderr
    assert "Touchstone" in done.stdout
    assert "logistic regression" in done.stdout
    client = load_mlflow().MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("evaluate")
    run_id = done.stdout.split("/runs/")[1].split("?")[0]
    logged = client.get_run(run_id)
    assert logged.info.experiment_id == experiment.experiment_id
    assert {"auroc", "auroc_low", "logistic_regression_auroc", "prevalence_average_precision"} <= set(
        logged.data.metrics
    )
    note = logged.data.tags["mlflow.note.content"]
    assert f" of {ROWS} rows " in note
    assert "| average precision" in note
    assert f"/get-artifact?path=reliability.png&run_uuid={run_id}" in note
    files = {file.path for file in client.list_artifacts(run_id)}
    assert files == {"ensembles.json", "evaluation.json", "precision_recall.png", "reliability.png", "splits.json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "no"), "has no column 'no'"),
        (("--label", "stars", "--id", "row"), "a label has two"),
        (("--label", "fake", "--edges", "edges.parquet"), "--id COLUMN"),
        (("--label", "fake", "--id", "row", "--edges", "splits.parquet"), "has no column 'src'"),
        (("--label", "fake", "--id", "row", "--split", "part", "--splits", "splits.parquet"), "Give one of them"),
        (("--label", "fake", "--split", "country"), "is 'CN', 'DE', 'FR' in 600 rows"),
        (("--label", "fake", "--test-size", "1"), "a share between 0 and 1"),
        (("--label", "fake", "--seeds", "0"), "a whole number from 1 on"),
        (("--label", "fake", "--trials", "-1"), "a whole number from 0 on"),
        (("--label", "fake", "--test-size", "0.005"), "it needs 2 of each"),
    ],
)
def test_invalid_arguments_are_refused_with_instructions(
    tables: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run(
        tmp_path / "home", tables, *(str(tables / each) if each.endswith(".parquet") else each for each in arguments)
    )
    assert done.code == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home" / "mlflow.db").exists()
