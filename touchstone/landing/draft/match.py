"""Matches relations and their columns to the contract's tables and columns.

Every pair of a source column and a contract column gets a score from the agreement of their names, the fit of the values, the
uniqueness of keys and, once tables are matched, from the share of values that occur in the table referred to. For each pair of a
relation and a table, and then for all of them together, one assignment maximises the sum of the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np
from scipy.optimize import linear_sum_assignment

from expectations.contract import Contract, Table
from touchstone.landing.draft.names import Vocabulary
from touchstone.landing.draft.values import Profile, fit
from touchstone.landing.sql import quoted

LEAST_COLUMN, LEAST_TABLE = 0.45, 0.4
"""The least scores at which a column or a table is matched."""
CERTAIN, CLEAR_LEAD = 0.7, 0.1
"""A match is certain from this score on, if it also leads the next best candidate by this much."""
ROUNDS = 3
"""Rounds of matching: from the second one on, references to the tables matched before count."""


@dataclass(frozen=True)
class Relation:
    """A file or a table of a database.

    Attributes:
        name: Its name: of the file without ending, or of the table.
        view: The name of the table in DuckDB that has its rows.
        columns: The profiles of its columns.
    """

    name: str
    view: str
    columns: tuple[Profile, ...]

    @property
    def rows(self) -> int:
        """The number of rows that were read."""
        return self.columns[0].rows if self.columns else 0


@dataclass(frozen=True)
class ColumnMatch:
    """The source column of a contract column.

    Attributes:
        source: The source column.
        score: From `LEAST_COLUMN` to 1.
        next_best: The source column that would come next; None if none comes near.
        contained: Share of the values that occur in the table referred to; None if there is no such table.
        parent: The relation and its column that are referred to.
        is_by_elimination: Whether only the values speak for it, and no other column was left that fits.
    """

    source: Profile
    score: float
    next_best: str | None = None
    contained: float | None = None
    parent: tuple[Relation, str] | None = None
    is_by_elimination: bool = False

    @property
    def is_certain(self) -> bool:
        """Whether no reader needs to look at it."""
        return not self.is_by_elimination and self.score >= CERTAIN and self.next_best is None


@dataclass(frozen=True)
class TableMatch:
    """The source of a contract table.

    Attributes:
        table: The contract's table.
        relation: The relation.
        score: From `LEAST_TABLE` to 1.
        columns: The matched columns, by contract column in the contract's order.
        unmatched: For each source column without a match the contract column that would come next, or None.
        next_best: The contract table that would come next; None if none comes near.
    """

    table: str
    relation: Relation
    score: float
    columns: Mapping[str, ColumnMatch]
    unmatched: Mapping[str, str | None] = field(default_factory=dict)
    next_best: str | None = None


@dataclass(frozen=True)
class Matches:
    """All matches: of tables by contract table, and the relations without one, with the table that would come next."""

    tables: Mapping[str, TableMatch]
    unmatched: Mapping[str, str | None]


class Matcher:
    """Matches the relations of one marketplace."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        contract: Contract,
        vocabulary: Vocabulary,
        relations: Sequence[Relation],
    ) -> None:
        """Sets what to match.

        Args:
            connection: Has the relations' rows.
            contract: The contract.
            vocabulary: The words by which names agree.
            relations: The relations; ones without columns are ignored.
        """
        self.connection = connection
        self.contract = contract
        self.vocabulary = vocabulary
        self.relations = [relation for relation in relations if relation.columns]
        self._names: dict[tuple[str, str, str], float] = {}
        self._fits: dict[tuple[str, str, str, str], float] = {}
        self._contained: dict[tuple[str, str, str, str], float] = {}
        self._parents = {table: contract.parents(table) for table in contract.tables}

    def run(self) -> Matches:
        """Returns the matches."""
        matches = Matches({}, {})
        for _ in range(ROUNDS):
            matches = self._round(matches.tables)
        return matches

    def _round(self, before: Mapping[str, TableMatch]) -> Matches:
        tables = list(self.contract.tables)
        pairs = [[self._pair(relation, table, before) for table in tables] for relation in self.relations]
        scores = np.array([[pair.score for pair in row] for row in pairs])
        matched: dict[str, TableMatch] = {}
        unmatched: dict[str, str | None] = {}
        for index, table_index in _assign(scores, LEAST_TABLE).items():
            pair, other = pairs[index][table_index], _runner_up(scores[index], table_index, LEAST_TABLE)
            is_near = other is not None and scores[index][other] > pair.score - CLEAR_LEAD
            matched[pair.table] = TableMatch(
                pair.table,
                pair.relation,
                pair.score,
                pair.columns,
                pair.unmatched,
                tables[other] if is_near and other else None,
            )
        taken = {match.relation.view for match in matched.values()}
        for index, relation in enumerate(self.relations):
            if relation.view not in taken:
                best = int(scores[index].argmax())
                unmatched[relation.view] = tables[best] if scores[index][best] >= LEAST_TABLE / 2 else None
        return Matches({table: matched[table] for table in tables if table in matched}, unmatched)

    def _pair(self, relation: Relation, table: str, before: Mapping[str, TableMatch]) -> TableMatch:
        definition = self.contract.tables[table]
        names = list(definition.columns)
        scores = np.array([[self._score(relation, s, table, c, before) for c in names] for s in relation.columns])
        assigned = _assign(scores, LEAST_COLUMN)
        columns = {}
        for index, column_index in sorted(assigned.items(), key=lambda item: item[1]):
            score = float(scores[index][column_index])
            free = [i for i in range(len(relation.columns)) if i not in assigned or i == index]
            other = _runner_up(scores[free, column_index], free.index(index), score - CLEAR_LEAD)
            contained, parent = self._reference(relation, relation.columns[index], table, names[column_index], before)
            columns[names[column_index]] = ColumnMatch(
                relation.columns[index],
                score,
                None if other is None else relation.columns[free[other]].name,
                contained,
                parent,
            )
        score = self._table_score(relation, table, definition, columns)
        columns |= self._by_elimination(relation, table, columns, before)
        columns = {name: columns[name] for name in names if name in columns}
        used = {match.source.name for match in columns.values()}
        unmatched = {}
        for index, source in enumerate(relation.columns):
            if source.name not in used:
                best = int(scores[index].argmax())
                unmatched[source.name] = names[best] if scores[index][best] >= LEAST_COLUMN / 2 else None
        return TableMatch(table, relation, score, columns, unmatched)

    def _by_elimination(
        self, relation: Relation, table: str, columns: Mapping[str, ColumnMatch], before: Mapping[str, TableMatch]
    ) -> dict[str, ColumnMatch]:
        """Matches columns whose names say nothing by their values: to required columns, and to those of a telling shape."""
        definition = self.contract.tables[table]
        used = {match.source.name for match in columns.values()}
        sources = [source for source in relation.columns if source.name not in used]
        names = [name for name in definition.columns if name not in columns]
        scores = np.array([[self._value_score(relation, s, table, name, before) for name in names] for s in sources])
        return {
            names[column]: ColumnMatch(sources[row], LEAST_COLUMN * float(scores[row][column]), is_by_elimination=True)
            for row, column in _assign(scores, 0.5).items()
        }

    def _value_score(
        self, relation: Relation, source: Profile, table: str, column: str, before: Mapping[str, TableMatch]
    ) -> float:
        definition = self.contract.tables[table]
        value = self._fit(relation, source, table, column)
        if not definition.is_needed(column):
            is_telling = (
                definition.columns[column].type == "json"
                or bool(definition.columns[column].values)
                or self.vocabulary.shape(column) in ("url", "currency")
            )
            return value if is_telling and value >= 0.9 else 0.0
        if definition.key == (column,):
            return value if source.is_unique or not source.rows else 0.0
        contained, _ = self._reference(relation, source, table, column, before)
        if contained is None and column in self._parents[table]:
            return 0.0
        return value if contained is None or contained >= 0.9 else 0.0

    def _table_score(
        self, relation: Relation, table: str, definition: Table, columns: Mapping[str, ColumnMatch]
    ) -> float:
        needed = [name for name in definition.columns if definition.is_needed(name)]
        covered = sum(match.score for match in columns.values())
        breadth = covered / min(len(relation.columns), len(definition.columns))
        complete = sum(name in columns for name in needed) / len(needed)
        name = self.vocabulary.table_score(relation.name, table)
        return float(0.4 * name + 0.4 * min(1.0, breadth) + 0.2 * complete)

    def _score(
        self, relation: Relation, source: Profile, table: str, column: str, before: Mapping[str, TableMatch]
    ) -> float:
        definition = self.contract.tables[table]
        name = self._name_score(source.name, table, column)
        value = self._fit(relation, source, table, column)
        if value == 0:
            return 0.0
        score = 0.7 * name + 0.3 * value
        if value < 0.15:
            score *= 0.5
        if definition.key == (column,):
            score = score + 0.05 if source.is_unique or not source.rows else score * 0.7
        contained, _ = self._reference(relation, source, table, column, before)
        if contained is not None:
            telling = min(1.0, source.distinct / 10) * (1.0 if source.kind == "text" or name > 0 else 0.3)
            score = score + 0.25 * telling if contained >= 0.9 else score * (0.6 if contained < 0.5 else 1.0)
        return min(1.0, score)

    def _name_score(self, name: str, table: str, column: str) -> float:
        key = (name, table, column)
        if key not in self._names:
            self._names[key] = self.vocabulary.column_score(*key)
        return self._names[key]

    def _fit(self, relation: Relation, source: Profile, table: str, column: str) -> float:
        key = (relation.view, source.name, table, column)
        if key not in self._fits:
            definition = self.contract.tables[table].columns[column]
            self._fits[key] = fit(source, definition, self.vocabulary, self.vocabulary.shape(column))
        return self._fits[key]

    def _reference(
        self, relation: Relation, source: Profile, table: str, column: str, before: Mapping[str, TableMatch]
    ) -> tuple[float | None, tuple[Relation, str] | None]:
        """Returns the share of a column's values that the table referred to has, and where; None if it is not known."""
        parent = before.get(self._parents[table].get(column, ""))
        if parent is None or not source.values or source.kind not in ("text", "integer"):
            return None, None
        key = self.contract.tables[parent.table].key[0]
        if key not in parent.columns or parent.relation.view == relation.view:
            return None, None
        name = parent.columns[key].source.name
        where = (relation.view, source.name, parent.relation.view, name)
        if where not in self._contained:
            row = self.connection.execute(
                "select count(*) from (select unnest($values) as value) "
                f"where value in (select cast({quoted(name)} as varchar) from {quoted(parent.relation.view)})",
                {"values": list(source.values)},
            ).fetchone()
            self._contained[where] = (row[0] if row else 0) / len(source.values)
        return self._contained[where], (parent.relation, name)


def _assign(scores: np.ndarray, least: float) -> dict[int, int]:
    """Returns, by row, the column of the assignment with the greatest sum of scores of at least `least`."""
    if not scores.size:
        return {}
    usable = np.where(scores >= least, scores, 0.0)
    rows, columns = linear_sum_assignment(usable, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if usable[row, column] > 0}


def _runner_up(scores: Iterable[float], best: int, least: float) -> int | None:
    """Returns the index of the greatest score other than the best one's, if it is at least `least`."""
    others = [
        (score, -index) for index, score in enumerate(scores) if index != best and score >= max(least, LEAST_COLUMN)
    ]
    return -max(others)[1] if others else None
