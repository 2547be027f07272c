"""The policy: the default is valid, mistakes are reported with line and remedy, and the digest covers the values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from touchstone.core.errors import BadInputError
from touchstone.core.lists import LISTS
from touchstone.publishing.policy import ALLOWED_VALUES, MODELS, Action, Policy, Term, load_policy, max_signals

DEFAULT = Path(__file__).resolve().parents[2] / "policies" / "default.yml"
VALID = """target_precision: 0.9
action: review
capacity: 100
corroboration: 2
allow_empty: false
max_flagged_share: 0.1
lists: [listings, merchants, reviews]
terms:
  - {list: listings, category: watches, threshold: 80}
  - {list: listings, category: bags/hand, brand: Acme, country: DE, target_precision: 0.95}
  - {list: reviews, capacity: 50, corroboration: 3, action: test_buy}
rules:
  - {name: hour, column: hour_order_count, at_least: 4, action: watch}
drift: {warn: 0.25, block: 8}
"""
TERM = "  - {list: listings, category: watches, threshold: 80}\n"
RULE = "  - {name: hour, column: hour_order_count, at_least: 4, action: watch}\n"


def term(content: str) -> str:
    return f"  - {{{content}}}\n"


# By mistake: the replaced text of the valid policy, its replacement, the reported line, and part of the message.
MISTAKES: dict[str, tuple[str, str, int, str]] = {
    "target above 1": (
        "n: 0.9\n",
        "n: 90\n",
        1,
        "target_precision: invalid value 90. Write a share above 0 and up to 1",
    ),
    "target 0": ("n: 0.9\n", "n: 0\n", 1, "a share above 0"),
    "target as text": ("n: 0.9\n", "n: high\n", 1, "invalid value 'high'"),
    "target in quotes": ("n: 0.9\n", "n: '0.9'\n", 1, "a share above 0"),
    "target true": ("n: 0.9\n", "n: yes\n", 1, "invalid value True"),
    "target not a number": ("n: 0.9\n", "n: .nan\n", 1, "a share above 0"),
    "target missing": ("target_precision: 0.9\n", "", 1, "target_precision: missing. Add it: a share"),
    "target empty": ("n: 0.9\n", "n:\n", 1, "invalid value None"),
    "threshold for all": ("action: review\n", "action: review\nthreshold: 80\n", 3, "threshold: unknown key"),
    "action unknown": ("action: review", "action: burn", 2, "one of watch, review, test_buy, restrict, remove"),
    "action missing": ("action: review\n", "", 1, "action: missing"),
    "capacity 0": (
        "capacity: 100",
        "capacity: 0",
        3,
        "capacity: invalid value 0. Write the maximum number of rows a day",
    ),
    "capacity negative": ("capacity: 100", "capacity: -1", 3, "whole number of at least 1"),
    "capacity fractional": ("capacity: 100", "capacity: 1.5", 3, "whole number"),
    "capacity true": ("capacity: 100", "capacity: true", 3, "whole number"),
    "corroboration 0": ("corroboration: 2", "corroboration: 0", 4, "a number of signals, a whole number of at least 1"),
    "corroboration above the maximum": (
        "corroboration: 2",
        "corroboration: 4",
        4,
        "reasons of a row of reviews name at most 3 signals. Write 3 or",
    ),
    "corroboration as text": ("corroboration: 2", "corroboration: many", 4, "a number of signals"),
    "allow_empty as text": ("allow_empty: false", "allow_empty: perhaps", 5, "Write true or false"),
    "allow_empty a number": ("allow_empty: false", "allow_empty: 0", 5, "Write true or false"),
    "share 0": ("max_flagged_share: 0.1", "max_flagged_share: 0", 6, "max_flagged_share: invalid value 0"),
    "list unknown": ("lists: [listings", "lists: [ships, listings", 7, "lists.0: invalid value 'ships'"),
    "no list": ("[listings, merchants, reviews]", "[]", 7, "a list of one or more of listings"),
    "lists not a list": ("[listings, merchants, reviews]", "listings", 7, "a list of one or more of listings"),
    "list twice": (
        "merchants, reviews]",
        "merchants, reviews, listings]",
        7,
        "lists.3: listings is repeated. Keep one",
    ),
    "key misspelt": ("allow_empty", "alow_empty", 5, "unknown key. Write allow_empty"),
    "key that does not exist": (
        "action: review\n",
        "action: review\nzzz: 1\n",
        3,
        "The keys are target_precision, action, capacity",
    ),
    "key that is a number": ("action: review\n", "action: review\n7: 1\n", 3, "7: unknown key"),
    "key twice": ("action: review\n", "action: review\naction: remove\n", 3, "given twice, in line 2 before. Keep one"),
    "term key twice": (
        TERM,
        term("list: listings, threshold: 80, threshold: 90, category: watches"),
        9,
        "terms.0.threshold: it is given twice",
    ),
    "terms not a list": (
        VALID[VALID.index("terms:") : VALID.index("rules")],
        "terms: {list: listings, action: watch}\n",
        8,
        "a list of terms",
    ),
    "term that is not a mapping": (
        TERM,
        "  - watches\n",
        9,
        "terms.0: not a mapping. Write keys with values: list, category",
    ),
    "term key misspelt": (
        TERM,
        term("list: listings, categroy: watches, threshold: 80"),
        9,
        "unknown key. Write category",
    ),
    "term key that does not exist": (
        TERM,
        term("list: listings, category: watches, allow_empty: true, threshold: 80"),
        9,
        "The keys are list, category",
    ),
    "term without list": (
        TERM,
        term("category: watches, threshold: 80"),
        9,
        "terms.0.list: missing. Add it: one of listings",
    ),
    "term of an unknown list": (
        TERM,
        term("list: ships, threshold: 80"),
        9,
        "invalid value 'ships'. Write one of listings",
    ),
    "term of a list that is not made": (
        TERM,
        term("list: brushing_merchants, threshold: 80"),
        9,
        "does not build the list brushing_merchants",
    ),
    "term without effect": (
        TERM,
        term("list: listings, category: watches"),
        9,
        "terms.0: it has no effect. Add one of target_precision",
    ),
    "both limits": (
        TERM,
        term("list: listings, category: watches, threshold: 80, target_precision: 0.8"),
        9,
        "Keep one of them",
    ),
    "threshold as a share": (
        TERM,
        term("list: listings, category: watches, threshold: 0.8"),
        9,
        "a score from 1 to 100",
    ),
    "threshold above 100": (
        TERM,
        term("list: listings, category: watches, threshold: 101"),
        9,
        "a score from 1 to 100",
    ),
    "threshold as text": (
        TERM,
        term("list: listings, category: watches, threshold: '80'"),
        9,
        "a score from 1 to 100",
    ),
    "term target above 1": (
        TERM,
        term("list: listings, category: watches, target_precision: 95"),
        9,
        "a share above 0 and up to 1",
    ),
    "term action unknown": (TERM, term("list: listings, category: watches, action: seize"), 9, "one of watch, review"),
    "term capacity 0": (
        TERM,
        term("list: listings, category: watches, capacity: 0"),
        9,
        "terms.0.capacity: invalid value 0",
    ),
    "term corroboration 0": (
        TERM,
        term("list: listings, category: watches, corroboration: 0"),
        9,
        "a number of signals",
    ),
    "term corroboration beyond": (
        TERM,
        term("list: listings, category: watches, corroboration: 5"),
        9,
        "row of listings name at most 4 signals. Write 4 or less",
    ),
    "category empty": (
        TERM,
        term("list: listings, category: '', threshold: 80"),
        9,
        "a category path, such as watches/wrist",
    ),
    "category a number": (TERM, term("list: listings, category: 7, threshold: 80"), 9, "a category path"),
    "brand empty": (TERM, term("list: listings, brand: '', threshold: 80"), 9, "a brand's name"),
    "country as a name": (
        TERM,
        term("list: listings, country: Germany, threshold: 80"),
        9,
        "a country code of two capital letters",
    ),
    "country in lower case": (
        TERM,
        term("list: listings, country: de, threshold: 80"),
        9,
        "a country code of two capital letters",
    ),
    "country that YAML reads as a boolean": (
        TERM,
        term("list: listings, country: NO, threshold: 80"),
        9,
        "invalid value False. Write a country code of two capital letters",
    ),
    "an unreachable term": (
        RULE[:0] + "  - {list: reviews",
        term("list: listings, category: watches/wrist, action: remove") + "  - {list: reviews",
        11,
        "it has no effect, because the term in line 9 covers all",
    ),
    "a term after one for the whole list": (
        TERM,
        term("list: listings, action: watch"),
        10,
        "because the term in line 9 covers all its rows",
    ),
    "a brand in another case": (
        "  - {list: reviews",
        term("list: listings, category: bags/hand/new, brand: ACME, country: DE, capacity: 3") + "  - {list: reviews",
        11,
        "the term in line 10",
    ),
    "the same term again": ("  - {list: reviews", TERM + "  - {list: reviews", 11, "the term in line 9"),
    "rule without limit": (
        RULE,
        "  - {name: hour, column: hour_order_count, action: watch}\n",
        13,
        "Give at_least or at_most",
    ),
    "rule that no row satisfies": (
        RULE,
        "  - {name: hour, column: hour_order_count, at_least: 4, at_most: 3, action: watch}\n",
        13,
        "Swap them",
    ),
    "rule on an unknown indicator": (
        RULE,
        "  - {name: hour, column: score, at_least: 4, action: watch}\n",
        13,
        "one of buyer_age_days",
    ),
    "rule with a name of two words": (
        RULE,
        "  - {name: an hour, column: hour_order_count, at_least: 4, action: watch}\n",
        13,
        "lower-case letters",
    ),
    "rule with an unknown action": (
        RULE,
        "  - {name: hour, column: hour_order_count, at_least: 4, action: shoot}\n",
        13,
        "one of watch",
    ),
    "rule with a key of a term": (
        RULE,
        "  - {name: hour, column: hour_order_count, at_least: 4, action: watch, list: reviews}\n",
        13,
        "The keys are name, column",
    ),
    "rule without name": (
        RULE,
        "  - {column: hour_order_count, at_least: 4, action: watch}\n",
        13,
        "rules.0.name: missing",
    ),
    "rule limit as text": (
        RULE,
        "  - {name: hour, column: hour_order_count, at_least: four, action: watch}\n",
        13,
        "Write a number",
    ),
    "rule limit infinite": (
        RULE,
        "  - {name: hour, column: hour_order_count, at_least: .inf, action: watch}\n",
        13,
        "Write a number",
    ),
    "two rules with one name": (RULE, RULE + RULE, 14, "rules.1.name: two rules are named hour"),
    "drift that blocks before it warns": ("block: 8", "block: 0.1", 14, "block is less than warn"),
    "drift key misspelt": ("block: 8", "blok: 8", 14, "drift.blok: unknown key. Write block"),
    "drift as text": ("warn: 0.25", "warn: little", 14, "a number above 0"),
    "drift that is not a mapping": (
        "drift: {warn: 0.25, block: 8}",
        "drift: 3",
        14,
        "drift: not a mapping. Write keys with values: warn",
    ),
    "a date": ("action: review", "action: 2026-99-99", 2, "invalid value '2026-99-99'"),
    "unterminated YAML": ("action: review\n", "action: [\n", 4, "not YAML"),
    "wrongly indented YAML": ("allow_empty", " allow_empty", 5, "not YAML"),
    "a tab": ("action: review\n", "action: review\n\tcapacity: 1\n", 3, "not YAML"),
    "a tag": ("action: review", "action: !review x", 2, "not YAML"),
    "an undefined alias": ("action: review", "action: *nothing", 2, "not YAML"),
    "a control character": ("action: review", "action: \a", 2, "not YAML"),
}


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.yml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as refused:
        load_policy(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_default_policy_has_its_documented_values():
    policy = load_policy(DEFAULT)
    assert (policy.target_precision, policy.action, policy.allow_empty) == (0.9, "review", False)
    assert (policy.capacity, policy.corroboration, policy.terms) == (None, 1, ())
    assert policy.lists == tuple(LISTS)
    assert 0 < policy.max_flagged_share < 0.5


def test_a_valid_policy_is_parsed(tmp_path: Path):
    policy = load_policy(write(tmp_path, VALID))
    assert (policy.capacity, policy.corroboration) == (100, 2)
    assert [(one.list_name, one.category, one.brand, one.country) for one in policy.terms] == [
        ("listings", "watches", None, None),
        ("listings", "bags/hand", "Acme", "DE"),
        ("reviews", None, None, None),
    ]
    assert [
        (one.threshold, one.target_precision, one.capacity, one.corroboration, one.action) for one in policy.terms
    ] == [
        (80, None, None, None, None),
        (None, 0.95, None, None, None),
        (None, None, 50, 3, "test_buy"),
    ]


def test_only_a_ranking_or_a_policy_that_says_so_may_give_an_empty_list(tmp_path: Path):
    strict = load_policy(write(tmp_path, VALID))
    lenient = load_policy(write(tmp_path, VALID.replace("allow_empty: false", "allow_empty: true")))
    assert [strict.least_rows(is_calibrated=True), strict.least_rows(is_calibrated=False)] == [1, 0]
    assert [lenient.least_rows(is_calibrated=True), lenient.least_rows(is_calibrated=False)] == [0, 0]


@pytest.mark.parametrize(("was", "is_now", "line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_with_its_line_and_a_remedy(
    tmp_path: Path, was: str, is_now: str, line: int, message: str
):
    assert was in VALID
    result = refusal(write(tmp_path, VALID.replace(was, is_now, 1)))
    assert any(f"line {line}:" in part and message in part for part in result.splitlines()), result


def test_several_mistakes_are_all_reported_in_line_order(tmp_path: Path):
    found = (
        VALID.replace("0.9\n", "9\n").replace("capacity: 100", "capacity: 0").replace("threshold: 80", "threshold: 800")
    )
    found = found.replace("merchants, reviews]", "merchants]").replace("block: 8", "blok: 8") + "action: burn\n"
    result = refusal(write(tmp_path, found)).splitlines()[1:]
    lines = [int(match[1]) for match in map(re.compile(r"  line (\d+): ").match, result) if match]
    assert len(lines) == len(result)
    assert lines == sorted(lines)
    assert set(lines) == {1, 3, 9, 11, 14, 15}


def test_every_key_has_a_description_of_its_allowed_values():
    models: Iterator[type[BaseModel]] = iter((Policy, *MODELS.values()))
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert keys == set(ALLOWED_VALUES)
    assert all(action in ALLOWED_VALUES["action"] for action in get_args(Action))


@pytest.mark.parametrize("text", ["", "- a list\n", "a word"])
def test_a_file_that_is_not_a_policy_is_refused(tmp_path: Path, text: str):
    assert "line 1: the file: not a mapping" in refusal(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path):
    assert "cannot be read" in refusal(tmp_path / "absent.yml")


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path):
    path = tmp_path / "policy.yml"
    path.write_bytes(VALID.encode().replace(b"Acme", b"Acm\xe9"))
    assert "line 10: it is not UTF-8" in refusal(path)


def test_too_deep_or_recursive_nesting_is_refused(tmp_path: Path):
    assert "nested too deep" in refusal(write(tmp_path, "a: " + "[" * 5000))
    assert "line 1: a map or list holds itself" in refusal(write(tmp_path, "action: &here [*here]\n"))


def test_digest_depends_on_values_and_not_on_comments(tmp_path: Path):
    text = DEFAULT.read_text(encoding="utf-8")
    digest = load_policy(DEFAULT).digest
    assert load_policy(write(tmp_path, "# another comment\n" + text)).digest == digest
    changes = ["target_precision: 0.91", "capacity: 5", "corroboration: 2", "terms: [{list: listings, action: watch}]"]
    others = [
        load_policy(
            write(tmp_path, re.sub(f"^{change.partition(':')[0]}:.*\n", "", text, flags=re.MULTILINE) + change)
        ).digest
        for change in changes
    ]
    assert len({digest, *others}) == 1 + len(changes)


@pytest.mark.parametrize(
    ("one", "other", "takes"),
    [
        ({}, {}, True),
        ({}, {"category": "a", "brand": "b", "country": "DE"}, True),
        ({"category": "a"}, {}, False),
        ({"category": "a"}, {"category": "a/b"}, True),
        ({"category": "a"}, {"category": "ab"}, False),
        ({"category": "a/b"}, {"category": "a"}, False),
        ({"brand": "B"}, {"brand": "b", "country": "DE"}, True),
        ({"country": "DE"}, {"country": "FR"}, False),
        ({"country": "DE", "brand": "b"}, {"country": "DE"}, False),
    ],
)
def test_a_term_covers_another_only_if_each_condition_is_as_wide(
    one: dict[str, str], other: dict[str, str], *, takes: bool
):
    first, second = (Term.model_validate({"list": "listings", **conditions}) for conditions in (one, other))
    assert first.covers(second) is takes
    assert not first.covers(Term.model_validate({"list": "merchants", **other}))


def test_a_model_is_trained_for_the_target_of_its_whole_list(tmp_path: Path):
    whole = "  - {list: merchants, target_precision: 0.8}\n  - {list: reviews"
    policy = load_policy(write(tmp_path, VALID.replace("  - {list: reviews", whole)))
    assert [policy.list_target_precision(name) for name in ("listings", "merchants", "reviews")] == [0.9, 0.8, 0.9]


def test_the_maximum_corroboration_is_the_number_of_signals():
    assert {name: max_signals(name) for name in LISTS} == {
        "listings": 4, "merchants": 4, "reviews": 3, "brushing_merchants": 4
    }  # fmt: skip
