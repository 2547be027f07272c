"""Rules of the shape step's project: unit tests exist and pass, columns are described, SQL is deterministic."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_fixtures import PROJECT, list_nodes, make_warehouse, read_rows, run_dbt

LAYERS = ("staging", "intermediate")
# Constructs whose result depends on thread order, and other sources of nondeterminism between runs.
FORBIDDEN = {
    r"\b(?:avg|stddev\w*|var_\w+|variance|corr|covar\w*|fsum|kahan_sum)\s*\(": "a mean or a spread of floats",
    r"\brange\s+between\b": "a RANGE frame",
    r"\b(?:random|uuid|gen_random_uuid|setseed)\s*\(": "randomness that is not a hash of the key",
    r"\b(?:now|today|current_date|current_timestamp|getdate)\b": "the clock",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty warehouse, built: unit tests need the relations to exist."""
    home = tmp_path_factory.mktemp("empty")
    make_warehouse(home, {}, "2026-01-31")
    run_dbt(home, "build", "--select", "tag:shape", "--exclude-resource-type", "unit_test")
    return home


def layer_of(node: Any) -> str:
    return str(Path(node.original_file_path).parts[1])


def shape_models() -> list[Any]:
    return [node for node in list_nodes("model") if layer_of(node) in LAYERS]


def test_an_empty_marketplace_builds(home: Path) -> None:
    """No table landed a row; every table exists, empty (otherwise the fixture would have failed), but for the shipped phrases."""
    for model in shape_models():
        if model.name == "int_lexicon":
            continue
        assert read_rows(home, f"select count(*) as row_count from {model.name}") == [{"row_count": 0}]


def test_unit_tests_pass(home: Path) -> None:
    selected = ["--select", *(f"path:models/{layer}" for layer in LAYERS), "--resource-type", "unit_test"]
    results = run_dbt(home, "test", *selected)
    assert set(results.values()) == {"pass"}
    assert len(results) == len([node for node in list_nodes("unit_test") if layer_of(node) in LAYERS])


def test_every_model_with_logic_has_a_unit_test() -> None:
    """Logic is a join, a case, a grouping or a window; selecting and renaming columns is none."""
    tested = {node.model for node in list_nodes("unit_test")}
    logic = re.compile(r"\b(?:join|case|group by|over|union|distinct)\b|row_versions|in_base_currency|daily_part")
    with_logic = {model.name for model in shape_models() if logic.search(model.raw_code)}
    # One macro makes the histories, and aggregates over loads query the warehouse: both are tested with loads
    # (test_dbt_shape_loads.py, test_dbt_shape_healing.py).
    over_loads = {"stg_brand_logo_history", "stg_buyer_history", "stg_listing_image_history", "stg_merchant_history"}
    over_loads |= {"int_load_days"}
    assert with_logic - tested == over_loads


def test_every_column_is_described(home: Path) -> None:
    for model in shape_models():
        columns = {row["column_name"] for row in read_rows(home, f"describe {model.name}")}
        described = {name for name, column in model.columns.items() if column.description}
        assert columns == described, model.name
        assert model.description, model.name


def test_columns_of_money_and_counts_declare_their_unit() -> None:
    """A number has a unit, in its name's suffix or in its meta."""
    for model in shape_models():
        for column in model.columns.values():
            if column.data_type in ("integer", "bigint", "decimal(18,4)", "double"):
                assert column.config.meta.get("unit"), f"{model.name}.{column.name}"


def test_every_table_has_an_enforced_contract() -> None:
    for model in shape_models():
        if layer_of(model) == "intermediate" and model.config.materialized != "view":
            assert model.config.contract.enforced, model.name


def test_floats_are_never_summed(home: Path) -> None:
    """Sums and means of DOUBLE vary between runs; the only doubles are rates and probabilities, never summed."""
    doubles = {
        (model.name, row["column_name"])
        for model in shape_models()
        for row in read_rows(home, f"describe {model.name}")
        if row["column_type"] in ("DOUBLE", "FLOAT")
    }
    assert {column for _, column in doubles} == {"rate", "inclusion_probability"}
    for model in shape_models():
        assert not re.search(r"\bsum\(\s*\w*\.?(?:rate|inclusion_probability)\b", model.raw_code), model.name


@pytest.mark.parametrize(("pattern", "what"), FORBIDDEN.items(), ids=FORBIDDEN.values())
def test_sql_is_deterministic(pattern: str, what: str) -> None:
    for path in [*PROJECT.glob("models/**/*.sql"), *PROJECT.glob("macros/*.sql")]:
        code = re.sub(r"--.*|\{#.*?#\}", "", path.read_text(), flags=re.DOTALL if "macros" in str(path) else 0)
        assert not re.search(pattern, code, flags=re.IGNORECASE), f"{what} in {path.relative_to(PROJECT)}"


def windows(code: str) -> list[str]:
    """Returns each `over (...)` of an SQL text, with the function before it and balanced parentheses."""
    found = []
    for start in re.finditer(r"\b(row_number|rank|lag|lead|first_value|last_value)\(", code):
        depth, end = 0, code.index(" over (", start.end()) + len(" over ")
        while depth or code[end] == "(":
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        found.append(code[start.start() : end])
    return found


def test_row_numbering_windows_have_an_order() -> None:
    """The order of rows must not depend on the engine."""
    found = [window for model in shape_models() for window in windows(model.raw_code)]
    assert len(found) >= 5
    for window in found:
        assert "order by" in window, window


def test_functions_that_differ_between_engines_are_dispatched() -> None:
    """They are defined in macros/dialect.sql, once each, and nowhere else."""
    dialect = (PROJECT / "macros" / "dialect.sql").read_text()
    dispatched = re.findall(r"adapter\.dispatch\('(\w+)'", dialect)
    assert Counter(dispatched) == Counter(re.findall(r"macro duckdb__(\w+)\(", dialect))
    own = r"\b(?:hash|md5|approx_count_distinct|(?:max|arg)_\w+|try_cast|unnest|json_\w+|regexp_\w+|list_\w+|damerau\w+)\("
    macros = "|".join(rf"\b{name}\(" for name in dispatched)
    for path in [*PROJECT.glob("models/**/*.sql"), *PROJECT.glob("macros/*.sql"), *PROJECT.glob("tests/**/*.sql")]:
        if path.name != "dialect.sql":
            code = re.sub(macros, "", re.sub(r"--.*", "", path.read_text()))
            assert not re.search(own, code), path.relative_to(PROJECT)


def test_models_end_with_final() -> None:
    for model in shape_models():
        assert model.raw_code.rstrip().endswith("select * from final"), model.name
