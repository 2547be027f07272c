"""What people say of entities by command: suppressions with their beginning, end and undo, and outcomes by file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tests.landing_fixtures import Market
from touchstone.casework.outcomes import (
    import_suppressions,
    in_force,
    record_file,
    suppress,
    undo_suppressions,
    unsuppress,
)
from touchstone.cli.common import render_recorded
from touchstone.cli.outcomes import render_suppressions
from touchstone.core.errors import BadInputError
from touchstone.core.settings import Settings, read_settings
from touchstone.landing.ledger import Ledger

# The newest event of the market's listings, long before it landed: the last complete day.
LAST = date(2026, 3, 7)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    Market(tmp_path).land()
    return read_settings(home=tmp_path, sources=tmp_path / "sources.yml", hmac_key="a key of sixteen letters")


def held(settings: Settings, as_of: date | None = None) -> list[str]:
    return [row.entity_id for row in in_force(settings, as_of)]


def keep_off(settings: Settings, name: str, first: date | None = None, until: date | None = None) -> None:
    suppress(settings, "listing", name, why="its own shop", who="Ann", first=first, until=until)


def csv_of(settings: Settings, *lines: str) -> Path:
    file = settings.home / "given.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_suppression_holds_from_its_first_day_until_it_expires(settings: Settings) -> None:
    keep_off(settings, "l1")
    keep_off(settings, "l2", first=date(2026, 3, 10), until=date(2026, 3, 12))
    days = [date(2026, 3, day) for day in (6, 7, 9, 10, 11, 12)]
    assert [held(settings, day) for day in days] == [[], ["l1"], ["l1"], ["l1", "l2"], ["l1", "l2"], ["l1"]]
    assert held(settings) == held(settings, LAST) == ["l1"]


def test_one_that_is_removed_ends_then_and_the_days_before_stay_as_they_were(settings: Settings) -> None:
    keep_off(settings, "l1", first=date(2026, 3, 1))
    unsuppress(settings, "listing", "l1", who="Bob", first=None)
    assert (held(settings, date(2026, 3, 6)), held(settings, LAST)) == (["l1"], [])
    keep_off(settings, "l1")
    assert held(settings, LAST) == ["l1"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda s: keep_off(s, "l1"), "suppressed already"),
        (lambda s: keep_off(s, "l99"), "no listing l99"),
        (lambda s: keep_off(s, "l2", until=LAST), "not after the first day"),
        (lambda s: suppress(s, "listing", "l2", why=" ", who="Ann", first=None, until=None), "needs a reason"),
        (lambda s: unsuppress(s, "listing", "l2", who="Ann", first=None), "is not suppressed"),
        (lambda s: unsuppress(s, "merchant", "l1", who="Ann", first=None), "is not suppressed"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    settings: Settings, act: Callable[[Settings], object], message: str
) -> None:
    keep_off(settings, "l1")
    before = Ledger(settings.home / "landing").read()
    with pytest.raises(BadInputError, match=message):
        act(settings)
    assert Ledger(settings.home / "landing").read() == before


def test_a_file_of_them_holds_whole_or_not_at_all(settings: Settings) -> None:
    lines = ("entity_kind,entity_id,reason,expires_at", "listing,l1,shop,", "merchant,m2,contract,2026-04-01")
    came = import_suppressions(settings, csv_of(settings, *lines), who="Ann", first=None, is_dry=True)
    assert (came.new, came.load, held(settings)) == (2, None, [])
    import_suppressions(settings, csv_of(settings, *lines), who="Ann", first=None)
    assert (held(settings), held(settings, date(2026, 4, 1))) == (["l1", "m2"], ["l1"])
    for wrong, message in (
        ("listing,l2,,", "line 3 has no reason"),
        ("listing,l98,shop,", "no listing l98"),
        ("shop,l2,shop,", "entity_kind"),
        ("listing,l2,shop,soon", "expires_at"),
    ):
        with pytest.raises(BadInputError, match=message):
            import_suppressions(settings, csv_of(settings, lines[0], "listing,l3,shop,", wrong), who="Ann", first=None)
    with pytest.raises(BadInputError, match="unknown columns why"):
        import_suppressions(settings, csv_of(settings, lines[0] + ",why", "listing,l3,shop,,x"), who="Ann", first=None)
    with pytest.raises(BadInputError, match="cannot be read"):
        import_suppressions(settings, settings.home / "absent.csv", who="Ann", first=None)
    assert held(settings) == ["l1", "m2"]


def test_undo_goes_back_command_by_command_and_says_when_none_is_left(settings: Settings) -> None:
    keep_off(settings, "l1")
    lines = ("entity_kind,entity_id,reason", "listing,l2,shop", "listing,l3,shop")
    import_suppressions(settings, csv_of(settings, *lines), who="Ann", first=None)
    unsuppress(settings, "listing", "l1", who="Ann", first=None)
    seen = [held(settings)]
    for _ in range(3):
        undo_suppressions(settings, who="Bob")
        seen.append(held(settings))
    assert seen == [["l2", "l3"], ["l1", "l2", "l3"], ["l1"], []]
    with pytest.raises(BadInputError, match="no command on suppressions"):
        undo_suppressions(settings, who="Bob")
    keep_off(settings, "l1")
    assert held(settings) == ["l1"]
    undo_suppressions(settings, who="Bob")
    assert held(settings) == []


def test_outcomes_are_taken_from_a_file_and_told_in_words(settings: Settings) -> None:
    header = "entity_kind,entity_id,violation_type,decided_at,verdict,decided_by,reason"
    file = csv_of(settings, header, "listing,l1,counterfeit,2026-03-05 10:00:00,fake,Ann,seen")
    assert "Dry run" in render_recorded(record_file(settings, "moderation_decisions", file, is_dry=True))
    assert "1 row given, 1 new" in render_recorded(record_file(settings, "moderation_decisions", file))
    assert "nothing new" in render_recorded(record_file(settings, "moderation_decisions", file))
    with pytest.raises(BadInputError, match="no listing l77"):
        record_file(
            settings, "moderation_decisions", csv_of(settings, header, "listing,l77,counterfeit,2026-03-05,fake,A,b")
        )


def test_suppressions_are_told_in_words(settings: Settings) -> None:
    assert render_suppressions([]) == "Nothing is suppressed."
    keep_off(settings, "l1", until=date(2026, 5, 1))
    assert render_suppressions(in_force(settings)) == "listing   l1  from 2026-03-07 until 2026-05-01: its own shop"
