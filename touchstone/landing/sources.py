"""Reads the sources file: one YAML file that maps a user's tables to the contract.

It declares inputs (see `connectors`), optional views over them, and the source of each contract table. Unknown keys, environment
variables that are not set, undeclared inputs and SQL that does more than select are refused before any data is extracted. The
message names the file, the location and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ml.extra import ExtraColumn
from touchstone.core.errors import BadInputError
from touchstone.core.files import canonical_json, sha256_bytes
from touchstone.core.secrets import remember
from touchstone.core.settings import Settings
from touchstone.core.text import visible
from touchstone.core.yaml import INVALID_CHARACTERS, InvalidYamlError, load_yaml
from touchstone.landing.allowed_sql import (
    problem_with_expression,
    problem_with_pattern,
    problem_with_query,
    tables_named,
)
from touchstone.landing.connectors import (
    SECRET_OPTIONS,
    Connector,
    CsvConnector,
    JsonLinesConnector,
    ParquetConnector,
)
from touchstone.landing.databases import DuckDBConnector, PostgresConnector, SqliteConnector

PUBLIC_HMAC_KEY = b"touchstone demo and examples: not a secret"
CONNECTORS: dict[str, type[Connector]] = {
    "parquet": ParquetConnector,
    "csv": CsvConnector,
    "jsonl": JsonLinesConnector,
    "postgres": PostgresConnector,
    "sqlite": SqliteConnector,
    "duckdb": DuckDBConnector,
}
"""Connectors by the value of `connector:`."""

VERSION = 1
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_USER_IN_ADDRESS = re.compile(r"://[^/]*@")
_LOGGED_OPTIONS = ("host", "database", "path", "schema", "table")
"""Options that appear in the ledger and in messages as the file spells them."""


class TableSource(BaseModel):
    """The source of one contract table.

    Attributes:
        input: The input (or view) with the rows.
        query: One select over inputs and views, instead of `input`.
        columns: SQL expressions over the input's columns, by contract column. Contract columns without an expression are read
            from the input's column of the same name, if it has one.
        where: SQL condition over the input's columns that filters the rows.
        cursor: Contract column by which only newer rows are extracted next time, for append-only tables.
        changed_at: SQL expression over the input's columns for the time of a row's last change, by which only new and changed
            rows are extracted next time.
        max_age_days: How old the table's newest data may be before the gate refuses it, in days; by default seven.
        extra: Columns of the marketplace's own, which become features.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str | None = None
    query: str | None = None
    columns: dict[str, str] = {}
    where: str | None = None
    cursor: str | None = None
    changed_at: str | None = None
    max_age_days: int | None = Field(default=None, ge=1, le=3650)
    extra: dict[Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)], ExtraColumn] = {}

    @field_validator("query")
    @classmethod
    def _without_end(cls, query: str | None) -> str | None:
        """Removes semicolons at the end of a query, which are not allowed in parentheses; comments are kept."""
        encoded = (query or "").encode()
        for start, _ in reversed(duckdb.tokenize(query or "")):
            if encoded[start : start + 1] != b";":
                break
            encoded = encoded[:start] + encoded[start + 1 :]
        return None if query is None else encoded.decode()

    @model_validator(mode="after")
    def _one_origin(self) -> TableSource:
        if (self.input is None) == (self.query is None):
            raise ValueError("give exactly one of `input` and `query`")
        if self.cursor and self.changed_at:
            raise ValueError("give `cursor`, if rows never change, or `changed_at`, if they do; not both")
        return self

    @property
    def relation(self) -> str:
        """SQL for the rows, for a `from` clause, before `columns` and `where` apply."""
        return f"(\n{self.query}\n)" if self.query else f'"{self.input}"'

    @property
    def expressions(self) -> dict[str, str]:
        """The SQL expressions over the input's columns, by their keys in the table's entry."""
        others = {"where": self.where, "changed_at": self.changed_at}
        return {f"columns.{column}": text for column, text in self.columns.items()} | {
            key: text for key, text in others.items() if text is not None
        }

    def digest(self) -> str:
        """Returns the SHA-256 of what in the table's entry determines its rows."""
        content = self.model_dump(mode="json", exclude={"max_age_days", "extra"})
        if self.extra:
            content["extra"] = {name: [column.type, column.values] for name, column in self.extra.items()}
        return sha256_bytes(canonical_json(content))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    identifiers: Literal["personal", "public"] = "personal"
    inputs: dict[Annotated[str, Field(pattern=NAME_PATTERN)], dict[str, Any]] = Field(min_length=1)
    views: dict[Annotated[str, Field(pattern=NAME_PATTERN)], str] = {}
    tables: dict[Annotated[str, Field(pattern=NAME_PATTERN)], TableSource] = Field(min_length=1)
    pictures: str | None = None
    masked: list[str] = []
    quarantine: float = Field(default=0.0, ge=0.0, le=0.1)


