# ruff: noqa: RUF001  words of other languages
"""Recognises what the values of a column are, and writes the SQL expressions that convert them to the contract's types.

A column is profiled from all its rows that were read (counts) and from a sample of its distinct values (shapes). Names are
compared in `names`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import duckdb

from expectations.contract import Column
from touchstone.landing.checks import family_of
from touchstone.landing.draft.names import Vocabulary
from touchstone.landing.functions import words
from touchstone.landing.sql import literal, quoted

SAMPLE_VALUES = 1000
"""How many distinct values of a column are looked at."""
MOST = 0.98
"""The share of values that has to have a shape: a few odd ones are named later by the check of the draft."""
MAX_CODES = 40
"""Most distinct values that are mapped to the contract's, one by one."""

NULL_WORDS: Final = ("NULL", "null", "\\N", "#N/A", "N/A", "NaN", "None", "(null)")
"""Texts that programs write for null. NA and - may be values."""

_DAYS = {
    "%Y-%m-%d": "",
    "%d.%m.%Y": "",
    "%d/%m/%Y": "d",
    "%m/%d/%Y": "m",
    "%d-%m-%Y": "d",
    "%m-%d-%Y": "m",
    "%Y/%m/%d": "",
}
_TIMES = ("", " %H:%M", " %H:%M:%S", ", %H:%M", ", %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
_OTHER_DAYS = (
    "%Y%m%d",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d %b %Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%d-%b-%Y",
)
DATE_FORMATS: Final = (*(day + time for time in _TIMES for day in _DAYS), *_OTHER_DAYS)
"""Formats of `strptime`, the less ambiguous first; a day before a month is tried before a month before a day."""

_TRUE = {
    "true",
    "t",
    "yes",
    "y",
    "1",
    "on",
    "ja",
    "j",
    "si",
    "sí",
    "s",
    "sim",
    "oui",
    "o",
    "vero",
    "да",
    "tak",
    "evet",
    "是",
    "x",
}
_FALSE = {
    "false",
    "f",
    "no",
    "n",
    "0",
    "off",
    "nein",
    "não",
    "nao",
    "non",
    "falso",
    "нет",
    "nie",
    "hayır",
    "hayir",
    "否",
    "",
}
_PLAIN_BOOLEANS = {"true", "false", "t", "f", "yes", "no", "y", "n", "1", "0"}
"""Texts that DuckDB reads as booleans."""

_LIKE_DATE = re.compile(r"^\d{1,4}[./-]|^\d{8}$|^\d{1,2} \w|^\w{3,9} \d{1,2},")
_ISO = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?\s*(Z|UTC|[+-]\d\d(:?\d\d)?)?)?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_POINT = re.compile(r"[+-]?\d*\.?\d+([eE][+-]?\d+)?")
_POINT_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})*(\.\d+)?")
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}([. \u00a0\u202f']\d{3})+)(,\d+)?")
_CURRENCY_SIGN = re.compile(
    r"^(?:[A-Z]{3}|R\$|US\$|kr|zł|TL|руб\.?|[$€£¥₽₺₹])\s*|\s*(?:[A-Z]{3}|kr|zł|TL|руб\.?|р\.|[$€£¥₽₺₹%])$"
)
_SHAPES: Final[dict[str, Callable[[str], object]]] = {
    "url": re.compile(r"(https?://|www\.)\S+", re.IGNORECASE).fullmatch,
    "email": re.compile(r"[^@\s]+@[^@\s]+\.\w+").fullmatch,
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch,
    "hash": re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})").fullmatch,
    "path": re.compile(r"(\w+://)?[^\s:*?\"<>|]*[/\\][^\s:*?\"<>|]*|\S+\.(jpe?g|png|webp|gif|pdf)").fullmatch,
    "capitals3": re.compile(r"[A-Z]{3}").fullmatch,
    "country": re.compile(r"[A-Z]{2}").fullmatch,
    "language": re.compile(r"[a-z]{2}([-_][A-Za-z]{2,4})?").fullmatch,
    "json": lambda value: value[:1] in "{[" and _is_json(value),
    "phrase": re.compile(r"\S+(\s+\S+)+|.{12,}", re.DOTALL).fullmatch,
    "text": re.compile(r"\S+(\s+\S+){3,}|.{30,}", re.DOTALL).fullmatch,
    "letters": re.compile(r".*[^\W\d_].*", re.DOTALL).fullmatch,
}
CURRENCIES: Final = words("""
    USD EUR GBP JPY CNY CHF CAD AUD NZD SEK NOK DKK PLN CZK HUF RON BGN RUB UAH TRY ILS INR BRL MXN ARS CLP COP PEN ZAR KRW TWD
    HKD SGD MYR THB IDR PHP VND AED SAR EGP NGN KES MAD PKR BDT KZT BYN GEL ISK RSD BTC ETH
""")


