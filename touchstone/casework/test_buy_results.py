"""Results of test buys: records the verdicts of a completed buy sheet, and estimates the prevalence of counterfeits from them.

Verdicts enter as rows of the contract's `test_buys`, with the inclusion probabilities that the plan drew them by.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ml.sampling import Estimate, prevalence, times_for_half
from touchstone.casework.outcomes import record_rows
from touchstone.casework.plans import Pick, Plan, Row, Sheet, read_sheet
from touchstone.casework.test_buys import CERTAIN, create_landed_views, read_buys_plan
from touchstone.core.settings import Settings
from touchstone.landing.land import Recorded

VERDICTS = ("genuine", "counterfeit", "inconclusive", "delisted")
SHEET = Sheet(
    name="buy_sheet.csv",
    noun="listing",
    key="listing_id",
    needed=("plan_id", "listing_id", "verdict", "ordered_at"),
    filled_by=("verdict", "ordered_at"),
)


def record_test_buys(settings: Settings, file: Path, *, is_dry: bool = False) -> Recorded:
    """Records the verdicts of a completed buy sheet atomically. Rows that are not filled in yet are ignored.

    Args:
        settings: The settings; the caller holds the home's lock.
        file: CSV with plan_id, listing_id, verdict and ordered_at, and optionally decided_at, paid, paid_currency and
            evidence_uri; other columns are ignored.
        is_dry: Only check and count; record nothing.

    Returns:
        The counts, and the load if one was recorded.

    Raises:
        BadInputError: The file cannot be read, or a row is invalid: an unknown or repeated listing, an unknown verdict, or a
            verdict without a time.
    """
    completed = read_sheet(file, SHEET, partial(read_buys_plan, settings), _problem)
    rows = [_test_buy(row, pick, plan) for row, pick, plan in completed]
    return record_rows(settings, "test_buys", rows, label=file.name, is_dry=is_dry)


def _problem(row: Row) -> str | None:
    """Returns the error in the values of a row of a buy sheet, or None."""
    verdict = row["verdict"]
    if verdict and verdict not in VERDICTS:
        return f"verdict {verdict!r} is not one of {', '.join(VERDICTS)}"
    if verdict and not row.get("decided_at"):
        return f"the verdict {verdict} has no decided_at; give the time of the verdict"
    if not row["ordered_at"] and verdict != "delisted":
        return f"the verdict {verdict} has no ordered_at; give the time of the order"
    return None


def _test_buy(row: Row, pick: Pick, plan: Plan) -> dict[str, object]:
    """Returns a row of the contract's table test_buys, from a row of the sheet and its pick."""
    is_delisted = row["verdict"] == "delisted"
    paid = row.get("paid") or (None if is_delisted else str(pick["cost"]))
    return {
        "test_buy_id": f"{plan.plan_id}-{pick['listing_id']}",
        "listing_id": pick["listing_id"],
        "plan_id": plan.plan_id,
        "arm": pick["arm"],
        "inclusion_probability": pick["inclusion_probability"],
        "ordered_at": row["ordered_at"] or row["decided_at"],
        "verdict": row["verdict"] or None,
        "decided_at": row.get("decided_at") or None,
        "cost": paid,
        "currency": (row.get("paid_currency") or plan.facts["currency"]) if paid else None,
        "evidence_uri": row.get("evidence_uri") or None,
    }


BOUGHT = """
select
    picks.*,
    test_buys.verdict,
    test_buys.ordered_at,
    test_buys.cost as paid,
    test_buys.currency as paid_currency
from read_parquet($picks) as picks
left join (
    select * from landed.test_buys
    where plan_id = $plan_id
    qualify row_number() over (partition by test_buy_id order by landed_at desc) = 1
) as test_buys
    on test_buys.test_buy_id = picks.plan_id || '-' || picks.listing_id
order by picks.listing_id
"""


