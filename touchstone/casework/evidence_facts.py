"""Facts of an evidence pack that follow from its sections: timeline, volumes, what is known and unknown, and statements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from touchstone.casework.evidence_sections import EvidencePack, Reader
from touchstone.casework.statements_of_reasons import statement

_PROBABILITY_TERMS: Final = (
    (95, "almost certain"),
    (80, "very likely"),
    (60, "likely"),
    (40, "about even"),
    (20, "unlikely"),
    (0, "very unlikely"),
)


def describe_score(score: float) -> str:
    """Returns a score (0 to 100) as a verbal probability and the number."""
    return f"{next(term for lowest, term in _PROBABILITY_TERMS if score >= lowest)} ({score:.0f} of 100)"


# What dates an event, by section: the column of the time, the kind of event, and its text (None for no event).
_EVENTS: Final[Sequence[tuple[str, str, str, Callable[[Mapping[str, Any]], str | None]]]] = (
    ("merchants", "registered_at", "merchant", lambda row: f"{row['merchant_id']} registered"),
    ("listings", "listed_at", "listing", lambda row: f"{row['listing_id']} was listed" if row["is_listed"] else None),
    (
        "notices",
        "submitted_at",
        "notice",
        lambda row: f"a notice ({row['kind']}) about {row['listing_id']}: {row['outcome']}",
    ),
    ("test_buys", "ordered_at", "test buy", lambda row: f"{row['listing_id']} was bought for examination"),
    ("test_buys", "decided_at", "test buy", lambda row: f"{row['listing_id']}: {row['verdict']}"),
    (
        "decisions",
        "decided_at",
        "decision",
        lambda row: f"{row['entity_kind']} {row['entity_id']}, {row['violation_type']}: {row['verdict']}",
    ),
    ("actions", "occurred_at", "platform", lambda row: f"{row['kind']} of {row['entity_kind']} {row['entity_id']}"),
    ("enforcement", "occurred_at", "authority", lambda row: f"{row['kind']} at {row['merchant_id']}"),
    (
        "appeals",
        "submitted_at",
        "appeal",
        lambda row: f"about {row['entity_kind']} {row['entity_id']}: {row['outcome']}",
    ),
    ("cases", "stage_at", "court", lambda row: f"{row['case_id']} against {row['merchant_id']}: {row['stage']}"),
    ("hand_overs", "handed_over_at", "hand-over", lambda row: f"to {row['recipient']} ({row['audience']})"),
    ("history", "as_of_date", "lead", lambda row: row["change"]),
)


def timeline(pack: EvidencePack) -> list[dict[str, Any]]:
    """Returns the events that the reader may see, oldest first: `at`, `what` and `text`."""
    events = [
        (row[column], kind, text)
        for section, column, kind, describe in _EVENTS
        for row in pack.rows(section)
        if row.get(column) is not None and (text := describe(row)) is not None
    ]
    events.sort(key=lambda event: (str(event[0]), *event[1:]))
    return [{"at": str(moment)[:10], "what": kind, "text": text} for moment, kind, text in events]


def volumes(pack: EvidencePack) -> list[dict[str, Any]]:
    """Returns listings, units of 30 days, their value and expected harm by category; empty if the reader may not see orders."""
    sums: dict[str, dict[str, Any]] = {}
    for row in pack.rows("listings"):
        if "unit_count" not in row:
            return []
        total = sums.setdefault(
            row["category"] or "no category",
            {"listings": 0, "units": 0, "value_base": Decimal(0), "harm_base": Decimal(0)},
        )
        total["listings"] += 1
        total["units"] += row["unit_count"] or 0
        total["value_base"] += (row["unit_count"] or 0) * (row["price_base"] or Decimal(0))
        total["harm_base"] += row["expected_harm_base"] or Decimal(0)
    overall = {
        name: sum(total[name] for total in sums.values()) for name in ("listings", "units", "value_base", "harm_base")
    }
    return [{"category": name, **sums[name]} for name in sorted(sums)] + (
        [{"category": "all", **overall}] if sums else []
    )


def known_facts(pack: EvidencePack) -> list[dict[str, str]]:
    """Returns what is known about the lead, each with its certainty in words and numbers."""
    return [
        {"fact": fact, "certainty": certainty}
        for fact, certainty in (*_recorded_facts(pack), *_estimated_facts(pack), *_shared_identifiers(pack))
    ]


def _recorded_facts(pack: EvidencePack) -> Iterator[tuple[str, str]]:
    """Yields the facts on record."""
    for section, column, value, label in (
        ("test_buys", "verdict", "counterfeit", "test buys: counterfeit"),
        ("test_buys", "verdict", "genuine", "test buys: genuine"),
        ("notices", "outcome", "upheld", "notices upheld"),
        ("notices", "outcome", "rejected", "notices rejected"),
        ("decisions", "verdict", "fake", "decisions of moderators: fake"),
        ("decisions", "verdict", "genuine", "decisions of moderators: genuine"),
    ):
        if count := sum(row[column] == value for row in pack.rows(section)):
            yield f"{label}, {count}", "on record"
    if count := len(pack.rows("enforcement")):
        yield f"actions of authorities, {count}", "on record"


def _estimated_facts(pack: EvidencePack) -> Iterator[tuple[str, str]]:
    """Yields the estimates of the models: for merchants, if the reader may see them, and for all listings together."""
    for row in pack.rows("merchants"):
        if row.get("score") is not None:
            precision = row["expected_precision"]
            share = f"; {100 * precision:.0f} % of such ratings were confirmed" if precision is not None else ""
            yield f"{row['merchant_id']} sells counterfeits", f"{describe_score(float(row['score']))}, estimated{share}"
        if row.get("brushing_score") is not None and row["is_brushing_listed"]:
            yield (
                f"{row['merchant_id']} buys orders or reviews",
                f"{describe_score(float(row['brushing_score']))}, estimated",
            )
    scores = [row["score"] for row in pack.rows("listings") if row["score"] is not None]
    if scores:
        yield (
            f"{sum(scores) / 100:.1f} of {len(scores)} active listings are counterfeit",
            "estimated: the sum of their risks",
        )


def _shared_identifiers(pack: EvidencePack) -> Iterator[tuple[str, str]]:
    """Yields what connects the merchants."""
    within = [row for row in pack.rows("links") if row["is_within"]]
    if within:
        rarest, verified = min(row["bearer_count"] for row in within), sum(row["is_verified"] for row in within)
        yield (
            (
                f"the merchants share identifiers: {len(within)} links, the rarest value shared by {rarest} of "
                f"{pack.merchant_count:,} merchants"
            ),
            (
                f"on record; {verified} of them are verified, so third parties cannot have created them. That the merchants act "
                "together is an inference without a probability"
            ),
        )


def unknown_facts(pack: EvidencePack) -> list[str]:
    """Returns what is not known, and what a reader might otherwise assume."""
    listings, merchants = pack.rows("listings"), pack.rows("merchants")
    gaps = ["The persons behind the accounts: accounts are linked by identifiers, not by identity."]
    examined = {row["listing_id"] for row in pack.rows("test_buys") if row["verdict"] in {"counterfeit", "genuine"}}
    bought = sum(row["listing_id"] in examined for row in listings)
    gaps.append(
        f"Whether {len(listings) - bought} of {len(listings)} active listings are genuine: they were not examined."
    )
    if unrated := sum(row["score"] is None for row in listings):
        gaps.append(f"The risk of {unrated} listings: they were not rated.")
    if unpriced := sum("price_base" in row and row["price_base"] is None for row in listings):
        gaps.append(f"The value of {unpriced} listings: the price or the exchange rate is missing.")
    if missing := pack.missing_images:
        gaps.append(f"The contents of {missing} images: their files are missing or are not images.")
    if spoofable := sum(not row["is_verified"] for row in pack.rows("links")):
        gaps.append(f"Whether {spoofable} links are genuine: a third party could have created them.")
    if any(row.get("role") == "served" for row in merchants):
        gaps.append(
            "Which of the merchants pay the service: its accounts also buy elsewhere, and a competitor may have paid for it."
        )
    if pack.reader.audience == "brand":
        gaps.append("The other listings of the merchants, and what connects them: a brand sees only its own listings.")
    if pack.reader.audience == "authority":
        gaps.append(
            f"Whether accounts outside {pack.reader.jurisdiction} are part of the lead: this pack does not include them."
        )
    gaps.append("Events after the as-of date, orders outside the platform, and stock that is not listed.")
    return gaps


def statements(pack: EvidencePack) -> list[dict[str, Any]]:
    """Returns the statements of reasons for each action of a list or of the platform that the reader may see."""
    upheld_notices: dict[str, int] = {}
    for row in pack.rows("notices"):
        listing_id = row["listing_id"]
        upheld_notices[listing_id] = upheld_notices.get(listing_id, 0) + (row["outcome"] == "upheld")
    actions = [
        {
            **row,
            "as_of": pack.as_of,
            "reasons": _reasons_for(row["reasons"], pack.reader),
            "notice_count": upheld_notices.get(row["entity_id"], 0),
        }
        for row in pack.actions
    ]
    actions += [
        {
            **row,
            "violation_type": "counterfeit",
            "at": row["occurred_at"],
            "notice_count": upheld_notices.get(row["entity_id"], 0),
        }
        for row in pack.rows("actions")
    ]
    return sorted((statement(action) for action in actions), key=lambda one: one["statement_id"])


def _reasons_for(reasons: str | None, reader: Reader) -> str | None:
    """Returns the reasons; for a brand, only those that it may read."""
    if not reasons or reader.audience != "brand":
        return reasons
    return json.dumps([reason for reason in json.loads(reasons) if "brand" in reason.get("audiences", ())])
