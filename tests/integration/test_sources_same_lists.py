"""Wherever a marketplace's tables come from, the real command publishes the same lists, byte for byte."""

from __future__ import annotations

import json
import shutil
from itertools import cycle
from pathlib import Path

import pytest
from conftest import FIRST_DAY, Homes, published, run

from tests.source_fixtures import CONNECTORS, ENVIRONMENT, Options, names_in, sources_file

OTHERS = tuple(name for name in CONNECTORS if name != "parquet")


def same_lists(homes: Homes, folder: Path, inputs: dict[str, Options]) -> None:
    """Runs over tables that come from elsewhere, in a home that has nothing else, and compares what is published."""
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


@pytest.mark.slow  # the loads of each kind are compared in make test (test_landing_connectors.py); lists in make test-all
def test_tables_that_each_come_by_another_kind_give_the_lists_that_parquet_gives(
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
    same_lists(homes, tmp_path, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_of_source_gives_the_lists_that_parquet_gives(
    kind: str, homes: Homes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    same_lists(homes, tmp_path, CONNECTORS[kind](homes.made / "marketplace" / "sources", tmp_path, request))