def report_test_buys(settings: Settings, plan_id: str | None = None) -> dict[str, Any]:
    """Estimates prevalence, hit rates and costs from a plan's verdicts, and the budget for a narrower interval.

    The prevalence weights each pick by its inclusion probability; picks without a verdict are represented by the other picks of
    their stratum.

    Args:
        settings: The settings.
        plan_id: The plan; by default the newest.

    Returns:
        The estimates as plain data.

    Raises:
        BadInputError: There is no such plan.
    """
    plan = read_buys_plan(settings, plan_id)
    with duckdb.connect(":memory:") as connection:
        create_landed_views(connection, settings)
        picks = str(plan.folder / "picks.parquet")
        rows = connection.execute(BOUGHT, {"picks": picks, "plan_id": plan.plan_id}).to_arrow_table()
    verdict = np.array(rows["verdict"].to_pylist(), dtype=object)
    names, stratum = np.unique(np.array(rows["stratum"].to_pylist(), dtype=object).astype(str), return_inverse=True)
    stratum = np.where(names[stratum] == CERTAIN, -1, stratum)
    probability, risk = rows["inclusion_probability"].to_numpy(), rows["risk"].to_numpy()
    hit, answered = verdict == "counterfeit", np.isin(verdict, ("counterfeit", "genuine"))
    category = np.array([name or "without category" for name in rows["category"].to_pylist()], dtype=object)

    def share(domain: Any = None) -> Estimate:
        return prevalence(stratum, probability, risk, hit, answered, domain)

    overall = share()
    times = times_for_half(overall)
    bands = np.minimum((risk * 10).astype(int), 9) * 10
    arms = np.array(rows["arm"].to_pylist(), dtype=object)
    ordered = np.array([ordered_at is not None for ordered_at in rows["ordered_at"].to_pylist()])
    unanswered = np.setdiff1d(stratum[~answered], stratum[answered])
    return {
        "plan_id": plan.plan_id,
        "as_of": plan.facts["as_of"],
        "picks": rows.num_rows,
        "bought": int((ordered & (verdict != "delisted")).sum()),
        "verdicts": {name: int((verdict == name).sum()) for name in VERDICTS},
        "pending": int(rows["verdict"].null_count),
        "strata_without_verdict": len(unanswered),
        "prevalence": _estimate_facts(overall),
        "prevalence_by_category": {
            str(name): _estimate_facts(share(category == name)) for name in sorted(set(category))
        },
        "hit_rate_by_arm": _rates(arms, hit, answered),
        "hit_rate_by_band": _rates(np.array([f"{band:>3}" for band in bands], dtype=object), hit, answered),
        **_costs(rows, hit, plan, None if np.isnan(times) else times),
    }


def _estimate_facts(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if isnan(value) else round(value, 6) for name, value in asdict(estimate).items()}


def _rates(groups: Any, hit: Any, answered: Any) -> dict[str, dict[str, float]]:
    """Returns the number of verdicts and the share of counterfeits, by arm or band; groups without a verdict are left out."""
    rates = {}
    for name in sorted(set(groups.tolist())):
        members = (groups == name) & answered
        if verdicts := int(members.sum()):
            rates[str(name).strip()] = {"verdicts": verdicts, "share": round(float(hit[members].sum()) / verdicts, 4)}
    return rates


def _costs(rows: pa.Table, hit: Any, plan: Plan, times: float | None) -> dict[str, Any]:
    """Returns the total paid in the plan's currency, the cost per counterfeit, and the budget that would halve the interval."""
    currency = plan.facts["currency"]
    amounts = zip(rows["paid"].to_pylist(), rows["paid_currency"].to_pylist(), strict=True)
    paid = [float(amount) for amount, paid_currency in amounts if amount is not None and paid_currency == currency]
    others = sum(other not in (None, currency) for other in rows["paid_currency"].to_pylist())
    total, counterfeits = round(sum(paid), 2), int(hit.sum())
    return {
        "currency": currency,
        "paid": total,
        "paid_in_other_currencies_count": others,
        "paid_per_counterfeit": round(total / counterfeits, 2) if counterfeits else None,
        "budget": plan.facts["budget"],
        "budget_for_half_the_interval": None if times is None else round(plan.facts["budget"] * times, -2),
    }
