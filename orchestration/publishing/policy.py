"""The policy: which lists are made, when an entity is flagged, and what is done with it. Data, validated, with a digest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from groundwork.errors import BadInputError
from groundwork.files import canonical_json, sha256_bytes
from orchestration.rated import ListName

Action = Literal["watch", "review", "test_buy", "restrict", "remove"]
Share = Annotated[float, Field(gt=0, le=1)]


RuleColumn = Literal[
    "buyer_age_days", "buyer_trade_count", "buyer_merchant_count", "buyer_here_count", "device_buyer_count",
    "payer_buyer_count", "tied_merchant_count", "weight_ratio", "delivery_ratio", "delivery_route_ratio", "day_burst_ratio",
    "hour_order_count", "hour_order_buyer_ratio", "days_to_look", "review_lag_hours", "text_writing_count",
]  # fmt: skip


class Rule(BaseModel):
    """A rule of the marketplace's own on orders and reviews: what meets it is found, whatever a model says.

    Attributes:
        name: What its findings are called by.
        column: The sign of a trade that it looks at (see `trade_signs`).
        at_least: The least value that meets it; None if there is no least.
        at_most: The greatest value that meets it; None if there is no greatest.
        action: What is to be done with what it finds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    column: RuleColumn
    at_least: float | None = None
    at_most: float | None = None
    action: Action

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a rule has a limit: give at_least or at_most")
        return self


class Drift(BaseModel):
    """How far those who live today may be from those whom a model was trained among, as population stability indices.

    Attributes:
        warn: From here on the gate on scores warns.
        block: From here on it refuses.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    warn: float = Field(default=0.25, gt=0)
    block: float = Field(default=8.0, gt=0)

    @model_validator(mode="after")
    def _warns_first(self) -> Self:
        if self.block < self.warn:
            raise ValueError("block is less than warn: a gate warns before it refuses")
        return self


class Policy(BaseModel):
    """One policy over all lists.

    Attributes:
        target_precision: Share of counterfeits wanted among what is flagged (0 to 1); picks the models' thresholds.
        action: What a list asks its reader to do with a row.
        allow_empty: Whether a list without a row may be published.
        max_flagged_share: Greatest share of all rated entities (0 to 1) that a list may hold.
        lists: The lists that are made.
        rules: Rules of the marketplace's own, beside the models.
        drift: How far the population may have moved since the model was trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_precision: Share
    action: Action
    allow_empty: bool
    max_flagged_share: Share
    lists: tuple[ListName, ...] = Field(min_length=1)
    rules: tuple[Rule, ...] = ()
    drift: Drift = Drift()

    @property
    def digest(self) -> str:
        """SHA-256 of the policy's values; comments and layout of its file do not count."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))


def load_policy(path: Path) -> Policy:
    """Returns the policy in a YAML file.

    Raises:
        BadInputError: The file is missing or not a sound policy; the message names each key and what is allowed.
    """
    try:
        return Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(f"policy {path} cannot be read: {error.strerror}. Name an existing file.") from error
    except yaml.YAMLError as error:
        raise BadInputError(f"policy {path} is not YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}" for item in error.errors())
        raise BadInputError(f"policy {path} is not sound: {faults}. Compare it with policies/default.yml.") from error
