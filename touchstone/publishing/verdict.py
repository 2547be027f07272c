"""The verdict on a candidate: the results of its gates, and the suites and the policy they used.

It is written atomically next to the candidate; the newest one is valid. `publish` reads it from there and checks itself what
can be checked.
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
    """The results of the gates for one candidate.

    Attributes:
        candidate: SHA-256 of the candidate's manifest.
        suites: Digest of the suites in force.
        policy: Digest of the policy in force.
        gates: The result of each gate, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidate: Sha256
    suites: Sha256
    policy: Sha256
    gates: Mapping[str, SuiteResult]

    @property
    def passed(self) -> bool:
        """Whether all required gates ran and passed."""
        return not self.refusals()

    def refusals(self) -> list[str]:
        """Describes each gate that refuses the candidate or did not run."""
        missing = [f"gate {name} did not run" for name in GATES if name not in self.gates]
        refusals = [refusal for result in self.gates.values() if (refusal := result.refusal()) is not None]
        return missing + refusals

    def to_bytes(self) -> bytes:
        """Returns the verdict as JSON."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def give_verdict(
    candidate: Candidate, gates: Sequence[SuiteResult], *, suites_digest: str, policy_digest: str
) -> Verdict:
    """Writes the verdict on a candidate next to it, passed or refused.

    Args:
        candidate: The candidate.
        gates: The results of all gates that ran for this list.
        suites_digest: Digest of all suites.
        policy_digest: Digest of the policy.

    Returns:
        The verdict.
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
    """Reads the verdict on a candidate.

    Args:
        candidate: The candidate.

    Returns:
        The verdict.

    Raises:
        GateRefusedError: There is none, or it is invalid.
    """
    path = candidate.directory / VERDICT_FILE
    if not path.is_file():
        raise GateRefusedError(
            f"Candidate {candidate.sha256[:12]} of list {candidate.list_name} has no verdict: its gates did not run or did not "
            "complete. Nothing was published. Run the gates first."
        )
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise GateRefusedError(f"{path} is not a valid verdict. Nothing was published. Run the gates again.") from error


def gate_date(result: SuiteResult) -> dt.date | None:
    """Returns the as_of date of a gate's result, or None if its suite does not depend on one."""
    value: Any = result.parameters.get("as_of")
    return dt.date.fromisoformat(value) if isinstance(value, str) else value
