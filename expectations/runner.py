"""Judges Parquet files by a suite: Great Expectations, run inside an in-memory DuckDB, decided by severity.

The files are views over `read_parquet`; parameters are bound into a relation of their own and never become part of a
statement. What comes back are counts and aggregates: no value of a single row leaves a gate, since any may be personal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.dialects import registry

from expectations.results import Failure, SuiteResult, subject_digest
from expectations.suites import DUCKDB_TYPES, Expectation, ScalarType, Suite, load_suite, quoted, suite_digest

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult

DIALECT = "touchstone_duckdb"
registry.register(DIALECT, "expectations.gx_in_duckdb", "BufferedDuckDBDialect")
JUDGED_TABLES = "judged_tables"
_SCALARS = "parameters"
_databases = itertools.count()
_OBSERVED_NOTHING = "nothing"


def run_suite(suite: str, tables: Mapping[str, Sequence[Path]], parameters: Mapping[str, Any]) -> SuiteResult:
    """Judges the Parquet files of `tables` by a suite.

    Args:
        suite: Name of the suite, a file in `expectations/suites/`.
        tables: The files of each table that the suite judges; one without rows is a file without rows.
        parameters: Values of the parameters that the suite declares, of the declared types.

    Returns:
        What did not hold, in the order of the suite. An expectation that could not be evaluated did not hold, and blocks
        whatever its severity.

    Raises:
        BadInputError: The suite is unknown, or tables or parameters are not those that it takes.
    """
    from expectations.gx_in_duckdb import judge  # Great Expectations takes five seconds to import

    spec = load_suite(suite)
    spec.check_tables(tables)
    bound = spec.bind(parameters)
    runnable = [spec.spelled_out(item, bound) for item in spec.expectations if _has_its_tables(item, tables)]
    names_run = {expectation.name for expectation in runnable}
    with _database(spec, tables, bound) as url:
        outcomes = judge(url, runnable, bound)
    failures = tuple(
        failure for expectation in runnable for failure in _failures(expectation, outcomes[expectation.name], bound)
    )
    return SuiteResult(
        suite=suite,
        suite_digest=suite_digest(suite),
        subject_digest=subject_digest(tables),
        parameters=bound,
        success=all(failure.severity != "critical" for failure in failures),
        expectations_run=len(runnable),
        skipped=tuple(expectation.name for expectation in spec.expectations if expectation.name not in names_run),
        failures=failures,
    )


def _has_its_tables(expectation: Expectation, tables: Mapping[str, Sequence[Path]]) -> bool:
    return all(name in tables or name == JUDGED_TABLES for name in (expectation.table, *expectation.needs))


@contextmanager
def _database(spec: Suite, tables: Mapping[str, Sequence[Path]], bound: Mapping[str, Any]) -> Iterator[str]:
    """Yields the address of an in-memory DuckDB with a view a table and a relation a parameter; closed after the block."""
    url = f"{DIALECT}:///:memory:gate_{next(_databases)}"
    with sqlalchemy.create_engine(url).connect() as owner:
        owner.exec_driver_sql("set temp_directory = ''")
        for name, paths in tables.items():
            files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
            owner.exec_driver_sql(
                f"create view {quoted(name)} as select * from read_parquet([{files}], hive_partitioning = false)"
            )
        _create_judged_tables(owner, tables)
        _create_parameters(owner, spec, bound)
        owner.commit()
        yield url


def _create_judged_tables(owner: sqlalchemy.Connection, tables: Mapping[str, Sequence[Path]]) -> None:
    counts = " union all ".join(
        f"select '{name}' as table_name, count(*) as row_count from {quoted(name)}" for name in tables
    )
    owner.exec_driver_sql(f"create table {JUDGED_TABLES} as {counts}")


def _create_parameters(owner: sqlalchemy.Connection, spec: Suite, bound: Mapping[str, Any]) -> None:
    scalars: dict[str, ScalarType] = {"suite": "string"}
    for name, parameter in spec.parameters.items():
        if parameter.type == "rows":
            _create_relation(owner, name, parameter.columns, bound[name] or [])
        elif parameter.scalar_type is not None:
            scalars[name] = parameter.scalar_type
    _create_relation(owner, _SCALARS, scalars, [{"suite": spec.suite, **bound}])


def _create_relation(
    owner: sqlalchemy.Connection, name: str, columns: Mapping[str, ScalarType], rows: Sequence[Mapping[str, Any]]
) -> None:
    shape = ", ".join(f"{quoted(column)} {DUCKDB_TYPES[kind]}" for column, kind in columns.items())
    owner.exec_driver_sql(f"create table {quoted(name)} ({shape})")
    places = ", ".join("?" for _ in columns)
    for row in rows:
        owner.exec_driver_sql(f"insert into {quoted(name)} values ({places})", tuple(row[column] for column in columns))


def _failures(
    expectation: Expectation, outcome: ExpectationValidationResult, bound: Mapping[str, Any]
) -> list[Failure]:
    if outcome.success:
        return []
    error = _error(outcome.exception_info)
    if error is not None:
        unevaluated = expectation.model_copy(update={"severity": "critical"})
        return [_failure(unevaluated, expectation.column, f"nothing ({error})", "only what can be evaluated")]
    result: Mapping[str, Any] = outcome.result
    if expectation.gx is not None:
        return [_failure(expectation, expectation.column, *_native_figures(expectation, result, bound))]
    rows: list[Mapping[str, Any]] = result["details"]["unexpected_rows"]
    if expectation.bad_rows is not None:
        return [_failure(expectation, expectation.column, _breaking_rows(row["observed"]), "none") for row in rows]
    return [
        _failure(expectation, row.get("subject", expectation.column), _text(row["observed"]), _text(row["allowed"]))
        for row in rows
    ]


def _failure(expectation: Expectation, subject: str | None, observed: str, limit: str) -> Failure:
    """Returns a failure with its message; one about a row of `judged_tables` is a failure of the table that the row names."""
    is_about_table = expectation.table == JUDGED_TABLES and subject is not None
    table, column = (str(subject), None) if is_about_table else (expectation.table, subject)
    place = table if column is None else f"{table}.{column}"
    remedy = f" {expectation.remedy}" if expectation.remedy else ""
    return Failure(
        expectation=expectation.name,
        table=table,
        column=column,
        observed=observed,
        limit=limit,
        severity=expectation.severity,
        message=f"{expectation.name} ({place}): expected that {expectation.description}; "
        f"observed {observed}, allowed {limit}.{remedy}",
    )


def _native_figures(expectation: Expectation, result: Mapping[str, Any], bound: Mapping[str, Any]) -> tuple[str, str]:
    """Returns what a native expectation observed and what it allows, as text."""
    if "unexpected_count" in result:
        return _breaking_rows(result["unexpected_count"]), "none"
    arguments = expectation.bound_arguments(bound)
    words = {"min_value": "at least ", "max_value": "at most "}
    limits = [words.get(name, "") + _text(value) for name, value in arguments.items() if not isinstance(value, bool)]
    return _text(result.get("observed_value")), " and ".join(limits)


def _breaking_rows(count: int) -> str:
    return "1 row that breaks it" if count == 1 else f"{count} rows that break it"


def _error(info: Mapping[str, Any] | None) -> str | None:
    """Returns why an expectation raised, or None. Only a binder's message is repeated: other messages quote values."""
    if not info:
        return None
    details = [info] if "raised_exception" in info else list(info.values())
    messages = [str(detail["exception_message"]) for detail in details if detail.get("raised_exception")]
    if not messages:
        return None
    first_line = messages[0].splitlines()[0]
    says_names_only = any(kind in first_line for kind in ("BinderException", "CatalogException", "ParserException"))
    return first_line if says_names_only else "an error of the database or of Great Expectations"


def _text(value: Any) -> str:
    if value is None:
        return _OBSERVED_NOTHING
    if isinstance(value, float | Decimal):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)
