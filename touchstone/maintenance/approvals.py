"""Connects the model review with a home: alias requests of MLflow, receipts, shadow scores, and outcomes of rated entities.

`ml/approvals.py` decides which version may rate, and `ml/shadow.py` compares a shadow with the champion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.home import Home
from touchstone.core.lists import LISTS, list_of_model
from touchstone.core.warehouse import read_warehouse
from touchstone.maintenance.alerts import Alert, send_alerts
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


def reconcile_alias_requests(settings: Settings, registry: Registry) -> list[AliasRequest]:
    """Grants or reverts aliases that were changed in MLflow, with an alert for each. The caller holds the home's lock.

    Args:
        settings: The settings.
        registry: The home's registry.

    Returns:
        The changes with their outcomes.

    Raises:
        VerificationError: The log of approvals or MLflow's database was changed; an alert is sent for that, too.
    """
    from ml.alias_requests import reconcile_aliases

    try:
        requests = reconcile_aliases(registry, may_approve=settings.is_alias_trusted)
    except VerificationError as error:
        send_alerts(settings, [Alert("log of approvals does not verify", f"Nothing is rated. {error}")])
        raise
    alerts = [Alert(f"alias champion of {one.model}: {one.outcome}", describe_request(one)) for one in requests]
    send_alerts(settings, alerts)
    return requests


def describe_request(request: AliasRequest) -> str:
    """Returns a sentence about a changed alias and the outcome.

    Args:
        request: The change.
    """
    change = "removed" if request.version is None else f"set on version {request.version}"
    return f"The alias champion of {request.model} was {change} in MLflow: {request.outcome}, {request.message}."


def receipt_heads(published: Path) -> Iterator[tuple[str, str]]:
    """Yields each valid receipt, as `<list>/<version>/<file>`, with the head of the log of approvals that it names.

    Args:
        published: Folder of the published lists.
    """
    for path in sorted(published.glob("*/*/receipt*.json")):
        try:
            head = json.loads(path.read_bytes())["run"]["approvals_head"]
        except (ValueError, KeyError, TypeError):
            continue  # `touchstone verify` reports invalid receipts
        yield path.relative_to(published).as_posix(), str(head)


def newest_published_date(published: Path) -> date | None:
    """Returns the newest as-of date of all published lists, or None.

    Args:
        published: Folder of the published lists.
    """
    versions = [ListStore(published, name).latest() for name in LISTS]
    return max((version_date(version) for version in versions if version is not None), default=None)


def compare_shadow(home: Path, registry: Registry, model: str) -> tuple[Champion, Champion, list[Day]]:
    """Compares the shadow version with the champion on every day that both rated, oldest first.

    Outcomes are the decisions in the warehouse: those of the last run's loads, up to its date.

    Args:
        home: The home.
        registry: The home's registry.
        model: The model.

    Returns:
        The champion, the shadow version, and the comparison by day.

    Raises:
        BadInputError: There is no such model, it has no shadow version, no day has both scores yet, or the warehouse is missing
            or damaged.
        VerificationError: Scores do not match their digest.
    """
    from ml.declarations import load_declarations
    from ml.shadow import compare_day

    rated = list_of_model(model)
    champion, shadow, declaration = registry.champion(model), registry.shadowing(model), load_declarations()[model]
    if champion is None or shadow is None:
        missing = "champion" if champion is None else "version in shadow"
        raise BadInputError(
            f"{model} has no {missing}. `touchstone models shadow` lets a version rate next to the champion."
        )
    days, paths = [], Home(home)
    with read_warehouse(home) as warehouse:
        for day in paths.shadow_dates(model, shadow.model_digest):
            scores, shadow_scores = paths.scores(model, day), paths.shadow_scores(model, day, shadow.model_digest)
            if not scores.is_file() or not is_rated_by(scores, champion):
                continue
            outcomes = outcomes_after(warehouse, declaration, day)
            days.append(compare_day(day.isoformat(), champion, shadow, (scores, shadow_scores), rated.key, outcomes))
    if not days:
        raise BadInputError(
            f"No day has been rated by {model} version {champion.version} and version {shadow.version} yet."
        )
    return champion, shadow, days


def outcomes_after(
    warehouse: duckdb.DuckDBPyConnection, declaration: Declaration, day: date, until: date = date.max
) -> pa.Table:
    """Returns the outcomes, decided after a day, of entities that a model rates.

    Args:
        warehouse: Connection to the warehouse.
        declaration: The model's declaration.
        day: Outcomes that were decided after it.
        until: Outcomes that were decided up to it.

    Returns:
        entity_id, is_positive, inclusion_probability; one row per entity.
    """
    query = OUTCOMES.format(labels=LABELS[declaration.violation_type])
    return warehouse.execute(query, {"kind": declaration.entity, "day": day, "until": until}).to_arrow_table()


def is_rated_by(scores: Path, champion: Champion) -> bool:
    """Returns whether a day's scores are those of the current champion, not of an earlier one.

    Args:
        scores: The file with the scores.
        champion: The champion.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(scores) as file:
        first = next(file.iter_batches(batch_size=1, columns=["model_digest"]), None)
    return first is not None and first.column(0)[0].as_py() == champion.model_digest
