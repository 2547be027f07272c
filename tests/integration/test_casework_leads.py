"""Leads by the real command, over a home in which the whole pipeline ran."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import FIRST_DAY, NEXT_DAY, Outcome

from tests.leads_fixtures import make_leads
from touchstone.casework.leads import leads_folder, read_leads, read_manifest
from touchstone.core.lists import LISTS
from touchstone.publishing.history import ListStore

Command = Callable[..., Outcome]


def test_leads_of_a_run_refer_to_published_versions(rated_home: Path) -> None:
    for day in (FIRST_DAY, NEXT_DAY):
        folder = rated_home / "leads" / f"as_of={day}"
        manifest = read_manifest(folder)
        assert manifest["lists"]
        for name, version in manifest["lists"].items():
            assert any(line.version == version for line in ListStore(rated_home / "published", name).history())
    assert manifest["previous"] == FIRST_DAY


def test_rebuilt_leads_have_the_same_bytes(home: Path) -> None:
    leads = read_leads(home)
    before = {path.name: path.read_bytes() for path in leads.folder.iterdir()}
    shutil.rmtree(leads.folder)
    make_leads(home, leads.as_of, tuple(name for name in LISTS if name in json.loads(before["manifest.json"])["lists"]))
    assert {path.name: path.read_bytes() for path in leads.folder.iterdir()} == before


def test_leads_are_listed_shown_exported_and_handed_over(run_touchstone: Command, tmp_path: Path) -> None:
    listed = run_touchstone("leads", "list", "--json").json
    assert listed["as_of"] == NEXT_DAY
    lead = listed["leads"][0]
    shown = run_touchstone("leads", "show", lead["lead_id"], "--json").json
    assert len(shown["merchants"]) == lead["merchant_count"]
    assert shown["history"]
    assert lead["lead_id"] in run_touchstone("leads", "list").stdout
    given = ("leads", "hand-over", lead["lead_id"], "--to", "Customs, DE", "--audience", "authority", "--at")
    assert run_touchstone(*given, f"{NEXT_DAY}T12:00").code == 0
    again = run_touchstone(*given, f"{NEXT_DAY}T12:00")
    assert (again.code, "nothing new" in again.stdout) == (0, True)
    other = run_touchstone(
        "leads", "hand-over", lead["lead_id"], "--to", "Customs, DE", "--audience", "brand", "--at", f"{NEXT_DAY}T12:00"
    )
    assert (other.code, "recorded already" in other.stderr) == (2, True)
    early = run_touchstone(*given, "2020-01-01")
    assert (early.code, "is a lead since" in early.stderr) == (2, True)
    done = run_touchstone(
        "leads", "export", lead["lead_id"], "--audience", "internal", "--to", str(tmp_path / "packs"), "--json"
    ).json
    result = json.loads((Path(done["packs"][0]) / "lead.json").read_text())
    assert [row["recipient"] for row in result["hand_overs"]] == ["Customs, DE"]
    assert {"what": "hand-over", "at": NEXT_DAY, "text": "to Customs, DE (authority)"} in result["timeline"]


def test_invalid_arguments_are_refused_with_instructions(run_touchstone: Command, tmp_path: Path) -> None:
    to = ("--to", str(tmp_path / "packs"))
    for arguments, message in (
        (("export", "--audience", "brand", *to), "a brand needs --brand"),
        (("export", "--audience", "brand", "--brand", "No such brand", *to), "may see nothing of any lead"),
        (("export", "lead-000000000000", "--audience", "internal", *to), "There is no lead"),
        (("show", "../../x"), "There is no lead"),
        (("list", "--as-of", "2020-01-01"), "There are no leads as of"),
        (("hand-over", "lead-000000000000", "--to", "x", "--audience", "brand", "--at", "soon"), "not a time"),
    ):
        done = run_touchstone("leads", *arguments)
        assert (done.code, message in done.stderr) == (2, True), (arguments, done.stderr)
    assert not (tmp_path / "packs").exists()


def test_verify_and_doctor_report_modified_leads(home: Path, run_touchstone: Command) -> None:
    assert run_touchstone("verify").code == 0
    file = leads_folder(home, read_leads(home).as_of) / "lead_merchants.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    verified = run_touchstone("verify")
    assert (verified.code, "lead_merchants.parquet was changed after it was written" in verified.stdout) == (4, True)
    assert run_touchstone("doctor").code == 4
    shown = run_touchstone("leads", "list")
    assert (shown.code, "Rate the day again" in shown.stderr) == (4, True)
