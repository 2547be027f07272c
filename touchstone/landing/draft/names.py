"""Compares names of tables and columns with those of the contract, in several languages.

A name is split into words, and each word is looked up among the concepts of `vocabulary.yml`: as it is, as a compound
("Bestellnummer", "orderid"), with another ending, as an abbreviation ("prc") or with a spelling error. A name matches a contract
column as far as the concepts of one of the column's phrases agree with those of the name. Values are compared in `values`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from anyascii import anyascii
from pydantic import BaseModel, ConfigDict
from rapidfuzz import fuzz, process

from touchstone.core.yaml import load_packaged_yaml

VOCABULARY_PATH = Path(__file__).with_name("vocabulary.yml")

WEAK_WEIGHT, OWN_WEIGHT, UNKNOWN_WEIGHT = 0.2, 0.15, 0.6
"""Weights of words that tell little, that only repeat the table's name, and that are in no vocabulary; others weigh 1."""

INFLECTED, ABBREVIATED, MISSPELT = 0.95, 0.75, 0.7
"""How far a word counts as a concept if it is not one of its words but has another ending, is short for it, or is similar."""

_LOWER, _UPPER = r"a-z\u0430-\u044f\u0451", r"A-Z\u0410-\u042f\u0401"
"""Latin and Russian letters, as ranges of a regular expression."""
_BREAKS = re.compile(rf"[\W_]+|(?<=[{_LOWER}0-9])(?=[{_UPPER}])|(?<=[{_UPPER}])(?=[{_UPPER}][{_LOWER}])")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
_LINKS = ("", "s", "es", "n", "en", "e", "er")
"""What may stand between the parts of a compound and after them."""

