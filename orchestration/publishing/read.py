"""Reads a published list, and says what changed between two versions of it.

A reader opens LATEST once and then only files of the version that it names, so it never mixes two publications. Bytes
that do not match the manifest are not handed out.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from groundwork.errors import BadInputError, VerificationError
from groundwork.files import sha256_bytes
from ml.explain import for_audience
from orchestration.publishing.history import Publication, Shelf
from orchestration.publishing.manifest import Manifest
from orchestration.rated import RATED


@dataclass(frozen=True)
class PublishedList:
    """One version of a list: its name, its manifest and its rows in rank order."""

    version: str
    manifest: Manifest
    rows: pa.Table

    @property
    def key(self) -> str:
        """The column that names a row."""
        return RATED[self.manifest.list_name].key

    def told(self, audience: str, limit: int) -> list[dict[str, Any]]:
        """Returns the first rows, at most `limit`, as plain data with the reasons that an audience may read.

        Raises:
            BadInputError: There is no such audience.
        """
        for_audience("[]", audience)  # who asks for one that there is not hears of it though no row has reasons
        rows = self.rows.slice(0, limit).to_pylist()
        return [{**row, "reasons": row["reasons"] and for_audience(row["reasons"], audience)} for row in rows]


@dataclass(frozen=True)
class ChangedScore:
    """An entity that both versions hold, with another score (0 to 100)."""

    entity_id: str
    before: float
    after: float


@dataclass(frozen=True)
class ListDiff:
    """What changed from one version to another, each part ordered by entity id."""

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ChangedScore, ...]


def versions(published: Path, list_name: str) -> list[Publication]:
    """Returns every publication of a list, oldest first; nothing where none was made.

    Raises:
        VerificationError: The history is damaged.
    """
    return Shelf(published, list_name).history()


def read_list(published: Path, list_name: str, version: str | None = None) -> PublishedList:
    """Returns a published list: a version, or the one that LATEST names.

    Raises:
        BadInputError: No such list or version is published.
        VerificationError: What is published does not match its digests.
    """
    if list_name not in RATED:
        raise BadInputError(f"there is no list {list_name!r}; there are {', '.join(RATED)}.")
    shelf = Shelf(published, list_name)
    name = version or shelf.latest()
    if name is None:
        raise BadInputError(f"list {list_name} is not published yet. Start with `touchstone run`.")
    if all(line.version != name for line in shelf.history()):
        raise BadInputError(f"list {list_name} has no version {name!r}.")
    manifest = shelf.manifest(name)
    path = shelf.version_directory(name) / f"{list_name}.parquet"
    content = path.read_bytes() if path.is_file() else b""
    if manifest.version != name or manifest.files.get(path.name) != sha256_bytes(content):
        raise VerificationError(f"{path} does not match its manifest. Run `touchstone verify {list_name}`.")
    return PublishedList(name, manifest, pa.parquet.read_table(io.BytesIO(content)))


def diff(published: Path, list_name: str, before: str, after: str) -> ListDiff:
    """Returns what changed from version `before` to version `after`.

    Raises:
        BadInputError: No such list or version is published.
        VerificationError: What is published does not match its digests.
    """
    old, new = (_scores(read_list(published, list_name, version)) for version in (before, after))
    return ListDiff(
        before=before,
        after=after,
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(
            ChangedScore(entity, old[entity], new[entity])
            for entity in sorted(old.keys() & new.keys())
            if old[entity] != new[entity]
        ),
    )


def _scores(published: PublishedList) -> Mapping[str, float]:
    return dict(zip(published.rows[published.key].to_pylist(), published.rows["score"].to_pylist(), strict=True))
