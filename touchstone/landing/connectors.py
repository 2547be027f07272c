"""Where rows come from: one class a kind of source, found by the word after `connector:` in a sources file.

A connector judges its source before data is read and makes one view over it in the landing's in-memory DuckDB. Files
are here: Parquet, CSV and JSON lines, on this machine or in S3-compatible storage, from where they are fetched first.
Databases are in `databases`. Nothing else in landing knows a kind of source. Shaping rows is the sources file's own SQL;
checking them is `checks`.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import logging
import os
import re
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, Self, TextIO, cast

import duckdb
from pydantic import BaseModel, ConfigDict, Field, model_validator

from touchstone.core.files import special_file
from touchstone.core.text import visible
from touchstone.landing.sql import file_list, literal, parquet, quoted, why

MAX_ROWS_PER_BYTE = 10_000
"""A Parquet footer that claims more is a bomb: a file of 42 KB once claimed trillions of values. Real files that
compress best (sorted, nearly constant columns) stay under 1,000."""


MAX_HEADER_CHARACTERS = 100_000
"""Of a CSV's first line no more is read; what has no line breaks is no CSV."""

MAX_CSV_LINE, MAX_JSON_LINE = 2_000_000, 16_000_000
"""Bytes that a line may have. DuckDB refuses longer ones, except that it drops in silence what follows the last line end
where that is longer than its buffer of 32 MB (seen in 1.5.5)."""

MAX_COLUMNS = 10_000
"""A table has no more columns; what has more is no table, and each costs memory."""

MAX_INFLATION, FREE_INFLATION = 100, 64 * 1024 * 1024
"""What a gzipped file may grow to, for each byte of it that was read, after these first bytes. Rows compress to a tenth."""

SECRET_OPTIONS = ("password", "access_key", "secret_key", "session_token")
"""Options that a sources file may give only as `${NAME}`, a variable of the environment."""

logger = logging.getLogger("touchstone")
S3 = "s3://"
ATTEMPTS = 4
"""Tries in all, with growing pauses, before a source that does not answer is given up."""


class SourceUnavailableError(Exception):
    """An input cannot be read now; the message names it and says why."""


@dataclass(frozen=True)
class Place:
    """Where a source's files are looked for, and where fetched ones go.

    Attributes:
        base: The sources file's folder, to which paths are relative.
        work: A folder for what is fetched; it goes when the landing ends.
    """

    base: Path
    work: Path


