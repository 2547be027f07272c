"""Scores of texts: what they learn, whose labels they do not contain, and that nothing later than a row changes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ml.boosting import Parameters
from ml.declarations import Declaration, load_declarations
from ml.documents import Documents
from ml.model import mix_texts, text_positions
from ml.text_scores import FOLDS, TextModel, TextScorer, count_words, quoted_words, text_features, with_text_scores
from ml.training_set import PURPOSES, ActiveEntities, Components, Rows, TrainingSet

LISTING, MERCHANT = (load_declarations()[name] for name in ("listing_counterfeit", "merchant_counterfeit"))
GOODS = ("pilot watch", "leather bag", "wireless charger", "running shoes", "silver ring")
TELLING = ("mirror box papers", "factory direct")
HONEST = ("with receipt", "two year warranty")
MERCHANTS, EACH, DAYS = 60, 4, 100


def training_set(declaration: Declaration, seed: int = 0, **changes: Any) -> TrainingSet:
    """Returns listings of 60 merchants, of which every third writes as counterfeiters do; each row is a listing on a day."""
    random = np.random.default_rng(seed)
    merchant = np.repeat(np.arange(MERCHANTS), EACH)
    count = len(merchant)
    is_fake = merchant % 3 == 0
    titles = [
        f"{random.choice(GOODS)} {random.choice(TELLING if fake else HONEST)} {index % 7}"
        for index, fake in enumerate(is_fake)
    ]
    day = np.sort(random.integers(10, DAYS, size=count)) if declaration.entity == "listing" else np.full(count, DAYS)
    distinct = pa.array(titles).dictionary_encode()
    documents = Documents(
        texts=distinct.dictionary,
        listings=pa.array([f"l{index:03}" for index in range(count)]),
        merchants=pa.array([f"m{index:02}" for index in range(MERCHANTS)]),
        text=distinct.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        listing=np.arange(count),
        merchant=merchant,
        first=np.minimum(day, 10),
        end=np.full(count, 10_000),
    )
    if declaration.entity == "merchant":
        chosen = np.arange(0, count, EACH)
        merchant, is_fake, day = merchant[chosen], is_fake[chosen], np.sort(random.integers(20, DAYS, size=MERCHANTS))
    rows = Rows(
        entity=np.arange(len(merchant)),
        merchant=merchant,
        component=merchant,
        chance=(merchant * 0.61803) % 1.0,
        category=np.zeros(len(merchant), dtype=np.int64),
        categories=("",),
        day=day,
        decided_day=day,
        purpose=np.full(len(merchant), PURPOSES.index("train")),
        label=is_fake,
        is_verdict=np.ones(len(merchant), dtype=bool),
        weight=np.ones(len(merchant)),
        expansion_weight=np.ones(len(merchant)),
        is_random_arm=np.zeros(len(merchant), dtype=bool),
        features=np.full((len(merchant), len(declaration.features)), np.nan, dtype=np.float32),
    )
    rows = replace(rows, **changes)
    ids = pa.array([f"l{index:03}" for index in range(count)]) if declaration.entity == "listing" else None
    names = pa.array([f"m{index:02}" for index in rows.merchant.tolist()])
    nobody = np.zeros(len(merchant), dtype=bool)
    active = ActiveEntities(rows.merchant, rows.category, ("",), nobody, nobody, rows.features)
    places = documents.places(ids, names, rows.day)
    last = documents.places(ids, names, np.full(len(merchant), DAYS))
    return TrainingSet(rows, Components({}, 0, 0, 0, 0), active, {}, [], [], documents, places, last)


def scores(declaration: Declaration, filled: TrainingSet, *, active: bool = False) -> Any:
    """Returns the text features of the rows or of the active entities."""
    features = filled.active.features if active else filled.rows.features
    return features[:, list(text_features(declaration))]


@pytest.mark.parametrize("declaration", [LISTING, MERCHANT], ids=lambda one: one.entity)
def test_texts_of_positives_score_higher_whoever_writes_them(declaration: Declaration):
    model, filled = with_text_scores(declaration, training_set(declaration), Parameters(unseen_share=0.1))
    assert model is not None
    found = scores(declaration, filled, active=True)
    assert np.isfinite(found).all()
    for column in found.T:
        assert column[filled.rows.label].min() > column[~filled.rows.label].max()


def test_a_score_does_not_contain_the_labels_of_the_merchants_own_component(monkeypatch: pytest.MonkeyPatch):
    # Folds depend on the number of positives; here they are kept, so that only the labels differ.
    monkeypatch.setattr("ml.text_scores.component_folds", lambda rows, folds: rows.component % folds)
    plain = training_set(LISTING)
    _, filled = with_text_scores(LISTING, plain, Parameters(unseen_share=0.0))
    before = scores(LISTING, filled, active=True)
    for merchant in (0, 1):
        own = plain.rows.merchant == merchant
        flipped = replace(plain, rows=replace(plain.rows, label=plain.rows.label ^ own))
        _, other = with_text_scores(LISTING, flipped, Parameters(unseen_share=0.0))
        after = scores(LISTING, other, active=True)
        np.testing.assert_array_equal(before[own], after[own])
        assert not np.array_equal(before[~own], after[~own])


def test_linked_merchants_are_in_one_fold():
    linked = {f"m{index:02}": f"m{index - index % 4:02}" for index in range(MERCHANTS)}
    names = list(dict.fromkeys(linked.values()))
    plain = training_set(LISTING)
    component = np.array([names.index(linked[f"m{merchant:02}"]) for merchant in plain.rows.merchant])
    plain = replace(plain, components=Components(linked, 15, 4, 0, 0), rows=replace(plain.rows, component=component))
    model, _ = with_text_scores(LISTING, plain, Parameters(unseen_share=0.0))
    assert model is not None
    folds = model.fold_of(sorted(linked)).reshape(-1, 4)
    assert (folds == folds[:, :1]).all()
    assert len(np.unique(folds)) == FOLDS


@pytest.mark.parametrize("leak", ["labels decided later", "titles shown later", "rows of later days"])
def test_nothing_later_changes_the_score_of_an_earlier_training_row(leak: str, monkeypatch: pytest.MonkeyPatch):
    """The leak is injected into the second half of the days; rows of the first half must not notice."""
    # Folds and blocks depend on the number of positives; here they are kept, so that only what is learned differs.
    monkeypatch.setattr("ml.text_scores.component_folds", lambda rows, folds: rows.component % folds)
    monkeypatch.setattr("ml.text_scores.forward_blocks", lambda rows, blocks: blocks * rows.day // (DAYS + 1))
    parameters = Parameters(unseen_share=0.0)
    plain = training_set(LISTING)
    rows, half = plain.rows, int(np.median(plain.rows.day))
    late = rows.day > half
    _, filled = with_text_scores(LISTING, plain, parameters)
    assert plain.documents is not None
    if leak == "labels decided later":
        # Decided after the last day: no row may learn from them.
        changed = replace(plain, rows=replace(rows, decided_day=np.where(late, 10 * DAYS, rows.decided_day)))
    elif leak == "titles shown later":
        # From its row's day on, a late listing shows another title.
        shown = replace(plain.documents, first=np.where(late, rows.day, plain.documents.first))
        _, filled = with_text_scores(LISTING, replace(plain, documents=shown), parameters)
        changed = replace(plain, documents=replace(shown, text=np.where(late, 0, shown.text)))
    else:
        changed = replace(plain, rows=replace(rows, label=np.where(late, ~rows.label, rows.label)))
    _, other = with_text_scores(LISTING, changed, parameters)
    before, after = scores(LISTING, filled)[~late], scores(LISTING, other)[~late]
    assert np.isfinite(before).any()
    np.testing.assert_array_equal(before, after)
    assert not np.array_equal(scores(LISTING, filled)[late], scores(LISTING, other)[late], equal_nan=True)


def test_held_out_entities_and_components_are_not_learned_from():
    plain = training_set(LISTING)
    held = plain.rows.merchant < 6
    as_calibration = replace(plain.rows, purpose=np.where(held, PURPOSES.index("calibrate"), plain.rows.purpose))
    parameters = Parameters(unseen_share=0.0)
    model, _ = with_text_scores(LISTING, replace(plain, rows=as_calibration), parameters)
    flipped = replace(as_calibration, label=as_calibration.label ^ held)
    other, _ = with_text_scores(LISTING, replace(plain, rows=flipped), parameters)
    assert model is not None
    assert other is not None
    assert model.to_bytes() == other.to_bytes()


def test_the_same_rows_give_the_same_bytes_and_reading_them_gives_the_same_scores():
    plain = training_set(LISTING)
    model, filled = with_text_scores(LISTING, plain, Parameters())
    again, _ = with_text_scores(LISTING, training_set(LISTING), Parameters())
    assert model is not None
    assert again is not None
    assert model.to_bytes() == again.to_bytes()
    read = TextModel.from_bytes(model.to_bytes())
    assert plain.documents is not None
    assert plain.active_places is not None
    scorer = TextScorer(read, plain.documents)
    kinds = list(text_features(LISTING).values())
    np.testing.assert_array_equal(scorer.scores(plain.active_places, kinds), scores(LISTING, filled, active=True))


def test_too_few_labels_leave_the_scores_unknown():
    plain = training_set(LISTING)
    few = replace(plain.rows, label=np.arange(len(plain.rows)) < 3)
    model, filled = with_text_scores(LISTING, replace(plain, rows=few), Parameters())
    assert model is None
    assert np.isnan(scores(LISTING, filled)).all()


def test_words_of_any_script_count_without_case_and_accents():
    for one, other in (("Câmera PILOT", "camera pilot"), ("ЧАСЫ", "часы"), ("\uff21\uff22", "ab")):
        assert (count_words([one]) != count_words([other])).nnz == 0
    assert count_words(["高仿手表", ""]).getnnz(axis=1).tolist() == [count_words(["高仿手表"]).nnz, 0]


def test_quotes_are_the_words_that_raise_the_score_as_they_are_written():
    model, _ = with_text_scores(LISTING, training_set(LISTING), Parameters())
    assert model is not None
    assert quoted_words(model, ["Silver ring MIRROR box papers 5"], 0)[0] in {"MIRROR", "box", "papers"}
    assert set(quoted_words(model, ["silver ring mirror box papers"], 0)) <= {"mirror", "box", "papers"}
    assert quoted_words(model, [""], 0) == []


def test_margins_are_mixed_with_the_mean_of_the_known_scores():
    margin = np.array([1.0, 1.0, 1.0], dtype=np.float32)
    texts = np.array([[2.0, 4.0], [np.nan, 4.0], [np.nan, np.nan]], dtype=np.float32)
    np.testing.assert_allclose(mix_texts(margin, texts, 0.5), [2.0, 2.5, 1.0])
    np.testing.assert_array_equal(mix_texts(margin, texts, 0.0), margin)
    assert text_positions(LISTING.features)["main"] == list(text_features(LISTING))
