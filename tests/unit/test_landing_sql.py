"""User SQL, DuckDB's restricted access, and HMAC in SQL."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from pathlib import Path

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from touchstone.landing.allowed_sql import (
    columns_named,
    problem_with_expression,
    problem_with_pattern,
    problem_with_query,
    tables_named,
)
from touchstone.landing.sql import Hmac, Limits, connection_with, describe_error, file_list, lock, masking


@pytest.mark.parametrize(
    "sql",
    [
        "title",
        "lower(title) || 'x'",
        "case when a then 1 end -- why",
        "max(x) over (partition by y)",
        "(select count(*) from other)",
        "a = 1 and b in ('x', ';')",
    ],
)
def test_any_single_expression_is_accepted(sql: str) -> None:
    assert problem_with_expression(sql) is None


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "1; drop table listings",
        "1) from (select 2",
        "1) where (1 = 1",
        "1) union (select 2",
        "*",
        "columns('x')",
        "copy x to 'y'",
        "?",
        "$since",
        "title as other",
        "title order by 1",
    ],
)
def test_anything_but_a_single_expression_is_refused(sql: str) -> None:
    assert problem_with_expression(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1; select 2",
        "copy (select 1) to '/tmp/x'",
        "create table x as select 1",
        "insert into x values (1)",
        "delete from x",
        "set threads = 1",
        "attach 'x.db'",
        "pragma database_list",
        "install httpfs",
        "select ? from x",
        "selct 1",
    ],
)
def test_a_query_that_does_more_than_select_is_refused(sql: str) -> None:
    assert problem_with_query(sql)


def test_the_relations_of_a_query_exclude_its_ctes() -> None:
    sql = "with a as (select * from b) select * from a join c on true where exists (select 1 from d)"
    assert problem_with_query(sql) is None
    assert tables_named(sql) == {"b", "c", "d"}


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("select * from a join b using (id)", {"a", "b"}),
        ("select * from a natural join b", {"a", "b"}),
        ("with a as (select * from a join b using (id)) select * from a semi join c using (id)", {"a", "b", "c"}),
        ("with recursive r as (select 1 as n union all select n + 1 from r join s using (n)) from r", {"s"}),
        ("select * from a where x in (with b as (select 1 as x) select x from b join c using (x))", {"a", "c"}),
    ],
)
def test_relations_in_joins_by_name_are_found(sql: str, read: set[str]) -> None:
    assert tables_named(sql) == read


@settings(max_examples=25)
@example(key=b"k", text="\u00a0 \u3000")
@given(
    key=st.binary(min_size=1, max_size=100),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80),
)
def test_hmac_in_sql_equals_the_standard_library(key: bytes, text: str) -> None:
    made = Hmac(key)
    with duckdb.connect(":memory:") as connection:
        found = connection.execute(f"select {made.sql('$text')}", {**made.parameters, "text": text}).fetchall()[0][0]
    is_blank = all(unicodedata.category(character) == "Zs" for character in text)  # what DuckDB's trim removes
    assert found == (None if is_blank else hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32])


def test_hmac_of_null_is_null_and_an_empty_key_is_refused() -> None:
    made = Hmac(b"key")
    with duckdb.connect(":memory:") as connection:
        found = connection.execute(f"select {made.sql('null::varchar')}", made.parameters).fetchall()
    assert found == [(None,)]
    with pytest.raises(ValueError, match="empty"):
        Hmac(b"")


def test_two_keys_have_different_ids_that_do_not_show_the_key() -> None:
    one, other = Hmac(b"secret one"), Hmac(b"secret two")
    assert one.key_id != other.key_id
    assert "secret" not in one.key_id + one.sql("x")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('{outside}/secret.txt')",
        "select * from read_csv('{outside}/secret.txt')",
        "select * from '{folder}/../secret.txt'",
        "copy (select 1) to '{outside}/written.csv'",
        "attach '{outside}/new.db' as other",
        "set enable_external_access = true",
        "set memory_limit = '1TB'",
        "install httpfs",
        "load httpfs",
    ],
)
def test_duckdb_accesses_only_the_inputs_and_its_folder(sql: str, tmp_path: Path) -> None:
    outside, folder = tmp_path, tmp_path / "work"
    folder.mkdir()
    (outside / "secret.txt").write_text("secret\n1\n")
    with connection_with(Limits(), folder) as connection, pytest.raises(duckdb.Error):
        lock(connection, [], folder)
        connection.execute(sql.format(outside=outside, folder=folder))
    assert not (outside / "written.csv").exists()


def test_duckdb_reads_an_input_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    folder, odd = tmp_path / "work", tmp_path / "it's [1].csv"
    folder.mkdir()
    odd.write_text("a\n7\n")
    with connection_with(Limits(), folder) as connection:
        lock(connection, [odd], folder)
        assert connection.execute(f"select * from read_csv({file_list([odd])})").fetchall() == [(7,)]


@pytest.mark.parametrize(
    "sql",
    [
        "select cast('+86 1390' || x as integer)",
        "select error('+86 1390' || x)",
        "select strptime('+86 1390' || x, '%Y')",
        "select json_extract('{1390' || x, '$.a')",
    ],
)
def test_an_error_contains_no_values(sql: str) -> None:
    with duckdb.connect(":memory:") as connection, pytest.raises(duckdb.Error) as failed:
        connection.execute(f"{sql} from (select 'abc' || range as x from range(5))").fetchall()
    assert "1390" in str(failed.value)
    assert "1390" not in describe_error(failed.value)
    assert "abc" not in describe_error(failed.value)


def test_an_error_in_the_sql_itself_is_reported() -> None:
    with duckdb.connect(":memory:") as connection, pytest.raises(duckdb.Error) as failed:
        connection.execute("select titel from (select 1 as title)")
    assert "titel" in describe_error(failed.value)


def test_a_database_that_was_attached_before_the_lock_stays_readable(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as shop:
        shop.execute("create table items as select 7 as item")
    with connection_with(Limits(), work) as connection:
        connection.execute(f"attach '{tmp_path}/shop.duckdb' as shop (read_only)")
        lock(connection, [], work)
        assert connection.execute("select item from shop.items").fetchall() == [(7,)]


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("updated_at", {"updated_at"}),
        ('"Updated At"', {"updated at"}),
        ("greatest(a, B::timestamp, try_cast(t.c as date))", {"a", "b", "c"}),
        ("timestamp '2026-01-01'", set()),
    ],
)
def test_the_columns_of_an_expression_are_found(expression: str, columns: set[str]) -> None:
    assert columns_named(expression) == columns


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Rolex - Explorer II [Replica]", "Rolex Explorer II"),
        ("Rolex, REPLICA, gold 1.5mm", "Rolex gold 1.5mm"),
        ("A rep\u200blica\u00a0watch 【1:1】 for $20", "A watch for $20"),
        ("x 1 (:) 1 y", "x y"),
        ("手表高仿", "手表"),
        ("Café & Co. — T-shirt (red)", "Café Co T-shirt red"),
        ("[Replica]", None),
        (None, None),
    ],
)
def test_masked_words_are_removed_without_a_trace(text: str | None, masked: str | None) -> None:
    expression = masking("given", [r"replicas?", r"\b1\s*:?\s+1\b|1:1", "高仿"])
    assert duckdb.execute(f"select {expression} from (select $1::varchar as given)", [text]).fetchone() == (masked,)


@pytest.mark.parametrize(("pattern", "message"), [("(", "missing )"), ("a*", "everywhere"), ("", "everywhere")])
def test_an_invalid_masking_pattern_is_reported(pattern: str, message: str) -> None:
    assert message in str(problem_with_pattern(pattern))
    assert problem_with_pattern("it's|b+") is None
