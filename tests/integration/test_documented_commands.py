"""Every command shown in the README and docs/, run as a user runs it: in its own process, over a rated home.

The quick tests run each command that takes seconds once, in a process forked from one that has imported the libraries.
The slow ones run all of them ten times each as from a shell, over the demo home of `make run`: only there would an
abort during Python's shutdown be detected.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from conftest import FIRST_DAY, NEXT_DAY, ROOT, Homes

from tests import warm
from tests.ml_fixtures import train_again

PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
"""Without docs/decisions, which record the state at the time of writing."""
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
COMMAND = re.compile(r"(?:\.venv/bin/)?((?:touchstone|dagster job execute)(?: .*)?)")
BIN = Path(sys.executable).parent
SERVERS = ("touchstone ui",)
"""Commands that run until they are stopped; tests/browser starts and stops them."""
TAKES_LONG = ("run", "backfill", "backtest", "evaluate", "demo")
COVERED_ELSEWHERE = ("touchstone dbt compile", "touchstone dbt docs")
"""Tested in test_dbt_command.py; each takes half a minute."""
TIMES = 10

DONE, BAD_INPUT, GATE_REFUSED = 0, 2, 3
APPROVE = 'touchstone models approve listing_counterfeit 2 --who "your name" --why "what convinced you"'
CODES = {
    "touchstone alerts test": BAD_INPUT,  # no channel is set
    "touchstone models shadow listing_counterfeit": BAD_INPUT,  # no day has been rated by both versions yet
    'touchstone sources accept TABLE --why "…"': BAD_INPUT,  # no load of the home was refused
    "touchstone sources draft exports/*.csv --output my_market.yml": BAD_INPUT,  # the file exists, test_first_day.py runs it
    # Mentioned in a sentence, without their required arguments:
    "touchstone backfill": BAD_INPUT,
    "touchstone evaluate": BAD_INPUT,
    "touchstone leads hand-over": BAD_INPUT,
    "touchstone models approve": BAD_INPUT,
    "touchstone policies try": BAD_INPUT,
    "touchstone prune": BAD_INPUT,
    "touchstone report --public": BAD_INPUT,
    "touchstone sources check": BAD_INPUT,
    "touchstone suppress add": BAD_INPUT,
    "touchstone trace": BAD_INPUT,
}
"""Exit codes other than 0."""
CODES_AGAIN = {
    "touchstone sources draft exports/*.csv --output draft.yml": BAD_INPUT,  # the file exists
    'touchstone suppress add listing ID --why "invoice seen" --until 2027-01-01': BAD_INPUT,  # it is suppressed already
    'touchstone models rollback listing_counterfeit --why "what went wrong"': BAD_INPUT,  # only one is before it
    'touchstone models shadow listing_counterfeit --stop --who "your name" --why "seen enough"': BAD_INPUT,
}
"""Exit codes of a repeated command that differ from the first ones."""
PREPARED_BY = {
    'touchstone models rollback listing_counterfeit --why "what went wrong"': (
        "touchstone models approve listing_counterfeit 2 --override --why before",
    ),
    "touchstone models shadow listing_counterfeit": ("touchstone models shadow listing_counterfeit 2 --why before",),
    'touchstone models shadow listing_counterfeit --stop --who "your name" --why "seen enough"': (
        "touchstone models shadow listing_counterfeit 2 --why before",
    ),
    "touchstone test-buys record buy_sheet.csv": ("touchstone test-buys plan --budget 20000",),
    "touchstone test-buys record buy_sheet.csv --dry-run": ("touchstone test-buys plan --budget 20000",),
    "touchstone test-buys report": ("touchstone test-buys plan --budget 20000",),
    "touchstone audits record decision_sheet.csv": ("touchstone audits plan --size 200",),
    "touchstone audits record decision_sheet.csv --dry-run": ("touchstone audits plan --size 200",),
}
"""Commands to run before, where the page runs them first."""


def documented() -> dict[str, list[str]]:
    """Returns every command shown on a page, in a block or in a sentence, with the pages' names."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        rest = BLOCK.sub("", text)
        lines = [line.strip() for block in BLOCK.findall(text) for line in block.splitlines()]
        lines += [line.strip() for line in rest.splitlines() if line.startswith("    ")]
        lines += [re.sub(r"\s+", " ", code) for code in INLINE.findall(rest)]
        for line in lines:
            if match := COMMAND.fullmatch(re.sub(r"\s+#.*|\s+\\?\|.*", "", line)):  # a comment, or a pipe
                found.setdefault(match[1], []).append(page.name)
    return {command: sorted(set(pages)) for command, pages in sorted(found.items())}


