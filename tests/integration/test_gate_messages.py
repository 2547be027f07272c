"""Gates and errors of a first day: each refuses, passes where it should, and says which setting or command leads on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from expectations.runner import run_suite
from tests.expectations_fixtures import GOOD
from tests.landing_fixtures import CONTRACT, LISTINGS, MERCHANTS, Landed, Market
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.home import Home
from touchstone.core.last_run import what_is_missing
from touchstone.core.run_record import Outcome, RunRecord
from touchstone.core.settings import POLICY_FILE, Settings
from touchstone.landing.acceptances import accept_load, read_acceptances
from touchstone.landing.ledger import Ledger
from touchstone.publishing.manifest import Loads
from touchstone.publishing.policy import load_policy
from touchstone.publishing.read import read_list


def _flagged_gate(folder: Path, rated: int, flagged: int) -> str | None:
    """Returns the refusal of the gate on scores where so many of the rated entities are flagged, or None if it passes."""
    folder.mkdir(exist_ok=True)
    case = GOOD["scores"].parameters
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "create table scores as select 'l' || i as listing_id, if(i < $flagged, 60, 1) + i / 1e6 as score, "
            "50.0 as own_conduct_score, 0.1 as margin, 'champion' as model_digest from range($rated) as r(i)",
            {"flagged": flagged, "rated": rated},
        )
        connection.table("scores").write_parquet(str(folder / "scores.parquet"))
        connection.sql("select listing_id from scores").write_parquet(str(folder / "features.parquet"))
    files = {name: [folder / f"{name}.parquet"] for name in ("scores", "features")}
    result = run_suite("scores", files, {**case, "previous_mean_score": None, "prevalence": None})
    refused = [failure.message for failure in result.failures if failure.severity == "critical"]
    return "\n".join(refused) or None


@pytest.mark.parametrize(
    ("rated", "flagged", "passes"),
    [
        (415, 43, True),  # 10.4 % of a small marketplace, which the share alone refused
        (415, 59, True),
        (415, 60, False),
        (20, 6, True),
        (20, 7, False),
        (100_000, 10_284, True),
        (100_000, 10_285, False),  # three standard deviations are 0.3 points among so many
        (100_000, 40_000, False),
    ],
)
def test_few_are_flagged_allows_for_chance_in_small_marketplaces(
    rated: int, flagged: int, *, passes: bool, tmp_path: Path
) -> None:
    refused = _flagged_gate(tmp_path / "files", rated, flagged)
    assert (refused is None) == passes, refused
    assert (flagged <= load_policy(POLICY_FILE).max_flagged(rated)) == passes, "a trial judges as the gate does"
    if refused is not None:
        assert "few_are_flagged" in refused
        assert "raise `max_flagged_share` in the policy file (TOUCHSTONE_POLICY)" in refused
        assert "touchstone policies try FILE" in refused


def test_a_sources_file_without_a_merchant_of_the_home_is_refused_as_another_marketplace(tmp_path: Path) -> None:
    market = Market(tmp_path, {"merchants": MERCHANTS, "listings": LISTINGS})
    market.land()
    before = Ledger(market.landing).lines()
    others = {"merchant_id": "'x' || merchant_id as merchant_id"}["merchant_id"]
    market.tables = {
        "merchants": f"select * replace ({others}) from ({MERCHANTS})",
        "listings": f"select * replace ({others}) from ({LISTINGS})",
    }
    with pytest.raises(BadInputError) as refused:
        market.land(days=1)
    message = str(refused.value)
    assert "is another marketplace than the home's: none of its" in message
    assert message.count("tiny: parquet source/merchants.parquet") == 2, "names both"
    assert "TOUCHSTONE_HOME" in message
    assert Ledger(market.landing).lines() == before


def test_a_sources_file_that_shares_one_merchant_lands(tmp_path: Path) -> None:
    market = Market(tmp_path, {"merchants": MERCHANTS, "listings": LISTINGS})
    market.land()
    renamed = "if(merchant_id = 'm1', 'm1', 'x' || merchant_id) as merchant_id"
    market.tables = {name: f"select * replace ({renamed}) from ({query})" for name, query in market.tables.items()}
    assert {record.status for record in market.land(days=1).values()} == {"accepted"}


@pytest.mark.parametrize("outcome", ["refused", "failed"])
def test_after_a_run_a_command_repeats_its_messages(outcome: Outcome, tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(BadInputError, match=r"List listings is not published yet\. Run `touchstone run`\."):
        read_list(home.published, "listings")
    record = RunRecord.start(home.runs, "abc")
    assert "Run `touchstone run`" in what_is_missing(tmp_path, "Run `touchstone run`."), "it has not ended"
    record.end(outcome, "tables.listings is required, and the file does not map it.")
    with pytest.raises(BadInputError) as refused:
        read_list(home.published, "listings")
    assert "tables.listings is required, and the file does not map it." in str(refused.value)
    assert f"The last run (abc, {record.started_at[:10]}) ended as {outcome} with these messages:" in str(refused.value)
    assert "touchstone run" not in str(refused.value)


def test_after_a_run_that_rated_without_a_model_a_command_says_that_it_is_off(tmp_path: Path) -> None:
    record = RunRecord.start(Home(tmp_path).runs, "abc")
    record.facts["notes"] = ["listing_counterfeit is off: 0 labelled positives"]
    record.end("done")
    with pytest.raises(BadInputError, match="listing_counterfeit is off: 0 labelled positives"):
        read_list(Home(tmp_path).published, "listings")


def test_an_invalid_policy_is_refused_before_anything_lands(tmp_path: Path) -> None:
    from orchestration.pipeline import run_pipeline

    policy = tmp_path / "policy.yml"
    policy.write_text(POLICY_FILE.read_text().replace("max_flagged_share", "max_flaged_share"))
    settings = Settings(home=tmp_path / "home", policy=policy)
    with pytest.raises(BadInputError, match=r"max_flaged_share: unknown key\. Write max_flagged_share"):
        run_pipeline(settings)
    assert not (tmp_path / "home").exists()


def _volume_gate(market: Market) -> str | None:
    """Returns what the gate on landed tables refuses of a marketplace's loads as to their volume, or None."""
    from orchestration.checks import load_rows

    run = Landed(market.landing, market.pins(), Ledger(market.landing).read())
    rows = load_rows(run)
    files = {
        table: [path for load in loads for path in load.paths(market.landing)]
        for table, loads in run.pins.current.items()
    }
    result = run_suite("landed", files, {"as_of": date(2026, 6, 6), "loads": rows})
    return "\n".join(failure.message for failure in result.failures if "volume" in failure.expectation) or None


