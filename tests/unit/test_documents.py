"""Lookup of the texts that belong to listings and merchants on a day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from ml.documents import Documents, read_documents
from ml.training_set import EPOCH

FOREVER = date(9999, 12, 31)


def day(text: str) -> int:
    """Returns a date as the documents count days."""
    return (date.fromisoformat(text) - EPOCH).days


def documents(folder: Path, rows: list[tuple[str, str, date, date, str | None]]) -> Documents:
    """Writes and reads a file of texts."""
    names = ("listing_id", "merchant_id", "known_from", "known_until", "title")
    schema = pa.schema([(name, pa.date32() if name.startswith("known") else pa.string()) for name in names])
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in names]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True)), schema=schema), folder / "texts.parquet")
    return read_documents(folder / "texts.parquet")


ROWS: list[tuple[str, str, date, date, str | None]] = [
    ("l1", "m1", date(2026, 1, 1), date(2026, 2, 1), "old"),
    ("l1", "m1", date(2026, 2, 1), FOREVER, "new"),
    ("l2", "m1", date(2026, 1, 10), FOREVER, "other"),
    ("l3", "m2", date(1900, 1, 1), FOREVER, "new"),
    ("l4", "m2", date(2026, 1, 1), FOREVER, None),
]


def test_a_listing_has_the_text_that_it_shows_on_the_day(tmp_path: Path):
    found = documents(tmp_path, ROWS)
    days = ["2025-12-31", "2026-01-31", "2026-02-01", "2026-03-01", "2026-03-01", "2026-03-01"]
    listings = ["l1", "l1", "l1", "l3", "l4", "unknown"]
    places = found.places(
        pa.array(listings), pa.array(["m1"] * 3 + ["m2"] * 2 + ["m9"]), np.array([day(one) for one in days])
    )
    texts = [found.texts[index].as_py() if index >= 0 else None for index in found.of_listings(places).tolist()]
    assert texts == [None, "old", "new", "new", None, None]


def test_a_merchants_mean_excludes_the_listing_itself_and_what_comes_later(tmp_path: Path):
    found = documents(tmp_path, ROWS)
    value = np.array([{"old": 1.0, "new": 3.0, "other": 10.0}[text.as_py()] for text in found.texts])
    places = found.places(
        pa.array(["l1", "l1", "l2", "l2", "l3"]),
        pa.array(["m1", "m1", "m1", "m1", "m2"]),
        np.array([day(one) for one in ("2026-01-05", "2026-01-10", "2026-01-31", "2026-02-01", "2026-02-01")]),
    )
    np.testing.assert_array_equal(found.merchant_means(places, value), [np.nan, 10.0, 1.0, 3.0, np.nan])
    merchants = found.places(None, pa.array(["m1", "m2", "m9"]), np.full(3, day("2026-02-01")))
    np.testing.assert_array_equal(found.merchant_means(merchants, value), [6.5, 3.0, np.nan])
    row, text = found.of_merchants(merchants, most=5)
    assert list(zip(row.tolist(), found.texts.take(pa.array(text)).to_pylist(), strict=True)) == [
        (0, "other"),
        (0, "new"),
        (1, "new"),
    ]
    assert found.of_merchants(merchants, most=1)[0].tolist() == [0, 1]


def test_no_texts_at_all_are_unknown_everywhere(tmp_path: Path):
    found = documents(tmp_path, [])
    places = found.places(pa.array(["l1"]), pa.array(["m1"]), np.array([day("2026-02-01")]))
    assert found.of_listings(places).tolist() == [-1]
    assert np.isnan(found.merchant_means(places, np.zeros(0))).all()
    assert found.of_merchants(places, most=3)[0].tolist() == []


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 30), st.integers(1, 20), st.integers(-3, 3)),
        max_size=12,
        unique_by=lambda one: one[0],
    ),
    st.integers(0, 60),
)
def test_means_equal_those_of_a_loop(spans: list[tuple[int, int, int, int, int]], today: int):
    texts = [float(value) for *_, value in spans]
    found = Documents(
        pa.array([str(index) for index in range(len(spans))], pa.string()),
        pa.array([f"l{listing}" for listing, *_ in sorted(spans)], pa.string()),
        pa.array(["m0", "m1", "m2"]),
        *(
            np.array(column, dtype=np.int64)
            for column in zip(
                *[
                    (spans.index(span), place, span[1], span[2], span[2] + span[3])
                    for place, span in enumerate(sorted(spans))
                ],
                strict=True,
            )
        ) if spans else (np.zeros(0, dtype=np.int64),) * 5,
    )  # fmt: skip
    listings = [f"l{index}" for index in range(5)] * 3
    merchants = [f"m{index}" for index in range(3) for _ in range(5)]
    places = found.places(pa.array(listings), pa.array(merchants), np.full(15, today))
    expected = []
    for listing, merchant in zip(listings, merchants, strict=True):
        of_listing = [span for span in spans if f"l{span[0]}" == listing and span[2] <= today < span[2] + span[3]]
        shown = [span for span in spans if f"m{span[1]}" == merchant and span[2] <= today < span[2] + span[3]]
        # A listing belongs to one merchant: where rows say otherwise, its text is subtracted from nobody else's.
        others = [span[4] for span in shown if span not in of_listing]
        expected.append(np.mean(others) if others else np.nan)
    belongs = np.array([
        all(f"m{span[1]}" == merchant for span in spans if f"l{span[0]}" == listing)
        for listing, merchant in zip(listings, merchants, strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(found.merchant_means(places, np.array(texts))[belongs], np.array(expected)[belongs])