def _is_json(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict | list)
    except ValueError:
        return False


@dataclass(frozen=True)
class Profile:
    """What is known of a column.

    Attributes:
        name: The column's name.
        sql_type: Its DuckDB type.
        rows: Rows that were read.
        filled: Rows with a value.
        distinct: Distinct values, counted exactly.
        values: Up to `SAMPLE_VALUES` distinct values as text, sorted.
        kind: `integer`, `decimal`, `boolean`, `date`, `timestamp`, `nested`, `text`, or `nothing` if it has no value.
        notation: How numbers are written: `plain`, `grouped` (1,234.5) or `comma` (1.234,5); whether they have a sign of currency
            is in `has_sign`.
        has_sign: Whether numbers have a sign of a currency or of per cent.
        formats: The formats of dates that `strptime` needs; none if DuckDB reads them itself.
        is_ambiguous: Whether other formats or notations fit as well.
        is_epoch: Whether whole numbers may be seconds or milliseconds since 1970.
        shares: The share of the sampled values that have each shape.
    """

    name: str
    sql_type: str
    rows: int
    filled: int
    distinct: int
    values: tuple[str, ...]
    kind: str = "nothing"
    notation: str = "plain"
    has_sign: bool = False
    formats: tuple[str, ...] = ()
    is_ambiguous: bool = False
    is_epoch: bool = False
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value, and no two the same."""
        return self.rows > 0 and self.distinct == self.rows

    @property
    def family(self) -> str:
        """The family of the DuckDB type."""
        return family_of(self.sql_type)

    def share(self, shape: str) -> float:
        """Returns the share of values that have a shape."""
        return self.shares.get(shape, 0.0)


def profile_columns(connection: duckdb.DuckDBPyConnection, relation: str) -> list[Profile]:
    """Returns the profiles of a relation's columns.

    Args:
        connection: Has the relation.
        relation: Its name, not quoted.
    """
    described = connection.execute(f"describe {quoted(relation)}").fetchall()
    columns = [(str(row[0]), str(row[1])) for row in described]
    counts = ", ".join(f"count({quoted(n)}), count(distinct {quoted(n)})" for n, _ in columns)
    row = connection.execute(f"select count(*), {counts} from {quoted(relation)}").fetchone() or (0,)
    profiles = []
    for index, (name, sql_type) in enumerate(columns):
        # The same rows give the same sample, whatever order they come in.
        sample = connection.execute(
            f"select value from (select distinct cast({quoted(name)} as varchar) as value from {quoted(relation)}) "
            f"where value is not null order by md5(value) limit {SAMPLE_VALUES}"
        ).fetchall()
        values = tuple(sorted(str(value) for (value,) in sample))
        profiles.append(
            profile_of(name, sql_type, int(row[0]), int(row[1 + 2 * index]), int(row[2 + 2 * index]), values)
        )
    return profiles


def profile_of(name: str, sql_type: str, rows: int, filled: int, distinct: int, values: Sequence[str]) -> Profile:
    """Returns the profile of a column from its counts and a sample of its values; see `Profile`."""
    known = Profile(name, sql_type, rows, filled, distinct, tuple(values))
    family = known.family
    kinds = {"floating": "decimal", "decimal": "decimal", "integer": "integer", "boolean": "boolean", "date": "date"}
    kinds |= {"timestamp": "timestamp", "nested": "nested"}
    texts = [value.strip() for value in values if value.strip()]
    if not texts:
        return known
    shares = {shape: sum(map(bool, map(matches, texts))) / len(texts) for shape, matches in _SHAPES.items()}
    shares["currency"] = sum(text in CURRENCIES for text in texts) / len(texts)
    if family in kinds:
        whole = all(_INTEGER.fullmatch(text.removesuffix(".0")) for text in texts)
        kind = "integer" if family in ("floating", "decimal") and whole else kinds[family]
        return _with(known, kind=kind, shares=shares, is_epoch=kind == "integer" and _is_epoch(texts))
    if family == "text":
        return _text_profile(known, texts, shares)
    return _with(known, kind="text", shares=shares)


def _with(profile: Profile, **changes: object) -> Profile:
    return Profile(**{**profile.__dict__, **changes})


def _text_profile(known: Profile, texts: Sequence[str], shares: dict[str, float]) -> Profile:
    """Returns the profile of a column of text: that of the first kind whose notation nearly all values have."""
    kinds = (_as_boolean, _as_iso_date, _as_integer, _as_decimal, _as_formatted_date)
    found: Iterator[dict[str, object]] = (changes for kind in kinds if (changes := kind(texts)))
    return _with(known, shares=shares, **next(found, {"kind": "text"}))


def _as_boolean(texts: Sequence[str]) -> dict[str, object]:
    """Returns the changes of a profile by which values are booleans; none if they are not. So do the following functions."""
    lower = {text.lower() for text in texts}
    # A lone x or s is no boolean; digits may be, which the contract's column decides.
    if (
        lower <= _TRUE | _FALSE
        and len(lower) <= 4
        and len(lower) > len(lower & {"1", "0"})
        and lower & (_TRUE | _FALSE - {""})
    ):
        return {"kind": "boolean"}
    return {}


def _as_iso_date(texts: Sequence[str]) -> dict[str, object]:
    if _most(texts, _ISO.fullmatch):
        return {"kind": "date" if all(len(text) == 10 for text in texts) else "timestamp"}
    return {}


def _as_integer(texts: Sequence[str]) -> dict[str, object]:
    if not _most(texts, _INTEGER.fullmatch) or any(_CURRENCY_SIGN.search(text) for text in texts):
        return {}
    if _most(texts, lambda text: re.match(r"(19|20)\d{6}$", text) and _parses(text, "%Y%m%d")):
        return {"kind": "date", "formats": ("%Y%m%d",)}
    return {"kind": "integer", "is_epoch": _is_epoch(texts)}


def _as_decimal(texts: Sequence[str]) -> dict[str, object]:
    bare = [_CURRENCY_SIGN.sub("", text) for text in texts]
    for notation, pattern in (("plain", _POINT), ("comma", _COMMA), ("grouped", _POINT_GROUPED)):
        if _most(bare, pattern.fullmatch):
            # 1,234 is a thousand and more in English, and one and a bit elsewhere.
            is_both = notation == "comma" and _most(bare, _POINT_GROUPED.fullmatch)
            has_sign = bare != list(texts)
            return {"kind": "decimal", "notation": notation, "has_sign": has_sign, "is_ambiguous": is_both}
    return {}


def _as_formatted_date(texts: Sequence[str]) -> dict[str, object]:
    formats = _formats(list(dict.fromkeys(texts)))
    if not formats:
        return {}
    other = [f for f in DATE_FORMATS if f not in formats and all(_parses(text, f) for text in texts)]
    kind = "timestamp" if any("%H" in f or "%I" in f for f in formats) else "date"
    return {"kind": kind, "formats": formats, "is_ambiguous": bool(other)}


def _most(texts: Sequence[str], matches: Callable[[str], object]) -> bool:
    return sum(map(bool, map(matches, texts))) >= MOST * len(texts)


def _is_epoch(texts: Iterable[str]) -> bool:
    """Returns whether all numbers would be times between 2000 and 2100, in seconds or milliseconds."""
    numbers = [int(float(text)) for text in texts if _POINT.fullmatch(text)]
    return bool(numbers) and any(all(946_684_800 <= n / unit < 4_102_444_800 for n in numbers) for unit in (1, 1000))


def _formats(texts: Sequence[str]) -> tuple[str, ...]:
    """Returns the fewest formats, at most two, that together read nearly all texts."""
    some = texts[:: max(1, len(texts) // 20)]
    if not any(_LIKE_DATE.search(text) for text in some):
        return ()
    candidates = [f for f in DATE_FORMATS if any(_parses(text, f) for text in some)]
    if not candidates:
        return ()
    read = {f: {text for text in texts if _parses(text, f)} for f in candidates}
    best = max(candidates, key=lambda f: len(read[f]))
    if len(read[best]) >= MOST * len(texts):
        return (best,)
    second = max(candidates, key=lambda f: len(read[f] - read[best]))
    return (best, second) if len(read[best] | read[second]) >= MOST * len(texts) else ()


def _parses(text: str, date_format: str) -> bool:
    try:
        return 1900 <= datetime.strptime(text, date_format).replace(tzinfo=UTC).year <= 2200
    except ValueError:
        return False


def fit(profile: Profile, column: Column, vocabulary: Vocabulary, shape: str | None) -> float:
    """Returns how well values fit a contract column: from 0 (impossible) over 0.5 (nothing speaks for or against) to 1.

    Args:
        profile: The source column's profile.
        column: The contract's column.
        vocabulary: For the meaning of codes.
        shape: The shape that the contract column's values have, if any.
    """
    if profile.kind == "nothing":
        return 0.5
    base = _TYPE_FITS[column.type](profile)
    if base == 0:
        return 0
    if column.values:
        if profile.distinct > MAX_CODES:
            return 0.05
        meant = sum(vocabulary.meaning(value, column.values) is not None for value in profile.values)
        return 0.3 + 0.7 * meant / len(profile.values)
    if column.type in ("integer", "decimal", "double") and profile.kind in ("integer", "decimal"):
        return base * _range_fit(profile, column)
    return base * _shape_fit(profile, shape) if column.type == "string" else base


def _range_fit(profile: Profile, column: Column) -> float:
    numbers = [n for n in (number_of(value, profile) for value in profile.values) if n is not None]
    if not numbers:
        return 0.5
    low, high = (column.min, column.max)
    outside = sum((low is not None and n < low) or (high is not None and n > high) for n in numbers)
    return 0.05 if outside > 0.02 * len(numbers) else 1.0


def number_of(value: str, profile: Profile) -> float | None:
    """Returns the number that a text of a profiled column is, as the drafted expression reads it; None if it is none."""
    bare = _CURRENCY_SIGN.sub("", value.strip())
    if profile.notation == "comma":
        bare = re.sub(r"[^0-9,+-]", "", bare).replace(",", ".")
    elif profile.notation == "grouped":
        bare = bare.replace(",", "")
    try:
        return float(bare)
    except ValueError:
        return None


def _shape_fit(profile: Profile, shape: str | None) -> float:
    exclusive = max(profile.share("currency"), profile.share("url"), profile.share("json"), profile.share("email"))
    if shape is None:
        return 0.2 if exclusive > MOST else 1.0
    if shape == "path":
        return 2.0 if max(profile.share("path"), profile.share("url")) > MOST else 0.2
    if shape == "country":  # a name of a country is accepted, a long text is not
        return (
            2.0 if profile.share("country") > MOST else 0.2 if exclusive > MOST or profile.share("text") > 0.5 else 1.0
        )
    if shape in ("currency", "url", "hash", "language"):
        return (
            2.0 if profile.share(shape) > MOST else 0.7 if profile.share("letters") > MOST and shape != "hash" else 0.2
        )
    if shape == "identifier":
        return 0.3 if profile.share("text") > 0.5 else 1.0
    return 0.4 + 1.2 * profile.share(shape) if exclusive < MOST else 0.2


_IDENTIFIER_KINDS = {
    "text": 0.5,
    "integer": 0.45,
    "decimal": 0.1,
    "boolean": 0.1,
    "date": 0.05,
    "timestamp": 0.05,
    "nested": 0,
}
_TYPE_FITS: Final[dict[str, Callable[[Profile], float]]] = {
    "string": lambda p: _IDENTIFIER_KINDS[p.kind],
    "integer": lambda p: {"integer": 0.7, "decimal": 0.1}.get(p.kind, 0) if not p.is_epoch else 0.2,
    "decimal": lambda p: {"decimal": 0.9, "integer": 0.7}.get(p.kind, 0) if not p.is_epoch else 0.2,
    "double": lambda p: {"decimal": 0.9, "integer": 0.6}.get(p.kind, 0) if not p.is_epoch else 0.2,
    "boolean": lambda p: (
        1.0 if p.kind == "boolean" else 0.8 if p.kind == "integer" and set(p.values) <= {"0", "1"} else 0
    ),
    "date": lambda p: {"date": 1.0, "timestamp": 0.4}.get(p.kind, 0),
    "timestamp": lambda p: {"timestamp": 1.0, "date": 0.8}.get(p.kind, 0.6 if p.is_epoch else 0),
    "json": lambda p: 1.0 if p.kind == "nested" or p.share("json") > 0.9 else 0.1 if p.kind == "text" else 0,
}


def expression(profile: Profile, column: Column, vocabulary: Vocabulary, reference: str) -> tuple[str, list[str]]:
    """Returns the SQL that converts a source column to a contract column, and remarks for the reader.

    Args:
        profile: The source column's profile.
        column: The contract's column.
        vocabulary: For the meaning of codes.
        reference: SQL for the source column.
    """
    if column.values and profile.kind != "nothing":
        return _codes(profile, column, vocabulary, reference)
    if column.type == "string":
        whole = profile.family == "floating" and profile.kind == "integer"
        return (_text(profile, reference, whole=whole), [])
    if column.type in ("integer", "decimal", "double"):
        return _number(profile, reference)
    if column.type in ("timestamp", "date"):
        return _time(profile, column, reference)
    if column.type == "boolean" and profile.kind == "boolean" and profile.family == "text":
        return _boolean(profile, reference), []
    return reference, []


def _text(profile: Profile, reference: str, *, whole: bool) -> str:
    if whole:
        return f"cast(cast({reference} as bigint) as varchar)"
    plain = profile.family in ("text", "integer", "boolean", "nothing")
    return reference if plain else f"cast({reference} as varchar)"


def _number(profile: Profile, reference: str) -> tuple[str, list[str]]:
    if profile.family != "text" or (profile.notation == "plain" and not profile.has_sign):
        return reference, []
    remarks = (
        ["1,234 is read with a decimal comma; if it is a thousand, use replace(…, ',', '')"]
        if profile.is_ambiguous
        else []
    )
    if profile.notation == "comma":
        return f"replace(regexp_replace({reference}, '[^0-9,+-]', '', 'g'), ',', '.')", remarks
    return f"regexp_replace({reference}, '[^0-9.+-]', '', 'g')", remarks


def _time(profile: Profile, column: Column, reference: str) -> tuple[str, list[str]]:
    if profile.is_epoch and profile.kind == "integer":
        longest = max(float(value) for value in profile.values)
        unit = "" if longest < 4_102_444_800 else " / 1000"
        return f"to_timestamp(cast({reference} as double){unit})", []
    if not profile.formats:
        cast = f"cast({reference} as date)" if column.type == "date" and profile.kind == "timestamp" else reference
        return cast, []
    listed = ", ".join(map(literal, profile.formats))
    parsed = f"strptime({reference}, {listed if len(profile.formats) == 1 else f'[{listed}]'})"
    if column.type == "date":
        parsed = f"cast({parsed} as date)"
    remarks = (
        ["the day may also be the month"] if profile.is_ambiguous and re.search("%d[/-]%m|%m[/-]%d", listed) else []
    )
    return parsed, remarks


def _boolean(profile: Profile, reference: str) -> str:
    words = {value.strip().lower() for value in profile.values}
    if words <= _PLAIN_BOOLEANS:
        return reference
    listed = [", ".join(map(literal, sorted(words & side))) for side in (_TRUE, _FALSE)]
    cases = [
        f"when lower(trim({reference})) in ({texts}) then {value}"
        for texts, value in zip(listed, ("true", "false"), strict=True)
        if texts
    ]
    return f"case {' '.join(cases)} end"


def _codes(profile: Profile, column: Column, vocabulary: Vocabulary, reference: str) -> tuple[str, list[str]]:
    meant = {value: vocabulary.meaning(value, column.values) for value in profile.values}
    if all(value == meaning for value, meaning in meant.items()):
        return reference, []
    unknown = sorted(value for value, meaning in meant.items() if meaning is None)
    cases = [f"when {literal(value)} then {literal(meaning)}" for value, meaning in sorted(meant.items()) if meaning]
    rest = " else 'other'" if "other" in column.values and unknown else ""
    remarks = (
        [f"{len(unknown)} of its {len(meant)} codes have no known meaning; map them to: {', '.join(column.values)}"]
        if unknown
        else []
    )
    return (f"case {reference} {' '.join(cases)}{rest} end" if cases else "null"), remarks


def names_codes(profile: Profile) -> bool:
    """Returns whether a column's values may be shown: few codes, no texts or numbers of persons."""
    return profile.distinct <= MAX_CODES and profile.share("text") == 0
