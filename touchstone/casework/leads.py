"""Leads: who to look into first. Made from the day's marts once the lists are published, each with an identity that lasts.

    leads/as_of=<date>/{leads,lead_merchants,lead_changes}.parquet, manifest.json

A lead is a ring with something on a published list; a merchant on one that is in no ring, with others such that share a rare
identifier with it; or a brushing service whose transactions are on one. It is the lead of the greatest earlier date with which it
shares most of its members, by harm; so each date's folder carries all that is known of every lead so far, and the one before is
all that it needs. What a list's gates refused makes no lead: the lists' manifests say of which marts they were made. What is
shown of a lead to whom is in `sections` and `packs`.
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

from expectations.contract import load_contract
from touchstone.casework.outcomes import record_rows
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError, format_count
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, replacing_directory, sha256_bytes, sha256_file
from touchstone.core.lists import LISTS, ListName
from touchstone.core.parquet import read_small_parquet
from touchstone.core.settings import Settings
from touchstone.core.text import pad
from touchstone.landing.land import Recorded
from touchstone.landing.ledger import Ledger, pinned_loads
from touchstone.landing.views import create_views
from touchstone.publishing.history import Shelf, in_force

FOLDER: Final = "leads"
TABLES: Final = ("leads", "lead_merchants", "lead_changes")
MANIFEST: Final = "manifest.json"
MARTS: Final = ("lead_merchants", "merchant_ties")
MOST_BEARERS: Final = 5
"""A value that so many merchants bear at most makes one lead of the flagged among them. A few in a hundred merchants are flagged:
of five who share something, two are by chance hardly ever; of twenty, often."""
_AS_OF: Final = "as_of="


@dataclass(frozen=True)
class Basis:
    """What the leads of a date stand on.

    Attributes:
        as_of: The date.
        lists: The version in force of each list that is published as of the date.
        marts: SHA-256 of each mart that is read.
        previous: The greatest earlier date that has leads.
    """

    as_of: dt.date
    lists: Mapping[str, str]
    marts: Mapping[str, str]
    previous: dt.date | None


# Which files, and what they stand on ----------------------------------------------------------------------------------


def folder_of(home: Path, as_of: dt.date) -> Path:
    """Returns where the leads of a date are."""
    return home / FOLDER / f"{_AS_OF}{as_of}"


def mart_file(home: Path, mart: str, as_of: dt.date) -> Path:
    """Returns where a mart of a date is."""
    return home / "marts" / mart / f"{_AS_OF}{as_of}" / f"{mart}.parquet"


def dates(home: Path) -> list[dt.date]:
    """Returns the dates that have leads, oldest first."""
    found = (home / FOLDER).glob(f"{_AS_OF}*/{MANIFEST}")
    return sorted(dt.date.fromisoformat(path.parent.name.removeprefix(_AS_OF)) for path in found)


def basis(home: Path, as_of: dt.date, lists: Sequence[ListName]) -> Basis:
    """Returns what the leads of a date may be made of.

    Args:
        home: The home.
        as_of: The date.
        lists: The lists that the policy makes.

    Raises:
        GateRefusedError: A list was rated for the date and is not published, or not from what the marts hold now.
    """
    versions: dict[str, str] = {}
    for name in lists:
        rated, shelf = LISTS[name], Shelf(home / "published", name)
        scores = home / "scores" / rated.model / f"{_AS_OF}{as_of}" / "scores.parquet"
        version = in_force(shelf.history(), as_of)
        mart = mart_file(home, rated.mart, as_of)
        stands = version is not None and mart.is_file() and shelf.manifest(version).mart == sha256_file(mart)
        if version is not None and stands:
            versions[name] = version
        elif scores.is_file() or version is not None:
            raise GateRefusedError(
                f"The list {name} of {as_of} is not published from what was rated last, so no lead is made of it; the leads "
                "before stay. See why its gates refused it, then rate and publish the day again."
            )
    marts = {mart: sha256_file(mart_file(home, mart, as_of)) for mart in MARTS}
    return Basis(as_of, versions, marts, max((day for day in dates(home) if day < as_of), default=None))


# Finding them ---------------------------------------------------------------------------------------------------------

_SUSPECTS = """
create temp table suspects as
select
    kind, group_id, merchant_id, country, tied_since_date, score, brushing_score, listing_count, unit_count,
    is_listed and $merchants as is_listed,
    is_brushing_listed and $brushing_merchants as is_brushing_listed,
    case when $listings then listed_listing_count else 0 end as listed_listing_count,
    case when $reviews then listed_transaction_count else 0 end as listed_transaction_count,
    case when $listings then expected_harm_usd else 0 end as expected_harm_usd
