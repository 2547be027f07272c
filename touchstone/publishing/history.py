"""The files of published lists, and their history, which determines the version in force.

    published/<list>/<version>/{<list>.parquet,<list>.csv,manifest.json,receipt.json[,receipt-<n>.json]}
    published/<list>/history.jsonl   one line per publication, hash-chained; a version is published once it has a line
    published/<list>/LATEST          the name of the version that readers use
    published/<list>/.publishing     only during a publication, or after an interrupted one: names it

`ListStore` reads these files; only `publish` writes them, and only `verify` checks them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from touchstone.core.errors import VerificationError
from touchstone.core.files import sha256_file
from touchstone.core.hash_chain import PREVIOUS, ChainedLog
from touchstone.publishing.manifest import MANIFEST_FILE, Manifest, Sha256, Version, version_date

HISTORY_FILE = "history.jsonl"
LATEST_FILE = "LATEST"
PENDING_FILE = ".publishing"
Receipt = Annotated[str, StringConstraints(pattern=r"^receipt(-[1-9][0-9]*)?\.json$")]


class Publication(BaseModel):
    """One line of history: a published version and the receipt of the publication."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    manifest_sha256: Sha256
    receipt: Receipt
    receipt_sha256: Sha256


class PendingPublication(BaseModel):
    """The content of `.publishing`: the version and the receipt that are being added."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    receipt: Receipt


@dataclass(frozen=True)
class ListStore:
    """Reads the folder of one published list."""

    published: Path
    list_name: str

    @property
    def directory(self) -> Path:
        """`published/<list>`."""
        return self.published / self.list_name

    @property
    def latest_file(self) -> Path:
        """The file that names the version in use."""
        return self.directory / LATEST_FILE

    @property
    def pending_file(self) -> Path:
        """The file that names a pending publication."""
        return self.directory / PENDING_FILE

    @property
    def log(self) -> ChainedLog:
        """The log of the history."""
        return ChainedLog(self.directory / HISTORY_FILE)

    @property
    def list_files(self) -> tuple[str, str]:
        """File names of the list: Parquet and CSV."""
        return f"{self.list_name}.parquet", f"{self.list_name}.csv"

    def version_directory(self, version: str) -> Path:
        """`published/<list>/<version>`."""
        return self.directory / version

    def manifest(self, version: str) -> Manifest:
        """Reads the manifest of a version.

        Args:
            version: The version.

        Returns:
            The manifest.

        Raises:
            VerificationError: It is missing or invalid.
        """
        path = self.version_directory(version) / MANIFEST_FILE
        if not path.is_file():
            raise VerificationError(f"{path} is missing. Restore the version from a backup.")
        return Manifest.from_bytes(path.read_bytes(), str(path))

    def history(self) -> list[Publication]:
        """Returns every publication, oldest first.

        Raises:
            VerificationError: The hash chain is broken, or a line is invalid.
        """
        return [self._line(number, entry) for number, entry in enumerate(self.log.read(), start=1)]

    def line(self, version: str, receipt: str) -> Publication:
        """Builds the history line of a version.

        Args:
            version: The version, whose folder exists.
            receipt: The name of a receipt in that folder.

        Returns:
            The line.

        Raises:
            VerificationError: The manifest is missing or invalid.
        """
        return Publication(
            version=version,
            manifest_sha256=self.manifest(version).sha256,
            receipt=receipt,
            receipt_sha256=sha256_file(self.version_directory(version) / receipt),
        )

    def pending(self) -> PendingPublication | None:
        """Returns the pending or interrupted publication, or None.

        Raises:
            VerificationError: Its file is invalid.
        """
        if not self.pending_file.is_file():
            return None
        try:
            return PendingPublication.model_validate_json(self.pending_file.read_bytes())
        except ValidationError as error:
            raise VerificationError(f"{self.pending_file} is invalid. Restore it from a backup.") from error

    def _completed(self) -> list[Publication]:
        """Returns the completed publications: without one that is in history but not yet in `LATEST`."""
        history, pending = self.history(), self.pending()
        newest = history[-1] if history else None
        if pending and newest and (newest.version, newest.receipt) == (pending.version, pending.receipt):
            return history[:-1]
        return history

    def latest(self) -> str | None:
        """Returns the version that `LATEST` names, or None if nothing is published.

        Raises:
            VerificationError: `LATEST` is missing although a version was published, or names a version that does not exist.
        """
        if not self.latest_file.is_file():
            expected = latest_version(self._completed())
            if expected is None:
                return None
            raise VerificationError(
                f"{self.latest_file} is missing. By the history it names {expected}: write this line into it, or restore "
                f"it from a "
                f"backup. `touchstone verify {self.list_name}` checks the rest."
            )
        version = self.latest_file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
        if not self.version_directory(version).is_dir():
            raise VerificationError(
                f"{self.latest_file} names {version!r}, which does not exist. Run `touchstone verify`."
            )
        return version

    def _line(self, number: int, entry: dict[str, object]) -> Publication:
        try:
            return Publication.model_validate({key: value for key, value in entry.items() if key != PREVIOUS})
        except ValidationError as error:
            detail = error.errors()[0]
            raise VerificationError(
                f"{self.log.path}, line {number}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}. "
                "Restore the file from a backup; do not edit it."
            ) from error


def latest_version(history: Sequence[Publication]) -> str | None:
    """Returns the version that `LATEST` must name: of the latest as_of, the newest line of history."""
    if not history:
        return None
    return in_force(history, max(version_date(line.version) for line in history))


def in_force(history: Sequence[Publication], as_of: dt.date) -> str | None:
    """Returns the version in force at an as_of: the newest line of history with that date."""
    return next((line.version for line in reversed(history) if version_date(line.version) == as_of), None)


def in_force_before(history: Sequence[Publication], as_of: dt.date) -> dict[dt.date, str]:
    """Returns the version in force at each as_of before a date, oldest first."""
    newest = {version_date(line.version): line.version for line in history}
    return {date: newest[date] for date in sorted(newest) if date < as_of}


def previous_version(history: Sequence[Publication], as_of: dt.date) -> str | None:
    """Returns the version in force at the latest as_of before a date, or None."""
    return next(reversed(in_force_before(history, as_of).values()), None)
