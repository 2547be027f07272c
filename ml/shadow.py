"""Compares a version in shadow with the champion: what it would have flagged, and which of the two was right.

Both rated the same entities on the same days; the shadow's scores affect no list. Outcomes are decisions made after the day,
on entities that both rated. Entities that nobody checks have no outcome: precision and recall refer to checked entities.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.approvals import Champion
from ml.metrics import rank_correlation
from ml.model import RiskModel
from touchstone.core.errors import VerificationError

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """The result of one version on a day.

    Attributes:
        flagged: Entities at or above its threshold and floor.
        precision: Share of positives among the flagged entities with an outcome; None without any.
        recall: Share of the positive outcomes that it flagged; None without positives.
    """

    flagged: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Day:
    """A day that both rated.

    Attributes:
        as_of: The day.
        rated: Entities that both rated.
        champion: The result of the current champion, on its scores of that day.
        shadow: The result of the version in shadow.
        both: Entities that both flagged.
        rank_correlation: Spearman correlation of the margins; None if one of them is constant.
        positive_outcomes: Positives among the outcomes.
        outcomes: Rated entities with a decision after the day.
    """

    as_of: str
    rated: int
    champion: Side
    shadow: Side
    both: int
    rank_correlation: float | None
    positive_outcomes: int
    outcomes: int

    def as_dict(self) -> dict[str, Any]:
        """Returns the day as JSON-serialisable data."""
        return asdict(self)


def compare_day(
    as_of: str, champion: Champion, shadow: Champion, scores: tuple[Path, Path], id_column: str, outcomes: pa.Table
) -> Day:
    """Compares the scores of both for one day.

    Args:
        as_of: The day.
        champion: The champion.
        shadow: The version in shadow.
        scores: Files with the scores of the champion and of the shadow, sorted by id.
        id_column: The column that names an entity.
        outcomes: entity_id, is_positive and inclusion_probability, one row per entity decided after the day.

    Raises:
        VerificationError: The two files do not rate the same entities, or not by these models.
    """
    tables = [pq.read_table(path, partitioning=None) for path in scores]
    for path, table, rates in zip(scores, tables, (champion, shadow), strict=True):
        if pc.unique(table["model_digest"]).to_pylist() not in ([rates.model_digest], []):
            raise VerificationError(f"{path}: not rated by {rates.model} version {rates.version}. Rate {as_of} again.")
    if not tables[0][id_column].equals(tables[1][id_column]):
        raise VerificationError(f"{scores[1]}: rates other entities than {scores[0]}. Rate {as_of} again.")
    matched = match_outcomes(tables[0][id_column], outcomes)
    flags = [flagged_rows(table, rates) for table, rates in zip(tables, (champion, shadow), strict=True)]
    sides = [_side(flag, matched) for flag in flags]
    margins = [table["margin"].to_numpy() for table in tables]
    return Day(
        as_of=as_of,
        rated=len(tables[0]),
        champion=sides[0],
        shadow=sides[1],
        both=int((flags[0] & flags[1]).sum()),
        rank_correlation=rank_correlation(*margins),
        positive_outcomes=int(matched.is_positive.sum()),
        outcomes=len(matched.index),
    )


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of rated entities; all arrays have one length.

    Attributes:
        index: Position of each entity among the rated ones.
        is_positive: The outcome.
        inclusion: Inclusion probability in the sample; nan if the entity was not sampled.
    """

    index: npt.NDArray[np.int64]
    is_positive: Bools
    inclusion: npt.NDArray[np.float64]


def match_outcomes(ids: pa.ChunkedArray, outcomes: pa.Table) -> Outcomes:
    """Returns the outcomes of rated entities.

    Args:
        ids: The ids of the rated entities.
        outcomes: entity_id, is_positive and inclusion_probability, one row per entity.
    """
    index = pc.index_in(outcomes["entity_id"].combine_chunks(), ids.combine_chunks())
    rated_outcomes = outcomes.filter(index.is_valid())
    return Outcomes(
        np.asarray(index.drop_null(), dtype=np.int64),
        np.asarray(rated_outcomes["is_positive"].cast(pa.bool_()), dtype=bool),
        np.asarray(rated_outcomes["inclusion_probability"].cast(pa.float64()).to_numpy(), dtype=np.float64),
    )


def flagged_rows(table: pa.Table, rates: Champion | RiskModel) -> Bools:
    """Returns which rows reach the threshold and the floor of the version that scored them."""
    own = table["own_conduct_score"].to_numpy()
    return np.asarray((table["score"].to_numpy() >= rates.threshold) & (own >= rates.floor))


def _side(flagged: Bools, matched: Outcomes) -> Side:
    hits, is_positive = flagged[matched.index], matched.is_positive
    return Side(
        flagged=int(flagged.sum()),
        precision=round(float(is_positive[hits].mean()), 4) if hits.any() else None,
        recall=round(float(hits[is_positive].mean()), 4) if is_positive.any() else None,
    )
