"""The manifest of a list: the digests of everything that it depends on, and nothing that differs between equal runs.

The identity of a candidate is the SHA-256 of its manifest, which contains the SHA-256 of each of its files; the name of a version
contains the first 12 digits. Run ids, times and hosts belong in the receipt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)

from touchstone.core.errors import VerificationError
from touchstone.core.files import canonical_json, sha256_bytes
from touchstone.core.lists import ListName
from touchstone.publishing.terms import AppliedTerm

MANIFEST_FILE = "manifest.json"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def version_date(version: str) -> dt.date:
    """Returns the as_of date in a version's name."""
    return dt.date.fromisoformat(version[:10])


def _is_dated(version: str) -> str:
    version_date(version)
    return version


Version = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}-[0-9a-f]{12}$"), AfterValidator(_is_dated)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Loads(_Data):
    """The pinned loads.

    Attributes:
        digest: Their digest.
        tables: The load ids by table.
        accepted: Why a person accepted a load that the gate on volume had refused, by table; omitted from the file if empty.
    """

    digest: str
    tables: Mapping[str, tuple[str, ...]]
    accepted: Mapping[str, str] = {}

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        content: dict[str, object] = handler(self)
        return content if self.accepted else {key: value for key, value in content.items() if key != "accepted"}


class RatingModel(_Data):
    """The model that rated.

    Attributes:
        name: Its name.
        digest: Its digest.
        threshold: Its own threshold, 0 to 100; the terms may set others.
        floor: Its floor, 0 to 100.
        is_calibrated: Whether a score is a probability. If not, it is a rank: the share of the rated entities below it, unless a
            prevalence is assumed.
        assumed_prevalence: The share of positives that the policy assumes for a model that is not calibrated; None for none.
        assumption_source: Where the policy has that share from.
    """

    name: str
    digest: str
    threshold: float
    floor: float
    is_calibrated: bool = True
    assumed_prevalence: float | None = None
    assumption_source: str | None = None


class ManifestInputs(_Data):
    """The inputs of a list.

    Attributes:
        loads: The pinned loads.
        dbt_build: Digest of the dbt project that transformed them.
        features: SHA-256 of the features file that was scored.
        scores: SHA-256 of the scores file.
        model: The model that rated.
        suites: Digest of all suites of expectations.
        code_revision: The revision of the code.
        subjects: For each gate before the candidate, the digest of the files that it must have judged.
    """

    loads: Loads
    dbt_build: str
    features: Sha256
    scores: Sha256
    model: RatingModel
    suites: Sha256
    code_revision: str
    subjects: Mapping[str, Sha256]


class Held(_Data):
    """Numbers of flagged rows that were held back, each counted once, by the first cause that applies."""

    suppression: int = Field(ge=0)
    corroboration: int = Field(ge=0)
    capacity: int = Field(ge=0)


class Manifest(_Data):
    """The manifest of a list: its inputs, counts, terms and the digests of its files.

    Attributes:
        schema_version: Version of this schema. Version 1 has no `flagged_count`, `held` and `terms`; before version 3 a model
            has no `is_calibrated` and nothing assumed.
        list_name: The list.
        as_of: The as-of date.
        rated_count: Rated entities; the list contains `row_count` of them.
        row_count: Rows of the list.
        flagged_count: Flagged entities: the rows of the list and those held back.
        held: Those held back, by cause.
        inputs: See `ManifestInputs`.
        mart: SHA-256 of the Parquet file of the mart.
        policy: Digest of the policy.
        terms: The applied terms of the policy, in order.
        previous: The version in force at the latest earlier as_of, if any.
        files: SHA-256 of each file of the list, by name.
    """

    schema_version: Literal[1, 2, 3] = 3
    list_name: ListName
    as_of: dt.date
    rated_count: int = Field(ge=0)
    row_count: int = Field(ge=0)
    flagged_count: int | None = Field(default=None, ge=0)
    held: Held | None = None
    inputs: ManifestInputs
    mart: Sha256
    policy: Sha256
    terms: tuple[AppliedTerm, ...] | None = None
    previous: Version | None
    files: Mapping[str, Sha256]

    @model_validator(mode="after")
    def _counts_add_up(self) -> Self:
        added = (self.flagged_count, self.held, self.terms)
        if any((value is None) != (self.schema_version == 1) for value in added):
            raise ValueError(
                "flagged_count, held and terms belong to schema version 2 and later, which require all of them"
            )
        if self.held is not None and self.flagged_count != self.row_count + sum(self.held.model_dump().values()):
            raise ValueError("flagged_count is not the sum of the rows and the held entities")
        return self

    def to_bytes(self) -> bytes:
        """Returns the manifest as canonical JSON, as it is hashed and published."""
        content = self.model_dump(mode="json")
        if self.schema_version == 1:
            for name in ("flagged_count", "held", "terms"):
                del content[name]
        if self.schema_version < 3:
            for name in ("is_calibrated", "assumed_prevalence", "assumption_source"):
                del content["inputs"]["model"][name]
        return canonical_json(content)

    @property
    def sha256(self) -> str:
        """The identity of the candidate and of the version."""
        return sha256_bytes(self.to_bytes())

    @property
    def version(self) -> str:
        """The name of the version: `<as_of>-<12 hex>`."""
        return version_name(self.as_of, self.sha256)

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Self:
        """Parses a manifest.

        Args:
            content: Canonical JSON.
            where: The name of the file, for messages.

        Returns:
            The manifest.

        Raises:
            VerificationError: It is invalid, or not in the form that `to_bytes` writes.
        """
        try:
            manifest = cls.model_validate_json(content)
        except ValidationError as error:
            raise VerificationError(
                f"{where} is not a valid manifest: {error.errors()[0]['msg']}. Restore it from a backup."
            ) from error
        if manifest.to_bytes() != content:
            raise VerificationError(f"{where} is not in the canonical form: it was edited. Restore it from a backup.")
        return manifest


def version_name(as_of: dt.date, manifest_sha256: str) -> str:
    """Returns the name of a version, from its date and the SHA-256 of its manifest."""
    return f"{as_of.isoformat()}-{manifest_sha256[:12]}"
