"""The policy: which lists are built, when an entity is flagged, and which action follows. Validated data with a digest.

This module defines and validates the policy file, with the line of every error. `terms` applies a policy to rated entities.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ml.declarations import load_declarations
from ml.explain import MOST_REASONS
from touchstone.core.errors import BadInputError
from touchstone.core.files import canonical_json, sha256_bytes
from touchstone.core.lists import LISTS, ListName
from touchstone.core.text import visible
from touchstone.core.yaml import InvalidYamlError, YamlFile, read_yaml

Action = Literal["watch", "review", "test_buy", "restrict", "remove"]
RuleColumn = Literal[
    "buyer_age_days", "buyer_transaction_count", "buyer_merchant_count", "buyer_here_count", "device_buyer_count",
    "payer_buyer_count", "tied_merchant_count", "weight_ratio", "delivery_ratio", "delivery_route_ratio", "day_burst_ratio",
    "hour_order_count", "hour_order_buyer_ratio", "days_to_look", "review_lag_hours", "text_writing_count",
]  # fmt: skip

Share = Annotated[float, Field(gt=0, le=1, strict=True)]
Score = Annotated[float, Field(ge=1, le=100, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Index = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, strict=True)]
Word = Annotated[str, Field(min_length=1, strict=True)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$", strict=True)]


class Rule(BaseModel):
    """A rule of the marketplace on orders and reviews: transactions that meet it are findings, independent of the models.

    Attributes:
        name: The name of the rule.
        column: The indicator of a transaction (see `transaction_indicators`).
        at_least: Lower limit, inclusive; None for none.
        at_most: Upper limit, inclusive; None for none.
        action: The action for its findings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    column: RuleColumn
    at_least: Number | None = None
    at_most: Number | None = None
    action: Action

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a rule needs a limit. Give at_least or at_most.")
        if self.at_least is not None and self.at_most is not None and self.at_most < self.at_least:
            raise ValueError("at_most is less than at_least, so no value meets the rule. Swap them.")
        return self


class Drift(BaseModel):
    """Limits of the drift since training, as population stability indices.

    Attributes:
        warn: The gate on scores warns from this value on.
        block: The gate on scores refuses from this value on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    warn: Index = 0.25
    block: Index = 8.0

    @model_validator(mode="after")
    def _warns_first(self) -> Self:
        if self.block < self.warn:
            raise ValueError("block is less than warn, but a gate warns before it refuses. Raise block or lower warn.")
        return self


class Term(BaseModel):
    """A term: settings for a part of a list that override those of the policy.

    The first term whose conditions a row meets decides on it; settings that the term omits come from the top level of the policy.

    Attributes:
        list_name: The list; a condition, as are the next three.
        category: A category path; it includes the categories below it.
        brand: A brand, as named on the lists; case-insensitive.
        country: The merchant's country.
        target_precision: See `Policy`; or
        threshold: The lowest score to flag.
        capacity: See `Policy`.
        corroboration: See `Policy`.
        action: See `Policy`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    list_name: ListName = Field(alias="list")
    category: Word | None = None
    brand: Word | None = None
    country: Country | None = None
    target_precision: Share | None = None
    threshold: Score | None = None
    capacity: Count | None = None
    corroboration: Count | None = None
    action: Action | None = None

    @property
    def is_for_all(self) -> bool:
        """Whether it has no conditions besides the list."""
        return (self.category, self.brand, self.country) == (None, None, None)

    def covers(self, other: Term) -> bool:
        """Returns whether every row that meets the conditions of the other term meets these, too."""
        below = other.category is not None and f"{other.category}/".startswith(f"{self.category}/")
        same_brand = other.brand is not None and self.brand is not None and self.brand.lower() == other.brand.lower()
        return (
            self.list_name == other.list_name
            and (self.category is None or below)
            and (self.brand is None or same_brand)
            and self.country in (None, other.country)
        )


