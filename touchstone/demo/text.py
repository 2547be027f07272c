"""What people write: titles, descriptions, reviews and merchants' names, by the grammar in `grammar.yml`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from touchstone.core.yaml import load_packaged_yaml
from touchstone.demo.arrays import Bools, Ints, joined, nullable, phrases, picked

MOODS = ("happy", "fair", "unhappy", "doubtful", "reassured")
HAPPY, FAIR, UNHAPPY, DOUBTFUL, REASSURED = range(5)
LANGUAGES = ("en", "zh")
LOOK_ALIKES = str.maketrans("aeopcyxk", "аеорсухк")
STUFFED_WITH = 3
RETURN_DAYS = (7, 14, 15, 21, 28, 30, 45, 60, 90)


@cache
def _grammar() -> dict[str, Any]:
    grammar: dict[str, Any] = load_packaged_yaml(Path(__file__).with_name("grammar.yml"))
    return grammar


def merchant_names(rng: np.random.Generator, count: int) -> pa.Array:
    """Returns shops' names, some with a number."""
    pools = _grammar()["merchants"]
    number = nullable(numbers(rng, 10, 999, count), rng.random(count) < 0.4)
    return joined([*(picked(rng, pools[part], count) for part in ("first", "second", "third")), number])


def titles(
    rng: np.random.Generator, brand: pa.Array, series: pa.Array, noun: pa.Array, ref: pa.Array,
    is_stuffed: Bools, is_evasive: Bools,
) -> pa.Array:  # fmt: skip
    """Returns titles that name brand, series, noun and (most) model reference, in one of two orders.

    Args:
        rng: The stream.
        brand: Brand as the merchant writes it, null where it avoids the name.
        series: The product's series.
        noun: The word for the product.
        ref: The brand's reference of the product.
        is_stuffed: Which are stuffed with whatever might be searched for.
        is_evasive: Which paraphrase that the products are copies.
    """
    count, pools = len(brand), _grammar()["titles"]
    head = nullable(picked(rng, pools["heads"], count), rng.random(count) < 0.75)
    variant = joined([picked(rng, pools["letters"], count), numbers(rng, 10, 100, count)], "")
    colour = picked(rng, pools["colours"], count)
    tail = picked(rng, pools["tails"], count)
    model = nullable(ref, rng.random(count) < 0.7)
    evasion = nullable(picked(rng, pools["evasions"], count), is_evasive)
    more = [nullable(picked(rng, pools["tails"], count), is_stuffed) for _ in range(STUFFED_WITH)]
    plain = joined([head, brand, series, noun, model, colour, variant, tail, evasion, *more])
    turned = joined([brand, evasion, noun, series, colour, tail, variant, model, *more])
    return pc.if_else(pa.array(rng.random(count) < 0.6), plain, turned)


def hidden(name: str) -> list[str]:
    """Returns ways to write a brand so that a search for its name does not find it: as digits, apart, in another script."""
    first, rest = name[:1], name[1:]
    digits = rest.translate(str.maketrans("oeiasl", "031451"))
    return [
        first + digits if digits != rest else f"{first}.{rest}",
        f"{name[:2]} {name[2:]}",
        first + rest.translate(LOOK_ALIKES) if rest.translate(LOOK_ALIKES) != rest else f"{first}-{rest}",
    ]


def mixed(words: str) -> str:
    """Returns words with every second vowel, as far as there is one that looks alike, in another script."""
    return "".join(letter.translate(LOOK_ALIKES) if place % 2 else letter for place, letter in enumerate(words))


