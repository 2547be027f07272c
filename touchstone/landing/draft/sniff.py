"""Finds out what a file or a database URL is, and with which connector and options it is read.

Files are recognised by their first bytes, not by their names. For CSV, the encoding, the delimiter, the quote and words for null
are found out.
"""

from __future__ import annotations

import codecs
import gzip
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from urllib.parse import parse_qs, unquote, urlsplit

import duckdb
from charset_normalizer import from_bytes

from touchstone.core.errors import BadInputError
from touchstone.core.files import open_regular, special_file
from touchstone.core.secrets import remember
from touchstone.landing.connectors import RECODED, is_file
from touchstone.landing.draft.values import NULL_WORDS
from touchstone.landing.sql import literal

SAMPLE_BYTES: Final = 1_000_000
"""The first bytes of a CSV file, from which delimiter and quote are found out."""

_ZIP, _GZIP, _PDF = b"PK\x03\x04", b"\x1f\x8b", b"%PDF"
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Source:
    """A file, or a database with all its tables.

    Attributes:
        name: A name for it: of the file without ending.
        options: The connector's options as the sources file has them, without `table`.
        environment: Environment variables that the options need, and their values.
    """

    name: str
    options: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_database(self) -> bool:
        """Whether it has tables."""
        return self.options["connector"] in ("postgres", "sqlite", "duckdb")


def recognise(argument: str, environment: Mapping[str, str]) -> list[Source]:
    """Returns the sources that an argument of the command line names.

    Args:
        argument: A path, a pattern of paths, or a database URL. Files that match a pattern and whose names differ only in digits
            are one table; other files that match are one each.
        environment: The environment variables, for `${NAME}` as the password in a URL.

    Raises:
        BadInputError: There is no such file, or it is of no known kind.
    """
    if "://" in argument:
        return [_database(argument, environment)]
    path = Path(argument)
    if not re.search(r"[*?\[]", argument) or is_file(path):
        return [Source(_stem(path), _file(path))]
    base, pattern = (Path(path.anchor), path.relative_to(path.anchor)) if path.is_absolute() else (Path(), path)
    matches = sorted(match for match in base.glob(str(pattern)) if is_file(match))
    if not matches:
        raise BadInputError(f"{argument}: no file matches this pattern. Correct it.")
    names = {re.sub(r"[\W_\d]+", " ", _stem(match)).strip() for match in matches}
    if len(matches) > 1 and len(names) == 1:
        return [Source(names.pop() or path.parent.name, {**_file(matches[0]), "path": argument})]
    return [Source(_stem(match), _file(match)) for match in matches]


def _stem(path: Path) -> str:
    return re.sub(r"(\.\w{1,8})(\.gz)?$|\.gz$", "", path.name) or path.name


def _file(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise BadInputError(f"{path}: there is no such file. Name CSV, Parquet or JSON lines files, or a database.")
    if (kind := "a folder" if path.is_dir() else special_file(path)) is not None:
        raise BadInputError(
            f"{path} is {kind}, not a file. Name its files one by one, or as a pattern in quotes: '*.csv'"
        )
    try:
        return {**_kind(path), "path": str(path)}
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror or error}). Correct its permissions, or export it again."
        ) from error


