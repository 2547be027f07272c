"""Reads a user's labelled table, splits and edges from Parquet or CSV.

Columns are converted by type: numbers unchanged, dates to ages, lists to counts, strings to categories, text only if named.
Whatever is learned from a column (target encoding, inverse document frequency) is learned in `ml/ensemble.py`, from training
rows only. Errors in a file say what is wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from ml.neighbours import Edges
from ml.training_set import encode
from touchstone.core.errors import BadInputError
from touchstone.core.files import check_regular
from touchstone.core.text import list_some, shorten, visible

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

PARQUET: Final = (".parquet", ".pq")
CSV: Final = {".csv": ",", ".tsv": "\t"}
NULLS: Final = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
POSITIVE: Final = frozenset({"true", "yes", "y", "t", "positive", "fraud", "fake", "counterfeit", "spam", "bad"})
NEGATIVE: Final = frozenset(
    {"0", "-1", "false", "no", "n", "f", "negative", "genuine", "legit", "legitimate", "ham", "good"}
)
LEAST_OF_A_CLASS: Final = 10
MOST_KINDS: Final = 16
DAY: Final = 86_400.0
LARGEST: Final = float(np.finfo(np.float32).max)
EDGE_COLUMNS: Final = ("src", "dst", "weight", "type")


@dataclass(frozen=True)
class Category:
    """A categorical column.

    Attributes:
        code: The code of each row's value, -1 if missing, shape (n,).
        values: The values, by code.
    """

    code: Integers
    values: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A labelled table, n rows in the order of its file.

    Attributes:
        label: Whether each row is positive.
        positive: The value of the label column that means positive.
        numbers: Numbers, ages in days and counts, shape (n, d), nan if missing.
        names: Their names.
        categories: Categorical columns, by name.
        texts: Text columns, by name; empty if missing.
        ids: The rows' ids as text; None without an id column.
        group: An integer for each row's group; None without a group column.
        time: Each row's time as a number; None without a time column.
        split: The value of the split column of each row; None without one.
    """

    label: Flags
    positive: str
    numbers: Matrix
    names: tuple[str, ...]
    categories: Mapping[str, Category]
    texts: Mapping[str, tuple[str, ...]]
    ids: Any = None
    group: Integers | None = None
    time: Floats | None = None
    split: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.label)


@dataclass(frozen=True)
class Roles:
    """The roles of a table's columns; columns without a role are features.

    Attributes:
        label: The label.
        id: The id of a row; never a feature.
        group: Rows of one group stay on one side of a split; not a feature unless named as one.
        time: The time of a row; likewise.
        split: train, validation or test; never a feature.
        texts: Text columns.
        features: The features; None for all columns without another role.
        drop: Columns to ignore.
    """

    label: str
    id: str | None = None
    group: str | None = None
    time: str | None = None
    split: str | None = None
    texts: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()

    def check(self, path: Path, names: Sequence[str]) -> None:
        """Raises BadInputError if a named column does not exist, or has two incompatible roles."""
        named = [
            ("--label", self.label), ("--id", self.id), ("--group", self.group), ("--time", self.time), ("--split", self.split),
            *(("--text", name) for name in self.texts), *(("--features", name) for name in self.features or ()),
            *(("--drop", name) for name in self.drop),
        ]  # fmt: skip
        for option, name in named:
            if name is not None and name not in names:
                raise BadInputError(f"{path} has no column {name!r}, which {option} names. It has: {list_some(names)}.")
        for option, names_of in (("--features", self.features or ()), ("--text", self.texts)):
            for name in names_of:
                if name in (self.label, self.id, self.split):
                    raise BadInputError(
                        f"{option} names {name!r}, which is the label, the id or the split and cannot be a feature. Leave "
                        f"it out of {option}."
                    )

    def feature_columns(self, names: Sequence[str]) -> list[str]:
        """Returns the feature columns other than texts, in the file's order."""
        apart = {self.label, self.id, self.group, self.time, self.split}
        chosen = names if self.features is None else [name for name in names if name in self.features]
        excluded = set() if self.features is not None else apart
        return [name for name in chosen if name not in excluded and name not in self.drop and name not in self.texts]


