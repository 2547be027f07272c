"""A damaged warehouse is recognised by DuckDB's own error messages, and removed if it can be rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from orchestration.resources import Warehouse
from touchstone.core.errors import BadInputError, ExitCode
from touchstone.core.settings import read_settings
from touchstone.core.warehouse import WarehouseDamagedError, damage_in, read_warehouse

Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "empty": lambda _: b"",
    "not a database": lambda content: b"x" * len(content),
    "truncated in the header": lambda content: content[:5_000],
    "truncated in half": lambda content: content[: len(content) // 2],
    "header changed": lambda content: content[:4_200] + b"x" * 100 + content[4_300:],
    "blocks changed": lambda content: content[: 3 * 4096] + bytes(len(content) - 3 * 4096),
}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A warehouse with a table of several blocks."""
    made = Warehouse(read_settings(home=tmp_path))
    with made.connect() as connection:
        connection.execute("create table rows as select range as i, hash(range) as h from range(500_000)")
    return made


def count(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute("select sum(h) from rows").fetchall()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_warehouse_is_removed_and_can_be_rebuilt(warehouse: Warehouse, damage: str) -> None:
    count(warehouse)
    warehouse.path.write_bytes(DAMAGES[damage](warehouse.path.read_bytes()))
    with pytest.raises(BadInputError, match="damaged"), read_warehouse(warehouse.settings.home) as connection:
        connection.execute("select sum(h) from rows").fetchall()
    assert warehouse.path.exists(), "who only reads removes nothing"
    with pytest.raises(WarehouseDamagedError, match="has been removed") as refused:
        count(warehouse)
    assert refused.value.exit_code == ExitCode.BAD_INPUT
    assert not warehouse.path.exists()
    with warehouse.connect() as connection:
        assert connection.execute("select count(*) from duckdb_tables()").fetchall() == [(0,)]


def test_other_errors_are_unchanged(warehouse: Warehouse) -> None:
    with pytest.raises(duckdb.CatalogException), warehouse.connect() as connection:
        connection.execute("from rows_that_are_not_there")
    (other := warehouse.path.with_name("cut.parquet")).write_bytes(b"PAR1")
    with pytest.raises(duckdb.Error), warehouse.connect() as connection:
        connection.execute(f"from read_parquet('{other}')")
    count(warehouse)
    assert damage_in('IO Error: Could not set lock on file "x/warehouse.duckdb": Conflicting lock') is None


def test_reading_a_missing_warehouse_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="touchstone run"), read_warehouse(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
