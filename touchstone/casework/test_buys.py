"""Test buys: plans which listings to buy for examination, by a random draw with known inclusion probabilities.

    test_buys/<plan_id>/{plan.json,picks.parquet,buy_sheet.csv,buy_sheet.html}

This module builds the sampling frame (the active listings of a rated day, with the cost and the risk of each) and writes the
plan; `ml/sampling.py` draws it. `test_buy_results` records the verdicts and estimates from them. The same frame, design and seed
give the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment

from expectations.contract import load_contract
from ml.sampling import Design, Strata, design_strata, draw
from touchstone.casework.currencies import base_currency
from touchstone.casework.plans import (
    WINDOW_DAYS,
    Plan,
    earlier_picks,
    frame_digest,
    plan_id_of,
    read_plan,
    sampling_frame,
    seed_of,
    with_risks,
)
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.failpoints import failpoint
from touchstone.core.files import open_regular, replacing_directory, write_json
from touchstone.core.home import Home
from touchstone.core.settings import Settings
from touchstone.core.text import visible_in_html, visible_values
from touchstone.landing.views import open_landed_views
from touchstone.publishing.candidate import csv_bytes

PLANS_COMMAND = "touchstone test-buys plan --budget 20000"
CERTAIN = "certain"
SHEET_TEMPLATE = Path(__file__).with_name("buy_sheet.html")
SHEET_COLUMNS = ("verdict", "ordered_at", "decided_at", "paid", "paid_currency", "evidence_uri")
"""Columns of the buy sheet that the buyer fills in; the plan fills the others."""

FRAME = """
select
    rated.listing_id,
    rated.merchant_id,
    rated.title,
    rated.url,
    rated.brand,
    coalesce(rated.category, '') as category,
    rated.price,
    rated.currency,
    round(features.price_base / $rate, 2) as cost,
    rated.score
from read_parquet($rated, hive_partitioning = false) as rated
inner join read_parquet($features, hive_partitioning = false) as features
    on features.listing_id = rated.listing_id
where rated.score is not null
"""

# Listings that the user chose are bought again even if they were bought recently.
CANDIDATES = """
create table candidates as
select
    active.*,
    coalesce(active.cost, 0) > 0 as has_cost,
    bought.listing_id is not null and certain.listing_id is null as is_bought
from active
left join (select distinct listing_id from bought) as bought
    on bought.listing_id = active.listing_id
left join (select distinct listing_id from certain) as certain
    on certain.listing_id = active.listing_id
