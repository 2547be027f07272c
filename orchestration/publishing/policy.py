"""The policy: which lists are made, when an entity is flagged, and what is done with it. Data, validated, with a digest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from groundwork.errors import BadInputError
from groundwork.files import canonical_json, sha256_bytes
from orchestration.rated import ListName

Action = Literal["watch", "review", "test_buy", "restrict", "remove"]
Share = Annotated[float, Field(gt=0, le=1)]


class Policy(BaseModel):
    """One policy over all lists.

    Attributes:
        target_precision: Share of counterfeits wanted among what is flagged (0 to 1); picks the models' thresholds.
        action: What a list asks its reader to do with a row.
        allow_empty: Whether a list without a row may be published.
        max_flagged_share: Greatest share of all rated entities (0 to 1) that a list may hold.
        lists: The lists that are made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_precision: Share
    action: Action
    allow_empty: bool
    max_flagged_share: Share
    lists: tuple[ListName, ...] = Field(min_length=1)

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
