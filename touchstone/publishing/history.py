"""Where a published list's files are, and which version its history says is in force.

    published/<list>/<version>/{<list>.parquet,<list>.csv,manifest.json,receipt.json[,receipt-<n>.json]}
    published/<list>/history.jsonl   a line a publication, hash-chained; the line is what makes a version published
    published/<list>/LATEST          the name of the version that readers use
    published/<list>/.publishing     only while a publication is under way or was cut short: which one

`ListStore` knows these names and reads them; only `publish` writes them, and only `verify` judges them.
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
UNDER_WAY_FILE = ".publishing"
Receipt = Annotated[str, StringConstraints(pattern=r"^receipt(-[1-9][0-9]*)?\.json$")]


class Publication(BaseModel):
    """One line of history: a version that was published, and the receipt of that publication."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    manifest_sha256: Sha256
    receipt: Receipt
    receipt_sha256: Sha256


class UnderWay(BaseModel):
    """What `.publishing` holds: the version and the receipt that are being added."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Version
    receipt: Receipt


@dataclass(frozen=True)
class ListStore:
    """The folder of one published list."""

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
    def under_way_file(self) -> Path:
        """The file that names a publication that has begun and not ended."""
        return self.directory / UNDER_WAY_FILE

    @property
    def log(self) -> ChainedLog:
        """The history's file as a log."""
        return ChainedLog(self.directory / HISTORY_FILE)

    @property
    def list_files(self) -> tuple[str, str]:
        """Names of the files that hold the list itself."""
        return f"{self.list_name}.parquet", f"{self.list_name}.csv"

    def version_directory(self, version: str) -> Path:
        """`published/<list>/<version>`."""
        return self.directory / version

    def manifest(self, version: str) -> Manifest:
        """Returns a version's manifest.

        Raises:
            VerificationError: It is missing or not sound.
        """
        path = self.version_directory(version) / MANIFEST_FILE
        if not path.is_file():
            raise VerificationError(f"{path} is missing. Restore the version from a backup.")
        return Manifest.from_bytes(path.read_bytes(), str(path))

    def history(self) -> list[Publication]:
        """Returns every publication, oldest first.

        Raises:
            VerificationError: The chain is broken, or a line is not one of a history.
        """
        return [self._line(number, entry) for number, entry in enumerate(self.log.read(), start=1)]

    def line(self, version: str, receipt: str) -> Publication:
        """Returns the line of history for a version and a receipt that stand in its folder.

        Raises:
            VerificationError: The manifest is missing or not sound.
        """
        return Publication(
            version=version,
            manifest_sha256=self.manifest(version).sha256,
            receipt=receipt,
            receipt_sha256=sha256_file(self.version_directory(version) / receipt),
        )

    def under_way(self) -> UnderWay | None:
        """Returns which publication is under way or was cut short, or None.

        Raises:
            VerificationError: The file that says so does not hold what publishing writes.
        """
        if not self.under_way_file.is_file():
            return None
        try:
            return UnderWay.model_validate_json(self.under_way_file.read_bytes())
        except ValidationError as error:
            raise VerificationError(f"{self.under_way_file} is not sound. Restore it from a backup.") from error

    def _ended(self) -> list[Publication]:
        """Returns the publications that have ended: not one whose line is in history and which `LATEST` does not name yet."""
        history, begun = self.history(), self.under_way()
        newest = history[-1] if history else None
        if begun and newest and (newest.version, newest.receipt) == (begun.version, begun.receipt):
            return history[:-1]
        return history

    def latest(self) -> str | None:
        """Returns the version that readers use: what `LATEST` holds, or None where nothing is published.

        Raises:
            VerificationError: `LATEST` is missing although something was published, or names no version that is there.
        """
        if not self.latest_file.is_file():
            expected = latest_version(self._ended())
            if expected is None:
                return None
            raise VerificationError(
                f"{self.latest_file} is missing. By history it names {expected}: write this one line into it, or restore it "
                f"from a backup. `touchstone verify {self.list_name}` checks the rest."
            )
        version = self.latest_file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
        if not self.version_directory(version).is_dir():
            raise VerificationError(
                f"{self.latest_file} names {version!r}, which is not there. Run `touchstone verify`."
            )
        return version

    def _line(self, number: int, entry: dict[str, object]) -> Publication:
        try:
            return Publication.model_validate({key: value for key, value in entry.items() if key != PREVIOUS})
        except ValidationError as error:
            fault = error.errors()[0]
            raise VerificationError(
                f"{self.log.path}, line {number}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}. "
                "Restore the file from a backup; do not edit it."
            ) from error


def latest_version(history: Sequence[Publication]) -> str | None:
    """Returns what `LATEST` has to name: the greatest as_of and, within it, the newest line of history."""
    if not history:
        return None
    return in_force(history, max(version_date(line.version) for line in history))


def in_force(history: Sequence[Publication], as_of: dt.date) -> str | None:
    """Returns the version in force at one as_of: the newest line of history with that date."""
    return next((line.version for line in reversed(history) if version_date(line.version) == as_of), None)


def in_force_before(history: Sequence[Publication], as_of: dt.date) -> dict[dt.date, str]:
    """Returns the versions in force at each as_of before a date, by that as_of, oldest first."""
    newest = {version_date(line.version): line.version for line in history}
    return {date: newest[date] for date in sorted(newest) if date < as_of}


def previous_version(history: Sequence[Publication], as_of: dt.date) -> str | None:
    """Returns the version in force at the greatest as_of before a date, or None."""
    return next(reversed(in_force_before(history, as_of).values()), None)
