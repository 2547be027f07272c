"""Suppressions and outcomes by command: a suppression's start, expiry and undo, and outcomes imported from a file."""

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

# The newest event of the market's listings, long before they landed: the last complete day.
LAST = date(2026, 3, 7)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    Market(tmp_path).land()
    return read_settings(home=tmp_path, sources=tmp_path / "sources.yml", hmac_key="a key of sixteen letters")


def suppressed_entities(settings: Settings, as_of: date | None = None) -> list[str]:
    return [row.entity_id for row in in_force(settings, as_of)]


def suppress_listing(settings: Settings, name: str, first: date | None = None, until: date | None = None) -> None:
    suppress(settings, "listing", name, why="its own shop", who="Ann", first=first, until=until)


def csv_of(settings: Settings, *lines: str) -> Path:
    file = settings.home / "given.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_suppression_holds_from_its_first_day_until_it_expires(settings: Settings) -> None:
    suppress_listing(settings, "l1")
    suppress_listing(settings, "l2", first=date(2026, 3, 10), until=date(2026, 3, 12))
    days = [date(2026, 3, day) for day in (6, 7, 9, 10, 11, 12)]
    assert [suppressed_entities(settings, day) for day in days] == [
        [],
        ["l1"],
        ["l1"],
        ["l1", "l2"],
        ["l1", "l2"],
        ["l1"],
    ]
    assert suppressed_entities(settings) == suppressed_entities(settings, LAST) == ["l1"]


def test_a_removed_suppression_ends_and_earlier_days_are_unchanged(settings: Settings) -> None:
    suppress_listing(settings, "l1", first=date(2026, 3, 1))
    unsuppress(settings, "listing", "l1", who="Bob", first=None)
    assert (suppressed_entities(settings, date(2026, 3, 6)), suppressed_entities(settings, LAST)) == (["l1"], [])
    suppress_listing(settings, "l1")
    assert suppressed_entities(settings, LAST) == ["l1"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda s: suppress_listing(s, "l1"), "suppressed already"),
        (lambda s: suppress_listing(s, "l99"), "no listing l99"),
        (lambda s: suppress_listing(s, "l2", until=LAST), "not after the first day"),
        (lambda s: suppress(s, "listing", "l2", why=" ", who="Ann", first=None, until=None), "needs a reason"),
        (lambda s: unsuppress(s, "listing", "l2", who="Ann", first=None), "is not suppressed"),
        (lambda s: unsuppress(s, "merchant", "l1", who="Ann", first=None), "is not suppressed"),
    ],
)
def test_invalid_suppression_commands_are_refused_and_change_nothing(
    settings: Settings, act: Callable[[Settings], object], message: str
) -> None:
    suppress_listing(settings, "l1")
    before = Ledger(settings.home / "landing").read()
    with pytest.raises(BadInputError, match=message):
        act(settings)
    assert Ledger(settings.home / "landing").read() == before


def test_a_suppressions_file_is_imported_atomically(settings: Settings) -> None:
    lines = ("entity_kind,entity_id,reason,expires_at", "listing,l1,shop,", "merchant,m2,contract,2026-04-01")
    imported = import_suppressions(settings, csv_of(settings, *lines), who="Ann", first=None, is_dry=True)
    assert (imported.new, imported.load, suppressed_entities(settings)) == (2, None, [])
    import_suppressions(settings, csv_of(settings, *lines), who="Ann", first=None)
    assert (suppressed_entities(settings), suppressed_entities(settings, date(2026, 4, 1))) == (["l1", "m2"], ["l1"])
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
    assert suppressed_entities(settings) == ["l1", "m2"]


def test_undo_reverts_one_command_at_a_time_and_reports_when_none_is_left(settings: Settings) -> None:
    suppress_listing(settings, "l1")
    lines = ("entity_kind,entity_id,reason", "listing,l2,shop", "listing,l3,shop")
    import_suppressions(settings, csv_of(settings, *lines), who="Ann", first=None)
    unsuppress(settings, "listing", "l1", who="Ann", first=None)
    seen = [suppressed_entities(settings)]
    for _ in range(3):
        undo_suppressions(settings, who="Bob")
        seen.append(suppressed_entities(settings))
    assert seen == [["l2", "l3"], ["l1", "l2", "l3"], ["l1"], []]
    with pytest.raises(BadInputError, match="no command on suppressions"):
        undo_suppressions(settings, who="Bob")
    suppress_listing(settings, "l1")
    assert suppressed_entities(settings) == ["l1"]
    undo_suppressions(settings, who="Bob")
    assert suppressed_entities(settings) == []


def test_outcomes_are_recorded_from_a_file_and_rendered_as_text(settings: Settings) -> None:
    header = "entity_kind,entity_id,violation_type,decided_at,verdict,decided_by,reason"
    file = csv_of(settings, header, "listing,l1,counterfeit,2026-03-05 10:00:00,fake,Ann,seen")
    assert "Dry run" in render_recorded(record_file(settings, "moderation_decisions", file, is_dry=True))
    assert "1 row given, 1 new" in render_recorded(record_file(settings, "moderation_decisions", file))
    assert "nothing new" in render_recorded(record_file(settings, "moderation_decisions", file))
    with pytest.raises(BadInputError, match="no listing l77"):
        record_file(
            settings, "moderation_decisions", csv_of(settings, header, "listing,l77,counterfeit,2026-03-05,fake,A,b")
        )


def test_suppressions_are_rendered_as_text(settings: Settings) -> None:
    assert render_suppressions([]) == "Nothing is suppressed."
    suppress_listing(settings, "l1", until=date(2026, 5, 1))
    assert render_suppressions(in_force(settings)) == "listing   l1  from 2026-03-07 until 2026-05-01: its own shop"
