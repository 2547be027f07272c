"""Widely shared identifiers form no ring, third parties cannot plant a verified one, and the demo's rings are found."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import pytest

from ml.training_set import MAX_MEMBERS
from orchestration.assets.signals import merchant_rings
from tests.dbt_fixtures import make_warehouse, open_warehouse, run_dbt

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from rings import measure

AS_OF = date(2026, 6, 30)
# All merchants have the phone of a public office. Four share three identifiers, and pairs of them a fourth;
# another four share as much, but only unverified identifiers.
IDENTIFIERS = """
insert into landed.merchant_identifiers by name
with assigned as (
  select number, 'phone' as kind, 'public office' as value, true as is_verified from range(5000) as merchants (number)
  union all
  select number, kind, 'of the ring', false
  from range(10, 14) as ring (number), (values ('device'), ('ip'), ('key')) as kinds (kind)
  union all
  select number, 'bank_account', 'of ' || number // 2, true from range(10, 14) as ring (number)
  union all
  select number, kind, 'planted', false
  from range(20, 24) as framed (number), (values ('phone'), ('email'), ('address')) as kinds (kind))
select
  'm' || lpad(number::varchar, 4, '0') as merchant_id, kind, value as value_hash,
  timestamp '2026-01-01 12:00:00' as first_seen_at, is_verified,
  'load-1' as load_id, timestamp '2026-06-30 23:59:59' as landed_at,
  true as is_current, false as is_increment, true as is_only_load, true as is_new
from assigned
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rings")
    make_warehouse(made, {}, AS_OF)
    with open_warehouse(made, read_only=False) as connection:
        connection.execute(IDENTIFIERS)
    selected = ["+int_merchant_edges", "+int_likeness_edges", "int_load_days"]
    run_dbt(made, "build", "--select", *selected, "--exclude-resource-type", "test", "unit_test")
    return made


def test_a_public_phone_forms_no_ring(home: Path) -> None:
    with open_warehouse(home) as connection:
        bearers = connection.execute(
            "select count(*) from landed.merchant_identifiers where value_hash = 'public office'"
        ).fetchall()
        edges = connection.execute(
            "select count(*) from int_merchant_edges where value_hash = 'public office' and known_until > $day",
            {"day": AS_OF},
        ).fetchall()
        found = merchant_rings(connection, AS_OF, with_training=True)
    assert (bearers, edges) == ([(5000,)], [(0,)])
    rings: dict[tuple[bool, str], list[str]] = {}
    for row in found.to_pylist():
        assert row["as_of_date"] == AS_OF
        rings.setdefault((row["is_verified"], row["ring_id"]), []).append(row["merchant_id"])
    ring, framed = [f"m{number:04}" for number in range(10, 14)], [f"m{number:04}" for number in range(20, 24)]
    assert rings == {(True, "m0010"): ring, (False, "m0010"): ring, (False, "m0020"): framed}


def test_no_ring_exists_before_its_identifiers_were_seen(home: Path) -> None:
    with open_warehouse(home) as connection:
        assert merchant_rings(connection, date(2025, 12, 31), with_training=False).num_rows == 0


@pytest.mark.parametrize(
    ("scale", "seed"), [(0.02, 1028), pytest.param(0.1, 1027, marks=pytest.mark.slow)], ids=["small", "large"]
)
def test_the_demos_rings_are_found(scale: float, seed: int) -> None:
    result = measure(scale, seed)
    assert result.precision >= 0.95
    assert result.recall >= 0.85
    assert result.largest_ring <= MAX_MEMBERS
    assert result.largest_component <= MAX_MEMBERS