from read_parquet($path, hive_partitioning = false)
"""
"""What no list says counts for nothing."""
_ALONE = """
select distinct ties.merchant_id_a, ties.merchant_id_b
from read_parquet($path, hive_partitioning = false) as ties
inner join suspects as a on a.merchant_id = ties.merchant_id_a and a.kind = 'merchant'
inner join suspects as b on b.merchant_id = ties.merchant_id_b and b.kind = 'merchant'
where
    ties.bearer_count <= $most_bearers
    and ties.kind not in ('title', 'picture')
    and (a.is_listed or a.is_brushing_listed)
    and (b.is_listed or b.is_brushing_listed)
order by all
"""
_FOUND = """
create temp table found as
with

grouped as (

    select
        suspects.* replace (coalesce(joined.group_id, suspects.group_id) as group_id),
        case when suspects.kind = 'service' then 'service' else 'goods' end as family
    from suspects
    left join joined
        on joined.merchant_id = suspects.merchant_id and suspects.kind = 'merchant'

),

groups as (

    select
        kind,
        group_id,
        bool_or(is_listed or is_brushing_listed or listed_listing_count > 0) as has_listed,
        bool_or(is_brushing_listed or listed_transaction_count > 0) as has_brushing
    from grouped
    where kind <> 'merchant' or is_listed or is_brushing_listed
    group by kind, group_id

)

select grouped.*
from grouped
semi join groups
    on
        groups.kind = grouped.kind
        and groups.group_id = grouped.group_id
        and case when groups.kind = 'service' then groups.has_brushing else groups.has_listed end
where grouped.kind <> 'merchant' or grouped.is_listed or grouped.is_brushing_listed
"""
_IDENTIFIED = """
create temp table identified as
with

pairs as (

    select
        found.family,
        found.group_id,
        before.lead_id,
        any_value(leads.status) = 'found' as was_found,
        any_value(leads.since_date) as since_date,
        sum(found.expected_harm_usd) as shared_harm_usd,
        count(*) as shared_count
    from found
    inner join before_merchants as before
        on before.merchant_id = found.merchant_id
    inner join before_leads as leads
        on
            leads.lead_id = before.lead_id
            and leads.status <> 'merged'
            and leads.family = found.family
    group by found.family, found.group_id, before.lead_id

),

wanted as (

    select *
    from pairs
    qualify row_number() over (
        partition by family, group_id
        order by was_found desc, shared_harm_usd desc, shared_count desc, since_date, lead_id
    ) = 1

),

granted as (

    select
        *,
        row_number() over (
            partition by lead_id order by shared_harm_usd desc, shared_count desc, group_id
        ) = 1 as is_same
    from wanted

),

groups as (

    select
        family,
        kind,
        group_id,
        min(merchant_id) as least_merchant_id
    from found
    group by family, kind, group_id

)

select
    groups.family,
    groups.kind,
    groups.group_id,
    case
        when granted.is_same then granted.lead_id
        else 'lead-' || left(sha256(groups.kind || ' ' || $as_of::date::varchar || ' ' || groups.least_merchant_id), 12)
    end as lead_id,
    coalesce(granted.is_same, false) as is_known,
    case when not granted.is_same and granted.was_found then granted.lead_id end as split_from
from groups
left join granted
    on granted.family = groups.family and granted.group_id = groups.group_id
"""
"""A group is the lead with which it shares most; of those that ended, only where it shares nothing with one of the date
before. Of
several groups that come from one lead, the one with most of it stays that lead, the others are split from it."""
_LEAD_MERCHANTS = """
create temp table lead_merchants as
select
    identified.lead_id,
    found.merchant_id,
    case found.kind when 'service' then 'served' when 'ring' then 'member' else 'listed' end as role,
    coalesce(before.since_date, $as_of::date) as since_date,
    found.* exclude (kind, group_id, family, merchant_id)
