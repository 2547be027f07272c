"""Readings of pictures: the logos and the text inside them, kept by content.

A picture is read once by one version of the reader and one set of logos. Reading takes a second or more, so a run reads so many
pictures and no more, the newest first, and keeps them in parts of `PART_PICTURES`: a killed run loses one part. What an earlier
version or an earlier set of logos found counts until the picture is read again.

Which pictures there are is the caller's matter, and how one is read that of `ml/signals/picture_reader.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypedDict

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.signals.images import open_rgb
from ml.signals.ocr import TextLine, contacts
from ml.signals.picture_reader import MOST_SIDE, FoundLogo, FoundText, PictureReader, reader_version
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, remove_temporaries, replacing, sha256_bytes
from touchstone.landing.images import read_image
from touchstone.landing.sql import masking

logger = logging.getLogger("touchstone")
PART_PICTURES: Final = 20
MOST_PARTS: Final = 50
"""So many parts are merged into one."""
PROGRESS_SECONDS: Final = 30.0
LOGO_SIDE: Final = 512  # pixels: more than a logo is compared at

_STRING = pa.string()
_TEXT = pa.struct([("text", _STRING), ("region", _STRING), ("confidence", pa.float64())])
_LOGO = pa.struct([("logo", _STRING), ("place", pa.int32()), ("region", _STRING), ("score", pa.float64())])
READINGS: Final = pa.schema(
    [
        pa.field("sha256", _STRING, nullable=False),
        pa.field("reader", _STRING, nullable=False),
        pa.field("logos_digest", _STRING, nullable=False),
        pa.field("reason", _STRING),
        pa.field("texts", pa.list_(_TEXT), nullable=False),
        pa.field("logos", pa.list_(_LOGO), nullable=False),
    ]
)
"""One row per reading: by which version of the reader and with which logos; the reason if the picture cannot be opened."""
TEXTS: Final = pa.schema(
    [("sha256", _STRING), ("line", pa.int32()), ("text", _STRING), ("region", _STRING), ("confidence", pa.float64())]
)
CONTACTS: Final = pa.schema(
    [("sha256", _STRING), ("line", pa.int32()), ("kind", _STRING), ("value", _STRING), ("region", _STRING)]
)
LOGOS: Final = pa.schema(
    [
        ("sha256", _STRING),
        ("place", pa.int32()),
        ("logo_sha256", _STRING),
        ("region", _STRING),
        ("score", pa.float64()),
    ]
)


class _Wanted(TypedDict):
    sha256: str
    uris: list[str]


class Reader(Protocol):
    """What reads a picture; `PictureReader` does."""

    def read(self, picture: npt.NDArray[np.uint8]) -> tuple[list[FoundText], list[FoundLogo]]:
        """Returns the lines of text and the possible logos in a picture (RGB)."""


@dataclass(frozen=True)
class Read:
    """The result of reading pictures.

    Attributes:
        read: Number of pictures that were read now.
        known: Number of the wanted pictures with a reading, of now or earlier, also if they cannot be opened.
        wanted: Number of the wanted pictures.
        stale: Number of those whose reading is by another version of the reader or with other logos.
    """

    read: int
    known: int
    wanted: int
    stale: int


class ReadingStore:
    """The readings of a home's pictures, stored in one folder."""

    def __init__(self, folder: Path) -> None:
        """Sets the folder; nothing is read."""
        self._folder = folder

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.parquet"))

    def known(self) -> pa.Table:
        """Returns the newest reading of each picture, sorted by its digest, with schema `READINGS`."""
        return _newest([pq.read_table(part, schema=READINGS) for part in self._parts()])

    def add(
        self,
        wanted: pa.Table,
        logos: pa.Table,
        root: Path | None,
        *,
        most: int,
        make_reader: Callable[[Mapping[str, npt.NDArray[np.uint8]]], Reader] = PictureReader,
        version: str | None = None,
    ) -> Read:
        """Reads pictures that are not read yet, or not by this version and with these logos.

        Args:
            wanted: One row per picture of any load, with `sha256` and `uris`; the first are read first.
            logos: The same of the brands' logos.
            root: The folder of the pictures, which addresses may not leave; without one, nothing is read.
            most: How many pictures are read at most.
            make_reader: Makes the reader of logos by digest. It is called only if there is something to read.
            version: The version of the reader; by default that of `PictureReader`.
        """
        remove_temporaries(self._folder)
        self._merge(wanted)
        version = version or reader_version()
        bank = dict(_logo_images(logos, root.resolve())) if root and most else {}
        logos_digest = sha256_bytes(canonical_json(sorted(bank)))[:12]
        known = {
            row["sha256"]: (row["reader"], row["logos_digest"], row["reason"])
            for row in self.known().select(["sha256", "reader", "logos_digest", "reason"]).to_pylist()
        }

        def is_stale(sha256: str) -> bool:
            reader, digest, reason = known[sha256]
            return reader != version or (reason is None and digest != logos_digest)

        rows: list[_Wanted] = wanted.select(["sha256", "uris"]).to_pylist()
        new = [row for row in rows if row["sha256"] not in known]
        stale = [row for row in rows if row["sha256"] in known and is_stale(row["sha256"])] if root and most else []
        read: list[str] = []
        if root and most and (new or stale):
            labels = {"reader": version, "logos_digest": logos_digest}
            for part in _readings([*new, *stale], root.resolve(), most, lambda: make_reader(bank)):
                self._write(self._next(), pa.Table.from_pylist([row | labels for row in part], schema=READINGS))
                read += [row["sha256"] for row in part]
        done = set(read)
        return Read(
            read=len(read),
            known=sum(row["sha256"] in known or row["sha256"] in done for row in rows),
            wanted=len(rows),
            stale=sum(row["sha256"] not in done for row in stale),
        )

    def _next(self) -> Path:
        parts = self._parts()
        return self._folder / f"{int(parts[-1].stem) + 1 if parts else 0:06d}.parquet"

    def _write(self, part: Path, rows: pa.Table) -> None:
        with failpoint("images.write", part), replacing(part) as temporary:
            pq.write_table(rows, temporary)

    def _merge(self, wanted: pa.Table) -> None:
        """Merges the parts if they are many, and removes readings of pictures that no load has any more, as after an erasure.

        The merged part is the newest one: if a kill leaves older ones, the next run removes them.
        """
        parts, known = self._parts(), self.known()
        kept = known.filter(pc.is_in(known["sha256"], wanted["sha256"])) if wanted.num_rows else known
        if len(parts) > MOST_PARTS or kept.num_rows < known.num_rows:
            self._write(self._next(), kept)
            for part in parts:
                part.unlink()