DOCUMENTED = [command for command in documented() if command not in SERVERS]
SHORT = [command for command in DOCUMENTED if command in CODES or command.split()[1] not in (*TAKES_LONG, "job")]


@dataclass(frozen=True)
class Sandbox:
    """A home to run commands over, a working folder, and the values of the pages' placeholders."""

    home: Path
    folder: Path
    names: dict[str, str]
    environment: dict[str, str]
    is_forked: bool = False

    def run(self, command: str, seconds: int = 3600) -> subprocess.CompletedProcess[str]:
        """Runs a command as a page shows it."""
        for name, value in self.names.items():
            command = re.sub(name, value.replace("\\", r"\\"), command)
        words = shlex.split(command.replace("[", "").replace("]", ""))
        if "buy_sheet.csv" in words:
            done = {"ordered_at": f"{NEXT_DAY} 12:00:00", "decided_at": f"{NEXT_DAY} 13:00:00", "verdict": "genuine"}
            fill_sheet(self.home / "test_buys", self.folder / "buy_sheet.csv", done)
        if "decision_sheet.csv" in words:
            done = {"decided_at": f"{NEXT_DAY} 13:00:00", "verdict": "genuine"}
            fill_sheet(self.home / "audits", self.folder / "decision_sheet.csv", done)
        environment = os.environ | self.environment | {"TOUCHSTONE_HOME": str(self.home)}
        if self.is_forked and words[0] == "touchstone":
            with tempfile.TemporaryDirectory() as folder:
                code, stdout, stderr = warm.run(words[1:], environment, Path(folder), seconds, self.folder)
            return subprocess.CompletedProcess(words, code, stdout, stderr)
        return subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )


def assert_exits_as_documented(sandbox: Sandbox, command: str, times: int) -> None:
    """Runs a command the given number of times, after its preparation, and asserts each exit code."""
    for before in PREPARED_BY.get(command, ()):
        prepared = sandbox.run(before)
        assert prepared.returncode == DONE, prepared.stdout + prepared.stderr
    first = CODES.get(command, DONE)
    if (
        command == APPROVE
        and json.loads(sandbox.run("touchstone models show listing_counterfeit 2 --json").stdout)["failures"]
    ):
        first = GATE_REFUSED  # by chance, as its training was short
    codes = [first, *[CODES_AGAIN.get(command, first)] * (times - 1)]
    for number, code in enumerate(codes, start=1):
        done = sandbox.run(command)
        message = f"{command}: time {number} ended with {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        assert done.returncode == code, message
        assert "Traceback" not in done.stderr, message
        assert "bug in Touchstone" not in done.stderr, message
        assert "terminate called" not in done.stderr, message


def one(query: str, *parameters: Any) -> Any:
    row = duckdb.execute(query, list(parameters)).fetchone()
    assert row is not None, query
    return row[0]


