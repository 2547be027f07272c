"""Database connectors: PostgreSQL, SQLite and DuckDB files, attached read-only to the landing's DuckDB.

DuckDB's own extensions read the first two; they are installed as wheels, and nothing is downloaded. A table is read in one
statement, so that it is consistent. Transient errors (no connection, or a lost one) are retried. File connectors are in
`connectors`.
"""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from difflib import get_close_matches
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal

import duckdb
from pydantic import Field

from touchstone.core.retry import retry
from touchstone.landing.connectors import (
    Connector,
    SourceFolders,
    SourceUnavailableError,
    is_file,
    refuse_special,
)
from touchstone.landing.sql import literal, quoted, server_message

_TRANSIENT: Final = re.compile(
    r"connection refused|could not connect|connection reset|connection timed out|timeout expired|no route to host"
    r"|server closed the connection|terminating connection|connection to server was lost|broken pipe|SSL SYSCALL"
    r"|starting up|shutting down|too many (clients|connections)|recovery mode|network is unreachable",
    re.IGNORECASE,
)
_ALIAS_KEY: Final = os.urandom(16)
"""Key of the digests that name attached databases: messages may show these names, and the options include a password."""


def lost_connection(error: BaseException) -> str | None:
    """Returns the part of an error message that reports a lost or refused connection; None for any other error."""
    match = _TRANSIENT.search(re.sub(r'"[^"]*"', '""', server_message(error) or ""))
    return match.group(0) if match else None