class Connector(BaseModel, ABC):
    """What every kind of source can do; its fields are the options that a sources file may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connector: str

    @abstractmethod
    def attach(self, connection: duckdb.DuckDBPyConnection, view: str, place: Place) -> list[Path]:
        """Judges the source and makes a view over it.

        Args:
            connection: The landing's DuckDB, not locked yet.
            view: The view's name.
            place: Where paths start and fetched files go.

        Returns:
            The files that have to stay readable.

        Raises:
            SourceUnavailableError: It cannot be read.
        """


class S3Storage(BaseModel):
    """How S3-compatible storage is reached.

    Attributes:
        endpoint: URL of storage other than Amazon's, with http:// or https://.
        region: The bucket's region.
        access_key: As `${NAME}`. Without keys, requests are not signed.
        secret_key: As `${NAME}`.
        session_token: As `${NAME}`, for keys that last a while.
        connect_seconds: How long to wait for a connection.
        read_seconds: How long to wait for the next bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    region: str = "us-east-1"
    access_key: Annotated[str | None, Field(repr=False)] = None
    secret_key: Annotated[str | None, Field(repr=False)] = None
    session_token: Annotated[str | None, Field(repr=False)] = None
    connect_seconds: Annotated[float, Field(gt=0)] = 10
    read_seconds: Annotated[float, Field(gt=0)] = 60

    def fetch(self, address: str, folder: Path) -> dict[Path, str]:
        """Copies the objects that an address names, and returns the copies, each with its address, in the keys' order.

        Args:
            address: `s3://bucket/key`; the key may be a pattern with `*`, `?` or `[...]`.
            folder: Where the copies go.

        Raises:
            SourceUnavailableError: No object is there, or the storage refuses, or does not answer when tried again.
        """
        from boto3.exceptions import Boto3Error
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, pattern = address.removeprefix(S3).partition("/")
        where = f"{address} at {self.endpoint or 'Amazon S3'}"
        # One request an object: parts that are fetched apart could be of two versions.
        whole = TransferConfig(multipart_threshold=1 << 50, use_threads=False, num_download_attempts=ATTEMPTS)
        try:
            client = self._client()
            client.meta.events.register_first("needs-retry.s3", partial(_say_that_it_is_tried_again, where))
            copies = {}
            for number, key in enumerate(_matching(client, bucket, pattern)):
                copy = folder / f"{number:05d}-{key.rpartition('/')[2]}"
                client.download_file(bucket, key, str(copy), Config=whole)
                copies[copy] = f"{S3}{bucket}/{key}"
        except ClientError as error:
            told = error.response.get("Error", {})
            raise SourceUnavailableError(
                f"{where} cannot be read: {told.get('Code')} ({told.get('Message')}). {_S3_REMEDY}"
            ) from error
        except (BotoCoreError, Boto3Error) as error:
            raise SourceUnavailableError(
                f"{where} cannot be read: {error}. Is `endpoint` right, and does it let this machine in?"
            ) from error
        if not copies:
            raise SourceUnavailableError(f"no object is at {where}. Put it there, or correct `path`.")
        return copies

    def _client(self) -> Any:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config

        signing = {} if self.access_key else {"signature_version": UNSIGNED}
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            aws_session_token=self.session_token,
            config=Config(
                connect_timeout=self.connect_seconds,
                read_timeout=self.read_seconds,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                **signing,
            ),
        )


def _say_that_it_is_tried_again(
    where: str, *, attempts: int, response: Any = None, caught_exception: Exception | None = None, **_: object
) -> None:
    """Logs what failed of a request that botocore, whose event this hears, then sends again by itself."""
    status = response[0].status_code if response else 0
    if attempts < ATTEMPTS and (caught_exception or status in _TRANSIENT_STATUSES):
        failed = caught_exception or f"HTTP {status}"
        logger.warning("reading %s: try %d of %d failed (%s); the next follows.", where, attempts, ATTEMPTS, failed)


def _matching(client: Any, bucket: str, pattern: str) -> list[str]:
    """Returns the keys that a pattern names, sorted; a key without wildcards is asked for as it is."""
    prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    if prefix == pattern:
        return [pattern]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    depth = pattern.count("/")
    return sorted(key for key in keys if fnmatchcase(key, pattern) and key.count("/") == depth)


_TRANSIENT_STATUSES = (429, 500, 502, 503, 504)
_S3_REMEDY = "Correct `path`, or the keys and what they may read."


