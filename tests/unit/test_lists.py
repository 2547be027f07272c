"""Consistency of everything that names a list: rated lists, declared models, policies, shapes, suites and dbt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from expectations.contract import WAREHOUSE_SOURCES_PATH
from ml.declarations import load_declarations, relation_of
from orchestration.assets.warehouse import REASON_COLUMNS, SCORE_COLUMNS, TERM_COLUMNS
from touchstone.core.lists import LISTS, ListDefinition
from touchstone.publishing.candidate import SHAPES
from touchstone.publishing.policy import load_policy
from touchstone.publishing.terms import AppliedTerm

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "dbt_project" / "models"
EVERY = pytest.mark.parametrize("rated", LISTS.values(), ids=LISTS)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def described(folder: str) -> set[str]:
    """The dbt models of a step that are both described in YAML and defined in SQL."""
    result = {model["name"] for path in (MODELS / folder).glob("*.yml") for model in read(path).get("models", ())}
    return result & {path.stem for path in (MODELS / folder).glob("*.sql")}


def sources() -> dict[str, dict[str, str]]:
    """The columns of each relation that is not in the contract, with their types."""
    tables = read(WAREHOUSE_SOURCES_PATH)["tables"]
    return {table["name"]: {column["name"]: column["data_type"] for column in table["columns"]} for table in tables}


def test_every_declared_model_rates_one_list() -> None:
    declared = {(one.rates, one.name, one.entity, one.id_column) for one in load_declarations().values()}
    assert declared == {(name, rated.model, rated.entity, rated.key) for name, rated in LISTS.items()}
    assert len(load_declarations()) == len(LISTS)
    assert set(read(ROOT / "ml" / "thresholds.yml")["models"]) == {rated.model for rated in LISTS.values()}


def test_every_list_has_a_shape_and_policies_use_only_these_lists() -> None:
    assert list(SHAPES) == list(LISTS)
    for name, rated in LISTS.items():
        ids = (rated.key, *rated.carried)
        assert SHAPES[name].ids[: len(ids)] == ids
        assert "merchant_id" in SHAPES[name].ids
    policies = {path.name: load_policy(path).lists for path in (ROOT / "policies").glob("*.yml")}
    assert policies["default.yml"] == tuple(LISTS)
    assert set().union(*policies.values()) == set(LISTS)


def test_dbt_has_an_exposure_for_every_list() -> None:
    exposures = read(MODELS / "marts" / "exposures.yml")["exposures"]
    exposed = {exposure["name"]: exposure["depends_on"] for exposure in exposures}
    assert exposed == {f"list_{name}": [f"ref('{rated.mart}')"] for name, rated in LISTS.items()}


def test_no_two_lists_share_a_relation() -> None:
    assert len({rated.relation for rated in LISTS.values()}) == len(LISTS)
    names = ("listings", "merchants", "reviews", "brushing_merchants")
    assert [relation_of(name) for name in names] == ["listing", "merchant", "review", "brushing_merchant"]


def test_suites_allow_every_key() -> None:
    for suite in ("features", "scores", "candidate"):
        allowed = read(ROOT / "expectations" / "suites" / f"{suite}.yml")["parameters"]["key"]["values"]
        assert {rated.key for rated in LISTS.values()} <= set(allowed), suite


def test_scores_and_reasons_are_sources_of_the_warehouse() -> None:
    result = {name: columns for name, columns in sources().items() if name.endswith(("_scores", "_reasons"))}
    expected = {}
    for rated in LISTS.values():
        ids = dict.fromkeys((rated.key, *rated.carried), "varchar")
        expected[f"{rated.relation}_scores"] = {**ids, **SCORE_COLUMNS}
        expected[f"{rated.relation}_reasons"] = {rated.key: "varchar", **REASON_COLUMNS}
    assert result == expected


@EVERY
def test_dbt_builds_its_spine_features_and_mart(rated: ListDefinition) -> None:
    assert {f"{rated.relation}_spine", f"{rated.relation}_features"} <= described("features")
    assert rated.mart in described("marts")
    mart = (MODELS / "marts" / f"{rated.mart}.sql").read_text(encoding="utf-8")
    (call,) = re.findall(r"\{\{ ratings\(([^}]*\}?)\) \}\}", mart)
    assert call.startswith(f"'{rated.relation}', '{rated.model}', '{rated.key}', {{"), call
    assert set(re.findall(r"': '(\w+)'", call)) == set(rated.carried or (rated.key,)), "whom a suppression names"


def test_dbt_builds_no_other_mart_of_ratings() -> None:
    assert {name for name in described("marts") if name.startswith("rated_")} == {r.mart for r in LISTS.values()}


def test_terms_are_a_source_of_the_warehouse() -> None:
    assert sources()["terms"] == TERM_COLUMNS
    assert set(TERM_COLUMNS) - {"model", "model_digest"} == set(AppliedTerm.model_fields) - {
        "target_precision",
        "basis",
    }
