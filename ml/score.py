"""Scoring: rates entities with the champion, from Arrow batches to scores and reasons, in bounded memory.

Only a champion in the log of approvals can rate, and only with the bytes that were reviewed. The same features and model give
the same bytes at any batch size and number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.approvals import Champion
from ml.documents import Places, read_documents
from ml.explain import Explainer, named_signals
from ml.extra import EXTRA_PREFIXES
from ml.model import RiskModel, Scorer, read_model
from ml.text_scores import TextModel, TextScorer
from ml.training_set import Matrix, matrix
from touchstone.core.errors import BadInputError
from touchstone.core.files import replacing

BATCH_ROWS: Final = 65_536
ROW_GROUP_ROWS: Final = 131_072
EXPLAINED_ROWS: Final = 1_000


@dataclass(frozen=True)
class ScoringResult:
    """Counts of what was written.

    Attributes:
        rows: Entities rated.
        flagged: Entities at or above the model's threshold and floor.
        explained: Entities with reasons.
    """

    rows: int
    flagged: int
    explained: int


def score(
    champion: Champion,
    features: Path,
    out_scores: Path,
    out_reasons: Path | None,
    *,
    texts: Path | None = None,
    explain_from: float = 100.0,
    currency: str = "",
    assumed_prevalence: float | None = None,
) -> ScoringResult:
    """Rates every row of a feature file.

    Args:
        champion: The champion, from the registry's log.
        features: `features/<list>/as_of=<date>/features.parquet`, one row per entity, sorted by id.
        out_scores: File to write: the entity's ids, score, own_conduct_score, margin, the scores of its texts that the model
            uses, and model_digest, sorted by id.
        out_reasons: File to write: the entity's id, reasons (JSON) and signal_count (signals in the reasons), for the flagged
            rows and the 1,000 highest scores; None for a version in shadow, whose reasons nobody reads.
        texts: `texts.parquet` of the same date, the titles of listings; None if there are none, and their scores unknown.
        explain_from: Score from which rows that reach the floor are explained like flagged ones, if it is below the
            model's threshold: a policy may flag from there.
        currency: The base currency, which amounts in reasons are in.
        assumed_prevalence: The share of positives to assume if no verdict calibrated the model; None for none.

    Returns:
        Counts.

    Raises:
        VerificationError: A file of the model is not the one that was reviewed.
        BadInputError: A feature column is missing, or ids are not sorted or not unique.
    """
    model = replace(read_model(champion.folder, champion.model_digest), assumed_prevalence=assumed_prevalence)
    return rate(model, features, out_scores, out_reasons, texts=texts, explain_from=explain_from, currency=currency)


def rate(
    model: RiskModel,
    features: Path,
    out_scores: Path,
    out_reasons: Path | None,
    *,
    texts: Path | None = None,
    explain_from: float = 100.0,
    currency: str = "",
) -> ScoringResult:
    """Rates every row of a feature file with a model that needs no approval; see `score`."""
    scorer = Scorer(model)
    _check_columns(features, model)
    reader = _TextReader(model, texts)
    margins, scores, flags = _write_scores(scorer, features, reader, out_scores, min(model.threshold, explain_from))
    chosen = _to_explain(scores, margins, flags) if out_reasons is not None else np.zeros(0, dtype=np.int64)
    if out_reasons is not None:
        _write_reasons(Explainer(scorer, currency), features, reader, chosen, flags, out_reasons)
    flagged = int((flags & (scores >= model.threshold)).sum())
    return ScoringResult(rows=len(scores), flagged=flagged, explained=len(chosen))


def _check_columns(features: Path, model: RiskModel) -> None:
    names = pq.read_schema(features).names
    missing = [name for name in (*_keys(model), "category", *model.stored_columns) if name not in names]
    if missing:
        own = any(name.startswith(EXTRA_PREFIXES) for name in missing)
        how = (
            "If it is a column of your own, declare it again under `extra` in the sources file"
            if own
            else "Build features with the code that the model was trained on"
        )
        raise BadInputError(
            f"{features}: no column {', '.join(missing)}, which {model.body['name']} reads. {how}, or train again."
        )


def _keys(model: RiskModel) -> list[str]:
    """Returns the key columns that a rating reads; merchant and date are there too if texts are scored."""
    of_texts = ("merchant_id", "as_of_date") if model.text else ()
    return list(dict.fromkeys((model.id_column, *model.carried, *of_texts)))


class _TextReader:
    """Scores of texts for batches of entities; nothing if the model scores none."""

    def __init__(self, model: RiskModel, texts: Path | None) -> None:
        self.kinds = {index: feature.text for index, feature in enumerate(model.features) if feature.text}
        self._is_of_listings = model.body["entity"] == "listing"
        self._scorer = None
        if texts is not None and model.text:
            self._scorer = TextScorer(TextModel.from_bytes(model.text), read_documents(texts))

    def places(self, batch: Any) -> Places | None:
        """Looks the entities of a batch up."""
        if self._scorer is None:
            return None
        merchants = batch.column("merchant_id")
        listings = batch.column("listing_id") if self._is_of_listings else None
        day = (
            batch.column("as_of_date")
            .cast(pa.date32())
            .cast(pa.int32())
            .cast(pa.int64())
            .to_numpy(zero_copy_only=False)
        )
        return self._scorer.documents.places(listings, merchants, day)

    def fill(self, values: Matrix, batch: Any) -> Matrix:
        """Returns the features of a batch with its scores of texts."""
        places = self.places(batch)
        if self._scorer is not None and places is not None:
            values[:, list(self.kinds)] = self._scorer.scores(places, list(self.kinds.values()))
        return values

    def quotes(self, batch: Any) -> dict[int, list[list[str]]]:
        """Returns for each text feature, by its position, the words of each row that raise its score."""
        places = self.places(batch)
        if self._scorer is None or places is None:
            return {}
        return {index: self._scorer.quotes(places, kind) for index, kind in self.kinds.items()}


def _batches(features: Path, columns: list[str]) -> Iterator[Any]:
    with pq.ParquetFile(features) as file:
        yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)


def _write_scores(
    scorer: Scorer, features: Path, reader: _TextReader, out: Path, least: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Writes the scores; returns margin, score and whether it may be flagged of each row: 13 bytes per row."""
    model, parts = scorer.model, []
    last: str | None = None
    with replacing(out) as temporary, _Writer(temporary, _score_schema(model)) as writer:
        for batch in _batches(features, list(dict.fromkeys((*_keys(model), *model.stored_columns)))):
            last = _check_order(batch.column(model.id_column), last, features)
            values = reader.fill(matrix(batch, model.columns), batch)
            margin, own_margin = scorer.margin(values), scorer.margin(values, "own")
            score, own_score = scorer.score(margin), scorer.score(own_margin, "own")
            parts.append((margin, score, (score >= least) & (own_score >= model.floor)))
            writer.write(_score_table(model, batch, score, own_score, margin, values[:, list(reader.kinds)]))
    if not parts:
        return np.zeros(0, dtype=np.float32), np.zeros(0), np.zeros(0, dtype=bool)
    margins, scores, flags = zip(*parts, strict=True)
    return np.concatenate(margins), np.concatenate(scores), np.concatenate(flags)


