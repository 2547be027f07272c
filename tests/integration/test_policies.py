"""A policy's terms in the real pipeline: a trial predicts the list of a run, and gates enforce the terms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import FIRST_DAY, NEXT_DAY, Homes, Outcome, touchstone
from test_gates import dagster_run, policy_with, rewrite

from touchstone.publishing.policy import load_policy

LIST, KEY = "listings", "listing_id"


def latest(home: Path) -> str:
    return (home / "published" / LIST / "LATEST").read_text().strip()


def rows(home: Path, version: str) -> list[dict[str, Any]]:
    return pq.read_table(home / "published" / LIST / version / f"{LIST}.parquet").to_pylist()


def manifest(home: Path, version: str) -> dict[str, Any]:
    return json.loads((home / "published" / LIST / version / "manifest.json").read_bytes())


def printed(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def terms_for(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns terms: a capacity for the largest category, an action for one brand, a higher threshold for the rest."""
    category = Counter(row["category"] for row in listed).most_common(1)[0][0]
    brand = next(row["brand"] for row in listed if row["category"] != category and row["brand"])
    scores = sorted(row["score"] for row in listed)
    return [
        {"list": LIST, "category": category.partition("/")[0], "capacity": 1, "action": "test_buy"},
        {"list": LIST, "brand": brand.upper(), "threshold": 2, "corroboration": 2, "action": "remove"},
        {"list": LIST, "threshold": scores[len(scores) // 2]},
    ]


@pytest.fixture
def policy(homes: Homes, home: Path, tmp_path: Path) -> Path:
    """The policy of the homes, with terms."""
    return Path(policy_with(homes.policy, tmp_path, terms=terms_for(rows(home, latest(home)))))


def test_a_policy_trial_matches_the_list_of_the_next_run_and_its_diff(
    home: Path, policy: Path, run_touchstone: Callable[..., Outcome]
):
    before = latest(home)
    tried = printed(run_touchstone("policies", "try", str(policy), "--json"))
    days = {(day["list_name"], day["as_of"]): day for day in tried["days"]}
    assert {date for _, date in days} == {FIRST_DAY, NEXT_DAY}
    assert days[LIST, NEXT_DAY]["is_current_policy"] is True
    assert days[LIST, NEXT_DAY]["in_force"]["listed"] == days[LIST, NEXT_DAY]["published"] == len(rows(home, before))

    done = run_touchstone("run", "--as-of", NEXT_DAY, TOUCHSTONE_POLICY=str(policy))
    assert done.code == 0, done.stdout + done.stderr
    after = latest(home)
    result, listed = manifest(home, after), rows(home, after)
    trial, changes = days[LIST, NEXT_DAY], printed(run_touchstone("lists", "diff", LIST, before, after, "--json"))
    assert (trial["tried"]["listed"], trial["added"], trial["dropped"]) == (
        len(listed), len(changes["added"]), len(changes["removed"]),
    )  # fmt: skip
    assert trial["dropped"] > 0
    assert {row["entity_id"] for row in trial["examples"]["dropped"]} <= set(changes["removed"])
    assert trial["unexplained"] == 0 or trial["tried"]["held"]["corroboration"] >= trial["unexplained"]
    assert {name: count for name, count in result["held"].items() if count} == trial["tried"]["held"]

    assert result["policy"] == load_policy(policy).digest
    assert [term["action"] for term in result["terms"]] == ["test_buy", "remove", "review", "review"]
    assert result["flagged_count"] == result["row_count"] + sum(result["held"].values()) == trial["tried"]["flagged"]
    assert (changes["policy"]["before"], changes["policy"]["after"]) == (
        manifest(home, before)["policy"],
        result["policy"],
    )
    assert len(changes["policy"]["terms_after"]) == 3
    assert {cause["cause"] for cause in changes["causes"]} == {"terms"}
    assert len(changes["causes"]) == trial["added"] + trial["dropped"]

    by_action = Counter(row["action"] for row in listed)
    assert by_action["test_buy"] == 1
    assert result["held"]["capacity"] > 0
    top = result["terms"][0]["category"]
    capped = [row for row in listed if f"{row['category']}/".startswith(f"{top}/")]
    assert {row["action"] for row in capped} == {"test_buy"}
    for row in listed:
        if row["action"] == "remove":
            assert len({reason["signal"] for reason in json.loads(row["reasons"]) if reason["effect"] > 0}) >= 2


def test_a_gate_refuses_a_list_that_violates_its_terms(
    home: Path, policy: Path, run_touchstone: Callable[..., Outcome]
):
    done = run_touchstone("run", "--as-of", NEXT_DAY, TOUCHSTONE_POLICY=str(policy))
    assert done.code == 0, done.stdout + done.stderr
    in_force = latest(home)
    mart = home / "marts" / "rated_listings" / f"as_of={NEXT_DAY}" / "rated_listings.parquet"
    rewrite(mart, "select * replace (case when held_by <> 'capacity' then held_by end as held_by) from t")
    refused = dagster_run(home, "publish", NEXT_DAY, TOUCHSTONE_POLICY=str(policy))
    assert refused.returncode != 0
    verdicts = [json.loads(file.read_text()) for file in (home / "candidates" / LIST).glob("*/verdict.json")]
    failed = {failure["expectation"] for verdict in verdicts for failure in verdict["gates"]["candidate"]["failures"]}
    assert "list_keeps_within_capacity" in failed
    assert latest(home) == in_force


def test_a_suppressed_row_is_counted_and_returns_when_its_suppression_expires(
    home: Path, homes: Homes, run_touchstone: Callable[..., Outcome]
):
    listed = rows(home, latest(home))
    first = rows(homes.rated, latest(homes.rated))
    entity = min({row[KEY] for row in listed} & {row[KEY] for row in first})
    added = run_touchstone(
        "suppress", "add", "listing", entity, "--why", "cleared", "--from", FIRST_DAY, "--until", NEXT_DAY
    )
    assert added.code == 0, added.stderr
    for day in (FIRST_DAY, NEXT_DAY):
        done = run_touchstone("run", "--as-of", day)
        assert done.code == 0, done.stdout + done.stderr
    history = [
        json.loads(line)["version"] for line in (home / "published" / LIST / "history.jsonl").read_text().splitlines()
    ]
    before, after = history[-2:]
    assert [version[:10] for version in (before, after)] == [FIRST_DAY, NEXT_DAY]
    assert entity not in {row[KEY] for row in rows(home, before)}
    suppressed = [manifest(home, version)["held"]["suppression"] for version in (before, after)]
    assert suppressed[0] == suppressed[1] + 1, suppressed
    found = printed(run_touchstone("lists", "diff", LIST, before, after, "--json"))
    message = {cause["entity_id"]: (cause["cause"], cause["description"]) for cause in found["causes"]}
    assert message[entity] == ("suppression", f"its suppression expired on {NEXT_DAY}")
    assert found["policy"] is None


def test_an_invalid_policy_is_refused_with_line_numbers_and_changes_nothing(
    home: Path, tmp_path: Path, run_touchstone: Callable[..., Outcome]
):
    broken = tmp_path / "broken.yml"
    broken.write_text("target_precision: 90\naction: burn\nlists: [listings]\n")
    before = latest(home)
    for command in (("policies", "check"), ("policies", "try")):
        refused = run_touchstone(*command, str(broken))
        assert refused.code == 2
        assert all(part in refused.stderr for part in (str(broken), "line 1: target_precision", "line 2: action"))
    refused = run_touchstone("run", "--as-of", NEXT_DAY, TOUCHSTONE_POLICY=str(broken))
    assert refused.code == 2
    assert "line 2: action: invalid value 'burn'" in refused.stderr
    assert latest(home) == before


def test_dates_and_lists_that_cannot_be_tried_are_reported(
    home: Path, homes: Homes, tmp_path: Path, run_touchstone: Callable[..., Outcome]
):
    policy = policy_with(homes.policy, tmp_path, lists=[LIST])
    checked = printed(run_touchstone("policies", "check", policy, "--json"))
    assert (checked["lists"], checked["digest"]) == ([LIST], load_policy(Path(policy)).digest)
    mart = home / "marts" / "rated_merchants" / f"as_of={NEXT_DAY}" / "rated_merchants.parquet"
    rewrite(mart, "select * exclude (signal_count) from t")
    wide = printed(run_touchstone("policies", "try", policy, "--from", "2026-06-10", "--to", "2026-07-02", "--json"))
    assert {FIRST_DAY, NEXT_DAY} & set(wide["not_rated"]) == set()
    assert {"2026-06-10", "2026-07-02"} <= set(wide["not_rated"])
    assert any(
        result.startswith(f"merchants as of {NEXT_DAY}: it was rated by a version of Touchstone")
        for result in wide["not_tried"]
    )
    other = [day for day in wide["days"] if day["list_name"] == "merchants"]
    assert other
    assert all(day["tried"]["listed"] == 0 and day["dropped"] == day["in_force"]["listed"] for day in other)
    message = run_touchstone("policies", "try", policy, "--from", "2026-06-10", "--to", "2026-07-02")
    assert "Not rated: 2026-06-10" in message.stdout
    assert "Not tried: merchants" in message.stdout
    none = run_touchstone("policies", "try", policy, "--from", "2025-01-01", "--to", "2025-01-02")
    assert (none.code, "No date from 2025-01-01 to 2025-01-02 is rated" in none.stderr) == (2, True)


def test_a_policy_cannot_be_tried_in_a_home_without_rated_days(tmp_path: Path, homes: Homes):
    refused = touchstone(tmp_path / "empty", "policies", "try", str(homes.policy))
    assert (refused.code, "No day is rated" in refused.stderr) == (2, True)


def test_explicit_default_terms_give_the_same_lists(
    homes: Homes, tmp_path: Path, run_touchstone: Callable[..., Outcome]
):
    spelled = yaml.safe_load(homes.policy.read_text())
    terms = [
        {"list": name, "target_precision": spelled["target_precision"], "action": "review"} for name in spelled["lists"]
    ]
    tried = printed(run_touchstone("policies", "try", policy_with(homes.policy, tmp_path, terms=terms), "--json"))
    assert {(day["added"], day["dropped"], day["other_action"]) for day in tried["days"]} == {(0, 0, 0)}
    assert sum(day["tried"]["listed"] for day in tried["days"]) > 0
