"""The first run over tables that strangers brought: each ends with a list of the stated kind, never with a crash.

One case for each situation that once ended with nothing or a crash. Each is a whole run of half a minute, so `make test` has two
and `make test-all` the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest
import yaml

from tests.conftest import Outcome, touchstone
from tests.market_fixtures import listing_counters, write_sources_file
from tests.stage_fixtures import first_run
from touchstone.core.settings import POLICY_FILE, Settings
from touchstone.demo.generate import generate

DAY = "2026-06-30"
CATALOGUE = ("merchants", "listings")
SALES = ("orders", "reviews", "buyers")
DECIDED = """
    select 'listing' as entity_kind, listing_id as entity_id, 'counterfeit' as violation_type, timestamp '{at}' as decided_at,
        if(is_counterfeit, 'fake', 'genuine') as verdict
    from read_parquet('{truth}') inner join listings using (listing_id)
    qualify row_number() over (partition by is_counterfeit order by listing_id) <= {count}
"""


OLDER = "(from listings where listed_at < timestamp '2026-06-20')"


@dataclass(frozen=True)
class Stranger:
    """A marketplace made of the demo's tables.

    Attributes:
        tables: The demo's tables that it has.
        queries: Queries for tables that it has in another form, over the demo's tables by name.
        kind: What its listings are rated by: `starter`, or `ranking` or `calibrated` for a trained model.
    """

    tables: tuple[str, ...]
    kind: str
    queries: Mapping[str, str] = field(default_factory=dict)


STRANGERS = {
    "no labels": Stranger(CATALOGUE, "starter"),
    "decisions older than any observation": Stranger(
        CATALOGUE, "starter", {"moderation_decisions": DECIDED.replace("{at}", "2015-03-01").replace("{count}", "10")}
    ),
    "orders and reviews in euros without rates": Stranger(
        (*CATALOGUE, *SALES),
        "starter",
        {
            "orders": "select * replace ('EUR' as currency) from orders",
            "listings": "select * replace ('EUR' as currency) from listings",
        },
    ),
    "labels without audits": Stranger(
        (*CATALOGUE, *SALES),
        "ranking",
        {
            "moderation_decisions": DECIDED.replace("{at}", "2026-06-10").replace("{count}", "150"),
            "orders": "select * replace ('USD' as currency) from orders",
            "listings": "select * replace ('USD' as currency) from listings",
        },
    ),
    "prices derived from sales": Stranger(
        (*CATALOGUE, *SALES),
        "starter",
        {"listing_prices": "select listing_id, placed_at as observed_at, any_value(amount / quantity) as price, "
         "any_value(currency) as currency from orders where listing_id is not null group by all"},
    ),
    "counters only": Stranger(CATALOGUE, "starter", {"listing_snapshots": listing_counters(DAY)}),
    "a crawl": Stranger(
        (),
        "starter",
        {
            "merchants": "select merchant_id from merchants",
            "listings": "select listing_id, merchant_id, title, price, currency, listed_at from listings",
            "listing_snapshots": f"select listing_id, timestamp '{DAY} 20:00:00' as observed_at, avg(rating) as rating, "
            "count(*) as review_count from reviews group by all",
        },
    ),
    "labels dated after the newest listing": Stranger(
        (*CATALOGUE, *SALES),
        "ranking",
        {
            "listings": f"select * from {OLDER}",
            "orders": f"select * from orders semi join {OLDER} using (listing_id)",
            "reviews": f"select * from reviews semi join {OLDER} using (listing_id)",
            "moderation_decisions": DECIDED.replace("{at}", "2026-06-29").replace("{count}", "200"),
        },
    ),
}  # fmt: skip
QUICK = ("no labels", "decisions older than any observation")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo marketplace that strangers' tables are made of."""
    folder = tmp_path_factory.mktemp("strangers") / "demo"
    generate(folder, scale=0.003, days=60, seed=21, hardness=1.0)
    return folder


