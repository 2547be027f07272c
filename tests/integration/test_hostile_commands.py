"""Commands over a home in which all user-written text is hostile: none of it takes effect on a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import Outcome
from tests.conftest import touchstone as run_touchstone
from tests.hostile import HOSTILE, unsafe_lines
from tests.landing_fixtures import LISTINGS, MERCHANTS
from tests.leads_fixtures import DAY, Made, hostile_market, landed_of
from touchstone.casework.test_buys import write_plan
from touchstone.core.home import SCHEMA_FILE, SCHEMA_VERSION

ARGUMENTS = [value for value in HOSTILE if 0 < len(value) < 5_000 and "\0" not in value and not value.startswith("-")]
KEY = {"TOUCHSTONE_HMAC_KEY": "a key for the tests of hostile text"}
FORMULA = re.compile(r"^\s*[=+\-@＝＋－＠]")  # noqa: RUF001


def touchstone(home: Path, *arguments: str) -> Outcome:
    """Runs the command with a key, which recording rows requires."""
    return run_touchstone(home, *arguments, **KEY)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with lists and leads of a hundred hostile merchants; read-only."""
    home = tmp_path_factory.mktemp("hostile")
    merchants = hostile_market()
    made = Made(home, landed_of(merchants))
    at = "2026-06-01 00:00:00"
    made.landed["suppressions"] = [
        {
            "entity_kind": "merchant",
            "entity_id": one.merchant_id,
            "reason": one.name,
            "author": one.name,
            "created_at": at,
        }
        for one in merchants
    ]
    made.land()
    (home / "marketplace").mkdir()
    write_sources(home / "marketplace", "listings")
    (home / SCHEMA_FILE).write_text(f"{SCHEMA_VERSION}\n")
    made.find(merchants, ties=[(merchants[0].merchant_id, one.merchant_id) for one in merchants[1:]])
    return home


def assert_safe(outcome: Outcome, code: int) -> Outcome:
    """Asserts a command's exit code and that its output is assert_safe on a terminal; returns the outcome."""
    assert outcome.code == code, (outcome.stdout[-500:], outcome.stderr[-1_000:])
    assert "Traceback" not in outcome.stderr
    assert not unsafe_lines(outcome.stdout)
    assert not unsafe_lines(outcome.stderr)
    return outcome


def assert_escaped(outcome: Outcome) -> Any:
    """Asserts that a command's JSON output escapes invisible characters; returns the parsed output."""
    assert outcome.code == 0, outcome.stderr[-1_000:]
    assert outcome.stdout.isascii()
    assert {sign for sign in outcome.stdout if not sign.isprintable()} == {"\n"}
    return outcome.json


@pytest.mark.parametrize("name", ["listings", "merchants"])
def test_lists_with_hostile_text_are_printed_safely_and_unchanged_as_json(home: Path, name: str) -> None:
    shown = assert_safe(touchstone(home, "lists", "show", name, "--limit", "500"), 0).stdout
    assert "⟨U+001B⟩]0;owned⟨U+0007⟩" in shown
    assert "⟨U+202E⟩gnp.exe" in shown
    assert len(shown) < 200_000
    rows = assert_escaped(touchstone(home, "lists", "show", name, "--limit", "500", "--json"))["rows"]
    assert {row.get("title", row.get("name")) for row in rows} == set(HOSTILE)


