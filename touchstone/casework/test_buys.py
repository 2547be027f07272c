"""Test buys: a plan of what to buy, the verdicts that come back, and what they say of all that is on offer.

    test_buys/<plan_id>/{plan.json,picks.parquet,buy_sheet.csv,buy_sheet.html}

How a plan is drawn and what can be told from it is `ml/sampling.py`; here are the frame that it is drawn from (the live listings
of a rated day, what a buy of each costs and how likely it is to be counterfeit), the files that people work with, and the way
back: verdicts enter as rows of the contract's `test_buys`, with the probabilities that the plan kept. The same frame, design
and seed give the same plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.contract import load_contract
from touchstone.casework.outcomes import read_texts, record_rows
from touchstone.core.errors import BadInputError, format_count
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, open_regular, replacing_directory, sha256_bytes, write_json
from touchstone.core.settings import Settings
from touchstone.core.text import pad, shorten, visible_in_html, visible_values
from touchstone.landing.land import Recorded
from touchstone.landing.ledger import Ledger, pinned_loads
from touchstone.landing.views import create_views

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

    from ml.sampling import Estimate, Strata

FOLDER = "test_buys"
BASE_CURRENCY = "USD"
WINDOW_DAYS = 90
CERTAIN = "certain"
VERDICTS = ("genuine", "counterfeit", "inconclusive", "delisted")
SHEET_COLUMNS = ("verdict", "ordered_at", "decided_at", "paid", "paid_currency", "evidence_uri")
"""What whoever buys fills in, beside the columns that the plan fills."""

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
    round(features.price_usd / $rate, 2) as cost,
    rated.score / 100 as risk
from read_parquet($rated, hive_partitioning = false) as rated
inner join read_parquet($features, hive_partitioning = false) as features
    on features.listing_id = rated.listing_id
where rated.score is not null
"""

# What is bought for sure is bought again, too.
GOODS = """
create table goods as
select
    live.*,
    coalesce(live.cost, 0) > 0 as has_cost,
    bought.listing_id is not null and certain.listing_id is null as is_bought
from live
left join (select distinct listing_id from bought) as bought
    on bought.listing_id = live.listing_id
left join (select distinct listing_id from certain) as certain
    on certain.listing_id = live.listing_id
"""


@dataclass(frozen=True)
class Request:
    """What a plan is asked for.

    Attributes:
        budget: What all buys may cost, at most.
        currency: Of the budget and of all costs, ISO 4217.
        as_of: The day whose live listings may be bought.
        seed: Of the draw; None for one that follows from the frame and the day.
        certain: Listings that are bought for sure.
        merchant_cap: Most buys of one merchant.
        window_days: Nothing is bought twice within so many days.
    """

    budget: float
    currency: str
    as_of: date
    seed: int | None = None
    certain: tuple[str, ...] = ()
    merchant_cap: int = 2
    window_days: int = WINDOW_DAYS


@dataclass(frozen=True)
class Plan:
    """A plan on disk; `facts` is plan.json, `picks` the rows of picks.parquet in the frame's order."""

    folder: Path
    facts: Mapping[str, Any]
    picks: Sequence[Mapping[str, Any]]

    @property
    def plan_id(self) -> str:
        """What names the plan: its day and what it is made of."""
        return self.folder.name


def plan_test_buys(settings: Settings, request: Request) -> Plan:
    """Draws a plan and writes it, with its buy sheet; the same request over the same frame gives the plan that is there.

    Args:
        settings: The settings; the caller holds the home's lock.
        request: What is asked for.

    Raises:
        BadInputError: The day was not rated, a listing that is to be bought for sure is not on offer, the currency has no
            rate, or the budget or the caps leave too few buys.
    """
    from ml.sampling import Design, design_strata, draw

    frame, told = frame_of(settings, request)
    design = Design(budget=request.budget, merchant_cap=request.merchant_cap)
    goods = _arrays(frame, request.certain)
    strata = design_strata(goods, design)
    digest = sha256_bytes(_bytes_of(frame.select(["listing_id", "merchant_id", "category", "cost", "risk"])))
    seed = int(sha256_bytes(f"{digest} {request.as_of}".encode())[:8], 16) if request.seed is None else request.seed
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
        "frame": {"sha256": digest, **told},
        "strata": _strata_facts(strata, names),
    }
    plan_id = f"{request.as_of}-{sha256_bytes(canonical_json(facts))[:12]}"
    picks = _picks(frame, strata, drawn.listing, drawn.is_risk, names, plan_id)
    folder = settings.home / FOLDER / plan_id
    _write(folder, {"plan_id": plan_id, **facts}, picks)
    return read_plan(settings, plan_id)


