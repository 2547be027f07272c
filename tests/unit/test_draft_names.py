"""How names of tables and columns are compared with the contract's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.contract import load_contract
from touchstone.landing.draft.names import Vocabulary, vocabulary


@pytest.mark.parametrize(
    ("name", "concepts"),
    [
        ("OrderID", ["order", "id"]),
        ("orderid", ["order", "id"]),
        ("Bestellnummer", ["order", "id"]),
        ("Händlernummer", ["merchant", "id"]),
        ("HAENDLER_NR", ["merchant", "id"]),
        ("descrição", ["description"]),
        ("ИД продавца", ["id", "merchant"]),
        ("tovary", ["listing"]),
        ("商品名称", ["listing", "name"]),
        ("ctgry", ["category"]),
        ("dim_vendor", ["merchant"]),
    ],
)
def test_words_of_a_name_have_their_concepts(name: str, concepts: list[str]) -> None:
    words = vocabulary().words(name)
    assert len(words) == len(concepts)
    assert all(concept in word.concepts for word, concept in zip(words, concepts, strict=True)), words


def test_an_unknown_word_has_no_concept() -> None:
    assert [word.concepts for word in vocabulary().words("zqxwv")] == [{}]


def test_every_contract_column_and_table_has_a_name_that_matches_best() -> None:
    names = Vocabulary()
    for table, definition in load_contract().tables.items():
        assert names.table_score(table, table) > 0, f"{table} is missing from vocabulary.yml"
        for column in definition.columns:
            assert names.column_score(column, table, column) == 1, f"{table}.{column}"


@given(st.text(max_size=40))
def test_scores_are_shares_for_any_name(name: str) -> None:
    names = vocabulary()
    assert 0 <= names.table_score(name, "merchants") <= 1
    assert -0.1 <= names.column_score(name, "listings", "title") <= 1


@given(st.sampled_from(["merchant_id", "listed_at", "parcel_weight_g", "refund_reason"]), st.sampled_from("_ -."))
def test_case_and_separators_do_not_matter(column: str, separator: str) -> None:
    table = next(t for t, d in load_contract().tables.items() if column in d.columns)
    variants = (separator.join(column.split("_")), column.upper(), column.title().replace("_", ""))
    assert len({vocabulary().column_score(name, table, column) for name in variants if name.lower() != column}) == 1


@pytest.mark.parametrize(
    ("value", "allowed", "meaning"),
    [
        ("Gebraucht", ("new", "used"), "used"),
        ("new", ("new", "used"), "new"),
        ("контрафакт", ("fake", "genuine"), "fake"),
        ("wibble", ("fake", "genuine"), None),
        ("", ("fake", "genuine"), None),
    ],
)
def test_codes_have_meanings(value: str, allowed: tuple[str, ...], meaning: str | None) -> None:
    assert vocabulary().meaning(value, allowed) == meaning