def test_csv_of_a_list_is_safe_with_one_line_per_row_and_parquet_is_verbatim(home: Path) -> None:
    (folder,) = (home / "published" / "listings").glob("2026-*")
    text = (folder / "listings.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(HOSTILE) == len(text.splitlines()) - 1
    cells = [cell for row in rows for cell in row.values()]
    assert all(
        cell.isprintable() and len(cell) < 32_767 and not FORMULA.match(cell.removeprefix("'") and cell)
        for cell in cells
    )
    assert set(pq.read_table(folder / "listings.parquet")["title"].to_pylist()) == set(HOSTILE)


def test_leads_with_hostile_text_are_printed_and_exported_safely(home: Path, tmp_path: Path) -> None:
    listed = assert_escaped(touchstone(home, "leads", "list", "--json"))["leads"]
    assert_safe(touchstone(home, "leads", "list"), 0)
    assert_safe(touchstone(home, "leads", "show", listed[0]["lead_id"]), 0)
    for brand in ARGUMENTS[::80]:
        result = touchstone(
            home, "leads", "export", "--audience", "brand", "--brand", brand, "--to", str(tmp_path / "p\n\x1b[2J")
        )
        assert_safe(result, result.code)
        assert result.code in {0, 2}, result.stderr


def test_suppressions_with_hostile_text_are_printed_safely(home: Path) -> None:
    shown = assert_safe(touchstone(home, "suppress", "list", "--as-of", str(DAY)), 0).stdout
    assert sum(line.startswith("merchant  ") for line in shown.splitlines()) == len(HOSTILE)
    facts = assert_escaped(touchstone(home, "suppress", "list", "--as-of", str(DAY), "--json"))["suppressions"]
    assert {row["reason"] for row in facts} == set(HOSTILE)


def write_sources(folder: Path, listings: str, within: str = "") -> dict[str, Any]:
    """Writes a sources file that maps two tables, and returns its content."""
    content: dict[str, Any] = {
        "version": 1,
        "name": "hostile",
        "inputs": {
            name: {"connector": "parquet", "path": f"{within}{file}.parquet"}
            for name, file in (("merchants", "merchants"), ("listings", listings))
        },
        "tables": {"merchants": {"input": "merchants"}, "listings": {"input": "listings"}},
    }
    (folder / "sources.yml").write_text(yaml.safe_dump(content))
    return content


def refused_commands(folder: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yields commands that refuse their input, with their exit codes."""
    value = "\x1b]0;owned\x07\x1b[2J\nFORGED \u202e" + "x" * 300
    for number, argument in enumerate(ARGUMENTS[::60]):
        yield ("lists", "show", argument), 2
        yield ("leads", "show", argument), 2
        yield ("trace", argument, "l1"), 2
        yield ("trace", "listings", argument), 4  # this home's model was never approved
        yield ("erase", argument, f"{number:032x}"), 2
    yield ("run", "--as-of", value), 2
    yield ("verify", value), 2
    yield ("suppress", "add", "listing", value, "--why", value, "--from", str(DAY)), 2
    yield ("sources", "check", str(folder / value[:16])), 2
    policy = folder / "policy\x1b[2J.yml"
    policy.write_text(yaml.safe_dump({value: value, "terms": [{"list": value, "category": value}], "lists": [value]}))
    yield ("policies", "check", str(policy)), 2
    for table in ("decisions", "appeals", "cases"):
        given = folder / f"{table}\n\x1b[2J.csv"
        with given.open("w", newline="") as file:
            csv.writer(file).writerows(
                [["\x1b[2J\u202e", "entity_kind", "entity_id"], *([one, one, one] for one in ARGUMENTS)]
            )
        yield (table, "record", str(given)), 2
    unknown = folder / "unknown\n\x1b[2J.csv"
    header = ["entity_kind", "entity_id", "violation_type", "verdict", "decided_at", "decided_by"]
    with unknown.open("w", newline="") as file:
        rows = [["listing", one, "counterfeit", "fake", "2026-06-30", "x"] for one in dict.fromkeys(ARGUMENTS)]
        csv.writer(file).writerows([header, *rows])
    yield ("decisions", "record", str(unknown)), 2
    suppressed = folder / "suppressed\x1b.csv"
    with suppressed.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["entity_kind", "entity_id", "reason"], *(["listing", one, one] for one in ARGUMENTS)]
        )
    yield ("suppress", "import", str(suppressed), "--from", str(DAY)), 2
    sheet = folder / "sheet\x1b.csv"
    with sheet.open("w", newline="") as file:
        csv.writer(file).writerows([["plan_id", "listing_id", "verdict", "ordered_at"], [value] * 4])
    yield ("test-buys", "record", str(sheet)), 2
    labelled = folder / "labelled\x1b[2J.parquet"
    pq.write_table(
        pa.table({value: ["a\nFORGED", "\x1b", value] * 20, "y": ["\x1b[2J", "\nFORGED", value] * 20}), labelled
    )
    yield ("evaluate", str(labelled), "--label", "y"), 2
    yield ("evaluate", str(labelled), "--label", value + "y"), 2


def test_refused_hostile_input_is_named_safely(home: Path, tmp_path: Path) -> None:
    for arguments, code in refused_commands(tmp_path):
        assert_safe(touchstone(home, *arguments), code)


def test_refused_loads_print_header_and_rows_safely(tmp_path: Path) -> None:
    source = tmp_path / "source\x1b[2J"
    source.mkdir()
    columns = ", ".join(f'1 as "{value.replace(chr(34), "")}"' for value in ARGUMENTS[::10] if value.replace('"', ""))
    titles = ", ".join("'" + value.replace("'", "''") + "'" for value in ARGUMENTS)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"copy ({MERCHANTS}) to '{source}/merchants.parquet' (format parquet)")
        hostile = f"select unnest([{titles}]) as listing_id, 'nobody' as merchant_id, 'soon' as listed_at, 't' as title"
        connection.execute(
            f"copy (select *, {columns} from ({hostile})) to '{source}/listings.parquet' (format parquet)"
        )
        connection.execute(
            f"copy (select * replace ('soon\n\x1b' as listed_at) from ({LISTINGS})) to '{source}/rows.parquet'"
        )
    for listings in ("listings", "rows", "gone\nFORGED"):
        content = write_sources(tmp_path, listings, f"{source.name}/")
        result = assert_safe(touchstone(tmp_path / "home", "sources", "check", str(tmp_path / "sources.yml")), 2)
        assert "listings" in result.stdout + result.stderr
    content["tables"]["\x1b[2J\nFORGED"] = {"input": "listings", "\u202e": 1}
    (tmp_path / "sources.yml").write_text(yaml.safe_dump(content))
    assert_safe(touchstone(tmp_path / "home", "sources", "check", str(tmp_path / "sources.yml")), 2)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_real_terminal_receives_only_text_and_line_ends(home: Path, encoding: str) -> None:
    controller, terminal = pty.openpty()
    command = [
        sys.executable,
        "-c",
        "from touchstone.cli.main import main; main()",
        "lists",
        "show",
        "listings",
        "--limit",
        "500",
    ]
    environment = os.environ | {"TOUCHSTONE_HOME": str(home), "TERM": "xterm-256color", "PYTHONIOENCODING": encoding}
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        received = b""
        while True:
            try:
                received += os.read(controller, 65_536)
            except OSError:  # Linux's response once the other side has closed
                break
    os.close(controller)
    assert process.returncode == 0
    text = received.decode(encoding).replace("\r\n", "\n")
    assert "⟨U+001B⟩[2J".encode(encoding, errors="backslashreplace").decode(encoding) in text
    assert encoding != "utf-8" or not unsafe_lines(text)  # where a character takes six columns, lines may be longer
    assert {sign for sign in text if not sign.isprintable()} == {"\n"}


def test_verify_and_doctor_print_hostile_file_names_safely(home: Path) -> None:
    record = home / "runs" / "x\x1b[2J\nFORGED.json"
    record.parent.mkdir(exist_ok=True)
    record.write_text("{}")
    try:
        for command in ("verify", "doctor"):
            result = touchstone(home, command)
            assert_safe(result, result.code)
            assert json.loads(touchstone(home, command, "--json").stdout)
        assert "⟨U+001B⟩[2J⟨U+000A⟩FORGED.json" in touchstone(home, "doctor").stdout
    finally:
        record.unlink()


def test_a_buy_sheet_of_hostile_listings_can_be_recorded_unchanged(home: Path, tmp_path: Path) -> None:
    listings = [
        goods.listing_id for merchant in hostile_market() for goods in merchant.goods if len(goods.listing_id) < 5_000
    ]
    texts = dict.fromkeys(("listing_id", "merchant_id", "title", "url", "brand", "category"), listings)
    given = {"plan_id": "p1", "currency": "USD", "arm": "random", "stratum": "all"}
    picks = pa.table(
        texts
        | {name: [value] * len(listings) for name, value in given.items()}
        | {name: [1.0] * len(listings) for name in ("price", "cost", "inclusion_probability")}
    )
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    write_plan(copy / "test_buys" / "p1", {"plan_id": "p1", "budget": 9.0, "currency": "USD"}, picks)
    sheet = copy / "test_buys" / "p1" / "buy_sheet.csv"
    rows = list(csv.DictReader(io.StringIO(sheet.read_bytes().decode(), newline="")))
    assert len(sheet.read_text().splitlines()) == len(rows) + 1
    filled = tmp_path / "filled.csv"
    with filled.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(
            row | {"ordered_at": "2026-06-30 10:00", "decided_at": "2026-07-01 10:00", "verdict": "genuine"}
            for row in rows
        )
    result = assert_escaped(touchstone(copy, "test-buys", "record", str(filled), "--dry-run", "--json"))
    assert result["new"] == len(listings)