class FileConnector(Connector):
    """A source that is one or more files of the same shape.

    Attributes:
        path: A file, or a pattern with `*`, `?` or `[...]`, relative to the sources file; or `s3://bucket/key`.
        s3: How the storage is reached, for an `s3://` path.
    """

    path: Annotated[str, Field(min_length=1)]
    s3: S3Storage | None = None

    @model_validator(mode="after")
    def _storage_where_needed(self) -> Self:
        if self.path.startswith(S3) != (self.s3 is not None):
            raise ValueError("`s3` says how storage is reached, and belongs with a `path` that starts with s3://")
        return self

    def files(self, view: str, place: Place) -> dict[Path, str]:
        """Returns the files that `path` names, fetched where they are not on this machine, and what a person calls each."""
        if self.s3:
            folder = place.work / f"fetched-{view}"
            folder.mkdir()
            return self.s3.fetch(self.path, folder)
        target = (place.base / self.path).absolute()
        path = Path(self.path)
        # Only what the file says is a pattern, not the folder that it stands in.
        base, pattern = (path.anchor, path.relative_to(path.anchor)) if path.is_absolute() else (place.base, path)
        matches = [target] if is_file(target) else sorted(one.absolute() for one in Path(base).glob(str(pattern)))
        for path in (target, *matches):
            refuse_special(path)
        found = [path for path in matches if is_file(path)]
        if not found:
            raise SourceUnavailableError(f"no file is at {target}. Put it there, or correct `path`.")
        return {_plain(path, number, view, place): _told(path) for number, path in enumerate(found)}

    def attach(self, connection: duckdb.DuckDBPyConnection, view: str, place: Place) -> list[Path]:
        """Judges the files, then makes a view over them; see `Connector`."""
        files = self.files(view, place)
        paths = list(files)
        try:
            self.inspect(connection, paths)
            connection.execute(f"create view {quoted(view)} as select * from {self.reader(connection, paths)}")
        except duckdb.Error as error:
            told = f"{', '.join(map(str, paths[:3]))} cannot be read: {self.explain(error)}"
            raise SourceUnavailableError(_called(told, files)) from error
        except SourceUnavailableError as error:
            raise SourceUnavailableError(_called(str(error), files)) from error
        return paths

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:
        """Judges the files before their data is read; by default, not at all."""

    def explain(self, error: duckdb.Error) -> str:
        """Returns what an error in opening the files means."""
        return why(error)

    @abstractmethod
    def reader(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> str:
        """Returns SQL for the files' rows."""


def is_file(path: Path) -> bool:
    """Tells whether a file is there; a name that is too long for one is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def refuse_special(path: Path) -> None:
    """Refuses a pipe, a socket or a device, which would keep whoever reads it waiting or have no end.

    Raises:
        SourceUnavailableError: It is one.
    """
    if (kind := special_file(path)) is not None:
        raise SourceUnavailableError(
            f"{_told(path)} is {kind}, not a regular file. Put a file there, or correct `path`."
        )


def _plain(path: Path, number: int, view: str, place: Place) -> Path:
    """Returns a path that DuckDB reads as it is spelled: the file's own, or a link to it where that holds a pattern's signs."""
    if _told(path) == str(path) and not re.search(r"[*?\[\]{}]", str(path)):
        return path
    link = place.work / f"linked-{view}" / f"{number:05d}{'.gz' if path.suffix == '.gz' else ''}"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(path)
    return link


def _told(path: Path) -> str:
    """Returns a path as it can be written; bytes that are no UTF-8 become signs."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _called(told: str, files: dict[Path, str]) -> str:
    """Returns a message with each file called what a person calls it, not the copy that goes when the landing ends."""
    for path, name in files.items():
        told = told.replace(str(path), visible(name))
    return told


def check_lines(path: Path, longest: int, encoding: str = "latin-1") -> None:
    """Reads a text file once, and refuses it where a line is too long or it unpacks to far too much.

    Args:
        path: The file, plain or gzipped.
        longest: Characters that a line may have.
        encoding: One in which line ends are found; those of UTF-8 are where they are in Latin 1.

    Raises:
        SourceUnavailableError: It is refused, or cannot be unpacked.
    """
    size = length = ends = 0
    try:
        with path.open("rb") as raw, _unpacked(path, raw, encoding) as file:
            while block := file.read(1 << 20):
                first = block.find("\n")
                if length + (len(block) if first < 0 else first) > longest:
                    raise SourceUnavailableError(
                        f"{path}: line {ends + 1:,} has more than {longest:,} characters. Is a quote or a line end missing?"
                    )
                length = length + len(block) if first < 0 else len(block) - 1 - block.rfind("\n")
                ends += block.count("\n")
                size += len(block)
                if size > FREE_INFLATION + MAX_INFLATION * raw.tell():
                    raise SourceUnavailableError(
                        f"{path} unpacks to more than {MAX_INFLATION} times its size: it is damaged or made to exhaust this "
                        "machine. Export it again, or unpack it yourself."
                    )
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise SourceUnavailableError(
            f"{path} cannot be read: {error}. Is it whole, and is its `encoding` right?"
        ) from error


def _unpacked(path: Path, raw: BinaryIO, encoding: str) -> TextIO:
    return TextIOWrapper(cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw, encoding)


def check_start(path: Path, marks: tuple[bytes, ...]) -> None:
    """Refuses a text file that begins with a byte-order mark which its reader does not know, or is not packed by gzip.

    Args:
        path: The file, plain or gzipped.
        marks: The byte-order marks that are refused.

    Raises:
        SourceUnavailableError: It is refused, or cannot be unpacked.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(4)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceUnavailableError(f"{path} cannot be read: {error}. Is it whole?") from error
    if start.startswith(marks):
        raise SourceUnavailableError(
            f"{path} begins with a byte-order mark behind which no row would be read. Save it as UTF-8 without one."
        )
    if start.startswith(_PACKED):
        raise SourceUnavailableError(
            f"{path} is packed in a way that is not read here. Unpack it, or gzip it and let its name end in .gz."
        )


_PACKED = (b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zX", b"PK\x03\x04", b"\x1f\x8b")
"""How files of zstd, bzip2, xz, zip and gzip begin."""


def _compression(path: Path) -> str:
    """Returns SQL for how a text file is packed, which DuckDB would else tell by more names than are judged here."""
    return "compression = 'gzip'" if path.suffix == ".gz" else "compression = 'uncompressed'"


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
        wide = f"select file_name, name, precision from parquet_schema({file_list(paths)}) where precision > 38"
        for name, column, precision in connection.execute(wide).fetchall():
            raise SourceUnavailableError(
                f"{name}: column {column} is a decimal of {precision} digits, of which more than 38 cannot be read without "
                "bending them. Export it with fewer."
            )
        names = f"select file_name from parquet_schema({file_list(paths)}) group by file_name having count(*) > {MAX_COLUMNS + 1}"
        for (name,) in connection.execute(names).fetchall():
            raise SourceUnavailableError(f"{name}: {_TOO_MANY_COLUMNS}")

    def explain(self, error: duckdb.Error) -> str:
        """Returns the reason; a footer holds no values, so it may be told in full."""
        return str(error).split("\n")[0]

    def reader(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> str:  # noqa: ARG002  JSON lines asks it
        """Returns the reader."""
        return parquet(paths)


class CsvConnector(FileConnector):
    """CSV files, plain or gzipped, whose first line names the columns.

    Every column is read as text: guessing types by a sample turns `007` into 7.

    Attributes:
        delimiter: What stands between two fields.
        quote: What a field with a delimiter in it is wrapped in.
        encoding: The files' encoding.
        null: What a field holds where there is no value, in quotes or not (many programs write every field in quotes).
    """

    connector: Literal["csv"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    encoding: Literal["utf-8", "utf-16", "latin-1"] = "utf-8"
    null: Annotated[list[str], Field(min_length=1)] = [""]

    @model_validator(mode="after")
    def _signs_that_differ(self) -> Self:
        if self.delimiter == self.quote or {self.delimiter, self.quote} & {"\n", "\r", "\0"}:
            raise ValueError("`delimiter` and `quote` must differ, and neither may be a line end")
        return self

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:  # noqa: ARG002  Parquet asks it
        """Refuses what DuckDB would read in part."""
        for path in paths:
            check_start(path, (codecs.BOM_UTF16_BE,))
            check_lines(path, MAX_CSV_LINE, "utf-16" if self.encoding == "utf-16" else "latin-1")

    def reader(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> str:  # noqa: ARG002  JSON lines asks it
        """Returns the readers of the files, those whose first lines name the same columns together: each takes memory."""
        alike: dict[tuple[str, tuple[str, ...]], list[Path]] = {}
        for path in paths:
            alike.setdefault((_compression(path), tuple(self._header(path))), []).append(path)
        selects = [f"select * from {self._reader(some, names, how)}" for (how, names), some in alike.items()]
        return f"({' union all by name '.join(selects)})"

    def _reader(self, paths: list[Path], names: tuple[str, ...], compression: str) -> str:
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        options = {
            "auto_detect": "false",
            "header": "true",
            "columns": f"{{{columns}}}",
            "delim": literal(self.delimiter),
            "quote": literal(self.quote),
            "escape": literal(self.quote),
            "encoding": literal(self.encoding),
            "nullstr": "[" + ", ".join(map(literal, self.null)) + "]",
            "hive_partitioning": "false",
        }
        told = ", ".join(f"{key} = {value}" for key, value in options.items())
        return f"read_csv({file_list(paths)}, {told}, {compression})"

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
        if not names or not all(map(_is_name, names)) or len({name.lower() for name in names}) < len(names):
            raise SourceUnavailableError(
                f"{path}: the first line must name the columns, each once. Add such a line, or set `delimiter`."
            )
        if len(line) == MAX_HEADER_CHARACTERS or len(names) > MAX_COLUMNS:
            raise SourceUnavailableError(f"{path}: {_TOO_MANY_COLUMNS}")
        return names


_TOO_MANY_COLUMNS = (
    f"the file has more than {MAX_COLUMNS:,} columns, or their names more than {MAX_HEADER_CHARACTERS:,} characters. "
    "Leave out those that are not needed."
)


def _is_name(text: str) -> bool:
    return bool(text.strip()) and text.isprintable()


class JsonLinesConnector(FileConnector):
    """JSON lines, plain or gzipped: an object a line. A key that a line lacks is null in its row.

    Every value is read as text, nested ones as JSON: guessing types by a sample bends numbers. A number that JSON does not
    write in quotes has passed through a double before: `1.10` is read as `1.1`, and of 17 digits the last may differ.

    Attributes:
        columns: Keys that are there although it may be that no line has them, as in a file without lines.
    """

    connector: Literal["jsonl"]
    columns: list[Annotated[str, Field(min_length=1)]] = []

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:  # noqa: ARG002  Parquet asks it
        """Refuses what takes too much memory, and what no reader takes."""
        for path in paths:
            check_start(path, (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            check_lines(path, MAX_JSON_LINE)

    def reader(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> str:
        """Returns the reader, with the keys that any line has."""
        whole = f"format = 'newline_delimited', maximum_object_size = {MAX_JSON_LINE}, hive_partitioning = false"
        packed = {
            how: [path for path in paths if _compression(path) == how] for how in sorted(set(map(_compression, paths)))
        }
        objects = " union all ".join(
            f"select json from read_json_objects({file_list(some)}, {whole}, {how})" for how, some in packed.items()
        )
        keys = connection.execute(
            f"select distinct unnest(json_keys(json)) as key from ({objects}) order by key limit {MAX_COLUMNS + 1}"
        ).fetchall()
        names = sorted({*self.columns, *(str(key) for (key,) in keys)})
        shown = ", ".join(map(str, paths[:3]))
        if len(names) > MAX_COLUMNS:
            raise SourceUnavailableError(f"{shown}: {_TOO_MANY_COLUMNS}")
        if not names:
            raise SourceUnavailableError(
                f"{shown}: no line holds an object. If there may be none, name the keys under `columns`."
            )
        if len({name.lower() for name in names}) < len(names) or "" in names:
            raise SourceUnavailableError(
                f"{shown}: some keys are empty, or differ by case alone. Write each in one way."
            )
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        readers = [
            f"select * from read_json({file_list(some)}, {whole}, {how}, records = true, columns = {{{columns}}})"
            for how, some in packed.items()
        ]
        return f"({' union all by name '.join(readers)})"
