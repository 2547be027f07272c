"""What people write: titles, descriptions, reviews and merchants' names, drawn from a grammar.

A grammar is a list of slots, a slot a pool of phrases; a text is one phrase of each slot, joined. Pools are wide enough
that two texts seldom agree by accident. Honest and fake goods share one grammar; only how often a mood comes differs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.marketplace.arrays import Ints, joined, nullable, phrases, picked

MOODS = ("happy", "fair", "unhappy", "doubtful", "reassured")
HAPPY, FAIR, UNHAPPY, DOUBTFUL, REASSURED = range(5)

_TITLE_HEADS = ("", "", "", "", "New", "Brand New", "Original", "2026", "Latest", "Premium", "Genuine", "Classic", "Hot Sale", "Boxed", "Official Style", "Limited")
_TITLE_TAILS = (
    "with Box", "Gift Ready", "Fast Shipping", "Free Returns", "for Men and Women", "for Daily Use", "Travel Edition", "Full Set",
    "in Retail Box", "Unisex", "Special Offer", "Ships Today", "with Receipt", "Sealed", "Great Gift", "for Home and Office",
    "Everyday", "Best Seller", "Complete Kit", "Spring Edition", "Top Quality", "Light and Durable", "Two Year Warranty", "Tested",
    "In Stock", "Worldwide Delivery", "Store Pickup", "Value Pack", "Original Packaging", "Factory Fresh", "Last Pieces", "Clearance",
)  # fmt: skip
_COLOURS = (
    "Black", "White", "Silver", "Graphite", "Navy", "Forest Green", "Sand", "Rose", "Burgundy", "Sky Blue", "Olive", "Charcoal",
    "Ivory", "Copper", "Lilac", "Amber", "Stone", "Midnight", "Coral", "Pearl", "Teal", "Mocha", "Steel", "Cherry",
)  # fmt: skip
_SHORT = ("A", "B", "C", "D", "E", "F", "G", "H", "K", "L", "M", "N", "P", "R", "S", "T", "V", "W", "X", "Z")

_DESCRIPTION_1 = (
    "You are looking at a {} in great shape.", "This is the {} that many of our customers ask for.", "On offer: one {}.",
    "We sell the {} from our own stock.", "A {} for those who know what they want.", "Our most asked-for {}.",
    "The {} shown is the one you get.", "A dependable {} at a fair price.", "Here is a {} that makes a fine present.",
    "Pick up this {} while it lasts.",
)  # fmt: skip
_DESCRIPTION_2 = (
    "Sent within one working day.", "Packed with care and insured.", "Dispatched from our warehouse with tracking.",
    "We answer messages every day.", "Combined shipping for several items.", "Ships in plain cardboard.",
    "Collection is possible by appointment.", "Parcels leave us every afternoon.", "We ship to most countries.",
    "Handled by a family business.", "Tracked delivery is included.", "Weekend orders leave on Monday.",
)  # fmt: skip
_DESCRIPTION_3 = (
    "Returns are accepted for {} days.", "A receipt comes with the parcel, and {} days to change your mind.",
    "Covered by our shop's {}-day promise.", "Not happy? Send it back within {} days.", "We keep your invoice for {} days.",
    "Questions are answered within a day; returns within {} days.",
)  # fmt: skip

_SUBJECTS = ("The {}", "This {}", "My {}", "The {} I ordered", "Our new {}", "The {} we got", "That {}", "The {} from this shop")
_WHEN = (
    "after a week", "after two days", "so far", "for the price", "from day one", "on first look", "after a month", "as a gift",
    "out of the box", "in daily use", "compared with my old one", "on the whole", "this time", "for my sister", "for my dad",
    "at home", "at work", "on a trip", "over the weekend", "since Monday",
)  # fmt: skip
_VERDICTS = {
    HAPPY: (
        "works perfectly", "looks great", "feels solid", "is just what I wanted", "exceeded my hopes", "is worth every cent",
        "is even nicer than in the pictures", "does the job well", "fits perfectly", "is well made", "came in perfect shape",
        "has been flawless", "is lovely", "is a real bargain", "impressed the whole family", "matches the description",
        "is exactly as shown", "is sturdy and light", "could not be better", "made me smile",
    ),
    FAIR: (
        "is all right", "is decent", "does what it should, no more", "is fine", "is a little smaller than I thought", "is average",
        "is okay but nothing special", "works, with small flaws", "is good enough", "is not bad", "took some getting used to",
        "is usable", "has its good and its weak sides", "is a mixed bag", "could be better finished", "is passable",
    ),
    UNHAPPY: (
        "stopped working", "arrived scratched", "is a letdown", "broke quickly", "does not fit", "feels flimsy", "has a loose part",
        "came in the wrong colour", "is not as described", "smells odd", "disappointed me", "was damaged in the post",
        "has poor stitching", "is much smaller than shown", "has a defect", "is missing a part", "was used before", "wore out fast",
        "never worked right", "is a waste of money",
    ),
    DOUBTFUL: (
        "is clearly a fake", "is not authentic", "looks counterfeit to me", "is a cheap copy", "is not the genuine article",
        "turned out to be a replica", "failed the brand's serial check", "is an imitation", "is a knock-off", "is not original",
        "has a logo that is plainly wrong", "was called counterfeit by the brand's own store", "is fake, do not buy",
        "has a misspelled label, so it is fake", "is nothing like the real one", "has a serial number that does not exist",
        "is a bad clone", "cannot be the real thing",
    ),
    REASSURED: (
        "is authentic, I checked the serial", "is definitely genuine", "is not fake at all", "passed the brand's check", "is the real thing",
        "is 100% original", "is no replica, I compared it in the store", "is as genuine as can be",
        "was not counterfeit as I first feared",
    ),
}  # fmt: skip
_SECOND = {
    HAPPY: (
        "Delivery was quick.", "Would buy again.", "The seller answered at once.", "Nicely packed too.", "Five stars from me.",
        "Thank you!", "Arrived a day early.", "Highly recommended.", "Great value.", "Could not ask for more.", "Good communication.",
        "I have already ordered a second one.", "Friends asked where I got it.", "Very pleased.", "Smooth purchase.", "",
    ),
    FAIR: (
        "Delivery took a while.", "The box was dented.", "For this price it will do.", "I expected a bit more.", "Might keep it.",
        "The manual is thin.", "Support was polite.", "Three stars.", "Let us see how long it lasts.", "Shipping was fine.",
        "The colour is slightly off.", "Not sure I would buy again.", "",
    ),
    UNHAPPY: (
        "I want my money back.", "Returning it.", "The seller does not answer.", "Very disappointed.", "Save your money.",
        "It took weeks to arrive.", "Packaging was poor.", "Avoid.", "One star is generous.", "Customer service was no help.",
        "I asked for a refund.", "Never again.", "Expected far better.", "",
    ),
    DOUBTFUL: (
        "I asked for a refund.", "Reported to the platform.", "I own a genuine one and compared them.", "The box has the wrong font.",
        "Stay away.", "The seller stopped answering.", "The hologram is missing.", "My money is gone.", "Weight and finish are off.",
        "The stitching gives it away.", "Shame on this shop.", "Be warned.", "The code on the label leads nowhere.", "",
    ),
    REASSURED: (
        "I was worried because of other comments.", "All papers were there.", "Compared it side by side.", "Serial and box match.",
        "Good to know.", "The brand's site confirmed it.", "Relieved.", "Happy with it.", "",
    ),
}  # fmt: skip
_ZH_SUBJECTS = ("这个{}", "收到的{}", "买的{}", "这款{}", "店家发来的{}", "给家人买的{}", "第二次买的{}", "朋友推荐的{}")
_ZH_WHEN = ("用了一周", "刚拆开", "用了几天", "总的来说", "和图片比", "上手之后", "到货当天", "试用以后", "这次", "送人")
_ZH_VERDICTS = {
    HAPPY: ("质量很好", "非常满意", "和描述一致", "做工不错", "很喜欢", "物有所值", "没有任何问题", "超出预期", "很结实", "手感很好"),
    FAIR: ("还可以", "一般般", "凑合能用", "中规中矩", "有点小", "没什么特别", "过得去", "勉强满意"),
    UNHAPPY: ("很失望", "用几天就坏了", "有划痕", "与描述不符", "做工粗糙", "尺寸不对", "少了配件", "味道很大", "不值这个价"),
    DOUBTFUL: ("是假货", "不是正品", "明显是仿冒的", "是山寨货", "像高仿", "专柜说是假的", "防伪码查不到", "商标印错了"),
    REASSURED: ("是正品", "验过了是真货", "不是假货", "专柜验过没问题", "防伪码能查到"),
}
_ZH_SECOND = {
    HAPPY: ("物流很快。", "会再来买。", "客服很耐心。", "包装很好。", "五星好评。", ""),
    FAIR: ("物流有点慢。", "包装一般。", "先用着看。", "三星吧。", ""),
    UNHAPPY: ("要求退货。", "客服不理人。", "不会再买。", "浪费钱。", ""),
    DOUBTFUL: ("已经投诉。", "大家小心。", "要求退款。", "别买。", ""),
    REASSURED: ("放心了。", "可以买。", "和专柜一样。", ""),
}

_NAME_1 = (
    "Blue", "Golden", "Quick", "Sunny", "Prime", "North", "River", "Happy", "Urban", "Silver", "Green", "City", "Star", "Royal", "Lucky",
    "Bright", "True", "Smart", "Fresh", "Grand", "Little", "Ocean", "Pine", "Stone", "Velvet", "Metro", "Family", "Global", "Daily", "Alpha",
)  # fmt: skip
_NAME_2 = (
    "Harbor", "Lane", "Fox", "Bridge", "Field", "House", "Corner", "Garden", "Lotus", "Peak", "Wave", "Maple", "Tiger", "Cloud", "Valley",
    "Square", "Arrow", "Panda", "Crane", "Orchard", "Market", "Point", "Forest", "Anchor", "Comet", "Meadow", "Temple", "Rocket", "Bay", "Hill",
)  # fmt: skip
_NAME_3 = ("Store", "Shop", "Trading", "Outlet", "Goods", "Direct", "Supply", "Retail", "Boutique", "Mart", "Online", "Co", "Deals", "Imports")


def merchant_names(rng: np.random.Generator, count: int) -> pa.Array:
    """Returns shops' names."""
    number = pa.array(rng.integers(10, 999, count)).cast(pa.string())
    tail = nullable(number, rng.random(count) < 0.4)
    return joined([picked(rng, _NAME_1, count), picked(rng, _NAME_2, count), picked(rng, _NAME_3, count), tail])


