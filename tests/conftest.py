"""Fixtures shared by all tests: homes in which the whole pipeline ran, made once a session and copied for each test.

A run of the whole pipeline takes about half a minute, at this scale as at ten times as much, so tests share one. Each
gets a copy that it may damage. With several workers the first to request it makes it and the others wait. The homes are
small, and have a policy of their own: with so few rows, either a tenth of them or none is flagged.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from hypothesis import settings

from tests import warm
from tests.source_fixtures import postgres, storage  # noqa: F401  fixtures for every test
from touchstone.core import secrets
from touchstone.core.lists import LISTS
from touchstone.core.lock import writer_lock

# A slow example on a busy machine is no failure: timing is measured by benchmarks.
settings.register_profile("touchstone", deadline=None)
settings.load_profile("touchstone")

# Workers keep the cores busy: a second thread does not speed up a run, and costs a quarter more CPU.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TOUCHSTONE_THREADS", "1")

# A picture takes a second or two to read for logos and text; tests of that ask for it.
os.environ.setdefault("TOUCHSTONE_PICTURES_PER_RUN", "0")

ROOT = Path(__file__).resolve().parents[1]
SCALE, SEED = 0.002, 3
FIRST_DAY, NEXT_DAY = "2026-06-15", "2026-06-30"
LIST_NAMES = tuple(LISTS)
# Reference outputs are made with two threads, the default; bytes do not depend on the thread count.
TWO_THREADS = {"TOUCHSTONE_THREADS": "2"}


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps secrets registered by one test, such as the word `secret`, from being redacted in another."""
    monkeypatch.setattr(secrets, "_forms", set())


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code and its output."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The JSON object on stdout."""
        return json.loads(self.stdout)


def mostly_slow[Case](cases: Iterable[Case], quick: int) -> list[Any]:
    """Marks all but the first cases as slow: the same assertion on other data, which `make test-all` runs."""
    return [
        case
        if number < quick
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]


def touchstone(home: Path, *arguments: str, **environment: str) -> Outcome:
    """Runs the real command over `home` in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        return Outcome(
            *warm.run(arguments, os.environ | {"TOUCHSTONE_HOME": str(home)} | environment, Path(folder), 900)
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets one file make the small homes while other workers run tests without them; unit tests fill the gaps."""
    needing = [item.path for item in items if "small_homes" in getattr(item, "fixturenames", ())]

    def place(item: pytest.Item) -> int:
        if item.path in needing:
            return 0 if item.path == needing[0] else 2
        return 3 if item.path.parent.name == "unit" else 1

    items.sort(key=place)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@dataclass(frozen=True)
class SmallHomes:
    """Homes so small that a run of the pipeline takes half a minute; read-only.

    Attributes:
        made: A marketplace before any run.
        rated: The same after a run as of `FIRST_DAY`, which trained.
        policy: The policy file.
    """

    made: Path
    rated: Path
    policy: Path


@dataclass(frozen=True)
class Homes(SmallHomes):
    """The small homes, and their state after undisturbed runs.

    Attributes:
        undisturbed: The rated home, also run as of `NEXT_DAY`.
        lists: The published files after the run as of each day, by day.
    """

    undisturbed: Path
    lists: dict[str, dict[str, bytes]]


def published(home: Path) -> dict[str, bytes]:
    """Returns the published files that depend only on loads, code and models, by name."""
    names = ("manifest.json", "LATEST", *(f"{name}.{kind}" for name in LIST_NAMES for kind in ("parquet", "csv")))
    files = (file for file in (home / "published").rglob("*") if file.name in names)
    return {str(file.relative_to(home)): file.read_bytes() for file in files}


def label_newest_merchants_counterfeit(sources: Path) -> None:
    """Labels all merchants that joined last as counterfeit, in a marketplace that is too small for models.

    Likewise, all that joined first brush, and orders that arrived soon are brushed. The labels are decisions on
    merchants, listings and orders, and test buys.

    At this scale the marketplace has ten counterfeiters, and a model needs twenty. The models learn meaningless labels,
    but they do learn; and the test buys, by which scores are calibrated, agree with the labels, so that some scores are
    high.
    """
    target, bought = sources / "moderation_decisions.parquet", sources / "test_buys.parquet"
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            f"""
            copy (
                with days as (select timestamptz '2026-04-20 12:00:00+00' as first),
                ranked as (
                    select merchant_id, row_number() over (order by registered_at desc, merchant_id) as place
                    from '{sources}/merchants.parquet'
                ),
                goods as (
                    select listing_id, place, row_number() over (partition by merchant_id order by listing_id) as number
                    from '{sources}/listings.parquet' inner join ranked using (merchant_id)
                ),
                trades as (
                    select
                        order_id, place, delivered_at < placed_at + interval 60 hours as is_soon,
                        row_number() over (partition by merchant_id order by order_id) as number
                    from '{sources}/orders.parquet' cross join days inner join ranked using (merchant_id)
                    where placed_at < first
                ),
                called as (
                    select
                        'merchant' as entity_kind, merchant_id as entity_id, 'counterfeit' as violation_type, place as day,
                        place <= 60 as is_fake
                    from ranked
                    union all
                    select 'merchant', merchant_id, 'brushing', place, place > 120 from ranked
                    union all
                    select 'listing', listing_id, 'counterfeit', place + number, place <= 60 from goods where number <= 8
                    union all
                    select 'order', order_id, 'brushing', place + number, is_soon from trades where number <= 60
                )
                from '{target}'
                union all by name
                select
                    entity_kind, entity_id, violation_type,
                    first + to_days(cast(day % 60 as integer)) as decided_at,
                    case when is_fake then 'fake' else 'genuine' end as verdict, 'a test' as decided_by
                from called cross join days
                order by all
            ) to '{sources}/decisions.parquet' (format parquet)
            """
        )
        connection.execute(
            f"""
            copy (
                with last as (from '{sources}/merchants.parquet' order by registered_at desc, merchant_id limit 60),
                fake as (from '{sources}/listings.parquet' where merchant_id in (select merchant_id from last))
                select * replace (
                    case
                        when verdict is null or verdict = 'inconclusive' then verdict
                        when listing_id in (select listing_id from fake) then 'counterfeit'
                        else 'genuine'
                    end as verdict
                )
                from '{bought}'
            ) to '{sources}/bought.parquet' (format parquet)
            """
        )
    (sources / "decisions.parquet").rename(target)
    (sources / "bought.parquet").rename(bought)


