"""Scores of texts: how much the wording of listings resembles that of positives, as features of a risk model.

A linear model is fitted to hashed words and parts of words, in any script, without case and accents. A score is its margin
(log-odds), and free of the entity's own label: each merchant belongs to a fold, whole components together, and is scored by the
model that was fitted on the other folds. Training rows are scored by models of earlier days only, so that their scores come about
as those of new listings do. Nothing here knows boosters; the words that weigh most are quoted in reasons.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.boosting import Parameters, trainable_rows
from ml.declarations import Declaration
from ml.documents import Documents, Places
from ml.model import RiskModel, in_parallel
from ml.training_set import (
    Flags,
    Floats,
    Integers,
    Matrix,
    Rows,
    TrainingSet,
    component_folds,
    forward_blocks,
    known_before,
    learnable_rows,
    thinned,
)

HASHED: Final = 2**16
"""Number of columns that words and their parts are hashed to."""
PARTS: Final = (3, 5)
"""Shortest and longest part of a word, with a space at its ends, in characters."""
WORD: Final = r"\w+"
FOLDS: Final = 5
BLOCKS: Final = 4
"""Number of consecutive blocks of days; a training row is scored by models that learned from the blocks before its own."""
RIDGE: Final = 3.0
"""Inverse strength of the L2 penalty."""
FEWEST: Final = 5
"""A model needs so many positives, and so many others."""
MOST_TEXTS: Final = 100
"""So many of a merchant's newest texts are learned from."""
BATCH_TEXTS: Final = 20_000
MOST_QUOTED: Final = 3
LEAST_SHARE_QUOTED: Final = 0.1
"""A word is quoted if it contributes at least this share of what all words contribute that raise the score."""

Sparse = Any


@dataclass(frozen=True)
class TextModel:
    """Linear models of hashed text, one for each fold.

    Attributes:
        idf: Weight of each hashed word by its rarity, 0 if it is not used, shape (HASHED,).
        weights: Coefficients, shape (folds, HASHED).
        intercepts: Shape (folds,); nan for a fold without enough labels.
        digests: Digests of the ids of the merchants in components that the models were fitted on, ascending, shape (m,).
        folds: The fold of each: the model that was not fitted on its component, shape (m,).
    """

    idf: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    intercepts: npt.NDArray[np.float32]
    digests: npt.NDArray[np.uint64]
    folds: npt.NDArray[np.int8]

    def fold_of(self, merchants: Sequence[str]) -> Integers:
        """Returns the fold of each merchant: for one that no model was fitted on, it is taken from the digest of its id."""
        digests = _digests(merchants)
        place = np.minimum(np.searchsorted(self.digests, digests), max(len(self.digests) - 1, 0))
        folds = (digests % np.uint64(FOLDS)).astype(np.int64)
        if len(self.digests):
            known = self.digests[place] == digests
            folds[known] = self.folds[place[known]]
        return folds

    def to_bytes(self) -> bytes:
        """Returns the models as an Arrow file."""
        names = [name for name in self.__dataclass_fields__ if name != "weights"]
        columns = {name: pa.array([getattr(self, name)]) for name in names}
        columns["weights"] = pa.array([self.weights.ravel()])
        sink = io.BytesIO()
        table = pa.table(columns)
        with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        return sink.getvalue()

    @staticmethod
    def from_bytes(content: bytes) -> TextModel:
        """Reads what `to_bytes` wrote."""
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        values = {name: table[name].chunk(0).flatten().to_numpy(zero_copy_only=False) for name in table.column_names}
        return TextModel(**{**values, "weights": values["weights"].reshape(-1, HASHED)})

    def margins(self, texts: Any) -> npt.NDArray[np.float32]:
        """Returns what each fold's model gives each text, shape (number of texts, folds)."""
        return _margins(texts, [self])


def count_words(texts: Sequence[str]) -> Sparse:
    """Returns counts of hashed words and parts of words, shape (number of texts, HASHED)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    folded = [_fold(text) for text in texts]
    count = partial(HashingVectorizer, n_features=HASHED, alternate_sign=False, norm=None, lowercase=False)
    words = count(token_pattern=WORD).transform(folded)
    return (words + count(analyzer="char_wb", ngram_range=PARTS).transform(folded)).tocsr()


def _fold(text: str) -> str:
    """Returns a text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _weigh(counts: Sparse, idf: npt.NDArray[np.float32]) -> Sparse:
    """Returns TF-IDF vectors of length 1, with the logarithm of counts."""
    from sklearn.preprocessing import normalize

    weighed = counts.astype(np.float64)
    weighed.data = (1.0 + np.log(weighed.data)) * idf[weighed.indices]
    return normalize(weighed, copy=False)


