"""Reads a published list, and says what changed between two versions of it, and why.

A reader opens LATEST once and then only files of the version that it names, so it never mixes two publications. Bytes
that do not match the manifest are not handed out.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from ml.explain import for_audience
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import sha256_bytes, sha256_file
from touchstone.core.lists import LISTS
from touchstone.core.parquet import read_small_parquet
from touchstone.core.text import LONG_LINE_COLUMNS, shorten
from touchstone.publishing.history import Publication, Shelf
from touchstone.publishing.manifest import Manifest
from touchstone.publishing.terms import decide

Cause = Literal["terms", "suppression", "capacity", "corroboration", "rated", "score", "model", "unknown"]


@dataclass(frozen=True)
class PublishedList:
    """One version of a list: its name, its manifest and its rows in rank order."""

    version: str
    manifest: Manifest
    rows: pa.Table

    @property
    def key(self) -> str:
        """The column that names a row."""
        return LISTS[self.manifest.list_name].key

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
class ChangedAction:
    """An entity that both versions hold, and for which another action is asked."""

    entity_id: str
    before: str
    after: str


@dataclass(frozen=True)
class Moved:
    """Why an entity came onto a list or went from it.

    Attributes:
        entity_id: The entity.
        cause: `terms`: by the terms before, what is rated now would not have moved; `suppression`, `capacity` and
            `corroboration`: that held it before, or holds it now; `rated`: it was not rated before, or is no longer;
            `model`: another one rates; `unknown`: its rating is not in the home any more; else `score`.
        said: The same in words.
    """

    entity_id: str
    cause: Cause
    said: str


@dataclass(frozen=True)
class ChangedPolicy:
    """What of the policy two versions stand on: its digests, and the list's terms in words that only one of them has."""

    before: str
    after: str
    terms_before: tuple[str, ...]
    terms_after: tuple[str, ...]


