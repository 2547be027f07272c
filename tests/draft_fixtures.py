"""Shared by the tests of `touchstone sources draft`: the demo's tables under other names, and what a draft maps right."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
import yaml
from sqlglot import exp

RENAMINGS = Path(__file__).parent / "renamings"

Columns = dict[tuple[str, str], tuple[str, str]]
"""The contract's table and column, by the names of the renamed table and column."""


def write_renamed(sources: Path, folder: Path, renaming: dict[str, Any]) -> Columns:
    """Writes the demo's tables as CSV files under other names and in the notation of a renaming.

    Args:
        sources: The demo's Parquet files.
        folder: Where the CSV files go.
        renaming: A file of `tests/renamings`.

    Returns:
        What each renamed column is.
    """
    columns: Columns = {}
    for path in sorted(sources.glob("*.parquet")):
        table = path.stem
        result = duckdb.execute("from read_parquet(?)", [str(path)])
        names = [str(column[0]) for column in result.description or ()]
        renamed = {**renaming["columns"], **renaming.get("overrides", {}).get(table, {})}
        target = renaming["tables"][table]
        with (folder / f"{target}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=renaming["delimiter"])
            writer.writerow([renamed[name] for name in names])
            writer.writerows([[_written(value, renaming) for value in row] for row in result.fetchall()])
        columns |= {(target, renamed[name]): (table, name) for name in names}
    return columns


def _written(value: object, renaming: dict[str, Any]) -> object:
    if isinstance(value, bool):
        return renaming.get("booleans", ["true", "false"])[not value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime(renaming.get("timestamp", "%Y-%m-%d %H:%M:%S"))
    if isinstance(value, date):
        return value.strftime(renaming.get("date", "%Y-%m-%d"))
    if isinstance(value, Decimal | float):
        return f"{value:.6f}".rstrip("0").rstrip(".").replace(".", renaming.get("decimal", "."))
    return value


def correctness(text: str, expected: Columns) -> tuple[int, list[tuple[str, str, str, str]]]:
    """Compares a draft with what each column is.

    Returns:
        How many columns are mapped right, and the others: the source's table and column, what it is, and what it was mapped to.
    """
    content = yaml.safe_load(text)
    names = {name: Path(options["path"]).stem for name, options in content["inputs"].items()}
    mapped: dict[tuple[str, str], str] = {}
    for table, entry in content["tables"].items():
        for column, sql in entry.get("columns", {}).items():
            for reference in sqlglot.parse_one(str(sql), dialect="duckdb").find_all(exp.Column):
                if reference.find_ancestor(exp.Subquery, exp.Select) is None:
                    mapped[names[entry["input"]], reference.name] = f"{table}.{column}"
    wrong = [
        (*place, ".".join(what), mapped.get(place, "-"))
        for place, what in expected.items()
        if mapped.get(place) != ".".join(what)
    ]
    return len(expected) - len(wrong), wrong
