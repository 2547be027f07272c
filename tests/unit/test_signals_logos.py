"""Logos inside pictures: found where they are, turned, mirrored or in one colour; others are not."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from touchstone.demo.images import draw_product, logo

pytest.importorskip("cv2", reason="the extra touchstone[pictures] is not installed")

from ml.signals.logos import LogoBank, _fit

NAMES = ("Veltrana", "Korimo", "Zibraquo", "Halstyg")


def _logo(number: int) -> Image.Image:
    return logo(np.random.default_rng([31, number]), NAMES[number]).convert("L")


@pytest.fixture(scope="module")
def bank() -> LogoBank:
    return LogoBank({name: np.asarray(_logo(number)) for number, name in enumerate(NAMES)})


def _photograph(placed: Image.Image | None) -> np.ndarray:
    photo = draw_product(np.random.default_rng(32), "").convert("L").resize((640, 640))
    if placed is not None:
        photo.paste(placed, (380, 90))
    return np.asarray(photo)


@pytest.mark.parametrize(
    "change", [lambda image: image, ImageOps.mirror, ImageOps.invert], ids=["plain", "mirror", "invert"]
)
def test_a_logo_is_found_where_it_is(bank: LogoBank, change: Callable[[Image.Image], Image.Image]) -> None:
    matches = bank.find(_photograph(change(_logo(1).resize((160, 160)))))
    assert [match.brand_id for match in matches] == [NAMES[1]]
    centre = np.array(matches[0].region).mean(axis=0)
    assert centre == pytest.approx((460, 170), abs=40)


def test_nothing_is_found_in_a_picture_without_logos(bank: LogoBank) -> None:
    assert bank.find(_photograph(None)) == []
    assert bank.find(np.full((100, 100), 255, np.uint8)) == []


def test_a_blank_logo_never_matches() -> None:
    blank = LogoBank({"blank": np.full((100, 100), 255, np.uint8)})
    assert blank.find(_photograph(_logo(0).resize((160, 160)))) == []


def test_no_map_is_fitted_to_fewer_pairs_than_votes() -> None:
    points = np.array([(1.0, 2.0), (30.0, 40.0)], np.float32)
    assert _fit(points[:1], points[:1]) is None
    assert _fit(points[:0], points[:0]) is None
