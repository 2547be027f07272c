"""How well product codes and compatible products are recognised in the demo's titles, against its truth; prints Markdown.

Compatible products: a marketplace is trained on as of 2026-06-15 and rated as of 2026-06-30. How many of the active ones are
recognised, how many other listings are taken for one, and how many of the compatible products are rated 50 or more, or flagged.

Model numbers: titles state references of the brands' catalogues. Whatever else is taken for a model number, such as the sellers'
own numbers, counts as wrong.

GTINs: the demo's titles state none, so each sampled title gets a number: a GTIN as titles write it, one whose check digit is
wrong, or another number with as many digits: a telephone or order number, of which half have a valid check digit, or one that
nothing announces, of which a tenth have one by chance.

    python benchmarks/product_codes.py --scale 0.1 --seed 1301
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from quality import AS_OF, HIGH_SCORE, rate, revision

from tests.dbt_fixtures import make_warehouse, read_rows, run_dbt

TITLES: Final = 6_000
PREFIXES: Final = ("00", "30", "37", "40", "42", "45", "46", "50", "59", "69", "76", "80", "84", "87", "89", "90", "93")
"""Beginnings of GTIN-13 that GS1 gives to products."""
GTIN_FORMS: Final = (
    "{}",
    "EAN {}",
    "EAN: {grouped}",
    "GTIN {long}",
    "штрихкод {}",
    "条码{}",
    "ＪＡＮ：{wide}",  # noqa: RUF001 (full width is what is tested)
    "({})",
    "UPC {}",
)
OTHER_FORMS: Final = ("Tel. +{}", "order {}", "WhatsApp {}", "заказ {}", "订单{}")
WIDE: Final = str.maketrans("0123456789", "０１２３４５６７８９")  # noqa: RUF001 (full width is what is tested)
CODES: Final = """
select listing_id, coalesce(gtins, []) as gtins, coalesce(invalid_gtins, []) as invalid_gtins,
  coalesce(model_numbers, []) as model_numbers
from stg_listing_history
inner join int_text_codes on text_digest = md5(coalesce(title, '') || chr(10) || coalesce(description, ''))
"""
COMPATIBLE: Final = """
select
  truth.is_compatible,
  count(*) as listings,
  count(*) filter (features.is_compatible_product) as recognised,
  count(*) filter (scores.score >= {high}) as high,
  count(*) filter (listed.is_flagged) as flagged
