"""Keeping the log of approvals true: aliases that somebody moved in MLflow are settled, and what is said of the log is checked.

Who may rate is decided in `ml/registry.py`; here is who is told of it, and what receipts say of the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from groundwork.errors import VerificationError
from orchestration.publishing.history import Shelf
from orchestration.publishing.manifest import version_date
from orchestration.rated import RATED
from orchestration.upkeep.alerts import Alert, tell

if TYPE_CHECKING:
    from ml.registry import Move, Registry
    from orchestration.settings import Settings


def settle_moves(settings: Settings, registry: Registry) -> list[Move]:
    """Grants or puts back what somebody moved in MLflow, and alerts of each; the caller holds the home's lock.

    Raises:
        VerificationError: The log, or MLflow's database, is not what it was; that is alerted of, too.
    """
    try:
        moves = registry.settle_moves(may_approve=settings.is_alias_trusted)
    except VerificationError as error:
        tell(settings, [Alert("log of approvals does not hold", f"Nothing is rated. {error}")])
        raise
    tell(settings, [Alert(f"alias champion of {move.model}: {move.outcome}", described(move)) for move in moves])
    return moves


def described(move: Move) -> str:
    """Returns what became of a move of the alias, as a sentence."""
    where = "taken away" if move.version is None else f"set on version {move.version}"
    return f"The alias champion of {move.model} was {where} in MLflow: {move.outcome}, {move.says}."


def heads_in_receipts(published: Path) -> Iterator[tuple[str, str]]:
    """Yields each receipt that can be read, as `<list>/<version>/<file>`, and the head of the log that it names."""
    for path in sorted(published.glob("*/*/receipt*.json")):
        try:
            head = json.loads(path.read_bytes())["run"]["approvals_head"]
        except (ValueError, KeyError, TypeError):
            continue  # `touchstone verify` says which receipts are not sound
        yield path.relative_to(published).as_posix(), str(head)


def newest_day(published: Path) -> date | None:
    """Returns the newest day that a list is published for, or None."""
    found = [Shelf(published, name).latest() for name in RATED]
    return max((version_date(version) for version in found if version is not None), default=None)
