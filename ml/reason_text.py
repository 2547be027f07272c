"""The wording of reasons: one sentence about a feature, with its signal first and the typical value in brackets.

A feature's `words` in `ml/models.yml` contain one placeholder, which decides how the value and the typical value are written:

| placeholder | a value such as | is written as |
|---|---|---|
| `{value}` | any | in its unit: `61 %`, `12 days`, `1,234.50 EUR`, `3`; a share before `of` may be `all` or `none` |
| `{relative}` | ratio 0.39, 1.2 | `61 % below`, `20 % above` |
| `{percent}` | ratio 0.61 | `61 %` |
| `{times}` | ratio 3.2 | `3.2 times` |
| `{stars}` | share of five stars, 0.82 | `4.1 of 5 stars` |
| `{change}` | change of that share, -0.1 | `fell by 0.5 stars` |
| `{deviations}` | -3.2 | `3.2 standard deviations below` |
| `{words}` | the score of a text | the words that raise it: `the words “pilot” and “box”`, or `the words` |
| `{if true|if false}` | a boolean | one of the two |
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ml.declarations import Feature

LABELS: Final[Mapping[str, str]] = {
    "spec": "Specification", "price": "Price", "review": "Reviews", "logo": "Logo", "text": "Text", "merchant": "Merchant",
    "link": "Links", "order": "Orders",
}  # fmt: skip
BOOLEAN_UNITS: Final = ("boolean", "flag")
STARS: Final = 5
PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")


def describe_feature(
    feature: Feature,
    value: float,
    typical: float,
    *,
    is_of_category: bool = False,
    currency: str = "",
    quoted: Sequence[str] = (),
) -> str:
    """Returns a sentence such as `Price: 61 % below the brand's recommended price (typical: 15 % below)`.

    Args:
        feature: The feature.
        value: Its value; nan if missing.
        typical: The typical value; nan if missing values are typical, and then it is left out.
        is_of_category: Whether the typical value is that of the entity's category.
        currency: The base currency, which amounts are in.
        quoted: For the score of a text: the words that raise it.
    """
    words = feature.words or f"{feature.name.replace('_', ' ')}: {{value}}"
    (placeholder,) = PLACEHOLDER.findall(words)
    expected = "" if math.isnan(typical) or placeholder == "words" else _format(feature, placeholder, typical, currency)
    label = LABELS.get(feature.signal, feature.signal.capitalize())
    if placeholder == "words" and not math.isnan(value):
        return f"{label}: {PLACEHOLDER.sub(lambda _: _quote(quoted), words)}"
    if math.isnan(value):
        actual = ""
        sentence = f"not known: {feature.description[:1].lower()}{feature.description[1:].rstrip('.')}"
    else:
        actual = _format(feature, placeholder, value, currency)
        shown = {"0 %": "none", "100 %": "all"}.get(actual, actual) if words.startswith("{value} of ") else actual
        sentence = PLACEHOLDER.sub(lambda _: shown, words)
    if expected in ("", actual):
        return f"{label}: {sentence}"
    where = " for this category" if is_of_category else ""
    return f"{label}: {sentence} (typical{where}: {expected})"


def _quote(words: Sequence[str]) -> str:
    """Returns words in quotation marks, or `the words` if none stands out."""
    quoted = [f"“{word}”" for word in words]
    if not quoted:
        return "the words"
    return f"the word {quoted[0]}" if len(quoted) == 1 else f"the words {', '.join(quoted[:-1])} and {quoted[-1]}"


def _format(feature: Feature, placeholder: str, value: float, currency: str) -> str:
    if "|" in placeholder:
        if_true, if_false = placeholder.split("|")
        return if_true if value >= 0.5 else if_false
    return FORMATS[placeholder](value) if placeholder != "value" else _in_unit(feature.unit, value, currency)


def _in_unit(unit: str, value: float, currency: str) -> str:
    if unit in BOOLEAN_UNITS:
        return "yes" if value >= 0.5 else "no"
    if unit == "share":
        return _percent(value)
    if unit == "base":
        return f"{value:,.2f} {currency}".rstrip()
    number = _number(value)
    if unit in ("days", "hours", "stars", "grams"):
        return f"{number} {unit.removesuffix('s') if number == '1' else unit}"
    return number


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.2g}"


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.2g} %" if 0 < abs(percent) < 9.95 else f"{percent:,.0f} %"


def _relative(ratio: float) -> str:
    if abs(ratio - 1) < 0.0005:
        return "equal to"
    return f"{_percent(1 - ratio)} below" if ratio < 1 else f"{_percent(ratio - 1)} above"


def _change(share: float) -> str:
    stars = f"{abs(STARS * share):.1f}"
    return "did not change" if stars == "0.0" else f"{'fell' if share < 0 else 'rose'} by {stars} stars"


def _deviations(value: float) -> str:
    size = f"{abs(value):.1f}"
    return "equal to" if size == "0.0" else f"{size} standard deviations {'below' if value < 0 else 'above'}"


FORMATS: Final[Mapping[str, Callable[[float], str]]] = {
    "relative": _relative,
    "percent": _percent,
    "times": lambda value: f"{_number(value)} time{'' if value == 1 else 's'}",
    "stars": lambda value: f"{STARS * value:.1f} of {STARS} stars",
    "change": _change,
    "deviations": _deviations,
}