def read_table(path: Path, roles: Roles) -> Table:
    """Reads a labelled table.

    Args:
        path: A Parquet or CSV file.
        roles: The roles of its columns.

    Raises:
        BadInputError: The file cannot be read, lacks a column, has an invalid label, duplicate ids, or a feature that is
            null in every row or of an unsupported type.
    """
    content = _read(path)
    names = content.column_names
    roles.check(path, names)
    if not content.num_rows:
        raise BadInputError(f"{path} has no rows.")
    label, positive = _label(path, roles.label, content[roles.label])
    numbers = np.empty((len(roles.feature_columns(names)), len(label)), dtype=np.float32)
    number_names: list[str] = []
    categories: dict[str, Category] = {}
    for name in roles.feature_columns(names):
        column = content[name]
        if column.null_count == len(column):
            raise BadInputError(
                f"{path}: the column {name!r} is null in every row. Leave it out: --drop {shorten(name)}."
            )
        value = _feature(path, name, column)
        if isinstance(value, Category):
            categories[name] = value
        else:
            numbers[len(number_names)] = value
            number_names.append(name)
    if not (number_names or categories or roles.texts):
        raise BadInputError(
            f"{path} has no column left that could be a feature. Name some: --features a,b, or --text COLUMN."
        )
    return Table(
        label=label,
        positive=positive,
        numbers=np.ascontiguousarray(numbers[: len(number_names)].T),
        names=tuple(number_names),
        categories=categories,
        texts={name: tuple(_words(content[name]).to_pylist()) for name in roles.texts},
        ids=None if roles.id is None else _ids(path, roles.id, content[roles.id]),
        group=None if roles.group is None else encode(content[roles.group])[0],
        time=None if roles.time is None else _time(path, roles.time, content[roles.time]),
        split=None if roles.split is None else tuple(_words(content[roles.split].cast(pa.string())).to_pylist()),
    )


def read_splits(path: Path, table: Table, id_column: str) -> dict[str, tuple[str, ...]]:
    """Reads a table of splits: the id, and one column per split with train, validation or test.

    Returns:
        The side of each row of the table, in the table's order, by the split's name.

    Raises:
        BadInputError: The file has no id column or no other, has duplicate ids, or lacks a row of the table.
    """
    content = _read(path)
    if id_column not in content.column_names:
        raise BadInputError(
            f"{path} has no column {id_column!r}, which is the table's id. It has: {list_some(content.column_names)}."
        )
    others = [name for name in content.column_names if name != id_column]
    if not others:
        raise BadInputError(
            f"{path} has the ids alone. Add a column for each split that says train, validation or test."
        )
    ids = _ids(path, id_column, content[id_column])
    place = pc.index_in(table.ids, value_set=ids)
    if place.null_count:
        lacking = table.ids.filter(place.is_null())
        raise BadInputError(
            f"{path} lacks {len(lacking):,} rows of the table, such as {list_some(lacking.slice(0, 3).to_pylist())}. Add "
            "them, or remove them from the table."
        )
    return {name: tuple(_words(content[name].cast(pa.string())).take(place).to_pylist()) for name in others}


