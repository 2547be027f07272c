"""What a declaration must say, and which mistakes in one are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.errors import BadInputError
from ml.declarations import FEATURES_FOLDER, load_declarations, read_meanings, relation_of


def column(name: str, signal: str = "price", unit: str = "ratio") -> dict[str, Any]:
    return {"name": name, "description": f"About {name}.", "meta": {"signal": signal, "unit": unit}}


def write(folder: Path, features: dict[str, Any], columns: list[dict[str, Any]], **body: Any) -> tuple[Path, Path]:
    model = {"rates": "listings", "entity": "listing", "matter": "counterfeit", "features": features, **body}
    models = folder / "models.yml"
    models.write_text(yaml.safe_dump({"version": 1, "models": {"listing_counterfeit": model}}, sort_keys=False))
    described = folder / "features"
    described.mkdir()
    told = {"version": 2, "models": [{"name": "listing_features", "columns": columns}]}
    (described / "listing_features.yml").write_text(yaml.safe_dump(told))
    return models, described


def test_a_declaration_joins_what_the_model_uses_with_what_the_feature_means(tmp_path: Path) -> None:
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


def test_meta_may_stand_in_a_columns_config(tmp_path: Path) -> None:
    described = {"name": "a_ratio", "description": "x", "config": {"meta": {"signal": "spec", "unit": "count"}}}
    declared = load_declarations(*write(tmp_path, {"a_ratio": {"controlled_by": "subject"}}, [described]))
    assert declared["listing_counterfeit"].features[0].signal == "spec"


@pytest.mark.parametrize(
    ("features", "columns", "body", "told"),
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
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")], {"matter": "taste"}, "taste"),
        ({"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")], {"rates": "ships"}, "no ship_features"),
        ({}, [column("a_ratio")], {}, "features"),
    ],
)
def test_a_mistake_is_named(
    tmp_path: Path, features: dict[str, Any], columns: list[dict[str, Any]], body: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadInputError, match=told):
        load_declarations(*write(tmp_path, features, columns, **body))


def test_a_file_that_is_no_yaml_is_bad_input(tmp_path: Path) -> None:
    models, described = write(tmp_path, {"a_ratio": {"controlled_by": "subject"}}, [column("a_ratio")])
    models.write_text("models: [")
    with pytest.raises(BadInputError, match="YAML"):
        load_declarations(models, described)


def test_every_declared_model_is_sound_and_its_reasons_have_words() -> None:
    for name, declared in load_declarations().items():
        assert declared.own_conduct, name
        assert len(declared.own_conduct) < len(declared.columns), name
        for feature in declared.features:
            assert feature.words.count("{value}") == 1, f"{name}: {feature.name}"
            assert feature.description, f"{name}: {feature.name}"


def test_what_buyers_do_is_never_own_conduct() -> None:
    """Unless it is what is rated: the subject of an order or a review is its author."""
    buyers = ("review", "rating", "complaint", "refund", "order", "sales", "star", "loose_")
    for declared in load_declarations().values():
        for at in declared.own_conduct if declared.entity != "review" else ():
            assert not any(word in declared.columns[at] for word in buyers), declared.columns[at]


def test_no_feature_is_computed_for_nothing() -> None:
    meanings = read_meanings(FEATURES_FOLDER)
    used: dict[str, set[str]] = {}
    for declared in load_declarations().values():
        used.setdefault(f"{relation_of(declared.rates)}_features", set()).update(declared.columns)
    for model, columns in used.items():
        assert set(meanings[model]) == columns
