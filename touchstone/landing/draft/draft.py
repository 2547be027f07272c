"""Drafts a first sources file: reads what it is given, matches it to the contract, writes YAML, and checks it.

Comments mark what is uncertain or was not matched. The draft is checked like any sources file. What the check refuses is taken
out, or commented out with the reason, so that the rest can be used at once. Values of the data appear in a draft only as codes
that are mapped to the contract's.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import yaml
from anyascii import anyascii
from pydantic import ValidationError

from expectations.contract import Contract, Table
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.text import list_some, visible
from touchstone.landing.allowed_sql import problem_with_expression
from touchstone.landing.checks import TableReport, Violation
from touchstone.landing.connectors import Connector, SourceFolders, SourceUnavailableError
from touchstone.landing.databases import DatabaseConnector
from touchstone.landing.draft.match import ColumnMatch, Matcher, Matches, Relation, TableMatch
from touchstone.landing.draft.names import vocabulary
from touchstone.landing.draft.sniff import Source, recognise
from touchstone.landing.draft.values import expression, profile_columns
from touchstone.landing.land import check
from touchstone.landing.sources import CONNECTORS, VERSION, read_sources
from touchstone.landing.sql import Limits, connection_with, describe_error, quoted

MAX_ROWS: Final = 1_000_000
"""The rows of each table that are looked at; the check afterwards reads all."""
CHECKS: Final = 4
"""How often a draft is checked and corrected at most."""

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_LABELS = ("test_buys", "moderation_decisions", "notices")


@dataclass(frozen=True)
class Input:
    """One input of the draft: its options as the file has them, and the relation that was read."""

    name: str
    options: Mapping[str, Any]
    relation: Relation


@dataclass
class Entry:
    """One contract table of the draft.

    Attributes:
        table: The contract's table.
        source: The name of the input; None if `query` is given.
        query: A query instead of an input.
        columns: SQL by contract column.
        remarks: Comments by contract column.
        where: A condition, if rows have to be left out.
        notes: Comments on the table.
        is_refused: Whether the check refuses it, so that it is commented out.
    """

    table: str
    source: str | None = None
    query: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    where: str | None = None
    notes: list[str] = field(default_factory=list)
    is_refused: bool = False


@dataclass(frozen=True)
class Draft:
    """A drafted sources file.

    Attributes:
        text: The file.
        tables: The contract tables that it maps.
        refused: The tables that are commented out, because the check refuses them.
        missing: The required tables that it lacks.
        uncertain: How many choices the comments mark as uncertain.
        unmatched: The inputs that match no table.
        variables: The environment variables that it needs.
    """

    text: str
    tables: tuple[str, ...]
    refused: tuple[str, ...]
    missing: tuple[str, ...]
    uncertain: int
    unmatched: tuple[str, ...]
    variables: tuple[str, ...]


def draft_sources(
    arguments: Sequence[str],
    contract: Contract,
    *,
    name: str,
    folder: Path,
    environment: Mapping[str, str],
    limits: Limits | None = None,
) -> Draft:
    """Drafts a sources file.

    Args:
        arguments: Files, patterns of files in quotes, or database URLs.
        contract: The contract.
        name: The marketplace's name.
        folder: The folder that the file is for; its paths are relative to it.
        environment: The environment variables.
        limits: Threads and memory for DuckDB.

    Returns:
        The draft, checked.

    Raises:
        BadInputError: A source cannot be read, or none of the tables could be the merchants or the listings.
    """
    limits = limits or Limits()
    sources = [source for argument in arguments for source in recognise(argument, environment)]
    known = dict(environment) | {key: value for source in sources for key, value in source.environment.items()}
    with tempfile.TemporaryDirectory(prefix="touchstone-draft-") as temporary:
        work = Path(temporary).resolve()
        with connection_with(limits, work) as connection:
            connection.execute("set preserve_insertion_order = true")  # the same rows are looked at each time
            inputs = _read(connection, sources, work)
            matches = Matcher(connection, contract, vocabulary(), [one.relation for one in inputs]).run()
        if not {"merchants", "listings"} & matches.tables.keys():
            raise BadInputError(_nothing_found(inputs, matches))
        entries = list(_entries(contract, matches))
        draft = _Writer(name, contract, inputs, entries, matches, folder)
        missing = [
            table for table, t in contract.tables.items() if t.required and table not in {e.table for e in entries}
        ]
        if not missing:
            _correct(draft, contract, work, known, limits)
    return draft.result(missing, sorted({key for source in sources for key in source.environment}))


def _nothing_found(inputs: Sequence[Input], matches: Matches) -> str:
    lines = []
    for one in inputs:
        table = next((name for name, match in matches.tables.items() if match.relation is one.relation), None)
        columns = list_some([visible(column.name) for column in one.relation.columns])
        lines.append(f"  {one.name}: {f'like {table}' if table else 'like no table'}; columns {columns}")
    return "\n".join([
        "No table could be the merchants or the listings, which are required. Read were:",
        *lines,
        (
            "Name also the files of the sellers and of what they offer. If they are here, write the sources file yourself "
            "(docs/sources.md), or rename their id, seller and date columns."
        ),
    ])  # fmt: skip


def _read(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], work: Path) -> list[Input]:
    """Reads the first rows of every file and of every table of the databases."""
    inputs: list[Input] = []
    for source in sources:
        if source.is_database:
            tables = _tables(connection, source, work)
            if not tables:
                raise BadInputError(f"{_where(source)} has no table that can be read. Correct the URL, or its schema.")
        else:
            tables = [(source.name, source.options)]
        for name, options in tables:
            key = _input_name(name, {one.name for one in inputs})
            view = f"draft:{key}"
            try:
                _connector(options, source).attach(connection, key, SourceFolders(Path.cwd(), work))
                connection.execute(f"create table {quoted(view)} as select * from {quoted(key)} limit {MAX_ROWS}")
            except (SourceUnavailableError, duckdb.Error) as error:
                message = describe_error(error) if isinstance(error, duckdb.Error) else str(error)
                raise BadInputError(f"{name} cannot be drafted from: {message}") from error
            inputs.append(Input(key, options, Relation(name, view, tuple(profile_columns(connection, view)))))
    return inputs


def _connector(options: Mapping[str, Any], source: Source) -> Connector:
    expanded = {key: source.environment.get(str(value)[2:-1], value) for key, value in options.items()}
    try:
        return CONNECTORS[options["connector"]].model_validate(expanded)
    except ValidationError as error:
        keys = ", ".join(str(item["loc"][0]) for item in error.errors() if item["loc"])
        raise BadInputError(f"{_where(source)}: {keys} cannot be used. Correct the URL or the file.") from None


def _where(source: Source) -> str:
    return str(
        source.options.get("path")
        or f"PostgreSQL at {source.options.get('host')}, database {source.options.get('database')}"
    )


def _tables(connection: duckdb.DuckDBPyConnection, source: Source, work: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the tables and views of a database, each with its options."""
    connector = _connector({**source.options, "table": "-"}, source)
    if not isinstance(connector, DatabaseConnector):
        raise TypeError(f"{connector.connector} is no database")
    try:
        names = connector.tables(connection, SourceFolders(Path.cwd(), work))
    except SourceUnavailableError as error:
        raise BadInputError(str(error)) from error
    return [(name, {**source.options, "table": name}) for name in names]


