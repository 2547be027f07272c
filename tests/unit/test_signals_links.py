"""Which merchants form a ring: those with enough rare values in common, up to a maximum size."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from ml.signals.links import EDGES, MOST_MEMBERS, RINGS, alike, rings


def edges(*values: list[str]) -> pa.Table:
    """All pairs of merchants that share each value."""
    rows = [
        (*sorted(pair), "device", f"value-{number}")
        for number, bearers in enumerate(values)
        for pair in combinations(bearers, 2)
    ]
    columns = zip(*rows, strict=True) if rows else ([] for _ in EDGES)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=list(EDGES))


def found(*values: list[str]) -> dict[str, str]:
    table = rings(edges(*values))
    assert table.schema == RINGS
    return dict(zip(table["merchant_id"].to_pylist(), table["ring_id"].to_pylist(), strict=True))


def test_without_edges_there_is_no_ring() -> None:
    assert found() == {}


@pytest.mark.parametrize("members", range(2, 21))
@pytest.mark.parametrize("shared", [1, 2])
def test_two_shared_values_form_no_ring_for_any_number_of_merchants(shared: int, members: int) -> None:
    assert found(*[[f"m{number:02}" for number in range(members)]] * shared) == {}


@pytest.mark.parametrize(("members", "shared", "in_ring"), [(2, 3, 0), (2, 4, 2), (3, 3, 3), (12, 3, 0), (12, 4, 12)])
def test_small_groups_and_common_values_need_more_shared_values(members: int, shared: int, in_ring: int) -> None:
    group = [f"m{number:02}" for number in range(members)]
    assert found(*[group] * shared) == dict.fromkeys(group[:in_ring], "m00")


def test_pairs_need_few_shared_values_in_a_densely_connected_group() -> None:
    pairs = found(["a", "b"], ["a", "c"], ["a", "d"], ["b", "c"], ["b", "d"], ["c", "d"])
    assert pairs == dict.fromkeys("abcd", "a")


def test_a_merchant_with_a_single_tie_is_no_ring_member() -> None:
    ring = [["b", "c", "d"]] * 4
    assert found(*ring, ["a", "b"]) == dict.fromkeys("bcd", "b")
    assert found(*ring, ["a", "b"], ["a", "c"]) == dict.fromkeys("abcd", "a")


def test_a_chain_forms_no_ring() -> None:
    chain = [[f"m{number:02}", f"m{number + 1:02}"] for number in range(40)]
    assert found(*chain) == {}


def test_equal_values_of_different_kinds_are_distinct() -> None:
    table = edges(*[["a", "b", "c"]] * 3)
    same = table.set_column(3, "value_hash", pa.array(["x"] * table.num_rows))
    assert rings(same).num_rows == 0
    kinds = pa.array([kind for kind in ("device", "phone", "key") for _ in range(3)])
    assert rings(same.set_column(2, "kind", kinds)).num_rows == 3


def test_a_too_large_component_is_split_by_its_most_common_values() -> None:
    """Sixty rings of five, and three values per ring that connect it to the next."""
    members = [[f"m{ring:02}-{number}" for number in range(5)] for ring in range(60)]
    own = [ring for ring in members for _ in range(4)]
    bridges = [members[at] + members[at + 1] for at in range(59) for _ in range(3)]
    assert found(*own, *bridges) == {member: ring[0] for ring in members for member in ring}


def test_a_too_large_component_that_cannot_be_split_is_no_ring() -> None:
    circle = [f"m{number:03}" for number in range(MOST_MEMBERS + 1)]
    ties = [[circle[at - 1], circle[at]] for at in range(len(circle)) for _ in range(2)]
    assert found(*ties) == {}
    allowed = circle[:MOST_MEMBERS]
    ties = [[allowed[at - 1], allowed[at]] for at in range(len(allowed)) for _ in range(2)]
    assert found(*ties) == dict.fromkeys(allowed, "m000")


def test_a_public_phone_forms_no_ring() -> None:
    """Even with all its pairs, which int_merchant_edges never includes."""
    group = [f"m{number:04}" for number in range(300)]
    assert found(group, group, group, group) == {}


def test_rings_do_not_depend_on_the_order_of_edges() -> None:
    rng = np.random.default_rng(3)
    values = [[f"m{number:03}" for number in sorted(set(rng.integers(0, 60, 3)))] for _ in range(200)]
    table = edges(*values)
    assert rings(table).num_rows > 0
    assert rings(table.take(pa.array(rng.permutation(table.num_rows)))).equals(rings(table))


def pairs_alike(members: list[str]) -> pa.Table:
    """Each pair of the members, by titles and by images."""
    rows = [(*pair, kind) for kind in ("picture", "title") for pair in combinations(members, 2)]
    return pa.table([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], names=list(EDGES[:3]))


def test_likeness_alone_forms_no_ring() -> None:
    members = list("abcdef")
    likeness = alike(pairs_alike(members))
    assert rings(likeness).num_rows == 0
    assert rings(pa.concat_tables([likeness, edges(members)]))["merchant_id"].to_pylist() == members


def test_separate_groups_of_alike_merchants_share_no_value() -> None:
    likeness = alike(pa.concat_tables([pairs_alike(list("abc")), pairs_alike(list("xyz"))]))
    values = {(row["merchant_id_a"] > "m", row["kind"], row["value_hash"]) for row in likeness.to_pylist()}
    assert len(values) == 4
    assert len({value for _, _, value in values}) == 4


def test_without_likeness_there_is_no_edge() -> None:
    assert alike(pairs_alike(list("ab")).slice(0, 0)).num_rows == 0
