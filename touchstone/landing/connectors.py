"""Connectors: one class per kind of source, selected by `connector:` in a sources file.

A connector inspects its source before data is read and creates one view over it in the landing's in-memory DuckDB. This module
has the file connectors: Parquet, CSV and JSON lines, on this machine or in S3-compatible storage, from which they are downloaded
first. Database connectors are in `databases`. The rest of landing does not depend on the kind of source. SQL of the sources file
transforms the rows; `checks` checks them.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import os
import re
import shutil
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal, Self, TextIO, cast, get_args

import duckdb
from pydantic import BaseModel, ConfigDict, Field, model_validator

from touchstone.core.errors import format_count
from touchstone.core.files import special_file
from touchstone.core.retry import retry
from touchstone.core.text import visible
from touchstone.landing.sql import describe_error, file_list, literal, parquet, quoted

MAX_ROWS_PER_BYTE = 10_000
"""A Parquet file whose footer claims more is refused as a decompression bomb: a file of 42 KB once claimed trillions of values.
Real files with the best compression (sorted, nearly constant columns) stay below 1,000."""


MAX_HEADER_CHARACTERS = 100_000
"""Maximum length of a CSV header; a file without line breaks is not CSV."""

MAX_CSV_LINE, MAX_JSON_LINE = 2_000_000, 16_000_000
"""Maximum bytes of a line. DuckDB refuses longer ones, but silently drops the text after the last line end if it is longer than
its buffer of 32 MB (seen in 1.5.5)."""

MAX_COLUMNS = 10_000
"""Maximum columns of a table; each takes memory."""

MAX_INFLATION, FREE_INFLATION = 100, 64 * 1024 * 1024
"""How many bytes a gzipped file may decompress to per byte read, after the first `FREE_INFLATION` bytes. Rows compress to about
a tenth."""

SECRET_OPTIONS = ("password", "access_key", "secret_key", "session_token")
"""Options that a sources file may give only as `${NAME}`, an environment variable."""

S3 = "s3://"


class SourceUnavailableError(Exception):
    """An input cannot be read; the message names it and the reason."""


@dataclass(frozen=True)
class SourceFolders:
    """The folders that connectors use.

    Attributes:
        base: The sources file's folder, to which paths are relative.
        work: A folder for downloads; it is removed when the landing ends.
    """

    base: Path
    work: Path


class Connector(BaseModel, ABC):
    """Base class of connectors; the fields are the options that a sources file may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connector: str

    @abstractmethod
    def attach(self, connection: duckdb.DuckDBPyConnection, view: str, folders: SourceFolders) -> list[Path]:
        """Inspects the source and creates a view over it.

        Args:
            connection: The landing's DuckDB, not locked yet.
            view: The view's name.
            folders: The folders for relative paths and for downloads.

        Returns:
            The files that have to stay readable.

        Raises:
            SourceUnavailableError: The source cannot be read.
        """


