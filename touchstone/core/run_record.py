"""One JSON record per pipeline run: its stages with their times and rows, its peak memory, and its outcome.

The record is written before the run waits for the lock and after every stage, so that a killed run leaves a record of its
completed stages. A record with outcome `running` whose process is gone belongs to a killed run.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from touchstone.core.files import TEMPORARY_PREFIX, write_json

Outcome = Literal["running", "done", "refused", "failed", "killed", "stopped"]


@dataclass
class Stage:
    """One stage of a run.

    Attributes:
        name: Its name.
        seconds: Wall time.
        peak_memory_mib: Peak memory of the process during the stage, including memory that earlier stages still hold.
        written_mib: Data that the process wrote to disk, including spilled data; None if the system does not report it.
        rows: Number of rows that the stage wrote, by name.
        steps: Seconds of its longest steps, by name.
        has_failed: Whether it raised.
    """

    name: str
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    written_mib: float | None = None
    rows: dict[str, int] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    has_failed: bool = False


@dataclass
class RunRecord:
    """The record of one run, stored at `runs/<run_id>.json`."""

    path: Path
    run_id: str
    started_at: str
    pid: int
    process_started: str
    dagster_run_ids: list[str] = field(default_factory=list)
    outcome: Outcome = "running"
    message: str = ""
    stages: list[Stage] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, runs: Path, run_id: str, *, dagster_run_id: str | None = None) -> RunRecord:
        """Creates and writes a record, or continues the one that this process has created with that id.

        Args:
            runs: Folder of the records.
            run_id: The run's id.
            dagster_run_id: Id of the Dagster run, which is added to the record.
        """
        path = runs / f"{run_id}.json"
        record = cls.read(path) if path.exists() else None
        if record is None or not record.is_alive:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")  # to order runs that start in the same second
            record = cls(path, run_id, now, os.getpid(), process_started(os.getpid()))
        if dagster_run_id is not None:
            record.dagster_run_ids.append(dagster_run_id)
        record.write()
        return record

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Reads a record."""
        content = json.loads(path.read_text())
        content.pop("peak_memory_mib")
        content["stages"] = [Stage(**stage) for stage in content["stages"]]
        return cls(path=path, **content)

    @staticmethod
    def paths(runs: Path) -> list[Path]:
        """Returns the paths of the records, sorted, without temporary files."""
        return sorted(path for path in runs.glob("*.json") if not path.name.startswith(TEMPORARY_PREFIX))

    @classmethod
    def read_all(cls, runs: Path) -> list[RunRecord]:
        """Returns the records of all runs, oldest first."""
        return sorted(map(cls.read, cls.paths(runs)), key=lambda record: (record.started_at, record.run_id))

    @classmethod
    def read_dead(cls, runs: Path) -> list[RunRecord]:
        """Returns the records with outcome `running` whose process is gone, oldest first."""
        return [record for record in cls.read_all(runs) if record.outcome == "running" and not record.is_alive]

    @property
    def is_alive(self) -> bool:
        """Whether the process that created the record still runs."""
        return self.process_started != "" and process_started(self.pid) == self.process_started

    @property
    def has_failed(self) -> bool:
        """Whether a stage raised the last time that it was tried."""
        return any(stage.has_failed for stage in {stage.name: stage for stage in self.stages}.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Measures one stage; the record is written when the stage ends or fails."""
        stage = Stage(name, has_failed=True)
        _reset_peak_memory()
        began, written = time.monotonic(), _written_bytes()
        try:
            yield stage
            stage.has_failed = False
        finally:
            stage.seconds = round(time.monotonic() - began, 3)
            stage.peak_memory_mib = _peak_memory_mib()
            if written is not None and (now := _written_bytes()) is not None:
                stage.written_mib = round((now - written) / 2**20, 1)
            self.stages.append(stage)
            self.write()

    def end(self, outcome: Outcome, message: str = "") -> None:
        """Writes the outcome of the run."""
        self.outcome, self.message = outcome, message
        self.write()

    def write(self) -> None:
        """Writes the record atomically."""
        content = {key: value for key, value in asdict(self).items() if key != "path"}
        peak = max([_peak_memory_mib(), *(stage.peak_memory_mib for stage in self.stages)])
        write_json(self.path, {**content, "peak_memory_mib": peak})


def _peak_memory_mib() -> float:
    """Returns this process's peak memory since `_reset_peak_memory`, or since its start where that has no effect."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(peak.split()[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _reset_peak_memory() -> None:
    # Works only on Linux, and not in every container; otherwise a stage's peak includes that of all earlier stages.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _written_bytes() -> int | None:
    """Returns the bytes that this process has sent to disk, or None if the system does not report them."""
    try:
        counters = Path("/proc/self/io").read_text()
    except OSError:
        return None
    return int(next(line for line in counters.splitlines() if line.startswith("write_bytes:")).split()[1])


def process_started(pid: int) -> str:
    """Returns a value that distinguishes a process from a later one with the same id; empty if the process is gone.

    On Linux this is its start time in clock ticks; elsewhere a constant.
    """
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        return "running"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
