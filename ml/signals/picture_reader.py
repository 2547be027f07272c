"""What a picture shows inside: the logos and the text in it, with their regions.

Belongs here: logos and text together, with all that makes two readings comparable. How each is found is in `logos.py` and
`ocr.py`; which pictures are read, and where that is kept, in `touchstone/landing/picture_readings.py`. Needs the extra
`touchstone[pictures]`, except for asking whether it is installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.signals.logos import LogoBank
from ml.signals.ocr import TextReader

MODULES: Final = ("cv2", "onnxruntime", "rapidocr")
PACKAGES: Final = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "rapidocr")
MOST_SIDE: Final = 2_048
"""Pixels of the longer side of a picture that is read; larger ones are reduced."""
MOST_LINES, MOST_CHARACTERS = 200, 300
"""Lines that are kept of a picture, and characters of a line."""


@dataclass(frozen=True)
class FoundText:
    """A line of text.

    Attributes:
        text: The line.
        region: Its corners as `format_region` writes them.
        confidence: The reader's own, 0 to 1.
    """

    text: str
    region: str
    confidence: float


@dataclass(frozen=True)
class FoundLogo:
    """What may be a logo.

    Attributes:
        logo: The key under which the logo was given.
        place: Number of the place in the picture; at one place, at most one brand's logo is meant.
        region: Its corners as `format_region` writes them.
        score: Agreement with the logo, 0 to 1.
    """

    logo: str
    place: int
    region: str
    score: float


def is_installed() -> bool:
    """Whether the extra `touchstone[pictures]` is installed."""
    return all(find_spec(module) is not None for module in MODULES)


@cache
def reader_version() -> str:
    """Returns a digest of what reads pictures: this code and the versions of its packages."""
    digest = hashlib.sha256()
    for name in ("logos", "ocr", "picture_reader"):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    for package in PACKAGES:
        try:
            digest.update(f"{package} {version(package)}\n".encode())
        except PackageNotFoundError:
            digest.update(f"{package} is not installed\n".encode())
    return digest.hexdigest()[:12]


class PictureReader:
    """Reads pictures; models and logos are prepared once."""

    def __init__(self, logos: Mapping[str, npt.NDArray[np.uint8]], *, threads: int = 1) -> None:
        """Loads the models and prepares the logos.

        Args:
            logos: Grey values of each logo, by a key.
            threads: Threads that a picture may use; results do not depend on them.
        """
        import cv2

        cv2.setNumThreads(threads)
        self._bank = LogoBank(logos) if logos else None
        self._texts = TextReader(threads=threads)

    def read(self, picture: npt.NDArray[np.uint8]) -> tuple[list[FoundText], list[FoundLogo]]:
        """Returns the lines of text and the possible logos in a picture.

        Args:
            picture: Colours, height by width by three (RGB).
        """
        import cv2

        height, width = picture.shape[:2]
        texts = [
            FoundText(line.text[:MOST_CHARACTERS], format_region(line.region, width, height), round(line.confidence, 3))
            for line in self._texts.lines(picture)[:MOST_LINES]
        ]
        if self._bank is None:
            return texts, []
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
        logos = [
            FoundLogo(match.brand_id, match.place, format_region(match.region, width, height), round(match.score, 4))
            for match in self._bank.candidates(grey)
        ]
        return texts, logos


def format_region(corners: tuple[tuple[float, float], ...], width: int, height: int) -> str:
    """Returns corners as `x,y x,y x,y x,y`, in shares of the picture's width and height, so that they fit any size of it."""
    shares = ((min(max(x / width, 0.0), 1.0), min(max(y / height, 0.0), 1.0)) for x, y in corners)
    return " ".join(f"{x:.4f},{y:.4f}" for x, y in shares)
