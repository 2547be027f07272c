"""`touchstone doctor`: looks a home over and says what is wrong, where, and what to do. It changes nothing and waits for nobody.

What a run, a landing or a publication that was killed left behind is told as such; what no digest vouches for any more
is broken. While somebody writes to the home, what may be that writer's work in hand is not judged. A warehouse that is
missing or stale is no finding: it is made anew from what has landed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import duckdb
from pydantic import ValidationError

from expectations.contract import load_contract
from touchstone.core.errors import ExitCode, VerificationError
from touchstone.core.files import TEMPORARY_PREFIX, size_of
from touchstone.core.home import LOCK_FILE, MIGRATIONS, SCHEMA_FILE, SCHEMA_VERSION, schema_refusal, schema_version
from touchstone.core.lock import describe_holder, holder_pid, is_held
from touchstone.core.run_record import RunRecord, process_started
from touchstone.core.settings import Settings
from touchstone.core.text import visible
from touchstone.landing.erase import unfinished
from touchstone.landing.ledger import Ledger, damage, pinned_loads, removed_folders, unread_folders
from touchstone.maintenance.verification import verify_home

Level = Literal["broken", "act", "note"]
# Landing writes the sources anew, a rebuild the warehouse; beside them stand features, scores and marts of one more day.
ROOM_FACTOR = 2
MIB = 1024 * 1024
BY_DATE = ("features", "scores", "reasons", "marts")


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor found.

    Attributes:
        level: `broken`: a digest does not match. `act`: somebody has to do something. `note`: good to know.
        what: What it is, in words.
        where: The file or folder.
        remedy: What to do; empty for a note that asks for nothing.
    """

    level: Level
    what: str
    where: str
    remedy: str = ""

    def __str__(self) -> str:
        """Returns the finding as one line."""
        line = f"{self.level:6}  {visible(self.where)}: {self.what}"
        return f"{line} -> {self.remedy}" if self.remedy else line