class S3Storage(BaseModel):
    """Access to S3-compatible storage.

    Attributes:
        endpoint: URL of storage other than Amazon's, with http:// or https://.
        region: The bucket's region.
        access_key: As `${NAME}`. Without keys, requests are not signed.
        secret_key: As `${NAME}`.
        session_token: As `${NAME}`, for temporary keys.
        connect_seconds: Timeout of a connection.
        read_seconds: Timeout of a read.
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
        """Downloads the objects that an address names.

        Args:
            address: `s3://bucket/key`; the key may be a pattern with `*`, `?` or `[...]`.
            folder: Where the downloads go.

        Returns:
            The downloaded files with their addresses, in the order of the keys.

        Raises:
            SourceUnavailableError: There is no such object, or the storage refuses, or does not answer after retries.
        """
        from boto3.exceptions import Boto3Error
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, pattern = address.removeprefix(S3).partition("/")
        where = f"{address} at {self.endpoint or 'Amazon S3'}"
        # One request per object: parts that are downloaded separately could belong to two versions.
        one_request = TransferConfig(multipart_threshold=1 << 50, use_threads=False, num_download_attempts=1)
        try:
            client = self._client()
            copies = {}
            keys = retry(f"reading {where}", lambda: _matching(client, bucket, pattern), _transient_s3_error)
            for number, key in enumerate(keys):
                copy = folder / f"{number:05d}-{key.rpartition('/')[2]}"
                download = partial(client.download_file, bucket, key, str(copy), Config=one_request)
                retry(f"reading {where}", download, _transient_s3_error)
                copies[copy] = f"{S3}{bucket}/{key}"
        except ClientError as error:
            details = error.response.get("Error", {})
            raise SourceUnavailableError(
                f"{where} cannot be read: {details.get('Code')} ({details.get('Message')}). {_S3_REMEDY}"
            ) from error
        except (BotoCoreError, Boto3Error) as error:
            raise SourceUnavailableError(
                f"{where} cannot be read: {error}. Is `endpoint` right, and may this machine access it?"
            ) from error
        if not copies:
            raise SourceUnavailableError(f"there is no object {where}. Put it there, or correct `path`.")
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
                retries={"mode": "standard", "total_max_attempts": 1},  # `retry` logs and repeats
                **signing,
            ),
        )


def _transient_s3_error(error: BaseException) -> str | None:
    """Returns the reason of an error that may not occur again, such as a lost connection; None for any other error."""
    from boto3.exceptions import RetriesExceededError
    from botocore.exceptions import ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as StorageConnectionError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code")
        return f"HTTP {status}" if status in _TRANSIENT_STATUSES or code in _TRANSIENT_CODES else None
    if isinstance(error, StorageConnectionError | HTTPClientError | RetriesExceededError):
        return str(error)
    return None


def _matching(client: Any, bucket: str, pattern: str) -> list[str]:
    """Returns the keys that match a pattern, sorted; a key without wildcards is returned as it is."""
    prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    if prefix == pattern:
        return [pattern]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    depth = pattern.count("/")
    return sorted(key for key in keys if fnmatchcase(key, pattern) and key.count("/") == depth)


_TRANSIENT_STATUSES = (429, 500, 502, 503, 504)
_TRANSIENT_CODES = ("RequestTimeout", "RequestTimeoutException", "SlowDown", "Throttling", "ThrottlingException")
_S3_REMEDY = "Correct `path`, or the keys and their permissions."


class FileConnector(Connector):
    """A source of one or more files with the same columns.

    Attributes:
        path: A file, or a pattern with `*`, `?` or `[...]`, relative to the sources file; or `s3://bucket/key`.
        s3: Access to the storage, for an `s3://` path.
    """

    path: Annotated[str, Field(min_length=1)]
    s3: S3Storage | None = None

    @model_validator(mode="after")
    def _storage_where_needed(self) -> Self:
        if self.path.startswith(S3) != (self.s3 is not None):
            raise ValueError("`s3` configures access to storage; use it with a `path` that starts with s3://")
        return self

    def files(self, view: str, folders: SourceFolders) -> dict[Path, str]:
        """Returns the files that `path` names, after downloading them if needed, with their names for messages."""
        if self.s3:
            folder = folders.work / f"downloaded-{view}"
            folder.mkdir()
            return self.s3.fetch(self.path, folder)
        target = (folders.base / self.path).absolute()
        path = Path(self.path)
        # Only the option is a pattern, not the folder of the sources file.
        base, pattern = (path.anchor, path.relative_to(path.anchor)) if path.is_absolute() else (folders.base, path)
        matches = [target] if is_file(target) else sorted(match.absolute() for match in Path(base).glob(str(pattern)))
        for path in (target, *matches):
            refuse_special(path)
        files = [path for path in matches if is_file(path)]
        if not files:
            raise SourceUnavailableError(f"there is no file {target}. Put it there, or correct `path`.")
        return {_readable_path(path, number, view, folders): _printable(path) for number, path in enumerate(files)}

    def attach(self, connection: duckdb.DuckDBPyConnection, view: str, folders: SourceFolders) -> list[Path]:
        """Inspects the files and creates a view over them; see `Connector`."""
        files = self.files(view, folders)
        paths = list(files)
        try:
            self.inspect(connection, paths)
            connection.execute(f"create view {quoted(view)} as select * from {self.reader(connection, paths)}")
        except duckdb.Error as error:
            message = f"{', '.join(map(str, paths[:3]))} cannot be read: {self.explain(error)}"
            raise SourceUnavailableError(_replace_file_names(message, files)) from error
        except SourceUnavailableError as error:
            raise SourceUnavailableError(_replace_file_names(str(error), files)) from error
        return paths

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:
        """Inspects the files before their data is read; by default does nothing."""

    def explain(self, error: duckdb.Error) -> str:
        """Returns the message of an error of opening the files."""
        return describe_error(error)

    @abstractmethod
    def reader(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> str:
        """Returns SQL for the files' rows."""


