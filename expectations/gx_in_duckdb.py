"""Great Expectations over one DuckDB database, and the SQLAlchemy dialect that it needs for it.

Great Expectations reads a result after it has closed the connection that it came from, and DuckDB's are gone by then
("list index out of range" on every expectation). So every result is fetched whole as soon as its statement has run. It
also keeps engines, and with a pool their connections, so nothing is pooled: the database is closed with its owner's connection.
This module is slow to import (5 s), so `runner` imports it where a suite is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import great_expectations as gx
from duckdb_sqlalchemy import Dialect, DuckDBExecutionContext
from great_expectations.core import ExpectationValidationResult
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.datasource.fluent.interfaces import Batch
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.engine.url import URL
from sqlalchemy.pool import NullPool, Pool

from expectations.suites import Expectation


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


@cache
def _context() -> EphemeralDataContext:
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def judge(
    url: str, expectations: Sequence[Expectation], bound: Mapping[str, Any]
) -> dict[str, ExpectationValidationResult]:
    """Returns Great Expectations' result of each expectation by its name; one batch a table."""
    name = url.rsplit("_", maxsplit=1)[-1]
    source = _context().data_sources.add_sql(name, connection_string=url)
    outcomes: dict[str, ExpectationValidationResult] = {}
    try:
        for table in dict.fromkeys(expectation.table for expectation in expectations):
            batch = (
                source.add_table_asset(table, table_name=table).add_batch_definition_whole_table("whole").get_batch()
            )
            outcomes |= _judge_table(batch, [item for item in expectations if item.table == table], bound)
    finally:
        _context().data_sources.delete(name)
    return outcomes


def _judge_table(
    batch: Batch, expectations: Sequence[Expectation], bound: Mapping[str, Any]
) -> dict[str, ExpectationValidationResult]:
    outcomes: dict[str, ExpectationValidationResult] = {}
    # The rows that a query returns are aggregates, so all are part of the result; samples of the table's own rows never are.
    for result_format, chosen in (
        (
            {"result_format": "BASIC", "partial_unexpected_count": 0},
            [item for item in expectations if item.gx is not None],
        ),
        ({"result_format": "COMPLETE"}, [item for item in expectations if item.gx is None]),
    ):
        if chosen:
            suite = gx.ExpectationSuite(name="table", expectations=[_gx_expectation(item, bound) for item in chosen])
            outcomes |= {
                _name_of(result): result for result in batch.validate(suite, result_format=result_format).results
            }
    return outcomes


def _name_of(result: ExpectationValidationResult) -> str:
    config: Any = result.expectation_config
    return str(config.meta["name"])


def _gx_expectation(expectation: Expectation, bound: Mapping[str, Any]) -> Any:
    arguments = expectation.bound_arguments(bound)
    if expectation.gx is None:
        arguments["unexpected_rows_query"] = _query(expectation)
    if expectation.gx is not None and expectation.column is not None:
        arguments["column"] = expectation.column
    expectation_class = getattr(gx.expectations, expectation.gx or "UnexpectedRowsExpectation")
    return expectation_class(severity=expectation.severity, meta={"name": expectation.name}, **arguments)


def _query(expectation: Expectation) -> str:
    if expectation.query is not None:
        return expectation.query
    return (
        "select count(*) as observed, 0 as allowed from {batch} as t cross join parameters as p "
        f"where {expectation.bad_rows} having count(*) > 0"
    )
