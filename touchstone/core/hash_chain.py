"""An append-only log as JSON lines, in which every line carries the hash of the previous line.

The load ledger, the log of approvals and each list's `history.jsonl` are such logs. A line is appended with one write and
synced. A kill during that write leaves a last line without its newline: readers ignore it, and the next append removes it. Any
other damage breaks the chain, and `read` reports where. Lines have a canonical form, so that a change of white space is also
detected in the last line, whose hash no other line carries.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from touchstone.core.errors import VerificationError
from touchstone.core.files import name_file_in_errors, sha256_bytes, sync_directory

GENESIS = "0" * 64
PREVIOUS = "previous_line_sha256"


class ChainedLog:
    """One append-only, hash-chained JSON-lines file; safe for one writer and any number of readers."""

    def __init__(self, path: Path) -> None:
        """Sets the file's path; the first `append` creates the file."""
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """Returns every complete line, oldest first.

        Raises:
            VerificationError: A line is not a JSON object, or does not carry the hash of the previous line.
        """
        entries: list[dict[str, Any]] = []
        previous = GENESIS
        for number, line in enumerate(self._lines(), start=1):
            entry = self._parse(line, number)
            if entry.get(PREVIOUS) != previous:
                raise VerificationError(
                    f"{self.path}, line {number}: the hash chain is broken: the previous line was changed, added or removed. "
                    "Restore the file from a backup; do not edit it."
                )
            entries.append(entry)
            previous = sha256_bytes(line)
        return entries

    def head(self) -> str:
        """Returns the hash of the newest line (64 zeros for an empty log) after verifying the chain."""
        return self.heads()[-1]

    def heads(self) -> list[str]:
        """Returns the initial head (64 zeros) and the head after each line, oldest first, after verifying the chain."""
        return [GENESIS, *(str(entry[PREVIOUS]) for entry in self.read()[1:]), *map(sha256_bytes, self._lines()[-1:])]

    def append(self, entry: dict[str, Any]) -> str:
        """Appends `entry`, syncs it to disk, and returns the new head.

        Raises:
            VerificationError: The log is damaged; nothing is appended.
        """
        line = self.next_line(entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with name_file_in_errors(self.path), self.path.open("ab") as file:
            os.truncate(file.fileno(), sum(len(kept) + 1 for kept in self._lines()))
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self.path.parent)
        return sha256_bytes(line)

    def next_line(self, entry: dict[str, Any]) -> bytes:
        """Returns the line, without its newline, that `append` would add for `entry`."""
        return _canonical_line({**entry, PREVIOUS: self.head()})

    def unfinished(self) -> bytes:
        """Returns what follows the last newline: the partial line of an append that was killed, normally nothing."""
        return self.path.read_bytes().rpartition(b"\n")[2] if self.path.exists() else b""

    def _lines(self) -> list[bytes]:
        if not self.path.exists():
            return []
        return self.path.read_bytes().split(b"\n")[:-1]

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise VerificationError(
                f"{self.path}, line {number}: not JSON ({error}). Restore it from a backup."
            ) from error
        if not isinstance(entry, dict):
            raise VerificationError(f"{self.path}, line {number}: not a JSON object. Restore it from a backup.")
        if _canonical_line(entry) != line:
            raise VerificationError(
                f"{self.path}, line {number}: not canonical JSON, so it was edited. Restore it from a backup."
            )
        return entry


def _canonical_line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
