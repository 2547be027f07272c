"""`touchstone doctor`: examines a home and reports what is wrong, where, and what to do. It changes nothing and never waits.

It reports what killed runs, landings and publications left, and data that does not match its digest. While another process
writes to the home, possible work in progress is not reported. A missing or outdated warehouse is no finding: the next run
rebuilds it from the landed data.
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
from touchstone.core.home import (
    AS_OF_PREFIX,
    LOCK_FILE,
    SCHEMA_FILE,
    SCHEMA_VERSION,
    Home,
    schema_refusal,
    schema_version,
)
from touchstone.core.lock import describe_holder, holder_pid, is_held
from touchstone.core.run_record import RunRecord, process_started
from touchstone.core.settings import Settings
from touchstone.core.text import visible
from touchstone.landing.erase import unfinished_erasures
from touchstone.landing.ledger import Ledger, damage, pinned_loads, removed_folders, unread_folders
from touchstone.maintenance.verification import verify_home

Level = Literal["broken", "act", "note"]
# Landing writes all sources again, a rebuild the warehouse, and the run features, scores and marts of another day.
ROOM_FACTOR = 2
MIB = 1024 * 1024
BY_DATE = ("features", "scores", "reasons", "marts")


@dataclass(frozen=True)
class Finding:
    """One finding of the doctor.

    Attributes:
        level: `broken`: a digest does not match. `act`: action is needed. `note`: information.
        what: A description.
        where: The file or folder.
        remedy: What to do; empty if nothing.
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
    """Returns all findings about a home, sorted by level.

    Args:
        settings: The settings, which name the home.
    """
    home = settings.home
    if not home.is_dir():
        remedy = "set TOUCHSTONE_HOME, or create a home with `touchstone run`"
        return [Finding("act", "there is no home", str(home), remedy)]
    schema = list(_schema(home))
    if any(finding.level == "act" for finding in schema):
        return schema
    is_being_written = is_held(home / LOCK_FILE)
    findings = [*schema, *_lock(home, is_held=is_being_written), *_runs(home), *_digests(home)]
    if not is_being_written:
        findings += [*_leftovers(home), *_landing(home)]
    findings += disk(home, shutil.disk_usage(home).free)
    order: tuple[Level, ...] = ("broken", "act", "note")
    return sorted(findings, key=lambda finding: order.index(finding.level))


def exit_code(findings: list[Finding]) -> ExitCode:
    """Returns 4 if a digest does not match, 2 if action is needed, else 0."""
    levels = {finding.level for finding in findings}
    if "broken" in levels:
        return ExitCode.VERIFICATION_FAILED
    return ExitCode.BAD_INPUT if "act" in levels else ExitCode.DONE


def as_data(findings: list[Finding]) -> list[dict[str, str]]:
    """Returns the findings as JSON-like data."""
    return [asdict(finding) for finding in findings]


def _schema(home: Path) -> Iterator[Finding]:
    marker = home / SCHEMA_FILE
    if not marker.is_file():
        yield Finding("act", "the home has no schema version", str(marker), "`touchstone run` marks it as a new home")
        return
    version = schema_version(home)
    if version != SCHEMA_VERSION:
        yield Finding(
            "act", "this version of Touchstone cannot read the home", str(marker), schema_refusal(home, version)
        )


def _lock(home: Path, *, is_held: bool) -> Iterator[Finding]:
    if not is_held:
        return
    path = home / LOCK_FILE
    pid = holder_pid(path)
    is_running = pid is not None and process_started(pid) != ""
    state = (
        "it is running"
        if is_running
        else "that process is not running on this machine: another machine, or its child process, holds the lock"
    )
    yield Finding(
        "note", f"{describe_holder(path)} writes to the home; {state}. Leftovers were not searched for", str(path)
    )


