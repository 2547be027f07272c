"""A labelled table of somebody's own, and what goes with it, as numbers: Parquet or CSV in, columns and edges out.

Here is how a file is read and what its columns are taken for: numbers as they are, dates as ages, lists as counts, words as
categories, text where it is named. What is learned of a column (a category's share of positives, how rare a word is) is learned
in `blend`, of training rows alone. Whatever is wrong with a file is told as what, where and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

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
    """A column of words.

    Attributes:
        code: The number of each row's word, -1 where null, shape (n,).
        words: The words, by number.
    """

    code: Integers
    words: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A labelled table, n rows in the order of its file.

    Attributes:
        label: Whether each row is a positive.
        positive: The word or number that says so in the file.
        numbers: Numbers, ages in days and counts, shape (n, d), nan where null.
        names: What each of them is.
        categories: Columns of words, by name.
        texts: Columns of text, by name; empty where null.
        ids: The rows' ids as text; None where no column is named.
        group: A number for each row's group; None where no column is named.
        time: Each row's time, as a number that grows with it; None where no column is named.
        split: What the split column says of each row; None where no column is named.
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
    """Which column of a table is what; columns that have no role here are features.

    Attributes:
        label: The label.
        id: Names the rows; never a feature.
        group: Rows of one group stay on one side of a split; no feature unless named as one.
        time: When a row was; likewise.
        split: Says train, validation or test of each row; never a feature.
        texts: Texts.
        features: The columns that are features; None for all that have no other role.
        drop: Columns that are left out.
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
        """Raises BadInputError where a named column is not there, or has two roles that exclude each other."""
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
                        f"{option} names {name!r}, which is the label, the id or the split and says nothing of a row. Leave "
                        f"it out of {option}."
                    )

    def feature_columns(self, names: Sequence[str]) -> list[str]:
        """Returns the columns that are features and no texts, in the file's order."""
        apart = {self.label, self.id, self.group, self.time, self.split}
        chosen = names if self.features is None else [name for name in names if name in self.features]
        of_none = set() if self.features is not None else apart
        return [name for name in chosen if name not in of_none and name not in self.drop and name not in self.texts]


def read_table(path: Path, roles: Roles) -> Table:
    """Reads a labelled table.

    Args:
        path: A Parquet or CSV file.
        roles: Which column is what.

    Raises:
        BadInputError: The file cannot be read, lacks a column, has a label that is none, ids that are there twice, or a feature
            that is null in every row or of a type that is no feature.
    """
    import pyarrow as pa

    content = _read(path)
    names = content.column_names
    roles.check(path, names)
    if not content.num_rows:
        raise BadInputError(f"{path} has no rows.")
    label, positive = _label(path, roles.label, content[roles.label])
    numbers = np.empty((len(roles.feature_columns(names)), len(label)), dtype=np.float32)
    told: list[str] = []
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
            numbers[len(told)] = value
            told.append(name)
    if not (told or categories or roles.texts):
        raise BadInputError(
            f"{path} has no column left that could be a feature. Name some: --features a,b, or --text COLUMN."
        )
    return Table(
        label=label,
        positive=positive,
        numbers=np.ascontiguousarray(numbers[: len(told)].T),
        names=tuple(told),
        categories=categories,
        texts={name: tuple(_words(content[name]).to_pylist()) for name in roles.texts},
        ids=None if roles.id is None else _ids(path, roles.id, content[roles.id]),
        group=None if roles.group is None else encode(content[roles.group])[0],
        time=None if roles.time is None else _time(path, roles.time, content[roles.time]),
        split=None if roles.split is None else tuple(_words(content[roles.split].cast(pa.string())).to_pylist()),
    )


def read_splits(path: Path, table: Table, id_column: str) -> dict[str, tuple[str, ...]]:
    """Reads a table of splits: the id, and a column a split that says train, validation or test.

    Returns:
        What each split says of each row of the table, in the table's order, by the split's name.

    Raises:
        BadInputError: The file has no id column or no other, names an id twice, or lacks a row of the table.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

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
            f"{path} says nothing of {len(lacking):,} rows of the table, such as {list_some(lacking.slice(0, 3).to_pylist())}. "
            "Add them, or take them out of the table."
        )
    return {name: tuple(_words(content[name].cast(pa.string())).take(place).to_pylist()) for name in others}


def read_edges(path: Path, table: Table) -> tuple[dict[str, Edges], int]:
    """Reads edges between the rows of a table, or between rows and what they share.

    Args:
        path: Columns src and dst, and, if there are, weight and type; undirected, each stored once.
        table: The rows; its ids are the ends.

    Returns:
        The edges by type, all of one type `edges` where the file has none; and how many lead nowhere, for neither end is a row.

    Raises:
        BadInputError: A column is missing, an end is null, a weight is no number above 0, there are more than 16 types, or no
            edge has an end that is a row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

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
        told = _number(content["weight"])
        if told is None or not (np.isfinite(told) & (told > 0)).all():
            raise BadInputError(f"{path}: a weight is null or no number above 0. Correct it, or leave the column out.")
        weight = told
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
        for at, name in sorted(enumerate(kinds), key=lambda told: told[1])
        if (chosen := (kind == at) & ~nowhere).any()
    }, int(nowhere.sum())