def titles(rng: np.random.Generator, brand: pa.Array, series: pa.Array, noun: pa.Array, ref: pa.Array) -> pa.Array:
    """Returns titles that name brand, series, noun and (most) model reference, in one of two orders.

    Args:
        rng: The stream.
        brand: Brand as the merchant writes it.
        series: The product's series.
        noun: What the goods are called.
        ref: Model reference; null where the merchant leaves it out.
    """
    count = len(brand)
    head = _droppable(picked(rng, _TITLE_HEADS, count))
    variant = joined([picked(rng, _SHORT, count), pa.array(rng.integers(10, 100, count)).cast(pa.string())], "")
    colour = picked(rng, _COLOURS, count)
    tail = picked(rng, _TITLE_TAILS, count)
    is_plain = pa.array(rng.random(count) < 0.6)
    model = nullable(ref, rng.random(count) < 0.7)
    plain = joined([head, brand, series, noun, model, colour, variant, tail])
    turned = joined([brand, noun, joined([series, colour]), tail, variant, model])
    return pc.if_else(is_plain, plain, turned)


def descriptions(rng: np.random.Generator, noun: pa.Array) -> pa.Array:
    """Returns descriptions of three sentences."""
    count = len(noun)
    days = pa.array(rng.choice(np.array([7, 14, 15, 21, 28, 30, 45, 60, 90]), count)).cast(pa.string())
    first = _filled(rng, _DESCRIPTION_1, pc.utf8_lower(noun))
    return joined([first, picked(rng, _DESCRIPTION_2, count), _filled(rng, _DESCRIPTION_3, days)])