def names_of(home: Path, days: Sequence[str]) -> dict[str, str]:
    """Returns the values of the pages' placeholders in a home, by a pattern that matches them."""
    published = home / "published" / "listings"
    before, after = (next(published.glob(f"{day}-*")) for day in days)
    leads, rated = home / "leads" / f"as_of={days[1]}", home / "marts" / "rated_listings" / f"as_of={days[1]}"
    buyer = one("select min(buyer_id) from read_parquet(?)", str(home / "landing" / "orders" / "*" / "*.parquet"))
    first = duckdb.execute(
        "select lead_id, brand from read_parquet($leads) as leads inner join read_parquet($members) using (lead_id) "
        "inner join read_parquet($rated) using (merchant_id) where is_flagged and held_by is null and brand is not null "
        "order by leads.rank, brand",
        {
            "leads": str(leads / "leads.parquet"),
            "members": str(leads / "lead_merchants.parquet"),
            "rated": str(rated / "rated_listings.parquet"),
        },
    ).fetchone()
    assert first is not None, "no lead has a listing of a brand"
    lead, brand = first
    return {
        r"lead-[0-9a-f]{12}": lead,
        r"\bKIND HASH\b": f"buyer {buyer}",
        r"\b(LISTING_)?ID\b": str(one("select min(listing_id) from read_parquet(?)", str(after / "listings.parquet"))),
        r"\bLIST VERSION": "listings VERSION",
        r"\bVERSION_A\b": before.name,
        r"\bVERSION_B\b": after.name,
        r"\bKivivial\b": str(brand),
        r"--from DATE --to DATE": f"--from {days[0]} --to {days[1]}",
        r"my_market\.yml|(?<=sources check )FILE": str(home / "marketplace" / "sources.yml"),
    }


def fill_sheet(plans: Path, target: Path, done: dict[str, str]) -> None:
    """Fills in the newest plan's sheet, as its reader would."""
    sheet = max(plans.glob(f"*/{target.name}"), key=lambda path: path.stat().st_mtime)
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = [row | done for row in csv.DictReader(file)]
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_files(home: Path, folder: Path, policy: Path) -> None:
    """Writes the files that pages mention: decisions, another policy, a labelled table, and exports of a marketplace."""
    listing = one("select min(listing_id) from read_parquet(?)", str(home / "landing" / "listings" / "*" / "*.parquet"))
    merchant = one(
        "select min(merchant_id) from read_parquet(?)", str(home / "landing" / "merchants" / "*" / "*.parquet")
    )
    entity = f"listing,{listing},counterfeit,2026-06-20 12:00:00"
    (folder / "decisions.csv").write_text(
        f"entity_kind,entity_id,violation_type,decided_at,verdict\n{entity},genuine\n"
    )
    (folder / "appeals.csv").write_text(
        f"entity_kind,entity_id,violation_type,submitted_at,appeal_id,outcome\n{entity},appeal-1,pending\n"
    )
    (folder / "cases.csv").write_text(
        f"case_id,merchant_id,stage,stage_at,violation_type\ncase-1,{merchant},filed,2026-06-20 12:00:00,counterfeit\n"
    )
    stricter = {**yaml.safe_load(policy.read_text()), "target_precision": 0.95}
    (folder / "stricter.yml").write_text(yaml.safe_dump(stricter))
    shutil.copy(folder / "stricter.yml", folder / "FILE")
    (folder / "exports").mkdir(exist_ok=True)
    (folder / "exports" / "sellers.csv").write_text("seller_no,shop_name\n1,Alpha\n2,Beta\n")
    (folder / "exports" / "items.csv").write_text("item_no,seller_no,title,created_at\n1,1,Red shoes,2026-01-31\n")
    generator = random.Random(7)
    words = {"yes": ("cheap", "copy", "mirror", "quality"), "no": ("box", "fast", "charger", "thanks")}
    with (folder / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("review_id", "author", "body", "stars", "fake"))
        for number in range(400):
            fake = generator.choice(("yes", "no"))
            body = " ".join(generator.choices(words[fake] + words["no"], k=8))
            writer.writerow((number, number % 80, body, generator.randint(1, 5), fake))


