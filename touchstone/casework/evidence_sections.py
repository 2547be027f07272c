"""What a pack is made of: for whom it is, whose rows that reader gets, and each table of it as SQL.

Which rows a reader gets is decided in one place (`OURS`, `GOODS`), which columns in `expectations/audiences.yml`: every
column of every
section names the column that it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from expectations.audiences import Audience
from touchstone.core.errors import BadInputError


@dataclass(frozen=True)
class Reader:
    """For whom a pack is.

    Attributes:
        audience: Internal, a brand or an authority.
        brand: The brand's own name; of a brand alone.
        jurisdiction: The country, ISO 3166 alpha-2; of an authority alone.
    """

    audience: Audience
    brand: str | None = None
    jurisdiction: str | None = None

    def __post_init__(self) -> None:
        """Refuses a reader who is not named, or named twice."""
        wanted = {"internal": (False, False), "brand": (True, False), "authority": (False, True)}[self.audience]
        if (self.brand is not None, self.jurisdiction is not None) != wanted:
            raise BadInputError(
                f"--audience {self.audience}: a brand is named by --brand NAME, an authority by --jurisdiction COUNTRY, "
                f"internal by "
                "neither."
            )
        if self.jurisdiction is not None and not re.fullmatch(r"[A-Z]{2}", self.jurisdiction):
            raise BadInputError(
                f"--jurisdiction {self.jurisdiction!r}: not a country. Write it as DE (ISO 3166 alpha-2)."
            )

    @property
    def name(self) -> str:
        """How the reader is told on a pack."""
        return {
            "internal": "internal",
            "brand": f"brand {self.brand}",
            "authority": f"authority of {self.jurisdiction}",
        }[self.audience]


# Whose rows: the one place where they are chosen -----------------------------------------------------------------------

OURS = """
create temp table ours as
select members.lead_id, members.merchant_id
from lead_merchants as members
inner join asked on asked.lead_id = members.lead_id
where
    $audience = 'internal'
    or ($audience = 'authority' and members.merchant_id in (select merchant_id from now_merchants where country = $jurisdiction))
    or ($audience = 'brand' and members.merchant_id in (
        select merchant_id from rated_listings where lower(brand) = lower($brand)))
"""
GOODS = """
create temp table goods as
select ours.lead_id, listings.listing_id, ours.merchant_id
from ours
inner join now_listings as listings on listings.merchant_id = ours.merchant_id
where
    cast(listings.listed_at as date) <= $as_of
    and ($audience <> 'brand' or listings.listing_id in (select listing_id from rated_listings where lower(brand) =
    lower($brand)))
