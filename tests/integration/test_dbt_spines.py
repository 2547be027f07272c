"""The four spines, from the states and labels of entities to their rows: the model chain `spine_*`, case by case."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dbt_fixtures import list_nodes, make_warehouse, open_warehouse, read_rows, run_dbt

CASES = {
    case["name"]: case
    for case in yaml.safe_load((Path(__file__).parent / "spine_cases.yml").read_text(encoding="utf-8"))["cases"]
}
CHAIN = (
    *("spine_candidates", "spine_labels", "spine_known_positives", "spine_labelled_rows", "spine_unlabelled_rows"),
    *("spine_verdicts", "spine_calibration_rows", "spines"),
)
INPUTS = (
    *("rating_dates", "listing_states", "merchant_states", "brushing_places", "transaction_indicators"),
    *("entity_labels", "brushing_labels", "stg_listing_history", "stg_platform_actions"),
)


def given_rows(case: Mapping[str, Any]) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Returns the rows of a case's inputs by model or landed table name."""
    return {given["input"].split("'")[-2]: given["rows"] for given in case["given"]}


def fill_inputs(home: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Creates the models that the chain reads as tables, with the columns that the project declares."""
    columns = {node.name: node.columns for node in list_nodes("model") if node.name in INPUTS}
    with open_warehouse(home, read_only=False) as connection:
        for model in INPUTS:
            types = {name: column.data_type for name, column in columns[model].items()}
            definition = ", ".join(f"{name} {sql_type}" for name, sql_type in types.items())
            connection.execute(f"create table {model} ({definition})")
            for row in rows.get(model, ()):
                marks = ", ".join("?" for _ in row)
                connection.execute(f"insert into {model} ({', '.join(row)}) values ({marks})", list(row.values()))


def normalized(row: Mapping[str, Any]) -> str:
    """Returns a row in a normal form in which equal values of YAML and DuckDB are equal."""

    def value(cell: Any) -> Any:
        if isinstance(cell, date):
            return str(cell)
        if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
            return round(float(cell), 9)
        return cell

    return repr({name: value(row[name]) for name in sorted(row)})


@pytest.mark.parametrize("name", CASES)
def test_a_spine_has_the_expected_rows_of_its_case(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    rows = given_rows(case)
    (run,) = rows["run"]
    make_warehouse(
        tmp_path,
        {},
        run["as_of"],
        with_training=run["with_training"],
        label_horizon_days=run["label_horizon_days"],
    )
    fill_inputs(tmp_path, rows)
    variables = case.get("overrides", {}).get("vars", {})
    run_dbt(tmp_path, "run", "--select", *CHAIN, case["model"], "--vars", json.dumps(variables))
    expected = case["expect"]["rows"]
    found = read_rows(tmp_path, f"select {', '.join(expected[0])} from {case['model']}")
    assert sorted(map(normalized, found)) == sorted(map(normalized, expected))
