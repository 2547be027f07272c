"""Stems and word breaks, as SQL calls them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchstone.core.words import STEMMERS, register, segment_all, stem_all


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        register(opened)
        yield opened


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("counterfeit", "counterfeits", "counterfeited")),
        ("de", ("falschung", "falschungen")),
        ("pl", ("podrobka", "podrobki")),
        ("pt", ("falsificado", "falsificada", "falsificados")),
        ("ru", ("поддельныи", "поддельная", "поддельные")),
        ("tr", ("taklit", "taklitler")),
    ],
)
def test_forms_of_a_word_have_one_stem(
    connection: duckdb.DuckDBPyConnection, language: str, words: tuple[str, ...]
) -> None:
    stems = connection.execute("select word_stem(unnest(?), ?)", [list(words), language]).fetchall()
    assert len(set(stems)) == 1


def test_a_word_of_a_language_without_a_stemmer_is_its_own_stem(connection: duckdb.DuckDBPyConnection) -> None:
    query = (
        "select word_stem('fakes', 'xx'), word_stem('fakes', ''), word_stem('', 'en'), word_stem(null, 'en'), "
        "word_stem('fakes', null)"
    )
    assert connection.execute(query).fetchall() == [("fakes", "fakes", "", None, "fakes")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ได้ของปลอมมาค่ะ", ["ได้", "ของ", "ปลอม", "มา", "ค่ะ"]),
        ("ไม่ใช่ของแท้", ["ไม่ใช่", "ของ", "แท้"]),
        ("本物ではない", ["本物", "では", "ない"]),
        ("\U0001f600ของปลอม", ["\U0001f600", "ของ", "ปลอม"]),
        ("fake bag", ["fake", "bag"]),
        ("假货", ["假货"]),
        ("", [""]),
    ],
)
def test_words_of_scripts_without_spaces_are_separated(
    connection: duckdb.DuckDBPyConnection, text: str, words: list[str]
) -> None:
    assert connection.execute("select spaced_words(?)", [text]).fetchall() == [(" ".join(words),)]


@given(text=st.text(max_size=40))
def test_spaces_are_all_that_is_added(text: str) -> None:
    spaced = segment_all(pa.array([text], pa.string())).to_pylist()[0]
    assert spaced.replace(" ", "") == text.replace(" ", "")


@given(word=st.text(max_size=20), language=st.sampled_from(sorted(STEMMERS)))
def test_any_text_has_a_stem(word: str, language: str) -> None:
    assert isinstance(stem_all(pa.array([word], pa.string()), pa.array([language])).to_pylist()[0], str)


def test_a_second_connection_to_the_same_database_may_register_too(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "w.duckdb") as one, duckdb.connect(tmp_path / "w.duckdb") as other:
        register(one)
        register(other)
        assert other.execute("select word_stem('fakes', 'en')").fetchall() == [("fake",)]
