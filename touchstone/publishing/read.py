"""Reads published lists, and compares two versions of a list.

A reader opens LATEST once and then only files of the version that it names, so it never mixes two publications. Bytes that do
not match the manifest are not returned.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from ml.explain import for_audience
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.files import sha256_bytes, sha256_file
from touchstone.core.home import mart_path
from touchstone.core.last_run import what_is_missing
from touchstone.core.lists import LISTS
from touchstone.core.parquet import read_small_parquet
from touchstone.publishing.history import ListStore, Publication
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
        """The id column of a row."""
        return LISTS[self.manifest.list_name].key

    def rows_for(self, audience: str, limit: int) -> list[dict[str, Any]]:
        """Returns the first rows with the reasons that an audience may read.

        Args:
            audience: internal, brand, authority or merchant.
            limit: Maximum number of rows.

        Returns:
            The rows as plain data.

        Raises:
            BadInputError: There is no such audience.
        """
        for_audience("[]", audience)  # refuses an unknown audience even if no row has reasons
        rows = self.rows.slice(0, limit).to_pylist()
        return [{**row, "reasons": row["reasons"] and for_audience(row["reasons"], audience)} for row in rows]


@dataclass(frozen=True)
class ChangedScore:
    """An entity in both versions whose score (0 to 100) changed."""

    entity_id: str
    before: float
    after: float


@dataclass(frozen=True)
class ChangedAction:
    """An entity in both versions whose action changed."""

    entity_id: str
    before: str
    after: str


@dataclass(frozen=True)
class ListChange:
    """Why an entity was added to a list or removed from it.

    Attributes:
        entity_id: The entity.
        cause: `terms`: under the earlier terms, the present ratings would not have changed it; `suppression`, `capacity` and
            `corroboration`: it held the entity back before, or does now; `rated`: it was not rated before, or no longer is;
            `model`: another model rates; `unknown`: its rating was removed from the home; else `score`.
        description: The cause as a phrase.
    """

    entity_id: str
    cause: Cause
    description: str


@dataclass(frozen=True)
class ChangedPolicy:
    """A change of the policy between two versions: both digests, and the terms of the list that only one of them has."""

    before: str
    after: str
    terms_before: tuple[str, ...]
    terms_after: tuple[str, ...]


@dataclass(frozen=True)
class ListDiff:
    """The differences between two versions, each part ordered by entity id; `policy` is None if it is the same."""

    before: str
    after: str
    policy: ChangedPolicy | None
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ChangedScore, ...]
    actions: tuple[ChangedAction, ...]
    causes: tuple[ListChange, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the differences as plain data."""
        return asdict(self)


def versions(published: Path, list_name: str) -> list[Publication]:
    """Returns every publication of a list, oldest first.

    Args:
        published: Folder of published lists.
        list_name: The list.

    Returns:
        The publications; empty if there are none.

    Raises:
        VerificationError: The history is damaged.
    """
    return ListStore(published, list_name).history()


def read_list(published: Path, list_name: str, version: str | None = None) -> PublishedList:
    """Reads a published list.

    Args:
        published: Folder of published lists.
        list_name: The list.
        version: The version; by default the one that LATEST names.

    Returns:
        The list, verified against its manifest.

    Raises:
        BadInputError: No such list or version is published.
        VerificationError: What is published does not match its digests.
    """
    if list_name not in LISTS:
        raise BadInputError(f"There is no list {list_name!r}; the lists are {', '.join(LISTS)}.")
    store = ListStore(published, list_name)
    name = version or store.latest()
    if name is None or not store.history():
        missing = what_is_missing(published.parent, "Run `touchstone run`.")
        raise BadInputError(f"List {list_name} is not published yet. {missing}")
    if all(line.version != name for line in store.history()):
        raise BadInputError(
            f"List {list_name} has no version {name!r}. `touchstone verify {list_name}` checks those that exist."
        )
    manifest = store.manifest(name)
    path = store.version_directory(name) / f"{list_name}.parquet"
    content = path.read_bytes() if path.is_file() else b""
    if manifest.version != name or manifest.files.get(path.name) != sha256_bytes(content):
        raise VerificationError(f"{path} does not match its manifest. Run `touchstone verify {list_name}`.")
    return PublishedList(name, manifest, read_small_parquet(content))


