"""What there is to sell: categories, brands, their products with prices and true specifications, exchange rates.

All of it follows from the seed alone and is the same for every chunk and scale. Names are invented.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orchestration.marketplace.arrays import Floats, Ints, generator

BRANDS_PER_CATEGORY = 9
FIELD_SLOTS = 5


@dataclass(frozen=True)
class Field:
    """One specification field and the values that its products take."""

    name: str
    values: tuple[int | str, ...]


@dataclass(frozen=True)
class Category:
    """One category of goods.

    Attributes:
        path: Category path.
        seriousness: Harm of a counterfeit, 1 to 5.
        price_usd: Median recommended price.
        weight_g: Median parcel weight.
        appeal: How much counterfeiters like it, 1 being usual.
        nouns: What a title calls the goods.
        fields: Specification fields, `FIELD_SLOTS` of them.
    """

    path: str
    seriousness: int
    price_usd: float
    weight_g: float
    appeal: float
    nouns: tuple[str, ...]
    fields: tuple[Field, ...]


CATEGORIES: tuple[Category, ...] = (
    Category("electronics/chargers", 4, 34, 210, 1.3, ("Charger", "Wall Charger", "Power Adapter", "Fast Charger"), (
        Field("power_w", (20, 30, 45, 65, 100, 140)), Field("port_count", (1, 2, 3, 4)),
        Field("plug", ("US", "EU", "UK", "AU")), Field("weight_g", (58, 74, 96, 121, 160, 214)),
        Field("cable_length_cm", (0, 100, 120, 150, 200)))),
    Category("electronics/headphones", 2, 120, 380, 1.3, ("Headphones", "Earbuds", "Wireless Headset", "Earphones"), (
        Field("driver_mm", (6, 9, 11, 30, 40, 50)), Field("battery_h", (5, 8, 20, 30, 40, 60)),
        Field("bluetooth", ("5.0", "5.2", "5.3", "5.4")), Field("weight_g", (48, 62, 190, 225, 254, 290)),
        Field("noise_cancelling", ("yes", "no", "adaptive")))),
    Category("electronics/batteries", 5, 42, 330, 1.1, ("Battery", "Replacement Battery", "Battery Pack", "Cell Pack"), (
        Field("capacity_mah", (2000, 2600, 3000, 4000, 5000, 6000)), Field("voltage_v", ("3.7", "10.8", "14.4", "18")),
        Field("cell_count", (1, 3, 5, 10)), Field("chemistry", ("Li-ion", "Li-polymer", "LiFePO4")),
        Field("weight_g", (140, 210, 280, 360, 640)))),
    Category("watches/wrist", 2, 260, 420, 1.4, ("Watch", "Wristwatch", "Automatic Watch", "Chronograph"), (
        Field("case_mm", (32, 36, 38, 40, 42, 44)), Field("movement", ("automatic", "quartz", "hand-wound", "solar")),
        Field("water_resistance_m", (30, 50, 100, 200, 300)), Field("crystal", ("sapphire", "mineral", "acrylic")),
        Field("strap", ("leather", "steel", "rubber", "nylon")))),
    Category("beauty/perfume", 3, 88, 460, 1.3, ("Eau de Parfum", "Perfume", "Fragrance", "Eau de Toilette"), (
        Field("volume_ml", (15, 30, 50, 75, 100, 125)), Field("concentration", ("EDP", "EDT", "EDC", "parfum")),
        Field("batch_digits", (4, 6, 8)), Field("bottle_weight_g", (92, 140, 210, 280, 345)),
        Field("origin", ("FR", "IT", "ES", "US")))),
    Category("beauty/skincare", 4, 46, 240, 1.1, ("Face Cream", "Serum", "Moisturiser", "Night Cream"), (
        Field("volume_ml", (15, 30, 50, 75, 100)), Field("spf", (0, 15, 30, 50)),
        Field("shelf_life_months", (12, 18, 24, 36)), Field("skin_type", ("all", "dry", "oily", "sensitive")),
        Field("origin", ("FR", "KR", "JP", "US")))),
    Category("fashion/handbags", 1, 310, 980, 1.5, ("Handbag", "Tote Bag", "Shoulder Bag", "Crossbody Bag"), (
        Field("width_cm", (18, 22, 26, 30, 34, 40)), Field("material", ("calfskin", "canvas", "lambskin", "nylon")),
        Field("hardware", ("brass", "palladium", "gold-tone", "silver-tone")), Field("pocket_count", (1, 2, 3, 5)),
        Field("origin", ("IT", "FR", "ES", "PT")))),
    Category("fashion/sneakers", 1, 130, 1150, 1.5, ("Sneakers", "Running Shoes", "Trainers", "Low-Top Sneakers"), (
        Field("upper", ("mesh", "leather", "knit", "suede")), Field("sole", ("rubber", "EVA", "TPU", "foam")),
        Field("weight_g", (210, 245, 280, 320, 390)), Field("drop_mm", (0, 4, 6, 8, 10)),
        Field("closure", ("laces", "velcro", "slip-on")))),
    Category("toys/construction", 4, 58, 900, 0.9, ("Building Set", "Brick Set", "Construction Kit", "Model Kit"), (
        Field("piece_count", (120, 260, 480, 750, 1200, 2100)), Field("age_from", (3, 5, 7, 9, 12, 16)),
        Field("material", ("ABS", "wood", "PP")), Field("figure_count", (0, 2, 4, 6)),
        Field("box_cm", (20, 28, 38, 48, 58)))),
    Category("auto/brake_pads", 5, 64, 1650, 0.8, ("Brake Pads", "Brake Pad Set", "Front Brake Pads", "Disc Pads"), (
        Field("friction", ("ceramic", "semi-metallic", "organic")), Field("thickness_mm", (12, 14, 16, 17, 19)),
        Field("width_mm", (99, 116, 131, 147, 155)), Field("axle", ("front", "rear")),
        Field("wear_sensor", ("yes", "no", "prepared")))),
    Category("health/supplements", 5, 36, 310, 0.9, ("Supplement", "Capsules", "Vitamin Complex", "Softgels"), (
        Field("unit_count", (30, 60, 90, 120, 180, 240)), Field("dose_mg", (50, 100, 250, 500, 1000)),
        Field("form", ("capsule", "tablet", "softgel", "powder")), Field("vegan", ("yes", "no")),
        Field("origin", ("US", "DE", "CH", "NZ")))),
    Category("sports/jerseys", 1, 95, 280, 1.2, ("Jersey", "Match Shirt", "Home Jersey", "Team Shirt"), (
        Field("fabric", ("polyester", "recycled polyester", "cotton")), Field("fit", ("regular", "slim", "athlete")),
        Field("season", ("2023", "2024", "2025", "2026")), Field("weight_g", (130, 150, 180, 220)),
        Field("badge", ("embroidered", "heat-pressed", "woven")))),
)

_ONSETS = ("b", "br", "c", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "pr", "r", "s", "st", "t", "tr", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ia", "eo")
_CODAS = ("l", "n", "r", "x", "s", "th", "nd", "m", "", "", "lle", "ra", "no", "vi")
_SERIES = (
    "Aster", "Boreal", "Cirrus", "Delta", "Echo", "Fjord", "Garnet", "Halo", "Indigo", "Juno", "Kestrel", "Lumen",
    "Meridian", "Nova", "Onyx", "Pulse", "Quartz", "Rapid", "Solstice", "Tempo", "Umbra", "Vertex", "Willow", "Zenith",
    "Arc", "Bold", "Core", "Drift", "Edge", "Flux", "Glide", "Haven", "Iris", "Jade", "Kin", "Loft",
)  # fmt: skip
CURRENCIES: tuple[tuple[str, float], ...] = (("EUR", 1.09), ("GBP", 1.27), ("CNY", 0.139), ("CAD", 0.73), ("JPY", 0.0067))


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
    names: dict[str, None] = {}
    while len(names) < count:
        syllables = [
            str(rng.choice(_ONSETS)) + str(rng.choice(_VOWELS)) + str(rng.choice(_CODAS)) for _ in range(2)
        ]
        name = "".join(syllables).capitalize()
        if 5 <= len(name) <= 10:
            names[name] = None
    return list(names)


def build_catalogue(seed: int) -> Catalogue:
    """Makes brands and products from the seed: about 1,200 products of 108 brands."""
    rng = generator(seed, "catalogue")
    brand_count = len(CATEGORIES) * BRANDS_PER_CATEGORY
    names = _brand_names(rng, brand_count)
    brand_categories = np.repeat(np.arange(len(CATEGORIES)), BRANDS_PER_CATEGORY)
    popularity = np.tile(1.0 / np.arange(1, BRANDS_PER_CATEGORY + 1) ** 0.6, len(CATEGORIES))
    product_count = rng.integers(8, 15, brand_count)
    brand = np.repeat(np.arange(brand_count), product_count)
    category = brand_categories[brand]
    count = len(brand)
    prestige = np.exp(rng.normal(0, 0.45, brand_count))
    medians = np.array([item.price_usd for item in CATEGORIES])
    weights = np.array([item.weight_g for item in CATEGORIES])
    field_sizes = np.array([[len(field.values) for field in item.fields] for item in CATEGORIES])
    numbers = rng.permutation(90_000)[:count] + 10_000
    return Catalogue(
        brand_names=names,
        brand_categories=brand_categories,
        brand_popularity=popularity,
        first_product=np.cumsum(product_count) - product_count,
        product_count=product_count,
        brand=brand,
        category=category,
        refs=[f"{names[owner][:2].upper()}-{number}" for owner, number in zip(brand.tolist(), numbers.tolist(), strict=True)],
        series=[f"{_SERIES[pick]} {tier}" for pick, tier in zip(
            rng.integers(0, len(_SERIES), count).tolist(), rng.integers(1, 10, count).tolist(), strict=True)],
        msrp_usd=np.round(medians[category] * prestige[brand] * np.exp(rng.normal(0, 0.35, count))) + 0.99,
        floor_share=rng.uniform(0.55, 0.75, count),
        weight_g=np.round(weights[category] * np.exp(rng.normal(0, 0.25, count))) + 20,
        truth=(rng.random((count, FIELD_SLOTS)) * field_sizes[category]).astype(np.int64),
    )


@dataclass(frozen=True)
class Fragments:
    """Every `"field": value` as text, and where each category's fields begin in it.

    Attributes:
        texts: JSON fragments.
        first: (categories, FIELD_SLOTS) index of the field's first value.
        size: (categories, FIELD_SLOTS) number of the field's values.
    """

    texts: list[str]
    first: Ints
    size: Ints


def build_fragments() -> Fragments:
    """Lays all specification values out as JSON fragments."""
    texts: list[str] = []
    first, size = [], []
    for category in CATEGORIES:
        first.append([])
        size.append([])
        for field in category.fields:
            first[-1].append(len(texts))
            size[-1].append(len(field.values))
            texts.extend(f"{json.dumps(field.name)}: {json.dumps(value)}" for value in field.values)
    return Fragments(texts, np.array(first), np.array(size))
