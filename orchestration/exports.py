"""Queries whose rows leave the warehouse as Parquet files; `resources.Warehouse.export` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROW_GROUP_ROWS = 65_536
CONCURRENT_EXPORTS = 2  # each is sorted by all threads, and compressed by one


@dataclass(frozen=True)
class Export:
    """A query over the warehouse whose rows leave it as Parquet, and the columns that order them totally."""

    query: str
    order_by: str


@dataclass(frozen=True)
class ExportFolder:
    """A folder of exports.

    Attributes:
        path: Where; what it held before goes.
        exports: What is written there, by the file's name without `.parquet`.
        label: Prefix of the files' names where their row counts are reported.
    """

    path: Path
    exports: Mapping[str, Export]
    label: str = ""