"""


@dataclass(frozen=True)
class Request:
    """The parameters of a plan.

    Attributes:
        budget: Maximum cost of all buys.
        currency: Currency of the budget and of all costs, ISO 4217.
        as_of: The day whose active listings form the frame.
        seed: Seed of the draw; None derives it from the frame and the day.
        certain: Listings that are bought with certainty.
        merchant_cap: Maximum number of buys from one merchant.
        window_days: A listing is not bought twice within this many days.
    """

    budget: float
    currency: str
    as_of: date
    seed: int | None = None
    certain: tuple[str, ...] = ()
    merchant_cap: int = 2
    window_days: int = WINDOW_DAYS


def plan_test_buys(settings: Settings, request: Request) -> Plan:
    """Draws a plan and writes it with its buy sheet. The same request over the same frame gives the existing plan.

    Args:
        settings: The settings; the caller holds the home's lock.
        request: The parameters.

    Returns:
        The plan as read back.

    Raises:
        BadInputError: The day was not rated, a certain listing is not active, the currency has no exchange rate, or the budget
            or the caps allow too few buys.
    """
    frame, counts = frame_of(settings, request)
    design = Design(budget=request.budget, merchant_cap=request.merchant_cap)
    strata = design_strata(sampling_frame(frame, "listing_id", request.certain), design)
    digest = frame_digest(frame.select(["listing_id", "merchant_id", "category", "cost", "risk"]))
    seed = seed_of(request.seed, digest, request.as_of)
    drawn = draw(strata, seed)
    names = _stratum_names(frame, strata, request.currency)
    facts = {
        "budget": request.budget,
        "currency": request.currency,
        "as_of": str(request.as_of),
        "seed": seed,
        "merchant_cap": request.merchant_cap,
        "window_days": request.window_days,
        "risk_part": design.risk_part,
        "certain": sorted(request.certain),
        "frame": {"sha256": digest, **counts},
        "strata": _strata_facts(strata, names),
    }
    plan_id = plan_id_of(request.as_of, facts)
    picks = _picks(frame, strata, drawn.listing, drawn.is_risk, names, plan_id)
    folder = Home(settings.home).test_buys / plan_id
    write_plan(folder, {"plan_id": plan_id, **facts}, picks)
    return read_buys_plan(settings, plan_id)


def read_certain(file: Path | None) -> tuple[str, ...]:
    """Reads listing ids from a text file.

    Args:
        file: One id per line; empty lines and a header `listing_id` are ignored. None for no file.

    Returns:
        The ids, without repetitions.

    Raises:
        BadInputError: The file cannot be read.
    """
    if file is None:
        return ()
    try:
        with open_regular(file) as opened:
            lines = [line.strip().strip('"') for line in opened.read().decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"--certain {file} cannot be read: {error}. Give a text file with one id per line."
        ) from error
    return tuple(dict.fromkeys(line for line in lines if line not in ("", "listing_id")))


def read_buys_plan(settings: Settings, plan_id: str | None = None) -> Plan:
    """Reads a plan of test buys; see `read_plan`."""
    return read_plan(Home(settings.home).test_buys, PLANS_COMMAND, plan_id)


def frame_of(settings: Settings, request: Request) -> tuple[pa.Table, dict[str, int]]:
    """Builds the sampling frame.

    Args:
        settings: The settings.
        request: The parameters.

    Returns:
        The listings that may be bought, by listing_id; and how many were left out, by reason.

    Raises:
        BadInputError: The day was not rated, a certain listing is not active, or the currency has no exchange rate.
    """
    with duckdb.connect(":memory:") as connection:
        return _frame(connection, settings, request)


def _frame(
    connection: duckdb.DuckDBPyConnection, settings: Settings, request: Request
) -> tuple[pa.Table, dict[str, int]]:
    day = request.as_of
    rated = Home(settings.home).mart("rated_listings", day)
    features = Home(settings.home).features("listings", day)
    if not rated.is_file() or not features.is_file():
        raise BadInputError(
            f"{request.as_of} was not rated: {rated} does not exist. Run `touchstone run --as-of {request.as_of}` first."
        )
    create_landed_views(connection, settings)
    parameters = {"rated": str(rated), "features": str(features), "rate": _rate(connection, settings, request)}
    connection.execute(f"create table active as {FRAME}", parameters)
    window_start = request.as_of - timedelta(days=request.window_days)
    connection.execute(
        "create table bought as select distinct listing_id from landed.test_buys "
        "where cast(ordered_at as date) between $window_start and $as_of",
        {"window_start": window_start, "as_of": request.as_of},
    )
    if plans := earlier_picks(Home(settings.home).test_buys, window_start, request.as_of):
        connection.execute("insert into bought select listing_id from read_parquet($plans)", {"plans": plans})
    connection.execute(
        "create table certain as select unnest(cast($ids as varchar[])) as listing_id", {"ids": request.certain}
    )
    missing = connection.execute("from certain anti join active using (listing_id) order by all").fetchall()
    if missing:
        raise BadInputError(
            f"{format_count(len(missing), 'listing')} of --certain not active as of {request.as_of}: "
            f"{', '.join(row[0] for row in missing[:3])}. Remove them from the file."
        )
    connection.execute(CANDIDATES)
    active_count, costless, recent = connection.execute(
        "select count(*), count(*) filter (where not has_cost), count(*) filter (where has_cost and is_bought) from candidates"
    ).fetchall()[0]
    frame = connection.execute(
        "select * exclude (has_cost, is_bought) from candidates where has_cost and not is_bought order by listing_id"
    ).to_arrow_table()
    if not frame.num_rows:
        raise BadInputError(
            f"Nothing can be bought as of {request.as_of}: all {active_count:,} active listings lack a price or were "
            f"bought within {request.window_days} days. Choose a shorter --window or another day."
        )
    counts = {
        "listings": frame.num_rows,
        "active": active_count,
        "left_out_without_cost": costless,
        "left_out_bought_lately": recent,
    }
    return with_risks(settings, "listings", rated, frame), counts


def create_landed_views(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Creates the views of all landed tables in a connection."""
    open_landed_views(connection, settings.home, load_contract())


