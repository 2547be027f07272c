"""Leads: which merchants to investigate first, built from the day's marts after the lists are published. Each keeps its id.

    leads/as_of=<date>/{leads,lead_merchants,lead_changes}.parquet, manifest.json

A lead is one of three kinds: a ring with an entry on a published list; a listed merchant outside any ring, with the other listed
merchants that share a rare identifier with it; or a brushing service whose transactions are listed. It continues the lead of the
previous date with which it shares most of its members, by harm. The folder of a date holds all leads up to that date, so building
the next date reads only the latest folder before it. A list whose gates refused produces no leads: the manifests of the lists
name the marts that they were built from.

dbt builds the tables (`dbt_project/models/leads/`). This module determines what they are built from, and writes, verifies and
reads them; `evidence_packs` decides what is shown of a lead to whom.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.signals.links import connected_groups
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, replacing_directory, sha256_bytes, sha256_file
from touchstone.core.home import Home
from touchstone.core.last_run import what_is_missing
from touchstone.core.lists import LISTS, ListName
from touchstone.core.parquet import read_small_parquet
from touchstone.publishing.history import ListStore, in_force

TABLES: Final = ("leads", "lead_merchants", "lead_changes")
MANIFEST: Final = "manifest.json"
MARTS: Final = ("lead_merchants", "merchant_ties")
MODELS: Final = {
    "leads": "select * from leads order by rank nulls last, lead_id",
    "lead_merchants": "select * from lead_memberships order by lead_id, merchant_id",
    "lead_changes": "select * from lead_changes order by lead_id, as_of_date",
}
"""The rows of each table, of the dbt model that builds it."""
MAX_BEARERS: Final = 5
"""Listed merchants that share a value form one lead if at most this many merchants bear the value. A few per cent of merchants
are listed: two of them among five bearers are rarely a coincidence, among twenty they often are."""
_STANDALONE_TIES: Final = """
with

listed as (

    select merchant_id
    from read_parquet($candidates, hive_partitioning = false)
    where kind = 'merchant' and ((is_listed and $merchants) or (is_brushing_listed and $brushing_merchants))

)