@pytest.fixture(scope="module")
def prepared(homes: Homes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small home that was rated as of two days, with a second version of the listings' model; read-only."""
    home = tmp_path_factory.mktemp("documented") / "home"
    shutil.copytree(homes.undisturbed, home)
    train_again(home, "listing_counterfeit", FIRST_DAY, homes.policy.with_name("thresholds.yml"), rounds=100)
    return home


@pytest.fixture
def small(homes: Homes, prepared: Path, tmp_path: Path) -> Iterator[Sandbox]:
    """A copy of it that a test may damage."""
    home = tmp_path / "home"
    shutil.copytree(prepared, home)
    write_files(home, tmp_path, homes.policy)
    yield Sandbox(
        home, tmp_path, names_of(home, (FIRST_DAY, NEXT_DAY)), {"TOUCHSTONE_POLICY": str(homes.policy)}, is_forked=True
    )
    shutil.rmtree(home)


def test_pages_show_commands_of_every_group() -> None:
    groups = {command.split()[1] for command in DOCUMENTED}
    assert {"lists", "leads", "models", "policies", "sources", "suppress", "test-buys", "trace", "verify"} <= groups
    assert {*CODES, *CODES_AGAIN, *PREPARED_BY} <= set(DOCUMENTED), "only what a page shows"


@pytest.mark.parametrize(
    "command",
    [pytest.param(command, marks=[pytest.mark.slow] * command.startswith(COVERED_ELSEWHERE)) for command in SHORT],
)
def test_a_documented_command_exits_as_documented(small: Sandbox, command: str) -> None:
    assert_exits_as_documented(small, command, 1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The demo home of `make run`, rated as of a second day, with a second version of the listings' model."""
    folder = tmp_path_factory.mktemp("demo")
    home = folder / "home"
    bare = Sandbox(home, folder, {}, {})
    for command in (
        "touchstone run --approve-if-passing",
        f"touchstone backfill --from {FIRST_DAY} --to {FIRST_DAY}",
    ):
        done = bare.run(command)
        assert done.returncode == DONE, done.stdout + done.stderr
    train_again(home, "listing_counterfeit", NEXT_DAY, ROOT / "ml" / "thresholds.yml", rounds=100)
    write_files(home, folder, ROOT / "policies" / "default.yml")
    return Sandbox(home, folder, names_of(home, (FIRST_DAY, NEXT_DAY)), {})


def copy_of(demo: Sandbox, folder: Path) -> Sandbox:
    """Returns a copy of the demo home and of the files next to it, in a folder."""
    home = folder / "home"
    shutil.copytree(demo.home, home)
    for file in demo.folder.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    shutil.copytree(demo.folder / "exports", folder / "exports")
    return Sandbox(
        home, folder, {name: value.replace(str(demo.home), str(home)) for name, value in demo.names.items()}, {}
    )


@pytest.fixture(scope="module")
def shared_demo(demo: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A copy shared by the long-running commands: one reuses what another built, such as a backtest's steps."""
    return copy_of(demo, tmp_path_factory.mktemp("shared"))


@pytest.mark.slow
@pytest.mark.parametrize("command", SHORT)
def test_a_documented_command_exits_as_documented_ten_times(demo: Sandbox, tmp_path: Path, command: str) -> None:
    sandbox = copy_of(demo, tmp_path)
    assert_exits_as_documented(sandbox, command, TIMES)
    shutil.rmtree(sandbox.home)


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in DOCUMENTED if command not in SHORT])
def test_a_documented_command_that_takes_long_exits_as_documented_ten_times(
    demo: Sandbox, shared_demo: Sandbox, tmp_path: Path, command: str
) -> None:
    makes_another_demo = command.startswith("touchstone demo")
    sandbox = copy_of(demo, tmp_path) if makes_another_demo else shared_demo
    assert_exits_as_documented(sandbox, command, TIMES)
    if makes_another_demo:
        shutil.rmtree(sandbox.home)