from found
inner join identified
    on identified.family = found.family and identified.group_id = found.group_id
left join before_merchants as before
    on before.lead_id = identified.lead_id and before.merchant_id = found.merchant_id
union all
select before.*
from before_merchants as before
inner join before_leads as leads
    on leads.lead_id = before.lead_id and leads.status <> 'merged'
where before.lead_id not in (select lead_id from identified) and before.lead_id not in (select lead_id from merged)
"""
_MERGED = """
create temp table merged as
select
    before.lead_id,
    identified.lead_id as merged_into
from before_merchants as before
inner join before_leads as leads
    on leads.lead_id = before.lead_id and leads.status = 'found'
inner join found
    on found.merchant_id = before.merchant_id and found.family = leads.family
inner join identified
    on identified.family = found.family and identified.group_id = found.group_id
where before.lead_id not in (select lead_id from identified)
group by before.lead_id, identified.lead_id
qualify row_number() over (
    partition by before.lead_id order by sum(before.expected_harm_usd) desc, count(*) desc, identified.lead_id
) = 1
"""
"""A lead that is no group's any more went where most of it is; where nothing of it is found, it has ended."""
_LEADS = """
create temp table leads as
with

sums as (

    select
        lead_id,
        count(*) as merchant_count,
        sum(listing_count) as listing_count,
        sum(cast(is_listed as integer)) as listed_merchant_count,
        sum(cast(is_brushing_listed as integer)) as listed_brusher_count,
        sum(listed_listing_count) as listed_listing_count,
        sum(listed_transaction_count) as listed_transaction_count,
        sum(unit_count) as unit_count,
        sum(expected_harm_usd) as expected_harm_usd
    from lead_merchants
    group by lead_id

),

every as (

    select
        identified.lead_id,
        identified.family,
        identified.kind,
        identified.group_id,
        'found' as status,
        coalesce(before.since_date, $as_of::date) as since_date,
        $as_of::date as last_date,
        before.expected_harm_usd as expected_harm_before_usd,
        cast(null as varchar) as merged_into,
        coalesce(before.split_from, identified.split_from) as split_from
    from identified
    left join before_leads as before on before.lead_id = identified.lead_id
    union all
    select
        before.lead_id,
        before.family,
        before.kind,
        before.group_id,
        case when merged.lead_id is not null or before.status = 'merged' then 'merged' else 'ended' end as status,
        before.since_date,
        before.last_date,
        before.expected_harm_before_usd,
        coalesce(merged.merged_into, before.merged_into) as merged_into,
        before.split_from
    from before_leads as before
    left join merged on merged.lead_id = before.lead_id
    where before.lead_id not in (select lead_id from identified)

)

select
    case when every.status = 'found' then row_number() over (
        order by
            every.status <> 'found',
            sums.expected_harm_usd desc,
            sums.listed_merchant_count + sums.listed_brusher_count desc,
            every.lead_id
    ) end as rank,
    every.lead_id,
    every.kind,
    every.family,
    every.group_id,
    every.status,
    every.since_date,
    every.last_date,
    cast(coalesce(sums.merchant_count, 0) as bigint) as merchant_count,
    cast(coalesce(sums.listing_count, 0) as bigint) as listing_count,
    cast(coalesce(sums.listed_merchant_count, 0) as bigint) as listed_merchant_count,
    cast(coalesce(sums.listed_brusher_count, 0) as bigint) as listed_brusher_count,
    cast(coalesce(sums.listed_listing_count, 0) as bigint) as listed_listing_count,
    cast(coalesce(sums.listed_transaction_count, 0) as bigint) as listed_transaction_count,
    cast(coalesce(sums.unit_count, 0) as bigint) as unit_count,
    cast(coalesce(sums.expected_harm_usd, 0) as decimal(38, 4)) as expected_harm_usd,
    cast(every.expected_harm_before_usd as decimal(38, 4)) as expected_harm_before_usd,
    every.merged_into,
    every.split_from
from every
left join sums on sums.lead_id = every.lead_id
"""
_CHANGES = """
create temp table lead_changes as
with

joined_now as (

    select lead_id, list(merchant_id order by merchant_id) as merchants
    from lead_merchants anti join before_merchants using (lead_id, merchant_id)
    group by lead_id

),

left_now as (

    select lead_id, list(merchant_id order by merchant_id) as merchants
    from before_merchants anti join lead_merchants using (lead_id, merchant_id)
    group by lead_id

),

changes as (

    select
        leads.lead_id,
        $as_of::date as as_of_date,
        case
            when before.lead_id is null and leads.split_from is not null then 'split'
            when before.lead_id is null then 'found'
            when leads.status = 'merged' and before.status <> 'merged' then 'merged'
            when leads.status = 'ended' and before.status = 'found' then 'ended'
            when leads.status = 'found' and before.status = 'ended' then 'returned'
            when leads.status <> 'found' then null
            when joined_now.merchants is not null and left_now.merchants is not null then 'changed'
            when joined_now.merchants is not null then 'grew'
            when left_now.merchants is not null then 'shrank'
        end as change,
        leads.merchant_count,
        leads.expected_harm_usd,
        coalesce(joined_now.merchants, []) as joined_merchants,
        case when leads.status = 'found' then coalesce(left_now.merchants, []) else [] end as left_merchants,
        coalesce(leads.merged_into, leads.split_from) as other_lead_id
    from leads
    left join before_leads as before on before.lead_id = leads.lead_id
    left join joined_now on joined_now.lead_id = leads.lead_id
    left join left_now on left_now.lead_id = leads.lead_id

)

select * from before_changes
union all
select * from changes where change is not null
"""
_ORDERS: Final = {
    "leads": "rank nulls last, lead_id",
    "lead_merchants": "lead_id, merchant_id",
    "lead_changes": "lead_id, as_of_date",
}
_RULES: Final = {
    "two leads of one id": "select lead_id from leads group by lead_id having count(*) > 1",
    "a merchant in two leads about goods": """
        select merchant_id from lead_merchants inner join leads using (lead_id)
        where family = 'goods' and status = 'found' group by merchant_id having count(*) > 1
    """,
    "a lead without merchants": "select lead_id from leads where status <> 'merged' and merchant_count = 0",
    "a lead of which nothing is on a list": """
        select lead_id from leads where status = 'found'
        and listed_merchant_count + listed_brusher_count + listed_listing_count + listed_transaction_count = 0
    """,
    "a lead that went into none": """
        select lead_id from leads where status = 'merged' and merged_into not in (select lead_id from leads)
    """,
    "a rank that is not by harm": """
        select lead_id from leads where status = 'found'
        qualify expected_harm_usd > lag(expected_harm_usd) over (order by rank)
    """,
    "a lead without a beginning": "select lead_id from leads anti join lead_changes using (lead_id)",
}
"""What must hold of what is written."""
_NONE_BEFORE: Final = """
create temp table before_leads (
    rank bigint, lead_id varchar, kind varchar, family varchar, group_id varchar, status varchar, since_date date, last_date date,
    merchant_count bigint, listing_count bigint, listed_merchant_count bigint, listed_brusher_count bigint,
    listed_listing_count bigint, listed_transaction_count bigint, unit_count bigint, expected_harm_usd decimal(38, 4),
    expected_harm_before_usd decimal(38, 4), merged_into varchar, split_from varchar
);
create temp table before_merchants (
    lead_id varchar, merchant_id varchar, role varchar, since_date date, country varchar, tied_since_date date, score
    decimal(9, 4),
    brushing_score decimal(9, 4), listing_count bigint, unit_count bigint, is_listed boolean, is_brushing_listed boolean,
    listed_listing_count bigint, listed_transaction_count bigint, expected_harm_usd decimal(38, 4)
);
create temp table before_changes (
    lead_id varchar, as_of_date date, change varchar, merchant_count bigint, expected_harm_usd decimal(38, 4),
    joined_merchants varchar[], left_merchants varchar[], other_lead_id varchar
);
"""


