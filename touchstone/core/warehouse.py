"""The warehouse's file for whoever only reads it, and what to make of one that is damaged.

It holds nothing that cannot be rebuilt from the landing zone, so a damaged file is removed and the next run rebuilds it. Building
it is in `resources.Warehouse`; here is what needs no Dagster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from touchstone.core.errors import BadInputError
from touchstone.core.files import discard

if TYPE_CHECKING:
    import duckdb

FILE: Final = "warehouse.duckdb"
WAREHOUSE_GROUP_ROWS: Final = 61_440
"""How many rows of a table the warehouse compresses at once, half of DuckDB's default: a full group is compressed and written
by the thread that filled it, and all others by a single thread when the file is closed. Whoever writes to the file has to use
the same number, or its closing compresses all tables again."""
_DAMAGE: Final = re.compile(
    r"Corrupt database file[^\n]*"
    rf"|The file \"[^\"]*{FILE}\" exists, but it is not a valid DuckDB database file"
    rf"|Could not read enough bytes from file \"[^\"]*{FILE}\"[^\n]*"
    r"|Trying to read a database file with version number[^\n]*"
)
"""What DuckDB (1.5.5) says of a database file whose bytes were changed or cut off, or that another version wrote."""


class WarehouseDamagedError(BadInputError):
    """The warehouse's file was damaged, and was removed; the same command rebuilds it."""


def warehouse_path(home: Path) -> Path:
    """Returns where a home's warehouse is."""
    return home / FILE


def damage_in(message: str) -> str | None:
    """Returns what an error of DuckDB or dbt says of a damaged database file; None of any other error."""
    found = _DAMAGE.search(message)
    return found.group(0) if found else None


@contextmanager
def removed_if_damaged(home: Path) -> Iterator[None]:
    """Removes the warehouse if the block, at whose end no connection is open, fails because the file is damaged.

    Raises:
        WarehouseDamagedError: It was damaged.
    """
    path = warehouse_path(home)
    try:
        yield
    except Exception as error:
        if (damage := damage_in(str(error))) is None:
            raise
        for file in (path, path.with_name(f"{FILE}.wal")):
            discard(file)
        raise WarehouseDamagedError(
            f"{path} was damaged ({damage}) and has been removed. It holds nothing that cannot be rebuilt from what has landed; "
            "the next run does that."
        ) from error


@contextmanager
def read_warehouse(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens the warehouse for reading only.

    Raises:
        BadInputError: There is none, or its file is damaged; `touchstone run` rebuilds it.
    """
    import duckdb

    path = warehouse_path(home)
    if not path.exists():
        raise BadInputError(f"{home} has no warehouse, so no decision is known. `touchstone run` builds it.")
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            yield connection
    except duckdb.Error as error:
        if (damage := damage_in(str(error))) is None:
            raise
        raise BadInputError(f"{path} is damaged ({damage}). `touchstone run` rebuilds it.") from error