class AssumedPrevalence(BaseModel):
    """The share of positives that a policy assumes among the rated entities of a list.

    It turns the ranking of a model that no random verdict calibrated into probabilities; they are as good as the assumption.

    Attributes:
        share: The share, above 0 and below 1.
        source: Where it comes from, for the readers of the manifest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: Annotated[float, Field(gt=0, lt=1, strict=True)]
    source: Word


class Policy(BaseModel):
    """A policy for all lists.

    Attributes:
        target_precision: Target share of counterfeits among the flagged entities (0 to 1); determines the models' thresholds.
        action: The action that a list asks for.
        capacity: Maximum number of rows a day of a list and of each of its terms, highest scores first; None for no limit.
        corroboration: Minimum number of signals among the reasons of a row; 1 disables the check.
        allow_empty: Whether an empty list may be published.
        max_flagged_share: Maximum share of the rated entities (0 to 1) that may be flagged and not suppressed, apart from chance.
        lists: The lists that are built.
        terms: Overrides for a list and within it for a category, a brand or a country; the first that matches decides.
        rules: Rules on transactions, in addition to the models.
        drift: Limits of the drift since training.
        assumed_prevalence: By list, the share of positives to assume until random verdicts estimate it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_precision: Share
    action: Action
    capacity: Count | None = None
    corroboration: Count = 1
    allow_empty: Annotated[bool, Field(strict=True)]
    max_flagged_share: Share
    lists: tuple[ListName, ...] = Field(min_length=1)
    terms: tuple[Term, ...] = ()
    rules: tuple[Rule, ...] = ()
    drift: Drift = Drift()
    assumed_prevalence: Mapping[ListName, AssumedPrevalence] = {}

    def assumed_share(self, list_name: ListName) -> float | None:
        """Returns the assumed share of positives of a list; None if the policy assumes none."""
        assumed = self.assumed_prevalence.get(list_name)
        return None if assumed is None else assumed.share

    def least_rows(self, *, is_calibrated: bool) -> int:
        """Returns the fewest rows of a list: 1, or 0 if the policy allows an empty list or the scores are a ranking.

        A ranking says nothing about how many positives there are. A list of it is empty if nobody ranks high by own conduct,
        because all that the tables contain is what third parties say.
        """
        return 0 if self.allow_empty or not is_calibrated else 1

    def max_flagged(self, rated: int) -> float:
        """Returns how many of the rated entities may be flagged: `max_flagged_share` of them and three standard deviations.

        The suites `scores` and `candidate` have the same rule in SQL. Among a few hundred entities, chance alone moves a share by
        several points; among 100,000 by a tenth of a point.
        """
        share = self.max_flagged_share
        return share * rated + 3 * math.sqrt(share * (1 - share) * rated)

    def list_target_precision(self, list_name: ListName) -> float:
        """Returns the target precision of a whole list, for which its model is trained."""
        overrides = (term for term in self.terms if term.list_name == list_name and term.is_for_all)
        return next((term.target_precision for term in overrides if term.target_precision), self.target_precision)

    @property
    def digest(self) -> str:
        """SHA-256 of the values; comments and layout of the file do not change it."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))


def load_policy(path: Path) -> Policy:
    """Loads and validates a policy file.

    Args:
        path: The YAML file.

    Returns:
        The policy.

    Raises:
        BadInputError: The file is missing or not a valid policy; the message gives the line of every error, what is wrong and
            what to write.
    """
    file = _read(path)
    faults = [*file.faults(), *_faults_of_values(file), *_faults_of_terms(file)]
    if faults:
        lines = "\n".join(f"  line {line}: {visible(message)}" for line, message in sorted(set(faults)))
        raise BadInputError(f"Policy {path} is invalid:\n{lines}")
    return Policy.model_validate(file.content)


# The allowed values of each key, at any level of the file.
ALLOWED_VALUES: Mapping[str, str] = {
    "target_precision": "a share above 0 and up to 1, such as 0.9",
    "threshold": "a score from 1 to 100, such as 80",
    "capacity": "the maximum number of rows a day, a whole number of at least 1; without it there is no limit",
    "corroboration": "a number of signals, a whole number of at least 1",
    "action": f"one of {', '.join(get_args(Action))}",
    "allow_empty": "true or false",
    "max_flagged_share": "a share above 0 and up to 1, such as 0.1",
    "lists": f"a list of one or more of {', '.join(LISTS)}",
    "terms": "a list of terms, each with its list and what it changes",
    "list": f"one of {', '.join(LISTS)}",
    "category": "a category path, such as watches/wrist",
    "brand": "a brand's name",
    "country": 'a country code of two capital letters, such as DE; quote "NO", which YAML reads as false',
    "rules": "a list of rules, each with name, column, limit and action",
    "name": "lower-case letters, digits and _, such as heavy_parcels",
    "column": f"one of {', '.join(get_args(RuleColumn))}",
    "at_least": "a number",
    "at_most": "a number",
    "drift": "a mapping, such as {warn: 0.25, block: 8.0}",
    "assumed_prevalence": 'a mapping by list, such as {listings: {share: 0.03, source: "audit of May"}}',
    "share": "a share above 0 and below 1, such as 0.03",
    "source": "words that say where the share comes from",
    "warn": "a number above 0",
    "block": "a number above 0",
}
MODELS: Mapping[str, type[BaseModel]] = {
    "terms": Term,
    "rules": Rule,
    "drift": Drift,
    "assumed_prevalence": AssumedPrevalence,
}
EFFECTS = ("target_precision", "threshold", "capacity", "corroboration", "action")
Fault = tuple[int, str]


@dataclass(frozen=True)
class _File:
    """A policy file: its content with the lines."""

    yaml: YamlFile

    @property
    def content(self) -> Any:
        """The content."""
        return self.yaml.content

    def line(self, place: Sequence[str | int]) -> int:
        """Returns the line of a location, or of the nearest enclosing location that exists."""
        return self.yaml.line(place)

    def fault(self, place: Sequence[str | int], message: str) -> Fault:
        """Returns a fault at a location, with its line and its name."""
        name = ".".join(map(str, place)) or "the file"
        return self.line(place), f"{name}: {message}"

    def faults(self) -> list[Fault]:
        """Returns the keys that are given twice."""
        return [
            (key.line, f"{'.'.join(key.location)}: it is given twice, in line {key.first_line} before. Keep one.")
            for key in self.yaml.duplicate_keys
        ]

    def list_of(self, key: str) -> list[Any]:
        """Returns the list at a key; empty if there is none."""
        value = self.content.get(key) if isinstance(self.content, dict) else None
        return value if isinstance(value, list) else []


def _read(path: Path) -> _File:
    try:
        return _File(read_yaml(path))
    except OSError as error:
        raise BadInputError(f"policy {path} cannot be read: {error.strerror}. Name an existing file.") from error
    except InvalidYamlError as error:
        line = f"line {error.line}: " if error.line else ""
        raise BadInputError(f"policy {path} is not YAML: {line}{error.problem}. Correct it there.") from error


def _faults_of_values(file: _File) -> Iterator[Fault]:
    """Yields the errors of single values, rules and the drift."""
    try:
        Policy.model_validate(file.content)
    except ValidationError as error:
        for detail in error.errors():
            yield file.fault(detail["loc"], _describe_error(detail))


def _describe_error(detail: ErrorDetails) -> str:
    """Describes the error in a value, and what to write instead."""
    place = detail["loc"]
    model = (
        MODELS.get(str(place[0]), Policy) if len(place) > 1 or (place and detail["type"] == "model_type") else Policy
    )
    keys = [described.alias or name for name, described in model.model_fields.items()]
    allowed = next(
        (ALLOWED_VALUES[str(part)] for part in reversed(place) if part in ALLOWED_VALUES), "keys with their values"
    )
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        near = difflib.get_close_matches(str(place[-1]), keys, n=1)
        return f"unknown key. {f'Write {near[0]}' if near else f'The keys are {", ".join(keys)}'}."
    if detail["type"] == "missing":
        return f"missing. Add it: {allowed}."
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] == "model_type":
        return f"not a mapping. Write keys with values: {', '.join(keys)}."
    return f"invalid value {detail['input']!r}. Write {allowed}."


def _faults_of_terms(file: _File) -> Iterator[Fault]:
    """Yields the errors of combinations of valid values."""
    list_names, terms = file.list_of("lists"), file.list_of("terms")
    for index, name in enumerate(list_names):
        if name in list_names[:index]:
            yield file.fault(("lists", index), f"{name} is repeated. Keep one.")
    names = [rule.get("name") for rule in file.list_of("rules") if isinstance(rule, dict)]
    for index, name in enumerate(names):
        if name is not None and name in names[:index]:
            yield file.fault(("rules", index, "name"), f"two rules are named {name}. Rename this one.")
    if isinstance(file.content, dict):
        yield from _check_corroboration(file, ("corroboration",), file.content.get("corroboration"), list_names)
    for index, term in enumerate(terms):
        if isinstance(term, dict):
            yield from _faults_of_term(file, index, term, list_names)
    valid = {index: term for index, content in enumerate(terms) if (term := _parse_term(content)) is not None}
    for index, term in valid.items():
        earlier = next((other for other in valid if other < index and valid[other].covers(term)), None)
        if earlier is not None:
            line = file.line(("terms", earlier))
            yield file.fault(
                ("terms", index),
                f"it has no effect, because the term in line {line} covers all its rows. Put it before that one, or remove it.",
            )


def _faults_of_term(file: _File, index: int, term: Mapping[str, Any], list_names: Sequence[Any]) -> Iterator[Fault]:
    if term.get("target_precision") is not None and term.get("threshold") is not None:
        yield file.fault(
            ("terms", index, "threshold"),
            "it conflicts with target_precision, which determines a threshold. Keep one of them.",
        )
    if all(term.get(effect) is None for effect in EFFECTS):
        yield file.fault(("terms", index), f"it has no effect. Add one of {', '.join(EFFECTS)} to it, or remove it.")
    name = term.get("list")
    if name in LISTS and list_names and name not in list_names:
        yield file.fault(
            ("terms", index, "list"), f"the policy does not build the list {name}. Add it to lists, or remove the term."
        )
    yield from _check_corroboration(file, ("terms", index, "corroboration"), term.get("corroboration"), [name])


def _parse_term(content: Any) -> Term | None:
    try:
        return Term.model_validate(content)
    except ValidationError:
        return None


def _check_corroboration(
    file: _File, place: Sequence[str | int], corroboration: Any, lists: Sequence[Any]
) -> Iterator[Fault]:
    """Yields an error for a corroboration that no row can reach."""
    known = [name for name in lists if name in LISTS]
    if not isinstance(corroboration, int) or not known:
        return
    maximum, name = min((max_signals(name), name) for name in known)
    if corroboration > maximum:
        yield file.fault(
            place, f"the reasons of a row of {name} name at most {maximum} signals. Write {maximum} or less."
        )


@cache
def max_signals(list_name: ListName) -> int:
    """Returns the maximum number of signals that the reasons of a row can name, given the signals of the list's model."""
    features = load_declarations()[LISTS[list_name].model].features
    return min(MOST_REASONS, len({feature.signal for feature in features}))
