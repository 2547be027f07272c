"""Images are read once, from one folder only, and kept as hashes by content; unreadable ones are counted."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ml.signals.images import HASHES, UNREAD, VIEWS
from orchestration.assets.signals import MOST_ADDRESSES, PICTURES
from tests.dbt_fixtures import REPOSITORY, make_warehouse, open_warehouse
from touchstone.core.files import TEMPORARY_PREFIX, sha256_bytes
from touchstone.core.run_record import _peak_memory_mib
from touchstone.demo.images import POOR, altered, draw_product, jpeg
from touchstone.landing import images as landing
from touchstone.landing.images import MOST_BYTES, PictureStore


def draw(folder: Path, *numbers: int, copy: bool = False) -> dict[str, str]:
    """Draws images into a folder; returns address by digest."""
    rows: dict[str, str] = {}
    for number in numbers:
        picture = draw_product(np.random.default_rng([21, number]), f"NO-{number}")
        content = jpeg(altered(np.random.default_rng([22, number]), picture), POOR) if copy else jpeg(picture)
        digest = sha256_bytes(content)
        (folder / f"{digest}.jpg").write_bytes(content)
        rows[digest] = f"{digest}.jpg"
    return rows


def wanted(rows: Mapping[str, str | list[str]], *, in_use: bool = True) -> pa.Table:
    ordered = dict(sorted(rows.items()))
    uris = [uris if isinstance(uris, list) else [uris] for uris in ordered.values()]
    return pa.table(
        {
            "sha256": pa.array(ordered, pa.string()),
            "uris": pa.array(uris, pa.list_(pa.string())),
            "in_use": pa.array([in_use] * len(ordered), pa.bool_()),
        }
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "home" / "signals" / "pictures", threads=2)


def test_adding_images_day_by_day_equals_adding_them_at_once(store: PictureStore, root: Path, tmp_path: Path):
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


def test_a_known_image_is_not_read_again(store: PictureStore, root: Path):
    rows = draw(root, 1, 2)
    store.add(wanted(rows), root)
    for file in root.iterdir():
        file.unlink()
    again = store.add(wanted(rows), root)
    assert (again.hashed, again.unread) == (0, Counter())


def test_a_missing_image_is_hashed_once_it_exists(store: PictureStore, root: Path):
    (digest, address), *_ = draw(root, 1).items()
    content = (root / address).read_bytes()
    (root / address).unlink()
    for _ in range(2):
        assert store.add(wanted({digest: address}), root).unread == Counter({landing.NOT_THERE: 1})
    (root / address).write_bytes(content)
    assert store.add(wanted({digest: address}), root).hashed == 1


def test_bytes_that_are_no_image_are_read_once_and_reported_with_the_reason(store: PictureStore, root: Path):
    """In every run while a row uses them: also in one in which the file or the folder is gone."""
    (root / "x").write_bytes(b"no picture")
    rows = {sha256_bytes(b"no picture"): "x"}
    assert store.add(wanted(rows), root).unread == Counter({"not a picture of a known format": 1})
    (root / "x").unlink()
    for folder in (root, None):
        assert store.add(wanted(rows), folder).unread == Counter({"not a picture of a known format": 1})
    assert store.add(wanted(rows, in_use=False), root).unread == Counter()
    assert store.add(wanted({}), root).unread == Counter()
    assert store.known().to_pylist() == [{"sha256": next(iter(rows)), "reason": "not a picture of a known format"}]


def test_an_address_outside_the_folder_or_with_other_bytes_is_not_read(store: PictureStore, root: Path):
    secret = draw(root.parent, 1)
    (digest, name), *_ = secret.items()
    (root / "link.jpg").symlink_to(root.parent / name)
    (root / "large.jpg").write_bytes(b"")
    os.truncate(root / "large.jpg", MOST_BYTES + 1)
    (root / "folder").mkdir()
    (root / "other.jpg").write_bytes(jpeg(draw_product(np.random.default_rng(1), "")))
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
    assert store.add(wanted({digest: []}), root).unread == Counter({landing.NOT_A_FILE: 1})
    assert store.add(wanted({digest: "other.jpg"}, in_use=False), root).unread == Counter()


def test_special_files_are_not_opened(store: PictureStore, root: Path):
    """A pipe would block the run forever, and a device is endless; links to them are equally refused."""
    (digest, _), *_ = draw(root.parent, 1).items()
    os.mkfifo(root / "pipe.jpg")
    (root / "pipe-link.jpg").symlink_to("pipe.jpg")
    (root / "zero-link.jpg").symlink_to("/dev/zero")
    (root / "circle.jpg").symlink_to("circle.jpg")
    (root / "dangling.jpg").symlink_to("nothing.jpg")
    os.mknod(root / "socket.jpg", 0o600 | stat.S_IFSOCK)
    addresses = {
        "pipe.jpg": landing.SPECIAL,
        "pipe-link.jpg": landing.SPECIAL,
        "socket.jpg": landing.SPECIAL,
        "zero-link.jpg": landing.OUTSIDE,
        "circle.jpg": landing.NOT_THERE,
        "dangling.jpg": landing.NOT_THERE,
    }
    for address, reason in addresses.items():
        added = store.add(wanted({digest: address}), root)
        assert (added.hashed, added.unread) == (0, Counter({reason: 1})), address
    for device in ("zero", "full", "null", "tty", "stdin"):
        unread = store.add(wanted({digest: device}), Path("/dev")).unread
        assert set(unread) <= {landing.SPECIAL, landing.OUTSIDE, landing.NOT_THERE}, device
    assert store.add(wanted({digest: "zero"}), Path("/dev")).unread == Counter({landing.SPECIAL: 1})


def test_any_of_several_addresses_may_lead_to_an_image(store: PictureStore, root: Path):
    """If none does, the reason of the first is reported."""
    (digest, address), *_ = draw(root, 1).items()
    (root / "other.jpg").write_bytes(b"other")
    planted = ["missing.jpg", "http://127.0.0.1:9/x.jpg", "other.jpg"]
    assert store.add(wanted({digest: planted}), root).unread == Counter({landing.NOT_THERE: 1})
    added = store.add(wanted({digest: [*planted, address]}), root)
    assert (added.hashed, added.unread) == (1, Counter())


def test_addresses_of_an_image_are_tried_round_robin_over_its_listings(tmp_path: Path):
    """So one listing with many addresses cannot crowd out others; a brand's own comes first, then what landed first."""
    first, later = {"landed_at": "2026-02-01"}, {"load_id": "load-2", "landed_at": "2026-02-02"}
    crowd = [{"image_id": f"c{i}", "listing_id": "crowd", "sha256": "p", "uri": f"0{i}"} | first for i in range(30)]
    many = [{"image_id": f"m{i}", "listing_id": f"m{i}", "sha256": "p", "uri": f"1{i}"} | later for i in range(30)]
    honest = [
        {"image_id": "h", "listing_id": "honest", "sha256": "p", "uri": "z"} | first,
        {"image_id": "i", "listing_id": "honest", "sha256": "q", "uri": None} | first,
        {"image_id": "j", "listing_id": "honest", "uri": "y"} | first,
    ]
    rows = {
        "listing_images": [*crowd, *honest, *many],
        "brand_logos": [{"brand_id": "b", "sha256": "p", "uri": "logo"} | later],
    }
    make_warehouse(tmp_path, rows, "2026-03-01")
    with open_warehouse(tmp_path, read_only=False) as connection:
        for table in rows:
            connection.execute(f"create view stg_{table} as from landed.{table} where load_id = 'load-2'")
        found = connection.sql(PICTURES).fetchall()
    ((digest, uris, in_use, *_), without) = found
    assert (digest, in_use, len(uris)) == ("p", True, MOST_ADDRESSES)
    assert uris[0] == "logo"
    assert set(uris[1:3]) == {"00", "z"}
    assert without[:3] == ("q", [], False)


