"""A user's own table: the types inferred for its columns, and the errors for invalid ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from ml.labelled_table import Category, Roles, Table, read_edges, read_splits, read_table
from touchstone.core.errors import BadInputError

ROWS = 24
LABEL = [1, 0] * (ROWS // 2)
IDS = [f"r{at}" for at in range(ROWS)]
ROLES = Roles(label="y", id="id")


def written(folder: Path, columns: dict[str, Any], name: str = "table.parquet") -> Path:
    path = folder / name
    content = pa.table(columns)
    if path.suffix == ".csv":
        pc.write_csv(content, path)
    else:
        pq.write_table(content, path)
    return path


def table_of(folder: Path, roles: Roles = ROLES, name: str = "table.parquet", **columns: Any) -> Table:
    return read_table(written(folder, {"id": IDS, "y": LABEL, **columns}, name), roles)


def refusal(folder: Path, roles: Roles = ROLES, **columns: Any) -> str:
    with pytest.raises(BadInputError) as refused:
        table_of(folder, roles, **columns)
    return str(refused.value)


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_numbers_dates_booleans_and_categories_are_read_from_parquet_and_csv(tmp_path: Path, name: str) -> None:
    table = table_of(
        tmp_path,
        name=name,
        whole=list(range(ROWS)),
        broken=[None if at % 5 == 0 else at / 8 for at in range(ROWS)],
        late=[0] * (ROWS - 1) + [2.5],
        truth=[at % 3 == 0 for at in range(ROWS)],
        day=[date(2024, 1, 1 + at) for at in range(ROWS)],
        moment=[datetime(2024, 1, 1, at, tzinfo=UTC) for at in range(ROWS)],
        word=["one", "two", None] * (ROWS // 3),
    )
    assert table.names == ("whole", "broken", "late", "truth", "day", "moment")
    by_name = dict(zip(table.names, table.numbers.T, strict=True))
    assert by_name["whole"].tolist() == list(range(ROWS))
    assert np.isnan(by_name["broken"][::5]).all()
    assert by_name["broken"][1] == 0.125
    assert by_name["late"][-1] == 2.5
    assert by_name["truth"][:4].tolist() == [1, 0, 0, 1]
    assert by_name["day"][:2].tolist() == [ROWS - 1, ROWS - 2]
    assert by_name["moment"][0] == pytest.approx((ROWS - 1) / 24)
    assert table.categories["word"].values[:2] == ("one", "two")
    assert table.categories["word"].code[:3].tolist() == [0, 1, -1]


def test_lists_become_their_length(tmp_path: Path) -> None:
    table = table_of(tmp_path, tags=[["a"] * (at % 4) for at in range(ROWS)])
    assert table.numbers[:4, 0].tolist() == [0, 1, 2, 3]


def test_values_beyond_float32_are_clipped(tmp_path: Path) -> None:
    table = table_of(tmp_path, far=[1e300, -np.inf] * (ROWS // 2))
    assert np.isfinite(table.numbers).all()


@pytest.mark.parametrize(
    ("words", "positive"),
    [
        ((0, 1), "1"), ((-1, 1), "1"), ((1, 2), "2"), ((False, True), "true"), (("legit", "fraud"), "fraud"),
        (("genuine", "odd"), "odd"), (("Fake", "Original"), "Fake"),
    ],
)  # fmt: skip
def test_the_positive_value_is_recognised(tmp_path: Path, words: tuple[Any, Any], positive: str) -> None:
    table = table_of(tmp_path, y=[words[at % 2] for at in range(ROWS)], x=list(range(ROWS)))
    assert table.positive == positive
    assert int(table.label.sum()) == ROWS // 2


def test_the_rarer_of_two_unknown_label_values_is_positive(tmp_path: Path) -> None:
    table = table_of(tmp_path, y=["a"] * 10 + ["b"] * 14, x=list(range(ROWS)))
    assert (table.positive, int(table.label.sum())) == ("a", 10)


def test_ids_groups_times_texts_and_splits_are_not_features(tmp_path: Path) -> None:
    columns = {
        "x": list(range(ROWS)), "shop": ["a", "b"] * 12, "when": [date(2024, 1, 1)] * ROWS, "body": ["word"] * ROWS,
        "part": ["train", "test"] * 12, "gone": [1] * ROWS,
    }  # fmt: skip
    roles = Roles("y", "id", "shop", "when", "part", ("body",), None, ("gone",))
    table = table_of(tmp_path, roles, **columns)
    assert (table.names, dict(table.categories)) == (("x",), {})
    assert table.group is not None
    assert table.group[:3].tolist() == [0, 1, 0]
    assert table.split is not None
    assert table.split[:2] == ("train", "test")
    named = table_of(tmp_path, Roles("y", "id", group="shop", features=("shop", "x")), **columns)
    assert (named.names, list(named.categories)) == (("x",), ["shop"])


BAD: Sequence[tuple[str, Roles, dict[str, Any], str]] = [
    ("no such label", Roles("z", "id"), {"x": [1] * ROWS}, "has no column 'z', which --label names"),
    ("no such id", Roles("y", "no"), {"x": [1] * ROWS}, "has no column 'no', which --id names"),
    ("no such feature", Roles("y", features=("no",)), {"x": [1] * ROWS}, "--features names"),
    ("no such text", Roles("y", texts=("no",)), {"x": [1] * ROWS}, "--text names"),
    ("one class", ROLES, {"y": [1] * ROWS, "x": [1] * ROWS}, "'y' has 1 values (1), and a label has two"),
    ("many classes", ROLES, {"y": [0, 1, 2] * 8, "x": [1] * ROWS}, "'y' has 3 values"),
    ("a class of three", ROLES, {"y": [1] * 3 + [0] * 21, "x": [1] * ROWS}, "only 3 rows have 'y' = '1'"),
    ("a label that is null", ROLES, {"y": [None, *LABEL[1:]], "x": [1] * ROWS}, "1 rows have no 'y'"),
    ("all null", ROLES, {"x": pa.array([None] * ROWS, pa.int64())}, "'x' is null in every row. Leave it out: --drop x"),
    ("all null without a type", ROLES, {"x": pa.nulls(ROWS)}, "null in every row"),
    ("duplicate ids", ROLES, {"id": ["a", *IDS[1:-1], "a"], "x": [1] * ROWS}, "1 ids are duplicated, such as a"),
    ("an id that is null", ROLES, {"id": [None, *IDS[1:]], "x": [1] * ROWS}, "1 rows have no 'id'"),
    ("no feature", ROLES, {}, "no column left that could be a feature"),
    ("a struct", ROLES, {"x": [{"a": 1}] * ROWS}, "which is not supported. Leave it out: --drop x"),
    ("bytes", ROLES, {"x": [b"a"] * ROWS}, "which is not supported. Leave it out: --drop x"),
    ("a label that is a feature", Roles("y", "id", features=("y",)), {"x": [1] * ROWS}, "--features names 'y'"),
    ("a time as text", Roles("y", time="x"), {"x": ["soon"] * ROWS, "z": [1] * ROWS}, "neither a date nor a number"),
]  # fmt: skip


@pytest.mark.parametrize(("roles", "columns", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_an_invalid_table_is_refused(tmp_path: Path, roles: Roles, columns: dict[str, Any], message: str) -> None:
    assert message in refusal(tmp_path, roles, **columns)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.csv", None, "cannot be read"),
        ("a.xlsx", b"PK", "a table is a .parquet or a .csv file"),
        ("a.parquet", b"no parquet", "cannot be read"),
        ("ragged.csv", b"id,y,x\na,1,2\nb,0\n", "cannot be read"),
        ("twice.csv", b"id,y,y\na,1,2\n", "two columns of one name"),
        ("empty.csv", b"", "cannot be read"),
        ("headless.csv", b"id,y,x\n", "has no rows"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        read_table(path, ROLES)


def test_splits_are_ordered_like_the_table(tmp_path: Path) -> None:
    table = table_of(tmp_path, x=list(range(ROWS)))
    sides = ["test" if at % 4 == 0 else "train" for at in range(ROWS)]
    path = written(tmp_path, {"id": IDS[::-1], "first": sides[::-1]}, "splits.csv")
    assert read_splits(path, table, "id") == {"first": tuple(sides)}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": IDS[:-2], "first": ["train"] * (ROWS - 2)}, "lacks 2 rows of the table, such as r22, r23"),
        ({"key": IDS, "first": ["train"] * ROWS}, "has no column 'id', which is the table's id"),
        ({"id": IDS}, "has the ids alone"),
        ({"id": [*IDS[:-1], "r0"], "first": ["train"] * ROWS}, "1 ids are duplicated"),
    ],
)
def test_invalid_splits_are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    table = table_of(tmp_path, x=list(range(ROWS)))
    with pytest.raises(BadInputError, match=message):
        read_splits(written(tmp_path, columns, "splits.parquet"), table, "id")


def test_edge_ends_outside_the_table_are_numbered_after_its_rows(tmp_path: Path) -> None:
    table = table_of(tmp_path, x=list(range(ROWS)))
    path = written(
        tmp_path,
        {"src": ["r0", "user", "user", "r3", "else"], "dst": ["r1", "r2", "r3", "shop", "where"], "type": [*"aabbb"]},
        "edges.csv",
    )
    edges, nowhere = read_edges(path, table)
    assert nowhere == 1
    assert list(edges) == ["a", "b"]
    assert (edges["a"].first.tolist(), edges["a"].second.tolist()) == ([0, ROWS], [1, 2])
    assert (edges["b"].first.tolist(), edges["b"].second.tolist()) == ([ROWS, 3], [3, ROWS + 2])
    assert edges["a"].weight.tolist() == [1.0, 1.0]


def test_numeric_ids_may_be_edge_ends(tmp_path: Path) -> None:
    table = table_of(tmp_path, id=list(range(ROWS)), x=list(range(ROWS)))
    edges, _ = read_edges(written(tmp_path, {"src": ["0"], "dst": ["5"], "weight": [2]}, "edges.csv"), table)
    assert (edges["edges"].first.tolist(), edges["edges"].second.tolist(), edges["edges"].weight.tolist()) == (
        [0],
        [5],
        [2.0],
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"from": ["r0"], "dst": ["r1"]}, "has no column 'src'"),
        ({"src": ["r0", None], "dst": ["r1", "r2"]}, "1 edges have no src"),
        ({"src": ["a", "b"], "dst": ["c", "d"]}, "no edge has an end that is an id of the table"),
        ({"src": ["r0"], "dst": ["r1"], "weight": [-1.0]}, "a weight is null or no number above 0"),
        ({"src": ["r0"], "dst": ["r1"], "weight": ["much"]}, "a weight is null or no number above 0"),
        (
            {"src": ["r0"] * 17, "dst": ["r1"] * 17, "type": [*"abcdefghijklmnopq"]},
            "17 types of edges; 16 are the most",
        ),
    ],
)
def test_invalid_edges_are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    table = table_of(tmp_path, x=list(range(ROWS)))
    with pytest.raises(BadInputError, match=message):
        read_edges(written(tmp_path, columns, "edges.parquet"), table)


def test_a_category_distinguishes_null_from_the_empty_string(tmp_path: Path) -> None:
    table = table_of(tmp_path, word=["", "a", None] * 8)
    column = table.categories["word"]
    assert isinstance(column, Category)
    assert column.code[2] == -1
    assert column.values[column.code[0]] == ""
