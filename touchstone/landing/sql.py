"""DuckDB helpers of landing: a locked-down connection, quoting, error messages without values, masking, and HMAC in SQL.

A user's expressions and queries are SQL by design. `allowed_sql` checks them before they run; the connection in which they run
can read only the declared inputs. Values never become SQL text, except the quoted paths of files.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import duckdb

from touchstone.core.settings import Settings
from touchstone.core.text import visible

HMAC_DIGITS = 32
"""Hexadecimal digits kept of an HMAC-SHA256: 128 bits, too many for collisions in any marketplace."""

_LOCATION = re.compile(
    r"\AInvalid Input Error: (CSV Error on Line: \d+)\n"
    r"|^(Expected Number of Columns: \d+ Found: \d+)$"
    r"|\AInvalid Input Error: Malformed JSON in file \"[^\"]*\", (at byte \d+ in line \d+: [\w ,-]+)"
    r"|\AInvalid Input Error: JSON transform error in file \"[^\"]*\", (in line \d+: Expected [A-Z]+, but got [A-Z]+)",
    re.MULTILINE,
)
"""The parts of DuckDB's messages about malformed files that contain the location and the reason; other parts quote rows."""

_SERVER_MESSAGES = re.compile(
    r"ERROR:\s+(canceling statement due to [\w ]+|terminating connection due to [\w ]+|permission denied for [\w ]+"
    r"|invalid input syntax for type [\w ]+|invalid byte sequence for encoding|division by zero|numeric field overflow"
    r"|relation \"[^\"]*\" does not exist|column \"[^\"]*\" does not exist|date/time field value out of range|out of memory)"
)
"""Messages of PostgreSQL without values. Its other messages, and those of functions that a view calls, may contain values."""

_NO_NUMBER = re.compile(r'Conversion Error: Could not convert string "(NaN|-?Infinity)" to DECIMAL')

_NO_COLUMN = re.compile(r'Referenced column "([^"]*)" not found')

_VALUE_FREE_ERRORS = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.SyntaxException,
    duckdb.PermissionException,
    duckdb.IOException,
)


@dataclass(frozen=True)
class Limits:
    """Resource limits of DuckDB. Results do not depend on them."""

    threads: int = 2
    memory: str = "2GB"

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """Returns the limits in the settings."""
        return cls(threads=settings.threads, memory=settings.memory_limit)


def quoted(name: str) -> str:
    """Returns a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Returns a SQL string literal, for statements that accept no bound parameter (views, COPY targets, settings)."""
    return "'" + text.replace("'", "''") + "'"


def file_list(paths: Iterable[Path]) -> str:
    """Returns a SQL list literal of paths. DuckDB's readers treat brackets and stars in a path as a pattern."""
    return "[" + ", ".join(literal(str(path)) for path in paths) + "]"


def parquet(paths: Iterable[Path]) -> str:
    """Returns SQL for the rows of Parquet files. Columns are matched by name; folders named `a=b` are not columns."""
    return f"read_parquet({file_list(paths)}, union_by_name = true, hive_partitioning = false)"


