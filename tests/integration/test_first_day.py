"""docs/first-day.md, from five CSV files to a list and a plan: every command of the page, in its order, as a reader runs it."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.first_day_fixtures import write_exports
from touchstone.demo.generate import generate
from touchstone.publishing.read import read_list

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-day.md"
BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
DECIDED = "2026-07-01 12:00:00"
EXPORTED = 'export TOUCHSTONE_HMAC_KEY="$(openssl rand -hex 32)" TOUCHSTONE_SOURCES=my_market.yml'
AFTER = "2026-07-02"
"""The demo ends on 2026-06-30; the decisions are made on the next day."""


def commands() -> list[str]:
    """Returns the page's commands, in order."""
    return [line for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")) for line in block.splitlines() if line]


class Reader:
    """Somebody who follows the page in a folder with the five files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.environment = os.environ | {"TOUCHSTONE_HOME": str(self.home)}

    def does(self, command: str) -> str:
        """Runs a command of the page; returns its output."""
        if command.startswith("export "):
            assert command == EXPORTED
            key = {"TOUCHSTONE_HMAC_KEY": "0123456789abcdef" * 4, "TOUCHSTONE_SOURCES": "my_market.yml"}
            self.environment |= key
            return ""
        if "LISTING_ID" in command:
            command = command.replace(
                "LISTING_ID", read_list(self.home / "published", "listings").rows["listing_id"][0].as_py()
            )
        if "decision_sheet.csv" in command:
            self.decides()
        if "--train" in command:
            command += f" --as-of {AFTER}"
        words = [
            word
            for part in shlex.split(command)
            for word in (sorted(map(str, self.folder.glob(part))) if "*" in part else [part])
        ]
        assert words[0] == "touchstone"
        done = subprocess.run(
            [sys.executable, "-c", "from touchstone.cli.start import main; main()", *words[1:]],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def decides(self) -> None:
        """Fills in the newest decision sheet: every fifth listing is fake."""
        (sheet,) = self.home.glob("audits/*/decision_sheet.csv")
        with sheet.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows):
            row.update(decided_at=DECIDED, verdict="genuine" if number % 5 else "fake")
        with (self.folder / sheet.name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, dict[str, str]]:
    """A reader who followed the page, and what each command printed."""
    folder = tmp_path_factory.mktemp("first_day")
    generate(folder / "demo", scale=0.003, days=60, seed=3, hardness=1.0)
    write_exports(folder / "demo" / "sources", folder / "exports")
    reader = Reader(folder)
    return reader, {command: reader.does(command) for command in commands()}


def test_the_page_shows_its_commands() -> None:
    assert [command.split()[1] for command in commands()] == [
        "TOUCHSTONE_HMAC_KEY=\"$(openssl", "sources", "sources", "run", "lists", "trace", "audits", "audits", "run",
    ]  # fmt: skip


def test_every_command_of_the_page_succeeds_and_ends_with_a_list_and_a_plan(
    outputs: tuple[Reader, dict[str, str]],
) -> None:
    reader, printed = outputs
    first, *_ = (version for version in sorted((reader.home / "published" / "listings").glob("2026-06-30-*")))
    manifest = json.loads((first / "manifest.json").read_text())
    assert manifest["inputs"]["model"]["is_calibrated"] is False
    assert 0 < manifest["row_count"] <= 100
    assert "a ranking, not probabilities" in printed["touchstone run --approve-if-passing"]
    with (reader.folder / "decision_sheet.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 200
