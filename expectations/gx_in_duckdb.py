"""The SQLAlchemy dialect that Great Expectations needs to run inside DuckDB.

Great Expectations reads a result after it has closed the connection that it came from, and DuckDB's are gone by then
("list index out of range" on every expectation). So every result is fetched whole as soon as its statement has run. It
also keeps engines, and with a pool their connections, so nothing is pooled: the database ends with its owner's connection.
SQLAlchemy loads the dialect by name, and `runner` imports this module where it judges: it is slow to import.
"""

from __future__ import annotations

from duckdb_sqlalchemy import Dialect, DuckDBExecutionContext
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.engine.url import URL
from sqlalchemy.pool import NullPool, Pool


class _BufferingContext(DuckDBExecutionContext):
    def post_exec(self) -> None:
        super().post_exec()  # type: ignore[no-untyped-call]
        if self.cursor is not None and self.cursor.description:
            self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(
                self.cursor, self.cursor.description, initial_buffer=self.cursor.fetchall()
            )


class BufferedDuckDBDialect(Dialect):
    """DuckDB's dialect with results that are fetched at once and connections that are not kept."""

    execution_ctx_cls = _BufferingContext
    supports_statement_cache = True

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:  # noqa: ARG003 - SQLAlchemy's signature
        """Returns the pool that pools nothing."""
        return NullPool
