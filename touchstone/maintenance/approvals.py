"""What surrounds the review of models in a home: aliases moved in MLflow, receipts, shadows, and decisions on what was rated.

Which version may rate is decided by `ml/approvals.py`, and how a shadow compares computed in `ml/shadow.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.lists import LISTS, list_of_model
from touchstone.core.warehouse import read_warehouse
from touchstone.maintenance.alerts import Alert, tell
from touchstone.publishing.history import ListStore
from touchstone.publishing.manifest import version_date

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from ml.alias_requests import AliasRequest
    from ml.approvals import Champion
    from ml.declarations import Declaration
    from ml.registry import Registry
    from ml.shadow import Day
    from touchstone.core.settings import Settings

OUTCOMES = """
select
    entity_id,
    arg_max(is_positive, (strength, decided_at, case_id)) as is_positive,
    max(inclusion_probability) as inclusion_probability
from {labels} where entity_kind = $kind and decided_date > $day and decided_date <= $until
group by entity_id order by entity_id
"""
LABELS = {"counterfeit": "entity_labels", "brushing": "brushing_labels"}


def settle_moves(settings: Settings, registry: Registry) -> list[AliasRequest]:
    """Grants or puts back what somebody moved in MLflow, and alerts of each; the caller holds the home's lock.

    Raises:
        VerificationError: The log, or MLflow's database, is not what it was; that is alerted of, too.
    """
    from ml.alias_requests import reconcile_aliases

    try:
        moves = reconcile_aliases(registry, may_approve=settings.is_alias_trusted)
    except VerificationError as error:
        tell(settings, [Alert("log of approvals does not hold", f"Nothing is rated. {error}")])
        raise
    tell(settings, [Alert(f"alias champion of {move.model}: {move.outcome}", described(move)) for move in moves])
    return moves


def described(move: AliasRequest) -> str:
    """Returns what became of a move of the alias, as a sentence."""
    where = "removed" if move.version is None else f"set on version {move.version}"
    return f"The alias champion of {move.model} was {where} in MLflow: {move.outcome}, {move.message}."


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
    found = [ListStore(published, name).latest() for name in LISTS]
    return max((version_date(version) for version in found if version is not None), default=None)


def shadow_file(home: Path, model: str, model_digest: str, as_of: date | str) -> Path:
    """Where the scores of one date are that a version gave in shadow."""
    return home / "shadow" / model / f"as_of={as_of}" / f"{model_digest[:12]}.parquet"


def shadow_report(home: Path, registry: Registry, model: str) -> tuple[Champion, Champion, list[Day]]:
    """Sets the version in shadow beside the champion, on every day that both rated, oldest first.

    Outcomes are the decisions that the warehouse knows: of the last run's loads, up to its date.

    Raises:
        BadInputError: There is no such model, none of its versions rates in shadow, no day has both scores yet, or the
            warehouse is missing or damaged.
        VerificationError: Scores are not what they say.
    """
    from ml.declarations import load_declarations
    from ml.shadow import compare_day

    rated = list_of_model(model)
    champion, shadow, declaration = registry.champion(model), registry.shadowing(model), load_declarations()[model]
    if champion is None or shadow is None:
        missing = "champion" if champion is None else "version in shadow"
        raise BadInputError(
            f"{model} has no {missing}. `touchstone models shadow` lets a version rate beside the champion."
        )
    days = []
    with read_warehouse(home) as warehouse:
        for beside in sorted((home / "shadow" / model).glob(f"as_of=*/{shadow.model_digest[:12]}.parquet")):
            day = beside.parent.name.removeprefix("as_of=")
            scores = home / "scores" / model / f"as_of={day}" / "scores.parquet"
            if not scores.is_file() or not is_rated_by(scores, champion):
                continue
            outcomes = outcomes_after(warehouse, declaration, date.fromisoformat(day))
            days.append(compare_day(day, champion, shadow, (scores, beside), rated.key, outcomes))
    if not days:
        raise BadInputError(
            f"No day has been rated by {model} version {champion.version} and version {shadow.version} yet."
        )
    return champion, shadow, days


def outcomes_after(
    warehouse: duckdb.DuckDBPyConnection, declaration: Declaration, day: date, until: date = date.max
) -> pa.Table:
    """Returns how entities that a model rates were decided on after a day: entity_id, is_positive, inclusion_probability."""
    query = OUTCOMES.format(labels=LABELS[declaration.violation_type])
    return warehouse.execute(query, {"kind": declaration.entity, "day": day, "until": until}).to_arrow_table()


def is_rated_by(scores: Path, champion: Champion) -> bool:
    """Tells whether a day's scores are the present champion's; a day of one before it is no comparison."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(scores) as file:
        first = next(file.iter_batches(batch_size=1, columns=["model_digest"]), None)
    return first is not None and first.column(0)[0].as_py() == champion.model_digest
