"""How well logos and texts are found inside photographs.

Photographs that ship in scikit-image and scikit-learn, with logos drawn here (shapes and lettering) put into them: turned, in
perspective, partly covered, printed in one colour, mirrored. Half of the pictures show a brand of the bank; the others nothing,
or a look-alike that is not in the bank (the same shapes with other lettering, or the lettering with other shapes).

    python benchmarks/pictures.py [--pictures 100] [--texts 60] [--chinese-font FILE] [--no-copies] [--seed 1]

Also how many copies of photographs and their quarters are matched to the original by the hashes (`ml/signals/images.py`), and how
many others: with a border, mirrored, with text and a patch over it, cropped, turned, in a collage; as JPEG of quality 50 to 90.

Prints JSON: recall by the logo's share of the picture's width, false matches per 1,000 pictures, seconds, memory.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import skimage
import sklearn
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from ml.signals.images import hash_images, match
from ml.signals.logos import LogoBank
from ml.signals.ocr import TextReader, contacts, phrases

LOGOS = 200
WIDTHS = (0.08, 0.10, 0.15, 0.25)
FONTS = (
    "DejaVuSans-Bold",
    "DejaVuSerif-Bold",
    "DejaVuSansMono-Bold",
    "DejaVuSans-Oblique",
    "STIXGeneralBol",
    "DejaVuSerif",
)
SYLLABLES = (
    "ka",
    "ro",
    "mi",
    "tel",
    "vo",
    "san",
    "dri",
    "pex",
    "lu",
    "nor",
    "zi",
    "bra",
    "quo",
    "fen",
    "hal",
    "sty",
    "gor",
    "wim",
)
SIDE = 320


def photographs() -> list[Image.Image]:
    """Returns the colour photographs that the packages ship."""
    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")
    names = (
        "astronaut",
        "coffee",
        "chelsea",
        "rocket",
        "china",
        "flower",
        "camera",
        "coins",
        "brick",
        "grass",
        "gravel",
        "moon",
    )
    files = sorted(file for folder in folders for file in folder.iterdir() if file.stem in names)
    return [Image.open(file).convert("RGB") for file in files]


def draw_logo(seed: int, *, shapes: int, lettering: int) -> Image.Image:
    """Draws a logo with transparency, from a number for its shapes and one for its lettering."""
    rng = np.random.default_rng([seed, shapes, 1])
    words = np.random.default_rng([seed, lettering, 2])
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    colours = [tuple(int(value) for value in rng.integers(0, 200, 3)) for _ in range(3)]
    for part in range(int(rng.integers(2, 5))):
        x, y = rng.integers(30, 190, 2)
        width, height = rng.integers(50, 130, 2)
        box = [int(x), int(y), int(x + width), int(y + height) - 20]
        kind, colour = int(rng.integers(0, 5)), colours[part % 3]
        if kind == 0:
            draw.ellipse(box, outline=colour, width=int(rng.integers(8, 20)))
        elif kind == 1:
            draw.rectangle(box, fill=colour)
        elif kind == 2:
            draw.regular_polygon(
                (int(x) + 50, int(y) + 40, 50), int(rng.integers(3, 8)), int(rng.integers(0, 90)), colour
            )
        elif kind == 3:
            draw.pieslice(box, int(rng.integers(0, 180)), int(rng.integers(200, 350)), fill=colour)
        else:
            draw.line([(int(px), int(py)) for px, py in rng.integers(30, 210, (4, 2))], fill=colour, width=14)
    text = "".join(words.choice(SYLLABLES, int(words.integers(2, 4))))
    text = (text.upper, text.title, text.lower)[int(words.integers(0, 3))]()
    name = FONTS[int(words.integers(0, len(FONTS)))]
    font = ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), 200)
    font = font.font_variant(size=int(200 * 300 / font.getlength(text)))
    draw.text((160, 262), text, font=font, fill=colours[0], anchor="mm")
    return image.crop(image.getbbox())


TEXTS = (
    "Copy 1:1",
    "1:1 AAA",
    "Копия 1:1 часы",
    "+49 151 23456789",
    "Звоните 8 (916) 123-45-67",
    "WhatsApp +86 138 0013 8000",
)


CHINESE = ("1:1复刻手表", "复刻 1:1", "微信 abc12345", "电话 +86 138 0013 8000")
"""Written only if a font with Chinese letters is given: none is among the packages of the extra `dev`."""


def texts_found(seed: int, count: int, chinese_font: Path | None = None) -> dict[str, list[int]]:
    """Writes texts into photographs; returns for each how many were recognised and how many there are."""
    reader = TextReader()
    photos = photographs()
    texts = CHINESE if chinese_font else TEXTS
    file = chinese_font or Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    counts = {text: [0, 0] for text in texts}
    for number in range(count):
        rng = np.random.default_rng([seed, number, 4])
        photo, text = photos[int(rng.integers(0, len(photos)))].copy(), texts[number % len(texts)]
        size = int(photo.width * rng.uniform(0.035, 0.07))
        font = ImageFont.truetype(str(file), size)
        place = (
            int(rng.uniform(0, max(1, photo.width - font.getlength(text)))),
            int(rng.uniform(0, photo.height - 1.5 * size)),
        )
        ImageDraw.Draw(photo).text(
            place, text, font=font, fill="white", stroke_width=max(1, size // 12), stroke_fill="black"
        )
        lines = reader.lines(np.asarray(photo))
        digits = "".join(character for character in text if character.isdigit())
        if "abc12345" in text:
            is_found = any("abc12345" in found.value for found in contacts(lines))
        elif "1:1" in text:
            is_found = bool(list(phrases(lines, ["1:1"])))
        else:
            values = [
                "".join(character for character in found.value if character.isdigit()) for found in contacts(lines)
            ]
            is_found = any(value.endswith(digits) for value in values)
        counts[text][0] += is_found
        counts[text][1] += 1
    return counts


def quarters(photo: Image.Image) -> list[Image.Image]:
    """Returns the four quarters of a photograph."""
    width, height = photo.width // 2, photo.height // 2
    corners = [(x, y) for x in (0, width) for y in (0, height)]
    return [photo.crop((x, y, x + width, y + height)) for x, y in corners]


def with_border(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Adds a border of one colour, 5 to 15 % wide on each side."""
    sides = rng.uniform(0.05, 0.15, 4) * (photo.width, photo.height, photo.width, photo.height)
    colour = tuple(int(value) for value in rng.integers(0, 255, 3)) if rng.random() < 0.5 else (255, 255, 255)
    return ImageOps.expand(photo, tuple(int(side) for side in sides), colour)