def make_leads(home: Path, as_of: dt.date, lists: Sequence[ListName]) -> dict[str, int]:
    """Finds the leads of a date and writes them, whole or not at all; same marts and leads before, same bytes.

    Args:
        home: The home.
        as_of: The date, whose lists are published.
        lists: The lists that the policy makes.

    Returns:
        How many leads there are by kind.

    Raises:
        GateRefusedError: A list was rated for the date and is not published from it.
        VerificationError: The leads of the date before are damaged, or what was found contradicts itself.
    """
    stands_on = basis(home, as_of, lists)
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        _read_before(connection, home, stands_on.previous)
        _find(connection, home, stands_on)
        for what, query in _RULES.items():
            if broken := connection.execute(query).fetchall():
                raise VerificationError(f"The leads of {as_of} would hold {what}: {broken[0][0]}. Nothing was written.")
        tables = {
            name: connection.sql(f"select * from {name} order by {_ORDERS[name]}").to_arrow_table() for name in TABLES
        }
    _write(home, stands_on, tables)
    kinds = tables["leads"].filter(pa.compute.equal(tables["leads"]["status"], "found"))["kind"].to_pylist()
    return {f"{kind} leads": kinds.count(kind) for kind in ("ring", "merchant", "service")}


def _read_before(connection: duckdb.DuckDBPyConnection, home: Path, previous: dt.date | None) -> None:
    connection.execute(_NONE_BEFORE)
    if previous is None:
        return
    refuse_damage(folder_of(home, previous))
    names = {"leads": "before_leads", "lead_merchants": "before_merchants", "lead_changes": "before_changes"}
    for name, table in names.items():
        path = folder_of(home, previous) / f"{name}.parquet"
        connection.execute(
            f"insert into {table} by name select * from read_parquet(?, hive_partitioning = false)", [str(path)]
        )


