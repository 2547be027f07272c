"""The coverage of signals: what features need, what is provided, and the sentences about both."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pytest

from expectations.contract import load_contract
from ml.coverage import (
    ALTERNATIVES,
    active_coverage,
    describe_signal,
    measured_features,
    missing_inputs,
    predicted_features,
    read_feature_inputs,
    signal_coverage,
)
from ml.declarations import SIGNALS, Declaration, Feature, load_declarations
from ml.extra import ExtraColumn
from touchstone.casework.coverage import (
    coverage_markdown,
    coverage_rows,
    predicted_coverage,
    read_coverage,
    render_coverage,
)
from touchstone.core.home import Home

INPUTS = {
    "model": {
        "price_base": (),
        "price_msrp_ratio": ("brand_products.msrp", "listings.price | listing_prices"),
        "complaint_share": ("reviews.text",),
        "same_share": (),
    }
}
COVERAGE = {
    "as_of": "2026-06-30",
    "complete_days": {"listings": "2026-06-30", "orders": "2026-06-29"},
    "signals": {"price": {"available": 3, "features": 20, "constant": 1, "missing": {"listing_prices": 5}}},
    "active": {"listings": 1200, "merchants": 30, "reviews": 0, "brushing_merchants": 30},
    "not_seen": 68,
    "sighting_days": 14,
    "base_currency": "USD",
    "without_rate": [{"table": "orders", "currency": "EUR", "without_rate": 7, "amounts": 9}],
    "labels": {
        "notices": {"rows": 6, "without_verdict": 2, "unknown_entity": 0, "later": 1, "positive": 2, "genuine": 1}
    },
    "states": {"listing_counterfeit": {"state": "starter", "detail": "version 1"}},
}


def feature(name: str, signal: str) -> Feature:
    return Feature(name, signal, "share", "", "subject", 0, "")


@pytest.fixture
def declaration() -> Declaration:
    features = (
        *(feature("price_base", "price"), feature("price_msrp_ratio", "price")),
        *(feature("complaint_share", "review"), feature("same_share", "review")),
    )
    return Declaration("model", "listings", "listing", "counterfeit", features)


def test_one_of_several_alternatives_is_enough():
    needed = ("a.x", f"b{ALTERNATIVES}c.y")
    assert missing_inputs(needed, {"a", "a.x", "c.y"}) == []
    assert missing_inputs(needed, {"a", "a.x"}) == ["b | c.y"]
    assert missing_inputs(needed, {"a", "b"}) == ["a.x"]


def test_counts_by_signal_what_is_missing_and_what_is_the_same_for_all(declaration: Declaration):
    coverage = signal_coverage([declaration], {"model": {"price_base"}}, {"listing_prices"}, INPUTS)
    assert coverage == {
        "price": {"available": 1, "features": 2, "constant": 0, "missing": {"brand_products.msrp": 1}},
        "review": {"available": 0, "features": 2, "constant": 1, "missing": {"reviews.text": 1}},
    }


def test_predicts_the_features_that_lack_nothing(declaration: Declaration):
    assert predicted_features(declaration, {"reviews.text"}, INPUTS) == {"price_base", "complaint_share", "same_share"}


def test_a_feature_is_available_if_it_tells_entities_apart(tmp_path: Path, declaration: Declaration):
    file = tmp_path / "features.parquet"
    rows = "values (1.0, null::double, 0.5, 0.2), (2.0, null, 0.7, 0.2), (null, null, null, null)"
    names = ", ".join(declaration.columns)
    duckdb.execute(f"copy (select * from ({rows}) as rows ({names})) to '{file}' (format parquet)")
    assert measured_features(file, declaration) == {"price_base", "complaint_share"}
    matrix = np.array([[1.0, np.nan, 0.5, 0.2], [2.0, np.nan, 0.7, 0.2], [np.nan] * 4], dtype=np.float32)
    counts = active_coverage(declaration, matrix, set())
    assert {signal: one["available"] for signal, one in counts.items()} == {"price": 1, "review": 1}
    assert {one["available"] for one in active_coverage(declaration, matrix[:0], set()).values()} == {0}


def test_names_first_what_would_enable_most():
    coverage = {
        "available": 3,
        "features": 20,
        "constant": 2,
        "missing": {"a | b": 2, "c.d": 9, "e": 1, "f": 1, "g": 1},
    }
    assert (
        describe_signal(coverage) == "3 of 20; provide c.d (9), a or b (2), e (1), f (1) and 1 more; 2 the same for all"
    )
    assert describe_signal({"available": 2, "features": 2, "constant": 0, "missing": {}}) == "2 of 2"


def test_every_feature_has_inputs_that_the_contract_has():
    inputs, contract = read_feature_inputs(), load_contract()
    names = {*contract.tables, *(f"{table}.{name}" for table, one in contract.tables.items() for name in one.columns)}
    assert {model: list(features) for model, features in inputs.items()} == {
        model: list(declared.columns) for model, declared in load_declarations().items()
    }, "run benchmarks/feature_inputs.py --write"
    used = {
        name
        for features in inputs.values()
        for needed in features.values()
        for one in needed
        for name in one.split(ALTERNATIVES)
    }
    assert used <= names


def test_all_tables_enable_all_features_and_the_required_ones_some():
    contract = load_contract()
    everything = {*contract.tables, *(f"{table}.{c}" for table, one in contract.tables.items() for c in one.columns)}
    assert all(one["available"] == one["features"] for one in predicted_coverage(everything)["signals"].values())
    required = {"merchants", "listings"}
    required |= {f"{table}.{name}" for table in required for name in contract.tables[table].columns}
    signals = predicted_coverage(required)["signals"]
    assert list(signals) == list(SIGNALS)
    assert signals["review"]["available"] == 0
    assert 0 < signals["spec"]["available"] < signals["spec"]["features"]
    assert all(one["missing"] for one in signals.values() if one["available"] < one["features"])


def test_columns_of_ones_own_are_features_to_expect():
    before, column = predicted_coverage(()), ExtraColumn(signal="logo", controlled_by="subject")
    after = predicted_coverage((), {"listing_snapshots": {"a": column}, "merchant_snapshots": {"b": column}})
    assert after["signals"].pop("logo") == {
        **before["signals"]["logo"],
        "available": before["signals"]["logo"]["available"] + 4,
        "features": before["signals"].pop("logo")["features"] + 4,
    }
    assert after == before


def test_the_report_has_a_row_for_each_subject():
    rows = dict(coverage_rows(COVERAGE))
    assert list(rows) == ["As of", "Price", "Active", "Currencies", "Labels", "Models"]
    assert rows["Price"] == "3 of 20; provide listing_prices (5); 1 the same for all"
    assert rows["As of"].startswith("2026-06-30: the last complete day")
    assert "68 listings" in rows["Active"]
    assert "orders EUR (7 of 9 amounts); provide fx_rates" in rows["Currencies"]
    assert rows["Labels"] == "notices 2 positive, 1 genuine (not used: 2 without verdict, 1 decided later)"
    assert rows["Models"] == "listing_counterfeit starter (version 1)"
    assert dict(coverage_rows({**COVERAGE, "as_of": "2026-06-01"}))["As of"].startswith("2026-06-01: as asked")
    assert "moderation_decisions" in dict(coverage_rows({**COVERAGE, "labels": {}}))["Labels"]


def test_is_short_on_the_screen_and_one_table_in_markdown():
    lines = render_coverage(COVERAGE)
    assert all(len(line) <= 120 for line in lines)
    assert lines[0].startswith("Coverage: available")
    assert render_coverage({"signals": COVERAGE["signals"]})[0].startswith("Coverage: expected")
    assert coverage_markdown(COVERAGE).count("\n") == 2 + len(coverage_rows(COVERAGE)) - 1


def test_models_of_an_empty_home_are_off_for_want_of_labels(tmp_path: Path):
    day = date(2026, 6, 30)
    assert read_coverage(tmp_path, day) is None
    file = Home(tmp_path).coverage(day)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"as_of": str(day)}))
    states = (read_coverage(tmp_path, day) or {})["states"]
    assert {one["state"] for one in states.values()} == {"off"}
    assert len(states) == len(load_declarations())


def test_approvals_that_cannot_be_verified_do_not_keep_the_report_from_being_read(tmp_path: Path):
    day, home = date(2026, 6, 30), Home(tmp_path)
    home.coverage(day).parent.mkdir(parents=True)
    home.coverage(day).write_text("{}")
    home.approvals_log.parent.mkdir(parents=True)
    home.approvals_log.write_text("damaged\n")
    states = (read_coverage(tmp_path, day) or {})["states"]
    assert {one["detail"] for one in states.values()} == {"its approval cannot be verified: `touchstone verify`"}
