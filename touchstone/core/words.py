"""Words of texts in any language, for SQL: stems of words, and the words of scripts that write no spaces between them.

Belongs here: functions over Arrow arrays that DuckDB calls, and their registration. The models that use them are
`int_authenticity_complaints` and `int_text_findings`; a connection that runs these needs `register`.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import Final

import duckdb
import pyarrow as pa
import snowballstemmer
from duckdb.func import FunctionNullHandling, PythonUDFType
from duckdb.sqltypes import VARCHAR
from icu4py.breakers import WordBreaker

STEMMERS: Final = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish",
    "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian",
    "nb": "norwegian", "ne": "nepali", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""Snowball's algorithm by language, ISO 639-1."""
UNSPACED: Final = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff]")
"""Thai, Lao, Burmese, Khmer, and Japanese Hiragana and Katakana."""
_ASTRAL: Final = re.compile(r"[\U00010000-\U0010ffff]")
_RUSSIAN_SHORT_I: Final = re.compile(r"(?<=[ыиое])и$")


def stem_all(words: pa.Array, languages: pa.Array) -> pa.Array:
    """Returns the stems of words, by Snowball's algorithm of their language; the word itself if it has none.

    Args:
        words: Words in lower case, with or without accents.
        languages: Their languages, ISO 639-1.
    """
    pairs = list(zip(words.to_pylist(), languages.to_pylist(), strict=True))
    stems: dict[tuple[str, str], str] = {}
    for language, same in groupby(sorted(set(pairs), key=lambda pair: pair[1] or ""), key=lambda pair: pair[1]):
        # A stemmer has state, and DuckDB calls this from several threads.
        stemmer = snowballstemmer.stemmer(STEMMERS[language]) if language in STEMMERS else None
        for word, _ in same:
            stems[word, language] = stemmer.stemWord(_written(word, language)) if stemmer and word else word
    return pa.array([stems[pair] for pair in pairs], pa.string())


def _written(word: str, language: str) -> str:
    """Returns a word as it is written: without its accent, Russian й is и, and the endings of adjectives are none any more."""
    return _RUSSIAN_SHORT_I.sub("й", word) if language == "ru" else word


def segment_all(texts: pa.Array) -> pa.Array:
    """Returns texts with a space between the words, as ICU's dictionaries find them, if a script has no spaces of its own.

    Args:
        texts: Texts in any script; null stays null.
    """
    return pa.array(
        [_segmented(text) if text and UNSPACED.search(text) else text for text in texts.to_pylist()], pa.string()
    )


def _segmented(text: str) -> str:
    # ICU counts positions in units of UTF-16, which are characters if none is beyond U+FFFF.
    segments = WordBreaker(_ASTRAL.sub("\ufffd", text), "und").segments()
    return " ".join(text[start:end] for start, end in segments)


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds `word_stem(word, language)` and `spaced_words(text)` to a connection.

    Args:
        connection: Any; the functions are there until it is closed.
    """
    for name, function, count in (("word_stem", stem_all, 2), ("spaced_words", segment_all, 1)):
        # Another connection of this process to the same file may have added it.
        if not connection.execute("select 1 from duckdb_functions() where function_name = ?", [name]).fetchall():
            connection.create_function(
                name,
                function,
                [VARCHAR] * count,
                VARCHAR,
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )
