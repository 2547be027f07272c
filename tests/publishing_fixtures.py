"""A small mart, a policy, and passing gate results, for the tests of publishing. Real files throughout."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from expectations.results import Failure, SuiteResult, digest_of_files
from touchstone.core.files import sha256_bytes
from touchstone.core.lists import LISTS, ListName
from touchstone.publishing.candidate import SHAPES, Candidate, build_candidate
from touchstone.publishing.manifest import Loads, ManifestInputs, RatingModel
from touchstone.publishing.policy import Policy
from touchstone.publishing.publish import Published, candidate_subject, publish
from touchstone.publishing.terms import AppliedTerm
from touchstone.publishing.verdict import GATES, give_verdict

AS_OF = dt.date(2026, 6, 30)
SUITES = sha256_bytes(b"suites")
POLICY = Policy(target_precision=0.9, action="review", allow_empty=False, max_flagged_share=0.5, lists=tuple(LISTS))
TERMS = (AppliedTerm(term=1, target_precision=0.9, basis="target", threshold=90.0, floor=9.0, action="review"),)
REASONS = json.dumps(
    [
        {
            "signal": "price",
            "effect": 1.25,
            "audiences": ["authority", "brand"],
            "text": "price 71 % below the brand's floor",
        }
    ]
)


@dataclass(frozen=True)
class Rated:
    """One rated entity of the mart."""

    entity_id: str
    score: float
    is_flagged: bool = True
    is_suppressed: bool = False
    held_by: str | None = None
    margin: float = 1.0
    own_conduct_score: float = 40.0
    label: str | None = "a title"
    price: Decimal | None = field(default=Decimal("12.3400"))
    until: dt.date = dt.date(9999, 12, 31)
    action: str = "review"

    @property
    def holder(self) -> str | None:
        """What keeps it off the list although it is flagged."""
        return ("suppression" if self.is_suppressed else self.held_by) if self.is_flagged else None

    @property
    def suppressed_until(self) -> dt.date | None:
        """Until when it is suppressed, if it is."""
        return self.until if self.is_suppressed else None


RATED = (
    Rated("e1", 91.5),
    Rated("e2", 97.0),
    Rated("e3", 91.5, margin=2.0),
    Rated("e4", 99.0, is_suppressed=True),
    *(Rated(f"e{number}", 3.0, is_flagged=False, margin=-3.0) for number in range(5, 12)),
)


def write_mart(
    path: Path, rated: Sequence[Rated] = RATED, *, list_name: ListName = "listings", as_of: dt.date = AS_OF
) -> Path:
    """Writes rated entities as the mart's Parquet file."""
    shape = SHAPES[list_name]
    path.parent.mkdir(parents=True, exist_ok=True)
    key = LISTS[list_name].key
    ids = {name: [item.entity_id if name == key else "m1" for item in rated] for name in shape.ids}
    is_listings = list_name == "listings"
    columns: dict[str, Any] = {
        "as_of_date": pa.array([as_of] * len(rated), pa.date32()),
        **{name: pa.array(values, pa.string()) for name, values in ids.items()},
        shape.label: pa.array([item.label for item in rated], pa.string()),
        "url": pa.array([f"https://shop.example/{item.entity_id}" for item in rated], pa.string()),
        "category": pa.array(["electronics/chargers"] * len(rated), pa.string()),
        "brand": pa.array(["Voltera"] * len(rated), pa.string()),
        "price": pa.array([item.price if is_listings else None for item in rated], pa.decimal128(18, 4)),
        "currency": pa.array(["USD" if is_listings else None] * len(rated), pa.string()),
        "score": pa.array([item.score for item in rated], pa.float64()),
        "own_conduct_score": pa.array([item.own_conduct_score for item in rated], pa.float64()),
        "margin": pa.array([item.margin for item in rated], pa.float64()),
        "band": pa.array(["[90,100]" if item.score >= 90 else "[0,10)" for item in rated], pa.string()),
        "expected_precision": pa.array([0.93 if item.score >= 90 else None for item in rated], pa.float64()),
        "reasons": pa.array([REASONS if item.is_flagged else None for item in rated], pa.string()),
        "country": pa.array(["DE"] * len(rated), pa.string()),
        "signal_count": pa.array([1 if item.is_flagged else None for item in rated], pa.int64()),
        "model_digest": pa.array(["f" * 64] * len(rated), pa.string()),
        "is_suppressed": pa.array([item.is_suppressed for item in rated], pa.bool_()),
        "suppressed_until_date": pa.array([item.suppressed_until for item in rated], pa.date32()),
        "term": pa.array([1] * len(rated), pa.int32()),
        "action": pa.array([item.action for item in rated], pa.string()),
        "is_flagged": pa.array([item.is_flagged for item in rated], pa.bool_()),
        "held_by": pa.array([item.holder for item in rated], pa.string()),
    }
    pa.parquet.write_table(pa.table(columns), path)
    return path