def _find(connection: duckdb.DuckDBPyConnection, home: Path, stands_on: Basis) -> None:
    """Makes the temporary tables `leads`, `lead_merchants` and `lead_changes`."""
    paths = {mart: str(mart_file(home, mart, stands_on.as_of)) for mart in MARTS}
    published: dict[str, object] = {name: name in stands_on.lists for name in LISTS}
    connection.execute(_SUSPECTS, {**published, "path": paths["lead_merchants"]})
    ties = connection.execute(_ALONE, {"path": paths["merchant_ties"], "most_bearers": MOST_BEARERS}).to_arrow_table()
    connection.register("joined", joined(ties))
    connection.execute(_FOUND)
    as_of = {"as_of": stands_on.as_of}
    for query, parameters in (
        (_IDENTIFIED, as_of), (_MERGED, {}), (_LEAD_MERCHANTS, as_of), (_LEADS, as_of), (_CHANGES, as_of),
    ):  # fmt: skip
        connection.execute(query, parameters)


def joined(ties: pa.Table) -> pa.Table:
    """Returns which merchants hang together.

    Args:
        ties: `merchant_id_a` and `merchant_id_b`, a row a pair.

    Returns:
        `merchant_id` and `group_id`, the least id of those that hang together; sorted.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = [ties["merchant_id_a"].to_pylist(), ties["merchant_id_b"].to_pylist()]
    merchants = sorted({*ends[0], *ends[1]})
    place = {merchant: number for number, merchant in enumerate(merchants)}
    rows, columns = ([place[merchant] for merchant in end] for end in ends)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(merchants), len(merchants)))
    labels = connected_components(graph, directed=False)[1] if merchants else []
    least: dict[int, str] = {}
    for merchant, label in zip(merchants, labels, strict=True):
        least.setdefault(int(label), merchant)
    groups = [least[int(label)] for label in labels]
    return pa.table({"merchant_id": pa.array(merchants, pa.string()), "group_id": pa.array(groups, pa.string())})


def _write(home: Path, stands_on: Basis, tables: Mapping[str, pa.Table]) -> None:
    folder = folder_of(home, stands_on.as_of)
    with failpoint("leads.write", folder), replacing_directory(folder) as temporary:
        for name, table in tables.items():
            pq.write_table(table, temporary / f"{name}.parquet", compression="zstd")
        manifest = {
            "as_of": str(stands_on.as_of),
            "lists": dict(stands_on.lists),
            "marts": dict(stands_on.marts),
            "previous": stands_on.previous and str(stands_on.previous),
            "files": {f"{name}.parquet": sha256_file(temporary / f"{name}.parquet") for name in tables},
        }
        (temporary / MANIFEST).write_bytes(canonical_json(manifest))


# Reading and verifying them -------------------------------------------------------------------------------------------


def manifest_of(folder: Path) -> dict[str, Any]:
    """Returns the manifest of a date's leads.

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
        raise VerificationError(f"{path} is not written as manifests are: it was edited. Rate the day again.")
    return manifest


