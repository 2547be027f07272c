"""The home as a whole: the schema that its folders follow, how an older one is brought up to date, who writes to it, its demo.

Version 2 added ledger lines of loads that were pruned or erased, which version 1 cannot read, and Dagster's rule that a
backfill from its UI rates one day at a time, oldest first.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from touchstone.core.errors import BadInputError
from touchstone.core.files import write_bytes
from touchstone.core.lock import writer_lock
from touchstone.core.settings import Settings, quiet_libraries

logger = logging.getLogger("touchstone")
SCHEMA_VERSION = 2
SCHEMA_FILE = "schema_version"
LOCK_FILE = "lock"
# Written by runs alone, under the lock. Landing and publishing see themselves to what a kill left there.
REBUILT = (
    "signals",
    "features",
    "training",
    "scores",
    "shadow",
    "reasons",
    "marts",
    "gates",
    "candidates",
    "leads",
    "pinned",
    "models",
    "reports",
)
_DAGSTER_YAML_1 = b"""# Written by Touchstone: nothing leaves this machine, and our log lines show in the UI.
telemetry: {enabled: false}
nux: {enabled: false}
python_logs: {managed_python_loggers: [touchstone], python_log_level: INFO}
"""
DAGSTER_YAML = (
    _DAGSTER_YAML_1
    + b"""# A day's list stands on the list before it, so a backfill rates one day at a time, oldest first.
concurrency:
  runs:
    tag_concurrency_limits: [{key: dagster/backfill, limit: 1, value: {applyLimitPerUniqueValue: true}}]
"""
)


def _from_1_to_2(home: Path) -> None:
    """Gives Dagster the rule for backfills, where its file is as version 1 wrote it; a person's own stays."""
    file = home / "dagster" / "dagster.yaml"
    if file.is_file() and file.read_bytes() == _DAGSTER_YAML_1:
        write_bytes(file, DAGSTER_YAML)


# What brings a home from a version to the next. Each may be repeated after a kill: the marker is written last.
MIGRATIONS: dict[int, Callable[[Path], None]] = {1: _from_1_to_2}


def prepare_home(settings: Settings) -> None:
    """Makes the home, brings an older one up to date, and points this process's Dagster at it.

    Raises:
        BadInputError: The home bears a schema version that cannot be used, or cannot be written.
    """
    ensure_schema(settings)
    dagster_yaml = settings.home / "dagster" / "dagster.yaml"
    with _usable(settings.home):
        dagster_yaml.parent.mkdir(exist_ok=True)
        if not dagster_yaml.exists():
            write_bytes(dagster_yaml, DAGSTER_YAML)
    quiet_libraries()
    # A home has a Dagster of its own, whatever the shell that starts us points at.
    os.environ["DAGSTER_HOME"] = str(dagster_yaml.parent)


def ensure_schema(settings: Settings) -> None:
    """Marks a new home with the schema version, and migrates an older one, having waited for whoever writes to it.

    Raises:
        BadInputError: The home bears a schema version that cannot be used, or cannot be written.
    """
    home = settings.home
    with _usable(home):
        home.mkdir(parents=True, exist_ok=True)
        if not (home / SCHEMA_FILE).exists():
            write_bytes(home / SCHEMA_FILE, f"{SCHEMA_VERSION}\n".encode())
    if schema_version(home) == SCHEMA_VERSION:
        return
    with home_lock(settings, "touchstone, migrating the home"):
        while (version := schema_version(home)) != SCHEMA_VERSION:
            if version not in MIGRATIONS:
                raise BadInputError(schema_refusal(home, version))
            with _usable(home):
                MIGRATIONS[version](home)
                write_bytes(home / SCHEMA_FILE, f"{version + 1}\n".encode())
            logger.info("The home %s was migrated from schema version %d to %d.", home, version, version + 1)


def schema_version(home: Path) -> int | None:
    """Returns the schema version that a home bears, or None where the file holds no number."""
    text = (home / SCHEMA_FILE).read_text(errors="replace").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def schema_refusal(home: Path, version: int | None) -> str:
    """Returns why a home cannot be used, and the way out."""
    if version is None:
        said = f"{home / SCHEMA_FILE} holds no version. Write into it the version that the home had, or restore it."
    else:
        said = (
            f"The home {home} bears schema version {version}; this version of Touchstone reads {SCHEMA_VERSION} and migrates "
            f"{', '.join(map(str, sorted(MIGRATIONS)))}. Use the version of Touchstone that made it."
        )
    return f"{said} Or name a new home with TOUCHSTONE_HOME."


@contextmanager
def home_lock(settings: Settings, purpose: str) -> Iterator[None]:
    """Holds the home's writer lock, having waited for whoever holds it, with a line that says for whom."""
    with writer_lock(
        settings.home / LOCK_FILE,
        purpose=purpose,
        wait_seconds=settings.lock_wait_seconds,
        on_wait=lambda message: logger.warning("%s", message),
    ):
        yield


@contextmanager
def _usable(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInputError(
            f"The home {home} cannot be used: {error}. Name another with TOUCHSTONE_HOME, or mend its permissions."
        ) from error