def make_market(home: Path) -> None:
    """Makes a demo marketplace with enough labels to train models."""
    made = touchstone(home, "demo", "--scale", str(SCALE), "--seed", str(SEED))
    assert made.code == 0, made.stderr
    label_newest_merchants_counterfeit(home / "marketplace" / "sources")


@pytest.fixture(scope="session")
def small_homes(shared_folder: Path) -> SmallHomes:
    """The small homes, made once a session."""
    folder = shared_folder / "small-homes"
    found = SmallHomes(folder / "made", folder / "rated", folder / "policy.yml")
    with writer_lock(shared_folder / "small-homes.lock", purpose="making homes for tests", wait_seconds=900):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            default = yaml.safe_load((ROOT / "policies" / "default.yml").read_text())
            changes = {"target_precision": 0.5, "allow_empty": True, "max_flagged_share": 1.0}
            found.policy.write_text(yaml.safe_dump(default | changes))
            # With labels that depend on the registration date, the models learn the registration date.
            limits = yaml.safe_load((ROOT / "ml" / "thresholds.yml").read_text())
            for model in limits["models"].values():
                model["most_importance"] = 1.0
            _thresholds(found.policy).write_text(yaml.safe_dump(limits))
            make_market(found.made)
            shutil.copytree(found.made, found.rated)
            done = run(found.rated, found.policy, FIRST_DAY, **TWO_THREADS)
            assert done.code == 0, done.stdout + done.stderr
            (folder / "complete").touch()
    return found


@pytest.fixture(scope="session")
def homes(shared_folder: Path, small_homes: SmallHomes) -> Homes:
    """The small homes, and what an undisturbed run publishes as of each day."""
    made, rated, policy = small_homes.made, small_homes.rated, small_homes.policy
    undisturbed = shared_folder / "undisturbed-home"
    with writer_lock(shared_folder / "undisturbed-home.lock", purpose="making a home for tests", wait_seconds=900):
        if not (undisturbed / "complete").exists():
            shutil.rmtree(undisturbed, ignore_errors=True)
            shutil.copytree(rated, undisturbed)
            done = run(undisturbed, policy, NEXT_DAY, **TWO_THREADS)
            assert done.code == 0, done.stdout + done.stderr
            (undisturbed / "complete").touch()
    found = Homes(made, rated, policy, undisturbed, {FIRST_DAY: published(rated), NEXT_DAY: published(undisturbed)})
    assert [len(lists) for lists in found.lists.values()] == [len(LIST_NAMES) * 4, len(LIST_NAMES) * 7]
    return found


@pytest.fixture(scope="session")
def rated_home(homes: Homes) -> Path:
    """A home that was rated as of both days; read-only. See `home` for a copy."""
    return homes.undisturbed


@pytest.fixture
def home(homes: Homes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the rated home that a test may damage; by default its processes use the homes' policy."""
    monkeypatch.setenv("TOUCHSTONE_POLICY", str(homes.policy))
    copy = tmp_path / "home"
    shutil.copytree(homes.undisturbed, copy)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


@pytest.fixture
def run_touchstone(home: Path) -> Callable[..., Outcome]:
    """The command bound to the test's own home."""
    return lambda *arguments, **environment: touchstone(home, *arguments, **environment)


def published_files(home: Path) -> dict[str, bytes]:
    """Returns every published file with its content, including receipts and histories, which hold timestamps."""
    files = (file for file in (home / "published").rglob("*") if file.is_file())
    return {str(file.relative_to(home)): file.read_bytes() for file in files}


def run(home: Path, policy: Path, day: str, *options: str, **environment: str) -> Outcome:
    """Runs the real command."""
    arguments = ("run", "--as-of", day, "--approve-if-passing", *options)
    return touchstone(home, *arguments, **limits_of(policy), **environment)


def limits_of(policy: Path) -> dict[str, str]:
    """Returns the settings by which the small homes are judged."""
    return {"TOUCHSTONE_POLICY": str(policy), "TOUCHSTONE_THRESHOLDS": str(_thresholds(policy))}


def _thresholds(policy: Path) -> Path:
    return policy.parent / "thresholds.yml"


def shared_data(name: str) -> Path:
    """Returns a folder of real data outside the project, or skips the test and names where it was searched for."""
    folder = Path(os.environ.get("TOUCHSTONE_SHARED", ROOT.parent / "shared")) / "data" / name
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no {folder} (set TOUCHSTONE_SHARED to the folder that holds data/{name})")
    return folder
