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
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from touchstone.core.errors import BadInputError
from touchstone.core.files import MOST_CONFIGURATION_BYTES, canonical_json, read_regular, sha256_bytes
from touchstone.core.secrets import remember
from touchstone.core.settings import Settings
from touchstone.core.text import visible
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
"""Every kind of source, by the word after `connector:`."""

VERSION = 1
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
MAX_NODES = 100_000
"""Keys and values that a file may have with its aliases written out. Real ones have hundreds; 500 bytes can say billions."""
MAX_DIGITS = 40
"""Of a number no more are read: Python itself refuses to read or print one of 5,000."""
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
"""What no path, database or ledger takes: null characters, and the surrogates that stand for bytes that are no UTF-8."""
_USER_IN_ADDRESS = re.compile(r"://[^/]*@")
_TOLD = ("host", "database", "path", "schema", "table")
"""Options that the ledger and messages tell as the file writes them."""


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

    @field_validator("query")
    @classmethod
    def _without_end(cls, query: str | None) -> str | None:
        """Drops the semicolons that end a query, with which it could not stand in parentheses; comments stay."""
        encoded = (query or "").encode()
        for start, _ in reversed(duckdb.tokenize(query or "")):
            if encoded[start : start + 1] != b";":
                break
            encoded = encoded[:start] + encoded[start + 1 :]
        return None if query is None else encoded.decode()

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
    pictures: str | None = None
    masked: list[str] = []


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
        pictures: The folder to which the addresses of pictures are relative; without one, no picture is read.
        masked: Regular expressions for what is cut out of listings' texts before anything reads them.
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
        pictures=_picture_folder(path, file),
        masked=tuple(file.masked),
    )
    _check_sql(sources)
    return sources


def picture_folder(path: Path) -> Path | None:
    """Returns the folder of pictures that a sources file names, without asking for its variables; None where it names none.

    Raises:
        BadInputError: The file is no sources file, or there is no such folder.
    """
    return _picture_folder(path, _validated(path, _load_yaml(path))) if path.exists() else None


def _picture_folder(path: Path, file: _File) -> Path | None:
    if file.pictures is None:
        return None
    folder = path.parent / file.pictures
    if not folder.is_dir():
        raise BadInputError(
            f"{path}: pictures is {file.pictures!r}, and there is no such folder beside the file. Correct it there."
        )
    return folder


