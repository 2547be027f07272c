"""The manifest: everything that a published list depends on, by digest, and nothing that differs between equal runs.

A candidate's identity is the SHA-256 of its manifest, which names the SHA-256 of each of its files; a version's name
holds the first 12 digits of it. Run ids, times and hosts belong in the receipt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

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
    """The pinned loads: their digest, and by table the ids of the loads that count."""

    digest: str
    tables: Mapping[str, tuple[str, ...]]


class RatingModel(_Data):
    """The model that rated: its name, its digest, and its own limits (0 to 100); where lists flag, the terms say."""

    name: str
    digest: str
    threshold: float
    floor: float


class ManifestInputs(_Data):
    """What the caller knows of where a list comes from.

    Attributes:
        loads: The pinned loads.
        dbt_build: Digest of the dbt project that shaped them.
        features: SHA-256 of the features file that was scored.
        scores: SHA-256 of the scores file.
        model: The model that rated.
        suites: Digest of all suites of expectations.
        code_revision: The revision of the code.
        subjects: By gate that ran before the candidate was built, the digest of the files that it must have judged.
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
    """How many flagged rows were kept off the list, each counted once, by the first that kept it off."""

    suppression: int = Field(ge=0)
    corroboration: int = Field(ge=0)
    capacity: int = Field(ge=0)


class Manifest(_Data):
    """A list's manifest: the inputs, what publishing itself knows, and the digests of the list's files.

    Attributes:
        schema_version: Of this file's shape. Lists of version 1 knew neither `flagged_count` nor `held` nor `terms`.
        list_name: Which list.
        as_of: The day that everything is rated as of.
        rated_count: Entities that were rated; the list holds `row_count` of them.
        row_count: Rows of the list.
        flagged_count: Entities that were flagged: the list's rows, and what was held.
        held: How many of these were kept off, and by what.
        inputs: See `ManifestInputs`.
        mart: SHA-256 of the mart's Parquet file that the list was made from.
        policy: Digest of the policy.
        terms: What the policy's terms for the list came to by the model that rated, in the order in which they are tried.
        previous: The version in force at the greatest earlier as_of, if any.
        files: SHA-256 of each file of the list by its name.
    """

    schema_version: Literal[1, 2] = 2
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
        told = (self.flagged_count, self.held, self.terms)
        if any((part is None) != (self.schema_version == 1) for part in told):
            raise ValueError("flagged_count, held and terms belong to schema version 2, and all of them")
        if self.held is not None and self.flagged_count != self.row_count + sum(self.held.model_dump().values()):
            raise ValueError("flagged_count is not the number of rows and of what was held")
        return self

    def to_bytes(self) -> bytes:
        """Returns the manifest as the canonical JSON that is hashed and published."""
        unknown = {"flagged_count", "held", "terms"} if self.schema_version == 1 else set()
        return canonical_json(self.model_dump(mode="json", exclude=unknown))

    @property
    def sha256(self) -> str:
        """The identity of the candidate and of the version."""
        return sha256_bytes(self.to_bytes())

    @property
    def version(self) -> str:
        """Name of the version that this manifest makes: `<as_of>-<12 hex>`."""
        return version_name(self.as_of, self.sha256)

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Self:
        """Returns the manifest in `content`.

        Args:
            content: Canonical JSON.
            where: What to call it in a message.

        Raises:
            VerificationError: It is no manifest, or not written as `to_bytes` writes it.
        """
        try:
            manifest = cls.model_validate_json(content)
        except ValidationError as error:
            raise VerificationError(f"{where} is not a sound manifest: {error.errors()[0]['msg']}.") from error
        if manifest.to_bytes() != content:
            raise VerificationError(f"{where} is not written as manifests are: it was edited.")
        return manifest


def version_name(as_of: dt.date, manifest_sha256: str) -> str:
    """Returns the name of the version of a date whose manifest has a SHA-256."""
    return f"{as_of.isoformat()}-{manifest_sha256[:12]}"