@contextmanager
def connection_with(limits: Limits, work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens an in-memory DuckDB with the time zone UTC.

    Args:
        limits: Threads and memory.
        work: An existing directory, for data that does not fit into memory.
    """
    connection = duckdb.connect(":memory:")
    try:
        _set(
            connection,
            {
                "TimeZone": "'UTC'",
                "threads": str(limits.threads),
                "memory_limit": literal(limits.memory),
                "temp_directory": literal(str(work)),
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                # A name after `from` is an input or a view, never a Python variable. Secrets of ~/.duckdb are not used.
                "python_enable_replacements": "false",
                "allow_persistent_secrets": "false",
            },
        )
        yield connection
    finally:
        connection.close()


def lock(connection: duckdb.DuckDBPyConnection, readable: Sequence[Path], folder: Path) -> None:
    """Restricts DuckDB permanently to reading `readable`, and to reading and writing below `folder`.

    Databases that are attached stay attached, so connectors attach them before the lock.

    Args:
        connection: The connection.
        readable: Files that may be read.
        folder: Directory that may be read and written.
    """
    _set(
        connection,
        {
            "allowed_paths": file_list(readable),
            "allowed_directories": file_list([folder]),
            "enable_external_access": "false",
            "lock_configuration": "true",
        },
    )


def _set(connection: duckdb.DuckDBPyConnection, settings: Mapping[str, str]) -> None:
    for setting, value in settings.items():
        connection.execute(f"set {setting} = {value}")


def server_message(error: BaseException) -> str | None:
    """Returns the message of an error that comes from PostgreSQL or libpq; None for DuckDB's own, which may quote rows."""
    return str(error) if type(error) in (duckdb.IOException, duckdb.Error) else None


def describe_error(error: duckdb.Error) -> str:
    """Returns the message of a DuckDB error without values of the data, which may be personal."""
    message = str(error)
    if "ERROR: " in (server_message(error) or ""):
        safe = _SERVER_MESSAGES.search(message)
        return (
            f"the server reports: {safe.group(1)}"
            if safe
            else "the server refuses; its log has the reason and the values"
        )
    if isinstance(error, _VALUE_FREE_ERRORS):
        message = message.split("\n\n", maxsplit=1)[0].strip()
        head, _, candidates = message.partition("\nCandidate bindings: ")
        missing = _NO_COLUMN.search(head)
        # The column names of a file without a header are values; they are not similar to the missing name.
        close = get_close_matches(missing.group(1), re.findall(r'"([^"]*)"', candidates)) if missing else []
        return f"{head} Did you mean {close[0]}?" if close else head
    if _NO_NUMBER.match(message):
        return "a numeric is NaN or infinite"
    locations = "; ".join([*map(_format_location, _LOCATION.finditer(message)), *_csv_options(message)])
    kind = type(error).__name__.removesuffix("Exception")
    return f"{kind} error: a value does not allow it" + (f" ({locations})" if locations else "")


def _csv_options(message: str) -> list[str]:
    """Returns the file and the delimiter of a message about CSV: after the last such lines, no value of a row follows."""
    found = [message.rpartition(f"\n  {key} = ")[2].partition("\n")[0] for key in ("file", "delimiter")]
    if "\n  delimiter = " not in message:
        return []
    return [f"file {visible(Path(found[0]).name)}", f"delimiter {found[1].partition(' (')[0]!r}"]


def _format_location(match: re.Match[str]) -> str:
    """Returns a location for a message; DuckDB (1.5.5) counts the lines of malformed JSON from two."""
    location = next(group for group in match.groups() if group)
    return re.sub(
        r"(?<=^at byte )(\d+) in line (\d+)", lambda number: f"{number[1]} in line {int(number[2]) - 1}", location
    )


def masking(text: str, patterns: Sequence[str]) -> str:
    """Returns SQL that removes what the patterns match, ignoring case, from a text without a trace.

    A remaining dash or empty bracket would reveal as much as the word. So every text loses its brackets, the punctuation around
    its words and invisible characters, whether anything was removed or not.

    Args:
        text: SQL for the text.
        patterns: Regular expressions.
    """
    cut = "|".join(f"(?:{pattern})" for pattern in patterns)
    return _strip_punctuation(f"regexp_replace({_strip_punctuation(text)}, {literal(cut)}, ' ', 'gi')")


def _strip_punctuation(text: str) -> str:
    """Returns SQL for the words of a text, separated by single spaces; null if there are none."""
    seen = rf"regexp_replace(regexp_replace({text}, '\p{{Cf}}', '', 'g'), '[\[\](){{}}<>【】]', ' ', 'g')"
    bare = r"regexp_replace(word, '^[^\p{L}\p{M}\p{N}\p{Sc}]+|[^\p{L}\p{M}\p{N}\p{Sc}]+$', '', 'g')"
    words = rf"list_transform(string_split_regex({seen}, '[\s\p{{Z}}]+'), lambda word: {bare})"
    return f"nullif(array_to_string(list_filter({words}, lambda word: word <> ''), ' '), '')"


class Hmac:
    """HMAC-SHA256 under one key, as a DuckDB expression, so that it runs vectorised inside the query.

    DuckDB has SHA-256 but no HMAC. The two pads of RFC 2104 are bound as parameters, so that neither they nor the key appear in
    SQL text, where an error message could show them.
    """

    def __init__(self, key: bytes) -> None:
        """Prepares the pads.

        Args:
            key: The secret; not empty.
        """
        if not key:
            raise ValueError("the HMAC key is empty")
        block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
        self.parameters = {
            "inner_pad": bytes(byte ^ 0x36 for byte in block),
            "outer_pad": bytes(byte ^ 0x5C for byte in block),
        }
        self.key_id = hmac.new(key, b"touchstone key id", hashlib.sha256).hexdigest()[:8]

    def sql(self, text: str) -> str:
        """Returns the expression for the HMAC of a VARCHAR expression; null if the text is empty or null."""
        inner = f"sha256($inner_pad::blob || encode({text}))"
        outer = f"sha256($outer_pad::blob || unhex({inner}))"
        return f"case when trim({text}) <> '' then {outer}[1:{HMAC_DIGITS}] end"
