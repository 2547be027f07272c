"""Sections of an evidence pack: who reads it, which rows and columns that reader gets, and the SQL of each table.

The rows are chosen in one place (`MERCHANTS_IN_SCOPE`, `LISTINGS_IN_SCOPE`), the columns in `expectations/audiences.yml`:
every column of every section names the column that it comes from.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from expectations.audiences import Audience
from touchstone.core.errors import BadInputError


@dataclass(frozen=True)
class Reader:
    """Who reads an evidence pack.

    Attributes:
        audience: Internal, a brand or an authority.
        brand: The name of the brand; only for a brand.
        jurisdiction: The country, ISO 3166 alpha-2; only for an authority.
    """

    audience: Audience
    brand: str | None = None
    jurisdiction: str | None = None

    def __post_init__(self) -> None:
        """Refuses a reader without its name, or with another kind's."""
        expected = {"internal": (False, False), "brand": (True, False), "authority": (False, True)}[self.audience]
        if (self.brand is not None, self.jurisdiction is not None) != expected:
            raise BadInputError(
                f"--audience {self.audience}: a brand needs --brand NAME, an authority --jurisdiction COUNTRY, and internal "
                "neither."
            )
        if self.jurisdiction is not None and not re.fullmatch(r"[A-Z]{2}", self.jurisdiction):
            raise BadInputError(
                f"--jurisdiction {self.jurisdiction!r}: not a country code. Use ISO 3166 alpha-2, such as DE."
            )

    @property
    def name(self) -> str:
        """The name of the reader on a pack."""
        return {
            "internal": "internal",
            "brand": f"brand {self.brand}",
            "authority": f"authority of {self.jurisdiction}",
        }[self.audience]


# Row scope: the only place where rows are chosen --------------------------------------------------------------------

MERCHANTS_IN_SCOPE = """
create temp table visible_merchants as
select members.lead_id, members.merchant_id
from lead_merchants as members
inner join requested_leads on requested_leads.lead_id = members.lead_id
where
    $audience = 'internal'
    or ($audience = 'authority' and members.merchant_id in (select merchant_id from now_merchants where country = $jurisdiction))
    or ($audience = 'brand' and members.merchant_id in (
        select merchant_id from rated_listings where lower(brand) = lower($brand)))
"""
LISTINGS_IN_SCOPE = """
create temp table visible_listings as
select visible_merchants.lead_id, listings.listing_id, visible_merchants.merchant_id
from visible_merchants
inner join now_listings as listings on listings.merchant_id = visible_merchants.merchant_id
where
    cast(listings.listed_at as date) <= $as_of
    and ($audience <> 'brand' or listings.listing_id in (select listing_id from rated_listings where lower(brand) =
    lower($brand)))
"""
"""An authority sees the merchants of its country. A brand sees the merchants that offer its products, and of these only the
listings of
its products."""


@dataclass(frozen=True)
class Section:
    """A table of an evidence pack.

    Attributes:
        title: Its heading on the page.
        columns: The origin of each column, as `table.column` of `audiences.yml`; a reader gets only the columns it may see.
        query: SQL of `lead_id` and these columns over `visible_merchants`, `visible_listings`, the marts and the newest landed
        rows.
        key: The columns that it needs: a reader who may not see one of them does not get the section.
        order_by: A total order of its rows.
    """

    title: str
    columns: Mapping[str, str]
    query: str
    key: tuple[str, ...]
    order_by: str


@dataclass
class EvidencePack:
    """Everything that a reader gets of a lead, by section, filtered by row and column."""

    lead: dict[str, Any]
    reader: Reader
    as_of: dt.date
    sections: dict[str, pa.Table]
    actions: list[dict[str, Any]]
    sources: dict[str, Any]
    images: dict[str, bytes] = field(default_factory=dict)
    """Contents of the available images, by digest."""
    missing_images: int = 0
    merchant_count: int = 0
    """Number of merchants of the marketplace, for comparison with the number that share a value."""

    def rows(self, section: str) -> list[dict[str, Any]]:
        """Returns the rows of a section; empty if the reader does not get it."""
        return self.sections[section].to_pylist() if section in self.sections else []


def _columns_of(table: str, *columns: str) -> dict[str, str]:
    return {column: f"{table}.{column}" for column in columns}


