"""The rows a model learns from and is judged on: joined, weighted, and folded so that nothing leaks.

Merchants joined by shared identifiers form a component, and no fold ever splits one. Rows held out for calibration
are kept from the boosters by entity; a share of the components is kept from them altogether, so that there are
components never seen. No model is fitted here.
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

from ml.declarations import Declaration
from touchstone.core.errors import BadInputError

EPOCH: Final = date(1970, 1, 1)
MAX_MEMBERS: Final = 200
AGES: Final = (("under 30 days", 0, 30), ("30 to 90 days", 30, 90), ("over 90 days", 90, 1_000_000))
PURPOSES: Final = ("score", "train", "evaluate", "calibrate", "known_positive", "training_verdict")
# Who turns: an old verdict on a merchant says what was so then, of features that are those of the cut. The newest set the
# threshold and are measured: of so many days, or as far back as so many positives reach (docs/decisions/0010).
TURNING: Final = ("merchant",)
NEWEST_DAYS: Final = 30
NEWEST_POSITIVES: Final = 20

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Labels = tuple[Integers, tuple[str, ...]]
"""A label of each row, as a position in names; an empty name where it is unknown."""


@dataclass(frozen=True)
class Components:
    """Merchants joined through shared identifiers, as of the cut.

    Attributes:
        names: The component of each merchant that an edge touches: the smallest merchant id in it. All others are
            components of their own.
        joined: How many components of two or more there are.
        largest: Members of the largest one, at most `MAX_MEMBERS`.
        split: How many components were larger than that and were split.
        dropped_edges: How many of their weakest edges were dropped to split them.
    """

    names: dict[str, str]
    joined: int
    largest: int
    split: int
    dropped_edges: int

    def of(self, merchants: list[str]) -> list[str]:
        """Returns the component of each merchant."""
        return [self.names.get(merchant, merchant) for merchant in merchants]

    def as_dict(self) -> dict[str, int]:
        """Returns the counts, for the model's card."""
        return {
            "joined": self.joined,
            "largest": self.largest,
            "split": self.split,
            "dropped_edges": self.dropped_edges,
        }


@dataclass(frozen=True)
class Rows:
    """Rows of a training, all arrays of one length n.

    Attributes:
        entity: A number for each rated entity.
        merchant: A number for each merchant that they belong to.
        component: A number for each component of merchants.
        chance: The component's hash as a number in [0, 1): draws components the same way in every training.
        category: Position in `categories`.
        categories: Category paths; an empty one where it is unknown.
        day: as_of_date, in days since 1970-01-01.
        decided_day: Day on which the label was decided; -1 where nothing labels the row.
        purpose: Position in `PURPOSES`.
        label: Whether the row is a positive; unlabelled counts as negative.
        is_verdict: Whether something labels the row.
        weight: Inverse of the share with which the row was sampled.
        expansion_weight: How many that live each calibration row stands for; 1 elsewhere.
        is_random_arm: Whether a calibration row is of the random arm.
        features: float32, shape (n, number of features); nan where unknown.
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
        """Returns the rows that a mask or positions choose."""
        arrays = (name for name in self.__dataclass_fields__ if name != "categories")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})

    def purposed(self, purpose: str) -> Flags:
        """Returns which rows have a purpose."""
        return np.asarray(self.purpose == PURPOSES.index(purpose), dtype=bool)


@dataclass(frozen=True)
class Split:
    """Which rows do what. Train and unseen rows never share a component; train and calibrate rows no entity.

    Attributes:
        train: Rows that the boosters learn from (early stopping takes a fold of their components).
        evaluate: Rows on the last grid dates.
        evaluate_seen: Whether the component of each evaluate row has a train row; shape (len(evaluate),).
        calibrate: Held-out verdicts, of merchants the newest. The older ones calibrate as well, and do nothing else.
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
class Live:
    """Entities that live at the cut, all arrays of one length n.

    Attributes:
        merchant: A number for each merchant that they belong to.
        category: Position in `categories`.
        categories: Category paths; an empty one where it is unknown.
        is_labelled: Whether each has a positive label.
        is_taught: Whether each has a verdict that boosters learned from where calibration could have had it.
        features: float32, shape (n, number of features).
    """

    merchant: Integers
    category: Integers
    categories: tuple[str, ...]
    is_labelled: Flags
    is_taught: Flags
    features: Matrix


@dataclass(frozen=True)
class TrainingSet:
    """What a training reads.

    Attributes:
        rows: All training rows, ordered by entity, date and purpose.
        components: The components that their merchants were given.
        live: What usual values, the floor and the reference of drift come from.
        labels: What the evaluate rows are cut into slices by, each of the shape of those.
        entities: The ids of the rated entities, by their number.
        label_counts: By source and age at the cut: `source`, `age`, `positives` and `genuine` among labelled rows.
    """

    rows: Rows
    components: Components
    live: Live
    labels: Mapping[str, Labels]
    entities: Sequence[str]
    label_counts: Sequence[Mapping[str, Any]]


