"""Image hashes: robust to rotation, cropping, recolouring and strong JPEG compression; none for invalid images."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from ml.signals.images import HASHES, MATCHES, NEAR, VIEWS, hash_images, match
from touchstone.demo.arrays import generator
from touchstone.demo.images import POOR, SIDE, altered, draw_product, jpeg, logo


def drawn(number: int) -> Image.Image:
    """An image, determined by its number."""
    rng = np.random.default_rng([11, number])
    return logo(rng, f"Brand{number}") if number % 4 == 0 else draw_product(rng, f"NO-{number}")


def copied(number: int) -> bytes:
    """An image as a copier alters it: rotated up to 5 degrees, cropped up to 10 %, recoloured, JPEG of quality 30."""
    return jpeg(altered(np.random.default_rng([12, number]), drawn(number)), POOR)


def files(contents: dict[str, bytes]) -> pa.Table:
    return pa.table({"sha256": pa.array(contents), "content": pa.array(contents.values(), pa.large_binary())})


def hashes(contents: dict[str, bytes]) -> pa.Table:
    found, unread = hash_images(files(contents))
    assert unread.num_rows == 0
    return found


def png_that_claims(width: int, height: int) -> bytes:
    """The bytes of a PNG whose header claims a size, with only a few bytes of data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def saved(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def recall_and_false(others: int, copies: int) -> tuple[float, int]:
    """The share of copies whose original is found, and the number of false pairs, among so many images."""
    known = hashes({f"{number:06d}": jpeg(drawn(number)) for number in range(others)})
    found = match(hashes({f"copy {number:06d}": copied(number) for number in range(copies)}), known).to_pylist()
    right = sum(row["sha256"].removeprefix("copy ") == row["like_sha256"] for row in found)
    return right / copies, len(found) - right


def test_an_altered_copy_is_matched_and_other_images_are_not():
    recall, false = recall_and_false(others=250, copies=60)
    assert recall >= 0.85  # of 60; the slow test below requires 0.90
    assert false <= 2


@pytest.mark.slow
def test_among_20_000_images_recall_is_90_percent_with_one_false_pair_in_10_000():
    others, copies = 20_000, 1_000
    recall, false = recall_and_false(others, copies)
    assert recall >= 0.90
    assert false <= others * copies / 10_000


def test_an_image_does_not_match_itself_and_distances_are_in_bits():
    known = hashes({"a": jpeg(drawn(1)), "b": copied(1), "c": jpeg(drawn(2))})
    found = match(known, known)
    assert found.schema == MATCHES
    assert [(row["sha256"], row["like_sha256"]) for row in found.to_pylist()] == [("a", "b"), ("b", "a")]
    assert all(0 < row["distance"] <= NEAR for row in found.to_pylist())


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.mirror,
        lambda image: ImageOps.expand(image, (10, 30, 20, 5), "navy"),
        lambda image: ImageOps.expand(ImageOps.mirror(image), 25, "white"),
    ],
    ids=["mirrored", "with a border", "mirrored, with a border"],
)
def test_mirrored_copies_and_copies_with_a_border_match_both_ways(change: Callable[[Image.Image], Image.Image]):
    known = hashes({str(number): jpeg(draw_product(np.random.default_rng([13, number]), "")) for number in range(12)})
    copy = hashes({"copy": jpeg(change(draw_product(np.random.default_rng([13, 5]), "")), POOR)})
    there, back = match(copy, known).to_pylist(), match(known, copy).to_pylist()
    assert {(row["sha256"], row["like_sha256"]) for row in [*there, *back]} >= {("copy", "5")}
    assert {row["like_sha256"] for row in there} | {row["sha256"] for row in back} == {"5"}


def test_the_same_bytes_give_the_same_hashes_in_any_batch():
    contents = {f"{number}": jpeg(drawn(number)) for number in range(6)}
    whole = hashes(contents)
    parts = [hashes({name: content}) for name, content in contents.items()]
    assert whole.schema == HASHES
    assert Counter(whole["view"].to_pylist()) >= Counter(dict.fromkeys(range(len(VIEWS) + 1), 6))
    assert whole == pa.concat_tables(parts)


