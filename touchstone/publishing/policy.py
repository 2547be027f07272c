"""The policy: which lists are made, when an entity is flagged, and what is done with it. Data, validated, with a digest.

Here is what a policy's file may say, and what is told of one that says something else. How its terms are applied to what
is rated is in `terms`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

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
    """A rule of the marketplace's own on orders and reviews: what meets it is found, whatever a model says.

    Attributes:
        name: What its findings are called by.
        column: The indicator of a transaction that it looks at (see `transaction_indicators`).
        at_least: The least value that meets it; None if there is no least.
        at_most: The greatest value that meets it; None if there is no greatest.
        action: What is to be done with what it finds.
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
            raise ValueError("a rule has a limit. Give at_least or at_most.")
        if self.at_least is not None and self.at_most is not None and self.at_most < self.at_least:
            raise ValueError("at_most is less than at_least, which nothing meets. Swap them.")
        return self


class Drift(BaseModel):
    """How far those who live today may be from those whom a model was trained among, as population stability indices.

    Attributes:
        warn: From here on the gate on scores warns.
        block: From here on it refuses.
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
    """What holds for a part of a list in place of what holds for everything.

    A row of a list is decided by the first of the policy's terms whose conditions it meets; what that one leaves out comes
    from the top of the policy.

    Attributes:
        list_name: The list; a condition, as are the next three.
        category: A category path; what lies below it is meant too.
        brand: A brand, by the name that lists show, in capitals or not.
        country: The merchant's country.
        target_precision: See `Policy`; or
        threshold: The least score to flag.
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
        """Whether it takes every row of its list."""
        return (self.category, self.brand, self.country) == (None, None, None)

    def takes_all_of(self, other: Term) -> bool:
        """Tells whether every row that meets the other's conditions meets these."""
        below = other.category is not None and f"{other.category}/".startswith(f"{self.category}/")
        same_brand = other.brand is not None and self.brand is not None and self.brand.lower() == other.brand.lower()
        return (
            self.list_name == other.list_name
            and (self.category is None or below)
            and (self.brand is None or same_brand)
            and self.country in (None, other.country)
        )


class Policy(BaseModel):
    """One policy over all lists.

    Attributes:
        target_precision: Share of counterfeits wanted among what is flagged (0 to 1); picks the models' thresholds.
        action: What a list asks its reader to do with a row.
        capacity: The most rows that a list, and each of its terms, may have a day, the highest scores first; None for any.
        corroboration: How many signals must speak against a row, by its reasons; with 1, reasons are not looked at.
        allow_empty: Whether a list without a row may be published.
        max_flagged_share: Greatest share of all rated entities (0 to 1) that may be flagged and not suppressed.
        lists: The lists that are made.
        terms: What holds for a list, and within it for a category, a brand, a country, instead. The first that fits decides.
        rules: Rules of the marketplace's own, beside the models.
        drift: How far the population may have moved since the model was trained.
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

    def target_of(self, list_name: ListName) -> float:
        """Returns the target precision for the whole of a list, which its model is trained for."""
        whole = (term for term in self.terms if term.list_name == list_name and term.is_for_all)
        return next((term.target_precision for term in whole if term.target_precision), self.target_precision)

    @property
    def digest(self) -> str:
        """SHA-256 of the policy's values; comments and layout of its file do not count."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))


def load_policy(path: Path) -> Policy:
    """Returns the policy in a YAML file.

    Raises:
        BadInputError: The file is missing or not a sound policy; the message says of every mistake in which line it is, what
            is wrong, and what to write.
    """
    file = _read(path)
    faults = [*file.faults(), *_faults_of_values(file), *_faults_of_terms(file)]
    if faults:
        told = "\n".join(f"  line {line}: {visible(said)}" for line, said in sorted(set(faults)))
        raise BadInputError(f"policy {path} is not sound:\n{told}")
    return Policy.model_validate(file.content)


# What may be written at each key of the file, wherever the key stands.
WANTED: Mapping[str, str] = {
    "target_precision": "a share above 0 and up to 1, such as 0.9",
    "threshold": "a score from 1 to 100, such as 80",
    "capacity": "the most rows a day, a whole number from 1 on; without it there is no limit",
    "corroboration": "a number of signals, a whole number from 1 on",
    "action": f"one of {', '.join(get_args(Action))}",
    "allow_empty": "true or false",
    "max_flagged_share": "a share above 0 and up to 1, such as 0.1",
    "lists": f"a list of one or more of {', '.join(LISTS)}",
    "terms": "a list of terms, each with its list and what it changes",
    "list": f"one of {', '.join(LISTS)}",
    "category": "a category path, such as watches/wrist",
    "brand": "a brand's name",
    "country": 'the two capital letters of a country, such as DE, in quotes where YAML takes them for a word of its own ("NO")',
    "rules": "a list of rules, each with name, column, limit and action",
    "name": "small letters, digits and _, such as heavy_parcels",
    "column": f"one of {', '.join(get_args(RuleColumn))}",
    "at_least": "a number",
    "at_most": "a number",
    "drift": "a mapping, such as {warn: 0.25, block: 8.0}",
    "warn": "a number above 0",
    "block": "a number above 0",
}
MODELS: Mapping[str, type[BaseModel]] = {"terms": Term, "rules": Rule, "drift": Drift}
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
    """Yields what a key alone, or a rule or the drift, has wrong."""
    try:
        Policy.model_validate(file.content)
    except ValidationError as error:
        for found in error.errors():
            yield file.fault(found["loc"], _told(found))