def read_training_set(
    declaration: Declaration,
    features: Path,
    spine: Path,
    edges: Path | None,
    live: Path | None,
    cut: date,
    slices: Path | None = None,
) -> TrainingSet:
    """Reads the training rows of a model.

    Args:
        declaration: The model.
        features: `features.parquet`: keys, merchant_id, category and feature columns, one row for each row of the spine.
        spine: `spine.parquet`: keys, purpose, label and weights.
        edges: `edges.parquet`, merchants that share identifiers; None where there are none.
        live: `features.parquet` of the live entities at the cut; None for the newest unlabelled training rows instead.
        cut: The training's as_of; edges known later do not count.
        slices: `slices.parquet`: keys, and a text a slice, of the evaluate rows; None for no slices but category.

    Returns:
        The training set.

    Raises:
        BadInputError: A declared column is missing, or the files do not hold the same rows.
    """
    keys = list(dict.fromkeys((declaration.id_column, "as_of_date", "purpose")))
    spine_table = _read_sorted(spine, keys, [])
    feature_table = _read_sorted(features, keys, [*_grouping(declaration), *declaration.columns])
    if any(not spine_table[key].equals(feature_table[key]) for key in keys):
        raise BadInputError(f"{features} and {spine} do not hold the same rows; build both again in one run.")
    components = read_components(edges, cut)
    rows = _rows(declaration, spine_table, feature_table, components)
    labels = _labels(rows.take(rows.purposed("evaluate")), slices, spine_table, keys)
    told = (labels, encode(spine_table[declaration.id_column])[1], _label_counts(spine_table, rows, cut))
    if live is not None:
        return TrainingSet(rows, components, _read_live(declaration, live, spine_table), *told)
    newest = rows.day == rows.day[rows.purposed("evaluate")].max(initial=0)
    chosen = rows.take(newest & rows.purposed("evaluate"))
    is_labelled = np.isin(chosen.entity, np.unique(rows.entity[rows.label]))
    stand_in = Live(
        chosen.merchant, chosen.category, chosen.categories, is_labelled, np.zeros_like(is_labelled), chosen.features
    )
    return TrainingSet(rows, components, stand_in, *told)


def _label_counts(spine: Any, rows: Rows, cut: date) -> list[dict[str, Any]]:
    """Counts the labelled rows by source and by how old their label is at the cut."""
    source, sources = encode(spine["label_source"])
    age = (cut - EPOCH).days - rows.decided_day
    is_learned = rows.is_verdict & ~rows.purposed("known_positive")
    counts = []
    for at, name in sorted(enumerate(sources), key=lambda item: item[1]):
        for words, least, most in AGES:
            chosen = is_learned & (source == at) & (age >= least) & (age < most)
            if chosen.any():
                positives = int(rows.label[chosen].sum())
                counts.append(
                    {
                        "source": name or "not said",
                        "age": words,
                        "positives": positives,
                        "genuine": int(chosen.sum()) - positives,
                    }
                )
    return counts


def _labels(evaluate: Rows, slices: Path | None, spine: Any, keys: list[str]) -> dict[str, Labels]:
    """The slices of the evaluate rows; rows and file are in the same order."""
    import pyarrow.compute as pc

    labels: dict[str, Labels] = {"category": (evaluate.category, evaluate.categories)}
    if slices is None:
        return labels
    told = _read_sorted(slices, keys, [])
    wanted = spine.filter(pc.equal(spine["purpose"], "evaluate"))
    if any(told[key].to_pylist() != wanted[key].to_pylist() for key in keys):
        raise BadInputError(f"{slices} does not hold the rows of the spine that evaluate; build both again in one run.")
    for name in told.column_names:
        if name not in keys:
            number, names = encode(told[name])
            labels[name] = (number, tuple(names))
    return labels


def missing_columns(declaration: Declaration, *files: Path | None) -> list[str]:
    """Returns the declared columns that one of the files does not have."""
    import pyarrow.parquet as pq

    there = [set(pq.read_schema(path).names) for path in files if path is not None]
    return [name for name in declaration.columns if not all(name in names for names in there)]


def _grouping(declaration: Declaration) -> list[str]:
    """The columns beside the key that say whose a row is, and what of; the key of a merchant is its merchant."""
    return [name for name in ("merchant_id", "category") if name != declaration.id_column]