def _rarity(counts: Sparse) -> npt.NDArray[np.float32]:
    """Returns the weight of each hashed word by its rarity; 0 for one that only one text has."""
    texts = counts.getnnz(axis=0)
    return np.where(texts > 1, np.log((1 + counts.shape[0]) / (1 + texts)) + 1, 0.0).astype(np.float32)


def _margins(texts: Any, models: Sequence[TextModel]) -> npt.NDArray[np.float32]:
    """Returns what the models of every fold give each text, one model's folds after the other's."""
    parts = [np.zeros((0, sum(len(model.intercepts) for model in models)), dtype=np.float32)]
    for start in range(0, len(texts), BATCH_TEXTS):
        counts = count_words(texts.slice(start, BATCH_TEXTS).to_pylist())
        margins = [
            _weigh(counts, model.idf) @ model.weights.T.astype(np.float64) + model.intercepts for model in models
        ]
        parts.append(np.concatenate(margins, axis=1).astype(np.float32))
    return np.concatenate(parts)


def _digests(merchants: Sequence[str]) -> npt.NDArray[np.uint64]:
    digests = b"".join(hashlib.sha256(merchant.encode()).digest()[:8] for merchant in merchants)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


# Scores ---------------------------------------------------------------------------------------------------------------


def text_features(declaration: Declaration) -> dict[int, str]:
    """Returns the positions of a model's features that are scores of texts, with the kind of each."""
    return {index: feature.text for index, feature in enumerate(declaration.features) if feature.text}


def score_texts(
    documents: Documents, places: Places, kinds: Sequence[str], margins: npt.NDArray[np.float32], column: Integers
) -> Matrix:
    """Returns the scores of the texts that belong to rows.

    Args:
        documents: The texts.
        places: The rows, shape (n,).
        kinds: `own`: of the listing, or the mean of the merchant if merchants are rated; `others`: the mean of the merchant's
            other listings.
        margins: Of each distinct text by each model, shape (u, models).
        column: The model that scores each row, -1 for none, shape (n,).

    Returns:
        Shape (n, kinds), nan if unknown.
    """
    scores = np.full((len(column), len(kinds)), np.nan, dtype=np.float32)
    for model in range(margins.shape[1]):
        chosen = np.flatnonzero(column == model)
        if not len(chosen):
            continue
        here = places.take(chosen)
        value = margins[:, model].astype(np.float64)
        for index, kind in enumerate(kinds):
            scores[chosen, index] = np.round(_means(documents, here, value, kind), 5)
    return scores


def _means(documents: Documents, places: Places, value: Floats, kind: str) -> Floats:
    if kind == "others" or (places.listing < 0).all():
        return documents.merchant_means(places, value)
    text = documents.of_listings(places)
    return np.where(text >= 0, value[np.maximum(text, 0)], np.nan)


# Training -------------------------------------------------------------------------------------------------------------


def with_text_scores(
    declaration: Declaration, training_set: TrainingSet, parameters: Parameters
) -> tuple[TextModel | None, TrainingSet]:
    """Fits the text models of a training, and fills the text features of its rows and active entities.

    Args:
        declaration: The model.
        training_set: Its rows, whose text features are nan.
        parameters: The training parameters.

    Returns:
        The models that rate, None if there is nothing to fit them to; and the training set with scores. Training rows are
        scored by models of the days before their block (nan in the first), all others by those that rate.
    """
    kinds = text_features(declaration)
    documents, rows, places = training_set.documents, training_set.rows, training_set.places
    if not kinds or documents is None or places is None or training_set.active_places is None:
        return None, training_set
    learnable = np.flatnonzero(learnable_rows(rows, parameters.unseen_share))
    if not len(learnable):
        return None, training_set
    fitter = _Fitter(documents, rows, places, learnable, parameters)
    model = fitter.fit(np.ones(len(learnable), dtype=bool), training_set.components.component_of)
    if model is None:
        return None, training_set
    starts = fitter.block_starts()
    earlier = [fitter.fit(known_before(rows.take(learnable), day), None) for day in starts[1:]]
    nothing = replace(model, intercepts=np.full_like(model.intercepts, np.nan))
    margins = _margins(documents.texts, [model, nothing, *(one or nothing for one in earlier)])
    block = np.searchsorted(np.array(starts), rows.day, side="right")
    fold = model.fold_of(documents.merchants.to_pylist())

    def filled(features: Matrix, places: Places, block: Integers | int) -> Matrix:
        column = np.where(places.merchant >= 0, block * FOLDS + fold[np.maximum(places.merchant, 0)], -1)
        result = features.copy()
        result[:, list(kinds)] = score_texts(documents, places, list(kinds.values()), margins, column)
        return result

    is_trained = rows.has_purpose("train")
    block = np.where(is_trained, np.maximum(block, 1), 0)
    active = training_set.active
    return model, replace(
        training_set,
        rows=replace(rows, features=filled(rows.features, places, block)),
        active=replace(active, features=filled(active.features, training_set.active_places, 0)),
    )