def _rate(connection: duckdb.DuckDBPyConnection, settings: Settings, request: Request) -> float:
    """Returns the value of one unit of the plan's currency in the base currency, by the newest rate up to the day."""
    base = base_currency(settings.home, request.as_of)
    if request.currency == base:
        return 1.0
    row = connection.execute(
        "select rate from landed.fx_rates where currency = $currency and date <= $as_of and rate > 0 order by date desc limit 1",
        {"currency": request.currency, "as_of": request.as_of},
    ).fetchone()
    if row is None:
        raise BadInputError(
            f"--currency {request.currency}: the table fx_rates has no rate up to {request.as_of}. Give the budget in "
            f"{base}."
        )
    return float(row[0])


def _stratum_names(frame: pa.Table, strata: Strata, currency: str) -> list[str]:
    categories = sorted(set(frame["category"].to_pylist()))
    return [
        f"{number:02d} {(categories[category] or 'without category') if category >= 0 else 'several categories'}, "
        f"{lower:.2f} to {upper:.2f} {currency}"
        for number, (category, lower, upper) in enumerate(
            zip(strata.category.tolist(), strata.lower_cost.tolist(), strata.upper_cost.tolist(), strict=True), start=1
        )
    ]


def _strata_facts(strata: Strata, names: Sequence[str]) -> list[dict[str, Any]]:
    sizes = np.bincount(strata.stratum[strata.stratum >= 0], minlength=len(names))
    return [
        {"stratum": name, "listings": int(size), "buys": int(number), "upper_cost": float(upper)}
        for name, size, number, upper in zip(names, sizes, strata.number, strata.upper_cost, strict=True)
    ]


def _picks(frame: pa.Table, strata: Strata, listing: Any, is_risk: Any, names: Sequence[str], plan_id: str) -> pa.Table:
    taken = frame.take(pa.array(listing))
    strata_of_picks = strata.stratum[listing].tolist()
    arms = [
        CERTAIN if stratum < 0 else "risk" if by_risk else "random"
        for stratum, by_risk in zip(strata_of_picks, is_risk.tolist(), strict=True)
    ]
    return pa.table(
        {
            "plan_id": pa.array([plan_id] * len(arms)),
            **{name: taken[name] for name in frame.column_names},
            "stratum": pa.array([CERTAIN if stratum < 0 else names[stratum] for stratum in strata_of_picks]),
            "arm": pa.array(arms),
            "inclusion_probability": pa.array(strata.probability[listing]),
        }
    )


def write_plan(folder: Path, facts: Mapping[str, Any], picks: pa.Table) -> None:
    """Writes the files of a plan, unless the plan exists already."""
    if (folder / "plan.json").is_file():
        return
    shown = ("plan_id", "listing_id", "merchant_id", "title", "url", "brand", "category", "price", "currency", "cost")
    sheet = picks.select(list(shown))
    for name in SHEET_COLUMNS:
        sheet = sheet.append_column(name, pa.array([""] * picks.num_rows))
    with failpoint("test_buys.plan", folder), replacing_directory(folder) as temporary:
        pq.write_table(picks, temporary / "picks.parquet", compression="zstd")
        (temporary / "buy_sheet.csv").write_bytes(csv_bytes(sheet))
        (temporary / "buy_sheet.html").write_text(buy_sheet_page(facts, picks.to_pylist()), encoding="utf-8")
        write_json(temporary / "plan.json", facts)


def buy_sheet_page(facts: Mapping[str, Any], picks: Sequence[Mapping[str, Any]]) -> str:
    """Returns the buy sheet as an HTML page to print."""
    environment = Environment(autoescape=True, finalize=visible_in_html)
    return environment.from_string(SHEET_TEMPLATE.read_text(encoding="utf-8")).render(
        facts=facts, picks=visible_values(picks)
    )


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Returns a plan as plain data: its id, budget, strata, and the stratum, arm, cost and probability of each pick."""
    names = ("listing_id", "stratum", "arm", "cost", "inclusion_probability")
    return {
        "plan_id": plan.plan_id,
        "budget": plan.facts["budget"],
        "currency": plan.facts["currency"],
        "seed": plan.facts["seed"],
        "frame": plan.facts["frame"],
        "strata": plan.facts["strata"],
        "picks": [{name: pick[name] for name in names} for pick in plan.picks],
        "folder": str(plan.folder),
    }