SECTIONS: Final[Mapping[str, Section]] = {
    "merchants": Section(
        "Merchants",
        {
            "merchant_id": "merchants.merchant_id",
            **_columns_of("lead_merchants", "role", "since_date"),
            **_columns_of("merchants", "name", "country", "region", "city", "registered_at"),
            **_columns_of(
                "lead_merchants", "score", "brushing_score", "is_listed", "is_brushing_listed", "listing_count"
            ),
            **_columns_of(
                "lead_merchants", "listed_listing_count", "listed_transaction_count", "unit_count", "expected_harm_base"
            ),
            **_columns_of("rated_merchants", "band", "expected_precision", "reasons"),
        },
        """
        select
            visible_merchants.lead_id, visible_merchants.merchant_id, members.role, members.since_date, merchants.name,
            merchants.country, merchants.region, merchants.city, merchants.registered_at, members.score,
            members.brushing_score, members.is_listed, members.is_brushing_listed, members.listing_count,
            members.listed_listing_count, members.listed_transaction_count, members.unit_count, members.expected_harm_base,
            rated.band, rated.expected_precision, rated.reasons
        from visible_merchants
        inner join lead_merchants as members using (lead_id, merchant_id)
        left join now_merchants as merchants using (merchant_id)
        left join rated_merchants as rated using (merchant_id)
        """,
        ("merchant_id",),
        "expected_harm_base desc, merchant_id",
    ),
    "links": Section(
        "Links and their rarity",
        _columns_of(
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
            select visible_merchants.lead_id, ties.*
            from merchant_ties as ties inner join visible_merchants on visible_merchants.merchant_id = ties.merchant_id_a
            union
            select visible_merchants.lead_id, ties.*
            from merchant_ties as ties inner join visible_merchants on visible_merchants.merchant_id = ties.merchant_id_b
        )
        select ends.* exclude (as_of_date), a.merchant_id is not null and b.merchant_id is not null as is_within
        from ends
        left join visible_merchants as a on a.lead_id = ends.lead_id and a.merchant_id = ends.merchant_id_a
        left join visible_merchants as b on b.lead_id = ends.lead_id and b.merchant_id = ends.merchant_id_b
        where $audience = 'internal' or (
            ends.merchant_id_a in (select merchant_id from now_merchants where country = $jurisdiction)
            and ends.merchant_id_b in (select merchant_id from now_merchants where country = $jurisdiction))
        """,
        ("merchant_id_a", "merchant_id_b"),
        "is_within desc, bearer_count, merchant_id_a, merchant_id_b, kind",
    ),
    "accounts": Section(
        "Buyer accounts of the service",
        _columns_of(
            "brushing_services",
            "buyer_id",
            "merchant_id",
            "transaction_count",
            "since_date",
            "shares_device",
            "shares_payer",
        )
        | _columns_of("brushing_services", "repeated_text_count", "buyer_merchant_count"),
        """
        select
            visible_merchants.lead_id, service.buyer_id, service.merchant_id, service.transaction_count, service.since_date,
            service.shares_device, service.shares_payer, service.repeated_text_count, service.buyer_merchant_count
        from visible_merchants
        inner join requested_leads on requested_leads.lead_id = visible_merchants.lead_id and requested_leads.kind = 'service'
        inner join brushing_services as service on service.merchant_id = visible_merchants.merchant_id and service.service_id =
        requested_leads.group_id
        """,
        ("merchant_id",),
        "merchant_id, buyer_id",
    ),
    "listings": Section(
        "Listings",
        {
            **_columns_of(
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
            **_columns_of("rated_listings", "band", "expected_precision", "reasons", "url"),
            **_columns_of(
                "expected_harms",
                "is_listed",
                "price_base",
                "unit_count",
                "seriousness",
                "stake_base",
                "expected_harm_base",
            ),
            **_columns_of("listings", "condition", "ships_from", "ships_to", "stock", "listed_at"),
        },
        """
        select
            visible_listings.lead_id, visible_listings.listing_id, visible_listings.merchant_id, rated.title, rated.brand,
            rated.category, rated.price, rated.currency,
            rated.score, rated.band, rated.expected_precision, rated.reasons, rated.url, harms.is_listed, harms.price_base,
            harms.unit_count, harms.seriousness, harms.stake_base, harms.expected_harm_base, listings.condition,
            listings.ships_from,
            listings.ships_to, listings.stock, listings.listed_at
        from visible_listings
        inner join rated_listings as rated using (listing_id)
        left join expected_harms as harms using (listing_id)
        left join now_listings as listings using (listing_id)
        """,
        ("listing_id",),
        "is_listed desc, expected_harm_base desc nulls last, score desc, listing_id",
    ),
    "discrepancies": Section(
        "Discrepancies of the listings",
        _columns_of(
            "discrepancies",
            "listing_id",
            "field",
            "claimed",
            "expected",
            "reference",
            "apart_ratio",
            "picture_sha256",
            "region",
            "words",
        ),
        """
        select
            visible_listings.lead_id, discrepancies.listing_id, discrepancies.field, discrepancies.claimed,
            discrepancies.expected, discrepancies.reference, discrepancies.apart_ratio, discrepancies.picture_sha256,
            discrepancies.region, discrepancies.words
        from visible_listings inner join discrepancies using (listing_id)
        where $audience <> 'brand' or discrepancies.reference = 'brand'
        """,
        ("listing_id",),
        "listing_id, reference, field",
    ),
    "images": Section(
        "Images",
        _columns_of("listing_images", "image_id", "listing_id", "role", "sha256", "uri"),
        """
        select visible_listings.lead_id, images.image_id, images.listing_id, images.role, images.sha256, images.uri
        from visible_listings inner join now_listing_images as images using (listing_id)
        """,
        ("listing_id",),
        "listing_id, role = 'main' desc, image_id",
    ),
    "test_buys": Section(
        "Test buys",
        _columns_of(
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
        | _columns_of("test_buys", "plan_id", "arm", "inclusion_probability"),
        """
        select
            visible_listings.lead_id, test_buys.test_buy_id, test_buys.listing_id, test_buys.ordered_at,
            case when cast(test_buys.decided_at as date) <= $as_of then test_buys.verdict end as verdict,
            case when cast(test_buys.decided_at as date) <= $as_of then test_buys.decided_at end as decided_at,
            test_buys.cost, test_buys.currency, test_buys.evidence_uri, test_buys.plan_id, test_buys.arm,
            test_buys.inclusion_probability
        from visible_listings inner join now_test_buys as test_buys using (listing_id)
        where cast(test_buys.ordered_at as date) <= $as_of
        """,
        ("listing_id", "verdict"),
        "ordered_at, test_buy_id",
    ),
    "notices": Section(
        "Notices",
        _columns_of(
            "notices", "notice_id", "listing_id", "brand_id", "kind", "submitted_at", "outcome", "reason", "decided_at"
        ),
        """
        select
            visible_listings.lead_id, notices.notice_id, notices.listing_id, notices.brand_id, notices.kind, notices.submitted_at,
            case when cast(notices.decided_at as date) <= $as_of then notices.outcome else 'pending' end as outcome,
            case when cast(notices.decided_at as date) <= $as_of then notices.reason end as reason,
            case when cast(notices.decided_at as date) <= $as_of then notices.decided_at end as decided_at
        from visible_listings inner join now_notices as notices using (listing_id)
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
        _columns_of(
            "moderation_decisions", "entity_kind", "entity_id", "violation_type", "decided_at", "verdict", "reason"
        ),
        """
        with subjects as (
            select lead_id, 'listing' as entity_kind, listing_id as entity_id from visible_listings
            union all
            select lead_id, 'merchant', merchant_id from visible_merchants where $audience <> 'brand'
        )
        select
            subjects.lead_id, decisions.entity_kind, decisions.entity_id, decisions.violation_type, decisions.decided_at,
            decisions.verdict, decisions.reason
        from subjects inner join now_moderation_decisions as decisions using (entity_kind, entity_id)
        where cast(decisions.decided_at as date) <= $as_of
        """,
        ("entity_id",),
        "decided_at, entity_kind, entity_id, violation_type",
    ),
    "actions": Section(
        "Actions of the platform",
        _columns_of("platform_actions", "action_id", "entity_kind", "entity_id", "kind", "occurred_at", "reason"),
        """
        with subjects as (
            select lead_id, 'listing' as entity_kind, listing_id as entity_id from visible_listings
            union all
            select lead_id, 'merchant', merchant_id from visible_merchants where $audience <> 'brand'
        )
        select subjects.lead_id, actions.action_id, actions.entity_kind, actions.entity_id, actions.kind, actions.occurred_at,
        actions.reason from subjects inner join now_platform_actions as actions using (entity_kind, entity_id)
        where cast(actions.occurred_at as date) <= $as_of
        """,
        ("entity_id",),
        "occurred_at, action_id",
    ),
    "enforcement": Section(
        "Actions of authorities",
        _columns_of(
            "enforcement_actions",
            "action_id",
            "merchant_id",
            "authority",
            "kind",
            "violation_type",
            "occurred_at",
            "seized_value",
            "seized_items",
        )
        | _columns_of("enforcement_actions", "currency", "suspects"),
        """
        select
            visible_merchants.lead_id, actions.action_id, actions.merchant_id, actions.authority, actions.kind,
            coalesce(actions.violation_type, 'counterfeit') as violation_type, actions.occurred_at, actions.seized_value,
            actions.seized_items, actions.currency, actions.suspects
        from visible_merchants inner join now_enforcement_actions as actions using (merchant_id)
        where cast(actions.occurred_at as date) <= $as_of
        """,
        ("merchant_id",),
        "occurred_at, action_id",
    ),
    "appeals": Section(
        "Appeals",
        _columns_of(
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
            select lead_id, 'listing' as entity_kind, listing_id as entity_id from visible_listings
            union all
            select lead_id, 'merchant', merchant_id from visible_merchants
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
        _columns_of(
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
        | _columns_of("cases", "currency"),
        """
        select
            visible_merchants.lead_id, cases.case_id, cases.merchant_id, cases.stage, cases.stage_at, cases.plaintiff,
            cases.defendant, cases.violation_type,
            cases.court, cases.claim, cases.amount, cases.currency
        from visible_merchants inner join now_cases as cases using (merchant_id)
        where cast(cases.stage_at as date) <= $as_of
        """,
        ("case_id",),
        "stage_at, case_id, merchant_id",
    ),
    "transactions": Section(
        "Suspected transactions",
        _columns_of(
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
            visible_merchants.lead_id, transactions.review_key, transactions.order_id, transactions.review_id,
            transactions.listing_id, transactions.merchant_id,
            transactions.buyer_id,
            transactions.occurred_date, transactions.score
        from visible_merchants inner join brushed_orders as transactions using (merchant_id)
        """,
        ("merchant_id",),
        "occurred_date, review_key",
    ),
    "hand_overs": Section(
        "Hand-overs",
        _columns_of("lead_hand_overs", "recipient", "handed_over_at", "audience"),
        """
        select requested_leads.lead_id, hand_overs.recipient, hand_overs.handed_over_at, hand_overs.audience
        from requested_leads inner join now_lead_hand_overs as hand_overs using (lead_id)
        """,
        ("recipient",),
        "handed_over_at, recipient",
    ),
    "history": Section(
        "History of the lead",
        {
            **_columns_of("lead_changes", "as_of_date", "change", "merchant_count", "expected_harm_base"),
            "other_lead_id": "lead_changes.other_lead_id",
        },
        """
        select
            requested_leads.lead_id, changes.as_of_date, changes.change, changes.merchant_count, changes.expected_harm_base,
            changes.other_lead_id
        from requested_leads inner join lead_changes as changes using (lead_id)
        """,
        ("as_of_date",),
        "as_of_date",
    ),
}
ACTIONS = """
select
    'listing' as entity_kind, visible_listings.lead_id, visible_listings.listing_id as entity_id, 'counterfeit' as violation_type,
    listed.action as kind,
    listed.first_flagged_date as at, listed.score, listed.reasons, listings.ships_to
from visible_listings inner join listed_listings as listed using (listing_id) left join now_listings as listings using
(listing_id) union all
select 'merchant', visible_merchants.lead_id, visible_merchants.merchant_id, 'counterfeit', listed.action,
listed.first_flagged_date, listed.score, listed.reasons, null
from visible_merchants inner join listed_merchants as listed using (merchant_id) where $audience <> 'brand'
union all
select 'merchant', visible_merchants.lead_id, visible_merchants.merchant_id, 'brushing', listed.action,
listed.first_flagged_date, listed.score, listed.reasons, null
from visible_merchants inner join listed_brushing_merchants as listed using (merchant_id) where $audience <> 'brand'
order by all
"""
