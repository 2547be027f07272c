"""Databases as sources: PostgreSQL, SQLite and DuckDB files, attached to the landing's DuckDB for reading only.

DuckDB's own extensions read the first two; they come as wheels, and nothing is downloaded. A table is read in one
statement, so what changes meanwhile is not seen half. What is transient (no connection, one that breaks) is tried again.
Files are in `connectors`.
"""

from __future__ import annotations

import logging
import os
import re
import time
from abc import abstractmethod
from collections.abc import Callable
from difflib import get_close_matches
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal

import duckdb
from pydantic import Field

from touchstone.landing.connectors import ATTEMPTS, Connector, Place, SourceUnavailableError, is_file, refuse_special
from touchstone.landing.sql import literal, quoted, said_by_server

logger = logging.getLogger("touchstone")
FIRST_PAUSE_SECONDS: Final = 0.5
_TRANSIENT: Final = re.compile(
    r"connection refused|could not connect|connection reset|connection timed out|timeout expired|no route to host"
    r"|server closed the connection|terminating connection|connection to server was lost|broken pipe|SSL SYSCALL"
    r"|starting up|shutting down|too many (clients|connections)|recovery mode|network is unreachable",
    re.IGNORECASE,
)
_ALIAS_KEY: Final = os.urandom(16)
"""Key of the digests that name attached databases: a message may show such a name, and a password is part of its options."""


