"""Reading: the list that LATEST names or any version, never damaged bytes, and the changes between two versions."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pytest
from publishing_fixtures import AS_OF, POLICY, TERMS, Home, Rated
from typer.testing import CliRunner

from touchstone.cli.lists import render_diff
from touchstone.cli.main import app
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import canonical_json
from touchstone.publishing.history import ListStore
from touchstone.publishing.manifest import Manifest
from touchstone.publishing.read import ChangedAction, ChangedScore, ListDiff, diff, read_list

YESTERDAY = AS_OF - dt.timedelta(days=1)
V2_FIELDS = ("flagged_count", "held", "terms")
V3_MODEL_FIELDS = ("is_calibrated", "assumed_prevalence", "assumption_source")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with two days of listings."""
    home = Home(tmp_path)
    home.release([Rated("a", 91.0), Rated("b", 92.0), Rated("c", 93.0)], as_of=YESTERDAY)
    home.release([Rated("a", 91.0), Rated("b", 95.5), Rated("d", 94.0)])
    return home


def test_the_latest_list_is_read_unless_a_version_is_given(home: Home):
    newest = read_list(home.published, "listings")
    assert newest.rows["listing_id"].to_pylist() == ["b", "d", "a"]
    assert newest.manifest.as_of == AS_OF
    earlier = read_list(home.published, "listings", str(newest.manifest.previous))
    assert earlier.rows["listing_id"].to_pylist() == ["c", "b", "a"]
    assert earlier.version == newest.manifest.previous


def test_the_diff_of_two_versions_lists_added_removed_and_changed_rows(home: Home):
    after = read_list(home.published, "listings")
    before = str(after.manifest.previous)
    found = between(home, before, after.version)
    assert (found.before, found.after, found.policy) == (before, after.version, None)
    assert (found.added, found.removed) == (("d",), ("c",))
    assert found.changed == (ChangedScore("b", 92.0, 95.5),)
    nothing = between(home, before, before)
    assert (nothing.added, nothing.removed, nothing.changed, nothing.actions, nothing.causes) == ((), (), (), (), ())
    assert render_diff(nothing).endswith("no changes")


def between(home: Home, before: str, after: str) -> ListDiff:
    return diff(home.published, "listings", before, after, marts=home.root / "marts")


def causes(found: ListDiff) -> dict[str, tuple[str, str]]:
    assert [moved.entity_id for moved in found.causes] == sorted([*found.added, *found.removed])
    return {change.entity_id: (change.cause, change.description) for change in found.causes}


def test_the_diff_explains_why_each_row_was_added_or_removed(tmp_path: Path):
    home, other = Home(tmp_path), {"score": 80.0, "is_flagged": False}
    before = home.release(
        [
            *(Rated(name, 95.0) for name in ("stays", "fell", "framed", "gone", "crowded", "thin")),
            Rated("suppressed_now", 95.0), Rated("suppressed_for_ever", 95.0),
            Rated("ran_out", 95.0, is_suppressed=True, until=AS_OF),
            Rated("taken_back", 95.0, is_suppressed=True),
            Rated("had_no_room", 95.0, held_by="capacity"), Rated("was_thin", 95.0, held_by="corroboration"),
            Rated("rose", **other),
        ],
        as_of=YESTERDAY,
    )  # fmt: skip
    after = home.release(
        [
            *(Rated(name, 95.0) for name in ("stays", "ran_out", "taken_back", "had_no_room", "was_thin", "rose", "came")),
            Rated("fell", **other), Rated("framed", 95.0, is_flagged=False, own_conduct_score=3.0),
            Rated("crowded", 95.0, held_by="capacity"), Rated("thin", 95.0, held_by="corroboration"),
            Rated("suppressed_now", 95.0, is_suppressed=True, until=AS_OF + dt.timedelta(days=9)),
            Rated("suppressed_for_ever", 95.0, is_suppressed=True),
        ]
    )  # fmt: skip
    found = between(home, before.version, after.version)
    assert causes(found) == {
        "ran_out": ("suppression", "its suppression expired on 2026-06-30"),
        "taken_back": ("suppression", "its suppression was removed"),
        "had_no_room": ("capacity", "within the capacity now"),
        "was_thin": ("corroboration", "enough signals now"),
        "rose": ("score", "its score increased"),
        "came": ("rated", "not rated before"),
        "fell": ("score", "its score decreased"),
        "framed": ("score", "its score decreased"),
        "gone": ("rated", "no longer rated"),
        # The terms have no capacity and require one signal: they would still list it, so they have changed.
        "crowded": ("terms", "the earlier terms would still list it; beyond the capacity"),
        "thin": ("terms", "the earlier terms would still list it; too few signals"),
        "suppressed_now": ("suppression", "suppressed until 2026-07-09"),
        "suppressed_for_ever": ("suppression", "suppressed"),
    }
    result = " ".join(render_diff(found).split())
    assert "+ ran_out its suppression expired on 2026-06-30" in result
    assert "- suppressed_now suppressed until 2026-07-09" in result
    assert "causes: capacity 1, corroboration 1, rated 2, score 3, suppression 4, terms 2" in result
    held = read_list(home.published, "listings", after.version).manifest.held
    assert held is not None
    assert held.model_dump() == {"suppression": 2, "corroboration": 1, "capacity": 1}