def read_edges(path: Path, table: Table) -> tuple[dict[str, Edges], int]:
    """Reads edges between the rows of a table, or between rows and shared ends such as users.

    Args:
        path: Columns src and dst, and optionally weight and type; undirected, each stored once.
        table: The rows; its ids are the ends.

    Returns:
        The edges by type (`edges` without a type column); and the number of edges of which neither end is a row.

    Raises:
        BadInputError: A column is missing, an end is null, a weight is no number above 0, there are more than 16 types, or no
            edge has an end that is a row.
    """
    content = _read(path)
    for name in EDGE_COLUMNS[:2]:
        if name not in content.column_names:
            raise BadInputError(
                f"{path} has no column {name!r}. Edges have the columns src and dst, and may have weight and type."
            )
        if content[name].null_count:
            raise BadInputError(f"{path}: {content[name].null_count:,} edges have no {name}. Take them out.")
    ends = [content[name].cast(pa.string()).combine_chunks() for name in EDGE_COLUMNS[:2]]
    places = [pc.index_in(end, value_set=table.ids) for end in ends]
    others = pc.unique(pa.concat_arrays([end.filter(place.is_null()) for end, place in zip(ends, places, strict=True)]))
    first, second = (
        _numbers(place, pc.index_in(end, value_set=others), len(table)) for end, place in zip(ends, places, strict=True)
    )
    nowhere = (first >= len(table)) & (second >= len(table))
    if nowhere.all():
        raise BadInputError(
            f"{path}: no edge has an end that is an id of the table. Ends are like {list_some(ends[0].slice(0, 3).to_pylist())}, "
            f"ids like {list_some(table.ids.slice(0, 3).to_pylist())}. Name the column that the ends are of with --id."
        )
    weight = np.ones(len(first))
    if "weight" in content.column_names:
        weights = _number(content["weight"])
        if weights is None or not (np.isfinite(weights) & (weights > 0)).all():
            raise BadInputError(f"{path}: a weight is null or no number above 0. Correct it, or leave the column out.")
        weight = weights
    kind, kinds = (
        (np.zeros(len(first), dtype=np.int64), ["edges"])
        if "type" not in content.column_names
        else encode(content["type"].cast(pa.string()))
    )
    if len(kinds) > MOST_KINDS:
        raise BadInputError(
            f"{path} has {len(kinds)} types of edges; {MOST_KINDS} are the most. Put some together, or leave type out."
        )
    return {
        name: Edges(first[chosen], second[chosen], weight[chosen])
        for index, name in sorted(enumerate(kinds), key=lambda item: item[1])
        if (chosen := (kind == index) & ~nowhere).any()
    }, int(nowhere.sum())


def _numbers(place: Any, other: Any, rows: int) -> Integers:
    """Returns the integer of each end: the position of a row, or one from the number of rows for other ends."""
    beyond = pc.add(other.cast(pa.int64()), rows)
    return np.asarray(pc.coalesce(place.cast(pa.int64()), beyond).to_numpy(zero_copy_only=False), dtype=np.int64)


def _read(path: Path) -> Any:
    """Returns a file as an Arrow table; of a CSV file all columns are text."""
    suffix = path.suffix.lower()
    try:
        check_regular(path)
        if suffix in PARQUET:
            return pq.read_table(path, partitioning=None)
        if suffix not in CSV:
            raise BadInputError(f"{path}: a table is a .parquet or a .csv file. Write it as one of them.")
        parse = csv.ParseOptions(delimiter=CSV[suffix], newlines_in_values=True)
        with csv.open_csv(path, parse_options=parse) as reader:
            names = reader.schema.names
        if len(set(names)) < len(names):
            raise BadInputError(f"{path} has two columns of one name. Rename one of them.")
        convert = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=NULLS, strings_can_be_null=True
        )
        return csv.read_csv(path, parse_options=parse, convert_options=convert)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}. Name an existing file.") from error
    except pa.ArrowInvalid as error:
        raise BadInputError(
            f"{path} cannot be read: {visible(str(error))}. Export it again as .parquet or as .csv with a header."
        ) from error


