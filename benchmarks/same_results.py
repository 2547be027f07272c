"""Compares what two homes hold for the same demo and date, value by value: what a change that keeps behaviour has to keep.

    python benchmarks/same_results.py BEFORE AFTER

Compared are features, training rows, scores, leads and published lists. A column that was renamed is compared with the column of
its new name (`RENAMED`); digests of models and the wording of reasons are left out, as both change with names. Exits with 1 where
anything differs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb

RENAMED = {
    **{
        f"{name}_usd": f"{name}_base"
        for name in ("price", "stake", "expected_harm", "expected_harm_before", "seized_value", "amount")
    },
    "began_date": "occurred_date",
    "buyer_trade_count": "buyer_transaction_count",
    "firm_from": "verified_from",
    "firm_until": "verified_until",
    "is_live": "is_active",
    "listed_trade_count": "listed_transaction_count",
    "live_listing_count": "active_listing_count",
    "merchant_live_listing_count": "merchant_active_listing_count",
    "loose_link_confirmed_share": "spoofable_link_confirmed_share",
    "loose_link_merchant_count": "spoofable_link_merchant_count",
    "loose_ring_confirmed_share": "spoofable_ring_confirmed_share",
    "loose_ring_merchant_count": "spoofable_ring_merchant_count",
    "stands_for": "expansion_weight",
}
"""Columns by their old names."""
RENAMED_VALUES = {"purpose": {"known": "known_positive", "taught": "training_verdict"}}
"""Values by their old names, by column."""
LEFT_OUT = {"model_digest", "reasons"}
TABLES = (
    "features/*/as_of=*/features.parquet",
    "training/*/as_of=*/*.parquet",
    "scores/*/as_of=*/scores.parquet",
    "leads/as_of=*/*.parquet",
    "published/*/*/*.parquet",
)


@dataclass(frozen=True)
class Difference:
    """How a table of two homes compares.

    Attributes:
        table: Its name: the path without versions.
        rows: Rows in the first home and in the second.
        columns: Columns that were compared.
        missing: Columns that only one of the homes has.
        only_before: Rows of the first home that the second lacks.
        only_after: Rows of the second home that the first lacks.
    """

    table: str
    rows: tuple[int, int]
    columns: int
    missing: tuple[str, ...]
    only_before: int
    only_after: int

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same columns and rows."""
        return not (self.missing or self.only_before or self.only_after)


def tables_of(home: Path) -> dict[str, Path]:
    """Returns a home's tables by name; the folder of a published version is left out of it, as it holds a digest."""
    found: dict[str, Path] = {}
    for pattern in TABLES:
        for path in sorted(home.glob(pattern)):
            parts = path.relative_to(home).parts
            name = "/".join(parts[:2] if parts[0] == "published" else parts)
            if name in found:
                raise SystemExit(f"{home} holds more than one version of {name}. Compare homes of a single run.")
            found[name] = path
    return found


def compare(connection: duckdb.DuckDBPyConnection, name: str, before: Path, after: Path) -> Difference:
    """Returns how the rows of two files compare, as bags: their order does not count, their number does."""
    for view, path in (("before", before), ("after", after)):
        connection.read_parquet(str(path), hive_partitioning=False).create_view(view, replace=True)
    old = {RENAMED.get(column, column): column for column in _columns(connection, "before")}
    new = _columns(connection, "after")
    shared = [column for column in old if column in new and column not in LEFT_OUT]
    missing = sorted((set(old) ^ set(new)) - LEFT_OUT)
    left = ", ".join(_value(old[column], column) for column in shared)
    right = ", ".join(f'"{column}"' for column in shared)
    counts = connection.execute(
        f"""select
            (select count(*) from before), (select count(*) from after),
            (select count(*) from (select {left} from before except all select {right} from after)),
            (select count(*) from (select {right} from after except all select {left} from before))"""
    ).fetchall()[0]
    return Difference(name, (counts[0], counts[1]), len(shared), tuple(missing), counts[2], counts[3])


def _columns(connection: duckdb.DuckDBPyConnection, view: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(f"describe {view}").fetchall()]


def _value(column: str, name: str) -> str:
    """Returns a column of the first home as SQL, renamed values in their new spelling."""
    value = f'"{column}"'
    for old, new in RENAMED_VALUES.get(column, {}).items():
        value = f"case when {value} = '{old}' then '{new}' else {value} end"
    return f'{value} as "{name}"'


def main() -> None:
    """Prints a line a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path, help="The home of the code before.")
    parser.add_argument("after", type=Path, help="The home of the code after.")
    arguments = parser.parse_args()
    before, after = tables_of(arguments.before), tables_of(arguments.after)
    if not before:
        raise SystemExit(f"{arguments.before} holds nothing to compare.")
    has_failed = False
    with duckdb.connect() as connection:
        for name in sorted(before.keys() | after.keys()):
            if name not in before or name not in after:
                print(f"{name}: only in {arguments.before if name in before else arguments.after}")
                has_failed = True
                continue
            found = compare(connection, name, before[name], after[name])
            has_failed |= not found.is_equal
            verdict = (
                "equal" if found.is_equal else f"DIFFER: {found.only_before} only before, {found.only_after} only after"
            )
            missing = f"; in one home only: {', '.join(found.missing)}" if found.missing else ""
            print(f"{name}: {found.rows[0]:,} and {found.rows[1]:,} rows, {found.columns} columns, {verdict}{missing}")
    sys.exit(int(has_failed))


if __name__ == "__main__":
    main()
