"""Text written into pictures: its lines and where they are, and the contact details and phrases in them.

Belongs here: how text is read from pixels, and what is recognised in it. Needs the extra `touchstone[pictures]`; its models are
in the package rapidocr, and nothing is downloaded. They read Latin letters, digits and Chinese, but no Cyrillic: next to it,
phone numbers and "1:1" are found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

PHONE_DIGITS: Final = (9, 15)
"""Digits of a phone number; E.164 allows 15, and shorter ones are as likely a date or an article number."""
LEAST_CONFIDENCE: Final = 0.5
TEXT_SIDE: Final = 960  # pixels: pictures with a shorter longer side are enlarged, as small letters are not read

_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,3}", re.ASCII)
_URL: Final = re.compile(
    r"(?<![\w@.])(?:https?://)?(?:[a-z0-9-]{2,63}\.)+(?:com|net|org|shop|store|cn|ru|ua|de|fr|es|it|pl|uk|"
    r"eu|co|io|top|xyz|vip|site|online|info|biz|cc|me|tv)\b(?:/[\w./?=&%-]{0,200})?",
    re.ASCII | re.IGNORECASE,
)
_HANDLE: Final = re.compile(
    r"(?:whats?\s?app|wechat|weixin|telegram|viber|wx|vx|微信|v信|qq|(?:t|wa)\.me/)"
    r"[\s:.@]{0,4}\+?[a-z0-9](?:[\w-]|[ -](?=\d)){3,31}",
    re.ASCII | re.IGNORECASE,
)
_PHONE: Final = re.compile(r"(?<![\w.,])(?:\+|00)?\(?\d(?:[ ()./-]{0,2}\d){8,14}(?!\w|:\d)", re.ASCII)
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
"""Letters of scripts that write no spaces between words: one next to a word does not belong to it."""
_DATE: Final = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}")


@dataclass(frozen=True)
class TextLine:
    """A line of text in a picture.

    Attributes:
        text: What was read, in compatibility form (NFKC).
        region: Its four corners in pixels of the picture, clockwise from the upper left.
        confidence: The reader's own, 0 to 1.
    """

    text: str
    region: tuple[tuple[float, float], ...]
    confidence: float


@dataclass(frozen=True)
class Contact:
    """A way to reach somebody that a picture states.

    Attributes:
        kind: `email`, `url`, `handle` or `phone`.
        value: As written.
        line: The line in which it stands.
    """

    kind: str
    value: str
    line: TextLine


class TextReader:
    """Reads text in pictures; the models are loaded once."""

    def __init__(self, *, threads: int = 1) -> None:
        """Loads the models.

        Args:
            threads: How many threads one picture may use.
        """
        from rapidocr import RapidOCR

        engine = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        parameters: dict[str, Any] = {f"EngineConfig.onnxruntime.{name}": value for name, value in engine.items()}
        self._read = RapidOCR(params={"Global.log_level": "error", **parameters})

    def lines(self, picture: npt.NDArray[np.uint8]) -> list[TextLine]:
        """Returns the lines of text in a picture.

        Args:
            picture: Colours, height by width by three (RGB).
        """
        import cv2

        scale = max(1.0, TEXT_SIDE / max(picture.shape[:2]))
        shown = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else picture
        read = self._read(np.ascontiguousarray(shown[..., ::-1]))
        if read.boxes is None:
            return []
        return [
            TextLine(
                unicodedata.normalize("NFKC", text),
                tuple((float(x) / scale, float(y) / scale) for x, y in box),
                float(confidence),
            )
            for box, text, confidence in zip(read.boxes, read.txts, read.scores, strict=True)
            if confidence >= LEAST_CONFIDENCE
        ]


def contacts(lines: Collection[TextLine]) -> Iterator[Contact]:
    """Yields the e-mail addresses, addresses of pages, messenger handles and phone numbers in lines of text."""
    for line in lines:
        rest = line.text
        for kind, pattern in (("email", _EMAIL), ("handle", _HANDLE), ("url", _URL)):
            for match in pattern.finditer(rest):
                yield Contact(kind, match[0], line)
            rest = pattern.sub(" | ", rest)
        for match in _PHONE.finditer(_DATE.sub(" | ", rest)):
            if PHONE_DIGITS[0] <= sum(character.isdigit() for character in match[0]) <= PHONE_DIGITS[1]:
                yield Contact("phone", match[0], line)


def phrases(lines: Collection[TextLine], wanted: Collection[str]) -> Iterator[tuple[str, TextLine]]:
    """Yields the phrases that lines contain as whole words, without regard to case, accents and spaces around signs.

    Args:
        lines: Lines of a picture.
        wanted: Phrases such as evasive words, brands' names or merchants' names.
    """
    patterns = [(phrase, _pattern(phrase)) for phrase in wanted if _folded(phrase).strip()]
    for line in lines:
        text = _folded(line.text)
        for phrase, pattern in patterns:
            if pattern.search(text):
                yield phrase, line


def _pattern(phrase: str) -> re.Pattern[str]:
    """Returns what matches a phrase: at the borders of words, except in scripts that are written without spaces."""
    folded = _folded(phrase).strip()
    parts = [re.escape(part) for part in re.findall(r"[^\W_]+|[^\w\s]|_", folded)]
    inner = r"\s*".join(parts)
    letter = f"[^\\W{_UNSPACED}]"
    before, after = (f"(?<!{letter})", f"(?!{letter})") if folded.isascii() else ("", "")
    # "1:1" within "11:15" or "1:1.5" is a time or another ratio.
    ratio = r"(?![.,]?\d)" if folded[-1:].isdigit() else ""
    return re.compile(f"{before}{inner}{ratio}{after}")


def _folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in decomposed if not unicodedata.combining(character))