@dataclass(frozen=True)
class ListDiff:
    """What changed from one version to another, each part ordered by entity id; `policy` is None where it is the same."""

    before: str
    after: str
    policy: ChangedPolicy | None
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ChangedScore, ...]
    actions: tuple[ChangedAction, ...]
    causes: tuple[Moved, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


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
    if list_name not in LISTS:
        raise BadInputError(f"there is no list {list_name!r}; there are {', '.join(LISTS)}.")
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
    return PublishedList(name, manifest, read_small_parquet(content))


def diff(published: Path, list_name: str, before: str, after: str, *, marts: Path) -> ListDiff:
    """Returns what changed from version `before` to version `after`.

    Args:
        published: Folder of published lists.
        list_name: Which list.
        before: One version.
        after: The other.
        marts: Folder of marts; why an entity moved is told as far as those that the versions were made of are still there.

    Raises:
        BadInputError: No such list or version is published.
        VerificationError: What is published does not match its digests.
    """
    one, other = (read_list(published, list_name, version) for version in (before, after))
    old, new = _columns(one), _columns(other)
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    both = sorted(old.keys() & new.keys())
    return ListDiff(
        before=before,
        after=after,
        policy=_policy_change(one.manifest, other.manifest),
        added=tuple(added),
        removed=tuple(removed),
        changed=tuple(
            ChangedScore(entity, old[entity][0], new[entity][0]) for entity in both if old[entity][0] != new[entity][0]
        ),
        actions=tuple(
            ChangedAction(entity, old[entity][1], new[entity][1]) for entity in both if old[entity][1] != new[entity][1]
        ),
        causes=_causes(one, other, added, removed, marts),
    )


def _columns(published: PublishedList) -> Mapping[str, tuple[float, str]]:
    columns = [published.rows[name].to_pylist() for name in (published.key, "score", "action")]
    return {entity: (score, action) for entity, score, action in zip(*columns, strict=True)}


def _policy_change(before: Manifest, after: Manifest) -> ChangedPolicy | None:
    if before.policy == after.policy:
        return None
    old, new = ([str(term) for term in manifest.terms or ()] for manifest in (before, after))
    return ChangedPolicy(
        before=before.policy,
        after=after.policy,
        terms_before=tuple(term for term in old if term not in new),
        terms_after=tuple(term for term in new if term not in old),
    )


def _causes(
    before: PublishedList, after: PublishedList, added: Sequence[str], removed: Sequence[str], marts: Path
) -> tuple[Moved, ...]:
    """Returns why each entity moved, by how it is rated in both versions, and by what the terms before make of how it is now."""
    if not added and not removed:
        return ()
    key = after.key
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        moved = {"entity_id": [*added, *removed], "is_added": [True] * len(added) + [False] * len(removed)}
        connection.register("moved", pa.table(moved))
        known = [_show_ratings(connection, name, found, marts) for name, found in (("old", before), ("new", after))]
        connection.execute(f"create table by_terms_before ({key} varchar, is_listed boolean)")
        is_same_model = before.manifest.inputs.model.digest == after.manifest.inputs.model.digest
        if known[1] and is_same_model and before.manifest.terms is not None:
            mart, model = _mart(after, marts), after.manifest.inputs.model.digest
            decide(connection, "decided", after.manifest.list_name, mart, before.manifest.terms, model)
            connection.execute(f"insert into by_terms_before select {key}, is_listed from decided")
        found = connection.execute(
            f"""
            select
              moved.entity_id,
              moved.is_added,
              case
                when not $knows_new then 'unknown'
                when not moved.is_added and new.{key} is null then 'rated'
                when not moved.is_added and new.held_by = 'suppression' then 'suppression'
                when moved.is_added is distinct from by_terms_before.is_listed
                  and by_terms_before.is_listed is not null then 'terms'
                when not moved.is_added and new.held_by is not null then new.held_by
                when moved.is_added and not $knows_old then 'unknown'
                when moved.is_added and old.{key} is null then 'rated'
                when moved.is_added and old.held_by is not null then old.held_by
                when not $is_same_model then 'model'
                else 'score'
              end as cause,
              case when moved.is_added then old.suppressed_until_date else new.suppressed_until_date end as until_date,
              new.held_by
            from moved
            left join old on old.{key} = moved.entity_id
            left join new on new.{key} = moved.entity_id
            left join by_terms_before on by_terms_before.{key} = moved.entity_id
            order by moved.entity_id
            """,
            {"knows_old": known[0], "knows_new": known[1], "is_same_model": is_same_model},
        ).fetchall()
    as_of = after.manifest.as_of
    return tuple(
        Moved(entity, cause, _said(cause, held_by, is_added=is_added, until=until, as_of=as_of))
        for entity, is_added, cause, until, held_by in found
    )


def _mart(published: PublishedList, marts: Path) -> Path:
    mart = LISTS[published.manifest.list_name].mart
    return marts / mart / f"as_of={published.manifest.as_of}" / f"{mart}.parquet"


def _show_ratings(connection: duckdb.DuckDBPyConnection, name: str, published: PublishedList, marts: Path) -> bool:
    """Shows how everything was rated that a version was made of; nothing, and False, where that is gone or made anew."""
    mart, manifest = _mart(published, marts), published.manifest
    columns = f"{published.key}, held_by, suppressed_until_date"
    is_known = manifest.terms is not None and mart.is_file() and sha256_file(mart) == manifest.mart
    if is_known:
        query = f"select {columns} from read_parquet(?, hive_partitioning = false)"
        connection.execute(f"create table {name} as {query}", [str(mart)])
    else:
        connection.execute(
            f"create table {name} ({published.key} varchar, held_by varchar, suppressed_until_date date)"
        )
    return is_known


def _said(cause: str, held_by: str | None, *, is_added: bool, until: dt.date | None, as_of: dt.date) -> str:
    if cause == "suppression" and until is not None:
        if is_added:
            return f"its suppression ran out on {until}" if until <= as_of else "its suppression was taken back"
        return "suppressed" if until == dt.date.max else f"suppressed until {until}"
    added, removed = {
        "terms": ("the terms before would not list it", "the terms before would list it still"),
        "capacity": ("there is room within the capacity", ""),
        "corroboration": ("signals enough now", ""),
        "rated": ("not rated before", "no longer rated"),
        "score": ("its scores rose", "its scores fell"),
        "model": ("another model rates", "another model rates"),
    }.get(cause, ("not known, for its rating of then is gone", "not known, for its rating of then is gone"))
    held = {"capacity": "beyond the capacity", "corroboration": "too few signals"}.get(held_by or "", "")
    return added if is_added else "; ".join(part for part in (removed, held) if part)


def render_diff(changes: ListDiff) -> str:
    """Returns what changed between two versions in words, a line an entity."""
    said = {moved.entity_id: f"  {moved.said}" for moved in changes.causes}

    def line(sign: str, entity_id: str, change: str) -> str:
        return f"  {sign} {shorten(entity_id)}{change}"

    lines = [f"{changes.before} -> {changes.after}"]
    if changes.policy:
        lines.append(f"  policy {changes.policy.before[:12]} -> {changes.policy.after[:12]}")
        lines += [f"    - {shorten(term, LONG_LINE_COLUMNS)}" for term in changes.policy.terms_before]
        lines += [f"    + {shorten(term, LONG_LINE_COLUMNS)}" for term in changes.policy.terms_after]
    counts = Counter(moved.cause for moved in changes.causes)
    if counts:
        lines.append("  moved by " + ", ".join(f"{cause}: {count:,}" for cause, count in sorted(counts.items())))
    lines += [line("+", entity, said.get(entity, "")) for entity in changes.added]
    lines += [line("-", entity, said.get(entity, "")) for entity in changes.removed]
    lines += [line("~", row.entity_id, f"  {row.before:.2f} -> {row.after:.2f}") for row in changes.changed]
    lines += [line("!", row.entity_id, f"  {row.before} -> {row.after}") for row in changes.actions]
    return "\n".join(lines if len(lines) > 1 else [*lines, "  nothing changed"])
