"""Pictures are read once per version of the reader and set of logos: newest first, so many per run, resuming after a kill."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ml.signals.images import open_rgb
from ml.signals.picture_reader import FoundLogo, FoundText, format_region
from orchestration.assets.signals import describe_read
from touchstone.core.files import TEMPORARY_PREFIX
from touchstone.core.settings import Settings
from touchstone.demo.images import jpeg
from touchstone.landing import picture_readings
from touchstone.landing.picture_readings import Read, ReadingStore, contacts_of, logos_of, statuses_of, texts_of

REGION = "0.1000,0.1000 0.5000,0.1000 0.5000,0.2000 0.1000,0.2000"


class FakeReader:
    """Reads a picture's size as text, and every logo as found; fails at a given number of pictures."""

    def __init__(self, logos: Mapping[str, np.ndarray], *, fails_after: int = 1_000) -> None:
        self.logos, self.left, self.sizes = sorted(logos), fails_after, []

    def read(self, picture: np.ndarray) -> tuple[list[FoundText], list[FoundLogo]]:
        """Reads a picture."""
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.sizes.append(picture.shape[1])
        texts = [FoundText(f"call +49 151 23456{picture.shape[1]:03d} 1:1", REGION, 0.9)]
        return texts, [FoundLogo(logo, place, REGION, 0.8) for place, logo in enumerate(self.logos)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ReadingStore:
    return ReadingStore(tmp_path / "signals" / "picture_readings")


def pictures(root: Path, *widths: int) -> pa.Table:
    """Writes pictures of some widths; returns what is wanted, in that order."""
    rows = []
    for width in widths:
        content = jpeg(Image.new("RGB", (width, 40), "white"))
        (root / f"{width}.jpg").write_bytes(content)
        rows.append({"sha256": hashlib.sha256(content).hexdigest(), "uris": [f"{width}.jpg"]})
    return wanted(rows)


def wanted(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(
        list(rows), schema=pa.schema([("sha256", pa.string()), ("uris", pa.list_(pa.string()))])
    )


NO_LOGOS = wanted([])


def add(store: ReadingStore, rows: pa.Table, root: Path | None, logos: pa.Table = NO_LOGOS, **options: Any) -> Read:
    return store.add(rows, logos, root, **{"most": 100, "make_reader": FakeReader, "version": "1"} | options)


def test_a_run_reads_the_first_of_what_is_left_and_a_picture_once(store: ReadingStore, root: Path):
    rows = pictures(root, 50, 60, 70)
    assert add(store, rows, root, most=2) == Read(read=2, known=2, wanted=3, stale=0)
    assert store.known()["sha256"].to_pylist() == sorted(rows["sha256"].to_pylist()[:2])
    assert add(store, rows, root, most=2) == Read(read=1, known=3, wanted=3, stale=0)

    def unused(_: Mapping[str, np.ndarray]) -> FakeReader:
        raise AssertionError

    assert add(store, rows, root, make_reader=unused) == Read(read=0, known=3, wanted=3, stale=0)


def test_readings_at_once_and_over_several_runs_are_the_same_bytes(store: ReadingStore, root: Path, tmp_path: Path):
    rows, whole = pictures(root, 50, 60, 70, 80, 90), ReadingStore(tmp_path / "whole")
    add(whole, rows, root)
    for _ in range(3):
        add(store, rows, root, most=2)
    for target, readings in (("one", store.known()), ("other", whole.known())):
        pq.write_table(texts_of(readings), tmp_path / target)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert store.known().combine_chunks() == whole.known().combine_chunks()


def test_a_killed_run_keeps_what_it_had_stored(store: ReadingStore, root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(picture_readings, "PART_PICTURES", 2)
    rows = pictures(root, 50, 60, 70, 80, 90)
    with pytest.raises(KeyboardInterrupt):
        add(store, rows, root, make_reader=lambda logos: FakeReader(logos, fails_after=3))
    assert store.known().num_rows == 2
    (root.parent / "signals" / "picture_readings" / f"{TEMPORARY_PREFIX}x-000009.parquet").write_bytes(b"torn")
    assert add(store, rows, root).read == 3
    assert store.known().num_rows == 5
    assert not list(root.parent.rglob(f"{TEMPORARY_PREFIX}*"))


def test_new_logos_and_versions_read_everything_again_after_what_was_never_read(store: ReadingStore, root: Path):
    rows, logos = pictures(root, 50, 60), pictures(root, 33)
    add(store, rows, root)
    rows = pa.concat_tables([rows, pictures(root, 70)])
    readers: list[FakeReader] = []

    def made(images: Mapping[str, np.ndarray]) -> FakeReader:
        readers.append(FakeReader(images))
        return readers[-1]

    assert add(store, rows, root, logos, most=2, make_reader=made) == Read(read=2, known=3, wanted=3, stale=1)
    assert readers[-1].sizes == [70, 50]
    assert texts_of(store.known()).num_rows == 3  # the one that was not read again keeps its earlier reading
    assert logos_of(store.known()).num_rows == 2
    assert add(store, rows, root, logos).read == 1
    assert add(store, rows, root, logos).read == 0
    assert add(store, rows, root, logos, version="2").read == 3


def test_what_cannot_be_opened_is_kept_with_the_reason_and_a_missing_file_is_tried_again(
    store: ReadingStore, root: Path
):
    (root / "x").write_bytes(b"no picture")
    broken = wanted([{"sha256": hashlib.sha256(b"no picture").hexdigest(), "uris": ["x"]}])
    rows = pa.concat_tables([broken, pictures(root, 50)])
    (root / "50.jpg").rename(root / "elsewhere")
    assert add(store, rows, root) == Read(read=1, known=1, wanted=2, stale=0)
    assert [row["reason"] for row in statuses_of(store.known()).to_pylist()] == ["not a picture of a known format"]
    assert add(store, rows, root, pictures(root, 33)).read == 0  # new logos make no difference to it
    (root / "elsewhere").rename(root / "50.jpg")
    assert add(store, rows, root) == Read(read=1, known=2, wanted=2, stale=0)


def test_without_a_folder_or_a_budget_nothing_is_read_and_earlier_readings_stay(store: ReadingStore, root: Path):
    rows = pictures(root, 50, 60)
    assert add(store, rows, None) == Read(read=0, known=0, wanted=2, stale=0)
    assert add(store, rows, root, most=0) == Read(read=0, known=0, wanted=2, stale=0)
    assert store.known().num_rows == 0
    add(store, rows, root, most=1)
    assert add(store, rows, None, pictures(root, 33)) == Read(read=0, known=1, wanted=2, stale=0)


def test_parts_are_merged_and_readings_of_erased_pictures_go(
    store: ReadingStore, root: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(picture_readings, "MOST_PARTS", 3)
    rows = pictures(root, 50, 60, 70, 80, 90)
    for _ in range(5):
        add(store, rows, root, most=1)
    before = store.known()
    assert (
        len(list((root.parent / "signals" / "picture_readings").iterdir())) == 2
    )  # four were merged, then one was added
    add(store, rows.slice(1), root)
    assert store.known().num_rows == 4
    assert before.num_rows == 5
    add(store, rows.slice(0, 0), root)  # a table that is not landed at all says nothing about its pictures
    assert store.known().num_rows == 4


def test_contacts_are_found_in_texts_from_which_masked_words_are_removed(store: ReadingStore, root: Path):
    add(store, pictures(root, 50), root)
    texts = texts_of(store.known())
    assert [(row["line"], row["text"], row["region"]) for row in texts.to_pylist()] == [
        (0, "call +49 151 23456050 1:1", REGION)
    ]
    assert [(row["kind"], row["value"]) for row in contacts_of(texts).to_pylist()] == [("phone", "+49 151 23456050")]
    masked = texts_of(store.known(), ("1:1", "call"))
    assert [row["text"] for row in masked.to_pylist()] == ["49 151 23456050"]
    assert texts_of(store.known(), (".*",)).num_rows == 0


def test_a_large_picture_is_reduced_and_transparent_parts_are_white():
    clear = Image.new("RGBA", (300, 100), (0, 0, 0, 0))
    content = jpeg(Image.new("RGB", (300, 100), "red"))
    shown = open_rgb(content, 90)
    assert not isinstance(shown, str)
    assert shown.size == (90, 30)
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    shown = open_rgb(buffer.getvalue(), 90)
    assert not isinstance(shown, str)
    assert shown.getpixel((0, 0)) == (255, 255, 255)


def test_regions_are_shares_of_the_picture():
    assert format_region(((10.0, 5.0), (110.0, -1.0)), 100, 50) == "0.1000,0.1000 1.0000,0.0000"


def test_the_note_names_what_is_left_and_what_decides_it():
    some = Read(read=1, known=312, wanted=4_000, stale=0)
    line = "Pictures read for logos and text: 312 of 4,000"
    assert describe_read(some, is_possible=True, most=200) == (
        f"{line}. A run reads up to 200 (TOUCHSTONE_PICTURES_PER_RUN)."
    )
    assert "touchstone[pictures]" in describe_read(some, is_possible=False, most=0)
    assert describe_read(Read(0, 4, 4, 0), is_possible=True, most=200) == "Pictures read for logos and text: 4 of 4."
    assert "3 of them with earlier logos" in describe_read(Read(0, 4, 4, 3), is_possible=True, most=200)


def test_none_of_the_demos_pictures_is_read_by_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TOUCHSTONE_PICTURES_PER_RUN")
    assert Settings().most_pictures_read == 0
    assert Settings(sources=Path("x.yml")).most_pictures_read == 200
    assert Settings(pictures_per_run=7).most_pictures_read == 7