def _check_order(ids: Any, last: str | None, features: Path) -> str | None:
    """Returns the last id of a batch, after checking that ids ascend, also from the previous batch."""
    names = pa.concat_arrays([pa.array([] if last is None else [last], pa.string()), ids.cast(pa.string())])
    rises = pc.fill_null(pc.less(names[:-1], names[1:]), fill_value=False)
    first_is_null = len(names) > 0 and not names[0].is_valid
    if first_is_null or not pc.all(rises, min_count=0).as_py():
        index = 0 if first_is_null else pc.index(rises, False).as_py() + 1
        raise BadInputError(
            f"{features}: ids are not sorted and unique at {names[index].as_py()!r}; export features ordered by id."
        )
    return str(names[-1]) if len(names) else None


def _score_schema(model: RiskModel) -> Any:
    return pa.schema(
        [
            pa.field(model.id_column, pa.string(), nullable=False),
            *(pa.field(name, pa.string()) for name in model.carried),
            pa.field("score", pa.float64(), nullable=False),
            pa.field("own_conduct_score", pa.float64(), nullable=False),
            pa.field("margin", pa.float64(), nullable=False),
            *(pa.field(feature.name, pa.float64()) for feature in model.features if feature.text),
            pa.field("model_digest", pa.string(), nullable=False),
        ]
    )