def _numbers(place: Any, other: Any, rows: int) -> Integers:
    """The number of each end: of a row its place, of what is no row a number from the number of rows on."""
    import pyarrow as pa
    import pyarrow.compute as pc

    beyond = pc.add(other.cast(pa.int64()), rows)
    return np.asarray(pc.coalesce(place.cast(pa.int64()), beyond).to_numpy(zero_copy_only=False), dtype=np.int64)


def _read(path: Path) -> Any:
    """Returns a file as an Arrow table; of a CSV file all columns are text."""
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    suffix = path.suffix.lower()
    try:
        check_regular(path)
        if suffix in PARQUET:
            return pq.read_table(path, partitioning=None)
        if suffix not in CSV:
            raise BadInputError(f"{path}: a table is a .parquet or a .csv file. Write it as one of them.")
        parse = pc.ParseOptions(delimiter=CSV[suffix], newlines_in_values=True)
        with pc.open_csv(path, parse_options=parse) as reader:
            names = reader.schema.names
        if len(set(names)) < len(names):
            raise BadInputError(f"{path} has two columns of one name. Rename one of them.")
        convert = pc.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=NULLS, strings_can_be_null=True
        )
        return pc.read_csv(path, parse_options=parse, convert_options=convert)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}. Name an existing file.") from error
    except pa.ArrowInvalid as error:
        raise BadInputError(
            f"{path} cannot be read: {visible(str(error))}. Export it again as .parquet or as .csv with a header."
        ) from error


def _label(path: Path, name: str, column: Any) -> tuple[Flags, str]:
    """Returns who is a positive, and the word for it."""
    import pyarrow as pa

    if column.null_count:
        raise BadInputError(
            f"{path}: {column.null_count:,} rows have no {name!r}. A row without a label can neither teach nor test: take it out."
        )
    code, words = encode(column.cast(pa.string()))
    counts = np.bincount(code, minlength=len(words))
    if len(words) != 2:
        raise BadInputError(
            f"{path}: {name!r} has {len(words)} values ({list_some(words)}), and a label has two. Name another column with "
            "--label, or write it as 0 and 1."
        )
    positive = _positive(words, counts)
    rare = int(counts.min())
    if rare < LEAST_OF_A_CLASS:
        raise BadInputError(
            f"{path}: only {rare} rows have {name!r} = {words[int(counts.argmin())]!r}; it takes {LEAST_OF_A_CLASS} to learn "
            "from some and test on others. Label more rows."
        )
    return np.asarray(code == positive, dtype=bool), words[positive]


def _positive(words: Sequence[str], counts: Integers) -> int:
    """Which of two words says positive: the larger number, the known one, else the rarer."""
    try:
        return int(float(words[1]) > float(words[0]))
    except ValueError:
        low = [word.strip().lower() for word in words]
    for at in (0, 1):
        if (low[at] in POSITIVE or low[1 - at] in NEGATIVE) and low[1 - at] not in POSITIVE and low[at] not in NEGATIVE:
            return at
    return int(counts.argmin())


def _ids(path: Path, name: str, column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        raise BadInputError(f"{path}: {column.null_count:,} rows have no {name!r}, which is the id. Give each row one.")
    ids = column.cast(pa.string()).combine_chunks()
    counted = pc.value_counts(ids)
    twice = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    if len(twice):
        raise BadInputError(
            f"{path}: {len(twice):,} ids are there more than once, such as {list_some(twice.slice(0, 3).to_pylist())}. An id "
            "names one row: name another column with --id, or take the repeated rows out."
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
    """Returns a column as numbers, or as words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return np.asarray(pc.list_value_length(column).cast(pa.float64()).to_numpy(), dtype=np.float64)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise BadInputError(
            f"{path}: the column {name!r} is of the type {kind}, which is no feature. Leave it out: --drop {shorten(name)}."
        )
    number = _number(column)
    if number is not None:
        return number
    seconds = _seconds(column)
    if seconds is not None:
        return (np.nanmax(seconds) - seconds) / DAY
    code, words = encode(column)
    code[np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)] = -1
    return Category(code, tuple(words))


def _number(column: Any) -> Floats | None:
    """Returns a column as numbers, nan where null, within what 32 bits hold; None where it is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

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
    """Returns a column of dates as seconds, nan where null; None where it is none."""
    import pyarrow as pa

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
    """Returns a column as text in one piece, empty where null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(column.cast(pa.string()), "").combine_chunks()