def descriptions(rng: np.random.Generator, noun: pa.Array, is_terse: Bools) -> pa.Array:
    """Returns descriptions of three or four sentences; of one where the merchant is terse."""
    count, pools = len(noun), _grammar()["descriptions"]
    offer = filled(rng, pools["offers"], pc.utf8_lower(noun))
    days = phrases([str(days) for days in RETURN_DAYS], rng.integers(0, len(RETURN_DAYS), count))
    number = joined([picked(rng, _grammar()["titles"]["letters"], count), numbers(rng, 100, 10_000, count)], "")
    shelf = nullable(filled(rng, pools["numbers"], number), (rng.random(count) < 0.8) & ~is_terse)
    more = [picked(rng, pools["services"], count), filled(rng, pools["returns"], days)]
    return joined([offer, *(nullable(sentence, ~is_terse) for sentence in more), shelf])


def reviews(
    rng: np.random.Generator, mood: Ints, things: Sequence[pa.Array], language: Ints, is_brief: Bools
) -> pa.Array:
    """Returns one review a row, in its mood and language.

    Args:
        rng: The stream.
        mood: Index into `MOODS`.
        things: The words for the product, one column per language.
        language: Index into `LANGUAGES`.
        is_brief: Which have only a word or two.
    """
    grammars = [_grammar()["reviews"][name] for name in LANGUAGES]
    texts = [_review(rng, grammar, mood, thing) for grammar, thing in zip(grammars, things, strict=True)]
    brief = [_brief(rng, grammar, mood) for grammar in grammars]
    return pc.choose(pa.array(language + len(LANGUAGES) * is_brief), *texts, *brief)


def _review(rng: np.random.Generator, grammar: dict[str, Any], mood: Ints, thing: pa.Array) -> pa.Array:
    """A subject, a verdict and perhaps a moment; perhaps an aside; perhaps a last word."""
    count = len(thing)
    moment = nullable(picked(rng, grammar["moments"], count), rng.random(count) < 0.7)
    subject = filled(rng, grammar["subjects"], thing)
    first = joined([subject, _by_mood(rng, mood, grammar["verdicts"]), moment], grammar["space"])
    aside = nullable(picked(rng, grammar["asides"], count), rng.random(count) < 0.7)
    last = nullable(_by_mood(rng, mood, grammar["last_words"]), rng.random(count) < 0.9)
    return joined([joined([first, pa.repeat(grammar["stop"], count)], ""), aside, last], grammar["space"])


def _brief(rng: np.random.Generator, grammar: dict[str, Any], mood: Ints) -> pa.Array:
    """Returns texts of a word or two with their writers: too short to count as repeated texts."""
    count = len(mood)
    initial = picked(rng, grammar["initials"], count)
    name = joined([picked(rng, grammar["names"], count), initial], grammar["space"])
    return joined([_by_mood(rng, mood, grammar["brief"]), joined([name, numbers(rng, 18, 80, count)], ", ")], " ")


def _by_mood(rng: np.random.Generator, mood: Ints, pools: dict[str, list[str]]) -> pa.Array:
    """Picks from the mood's own pool."""
    sizes = np.array([len(pools[name]) for name in MOODS])
    first = np.cumsum(sizes) - sizes
    flat = [phrase for name in MOODS for phrase in pools[name]]
    return phrases(flat, first[mood] + (rng.random(len(mood)) * sizes[mood]).astype(np.int64))


def compatible_grammar() -> dict[str, Any]:
    """Returns the phrases of compatible products: titles by language, labels, colours and letters."""
    return {**_grammar()["compatible"], **{name: _grammar()["titles"][name] for name in ("colours", "letters")}}


def filled(rng: np.random.Generator, templates: Sequence[str], word: pa.Array) -> pa.Array:
    """Picks templates and puts the word into their one gap."""
    index = rng.integers(0, len(templates), len(word))
    halves = [template.split("{}") for template in templates]
    return joined(
        [phrases([half[0] for half in halves], index), word, phrases([half[1] for half in halves], index)], ""
    )


def numbers(rng: np.random.Generator, low: int, high: int, count: int) -> pa.Array:
    """Returns whole numbers of a range, as texts."""
    return pa.array(rng.integers(low, high, count)).cast(pa.string())
