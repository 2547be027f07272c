"""What Great Expectations lacks to run inside DuckDB: a SQLAlchemy dialect, and an expectation that runs its query once.

Great Expectations reads a result after it has closed the connection that it came from, and DuckDB's are gone by then
("list index out of range" on every expectation). So every result is fetched whole as soon as its statement has run. It
also keeps engines, and with a pool their connections, so nothing is pooled: the database ends with its owner's connection.
SQLAlchemy loads the dialect by name, and `runner` imports this module where it judges: it is slow to import.
"""

from __future__ import annotations

from typing import Any, ClassVar

from duckdb_sqlalchemy import Dialect, DuckDBExecutionContext
from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation
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


class ExpectNothingWrong(UnexpectedRowsExpectation):
    """Holds when its query returns no row; what it returns are aggregates, so they are part of the result.

    Its parent runs the query twice, to fetch rows and to count them: at 2 million rows that is seconds.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.table",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002 - Great Expectations' signature
        execution_engine: Any = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        rows = metrics["unexpected_rows_query.table"]
        return {"success": not rows, "result": {"observed_value": len(rows), "details": {"wrong": rows}}}
