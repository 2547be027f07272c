"""What is expected: the suites as data, their digests, and the parameters that a caller binds to them.

A suite is a YAML file in `expectations/suites/`. How one is judged belongs in `runner`, its result in `results`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from touchstone.core.errors import BadInputError
from touchstone.core.files import canonical_json, sha256_bytes, sha256_file
from touchstone.core.yaml import load_packaged_yaml

SUITES_DIRECTORY = Path(__file__).parent / "suites"

Severity = Literal["critical", "warning"]
ScalarType = Literal["date", "integer", "number", "string", "boolean"]
NativeExpectation = Literal[
    "ExpectTableRowCountToBeBetween",
    "ExpectTableColumnsToMatchOrderedList",
    "ExpectTableColumnsToMatchSet",
    "ExpectColumnValuesToNotBeNull",
    "ExpectColumnValuesToBeBetween",
    "ExpectColumnValuesToBeInSet",
]
DUCKDB_TYPES: Mapping[ScalarType, str] = {
    "date": "DATE",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
}
_PYTHON_TYPES: Mapping[ScalarType, tuple[type, ...]] = {
    "date": (dt.date,),
    "integer": (int,),
    "number": (int, float, Decimal),
    "string": (str,),
    "boolean": (bool,),
}


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Data):
    """One value that a caller must hand in.

    A scalar is a column of the one-row relation `parameters`. `strings` is a list for a native expectation. `column`
    is an identifier out of the closed list `values`. `rows` is a relation of its own, with the columns named.
    """

    type: ScalarType | Literal["strings", "column", "rows"]
    optional: bool = False
    values: tuple[str, ...] = ()
    columns: Mapping[str, ScalarType] = Field(default_factory=dict)

    @property
    def scalar_type(self) -> ScalarType | None:
        """The type of a parameter that is one value, else None."""
        return next((kind for kind in DUCKDB_TYPES if kind == self.type), None)


class Table(_Data):
    """One relation that is judged; without an optional one, the expectations that need it are skipped."""

    optional: bool = False


class Expectation(_Data):
    """One rule, in one of three forms.

    `gx` with `arguments` is an expectation of Great Expectations' own; `$name` refers to a parameter. `bad_rows` is a
    SQL condition that no row may meet. `query` is SQL that returns a row for each thing that is wrong, with the columns
    `subject` (a column, table or group), `observed` and `allowed`; it must not return values of single rows. `remedy` says
    what to do about a failure: the setting and the command.
    """

    name: str
    table: str
    severity: Severity
    description: str
    remedy: str | None = None
    needs: tuple[str, ...] = ()
    column: str | None = None
    gx: NativeExpectation | None = None
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    bad_rows: str | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        if sum(form is not None for form in (self.gx, self.bad_rows, self.query)) != 1:
            raise ValueError(f"expectation {self.name}: give exactly one of gx, bad_rows and query")
        if self.query is not None and "{batch}" not in self.query:
            raise ValueError(f"expectation {self.name}: its query must read from {{batch}}")
        return self

    def bound_arguments(self, bound: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the arguments of a native expectation, each `$name` replaced by the value of that parameter."""
        return {
            name: bound[value[1:]] if isinstance(value, str) and value.startswith("$") else value
            for name, value in self.arguments.items()
        }