def is_file(path: Path) -> bool:
    """Returns whether a path is a file; False if the name is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def refuse_special(path: Path) -> None:
    """Refuses a pipe, a socket or a device, which would block its reader or have no end.

    Raises:
        SourceUnavailableError: The path is a special file.
    """
    if (kind := special_file(path)) is not None:
        raise SourceUnavailableError(
            f"{_printable(path)} is {kind}, not a regular file. Put a file there, or correct `path`."
        )


def _readable_path(path: Path, number: int, view: str, folders: SourceFolders) -> Path:
    """Returns a path that DuckDB does not take for a pattern: the file's own, or a link if it contains wildcards."""
    if _printable(path) == str(path) and not re.search(r"[*?\[\]{}]", str(path)):
        return path
    link = folders.work / f"linked-{view}" / f"{number:05d}{'.gz' if path.suffix == '.gz' else ''}"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(path)
    return link


def _printable(path: Path) -> str:
    """Returns a path as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _replace_file_names(message: str, files: dict[Path, str]) -> str:
    """Returns a message with the original names of files instead of their temporary copies."""
    for path, name in files.items():
        message = message.replace(str(path), visible(name))
    return message


def check_lines(path: Path, longest: int, encoding: str = "latin-1") -> None:
    """Reads a text file once, and refuses it if a line is too long or it decompresses to too much.

    Args:
        path: The file, plain or gzipped.
        longest: Maximum characters of a line.
        encoding: An encoding in which line ends can be found; Latin 1 also finds those of UTF-8.

    Raises:
        SourceUnavailableError: The file is refused, or cannot be decompressed.
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
                        f"{path} decompresses to more than {MAX_INFLATION} times its size: it is damaged, or made to exhaust "
                        "this machine. Export it again, or decompress it yourself."
                    )
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise SourceUnavailableError(
            f"{path} cannot be read: {error}. Is it complete, and is its `encoding` right?"
        ) from error


def _unpacked(path: Path, raw: BinaryIO, encoding: str) -> TextIO:
    return TextIOWrapper(cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw, encoding)


def check_start(path: Path, marks: tuple[bytes, ...]) -> None:
    """Refuses a text file that starts with an unsupported byte-order mark, or is compressed by other means than gzip.

    Args:
        path: The file, plain or gzipped.
        marks: The byte-order marks to refuse.

    Raises:
        SourceUnavailableError: The file is refused, or cannot be decompressed.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(4)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceUnavailableError(f"{path} cannot be read: {error}. Is it complete?") from error
    if start.startswith(marks):
        raise SourceUnavailableError(
            f"{path} starts with a byte-order mark that is not supported. Save it as UTF-8 without one."
        )
    if start.startswith(_PACKED):
        raise SourceUnavailableError(
            f"{path} has a compression that is not supported. Decompress it, or use gzip and the suffix .gz."
        )


_PACKED = (b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zX", b"PK\x03\x04", b"\x1f\x8b")
"""First bytes of zstd, bzip2, xz, zip and gzip files."""


def _compression(path: Path) -> str:
    """Returns a text file's compression as a SQL option; DuckDB would otherwise derive it from more suffixes than are checked."""
    return "compression = 'gzip'" if path.suffix == ".gz" else "compression = 'uncompressed'"