def test_the_bits_are_the_lowest_frequencies_above_their_median():
    """With cosines written out: a hash must not depend on how it is computed."""
    grey = drawn(3).convert("L").resize((128, 128), Image.Resampling.BOX)
    seen = np.asarray(grey.resize((64, 64), Image.Resampling.BILINEAR), dtype=np.float64)
    waves = np.cos(np.pi * np.outer(np.arange(16), 2 * np.arange(64) + 1) / 128)
    low = waves @ seen @ waves.T
    rows, columns = np.divmod(np.arange(256), 16)
    lowest_first = sorted(zip(rows + columns, rows, columns, strict=True))
    expected = "".join(str(int(low[row, column] > np.median(low))) for _, row, column in lowest_first)
    first = hashes({"one": saved(grey, "PNG")}).slice(0, 1)
    assert "".join(f"{first[f'bits_{word}'][0].as_py():064b}" for word in range(4)) == expected


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "JPEG"])
def test_all_formats_have_similar_hashes(kind: str):
    known = hashes({"a": jpeg(drawn(3)), "b": saved(drawn(3), kind)})
    distances = match(known, known)["distance"].to_pylist()
    assert len(distances) == 2
    assert max(distances) <= 20


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_transparent_pixels_are_hashed_over_a_background(kind: str):
    """White, or black for an image that is invisible on white. The colour of fully transparent pixels is irrelevant."""
    drawing = drawn(4).convert("L")
    seen = drawing.point(lambda grey: 255 if grey < 128 else 0)
    transparent = {
        name: saved(Image.merge("LA", (Image.new("L", drawing.size, grey), seen)).convert("RGBA"), kind)
        for name, grey in (("black", 0), ("white", 255))
    }
    found = hashes(transparent)
    behind = hashes({"on white": saved(ImageOps.invert(seen), "PNG"), "on black": saved(seen, "PNG")})
    pairs = match(found, behind).to_pylist()
    assert {(row["sha256"], row["like_sha256"]) for row in pairs} == {("black", "on white"), ("white", "on black")}
    assert max(row["distance"] for row in pairs) <= 20
    clear = saved(Image.new("LA", (300, 300), (7, 0)).convert("RGBA"), kind)
    assert hash_images(files({"clear": clear}))[1]["reason"].to_pylist() == ["plain"]


def test_without_images_there_are_no_hashes_and_no_matches():
    nothing, unread = hash_images(files({}))
    assert (nothing.schema, nothing.num_rows, unread.num_rows) == (HASHES, 0, 0)
    some = hashes({"a": jpeg(drawn(1))})
    for one, other in ((nothing, some), (some, nothing), (nothing, nothing)):
        assert match(one, other).num_rows == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png_that_claims(30_000, 30_000), "too many pixels"),
        (png_that_claims(8_000, 7_000), "too many pixels"),
        (png_that_claims(2**31 - 1, 2**31 - 1), "too many pixels"),
        (png_that_claims(200, 200), "broken"),
        (b"", "not a picture of a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture of a known format"),
        (b"%PDF-1.7", "not a picture of a known format"),
        (saved(drawn(1), "BMP"), "not a picture of a known format"),
        (jpeg(drawn(1))[:900], "broken"),
        (saved(drawn(1), "PNG")[:400], "broken"),
        (saved(Image.new("RGB", (300, 300), "white"), "PNG"), "plain"),
    ],
    ids=[
        "30,000 x 30,000",
        "56 MP",
        "2^62",
        "no data",
        "empty",
        "SVG",
        "PDF",
        "BMP",
        "truncated JPEG",
        "truncated PNG",
        "white",
    ],
)
def test_unreadable_images_are_reported_with_the_reason(content: bytes, reason: str):
    found, unread = hash_images(files({"odd": content, "fine": jpeg(drawn(1))}))
    assert unread.to_pylist() == [{"sha256": "odd", "reason": reason}]
    assert set(found["sha256"].to_pylist()) == {"fine"}


def test_corrupted_bytes_never_raise():
    rng = np.random.default_rng(5)
    odd: dict[str, bytes] = {}
    for number, kind in enumerate(("JPEG", "PNG", "WEBP", "GIF") * 60):
        content = bytearray(saved(drawn(1), kind))
        for place in rng.integers(0, len(content), int(rng.integers(1, 30))):
            content[place] = int(rng.integers(0, 256))
        odd[str(number)] = bytes(content)
    found, unread = hash_images(files(odd))
    assert set(found["sha256"].to_pylist()) | set(unread["sha256"].to_pylist()) == set(odd)


def test_a_box_barely_wider_than_its_rounded_corners_can_be_drawn() -> None:
    """Regression: wider by a fraction of a pixel, it made generating the demo of seed 1021 fail."""
    assert draw_product(generator(1021, "own picture", 370), "").size == (SIDE, SIDE)
