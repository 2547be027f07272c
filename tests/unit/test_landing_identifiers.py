"""The canonical forms of identifiers: spellings of one identifier become equal, others stay apart, nothing is lost."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchstone.landing.identifiers import NORMALISED_KINDS, normalise, normalise_all

SAME = {
    "phone": [
        ("+49 30 901820", ["030 901820", "(030) 90-18-20", "0049 30 901820", "+4930901820", "tel:+49-30-901820"], "DE"),
        ("+86 138 0013 8000", ["13800138000", "138-0013-8000", "8613800138000"], "cn "),
        ("13800138000", ["\uff11\uff13\uff18\uff10\uff10\uff11\uff13\uff18\uff10\uff10\uff10"], "CN"),
        ("+1 212 736 5000", ["(212) 736-5000", "212.736.5000", "1 212 736 5000"], "US"),
        ("+1 212 736 5000 ext. 12", ["212-736-5000 x12"], "US"),
    ],
    "email": [
        ("ann.lee@gmail.com", ["Ann.Lee@GMail.com", "annlee+shop@googlemail.com", " a.n.n.l.e.e@gmail.com "], None),
        ("ann@outlook.com", ["ANN+2@Outlook.com"], None),
        ("ann@example.org", ["mailto:Ann@Example.org"], None),
    ],
    "bank_account": [
        ("DE89370400440532013000", ["DE89 3704 0044 0532 0130 00", "de89-3704-0044-0532-0130-00"], None),
        ("BE68539007547034", ["be68539007547034"], None),
        ("GB29NWBK60161331926819", ["IBAN: GB29 NWBK 6016 1331 9268 19"], None),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "one", "other", "country"),
    [(kind, one, other, country) for kind, rows in SAME.items() for one, others, country in rows for other in others],
)
def test_spellings_of_one_identifier_are_equal(kind: str, one: str, other: str, country: str | None) -> None:
    assert normalise(kind, other, country) == normalise(kind, one, country)


@pytest.mark.parametrize(
    ("kind", "one", "other", "country"),
    [
        ("email", "ann.lee@example.org", "annlee@example.org", None),
        ("email", "ann+shop@example.org", "ann@example.org", None),
        ("email", "ann.lee@outlook.com", "annlee@outlook.com", None),
        ("phone", "+1 212 736 5000", "+1 212 736 5000 ext. 12", "US"),
        ("phone", "030 901820", "+4930901820", None),
        ("phone", "030 901820", "+4930901820", "CN"),
        ("bank_account", "DE88 3704 0044 0532 0130 00", "DE88370400440532013000", None),
    ],
)
def test_identifiers_that_may_differ_stay_apart(kind: str, one: str, other: str, country: str | None) -> None:
    """Dots and tags of an unknown provider, an extension, a national number without its country, a wrong checksum."""
    assert normalise(kind, one, country) != normalise(kind, other, country)


@pytest.mark.parametrize("kind", NORMALISED_KINDS)
@pytest.mark.parametrize(
    "value",
    [
        "5d41402abc4b2a76b9719d911017c592", "ca372d073e948ec5", "be260212ee9403c1",
        "q3Jv7fYwzK1", "n/a", "0", "ann at example.org", "a@b@c.de", "@gmail.com",
        "12-345 678", "+999 123", "12345678901234567890123456789012", "1" * 1000,
    ],
)  # fmt: skip
def test_a_value_that_is_no_such_identifier_is_only_trimmed(kind: str, value: str) -> None:
    assert normalise(kind, f" {value}\n", "DE") == value


def test_other_kinds_are_unchanged() -> None:
    assert normalise("device", " A@gmail.com ", "DE") == " A@gmail.com "


@given(st.sampled_from([*NORMALISED_KINDS, "key"]), st.text(), st.sampled_from([None, "DE", "US", "xx", ""]))
def test_any_text_has_a_canonical_form_of_its_own(kind: str, value: str, country: str | None) -> None:
    canonical = normalise(kind, value, country)
    assert bool(canonical.strip()) == bool(value.strip())
    assert normalise(kind, canonical, country) == canonical


def test_a_column_is_normalised_row_by_row_of_its_distinct_values() -> None:
    kinds, values = pa.array(["email", "phone", "phone"]), pa.array(["A@x.de", None, "030 901820"])
    assert normalise_all(kinds, values, pa.array([None, "DE", "DE"])).to_pylist() == ["a@x.de", None, "+4930901820"]