def scored_by(model: RiskModel, training_set: TrainingSet) -> TrainingSet:
    """Returns a training set whose texts are scored by a finished model, which was trained on none of its rows of later dates."""
    kinds = {index: feature.text for index, feature in enumerate(model.features) if feature.text}
    documents, places, active_places = training_set.documents, training_set.places, training_set.active_places
    if not model.text or documents is None or places is None or active_places is None:
        return training_set
    scorer = TextScorer(TextModel.from_bytes(model.text), documents)
    rows, active = training_set.rows, training_set.active
    filled = {}
    for name, features, here in (("rows", rows.features, places), ("active", active.features, active_places)):
        filled[name] = features.copy()
        filled[name][:, list(kinds)] = scorer.scores(here, list(kinds.values()))
    return replace(
        training_set,
        rows=replace(rows, features=filled["rows"]),
        active=replace(active, features=filled["active"]),
    )


class TextScorer:
    """Scores the texts of entities with the models that rate."""

    def __init__(self, model: TextModel, documents: Documents) -> None:
        """Scores each distinct text."""
        self.model, self.documents = model, documents
        self._margins = _margins(documents.texts, [model])
        self._fold = model.fold_of(documents.merchants.to_pylist())

    def scores(self, places: Places, kinds: Sequence[str]) -> Matrix:
        """Returns the scores of each kind, shape (n, kinds), nan if unknown."""
        return score_texts(self.documents, places, kinds, self._margins, self._folds(places))

    def quotes(self, places: Places, kind: str) -> list[list[str]]:
        """Returns the words that raise the score of each row most; none where no word raises it."""
        folds = self._folds(places)
        if kind == "own" and (places.listing >= 0).any():
            text = self.documents.of_listings(places)
            row = np.flatnonzero(text >= 0)
            text = text[row]
        else:
            row, text = self.documents.of_merchants(places, MOST_TEXTS)
        texts_by_row: list[list[str]] = [[] for _ in folds]
        for index, words in zip(row.tolist(), self.documents.texts.take(pa.array(text)).to_pylist(), strict=True):
            texts_by_row[index].append(words)
        return [
            quoted_words(self.model, texts, int(fold)) if texts else []
            for texts, fold in zip(texts_by_row, folds, strict=True)
        ]

    def _folds(self, places: Places) -> Integers:
        return np.where(places.merchant >= 0, self._fold[np.maximum(places.merchant, 0)], -1)


