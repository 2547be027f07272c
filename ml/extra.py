"""Columns of a marketplace's own: what a sources file says of them, and the features that they become.

Belongs here: the declaration of such a column, and its features in the models of listings and merchants. How the column lands is
in `touchstone/landing/extra.py`; the feature tables hold the values by name, in the columns that `PLACES` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

from anyascii import anyascii
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ml.declarations import Audience, Controller, Declaration, Feature, Signal, default_audiences
from ml.reason_text import FORMATS, PLACEHOLDER

Extra = Mapping[str, Mapping[str, "ExtraColumn"]]
"""Declared columns by table of the contract and name."""

PLACES: Final = {
    "listings": {"listing_snapshots": "extra", "merchant_snapshots": "merchant_extra"},
    "merchants": {"merchant_snapshots": "extra", "listing_snapshots": "listing_extra"},
}
"""By list and table: the column of the feature table that holds the values. Its name is the prefix of the features' names."""

EXTRA_PREFIXES: Final = tuple(sorted({f"{place}_" for places in PLACES.values() for place in places.values()}))
"""What the names of these features begin with."""

MEANS: Final = "listing_extra"
"""The column that holds means over a merchant's active listings."""

TRUE_OR_FALSE: Final = re.compile(r"\{([^{}|]+)\|([^{}|]+)\}")
MOST_VALUES: Final = 50


class ExtraColumn(BaseModel):
    """A column that a sources file adds to a table of snapshots.

    Attributes:
        signal: The signal that its features belong to.
        controlled_by: Who can influence it: the rated subject, a third party, or the platform.
        type: What it holds: numbers, true and false, or one of some `values`.
        direction: `high` if the risk must not fall as it rises, `low` if it must not rise; None for neither.
        values: The values of a category. Each becomes a feature.
        unit: The unit of a number, as reasons write it, such as `days`, `share` or `base` (the base currency).
        words: The wording of a reason with one placeholder (see `ml/reason_text.py`); by default the name and the value.
        audiences: Who may read such a reason, in addition to internal; by default the readers of the signal.
        description: What it is, for model cards; by default its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    signal: Signal
    controlled_by: Controller
    type: Literal["number", "boolean", "category"] = "number"
    direction: Literal["high", "low"] | None = None
    values: tuple[str, ...] = Field(default=(), max_length=MOST_VALUES)
    unit: str = Field(default="number", pattern=r"^[a-z_]+$")
    words: str = ""
    audiences: tuple[Audience, ...] | None = None
    description: str = ""

    @field_validator("words")
    @classmethod
    def _has_one_placeholder(cls, words: str) -> str:
        placeholders = PLACEHOLDER.findall(words)
        known = [one for one in placeholders if one in ("value", *FORMATS) or TRUE_OR_FALSE.fullmatch(f"{{{one}}}")]
        if words and (len(placeholders) != 1 or not known or len(re.findall(r"[{}]", words)) != 2):
            raise ValueError(
                f"{words!r} needs one placeholder: {{value}}, {{yes|no}} or one of "
                f"{', '.join(f'{{{name}}}' for name in FORMATS)}"
            )
        return words

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.type == "category") != bool(self.values):
            raise ValueError("`values` lists the values of a column with `type: category`, and of no other")
        if self.type == "category" and self.direction:
            raise ValueError("a category has no direction; leave `direction` out")
        if self.type != "number" and self.unit != "number":
            raise ValueError("only a number has a unit; leave `unit` out")
        names = [_name_of(value) for value in self.values]
        for value, name in zip(self.values, names, strict=True):
            if not name or names.count(name) > 1:
                raise ValueError(
                    f"the value {value!r} gives no feature name of its own (letters and digits count). Write another value in "
                    "`columns`, with a case expression"
                )
        return self

    def keys(self, name: str) -> dict[str, str | None]:
        """Returns the names under which feature tables hold its values.

        Args:
            name: The column's name.

        Returns:
            The name of each value of a category, with the value; for other types the column's name, with None.
        """
        return {f"{name}_{_name_of(value)}": value for value in self.values} if self.values else {name: None}


def _name_of(value: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", anyascii(value).lower()).strip("_")


@dataclass(frozen=True)
class ExtraFeature:
    """A feature of a declared column.

    Attributes:
        feature: The feature.
        column: The column of the feature table that holds its values.
        key: Its name there.
    """

    feature: Feature
    column: str
    key: str


def read_extra(content: Mapping[str, Mapping[str, Any]]) -> Extra:
    """Reads declarations from plain data, as they are recorded with the pinned loads."""
    return {
        table: {name: ExtraColumn.model_validate(body) for name, body in columns.items()}
        for table, columns in content.items()
    }


def extra_features(rates: str, extra: Extra) -> tuple[ExtraFeature, ...]:
    """Returns the features of a marketplace's own columns in the model of a list.

    Args:
        rates: The list.
        extra: The declared columns.

    Returns:
        The features, by table and column in the order of their names; none for a list without an entry in `PLACES`.
    """
    return tuple(
        ExtraFeature(feature, place, key)
        for table, place in PLACES.get(rates, {}).items()
        for name, column in sorted(extra.get(table, {}).items())
        for key, feature in _features(name, column, place)
    )


def with_extra(declarations: Mapping[str, Declaration], extra: Extra) -> dict[str, Declaration]:
    """Returns the declarations of the models with the features of a marketplace's own columns.

    Args:
        declarations: By model.
        extra: The declared columns.
    """
    return {
        name: replace(
            declaration,
            features=(*declaration.features, *(one.feature for one in extra_features(declaration.rates, extra))),
        )
        for name, declaration in declarations.items()
    }


def is_extra(feature: Feature) -> bool:
    """Returns whether a feature is that of a marketplace's own column."""
    return feature.name.startswith(EXTRA_PREFIXES)


def _features(name: str, column: ExtraColumn, place: str) -> Iterator[tuple[str, Feature]]:
    readers = default_audiences()[column.signal] if column.audiences is None else column.audiences
    plain = name.replace("_", " ")
    for key, value in column.keys(name).items():
        words = column.words or (f"{plain}: {{value}}" if column.type != "boolean" else f"{plain}: {{yes|no}}")
        description = column.description.rstrip(".") or plain
        if value is not None:
            shown = value.translate({ord(one): None for one in "{}|"})
            words = f"{{{shown}|not {shown}}}".join((words[: words.index("{")], words[words.index("}") + 1 :]))
            description = f"{description}: {value}"
        unit = column.unit if column.type == "number" else "boolean"
        if place == MEANS and column.type != "number":
            unit, words = "share", f"{{value}} of its listings: {_if_true(words)}"
        elif place == MEANS:
            words = f"on average over its listings, {words}"
        elif place == "merchant_extra":
            words = f"of the merchant: {words}"
        yield (
            key,
            Feature(
                name=f"{place}_{key}",
                signal=column.signal,
                unit=unit,
                description=f"{_WHOSE[place]}{description}.",
                controlled_by=column.controlled_by,
                monotone={"high": 1, "low": -1, None: 0}[column.direction],
                words=words,
                audiences=tuple(sorted(set(readers) - {"internal"})),
            ),
        )


def _if_true(words: str) -> str:
    """Returns what the wording of a boolean says if it is true."""
    match = TRUE_OR_FALSE.search(words)
    return PLACEHOLDER.sub(lambda _: match.group(1) if match else "yes", words)


_WHOSE: Final = {
    "extra": "",
    "merchant_extra": "Of the listing's merchant: ",
    "listing_extra": "Mean over the merchant's active listings: ",
}
