"""The demo's images: brand logos, products before a background, and altered copies.

Belongs here: which pictures there are, how one is drawn and stored. Who shows which is in `tables.py`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from touchstone.core.files import sha256_bytes
from touchstone.demo.arrays import generator
from touchstone.demo.world import World

LEAST, MOST = 200, 20_000
MERCHANTS_PER_PICTURE = 2
PRESS_SHARE, OWN_SHARE, FACTORY_SHARE = 0.2, 0.53, 0.02
"""How many pictures are the brands' own, a merchant's own and a factory's; the rest are altered copies of the brands'."""
LOGO_SHARE = 0.15
"""How many altered copies are of a logo instead."""
THREADS = 2
SIDE = 224  # pixels
WORST_TURN = 5.0  # degrees
MOST_CROPPED = 0.10  # share of each side
GOOD, POOR = 88, 30  # qualities of JPEG


@dataclass(frozen=True)
class Pictures:
    """The digests of the marketplace's pictures, which are also their files' names.

    Attributes:
        press: Product images that brands publish.
        own: What merchants took themselves.
        factory: Product images that factories give to sellers.
        altered: Copies of the brands' pictures and logos, turned, cropped and recoloured by somebody.
        logos: The logo of each brand.
    """

    press: pa.Array
    own: pa.Array
    factory: pa.Array
    altered: pa.Array
    logos: pa.Array


def draw(world: World, folder: Path) -> Pictures:
    """Draws every picture of a marketplace into files named by their digests.

    Args:
        world: The marketplace; half as many pictures as it has merchants are drawn, from `LEAST` to `MOST`.
        folder: Receives the files; it is made.
    """
    folder.mkdir(parents=True)
    count = min(max(world.merchant_count // MERCHANTS_PER_PICTURE, LEAST), MOST)
    press, own, factory = (round(share * count) for share in (PRESS_SHARE, OWN_SHARE, FACTORY_SHARE))
    kinds = (
        (_press, press),
        (partial(_unmarked, "own"), own),
        (partial(_unmarked, "factory"), factory),
        (partial(_altered, press), count - press - own - factory),
        (_logo, len(world.catalogue.brand_names)),
    )
    with ThreadPoolExecutor(THREADS) as pool:
        digests = [
            list(pool.map(partial(_stored, folder, partial(make, world)), range(number))) for make, number in kinds
        ]
    return Pictures(*(pa.array(kind, pa.string()) for kind in digests))


def _press(world: World, number: int) -> bytes:
    return jpeg(_product_image(world, number))


def _product_image(world: World, number: int) -> Image.Image:
    refs = world.catalogue.refs
    return draw_product(generator(world.seed, "press picture", number), refs[number % len(refs)])


def _unmarked(whose: str, world: World, number: int) -> bytes:
    return jpeg(draw_product(generator(world.seed, f"{whose} picture", number), ""), quality=75)


def _altered(press: int, world: World, number: int) -> bytes:
    rng = generator(world.seed, "altered picture", number)
    is_of_logo = rng.random() < LOGO_SHARE
    original_number = int(rng.integers(0, len(world.catalogue.brand_names) if is_of_logo else press))
    original = _logo_of(world, original_number) if is_of_logo else _product_image(world, original_number)
    return jpeg(altered(rng, original), quality=int(rng.integers(POOR, GOOD)))


def _logo(world: World, brand: int) -> bytes:
    return jpeg(_logo_of(world, brand))


def _logo_of(world: World, brand: int) -> Image.Image:
    return logo(generator(world.seed, "logo picture", brand), world.catalogue.brand_names[brand])


def _stored(folder: Path, make: Callable[[int], bytes], number: int) -> str:
    content = make(number)
    digest = sha256_bytes(content)
    (folder / f"{digest}.jpg").write_bytes(content)
    return digest


def draw_product(rng: np.random.Generator, mark: str) -> Image.Image:
    """Draws a product: shapes before a fading background, with a mark.

    Args:
        rng: The stream of this picture; the same stream gives the same picture.
        mark: The text on the product.
    """
    picture = _faded(rng)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(3, 7))):
        middle, reach = rng.uniform(0.25, 0.75, 2) * SIDE, rng.uniform(0.08, 0.34, 2) * SIDE
        box = (*(middle - reach), *(middle + reach))
        _shape(rng, draw, box)
    left, top = rng.uniform(0.1, 0.6, 2) * SIDE
    draw.text((left, top), mark, fill=_colour(rng, 0, 90), font=ImageFont.load_default(float(rng.integers(16, 34))))
    return picture


def logo(rng: np.random.Generator, name: str) -> Image.Image:
    """Draws a brand's logo: two shapes and its name on white.

    Args:
        rng: The stream of this picture; the same stream gives the same picture.
        name: The brand.
    """
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    for part in range(2):
        inset = (0.12 + 0.14 * part) * SIDE
        width, height = rng.uniform(0.4, 1.0, 2) * (SIDE - 2 * inset)
        left, top = inset + rng.uniform(0, 1, 2) * (SIDE - 2 * inset - np.array([width, height]))
        _shape(rng, draw, (left, top, left + width, top + height))
    size = float(rng.integers(26, 40))
    draw.text(
        (SIDE * 0.08, SIDE * float(rng.uniform(0.5, 0.8))),
        name,
        fill=_colour(rng, 0, 120),
        font=ImageFont.load_default(size),
    )
    return picture


def altered(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Returns a picture as a copier leaves it: turned and cropped a little, in other colours."""
    turned = picture.rotate(float(rng.uniform(-WORST_TURN, WORST_TURN)), Image.Resampling.BILINEAR)
    kept = (1.0 - rng.uniform(0, MOST_CROPPED, 2)) * SIDE
    left, top = rng.uniform(0, 1, 2) * (SIDE - kept)
    box = (round(float(left)), round(float(top)), round(float(left + kept[0])), round(float(top + kept[1])))
    cropped = turned.crop(box)
    bands = [band.point(_gain(float(rng.uniform(0.75, 1.25)))) for band in cropped.split()]
    coloured = ImageEnhance.Color(Image.merge("RGB", bands)).enhance(float(rng.uniform(0.3, 1.6)))
    return ImageEnhance.Contrast(coloured).enhance(float(rng.uniform(0.8, 1.25)))


