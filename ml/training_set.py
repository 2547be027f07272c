"""The training set: reads, joins and weights rows, and splits them without leakage.

Merchants connected by shared identifiers form a component, which no fold splits. Entities held out for calibration are not
in the training rows; a share of the components is held out completely, so that metrics on unseen components can be
measured. No model is fitted here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.declarations import Declaration
from ml.documents import Documents, Places, read_documents
from ml.signals.links import connected_groups
from touchstone.core.errors import BadInputError

EPOCH: Final = date(1970, 1, 1)
MAX_MEMBERS: Final = 200
AGES: Final = (("under 30 days", 0, 30), ("30 to 90 days", 30, 90), ("over 90 days", 90, 1_000_000))
PURPOSES: Final = ("score", "train", "evaluate", "calibrate", "known_positive", "training_verdict")
# Entities that change: an old verdict on a merchant describes the past, but its features are those at cutoff_date. Only the
# newest verdicts set the threshold and are measured: those of 30 days, or as many as contain 20 positives (docs/decisions/0010).
CHANGING_ENTITIES: Final = ("merchant",)
NEWEST_DAYS: Final = 30
NEWEST_POSITIVES: Final = 20

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Labels = tuple[Integers, tuple[str, ...]]
"""A slice label of each row, as a position in names; an empty name if it is unknown."""


@dataclass(frozen=True)
class Components:
    """Merchants connected through shared identifiers, as of cutoff_date.

    Attributes:
        names: The component of each merchant with an edge: the smallest merchant id in it. Other merchants are components
            of their own.
        joined: Number of components of two or more.
        largest: Members of the largest one, at most `MAX_MEMBERS`.
        split: Number of larger components that were split.
        dropped_edges: Number of their weakest edges that were dropped.
    """

    names: dict[str, str]
    joined: int
    largest: int
    split: int
    dropped_edges: int

    def component_of(self, merchants: list[str]) -> list[str]:
        """Returns the component of each merchant."""
        return [self.names.get(merchant, merchant) for merchant in merchants]

    def as_dict(self) -> dict[str, int]:
        """Returns the counts, for the model card."""
        return {
            "joined": self.joined,
            "largest": self.largest,
            "split": self.split,
            "dropped_edges": self.dropped_edges,
        }


@dataclass(frozen=True)
class Rows:
    """Rows of a training; all arrays have one length n.

    Attributes:
        entity: An integer for each rated entity.
        merchant: An integer for each merchant.
        component: An integer for each component of merchants.
        chance: Hash of the component in [0, 1): selects components the same way in every training.
        category: Position in `categories`.
        categories: Category paths; empty if unknown.
        day: as_of_date, in days since 1970-01-01.
        decided_day: Day on which the label was decided; -1 for unlabelled rows.
        purpose: Position in `PURPOSES`.
        label: Whether the row is positive; unlabelled rows count as negatives.
        is_verdict: Whether the row is labelled.
        weight: Inverse of the row's sampling share.
        expansion_weight: Number of active entities that each calibration row represents; 1 for other rows.
        is_random_arm: Whether a calibration row belongs to the random arm.
        features: float32, shape (n, number of features); nan if missing.
    """

    entity: Integers
    merchant: Integers
    component: Integers
    chance: Floats
    category: Integers
    categories: tuple[str, ...]
    day: Integers
    decided_day: Integers
    purpose: Integers
    label: Flags
    is_verdict: Flags
    weight: Floats
    expansion_weight: Floats
    is_random_arm: Flags
    features: Matrix

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.entity)

    def take(self, chosen: Flags | Integers) -> Rows:
        """Returns the rows that a mask or positions select."""
        arrays = (name for name in self.__dataclass_fields__ if name != "categories")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})

    def has_purpose(self, purpose: str) -> Flags:
        """Returns which rows have a purpose."""
        return np.asarray(self.purpose == PURPOSES.index(purpose), dtype=bool)


@dataclass(frozen=True)
class Split:
    """The rows for each use. Train and unseen rows share no component; train and calibrate rows share no entity.

    Attributes:
        train: Training rows of the boosters.
        evaluate: Rows on the last grid dates.
        evaluate_seen: Whether the component of each evaluate row has a train row; shape (len(evaluate),).
        calibrate: Held-out verdicts; for merchants only the newest. The older ones are used for calibration alone.
        calibrate_seen: The same for those.
        forward: Train and evaluate rows together, thinned, before components are held out, for forward folds.
    """

    train: Rows
    evaluate: Rows
    evaluate_seen: Flags
    calibrate: Rows
    calibrate_seen: Flags
    forward: Rows


@dataclass(frozen=True)
class ActiveEntities:
    """Entities that are active at cutoff_date; all arrays have one length n.

    Attributes:
        merchant: An integer for each merchant.
        category: Position in `categories`.
        categories: Category paths; empty if unknown.
        is_labelled: Whether each has a positive label.
        is_taught: Whether each has a verdict that boosters learned from where calibration could have had it.
        features: float32, shape (n, number of features).
    """

    merchant: Integers
    category: Integers
    categories: tuple[str, ...]
    is_labelled: Flags
    is_training_verdict: Flags
    features: Matrix


@dataclass(frozen=True)
class TrainingSet:
    """The data of a training.

    Attributes:
        rows: All training rows, ordered by entity, date and purpose.
        components: The components of their merchants.
        active: The population for baselines, the floor and the drift reference.
        labels: The slices of the evaluate rows, by name.
        entities: The ids of the rated entities, by their integer.
        label_counts: By source and age at cutoff_date: `source`, `age`, `positives` and `genuine` among labelled rows.
        documents: The texts that text features are scored from; None if the model has none.
        places: Which of the documents belong to `rows`.
        active_places: Which belong to `active`.
    """

    rows: Rows
    components: Components
    active: ActiveEntities
    labels: Mapping[str, Labels]
    entities: Sequence[str]
    label_counts: Sequence[Mapping[str, Any]]
    documents: Documents | None = None
    places: Places | None = None
    active_places: Places | None = None

    def take(self, chosen: Integers) -> TrainingSet:
        """Returns the training set with some of its rows only, by position."""
        places = None if self.places is None else self.places.take(chosen)
        return replace(self, rows=self.rows.take(chosen), places=places)


def read_training_set(
    declaration: Declaration,
    features: Path,
    spine: Path,
    edges: Path | None,
    active: Path | None,
    cutoff_date: date,
    slices: Path | None = None,
    texts: Path | None = None,
) -> TrainingSet:
    """Reads the training rows of a model.

    Args:
        declaration: The model.
        features: `features.parquet`: keys, merchant_id, category and feature columns, one row for each row of the spine.
        spine: `spine.parquet`: keys, purpose, label and weights.
        edges: `edges.parquet`, merchants that share identifiers; None if there are none.
        active: `features.parquet` of the active entities at cutoff_date; None to use the newest unlabelled training rows.
        cutoff_date: The training's as_of; edges known later are ignored.
        slices: `slices.parquet`: keys and a text column per slice, of the evaluate rows; None for category alone.
        texts: `texts.parquet`, the titles of listings; None if there are none.

    Returns:
        The training set; text features are nan until `ml/text_scores.py` fills them.

    Raises:
        BadInputError: A declared column is missing, or the files do not hold the same rows.
    """
    keys = list(dict.fromkeys((declaration.id_column, "as_of_date", "purpose")))
    spine_table = _read_sorted(spine, keys, [])
    feature_table = _read_sorted(features, keys, [*_grouping(declaration), *declaration.stored_columns])
    if any(not spine_table[key].equals(feature_table[key]) for key in keys):
        raise BadInputError(f"{features} and {spine} do not hold the same rows; build both again in one run.")
    components = read_components(edges, cutoff_date)
    rows = _rows(declaration, spine_table, feature_table, components)
    labels = _labels(rows.take(rows.has_purpose("evaluate")), slices, spine_table, keys)
    shared = (labels, encode(spine_table[declaration.id_column])[1], _label_counts(spine_table, rows, cutoff_date))
    documents = None if texts is None or declaration.columns == declaration.stored_columns else read_documents(texts)
    places = None if documents is None else _places(declaration, documents, feature_table, rows.day)
    if active is not None:
        active_table = _read(active, [declaration.id_column, *_grouping(declaration), *declaration.stored_columns])
        entities = _read_active(declaration, active_table, spine_table)
        day = np.full(len(entities.features), (cutoff_date - EPOCH).days, dtype=np.int64)
        active_places = None if documents is None else _places(declaration, documents, active_table, day)
        return TrainingSet(rows, components, entities, *shared, documents, places, active_places)
    newest = rows.day == rows.day[rows.has_purpose("evaluate")].max(initial=0)
    chosen = rows.take(newest & rows.has_purpose("evaluate"))
    is_labelled = np.isin(chosen.entity, np.unique(rows.entity[rows.label]))
    stand_in = ActiveEntities(
        chosen.merchant, chosen.category, chosen.categories, is_labelled, np.zeros_like(is_labelled), chosen.features
    )
    active_places = None if places is None else places.take(np.flatnonzero(newest & rows.has_purpose("evaluate")))
    return TrainingSet(rows, components, stand_in, *shared, documents, places, active_places)


def _places(declaration: Declaration, documents: Documents, table: Any, day: Integers) -> Places:
    listings = table["listing_id"] if declaration.entity == "listing" else None
    return documents.places(listings, table["merchant_id"], day)


def _label_counts(spine: Any, rows: Rows, cutoff_date: date) -> list[dict[str, Any]]:
    """Counts the labelled rows by source and by the age of their label at cutoff_date."""
    source, sources = encode(spine["label_source"])
    age = (cutoff_date - EPOCH).days - rows.decided_day
    is_learned = rows.is_verdict & ~rows.has_purpose("known_positive")
    counts = []
    for index, name in sorted(enumerate(sources), key=lambda item: item[1]):
        for age_group, least, most in AGES:
            chosen = is_learned & (source == index) & (age >= least) & (age < most)
            if chosen.any():
                positives = int(rows.label[chosen].sum())
                counts.append(
                    {
                        "source": name or "unknown",
                        "age": age_group,
                        "positives": positives,
                        "genuine": int(chosen.sum()) - positives,
                    }
                )
    return counts


def _labels(evaluate: Rows, slices: Path | None, spine: Any, keys: list[str]) -> dict[str, Labels]:
    """Returns the slices of the evaluate rows; rows and file are in the same order."""
    labels: dict[str, Labels] = {"category": (evaluate.category, evaluate.categories)}
    if slices is None:
        return labels
    slice_table = _read_sorted(slices, keys, [])
    wanted = spine.filter(pc.equal(spine["purpose"], "evaluate"))
    if any(slice_table[key].to_pylist() != wanted[key].to_pylist() for key in keys):
        raise BadInputError(f"{slices} does not hold the rows of the spine that evaluate; build both again in one run.")
    for name in slice_table.column_names:
        if name not in keys:
            number, names = encode(slice_table[name])
            labels[name] = (number, tuple(names))
    return labels


def missing_columns(declaration: Declaration, *files: Path | None) -> list[str]:
    """Returns the declared columns that one of the files does not have."""
    present = [set(pq.read_schema(path).names) for path in files if path is not None]
    return [name for name in declaration.stored_columns if not all(name in names for names in present)]


def _grouping(declaration: Declaration) -> list[str]:
    """Returns the columns with merchant and category; the key of a merchant is its merchant_id."""
    return [name for name in ("merchant_id", "category") if name != declaration.id_column]


def _read_active(declaration: Declaration, table: Any, spine: Any) -> ActiveEntities:
    positive = spine[declaration.id_column].filter(spine["label"])
    is_labelled = pc.is_in(table[declaration.id_column], value_set=positive.combine_chunks())
    training_verdict_ids = spine[declaration.id_column].filter(pc.equal(spine["purpose"], "training_verdict"))
    is_training_verdict = pc.is_in(table[declaration.id_column], value_set=training_verdict_ids.combine_chunks())
    category, categories = encode(table["category"])
    return ActiveEntities(
        merchant=encode(table["merchant_id"])[0],
        category=category,
        categories=tuple(categories),
        is_labelled=np.asarray(is_labelled.to_numpy(zero_copy_only=False), dtype=bool),
        is_training_verdict=np.asarray(is_training_verdict.to_numpy(zero_copy_only=False), dtype=bool),
        features=matrix(table, declaration.columns),
    )


def _read_sorted(path: Path, keys: list[str], columns: list[str]) -> Any:
    table = _read(path, [*keys, *columns], only_these=bool(columns))
    return table.sort_by([(key, "ascending") for key in keys]).combine_chunks()


def _read(path: Path, columns: list[str], *, only_these: bool = True) -> Any:
    names = pq.read_schema(path).names
    missing = [name for name in columns if name not in names]
    if missing:
        raise BadInputError(f"{path}: no column {', '.join(missing)}, which the model's declaration asks for.")
    return pq.read_table(path, columns=columns if only_these else None, partitioning=None)


def _rows(declaration: Declaration, spine: Any, features: Any, components: Components) -> Rows:
    merchant, merchants = encode(features["merchant_id"])
    names = components.component_of(merchants)
    numbers = {name: index for index, name in enumerate(dict.fromkeys(names))}
    category, categories = encode(features["category"])
    purpose, purposes = encode(spine["purpose"])
    decided = _days(spine["label_decided_date"])
    return Rows(
        entity=encode(spine[declaration.id_column])[0],
        merchant=merchant,
        component=np.array([numbers[name] for name in names], dtype=np.int64)[merchant],
        chance=np.array([_hash_share(name) for name in names], dtype=np.float64)[merchant],
        category=category,
        categories=tuple(categories),
        day=_days(spine["as_of_date"]),
        decided_day=decided,
        purpose=np.array([PURPOSES.index(name) for name in purposes], dtype=np.int64)[purpose],
        label=np.nan_to_num(_floats(spine["label"])) > 0,
        is_verdict=decided >= 0,
        weight=1.0 / np.nan_to_num(_floats(spine["sampling_share"]), nan=1.0),
        expansion_weight=np.nan_to_num(_floats(spine["expansion_weight"]), nan=1.0),
        is_random_arm=np.nan_to_num(_floats(spine["is_random_arm"])) > 0,
        features=matrix(features, declaration.columns),
    )


def encode(column: Any) -> tuple[Integers, list[str]]:
    """Returns an Arrow string column as numbers, by first appearance, and the strings; null counts as empty."""
    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = pc.fill_null(chunk.cast(pa.string()), "").dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64), encoded.dictionary.to_pylist()


def matrix(table: Any, columns: tuple[str, ...]) -> Matrix:
    """Returns feature columns of an Arrow table or batch as float32, shape (rows, columns), nan where null or absent."""
    result = np.full((table.num_rows, len(columns)), np.nan, dtype=np.float32, order="C")
    present = set(table.column_names if isinstance(table, pa.Table) else table.schema.names)
    for index, name in enumerate(columns):
        if name in present:
            result[:, index] = _floats(table.column(name))
    return result


def _floats(column: Any) -> Floats:
    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(chunk.type):
        chunk = chunk.cast(pa.int8())
    return np.asarray(chunk.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _days(column: Any) -> Integers:
    return np.asarray(pc.fill_null(column.cast(pa.date32()).cast(pa.int32()), -1).to_numpy(), dtype=np.int64)


def read_components(edges: Path | None, cutoff_date: date, max_members: int = MAX_MEMBERS) -> Components:
    """Connects merchants that share an identifier value.

    Args:
        edges: Columns merchant_id_a, merchant_id_b, kind, value_hash, known_from, known_until (the day on which a 21st
            merchant had the value, which then connects nobody) and bearer_count; None for no edges.
        cutoff_date: Edges must be known at the end of this day.
        max_members: Maximum size; a larger component is rebuilt from its strongest edge (fewest bearers) to its weakest,
            skipping each edge that would exceed the maximum.

    Returns:
        The components.
    """
    first, second, merchants = _read_edges(edges, cutoff_date) if edges else (np.array([]), np.array([]), [])
    if not merchants:
        return Components({}, 0, 0, 0, 0)
    count = len(first)
    labels = connected_groups(first, second, len(merchants))[0]
    too_large = np.flatnonzero(np.bincount(labels) > max_members)
    if not len(too_large):
        return _name_components(merchants, labels, 0, 0)
    within = np.isin(labels[first], too_large)
    kept = _capped(first[within], second[within], len(merchants), max_members)
    first = np.concatenate([first[~within], first[within][kept]])
    second = np.concatenate([second[~within], second[within][kept]])
    return _name_components(
        merchants, connected_groups(first, second, len(merchants))[0], len(too_large), count - len(first)
    )


def _read_edges(path: Path, cutoff_date: date) -> tuple[Integers, Integers, list[str]]:
    """Returns both ends of the edges known at cutoff_date, strongest first, as positions in sorted merchant ids."""
    table = pq.read_table(path, partitioning=None)
    known = pc.and_(pc.less_equal(table["known_from"], cutoff_date), pc.greater(table["known_until"], cutoff_date))
    order = ("bearer_count", "kind", "value_hash", "merchant_id_a", "merchant_id_b")
    table = table.filter(known).sort_by([(name, "ascending") for name in order])
    ends = pa.chunked_array([*table["merchant_id_a"].chunks, *table["merchant_id_b"].chunks], pa.string())
    numbers, merchants = encode(ends)
    sort = np.array(sorted(range(len(merchants)), key=merchants.__getitem__), dtype=np.int64)
    place = np.empty_like(sort)
    place[sort] = np.arange(len(sort))
    first, second = np.split(place[numbers], 2)
    return first, second, sorted(merchants)


def _capped(first: Integers, second: Integers, size: int, max_members: int) -> Integers:
    """Returns positions of the edges that can be kept, in order, without connecting more than `max_members`."""
    parent = list(range(size))
    members = [1] * size

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    kept = []
    for edge, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        left, right = sorted((root(a), root(b)))
        if left != right and members[left] + members[right] > max_members:
            continue
        if left != right:
            parent[right] = left
            members[left] += members[right]
        kept.append(edge)
    return np.array(kept, dtype=np.int64)


def _name_components(merchants: list[str], labels: Integers, split: int, dropped: int) -> Components:
    """Names each component by its smallest member: the first one, because `merchants` are sorted."""
    firsts = np.unique(labels, return_index=True)[1][labels]
    sizes = np.bincount(labels)
    return Components(
        names={name: merchants[index] for name, index in zip(merchants, firsts.tolist(), strict=True)},
        joined=int((sizes >= 2).sum()),
        largest=int(sizes.max()),
        split=split,
        dropped_edges=dropped,
    )


def newest_verdicts(rows: Rows, entity: str) -> Flags:
    """Returns which rows are held-out verdicts; for merchants only the newest.

    Args:
        rows: All rows of a training.
        entity: The kind of entity.
    """
    verdicts = rows.has_purpose("calibrate")
    if entity not in CHANGING_ENTITIES or not verdicts.any():
        return verdicts
    age = rows.decided_day[verdicts].max() - rows.decided_day
    positive_ages = np.sort(age[verdicts & rows.label])
    if len(positive_ages) < NEWEST_POSITIVES:
        return verdicts
    return np.asarray(verdicts & (age <= max(NEWEST_DAYS, int(positive_ages[NEWEST_POSITIVES - 1]))), dtype=bool)


def split_rows(rows: Rows, entity: str, unseen_share: float, most_unlabelled: tuple[int, int, int], seed: int) -> Split:
    """Splits the rows by use.

    Args:
        rows: All rows of a training.
        entity: The kind of entity.
        unseen_share: Share of the components, selected by a hash of their name, that are held out.
        most_unlabelled: Unlabelled rows in train: at least, and per positive; and in the forward folds.
        seed: Seed of that sample.

    Returns:
        The split. Entities with a held-out verdict have no train rows, on any date.
    """
    calibrate = rows.take(newest_verdicts(rows, entity))
    trainable, held_out = learnable_rows(rows, 0.0), _held_out(rows)
    learnable = rows.take(learnable_rows(rows, unseen_share))
    evaluate = rows.take(rows.has_purpose("evaluate"))
    train = thin(learnable, max(most_unlabelled[0], most_unlabelled[1] * int(learnable.label.sum())), seed)
    seen = np.unique(train.component)
    return Split(
        train=train,
        evaluate=evaluate,
        evaluate_seen=np.isin(evaluate.component, seen),
        calibrate=calibrate,
        calibrate_seen=np.isin(calibrate.component, seen),
        forward=thin(rows.take(trainable | (rows.has_purpose("evaluate") & ~held_out)), most_unlabelled[2], seed),
    )


def learnable_rows(rows: Rows, unseen_share: float) -> Flags:
    """Returns which rows may be learned from: training rows without entities with held-out verdicts and held-out components.

    Args:
        rows: All rows of a training.
        unseen_share: Share of the components that are held out.
    """
    return np.asarray(rows.has_purpose("train") & ~_held_out(rows) & (rows.chance >= unseen_share), dtype=bool)


def _held_out(rows: Rows) -> Flags:
    return np.isin(rows.entity, np.unique(rows.entity[rows.has_purpose("calibrate")]))


def _hash_share(name: str) -> float:
    """Returns a hash of the name in [0, 1)."""
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:13], 16) / 16**13


def component_folds(rows: Rows, folds: int) -> Integers:
    """Assigns whole components to folds with about the same number of positives.

    Args:
        rows: Rows to assign.
        folds: Number of folds.

    Returns:
        The fold of each row, 0 to folds - 1. Components are assigned from the one with most positives (then rows) to the
        one with fewest, ties by the hash of their name, back and forth over the folds.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    unique, firsts, inverse = np.unique(rows.component, return_index=True, return_inverse=True)
    positives = np.bincount(inverse, weights=rows.label)
    order = np.lexsort((rows.chance[firsts], -np.bincount(inverse), -positives))
    turn = np.arange(len(unique)) % (2 * folds)
    fold = np.empty(len(unique), dtype=np.int64)
    fold[order] = np.where(turn < folds, turn, 2 * folds - 1 - turn)
    return fold[inverse]