def _kind(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        start = file.read(4096)
    if not start.strip():
        raise BadInputError(f"{path} is empty. Export it again, with a line of column names.")
    if start[:4] == b"PAR1":
        return {"connector": "parquet"}
    if start[:16] == b"SQLite format 3\0":
        return {"connector": "sqlite"}
    if start[8:12] == b"DUCK":
        return {"connector": "duckdb"}
    if start[:4] == _ZIP:
        raise BadInputError(
            f"{path} is a ZIP archive or an Excel workbook, which is not read. Unpack it, or save each sheet as CSV."
        )
    if start[:2] == _GZIP:
        raise BadInputError(f"{path} is compressed by gzip. Give its name the ending .gz, and run again.")
    is_utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if start[:4] == _PDF or (b"\0" in start and not is_utf16):
        raise BadInputError(
            f"{path} is a binary file of no known kind. Export the table as CSV, Parquet or JSON lines."
        )
    if start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{":
        return {"connector": "jsonl"}
    if start.lstrip()[:1] == b"[" and path.suffix.lower() == ".json":
        raise BadInputError(f"{path} is one JSON array. Export one object per line (JSON lines), or as CSV.")
    return _csv(path)


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix == ".gz" else open_regular(path)


def _csv(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        start = file.read(SAMPLE_BYTES)
    encoding = _encoding(path, start)
    text = codecs.getincrementaldecoder(encoding)(errors="ignore").decode(start).removeprefix("\ufeff")
    if len(start) == SAMPLE_BYTES:
        text = text[: text.rfind("\n") + 1] or text
    if text and sum(not (c.isprintable() or c.isspace()) for c in text[:4096]) > 0.02 * len(text[:4096]):
        raise BadInputError(
            f"{path} is a binary file of no known kind. Export the table as CSV, Parquet or JSON lines."
        )
    delimiter, quote = _dialect(text)
    options: dict[str, Any] = {"connector": "csv"}
    if delimiter != ",":
        options["delimiter"] = delimiter
    if quote != '"':
        options["quote"] = quote
    if encoding != "utf-8":
        options["encoding"] = encoding
    fields = {field.strip(quote) for line in text.splitlines() for field in line.split(delimiter)}
    if words := [word for word in NULL_WORDS if word in fields]:
        options["null"] = ["", *words]
    return options


def _encoding(path: Path, start: bytes) -> str:
    """Returns the encoding of a text file: UTF-8 if all of it is, else the likeliest one."""
    if start.startswith(codecs.BOM_UTF16_LE):
        return "utf-16"
    if start.startswith(codecs.BOM_UTF16_BE):
        raise BadInputError(f"{path} is UTF-16 with the high byte first, which is not read. Save it as UTF-8.")
    if (beyond := next(_not_utf8(path), None)) is None:
        return "utf-8"
    best = from_bytes(beyond, cp_isolation=[_python_name(name) for name in RECODED]).best()
    if best is None:
        raise BadInputError(f"{path} is text in no encoding that is known. Save it as UTF-8.")
    return next(name for name in RECODED if _python_name(name) == best.encoding)


def _python_name(encoding: str) -> str:
    return codecs.lookup(encoding).name.replace("-", "_").replace("windows_", "cp")


def _not_utf8(path: Path) -> Iterator[bytes]:
    """Yields the parts of a file that are not UTF-8, from about the first byte that is not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(path) as file:
        while part := file.read(SAMPLE_BYTES):
            try:
                decoder.decode(part)
            except UnicodeDecodeError:
                yield part
                decoder.reset()


def _dialect(text: str) -> tuple[str, str]:
    """Returns the delimiter and the quote of a CSV text."""
    header = text.partition("\n")[0]
    with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        try:
            row = (
                duckdb.connect(":memory:")
                .execute(f"select Delimiter, Quote from sniff_csv({literal(file.name)}, ignore_errors = true)")
                .fetchone()
            )
        except duckdb.Error:
            row = None
    delimiter, quote = (str(row[0]), str(row[1])) if row else ("", "")
    if len(delimiter) != 1 or delimiter not in header:
        delimiter = max(",;\t|", key=header.count)
    return delimiter, quote if len(quote) == 1 and quote.isprintable() else '"'


def _database(url: str, environment: Mapping[str, str]) -> Source:
    scheme = url.partition("://")[0].lower()
    if scheme in ("sqlite", "duckdb"):
        path = Path(unquote(url.partition("://")[2].removeprefix("/")))  # sqlite:///relative, sqlite:////absolute
        options = _file(path)
        if options["connector"] != scheme:
            raise BadInputError(f"{path} is no {'SQLite' if scheme == 'sqlite' else 'DuckDB'} file. Correct the URL.")
        return Source(path.stem, options)
    if scheme not in ("postgres", "postgresql"):
        raise BadInputError(
            f"{scheme}:// is not a database that is read. Use postgresql://, sqlite:/// or duckdb:///, or export files."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInputError(
            "The URL of the database cannot be read. Write postgresql://USER@HOST:PORT/DATABASE"
        ) from error
    settings = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    database = unquote(parts.path.lstrip("/"))
    host = settings.get("host") or unquote(parts.hostname or "localhost")
    if not database or not parts.username:
        raise BadInputError("The URL of a database needs a user and a database: postgresql://USER@HOST:PORT/DATABASE")
    options = {"connector": "postgres", "host": host, "database": database, "user": unquote(parts.username)}
    if port:
        options["port"] = port
    options |= {key: settings[key] for key in ("schema", "sslmode") if key in settings}
    needed: dict[str, str] = {}
    if parts.password:
        variable = _VARIABLE.fullmatch(unquote(parts.password))
        name = variable[1] if variable else f"{re.sub(r'[^A-Za-z0-9]+', '_', database).upper()}_PASSWORD"
        value = environment.get(name) if variable else unquote(parts.password)
        if not value:
            raise BadInputError(
                f"The URL needs the environment variable {name}, which is not set. Set it and run again."
            )
        remember(value)
        options["password"] = f"${{{name}}}"
        needed[name] = value
    return Source(database, options, needed)