class _Fitter:
    """Fits text models to parts of the learnable rows."""

    def __init__(
        self, documents: Documents, rows: Rows, places: Places, learnable: Integers, parameters: Parameters
    ) -> None:
        self.documents, self.parameters = documents, parameters
        self.rows = rows.take(learnable)
        self.places = places.take(learnable)
        self.fold = component_folds(self.rows, FOLDS)
        self.trainable = trainable_rows(self.rows)

    def block_starts(self) -> list[int]:
        """Returns the first day of each block of days, which have about the same number of positives."""
        block = forward_blocks(self.rows, BLOCKS)
        return [int(self.rows.day[block == index].min()) for index in range(int(block.max()) + 1)]

    def fit(self, known: Flags, component_of: Callable[[list[str]], list[str]] | None) -> TextModel | None:
        """Fits one model for each fold to the newest known row of each entity; None if no fold has enough labels.

        Args:
            known: Which rows may be used.
            component_of: The components of merchants, to store their folds; None to store none.
        """
        from scipy.sparse import csr_matrix

        chosen = self._newest(np.flatnonzero(known & self.trainable))
        rows = self.rows.take(chosen)
        kept, scale = thinned(rows, self.parameters.forward_unlabelled, self.parameters.seed)
        chosen, rows = chosen[kept], replace(rows, weight=rows.weight * scale).take(kept)
        # A merchant's texts are much alike, so each merchant weighs the same: else one with many listings would decide.
        merchant = np.unique(rows.merchant, return_inverse=True)[1]
        rows = replace(rows, weight=rows.weight / np.bincount(merchant, weights=rows.weight)[merchant])
        row, text = self._texts(chosen)
        used, column = np.unique(text, return_inverse=True)
        if not len(used):
            return None
        counts = count_words(self.documents.texts.take(pa.array(used)).to_pylist())
        idf = _rarity(counts)
        share = 1.0 / np.bincount(row, minlength=len(rows))[row]
        vectors = csr_matrix((share, (row, column)), shape=(len(rows), len(used))) @ _weigh(counts, idf)
        has_text = np.bincount(row, minlength=len(rows)) > 0
        fits = in_parallel([
            partial(_fit, vectors, rows, has_text & (self.fold[chosen] != fold)) for fold in range(FOLDS)
        ])  # fmt: skip
        weights, intercepts = np.stack([fit[0] for fit in fits]), np.array([fit[1] for fit in fits], dtype=np.float32)
        if np.isnan(intercepts).all():
            return None
        digests, folds = (
            (np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int8))
            if component_of is None
            else self._stored_folds(component_of)
        )
        return TextModel(idf, weights, intercepts, digests, folds)

    def _newest(self, chosen: Integers) -> Integers:
        """Returns the newest row of each entity."""
        order = chosen[np.lexsort((self.rows.day[chosen], self.rows.entity[chosen]))]
        is_last = np.append(np.diff(self.rows.entity[order]) != 0, True)
        return np.sort(order[is_last]) if len(order) else order

    def _texts(self, chosen: Integers) -> tuple[Integers, Integers]:
        """Returns positions in `chosen` and the texts of each, as of the row's day."""
        here = self.places.take(chosen)
        if (self.places.listing < 0).all():
            return self.documents.of_merchants(here, MOST_TEXTS)
        text = self.documents.of_listings(here)
        row = np.flatnonzero(text >= 0)
        return row, text[row]

    def _stored_folds(self, component_of: Callable[[list[str]], list[str]]) -> tuple[Any, Any]:
        """Returns digests and folds of all merchants in components with a learnable row."""
        merchants = self.documents.merchants.to_pylist()
        components, member = np.unique(component_of(merchants), return_inverse=True)
        fold = np.full(len(components), -1, dtype=np.int8)
        known = self.places.merchant >= 0
        fold[member[self.places.merchant[known]]] = self.fold[known]
        digests, folds = _digests(merchants), fold[member]
        order = np.argsort(digests, kind="stable")
        order = order[folds[order] >= 0]
        return digests[order], folds[order]


def _fit(vectors: Sparse, rows: Rows, learn: Flags) -> tuple[npt.NDArray[np.float32], float]:
    """Fits a logistic regression; its intercept is nan if there are too few labels."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    positives = int(rows.label[learn].sum())
    if min(positives, int(learn.sum()) - positives) < FEWEST:
        return np.zeros(HASHED, dtype=np.float32), np.nan
    regression = LogisticRegression(C=RIDGE, max_iter=200)
    with threadpool_limits(limits=1):  # sums do not depend on the number of threads
        weight = rows.weight[learn]
        regression.fit(vectors[np.flatnonzero(learn)], rows.label[learn], sample_weight=weight / weight.mean())
    return regression.coef_[0].astype(np.float32), float(regression.intercept_[0])


# Quotes ---------------------------------------------------------------------------------------------------------------


def quoted_words(model: TextModel, texts: Sequence[str], fold: int) -> list[str]:
    """Returns the words of texts that raise their score most, the strongest first; none if no word raises it."""
    words: dict[str, str] = {}
    for text in texts:
        for word in re.findall(WORD, text):
            words.setdefault(_fold(word), word)
    if not words:
        return []
    counts = count_words(list(words)).astype(np.float64)
    counts.data = counts.data * model.idf[counts.indices]
    effect = counts @ model.weights[fold].astype(np.float64)
    raising = np.maximum(effect, 0.0)
    order = [
        index for index in np.argsort(-effect, kind="stable") if raising[index] >= LEAST_SHARE_QUOTED * raising.sum()
    ]
    return [list(words.values())[index] for index in order[:MOST_QUOTED] if effect[index] > 0]