class Suite(_Data):
    """A named set of expectations over named tables, with the parameters it takes."""

    suite: str
    description: str
    parameters: Mapping[str, Parameter] = Field(default_factory=dict)
    tables: Mapping[str, Table]
    any_table: bool = False
    expectations: tuple[Expectation, ...]

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        names = [expectation.name for expectation in self.expectations]
        if len(set(names)) != len(names):
            raise ValueError("two expectations have the same name")
        if not any(expectation.gx == "ExpectTableRowCountToBeBetween" for expectation in self.expectations):
            raise ValueError("no row count: an empty table would pass every other expectation")
        return self

    def bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `values` checked against the declared parameters, absent optional ones as None.

        Raises:
            BadInputError: A value is missing, unknown, or not of its type.
        """
        unknown = sorted(set(values) - set(self.parameters))
        if unknown:
            raise BadInputError(
                f"suite {self.suite} takes no parameter {', '.join(unknown)}; it takes {', '.join(self.parameters)}."
            )
        return {name: _checked(self.suite, name, spec, values.get(name)) for name, spec in self.parameters.items()}

    def spelled_out(self, expectation: Expectation, bound: Mapping[str, Any]) -> Expectation:
        """Returns an expectation with its `{key}`s replaced: the only thing that is ever put into SQL.

        Args:
            expectation: One of the suite's.
            bound: What `bind` returned; a `column` parameter can only hold a value of its closed list.
        """
        columns = {name: quoted(bound[name]) for name, spec in self.parameters.items() if spec.type == "column"}
        changes = {}
        for form in ("bad_rows", "query"):
            sql = getattr(expectation, form)
            for name, column in columns.items() if sql is not None else ():
                sql = sql.replace("{" + name + "}", column)
            changes[form] = sql
        return expectation.model_copy(update=changes)

    def check_tables(self, tables: Mapping[str, Sequence[Path]]) -> None:
        """Checks that every table that must be there has files, and that no other is handed in.

        Raises:
            BadInputError: A table is missing, unknown or without a file.
        """
        missing = sorted(name for name, table in self.tables.items() if not table.optional and name not in tables)
        unknown = [] if self.any_table else sorted(set(tables) - set(self.tables))
        without_files = sorted(name for name, files in tables.items() if not files)
        for names, complaint in (
            (missing, "is missing"),
            (unknown, "is not one of its tables"),
            (without_files, "has no file"),
        ):
            if names:
                raise BadInputError(
                    f"suite {self.suite}: {', '.join(names)} {complaint}; it judges {', '.join(self.tables)}."
                )


def quoted(identifier: str) -> str:
    """Returns an identifier as SQL spells it, whatever it holds."""
    return '"' + identifier.replace('"', '""') + '"'


def suite_names() -> list[str]:
    """Returns the names of all suites, sorted."""
    return sorted(path.stem for path in SUITES_DIRECTORY.glob("*.yml"))


def suite_digest(name: str) -> str:
    """Returns the SHA-256 of a suite's file.

    Raises:
        BadInputError: There is no such suite.
    """
    return sha256_file(_path(name))


def suites_digest() -> str:
    """Returns one SHA-256 over the names and files of all suites."""
    return sha256_bytes(canonical_json({name: suite_digest(name) for name in suite_names()}))


@cache
def load_suite(name: str) -> Suite:
    """Returns a suite as data.

    Raises:
        BadInputError: There is no such suite, or its file is invalid.
    """
    path = _path(name)
    try:
        return Suite.model_validate(load_packaged_yaml(path))
    except ValidationError as error:
        raise BadInputError(f"{path.name} is not a valid suite: {error}") from error


def _path(name: str) -> Path:
    if name not in suite_names():
        raise BadInputError(f"there is no suite {name!r}; there are {', '.join(suite_names())}.")
    return SUITES_DIRECTORY / f"{name}.yml"


def _checked(suite: str, name: str, spec: Parameter, value: Any) -> Any:
    if value is None:
        if spec.optional:
            return None
        raise BadInputError(f"suite {suite} needs the parameter {name} ({spec.type}).")
    if not _fits(spec, value):
        raise BadInputError(f"suite {suite}: parameter {name} must be {_wanted(spec)}, not {value!r}.")
    return value


def _wanted(spec: Parameter) -> str:
    if spec.type == "column":
        return f"one of {', '.join(spec.values)}"
    if spec.type == "rows":
        return f"a list of rows with {', '.join(f'{name} ({kind})' for name, kind in spec.columns.items())}"
    return f"a value of type {spec.type}"


def _fits(spec: Parameter, value: Any) -> bool:
    if spec.type == "column":
        return value in spec.values
    if spec.type == "strings":
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if spec.type == "rows":
        return isinstance(value, list | tuple) and all(_row_fits(spec.columns, row) for row in value)
    return _scalar_fits(spec.type, value)


def _row_fits(columns: Mapping[str, ScalarType], row: Any) -> bool:
    if not isinstance(row, Mapping) or set(row) != set(columns):
        return False
    return all(row[name] is None or _scalar_fits(kind, row[name]) for name, kind in columns.items())


def _scalar_fits(kind: ScalarType, value: Any) -> bool:
    if isinstance(value, bool) != (kind == "boolean") or isinstance(value, dt.datetime):
        return False
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return False
    return isinstance(value, _PYTHON_TYPES[kind])