def test_a_changed_policy_is_reported_with_its_terms_and_their_effects(tmp_path: Path):
    home = Home(tmp_path)
    before = home.release([Rated("a", 97.0), Rated("b", 91.0), Rated("c", 96.0), Rated("z", 9.0, is_flagged=False)])
    stricter = dataclasses.replace(
        home,
        policy=POLICY.model_copy(update={"action": "remove"}),
        terms=(
            TERMS[0].model_copy(
                update={"threshold": 95.0, "action": "remove", "basis": "stated", "target_precision": None}
            ),
        ),
    )
    after = stricter.release(
        [Rated("a", 97.0, action="remove"), Rated("b", 91.0, is_flagged=False), Rated("c", 94.0, is_flagged=False)]
    )
    found = between(home, before.version, after.version)
    assert found.policy is not None
    assert (found.policy.before, found.policy.after) == (POLICY.digest, stricter.policy.digest)
    assert found.policy.terms_before == ("all other rows: review from 90 (target 0.9, target)",)
    assert found.policy.terms_after == ("all other rows: remove from 95",)
    assert causes(found) == dict.fromkeys(("b", "c"), ("terms", "the earlier terms would still list it"))
    assert found.actions == (ChangedAction("a", "review", "remove"),)
    assert "  !  a  review -> remove" in render_diff(found)
    back = between(home, after.version, before.version)
    assert causes(back) == dict.fromkeys(("b", "c"), ("unknown", "unknown: its earlier rating was removed"))


def test_a_changed_model_is_reported(tmp_path: Path):
    home = Home(tmp_path)
    before = home.release([Rated("a", 97.0), Rated("b", 91.0), Rated("c", 3.0, is_flagged=False)], as_of=YESTERDAY)
    rated = [Rated("a", 97.0), Rated("b", 3.0, is_flagged=False), Rated("c", 97.0)]
    after = home.release(rated, model_digest="e" * 64)
    assert {cause for cause, _ in causes(between(home, before.version, after.version)).values()} == {"model"}


def test_lists_of_an_older_schema_without_terms_are_read_and_compared(home: Home):
    """A manifest of schema version 1 keeps its bytes, although this code knows more fields."""
    manifest = read_list(home.published, "listings").manifest
    known = {name: value for name, value in json.loads(manifest.to_bytes()).items() if name not in V2_FIELDS}
    for name in V3_MODEL_FIELDS:
        del known["inputs"]["model"][name]
    content = canonical_json({**known, "schema_version": 1})
    old = Manifest.from_bytes(content, "manifest.json")
    assert (old.to_bytes(), old.terms, old.held, old.flagged_count) == (content, None, None, None)
    for wrong in (known | {"schema_version": 2}, json.loads(manifest.to_bytes()) | {"schema_version": 1}):
        with pytest.raises(VerificationError, match="belong to schema version 2"):
            Manifest.from_bytes(canonical_json(wrong), "manifest.json")
    with pytest.raises(VerificationError, match="not the sum of the rows and the held entities"):
        Manifest.from_bytes(canonical_json(json.loads(manifest.to_bytes()) | {"flagged_count": 99}), "manifest.json")


def test_a_list_is_shown_with_the_reasons_permitted_for_its_audience(home: Home, monkeypatch: pytest.MonkeyPatch):
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
    assert shown("--audience", "merchant").count("no reason may be shown to this audience (merchant)") == 3
    with pytest.raises(BadInputError, match="there is no audience 'press'"):
        shown("--audience", "press")
    with pytest.raises(BadInputError, match="there is no audience 'press'"):
        read_list(home.published, "listings").rows_for("press", limit=0)


@pytest.mark.parametrize(
    ("list_name", "version", "complaint"),
    [
        ("orders", None, "There is no list 'orders'"),
        ("merchants", None, "not published yet"),
        ("listings", "2026-01-01-000000000000", "has no version"),
        ("listings", "../../candidates", "has no version"),
    ],
)
def test_an_unpublished_list_or_version_is_named(home: Home, list_name: str, version: str | None, complaint: str):
    with pytest.raises(BadInputError, match=complaint):
        read_list(home.published, list_name, version)


def test_damaged_bytes_are_not_returned(home: Home):
    path = home.published / "listings" / read_list(home.published, "listings").version / "listings.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationError, match="does not match"):
        read_list(home.published, "listings")


def test_a_latest_naming_no_version_is_reported_as_damage(home: Home):
    (home.published / "listings" / "LATEST").write_text("2026-06-30-000000000000\n")
    with pytest.raises(VerificationError, match="LATEST"):
        read_list(home.published, "listings")


def test_a_missing_latest_is_reported_as_damage_with_its_correct_content(home: Home):
    newest = read_list(home.published, "listings").version
    latest = home.published / "listings" / "LATEST"
    latest.unlink()
    with pytest.raises(VerificationError, match=newest) as refused:
        read_list(home.published, "listings")
    assert str(latest) in str(refused.value)
    latest.write_text(f"{newest}\n")
    assert read_list(home.published, "listings").version == newest


def test_a_first_publication_interrupted_before_latest_is_no_damage(tmp_path: Path):
    home = Home(tmp_path)
    home.release([Rated("a", 91.0)])
    (line,) = ListStore(home.published, "listings").history()
    begun = {"version": line.version, "receipt": line.receipt}
    (home.published / "listings" / ".publishing").write_bytes(canonical_json(begun))
    (home.published / "listings" / "LATEST").unlink()
    with pytest.raises(BadInputError, match="not published yet"):
        read_list(home.published, "listings")


def test_reading_a_list_starts_no_thread(home: Home):
    """Regression: a process that exits while Arrow starts a thread is aborted, as most `lists show` calls were."""
    code = (
        "import os, sys; from pathlib import Path; import pyarrow.parquet; from touchstone.publishing.read import read_list;"
        "count = lambda: len(os.listdir('/proc/self/task')); before = count();"
        "print(read_list(Path(sys.argv[1]), 'listings').rows.num_rows, count() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home.published)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "0"]