def _read_live(declaration: Declaration, path: Path, spine: Any) -> Live:
    import pyarrow.compute as pc

    table = _read(path, [declaration.id_column, *_grouping(declaration), *declaration.columns])
    positive = spine[declaration.id_column].filter(spine["label"])
    is_labelled = pc.is_in(table[declaration.id_column], value_set=positive.combine_chunks())
    taught = spine[declaration.id_column].filter(pc.equal(spine["purpose"], "training_verdict"))
    is_taught = pc.is_in(table[declaration.id_column], value_set=taught.combine_chunks())
    category, categories = encode(table["category"])
    return Live(
        merchant=encode(table["merchant_id"])[0],
        category=category,
        categories=tuple(categories),
        is_labelled=np.asarray(is_labelled.to_numpy(zero_copy_only=False), dtype=bool),
        is_taught=np.asarray(is_taught.to_numpy(zero_copy_only=False), dtype=bool),
        features=matrix(table, declaration.columns),
    )


def _read_sorted(path: Path, keys: list[str], columns: list[str]) -> Any:
    table = _read(path, [*keys, *columns], only_these=bool(columns))
    return table.sort_by([(key, "ascending") for key in keys]).combine_chunks()


def _read(path: Path, columns: list[str], *, only_these: bool = True) -> Any:
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    missing = [name for name in columns if name not in names]
    if missing:
        raise BadInputError(f"{path}: no column {', '.join(missing)}, which the model's declaration asks for.")
    return pq.read_table(path, columns=columns if only_these else None, partitioning=None)


def _rows(declaration: Declaration, spine: Any, features: Any, components: Components) -> Rows:
    merchant, merchants = encode(features["merchant_id"])
    names = components.of(merchants)
    numbers = {name: at for at, name in enumerate(dict.fromkeys(names))}
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
    import pyarrow as pa
    import pyarrow.compute as pc

    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = pc.fill_null(chunk.cast(pa.string()), "").dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64), encoded.dictionary.to_pylist()


def matrix(table: Any, columns: tuple[str, ...]) -> Matrix:
    """Returns feature columns of an Arrow table or batch as float32, shape (rows, columns), nan where null."""
    result = np.empty((table.num_rows, len(columns)), dtype=np.float32, order="C")
    for at, name in enumerate(columns):
        result[:, at] = _floats(table.column(name))
    return result


def _floats(column: Any) -> Floats:
    import pyarrow as pa

    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(chunk.type):
        chunk = chunk.cast(pa.int8())
    return np.asarray(chunk.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _days(column: Any) -> Integers:
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(column.cast(pa.date32()).cast(pa.int32()), -1).to_numpy(), dtype=np.int64)


def read_components(edges: Path | None, cut: date, max_members: int = MAX_MEMBERS) -> Components:
    """Joins merchants that share an identifier value.

    Args:
        edges: Columns merchant_id_a, merchant_id_b, kind, value_hash, known_from, known_until (the day on which a 21st
            bearer made the value one that joins nobody) and bearer_count; None for no edges.
        cut: The day at whose end an edge has to be known.
        max_members: No component is larger; a larger one is joined again from its strongest edge (fewest bearers) to
            its weakest, leaving out each edge that would make a component too large.

    Returns:
        The components.
    """
    first, second, merchants = _read_edges(edges, cut) if edges else (np.array([]), np.array([]), [])
    if not merchants:
        return Components({}, 0, 0, 0, 0)
    count = len(first)
    labels = _connected(first, second, len(merchants))
    too_large = np.flatnonzero(np.bincount(labels) > max_members)
    if not len(too_large):
        return _named(merchants, labels, 0, 0)
    within = np.isin(labels[first], too_large)
    kept = _capped(first[within], second[within], len(merchants), max_members)
    first = np.concatenate([first[~within], first[within][kept]])
    second = np.concatenate([second[~within], second[within][kept]])
    return _named(merchants, _connected(first, second, len(merchants)), len(too_large), count - len(first))


