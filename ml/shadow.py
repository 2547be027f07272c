"""A version in shadow beside the champion: what it would have flagged, and which of the two turned out to be right.

Both rated the same entities of the same days; the shadow's scores touch no list. Outcomes are decisions that came after the
day, on entities that both rated: who is never looked at has none, so that precision and recall are of what was looked at.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.approvals import Champion
from touchstone.core.errors import VerificationError

if TYPE_CHECKING:
    import pyarrow as pa

    from ml.model import RiskModel

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """What one of the two did on a day.

    Attributes:
        flagged: Entities at or above its threshold and floor.
        precision: Share of the flagged that have an outcome and were found positive; None where none has one.
        recall: Share of those found positive that it flagged; None where none was.
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
        champion: What the champion of now did with its scores of then.
        shadow: What the version in shadow would have done.
        both: Entities that both flagged.
        rank_correlation: Spearman's, of the two margins; None where one of them is the same for all.
        positive_outcomes: Of the next, those found positive.
        outcomes: Entities that both rated and a decision after the day is on.
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
        """Returns the day as plain data."""
        return asdict(self)


def compare_day(
    as_of: str, champion: Champion, shadow: Champion, scores: tuple[Path, Path], id_column: str, outcomes: pa.Table
) -> Day:
    """Sets one day's scores of both beside each other.

    Args:
        as_of: The day.
        champion: The champion.
        shadow: The version in shadow.
        scores: The scores of the one and of the other, sorted by id.
        id_column: The column that names an entity.
        outcomes: entity_id, is_positive and inclusion_probability, one row an entity: how it was decided on after the day.

    Raises:
        VerificationError: The two files do not rate the same entities, or not by these models.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from scipy.stats import spearmanr

    tables = [pq.read_table(path, partitioning=None) for path in scores]
    for path, table, rates in zip(scores, tables, (champion, shadow), strict=True):
        if pc.unique(table["model_digest"]).to_pylist() not in ([rates.model_digest], []):
            raise VerificationError(f"{path}: not rated by {rates.model} version {rates.version}. Rate {as_of} again.")
    if not tables[0][id_column].equals(tables[1][id_column]):
        raise VerificationError(f"{scores[1]}: rates other entities than {scores[0]}. Rate {as_of} again.")
    found = found_among(tables[0][id_column], outcomes)
    flags = [flags_of(table, rates) for table, rates in zip(tables, (champion, shadow), strict=True)]
    sides = [_side(flag, found) for flag in flags]
    margins = [table["margin"].to_numpy() for table in tables]
    is_constant = any(len(np.unique(margin)) < 2 for margin in margins)
    return Day(
        as_of=as_of,
        rated=len(tables[0]),
        champion=sides[0],
        shadow=sides[1],
        both=int((flags[0] & flags[1]).sum()),
        rank_correlation=None if is_constant else round(float(spearmanr(*margins).statistic), 4),
        positive_outcomes=int(found.is_positive.sum()),
        outcomes=len(found.at),
    )


@dataclass(frozen=True)
class Found:
    """Outcomes of what was rated, all arrays of one length.

    Attributes:
        at: Position of each entity among the rated ones.
        is_positive: Whether it was found positive.
        inclusion: The inclusion probability with which it was drawn; nan where it was not drawn by design.
    """

    at: npt.NDArray[np.int64]
    is_positive: Bools
    inclusion: npt.NDArray[np.float64]


def found_among(ids: pa.ChunkedArray, outcomes: pa.Table) -> Found:
    """Returns those of the outcomes that are of rated entities.

    Args:
        ids: The ids of the rated entities.
        outcomes: entity_id, is_positive and inclusion_probability, one row an entity.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    at = pc.index_in(outcomes["entity_id"].combine_chunks(), ids.combine_chunks())
    of_rated = outcomes.filter(at.is_valid())
    return Found(
        np.asarray(at.drop_null(), dtype=np.int64),
        np.asarray(of_rated["is_positive"].cast(pa.bool_()), dtype=bool),
        np.asarray(of_rated["inclusion_probability"].cast(pa.float64()).to_numpy(), dtype=np.float64),
    )


def flags_of(table: pa.Table, rates: Champion | RiskModel) -> Bools:
    """Returns which rows of scores reach the threshold and the floor of what gave them."""
    own = table["own_conduct_score"].to_numpy()
    return np.asarray((table["score"].to_numpy() >= rates.threshold) & (own >= rates.floor))


def _side(flagged: Bools, found: Found) -> Side:
    hits, is_positive = flagged[found.at], found.is_positive
    return Side(
        flagged=int(flagged.sum()),
        precision=round(float(is_positive[hits].mean()), 4) if hits.any() else None,
        recall=round(float(hits[is_positive].mean()), 4) if is_positive.any() else None,
    )
