"""Leads: which merchants to investigate first, built from the day's marts after the lists are published. Each keeps its id.

    leads/as_of=<date>/{leads,lead_merchants,lead_changes}.parquet, manifest.json

A lead is one of three kinds: a ring with an entry on a published list; a listed merchant outside any ring, with the other listed
merchants that share a rare identifier with it; or a brushing service whose transactions are listed. It continues the lead of the
previous date with which it shares most of its members, by harm. The folder of a date holds all leads up to that date, so building
the next date reads only the latest folder before it. A list whose gates refused produces no leads: the manifests of the lists
name the marts that they were built from.

`lead_identity` holds the SQL; `evidence_packs` decides what is shown of a lead to whom.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from touchstone.casework.lead_identity import INVARIANTS, ORDERS, PREVIOUS_TABLES, build_tables
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, replacing_directory, sha256_bytes, sha256_file
from touchstone.core.home import Home
from touchstone.core.lists import LISTS, ListName
from touchstone.core.parquet import read_small_parquet
from touchstone.publishing.history import ListStore, in_force

TABLES: Final = ("leads", "lead_merchants", "lead_changes")
MANIFEST: Final = "manifest.json"
MARTS: Final = ("lead_merchants", "merchant_ties")


@dataclass(frozen=True)
class LeadInputs:
    """The files that the leads of a date are built from.

    Attributes:
        as_of: The date.
        lists: The version in force of each list that is published as of the date.
        marts: SHA-256 of each mart that is read.
        previous: The latest earlier date that has leads.
    """

    as_of: dt.date
    lists: Mapping[str, str]
    marts: Mapping[str, str]
    previous: dt.date | None


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
        The published versions, the digests of the marts and the previous date.

    Raises:
        GateRefusedError: A list was scored for the date but is not published, or not from the present marts.
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
    marts = {mart: sha256_file(mart_file(home, mart, as_of)) for mart in MARTS}
    return LeadInputs(as_of, versions, marts, max((day for day in dates(home) if day < as_of), default=None))


# Building -------------------------------------------------------------------------------------------------------------


def make_leads(home: Path, as_of: dt.date, lists: Sequence[ListName]) -> dict[str, int]:
    """Builds the leads of a date and writes them atomically. The same marts and previous leads give the same bytes.

    Args:
        home: The home.
        as_of: The date, whose lists are published.
        lists: The lists that the policy builds.

    Returns:
        The number of leads by kind.

    Raises:
        GateRefusedError: A list was scored for the date but is not published from these ratings.
        VerificationError: The leads of the previous date are damaged, or the result violates an invariant.
    """
    inputs = lead_inputs(home, as_of, lists)
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        _read_previous(connection, home, inputs.previous)
        paths = {mart: str(mart_file(home, mart, as_of)) for mart in MARTS}
        build_tables(connection, as_of=as_of, lists=inputs.lists, **paths)
        for violation, query in INVARIANTS.items():
            if broken := connection.execute(query).fetchall():
                raise VerificationError(
                    f"The leads of {as_of} would contain {violation}: {broken[0][0]}. Nothing was written."
                )
        tables = {
            name: connection.sql(f"select * from {name} order by {ORDERS[name]}").to_arrow_table() for name in TABLES
        }
    _write(home, inputs, tables)
    kinds = tables["leads"].filter(pa.compute.equal(tables["leads"]["status"], "found"))["kind"].to_pylist()
    return {f"{kind} leads": kinds.count(kind) for kind in ("ring", "merchant", "service")}


def _read_previous(connection: duckdb.DuckDBPyConnection, home: Path, previous: dt.date | None) -> None:
    """Creates the tables of `PREVIOUS_TABLES` and fills them with the leads of the previous date, if there is one."""
    connection.execute(PREVIOUS_TABLES)
    if previous is None:
        return
    refuse_damage(leads_folder(home, previous))
    names = {"leads": "previous_leads", "lead_merchants": "previous_merchants", "lead_changes": "previous_changes"}
    for name, table in names.items():
        path = leads_folder(home, previous) / f"{name}.parquet"
        connection.execute(
            f"insert into {table} by name select * from read_parquet(?, hive_partitioning = false)", [str(path)]
        )


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
        raise BadInputError(f"There are no leads in {home} yet. `touchstone run` builds them.")
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
    before, now = lead["expected_harm_before_usd"], lead["expected_harm_usd"]
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