def newest_rated(settings: Settings) -> date:
    """Returns the newest day whose listings were rated.

    Raises:
        BadInputError: None was.
    """
    days = sorted(
        path.parent.name[6:] for path in (settings.home / "marts" / "rated_listings").glob("as_of=*/*.parquet")
    )
    if not days:
        raise BadInputError("No day was rated yet. Start with `touchstone run`.")
    return date.fromisoformat(days[-1])


def read_certain(file: Path | None) -> tuple[str, ...]:
    """Returns the listings' ids in a file, one a line; a first line `listing_id` and empty ones do not count.

    Raises:
        BadInputError: The file cannot be read.
    """
    if file is None:
        return ()
    try:
        with open_regular(file) as opened:
            lines = [line.strip().strip('"') for line in opened.read().decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"--certain {file} cannot be read: {error}. Give a text file with an id a line.") from error
    return tuple(dict.fromkeys(line for line in lines if line not in ("", "listing_id")))


def read_plan(settings: Settings, plan_id: str | None = None) -> Plan:
    """Returns a plan; without a name, the one of the latest day (of several, the last by name).

    Raises:
        BadInputError: There is no such plan, or none at all.
    """
    from touchstone.core.parquet import read_small_parquet

    known = sorted(path.parent.name for path in (settings.home / FOLDER).glob("*/plan.json"))
    if not known:
        raise BadInputError("There is no plan of test buys yet. `touchstone test-buys plan --budget 20000` makes one.")
    if plan_id is not None and plan_id not in known:
        raise BadInputError(f"There is no plan {plan_id}; there are {', '.join(known[-5:])}.")
    folder = settings.home / FOLDER / (plan_id or known[-1])
    return Plan(
        folder,
        json.loads((folder / "plan.json").read_bytes()),
        read_small_parquet(folder / "picks.parquet").to_pylist(),
    )


def frame_of(settings: Settings, request: Request) -> tuple[pa.Table, dict[str, int]]:
    """Returns what may be bought, by listing_id, and how many listings were left out and why.

    Raises:
        BadInputError: The day was not rated, a listing that is to be bought for sure is not on offer, or the currency has no
            rate.
    """
    import duckdb

    with duckdb.connect(":memory:") as connection:
        return _frame(connection, settings, request)


def _frame(
    connection: duckdb.DuckDBPyConnection, settings: Settings, request: Request
) -> tuple[pa.Table, dict[str, int]]:
    day = f"as_of={request.as_of}"
    rated = settings.home / "marts" / "rated_listings" / day / "rated_listings.parquet"
    features = settings.home / "features" / "listings" / day / "features.parquet"
    if not rated.is_file() or not features.is_file():
        raise BadInputError(
            f"{request.as_of} was not rated: no {rated}. Run `touchstone run --as-of {request.as_of}` first."
        )
    _landed(connection, settings)
    parameters = {"rated": str(rated), "features": str(features), "rate": _rate(connection, request)}
    connection.execute(f"create table live as {FRAME}", parameters)
    begun = request.as_of - timedelta(days=request.window_days)
    connection.execute(
        "create table bought as select distinct listing_id from landed.test_buys "
        "where cast(ordered_at as date) between $begun and $as_of",
        {"begun": begun, "as_of": request.as_of},
    )
    if plans := _earlier_plans(settings, begun, request.as_of):
        connection.execute("insert into bought select listing_id from read_parquet($plans)", {"plans": plans})
    connection.execute(
        "create table certain as select unnest(cast($ids as varchar[])) as listing_id", {"ids": request.certain}
    )
    missing = connection.execute("from certain anti join live using (listing_id) order by all").fetchall()
    if missing:
        raise BadInputError(
            f"{format_count(len(missing), 'listing')} to be bought for sure, but not on offer as of {request.as_of}: "
            f"{', '.join(row[0] for row in missing[:3])}. Leave them out of the file."
        )
    connection.execute(GOODS)
    live, costless, lately = connection.execute(
        "select count(*), count(*) filter (where not has_cost), count(*) filter (where has_cost and is_bought) from goods"
    ).fetchall()[0]
    frame = connection.execute(
        "select * exclude (has_cost, is_bought) from goods where has_cost and not is_bought order by listing_id"
    ).to_arrow_table()
    if not frame.num_rows:
        raise BadInputError(f"Nothing can be bought as of {request.as_of}: of {live:,} live listings none is left.")
    told = {
        "listings": frame.num_rows,
        "live": live,
        "left_out_without_cost": costless,
        "left_out_bought_lately": lately,
    }
    return frame, told


