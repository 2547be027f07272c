"""Every figure of a report matches the marketplace's own tables, counted by other queries than the marts'.

The rated home was rated as of two days; the report of the second must not include later data, and its flags are those
of the first day's lists. The queries below read the demo's sources and the published files, never the marts.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from conftest import FIRST_DAY, LIST_NAMES, NEXT_DAY, Outcome

from expectations.contract import load_contract
from expectations.results import Failure
from ml.registry import Registry
from ml.sampling import prevalence
from tests.publishing_fixtures import gate
from tests.unit.test_dbt_reporters import fitted
from touchstone.casework.reports import definitions, figure_values, read_report, write_report
from touchstone.core.lists import LISTS

AS_OF = date.fromisoformat(NEXT_DAY)
DAY = f"date '{NEXT_DAY}'"
FLAGGED_ON = f"date '{FIRST_DAY}'"

VIEWS = f"""
create view known_notices as
select *, coalesce(decided_at::date <= {DAY}, false) as is_known,
    case when coalesce(decided_at::date <= {DAY}, false) then outcome else 'pending' end as status
from notices where submitted_at::date <= {DAY};
create view known_appeals as
select *, case when coalesce(decided_at::date <= {DAY}, false) then outcome else 'pending' end as status
from appeals where submitted_at::date <= {DAY};
create view won as select entity_kind, entity_id, violation_type, decided_at from known_appeals where status = 'upheld';
create view listing_fakes as
select listing_id, decided_at, 'notice' || notice_id as what from known_notices
where status = 'upheld' and coalesce(kind, 'counterfeit') = 'counterfeit'
union all
select listing_id, decided_at, 'buy' || coalesce(plan_id, test_buy_id) from test_buys
where verdict = 'counterfeit' and decided_at::date <= {DAY}
union all
select entity_id, decided_at, 'decision' from moderation_decisions
where entity_kind = 'listing' and violation_type = 'counterfeit' and verdict = 'fake' and decided_at::date <= {DAY};
create view fakes as
select merchant_id, 'counterfeit' as violation_type, listing_id, decided_at, what
from listing_fakes join listings using (listing_id)
union all
select entity_id, violation_type, null, decided_at, 'decision' from moderation_decisions
where entity_kind = 'merchant' and verdict = 'fake' and decided_at::date <= {DAY}
union all
select merchant_id, 'counterfeit', null, occurred_at, 'action' || coalesce(lead_id, action_id)
from enforcement_actions where occurred_at::date <= {DAY};
create view valid_fakes as
select * from fakes where not exists (
    select 1 from won where won.violation_type = fakes.violation_type and won.decided_at >= fakes.decided_at
    and (won.entity_kind = 'merchant' and won.entity_id = fakes.merchant_id
        or won.entity_kind = 'listing' and won.entity_id = fakes.listing_id)
);
create view banned as
select entity_id as merchant_id, arg_max(kind, occurred_at) as last, max(occurred_at) as banned_at from platform_actions
where entity_kind = 'merchant' and kind in ('ban', 'reinstatement') and occurred_at::date <= {DAY}
group by entity_id having last = 'ban';
create view decided as
select 'listing' as entity_kind, listing_id as entity_id, decided_at, 'counterfeit' as violation_type from known_notices
where status in ('upheld', 'rejected') and coalesce(kind, 'counterfeit') = 'counterfeit'
union all select 'listing', listing_id, decided_at, 'counterfeit' from test_buys
where verdict in ('genuine', 'counterfeit') and decided_at::date <= {DAY}
union all select entity_kind, entity_id, decided_at, violation_type from moderation_decisions where decided_at::date <= {DAY}
union all select entity_kind, entity_id, decided_at, violation_type from known_appeals where status <> 'pending'
union all select 'merchant', merchant_id, decided_at, 'counterfeit' from listing_fakes join listings using (listing_id);
"""
SEEN = "(select merchant_id as entity_id from flagged_merchants)"
AFTER = f"decided_at::date > {FLAGGED_ON}"
EXPECTED = {
    "decisions.notices": "from known_notices where status = 'pending'",
    "decisions.appeals": "from known_appeals where status = 'pending'",
    "notices.submitted_count": "from known_notices",
    "notices.upheld_count": "from known_notices where status = 'upheld'",
    "notices.rejected_count": "from known_notices where status = 'rejected'",
    "reporters.reporter_count": "from (select distinct reporter_id from known_notices where reporter_id is not null)",
    "appeals.appeal_count": "from known_appeals",
    "appeals.decided_count": "from known_appeals where status <> 'pending'",
    "appeals.upheld_count": "from known_appeals where status = 'upheld'",
    "strikes.merchant_count": "from (select distinct merchant_id from valid_fakes)",
    "strikes.strike_count": "from (select distinct merchant_id, violation_type, what, listing_id from valid_fakes)",
    "funnel.flagged": f"from {SEEN}",
    "funnel.reviewed": (
        f"from {SEEN} where entity_id in (select entity_id from decided where entity_kind = 'merchant' "
        f"and violation_type = 'counterfeit' and {AFTER})"
    ),
    "funnel.confirmed": (
        f"from {SEEN} where entity_id in (select merchant_id from fakes where violation_type = 'counterfeit' and {AFTER})"
    ),
    "funnel.acted_on": f"from (select distinct merchant_id from enforcement_actions where occurred_at::date <= {DAY})",
    "funnel.suspects_named": (
        f"from (select distinct merchant_id from enforcement_actions where occurred_at::date <= {DAY} and suspects > 0)"
    ),
    "enforcement.action_count": f"from enforcement_actions where occurred_at::date <= {DAY}",
    "enforcement.merchant_count": f"from (select distinct merchant_id from enforcement_actions where occurred_at::date <= {DAY})",
    "confirmed.merchant_count": "from (select distinct merchant_id from valid_fakes where violation_type = 'counterfeit')",
    "confirmed.banned_count": (
        "from (select distinct merchant_id from valid_fakes where violation_type = 'counterfeit') join banned using (merchant_id)"
    ),
    "banned.merchant_count": "from banned",
    "test_buys.bought_count": f"from test_buys where ordered_at::date between {DAY} - 89 and {DAY}",
    "test_buys.answered_count": (
        f"from test_buys where ordered_at::date between {DAY} - 89 and {DAY} and decided_at::date <= {DAY} "
        "and verdict in ('genuine', 'counterfeit')"
    ),
    "test_buys.counterfeit_count": (
        f"from test_buys where ordered_at::date between {DAY} - 89 and {DAY} and decided_at::date <= {DAY} "
        "and verdict = 'counterfeit'"
    ),
}
"""Each figure as a query over the sources."""


@pytest.fixture(scope="module")
def sources(rated_home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The demo's sources by name, the lists in force as `flagged_<list>` and `listed_<list>`, and the views above."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        for file in (rated_home / "marketplace" / "sources").glob("*.parquet"):
            connection.execute(f"create view {file.stem} as from read_parquet('{file}')")
        for name in LIST_NAMES:
            for prefix, day in (("flagged", FIRST_DAY), ("listed", NEXT_DAY)):
                files = list((rated_home / "published" / name).glob(f"{day}-*/{name}.parquet"))
                assert len(files) == 1
                connection.execute(f"create view {prefix}_{name} as from read_parquet('{files[0]}')")
        connection.execute(VIEWS)
        yield connection


@pytest.fixture(scope="module")
def result(rated_home: Path) -> dict[str, Any]:
    """The report's figures by name."""
    return figure_values(read_report(rated_home, AS_OF)[1])


