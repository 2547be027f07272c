"""Shared by the tests that run over a part of the demo's tables: the sources file of a marketplace made of Parquet files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml


def write_sources_file(folder: Path, tables: Iterable[str]) -> Path:
    """Writes `sources.yml`, in which each table is the Parquet file of its name in `sources/`.

    Args:
        folder: The marketplace's folder.
        tables: The contract's tables that it has.

    Returns:
        The sources file.
    """
    names = list(tables)
    content = {
        "version": 1,
        "identifiers": "public",
        "name": "part_of_the_demo",
        "inputs": {name: {"connector": "parquet", "path": f"sources/{name}.parquet"} for name in names},
        "tables": {name: {"input": name} for name in names},
    }
    file = folder / "sources.yml"
    file.write_text(yaml.safe_dump(content))
    return file