def forward_blocks(rows: Rows, blocks: int) -> Integers:
    """Divides the rows into blocks of consecutive dates with about the same number of positives.

    Returns:
        The block of each row, 0 for the earliest; at most one block per date.
    """
    days, inverse = np.unique(rows.day, return_inverse=True)
    if not len(days):
        return np.zeros(0, dtype=np.int64)
    positives = np.bincount(inverse, weights=rows.label) + 1e-9
    before = np.cumsum(positives) - positives
    block = np.floor(blocks * before / positives.sum()).astype(np.int64)
    _, dense = np.unique(block, return_inverse=True)
    return np.asarray(dense, dtype=np.int64)[inverse]


def thin(rows: Rows, most: int, seed: int) -> Rows:
    """Keeps all labelled rows and a sample of the unlabelled ones, whose weights are scaled up.

    Args:
        rows: The rows.
        most: Maximum number of unlabelled rows; with a few hundred positives, more of them only cost time.
        seed: Seed of the sample.

    Returns:
        The kept rows, in their order.
    """
    kept, scale = thinned(rows, most, seed)
    return rows if kept.all() else replace(rows, weight=rows.weight * scale).take(kept)


def thinned(rows: Rows, most: int, seed: int) -> tuple[Flags, Floats]:
    """Returns which rows `thin` keeps, and by how much their weights are scaled, both of shape (n,)."""
    unlabelled = np.flatnonzero(~rows.is_verdict & ~rows.label)
    kept, scale = np.ones(len(rows), dtype=bool), np.ones(len(rows))
    if len(unlabelled) > most:
        drawn = np.random.default_rng(seed).choice(unlabelled, size=most, replace=False)
        kept[unlabelled] = False
        kept[drawn] = True
        scale[drawn] = len(unlabelled) / most
    return kept, scale


def known_before(rows: Rows, day: int) -> Flags:
    """Returns which rows a training on `day` could have used: dated and decided before it."""
    return (rows.day < day) & (rows.decided_day < day)
