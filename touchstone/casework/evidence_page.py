"""The page of an evidence pack: one HTML file with everything embedded, safe to open in any browser."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from PIL import Image, ImageDraw, ImageOps

from touchstone.casework.evidence_sections import SECTIONS, EvidencePack
from touchstone.core.files import sha256_bytes
from touchstone.core.text import visible, visible_in_html, visible_values

TEMPLATE: Final = Path(__file__).resolve().parent / "lead.html"
STYLE: Final = Path(__file__).resolve().parent / "lead.css"
MAX_LISTINGS_SHOWN: Final = 40
"""Listings on the page, the riskiest first; listings.csv has all."""
MAX_IMAGE_PIXELS: Final = 40_000_000
_IMAGE_SUFFIXES: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}


def image_suffix(content: bytes) -> str | None:
    """Returns the file suffix of an image, or None if the content is no image or one too large for a browser."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            is_small_enough = image.width * image.height <= MAX_IMAGE_PIXELS
            return _IMAGE_SUFFIXES.get(image.format or "") if is_small_enough else None
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _thumbnail(content: bytes, regions: Sequence[str] = ()) -> str | None:
    """Returns a thumbnail as a data URL, or None. It is re-encoded, so that nothing of the file remains but its pixels.

    Args:
        content: The image's bytes.
        regions: What to outline, as the discrepancies give it: corners in shares of width and height. The image is then larger.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            thumbnail = ImageOps.exif_transpose(image).convert("RGB")
            thumbnail.thumbnail((360, 360) if regions else (180, 180))
            for region in regions:
                _outline(thumbnail, region)
            buffer = io.BytesIO()
            thumbnail.save(buffer, "JPEG", quality=80)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _outline(image: Image.Image, region: str) -> None:
    """Outlines a region, in red on white, so that it is seen on any ground."""
    corners = [tuple(float(share) for share in corner.split(",")) for corner in region.split()]
    points = [(x * (image.width - 1), y * (image.height - 1)) for x, y in corners]
    for colour, width in (("white", 5), ("red", 2)):
        ImageDraw.Draw(image).line([*points, points[0]], fill=colour, width=width, joint="curve")


def render_page(
    pack: EvidencePack, data: Mapping[str, Any], statements: Sequence[Mapping[str, Any]], files: Mapping[str, bytes]
) -> str:
    """Returns a lead as one self-contained HTML page: images and style are embedded, and there are no scripts or links.

    Args:
        pack: The evidence pack.
        data: What lead.json holds.
        statements: The statements of reasons.
        files: The other files of the pack, by name.
    """
    style = STYLE.read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible_in_html
    )
    thumbnails = {sha256: url for sha256, content in pack.images.items() if (url := _thumbnail(content))}
    outlined = _outlined(pack)
    by_listing: dict[str, list[dict[str, Any]]] = {}
    for row in pack.rows("images"):
        by_listing.setdefault(row["listing_id"], []).append(row)
    shown = [
        {
            **row,
            "images": _thumbnails_of(by_listing.get(row["listing_id"], []), thumbnails),
            "outlined": outlined.get(row["listing_id"], []),
        }
        for row in data.get("listings", [])[:MAX_LISTINGS_SHOWN]
    ]
    tables = {
        name: {"title": SECTIONS[name].title, "rows": visible_values(data[name][:100]), "count": len(data[name])}
        for name in ("test_buys", "notices", "decisions", "actions", "enforcement", "appeals", "cases", "hand_overs")
        if data.get(name)
    }
    sha256 = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        style=style,
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{sha256}'; base-uri 'none'; form-action 'none'",
        lead=visible_values(data["lead"]),
        as_of=pack.as_of,
        reader=visible(pack.reader.name),
        known=visible_values(data["known"]),
        not_known=data["not_known"],
        merchants=visible_values(data["merchants"]),
        links=visible_values(data.get("links", [])[:200]),
        merchant_count=f"{pack.merchant_count:,}",
        link_count=len(data.get("links", [])),
        accounts=len({row.get("buyer_id") for row in data.get("accounts", [])} - {None}),
        transaction_count=len(data.get("transactions", [])),
        listings=_visible_listings(shown),
        listing_count=len(data.get("listings", [])),
        timeline=visible_values(data["timeline"][-150:]),
        event_count=len(data["timeline"]),
        volumes=visible_values(data["volumes"]),
        tables=tables,
        statements=visible_values(list(statements)[:100]),
        statement_count=len(statements),
        sources=visible_values(pack.sources),
        files={name: sha256_bytes(content) for name, content in sorted(files.items())},
    )


def _outlined(pack: EvidencePack) -> dict[str, list[dict[str, Any]]]:
    """Returns by listing the pictures with regions that discrepancies name, outlined, and what they show, in words.

    The image is missing where the picture's file is not in the pack; the region is then in `discrepancies.csv`.
    """
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for row in pack.rows("discrepancies"):
        if row.get("region"):
            pictures = found.setdefault(row["listing_id"], {})
            picture = pictures.setdefault(row["picture_sha256"], {"regions": [], "words": []})
            picture["regions"].append(row["region"])
            picture["words"].append(row["words"])
    return {
        listing_id: [
            {
                "image": _thumbnail(pack.images[sha256], list(dict.fromkeys(picture["regions"])))
                if sha256 in pack.images
                else None,
                "words": "; ".join(visible(words) for words in picture["words"]),
            }
            for sha256, picture in pictures.items()
        ]
        for listing_id, pictures in found.items()
    }


def _thumbnails_of(rows: Sequence[Mapping[str, Any]], thumbnails: Mapping[str, str]) -> list[str]:
    """Returns the thumbnails of the first two different images of a listing."""
    return [thumbnails[sha256] for sha256 in dict.fromkeys(row["sha256"] for row in rows) if sha256 in thumbnails][:2]


def _visible_listings(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows whose text is made visible; the thumbnails are data URLs of our own and longer than any text."""
    return [
        {
            **visible_values({name: value for name, value in row.items() if name not in ("images", "outlined")}),
            "images": row["images"],
            "outlined": row["outlined"],
        }
        for row in rows
    ]