def count(sources: duckdb.DuckDBPyConnection, query: str) -> Any:
    found = sources.execute(query).fetchone()
    assert found is not None
    return found[0]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_figure_matches_the_sources(sources: duckdb.DuckDBPyConnection, result: dict[str, Any], name: str):
    assert result[name] == count(sources, f"select count(*) {EXPECTED[name]}")


def test_every_figure_is_tested(result: dict[str, Any]):
    others = {
        *(f"lists.{name}.{what}_count" for name in LIST_NAMES for what in ("row", "new", "gone")),
        *("decisions.unreviewed", "decisions.leads", "decisions.models", "decisions.gates"),
        *("notices.decision_days", "notices.takedown_hours", "notices.takedown_hours_p90"),
        *("reporters.prior_share", "reporters.prior_weight", "appeals.overturn_share", "appeals.decision_days"),
        *("enforcement.found_count", "enforcement.suspect_count", "enforcement.seized_value_base"),
        *("cases.case_count", "cases.open_count", "cases.open_amount_base", "funnel.handed_over"),
        *("confirmed.spoofable_account_count", "banned.returned_count"),
        *("test_buys.prevalence_share", "test_buys.prevalence_low", "test_buys.prevalence_high"),
    }
    assert set(EXPECTED) | others == set(result)
    assert set(definitions()[0]) <= set(result)
    assert result["decisions.leads"] > 0  # no lead was handed over yet
    assert result["decisions.models"] == result["decisions.gates"] == 0
    assert {result[name] for name in result if name.startswith("cases.") or name == "funnel.handed_over"} == {0}
    assert any(result[name] for name in ("appeals.upheld_count", "strikes.strike_count"))