LOADS = Loads(digest="a" * 64, tables={"listings": ("load1",), "merchants": ("load2",)})


def manifest_inputs(code_revision: str = "r1", loads: Loads = LOADS) -> ManifestInputs:
    """Returns inputs for a manifest; another code revision makes another candidate out of the same mart."""
    return ManifestInputs(
        loads=loads,
        dbt_build="b" * 64,
        features="c" * 64,
        scores="d" * 64,
        model=RatingModel(name="listing_counterfeit", digest="f" * 64, threshold=90.0, floor=9.0),
        suites=SUITES,
        code_revision=code_revision,
        subjects={"landed": "1" * 64, "features": "2" * 64, "scores": "3" * 64},
    )


def gate(suite: str, subject: str, *, failures: Sequence[Failure] = (), as_of: dt.date | None = AS_OF) -> SuiteResult:
    """Returns the result of a gate that judged `subject`."""
    return SuiteResult(
        suite=suite,
        suite_digest="e" * 64,
        subject_digest=subject,
        parameters={"as_of": as_of},
        success=all(failure.severity != "critical" for failure in failures),
        expectations_run=3,
        skipped=(),
        failures=tuple(failures),
    )


def failure(severity: str = "critical") -> Failure:
    """Returns one failed expectation."""
    return Failure.model_validate(
        {
            "expectation": "flagged_share",
            "table": "candidate",
            "column": None,
            "observed": "0.31",
            "limit": "0.1",
            "severity": severity,
            "message": "flagged_share (candidate): expected few rows; observed 0.31, allowed 0.1.",
        }
    )


def passing_gates(candidate: Candidate) -> list[SuiteResult]:
    """Returns the four passing gate results of a candidate."""
    manifest = candidate.manifest()
    subjects = {**manifest.inputs.subjects, "candidate": candidate_subject(manifest)}
    return [gate(name, subjects[name], as_of=manifest.as_of) for name in GATES]


@dataclass(frozen=True)
class Home:
    """A home with candidates and published lists, and the steps from a mart to a published list."""

    root: Path
    list_name: ListName = "listings"
    loads: Loads = LOADS
    policy: Policy = POLICY
    terms: tuple[AppliedTerm, ...] = TERMS

    @property
    def published(self) -> Path:
        """Folder of published lists."""
        return self.root / "published"

    def mart(self, as_of: dt.date = AS_OF) -> Path:
        """The mart file of a day."""
        name = LISTS[self.list_name].mart
        return self.root / "marts" / name / f"as_of={as_of}" / f"{name}.parquet"

    def build(
        self,
        rated: Sequence[Rated] = RATED,
        *,
        as_of: dt.date = AS_OF,
        code_revision: str = "r1",
        model_digest: str = "f" * 64,
    ) -> Candidate:
        """Builds a candidate from rated entities."""
        inputs = manifest_inputs(code_revision, self.loads)
        model = inputs.model.model_copy(update={"digest": model_digest})
        return build_candidate(
            self.list_name,
            write_mart(self.mart(as_of), rated, list_name=self.list_name, as_of=as_of),
            policy=self.policy,
            terms=self.terms,
            inputs=inputs.model_copy(update={"model": model}),
            published=self.published,
            candidates=self.root / "candidates",
            as_of=as_of,
        )

    def judge(self, candidate: Candidate) -> Candidate:
        """Gives a candidate a passing verdict."""
        give_verdict(candidate, passing_gates(candidate), suites_digest=SUITES, policy_digest=self.policy.digest)
        return candidate

    def publish(self, candidate: Candidate, *, run_id: str = "run1") -> Published:
        """Publishes a judged candidate."""
        return publish(
            candidate,
            self.published,
            suites_digest=SUITES,
            policy_digest=self.policy.digest,
            receipt={"run_id": run_id},
        )

    def release(self, rated: Sequence[Rated] = RATED, **options: Any) -> Published:
        """Builds, judges and publishes; options are those of `build`."""
        return self.publish(self.judge(self.build(rated, **options)))


__all__ = [
    "AS_OF",
    "POLICY",
    "RATED",
    "SUITES",
    "TERMS",
    "Home",
    "Rated",
    "digest_of_files",
    "failure",
    "gate",
    "manifest_inputs",
    "passing_gates",
    "write_mart",
]