def diff(published: Path, list_name: str, before: str, after: str, *, marts: Path) -> ListDiff:
    """Compares two versions of a list.

    Args:
        published: Folder of published lists.
        list_name: The list.
        before: The earlier version.
        after: The later version.
        marts: Folder of marts. The cause of a change is known only if the marts of both versions still exist.

    Returns:
        The differences.

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
) -> tuple[ListChange, ...]:
    """Returns why each entity was added or removed: its rating in both versions, and the earlier terms applied now."""
    if not added and not removed:
        return ()
    key = after.key
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        changed_entities = {"entity_id": [*added, *removed], "is_added": [True] * len(added) + [False] * len(removed)}
        connection.register("changed_entities", pa.table(changed_entities))
        known = [
            _create_ratings(connection, name, version, marts) for name, version in (("old", before), ("new", after))
        ]
        connection.execute(f"create table by_terms_before ({key} varchar, is_listed boolean)")
        is_same_model = before.manifest.inputs.model.digest == after.manifest.inputs.model.digest
        if known[1] and is_same_model and before.manifest.terms is not None:
            mart, model = _mart(after, marts), after.manifest.inputs.model.digest
            decide(connection, "decided", after.manifest.list_name, mart, before.manifest.terms, model)
            connection.execute(f"insert into by_terms_before select {key}, is_listed from decided")
        changes = connection.execute(
            f"""
            select
              changed_entities.entity_id,
              changed_entities.is_added,
              case
                when not $knows_new then 'unknown'
                when not changed_entities.is_added and new.{key} is null then 'rated'
                when not changed_entities.is_added and new.held_by = 'suppression' then 'suppression'
                when changed_entities.is_added is distinct from by_terms_before.is_listed
                  and by_terms_before.is_listed is not null then 'terms'
                when not changed_entities.is_added and new.held_by is not null then new.held_by
                when changed_entities.is_added and not $knows_old then 'unknown'
                when changed_entities.is_added and old.{key} is null then 'rated'
                when changed_entities.is_added and old.held_by is not null then old.held_by
                when not $is_same_model then 'model'
                else 'score'
              end as cause,
              case when changed_entities.is_added then old.suppressed_until_date else new.suppressed_until_date end as until_date,
              new.held_by
            from changed_entities
            left join old on old.{key} = changed_entities.entity_id
            left join new on new.{key} = changed_entities.entity_id
            left join by_terms_before on by_terms_before.{key} = changed_entities.entity_id
            order by changed_entities.entity_id
            """,
            {"knows_old": known[0], "knows_new": known[1], "is_same_model": is_same_model},
        ).fetchall()
    as_of = after.manifest.as_of
    return tuple(
        ListChange(entity, cause, _describe_cause(cause, held_by, is_added=is_added, until=until, as_of=as_of))
        for entity, is_added, cause, until, held_by in changes
    )


def _mart(published: PublishedList, marts: Path) -> Path:
    mart = LISTS[published.manifest.list_name].mart
    return mart_path(marts, mart, published.manifest.as_of)


def _create_ratings(connection: duckdb.DuckDBPyConnection, name: str, published: PublishedList, marts: Path) -> bool:
    """Creates a table of the ratings of a version; an empty one, and returns False, if its mart was removed or rebuilt."""
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


def _describe_cause(cause: str, held_by: str | None, *, is_added: bool, until: dt.date | None, as_of: dt.date) -> str:
    if cause == "suppression" and until is not None:
        if is_added:
            return f"its suppression expired on {until}" if until <= as_of else "its suppression was removed"
        return "suppressed" if until == dt.date.max else f"suppressed until {until}"
    added, removed = {
        "terms": ("the earlier terms would not list it", "the earlier terms would still list it"),
        "capacity": ("within the capacity now", ""),
        "corroboration": ("enough signals now", ""),
        "rated": ("not rated before", "no longer rated"),
        "score": ("its score increased", "its score decreased"),
        "model": ("another model rates now", "another model rates now"),
    }.get(cause, ("unknown: its earlier rating was removed", "unknown: its earlier rating was removed"))
    held = {"capacity": "beyond the capacity", "corroboration": "too few signals"}.get(held_by or "", "")
    return added if is_added else "; ".join(part for part in (removed, held) if part)
