"""Pictures are read once, from one folder only, and kept as hashes by content; what cannot be read is counted, never a crash."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from groundwork.files import TEMPORARY_PREFIX, sha256_bytes
from orchestration.landing import pictures as landing
from orchestration.landing.pictures import MOST_BYTES, PictureStore
from orchestration.marketplace.pictures import POOR, altered, goods, jpeg


def draw(folder: Path, *numbers: int, copy: bool = False) -> dict[str, str]:
    """Writes pictures into a folder; returns address by digest."""
    rows: dict[str, str] = {}
    for number in numbers:
        picture = goods(np.random.default_rng([21, number]), f"NO-{number}")
        content = jpeg(altered(np.random.default_rng([22, number]), picture), POOR) if copy else jpeg(picture)
        digest = sha256_bytes(content)
        (folder / f"{digest}.jpg").write_bytes(content)
        rows[digest] = f"{digest}.jpg"
    return rows


def wanted(rows: dict[str, str | None]) -> pa.Table:
    ordered = dict(sorted(rows.items()))
    return pa.table({"sha256": pa.array(ordered, pa.string()), "uri": pa.array(ordered.values(), pa.string())})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "home" / "signals" / "pictures", threads=2)


def test_day_by_day_gives_what_all_at_once_does(store: PictureStore, root: Path, tmp_path: Path):
    first, second, copies = draw(root, 1, 2, 3), draw(root, 4, 5), draw(root, 1, 4, copy=True)
    whole = PictureStore(tmp_path / "whole", threads=1)
    assert whole.add(wanted(first | second | copies), root).hashed == 7
    for day, new in ((first, 3), (first | copies, 2), (first | second | copies, 2)):
        assert store.add(wanted(day), root).hashed == new
    assert store.known() == whole.known()
    assert store.matches() == whole.matches()
    pairs = {frozenset((row["sha256"], row["like_sha256"])) for row in store.matches().to_pylist()}
    copied = (next(iter(first)), next(iter(second)))
    assert pairs == {frozenset(pair) for pair in zip(copied, copies, strict=True)}


def test_a_known_picture_is_not_read_again(store: PictureStore, root: Path):
    rows = draw(root, 1, 2)
    store.add(wanted(rows), root)
    for file in root.iterdir():
        file.unlink()
    again = store.add(wanted(rows), root)
    assert (again.hashed, again.unread) == (0, Counter())


def test_a_picture_that_comes_later_is_hashed_then(store: PictureStore, root: Path):
    (digest, address), *_ = draw(root, 1).items()
    content = (root / address).read_bytes()
    (root / address).unlink()
    for _ in range(2):
        assert store.add(wanted({digest: address}), root).unread == Counter({landing.NOT_THERE: 1})
    (root / address).write_bytes(content)
    assert store.add(wanted({digest: address}), root).hashed == 1


def test_bytes_that_are_no_picture_are_read_once_and_say_why(store: PictureStore, root: Path):
    (root / "x").write_bytes(b"no picture")
    rows = {sha256_bytes(b"no picture"): "x"}
    assert store.add(wanted(rows), root).unread == Counter({"not a picture of a known format": 1})
    assert store.add(wanted(rows), root).unread == Counter()
    assert store.known().to_pylist() == [{"sha256": next(iter(rows)), "reason": "not a picture of a known format"}]


def test_an_address_leads_nowhere_else(store: PictureStore, root: Path):
    secret = draw(root.parent, 1)
    (digest, name), *_ = secret.items()
    (root / "link.jpg").symlink_to(root.parent / name)
    (root / "large.jpg").write_bytes(b"")
    os.truncate(root / "large.jpg", MOST_BYTES + 1)
    (root / "folder").mkdir()
    (root / "other.jpg").write_bytes(jpeg(goods(np.random.default_rng(1), "")))
    for address, reason in {
        f"../{name}": landing.OUTSIDE,
        str(root.parent / name): landing.OUTSIDE,
        "link.jpg": landing.OUTSIDE,
        f"file://{root.parent / name}": landing.NOT_A_FILE,
        "http://127.0.0.1:9/x.jpg": landing.NOT_A_FILE,
        "a\0b": landing.NOT_A_FILE,
        "x" * 5000: landing.NOT_THERE,
        "": landing.NOT_THERE,
        "folder": landing.NOT_THERE,
        "large.jpg": landing.TOO_LARGE,
        "other.jpg": landing.OTHER_BYTES,
    }.items():
        added = store.add(wanted({digest: address}), root)
        assert (added.hashed, added.unread) == (0, Counter({reason: 1})), address
    assert store.add(wanted({digest: None}), root).unread == Counter({landing.NOT_A_FILE: 1})


def test_what_a_killed_writer_left_goes(store: PictureStore, root: Path):
    rows = draw(root, 1)
    store.add(wanted(rows), root)
    [part] = store._parts()  # where a writer that is killed leaves its work
    left = part.with_name(f"{TEMPORARY_PREFIX}left-000001")
    left.mkdir()
    (left / "hashes.parquet").write_bytes(b"half")
    store.add(wanted(rows), root)
    assert not left.exists()
    assert store.known().num_rows == 1


def test_without_a_folder_no_picture_is_read(store: PictureStore, root: Path):
    added = store.add(wanted(draw(root, 1, 2)), None)
    assert (added.hashed, added.unread) == (0, Counter({landing.NO_FOLDER: 2}))
    assert store.add(wanted({}), None).unread == Counter()


def test_hashes_of_other_code_go(store: PictureStore, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    rows = draw(root, 1, 2)
    store.add(wanted(rows), root)
    monkeypatch.setattr(landing, "version", lambda name: f"another {name}")
    newer = PictureStore(tmp_path / "home" / "signals" / "pictures", threads=2)
    assert newer.add(wanted(rows), root).hashed == 2
    assert len(list((tmp_path / "home" / "signals" / "pictures").iterdir())) == 1


def test_many_pictures_take_several_parts(store: PictureStore, root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(landing, "PART_PICTURES", 3)
    originals, copies = draw(root, *range(4)), draw(root, *range(4), copy=True)
    assert store.add(wanted(originals | copies), root).hashed == 8
    pairs = {frozenset((row["sha256"], row["like_sha256"])) for row in store.matches().to_pylist()}
    assert pairs == {frozenset(pair) for pair in zip(originals, copies, strict=True)}