def with_overlay(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Writes a line or two over a photograph, and often covers a patch of it."""
    shown = photo.copy()
    draw, (width, height) = ImageDraw.Draw(shown), photo.size
    path = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    font = ImageFont.truetype(str(path), max(8, int(width * rng.uniform(0.05, 0.09))))
    for text in ("SALE 1:1", "+49 151 2345678")[: 1 + int(rng.random() < 0.5)]:
        place = (rng.uniform(0, 0.4) * width, rng.uniform(0, 0.85) * height)
        draw.text(place, text, font=font, fill="white", stroke_width=2, stroke_fill="black")
    if rng.random() < 0.7:
        size = np.array([rng.uniform(0.12, 0.3) * width, rng.uniform(0.08, 0.2) * height])
        place = rng.uniform(0, 1, 2) * (np.array(photo.size) - size)
        draw.rectangle((*place, *(place + size)), fill=tuple(int(value) for value in rng.integers(0, 255, 3)))
    return shown


def cropped(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Keeps 60 to 85 % of each side."""
    kept = rng.uniform(0.6, 0.85, 2)
    left, top = rng.uniform(0, 1, 2) * (1 - kept) * photo.size
    return photo.crop((int(left), int(top), int(left + kept[0] * photo.width), int(top + kept[1] * photo.height)))


def turned(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Turns by 6 to 15 degrees, corners white."""
    angle = float(rng.uniform(6, 15) * rng.choice([-1, 1]))
    return photo.rotate(angle, Image.Resampling.BILINEAR, expand=True, fillcolor="white")


def in_collage(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Shows a photograph as one of four, next to noise."""
    page = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((800, 600), Image.Resampling.BICUBIC)
    page.paste(photo.resize((400, 300)), (400 * int(rng.integers(2)), 300 * int(rng.integers(2))))
    return page


COPIES = {
    "border": with_border,
    "mirrored": lambda _, photo: ImageOps.mirror(photo),
    "mirrored, border": lambda rng, photo: with_border(rng, ImageOps.mirror(photo)),
    "overlay": with_overlay,
    "overlay, border": lambda rng, photo: with_border(rng, with_overlay(rng, photo)),
    "cropped": cropped,
    "turned": turned,
    "collage": in_collage,
}


def copies_found(seed: int) -> dict[str, object]:
    """Makes a copy of each kind of each photograph and quarter; returns how many are matched to their original, and to others."""
    photos = [shown for photo in photographs() for shown in (photo, *quarters(photo))]
    contents = {f"original {number}": to_jpeg(photo, 90) for number, photo in enumerate(photos)}
    for kind, make in COPIES.items():
        for number, photo in enumerate(photos):
            rng = np.random.default_rng([seed, number, 5, len(kind)])
            contents[f"{kind} {number}"] = to_jpeg(make(rng, photo), int(rng.integers(50, 90)))
    table = pa.table({"sha256": list(contents), "content": pa.array(contents.values(), pa.large_binary())})
    hashes, _ = hash_images(table)
    pairs = {frozenset((row["sha256"], row["like_sha256"])) for row in match(hashes, hashes).to_pylist()}
    found, false = Counter[str](), 0
    for pair in pairs:
        original, *copies = sorted(pair, key=lambda name: not name.startswith("original"))
        kind, _, number = copies[0].rpartition(" ")
        if original.startswith("original") and kind != "original":
            is_right = original.rpartition(" ")[2] == number
            found[kind] += is_right
            false += not is_right
    return {
        "found": {kind: [found[kind], len(photos)] for kind in COPIES},
        "false pairs": [false, len(COPIES) * len(photos) * (len(photos) - 1)],
    }


def to_jpeg(photo: Image.Image, quality: int) -> bytes:
    """Returns a photograph as a JPEG file's bytes."""
    buffer = io.BytesIO()
    photo.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def compose(rng: np.random.Generator, photograph: Image.Image, logo: Image.Image, share: float) -> Image.Image:
    """Puts a logo into a photograph, as wide as a share of it."""
    if rng.random() < 0.25:
        ink = (255, 255, 255) if rng.random() < 0.5 else tuple(int(value) for value in rng.integers(0, 90, 3))
        logo = Image.merge("RGBA", [*(Image.new("L", logo.size, int(value)) for value in ink), logo.getchannel("A")])
    elif rng.random() < 0.6:  # a label; otherwise it is printed onto what is there
        ground = Image.new("RGBA", (logo.width + 30, logo.height + 30), (255, 255, 255, 255))
        ground.alpha_composite(logo, (15, 15))
        logo = ground
    if rng.random() < 0.15:
        logo = logo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.25:  # partly covered
        covered = int(logo.width * rng.uniform(0.1, 0.25))
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        logo.paste(
            (*colour, 255),
            (0, 0, covered, logo.height) if rng.random() < 0.5 else (logo.width - covered, 0, *logo.size),
        )
    scale = share * photograph.width / logo.width
    turn = np.deg2rad(rng.uniform(-30, 30))
    corners = np.array([(0, 0), (logo.width, 0), logo.size, (0, logo.height)], np.float32)
    centred = (corners - corners.mean(axis=0)) * scale
    placed = centred @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    placed += rng.uniform(-0.08, 0.08, (4, 2)) * scale * min(logo.size)
    low, high = -placed.min(axis=0), np.array(photograph.size) - placed.max(axis=0)
    placed += rng.uniform(low, np.maximum(high, low + 1))
    matrix = cv2.getPerspectiveTransform(corners, placed.astype(np.float32))
    blurred = logo.filter(ImageFilter.GaussianBlur(max(0.0, 0.4 / scale)))
    warped = cv2.warpPerspective(np.asarray(blurred), matrix, photograph.size, flags=cv2.INTER_AREA)
    image = photograph.convert("RGBA")
    image.alpha_composite(Image.fromarray(warped))
    noisy = np.asarray(image.convert("RGB")) * rng.uniform(0.8, 1.1) + rng.normal(0, 3, (*image.size[::-1], 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument(
        "--copies", action=argparse.BooleanOptionalAction, default=True, help="whether copies are measured"
    )
    parser.add_argument(
        "--chinese-font", type=Path, help="a font with Chinese letters: Chinese texts are measured, too"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    seed = arguments.seed
    cv2.setNumThreads(1)
    drawn = [draw_logo(seed, shapes=number, lettering=number) for number in range(LOGOS)]
    logos = {f"brand {number:03d}": on_white(logo) for number, logo in enumerate(drawn)}
    began = time.perf_counter()
    bank = LogoBank(logos)
    prepared = time.perf_counter() - began
    photos = photographs()
    shown, found, false = Counter[float](), Counter[float](), Counter[str]()
    pictures = Counter[str]()
    began = time.perf_counter()
    for number in range(arguments.pictures):
        rng = np.random.default_rng([seed, number, 3])
        photo = photos[number % len(photos)]
        kind = ("logo", "nothing", "logo", "look-alike")[number // len(photos) % 4]
        share = WIDTHS[int(rng.integers(0, len(WIDTHS)))]
        index = int(rng.integers(0, LOGOS))
        if kind == "look-alike":
            other = LOGOS + index
            pair = (index, other) if rng.random() < 0.5 else (other, index)
            photo = compose(rng, photo, draw_logo(seed, shapes=pair[0], lettering=pair[1]), share)
        elif kind == "logo":
            photo = compose(rng, photo, drawn[index], share)
        matches = bank.find(np.asarray(photo.convert("L")))
        expected = {f"brand {index:03d}"} if kind == "logo" else set()
        pictures[kind] += 1
        if kind == "logo":
            shown[share] += 1
            found[share] += any(match.brand_id in expected for match in matches)
        false[kind] += sum(match.brand_id not in expected for match in matches)
    seconds = time.perf_counter() - began
    result = {
        "seed": seed,
        "pictures": dict(pictures),
        "recall by width": {str(share): [found[share], shown[share]] for share in WIDTHS},
        "false matches by kind": dict(false),
        "false matches per 1,000 pictures": round(1000 * sum(false.values()) / arguments.pictures, 1),
        "seconds per picture": round(seconds / arguments.pictures, 2),
        "seconds for the bank": round(prepared, 1),
        "memory in MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if arguments.texts:
        began = time.perf_counter()
        result["texts recognised"] = texts_found(seed, arguments.texts)
        if arguments.chinese_font:
            result["Chinese texts recognised"] = texts_found(seed, arguments.texts, arguments.chinese_font)
        result["seconds per picture for text"] = round((time.perf_counter() - began) / arguments.texts, 2)
    if arguments.copies:
        result["copies"] = copies_found(seed)
    print(json.dumps(result, indent=2, ensure_ascii=False))


def on_white(logo: Image.Image) -> np.ndarray:
    """Returns a logo's grey values on white."""
    ground = Image.new("RGBA", (logo.width + 40, logo.height + 40), (255, 255, 255, 255))
    ground.alpha_composite(logo, (20, 20))
    return np.asarray(ground.convert("L"))


if __name__ == "__main__":
    main()
