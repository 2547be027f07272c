"""Where rows come from: one class a kind of source, found by the word after `connector:` in a sources file.

A connector says which local files it reads, judges them before their data is read, and makes one view over them in the
landing's in-memory DuckDB. Whatever comes next (JSON lines, SQLite, DuckDB, PostgreSQL, S3) is one more class here and
one more line in `CONNECTORS`; nothing else in landing knows a kind of source. Shaping rows is the sources file's own
SQL; checking them is `checks`.
"""

from __future__ import annotations

import csv
import gzip
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal

import duckdb
from pydantic import BaseModel, ConfigDict, Field

from orchestration.landing.sql import file_list, literal, quoted, why

MAX_ROWS_PER_BYTE = 10_000
"""A Parquet footer that claims more is a bomb: a file of 42 KB once claimed trillions of values. Real files that
compress best (sorted, nearly constant columns) stay under 1,000."""


MAX_HEADER_CHARACTERS = 100_000
"""Of a CSV's first line no more is read; what has no line breaks is no CSV."""


class SourceUnavailableError(Exception):
    """An input cannot be read now; the message names it and says why."""


class Connector(BaseModel, ABC):
    """What every kind of source can do; its fields are the options that a sources file may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connector: str

    @abstractmethod
    def files(self, base: Path) -> list[Path]:
        """Returns the local files that the source reads, in order; raises `SourceUnavailableError` if there are none."""

    @abstractmethod
    def attach(self, connection: duckdb.DuckDBPyConnection, view: str, base: Path) -> None:
        """Judges the source and makes `view` over it; raises `SourceUnavailableError` if it cannot be read."""

    @abstractmethod
    def describe(self) -> str:
        """Returns what the ledger says the rows came from, as the sources file spells it: no secrets."""


class FileConnector(Connector):
    """A source that is one or more files of the same shape."""

    path: Annotated[str, Field(min_length=1)]

    def files(self, base: Path) -> list[Path]:
        """Returns the files that `path` names: a file, or a pattern with `*`, `?` or `[...]`, relative to `base`."""
        target = (base / self.path).absolute()
        pattern = target.relative_to(target.anchor).as_posix()
        matches = [target] if target.exists() else sorted(Path(target.anchor).glob(pattern))
        found = [path for path in matches if path.is_file()]
        if not found:
            raise SourceUnavailableError(f"no file is at {target}. Put it there, or correct `path`.")
        return found

    def describe(self) -> str:
        """Returns the kind and the path."""
        return f"{self.connector} {self.path}"

    def attach(self, connection: duckdb.DuckDBPyConnection, view: str, base: Path) -> None:
        """Judges the files, then makes `view` over them."""
        paths = self.files(base)
        try:
            self.inspect(connection, paths)
            connection.execute(f"create view {quoted(view)} as select * from {self.reader(paths)}")
        except duckdb.Error as error:
            shown = ", ".join(map(str, paths[:3]))
            raise SourceUnavailableError(f"{shown} cannot be read: {self.explain(error)}") from error

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:
        """Judges the files before their data is read; by default, not at all."""

    def explain(self, error: duckdb.Error) -> str:
        """Returns what an error in opening the files means."""
        return why(error)

    @abstractmethod
    def reader(self, paths: list[Path]) -> str:
        """Returns the DuckDB table function that reads the files."""


class ParquetConnector(FileConnector):
    """Parquet files. With several, columns are matched by name, and one that a file lacks is null in its rows."""

    connector: Literal["parquet"]

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:
        """Reads the footers alone, and refuses a file that claims more rows than its size could ever hold."""
        footers = connection.execute(
            f"select file_name, num_rows, num_row_groups from parquet_file_metadata({file_list(paths)})"
        ).fetchall()
        for name, rows, groups in footers:
            size = Path(name).stat().st_size
            if not 0 <= rows <= size * MAX_ROWS_PER_BYTE or not 0 <= groups <= size:
                raise SourceUnavailableError(
                    f"{name} claims {rows:,} rows in {groups:,} row groups, but has {size:,} bytes: it is damaged or made "
                    "to exhaust memory. Its data was not read. Export it again."
                )

    def explain(self, error: duckdb.Error) -> str:
        """Returns the reason; a footer holds no values, so it may be told in full."""
        return str(error).split("\n")[0]

    def reader(self, paths: list[Path]) -> str:
        """Returns the reader."""
        return f"read_parquet({file_list(paths)}, union_by_name = true)"


class CsvConnector(FileConnector):
    """CSV files, plain or gzipped, whose first line names the columns.

    Every column is read as text: guessing types by a sample turns `007` into 7.

    Attributes:
        delimiter: What stands between two fields.
        quote: What a field with a delimiter in it is wrapped in.
        encoding: The files' encoding.
        null: What an unquoted field holds where there is no value.
    """

    connector: Literal["csv"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    encoding: Literal["utf-8", "utf-16", "latin-1"] = "utf-8"
    null: Annotated[list[str], Field(min_length=1)] = [""]

    def reader(self, paths: list[Path]) -> str:
        """Returns the readers of the files, each with the columns that its own first line names."""
        selects = [f"select * from {self._reader(path)}" for path in paths]
        return f"({' union all by name '.join(selects)})"

    def _reader(self, path: Path) -> str:
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self._header(path))
        options = {
            "auto_detect": "false",
            "header": "true",
            "columns": f"{{{columns}}}",
            "delim": literal(self.delimiter),
            "quote": literal(self.quote),
            "escape": literal(self.quote),
            "encoding": literal(self.encoding),
            "nullstr": "[" + ", ".join(map(literal, self.null)) + "]",
        }
        return f"read_csv({literal(str(path))}, {', '.join(f'{key} = {value}' for key, value in options.items())})"

    def _header(self, path: Path) -> list[str]:
        """Reads the first line. DuckDB would guess which line that is, and take a row of values where one looks odd."""
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rt", encoding=encoding, newline="") as file:
                line = file.readline(MAX_HEADER_CHARACTERS)
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(f"{path} cannot be read as {self.encoding} text. Set `encoding`.") from error
        names = next(csv.reader([line.rstrip("\r\n")], delimiter=self.delimiter, quotechar=self.quote), [])
        if not names or not all(name.strip() for name in names) or len({name.lower() for name in names}) < len(names):
            raise SourceUnavailableError(
                f"{path}: the first line must name the columns, each once. Add such a line, or set `delimiter`."
            )
        return names


CONNECTORS: dict[str, type[Connector]] = {"parquet": ParquetConnector, "csv": CsvConnector}
