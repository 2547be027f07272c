"""`touchstone backtest`: a model walked forward over history, a step a day, each trained on what that day knew.

What a day knew is built by the pipeline's own stages over the loads that are there, in a home of its own below `backtests/`,
which shares landing and pictures with this one: nothing that is rated or published here depends on it. A step that was
taken of the same loads, code and choices is not taken again, so a walk that was interrupted resumes. What is
measured is in `ml/backtest.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from expectations.contract import load_contract
from ml.backtest import OUTCOME_DAYS, Step, Variant, measure_step, plot, run_step, why_off
from ml.backtest import without as lacking
from ml.declarations import Declaration, load_declarations
from ml.extra import with_extra
from ml.train import Files, Parameters
from orchestration.definitions import build_definitions
from orchestration.pipeline import check_range, run_job
from orchestration.resources import Warehouse
from touchstone.core.errors import BadInputError, GateRefusedError, TouchstoneError, VerificationError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, discard, remove_temporaries, replacing_directory, sha256_bytes
from touchstone.core.home import Home, ensure_schema, home_lock, prepare_home
from touchstone.core.lists import ListDefinition, list_of_model
from touchstone.core.revision import project_digest
from touchstone.core.settings import Settings
from touchstone.core.warehouse import read_warehouse
from touchstone.landing.ledger import Ledger, pinned_loads
from touchstone.maintenance.approvals import outcomes_after
from touchstone.publishing.policy import load_policy

SHARED = ("landing", "signals", "marketplace")
"""What the home in which days are rebuilt shares with the one that it belongs to."""
ERRORS = {kind.exit_code: kind for kind in (BadInputError, GateRefusedError, VerificationError, TouchstoneError)}


@dataclass(frozen=True)
class Backtest:
    """The result of a walk.

    Attributes:
        model: The model.
        steps: What was measured at each date, oldest first.
        off: Why a variant was off, by date and variant.
        folder: Where `backtest.json` and `backtest.png` are.
    """

    model: str
    steps: tuple[Step, ...]
    off: Mapping[str, Mapping[str, str]]
    folder: Path

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return {"model": self.model, "steps": [step.as_dict() for step in self.steps], "off": self.off}


def backtest(
    settings: Settings,
    model: str,
    first: date,
    last: date,
    *,
    every: int = 7,
    policy: Path | None = None,
    without: Sequence[str] = (),
    on_step: Callable[[date, str], None] = lambda _day, _outcome: None,
) -> Backtest:
    """Walks a model forward as it is declared, under the policy in force, and next to it with the changes that are asked for.

    The home's lock is held for one step at a time. Decisions are those that the warehouse knows: of the last run's loads, up
    to its date.

    Args:
        settings: The settings.
        model: The model.
        first: The first date.
        last: The date that no step lies after.
        every: Days from a step to the next.
        policy: A policy file to compare with, by its target precision for the whole of the model's list; None for the one in
            force. What other terms would do, `touchstone policies try` says.
        without: Features, or signals, to compare without.
        on_step: Called after each step with its date and its outcome.

    Raises:
        BadInputError: There is no such model, feature, signal or policy, the range is none, or nothing was rated yet.
        GateRefusedError: What a day's features are does not pass their gate.
    """
    prepare_home(settings)
    rated = list_of_model(model)
    check_range(settings, first, last)
    days = [first + timedelta(days=offset) for offset in range(0, (last - first).days + 1, every)]
    variants = _variants(settings, model, policy, without)
    basis = {
        "loads": pinned_loads(Ledger(Home(settings.home).landing).read(), load_contract()).digest,
        "project": project_digest(),
    }
    here = Home(settings.home).backtests / model
    steps: list[Step] = []
    off: dict[str, dict[str, str]] = {}
    for day in days:
        folders = {variant.name: here / f"as_of={day}" / variant.digest(day, basis)[:12] for variant in variants}
        missing = [variant for variant in variants if not folders[variant.name].exists()]
        with home_lock(settings, f"touchstone backtest, {day}"):
            remove_temporaries(here)  # of a walk that was killed
            if missing:
                files = _built(settings, rated, day)
                for variant in missing:
                    with failpoint("backtest.step", folders[variant.name]):
                        run_step(variant, files, day, folders[variant.name])
                _clear(settings)
            steps.append(measure_step(day, folders, _outcomes(settings, variants[0].declaration, day)))
        if reasons := {name: why for name, folder in folders.items() if (why := why_off(folder))}:
            off[str(day)] = reasons
        on_step(
            day, "; ".join(f"{name}: {why}" for name, why in reasons.items()) or ("taken" if missing else "up to date")
        )
    which = sha256_bytes("".join(variant.digest(last, basis) for variant in variants).encode())[:12]
    result = Backtest(model, tuple(steps), off, here / f"{first}-to-{last}-{which}")
    with replacing_directory(result.folder) as temporary:
        (temporary / "backtest.json").write_bytes(canonical_json(result.as_dict()))
        (temporary / "backtest.png").write_bytes(plot(model, steps))
    return result


def _variants(settings: Settings, model: str, policy: Path | None, without: Sequence[str]) -> list[Variant]:
    """The model as it is declared, and a second one if a change is asked for."""
    declaration = with_extra(load_declarations(), Warehouse(settings).extra)[model]
    now, name = load_policy(settings.policy), list_of_model(model).list_name
    variants = [Variant("now", declaration, Parameters(target_precision=now.list_target_precision(name)))]
    if policy is not None or without:
        wanted = now if policy is None else load_policy(policy)
        words = [
            *([f"policy {policy.name}"] if policy else []),
            *([f"without {', '.join(without)}"] if without else []),
        ]
        other = lacking(declaration, without) if without else declaration
        variants.append(
            Variant(" ".join(words), other, Parameters(target_precision=wanted.list_target_precision(name)))
        )
    return variants


def _built(settings: Settings, rated: ListDefinition, day: date) -> Files:
    """Builds what was known on a day: its training rows and the entities that were active."""
    rebuild = _rebuild_settings(settings)
    rebuild.home.mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        if not (rebuild.home / name).is_symlink():
            (rebuild.home / name).symlink_to(settings.home / name, target_is_directory=True)
    ensure_schema(rebuild)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_job(rebuild, build_definitions(rebuild), instance, "prepare_training", day, with_training=True)
    if result.messages:
        raise ERRORS[result.exit_code](f"The step of {day} could not be built. {' '.join(result.messages)}")
    paths = Home(rebuild.home)
    rows = paths.training_rows(rated.list_name, day)
    return Files(
        features=rows / "features.parquet",
        spine=rows / "spine.parquet",
        edges=rows / "edges.parquet",
        active=paths.features(rated.list_name, day),
        texts=paths.texts(day),
    )


def _rebuild_settings(settings: Settings) -> Settings:
    """The settings of the home in which days are rebuilt."""
    return settings.model_copy(update={"home": Home(settings.home).rebuilt_days})


def _clear(settings: Settings) -> None:
    """Removes a day's rows once its steps are taken; the warehouse stays, because the next day depends on it."""
    for name in ("features", "training"):
        discard(_rebuild_settings(settings).home / name)


def _outcomes(settings: Settings, declaration: Declaration, day: date) -> pa.Table:
    with read_warehouse(settings.home) as connection:
        return outcomes_after(connection, declaration, day, day + timedelta(days=OUTCOME_DAYS))