select distinct ties.merchant_id_a, ties.merchant_id_b
from read_parquet($ties, hive_partitioning = false) as ties
inner join listed as a on a.merchant_id = ties.merchant_id_a
inner join listed as b on b.merchant_id = ties.merchant_id_b
where ties.bearer_count <= $max_bearers and ties.kind not in ('title', 'picture')
order by all
"""


@dataclass(frozen=True)
class LeadInputs:
    """The files that the leads of a date are built from.

    Attributes:
        as_of: The date.
        lists: The version in force of each list that is published as of the date.
        marts: SHA-256 of each mart that is read.
        previous: The latest earlier date that has leads.
        files: The Parquet file of each source that dbt reads; one of the previous leads is absent without a previous date.
    """

    as_of: dt.date
    lists: Mapping[str, str]
    marts: Mapping[str, str]
    previous: dt.date | None
    files: Mapping[str, Path]

    def published(self) -> list[list[object]]:
        """Returns the rows of `landed.published_lists`: date, list, and whether it is published."""
        return [[self.as_of, name, name in self.lists] for name in LISTS]

    def merchant_groups(self) -> pa.Table:
        """Groups the listed merchants outside any ring that share a rare identifier: rows of `landed.merchant_groups`.

        Connected components are a graph algorithm, which SQL expresses only by slow recursion.
        """
        with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
            ties = connection.execute(
                _STANDALONE_TIES,
                {
                    "candidates": str(self.files["lead_candidates"]),
                    "ties": str(self.files["lead_ties"]),
                    "max_bearers": MAX_BEARERS,
                    "merchants": "merchants" in self.lists,
                    "brushing_merchants": "brushing_merchants" in self.lists,
                },
            ).to_arrow_table()
        return connected_merchants(ties)


# Inputs ---------------------------------------------------------------------------------------------------------------


def leads_folder(home: Path, as_of: dt.date) -> Path:
    """Returns the folder of the leads of a date."""
    return Home(home).leads(as_of)


def mart_file(home: Path, mart: str, as_of: dt.date) -> Path:
    """Returns the Parquet file of a mart of a date."""
    return Home(home).mart(mart, as_of)


def dates(home: Path) -> list[dt.date]:
    """Returns the dates that have leads, oldest first."""
    return Home(home).lead_dates()


def lead_inputs(home: Path, as_of: dt.date, lists: Sequence[ListName]) -> LeadInputs:
    """Determines the files that the leads of a date are built from.

    Args:
        home: The home.
        as_of: The date.
        lists: The lists that the policy builds.

    Returns:
        The published versions, the digests of the marts, the previous date and the files.

    Raises:
        GateRefusedError: A list was scored for the date but is not published, or not from the present marts.
        VerificationError: The leads of the previous date are damaged.
    """
    versions: dict[str, str] = {}
    for name in lists:
        definition, store = LISTS[name], ListStore(Home(home).published, name)
        scores = Home(home).scores(definition.model, as_of)
        version = in_force(store.history(), as_of)
        mart = mart_file(home, definition.mart, as_of)
        is_current = version is not None and mart.is_file() and store.manifest(version).mart == sha256_file(mart)
        if version is not None and is_current:
            versions[name] = version
        elif scores.is_file() or version is not None:
            raise GateRefusedError(
                f"The list {name} of {as_of} is not published from its latest ratings, so no leads are built; the previous leads "
                "are unchanged. Check why its gates refused it, then rate and publish the day again."
            )
    previous = max((day for day in dates(home) if day < as_of), default=None)
    files = {
        "lead_candidates": mart_file(home, "lead_merchants", as_of),
        "lead_ties": mart_file(home, "merchant_ties", as_of),
    }
    if previous is not None:
        refuse_damage(leads_folder(home, previous))
        files |= {f"previous_{name}": leads_folder(home, previous) / f"{name}.parquet" for name in TABLES}
    marts = {mart: sha256_file(mart_file(home, mart, as_of)) for mart in MARTS}
    return LeadInputs(as_of, versions, marts, previous, files)


def connected_merchants(ties: pa.Table) -> pa.Table:
    """Groups merchants into connected components.

    Args:
        ties: `merchant_id_a` and `merchant_id_b`, one row per pair.

    Returns:
        `merchant_id` and `group_id`, the smallest merchant id of the component; sorted by `merchant_id`.
    """
    ends = [ties[name].to_numpy() for name in ("merchant_id_a", "merchant_id_b")]
    merchants, positions = np.unique(np.concatenate(ends).astype(object), return_inverse=True)
    first, second = np.split(positions, 2)
    groups, _ = connected_groups(first, second, len(merchants))
    smallest = merchants[np.unique(groups, return_index=True)[1]][groups]
    return pa.table({"merchant_id": pa.array(merchants, pa.string()), "group_id": pa.array(smallest, pa.string())})


# Writing --------------------------------------------------------------------------------------------------------------


def write_leads(home: Path, inputs: LeadInputs, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Writes the leads of a date atomically. The same marts and previous leads give the same bytes.

    Args:
        home: The home.
        inputs: The files that the leads were built from.
        connection: A warehouse in which dbt has built the models of `MODELS`.

    Returns:
        The number of leads by kind.
    """
    tables = {name: connection.sql(query).to_arrow_table() for name, query in MODELS.items()}
    _write(home, inputs, tables)
    kinds = tables["leads"].filter(pa.compute.equal(tables["leads"]["status"], "found"))["kind"].to_pylist()
    return {f"{kind} leads": kinds.count(kind) for kind in ("ring", "merchant", "service")}


def _write(home: Path, inputs: LeadInputs, tables: Mapping[str, pa.Table]) -> None:
    folder = leads_folder(home, inputs.as_of)
    with failpoint("leads.write", folder), replacing_directory(folder) as temporary:
        for name, table in tables.items():
            pq.write_table(table, temporary / f"{name}.parquet", compression="zstd")
        manifest = {
            "as_of": str(inputs.as_of),
            "lists": dict(inputs.lists),
            "marts": dict(inputs.marts),
            "previous": inputs.previous and str(inputs.previous),
            "files": {f"{name}.parquet": sha256_file(temporary / f"{name}.parquet") for name in tables},
        }
        (temporary / MANIFEST).write_bytes(canonical_json(manifest))