class DatabaseConnector(Connector):
    """A source that is one table (or view) of a database.

    Attributes:
        table: The table's name, as the database spells it.
    """

    table: Annotated[str, Field(min_length=1)]

    @property
    @abstractmethod
    def where(self) -> str:
        """The database's name in messages, without a password."""

    @abstractmethod
    def open(self, connection: duckdb.DuckDBPyConnection, alias: str, folders: SourceFolders) -> list[Path]:
        """Attaches the database read-only; returns the files that have to stay readable."""

    @property
    def schema_name(self) -> str:
        """The table's schema."""
        return "main"

    def explain(self, error: duckdb.Error) -> str:
        """Returns the message of an error of attaching, without the options."""
        return str(error).split("\n")[0]

    def attach(self, connection: duckdb.DuckDBPyConnection, view: str, folders: SourceFolders) -> list[Path]:
        """Attaches the database, once for all its tables, and creates a view over one table; see `Connector`."""
        options = self.model_dump_json(exclude={"table", "schema_"})
        alias = f"database:{blake2b(options.encode(), key=_ALIAS_KEY, digest_size=6).hexdigest()}"
        relation = ".".join(map(quoted, (alias, self.schema_name, self.table)))
        action = f"opening {self.where}, for table {self.table}"
        readable: list[Path] = []

        def create_view() -> None:
            self._check_table(connection, alias)
            connection.execute(f"create view {quoted(view)} as select * from {relation}")

        try:
            if (alias,) not in connection.execute("select database_name from duckdb_databases()").fetchall():
                readable = retry(action, lambda: self.open(connection, alias, folders), lost_connection)
            retry(action, create_view, lost_connection)
        except duckdb.Error as error:
            raise SourceUnavailableError(f"{self.where} cannot be read: {self.explain(error)}") from error
        return readable

    def tables(self, connection: duckdb.DuckDBPyConnection, folders: SourceFolders) -> list[str]:
        """Returns the names of the schema's tables and views, sorted.

        Args:
            connection: A DuckDB in which the database gets attached for this.
            folders: The folders for relative paths.

        Raises:
            SourceUnavailableError: The database cannot be read.
        """
        try:
            retry(f"opening {self.where}", lambda: self.open(connection, "listed", folders), lost_connection)
            names = self._table_names(connection, "listed")
            connection.execute("detach listed")
        except duckdb.Error as error:
            raise SourceUnavailableError(f"{self.where} cannot be read: {self.explain(error)}") from error
        return sorted(names)

    def _table_names(self, connection: duckdb.DuckDBPyConnection, alias: str) -> list[str]:
        query = """
            select table_name from duckdb_tables() where database_name = $alias and schema_name = $schema
            union all
            select view_name from duckdb_views() where database_name = $alias and schema_name = $schema and not internal
        """
        rows = connection.execute(query, {"alias": alias, "schema": self.schema_name}).fetchall()
        return [str(name) for (name,) in rows]

    def _check_table(self, connection: duckdb.DuckDBPyConnection, alias: str) -> None:
        names = self._table_names(connection, alias)
        if self.table not in names:
            close = get_close_matches(self.table, names, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has: {', '.join(sorted(names)[:20]) or 'none'}."
            raise SourceUnavailableError(f"{self.where} has no readable table {self.table}. {hint}")


class PostgresConnector(DatabaseConnector):
    """A table of PostgreSQL, read in a session that cannot write.

    Attributes:
        host: Host name, or the folder of a socket.
        port: Port.
        database: Database.
        user: User.
        password: As `${NAME}`; not set if the server requires none.
        schema_: The table's schema (`schema` in the file).
        sslmode: libpq's `sslmode`; use `require` or stricter over an untrusted network.
        connect_seconds: Timeout of a connection.
        statement_seconds: Timeout of a statement.
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
        """Host, port and database."""
        return f"PostgreSQL at {self.host}:{self.port}, database {self.database}"

    @property
    def schema_name(self) -> str:
        """The schema from the sources file."""
        return self.schema_

    def open(self, connection: duckdb.DuckDBPyConnection, alias: str, folders: SourceFolders) -> list[Path]:  # noqa: ARG002  used by file databases
        """Attaches through libpq, with the password as a temporary secret in DuckDB's memory.

        The password is bound as a parameter, so that it is in no SQL text, no file and no list of attached databases. Connections
        that a read opens later get it from the attached database, which no query can read it from.
        """
        load_extension(connection, "postgres_scanner")
        # The binary protocol reads a numeric that is NaN or infinite as zero.
        connection.execute("set pg_use_text_protocol = true")
        timeout = f"-c statement_timeout={self.statement_seconds * 1000}"
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
            "options": f"-c default_transaction_read_only=on {timeout}",
        }
        target = literal(" ".join(f"{key}={_libpq(str(value))}" for key, value in settings.items()))
        if self.password is None:
            connection.execute(f"attach {target} as {quoted(alias)} (type postgres, read_only)")
            return []
        secret = quoted(alias)
        parameters = {"password": self.password}
        connection.execute(f"create temporary secret {secret} (type postgres, password $password)", parameters)
        try:
            connection.execute(f"attach {target} as {quoted(alias)} (type postgres, read_only, secret {secret})")
        finally:
            connection.execute(f"drop temporary secret {secret}")
        return []

    def _check_table(self, connection: duckdb.DuckDBPyConnection, alias: str) -> None:
        super()._check_table(connection, alias)
        # Reading a numeric(5, -2) crashes the process with a division by zero (postgres_scanner 1.5.5).
        query = f"""
            select attname from pg_attribute
            where attrelid = to_regclass(format('%I.%I', {literal(self.schema_)}, {literal(self.table)}))
            and atttypid = 'numeric'::regtype and atttypmod >= 4 and ((((atttypmod - 4) & 2047) # 1024) - 1024) < 0
        """
        for (column,) in connection.execute(f"from postgres_query({literal(alias)}, {literal(query)})").fetchall():
            raise SourceUnavailableError(
                f"{self.where}, table {self.table}: column {column} has a negative scale, which cannot be read. "
                "Cast it to numeric(18, 4) in a view, and use the view."
            )

    def explain(self, error: duckdb.Error) -> str:
        """Returns the message of the server or libpq, and what to do."""
        message = _DUCKDB_PREFIX.sub("", str(error).strip(), count=1).split("\n")[0]
        message = re.split(r" failed: |ERROR: ", message, maxsplit=1)[-1].strip()
        remedy = next((remedy for phrase, remedy in _POSTGRES_REMEDIES.items() if phrase in message), "")
        return f"{message}. {remedy}".strip()


# DuckDB's text before the server's message: the address, or the statement with all its lines.
_DUCKDB_PREFIX: Final = re.compile(
    r'^.*?(?:Unable to connect to Postgres at|Failed to execute query) ".*?": ', re.DOTALL
)

_POSTGRES_REMEDIES: Final = {
    "translate host name": "Correct `host`.",
    "password": "Correct `user`, or the value of the variable that `password` names.",
    "role": "Correct `user`.",
    "database": "Correct `database`.",
    "timeout expired": "Is the server up, and does a firewall block this machine?",
    "terminating connection": "Is the server up, and does it let a read finish?",
    "Connection refused": "Is the server up, and are `host` and `port` right?",
    "statement timeout": "Increase `statement_seconds`, or give the table a `cursor` or a `where`.",
}


class _FileDatabaseConnector(DatabaseConnector):
    path: Annotated[str, Field(min_length=1)]

    @property
    def where(self) -> str:
        """The file."""
        return self.path

    def file(self, folders: SourceFolders) -> Path:
        """Returns the path of the database's file."""
        path = (folders.base / self.path).absolute()
        refuse_special(path)
        if not is_file(path):
            raise SourceUnavailableError(f"there is no file {path}. Put it there, or correct `path`.")
        return path


class SqliteConnector(_FileDatabaseConnector):
    """A table of a SQLite file. Every value is read as text, because SQLite columns may hold values of any type."""

    connector: Literal["sqlite"]

    def open(self, connection: duckdb.DuckDBPyConnection, alias: str, folders: SourceFolders) -> list[Path]:
        """Attaches the file."""
        path = self.file(folders)
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
        """The schema from the sources file."""
        return self.schema_

    def open(self, connection: duckdb.DuckDBPyConnection, alias: str, folders: SourceFolders) -> list[Path]:
        """Attaches the file."""
        path = self.file(folders)
        connection.execute(f"attach {literal(str(path))} as {quoted(alias)} (read_only)")
        return [path]

    def explain(self, error: duckdb.Error) -> str:
        """Returns the message of the error; for a locked file, the holder and what to do."""
        message = super().explain(error)
        if "lock" not in message.lower():
            return message
        match = re.search(r"PID (\d+)", message)
        holder = f"process {match.group(1)}" if match else "another process"
        return f"{holder} has it open for writing, so DuckDB cannot read it. Wait until it is closed, or use a copy."


def _libpq(value: str) -> str:
    """Returns a value quoted for a libpq connection string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Loads a DuckDB extension from its wheel and verifies its signature; nothing is downloaded."""
    package = files(f"duckdb_extension_{name}")
    file = package / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    connection.execute(f"load {literal(str(file))}")
