"""Parts of the Agora benchmark: forward folds, vendor weights, intervals, and the features that are used."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from ml.boosting import Parameters
from ml.declarations import load_declarations
from ml.documents import Documents
from ml.training_set import PURPOSES, ActiveEntities, Components, Rows, TrainingSet

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import agora

COUNT, VENDORS, DAYS = 600, 24, 60
DECLARATION = load_declarations()["listing_counterfeit"]


def goods_of(seed: int = 5) -> agora.Goods:
    """Listings of vendors that joined in pairs, rated on their decision day; half of the titles reveal the label."""
    random = np.random.default_rng(seed)
    vendor = random.integers(0, VENDORS, COUNT)
    label = (vendor % 3 == 0) ^ (random.random(COUNT) < 0.05)
    day = random.integers(0, DAYS, COUNT)
    features = np.full((COUNT, len(DECLARATION.features)), np.nan, dtype=np.float32)
    features[:, :2] = np.column_stack([label + random.normal(0, 2, COUNT), random.normal(0, 1, COUNT)])
    words = np.where(label & (random.random(COUNT) < 0.5), "watch gold", "phone new")
    rows = Rows(
        entity=np.arange(COUNT),
        merchant=vendor,
        component=vendor // 2,
        chance=(vendor // 2) / VENDORS,
        category=np.zeros(COUNT, dtype=np.int64),
        categories=("goods",),
        day=day,
        decided_day=day,
        purpose=np.full(COUNT, PURPOSES.index("train")),
        label=label,
        is_verdict=np.ones(COUNT, dtype=bool),
        weight=agora.alike(vendor) * COUNT,
        expansion_weight=np.ones(COUNT),
        is_random_arm=np.zeros(COUNT, dtype=bool),
        features=features,
    )
    signs = np.array([feature.monotone for feature in DECLARATION.features])
    return agora.Goods(rows, words, [0, 1], signs, training_set(replace(rows, weight=np.ones(COUNT)), words))


def training_set(rows: Rows, titles: npt.NDArray[np.str_]) -> TrainingSet:
    """Returns the training set of the listings: each has its title from its day on."""
    distinct = pa.array(titles.tolist()).dictionary_encode()
    ids = pa.array([f"l{index:03}" for index in range(COUNT)])
    vendors = pa.array([f"v{vendor:02}" for vendor in range(VENDORS)])
    text = distinct.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    documents = Documents(
        distinct.dictionary, ids, vendors, text, rows.entity, rows.merchant, rows.day, np.full(COUNT, 10 * DAYS)
    )
    nobody = np.zeros(COUNT, dtype=bool)
    active = ActiveEntities(rows.merchant, rows.category, rows.categories, nobody, nobody, rows.features)
    places = documents.places(ids, vendors.take(pa.array(rows.merchant)), rows.day)
    names = {f"v{vendor:02}": f"v{vendor - vendor % 2:02}" for vendor in range(VENDORS)}
    components = Components(names, VENDORS // 2, 2, 0, 0)
    return TrainingSet(rows, components, active, {}, ids.to_pylist(), [], documents, places, places)


@pytest.mark.parametrize("first_day", [0, 30])
def test_folds_go_forward_and_no_vendor_is_on_both_sides(first_day: int) -> None:
    rows = goods_of().rows
    folds = agora.forward_folds(rows, first_day)
    times = np.zeros(COUNT, dtype=int)
    for learn, judged in folds:
        assert rows.day[learn].max() < rows.day[judged].min()
        assert rows.decided_day[learn].max() < rows.day[judged].min()
        assert not set(rows.component[learn]) & set(rows.component[judged])
        assert rows.day[judged].min() >= first_day
        times += judged
    assert times.max() == 1
    first = rows.day[times == 1].min()
    assert (times == 1).sum() == (rows.day >= first).sum()
    assert (first == first_day) == (first_day > 0), "the first span of days is judged where there are rows before it"


def test_folds_without_anything_to_learn_are_dropped() -> None:
    rows = goods_of().rows
    assert agora.forward_folds(replace(rows, label=np.zeros(COUNT, dtype=bool)), 0) == []
    assert agora.forward_folds(rows, DAYS) == []


def test_every_vendor_has_the_same_weight() -> None:
    weight = agora.alike(np.array([7, 7, 7, 2]))
    assert weight.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    label, merchant = np.array([True, True, True, False, True, False]), np.array([1, 1, 1, 1, 2, 2])
    margin = {agora.TOPIC: np.array([9.0, 8.0, 7.0, 1.0, 2.0, 3.0])}
    (by_row, _), _ = agora.compare(margin, label, merchant, 50, 1, equal=False)[agora.TOPIC]
    (by_vendor, _), _ = agora.compare(margin, label, merchant, 50, 1, equal=True)[agora.TOPIC]
    # Of the positive-negative pairs, only (2, 3) is in the wrong order: 1 of 8, or 1/2 x 1/2 of 5/4 x 3/4.
    assert by_row.value == pytest.approx(7 / 8)
    assert by_vendor.value == pytest.approx(1 - (1 / 4) / (15 / 16))


def test_intervals_resample_vendors_and_differences_use_the_same_draws() -> None:
    random = np.random.default_rng(3)
    few = np.arange(60)
    label, noise = few % 2 == 0, random.normal(0, 1, 60)
    margin = {agora.TOPIC: label + noise, agora.TEXTS: 2 * (label + noise)}
    alone = agora.compare(margin, label, few, 400, 7, equal=False)
    (figure, none), _ = alone[agora.TEXTS]
    assert figure.low < figure.value < figure.high
    assert (none.value, none.low, none.high) == (0, 0, 0), "the same order on the same draws differs nowhere"
    # A hundred copies of each vendor's row are no additional evidence, and do not narrow the interval.
    many = {name: np.repeat(values, 100) for name, values in margin.items()}
    repeated = agora.compare(many, np.repeat(label, 100), np.repeat(few, 100), 400, 7, equal=False)
    (copied, _), _ = repeated[agora.TEXTS]
    assert (copied.low, copied.high) == pytest.approx((figure.low, figure.high))
    better = agora.compare({**margin, agora.TEXTS: label + 0.1 * noise}, label, few, 400, 7, equal=False)
    assert better[agora.TEXTS][0][1].low > 0


def test_a_merchant_mean_covers_only_its_own_past_and_current_day() -> None:
    merchant, day = np.array([1, 2, 1, 1, 1]), np.array([3, 1, 1, 1, 2])
    value = np.array([10.0, 50.0, 1.0, 3.0, 8.0])
    assert agora.so_far(merchant, day, value).tolist() == pytest.approx([22 / 4, 50, 2, 2, 12 / 3])


def test_text_scores_of_a_row_use_only_other_vendors_and_no_later_row() -> None:
    goods = goods_of()
    learn, judged = agora.forward_folds(goods.rows, 0)[0]
    result = agora.texts(goods, learn, judged)
    assert result.shape == (judged.sum(), 2)
    outside = ~learn & (goods.rows.day > goods.rows.day[judged].max())
    label = np.where(learn, goods.rows.label, ~goods.rows.label)
    titles = np.where(outside, "watch replica", goods.titles)
    changed = replace(goods, rows=replace(goods.rows, label=label), titles=titles)
    again = agora.texts(changed, learn, judged)
    assert np.array_equal(again, result)


def test_all_methods_judge_the_same_rows_and_merchant_texts_beat_titles() -> None:
    goods = goods_of()
    folds = agora.forward_folds(goods.rows, 0, blocks=3, groups=2)
    margin = agora.margins(goods, folds, Parameters(), load_declarations()["listing_counterfeit"])
    judged = np.any([one for _, one in folds], axis=0)
    for values in margin.values():
        assert np.array_equal(~np.isnan(values), judged)
    rows = goods.rows.take(judged)
    result = agora.compare(
        {name: one[judged] for name, one in margin.items()}, rows.label, rows.merchant, 100, 1, equal=True
    )
    assert result[agora.TEXTS][0][1].low > 0
    declaration = load_declarations()["listing_counterfeit"]
    page = agora.page(goods, margin, declaration, 2014, 100)
    assert f"{judged.sum():,} listings of {len(np.unique(rows.merchant))} vendors" in page
    assert "- **merchant texts**: better than the baseline: AUROC" in page


def test_a_feature_that_depends_on_the_categories_is_not_used() -> None:
    declaration = load_declarations()["listing_counterfeit"]
    columns = list(declaration.columns)
    features = np.zeros((4, len(columns)), dtype=np.float32)
    for name in ("price_base", "link_confirmed_share", *agora.ADMISSIONS):
        features[:, columns.index(name)] = [0, 1, 2, np.nan]
    swapped = features.copy()
    swapped[1, columns.index("link_confirmed_share")] = 0
    assert agora.readable(features, swapped, declaration) == [columns.index("price_base")]


def test_tables_of_several_folders_are_joined_truncated_and_swapped(tmp_path: Path) -> None:
    for year, extra in ((2014, ", 'a' as category"), (2015, ", 'Counterfeits/Watches' as category, 'x' as unknown")):
        (tmp_path / str(year)).mkdir()
        rows = f"select 'Watch' as title, 1 as price_btc, 'v' as vendor, '{year}-03-0' || i as snapshot_date{extra}"
        duckdb.execute(f"copy ({rows} from range(1, 4) as r(i)) to '{tmp_path}/{year}/listings_daily.parquet'")
    (tmp_path / "2014" / "btc_usd.csv").write_text("date,usd_per_btc\n2014-03-01,600\n2015-03-03,250\n")
    folders = [tmp_path / "2014", tmp_path / "2015"]
    assert agora.days_of(folders)[-1] == date(2015, 3, 3)
    agora.gather(folders, tmp_path / "swapped", date(2015, 3, 2), swapped=True)
    result = duckdb.execute(
        f"select category, count(*), max(snapshot_date) from '{tmp_path}/swapped/listings_daily.parquet' group by 1 order by 1"
    ).fetchall()
    assert result == [("Counterfeits/a", 3, date(2014, 3, 3)), ("Other", 2, date(2015, 3, 2))]
    vendors = duckdb.execute(f"select count(*), max(pgp_sha1) from '{tmp_path}/swapped/vendors_daily.parquet'")
    assert vendors.fetchone() == (0, None)
    assert (tmp_path / "swapped" / "btc_usd.csv").read_text() == "date,usd_per_btc\n2014-03-01,600.0\n"
