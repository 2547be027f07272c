"""The catalogue: categories, brands, their products with prices and true specifications, exchange rates.

All of it follows from the seed alone and is the same for every chunk and scale. Names are invented.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from touchstone.core.yaml import load_packaged_yaml
from touchstone.demo.arrays import Floats, Ints, generator, picked

BRANDS_PER_CATEGORY = 9
FIELD_SLOTS = 5
ABSURD = 12
"""By how much a value that cannot be exceeds the greatest that is."""


@dataclass(frozen=True)
class Field:
    """One specification field and the values that its products take."""

    name: str
    values: tuple[int | str, ...]


@dataclass(frozen=True)
class Category:
    """One product category.

    Attributes:
        path: Category path.
        seriousness: Harm of a counterfeit, 1 to 5.
        price_usd: Median recommended price.
        weight_g: Median parcel weight.
        appeal: How attractive it is to counterfeiters; 1 is typical.
        nouns: Words for the product in a title.
        things: What a review calls them, in the singular, by language.
        fields: Specification fields, `FIELD_SLOTS` of them.
    """

    path: str
    seriousness: int
    price_usd: float
    weight_g: float
    appeal: float
    nouns: list[str]
    things: dict[str, list[str]]
    fields: tuple[Field, ...]


def _definitions() -> dict[str, Any]:
    items: dict[str, Any] = load_packaged_yaml(Path(__file__).with_name("goods.yml"))
    return items


@cache
def categories() -> tuple[Category, ...]:
    """Returns the categories of `goods.yml`."""
    return tuple(
        Category(**{**item, "fields": tuple(Field(name, tuple(values)) for name, values in item["fields"].items())})
        for item in _definitions()["categories"]
    )


CURRENCIES: tuple[tuple[str, float], ...] = (
    ("EUR", 1.09),
    ("GBP", 1.27),
    ("CNY", 0.139),
    ("CAD", 0.73),
    ("JPY", 0.0067),
)


@dataclass(frozen=True)
class Catalogue:
    """Brands and products as arrays; a product's brand and category are indices.

    Attributes:
        brand_names: Invented names, one each.
        brand_categories: The brand's category (index).
        brand_popularity: Weights with which merchants choose the brand within its category.
        first_product: Index of the brand's first product; its others follow.
        product_count: Number of the brand's products.
        brand: Each product's brand (index).
        category: Each product's category (index).
        refs: Each product's model reference.
        series: Each product's series name.
        msrp_usd: Recommended price in USD.
        floor_share: Floor price as a share of the recommended one.
        weight_g: Parcel weight.
        truth: (products, FIELD_SLOTS) index of the true value among the field's values.
    """

    brand_names: list[str]
    brand_categories: Ints
    brand_popularity: Floats
    first_product: Ints
    product_count: Ints
    brand: Ints
    category: Ints
    refs: list[str]
    series: list[str]
    msrp_usd: Floats
    floor_share: Floats
    weight_g: Floats
    truth: Ints


def _brand_names(rng: np.random.Generator, count: int) -> list[str]:
    parts = _definitions()["names"]
    names: dict[str, None] = {}
    while len(names) < count:
        syllables = [str(rng.choice(parts[part])) for part in ("onsets", "vowels", "codas") * 2]
        name = "".join(syllables).capitalize()
        if 5 <= len(name) <= 10:
            names[name] = None
    return list(names)


def build_catalogue(seed: int) -> Catalogue:
    """Makes brands and products from the seed: about 1,200 products of 108 brands."""
    rng = generator(seed, "catalogue")
    items = categories()
    brand_count = len(items) * BRANDS_PER_CATEGORY
    names = _brand_names(rng, brand_count)
    product_count = rng.integers(8, 15, brand_count)
    brand = np.repeat(np.arange(brand_count), product_count)
    brand_categories = np.repeat(np.arange(len(items)), BRANDS_PER_CATEGORY)
    category, count = brand_categories[brand], len(brand)
    prestige = np.exp(rng.normal(0, 0.45, brand_count))
    field_sizes = np.array([[len(field.values) for field in item.fields] for item in items])
    numbers = rng.permutation(90_000)[:count] + 10_000
    series, tier = picked(rng, _definitions()["names"]["series"], count), rng.integers(1, 10, count)
    return Catalogue(
        brand_names=names,
        brand_categories=brand_categories,
        brand_popularity=np.tile(1.0 / np.arange(1, BRANDS_PER_CATEGORY + 1) ** 0.6, len(items)),
        first_product=np.cumsum(product_count) - product_count,
        product_count=product_count,
        brand=brand,
        category=category,
        refs=[
            f"{names[owner][:2].upper()}-{number}"
            for owner, number in zip(brand.tolist(), numbers.tolist(), strict=True)
        ],
        series=[f"{name} {number}" for name, number in zip(series.to_pylist(), tier.tolist(), strict=True)],
        msrp_usd=_prices(rng, np.array([item.price_usd for item in items])[category] * prestige[brand]),
        floor_share=rng.uniform(0.55, 0.75, count),
        weight_g=np.round(np.array([item.weight_g for item in items])[category] * np.exp(rng.normal(0, 0.25, count)))
        + 20,
        truth=(rng.random((count, FIELD_SLOTS)) * field_sizes[category]).astype(np.int64),
    )


def _prices(rng: np.random.Generator, median: Floats) -> Floats:
    return np.asarray(np.round(median * np.exp(rng.normal(0, 0.35, len(median)))) + 0.99)


@dataclass(frozen=True)
class Fragments:
    """Every `"field": value` as text, and where each category's fields begin in it.

    Attributes:
        texts: JSON fragments.
        first: (categories, FIELD_SLOTS) index of the field's first value.
        size: (categories, FIELD_SLOTS) number of the field's values.
        absurd: (categories, FIELD_SLOTS) index of a value that no such product has: many times the greatest; where values are
            no numbers, a true one.
    """

    texts: list[str]
    first: Ints
    size: Ints
    absurd: Ints


def build_fragments() -> Fragments:
    """Lays all specification values out as JSON fragments."""
    texts: list[str] = []
    first: list[list[int]] = []
    size: list[list[int]] = []
    absurd: list[list[int]] = []
    for category in categories():
        first.append([])
        size.append([])
        absurd.append([])
        for field in category.fields:
            first[-1].append(len(texts))
            size[-1].append(len(field.values))
            numbers = [value for value in field.values if isinstance(value, int)]
            absurd[-1].append(len(texts) + (len(field.values) if numbers else 0))
            values = (*field.values, *([max(numbers) * ABSURD] if numbers else []))
            texts.extend(f"{json.dumps(field.name)}: {json.dumps(value)}" for value in values)
    return Fragments(texts, np.array(first), np.array(size), np.array(absurd))
