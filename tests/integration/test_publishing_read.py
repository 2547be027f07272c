"""Reading: the list that LATEST names or any version, never damaged bytes, and what changed between two versions."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from publishing_fixtures import AS_OF, Home, Rated
from typer.testing import CliRunner

from groundwork.errors import BadInputError, VerificationError
from orchestration.cli import app
from orchestration.publishing.read import ChangedScore, diff, read_list

YESTERDAY = AS_OF - dt.timedelta(days=1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with two days of listings."""
    home = Home(tmp_path)
    home.release([Rated("a", 91.0), Rated("b", 92.0), Rated("c", 93.0)], as_of=YESTERDAY)
    home.release([Rated("a", 91.0), Rated("b", 95.5), Rated("d", 94.0)])
    return home


def test_the_list_that_latest_names_is_read_unless_a_version_is_asked_for(home: Home):
    newest = read_list(home.published, "listings")
    assert newest.rows["listing_id"].to_pylist() == ["b", "d", "a"]
    assert newest.manifest.as_of == AS_OF
    earlier = read_list(home.published, "listings", str(newest.manifest.previous))
    assert earlier.rows["listing_id"].to_pylist() == ["c", "b", "a"]
    assert earlier.version == newest.manifest.previous


def test_the_diff_of_two_versions_says_what_came_went_and_changed(home: Home):
    after = read_list(home.published, "listings")
    before = str(after.manifest.previous)
    found = diff(home.published, "listings", before, after.version)
    assert (found.before, found.after) == (before, after.version)
    assert (found.added, found.removed) == (("d",), ("c",))
    assert found.changed == (ChangedScore("b", 92.0, 95.5),)
    nothing = diff(home.published, "listings", before, before)
    assert (nothing.added, nothing.removed, nothing.changed) == ((), (), ())


def test_a_list_is_shown_with_the_reasons_that_its_readers_may_read(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(home.root))

    def shown(*options: str) -> str:
        return CliRunner().invoke(app, ["lists", "show", "listings", *options], catch_exceptions=False).stdout

    def reasons(audience: str) -> list[list[dict[str, object]]]:
        rows = json.loads(shown("--audience", audience, "--json"))["rows"]
        return [json.loads(row["reasons"]) for row in rows]

    assert shown() == shown("--audience", "internal")
    assert [[reason["effect"] for reason in row] for row in reasons("internal")] == [[1.25]] * 3
    assert [[reason.get("effect") for reason in row] for row in reasons("brand")] == [[None]] * 3
    assert "below the brand's floor" in shown("--audience", "brand")
    assert reasons("merchant") == [[], [], []]
    assert shown("--audience", "merchant").count("none of its reasons may be shown to this audience (merchant)") == 3
    with pytest.raises(BadInputError, match="there is no audience 'press'"):
        shown("--audience", "press")
    with pytest.raises(BadInputError, match="there is no audience 'press'"):
        read_list(home.published, "listings").told("press", limit=0)


@pytest.mark.parametrize(
    ("list_name", "version", "complaint"),
    [
        ("orders", None, "there is no list 'orders'"),
        ("merchants", None, "not published yet"),
        ("listings", "2026-01-01-000000000000", "has no version"),
        ("listings", "../../candidates", "has no version"),
    ],
)
def test_what_is_not_published_is_named(home: Home, list_name: str, version: str | None, complaint: str):
    with pytest.raises(BadInputError, match=complaint):
        read_list(home.published, list_name, version)


def test_damaged_bytes_are_not_handed_out(home: Home):
    path = home.published / "listings" / read_list(home.published, "listings").version / "listings.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationError, match="does not match"):
        read_list(home.published, "listings")


def test_a_latest_that_names_nothing_is_damage(home: Home):
    (home.published / "listings" / "LATEST").write_text("2026-06-30-000000000000\n")
    with pytest.raises(VerificationError, match="LATEST"):
        read_list(home.published, "listings")