def refuse_damage(folder: Path) -> None:
    """Refuses leads that are not what their manifest says.

    Raises:
        VerificationError: A file is missing or was changed.
    """
    files = manifest_of(folder).get("files", {})
    if set(files) != {f"{name}.parquet" for name in TABLES}:
        raise VerificationError(f"{folder / MANIFEST} is not the manifest of leads. Rate the day again.")
    for name, digest in files.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise VerificationError(f"{folder / name} is not as it was written. Rate the day again.")


def problems(home: Path) -> Iterator[str]:
    """Yields what does not hold of a home's leads, for `touchstone verify`: digests, and lists that were never published."""
    for day in dates(home):
        folder = folder_of(home, day)
        try:
            refuse_damage(folder)
            for name, version in manifest_of(folder)["lists"].items():
                if all(line.version != version for line in Shelf(home / "published", name).history()):
                    yield f"{folder}: names the version {version} of list {name}, which was never published."
        except VerificationError as error:
            yield f"{folder}: {error}"


@dataclass(frozen=True)
class Leads:
    """The leads as of a date, read and verified: every lead so far, whoever is in it, and what became of it when."""

    as_of: dt.date
    folder: Path
    leads: pa.Table
    merchants: pa.Table
    changes: pa.Table

    @property
    def digest(self) -> str:
        """SHA-256 of their manifest."""
        return sha256_bytes((self.folder / MANIFEST).read_bytes())

    def found(self) -> list[dict[str, Any]]:
        """Returns those that are found as of the date, by rank."""
        return [lead for lead in self.leads.to_pylist() if lead["status"] == "found"]

    def lead(self, lead_id: str) -> dict[str, Any]:
        """Returns a lead with its merchants and its history.

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
    """Returns the leads as of a date, by default the newest that has any.

    Raises:
        BadInputError: The date has none, or no date has.
        VerificationError: They are not as they were written.
    """
    there = dates(home)
    if not there:
        raise BadInputError(f"There are no leads in {home} yet. `touchstone run` makes them.")
    day = as_of or there[-1]
    if day not in there:
        raise BadInputError(f"There are no leads as of {day}; there are as of {', '.join(map(str, there[-5:]))}.")
    folder = folder_of(home, day)
    refuse_damage(folder)
    tables = [read_small_parquet(folder / f"{name}.parquet") for name in TABLES]
    return Leads(day, folder, *tables)


# Handing them over ----------------------------------------------------------------------------------------------------


def hand_over(settings: Settings, lead_id: str, recipient: str, audience: str, at: dt.datetime) -> Recorded:
    """Notes that a lead was handed over: a row that is added, and never takes another's place.

    Args:
        settings: The settings; the caller holds the home's lock.
        lead_id: The lead.
        recipient: To whom.
        audience: brand or authority.
        at: When (UTC).

    Raises:
        BadInputError: There is no such lead, it was not there yet, nobody is named, or the same hand-over is noted otherwise.
    """
    lead = read_leads(settings.home).lead(lead_id)
    if not recipient.strip():
        raise BadInputError("--to is empty: say to whom the lead was handed over.")
    if at.date() < lead["since_date"]:
        raise BadInputError(
            f"--at {at:%Y-%m-%d}: {lead_id} is a lead since {lead['since_date']}. Give the time of the hand-over."
        )
    row = {"lead_id": lead_id, "recipient": recipient, "handed_over_at": at.replace(tzinfo=None), "audience": audience}
    for before in hand_overs(settings.home):
        if {**before, "audience": audience} == row and before["audience"] != audience:
            raise BadInputError(
                f"This hand-over is noted already, for the audience {before['audience']}. Give another time."
            )
    return record_rows(settings, "lead_hand_overs", [row], told=f"hand-over of {lead_id}")


def hand_overs(home: Path) -> list[dict[str, Any]]:
    """Returns every hand-over that is noted, oldest first."""
    contract = load_contract()
    with duckdb.connect(":memory:") as connection:
        create_views(connection, home / "landing", pinned_loads(Ledger(home / "landing").read(), contract), contract)
        query = "select distinct handed_over_at, lead_id, recipient, audience from landed.lead_hand_overs order by all"
        noted: list[dict[str, Any]] = connection.execute(query).to_arrow_table().to_pylist()
    return noted


# In words -------------------------------------------------------------------------------------------------------------


def change_of(lead: Mapping[str, Any]) -> str:
    """Returns how a lead's harm moved since the date before it was found at, such as `+12 %` or `new`."""
    before, now = lead["expected_harm_before_usd"], lead["expected_harm_usd"]
    if before is None:
        return "new"
    if before == now:
        return "same"
    return "from nothing" if before == 0 else f"{100 * (now - before) / before:+.0f} %"


