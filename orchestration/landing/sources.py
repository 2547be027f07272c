"""The sources file: one YAML file that maps a user's tables to the contract, read strictly.

It names inputs (see `connectors`), optional views over them, and for each table of the contract where its rows come
from. An unknown key, a variable that the environment lacks, an input that nobody declared or SQL that does more than
select is refused here, before anything is pulled, with the file, the place and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from groundwork.errors import BadInputError
from groundwork.files import canonical_json, sha256_bytes
from orchestration.landing.connectors import (
    SECRET_OPTIONS,
    Connector,
    CsvConnector,
    JsonLinesConnector,
    ParquetConnector,
)
from orchestration.landing.databases import DuckDBConnector, PostgresConnector, SqliteConnector
from orchestration.landing.sql import problem_with_expression, problem_with_query, tables_named, why

CONNECTORS: dict[str, type[Connector]] = {
    "parquet": ParquetConnector,
    "csv": CsvConnector,
    "jsonl": JsonLinesConnector,
    "postgres": PostgresConnector,
    "sqlite": SqliteConnector,
    "duckdb": DuckDBConnector,
}
"""Every kind of source, by the word after `connector:`."""

VERSION = 1
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class TableSource(BaseModel):
    """Where the rows of one contract table come from.

    Attributes:
        input: The input (or view) whose rows they are.
        query: Instead of `input`, one select over inputs and views.
        columns: Contract column to SQL expression over the input's columns. Contract columns that are not named here
            take the input's column of the same name, where it has one.
        where: SQL condition over the input's columns; rows that do not meet it are left out.
        cursor: Contract column by which only newer rows are pulled next time, for tables that only ever grow.
        changed_at: SQL expression over the input's columns that says when a row last changed, by which only new and
            changed rows are pulled next time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str | None = None
    query: str | None = None
    columns: dict[str, str] = {}
    where: str | None = None
    cursor: str | None = None
    changed_at: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> TableSource:
        if (self.input is None) == (self.query is None):
            raise ValueError("give either `input` or `query`, not both and not neither")
        if self.cursor and self.changed_at:
            raise ValueError("give either `cursor`, for rows that never change, or `changed_at`, for rows that do")
        return self

    @property
    def relation(self) -> str:
        """Returns what stands after `from` for the rows before `columns` and `where`, quoted."""
        return f"(\n{self.query}\n)" if self.query else f'"{self.input}"'

    @property
    def expressions(self) -> dict[str, str]:
        """Returns the SQL expressions over the input's columns, by where they stand."""
        others = {"where": self.where, "changed_at": self.changed_at}
        return {f"columns.{column}": text for column, text in self.columns.items()} | {
            place: text for place, text in others.items() if text is not None
        }

    def digest(self) -> str:
        """Returns the SHA-256 of what the file says about the table."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    identifiers: Literal["personal", "public"] = "personal"
    inputs: dict[Annotated[str, Field(pattern=NAME_PATTERN)], dict[str, Any]] = Field(min_length=1)
    views: dict[Annotated[str, Field(pattern=NAME_PATTERN)], str] = {}
    tables: dict[Annotated[str, Field(pattern=NAME_PATTERN)], TableSource] = Field(min_length=1)


class Sources(BaseModel):
    """A sources file that was read and found sound in itself.

    Attributes:
        path: The file.
        name: The marketplace's name, which the ledger carries.
        identifiers: Whether its identifiers are those of persons, who need a secret HMAC key, or public and made up.
        inputs: Connector by input name.
        origins: By input name, what the ledger may say of it: its description before variables were expanded.
        views: Query by view name, in the file's order.
        tables: Where each contract table's rows come from.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    path: Path
    name: str
    identifiers: Literal["personal", "public"]
    inputs: dict[str, Connector]
    origins: dict[str, str]
    views: dict[str, str]
    tables: dict[str, TableSource]

    def relations_of(self, table: str) -> list[str]:
        """Returns the names of the inputs and views that a table reads, directly or through views, sorted."""
        source = self.tables[table]
        pending: set[str] = {source.input} if source.input else tables_named(str(source.query))
        for expression in source.expressions.values():
            pending |= tables_named(f"select (\n{expression}\n)")
        found: set[str] = set()
        while pending:
            name = pending.pop()
            found.add(name)
            pending |= tables_named(self.views[name]) if name in self.views else set()
        return sorted(found)

    def origin_of(self, table: str) -> str:
        """Returns, for the ledger, the file's name and what the table's inputs are."""
        return f"{self.name}: " + "; ".join(
            self.origins[name] for name in self.relations_of(table) if name in self.origins
        )