def reviews(rng: np.random.Generator, mood: Ints, noun: pa.Array, is_chinese: pa.Array) -> pa.Array:
    """Returns one review a row, in its mood and language.

    Args:
        rng: The stream.
        mood: Index into `MOODS`.
        noun: What the goods are called.
        is_chinese: Whether the review is in Chinese; else English.
    """
    lower = pc.utf8_lower(noun)
    english = _review(rng, mood, lower, _SUBJECTS, _WHEN, _VERDICTS, _SECOND, " ", ". ")
    chinese = _review(rng, mood, lower, _ZH_SUBJECTS, _ZH_WHEN, _ZH_VERDICTS, _ZH_SECOND, "", "。")
    return pc.utf8_trim_whitespace(pc.if_else(is_chinese, chinese, english))


def _review(
    rng: np.random.Generator,
    mood: Ints,
    noun: pa.Array,
    subjects: Sequence[str],
    when: Sequence[str],
    verdicts: dict[int, tuple[str, ...]],
    second: dict[int, tuple[str, ...]],
    space: str,
    stop: str,
) -> pa.Array:
    count = len(noun)
    subject = _filled(rng, subjects, noun)
    moment = nullable(picked(rng, when, count), rng.random(count) < 0.7)
    first = joined([subject, _by_mood(rng, mood, verdicts), moment], space)
    return joined([first, _by_mood(rng, mood, second)], stop)


def _by_mood(rng: np.random.Generator, mood: Ints, pools: dict[int, tuple[str, ...]]) -> pa.Array:
    """Picks from the mood's own pool."""
    flat = [phrase for key in sorted(pools) for phrase in pools[key]]
    sizes = np.array([len(pools[key]) for key in sorted(pools)])
    first = np.cumsum(sizes) - sizes
    return phrases(flat, first[mood] + (rng.random(len(mood)) * sizes[mood]).astype(np.int64))


def _filled(rng: np.random.Generator, templates: Sequence[str], word: pa.Array) -> pa.Array:
    """Picks templates and puts the word into their one gap."""
    index = rng.integers(0, len(templates), len(word))
    before = phrases([template.split("{}")[0] for template in templates], index)
    after = phrases([template.split("{}")[1] for template in templates], index)
    return joined([before, word, after], "")


def _droppable(texts: pa.Array) -> pa.Array:
    """Turns empty texts to null, so that joining leaves them out."""
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
