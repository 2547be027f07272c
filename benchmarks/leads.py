"""Whether leads are the rings that there are, and whether the worst come first, against the truth of a demo home that is rated.

The true harm of a listing is its stake (units of 30 days, at least one, times price times seriousness) if it is counterfeit, else
nothing; of a ring or a merchant, of its listings.

    make bench-leads
    python benchmarks/leads.py --home .touchstone
"""

from __future__ import annotations

import argparse
import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import duckdb

from touchstone.casework.leads import leads_folder, mart_file, read_leads

QUERY = """
with

truth as (select merchant_id, ring_id from read_parquet($merchants) where ring_id is not null and archetype = 'ring'),

harms as (
  select harms.merchant_id, sum(case when goods.is_counterfeit then harms.stake_base else 0 end) as harm_base
  from read_parquet($harms, hive_partitioning = false) as harms
  inner join read_parquet($listings) as goods on goods.listing_id = harms.listing_id
  group by harms.merchant_id),

leads as (select * from read_parquet($leads, hive_partitioning = false) where status = 'found'),

members as (
  select members.lead_id, members.merchant_id, leads.kind, leads.rank
  from read_parquet($lead_merchants, hive_partitioning = false) as members inner join leads using (lead_id)),

-- Each true ring with a flagged member, and the leads about goods that hold any of its members.
rings as (
  select truth.ring_id, count(distinct members.lead_id) as lead_count
  from truth
  left join members on members.merchant_id = truth.merchant_id and members.kind <> 'service'
  where truth.ring_id in (
    select truth.ring_id from truth inner join read_parquet($rated, hive_partitioning = false) as rated using (merchant_id)
    where rated.is_flagged and rated.held_by is null)
  group by truth.ring_id),

-- And the other way: how many true rings a lead of several merchants holds, and whether other merchants too.
several as (
  select members.lead_id, count(*) as merchant_count, count(truth.ring_id) as ringed_count, count(distinct truth.ring_id)
  as ring_count
  from members left join truth using (merchant_id)
  where members.kind <> 'service' group by members.lead_id having count(*) > 1),

culprits as (
  select coalesce(truth.ring_id, harms.merchant_id) as culprit, sum(harms.harm_base) as harm_base
  from harms left join truth using (merchant_id) group by 1),

worst as (select * from culprits order by harm_base desc, culprit limit 20),

first as (
  select sum(harms.harm_base) as harm_base
  from harms where harms.merchant_id in (select merchant_id from members where rank <= 20)),

shared as (
  select sum(harms.harm_base) as harm_base
  from harms left join truth using (merchant_id)
  where harms.merchant_id in (select merchant_id from members where rank <= 20)
  and coalesce(truth.ring_id, harms.merchant_id) in (select culprit from worst))

select
  (select count(*) from rings), (select count(*) from rings where lead_count = 1),
  (select count(*) from several), (select count(*) from several where ring_count = 1 and ringed_count = merchant_count),
  (select count(*) from leads), (select sum(harm_base) from worst), (select harm_base from first), (select harm_base from shared)
"""


@dataclass(frozen=True)
class Measured:
    """What was measured of one home.

    Attributes:
        rings: True rings with a flagged member.
        one_lead: Those of which exactly one lead holds members.
        several: Leads about goods of several merchants.
        pure: Those whose merchants are all of one true ring.
        leads: All leads.
        worst_base: True harm of the 20 worst true rings and single merchants (USD of 30 days).
        first_base: True harm of whoever is in the first 20 leads.
        shared_base: How much of `first_base` is theirs of whom `worst_base` is.
    """

    rings: int
    one_lead: int
    several: int
    pure: int
    leads: int
    worst_base: float
    first_base: float
    shared_base: float


def measure(home: Path, as_of: dt.date) -> Measured:
    """Compares the leads of a date with the truth."""
    truth, folder = home / "marketplace" / "truth", leads_folder(home, as_of)
    paths = {
        "merchants": truth / "merchants.parquet",
        "listings": truth / "listings.parquet",
        "harms": mart_file(home, "expected_harms", as_of),
        "rated": mart_file(home, "rated_merchants", as_of),
        "leads": folder / "leads.parquet",
        "lead_merchants": folder / "lead_merchants.parquet",
    }
    with duckdb.connect(":memory:") as connection:
        row = connection.execute(QUERY, {name: str(path) for name, path in paths.items()}).fetchall()[0]
    return Measured(*row[:5], *(float(value or 0) for value in row[5:]))


def main() -> None:
    """Measures a home and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".touchstone"))
    parser.add_argument("--as-of", type=dt.date.fromisoformat)
    arguments = parser.parse_args()
    as_of = read_leads(arguments.home, arguments.as_of).as_of
    measured = measure(arguments.home, as_of)
    share = measured.one_lead / measured.rings if measured.rings else float("nan")
    print(f"as of {as_of}: {measured.leads} leads")
    print(
        f"true rings with a flagged member: {measured.rings}, with exactly one lead: {measured.one_lead} ({share:.0%})"
    )
    print(f"leads of several merchants: {measured.several}, all of one true ring: {measured.pure}")
    first, shared = measured.first_base / measured.worst_base, measured.shared_base / measured.worst_base
    print(f"true harm of the 20 worst: {measured.worst_base:,.0f} USD")
    print(
        f"in the first 20 leads: {measured.first_base:,.0f} USD ({first:.0%}), "
        f"theirs: {measured.shared_base:,.0f} USD ({shared:.0%})"
    )


if __name__ == "__main__":
    main()