def _newest(parts: list[pa.Table]) -> pa.Table:
    """Returns the last row of each picture, in the order of their digests."""
    rows = pa.concat_tables([READINGS.empty_table(), *parts])
    numbered = pa.table({"sha256": rows["sha256"], "number": pa.array(np.arange(rows.num_rows))})
    last = numbered.group_by("sha256").aggregate([("number", "max")]).sort_by("sha256")
    return rows.take(last["number_max"])


def _logo_images(logos: pa.Table, root: Path) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Yields the grey values of the logos that can be read, by digest."""
    for row in logos.select(["sha256", "uris"]).to_pylist():
        image = _image(root, row["sha256"], row["uris"], LOGO_SIDE)
        if isinstance(image, np.ndarray):
            grey = image @ np.array([0.299, 0.587, 0.114])
            yield row["sha256"], np.asarray(np.round(grey), np.uint8)


def _image(root: Path, sha256: str, uris: list[str], most_side: int) -> npt.NDArray[np.uint8] | str | None:
    """Returns a picture's colours, the reason why its bytes cannot be opened, or None if its file is not there."""
    content = read_image(root, sha256, uris)
    if isinstance(content, str):
        return None
    image = open_rgb(content, most_side)
    return image if isinstance(image, str) else np.asarray(image, np.uint8)


def _readings(
    rows: list[_Wanted], root: Path, most: int, make_reader: Callable[[], Reader]
) -> Iterator[list[dict[str, Any]]]:
    """Reads pictures one after the other and yields them in parts; logs the progress."""
    reader: Reader | None = None
    part: list[dict[str, Any]] = []
    count, reported_at = 0, time.monotonic()
    for row in rows:
        if count == most:
            break
        image = _image(root, row["sha256"], row["uris"], MOST_SIDE)
        if image is None:  # its file may still arrive
            continue
        count += 1
        reading: dict[str, Any] = {"sha256": row["sha256"], "reason": None, "texts": [], "logos": []}
        if isinstance(image, str):
            reading["reason"] = image
        else:
            reader = reader or make_reader()
            texts, logos = reader.read(image)
            reading |= {"texts": [asdict(text) for text in texts], "logos": [asdict(logo) for logo in logos]}
        part.append(reading)
        if len(part) == PART_PICTURES:
            yield part
            part = []
        if time.monotonic() - reported_at >= PROGRESS_SECONDS:
            logger.info("Pictures read for logos and text in this run: %d of %d.", count, min(most, len(rows)))
            reported_at = time.monotonic()
    if part:
        yield part


def texts_of(readings: pa.Table, masked: tuple[str, ...] = ()) -> pa.Table:
    """Returns the lines of text of readings.

    Args:
        readings: Rows with schema `READINGS`.
        masked: Regular expressions of the sources file, whose matches are removed from every text.

    Returns:
        A table with schema `TEXTS`, sorted by picture and line.
    """
    rows = [
        {"sha256": row["sha256"], "line": line, **text}
        for row in readings.select(["sha256", "texts"]).to_pylist()
        for line, text in enumerate(row["texts"])
    ]
    texts = pa.Table.from_pylist(rows, schema=TEXTS)
    if not masked:
        return texts
    with duckdb.connect() as connection:
        connection.register("texts", texts)
        select = f"select * replace ({masking('text', masked)} as text) from texts"
        return (
            connection.sql(f"select * from ({select}) where text is not null order by sha256, line")
            .to_arrow_table()
            .cast(TEXTS)
        )


def contacts_of(texts: pa.Table) -> pa.Table:
    """Returns the contact details in lines of text, with schema `CONTACTS`."""
    rows = [
        {**{name: row[name] for name in ("sha256", "line", "region")}, "kind": contact.kind, "value": contact.value}
        for row in texts.to_pylist()
        for contact in contacts([TextLine(row["text"], (), row["confidence"])])
    ]
    return pa.Table.from_pylist(rows, schema=CONTACTS)


def logos_of(readings: pa.Table) -> pa.Table:
    """Returns the possible logos of readings, with schema `LOGOS`."""
    rows = [
        {
            "sha256": row["sha256"],
            "logo_sha256": logo["logo"],
            **{name: logo[name] for name in ("place", "region", "score")},
        }
        for row in readings.select(["sha256", "logos"]).to_pylist()
        for logo in row["logos"]
    ]
    return pa.Table.from_pylist(rows, schema=LOGOS)


def statuses_of(readings: pa.Table) -> pa.Table:
    """Returns `sha256` and `reason` of each picture that was read; the reason is null unless it cannot be opened."""
    return readings.select(["sha256", "reason"])