@pytest.mark.parametrize("name", LIST_NAMES)
def test_the_figures_of_a_list_match_the_published_list(
    sources: duckdb.DuckDBPyConnection, result: dict[str, Any], name: str
):
    key, now, before = (
        LISTS[name].key,
        f"select {LISTS[name].key} from listed_{name}",
        f"select {LISTS[name].key} from flagged_{name}",
    )
    assert result[f"lists.{name}.row_count"] == count(sources, f"select count(*) from listed_{name}")
    assert result[f"lists.{name}.new_count"] == count(sources, f"select count(*) from ({now} except {before})"), key
    assert result[f"lists.{name}.gone_count"] == count(sources, f"select count(*) from ({before} except {now})")


def test_times_and_shares_match_the_sources(sources: duckdb.DuckDBPyConnection, result: dict[str, Any]):
    days = "date_diff('day', submitted_at::date, decided_at::date)"
    for table in ("notices", "appeals"):
        query = f"select quantile_disc({days}, 0.5) from known_{table} where status <> 'pending'"
        assert result[f"{table}.decision_days"] == count(sources, query)
    hours = sources.execute(
        f"""select date_sub('hour', submitted_at, min(occurred_at)) from known_notices
        join platform_actions on entity_id = listing_id and platform_actions.kind = 'takedown'
            and occurred_at >= submitted_at and occurred_at::date <= {DAY}
        group by notice_id, submitted_at order by 1"""
    ).fetchall()
    assert result["notices.takedown_hours"] == hours[-(-len(hours) // 2) - 1][0]
    assert result["notices.takedown_hours_p90"] == hours[int(np.ceil(len(hours) * 0.9)) - 1][0]
    upheld, decided = result["appeals.upheld_count"], result["appeals.decided_count"]
    assert result["appeals.overturn_share"] == (pytest.approx(upheld / decided, abs=1e-6) if decided else None)


def test_the_prior_of_reporters_is_fitted_to_the_sources(sources: duckdb.DuckDBPyConnection, result: dict[str, Any]):
    judged = sources.execute(
        """select
            count(*) filter (where status = 'upheld' and not undone),
            count(*) filter (where status = 'upheld' and undone or status = 'rejected' and coalesce(reason, '') <> 'duplicate')
        from (
            select *, exists (
                select 1 from won where won.entity_kind = 'listing' and won.entity_id = n.listing_id
                and won.violation_type = 'counterfeit' and won.decided_at > n.decided_at
            ) as undone from known_notices as n
        )
        where reporter_id is not null group by reporter_id"""
    ).fetchall()
    share, weight = fitted(judged)
    assert result["reporters.prior_share"] == pytest.approx(share, abs=1e-5)
    assert result["reporters.prior_weight"] == pytest.approx(weight, abs=1e-4)


def test_prevalence_is_estimated_from_the_test_buys_of_the_sources(
    sources: duckdb.DuckDBPyConnection, result: dict[str, Any]
):
    rows = sources.execute(
        f"""select plan_id || arm, inclusion_probability, decided_at::date <= {DAY}, verdict from test_buys
        where ordered_at::date between {DAY} - 89 and {DAY} order by test_buy_id"""
    ).fetchall()
    _, stratum = np.unique([row[0] for row in rows], return_inverse=True)
    probability = np.array([row[1] for row in rows])
    hit = np.array([bool(row[2]) and row[3] == "counterfeit" for row in rows])
    answered = hit | np.array([bool(row[2]) and row[3] == "genuine" for row in rows])
    rough = prevalence(stratum, probability, np.zeros(len(rows)), hit, answered).share
    found = prevalence(stratum, probability, np.full(len(rows), rough), hit, answered)
    assert [result[f"test_buys.prevalence_{name}"] for name in ("share", "low", "high")] == pytest.approx(
        [found.share, found.low, found.high], abs=1e-6
    )


def test_enforcement_sums_match_the_sources(sources: duckdb.DuckDBPyConnection, result: dict[str, Any]):
    known = f"from enforcement_actions where occurred_at::date <= {DAY}"
    assert count(sources, f"select count(*) {known} and currency <> 'USD'") == 0
    assert result["enforcement.seized_value_base"] == float(
        count(sources, f"select coalesce(sum(seized_value), 0) {known}")
    )
    assert result["enforcement.suspect_count"] == count(sources, f"select coalesce(sum(suspects), 0) {known}")
    assert result["enforcement.found_count"] == 0


def test_unreviewed_entities_have_no_decision_since_they_were_listed(
    sources: duckdb.DuckDBPyConnection, result: dict[str, Any]
):
    def unreviewed(name: str, kind: str, key: str, violation_type: str) -> int:
        of_kind = f"entity_kind = '{kind}' and violation_type = '{violation_type}'"
        looked_at = f"select entity_id from decided where {of_kind} and {AFTER}"
        seen = f"select {key} from flagged_{name}"
        return int(
            count(
                sources,
                f"select count(*) from listed_{name} where not coalesce({key} in ({seen}) and {key} in ({looked_at}), false)",
            )
        )

    entities = sum(
        unreviewed(name, "merchant" if "merchants" in name else "listing", key, violation_type)
        for name, key, violation_type in (
            ("listings", "listing_id", "counterfeit"),
            ("merchants", "merchant_id", "counterfeit"),
            ("brushing_merchants", "merchant_id", "brushing"),
        )
    )
    trades = f"""select count(*) from listed_reviews as now where not coalesce(
        order_id in (select order_id from flagged_reviews)
        and order_id in (select entity_id from decided where entity_kind = 'order' and violation_type = 'brushing'
        and {AFTER}), false)
        and not coalesce(
        review_id in (select review_id from flagged_reviews)
        and review_id in (
            select entity_id from decided where entity_kind = 'review' and violation_type = 'brushing' and {AFTER}
        ), false)"""
    assert result["decisions.unreviewed"] == entities + count(sources, trades)


def test_tables_are_consistent_with_the_figures(rated_home: Path, result: dict[str, Any]):
    tables = read_report(rated_home, AS_OF)[1]["tables"]
    assert set(tables) == set(definitions()[1])

    def total(table: str, column: str, **where: str) -> Any:
        rows = [dict(zip(tables[table]["columns"], row, strict=True)) for row in tables[table]["rows"]]
        return sum(row[column] for row in rows if all(row[name] == value for name, value in where.items()))

    assert total("notices_by_month", "submitted_count") == result["notices.submitted_count"]
    assert total("notices_by_month", "upheld_count") == result["notices.upheld_count"]
    assert total("overturn_rates", "upheld_count", grouped_by="policy") == result["appeals.upheld_count"]
    for stage in ("flagged", "reviewed", "confirmed", "acted_on", "suspects_named"):
        found = total("funnel", "entity_count", stage=stage, entity_kind="merchant", violation_type="counterfeit")
        assert found == result[f"funnel.{stage}"]
    for table in ("enforcement_by_month", "enforcement_by_brand", "seized_by_currency"):
        assert total(table, "action_count") == result["enforcement.action_count"]
        assert total(table, "seized_value_base") == pytest.approx(result["enforcement.seized_value_base"])
    assert total("lists_by_day", "row_count", as_of_date=NEXT_DAY) == sum(
        result[f"lists.{name}.row_count"] for name in LIST_NAMES
    )


def test_monthly_tables_sum_to_their_details(rated_home: Path):
    marts = {path.name: next(path.glob(f"as_of={NEXT_DAY}/*.parquet")) for path in (rated_home / "marts").iterdir()}
    for months, whole, counted in (
        ("funnel_months", "funnel", "entity_count"),
        ("enforcement_months", "enforcement_results", "action_count"),
    ):
        summed = duckdb.execute(f"select sum({counted}) from '{marts[months]}'").fetchone()
        assert summed == duckdb.execute(f"select count(*) from '{marts[whole]}'").fetchone()
    assert duckdb.execute(f"select count(*) from '{marts['funnel']}' where stage = 'flagged'").fetchone() != (0,)


# The files, and the commands -------------------------------------------------------------------------------------------


def test_reports_are_deterministic_and_the_page_is_rendered_from_the_json(rated_home: Path, tmp_path: Path):
    home = tmp_path / "home"
    shutil.copytree(rated_home, home, ignore=shutil.ignore_patterns("landing", "marketplace", "features", "dagster"))
    folder = home / "reports" / f"as_of={NEXT_DAY}"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"report.html", "report.json"}
    pictures = write_report(home, AS_OF)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    page = before["report.html"].decode()
    assert json.loads(before["report.json"])["previous"] == FIRST_DAY
    assert f"Changes since {FIRST_DAY}" in page
    assert page.count("<img") == len(pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_command_prints_the_report_and_its_path(run_touchstone: Callable[..., Outcome], home: Path):
    printed = run_touchstone("report")
    assert printed.code == 0, printed.stderr
    assert f"{home}/reports/as_of={NEXT_DAY}/report.html" in printed.stdout
    assert run_touchstone("report", "--as-of", FIRST_DAY, "--json").json["as_of"] == FIRST_DAY
    for wrong in (
        ("--as-of", "2026-06-01"),
        ("--from", "2026-06-01"),
        ("--public",),
        ("--public", "--as-of", NEXT_DAY),
    ):
        refused = run_touchstone("report", *wrong)
        assert refused.code == 2, wrong
        assert "Traceback" not in refused.stderr


def test_the_public_report_reconciles_and_contains_no_names(
    run_touchstone: Callable[..., Outcome], home: Path, sources: duckdb.DuckDBPyConnection
):
    period = ("--public", "--from", "2026-04-01", "--to", NEXT_DAY)
    shown = run_touchstone("report", *period, "--json").json
    within = f"between date '2026-04-01' and {DAY}"
    received = count(sources, f"select count(*) from known_notices where submitted_at::date {within}")
    assert shown["notices"]["received"] == received >= 5
    actions = count(sources, f"select count(*) from enforcement_actions where occurred_at::date {within}")
    assert shown["enforcement"]["actions"] == (actions if actions >= 5 or not actions else "<5")
    appeals = count(sources, f"select count(*) from known_appeals where submitted_at::date {within}")
    assert shown["appeals"]["received"] == (appeals if appeals >= 5 or not appeals else "<5")
    file = home / "public.md"
    written = run_touchstone("report", *period, "--to-file", str(file))
    assert written.code == 0, written.stderr
    text = file.read_text() + json.dumps(shown)
    words = set(re.findall(r"[\w.-]+", text))
    for table, definition in load_contract().tables.items():
        columns = [name for name, column in definition.columns.items() if column.personal or name.endswith("_id")]
        path = home / "marketplace" / "sources" / f"{table}.parquet"
        for column in columns if path.exists() else ():
            held = sources.execute(
                f"select distinct cast({column} as varchar) from {table} where {column} is not null"
            ).fetchall()
            assert words.isdisjoint(value for (value,) in held), (table, column)
    backwards = run_touchstone("report", "--public", "--from", NEXT_DAY, "--to", FIRST_DAY)
    assert (backwards.code, "is after" in backwards.stderr) == (2, True)
    unrated = run_touchstone("report", "--public", "--from", FIRST_DAY, "--to", "2026-06-20")
    assert (unrated.code, "no mart" in unrated.stderr) == (2, True)


# Dependencies ----------------------------------------------------------------------------------------------------


def test_the_report_is_the_last_stage_of_a_run(rated_home: Path):
    """It covers the day's lists, so it has to come after they are published or refused."""
    records = [json.loads(file.read_text()) for file in (rated_home / "runs").glob("*.json")]
    assert [record["stages"][-1]["name"] for record in records] == ["report"] * len(records)
    assert records


def test_a_refused_gate_is_reported(home: Path):
    file = home / "gates" / "2026-06-29" / "candidate-listings.json"
    file.parent.mkdir()
    failure = Failure(
        expectation="few",
        table="listings",
        column=None,
        observed="9",
        limit="5",
        severity="critical",
        message="too many",
    )
    file.write_text(json.dumps(gate("candidate", "a" * 64, failures=[failure]).as_dict()))
    write_report(home, AS_OF)
    result = read_report(home, AS_OF)[1]
    assert figure_values(result)["decisions.gates"] == 1
    assert result["tables"]["refused_gates"]["rows"] == [["2026-06-29", "candidate-listings", "too many"]]
    write_report(home, date.fromisoformat(FIRST_DAY))
    assert figure_values(read_report(home, date.fromisoformat(FIRST_DAY))[1])["decisions.gates"] == 0


def test_a_model_without_a_decision_is_reported_until_it_has_one(home: Path):
    registry = Registry(home)
    log = home / "models" / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    trained = [number for number, line in enumerate(lines) if json.loads(line)["action"] == "train"]
    log.write_text("".join(lines[: trained[-1] + 1]))
    model = registry.approvals.decisions()[-1].model
    write_report(home, AS_OF)
    result = read_report(home, AS_OF)[1]
    assert result["tables"]["models_waiting"]["rows"][-1][0] == model
    log.write_text("".join(lines))
    write_report(home, AS_OF)
    assert figure_values(read_report(home, AS_OF)[1])["decisions.models"] == 0
