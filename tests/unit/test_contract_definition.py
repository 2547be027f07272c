"""The source contract is valid, contradictory definitions are refused, and generated files are up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from expectations import contract as module
from expectations.contract import (
    CONTRACT_PATH,
    COUNTER_WINDOWS,
    load_contract,
    main,
    render_dbt_sources,
    render_docs,
    windowed_name,
)
from touchstone.core.errors import BadInputError


def test_the_generated_files_are_up_to_date() -> None:
    assert main(["--check"]) == 0


def test_an_outdated_generated_file_is_detected_and_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DOCS_PATH", tmp_path / "source-contract.md")
    monkeypatch.setattr(module, "DBT_SOURCES_PATH", tmp_path / "sources.yml")
    (tmp_path / "sources.yml").write_text("version: 2\n")
    assert main(["--check"]) == 1
    assert main(["--write"]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "source-contract.md").write_text("changed by hand")
    assert main(["--check"]) == 1


def test_only_merchants_and_listings_are_required() -> None:
    assert [name for name, table in load_contract().tables.items() if table.required] == ["merchants", "listings"]


def test_tables_land_after_the_tables_they_reference() -> None:
    contract = load_contract()
    order = contract.in_landing_order()
    assert sorted(order) == sorted(contract.tables)
    for name, table in contract.tables.items():
        for column in table.columns.values():
            if column.reference:
                assert order.index(column.reference[0]) < order.index(name)


def test_dbt_sources_have_every_column_with_its_type_and_the_load_columns() -> None:
    contract = load_contract()
    source = yaml.safe_load(render_dbt_sources(contract))["sources"][0]
    tables = {table["name"]: {column["name"]: column for column in table["columns"]} for table in source["tables"]}
    assert source["schema"] == "landed"
    assert tables["orders"]["amount"]["data_type"] == "decimal(18,4)"
    assert tables["orders"]["refund_reason"]["config"]["meta"]["known_at"] == "refunded_at"
    for name, table in contract.tables.items():
        assert list(tables[name]) == [*table.columns, *table.added_columns]
    assert {"loads", "run", "listing_scores", "merchant_reasons", "terms", "precision_bands"} <= set(tables)


def test_the_contract_documentation_names_every_table_and_column() -> None:
    contract = load_contract()
    page = render_docs(contract)
    for name, table in contract.tables.items():
        assert f"## {name}" in page
        windows = {windowed_name(column, days) for column in table.columns if "_" in column for days in COUNTER_WINDOWS}
        assert all(f"| `{column}` |" in page for column in table.columns if column not in windows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"key": ["merchant"]}, "merchant"),
        ({"event_at": "name"}, "no date or timestamp"),
        ({"columns": {"merchant_id": {"type": "text", "description": "x"}}}, "type"),
        (
            {"columns": {"merchant_id": {"type": "string", "description": "x", "references": "brands.name"}}},
            "brands.name",
        ),
        ({"columns": {"merchant_id": {"type": "string", "description": "x", "known_at": "then"}}}, "then"),
        ({"columns": {"merchant_id": {"type": "integer", "description": "x", "personal": "hash"}}}, "must be strings"),
        (
            {
                "columns": {
                    "merchant_id": {"type": "string", "description": "x"},
                    "load_id": {"type": "string", "description": "x"},
                }
            },
            "load_id",
        ),
    ],
)
def test_a_contradictory_contract_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = yaml.safe_load(CONTRACT_PATH.read_text())
    content["tables"]["merchants"] |= {"event_at": None} | change
    path = tmp_path / "contract.yml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(BadInputError) as refused:
        load_contract(path)
    assert str(path) in str(refused.value)
    assert message in str(refused.value)


def test_a_reference_from_a_hashed_column_to_a_plain_one_is_refused(tmp_path: Path) -> None:
    content = yaml.safe_load(CONTRACT_PATH.read_text())
    content["tables"]["orders"]["columns"]["merchant_id"]["personal"] = "hash"
    path = tmp_path / "contract.yml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(BadInputError, match="personal in the same way"):
        load_contract(path)


def test_parents_include_references_and_tables_with_the_same_key() -> None:
    contract = load_contract()
    assert contract.parents("orders") == {"listing_id": "listings", "merchant_id": "merchants", "buyer_id": "buyers"}
    assert contract.parents("merchants") == {}
    assert contract.parents("brand_products") == {"brand_id": "brands"}
    for name, table in contract.tables.items():
        references = {column: to.reference[0] for column, to in table.columns.items() if to.reference}
        assert references.items() <= contract.parents(name).items()


def test_every_entity_kind_is_a_table_with_its_own_key() -> None:
    contract = load_contract()
    of_kinds = {name: contract.kinds(name) for name in contract.tables if contract.kinds(name)}
    assert set(of_kinds) == {"moderation_decisions", "platform_actions", "appeals", "suppressions"}
    for kinds in of_kinds.values():
        assert all(contract.tables[table].key == (f"{kind}_id",) for kind, table in kinds.items())
