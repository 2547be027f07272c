"""A small simulated marketplace as feature, spine and edge files, with known truth, for the tests of `ml`.

Features carry real but partial information on a latent risk; labels come late and rarely, and more often for listings
that draw complaints; test buys are random or risk-based, with known inclusion probabilities. Nothing here imitates the
demo.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ml.boosting import Parameters
from ml.declarations import Declaration, Feature, load_declarations
from ml.metrics import Report
from ml.model import RiskModel, read_model
from ml.registry import Registry
from ml.review import Check, Evaluation, Judgement
from ml.train import Files, Prepared, TooFewLabels, TrainingResult, prepare, register

CUTOFF_DATE = date(2026, 6, 15)
GRID = tuple(CUTOFF_DATE - timedelta(days=14 + 7 * week) for week in range(7))[::-1]
HORIZON = timedelta(days=14)

FEATURES = (
    Feature(
        "price_to_msrp_ratio",
        "price",
        "ratio",
        "Price over the recommended price.",
        "subject",
        -1,
        "price is {value} of the recommended price",
    ),
    Feature("spec_mismatch_count", "spec", "count", "Spec fields that disagree.", "subject", 1, ""),
    Feature("delivery_days", "order", "days", "Mean delivery time.", "subject", 0, ""),
    Feature("refund_share", "order", "share", "Share refunded.", "subject", 0, ""),
    Feature("complaint_share", "review", "share", "Reviews that doubt authenticity.", "third_party", 1, ""),
    Feature("one_star_share", "review", "share", "Reviews of one star.", "third_party", 0, ""),
    Feature("merchant_age_days", "merchant", "days", "Age of the merchant.", "platform", 0, ""),
    Feature("is_authorised", "merchant", "boolean", "Whether the brand authorised it.", "platform", -1, ""),
    Feature("noise_ratio", "text", "ratio", "Nothing at all.", "subject", 0, ""),
)
LISTINGS = Declaration("listing_counterfeit", "listings", "listing", "counterfeit", FEATURES)
HOLDS = Judgement((Check("digests", passed=True, message="the digests of the data are there"),))
MERCHANTS = Declaration("merchant_counterfeit", "merchants", "merchant", "counterfeit", FEATURES)


@dataclass(frozen=True)
class Simulation:
    """The simulated files and their truth.

    Attributes:
        features: Training features.
        spine: Training spine.
        edges: Edges between merchants.
        scoring: Features of the active entities at the cutoff date, sorted by ID.
        truth: Whether each of those is counterfeit.
        probability: The simulation's own probability of it.
    """

    features: Path
    spine: Path
    edges: Path
    scoring: Path
    truth: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float64]


def simulate(
    folder: Path,
    *,
    listings: int = 10_000,
    merchants: int = 800,
    seed: int = 7,
    prevalence: float = 0.06,
    notice_share: float = 0.5,
    random_buys: int = 1000,
    risk_buys: int = 300,
    unlabelled_share: float = 0.2,
) -> Simulation:
    """Writes one simulated training and scoring input for `LISTINGS`.

    Args:
        folder: The target folder.
        listings: The number of active listings.
        merchants: The number of merchants, in rings of up to four.
        seed: The seed of the simulation.
        prevalence: Share of counterfeits among the listings.
        notice_share: Share of the counterfeits that a notice labels within the history.
        random_buys: Test buys of the random arm.
        risk_buys: Test buys among the riskiest-looking 5 %.
        unlabelled_share: Share with which unlabelled rows are sampled at each date.

    Returns:
        The files and the truth.
    """
    random = np.random.default_rng(seed)
    owner = np.minimum((random.pareto(1.5, listings) * 8).astype(int), merchants - 1)
    owner = np.where(random.random(listings) < 0.6, random.integers(0, merchants, listings), owner)
    alone = np.arange(merchants) % 8 >= 4
    ring = np.where(alone, 100_000 + np.arange(merchants), np.arange(merchants) // 4)
    lean = dict(zip(np.unique(ring).tolist(), random.normal(0, 1.2, len(np.unique(ring))).tolist(), strict=True))
    latent = random.normal(0, 1.6, listings) + np.array([lean[ring[at]] for at in owner.tolist()])
    probability = _with_prevalence(2.0 * latent, prevalence)
    truth = random.random(listings) < probability
    values = _features(latent, random)
    ids = np.array([f"L{at:06d}" for at in range(listings)])
    sellers = np.array([f"M{at:05d}" for at in range(merchants)])[owner]
    category = np.where(np.arange(listings) % 3 == 0, "bags", "watches/steel")
    rows = _rows(
        truth,
        values,
        latent,
        random,
        notice_share=notice_share,
        random_buys=random_buys,
        risk_buys=risk_buys,
        unlabelled_share=unlabelled_share,
    )
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, rows, ids, sellers, category, values)
    _write_edges(folder / "edges.parquet", merchants, ring)
    active_files = pa.table(
        {
            "listing_id": ids,
            "merchant_id": sellers,
            "category": category,
            "as_of_date": pa.array([CUTOFF_DATE] * listings),
            "purpose": ["score"] * listings,
            **_columns(values),
        }
    )
    pq.write_table(active_files, folder / "scoring.parquet")
    return Simulation(
        folder / "features.parquet",
        folder / "spine.parquet",
        folder / "edges.parquet",
        folder / "scoring.parquet",
        truth,
        probability,
    )


def _with_prevalence(logit: npt.NDArray[np.float64], prevalence: float) -> npt.NDArray[np.float64]:
    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        mean = float((1 / (1 + np.exp(-(logit + middle)))).mean())
        low, high = (middle, high) if mean < prevalence else (low, middle)
    return np.asarray(1 / (1 + np.exp(-(logit + low))))


def _features(latent: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.float64]:
    n = len(latent)
    noisy = latent[:, None] + random.normal(0, 1.6, (n, len(FEATURES)))
    values = np.column_stack(
        [
            np.round(1.0 / (1.0 + np.exp(0.8 * noisy[:, 0] - 1.5)), 4),
            np.maximum(0, np.floor(noisy[:, 1])),
            np.round(np.abs(4 + noisy[:, 2]), 2),
            np.round(1.0 / (1.0 + np.exp(3 - noisy[:, 3])), 4),
            np.round(1.0 / (1.0 + np.exp(4 - noisy[:, 4])), 4),
            np.round(1.0 / (1.0 + np.exp(2 - noisy[:, 5])), 4),
            np.round(np.exp(6 - 0.4 * noisy[:, 6])),
            (noisy[:, 7] < -1).astype(float),
            random.random(n),
        ]
    )
    values[random.random(values.shape) < 0.05] = np.nan
    return values


@dataclass(frozen=True)
class _Drawn:
    at: int
    day: date
    purpose: str
    label: bool
    decided: date | None
    share: float | None
    inclusion: float | None
    is_random: bool


def _rows(
    truth: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float64],
    latent: npt.NDArray[np.float64],
    random: np.random.Generator,
    *,
    notice_share: float,
    random_buys: int,
    risk_buys: int,
    unlabelled_share: float,
) -> list[_Drawn]:
    n = len(truth)
    chance = notice_share * np.where(latent > 0, 1.0, 0.3)
    noticed = truth & (random.random(n) < chance)
    decided = {int(at): GRID[0] + timedelta(days=int(random.integers(1, 56))) for at in np.flatnonzero(noticed)}
    drawn: list[_Drawn] = []
    for number, day in enumerate(GRID):
        purpose = "evaluate" if number >= len(GRID) - 2 else "train"
        for at, when in decided.items():
            inside = day < when <= day + HORIZON and when < CUTOFF_DATE
            if inside and (purpose == "evaluate" or when < GRID[-2]):
                drawn.append(_Drawn(at, day, purpose, True, when, None, None, False))
        unlabelled = np.flatnonzero((random.random(n) < unlabelled_share) & ~noticed)
        drawn += [_Drawn(int(at), day, purpose, False, None, unlabelled_share, None, False) for at in unlabelled]
    return drawn + _buys(truth, values, random, random_buys, risk_buys)


def _buys(
    truth: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float64],
    random: np.random.Generator,
    random_buys: int,
    risk_buys: int,
) -> list[_Drawn]:
    n = len(truth)
    looks = np.nan_to_num(values[:, 4]) - np.nan_to_num(values[:, 0], nan=0.5)
    risky = looks >= np.quantile(looks, 0.95)
    by_chance = random.random(n) < random_buys / n
    by_risk = risky & (random.random(n) < min(1.0, risk_buys / risky.sum()))
    inclusion = 1 - (1 - random_buys / n) * (1 - risky * min(1.0, risk_buys / risky.sum()))
    when = CUTOFF_DATE - timedelta(days=5)
    return [
        _Drawn(
            int(at), CUTOFF_DATE, "calibrate", bool(truth[at]), when, None, float(inclusion[at]), bool(by_chance[at])
        )
        for at in np.flatnonzero(by_chance | by_risk)
    ]


def _columns(values: npt.NDArray[np.float64]) -> dict[str, pa.Array]:
    columns = {feature.name: pa.array(values[:, at], from_pandas=True) for at, feature in enumerate(FEATURES)}
    flags = [None if np.isnan(value) else bool(value) for value in values[:, 7]]
    return {
        **columns,
        "is_authorised": pa.array(flags, pa.bool_()),
        "spec_mismatch_count": columns["spec_mismatch_count"].cast(pa.int64()),
    }


def _write(
    folder: Path,
    rows: list[_Drawn],
    ids: npt.NDArray[np.str_],
    sellers: npt.NDArray[np.str_],
    category: npt.NDArray[np.str_],
    values: npt.NDArray[np.float64],
) -> None:
    rows = sorted(rows, key=lambda row: (row.at, row.day, row.purpose))
    at = np.array([row.at for row in rows])
    keys = {
        "listing_id": pa.array(ids[at]),
        "merchant_id": pa.array(sellers[at]),
        "category": pa.array(category[at]),
        "as_of_date": pa.array([row.day for row in rows], pa.date32()),
        "purpose": pa.array([row.purpose for row in rows]),
    }
    pq.write_table(pa.table({**keys, **_columns(values[at])}), folder / "features.parquet")
    spine = {
        **keys,
        "label": pa.array([row.label for row in rows], pa.bool_()),
        "label_source": pa.array([None if row.decided is None else "notice" for row in rows], pa.string()),
        "label_decided_date": pa.array([row.decided for row in rows], pa.date32()),
        "sampling_share": pa.array([row.share for row in rows], pa.float64()),
        "inclusion_probability": pa.array([row.inclusion for row in rows], pa.float64()),
        "expansion_weight": pa.array(
            [None if row.inclusion is None else 1 / row.inclusion for row in rows], pa.float64()
        ),
        "is_random_arm": pa.array([row.is_random for row in rows], pa.bool_()),
        "is_active": pa.array([True] * len(rows), pa.bool_()),
    }
    pq.write_table(pa.table(spine), folder / "spine.parquet")


def _write_edges(path: Path, merchants: int, ring: npt.NDArray[np.int_]) -> None:
    edges = [(a, a + 1) for a in range(merchants - 1) if ring[a] == ring[a + 1]]
    table = {
        "merchant_id_a": [f"M{a:05d}" for a, _ in edges],
        "merchant_id_b": [f"M{b:05d}" for _, b in edges],
        "kind": ["device"] * len(edges),
        "value_hash": [f"{a:064x}" for a, _ in edges],
        "known_from": pa.array([date(2026, 3, 1)] * len(edges), pa.date32()),
        "known_until": pa.array([date(9999, 12, 31)] * len(edges), pa.date32()),
        "bearer_count": pa.array([2] * len(edges), pa.int64()),
    }
    pq.write_table(pa.table(table), path)


def register_again(home: Path, name: str, judgement: Judgement = HOLDS, *, raised_by: float = 1.0) -> int:
    """Registers a home's champion again with a higher threshold, like a training, and returns the version."""
    registry = Registry(home)
    champion = registry.champion(name)
    assert champion is not None
    model = read_model(champion.folder, champion.model_digest)
    threshold = model.threshold + raised_by * len(registry.versions(name))
    body = {**model.body, "flagging": {**model.body["flagging"], "threshold": threshold}}
    facts = json.loads((champion.folder.parent / "card.json").read_text())
    version = registry.register(
        RiskModel(body, model.main, model.own, text=model.text),
        facts={**facts, "training_digest": f"with a threshold of {threshold}"},
        evaluation=Evaluation(Report({}, {}, {}, {}), {}, None, judgement),
        files={},
        parameters={},
        trained_by="Tim",
    )
    return version.version


def train(
    declaration: Declaration, files: Files, *, registry: Registry, trained_by: str = "unnamed", **choices: Any
) -> TrainingResult | TooFewLabels:
    """Prepares and registers one model; `choices` are those of `prepare`."""
    prepared = prepare(declaration, files, registry=registry, **choices)
    return register(prepared, registry, trained_by=trained_by) if isinstance(prepared, Prepared) else prepared


def train_again(home: Path, name: str, as_of: str, thresholds: Path, *, rounds: int) -> None:
    """Trains a home's model again, quickly, on the data as of a day: a challenger for the champion."""
    declared = load_declarations()[name]
    training, active_files = (home / kind / declared.rates / f"as_of={as_of}" for kind in ("training", "features"))
    train(
        declared,
        Files(
            features=training / "features.parquet",
            spine=training / "spine.parquet",
            edges=training / "edges.parquet",
            active=active_files / "features.parquet",
            slices=training / "slices.parquet",
        ),
        as_of=date.fromisoformat(as_of),
        registry=Registry(home),
        trained_by="Tim",
        thresholds=thresholds,
        provenance={"loads_digest": "0" * 64},
        parameters=Parameters(rounds=rounds, forward_blocks=2, forward_groups=2, resamples=100, target_precision=0.5),
    )