def write_market(demo: Path, folder: Path, stranger: Stranger) -> Path:
    """Writes a stranger's tables and sources file."""
    (folder / "sources").mkdir(parents=True)
    names = dict.fromkeys([*stranger.tables, *stranger.queries])
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        for source in sorted((demo / "sources").glob("*.parquet")):
            connection.read_parquet(str(source)).create_view(source.stem)
        for name in names:
            query = stranger.queries.get(name, f"select * from {name}").replace(
                "{truth}", str(demo / "truth" / "listings.parquet")
            )
            connection.sql(query).write_parquet(str(folder / "sources" / f"{name}.parquet"))
    return write_sources_file(folder, names)


def rated(demo: Path, folder: Path, stranger: Stranger) -> tuple[Path, Outcome]:
    """Runs over a stranger's marketplace; returns the home and how the run ended."""
    home = folder / "home"
    sources = write_market(demo, folder / "market", stranger)
    return home, touchstone(home, "run", "--sources", str(sources), "--approve-if-passing")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in STRANGERS]
)
def test_a_strangers_first_run_ends_with_a_list_of_the_stated_kind(demo: Path, tmp_path: Path, name: str) -> None:
    stranger = STRANGERS[name]
    home, done = rated(demo, tmp_path, stranger)
    message = done.stdout[-4000:] + done.stderr[-4000:]
    assert done.code == 0, message
    (list_folder,) = (home / "published" / "listings").glob("2026-*")
    manifest = json.loads((list_folder / "manifest.json").read_text())
    assert 0 < manifest["row_count"] <= 100, message
    assert manifest["inputs"]["model"]["is_calibrated"] is (stranger.kind == "calibrated"), message
    assert ("listing_counterfeit is off" in message) is (stranger.kind == "starter"), message
    assert ("TOUCHSTONE_SIGHTING_DAYS" in " ".join(message.split())) is ("derived from sales" in name), message
    coverage = json.loads((home / "coverage" / f"as_of={manifest['as_of']}" / "coverage.json").read_text())
    for signal, found in coverage["signals"].items():
        assert f"{signal.capitalize():<11}{found['available']} of {found['features']}" in done.stdout, signal
    for command in (("lists", "show", "listings"), ("audits", "plan", "--size", "50")):
        again = touchstone(home, *command)
        assert again.code == 0, again.stderr


def test_without_audits_the_top_by_capacity_is_listed_and_an_assumed_share_is_the_mean_score(
    demo: Path, tmp_path: Path
) -> None:
    sources = write_market(demo, tmp_path / "market", STRANGERS["labels without audits"])
    for name, share in (("ranked", None), ("assumed", 0.0367)):
        content = yaml.safe_load(POLICY_FILE.read_text())
        if share is not None:
            content["assumed_prevalence"] = {"listings": {"share": share, "source": "audit of May"}}
        policy = tmp_path / f"{name}.yml"
        policy.write_text(yaml.safe_dump(content))
        home = first_run(Settings(home=tmp_path / name, sources=sources, policy=policy)).run.home
        (manifest,) = (home / "published" / "listings").glob("2026-*/manifest.json")
        model = json.loads(manifest.read_text())["inputs"]["model"]
        assert not model["is_calibrated"]
        assert model["assumed_prevalence"] == share
        scores = str(home / "scores" / "listing_counterfeit" / f"as_of={DAY}" / "scores.parquet")
        listed = str(manifest.parent / "listings.parquet")
        ((rows, lowest, skipped, mean),) = duckdb.execute(
            """
            select count(listed.listing_id), min(listed.score), max(scores.score) filter (
                where listed.listing_id is null and scores.own_conduct_score >= least
            ), avg(scores.score)
            from read_parquet($scores) as scores
            left join read_parquet($listed) as listed using (listing_id)
            cross join (select min(own_conduct_score) as least from read_parquet($listed))
            """,
            {"scores": scores, "listed": listed},
        ).fetchall()
        assert 0 < rows <= 100
        assert lowest >= skipped, "somebody who ranks higher, also by their own conduct, is not listed"
        assert mean == pytest.approx(50 if share is None else 100 * share, rel=0.1)