# Reading and verifying ------------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of the leads of a date.

    Args:
        folder: The folder of the leads.

    Returns:
        The manifest.

    Raises:
        VerificationError: It is missing or was edited.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        manifest: dict[str, Any] = json.loads(content)
    except (OSError, ValueError) as error:
        raise VerificationError(f"{path} cannot be read: {error}. Rate the day again.") from error
    if canonical_json(manifest) != content:
        raise VerificationError(f"{path} is not in the canonical form: it was edited. Rate the day again.")
    return manifest


def refuse_damage(folder: Path) -> None:
    """Checks the leads of a date against their manifest.

    Args:
        folder: The folder of the leads.

    Raises:
        VerificationError: A file is missing or was changed.
    """
    files = read_manifest(folder).get("files", {})
    if set(files) != {f"{name}.parquet" for name in TABLES}:
        raise VerificationError(f"{folder / MANIFEST} is not a manifest of leads. Rate the day again.")
    for name, digest in files.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise VerificationError(f"{folder / name} was changed after it was written. Rate the day again.")


def problems(home: Path) -> Iterator[str]:
    """Yields the problems of a home's leads, for `touchstone verify`: wrong digests, and lists that were never published."""
    for day in dates(home):
        folder = leads_folder(home, day)
        try:
            refuse_damage(folder)
            for name, version in read_manifest(folder)["lists"].items():
                if all(line.version != version for line in ListStore(Home(home).published, name).history()):
                    yield f"{folder}: names the version {version} of list {name}, which was never published."
        except VerificationError as error:
            yield f"{folder}: {error}"


@dataclass(frozen=True)
class Leads:
    """The verified leads of a date: every lead up to it, with its merchants and its changes."""

    as_of: dt.date
    folder: Path
    leads: pa.Table
    merchants: pa.Table
    changes: pa.Table

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest."""
        return sha256_bytes((self.folder / MANIFEST).read_bytes())

    def current(self) -> list[dict[str, Any]]:
        """Returns the leads that are neither ended nor merged, by rank."""
        return [lead for lead in self.leads.to_pylist() if lead["status"] == "found"]

    def lead(self, lead_id: str) -> dict[str, Any]:
        """Returns a lead with its merchants and its history.

        Args:
            lead_id: The lead.

        Returns:
            Its columns, and the rows of its `merchants` and its `history`.

        Raises:
            BadInputError: There is no such lead.
        """
        for lead in self.leads.to_pylist():
            if lead["lead_id"] == lead_id:
                return {
                    **lead,
                    "merchants": [row for row in self.merchants.to_pylist() if row["lead_id"] == lead_id],
                    "history": [row for row in self.changes.to_pylist() if row["lead_id"] == lead_id],
                }
        raise BadInputError(f"There is no lead {lead_id!r} as of {self.as_of}. `touchstone leads list` names them.")


def read_leads(home: Path, as_of: dt.date | None = None) -> Leads:
    """Reads and verifies the leads of a date.

    Args:
        home: The home.
        as_of: The date; by default the newest that has leads.

    Returns:
        The leads.

    Raises:
        BadInputError: The date has no leads, or no date has.
        VerificationError: They were changed after they were written.
    """
    available = dates(home)
    if not available:
        raise BadInputError(
            f"There are no leads in {home} yet. {what_is_missing(home, '`touchstone run` builds them.')}"
        )
    day = as_of or available[-1]
    if day not in available:
        raise BadInputError(
            f"There are no leads as of {day}; the newest are as of {', '.join(map(str, available[-5:]))}."
        )
    folder = leads_folder(home, day)
    refuse_damage(folder)
    tables = [read_small_parquet(folder / f"{name}.parquet") for name in TABLES]
    return Leads(day, folder, *tables)


def harm_change(lead: Mapping[str, Any]) -> str:
    """Describes how a lead's expected harm changed since the previous date, such as `+12 %` or `new`."""
    before, now = lead["expected_harm_before_base"], lead["expected_harm_base"]
    if before is None:
        return "new"
    if before == now:
        return "same"
    return "from zero" if before == 0 else f"{100 * (now - before) / before:+.0f} %"


def lead_facts(leads: Leads, limit: int) -> dict[str, Any]:
    """Returns the first leads as plain data, with the number of all current leads."""
    current = leads.current()
    return {
        "as_of": leads.as_of,
        "lead_count": len(current),
        "leads": [{**lead, "change": harm_change(lead)} for lead in current[:limit]],
    }
