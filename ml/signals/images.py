"""Images: perceptual hashes, and matching of images that show the same despite rotation, cropping or changed colours.

An image is hashed unaltered and in altered views (`VIEWS`: rotated, cropped), mirrored, and without its border if it has one. Two
images match if the unaltered hash of one, mirrored or not, with or without its border, is near any view of the other. A hash has
256 bits, lowest frequencies first: the first 128 select candidates by bands of 16 bits, one of which may differ in one bit; all
256 then decide. Images without a common band are never compared.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from itertools import chain, product
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")
MOST_PIXELS: Final = 50_000_000
SIDE: Final = 128  # pixels per side before rotation and cropping
TURNS: Final = (0.0, -2.0, 2.0, -4.0, 4.0)  # degrees
KEPT: Final = 0.95  # share of a side that a crop keeps
WINDOWS: Final = ((0.0, 0.0, 1.0), *((x, y, KEPT) for x, y in product((0.0, 1.0 - KEPT), repeat=2)))
VIEWS: Final = tuple(product(TURNS, WINDOWS))
"""Rotation and window (left, top and side as shares) of each view; the first is the unaltered image."""
MIRRORED, TRIMMED, TRIMMED_MIRRORED = len(VIEWS), len(VIEWS) + 1, len(VIEWS) + 2
"""Numbers of the further views: mirrored, and, of an image with a border of one colour, without it."""
QUERIES: Final = (0, MIRRORED, TRIMMED, TRIMMED_MIRRORED)
"""Views that are compared with the others' views; a mirrored one is compared with no other mirrored one."""
LEAST_BORDER: Final = 3  # pixels of SIDE, of all four sides together
MOST_BORDER: Final = 0.5  # share of a side that may be border
SAME_GREY: Final = 16  # grey values by which the pixels of a border differ at most
PLAIN: Final = 2.0  # standard deviation of grey values below which an image is blank
GROUNDS: Final = (255, 0)
"""Backgrounds for transparent images: white, as most pages are; black if the image is blank on white."""
SEEN: Final = (64, 64)  # pixels of a view
LOW: Final = 16  # lowest frequencies in each direction
BITS: Final = LOW * LOW
WORDS: Final = BITS // 64
NEAR: Final = 64
"""Largest Hamming distance of a match."""
_BAND_BITS: Final = 16
_BANDS: Final = 4
_BANDED: Final = (0, 1)  # words with bands: an overlay changes the lowest frequencies most
_BAND: Final = np.uint64(0xFFFF)
_FLIPS: Final = np.array([0, *(1 << bit for bit in range(_BAND_BITS))], dtype=np.uint64)
_PAIRS_AT_ONCE: Final = 500_000

HASHES: Final = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("view", pa.int8(), nullable=False),
        *(pa.field(f"bits_{word}", pa.uint64(), nullable=False) for word in range(WORDS)),
    ]
)
"""One row per image and view: one of `VIEWS`, by its position, or a further one."""
UNREAD: Final = pa.schema(
    [pa.field("sha256", pa.string(), nullable=False), pa.field("reason", pa.string(), nullable=False)]
)
"""One row per image without a hash, with the reason."""
MATCHES: Final = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("like_sha256", pa.string(), nullable=False),
        pa.field("distance", pa.int16(), nullable=False),
    ]
)
"""One row per matching pair, with its Hamming distance."""

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


