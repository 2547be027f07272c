"""Whatever kind of source a marketplace's tables come from, the real command publishes identical lists."""

from __future__ import annotations

import json
import shutil
from itertools import cycle
from pathlib import Path

import pytest
from conftest import FIRST_DAY, Homes, published, run

from tests.source_fixtures import CONNECTORS, ENVIRONMENT, Options, names_in, sources_file

OTHERS = tuple(name for name in CONNECTORS if name != "parquet")


def assert_same_lists(homes: Homes, folder: Path, inputs: dict[str, Options]) -> None:
    """Runs over tables of other sources, in an otherwise empty home, and compares the published lists."""
    home = folder / "home"
    sources = sources_file(folder, inputs, identifiers="public", pictures=str(homes.made / "marketplace"))
    done = run(home, homes.policy, FIRST_DAY, TOUCHSTONE_SOURCES=str(sources.path), **ENVIRONMENT)
    assert done.code == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (home / "landing" / "ledger" / "ledger.jsonl").read_text().splitlines()]
    origins = {line["table"]: line["source"] for line in lines}
    assert origins == {name: sources.origin_of(name) for name in inputs}
    assert not (home / "marketplace").exists()
    assert published(home) == homes.lists[FIRST_DAY]
    written = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    message = (done.stdout + done.stderr).encode()
    assert [name for name in ("SHOP_PASSWORD", "STORE_SECRET") if ENVIRONMENT[name].encode() in written + message] == []


@pytest.mark.slow  # make test compares the loads of each kind (test_landing_connectors.py); make test-all the lists
def test_tables_from_mixed_kinds_of_sources_give_the_same_lists_as_parquet(
    homes: Homes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    market = homes.made / "marketplace" / "sources"
    kinds = dict(zip(names_in(market), cycle(OTHERS), strict=False))
    inputs: dict[str, Options] = {}
    for kind in OTHERS:
        own = tmp_path / kind
        own.mkdir()
        for name in (name for name, its in kinds.items() if its == kind):
            shutil.copy(market / f"{name}.parquet", own)
        inputs |= CONNECTORS[kind](own, tmp_path, request)
    assert sorted(inputs) == names_in(market)
    assert_same_lists(homes, tmp_path, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_of_source_gives_the_same_lists_as_parquet(
    kind: str, homes: Homes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert_same_lists(homes, tmp_path, CONNECTORS[kind](homes.made / "marketplace" / "sources", tmp_path, request))