class _Loader(yaml.SafeLoader):
    """YAML as a sources file needs it; `<<` merges as ever.

    Keys are the words that are written (`null` and `on` too), and a key given twice is refused, where YAML itself lets the
    last one win in silence. There are neither dates nor tags, and aliases make nothing huge or endless.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML keeps it as a plain attribute of the class
        first: [
            (tag, pattern)
            for tag, pattern in kinds
            if tag.rpartition(":")[2] in {"null", "bool", "int", "float", "merge"}
        ]
        for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Reads a node, which has no tag: they make objects of other kinds, or fail on what they are given."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # types-pyyaml gives it no types
        if getattr(event, "tag", None) is not None:
            raise _no_yaml(
                "what starts with ! is a tag, and has no place here; if it is text, put it into quotes", event
            )
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Reads a value that is no map or list."""
        node = super().compose_scalar_node(anchor)
        if _NO_TEXT.search(node.value):
            raise _no_yaml("a null character or half a character (a surrogate) has no place here", node)
        if node.tag.endswith((":int", ":float")) and len(node.value) > MAX_DIGITS:
            raise _no_yaml(f"a number has more than {MAX_DIGITS} digits; if it is text, put it into quotes", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Reads a map whose keys are words and differ."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for place, (key, value) in enumerate(node.value):
            if not isinstance(key, yaml.ScalarNode):
                raise _no_yaml("a key is a map or a list, and must be a word", key)
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise _no_yaml(f"the key {key.value!r} is given twice", key)
            seen.add(key.value)
            word = yaml.ScalarNode(self.DEFAULT_SCALAR_TAG, key.value, key.start_mark, key.end_mark)
            node.value[place] = (word, value)
        return node

    def construct_document(self, node: Any) -> Any:
        """Makes of the nodes what they stand for, where that is not too much."""
        _count(node, {})
        return super().construct_document(node)


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """Returns how many nodes a node is with its aliases written out, each counted once; refuses too many, and a circle."""
    if counts.get(id(node)) == 0:
        raise _no_yaml("a map or list holds itself", node)
    if id(node) not in counts:
        counts[id(node)] = 0
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        count = 1
        for child in children:
            count += _count(child, counts)
            if count > MAX_NODES:
                raise _no_yaml(f"with its aliases written out it has more than {MAX_NODES:,} keys and values", node)
        counts[id(node)] = count
    return counts[id(node)]


def _no_yaml(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _load_yaml(path: Path) -> Any:
    try:
        text = read_regular(path, MOST_CONFIGURATION_BYTES).decode()
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}). Name an existing sources file.") from error
    except RecursionError:
        raise BadInputError(f"{path} is no valid YAML: it is nested too deep. Correct it there.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise BadInputError(f"{path} is no valid YAML: {_yaml_problem(error)}. Correct it there.") from None


def _yaml_problem(error: Exception) -> str:
    """Returns what is wrong and where, but nothing of the file's text, which may hold a password.

    For the same reason the errors raised here have no cause: Dagster keeps causes, with the text that they quote.
    """
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        # What these two name may be a password that starts with * or !.
        problem = re.sub(r"^(found undefined (alias|tag handle)) .*", r"\1", error.problem, flags=re.DOTALL)
        return f"{problem}, in line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    if isinstance(error, yaml.reader.ReaderError | UnicodeDecodeError):
        return str(error)  # it shows one character or byte
    return "a number or an escaped character in it cannot be read"


def _validated(path: Path, content: Any) -> _File:
    if not isinstance(content, dict):
        raise BadInputError(f"{path} holds no mapping. A sources file has the keys version, name, inputs and tables.")
    if content.get("version") != VERSION:
        raise BadInputError(f"{path}: version is {content.get('version')!r}; this program reads version {VERSION}.")
    try:
        return _File.model_validate(content)
    except ValidationError as error:
        raise BadInputError(_explained(path, (), error, _known_keys)) from None


def _known_keys(place: tuple[str, ...]) -> list[str]:
    return list(TableSource.model_fields if place[:1] == ("tables",) else _File.model_fields)


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
    for told in (options, expanded):
        _check_addresses(path, f"inputs.{name}", told)
    try:
        return connector.model_validate(expanded)
    except ValidationError as error:
        raise BadInputError(_explained(path, ("inputs", name), error, lambda _: _option_names(connector))) from None


def _option_names(connector: type[Connector]) -> list[str]:
    return [field.alias or name for name, field in connector.model_fields.items()]


def _check_secrets(path: Path, place: str, options: dict[str, Any]) -> None:
    for key, value in options.items():
        if isinstance(value, dict):
            _check_secrets(path, f"{place}.{_word(key)}", value)
        elif key in SECRET_OPTIONS and not (isinstance(value, str) and _VARIABLE.fullmatch(value)):
            raise BadInputError(
                f"{path}: {place}.{key} is written out. Put it into a variable of the environment, and write its name "
                f"here: {key}: ${{NAME}}"
            )


def _remember_secrets(options: dict[str, Any]) -> None:
    for key, value in options.items():
        if isinstance(value, dict):
            _remember_secrets(value)
        elif key in SECRET_OPTIONS:
            remember(value)


def _check_addresses(path: Path, place: str, options: dict[str, Any]) -> None:
    """Refuses a user or password in what the ledger and messages tell."""
    for key, value in options.items():
        if isinstance(value, dict):
            _check_addresses(path, f"{place}.{_word(key)}", value)
        elif not isinstance(value, str):
            continue
        elif key == "host" and ("@" in value or "://" in value):
            raise BadInputError(
                f"{path}: {place}.host is an address with more than a host in it. Write the host alone, and the rest as "
                "`port`, `database`, `user` and `password`."
            )
        elif (key == "endpoint" and "@" in value) or (key in _TOLD and _USER_IN_ADDRESS.search(value)):
            raise BadInputError(
                f"{path}: {place}.{key} has a user or password before an @. Leave that out; credentials are options of "
                "their own, such as `password` or, in `s3`, `access_key` and `secret_key`."
            )


def _origin(options: dict[str, Any]) -> str:
    told = [str(options[key]) for key in _TOLD if key in options]
    return f"{options.get('connector')} {' '.join(told)}".strip()


def _expanded(path: Path, place: str, value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(path, f"{place}.{_word(key)}", item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(path, place, item, environment) for item in value]
    if not isinstance(value, str):
        return value
    for name in _VARIABLE.findall(value):
        if not environment.get(name):
            raise BadInputError(
                f"{path}: {place} needs the environment variable {name}, which is not set. Set it and run again."
            )
        if _NO_TEXT.search(environment[name]):
            raise BadInputError(
                f"{path}: {place} needs the environment variable {name}, which holds bytes that are no UTF-8 text. Set it "
                "anew and run again."
            )
    return _VARIABLE.sub(lambda match: environment[match.group(1)], value)


def _word(key: str) -> str:
    """Returns a key below `inputs` up to where it is no word: after `password:` without a blank, a password follows."""
    word = re.match(r"[\w-]*", key)
    return key if word is None or word.group() == key else f"{word.group()}…"


def _explained(path: Path, prefix: tuple[str, ...], error: ValidationError, known_keys: Any) -> str:
    """Returns what a file or an input has that it must not; of what stands below `inputs` no value, for it may be secret."""
    lines = []
    for item in error.errors():
        place = (*prefix, *(str(part) for part in item["loc"] if part != "[key]"))
        is_input = place[:1] == ("inputs",)
        if is_input:
            place = tuple(map(_word, place))
        if item["type"] == "extra_forbidden":
            lines.append(f"{'.'.join(place)} is not a known key{_suggestion(place[-1], known_keys(place))}")
        else:
            hidden = is_input or item["type"] == "missing" or isinstance(item["input"], dict | list)
            got = "" if hidden else f" (it is {str(item['input'])[:80]!r})"
            lines.append(f"{'.'.join(place)}: {item['msg'].removeprefix('Value error, ')}{got}")
    return "\n".join([f"{path} is no valid sources file. Correct:", *(f"  {visible(line)}" for line in lines)])


def _suggestion(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}."


def _check_sql(sources: Sources) -> None:
    views = set(sources.views)
    for table, source in sources.tables.items():
        for place, text in source.expressions.items():
            _refuse(sources, f"tables.{table}.{place}", text, problem_with_expression(text))
            _check_names(sources, f"tables.{table}.{place}", tables_named(f"select (\n{text}\n)"), views)
        if source.query is not None:
            _refuse(sources, f"tables.{table}.query", source.query, problem_with_query(source.query))
        named = {source.input} if source.input is not None else tables_named(str(source.query))
        _check_names(sources, f"tables.{table}", named, views)
    for at, pattern in enumerate(sources.masked):
        _refuse(sources, f"masked.{at}", pattern, problem_with_pattern(pattern))
    earlier: set[str] = set()
    for view, query in sources.views.items():
        if view in sources.inputs:
            raise BadInputError(f"{sources.path}: views.{view} has the name of an input. Rename one of them.")
        _refuse(sources, f"views.{view}", query, problem_with_query(query))
        _check_names(sources, f"views.{view}", tables_named(query), earlier)
        earlier.add(view)


def _refuse(sources: Sources, place: str, sql: str, problem: str | None) -> None:
    if problem:
        raise BadInputError(f"{sources.path}: {place} cannot be used: {problem}.\n  {sql.strip()}")


def _check_names(sources: Sources, place: str, named: set[str], views: set[str]) -> None:
    known = {*sources.inputs, *views}
    for name in sorted(named - known):
        raise BadInputError(
            f"{sources.path}: {place} reads {name!r}, which is no input or earlier view{_suggestion(name, sorted(known))}"
            " Files are read only through `inputs`."
        )


def identifier_key(sources: Sources, settings: Settings) -> bytes:
    """Returns the key under which a sources file's personal identifiers land.

    Raises:
        BadInputError: The file does not say `identifiers: public`, and no key is set.
    """
    if sources.identifiers == "public":
        return PUBLIC_HMAC_KEY
    if settings.hmac_key is None:
        raise BadInputError(
            f"{sources.path}: its tables may hold personal identifiers, which land only as HMAC, and no key is set. "
            "Set TOUCHSTONE_HMAC_KEY to a secret of at least 16 characters and keep it: with another key, "
            "the same person becomes another."
        )
    return settings.hmac_key.get_secret_value().encode()
