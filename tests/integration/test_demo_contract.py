"""A generated marketplace obeys the source contract and its documented shape, at tiny and small scales."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.demo_fixtures import connect, contract_tables, violations
from touchstone.core.files import sha256_file
from touchstone.demo.generate import generate
from touchstone.landing.sources import picture_folder

NOT_IN_THE_DEMO = {"lead_hand_overs", "cases", "lexicon", "listing_snapshots"}
"""Casework, own phrases, and counters of what the demo has as events."""


@pytest.fixture(scope="module", params=[(0.0005, 8), (0.004, 7)], ids=["tiny", "small"])
def marketplace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    scale, seed = request.param
    directory = tmp_path_factory.mktemp("marketplace") / "demo"
    generate(directory, scale=scale, seed=seed)
    return directory


def test_every_table_of_the_contract_is_written_and_valid(marketplace: Path) -> None:
    connection = connect(marketplace)
    tables = {name: rules for name, rules in contract_tables().items() if name not in NOT_IN_THE_DEMO}
    assert sorted(path.stem for path in marketplace.glob("sources/*.parquet")) == sorted(tables)
    assert [line for name, rules in tables.items() for line in violations(connection, name, rules)] == []


def test_sources_file_maps_every_table_to_an_existing_file(marketplace: Path) -> None:
    mapping = yaml.safe_load((marketplace / "sources.yml").read_text())
    tables = contract_tables()
    assert mapping["version"] == 1
    assert set(mapping["tables"]) == set(tables) - NOT_IN_THE_DEMO
    for name, entry in mapping["tables"].items():
        source = mapping["inputs"][entry["input"]]
        assert source["connector"] == "parquet"
        assert (marketplace / source["path"]).is_file()
        assert entry.get("cursor", "listing_id") in {*tables[name]["columns"], "listing_id"}


def test_every_image_is_at_its_address(marketplace: Path) -> None:
    folder = picture_folder(marketplace / "sources.yml")
    assert folder is not None
    named = "select sha256, uri from listing_images union select sha256, uri from brand_logos"
    rows = connect(marketplace).execute(named).fetchall()
    assert rows
    assert [uri for sha256, uri in rows if sha256_file(folder / uri) != sha256] == []
