"""A marketplace's own columns: their declaration, their features, and their values as SQL."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ml.declarations import load_declarations
from ml.extra import EXTRA_PREFIXES, PLACES, ExtraColumn, extra_features, is_extra, read_extra, with_extra
from ml.reason_text import describe_feature
from ml.starter import EXTRA_POINTS, read_scorecard
from touchstone.landing.extra import extra_values


def column(**changes: Any) -> ExtraColumn:
    return ExtraColumn.model_validate({"signal": "order", "controlled_by": "third_party", **changes})


def features(rates: str, table: str, **columns: ExtraColumn) -> dict[str, Any]:
    return {one.feature.name: one.feature for one in extra_features(rates, {table: columns})}


def test_no_feature_of_the_models_has_a_name_like_theirs() -> None:
    assert not [feature for one in load_declarations().values() for feature in one.features if is_extra(feature)]


@pytest.mark.parametrize(
    ("rates", "table", "name", "value", "sentence"),
    [
        ("listings", "listing_snapshots", "extra_disputes", 3.0, "Orders: parcels disputed: 3"),
        ("listings", "merchant_snapshots", "merchant_extra_disputes", 3.0, "Orders: of the merchant: parcels disputed: 3"),
        ("merchants", "merchant_snapshots", "extra_disputes", 3.0, "Orders: parcels disputed: 3"),
        (
            "merchants", "listing_snapshots", "listing_extra_disputes", 0.5,
            "Orders: on average over its listings, parcels disputed: 0.5",
        ),
    ],
)  # fmt: skip
def test_a_column_is_a_feature_of_both_models(rates: str, table: str, name: str, value: float, sentence: str) -> None:
    found = features(rates, table, disputes=column(words="parcels disputed: {value}", direction="high"))
    assert list(found) == [name]
    assert found[name].monotone == 1
    assert found[name].bounds == (-math.inf, math.inf)
    assert describe_feature(found[name], value, math.nan) == sentence


def test_a_boolean_reads_as_a_sentence_and_as_a_share_of_listings() -> None:
    promoted = column(type="boolean", words="it {is|is not} promoted", direction="low")
    own = features("listings", "listing_snapshots", promoted=promoted)["extra_promoted"]
    mean = features("merchants", "listing_snapshots", promoted=promoted)["listing_extra_promoted"]
    assert describe_feature(own, 0.0, 1.0) == "Orders: it is not promoted (typical: is)"
    assert describe_feature(mean, 0.25, math.nan) == "Orders: 25 % of its listings: it is promoted"
    assert mean.bounds == (0.0, 1.0)


def test_a_boolean_may_be_worded_as_a_value() -> None:
    mean = features("merchants", "listing_snapshots", a=column(type="boolean", words="promoted: {value}"))[
        "listing_extra_a"
    ]
    assert describe_feature(mean, 0.25, math.nan) == "Orders: 25 % of its listings: promoted: yes"


def test_each_value_of_a_category_is_a_feature() -> None:
    found = features(
        "listings",
        "listing_snapshots",
        by=column(type="category", values=["Продавец", "us {EU}"], words="sent by {value}"),
    )
    assert list(found) == ["extra_by_prodavets", "extra_by_us_eu"]
    assert describe_feature(found["extra_by_us_eu"], 1.0, math.nan) == "Orders: sent by us EU"
    assert describe_feature(found["extra_by_prodavets"], 0.0, math.nan) == "Orders: sent by not Продавец"


def test_readers_are_those_of_the_signal_unless_declared() -> None:
    assert features("listings", "listing_snapshots", a=column())["extra_a"].audiences == ("authority", "merchant")
    assert features("listings", "listing_snapshots", a=column(audiences=["internal"]))["extra_a"].audiences == ()


def test_declarations_take_the_features_and_the_starter_those_with_a_direction() -> None:
    extra = {"listing_snapshots": {"a": column(direction="low"), "b": column()}}
    found = with_extra(load_declarations(), extra)
    assert found["listing_counterfeit"].columns[-2:] == ("extra_a", "extra_b")
    assert found["merchant_counterfeit"].columns[-2:] == ("listing_extra_a", "listing_extra_b")
    assert found["review_brushing"] == load_declarations()["review_brushing"]
    own = [one for one in read_scorecard(found["listing_counterfeit"]) if one.feature.startswith(EXTRA_PREFIXES)]
    assert [(one.feature, one.direction, one.points) for one in own] == [("extra_a", -1, EXTRA_POINTS)]


def test_declarations_survive_being_recorded() -> None:
    extra = {"merchant_snapshots": {"by": column(type="category", values=["a", "b"])}}
    recorded = {
        table: {name: one.model_dump(mode="json") for name, one in columns.items()} for table, columns in extra.items()
    }
    assert read_extra(recorded) == extra


@pytest.mark.parametrize(
    "changes",
    [
        {"signal": "smell"},
        {"controlled_by": "nobody"},
        {"direction": "up"},
        {"type": "text"},
        {"words": "{value} of {times}"},
        {"words": "{unknown}"},
        {"words": "{value} }"},
        {"audiences": ["everybody"]},
        {"type": "category"},
        {"values": ["a"]},
        {"type": "category", "values": ["a"], "direction": "high"},
        {"type": "category", "values": ["a b", "a-b"]},
        {"type": "category", "values": ["+"]},
        {"type": "boolean", "unit": "days"},
        {"colour": "red"},
    ],
)
def test_a_wrong_declaration_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        column(**changes)


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@given(
    st.lists(
        st.tuples(NUMBERS, st.one_of(st.none(), st.booleans()), st.sampled_from(["x", "y'", None])),
        min_size=1,
        max_size=8,
    )
)
def test_values_are_numbers_by_name(rows: list[tuple[float | None, bool | None, str | None]]) -> None:
    extra = {
        "n": column(),
        "b": column(type="boolean"),
        "c": column(type="category", values=["x", "y'"]),
        "absent": column(),
    }
    with duckdb.connect(":memory:") as connection:
        connection.execute("create table load (n double, b boolean, c varchar)")
        connection.executemany("insert into load values (?, ?, ?)", rows)
        found = connection.execute(f"select {extra_values(extra, {'n', 'b', 'c'})} from load").fetchall()
    for (n, b, c), (values,) in zip(rows, found, strict=True):
        assert values == {
            "n": n,
            "b": None if b is None else float(b),
            "c_x": None if c is None else float(c == "x"),
            "c_y": None if c is None else float(c == "y'"),
            "absent": None,
        }


def test_infinite_values_are_unknown() -> None:
    query = (
        f"select {extra_values({'n': column()}, {'n'})} from (values ('inf'::double), ('nan'::double), (1)) as load (n)"
    )
    assert duckdb.execute(query).fetchall() == [({"n": None},), ({"n": None},), ({"n": 1.0},)]


def test_without_columns_there_are_no_values() -> None:
    assert duckdb.execute(f"select {extra_values({}, ())}").fetchall() == [(None,)]


def test_a_value_of_another_type_in_an_earlier_load_is_unknown() -> None:
    query = f"select {extra_values({'n': column()}, {'n'})} from (values ('seven'), ('7')) as load (n)"
    assert duckdb.execute(query).fetchall() == [({"n": None},), ({"n": 7.0},)]


def test_the_feature_tables_have_the_columns_that_hold_them() -> None:
    folder = Path(__file__).parents[2] / "dbt_project" / "models" / "features"
    for relation, places in (("listing", PLACES["listings"]), ("merchant", PLACES["merchants"])):
        text = (folder / f"{relation}_features.sql").read_text()
        assert all(f"as {place}" in text or f".{place}" in text for place in places.values())