def _label(path: Path, name: str, column: Any) -> tuple[Flags, str]:
    """Returns which rows are positive, and the positive value."""
    if column.null_count:
        raise BadInputError(
            f"{path}: {column.null_count:,} rows have no {name!r}. Rows without a label cannot be used: remove them."
        )
    code, values = encode(column.cast(pa.string()))
    counts = np.bincount(code, minlength=len(values))
    if len(values) != 2:
        raise BadInputError(
            f"{path}: {name!r} has {len(values)} values ({list_some(values)}), and a label has two. Name another column with "
            "--label, or write it as 0 and 1."
        )
    positive = _positive(values, counts)
    rare = int(counts.min())
    if rare < LEAST_OF_A_CLASS:
        raise BadInputError(
            f"{path}: only {rare} rows have {name!r} = {values[int(counts.argmin())]!r}; training and "
            f"testing need {LEAST_OF_A_CLASS}. Label more rows."
        )
    return np.asarray(code == positive, dtype=bool), values[positive]


def _positive(values: Sequence[str], counts: Integers) -> int:
    """Returns which of two values is positive: the larger number, a known word, otherwise the rarer one."""
    try:
        return int(float(values[1]) > float(values[0]))
    except ValueError:
        low = [word.strip().lower() for word in values]
    for index in (0, 1):
        if (
            (low[index] in POSITIVE or low[1 - index] in NEGATIVE)
            and low[1 - index] not in POSITIVE
            and low[index] not in NEGATIVE
        ):
            return index
    return int(counts.argmin())


def _ids(path: Path, name: str, column: Any) -> Any:
    if column.null_count:
        raise BadInputError(f"{path}: {column.null_count:,} rows have no {name!r}, which is the id. Give each row one.")
    ids = column.cast(pa.string()).combine_chunks()
    counted = pc.value_counts(ids)
    twice = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    if len(twice):
        raise BadInputError(
            f"{path}: {len(twice):,} ids are duplicated, such as {list_some(twice.slice(0, 3).to_pylist())}. Ids must "
            "be unique: name another column with --id, or remove the duplicates."
        )
    return ids


def _time(path: Path, name: str, column: Any) -> Floats:
    time = _number(column)
    time = _seconds(column) if time is None else time
    if time is None or not np.isfinite(time).all():
        raise BadInputError(
            f"{path}: {name!r} is null or neither a date nor a number in some rows. Correct it, or leave --time out."
        )
    return time


def _feature(path: Path, name: str, column: Any) -> Floats | Category:
    """Returns a column as numbers, or as a category."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return np.asarray(pc.list_value_length(column).cast(pa.float64()).to_numpy(), dtype=np.float64)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise BadInputError(
            f"{path}: the column {name!r} has the type {kind}, which is not supported. Leave it out: --drop {shorten(name)}."
        )
    number = _number(column)
    if number is not None:
        return number
    seconds = _seconds(column)
    if seconds is not None:
        return (np.nanmax(seconds) - seconds) / DAY
    code, values = encode(column)
    code[np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)] = -1
    return Category(code, tuple(values))


def _number(column: Any) -> Floats | None:
    """Returns a column as numbers in the range of float32, nan if null; None if it is not numeric."""
    kind = column.type
    if pa.types.is_temporal(kind):
        return None
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        trimmed = pc.utf8_trim_whitespace(column)
        try:
            column = trimmed.cast(pa.float64())
        except pa.ArrowInvalid:
            try:
                column = pc.utf8_lower(trimmed).cast(pa.bool_()).cast(pa.int8())
            except pa.ArrowInvalid:
                return None
    numbers = np.array(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    return np.clip(numbers, -LARGEST, LARGEST)


def _seconds(column: Any) -> Floats | None:
    """Returns a column of dates as seconds, nan if null; None if it is not a date."""
    if not pa.types.is_temporal(column.type):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return None
        try:
            column = column.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            try:
                column = column.cast(pa.timestamp("us", tz="UTC"))
            except pa.ArrowInvalid:
                return None
    if pa.types.is_time(column.type) or pa.types.is_duration(column.type):
        return None
    whole = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None))).cast(pa.int64())
    return np.asarray(whole.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64) / 1e6


def _words(column: Any) -> Any:
    """Returns a column as text in one chunk, empty if null."""
    return pc.fill_null(column.cast(pa.string()), "").combine_chunks()