def examine(settings: Settings) -> list[Finding]:
    """Returns everything that was found, what is broken first; what `touchstone doctor` prints."""
    home = settings.home
    if not home.is_dir():
        remedy = "name yours with TOUCHSTONE_HOME, or `touchstone run` to make one"
        return [Finding("act", "there is no home", str(home), remedy)]
    schema = list(_schema(home))
    if any(finding.level == "act" for finding in schema):
        return schema
    is_being_written = is_held(home / LOCK_FILE)
    found = [*schema, *_lock(home, is_held=is_being_written), *_runs(home), *_digests(home)]
    if not is_being_written:
        found += [*_leftovers(home), *_landing(home)]
    found += disk(home, shutil.disk_usage(home).free)
    order: tuple[Level, ...] = ("broken", "act", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def exit_code(findings: list[Finding]) -> ExitCode:
    """Returns 4 where a digest does not match, 2 where somebody has to act, else 0."""
    levels = {finding.level for finding in findings}
    if "broken" in levels:
        return ExitCode.VERIFICATION_FAILED
    return ExitCode.BAD_INPUT if "act" in levels else ExitCode.DONE


def as_data(findings: list[Finding]) -> list[dict[str, str]]:
    """Returns the findings as plain data."""
    return [asdict(finding) for finding in findings]


def _schema(home: Path) -> Iterator[Finding]:
    marker = home / SCHEMA_FILE
    if not marker.is_file():
        yield Finding("act", "the home bears no schema version", str(marker), "`touchstone run` marks it as a new home")
        return
    version = schema_version(home)
    if version in MIGRATIONS:
        yield Finding(
            "note", f"schema version {version}; the next command that writes makes it {SCHEMA_VERSION}", str(marker)
        )
    elif version != SCHEMA_VERSION:
        yield Finding(
            "act", "this version of Touchstone cannot read the home", str(marker), schema_refusal(home, version)
        )


def _lock(home: Path, *, is_held: bool) -> Iterator[Finding]:
    if not is_held:
        return
    path = home / LOCK_FILE
    pid = holder_pid(path)
    is_here = pid is not None and process_started(pid) != ""
    lives = (
        "it lives" if is_here else "that process is not on this machine: the lock is held from another, or by its child"
    )
    yield Finding(
        "note", f"{describe_holder(path)} writes to the home; {lives}. Leftovers were not looked for", str(path)
    )


def _runs(home: Path) -> Iterator[Finding]:
    remedy = "`touchstone run`: the next run marks it as failed and completes its work"
    for path in RunRecord.paths(home / "runs"):
        try:
            record = RunRecord.read(path)
        except (ValueError, KeyError, TypeError):
            yield Finding("act", "is no record of a run", str(path), "remove it")
            continue
        if record.outcome == "running" and not record.is_alive:
            said = f"run {record.run_id} of {record.started_at} died: process {record.pid} is gone"
            yield Finding("act", said, str(path), remedy)


def _digests(home: Path) -> Iterator[Finding]:
    """Yields what no digest vouches for: lists, loads, ledger, and the log of approvals with the models it names."""
    verified = verify_home(home)
    told = set()
    for problem in verified.problems:
        told.add(problem.split(" ", maxsplit=1)[0])
        yield Finding("broken", problem, "published", "restore what it names from a backup")
    yield from (Finding("note", note, "landing") for note in verified.notes)
    landing = home / "landing"
    ledger = Ledger(landing)
    try:
        loads = {(load.table, load.load_id): load for load in ledger.read() if load.status == "accepted"}
        for path, what in damage(landing, loads.values()):
            if str(path) not in told:
                yield Finding(
                    "broken", what, str(path), "restore it from a backup; without one, land again in a new home"
                )
    except (VerificationError, ValidationError) as error:
        yield Finding("broken", str(error), str(ledger.log.path), "restore it from a backup")
    yield from _models(home)


def _models(home: Path) -> Iterator[Finding]:
    from ml.registry import Registry

    registry = Registry(home)
    remedy = "restore it from a backup, or `touchstone models approve` another version"
    try:
        for model in sorted({decision.model for decision in registry.approvals.decisions()}):
            registry.champion(model)
    except VerificationError as error:
        yield Finding("broken", str(error), str(registry.approvals.path), remedy)


def _leftovers(home: Path) -> Iterator[Finding]:
    """Yields what writers that were killed left half written."""
    remedy = "the next `touchstone prune --keep-days N` removes them"
    for folder in sorted(path for path in home.iterdir() if path.is_dir() and path.name not in {"dagster", "dbt"}):
        left = [path for path in folder.rglob(f"{TEMPORARY_PREFIX}*") if TEMPORARY_PREFIX not in str(path.parent)]
        if left:
            size = sum(map(size_of, left)) / MIB
            yield Finding(
                "note", f"{len(left)} half-written files or folders of dead runs, {size:.1f} MiB", str(folder), remedy
            )
    for under_way in sorted((home / "published").glob("*/.publishing")):
        yield Finding(
            "act", "a publication was cut short; readers have the list before", str(under_way), "`touchstone run`"
        )


def _landing(home: Path) -> Iterator[Finding]:
    landing = home / "landing"
    try:
        lines = Ledger(landing).lines()
        held = unfinished(landing, load_contract())
    except (VerificationError, ValidationError, duckdb.Error):
        return  # a damaged ledger or load; said by `_digests`
    removed = removed_folders(landing, lines)
    left = [folder for folder in unread_folders(landing, lines) if folder not in removed]
    for load in held:
        said = "still holds rows of a person who was erased: the command was cut short"
        yield Finding("act", said, str(landing / load), "give the same `touchstone erase KIND HASH` again")
    for folder in removed:
        yield Finding(
            "act", "was pruned or erased, and is still there", str(folder), "`touchstone run`, or prune again"
        )
    if left:
        size = sum(map(size_of, left)) / MIB
        said = f"{len(left)} folders that no line of the ledger names, left by landings that died, {size:.1f} MiB"
        yield Finding("note", said, str(landing), "the next `touchstone prune --keep-days N` removes them")


def disk(home: Path, free: int) -> list[Finding]:
    """Compares the free bytes with what the next run may write, as the last one shows it."""
    written = size_of(home / "warehouse.duckdb")
    try:
        pins = pinned_loads(Ledger(home / "landing").read(), load_contract())
    except (VerificationError, ValidationError):
        return []  # said by `_digests`
    written += sum(
        size_of(path) for loads in pins.current.values() for load in loads for path in load.paths(home / "landing")
    )
    for name in BY_DATE:
        written += sum(max(map(size_of, folder.glob("as_of=*")), default=0) for folder in (home / name).glob("*"))
    said = f"{free / MIB:,.0f} MiB free; the next run may write {written / MIB:,.0f} MiB"
    if free < ROOM_FACTOR * written:
        return [
            Finding(
                "act",
                f"{said}, and wants twice that",
                str(home),
                "free some space, or `touchstone prune --keep-days N`",
            )
        ]
    return [Finding("note", said, str(home))]