def _read_edges(path: Path, cut: date) -> tuple[Integers, Integers, list[str]]:
    """Both ends of the edges known at the cut, from the strongest to the weakest, as positions in sorted merchant ids."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path, partitioning=None)
    known = pc.and_(pc.less_equal(table["known_from"], cut), pc.greater(table["known_until"], cut))
    order = ("bearer_count", "kind", "value_hash", "merchant_id_a", "merchant_id_b")
    table = table.filter(known).sort_by([(name, "ascending") for name in order])
    ends = pa.chunked_array([*table["merchant_id_a"].chunks, *table["merchant_id_b"].chunks], pa.string())
    numbers, merchants = encode(ends)
    sort = np.array(sorted(range(len(merchants)), key=merchants.__getitem__), dtype=np.int64)
    place = np.empty_like(sort)
    place[sort] = np.arange(len(sort))
    first, second = np.split(place[numbers], 2)
    return first, second, sorted(merchants)


def _connected(first: Integers, second: Integers, size: int) -> Integers:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _capped(first: Integers, second: Integers, size: int, max_members: int) -> Integers:
    """Positions of the edges that can be kept, taken in order, without joining more than `max_members`."""
    parent = list(range(size))
    members = [1] * size

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

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


def _named(merchants: list[str], labels: Integers, split: int, dropped: int) -> Components:
    """Names each component by its smallest member; `merchants` come sorted, so that is the first one met."""
    firsts = np.unique(labels, return_index=True)[1][labels]
    sizes = np.bincount(labels)
    return Components(
        names={name: merchants[at] for name, at in zip(merchants, firsts.tolist(), strict=True)},
        joined=int((sizes >= 2).sum()),
        largest=int(sizes.max()),
        split=split,
        dropped_edges=dropped,
    )


def newest_verdicts(rows: Rows, entity: str) -> Flags:
    """Returns which rows are verdicts that are held out, and of merchants only the newest of them.

    Args:
        rows: All rows of a training.
        entity: What a row is.
    """
    verdicts = rows.purposed("calibrate")
    if entity not in TURNING or not verdicts.any():
        return verdicts
    age = rows.decided_day[verdicts].max() - rows.decided_day
    of_positives = np.sort(age[verdicts & rows.label])
    if len(of_positives) < NEWEST_POSITIVES:
        return verdicts
    return np.asarray(verdicts & (age <= max(NEWEST_DAYS, int(of_positives[NEWEST_POSITIVES - 1]))), dtype=bool)


def split_rows(rows: Rows, entity: str, unseen_share: float, most_unlabelled: tuple[int, int, int], seed: int) -> Split:
    """Says which rows do what.

    Args:
        rows: All rows of a training.
        entity: What a row is.
        unseen_share: Share of the components, chosen by a hash of their name, that the boosters never see.
        most_unlabelled: How many unlabelled rows train keeps at least and for each positive, and how many the forward folds.
        seed: Seed of that draw.

    Returns:
        The split. Rows of entities with a verdict that is held out are no train rows, on whatever date.
    """
    calibrate = rows.take(newest_verdicts(rows, entity))
    held_out = np.isin(rows.entity, np.unique(rows.entity[rows.purposed("calibrate")]))
    trainable = rows.purposed("train") & ~held_out
    learnable = rows.take(trainable & (rows.chance >= unseen_share))
    evaluate = rows.take(rows.purposed("evaluate"))
    train = thin(learnable, max(most_unlabelled[0], most_unlabelled[1] * int(learnable.label.sum())), seed)
    seen = np.unique(train.component)
    return Split(
        train=train,
        evaluate=evaluate,
        evaluate_seen=np.isin(evaluate.component, seen),
        calibrate=calibrate,
        calibrate_seen=np.isin(calibrate.component, seen),
        forward=thin(rows.take(trainable | (rows.purposed("evaluate") & ~held_out)), most_unlabelled[2], seed),
    )


def _hash_share(name: str) -> float:
    """A number in [0, 1) from the name alone."""
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:13], 16) / 16**13


def component_folds(rows: Rows, folds: int) -> Integers:
    """Deals components into folds of about the same number of positives, whole.

    Args:
        rows: Rows to fold.
        folds: Number of folds.

    Returns:
        The fold of each row, 0 to folds - 1. Components are dealt from the one with most positives (then rows) to the
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
    """Cuts the rows into blocks of consecutive dates with about the same number of positives.

    Returns:
        The block of each row, 0 for the earliest; fewer blocks than asked for where there are fewer dates.
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
    """Keeps every verdict, and at most `most` of the rows that nothing labels, which then weigh the more.

    Args:
        rows: The rows.
        most: How many unlabelled rows are kept; with a few hundred positives, more of them only cost time.
        seed: Seed of the draw.

    Returns:
        The rows that are kept, in their order.
    """
    unlabelled = np.flatnonzero(~rows.is_verdict & ~rows.label)
    if len(unlabelled) <= most:
        return rows
    drawn = np.random.default_rng(seed).choice(unlabelled, size=most, replace=False)
    kept = np.ones(len(rows), dtype=bool)
    kept[unlabelled] = False
    kept[drawn] = True
    scale = np.ones(len(rows))
    scale[drawn] = len(unlabelled) / most
    return replace(rows, weight=rows.weight * scale).take(kept)


def known_before(rows: Rows, day: int) -> Flags:
    """Returns which rows a training on `day` could have used: seen before it, and their label decided before it."""
    return (rows.day < day) & (rows.decided_day < day)