from read_parquet('{home}/features/listings/as_of={as_of}/features.parquet', hive_partitioning = false) as features
inner join read_parquet('{home}/marketplace/truth/listings.parquet') as truth using (listing_id)
inner join read_parquet(
  '{home}/scores/listing_counterfeit/as_of={as_of}/scores.parquet', hive_partitioning = false
) as scores using (listing_id)
inner join read_parquet(
  '{home}/marts/rated_listings/as_of={as_of}/*.parquet', hive_partitioning = false
) as listed using (listing_id)
where truth.is_compatible or not truth.is_counterfeit
group by 1
"""


@dataclass
class Found:
    """What was found of what there is.

    Attributes:
        right: Codes found that there are.
        found: Codes found.
        present: Codes that there are.
    """

    right: int = 0
    found: int = 0
    present: int = 0

    def count(self, found: Iterable[str], present: Iterable[str]) -> None:
        """Adds one title."""
        found, present = set(found), set(present)
        self.right += len(found & present)
        self.found += len(found)
        self.present += len(present)

    def row(self, name: str) -> str:
        """Returns a row of the table."""
        precision, recall = (self.right / max(whole, 1) for whole in (self.found, self.present))
        return f"| {name} | {self.present:,} | {self.found:,} | {precision:.3f} | {recall:.3f} |"


def check_digit(digits: str) -> str:
    """Returns the digit that makes the digits a GTIN (GS1, modulo 10)."""
    weighted = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return str(-weighted % 10)


def numbered(rng: np.random.Generator, title: str) -> tuple[str, list[str], list[str]]:
    """Returns a title with a number, the GTINs that are in it, and those with a wrong check digit, as 14 digits."""
    digits = str(rng.choice(PREFIXES)) + "".join(map(str, rng.integers(0, 10, 10)))
    right = check_digit(digits)
    wrong = str((int(right) + int(rng.integers(1, 10))) % 10)
    kind = rng.integers(0, 4)
    if kind == 0:
        form = str(rng.choice(OTHER_FORMS))
        return f"{title} {form.format(digits + (right if rng.random() < 0.5 else wrong))}", [], []
    if kind == 1 and rng.random() < 0.5:
        return f"{title} EAN {digits + wrong}", [], [f"0{digits + wrong}"]
    if kind == 1:
        return f"{title} {''.join(map(str, rng.integers(0, 10, 13)))}", [], []
    number = digits + right
    forms = {"grouped": f"{number[0]} {number[1:7]} {number[7:]}", "long": f"0{number}", "wide": number.translate(WIDE)}
    written = str(rng.choice(GTIN_FORMS)).format(number, **forms)
    return (f"{written} {title}" if rng.random() < 0.3 else f"{title} {written}"), [f"0{number}"], []


def extraction(marketplace: Path, seed: int) -> dict[str, Found]:
    """Returns how well codes are found in a sample of the titles, each with a number added."""
    rng = np.random.default_rng(seed)
    sampled = f"""
        select listing_id, title, coalesce(model_refs, []) as refs
        from (select * from read_parquet('{marketplace}/sources/listings.parquet') order by listing_id) as listings
        left join (
          select listing_id, list(distinct model_ref) as model_refs
          from read_parquet('{marketplace}/sources/listings.parquet')
          inner join read_parquet('{marketplace}/sources/brand_products.parquet') on contains(title, model_ref)
          where listing_id in (select listing_id from sample)
          group by all
        ) using (listing_id)
        where listing_id in (select listing_id from sample)
        order by listing_id"""
    with duckdb.connect() as connection:
        connection.execute(
            f"""create table sample as select listing_id from read_parquet('{marketplace}/sources/listings.parquet')
            order by hash(listing_id, {seed}) limit {TITLES}"""
        )
        titles = connection.execute(sampled).fetchall()
    present = {}
    listings: list[dict[str, Any]] = []
    for listing_id, title, refs in titles:
        written, gtins, invalid = numbered(rng, title)
        present[listing_id] = (gtins, invalid, refs)
        listings.append({"listing_id": listing_id, "merchant_id": "m1", "listed_at": "2026-01-01", "title": written})
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_warehouse(home, {"listings": listings}, AS_OF)
        run_dbt(home, "run", "--select", "+int_text_codes")
        rows = read_rows(home, CODES)
    results = {name: Found() for name in ("GTINs", "GTINs with a wrong check digit", "model numbers")}
    for row in rows:
        found = (row["gtins"], row["invalid_gtins"], row["model_numbers"])
        for result, codes, there in zip(results.values(), found, present[row["listing_id"]], strict=True):
            result.count(codes, there)
    return results


def compatible(home: Path) -> list[str]:
    """Returns the rows about compatible products in a rated home."""
    counts = duckdb.sql(COMPATIBLE.format(home=home, as_of=AS_OF, high=HIGH_SCORE)).fetchall()
    of = {is_compatible: numbers for is_compatible, *numbers in counts}
    names = {True: "compatible products", False: "other honest listings"}
    rows = []
    for key, name in names.items():
        active, *numbers = of[key]
        rows.append(f"| {name} | {active:,} | " + " | ".join(f"{number / active:.4f}" for number in numbers) + " |")
    return rows


def main() -> None:
    """Parses the arguments and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1301)
    parser.add_argument("--home", type=Path, help="a home rated by benchmarks/quality.py, instead of a new one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder)
        if not arguments.home:
            rate(home, arguments.scale, arguments.seed, 1.0)
        lines = compatible(home)
        results = extraction(home / "marketplace", arguments.seed)
    print(f"Code {revision()}; scale {arguments.scale}, seed {arguments.seed}; rated as of {AS_OF}.\n")
    print(
        f"| listings | active | recognised as compatible | rated {HIGH_SCORE:.0f} or more | flagged |\n|---|---|---|---|---|"
    )
    print("\n".join(lines))
    print(f"\n| in {TITLES:,} titles | present | found | precision | recall |\n|---|---|---|---|---|")
    print("\n".join(result.row(name) for name, result in results.items()))


if __name__ == "__main__":
    main()