def _runs(home: Path) -> Iterator[Finding]:
    remedy = "`touchstone run`: the next run marks it as failed and completes its work"
    for path in RunRecord.paths(Home(home).runs):
        try:
            record = RunRecord.read(path)
        except (ValueError, KeyError, TypeError):
            yield Finding("act", "is not a run record", str(path), "remove it")
            continue
        if record.outcome == "running" and not record.is_alive:
            what = f"run {record.run_id} of {record.started_at} was killed: process {record.pid} no longer exists"
            yield Finding("act", what, str(path), remedy)


def _digests(home: Path) -> Iterator[Finding]:
    """Yields data that does not match its digest: lists, loads, ledger, and the log of approvals with its models."""
    verified = verify_home(home)
    reported = set()
    for problem in verified.problems:
        reported.add(problem.split(" ", maxsplit=1)[0])
        yield Finding("broken", problem, "published", "restore what it names from a backup")
    yield from (Finding("note", note, "landing") for note in verified.notes)
    landing = Home(home).landing
    ledger = Ledger(landing)
    try:
        loads = {(load.table, load.load_id): load for load in ledger.read() if load.status == "accepted"}
        for path, what in damage(landing, loads.values()):
            if str(path) not in reported:
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
    """Yields what killed writers left."""
    remedy = "the next `touchstone prune --keep-days N` removes them"
    for folder in sorted(path for path in home.iterdir() if path.is_dir() and path.name not in {"dagster", "dbt"}):
        leftovers = [path for path in folder.rglob(f"{TEMPORARY_PREFIX}*") if TEMPORARY_PREFIX not in str(path.parent)]
        if leftovers:
            size = sum(map(size_of, leftovers)) / MIB
            yield Finding(
                "note", f"{len(leftovers)} partial files or folders of killed runs, {size:.1f} MiB", str(folder), remedy
            )
    for marker in sorted(Home(home).published.glob("*/.publishing")):
        yield Finding(
            "act", "a publication was interrupted; readers see the previous list", str(marker), "`touchstone run`"
        )


def _landing(home: Path) -> Iterator[Finding]:
    landing = Home(home).landing
    try:
        lines = Ledger(landing).lines()
        unerased = unfinished_erasures(landing, load_contract())
    except (VerificationError, ValidationError, duckdb.Error):
        return  # a damaged ledger or load; `_digests` reports it
    removed = removed_folders(landing, lines)
    unread = [folder for folder in unread_folders(landing, lines) if folder not in removed]
    for load in unerased:
        what = "still holds rows of an erased person: the command was interrupted"
        yield Finding("act", what, str(landing / load), "run the same `touchstone erase KIND HASH` again")
    for folder in removed:
        yield Finding("act", "was pruned or erased, but still exists", str(folder), "`touchstone run`, or prune again")
    if unread:
        size = sum(map(size_of, unread)) / MIB
        what = f"{len(unread)} folders of killed landings, which the ledger does not name, {size:.1f} MiB"
        yield Finding("note", what, str(landing), "the next `touchstone prune --keep-days N` removes them")


def disk(home: Path, free: int) -> list[Finding]:
    """Compares the free disk space with what the next run may write, estimated from the previous one.

    Args:
        home: The home.
        free: Free bytes.
    """
    written = size_of(Home(home).warehouse)
    try:
        pins = pinned_loads(Ledger(Home(home).landing).read(), load_contract())
    except (VerificationError, ValidationError):
        return []  # `_digests` reports it
    written += sum(
        size_of(path) for loads in pins.current.values() for load in loads for path in load.paths(Home(home).landing)
    )
    for name in BY_DATE:
        written += sum(
            max(map(size_of, folder.glob(f"{AS_OF_PREFIX}*")), default=0) for folder in (home / name).glob("*")
        )
    what = f"{free / MIB:,.0f} MiB free; the next run may write {written / MIB:,.0f} MiB"
    if free < ROOM_FACTOR * written:
        return [
            Finding(
                "act",
                f"{what}, and needs twice that",
                str(home),
                "free some space, or `touchstone prune --keep-days N`",
            )
        ]
    return [Finding("note", what, str(home))]
