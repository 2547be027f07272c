"""DuckDB as landing uses it: a locked-down connection, quoting, what its errors may say, masking, and HMAC in SQL.

A user's expressions and queries are SQL by design. What they may be is judged before they run, by `allowed_sql`; here is
where they run, which can read nothing but the declared inputs. Values never become SQL text, except the quoted paths of files.
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

HMAC_DIGITS = 32
"""Hexadecimal digits kept of an HMAC-SHA256: 128 bits, which no marketplace is large enough to make collide."""

_PLACE = re.compile(
    r"\AInvalid Input Error: (CSV Error on Line: \d+)\n"
    r"|^(Expected Number of Columns: \d+ Found: \d+)$"
    r"|\AInvalid Input Error: Malformed JSON in file \"[^\"]*\", (at byte \d+ in line \d+: [\w ,-]+)"
    r"|\AInvalid Input Error: JSON transform error in file \"[^\"]*\", (in line \d+: Expected [A-Z]+, but got [A-Z]+)",
    re.MULTILINE,
)
"""What DuckDB says of where and why a file is broken, where it stands: further on it quotes the file's rows."""

_SERVER_SAYS = re.compile(
    r"ERROR:\s+(canceling statement due to [\w ]+|terminating connection due to [\w ]+|permission denied for [\w ]+"
    r"|invalid input syntax for type [\w ]+|invalid byte sequence for encoding|division by zero|numeric field overflow"
    r"|relation \"[^\"]*\" does not exist|column \"[^\"]*\" does not exist|date/time field value out of range|out of memory)"
)
"""What PostgreSQL says that holds no value; the rest of its messages may, or of functions that a view calls."""

_NO_NUMBER = re.compile(r'Conversion Error: Could not convert string "(NaN|-?Infinity)" to DECIMAL')

_NO_COLUMN = re.compile(r'Referenced column "([^"]*)" not found')

_SAYS_NO_VALUES = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.SyntaxException,
    duckdb.PermissionException,
    duckdb.IOException,
)


@dataclass(frozen=True)
class Limits:
    """What DuckDB may use. Results do not depend on it."""

    threads: int = 2
    memory: str = "2GB"

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """Returns what the settings allow of this machine."""
        return cls(threads=settings.threads, memory=settings.memory_limit)


def quoted(name: str) -> str:
    """Returns an identifier in quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Returns a string literal, for places where DuckDB takes no bound parameter (views, COPY targets, settings)."""
    return "'" + text.replace("'", "''") + "'"


def file_list(paths: Iterable[Path]) -> str:
    """Returns a list literal of the paths; a reader takes brackets and stars in one for a pattern that may fit others."""
    return "[" + ", ".join(literal(str(path)) for path in paths) + "]"


def parquet(paths: Iterable[Path]) -> str:
    """Returns SQL for the rows of Parquet files, columns matched by name; a folder called `a=b` is no column."""
    return f"read_parquet({file_list(paths)}, union_by_name = true, hive_partitioning = false)"


@contextmanager
def connection_with(limits: Limits, work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens an in-memory DuckDB in which days are UTC.

    Args:
        limits: Threads and memory.
        work: An existing directory, for what does not fit into memory.
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
                # What stands after `from` is an input or a view, never a variable of this program or a secret of ~/.duckdb.
                "python_enable_replacements": "false",
                "allow_persistent_secrets": "false",
            },
        )
        yield connection
    finally:
        connection.close()


def lock(connection: duckdb.DuckDBPyConnection, readable: Sequence[Path], folder: Path) -> None:
    """From here on DuckDB reads `readable`, reads and writes below `folder`, touches nothing else, and stays so.

    What was attached before stays attached, so a connector for a database attaches it before the lock.
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


def said_by_server(error: duckdb.Error) -> str | None:
    """Returns what PostgreSQL or libpq says in an error; None of one that is DuckDB's own and may quote rows."""
    return str(error) if type(error) in (duckdb.IOException, duckdb.Error) else None


def why(error: duckdb.Error) -> str:
    """Returns what an error of DuckDB says, without any value of the data (which may be personal)."""
    told = str(error)
    if "ERROR: " in (said_by_server(error) or ""):
        safe = _SERVER_SAYS.search(told)
        return f"the server says: {safe.group(1)}" if safe else "the server refuses; its log says why, with the values"
    if isinstance(error, _SAYS_NO_VALUES):
        told = told.split("\n\n", maxsplit=1)[0].strip()
        head, _, candidates = told.partition("\nCandidate bindings: ")
        missing = _NO_COLUMN.search(head)
        # What a file without a header has for names are values, which are not like the name that was looked for.
        close = get_close_matches(missing.group(1), re.findall(r'"([^"]*)"', candidates)) if missing else []
        return f"{head} Did you mean {close[0]}?" if close else head
    if _NO_NUMBER.match(told):
        return "a numeric is NaN or infinite"
    places = "; ".join(map(_place, _PLACE.finditer(told)))
    kind = type(error).__name__.removesuffix("Exception")
    return f"{kind} error: a value does not allow it" + (f" ({places})" if places else "")


def _place(found: re.Match[str]) -> str:
    """Returns one place as it is told; DuckDB (1.5.5) counts the line of malformed JSON from two."""
    place = next(group for group in found.groups() if group)
    return re.sub(r"(?<=^at byte )(\d+) in line (\d+)", lambda at: f"{at[1]} in line {int(at[2]) - 1}", place)


def masking(text: str, patterns: Sequence[str]) -> str:
    """Returns SQL for a text without what the patterns fit, in capital or small letters, and without a trace of it.

    A dash or an empty bracket that stayed behind would tell as much as the word. So every text loses its brackets, the
    signs around its words and the characters that nobody sees, whether anything was cut out of it or not.
    """
    cut = "|".join(f"(?:{pattern})" for pattern in patterns)
    return _words_alone(f"regexp_replace({_words_alone(text)}, {literal(cut)}, ' ', 'gi')")


def _words_alone(text: str) -> str:
    """Returns SQL for the words of a text, one space between them; null where there is none."""
    seen = rf"regexp_replace(regexp_replace({text}, '\p{{Cf}}', '', 'g'), '[\[\](){{}}<>【】]', ' ', 'g')"
    bare = r"regexp_replace(word, '^[^\p{L}\p{M}\p{N}\p{Sc}]+|[^\p{L}\p{M}\p{N}\p{Sc}]+$', '', 'g')"
    words = rf"list_transform(string_split_regex({seen}, '[\s\p{{Z}}]+'), lambda word: {bare})"
    return f"nullif(array_to_string(list_filter({words}, lambda word: word <> ''), ' '), '')"


class Hmac:
    """HMAC-SHA256 under one key, as a DuckDB expression, so that it runs vectorised inside the query.

    DuckDB has SHA-256 but no HMAC, so the two pads of RFC 2104 are bound as parameters: neither they nor the key ever
    stand in SQL text, where an error message could show them.
    """

    def __init__(self, key: bytes) -> None:
        """Prepares the pads.

        Args:
            key: The secret, any length but empty.
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
        """Returns the expression for the HMAC of a VARCHAR expression; an empty or null one gives null."""
        inner = f"sha256($inner_pad::blob || encode({text}))"
        outer = f"sha256($outer_pad::blob || unhex({inner}))"
        return f"case when trim({text}) <> '' then {outer}[1:{HMAC_DIGITS}] end"