def test_a_load_that_the_volume_gate_refused_can_be_accepted_once(tmp_path: Path) -> None:
    market = Market(tmp_path, {"merchants": MERCHANTS, "listings": LISTINGS})
    market.land()
    now, why = datetime(2026, 6, 9, tzinfo=UTC), "closed shops were removed"
    with pytest.raises(BadInputError, match=r"it has 6 rows, and there is no load before\. There is nothing to accept"):
        accept_load(market.landing, CONTRACT, "listings", who="Ann", why=why, now=now)
    market.tables["listings"] = f"select * from ({LISTINGS}) where listing_id in ('l1', 'l2')"
    load = market.land(days=1)["listings"]
    refused = _volume_gate(market)
    assert refused is not None
    assert "volume_holds (listings)" in refused
    assert "observed 2 rows, allowed at least 3 rows" in refused
    assert 'accept this load with `touchstone sources accept TABLE --why "…"`' in refused
    with pytest.raises(BadInputError, match="--why is empty"):
        accept_load(market.landing, CONTRACT, "listings", who="Ann", why=" ", now=now)
    line = accept_load(market.landing, CONTRACT, "listings", who="Ann", why=why, now=now)
    assert (line.load_id, line.row_count, line.previous_row_count) == (load.load_id, 2, 6)
    assert read_acceptances(market.landing) == [line]
    assert _volume_gate(market) is None
    market.land(days=2)
    assert _volume_gate(market) is None, "the same content again"
    market.tables["listings"] = f"select * from ({LISTINGS}) where false"
    assert market.land(days=3)["listings"].status == "refused", "the contract's checks hold as before"
    with pytest.raises(BadInputError, match="No load of orders is in use"):
        accept_load(market.landing, CONTRACT, "orders", who="Ann", why=why, now=now)


def test_the_log_of_acceptances_is_hash_chained(tmp_path: Path) -> None:
    market = Market(tmp_path, {"merchants": MERCHANTS, "listings": LISTINGS})
    market.land()
    market.tables["listings"] = f"select * from ({LISTINGS}) limit 1"
    market.land(days=1)
    accept_load(market.landing, CONTRACT, "listings", who="Ann", why="cut", now=datetime(2026, 6, 9, tzinfo=UTC))
    log = market.landing / "ledger" / "acceptances.jsonl"
    log.write_text(log.read_text().replace('"cut"', '"set"') * 2)
    with pytest.raises(VerificationError, match="hash chain is broken"):
        read_acceptances(market.landing)


def test_a_table_that_grew_tenfold_warns(tmp_path: Path) -> None:
    market = Market(tmp_path, {"merchants": MERCHANTS, "listings": f"select * from ({LISTINGS}) limit 1"})
    market.land()
    market.tables["listings"] = (
        f"select l.* replace (l.listing_id || j as listing_id) from ({LISTINGS}) as l, range(2) as r(j)"
    )
    market.land(days=1)
    warned = _volume_gate(market)
    assert warned is not None
    assert "volume_does_not_explode (listings)" in warned
    assert "observed 12 rows, allowed at most 10 rows" in warned


def test_a_manifest_names_accepted_loads_and_is_unchanged_without_any() -> None:
    plain = Loads(digest="d", tables={"listings": ("a",)})
    assert plain.model_dump(mode="json") == {"digest": "d", "tables": {"listings": ["a"]}}
    accepted = Loads(digest="d", tables={"listings": ("a",)}, accepted={"listings": "closed shops were removed"})
    dumped = accepted.model_dump(mode="json")
    assert dumped["accepted"] == {"listings": "closed shops were removed"}
    assert Loads.model_validate(dumped) == accepted
