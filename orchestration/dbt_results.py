"""What dbt reports of a build, and what the warehouse remembers of the last one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DbtNode:
    """How one dbt node ended.

    Attributes:
        unique_id: dbt's id of the node.
        status: dbt's status: `success`, `pass`, `warn`, `fail`, `error` or `skipped`.
        seconds: Wall time.
        message: dbt's message.
        failures: Rows that a test found, if the node is one.
    """

    unique_id: str
    status: str
    seconds: float
    message: str
    failures: int | None

    @property
    def is_test(self) -> bool:
        """Whether the node is a data test."""
        return self.unique_id.startswith("test.")


@dataclass(frozen=True)
class Built:
    """What a step of dbt was last built of.

    Attributes:
        project: The dbt project and the engine that built its tables, if any did.
        recipe: Digest of the inputs that it was built of; None if it was never complete.
        nodes: How each of its nodes ended, as JSON.
    """

    project: str | None = None
    recipe: str | None = None
    nodes: str = "[]"