def _input_name(name: str, taken: set[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", anyascii(name).lower()).strip("_") or "table"
    plain = plain if plain[0].isalpha() else f"t_{plain}"
    candidates = [plain, *(f"{plain}_{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)


def _entries(contract: Contract, matches: Matches) -> Iterator[Entry]:
    for table in contract.tables:
        if table in matches.tables:
            yield _entry(table, contract.tables[table], matches.tables[table])
        elif table == "merchants" and "merchant_id" in matches.tables["listings"].columns:
            listings = matches.tables["listings"]
            relation, seller = listings.relation.view.removeprefix("draft:"), listings.columns["merchant_id"]
            sql = _reference(seller, relation)
            notes = [
                "No table of merchants was found, so these are the sellers of the listings, without any facts of theirs."
            ]
            yield Entry(
                table,
                query=f"select distinct {sql} as merchant_id from {relation} where {sql} is not null",
                notes=notes,
            )


def _entry(table: str, definition: Table, match: TableMatch) -> Entry:
    relation = match.relation.view.removeprefix("draft:")
    entry = Entry(table, source=relation)
    if match.next_best:
        entry.notes.append(f"Uncertain: it could also be {match.next_best}.")
    for column, found in match.columns.items():
        sql, remarks = expression(found.source, definition.columns[column], vocabulary(), _reference(found, relation))
        remarks = [*_doubts(found), *remarks]
        if problem := problem_with_expression(sql):
            remarks.append(f"left out, as {problem}")
            sql = "null"
        entry.columns[column] = sql
        entry.remarks[column] = remarks
    # Columns of the contract are read by name if no expression is given, so ones that do not fit are excluded.
    used = {found.source.name.lower() for found in match.columns.values()}
    for source in match.relation.columns:
        column = source.name.lower()
        if column in definition.columns and column not in match.columns and not definition.is_needed(column):
            entry.columns[column] = "null"
            reason = (
                "its column of this name is used for another"
                if column in used
                else "the values of its column do not fit"
            )
            entry.remarks[column] = [f"uncertain: {reason}"]
    for column in definition.columns:
        if column not in entry.columns and definition.is_needed(column):
            entry.notes.append(f"REQUIRED, but not found: {column} ({definition.columns[column].description})")
    absent = [
        column for column in definition.columns if column not in entry.columns and not definition.is_needed(column)
    ]
    if absent:
        entry.notes.append(f"Not found: {', '.join(absent)}")
    if match.unmatched:
        listed = [
            f"{visible(name)} (nearest: {near})" if near else visible(name) for name, near in match.unmatched.items()
        ]
        entry.notes.append(f"Columns that are not used: {', '.join(listed)}")
    return entry


def _doubts(match: ColumnMatch) -> list[str]:
    doubts = []
    if match.is_by_elimination:
        doubts.append("uncertain: only its values speak for it, not its name")
    elif not match.is_certain:
        other = f"; next best: {visible(match.next_best)}" if match.next_best else ""
        doubts.append(f"uncertain ({match.score:.2f}){other}")
    return doubts


def _reference(match: ColumnMatch, relation: str) -> str:
    """Returns SQL for a source column; one whose name DuckDB could take for something else is qualified."""
    name = match.source.name
    plain = name if _PLAIN_NAME.fullmatch(name) else quoted(name)
    for candidate in (plain, quoted(name), f"{relation}.{quoted(name)}"):
        if problem_with_expression(candidate) is None and _is_column(candidate):
            return candidate
    return f"{relation}.{quoted(name)}"


def _is_column(sql: str) -> bool:
    """Returns whether SQL of one word is a name, not a keyword with a meaning of its own such as `null`."""
    return sql.lower() not in {"null", "true", "false", "default"}


@dataclass
class _Writer:
    """The draft as it is corrected, and as YAML."""

    name: str
    contract: Contract
    inputs: Sequence[Input]
    entries: list[Entry]
    matches: Matches
    folder: Path

    def result(self, missing: Sequence[str], variables: Sequence[str]) -> Draft:
        """Returns the finished draft."""
        return Draft(
            text=self.text(self.folder, missing),
            tables=tuple(entry.table for entry in self.entries if not entry.is_refused),
            refused=tuple(entry.table for entry in self.entries if entry.is_refused),
            missing=tuple(missing),
            uncertain=sum(bool(remarks) for entry in self.entries for remarks in entry.remarks.values())
            + sum(note.startswith("Uncertain") for entry in self.entries for note in entry.notes),
            unmatched=tuple(view.removeprefix("draft:") for view in self.matches.unmatched),
            variables=tuple(variables),
        )

    def text(self, folder: Path, missing: Sequence[str] = ()) -> str:
        """Returns the YAML text, with paths relative to a folder."""
        lines = [
            "# A draft of `touchstone sources draft`. Look through the comments, correct it, and run `touchstone sources check`.",
            "# How to write it: docs/sources.md. Every table and column: docs/source-contract.md.",
            f"version: {VERSION}",
            f"name: {self.name}",
            "identifiers: personal  # needs TOUCHSTONE_HMAC_KEY; `public` if the data are synthetic or published",
            "",
            "inputs:",
            *(f"  {one.name}: {_flow(self._placed(one.options, folder))}" for one in self.inputs),
            "",
            "tables:",
        ]
        for entry in self.entries:
            block = [f"  {line}".rstrip() for line in self._entry_lines(entry)]
            lines += [f"# {line}" for line in block] if entry.is_refused else block
            lines.append("")
        lines += _comment(self._remainder(missing))
        return "\n".join(lines).rstrip() + "\n"

    def _placed(self, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        if "path" not in options or Path(options["path"]).is_absolute():
            return dict(options)
        return {**options, "path": os.path.relpath(options["path"], folder)}

    def _entry_lines(self, entry: Entry) -> Iterator[str]:
        yield from _comment(entry.notes)
        yield f"{entry.table}:"
        yield f"  query: {_scalar(entry.query)}" if entry.query else f"  input: {entry.source}"
        if entry.where:
            yield f"  where: {_scalar(entry.where)}"
        if not entry.query:
            yield "  columns:"
        for column in self.contract.tables[entry.table].columns:
            if column in entry.columns:
                remarks = "; ".join(entry.remarks.get(column, []))
                yield f"    {column}: {_scalar(entry.columns[column])}{f'  # {remarks}' if remarks else ''}"

    def _remainder(self, missing: Sequence[str]) -> Iterator[str]:
        for table in missing:
            yield f"REQUIRED, but not found: {table}. {self.contract.tables[table].description}"
        mapped = {entry.table for entry in self.entries}
        if not mapped & set(_LABELS):
            yield f"No labels were found: a model learns from {', '.join(_LABELS)}. Without them a starter model ranks."
        absent = [table for table in self.contract.tables if table not in mapped and table not in missing]
        if absent:
            yield f"Tables of the contract without a match: {', '.join(absent)}"
        for view, near in self.matches.unmatched.items():
            yield f"Input without a match: {view.removeprefix('draft:')}{f' (nearest: {near})' if near else ''}"


def _comment(lines: Sequence[str] | Iterator[str]) -> list[str]:
    return [f"# {visible(line)}" for line in lines]


def _scalar(text: str) -> str:
    return yaml.safe_dump(text, width=10**6, allow_unicode=True).removesuffix("...\n").strip()


def _flow(options: Mapping[str, Any]) -> str:
    return yaml.safe_dump(
        dict(options), default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True
    ).strip()


def _correct(draft: _Writer, contract: Contract, work: Path, environment: Mapping[str, str], limits: Limits) -> None:
    """Checks the draft, and takes out what is refused, until the rest is accepted or only required tables are refused."""
    folder = Path.cwd()
    for _ in range(CHECKS):
        with tempfile.NamedTemporaryFile("w", dir=work, suffix=".yml", encoding="utf-8") as file:
            file.write(draft.text(folder))
            file.flush()
            sources = read_sources(Path(file.name), environment)
        # Paths of the draft are relative to this folder, not to that of the temporary file.
        sources = sources.model_copy(update={"path": folder / "draft.yml"})
        reports = {report.table: report for report in check(sources, contract, hmac_key=b"draft", limits=limits)}
        refused = [entry for entry in draft.entries if not entry.is_refused and not reports[entry.table].accepted]
        changed = [_mend(entry, contract.tables[entry.table], reports[entry.table], draft) for entry in refused]
        if not any(changed):
            return


def _mend(entry: Entry, table: Table, report: TableReport, draft: _Writer) -> bool:
    """Corrects an entry that the check refuses; returns whether it changed."""
    changed = False
    for violation in report.violations:
        reason = f"{violation.text} [{violation.rule}]"
        optional = [c for c in violation.columns if not table.is_needed(c) and c in entry.columns]
        if violation.rule == "reference" and _leave_out(entry, table, report, violation, draft):
            changed = True
        elif optional and len(optional) == len(violation.columns) and any(entry.columns[c] != "null" for c in optional):
            for column in optional:
                entry.remarks[column] = [f"left out: {visible(reason)}; it was {visible(entry.columns[column])}"]
                entry.columns[column] = "null"
            changed = True
        else:
            note = f"REFUSED by the check: {', '.join(violation.columns)}{': ' if violation.columns else ''}{reason}"
            if note not in entry.notes:
                entry.notes.append(note)
                changed = changed or not table.required
            entry.is_refused = not table.required
    return changed


def _leave_out(entry: Entry, table: Table, report: TableReport, violation: Violation, draft: _Writer) -> bool:
    """Leaves out the values, or the rows if they are required, that refer to rows that are not there, unless most do."""
    column = violation.columns[0]
    reference = table.columns[column].reference
    parent = next((one for one in draft.entries if reference and one.table == reference[0]), None)
    if 2 * (violation.count or 0) > report.row_count:
        return False
    if entry.query or parent is None or parent.source is None or column not in entry.columns or not reference:
        return False
    sql = entry.columns[column]
    rows = f"{parent.source} where {parent.where}" if parent.where else parent.source
    condition = f"{sql} in (select {parent.columns[reference[1]]} from {rows})"
    if " in (select " in sql or condition in (entry.where or ""):
        return False
    if table.is_needed(column):
        entry.where = f"{entry.where} and {condition}" if entry.where else condition
        entry.notes.append(f"`where` leaves out rows: {column}: {violation.text}")
    else:
        entry.columns[column] = f"case when {condition} then {sql} end"
        entry.remarks.setdefault(column, []).append(f"values are left out: {violation.text}")
    return True


def summary(draft: Draft) -> str:
    """Returns what a person should know about a draft, for the terminal."""
    lines = [f"{format_count(len(draft.tables), 'table')} mapped: {', '.join(draft.tables)}"]
    if draft.uncertain:
        lines.append(f"{format_count(draft.uncertain, 'choice')} to look at: see the comments")
    lines += [f"required, but not found: {table}" for table in draft.missing]
    if draft.refused:
        lines.append(f"commented out, because the check refuses them: {', '.join(draft.refused)}")
    if draft.unmatched:
        lines.append(f"inputs without a match: {', '.join(draft.unmatched)}")
    lines += [f"set the environment variable {name} before you use it" for name in draft.variables]
    return "\n".join(lines)
