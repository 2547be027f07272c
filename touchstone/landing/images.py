"""Perceptual hashes of the landed listing images. Each image is read and hashed once; its bytes are not stored.

Addresses of images come from listings and are untrusted: only files below the folder that the sources file names are read, and
only if they have the digest in their row. `ml/signals/images.py` computes the hashes and matches images. Hashes are stored in
parts, each with its matches among all earlier parts, so that the cost of a day depends only on its new images.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.signals import images as signal
from touchstone.core.failpoints import failpoint
from touchstone.core.files import (
    LargeFileError,
    SpecialFileError,
    discard,
    read_regular,
    remove_temporaries,
    replacing_directory,
    sha256_bytes,
    sha256_file,
)

MOST_BYTES = 20_000_000
"""A larger image file is not read."""
PART_PICTURES, BATCH_PICTURES = 5_000, 50
NO_FOLDER = "the sources file names no folder of pictures"
NOT_A_FILE, NOT_THERE, OUTSIDE = "not the address of a file", "file does not exist", "outside the folder of pictures"
OTHER_BYTES, TOO_LARGE, SPECIAL = "digest differs from its row", "too large", "not a regular file"
NO_DIGEST = "no digest in its row"


@dataclass
class Added:
    """The result of hashing images.

    Attributes:
        hashed: Number of images that were hashed.
        unread: Number of images in use without a hash, by reason, including those of earlier runs. The next run tries again
            those whose file may still arrive.
    """

    hashed: int = 0
    unread: Counter[str] = field(default_factory=Counter)


class PictureStore:
    """The hashes of a home's images, stored below one folder."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        """Sets the folder; nothing is read."""
        self._all = folder
        self._threads = threads

    @cached_property
    def _folder(self) -> Path:
        """Folder of the hashes by this code and these library versions; others are not comparable."""
        versions = [sha256_file(Path(signal.__file__)), version("pillow"), version("scipy")]
        return self._all / sha256_bytes(" ".join(versions).encode())[:12]

    def _parts(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("[0-9]*") if path.is_dir())

    def _read(self, name: str, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        columns = columns or schema.names
        yield schema.empty_table().select(columns)
        for part in self._parts():
            yield pq.read_table(part / f"{name}.parquet", schema=schema, columns=columns)

    def add(self, wanted: pa.Table, root: Path | None) -> Added:
        """Hashes the images that are not hashed yet, and matches them.

        Args:
            wanted: One row per image, sorted by `sha256`, with `uris` (any may be valid) and `in_use` (whether it is counted as
                unread).
            root: The folder of the images, which addresses may not leave; without one, no image is read.

        Returns:
            How many images were hashed and could not be read.
        """
        remove_temporaries(self._all)
        for other in self._all.glob("*"):
            if other != self._folder:
                discard(other)
        new = wanted.filter(pc.invert(pc.is_in(wanted["sha256"], self.known()["sha256"])))
        added = Added()
        if root is None:
            added.unread[NO_FOLDER] = new.filter(new["in_use"]).num_rows
        else:
            for start in range(0, new.num_rows, PART_PICTURES):
                self._add_part(new.slice(start, PART_PICTURES), root.resolve(), added)
        in_use = wanted.filter(wanted["in_use"])["sha256"]
        for unread in self._read("unread", signal.UNREAD):
            added.unread += Counter(unread.filter(pc.is_in(unread["sha256"], in_use))["reason"].to_pylist())
        return added

    def _add_part(self, new: pa.Table, root: Path, added: Added) -> None:
        batches = [new.slice(start, BATCH_PICTURES) for start in range(0, new.num_rows, BATCH_PICTURES)]
        with ThreadPoolExecutor(self._threads) as pool:
            done = list(pool.map(partial(_hashed, root), batches))
        hashes, unread = (pa.concat_tables([tables[index] for tables, _ in done]) for index in range(2))
        for _, absent in done:
            added.unread += absent
        added.hashed += pc.sum(pc.equal(hashes["view"], 0)).as_py() or 0
        if not hashes.num_rows and not unread.num_rows:
            return
        matches = [signal.match(hashes, hashes)]
        for before in self._read("hashes", signal.HASHES):
            matches += [signal.match(hashes, before), signal.match(before, hashes)]
        part = self._folder / f"{len(self._parts()):06d}"
        with failpoint("images.write", part), replacing_directory(part) as temporary:
            pq.write_table(hashes, temporary / "hashes.parquet")
            pq.write_table(unread, temporary / "unread.parquet")
            pq.write_table(pa.concat_tables(matches), temporary / "matches.parquet")

    def known(self) -> pa.Table:
        """Returns `sha256` and `reason` of every image that was read, sorted; the reason is null if it has a hash."""
        views = self._read("hashes", signal.HASHES, ["sha256", "view"])
        hashed = [table.filter(pc.equal(table["view"], 0)).select(["sha256"]) for table in views]
        rows = [table.append_column("reason", pa.nulls(table.num_rows, pa.string())) for table in hashed]
        return pa.concat_tables([*rows, *self._read("unread", signal.UNREAD)], promote_options="permissive").sort_by(
            "sha256"
        )

    def matches(self) -> pa.Table:
        """Returns the pairs of matching images with their least distance, sorted; `sha256` is the lesser of a pair."""
        rows = pa.concat_tables(self._read("matches", signal.MATCHES))
        both = [rows["sha256"], rows["like_sha256"]]
        lesser, greater = pc.min_element_wise(*both), pc.max_element_wise(*both)
        return signal.nearest(pa.table({"sha256": lesser, "like_sha256": greater, "distance": rows["distance"]}))


def _hashed(root: Path, wanted: pa.Table) -> tuple[tuple[pa.Table, pa.Table], Counter[str]]:
    """Reads and hashes a batch; also returns the number of files that may still arrive, by reason."""
    read: dict[str, bytes] = {}
    absent: Counter[str] = Counter()
    for row in wanted.to_pylist():
        content = read_image(root, row["sha256"], row["uris"])
        if isinstance(content, bytes):
            read[row["sha256"]] = content
        elif row["in_use"]:
            absent[content] += 1
    contents = pa.array(read.values(), pa.large_binary())
    return signal.hash_images(pa.table({"sha256": pa.array(read, pa.string()), "content": contents})), absent


def read_image(root: Path, sha256: str, uris: list[str]) -> bytes | str:
    """Reads an image.

    Args:
        root: The folder of the images.
        sha256: The image's digest.
        uris: Addresses of the image.

    Returns:
        The bytes from the first address that leads to them, or the reason why the first address does not.
    """
    reasons: list[str] = []
    for uri in uris:
        content = _read_bytes(root, uri)
        if isinstance(content, bytes):
            if sha256_bytes(content) == sha256:
                return content
            content = OTHER_BYTES
        reasons.append(content)
    return reasons[0] if reasons else NOT_A_FILE


def _read_bytes(root: Path, uri: str) -> bytes | str:
    """Returns the bytes at an address, or the reason why there are none."""
    if "://" in uri or "\0" in uri:
        return NOT_A_FILE
    file = Path(os.path.realpath(root / uri))  # unlike Path.resolve, it accepts cyclic links
    if not file.is_relative_to(root):
        return OUTSIDE
    try:
        return read_regular(file, MOST_BYTES, follow=False)
    except LargeFileError:
        return TOO_LARGE
    except SpecialFileError:
        return SPECIAL
    except OSError:
        return NOT_THERE