def _bytes_of(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def _landed(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    contract, landing = load_contract(), settings.home / "landing"
    create_views(connection, landing, pinned_loads(Ledger(landing).read(), contract), contract)


def _rate(connection: duckdb.DuckDBPyConnection, request: Request) -> float:
    """Returns what a unit of the plan's currency is worth in the base currency, by the newest rate up to the day."""
    if request.currency == BASE_CURRENCY:
        return 1.0
    found = connection.execute(
        "select rate from landed.fx_rates where currency = $currency and date <= $as_of and rate > 0 order by date desc limit 1",
        {"currency": request.currency, "as_of": request.as_of},
    ).fetchone()
    if found is None:
        raise BadInputError(
            f"--currency {request.currency}: the source's fx_rates have no rate of it up to {request.as_of}. Give the budget in "
            f"{BASE_CURRENCY}."
        )
    return float(found[0])


def _earlier_plans(settings: Settings, begun: date, as_of: date) -> list[str]:
    """Returns the picks of plans of earlier days within the window. Plans of one day are alternatives to each other."""
    plans = (settings.home / FOLDER).glob("*/picks.parquet")
    return sorted(str(path) for path in plans if begun <= date.fromisoformat(path.parent.name[:10]) < as_of)


def _arrays(frame: pa.Table, certain: Sequence[str]) -> Any:
    import numpy as np
    import pyarrow.compute as pc

    from ml.sampling import Frame

    def numbers(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.asarray(pc.rank(frame[name], tiebreaker="dense").to_numpy(), dtype=np.int64) - 1

    return Frame(
        merchant=numbers("merchant_id"),
        category=numbers("category"),
        cost=frame["cost"].to_numpy(),
        risk=frame["risk"].to_numpy(),
        certain=np.isin(np.asarray(frame["listing_id"].to_pylist(), dtype=object), list(certain)),
    )


def _stratum_names(frame: pa.Table, strata: Strata, currency: str) -> list[str]:
    categories = sorted(set(frame["category"].to_pylist()))
    return [
        f"{number:02d} {(categories[of] or 'without category') if of >= 0 else 'several categories'}, "
        f"{lower:.2f} to {upper:.2f} {currency}"
        for number, (of, lower, upper) in enumerate(
            zip(strata.category.tolist(), strata.lower_cost.tolist(), strata.upper_cost.tolist(), strict=True), start=1
        )
    ]


def _strata_facts(strata: Strata, names: Sequence[str]) -> list[dict[str, Any]]:
    import numpy as np

    sizes = np.bincount(strata.stratum[strata.stratum >= 0], minlength=len(names))
    return [
        {"stratum": name, "listings": int(size), "buys": int(number), "upper_cost": float(upper)}
        for name, size, number, upper in zip(names, sizes, strata.number, strata.upper_cost, strict=True)
    ]


def _picks(frame: pa.Table, strata: Strata, listing: Any, is_risk: Any, names: Sequence[str], plan_id: str) -> pa.Table:
    import pyarrow as pa

    taken = frame.take(pa.array(listing))
    of = strata.stratum[listing].tolist()
    arms = [
        CERTAIN if at < 0 else "risk" if risky else "random" for at, risky in zip(of, is_risk.tolist(), strict=True)
    ]
    return pa.table(
        {
            "plan_id": pa.array([plan_id] * len(of)),
            **{name: taken[name] for name in frame.column_names},
            "stratum": pa.array([CERTAIN if at < 0 else names[at] for at in of]),
            "arm": pa.array(arms),
            "inclusion_probability": pa.array(strata.probability[listing]),
        }
    )


def _write(folder: Path, facts: Mapping[str, Any], picks: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from touchstone.publishing.candidate import csv_bytes

    if (folder / "plan.json").is_file():
        return
    shown = ("plan_id", "listing_id", "merchant_id", "title", "url", "brand", "category", "price", "currency", "cost")
    sheet = picks.select(list(shown))
    for name in SHEET_COLUMNS:
        sheet = sheet.append_column(name, pa.array([""] * picks.num_rows))
    with failpoint("test_buys.plan", folder), replacing_directory(folder) as temporary:
        pq.write_table(picks, temporary / "picks.parquet", compression="zstd")
        (temporary / "buy_sheet.csv").write_bytes(csv_bytes(sheet))
        (temporary / "buy_sheet.html").write_text(_sheet_page(facts, picks.to_pylist()), encoding="utf-8")
        write_json(temporary / "plan.json", facts)


SHEET_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Test buys {{ facts.plan_id }}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 13px/1.4 sans-serif; margin: 2em; } table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #bbb; padding: .3em .5em; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td.n { text-align: right; white-space: nowrap; } td.blank { min-width: 7em; } tr { break-inside: avoid; }
@media print { body { margin: 0; } thead { display: table-header-group; } }
</style></head><body>
<h1>Test buys: plan {{ facts.plan_id }}</h1>
<p>{{ picks | length }} buys, at most {{ "{:,.2f}".format(facts.budget) }} {{ facts.currency }} in all.
Buy as any customer would, and write down when, what was paid and what it is: genuine, counterfeit, inconclusive, or delisted
where it is not on offer any more. Then fill the same into buy_sheet.csv and give it to
<code>touchstone test-buys record</code>.</p>
<table><thead><tr><th>#</th><th>Listing</th><th>Merchant</th><th>Brand</th><th>Category</th><th>Price</th><th>Ordered</th>
<th>Paid</th><th>Verdict</th></tr></thead><tbody>
{% for pick in picks %}<tr><td class="n">{{ loop.index }}</td><td>{{ pick.listing_id }}<br>{{ pick.title or "" }}<br>
<small>{{ pick.url or "" }}</small></td><td>{{ pick.merchant_id }}</td><td>{{ pick.brand or "" }}</td><td>{{ pick.category }}</td>
<td class="n">{{ pick.price }} {{ pick.currency }}</td><td class="blank"></td><td class="blank"></td><td class="blank"></td></tr>
{% endfor %}</tbody></table></body></html>
"""


def _sheet_page(facts: Mapping[str, Any], picks: Sequence[Mapping[str, Any]]) -> str:
    from jinja2 import Environment

    environment = Environment(autoescape=True, finalize=visible_in_html)
    return environment.from_string(SHEET_PAGE).render(facts=facts, picks=visible_values(picks))


def record_test_buys(settings: Settings, file: Path, *, is_dry: bool = False) -> Recorded:
    """Takes a filled buy sheet in, whole or not at all; rows in which nothing is filled in yet are passed over.

    Args:
        settings: The settings; the caller holds the home's lock.
        file: CSV with plan_id, listing_id, verdict and ordered_at, and if they are known decided_at, paid, paid_currency and
            evidence_uri; other columns are not read.
        is_dry: Whether only to check and count.

    Raises:
        BadInputError: The file cannot be read, or a row is not sound: a listing that the plan does not have or has twice, a
            verdict that is none, one without a time.
    """
    from touchstone.publishing.candidate import cell_of

    header, rows = read_texts(file)
    needed = ("plan_id", "listing_id", "verdict", "ordered_at")
    if missing := [name for name in needed if name not in header]:
        raise BadInputError(
            f"{file} has no column {', '.join(missing)}. A plan's buy_sheet.csv has all that is needed."
        )
    filled = [
        (line, row)
        for line, row in enumerate(rows, start=2)
        if any(row.get(name) for name in ("verdict", "ordered_at"))
    ]
    if not filled:
        raise BadInputError(f"{file}: no row has a verdict or a time of its order: nothing to record.")
    plans = {plan_id: read_plan(settings, plan_id) for plan_id in sorted({row["plan_id"] or "" for _, row in filled})}
    # The sheet shows what hides in an id by its number, and has a ' before one that would be a formula.
    known = {(name, cell_of(pick["listing_id"])): pick for name, plan in plans.items() for pick in plan.picks}
    known |= {(name, pick["listing_id"]): pick for name, plan in plans.items() for pick in plan.picks}
    told: list[dict[str, object]] = []
    faults: list[str] = []
    seen: dict[tuple[str, str], int] = {}
    for line, row in filled:
        key = (row["plan_id"] or "", row["listing_id"] or "")
        if problem := _problem(row, key, known, seen):
            faults.append(f"line {line}: {problem}")
            continue
        seen[key] = line
        told.append(_test_buy(row, known[key], plans[key[0]]))
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:10])
        raise BadInputError(
            f"{file}: nothing of it was recorded; {format_count(len(faults), 'row')} not sound:\n{shown}\nCorrect them there."
        )
    return record_rows(settings, "test_buys", told, told=file.name, is_dry=is_dry)


def _problem(
    row: Mapping[str, str | None],
    key: tuple[str, str],
    known: Mapping[tuple[str, str], object],
    seen: Mapping[tuple[str, str], int],
) -> str | None:
    """Returns what is wrong with a row of a buy sheet, or None."""
    if key not in known:
        return f"plan {key[0]} has no listing {key[1]!r}"
    if key in seen:
        return f"listing {shorten(key[1])} stands in line {seen[key]} already"
    verdict = row["verdict"]
    if verdict and verdict not in VERDICTS:
        return f"verdict {verdict!r} is none of {', '.join(VERDICTS)}"
    if verdict and not row.get("decided_at"):
        return f"the verdict {verdict} has no decided_at: when was it known?"
    if not row["ordered_at"] and verdict != "delisted":
        return f"the verdict {verdict} has no ordered_at: when was it bought?"
    return None


def _test_buy(row: Mapping[str, str | None], pick: Mapping[str, Any], plan: Plan) -> dict[str, object]:
    """Returns a row of the contract's test_buys: what the sheet says, and what the plan knows of the pick."""
    is_gone = row["verdict"] == "delisted"
    paid = row.get("paid") or (None if is_gone else str(pick["cost"]))
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
    """Returns what a plan's verdicts say: prevalence in all and by category, hit rates, costs, what a narrower interval takes.

    Prevalence is over all picks, each by its inclusion probability; a pick without a verdict is stood for by the others of its
    stratum.

    Args:
        settings: The settings.
        plan_id: The plan; by default the newest.

    Raises:
        BadInputError: There is no such plan.
    """
    import duckdb
    import numpy as np

    from ml.sampling import prevalence, times_for_half

    plan = read_plan(settings, plan_id)
    with duckdb.connect(":memory:") as connection:
        _landed(connection, settings)
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

    whole = share()
    times = times_for_half(whole)
    bands = np.minimum((risk * 10).astype(int), 9) * 10
    arms = np.array(rows["arm"].to_pylist(), dtype=object)
    ordered = np.array([when is not None for when in rows["ordered_at"].to_pylist()])
    unanswered = np.setdiff1d(stratum[~answered], stratum[answered])
    return {
        "plan_id": plan.plan_id,
        "as_of": plan.facts["as_of"],
        "picks": rows.num_rows,
        "bought": int((ordered & (verdict != "delisted")).sum()),
        "verdicts": {name: int((verdict == name).sum()) for name in VERDICTS},
        "pending": int(rows["verdict"].null_count),
        "strata_without_verdict": len(unanswered),
        "prevalence": _estimate_facts(whole),
        "prevalence_by_category": {
            str(name): _estimate_facts(share(category == name)) for name in sorted(set(category))
        },
        "hit_rate_by_arm": _rates(arms, hit, answered),
        "hit_rate_by_band": _rates(np.array([f"{band:>3}" for band in bands], dtype=object), hit, answered),
        **_costs(rows, hit, plan, None if np.isnan(times) else times),
    }


def _estimate_facts(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if isnan(value) else round(value, 6) for name, value in asdict(estimate).items()}


def _rates(of: Any, hit: Any, answered: Any) -> dict[str, dict[str, float]]:
    """Returns, by arm or band, how many verdicts there are and what part of them says counterfeit."""
    return {
        str(name).strip(): {"verdicts": int(told), "share": round(float(hit[here].sum()) / float(told), 4)}
        for name in sorted(set(of.tolist()))
        if (told := (here := (of == name) & answered).sum())
    }


def _costs(rows: pa.Table, hit: Any, plan: Plan, times: float | None) -> dict[str, Any]:
    """Returns what was paid in the plan's currency, for each counterfeit, and what would halve the interval."""
    currency = plan.facts["currency"]
    amounts = zip(rows["paid"].to_pylist(), rows["paid_currency"].to_pylist(), strict=True)
    paid = [float(amount) for amount, of in amounts if amount is not None and of == currency]
    others = sum(of not in (None, currency) for of in rows["paid_currency"].to_pylist())
    total, found = round(sum(paid), 2), int(hit.sum())
    return {
        "currency": currency,
        "paid": total,
        "paid_in_other_currencies_count": others,
        "paid_per_counterfeit": round(total / found, 2) if found else None,
        "budget": plan.facts["budget"],
        "budget_for_half_the_interval": None if times is None else round(plan.facts["budget"] * times, -2),
    }


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Returns a plan as plain data: its id, budget, and of each pick what the design says of it."""
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


def render_plan(plan: Plan) -> str:
    """Returns a plan in words."""
    facts, frame = plan.facts, plan.facts["frame"]
    cost = sum(pick["cost"] for pick in plan.picks)
    words = {"risk": "drawn for their risk", "random": "at random", CERTAIN: "for sure"}
    counts = {arm: sum(pick["arm"] == arm for pick in plan.picks) for arm in words}
    return f"""\
Plan {plan.plan_id}: {len(plan.picks):,} buys in {len(facts["strata"])} strata
  {cost:,.2f} of {facts["budget"]:,.2f} {facts["currency"]} at today's prices; at most {facts["merchant_cap"]} of one merchant
  {", ".join(f"{counts[arm]:,} {said}" for arm, said in words.items() if counts[arm])}; seed {facts["seed"]}
  out of {frame["listings"]:,} listings on offer; left out: {frame["left_out_bought_lately"]:,} bought within \
{facts["window_days"]} days, {frame["left_out_without_cost"]:,} without a price
Buy sheet: {plan.folder / "buy_sheet.csv"} (to print: buy_sheet.html)
Fill in what came of it, then: touchstone test-buys record FILE"""


def render_report(facts: Mapping[str, Any]) -> str:
    """Returns what a plan's verdicts say in words."""
    told, currency = facts["verdicts"], facts["currency"]
    counts = ", ".join(f"{count:,} {name}" for name, count in told.items() if count)
    lines = [f"Plan {facts['plan_id']}: {facts['bought']:,} of {facts['picks']:,} bought; {counts or 'no verdict yet'}"]
    if facts["prevalence"]["share"] is None:
        return "\n".join([*lines, "Nothing can be said before the first verdict: fill in the buy sheet and record it."])
    if facts["pending"]:
        lines.append(f"  {facts['pending']:,} are without a verdict; the others of their strata stand for them")
    lines.append(f"Of all that was on offer as of {facts['as_of']}, {_percent(facts['prevalence'])} is counterfeit")
    if facts["strata_without_verdict"]:
        lines.append(f"  {facts['strata_without_verdict']} strata have no verdict; what is said leaves them out")
    lines += [
        f"  {pad(name, 32)} {_percent(share)}"
        for name, share in facts["prevalence_by_category"].items()
        if share["share"] is not None
    ]
    for title, rates in (("arm", facts["hit_rate_by_arm"]), ("score, from", facts["hit_rate_by_band"])):
        lines.append(
            f"Counterfeit among those bought, by {title} (not the prevalence: the risky are bought more often)"
        )
        lines += [f"  {name:12} {100 * rate['share']:5.1f} % of {rate['verdicts']:,}" for name, rate in rates.items()]
    lines.append(f"Paid {facts['paid']:,.2f} {currency}" + _per_counterfeit(facts))
    if facts["budget_for_half_the_interval"]:
        lines.append(
            f"A budget of about {facts['budget_for_half_the_interval']:,.0f} {currency} would halve the interval."
        )
    return "\n".join(lines)


def _percent(share: Mapping[str, float | None]) -> str:
    middle, low, high = (100 * (share[name] or 0) for name in ("share", "low", "high"))
    return f"{middle:.2f} % ({low:.2f} to {high:.2f} %)"


def _per_counterfeit(facts: Mapping[str, Any]) -> str:
    others = facts["paid_in_other_currencies_count"]
    said = (
        ""
        if facts["paid_per_counterfeit"] is None
        else f", {facts['paid_per_counterfeit']:,.2f} for each counterfeit found"
    )
    return said + (f"; {others} buys in other currencies are not in it" if others else "")
