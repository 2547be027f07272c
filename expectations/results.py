"""The result of judging a suite: its failures with their messages, and the digest of what was judged.

Pure data, cheap to import, serialisable: a gate's result is a JSON file that publishing and Dagster read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from expectations.suites import Severity
from touchstone.core.errors import GateRefusedError
from touchstone.core.files import canonical_json, sha256_bytes, sha256_file
from touchstone.core.text import visible


class Failure(BaseModel):
    """One expectation that did not hold: which, where, what was seen, and what would have been allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expectation: str
    table: str
    column: str | None
    observed: str
    limit: str
    severity: Severity
    message: str


class SuiteResult(BaseModel):
    """The outcome of one suite over one set of Parquet files.

    `success` is decided by severity: a warning never blocks, a critical failure always does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    suite_digest: str
    subject_digest: str
    parameters: Mapping[str, Any]
    success: bool
    expectations_run: int
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the result as plain JSON values."""
        return self.model_dump(mode="json")

    def of_severity(self, severity: Severity) -> tuple[Failure, ...]:
        """Returns the failures of one severity, in the order of the suite."""
        return tuple(failure for failure in self.failures if failure.severity == severity)

    def refusal(self) -> str | None:
        """Returns why this gate refuses, as a Markdown list, or None if it passes."""
        return None if self.success else self._describe("refused", "critical")

    def warning(self) -> str | None:
        """Returns what this gate warns of, as a Markdown list, or None."""
        return self._describe("warns", "warning") if self.of_severity("warning") else None

    def _describe(self, verb: str, severity: Severity) -> str:
        reasons = "\n".join(f"- {visible(failure.message)}" for failure in self.of_severity(severity))
        return f"gate {self.suite} {verb}:\n{reasons}"

    def raise_if_refused(self) -> None:
        """Does nothing if the gate passes.

        Raises:
            GateRefusedError: A critical expectation failed; the message says which, what was seen and what is allowed.
        """
        refusal = self.refusal()
        if refusal is not None:
            raise GateRefusedError(f"{refusal}\nNothing was published; the last good list stays.")


def subject_digest(tables: Mapping[str, Sequence[Path]]) -> str:
    """Returns one SHA-256 over the contents of Parquet files, by table.

    Args:
        tables: The files of each table; their names and order do not count, only their bytes do.
    """
    return digest_of_files({table: [sha256_file(path) for path in paths] for table, paths in tables.items()})


def digest_of_files(sha256_by_table: Mapping[str, Sequence[str]]) -> str:
    """Returns the subject digest of files whose own SHA-256 are known already, by table."""
    return sha256_bytes(canonical_json({table: sorted(digests) for table, digests in sha256_by_table.items()}))