class Sources(BaseModel):
    """A validated sources file.

    Attributes:
        path: The file.
        name: The marketplace's name, which the ledger stores.
        identifiers: Whether its identifiers are personal, which requires a secret HMAC key, or public (synthetic).
        inputs: Connectors by input name.
        origins: Descriptions of the inputs for the ledger, before environment variables were expanded.
        views: Queries by view name, in the file's order.
        tables: The source of each contract table.
        pictures: The folder to which addresses of images are relative; without one, no image is read.
        masked: Regular expressions that are removed from listings' texts before anything reads them.
        quarantine: The share of a load's rows that may break the contract and is set aside; 0 refuses such a load.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    path: Path
    name: str
    identifiers: Literal["personal", "public"]
    inputs: dict[str, Connector]
    origins: dict[str, str]
    views: dict[str, str]
    tables: dict[str, TableSource]
    pictures: Path | None
    masked: tuple[str, ...]
    quarantine: float = 0.0

    def relations_of(self, table: str) -> list[str]:
        """Returns the names of the inputs and views that a table reads, directly or through views, sorted.

        Args:
            table: The contract's table.
        """
        source = self.tables[table]
        pending: set[str] = {source.input} if source.input else tables_named(str(source.query))
        for expression in source.expressions.values():
            pending |= tables_named(f"select (\n{expression}\n)")
        names: set[str] = set()
        while pending:
            name = pending.pop()
            names.add(name)
            pending |= tables_named(self.views[name]) if name in self.views else set()
        return sorted(names)

    def origin_of(self, table: str) -> str:
        """Returns a description of a table's source for the ledger: the marketplace's name and the inputs.

        Args:
            table: The contract's table.
        """
        return f"{self.name}: " + "; ".join(
            self.origins[name] for name in self.relations_of(table) if name in self.origins
        )


def read_sources(path: Path, environment: Mapping[str, str]) -> Sources:
    """Reads a sources file.

    Args:
        path: The YAML file; paths in it are relative to its folder.
        environment: The environment variables for `${NAME}` in the inputs' options.

    Raises:
        BadInputError: The file does not exist, is not YAML, has unknown keys, names a variable that is not set or an input that
            is not declared, or has SQL that is not allowed.
    """
    file = _validated(path, _load(path))
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
        pictures=_picture_folder(path, file),
        masked=tuple(file.masked),
        quarantine=file.quarantine,
    )
    _check_sql(sources)
    return sources


def picture_folder(path: Path) -> Path | None:
    """Returns the folder of images that a sources file names, without expanding variables; None if it names none.

    Args:
        path: The sources file.

    Raises:
        BadInputError: The file is not a sources file, or the folder does not exist.
    """
    return _picture_folder(path, _validated(path, _load(path))) if path.exists() else None


def masked_patterns(path: Path) -> tuple[str, ...]:
    """Returns the regular expressions that a sources file removes from texts, without expanding variables.

    Args:
        path: The sources file.

    Raises:
        BadInputError: The file is not a sources file.
    """
    return tuple(_validated(path, _load(path)).masked) if path.exists() else ()


def _picture_folder(path: Path, file: _File) -> Path | None:
    if file.pictures is None:
        return None
    folder = path.parent / file.pictures
    if not folder.is_dir():
        raise BadInputError(
            f"{path}: pictures is {file.pictures!r}, and there is no such folder next to the file. Correct it there."
        )
    return folder


def _load(path: Path) -> Any:
    try:
        return load_yaml(path)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}). Name an existing sources file, where the command "
            "has no option for it with the environment variable TOUCHSTONE_SOURCES."
        ) from error
    except InvalidYamlError as error:
        raise BadInputError(f"{path} is not valid YAML: {error}. Correct it there.") from None


def _validated(path: Path, content: Any) -> _File:
    if not isinstance(content, dict):
        raise BadInputError(f"{path} is not a mapping. A sources file has the keys version, name, inputs and tables.")
    if content.get("version") != VERSION:
        raise BadInputError(
            f"{path}: version is {content.get('version')!r}; this version of Touchstone reads {VERSION}."
        )
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        raise BadInputError(_validation_message(path, (), error, _known_keys)) from None


def _known_keys(location: tuple[str, ...]) -> list[str]:
    return list(TableSource.model_fields if location[:1] == ("tables",) else _File.model_fields)


def _connector(path: Path, name: str, options: dict[str, Any], environment: Mapping[str, str]) -> Connector:
    kind = options.get("connector")
    if not isinstance(kind, str) or kind not in CONNECTORS:
        shown = f"{kind!r}, which is " if isinstance(kind, str) and _word(kind) == kind else ""
        raise BadInputError(
            f"{path}: inputs.{name}.connector is {shown}none of {', '.join(CONNECTORS)}. Use one of these."
        )
    connector = CONNECTORS[kind]
    _check_secrets(path, f"inputs.{name}", options)
    expanded = _expanded(path, f"inputs.{name}", options, environment)
    _remember_secrets(expanded)
    for checked in (options, expanded):
        _check_addresses(path, f"inputs.{name}", checked)
    try:
        return connector.model_validate(expanded)
    except ValidationError as error:
        raise BadInputError(
            _validation_message(path, ("inputs", name), error, lambda _: _option_names(connector))
        ) from None


def _option_names(connector: type[Connector]) -> list[str]:
    return [field.alias or name for name, field in connector.model_fields.items()]


def _check_secrets(path: Path, location: str, options: dict[str, Any]) -> None:
    for key, value in options.items():
        if isinstance(value, dict):
            _check_secrets(path, f"{location}.{_word(key)}", value)
        elif key in SECRET_OPTIONS and not (isinstance(value, str) and _VARIABLE.fullmatch(value)):
            raise BadInputError(
                f"{path}: {location}.{key} is written out. Put it into an environment variable, and write the variable's name "
                f"here: {key}: ${{NAME}}"
            )


def _remember_secrets(options: dict[str, Any]) -> None:
    for key, value in options.items():
        if isinstance(value, dict):
            _remember_secrets(value)
        elif key in SECRET_OPTIONS:
            remember(value)


def _check_addresses(path: Path, location: str, options: dict[str, Any]) -> None:
    """Refuses a user or password in options that appear in the ledger and in messages."""
    for key, value in options.items():
        if isinstance(value, dict):
            _check_addresses(path, f"{location}.{_word(key)}", value)
        elif not isinstance(value, str):
            continue
        elif key == "host" and ("@" in value or "://" in value):
            raise BadInputError(
                f"{path}: {location}.host is an address with more than a host. Write only the host, and the rest as "
                "`port`, `database`, `user` and `password`."
            )
        elif (key == "endpoint" and "@" in value) or (key in _LOGGED_OPTIONS and _USER_IN_ADDRESS.search(value)):
            raise BadInputError(
                f"{path}: {location}.{key} has a user or password before an @. Remove it; credentials have their own options, "
                "such as `password` or, in `s3`, `access_key` and `secret_key`."
            )


def _origin(options: dict[str, Any]) -> str:
    values = [str(options[key]) for key in _LOGGED_OPTIONS if key in options]
    return f"{options.get('connector')} {' '.join(values)}".strip()


def _expanded(path: Path, location: str, value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(path, f"{location}.{_word(key)}", item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(path, location, item, environment) for item in value]
    if not isinstance(value, str):
        return value
    for name in _VARIABLE.findall(value):
        if not environment.get(name):
            raise BadInputError(
                f"{path}: {location} needs the environment variable {name}, which is not set. Set it and run again."
            )
        if INVALID_CHARACTERS.search(environment[name]):
            raise BadInputError(
                f"{path}: {location} needs the environment variable {name}, which is not valid UTF-8 text. Correct it and run "
                "again."
            )
    return _VARIABLE.sub(lambda match: environment[match.group(1)], value)


def _word(key: str) -> str:
    """Returns the first word of a key below `inputs`: after `password:` without a blank, a password may follow."""
    word = re.match(r"[\w-]*", key)
    return key if word is None or word.group() == key else f"{word.group()}…"


def _validation_message(path: Path, prefix: tuple[str, ...], error: ValidationError, known_keys: Any) -> str:
    """Returns the message of a validation error, without values below `inputs`, which may be secret."""
    lines = []
    for item in error.errors():
        location = (*prefix, *(str(part) for part in item["loc"] if part != "[key]"))
        is_input = location[:1] == ("inputs",)
        if is_input:
            location = tuple(map(_word, location))
        if item["type"] == "extra_forbidden":
            lines.append(f"{'.'.join(location)} is not a known key{_suggestion(location[-1], known_keys(location))}")
        else:
            hidden = is_input or item["type"] == "missing" or isinstance(item["input"], dict | list)
            got = "" if hidden else f" (it is {str(item['input'])[:80]!r})"
            lines.append(f"{'.'.join(location)}: {item['msg'].removeprefix('Value error, ')}{got}")
    return "\n".join([f"{path} is not a valid sources file. Correct:", *(f"  {visible(line)}" for line in lines)])


def _suggestion(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f". The known names are: {', '.join(known)}."


def _check_sql(sources: Sources) -> None:
    views = set(sources.views)
    for table, source in sources.tables.items():
        for location, text in source.expressions.items():
            _refuse(sources, f"tables.{table}.{location}", text, problem_with_expression(text))
            _check_names(sources, f"tables.{table}.{location}", tables_named(f"select (\n{text}\n)"), views)
        if source.query is not None:
            _refuse(sources, f"tables.{table}.query", source.query, problem_with_query(source.query))
        named = {source.input} if source.input is not None else tables_named(str(source.query))
        _check_names(sources, f"tables.{table}", named, views)
    for index, pattern in enumerate(sources.masked):
        _refuse(sources, f"masked.{index}", pattern, problem_with_pattern(pattern))
    earlier: set[str] = set()
    for view, query in sources.views.items():
        if view in sources.inputs:
            raise BadInputError(f"{sources.path}: views.{view} has the name of an input. Rename one of them.")
        _refuse(sources, f"views.{view}", query, problem_with_query(query))
        _check_names(sources, f"views.{view}", tables_named(query), earlier)
        earlier.add(view)


def _refuse(sources: Sources, location: str, sql: str, problem: str | None) -> None:
    if problem:
        raise BadInputError(f"{sources.path}: {location} cannot be used: {problem}.\n  {sql.strip()}")


def _check_names(sources: Sources, location: str, named: set[str], views: set[str]) -> None:
    known = {*sources.inputs, *views}
    for name in sorted(named - known):
        raise BadInputError(
            f"{sources.path}: {location} reads {name!r}, which is not an input or earlier view{_suggestion(name, sorted(known))}"
            " Files are read only through `inputs`."
        )


def identifier_key(sources: Sources, settings: Settings) -> bytes:
    """Returns the HMAC key of a sources file's personal identifiers.

    Args:
        sources: The sources file.
        settings: The settings.

    Raises:
        BadInputError: The file does not set `identifiers: public`, and no key is set.
    """
    if sources.identifiers == "public":
        return PUBLIC_HMAC_KEY
    if settings.hmac_key is None:
        raise BadInputError(
            f"{sources.path}: its tables may hold personal identifiers, which land only as HMACs, and no key is set. "
            "Set TOUCHSTONE_HMAC_KEY to a secret of at least 16 characters and keep it: with another key, "
            "the same person gets different identifiers."
        )
    return settings.hmac_key.get_secret_value().encode()