Concepts = Mapping[str, float]
"""The concepts that a word may mean, each with how far it does (0 to 1)."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    own: tuple[str, ...]
    names: tuple[str, ...]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    words: dict[str, dict[str, str]]
    weak: frozenset[str]
    ignored: frozenset[str]
    tables: dict[str, _Table]
    columns: dict[str, tuple[str, ...]]
    shapes: dict[str, str]
    values: dict[str, str]


@dataclass(frozen=True)
class Word:
    """A word of a name, with the concepts that it may mean; none if it is unknown."""

    text: str
    concepts: Concepts


class Vocabulary:
    """The words and phrases of `vocabulary.yml`."""

    def __init__(self, path: Path = VOCABULARY_PATH) -> None:
        """Reads the file."""
        self._file = _File.model_validate(load_packaged_yaml(path))
        self._words: dict[str, dict[str, float]] = {}
        self._english: dict[str, str] = {}
        for concept, by_language in self._file.words.items():
            for language, words in by_language.items():
                for word in words.split():
                    # Chinese words are transliterated into several syllables, which are one word here.
                    for spelling in _spellings(word):
                        self._words.setdefault(spelling, {})[concept] = 1.0
                        if language == "en":
                            self._english[spelling] = concept
        self._resolved: dict[str, tuple[Word, ...]] = {}
        self._values: dict[str, frozenset[str]] = {}

    @cached_property
    def _long_words(self) -> list[str]:
        return [word for word in self._words if len(word) >= 5]

    def words(self, name: str) -> tuple[Word, ...]:
        """Returns the words of a name with their concepts; a compound gives several."""
        if name not in self._resolved:
            parts = _BREAKS.split(unicodedata.normalize("NFKC", name))
            words = [word for part in parts if part for word in self._resolve(part)]
            self._resolved[name] = tuple(word for word in words if word.text not in self._file.ignored)
        return self._resolved[name]

    def shape(self, column: str) -> str | None:
        """Returns the name of the shape that a contract column's values have, or None."""
        return self._file.shapes.get(column)

    def meaning(self, value: str, allowed: Iterable[str]) -> str | None:
        """Returns which of the contract's allowed values a value means, or None."""
        wanted = _plain(value)
        return next((word for word in allowed if wanted and wanted in self._meanings(word)), None)

    def _meanings(self, word: str) -> frozenset[str]:
        if word not in self._values:
            meanings = [word.replace("_", " "), *self._file.values.get(word, "").split(",")]
            self._values[word] = frozenset(map(_plain, meanings))
        return self._values[word]

    def table_score(self, name: str, table: str) -> float:
        """Returns how well a name agrees with a contract table's, from 0 to 1."""
        if name.lower() == table:
            return 1.0
        entry = self._file.tables.get(table)
        return self._best(self.words(name), entry.names, own=()) if entry else _similarity(name, table)

    def column_score(self, name: str, table: str, column: str) -> float:
        """Returns how well a name agrees with a contract column's, from 0 to 1."""
        if name.lower() == column:
            return 1.0
        phrases = self._file.columns.get(f"{table}.{column}") or self._file.columns.get(column)
        if phrases is None:
            return _similarity(name, column)
        own = self._file.tables[table].own if table in self._file.tables else ()
        if column == f"{table.removesuffix('s')}_id":
            phrases = (*phrases, "id")
        return self._best(self.words(name), phrases, own)

    def _best(self, words: Sequence[Word], phrases: Iterable[str], own: Sequence[str]) -> float:
        # The first phrases are the most typical ones.
        return max(
            (self._agreement(words, phrase.split(), own) - 0.02 * i for i, phrase in enumerate(phrases)), default=0
        )

    def _agreement(self, words: Sequence[Word], phrase: Sequence[str], own: Sequence[str]) -> float:
        """Returns the weighted F1 of the concepts of a name and of a phrase."""
        weights: dict[int, float] = {}
        matched = 0.0
        for concept in sorted(phrase, key=self._weight, reverse=True):
            options = [
                (word.concepts[concept], -len(word.concepts), -index)
                for index, word in enumerate(words)
                if concept in word.concepts and index not in weights
            ]
            if options:
                strength, _, index = max(options)
                weights[-index] = self._weight(concept)
                matched += self._weight(concept) * strength
        given = sum(weights.get(index) or self._weight_of(word, {*own, *phrase}) for index, word in enumerate(words))
        needed = sum(OWN_WEIGHT if c in own and not self._is_matched(c, words) else self._weight(c) for c in phrase)
        return 2 * matched / (given + needed) if given + needed else 0.0

    def _is_matched(self, concept: str, words: Sequence[Word]) -> bool:
        return any(concept in word.concepts for word in words)

    def _weight(self, concept: str) -> float:
        return WEAK_WEIGHT if concept in self._file.weak else 1.0

    def _weight_of(self, word: Word, repeated: set[str]) -> float:
        """Returns the weight of a word that matches nothing in the phrase, or only repeats it or the table's name."""
        if not word.concepts:
            return UNKNOWN_WEIGHT if len(word.text) > 2 else WEAK_WEIGHT
        if word.concepts.keys() & repeated:
            return OWN_WEIGHT
        return min(self._weight(concept) for concept in word.concepts)

    def _resolve(self, text: str) -> tuple[Word, ...]:
        spellings = _spellings(text)
        for spelling in spellings:
            if spelling in self._words:
                return (Word(spelling, self._words[spelling]),)
        for spelling in spellings:
            if parts := self._compound(spelling):
                return tuple(Word(part, self._words[part]) for part in parts)
        for spelling in spellings:
            for lookup in (self._inflected, self._abbreviated, self._misspelt):
                if concepts := lookup(spelling):
                    return (Word(spelling, concepts),)
        return tuple(Word(spelling, {}) for spelling in spellings[:1] if not spelling.isdigit())

    def _compound(self, text: str) -> list[str] | None:
        """Splits a word into the fewest words of the vocabulary, of at least two letters, mostly three; None if impossible."""
        best: list[list[str] | None] = [[], *[None] * len(text)]
        for end in range(2, len(text) + 1):
            for link in _LINKS:
                if not text[:end].endswith(link):
                    continue
                stop = end - len(link)
                for start in range(max(0, stop - 20), stop - 1):
                    part, before = text[start:stop], best[start]
                    is_word = part in self._words and (len(part) >= 3 or part in ("id", "no", "nr", "ts", "dt", "at"))
                    if before is None or not is_word or (link and len(part) < 4):
                        continue
                    if (current := best[end]) is None or len(before) + 1 < len(current):
                        best[end] = [*before, part]
        parts = best[-1]
        return parts if parts and len(parts) <= 3 else None

    def _inflected(self, text: str) -> Concepts:
        """Returns the concepts of the words that differ in the ending only."""
        alike: list[tuple[int, str]] = []
        for word in self._words:
            shared = _shared_prefix(text, word)
            rest = len(text) + len(word) - 2 * shared
            if rest <= min(shared, 6 if shared >= 4 else 2) and shared >= 3 and max(len(text), len(word)) - shared <= 3:
                alike.append((shared, word))
        longest = max(alike, default=(0, ""))[0]
        return {c: INFLECTED for shared, word in alike if shared >= longest - 1 for c in self._words[word]}

    def _abbreviated(self, text: str) -> Concepts:
        """Returns the concepts of the English words that a text of two to six letters is short for."""
        if not 2 <= len(text) <= 6:
            return {}
        ranked: dict[int, dict[str, float]] = {}
        for word, concept in self._english.items():
            if len(word) > len(text) and (rank := _abbreviation_rank(text, word)) is not None:
                ranked.setdefault(rank, {})[concept] = ABBREVIATED
        return ranked[min(ranked)] if ranked else {}

    def _misspelt(self, text: str) -> Concepts:
        if len(text) < 5:
            return {}
        best = process.extractOne(text, self._long_words, scorer=fuzz.ratio, score_cutoff=82)
        return dict.fromkeys(self._words[best[0]], MISSPELT) if best else {}


@cache
def vocabulary() -> Vocabulary:
    """Returns the vocabulary of the package."""
    return Vocabulary()


def _similarity(name: str, other: str) -> float:
    """Returns how similar a name is to one of the contract's that the vocabulary does not have."""
    return max(0.0, fuzz.ratio(name.lower(), other) / 50 - 1)


def _spellings(word: str) -> tuple[str, ...]:
    """Returns the spellings of a word in Latin letters, in lower case: with umlauts as two letters, and without accents."""
    folded = word.casefold()
    spellings = (anyascii(folded.translate(_UMLAUTS)), anyascii(folded))
    return tuple(dict.fromkeys(re.sub(r"[^a-z0-9]", "", spelling.lower()) for spelling in spellings))


def _plain(value: str) -> str:
    return " ".join(re.findall(r"[a-z0-9/]+", anyascii(value.casefold().translate(_UMLAUTS)).lower()))


def _shared_prefix(one: str, other: str) -> int:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length


def _abbreviation_rank(text: str, word: str) -> int | None:
    """Returns how plausible it is that a text abbreviates a word (0 is best); None if it does not."""
    if text[0] != word[0]:
        return None
    skeleton = word[0] + re.sub(r"[aeiou]", "", word[1:])
    if text == skeleton:
        return 0
    if len(text) >= 3 and word.startswith(text):
        return 1
    if len(text) >= 3 and skeleton.startswith(text):
        return 2
    letters = iter(word)
    is_subsequence = all(letter in letters for letter in text)
    return 3 + len(word) - len(text) if is_subsequence and len(text) >= 3 else None