def persevering[T](what: str, work: Callable[[], T]) -> T:
    """Does something, and does it again after a pause that doubles while what fails is transient.

    Args:
        what: What is done, for the line that says that it is tried again; no password.
        work: Does it.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return work()
        except duckdb.Error as error:
            transient = lost_connection(error)
            if transient is None:
                raise
            pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
            logger.warning("%s: try %d of %d failed (%s); the next in %g s.", what, attempt, ATTEMPTS, transient, pause)
            time.sleep(pause)
    return work()


def lost_connection(error: duckdb.Error) -> str | None:
    """Returns what an error says of a connection that was lost or not had, which may be had later; None of any other."""
    transient = _TRANSIENT.search(re.sub(r'"[^"]*"', '""', said_by_server(error) or ""))
    return transient.group(0) if transient else None


class DatabaseConnector(Connector):
    """A source that is one table (or view) of a database.

    Attributes:
        table: The table's name, as the database spells it.
    """

    table: Annotated[str, Field(min_length=1)]

    @property
    @abstractmethod
    def where(self) -> str:
        """What a message calls the database; no password."""

    @abstractmethod
    def open(self, connection: duckdb.DuckDBPyConnection, alias: str, place: Place) -> list[Path]:
        """Attaches the database for reading only; returns the files that have to stay readable."""

    @property
    def schema_name(self) -> str:
        """The schema that holds the table."""
        return "main"

    def explain(self, error: duckdb.Error) -> str:
        """Returns what an error in attaching means, without what it was attached with."""
        return str(error).split("\n")[0]

    def attach(self, connection: duckdb.DuckDBPyConnection, view: str, place: Place) -> list[Path]:
        """Attaches the database, once for all its tables, and makes a view over one; see `Connector`."""
        options = self.model_dump_json(exclude={"table", "schema_"})
        alias = f"database:{blake2b(options.encode(), key=_ALIAS_KEY, digest_size=6).hexdigest()}"
        relation = ".".join(map(quoted, (alias, self.schema_name, self.table)))
        opening = f"opening {self.where}, for table {self.table}"
        readable: list[Path] = []

        def look() -> None:
            self._check_table(connection, alias)
            connection.execute(f"create view {quoted(view)} as select * from {relation}")

        try:
            if (alias,) not in connection.execute("select database_name from duckdb_databases()").fetchall():
                readable = persevering(opening, lambda: self.open(connection, alias, place))
            persevering(opening, look)
        except duckdb.Error as error:
            raise SourceUnavailableError(f"{self.where} cannot be read: {self.explain(error)}") from error
        return readable

    def _check_table(self, connection: duckdb.DuckDBPyConnection, alias: str) -> None:
        query = """
            select table_name from duckdb_tables() where database_name = $alias and schema_name = $schema
            union all
            select view_name from duckdb_views() where database_name = $alias and schema_name = $schema and not internal
        """
        rows = connection.execute(query, {"alias": alias, "schema": self.schema_name}).fetchall()
        names = [str(name) for (name,) in rows]
        if self.table not in names:
            close = get_close_matches(self.table, names, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has: {', '.join(sorted(names)[:20]) or 'none'}."
            raise SourceUnavailableError(f"{self.where} has no table {self.table} that may be read. {hint}")


class PostgresConnector(DatabaseConnector):
    """A table of PostgreSQL, read in a session that cannot write.

    Attributes:
        host: Host, or the folder of a socket.
        port: Port.
        database: Database.
        user: User.
        password: As `${NAME}`; none where the server asks for none.
        schema_: The table's schema (`schema` in the file).
        sslmode: What libpq calls so; `require` or stricter over a network that is not yours.
        connect_seconds: How long to wait for a connection.
        statement_seconds: How long the server may take for one statement.
    """

    connector: Literal["postgres"]
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    database: Annotated[str, Field(min_length=1)]
    user: Annotated[str, Field(min_length=1)]
    password: Annotated[str | None, Field(repr=False)] = None
    schema_: Annotated[str, Field(alias="schema", min_length=1)] = "public"
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    connect_seconds: Annotated[int, Field(ge=2)] = 10
    statement_seconds: Annotated[int, Field(ge=1)] = 900

    @property
    def where(self) -> str:
        """Returns host, port and database."""
        return f"PostgreSQL at {self.host}:{self.port}, database {self.database}"

    @property
    def schema_name(self) -> str:
        """The schema that the file names."""
        return self.schema_

    def open(self, connection: duckdb.DuckDBPyConnection, alias: str, place: Place) -> list[Path]:  # noqa: ARG002  files ask it
        """Attaches through libpq, with the password in DuckDB's memory, and only until it is attached.

        It is bound as a parameter, so it is in no SQL text, no file and no list of what is attached. The connections that a
        read opens later have it from the attached database itself, which tells it to no query.
        """
        load_extension(connection, "postgres_scanner")
        # In the binary protocol a numeric that is no number or infinite comes as zero.
        connection.execute("set pg_use_text_protocol = true")
        patience = f"-c statement_timeout={self.statement_seconds * 1000}"
        settings: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "sslmode": self.sslmode,
            "connect_timeout": self.connect_seconds,
            "keepalives_idle": 30,
            "tcp_user_timeout": 60_000,
            "application_name": "touchstone",
            "options": f"-c default_transaction_read_only=on {patience}",
        }
        target = literal(" ".join(f"{key}={_libpq(str(value))}" for key, value in settings.items()))
        if self.password is None:
            connection.execute(f"attach {target} as {quoted(alias)} (type postgres, read_only)")
            return []
        secret = quoted(alias)
        given = {"password": self.password}
        connection.execute(f"create temporary secret {secret} (type postgres, password $password)", given)
        try:
            connection.execute(f"attach {target} as {quoted(alias)} (type postgres, read_only, secret {secret})")
        finally:
            connection.execute(f"drop temporary secret {secret}")
        return []

    def _check_table(self, connection: duckdb.DuckDBPyConnection, alias: str) -> None:
        super()._check_table(connection, alias)
        # Reading a numeric(5, -2) ends this whole process with a division by zero (postgres_scanner 1.5.5).
        asked = f"""
            select attname from pg_attribute
            where attrelid = to_regclass(format('%I.%I', {literal(self.schema_)}, {literal(self.table)}))
            and atttypid = 'numeric'::regtype and atttypmod >= 4 and ((((atttypmod - 4) & 2047) # 1024) - 1024) < 0
        """
        for (column,) in connection.execute(f"from postgres_query({literal(alias)}, {literal(asked)})").fetchall():
            raise SourceUnavailableError(
                f"{self.where}, table {self.table}: column {column} has a negative scale, which cannot be read. "
                "Cast it to numeric(18, 4) in a view, and name the view."
            )

    def explain(self, error: duckdb.Error) -> str:
        """Returns what the server or libpq says, and what to do."""
        told = _ASKED.sub("", str(error).strip(), count=1).split("\n")[0]
        told = re.split(r" failed: |ERROR: ", told, maxsplit=1)[-1].strip()
        remedy = next((remedy for sign, remedy in _POSTGRES_REMEDIES.items() if sign in told), "")
        return f"{told}. {remedy}".strip()


# What DuckDB says before it tells what the server said: the address, or the statement with all its lines.
_ASKED: Final = re.compile(r'^.*?(?:Unable to connect to Postgres at|Failed to execute query) ".*?": ', re.DOTALL)

_POSTGRES_REMEDIES: Final = {
    "translate host name": "Correct `host`.",
    "password": "Correct `user`, or what the variable that `password` names holds.",
    "role": "Correct `user`.",
    "database": "Correct `database`.",
    "timeout expired": "Is the server up, and does a firewall let this machine in?",
    "terminating connection": "Is the server up, and does it let a read finish?",
    "Connection refused": "Is the server up, and are `host` and `port` right?",
    "statement timeout": "Raise `statement_seconds`, or give the table a `cursor` or a `where`.",
}


class _FileDatabaseConnector(DatabaseConnector):
    path: Annotated[str, Field(min_length=1)]

    @property
    def where(self) -> str:
        """Returns the file."""
        return self.path

    def file(self, place: Place) -> Path:
        """Returns the database's file, relative to the sources file."""
        path = (place.base / self.path).absolute()
        refuse_special(path)
        if not is_file(path):
            raise SourceUnavailableError(f"no file is at {path}. Put it there, or correct `path`.")
        return path


class SqliteConnector(_FileDatabaseConnector):
    """A table of a SQLite file. Every value is read as text, for SQLite holds any in a column of any type."""

    connector: Literal["sqlite"]

    def open(self, connection: duckdb.DuckDBPyConnection, alias: str, place: Place) -> list[Path]:
        """Attaches the file."""
        path = self.file(place)
        load_extension(connection, "sqlite_scanner")
        connection.execute("set sqlite_all_varchar = true")
        connection.execute(f"attach {literal(str(path))} as {quoted(alias)} (type sqlite, read_only)")
        return [path]


class DuckDBConnector(_FileDatabaseConnector):
    """A table of a DuckDB file.

    Attributes:
        schema_: The table's schema (`schema` in the file).
    """

    connector: Literal["duckdb"]
    schema_: Annotated[str, Field(alias="schema", min_length=1)] = "main"

    @property
    def schema_name(self) -> str:
        """The schema that the file names."""
        return self.schema_

    def open(self, connection: duckdb.DuckDBPyConnection, alias: str, place: Place) -> list[Path]:
        """Attaches the file."""
        path = self.file(place)
        connection.execute(f"attach {literal(str(path))} as {quoted(alias)} (read_only)")
        return [path]

    def explain(self, error: duckdb.Error) -> str:
        """Returns the reason; of a file that somebody writes, who and what to do."""
        told = super().explain(error)
        if "lock" not in told.lower():
            return told
        holder = re.search(r"PID (\d+)", told)
        who = f"process {holder.group(1)}" if holder else "another process"
        return f"{who} has it open for writing, and DuckDB then lets nobody read it. Wait until it is closed, or name a copy."


def _libpq(value: str) -> str:
    """Returns a value as a connection string of libpq quotes it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Loads one of DuckDB's extensions from its wheel, its signature checked; nothing is copied or downloaded."""
    package = files(f"duckdb_extension_{name}")
    file = package / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    connection.execute(f"load {literal(str(file))}")