class ParquetConnector(FileConnector):
    """Parquet files. Columns of several files are matched by name; a column that a file lacks is null in its rows."""

    connector: Literal["parquet"]

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:
        """Reads only the footers, and refuses a file that claims more rows than its size can hold."""
        footers = connection.execute(
            f"select file_name, num_rows, num_row_groups from parquet_file_metadata({file_list(paths)})"
        ).fetchall()
        for name, rows, groups in footers:
            size = Path(name).stat().st_size
            if not 0 <= rows <= size * MAX_ROWS_PER_BYTE or not 0 <= groups <= size:
                raise SourceUnavailableError(
                    f"{name} claims {rows:,} rows in {groups:,} row groups, but has {size:,} bytes: it is damaged, or made "
                    "to exhaust memory. Its data was not read. Export it again."
                )
        wide = f"select file_name, name, precision from parquet_schema({file_list(paths)}) where precision > 38"
        for name, column, precision in connection.execute(wide).fetchall():
            raise SourceUnavailableError(
                f"{name}: column {column} is a decimal of {precision} digits; more than 38 cannot be read without loss. "
                "Export it with fewer."
            )
        names = f"select file_name from parquet_schema({file_list(paths)}) group by file_name having count(*) > {MAX_COLUMNS + 1}"
        for (name,) in connection.execute(names).fetchall():
            raise SourceUnavailableError(f"{name}: {_TOO_MANY_COLUMNS}")

    def explain(self, error: duckdb.Error) -> str:
        """Returns the message, which is shown in full because a footer holds no values."""
        return str(error).split("\n")[0]

    def reader(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> str:  # noqa: ARG002  used by JSON lines
        """Returns SQL for the files' rows."""
        return parquet(paths)


Encoding = Literal[
    "utf-8", "utf-16", "latin-1", "windows-1252", "windows-1250", "windows-1251", "windows-1254", "iso-8859-2", "iso-8859-9",
    "koi8-r", "gb18030", "big5", "shift_jis", "euc-kr",
]  # fmt: skip
"""The encodings of CSV files."""
RECODED: Final[tuple[str, ...]] = get_args(Encoding)[3:]
"""The encodings that DuckDB does not read without an extension that it would download."""


class CsvConnector(FileConnector):
    """CSV files with a header, plain or gzipped.

    Every column is read as text: inferring types from a sample turns `007` into 7.

    Attributes:
        delimiter: The field delimiter.
        quote: The quote character.
        encoding: The files' encoding. DuckDB reads the first three; files in any of `RECODED` are copied as UTF-8 first.
        null: The texts that mean null, quoted or not (many programs quote every field).
    """

    connector: Literal["csv"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    encoding: Encoding = "utf-8"
    null: Annotated[list[str], Field(min_length=1)] = [""]

    @model_validator(mode="after")
    def _signs_that_differ(self) -> Self:
        if self.delimiter == self.quote or {self.delimiter, self.quote} & {"\n", "\r", "\0"}:
            raise ValueError("`delimiter` and `quote` must differ, and neither may be a line end")
        return self

    def files(self, view: str, folders: SourceFolders) -> dict[Path, str]:
        """Returns the files, or copies in UTF-8 of files whose encoding DuckDB does not read."""
        files = super().files(view, folders)
        if self.encoding not in RECODED:
            return files
        folder = folders.work / f"recoded-{view}"
        folder.mkdir()
        return {
            self._recoded(path, folder / f"{number:05d}", name): name
            for number, (path, name) in enumerate(files.items())
        }

    def _recoded(self, path: Path, copy: Path, name: str) -> Path:
        check_lines(path, MAX_CSV_LINE)
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with (
                opener(path, "rt", encoding=self.encoding, newline="") as source,
                copy.open("w", encoding="utf-8", newline="") as target,
            ):
                shutil.copyfileobj(source, target)
        except (OSError, EOFError, zlib.error, UnicodeError) as error:
            raise SourceUnavailableError(
                f"{visible(name)} cannot be read as {self.encoding} text. Set `encoding`."
            ) from error
        return copy

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:  # noqa: ARG002  used by Parquet
        """Refuses files that DuckDB would read only partially."""
        for path in paths:
            check_start(path, (codecs.BOM_UTF16_BE,))
            check_lines(path, MAX_CSV_LINE, "utf-16" if self.encoding == "utf-16" else "latin-1")

    def reader(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> str:  # noqa: ARG002  used by JSON lines
        """Returns SQL for the files' rows. Files with the same header share a reader, because each reader takes memory."""
        groups: dict[tuple[str, tuple[str, ...]], list[Path]] = {}
        for path in paths:
            groups.setdefault((_compression(path), tuple(self._header(path))), []).append(path)
        selects = [
            f"select * from {self._reader(group, names, compression)}" for (compression, names), group in groups.items()
        ]
        return f"({' union all by name '.join(selects)})"

    @property
    def _encoding_read(self) -> str:
        """The encoding of the files that are read, some of which are copies."""
        return "utf-8" if self.encoding in RECODED else self.encoding

    def _reader(self, paths: list[Path], names: tuple[str, ...], compression: str) -> str:
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        options = {
            "auto_detect": "false",
            "header": "true",
            "columns": f"{{{columns}}}",
            "delim": literal(self.delimiter),
            "quote": literal(self.quote),
            "escape": literal(self.quote),
            "encoding": literal(self._encoding_read),
            "nullstr": "[" + ", ".join(map(literal, self.null)) + "]",
            "hive_partitioning": "false",
        }
        listed = ", ".join(f"{key} = {value}" for key, value in options.items())
        return f"read_csv({file_list(paths)}, {listed}, {compression})"

    def _header(self, path: Path) -> list[str]:
        """Reads the first line. DuckDB would infer which line is the header, and could take a row of values for it."""
        encoding = "utf-8-sig" if self._encoding_read == "utf-8" else self._encoding_read
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rt", encoding=encoding, newline="") as file:
                line = file.readline(MAX_HEADER_CHARACTERS)
        except (OSError, UnicodeError) as error:
            raise SourceUnavailableError(f"{path} cannot be read as {self.encoding} text. Set `encoding`.") from error
        names = next(csv.reader([line.rstrip("\r\n")], delimiter=self.delimiter, quotechar=self.quote), [])
        if not names or not all(map(_is_name, names)) or len({name.lower() for name in names}) < len(names):
            raise SourceUnavailableError(
                f"{path}, line 1: the first line must be a header with unique column names. Split at {self.delimiter!r} it has "
                f"{format_count(len(names), 'column')}, {_fault_in_header(names)}. Add a header, or set `delimiter`."
            )
        if len(names) == 1 and (found := _likely_delimiter(line)):
            raise SourceUnavailableError(
                f"{path}, line 1: split at {self.delimiter!r} the header has 1 column, split at {found!r} it has "
                f"{line.count(found) + 1}. Set `delimiter: {json.dumps(found)}` for this input."
            )
        if len(line) == MAX_HEADER_CHARACTERS or len(names) > MAX_COLUMNS:
            raise SourceUnavailableError(f"{path}: {_TOO_MANY_COLUMNS}")
        return names


def _fault_in_header(names: list[str]) -> str:
    """Returns what is wrong with a header, by the number of the column: without a header, the names are values of a row."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not _is_name(name):
            return f"of which column {number} has no printable name"
        if name.lower() in seen:
            return f"of which columns {seen[name.lower()]} and {number} have the same name"
        seen[name.lower()] = number
    return "none of which has a name"


def _likely_delimiter(line: str) -> str | None:
    """Returns the delimiter that splits a header into the most columns, each with a name; None if none does."""
    found = [sign for sign in ",;\t|" if sign in line and all(map(_is_name, line.rstrip("\r\n").split(sign)))]
    return max(found, key=line.count, default=None)


_TOO_MANY_COLUMNS = (
    f"the file has more than {MAX_COLUMNS:,} columns, or their names more than {MAX_HEADER_CHARACTERS:,} characters. "
    "Leave out those that are not needed."
)


def _is_name(text: str) -> bool:
    return bool(text.strip()) and text.isprintable()


class JsonLinesConnector(FileConnector):
    """JSON lines, plain or gzipped: one object per line. A key that a line lacks is null in its row.

    Every value is read as text, nested ones as JSON: inferring types from a sample changes numbers. A number without quotes is
    parsed as a double: `1.10` is read as `1.1`, and the last of 17 digits may differ.

    Attributes:
        columns: Keys that are columns even if no line has them, for files that may be empty.
    """

    connector: Literal["jsonl"]
    columns: list[Annotated[str, Field(min_length=1)]] = []

    def inspect(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> None:  # noqa: ARG002  used by Parquet
        """Refuses files that take too much memory or that the reader does not support."""
        for path in paths:
            check_start(path, (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            check_lines(path, MAX_JSON_LINE)

    def reader(self, connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> str:
        """Returns SQL for the files' rows, with the keys of all lines as columns."""
        common = f"format = 'newline_delimited', maximum_object_size = {MAX_JSON_LINE}, hive_partitioning = false"
        groups = {
            compression: [path for path in paths if _compression(path) == compression]
            for compression in sorted(set(map(_compression, paths)))
        }
        objects = " union all ".join(
            f"select json from read_json_objects({file_list(group)}, {common}, {compression})"
            for compression, group in groups.items()
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
                f"{shown}: no line holds an object. If the file may be empty, list the keys under `columns`."
            )
        if len({name.lower() for name in names}) < len(names) or "" in names:
            raise SourceUnavailableError(f"{shown}: some keys are empty, or differ only in case. Rename them.")
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        readers = [
            f"select * from read_json({file_list(group)}, {common}, {compression}, records = true, columns = {{{columns}}})"
            for compression, group in groups.items()
        ]
        return f"({' union all by name '.join(readers)})"