def _told(found: ErrorDetails) -> str:
    """Returns what is wrong with a value, and what is to be written instead."""
    place = found["loc"]
    model = MODELS.get(str(place[0]), Policy) if len(place) > 1 or (place and found["type"] == "model_type") else Policy
    keys = [described.alias or name for name, described in model.model_fields.items()]
    wanted = next((WANTED[str(part)] for part in reversed(place) if part in WANTED), "keys with their values")
    if found["type"] in ("extra_forbidden", "invalid_key"):
        near = difflib.get_close_matches(str(place[-1]), keys, n=1)
        return f"there is no such key. {f'Write {near[0]}' if near else f'There are {", ".join(keys)}'}."
    if found["type"] == "missing":
        return f"it is missing. Add it: {wanted}."
    if found["type"] == "value_error":
        return str(found["ctx"]["error"])
    if found["type"] == "model_type":
        return f"it is no mapping. Write keys with their values: {', '.join(keys)}."
    return f"{found['input']!r} does not belong there. Write {wanted}."


def _faults_of_terms(file: _File) -> Iterator[Fault]:
    """Yields what is wrong with values that are sound each by itself."""
    made, terms = file.list_of("lists"), file.list_of("terms")
    for at, name in enumerate(made):
        if name in made[:at]:
            yield file.fault(("lists", at), f"{name} is named twice. Keep one.")
    names = [rule.get("name") for rule in file.list_of("rules") if isinstance(rule, dict)]
    for at, name in enumerate(names):
        if name is not None and name in names[:at]:
            yield file.fault(("rules", at, "name"), f"two rules are called {name}. Give this one another name.")
    if isinstance(file.content, dict):
        yield from _beyond(file, ("corroboration",), file.content.get("corroboration"), made)
    for at, term in enumerate(terms):
        if isinstance(term, dict):
            yield from _faults_of_term(file, at, term, made)
    sound = {at: term for at, content in enumerate(terms) if (term := _sound_term(content)) is not None}
    for at, term in sound.items():
        earlier = next((one for one in sound if one < at and sound[one].takes_all_of(term)), None)
        if earlier is not None:
            line = file.line(("terms", earlier))
            yield file.fault(
                ("terms", at),
                f"it never decides, for the term in line {line} takes all that it would. Put it before that one, or remove it.",
            )


def _faults_of_term(file: _File, at: int, term: Mapping[str, Any], made: Sequence[Any]) -> Iterator[Fault]:
    if term.get("target_precision") is not None and term.get("threshold") is not None:
        yield file.fault(
            ("terms", at, "threshold"), "it stands beside target_precision, which picks another. Keep one of them."
        )
    if all(term.get(effect) is None for effect in EFFECTS):
        yield file.fault(("terms", at), f"it changes nothing. Add one of {', '.join(EFFECTS)} to it, or remove it.")
    name = term.get("list")
    if name in LISTS and made and name not in made:
        yield file.fault(
            ("terms", at, "list"), f"the policy does not make the list {name}. Add it to lists, or remove the term."
        )
    yield from _beyond(file, ("terms", at, "corroboration"), term.get("corroboration"), [name])


def _sound_term(content: Any) -> Term | None:
    try:
        return Term.model_validate(content)
    except ValidationError:
        return None


def _beyond(file: _File, place: Sequence[str | int], corroboration: Any, lists: Sequence[Any]) -> Iterator[Fault]:
    """Yields a corroboration that no row of a list can have."""
    known = [name for name in lists if name in LISTS]
    if not isinstance(corroboration, int) or not known:
        return
    most, name = min((most_signals(name), name) for name in known)
    if corroboration > most:
        yield file.fault(
            place, f"{corroboration} signals are never named by the reasons of one row of {name}. Write {most} or less."
        )


@cache
def most_signals(list_name: ListName) -> int:
    """Returns how many signals the reasons of a list's row can name: those of its model, as far as reasons tell them."""
    from ml.declarations import load_declarations
    from ml.explain import MOST_REASONS

    features = load_declarations()[LISTS[list_name].model].features
    return min(MOST_REASONS, len({feature.signal for feature in features}))
