"""Columns of the demo marketplace have one value per row."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from touchstone.demo.arrays import joined

TEXTS = st.one_of(st.none(), st.text(max_size=3))


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS)))
def test_joined_texts_have_one_value_per_row_even_if_all_parts_are_null(rows: list[tuple[str | None, ...]]) -> None:
    columns = [pa.array([row[place] for row in rows], pa.string()) for place in range(3)]
    expected = ["-".join(part for part in row if part is not None) for row in rows]
    assert joined(columns, "-").to_pylist() == expected