"""
"""An authority's merchants are those of its country, a brand's those that offer its goods; of a brand's merchants only
these goods."""


@dataclass(frozen=True)
class Section:
    """A table of a pack.

    Attributes:
        title: What it is called on the page.
        columns: What each column comes from, as `table.column` of `audiences.yml`; whoever may not see that does not get it.
        query: SQL of `lead_id` and these columns over `ours`, `goods`, the marts and the newest rows of the contract's tables.
        key: The columns without which it says nothing: who may not see one of them does not get the section.
        order_by: What orders its rows totally.
    """

    title: str
    columns: Mapping[str, str]
    query: str
    key: tuple[str, ...]
    order_by: str


def _same(table: str, *columns: str) -> dict[str, str]:
    return {column: f"{table}.{column}" for column in columns}


SECTIONS: Final[Mapping[str, Section]] = {
    "merchants": Section(
        "Merchants",
        {
            "merchant_id": "merchants.merchant_id",
            **_same("lead_merchants", "role", "since_date"),
            **_same("merchants", "name", "country", "region", "city", "registered_at"),
            **_same("lead_merchants", "score", "brushing_score", "is_listed", "is_brushing_listed", "listing_count"),
            **_same(
                "lead_merchants", "listed_listing_count", "listed_transaction_count", "unit_count", "expected_harm_usd"
            ),
            **_same("rated_merchants", "band", "expected_precision", "reasons"),
        },
        """
        select
            ours.lead_id, ours.merchant_id, members.role, members.since_date, merchants.name, merchants.country, merchants.region,
            merchants.city, merchants.registered_at, members.score, members.brushing_score, members.is_listed,
            members.is_brushing_listed, members.listing_count, members.listed_listing_count, members.listed_transaction_count,
            members.unit_count, members.expected_harm_usd, rated.band, rated.expected_precision, rated.reasons
        from ours
        inner join lead_merchants as members using (lead_id, merchant_id)
        left join now_merchants as merchants using (merchant_id)
        left join rated_merchants as rated using (merchant_id)
        """,
        ("merchant_id",),
        "expected_harm_usd desc, merchant_id",
    ),
    "links": Section(
        "Links, and how rare they are",
        _same(
            "merchant_ties",
            "merchant_id_a",
            "merchant_id_b",
            "kind",
            "value_count",
            "bearer_count",
            "since_date",
            "is_verified",
        )
        | {"is_within": "lead_merchants.role"},
        """
        with ends as (
            select ours.lead_id, ties.*
            from merchant_ties as ties inner join ours on ours.merchant_id = ties.merchant_id_a
            union
            select ours.lead_id, ties.*
            from merchant_ties as ties inner join ours on ours.merchant_id = ties.merchant_id_b
        )
        select ends.* exclude (as_of_date), a.merchant_id is not null and b.merchant_id is not null as is_within
        from ends
        left join ours as a on a.lead_id = ends.lead_id and a.merchant_id = ends.merchant_id_a
        left join ours as b on b.lead_id = ends.lead_id and b.merchant_id = ends.merchant_id_b
        where $audience = 'internal' or (
            ends.merchant_id_a in (select merchant_id from now_merchants where country = $jurisdiction)
            and ends.merchant_id_b in (select merchant_id from now_merchants where country = $jurisdiction))
        """,
        ("merchant_id_a", "merchant_id_b"),
        "is_within desc, bearer_count, merchant_id_a, merchant_id_b, kind",
    ),
    "accounts": Section(
        "Accounts that buy with whom the service serves",
        _same(
            "brushing_services",
            "buyer_id",
            "merchant_id",
            "transaction_count",
            "since_date",
            "shares_device",
            "shares_payer",
        )
        | _same("brushing_services", "repeated_text_count", "buyer_merchant_count"),
        """
        select
            ours.lead_id, served.buyer_id, served.merchant_id, served.transaction_count, served.since_date, served.shares_device,
            served.shares_payer, served.repeated_text_count, served.buyer_merchant_count
        from ours
        inner join asked on asked.lead_id = ours.lead_id and asked.kind = 'service'
        inner join brushing_services as served on served.merchant_id = ours.merchant_id and served.service_id = asked.group_id
        """,
        ("merchant_id",),
        "merchant_id, buyer_id",
    ),
    "listings": Section(
        "Listings",
        {
            **_same(
                "rated_listings",
                "listing_id",
                "merchant_id",
                "title",
                "brand",
                "category",
                "price",
                "currency",
                "score",
            ),
            **_same("rated_listings", "band", "expected_precision", "reasons", "url"),
            **_same(
                "expected_harms",
                "is_listed",
                "price_usd",
                "unit_count",
                "seriousness",
                "stake_usd",
                "expected_harm_usd",
            ),
            **_same("listings", "condition", "ships_from", "ships_to", "stock", "listed_at"),
        },
        """
        select
            goods.lead_id, goods.listing_id, goods.merchant_id, rated.title, rated.brand, rated.category, rated.price,
            rated.currency,
            rated.score, rated.band, rated.expected_precision, rated.reasons, rated.url, harms.is_listed, harms.price_usd,
            harms.unit_count, harms.seriousness, harms.stake_usd, harms.expected_harm_usd, listings.condition,
            listings.ships_from,
            listings.ships_to, listings.stock, listings.listed_at
        from goods
        inner join rated_listings as rated using (listing_id)
        left join expected_harms as harms using (listing_id)
        left join now_listings as listings using (listing_id)
        """,
        ("listing_id",),
        "is_listed desc, expected_harm_usd desc nulls last, score desc, listing_id",
    ),
    "discrepancies": Section(
        "What contradicts the listings",
        _same("discrepancies", "listing_id", "field", "claimed", "expected", "reference", "apart_ratio", "words"),
        """
        select
            goods.lead_id, found.listing_id, found.field, found.claimed, found.expected, found.reference, found.apart_ratio,
            found.words
        from goods inner join discrepancies as found using (listing_id)
        where $audience <> 'brand' or found.reference = 'brand'
        """,
        ("listing_id",),
        "listing_id, reference, field",
    ),
    "pictures": Section(
        "Pictures",
        _same("listing_images", "image_id", "listing_id", "role", "sha256", "uri"),
        """
        select goods.lead_id, images.image_id, images.listing_id, images.role, images.sha256, images.uri
        from goods inner join now_listing_images as images using (listing_id)
        """,
        ("listing_id",),
        "listing_id, role = 'main' desc, image_id",
    ),
    "test_buys": Section(
        "Test buys",
        _same(
            "test_buys",
            "test_buy_id",
            "listing_id",
            "ordered_at",
            "verdict",
            "decided_at",
            "cost",
            "currency",
            "evidence_uri",
        )
        | _same("test_buys", "plan_id", "arm", "inclusion_probability"),
        """
        select
            goods.lead_id, bought.test_buy_id, bought.listing_id, bought.ordered_at,
            case when cast(bought.decided_at as date) <= $as_of then bought.verdict end as verdict,
            case when cast(bought.decided_at as date) <= $as_of then bought.decided_at end as decided_at,
            bought.cost, bought.currency, bought.evidence_uri, bought.plan_id, bought.arm, bought.inclusion_probability
        from goods inner join now_test_buys as bought using (listing_id)
        where cast(bought.ordered_at as date) <= $as_of
        """,
        ("listing_id", "verdict"),
        "ordered_at, test_buy_id",
    ),
    "notices": Section(
        "Notices",
        _same(
            "notices", "notice_id", "listing_id", "brand_id", "kind", "submitted_at", "outcome", "reason", "decided_at"
        ),
        """
        select
            goods.lead_id, notices.notice_id, notices.listing_id, notices.brand_id, notices.kind, notices.submitted_at,
            case when cast(notices.decided_at as date) <= $as_of then notices.outcome else 'pending' end as outcome,
            case when cast(notices.decided_at as date) <= $as_of then notices.reason end as reason,
            case when cast(notices.decided_at as date) <= $as_of then notices.decided_at end as decided_at
        from goods inner join now_notices as notices using (listing_id)
        where
            cast(notices.submitted_at as date) <= $as_of
            and ($audience <> 'brand'
                or notices.brand_id in (select brand_id from now_brands where lower(name) = lower($brand)))
        """,
        ("listing_id",),
        "submitted_at, notice_id",
    ),
    "decisions": Section(
        "Decisions of moderators",
        _same("moderation_decisions", "entity_kind", "entity_id", "violation_type", "decided_at", "verdict", "reason"),
        """
        with subjects as (
            select lead_id, 'listing' as entity_kind, listing_id as entity_id from goods
            union all
            select lead_id, 'merchant', merchant_id from ours where $audience <> 'brand'
        )
        select
            subjects.lead_id, decided.entity_kind, decided.entity_id, decided.violation_type, decided.decided_at,
            decided.verdict, decided.reason
        from subjects inner join now_moderation_decisions as decided using (entity_kind, entity_id)
        where cast(decided.decided_at as date) <= $as_of
        """,
        ("entity_id",),
        "decided_at, entity_kind, entity_id, violation_type",
    ),
    "actions": Section(
        "What the platform did",
        _same("platform_actions", "action_id", "entity_kind", "entity_id", "kind", "occurred_at", "reason"),
        """
        with subjects as (
            select lead_id, 'listing' as entity_kind, listing_id as entity_id from goods
            union all
            select lead_id, 'merchant', merchant_id from ours where $audience <> 'brand'
        )
        select subjects.lead_id, done.action_id, done.entity_kind, done.entity_id, done.kind, done.occurred_at, done.reason
        from subjects inner join now_platform_actions as done using (entity_kind, entity_id)
        where cast(done.occurred_at as date) <= $as_of
        """,
        ("entity_id",),
        "occurred_at, action_id",
    ),
    "enforcement": Section(
        "What authorities did",
        _same(
            "enforcement_actions",
            "action_id",
            "merchant_id",
            "authority",
            "kind",
            "occurred_at",
            "seized_value",
            "seized_items",
        )
        | _same("enforcement_actions", "currency", "suspects"),
        """
        select
            ours.lead_id, done.action_id, done.merchant_id, done.authority, done.kind, done.occurred_at, done.seized_value,
            done.seized_items, done.currency, done.suspects
        from ours inner join now_enforcement_actions as done using (merchant_id)
        where cast(done.occurred_at as date) <= $as_of
        """,
        ("merchant_id",),
        "occurred_at, action_id",
    ),
    "appeals": Section(
        "Appeals",
        _same(
            "appeals",
            "appeal_id",
            "entity_kind",
            "entity_id",
            "violation_type",
            "submitted_at",
            "outcome",
            "reason",
            "decided_at",
        ),
        """
        with subjects as (
            select lead_id, 'listing' as entity_kind, listing_id as entity_id from goods
            union all
            select lead_id, 'merchant', merchant_id from ours
        )
        select
            subjects.lead_id, appeals.appeal_id, appeals.entity_kind, appeals.entity_id, appeals.violation_type,
            appeals.submitted_at,
            case when cast(appeals.decided_at as date) <= $as_of then appeals.outcome else 'pending' end as outcome,
            case when cast(appeals.decided_at as date) <= $as_of then appeals.reason end as reason,
            case when cast(appeals.decided_at as date) <= $as_of then appeals.decided_at end as decided_at
        from subjects inner join now_appeals as appeals using (entity_kind, entity_id)
        where cast(appeals.submitted_at as date) <= $as_of
        """,
        ("entity_id",),
        "submitted_at, appeal_id",
    ),
    "cases": Section(
        "Cases in court",
        _same(
            "cases",
            "case_id",
            "merchant_id",
            "stage",
            "stage_at",
            "plaintiff",
            "defendant",
            "violation_type",
            "court",
            "claim",
            "amount",
        )
        | _same("cases", "currency"),
        """
        select
            ours.lead_id, cases.case_id, cases.merchant_id, cases.stage, cases.stage_at, cases.plaintiff,
            cases.defendant, cases.violation_type,
            cases.court, cases.claim, cases.amount, cases.currency
        from ours inner join now_cases as cases using (merchant_id)
        where cast(cases.stage_at as date) <= $as_of
        """,
        ("case_id",),
        "stage_at, case_id, merchant_id",
    ),
    "transactions": Section(
        "Suspected transactions",
        _same(
            "brushed_orders",
            "review_key",
            "order_id",
            "review_id",
            "listing_id",
            "merchant_id",
            "buyer_id",
            "occurred_date",
            "score",
        ),
        """
        select
            ours.lead_id, transactions.review_key, transactions.order_id, transactions.review_id, transactions.listing_id,
            transactions.merchant_id,
            transactions.buyer_id,
            transactions.occurred_date, transactions.score
        from ours inner join brushed_orders as transactions using (merchant_id)
        """,
        ("merchant_id",),
        "occurred_date, review_key",
    ),
    "hand_overs": Section(
        "To whom the lead went",
        _same("lead_hand_overs", "recipient", "handed_over_at", "audience"),
        """
        select asked.lead_id, given.recipient, given.handed_over_at, given.audience
        from asked inner join now_lead_hand_overs as given using (lead_id)
        """,
        ("recipient",),
        "handed_over_at, recipient",
    ),
    "history": Section(
        "History of the lead",
        {
            **_same("lead_changes", "as_of_date", "change", "merchant_count", "expected_harm_usd"),
            "other_lead_id": "lead_changes.other_lead_id",
        },
        """
        select
            asked.lead_id, changes.as_of_date, changes.change, changes.merchant_count, changes.expected_harm_usd,
            changes.other_lead_id
        from asked inner join lead_changes as changes using (lead_id)
        """,
        ("as_of_date",),
        "as_of_date",
    ),
}
ACTIONS = """
select
    'listing' as entity_kind, goods.lead_id, goods.listing_id as entity_id, 'counterfeit' as violation_type,
    listed.action as kind,
    listed.first_flagged_date as at, listed.score, listed.reasons, listings.ships_to
from goods inner join listed_listings as listed using (listing_id) left join now_listings as listings using (listing_id)
union all
select 'merchant', ours.lead_id, ours.merchant_id, 'counterfeit', listed.action, listed.first_flagged_date, listed.score,
listed.reasons, null
from ours inner join listed_merchants as listed using (merchant_id) where $audience <> 'brand'
union all
select 'merchant', ours.lead_id, ours.merchant_id, 'brushing', listed.action, listed.first_flagged_date, listed.score,
listed.reasons, null
from ours inner join listed_brushing_merchants as listed using (merchant_id) where $audience <> 'brand'
order by all
"""