def test_remains_of_a_killed_writer_are_removed(store: PictureStore, root: Path):
    rows = draw(root, 1)
    store.add(wanted(rows), root)
    [part] = store._parts()  # where a killed writer leaves partial work
    left = part.with_name(f"{TEMPORARY_PREFIX}left-000001")
    left.mkdir()
    (left / "hashes.parquet").write_bytes(b"half")
    store.add(wanted(rows), root)
    assert not left.exists()
    assert store.known().num_rows == 1


def test_without_a_folder_no_image_is_read(store: PictureStore, root: Path):
    added = store.add(wanted(draw(root, 1, 2)), None)
    assert (added.hashed, added.unread) == (0, Counter({landing.NO_FOLDER: 2}))
    assert store.add(wanted({}), None).unread == Counter()


def test_hashes_of_other_code_versions_are_replaced(
    store: PictureStore, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    rows = draw(root, 1, 2)
    store.add(wanted(rows), root)
    monkeypatch.setattr(landing, "version", lambda name: f"another {name}")
    newer = PictureStore(tmp_path / "home" / "signals" / "pictures", threads=2)
    assert newer.add(wanted(rows), root).hashed == 2
    assert len(list((tmp_path / "home" / "signals" / "pictures").iterdir())) == 1


def test_many_images_are_stored_in_several_parts(store: PictureStore, root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(landing, "PART_PICTURES", 3)
    originals, copies = draw(root, *range(4)), draw(root, *range(4), copy=True)
    assert store.add(wanted(originals | copies), root).hashed == 8
    pairs = {frozenset((row["sha256"], row["like_sha256"])) for row in store.matches().to_pylist()}
    assert pairs == {frozenset(pair) for pair in zip(originals, copies, strict=True)}


def hashed_by_name(_: Path, wanted: pa.Table) -> tuple[tuple[pa.Table, pa.Table], Counter[str]]:
    """Replaces reading images: four whose digests end alike show the same, with noise in one of 32 bits per view."""
    digests = wanted["sha256"].to_pylist()
    shown = [np.random.default_rng(int(digest[1:], 16)).integers(0, 2**64, (1, 4), np.uint64) for digest in digests]
    noise = np.random.default_rng(int(digests[0], 16)).integers(0, 2**64, (3, len(digests), len(VIEWS), 4), np.uint64)
    bits = (np.stack(shown) ^ np.bitwise_and.reduce(noise)).reshape(-1, 4)
    columns = [
        pa.array(np.repeat(np.array(digests, dtype=object), len(VIEWS)), pa.string()),
        pa.array(np.tile(np.arange(len(VIEWS), dtype=np.int8), len(digests))),
        *(pa.array(bits[:, word]) for word in range(4)),
    ]
    return (pa.Table.from_arrays(columns, schema=HASHES), UNREAD.empty_table()), Counter()


def match_many(folder: Path, count: int) -> None:
    """Prints the memory for keeping and matching so many images, in MiB above the baseline, and the matches."""
    landing._hashed = hashed_by_name
    rows = wanted({f"{number % 4}{number // 4:063x}": "x" for number in range(count)})
    before = _peak_memory_mib()
    store = PictureStore(folder / str(count), threads=2)
    store.add(rows, folder)
    assert store.known().num_rows == count
    sys.stdout.write(f"{_peak_memory_mib() - before:.1f} {store.matches().num_rows}")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, record_property: Callable[[str, object], None]):
    """Except for the names of the stored images and matches."""
    taken: dict[int, float] = {}
    for count in (20_000, 100_000):
        imports = "from tests.integration.test_landing_images import Path, match_many"
        script = f"{imports}; match_many(Path({str(tmp_path)!r}), {count})"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=REPOSITORY, check=True, capture_output=True, text=True
        )
        mebibytes, matches = done.stdout.split()
        record_property(f"mebibytes_{count}", mebibytes)
        assert int(matches) >= 0.9 * count / 4 * 6
        taken[count] = float(mebibytes)
    assert taken[100_000] - taken[20_000] < 64