def hash_images(pictures: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Hashes images in every view.

    Args:
        pictures: `sha256` and `content`, the file's bytes.

    Returns:
        A table with schema `HASHES`, in the given order, and one with schema `UNREAD`: images with too many pixels, of an
        unsupported format, broken or blank.
    """
    hashed: list[str] = []
    views: list[Places] = []
    words: list[Words] = []
    unread: list[tuple[str, str]] = []
    for sha256, content in zip(pictures["sha256"].to_pylist(), pictures["content"], strict=True):
        grey = _grey(content.as_py())
        if isinstance(grey, str):
            unread.append((sha256, grey))
        else:
            hashes = _hashes(grey)
            hashed += [sha256] * len(hashes)
            views.append(np.arange(len(hashes)))
            words.append(hashes)
    bits = np.concatenate(words) if words else np.empty((0, WORDS), dtype=np.uint64)
    columns = [
        pa.array(hashed, pa.string()),
        pa.array(np.concatenate(views) if views else [], pa.int8()),
        *(pa.array(bits[:, word]) for word in range(WORDS)),
    ]
    reasons = [pa.array([row[place] for row in unread], pa.string()) for place in range(2)]
    return pa.Table.from_arrays(columns, schema=HASHES), pa.Table.from_arrays(reasons, schema=UNREAD)


def _grey(content: bytes) -> Image.Image | str:
    """Opens an image and returns it small and grey, or the reason why it has no hash."""

    def small_and_grey(picture: Image.Image) -> Image.Image:
        picture.draft("L", (2 * SIDE, 2 * SIDE))
        grey = picture.convert("LA" if picture.has_transparency_data else "L")
        return grey.resize((SIDE, SIDE), Image.Resampling.BOX)

    small = _opened(content, small_and_grey)
    if isinstance(small, str):
        return small
    seen = (_on(ground, small) for ground in GROUNDS) if small.mode == "LA" else (small,)
    return next((shown for shown in seen if float(np.asarray(shown, dtype=np.float32).std()) >= PLAIN), "plain")


def open_rgb(content: bytes, most_side: int) -> Image.Image | str:
    """Opens an image in colour, upright as its orientation says, transparent parts on white.

    Args:
        content: The file's bytes.
        most_side: Pixels of the longer side; a larger image is reduced to that.

    Returns:
        The image, or the reason why it cannot be opened.
    """

    def upright(picture: Image.Image) -> Image.Image:
        picture.draft("RGB", (most_side, most_side))
        turned = ImageOps.exif_transpose(picture)
        if turned.has_transparency_data:
            ground = Image.new("RGBA", turned.size, "white")
            ground.alpha_composite(turned.convert("RGBA"))
            turned = ground
        colours = turned.convert("RGB")
        colours.thumbnail((most_side, most_side))
        return colours

    return _opened(content, upright)


def _opened(content: bytes, change: Callable[[Image.Image], Image.Image]) -> Image.Image | str:
    """Returns what a function makes of an image, or the reason why it cannot be opened."""
    # Not restored afterwards: restoring filters is not thread-safe.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return "too many pixels"
            return change(picture)
    except Image.DecompressionBombError:
        return "too many pixels"
    except UnidentifiedImageError:
        return "not a picture of a known format"
    # The exceptions of decoders on broken bytes are not documented: these are the ones observed with Pillow.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, struct.error, zlib.error):
        return "broken"


def _on(ground: int, small: Image.Image) -> Image.Image:
    """Returns a transparent grey image on a background of one grey value."""
    shown = Image.new("L", small.size, ground)
    shown.paste(small.getchannel("L"), mask=small.getchannel("A"))
    return shown


def _hashes(grey: Image.Image) -> Words:
    """Returns one hash per view: which of its lowest frequencies are above their median."""
    from scipy.fft import dct

    turned = {turn: grey.rotate(turn, Image.Resampling.BILINEAR) if turn else grey for turn in TURNS}
    boxes = [
        (turn, (left * SIDE, top * SIDE, (left + side) * SIDE, (top + side) * SIDE))
        for turn, (left, top, side) in VIEWS
    ]
    inner = _without_border(np.asarray(grey))
    if inner is not None:
        boxes.append((0.0, inner))
    seen = np.empty((len(boxes), *SEEN))
    for place, (turn, box) in enumerate(boxes):
        seen[place] = np.asarray(turned[turn].resize(SEEN, Image.Resampling.BILINEAR, box=box))
    low = dct(dct(seen, axis=1)[:, :LOW], axis=2)[:, :, :LOW]
    # Mirroring an image negates its odd frequencies.
    shown = [*range(len(VIEWS)), 0, *([len(VIEWS)] * 2 if inner is not None else [])]
    low = low[shown]
    low[MIRRORED::2, :, 1::2] *= -1
    bits = (low > np.median(low, axis=(1, 2), keepdims=True))[:, *_BY_FREQUENCY]
    packed = np.ascontiguousarray(np.packbits(bits, axis=1))
    return packed.view(">u8").astype(np.uint64)


def _without_border(grey: npt.NDArray[np.uint8]) -> tuple[float, float, float, float] | None:
    """Returns the box of an image without its border of one colour per side; None if it has none, or little is left."""
    pixels = grey.astype(np.int16)
    top, bottom, left, right = (_border(lines) for lines in (pixels, pixels[::-1], pixels.T, pixels.T[::-1]))
    most = MOST_BORDER * SIDE
    if top + bottom > most or left + right > most or top + bottom + left + right < LEAST_BORDER:
        return None
    inside = pixels[top : SIDE - bottom, left : SIDE - right]
    return (left, top, SIDE - right, SIDE - bottom) if float(inside.std()) >= PLAIN else None


def _border(lines: npt.NDArray[np.int16]) -> int:
    """Returns how many of the first lines have the colour of the first one throughout."""
    is_other = (np.abs(lines - np.median(lines[0])) > SAME_GREY).any(axis=1)
    return int(is_other.argmax()) if is_other.any() else len(lines)


_ROWS, _COLUMNS = np.divmod(np.arange(BITS), LOW)
_ORDER = np.lexsort((_ROWS, _ROWS + _COLUMNS))
_BY_FREQUENCY = (_ROWS[_ORDER], _COLUMNS[_ORDER])


def match(pictures: pa.Table, views: pa.Table) -> pa.Table:
    """Finds matching images.

    Args:
        pictures: Hashes, of which the views `QUERIES` are used.
        views: Hashes, of which all views are used that are not mirrored. Memory grows with their number.

    Returns:
        A table with schema `MATCHES`, sorted by both digests: `sha256` of `pictures`, `like_sha256` of `views`. No image
        matches itself.
    """
    queries = pictures.filter(pc.is_in(pictures["view"], pa.array(QUERIES, pa.int8())))
    views = views.filter(pc.invert(pc.is_in(views["view"], pa.array((MIRRORED, TRIMMED_MIRRORED), pa.int8()))))
    query_bits, known = _words(queries), _words(views)
    like = views["sha256"].combine_chunks().dictionary_encode()
    image_index = like.indices.to_numpy()
    same = pc.index_in(queries["sha256"], like.dictionary).fill_null(-1).to_numpy()
    parts = [np.empty((0, 3), dtype=np.int64)]
    for query, view in chain.from_iterable(_candidates(query_bits[:, word], known[:, word]) for word in _BANDED):
        distance = np.bitwise_count(query_bits[query] ^ known[view]).sum(axis=1, dtype=np.int64)
        kept = (distance <= NEAR) & (image_index[view] != same[query])
        parts.append(np.stack([query[kept], image_index[view[kept]], distance[kept]], axis=1))
    rows = np.concatenate(parts)
    matches = pa.Table.from_arrays(
        [queries["sha256"].take(rows[:, 0]), like.dictionary.take(rows[:, 1]), pa.array(rows[:, 2], pa.int16())],
        schema=MATCHES,
    )
    return nearest(matches)


def nearest(matches: pa.Table) -> pa.Table:
    """Returns one row per pair with its smallest distance, sorted by both digests, with schema `MATCHES`."""
    parts = matches.group_by(["sha256", "like_sha256"]).aggregate([("distance", "min")])
    ordered = parts.rename_columns({"distance_min": "distance"}).select(MATCHES.names)
    return ordered.sort_by([("sha256", "ascending"), ("like_sha256", "ascending")]).cast(MATCHES)


def _words(hashes: pa.Table) -> Words:
    """Returns the bits of hashes as an (n, WORDS) array."""
    return np.stack([hashes[f"bits_{word}"].to_numpy() for word in range(WORDS)], axis=1)


def _candidates(query_bits: Words, known: Words) -> Iterator[tuple[Places, Places]]:
    """Yields, in batches, positions in both arrays whose 64 bits share a band up to one bit."""
    for band in range(_BANDS):
        shift = np.uint64(band * _BAND_BITS)
        values = (known >> shift) & _BAND
        order = np.argsort(values, kind="stable")
        begins = np.searchsorted(values[order], np.arange(int(_BAND) + 2, dtype=np.uint64))
        wanted = (((query_bits >> shift) & _BAND)[:, None] ^ _FLIPS).astype(np.int64).ravel()
        first, count = begins[wanted], begins[wanted + 1] - begins[wanted]
        ends = np.cumsum(count)
        cuts = np.searchsorted(ends, np.arange(_PAIRS_AT_ONCE, ends[-1] if len(ends) else 0, _PAIRS_AT_ONCE))
        for part in np.split(np.arange(len(wanted)), np.unique(cuts)):
            sizes = count[part]
            within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            yield np.repeat(part // len(_FLIPS), sizes), order[np.repeat(first[part], sizes) + within]