def list_facts(leads: Leads, limit: int) -> dict[str, Any]:
    """Returns the first leads as plain data, with how many there are."""
    found = leads.found()
    return {
        "as_of": leads.as_of,
        "lead_count": len(found),
        "leads": [{**lead, "change": change_of(lead)} for lead in found[:limit]],
    }


def list_text(leads: Leads, limit: int) -> str:
    """Returns the first leads as a table for a terminal."""
    found = leads.found()
    lines = [f"{format_count(len(found), 'lead')} as of {leads.as_of}, by expected harm (USD of 30 days)", ""]
    lines.append(f"{'rank':>4}  {'lead':17}  {'kind':8}  {'members':>7}  {'harm':>13}  {'since':10}  change")
    lines += [
        f"{lead['rank']:>4}  {lead['lead_id']:17}  {lead['kind']:8}  {lead['merchant_count']:>7}  "
        f"{lead['expected_harm_usd']:>13,.0f}  {lead['since_date']!s:10}  {change_of(lead)}"
        for lead in found[:limit]
    ]
    return "\n".join(lines)


def lead_text(as_of: dt.date, lead: Mapping[str, Any]) -> str:
    """Returns a lead with its merchants and its history for a terminal."""
    state = {
        "found": f"rank {lead['rank']}",
        "ended": "not found any more",
        "merged": f"went into {lead['merged_into']}",
    }
    lines = [
        f"{lead['lead_id']}: {lead['kind']}, {state[lead['status']]} as of {as_of}, since {lead['since_date']}",
        f"expected harm {lead['expected_harm_usd']:,.2f} USD of 30 days ({change_of(lead)})",
        (
            f"on lists: {lead['listed_merchant_count']} of {lead['merchant_count']} merchants and "
            f"{lead['listed_listing_count']} of {lead['listing_count']} listings"
        ),
        "",
        f"{'merchant':20}  {'role':7}  {'country':7}  {'score':>7}  {'brushing':>8}  {'harm':>12}  since",
    ]
    lines += [
        f"{pad(row['merchant_id'], 20)}  {row['role']:7}  {pad(row['country'] or '', 7)}  {_number(row['score']):>7}  "
        f"{_number(row['brushing_score']):>8}  {row['expected_harm_usd']:>12,.2f}  {row['since_date']}"
        for row in lead["merchants"]
    ]
    lines += ["", "history"]
    lines += [f"  {row['as_of_date']}  {_change_text(row)}" for row in lead["history"]]
    return "\n".join(lines)


def _change_text(row: Mapping[str, Any]) -> str:
    parts = [f"{row['change']}: {format_count(row['merchant_count'], 'merchant')}, {row['expected_harm_usd']:,.2f} USD"]
    parts += [f"{len(row['joined_merchants'])} came"] if row["joined_merchants"] and row["change"] != "found" else []
    parts += [f"{len(row['left_merchants'])} went"] if row["left_merchants"] else []
    parts += [f"see {row['other_lead_id']}"] if row["other_lead_id"] else []
    return ", ".join(parts)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.1f}"