def read_sources(path: Path, environment: Mapping[str, str]) -> Sources:
    """Reads a sources file.

    Args:
        path: The YAML file; paths in it are relative to its folder.
        environment: Where `${NAME}` in the inputs' options is looked up.

    Raises:
        BadInputError: The file is absent, is no YAML, has keys that do not belong, names a variable or an input that
            is not there, or holds SQL that does more than select.
    """
    file = _validated(path, _load_yaml(path))
    inputs = {name: _connector(path, name, options, environment) for name, options in file.inputs.items()}
    origins = {name: _origin(options) for name, options in file.inputs.items()}
    sources = Sources(
        path=path,
        name=file.name,
        identifiers=file.identifiers,
        inputs=inputs,
        origins=origins,
        views=file.views,
        tables=file.tables,
    )
    _check_sql(sources)
    return sources


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where YAML itself lets the last one win in silence; `<<` merges as ever."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  yaml's
        """Builds a mapping whose keys differ."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _load_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  a SafeLoader
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}). Name an existing sources file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is no valid YAML: {error}. Correct it there.") from error


def _validated(path: Path, content: Any) -> _File:
    if not isinstance(content, dict):
        raise BadInputError(f"{path} holds no mapping. A sources file has the keys version, name, inputs and tables.")
    if content.get("version") != VERSION:
        raise BadInputError(f"{path}: version is {content.get('version')!r}; this program reads version {VERSION}.")
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        raise BadInputError(_explained(path, (), error, _known_keys)) from error


def _known_keys(place: tuple[str, ...]) -> list[str]:
    return list(TableSource.model_fields if place[:1] == ("tables",) else _File.model_fields)


def _connector(path: Path, name: str, options: dict[str, Any], environment: Mapping[str, str]) -> Connector:
    kind = options.get("connector")
    if kind not in CONNECTORS:
        raise BadInputError(
            f"{path}: inputs.{name}.connector is {kind!r}, which is none of {', '.join(CONNECTORS)}. Use one of these."
        )
    connector = CONNECTORS[str(kind)]
    _check_secrets(path, f"inputs.{name}", options)
    expanded = _expanded(path, f"inputs.{name}", options, environment)
    try:
        return connector.model_validate(expanded)
    except ValidationError as error:
        raise BadInputError(
            _explained(path, ("inputs", name), error, lambda _: _option_names(connector), show_values=False)
        ) from error


def _option_names(connector: type[Connector]) -> list[str]:
    return [field.alias or name for name, field in connector.model_fields.items()]


def _check_secrets(path: Path, place: str, options: dict[str, Any]) -> None:
    for key, value in options.items():
        if isinstance(value, dict):
            _check_secrets(path, f"{place}.{key}", value)
        elif key in SECRET_OPTIONS and not (isinstance(value, str) and _VARIABLE.fullmatch(value)):
            raise BadInputError(
                f"{path}: {place}.{key} is written out. Put it into a variable of the environment, and write its name "
                f"here: {key}: ${{NAME}}"
            )


def _origin(options: dict[str, Any]) -> str:
    told = [str(options[key]) for key in ("host", "database", "path", "schema", "table") if key in options]
    return f"{options.get('connector')} {' '.join(told)}".strip()


def _expanded(path: Path, place: str, value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(path, f"{place}.{key}", item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(path, place, item, environment) for item in value]
    if not isinstance(value, str):
        return value
    missing = [name for name in _VARIABLE.findall(value) if not environment.get(name)]
    if missing:
        raise BadInputError(
            f"{path}: {place} needs the environment variable {missing[0]}, which is not set. Set it and run again."
        )
    return _VARIABLE.sub(lambda match: environment[match.group(1)], value)


def _explained(
    path: Path, prefix: tuple[str, ...], error: ValidationError, known_keys: Any, *, show_values: bool = True
) -> str:
    lines = []
    for item in error.errors():
        place = (*prefix, *(str(part) for part in item["loc"] if part != "[key]"))
        if item["type"] == "extra_forbidden":
            lines.append(f"{'.'.join(place)} is not a known key{_suggestion(place[-1], known_keys(place))}")
        else:
            got = f" (it is {str(item['input'])[:80]!r})" if show_values and item["type"] != "missing" else ""
            lines.append(f"{'.'.join(place)}: {item['msg'].removeprefix('Value error, ')}{got}")
    return "\n".join([f"{path} is no valid sources file. Correct:", *(f"  {line}" for line in lines)])


def _suggestion(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}."


def _check_sql(sources: Sources) -> None:
    for table, source in sources.tables.items():
        for place, text in source.expressions.items():
            _refuse(sources, f"tables.{table}.{place}", text, problem_with_expression(text))
            _check_names(sources, f"tables.{table}.{place}", f"select (\n{text}\n)", set(sources.views))
        if source.query is not None:
            _refuse(sources, f"tables.{table}.query", source.query, problem_with_query(source.query))
        _check_names(sources, f"tables.{table}", source.query or f'from "{source.input}"', set(sources.views))
    earlier: set[str] = set()
    for view, query in sources.views.items():
        if view in sources.inputs:
            raise BadInputError(f"{sources.path}: views.{view} has the name of an input. Rename one of them.")
        _refuse(sources, f"views.{view}", query, problem_with_query(query))
        _check_names(sources, f"views.{view}", query, earlier)
        earlier.add(view)


def _refuse(sources: Sources, place: str, sql: str, problem: str | None) -> None:
    if problem:
        raise BadInputError(f"{sources.path}: {place} cannot be used: {problem}.\n  {sql.strip()}")


def _check_names(sources: Sources, place: str, query: str, views: set[str]) -> None:
    known = {*sources.inputs, *views}
    try:
        named = tables_named(query)
    except duckdb.Error as error:  # a function that is not there, or one that reads a file
        raise BadInputError(f"{sources.path}: {place} cannot be used: {why(error)}") from error
    for name in sorted(named - known):
        raise BadInputError(
            f"{sources.path}: {place} reads {name!r}, which is no input or earlier view{_suggestion(name, sorted(known))}"
            " Files are read only through `inputs`."
        )
