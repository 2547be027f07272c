"""The definition and ranking of leads, and the identity of leads from one day to the next."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.leads_fixtures import DAY, Made, Merchant, make_leads, worth
from touchstone.casework.leads import (
    connected_merchants,
    leads_folder,
    mart_file,
    problems,
    read_leads,
)
from touchstone.cli.common import parse_time
from touchstone.cli.leads import render_lead, render_leads
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError
from touchstone.core.lists import LISTS

DAYS = [DAY + dt.timedelta(days=number) for number in range(4)]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def shop(name: str, harm: int = 100, **more: Any) -> Merchant:
    return worth(Merchant(name, **more), harm)


def ring(name: str, *members: str, harm: int = 100) -> list[Merchant]:
    return [shop(member, harm, ring=name) for member in members]


def leads_by_members(made: Made, day: dt.date) -> dict[frozenset[str], dict[str, Any]]:
    """Returns the leads as of a day by their members."""
    leads = read_leads(made.home, day)
    members: dict[str, set[str]] = {}
    for row in leads.merchants.to_pylist():
        members.setdefault(row["lead_id"], set()).add(row["merchant_id"])
    return {frozenset(members[lead["lead_id"]]): lead for lead in leads.current()}


def lead_of(made: Made, day: dt.date, *members: str) -> dict[str, Any]:
    return leads_by_members(made, day)[frozenset(members)]


def changes(made: Made, day: dt.date, lead_id: str) -> list[str]:
    return [row["change"] for row in read_leads(made.home, day).lead(lead_id)["history"]]


def test_rings_and_merchants_outside_one_are_leads_by_harm(made: Made) -> None:
    counts = made.find([*ring("a", "a", "b", harm=10), shop("c", 50), shop("d", 5)])
    assert counts == {"ring leads": 1, "merchant leads": 2, "service leads": 0}
    found = read_leads(made.home).current()
    assert [(lead["rank"], lead["kind"], lead["expected_harm_base"]) for lead in found] == [
        (1, "merchant", 50), (2, "ring", 20), (3, "merchant", 5),
    ]  # fmt: skip


def test_a_ring_without_listed_members_is_no_lead(made: Made) -> None:
    quiet = [Merchant(name, score=1, ring="a") for name in ("a", "b")]
    assert made.find([*quiet, shop("c")])["ring leads"] == 0


def test_a_ring_with_a_single_listed_listing_is_a_lead(made: Made) -> None:
    assert made.find([shop("a", score=1, ring="a"), Merchant("b", score=1, ring="a")])["ring leads"] == 1


def test_flagged_merchants_that_share_a_rare_value_are_one_lead(made: Made) -> None:
    merchants = [shop("a"), shop("b"), shop("c")]
    made.find(merchants, ties=[("a", "b")])
    assert set(leads_by_members(made, DAY)) == {frozenset("ab"), frozenset("c")}
    made.find(merchants, ties=[("a", "b")], bearer_count=6)
    assert set(leads_by_members(made, DAY)) == {frozenset("a"), frozenset("b"), frozenset("c")}


def test_a_service_with_listed_transactions_is_a_lead_and_shares_merchants_with_others(made: Made) -> None:
    served = [shop("a", service="s"), shop("b", score=1, service="s")]
    assert made.find(served)["service leads"] == 0
    served = [shop("a", service="s", brushing_score=90), shop("b", score=1, service="s")]
    assert made.find(served) == {"ring leads": 0, "merchant leads": 1, "service leads": 1}


def test_a_refused_list_makes_no_leads_and_existing_ones_are_kept(made: Made) -> None:
    made.find([shop("a")])
    before = {path.name: path.read_bytes() for path in leads_folder(made.home, DAY).iterdir()}
    made.rate([shop("a"), shop("b")], lists=("merchants", "reviews", "brushing_merchants"))
    with pytest.raises(GateRefusedError, match="list listings of 2026-06-30 is not published from its latest ratings"):
        make_leads(made.home, DAY, tuple(LISTS))
    assert {path.name: path.read_bytes() for path in leads_folder(made.home, DAY).iterdir()} == before


def test_a_list_that_is_off_is_ignored(made: Made) -> None:
    made.rate([shop("a"), shop("b", score=1, brushing_score=90)], lists=("brushing_merchants",))
    make_leads(made.home, DAY, ("brushing_merchants",))
    found = leads_by_members(made, DAY)
    assert set(found) == {frozenset("b")}
    assert found[frozenset("b")]["expected_harm_base"] == 0


def test_the_same_marts_give_the_same_bytes(made: Made, tmp_path: Path) -> None:
    merchants = [*ring("a", "a", "b"), shop("c"), shop("d", service="d", brushing_score=70)]
    made.find(merchants)
    first = {path.name: path.read_bytes() for path in leads_folder(made.home, DAY).iterdir()}
    make_leads(made.home, DAY, tuple(LISTS))
    other = Made(tmp_path / "other")
    other.find(merchants)
    for home in (made.home, other.home):
        assert {path.name: path.read_bytes() for path in leads_folder(home, DAY).iterdir()} == first


def test_a_ring_that_grows_and_shrinks_is_the_same_lead_with_a_history(made: Made) -> None:
    made.find(ring("a", "a", "b"), day=DAYS[0])
    made.find(ring("a", "a", "b", "c"), day=DAYS[1])
    made.find(ring("b", "b", "c"), day=DAYS[2])
    lead = lead_of(made, DAYS[2], "b", "c")
    assert lead["lead_id"] == lead_of(made, DAYS[0], "a", "b")["lead_id"]
    assert lead["since_date"] == DAYS[0]
    assert changes(made, DAYS[2], lead["lead_id"]) == ["found", "grew", "shrank"]
    assert read_leads(made.home, DAYS[2]).lead(lead["lead_id"])["history"][1]["joined_merchants"] == ["c"]


def test_a_merchant_found_in_a_ring_later_is_the_same_lead(made: Made) -> None:
    made.find([shop("b")], day=DAYS[0])
    made.find(ring("a", "a", "b"), day=DAYS[1])
    assert lead_of(made, DAYS[1], "a", "b")["lead_id"] == lead_of(made, DAYS[0], "b")["lead_id"]


def test_a_split_lead_keeps_its_id_in_the_part_with_most_harm(made: Made) -> None:
    made.find([*ring("a", "a", "b", harm=10), *ring("a", "c", "d", harm=30)], day=DAYS[0])
    made.find([*ring("a", "a", "b", harm=10), *ring("c", "c", "d", harm=30)], day=DAYS[1])
    whole = lead_of(made, DAYS[0], "a", "b", "c", "d")["lead_id"]
    assert lead_of(made, DAYS[1], "c", "d")["lead_id"] == whole
    other = lead_of(made, DAYS[1], "a", "b")
    assert (other["split_from"], other["since_date"]) == (whole, DAYS[1])
    assert changes(made, DAYS[1], other["lead_id"]) == ["split"]


def test_merged_leads_continue_as_the_one_with_most_harm(made: Made) -> None:
    made.find([*ring("a", "a", "b", harm=10), *ring("c", "c", "d", harm=30)], day=DAYS[0])
    made.find([*ring("a", "a", "b", harm=10), *ring("a", "c", "d", harm=30)], day=DAYS[1])
    lesser, greater = (lead_of(made, DAYS[0], *pair)["lead_id"] for pair in ("ab", "cd"))
    assert lead_of(made, DAYS[1], "a", "b", "c", "d")["lead_id"] == greater
    gone = read_leads(made.home, DAYS[1]).lead(lesser)
    assert (gone["status"], gone["merged_into"], gone["merchants"]) == ("merged", greater, [])


def test_an_ended_lead_returns_with_the_same_id(made: Made) -> None:
    made.find([shop("a"), shop("b")], day=DAYS[0])
    made.find([shop("b")], day=DAYS[1])
    made.find([shop("a"), shop("b")], day=DAYS[2])
    lead_id = lead_of(made, DAYS[0], "a")["lead_id"]
    assert read_leads(made.home, DAYS[1]).lead(lead_id)["status"] == "ended"
    assert lead_of(made, DAYS[2], "a")["lead_id"] == lead_id
    assert changes(made, DAYS[2], lead_id) == ["found", "ended", "returned"]


def test_a_lead_follows_the_greatest_earlier_date_and_not_the_latest_build(made: Made) -> None:
    made.find(ring("a", "a", "b"), day=DAYS[1])
    made.find(ring("a", "a", "b", "c"), day=DAYS[3])
    made.find(ring("a", "a", "b"), day=DAYS[0])
    made.find(ring("a", "a", "b"), day=DAYS[2])
    assert lead_of(made, DAYS[2], "a", "b")["lead_id"] == lead_of(made, DAYS[1], "a", "b")["lead_id"]
    assert lead_of(made, DAYS[0], "a", "b")["lead_id"] != lead_of(made, DAYS[1], "a", "b")["lead_id"]


def test_modified_leads_are_reported_and_not_used_for_later_days(made: Made) -> None:
    made.find([shop("a")], day=DAYS[0])
    assert list(problems(made.home)) == []
    file = leads_folder(made.home, DAYS[0]) / "leads.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    assert ["leads.parquet was changed after it was written" in problem for problem in problems(made.home)] == [True]
    with pytest.raises(VerificationError, match="was changed after it was written"):
        made.find([shop("a")], day=DAYS[1])
    assert not leads_folder(made.home, DAYS[1]).exists()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_leads_are_written_atomically_on_a_full_disk_and_rebuilt_identically(
    made: Made, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    made.find([shop("a")], day=DAYS[0])
    with monkeypatch.context() as armed:
        armed.setenv("TOUCHSTONE_FAULT", f"leads.write:{moment}:enospc")
        with pytest.raises(OSError, match="No space left"):
            made.find([shop("a")], day=DAYS[1])
    assert list(problems(made.home)) == []
    assert leads_folder(made.home, DAYS[1]).exists() == (moment == "after")
    made.find([shop("a")], day=DAYS[1])
    assert lead_of(made, DAYS[1], "a")["lead_id"] == lead_of(made, DAYS[0], "a")["lead_id"]


def test_a_version_that_was_never_published_is_reported(made: Made) -> None:
    made.find([shop("a")])
    (made.home / "published" / "listings" / "history.jsonl").write_bytes(b"")
    assert any("never published" in problem for problem in problems(made.home))


def test_an_unknown_date_or_lead_is_refused_with_what_exists(made: Made) -> None:
    with pytest.raises(BadInputError, match="There are no leads"):
        read_leads(made.home)
    made.find([shop("a")])
    with pytest.raises(BadInputError, match="the newest are as of 2026-06-30"):
        read_leads(made.home, DAYS[1])
    with pytest.raises(BadInputError, match="There is no lead 'lead-x'"):
        read_leads(made.home).lead("lead-x")


def test_leads_are_rendered_as_text(made: Made) -> None:
    made.find(ring("a", "a", "b"), day=DAYS[0])
    assert "1 lead as of 2026-06-30" in render_leads(read_leads(made.home), 1, "EUR")
    made.find([*ring("a", "a", "b", harm=150), shop("c", 1)], day=DAYS[1])
    leads = read_leads(made.home)
    result = render_leads(leads, 1, "EUR")
    assert "2 leads as of 2026-07-01" in result
    assert "+50 %" in result
    assert len(result.splitlines()) == 4
    lead = leads.current()[0]
    assert "a " in render_lead(leads.as_of, leads.lead(lead["lead_id"]), "EUR")
    assert mart_file(made.home, "lead_merchants", DAYS[1]).is_file()


def test_connected_merchants_are_named_by_the_smallest_id() -> None:
    ties = pa.table({"merchant_id_a": ["b", "c", "x"], "merchant_id_b": ["c", "d", "y"]})
    assert connected_merchants(ties).to_pydict() == {
        "merchant_id": ["b", "c", "d", "x", "y"],
        "group_id": ["b", "b", "b", "x", "x"],
    }
    assert connected_merchants(ties.slice(0, 0)).num_rows == 0


def test_a_time_without_zone_is_utc_and_one_with_zone_is_converted() -> None:
    noon = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
    assert parse_time("2026-07-01T12:00", "--at") == parse_time("2026-07-01T14:00+02:00", "--at") == noon
    with pytest.raises(BadInputError, match="--at noon: not a time"):
        parse_time("noon", "--at")


MERCHANT_NAMES = "abcdefg"
PARTITIONS = st.lists(st.integers(0, 4), min_size=len(MERCHANT_NAMES), max_size=len(MERCHANT_NAMES))


def market(groups: Sequence[int]) -> list[Merchant]:
    """Returns merchants grouped by number: 0 is not flagged, 1 is alone, others form rings of equal numbers."""
    found = []
    for number, (name, group) in enumerate(zip(MERCHANT_NAMES, groups, strict=True)):
        is_ringed = group > 1 and groups.count(group) > 1
        found.append(shop(name, 10 * number + 1, ring=f"ring{group}" if is_ringed else None, score=90 if group else 1))
    return found


@settings(max_examples=8)
@given(days=st.lists(PARTITIONS, min_size=2, max_size=4))
def test_each_lead_has_one_history_for_any_grouping_of_merchants(days: list[list[int]]) -> None:
    with TemporaryDirectory() as folder:
        made = Made(Path(folder))
        seen: dict[str, dt.date] = {}
        for day, groups in zip(DAYS, days, strict=False):
            made.find(market(groups), day=day)
            leads = read_leads(made.home, day)
            found = leads.current()
            assert [lead["rank"] for lead in found] == list(range(1, len(found) + 1))
            for lead in found:
                assert seen.setdefault(lead["lead_id"], lead["since_date"]) == lead["since_date"]
            members = [
                row["merchant_id"]
                for row in leads.merchants.to_pylist()
                if row["lead_id"] in {one["lead_id"] for one in found}
            ]
            flagged = {name for name, group in zip(MERCHANT_NAMES, groups, strict=True) if group}
            assert sorted(members) == sorted(flagged)
            assert set(seen) == {row["lead_id"] for row in leads.leads.to_pylist()}
            before = leads_by_members(made, day)
            if groups == days[0]:
                continue
            made.find(market(groups), day=day)
            assert leads_by_members(made, day) == before
