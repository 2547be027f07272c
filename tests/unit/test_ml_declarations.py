"""Model declarations: required content, and detection of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.declarations import AUDIENCES, FEATURES_FOLDER, SIGNALS, Feature, load_declarations, read_meanings, relation_of
from touchstone.core.errors import BadInputError

ANY: dict[str, Any] = {signal: ["brand"] for signal in SIGNALS}


def column(name: str, signal: str = "price", unit: str = "ratio") -> dict[str, Any]:
    return {"name": name, "description": f"About {name}.", "meta": {"signal": signal, "unit": unit}}


def write(
    folder: Path, features: dict[str, Any], columns: list[dict[str, Any]], readers: Any = ANY, **body: Any
) -> tuple[Path, Path]:
    model = {"rates": "listings", "entity": "listing", "violation_type": "counterfeit", "features": features, **body}
    models = folder / "models.yml"
    content = {"version": 1, "audiences": readers, "models": {"listing_counterfeit": model}}
    models.write_text(yaml.safe_dump(content, sort_keys=False))
    described = folder / "features"
    described.mkdir()
    result = {"version": 2, "models": [{"name": "listing_features", "columns": columns}]}
    (described / "listing_features.yml").write_text(yaml.safe_dump(result))
    return models, described


def test_a_declaration_joins_model_features_with_their_dbt_metadata(tmp_path: Path) -> None:
    features = {"b_ratio": {"controlled_by": "subject", "monotone": -1}, "a_ratio": {"controlled_by": "third_party"}}
    columns = [column("a_ratio", "review", "share"), {"name": "listing_id"}, column("b_ratio"), column("unused_ratio")]
    declared = load_declarations(*write(tmp_path, features, columns))["listing_counterfeit"]
    assert declared.columns == ("b_ratio", "a_ratio")
    assert declared.own_conduct == (0,)
    assert declared.id_column == "listing_id"
    assert [(feature.signal, feature.unit, feature.monotone) for feature in declared.features] == [
        ("price", "ratio", -1),
        ("review", "share", 0),
    ]


def test_meta_may_be_in_a_columns_config(tmp_path: Path) -> None:
    described = {"name": "a_ratio", "description": "x", "config": {"meta": {"signal": "spec", "unit": "count"}}}
    declared = load_declarations(*write(tmp_path, {"a_ratio": {"controlled_by": "subject"}}, [described]))
    assert declared["listing_counterfeit"].features[0].signal == "spec"


@pytest.mark.parametrize(
    ("features", "columns", "body", "result"),
    [
        ({"a_ratio": {"controlled_by": "subject"}}, [{"name": "a_ratio"}], {}, "meta"),
        ({"a_ratio": {"controlled_by": "subject"}}, [], {}, "a_ratio"),
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio", "astrology")], {}, "astrology"),
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio", unit="")], {}, "unit"),
        ({"a_ratio": {"controlled_by": "me"}}, [column("a_ratio")], {}, "controlled_by"),
        ({"a_ratio": {}}, [column("a_ratio")], {}, "controlled_by"),
        ({"a_ratio": {"controlled_by": "subject", "monotone": 2}}, [column("a_ratio")], {}, "monotone"),
        ({"a_ratio": {"controlled_by": "third_party"}}, [column("a_ratio")], {}, "flagged"),
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")], {"entity": "ship"}, "ship"),
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")], {"violation_type": "taste"}, "taste"),
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")], {"rates": "ships"}, "no ship_features"),
        ({}, [column("a_ratio")], {}, "features"),
        (
            {"a_ratio": {"controlled_by": "subject", "audiences": ["press"]}},
            [column("a_ratio")],
            {},
            "feature a_ratio: audiences is .'press'.; it is a list of internal, brand, authority, merchant",
        ),
        ({"a_ratio": {"controlled_by": "subject", "audiences": "brand"}}, [column("a_ratio")], {}, "it is a list of"),
        (
            {"a_ratio": {"controlled_by": "subject"}},
            [column("a_ratio")],
            {"audiences": {"price": [["brand"]]}},
            "model listing_counterfeit, signal price: audiences",
        ),
        (
            {"a_ratio": {"controlled_by": "subject"}},
            [column("a_ratio")],
            {"audiences": {"luck": []}},
            "by signal: spec",
        ),
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")], {"readers": {"luck": []}}, "by signal: spec"),
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")], {"readers": ["brand"]}, "mapping by signal"),
        (
            {"a_ratio": {"controlled_by": "subject"}},
            [column("a_ratio")],
            {"readers": {signal: [] for signal in SIGNALS if signal != "link"}},
            "models.yml: audiences leaves out link; each signal has a list of internal",
        ),
    ],
)
def test_a_mistake_in_a_declaration_is_named(
    tmp_path: Path, features: dict[str, Any], columns: list[dict[str, Any]], body: dict[str, Any], result: str
) -> None:
    with pytest.raises(BadInputError, match=result):
        load_declarations(*write(tmp_path, features, columns, **body))


def test_audiences_of_a_feature_override_its_model_and_its_signal(tmp_path: Path) -> None:
    features: dict[str, Any] = {name: {"controlled_by": "subject"} for name in ("a_ratio", "b_ratio", "c_ratio")}
    features["c_ratio"]["audiences"] = ["merchant", "internal", "authority"]
    columns = [column("a_ratio"), column("b_ratio", "link"), column("c_ratio", "link")]
    declared = load_declarations(*write(tmp_path, features, columns, audiences={"link": []}))["listing_counterfeit"]
    assert [feature.audiences for feature in declared.features] == [("brand",), (), ("authority", "merchant")]


def test_a_feature_round_trips_and_one_without_audiences_is_internal() -> None:
    feature = Feature("a_ratio", "price", "ratio", "", "subject", 0, "", audiences=("brand",))
    assert Feature.from_dict(feature.as_dict()) == feature
    before = {name: value for name, value in feature.as_dict().items() if name != "audiences"}
    assert Feature.from_dict(before).audiences == ()


def test_a_file_that_is_not_yaml_is_bad_input(tmp_path: Path) -> None:
    models, described = write(tmp_path, {"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")])
    models.write_text("models: [")
    with pytest.raises(BadInputError, match="YAML"):
        load_declarations(models, described)


def test_every_declared_model_is_valid() -> None:
    for name, declared in load_declarations().items():
        assert declared.own_conduct, name
        assert len(declared.own_conduct) < len(declared.columns), name
        for feature in declared.features:
            assert feature.description, f"{name}: {feature.name}"


def test_buyer_features_are_never_own_conduct() -> None:
    """Except where orders or reviews are rated, whose subject is their author."""
    buyers = ("review", "rating", "complaint", "refund", "order", "sales", "star", "loose_")
    for declared in load_declarations().values():
        for at in declared.own_conduct if declared.entity != "review" else ():
            assert not any(word in declared.columns[at] for word in buyers), declared.columns[at]


def test_every_feature_has_audiences_and_none_that_must_not_read_it() -> None:
    """Checked by the column's name, so that a new feature does not inherit its signal's default unnoticed."""
    kept_from = {
        "brand": ("order", "refund", "paid", "buyer", "identity", "notice", "unauthorised", "worst_brand", "early_"),
        "merchant": ("floor", "link", "ring", "confirmed", "device", "payer", "buyer", "notice", "early_", "repeated"),
    }
    for declared in load_declarations().values():
        for feature in declared.features:
            place = f"{declared.name}: {feature.name}"
            assert set(feature.audiences) < set(AUDIENCES), place
            assert "authority" in feature.audiences, place
            for audience, words in kept_from.items():
                is_kept = any(word in feature.name for word in words)
                assert not (is_kept and audience in feature.audiences), f"{place} is shown to a {audience}"
            if declared.violation_type == "brushing" and feature.signal != "merchant":
                assert feature.audiences == ("authority",), place


def test_every_computed_feature_is_used() -> None:
    meanings = read_meanings(FEATURES_FOLDER)
    used: dict[str, set[str]] = {}
    for declared in load_declarations().values():
        used.setdefault(f"{relation_of(declared.rates)}_features", set()).update(declared.stored_columns)
    for model, columns in used.items():
        assert set(meanings[model]) == columns
