"""Normalises merchants' phone numbers, e-mail addresses and bank accounts before they are hashed.

An HMAC links two merchants only if both wrote the identifier in the same way. So each spelling of one phone number, mailbox or
account is replaced by one canonical form. A value that is not clearly one of these is only trimmed: opaque ids, and values that
the source has hashed, remain as they are. `extract` calls it for the distinct values of a table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

import phonenumbers
import pyarrow as pa
import stdnum
from stdnum import iban

NORMALISATION = f"2, phonenumbers {phonenumbers.__version__}, python-stdnum {stdnum.__version__}"
"""Version of what this module returns. It is part of the recipe of a load, so that another version pulls the table again."""

MAX_CHARACTERS = 320
"""The longest e-mail address; no identifier that is normalised is longer."""

_PHONE = re.compile(r"(tel:)?\+?[\d\s().\-/\u2010-\u2015]{5,}((ext|x|#|;ext=)\.?\s*\d{1,7})?", re.IGNORECASE)
"""Digits with the usual separators. Letters would turn an opaque id into a number."""
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_BLANKS = re.compile(r"[\s\u00ad\u200b-\u200d\ufeff]+")

_PLUS_DOMAINS = frozenset(
    {
        *("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "icloud.com", "me.com"),
        *("mac.com", "fastmail.com", "proton.me", "protonmail.com", "pm.me"),
    }
)
"""Providers that deliver `name+anything` to `name`."""
_DOTLESS_DOMAINS = frozenset({"gmail.com", "googlemail.com"})
"""Providers that ignore dots in the name."""


def normalise(kind: str, value: str, country: str | None = None) -> str:
    """Returns the canonical form of a merchant's identifier.

    Args:
        kind: Its kind, as in `merchant_identifiers.kind`.
        value: The identifier as written.
        country: The merchant's country (ISO 3166 alpha-2), for phone numbers without a country code.

    Returns:
        The canonical form; the trimmed value if it is of another kind of identifier, or not clearly one of its own kind.
    """
    normaliser = _NORMALISERS.get(kind)
    if normaliser is None:
        return value
    trimmed = value.strip()
    return normaliser(trimmed, country) if len(trimmed) <= MAX_CHARACTERS else trimmed


def normalise_all(kinds: pa.Array, values: pa.Array, countries: pa.Array) -> pa.Array:
    """Returns the canonical forms of identifiers; null where the value is null.

    Args:
        kinds: The kinds.
        values: The identifiers as written.
        countries: The merchants' countries.
    """
    rows = zip(kinds.to_pylist(), values.to_pylist(), countries.to_pylist(), strict=True)
    return pa.array(
        [None if value is None else normalise(kind, value, country) for kind, value, country in rows], pa.string()
    )


def _phone(value: str, country: str | None) -> str:
    """Returns E.164, with the extension if there is one, of a valid number."""
    text = unicodedata.normalize("NFKC", value)
    if not _PHONE.fullmatch(text):
        return value
    region = country.strip().upper() if country else None
    try:
        number = phonenumbers.parse(text, region if region in phonenumbers.SUPPORTED_REGIONS else None)
    except phonenumbers.NumberParseException:
        return value
    if not phonenumbers.is_valid_number(number):
        return value
    canonical = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{canonical};ext={number.extension}" if number.extension else canonical


def _email(value: str, _: str | None) -> str:
    """Returns an address in lower case, without what its provider ignores."""
    text = value.removeprefix("mailto:").lower()
    if not _EMAIL.fullmatch(text):
        return value
    name, domain = text.split("@")
    if domain in _PLUS_DOMAINS:
        name = name.split("+")[0] or name
    if domain in _DOTLESS_DOMAINS:
        name, domain = name.replace(".", "") or name, "gmail.com"
    return f"{name}@{domain}"


def _bank_account(value: str, _: str | None) -> str:
    """Returns an IBAN, of its country's structure and with a correct checksum, in capitals and without separators."""
    text = re.sub(r"[.-]", "", _BLANKS.sub("", value)).upper().removeprefix("IBAN").removeprefix(":")
    return text if _IBAN.fullmatch(text) and iban.is_valid(text, check_country=False) else value


_NORMALISERS: Mapping[str, Callable[[str, str | None], str]] = {
    "phone": _phone,
    "email": _email,
    "bank_account": _bank_account,
}
NORMALISED_KINDS = tuple(_NORMALISERS)
