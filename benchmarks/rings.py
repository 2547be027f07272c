"""How well rings are found, against the demo's truth: pairs of merchants of one ring, by seed.

Of the demo only merchants, listings with their pictures' digests, and identifiers are landed, and of the warehouse only what
rings are found from is built.
Prints one line a seed: precision and recall over pairs, the recall of joining whoever shares anything (no rule on identifiers
can find more), the largest ring and the largest component.

    make bench-rings
    python benchmarks/rings.py --scale 0.1 --seeds 101 102 103
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from quality import touchstone

from expectations.contract import load_contract
from orchestration.assets.signals import merchant_rings
from orchestration.resources import Warehouse
from touchstone.core.settings import Settings
from touchstone.landing.land import land
from touchstone.landing.ledger import Ledger, pinned_loads
from touchstone.landing.sources import identifier_key, read_sources
from touchstone.landing.sql import Limits

AS_OF = date(2026, 6, 30)
TABLES = ("merchants", "listings", "listing_images", "merchant_identifiers")
COMPONENTS = """
with recursive edges as (
  select merchant_id_a as merchant_id, merchant_id_b as other_id from main.int_merchant_edges where known_until > $as_of
  union select merchant_id_b, merchant_id_a from main.int_merchant_edges where known_until > $as_of),
reached (merchant_id, other_id) as (
  select merchant_id, merchant_id from edges
  union select reached.merchant_id, edges.other_id from reached inner join edges on edges.merchant_id = reached.other_id)
select merchant_id, min(other_id) as ring_id from reached group by merchant_id
"""
PAIRS = """
with true_rings as (select merchant_id, ring_id from read_parquet('{truth}') where ring_id is not null),
found_pairs as (
  select one.merchant_id as a, other.merchant_id as b from found as one
  inner join found as other on other.ring_id = one.ring_id and other.merchant_id > one.merchant_id),
true_pairs as (
  select one.merchant_id as a, other.merchant_id as b from true_rings as one
  inner join true_rings as other on other.ring_id = one.ring_id and other.merchant_id > one.merchant_id)
select
  (select count(*) from found_pairs semi join true_pairs using (a, b)),
  (select count(*) from found_pairs),
  (select count(*) from true_pairs),
  (select max(members) from (select count(*) as members from found group by ring_id))
"""


def build(home: Path, scale: float, seed: int) -> Warehouse:
    """Makes a marketplace and of its warehouse what rings are found from."""
    touchstone(home, "demo", "--scale", str(scale), "--seed", str(seed))
    settings, contract = Settings(home=home), load_contract()
    whole = yaml.safe_load((home / "marketplace" / "sources.yml").read_text())
    whole["tables"] = {name: table for name, table in whole["tables"].items() if name in TABLES}
    file = home / "marketplace" / "few_sources.yml"
    file.write_text(yaml.safe_dump(whole))
    sources = read_sources(file, os.environ)
    now = datetime.now(UTC)
    land(
        sources,
        contract,
        home / "landing",
        hmac_key=identifier_key(sources, settings),
        now=now,
        limits=Limits.from_settings(settings),
    )
    warehouse = Warehouse(settings)
    warehouse.pin(pinned_loads(Ledger(home / "landing").read(), contract), contract, home / "landing")
    warehouse.set_run(as_of=AS_OF, with_training=False)
    for model in ("+int_merchant_edges", "+int_likeness_edges"):
        warehouse.build(model)
    return warehouse


def pairs(truth: Path, found: pa.Table) -> tuple[float, float, int]:
    """Returns precision and recall over pairs of one ring, and the members of the largest."""
    with duckdb.connect(":memory:") as connection:
        connection.register("found", found)
        both, found, true, largest = connection.execute(PAIRS.format(truth=truth)).fetchall()[0]
    return both / found if found else float("nan"), both / true if true else float("nan"), largest or 0


@dataclass(frozen=True)
class Measured:
    """How well the rings of one marketplace are found.

    Attributes:
        precision: Share of the pairs found that are of one ring.
        recall: Share of the true pairs that are found.
        most_recall: Share of the true pairs that joining whoever shares anything finds.
        largest_ring: Members of the largest ring found.
        largest_component: Merchants of the largest component of whoever shares anything.
    """

    precision: float
    recall: float
    most_recall: float
    largest_ring: int
    largest_component: int


def measure(scale: float, seed: int) -> Measured:
    """Makes a marketplace and finds its rings."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        warehouse = build(home, scale, seed)
        with warehouse.connect() as connection:
            found = merchant_rings(connection, AS_OF, with_training=False)
            joined = connection.execute(COMPONENTS, {"as_of": AS_OF}).to_arrow_table()
        truth = home / "marketplace" / "truth" / "merchants.parquet"
        precision, recall, largest_ring = pairs(truth, found.filter(pc.invert(found["is_verified"])))
        _, most_recall, largest_component = pairs(truth, joined)
    return Measured(precision, recall, most_recall, largest_ring, largest_component)


def main() -> None:
    """Measures the seeds and prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        result = measure(arguments.scale, seed)
        print(
            f"seed {seed}: precision {result.precision:.3f}, recall {result.recall:.3f} (at most {result.most_recall:.3f}), "
            f"largest ring {result.largest_ring}, largest component {result.largest_component}",
            flush=True,
        )


if __name__ == "__main__":
    main()
