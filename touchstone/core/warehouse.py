"""Opens the warehouse file for reading, and detects and removes a damaged one.

The warehouse can be rebuilt from the landing zone, so a damaged file is removed and the next run rebuilds it.
`resources.Warehouse` builds it; this module does not need Dagster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from touchstone.core.errors import BadInputError
from touchstone.core.files import discard
from touchstone.core.last_run import what_is_missing

if TYPE_CHECKING:
    import duckdb

FILE: Final = "warehouse.duckdb"
_DAMAGE: Final = re.compile(
    r"Corrupt database file[^\n]*"
    rf"|The file \"[^\"]*{FILE}\" exists, but it is not a valid DuckDB database file"
    rf"|Could not read enough bytes from file \"[^\"]*{FILE}\"[^\n]*"
    r"|Trying to read a database file with version number[^\n]*"
)
"""Messages of DuckDB 1.5.5 about a database file that was changed or truncated, or that another version wrote."""


class WarehouseDamagedError(BadInputError):
    """The warehouse file was damaged and has been removed; the same command rebuilds it."""


def warehouse_path(home: Path) -> Path:
    """Returns the path of a home's warehouse."""
    return home / FILE


def damage_in(message: str) -> str | None:
    """Returns the part of a DuckDB or dbt error message that reports a damaged database file; None for any other error."""
    match = _DAMAGE.search(message)
    return match.group(0) if match else None


@contextmanager
def removed_if_damaged(home: Path) -> Iterator[None]:
    """Removes the warehouse if the `with` block fails because the file is damaged.

    The block must close its connections.

    Raises:
        WarehouseDamagedError: The file was damaged.
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
            f"{path} was damaged ({damage}) and has been removed. The next run rebuilds it from the landed data."
        ) from error


@contextmanager
def read_warehouse(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens the warehouse read-only.

    Raises:
        BadInputError: There is no warehouse, or its file is damaged.
    """
    import duckdb

    path = warehouse_path(home)
    if not path.exists():
        missing = what_is_missing(home, "`touchstone run` builds it.")
        raise BadInputError(f"{home} has no warehouse, so no decisions can be read. {missing}")
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            yield connection
    except duckdb.Error as error:
        if (damage := damage_in(str(error))) is None:
            raise
        raise BadInputError(f"{path} is damaged ({damage}). `touchstone run` rebuilds it.") from error