def _score_table(
    model: RiskModel,
    batch: Any,
    score: npt.NDArray[np.float64],
    own_score: npt.NDArray[np.float64],
    margin: npt.NDArray[np.float32],
    texts: Matrix,
) -> Any:
    ids = [batch.column(name).cast(pa.string()) for name in (model.id_column, *model.carried)]
    digest = pa.repeat(pa.scalar(model.digest, pa.string()), batch.num_rows)
    of_texts = [pa.array(column.astype(np.float64), from_pandas=True) for column in texts.T]
    columns = [*ids, pa.array(score), pa.array(own_score), pa.array(margin.astype(np.float64)), *of_texts, digest]
    return pa.table(columns, schema=_score_schema(model))


class _Writer:
    """A Parquet writer whose row groups do not depend on batch sizes."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._file = pq.ParquetWriter(path, schema, compression="zstd", version="2.6")
        self._buffer: list[Any] = []
        self._schema = schema

    def __enter__(self) -> Self:
        return self

    def write(self, table: Any) -> None:
        """Buffers rows; writes them when a row group is full."""
        self._buffer.append(table)
        while sum(part.num_rows for part in self._buffer) >= ROW_GROUP_ROWS:
            self._flush(ROW_GROUP_ROWS)

    def _flush(self, rows: int) -> None:
        whole = pa.concat_tables(self._buffer)
        self._file.write_table(whole.slice(0, rows).combine_chunks(), row_group_size=ROW_GROUP_ROWS)
        self._buffer = [whole.slice(rows)] if whole.num_rows > rows else []

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._buffer:
            self._flush(ROW_GROUP_ROWS)
        self._file.close()


def _to_explain(
    scores: npt.NDArray[np.float64], margins: npt.NDArray[np.float32], flags: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Returns positions of the flagged rows and the highest scores, ascending; ties by margin, then by id (row order)."""
    order = np.lexsort((np.arange(len(scores)), -margins, -scores))
    return np.union1d(order[:EXPLAINED_ROWS], np.flatnonzero(flags)).astype(np.int64)


def _write_reasons(
    explainer: Explainer,
    features: Path,
    reader: _TextReader,
    chosen: npt.NDArray[np.int64],
    flags: npt.NDArray[np.bool_],
    out: Path,
) -> None:
    model, start = explainer.scorer.model, 0
    schema = pa.schema(
        [
            pa.field(model.id_column, pa.string(), nullable=False),
            pa.field("reasons", pa.string(), nullable=False),
            pa.field("signal_count", pa.int64(), nullable=False),
        ]
    )
    with replacing(out) as temporary, _Writer(temporary, schema) as writer:
        for batch in _batches(features, list(dict.fromkeys((*_keys(model), "category", *model.stored_columns)))):
            low, high = np.searchsorted(chosen, [start, start + batch.num_rows])
            inside = batch.take(pa.array(chosen[low:high] - start))
            category = inside.column("category").cast(pa.string()).fill_null("").to_pylist()
            values = reader.fill(matrix(inside, model.columns), inside)
            reasons = explainer.reasons(values, category, flags[chosen[low:high]], reader.quotes(inside))
            ids = inside.column(model.id_column).cast(pa.string())
            counts = pa.array([len(named_signals(reasons)) for reasons in reasons], pa.int64())
            writer.write(pa.table([ids, pa.array(reasons, pa.string()), counts], schema=schema))
            start += batch.num_rows