def jpeg(picture: Image.Image, quality: int = GOOD) -> bytes:
    """Returns a picture as a JPEG file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _faded(rng: np.random.Generator) -> Image.Image:
    """Returns a background that goes from one light colour to another, in some direction."""
    from_middle = np.linspace(0, 1, SIDE) - 0.5
    turn = rng.uniform(0, 2 * np.pi)
    share = from_middle[None, :] * np.cos(turn) + from_middle[:, None] * np.sin(turn) + 0.5
    colours = rng.uniform(120, 255, (2, 3)).T
    bands = [np.clip(first + share * (second - first), 0, 255).astype(np.uint8) for first, second in colours]
    return Image.merge("RGB", [Image.fromarray(band) for band in bands])


def _shape(rng: np.random.Generator, draw: Any, edges: tuple[float, ...]) -> None:
    # In whole pixels: Pillow fails at a rounded box that is wider than its corners by a part of one.
    box = tuple(int(edge) for edge in edges)
    colour, outline = _colour(rng, 0, 256), _colour(rng, 0, 120)
    kind = int(rng.integers(0, 4))
    if kind == 0:
        draw.ellipse(box, fill=colour, outline=outline, width=3)
    elif kind == 1:
        draw.rounded_rectangle(box, radius=float(rng.integers(2, 24)), fill=colour, outline=outline, width=3)
    elif kind == 2:  # the third of four kinds
        draw.pieslice(box, float(rng.uniform(0, 180)), float(rng.uniform(200, 360)), fill=colour, outline=outline)
    else:
        corners = rng.uniform(0, 1, (int(rng.integers(3, 7)), 2)) * (box[2] - box[0], box[3] - box[1]) + (
            box[0],
            box[1],
        )
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=colour, outline=outline)


def _colour(rng: np.random.Generator, least: int, below: int) -> tuple[int, int, int]:
    red, green, blue = rng.integers(least, below, 3)
    return int(red), int(green), int(blue)


def _gain(factor: float) -> list[int]:
    return [min(255, round(value * factor)) for value in range(256)]
