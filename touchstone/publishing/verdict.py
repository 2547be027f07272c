"""The verdict on a candidate: which gates judged which bytes by which suites and policy, and whether it may be published.

Written beside the candidate, whole or not at all; the newest one counts. `publish` reads it from there and believes
nothing in it that it can check itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from expectations.results import SuiteResult
from touchstone.core.errors import GateRefusedError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import write_bytes
from touchstone.publishing.candidate import Candidate
from touchstone.publishing.manifest import Sha256

VERDICT_FILE = "verdict.json"
CANDIDATE_GATE = "candidate"
GATES_BEFORE = ("landed", "features", "scores")
GATES = (*GATES_BEFORE, CANDIDATE_GATE)


class Verdict(BaseModel):
    """What the gates said of one candidate.

    Attributes:
        candidate: SHA-256 of the candidate's manifest.
        suites: Digest of all suites that were in force.
        policy: Digest of the policy that was in force.
        gates: The result of each gate by its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidate: Sha256
    suites: Sha256
    policy: Sha256
    gates: Mapping[str, SuiteResult]

    @property
    def passed(self) -> bool:
        """Whether every gate that there must be is there and lets the candidate through."""
        return not self.refusals()

    def refusals(self) -> list[str]:
        """Returns in words what each gate that refuses, or is missing, holds against the candidate."""
        missing = [f"gate {name} has not judged it" for name in GATES if name not in self.gates]
        refusals = [refusal for result in self.gates.values() if (refusal := result.refusal()) is not None]
        return missing + refusals

    def to_bytes(self) -> bytes:
        """Returns the verdict as JSON."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def give_verdict(
    candidate: Candidate, gates: Sequence[SuiteResult], *, suites_digest: str, policy_digest: str
) -> Verdict:
    """Writes the verdict on a candidate beside it, passed or refused, and returns it.

    Args:
        candidate: What was judged.
        gates: The result of every gate that ran for this list.
        suites_digest: Digest of all suites.
        policy_digest: Digest of the policy.
    """
    verdict = Verdict(
        candidate=candidate.manifest().sha256,
        suites=suites_digest,
        policy=policy_digest,
        gates={result.suite: result for result in gates},
    )
    with failpoint("verdict.write", candidate.directory / VERDICT_FILE):
        write_bytes(candidate.directory / VERDICT_FILE, verdict.to_bytes())
    return verdict


def read_verdict(candidate: Candidate) -> Verdict:
    """Returns the verdict that stands beside a candidate.

    Raises:
        GateRefusedError: There is none, or it is not sound: no gate has let this candidate through.
    """
    path = candidate.directory / VERDICT_FILE
    if not path.is_file():
        raise GateRefusedError(
            f"candidate {candidate.sha256[:12]} of list {candidate.list_name} has no verdict: its gates have not run, or "
            "did not end. Nothing was published. Run the gates first."
        )
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise GateRefusedError(f"{path} is not a sound verdict. Nothing was published. Run the gates again.") from error


def gate_date(result: SuiteResult) -> dt.date | None:
    """Returns the as_of date that a gate judged for, or None where its suite does not depend on one."""
    value: Any = result.parameters.get("as_of")
    return dt.date.fromisoformat(value) if isinstance(value, str) else value
