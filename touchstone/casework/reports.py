"""The report of a day, and what of it a platform can show to others: numbers out of the marts, nothing computed elsewhere.

    reports/as_of=<date>/report.json    every figure and table, with the value of the report before
    reports/as_of=<date>/report.html    the same for people: one file with its plots, made of the JSON alone

A figure is one query over the marts of the date (`report.yml`), so that whoever doubts it can ask the same. A list as of a day is
read on the next, so flags in the funnel are of the lists before; what is published as of the day itself stands under the lists.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from touchstone.casework.test_buys import CERTAIN
from touchstone.casework.test_buys import FOLDER as PLANS
from touchstone.core.errors import BadInputError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, replacing_directory
from touchstone.core.lists import LISTS
from touchstone.core.text import shorten, visible_in_html
from touchstone.core.yaml import load_packaged_yaml
from touchstone.publishing.history import Shelf, in_force, in_force_before
from touchstone.publishing.read import read_list

if TYPE_CHECKING:
    import duckdb

TEMPLATE: Final = Path(__file__).with_name("report.html")
DEFINITIONS: Final = Path(__file__).with_name("report.yml")
MARTS: Final = (
    *("reporters", "notices", "appeals", "overturn_rates", "strikes", "test_buy_verdicts", "banned_merchants"),
    *("enforcement_results", "enforcement_months", "funnel", "funnel_months", "lead_history", "case_register"),
    *("confirmed_counterfeiters", "confirmed_accounts"),
)
PREVALENCE_DAYS: Final = 90
REFUSALS_DAYS: Final = 7
VERSIONS_TOLD: Final = 30
FEW: Final = 5
"""Of fewer than these the public report says only that they are few."""
PUBLIC_SHARES: Final = {
    "counterfeit_share": "counterfeit share",
    "low": "lower end of its 95 % interval",
    "high": "upper end of its 95 % interval",
    "upheld_share": "upheld share",
}
"""What of the public report is a share, and what it is called there."""
STAGES: Final = ("flagged", "reviewed", "confirmed", "handed_over", "acted_on", "suspects_named")


@dataclass(frozen=True)
class Figure:
    """One number: what it is called, in which unit, and the query over the marts that gives it."""

    label: str
    unit: str
    query: str


@dataclass(frozen=True)
class Table:
    """Rows of a report: their heading, and the query that gives them in order."""

    title: str
    query: str


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading, the figures by the first word of their names, tables and plots."""

    title: str
    figures: str = ""
    tables: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()


DECISIONS: Final = (
    *("notices_waiting", "notices_oldest", "appeals_waiting", "unreviewed"),
    *("leads_waiting", "models_waiting", "refused_gates"),
)
SECTIONS: Final = (
    Section("What needs a decision", "decisions", DECISIONS),
    Section("Lists", "lists", ("lists_by_day",), ("lists",)),
    Section("Notices", "notices", ("notices_by_month",), ("notices",)),
    Section("Reporters", "reporters", ("reporters_least_accurate",)),
    Section("Appeals", "appeals", ("overturn_rates",), ("appeals",)),
    Section("Strikes", "strikes", ("strikes_most",)),
    Section("Test buys", "test_buys"),
    Section("From flag to suspects", "funnel", ("funnel", "funnel_by_month"), ("funnel",)),
    Section(
        "Enforcement",
        "enforcement",
        ("enforcement_by_month", "enforcement_by_brand", "seized_by_currency"),
        ("enforcement",),
    ),
    Section("Cases", "cases", ("cases_open",)),
    Section("Confirmed counterfeiters", "confirmed", ("confirmed_newest", "accounts_spoofable")),
    Section("Banned merchants", "banned", ("returned",)),
)
PREVALENCE_NOTE: Final = (
    "Prevalence is Hajek's estimate, less the bias of a ratio, over test buys of known inclusion probability, by the strata "
    "of its plan (where these are not known, the plan's arms), with Korn and Graubard's 95 % interval; others of its stratum "
    "stand for a buy without a verdict."
)

FEW_NOTE: Final = (
    f"As known at the end of {{last}}. A count from 1 to {FEW - 1} is told as <{FEW}, and one from which such a count could be "
    f"computed as more than something; what rests on fewer than {FEW} is not told."
)


@functools.cache
def definitions() -> tuple[Mapping[str, Figure], Mapping[str, Table]]:
    """Returns what a report asks the marts: the figures, but for those of test buys, and the tables, by their names."""
    content = load_packaged_yaml(DEFINITIONS)
    figures = {name: Figure(*parts) for name, parts in content["figures"].items()}
    return figures, {name: Table(*parts) for name, parts in content["tables"].items()}


# The report of a day -------------------------------------------------------------------------------------------------


def write_report(home: Path, as_of: dt.date) -> dict[str, bytes]:
    """Writes the report of a date; the same marts, lists, gates and approvals give the same bytes.

    Args:
        home: The home.
        as_of: The date, whose marts are there.

    Returns:
        The plots, PNG bytes by name.

    Raises:
        BadInputError: The marts of the date are not there.
    """
    report = compose(home, as_of)
    pictures = plots(report["tables"])
    folder = _folder(home, as_of)
    with failpoint("report.write", folder), replacing_directory(folder) as temporary:
        (temporary / "report.json").write_bytes(canonical_json(report))
        (temporary / "report.html").write_text(render_html(report, pictures), encoding="utf-8")
    return pictures


def read_report(home: Path, as_of: dt.date | None) -> tuple[Path, dict[str, Any]]:
    """Returns where the report of a date is, or the newest, and what it says.

    Raises:
        BadInputError: There is none.
    """
    dates = _dates(home)
    if not dates or (as_of is not None and as_of not in dates):
        told = f"The newest is of {dates[-1]}." if dates else "There is none yet."
        raise BadInputError(f"There is no report as of {as_of or 'any date'}. {told} `touchstone run` writes one.")
    folder = _folder(home, as_of or dates[-1])
    return folder / "report.html", json.loads((folder / "report.json").read_bytes())


def values_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a report's figures by name."""
    return {figure["name"]: figure["value"] for figure in report["figures"]}


def compose(home: Path, as_of: dt.date) -> dict[str, Any]:
    """Returns the report of a date as plain data: figures with those of the report before, and tables.

    Raises:
        BadInputError: The marts of the date are not there.
    """
    earlier = [date for date in _dates(home) if date < as_of]
    before = values_of(read_report(home, earlier[-1])[1]) if earlier else {}
    with _marts(home, as_of) as connection:
        _show_state(connection, home, as_of)
        asked, shown = definitions()
        told: dict[str, tuple[str, str, Any]] = {
            name: (figure.label, figure.unit, _value(connection, figure.query)) for name, figure in asked.items()
        }
        tables = {name: _rows(connection, table) for name, table in shown.items()}
        told |= _test_buy_figures(connection, as_of)
    figures = [
        {"name": name, "label": label, "unit": unit, "value": value, "before": before.get(name)}
        for name, (label, unit, value) in told.items()
    ]
    return {
        "as_of": str(as_of),
        "previous": str(earlier[-1]) if earlier else None,
        "base_currency": "USD",
        "figures": figures,
        "tables": tables,
        "notes": [PREVALENCE_NOTE],
    }


def prevalence_of(connection: duckdb.DuckDBPyConnection, first: dt.date, last: dt.date) -> dict[str, Any]:
    """Estimates the share of counterfeits among all goods from the test buys that were ordered in a period.

    Args:
        connection: Shows the mart `test_buy_verdicts`.
        first: The period's first day.
        last: Its last.

    Returns:
        `bought` and `answered` (buys with a known inclusion probability, and those of them with a verdict), `counterfeit`, and
        `share`, `low` and `high` (95 %), None where no verdict tells.
    """
    import numpy as np

    from ml.sampling import prevalence

    columns = connection.execute(
        "select case when picks.stratum = $certain then -1 else dense_rank() over (order by bought.plan_id nulls first, "
        "picks.stratum nulls first, case when picks.stratum is null then bought.arm end nulls first) end as stratum, "
        "bought.inclusion_probability, coalesce(bought.verdict, '') as verdict, coalesce(picks.risk, -1) as risk "
        "from test_buy_verdicts as bought left join picks using (plan_id, listing_id) where bought.inclusion_probability > 0 "
        "and cast(bought.ordered_at as date) between $first and $last order by bought.test_buy_id",
        {"certain": CERTAIN, "first": first, "last": last},
    ).fetchnumpy()
    verdict = np.asarray(columns["verdict"], dtype=np.str_)
    is_fake, answered = verdict == "counterfeit", np.isin(verdict, ("counterfeit", "genuine"))
    counts = {"bought": len(verdict), "answered": int(answered.sum()), "counterfeit": int(is_fake.sum())}
    if not answered.any():
        return {**counts, "share": None, "low": None, "high": None}
    stratum, probability = columns["stratum"].astype(np.int64), np.asarray(columns["inclusion_probability"])
    # Where no plan of ours says what a buy was expected to be when it was drawn, it was expected to be as all are.
    risk = np.asarray(columns["risk"])
    rough = prevalence(stratum, probability, np.maximum(risk, 0), is_fake, answered)
    found = prevalence(stratum, probability, np.where(risk < 0, rough.share, risk), is_fake, answered)
    return {**counts, "share": round(found.share, 6), "low": round(found.low, 6), "high": round(found.high, 6)}


def _test_buy_figures(connection: duckdb.DuckDBPyConnection, as_of: dt.date) -> dict[str, tuple[str, str, Any]]:
    found = prevalence_of(connection, as_of - dt.timedelta(days=PREVALENCE_DAYS - 1), as_of)
    of = f"of {PREVALENCE_DAYS} days"
    return {
        "test_buys.bought_count": (f"Test buys {of}, of known probability", "count", found["bought"]),
        "test_buys.answered_count": ("with a verdict", "count", found["answered"]),
        "test_buys.counterfeit_count": ("counterfeit", "count", found["counterfeit"]),
        "test_buys.prevalence_share": ("Share of counterfeits among all goods", "share", found["share"]),
        "test_buys.prevalence_low": ("Lower end of its 95 % interval", "share", found["low"]),
        "test_buys.prevalence_high": ("Upper end", "share", found["high"]),
    }


@contextmanager
def _marts(home: Path, as_of: dt.date) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yields an in-memory DuckDB that shows the marts of a date under their names."""
    import duckdb

    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        for mart in MARTS:
            file = home / "marts" / mart / f"as_of={as_of}" / f"{mart}.parquet"
            if not file.is_file():
                raise BadInputError(
                    f"There is no mart {mart} as of {as_of} ({file}). `touchstone run --as-of {as_of}` or `touchstone backfill` "
                    "makes it; or ask for a day that is there."
                )
            connection.read_parquet(str(file), hive_partitioning=False).create_view(mart)
        plans = sorted(str(path) for path in (home / PLANS).glob("*/picks.parquet"))
        if plans:
            connection.read_parquet(plans, hive_partitioning=False).create_view("picks")
        else:
            connection.execute("create table picks (plan_id varchar, listing_id varchar, stratum varchar, risk double)")
        yield connection


_STATE: Final = """
create view list_changes as
select
    lists.list_name,
    any_value(lists.row_count) as row_count,
    count(*) filter (where listed.is_new) as new_count,
    any_value(before.row_count) - any_value(lists.row_count) + count(*) filter (where listed.is_new) as gone_count
from lists
left join listed on listed.list_name = lists.list_name
left join lists as before on before.list_name = lists.list_name and before.is_previous
where lists.is_newest
group by lists.list_name;
create view unreviewed as
from listed
anti join reviewed on reviewed.entity_kind = listed.entity_kind and reviewed.entity_id = listed.entity_id
anti join reviewed as others on others.entity_kind = 'review' and others.entity_id = listed.other_id;
create view leads_waiting as
from leads anti join lead_history on lead_history.lead_id = leads.lead_id and lead_history.event = 'handed_over'
"""


def _show_state(connection: duckdb.DuckDBPyConnection, home: Path, as_of: dt.date) -> None:
    """Shows what is no mart: the lists as they are published, leads, models that wait, and gates that refused."""
    connection.execute(
        "create table lists (list_name varchar, as_of_date date, version varchar, row_count bigint, rated_count bigint, "
        "is_newest boolean, is_previous boolean); "
        "create table listed (list_name varchar, entity_kind varchar, entity_id varchar, other_id varchar, score double, "
        "first_flagged_date date, days_on_list integer, is_new boolean); "
        "create view reviewed as select distinct entity_kind, entity_id from funnel where stage = 'reviewed'; "
        "create table models_waiting (model varchar, version integer, gate varchar); "
        "create table refused_gates (as_of_date date, gate varchar, why varchar)"
    )
    for name, rated in LISTS.items():
        shelf = Shelf(home / "published", name)
        history = shelf.history()
        now = in_force(history, as_of)
        versions = in_force_before(history, as_of) | ({as_of: now} if now else {})
        for day, version in list(versions.items())[-VERSIONS_TOLD:]:
            manifest = shelf.manifest(version)
            is_previous = day == max((date for date in versions if date < as_of), default=None)
            row = [name, day, version, manifest.row_count, manifest.rated_count, version == now, is_previous]
            connection.execute("insert into lists values (?, ?, ?, ?, ?, ?, ?)", row)
        if now:
            rows = read_list(home / "published", name, now).rows
            own, other = (rated.carried or (rated.key, None))[:2]
            kind = f"case when {own} is null then 'review' else '{own.removesuffix('_id')}' end"
            connection.register("rows", rows)
            connection.execute(
                f"insert into listed select '{name}', {kind}, coalesce({own}, {other or 'null'}), {other or 'null'}, score, "
                "first_flagged_date, days_on_list, is_new from rows"
            )
            connection.unregister("rows")
    leads = sorted((home / "leads").glob("as_of=*/leads.parquet"))
    known = [path for path in leads if path.parent.name <= f"as_of={as_of}"]
    columns = "lead_id, kind, rank, since_date, merchant_count, expected_harm_usd"
    connection.execute(
        "create table leads (lead_id varchar, kind varchar, rank bigint, since_date date, merchant_count bigint, "
        "expected_harm_usd decimal(38, 4))"
    )
    if known:
        connection.execute(
            f"insert into leads select {columns} from read_parquet(?, hive_partitioning = false) where status = 'found'",
            [str(known[-1])],
        )
    connection.execute(_STATE)
    _fill(connection, "models_waiting", _models_waiting(home))
    _fill(connection, "refused_gates", _refused_gates(home, as_of))


def _fill(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[object]]) -> None:
    for row in rows:
        connection.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)


def _models_waiting(home: Path) -> list[tuple[str, int, str]]:
    """Returns the newest version of each model on which nobody has decided, with how it did at the gate."""
    from ml.registry import Registry

    lines = Registry(home).approvals.decisions()
    newest = {line.model: line for line in lines if line.action == "train"}
    decided = {(line.model, line.version) for line in lines if line.action in {"approve", "reject", "rollback"}}
    return [
        (line.model, line.version, "failed" if line.failures else "passed")
        for line in newest.values()
        if (line.model, line.version) not in decided
    ]


def _refused_gates(home: Path, as_of: dt.date) -> list[tuple[dt.date, str, str]]:
    """Returns the gates whose last result for one of the last days refuses, with the first reason."""
    found = []
    for day in (as_of - dt.timedelta(days=back) for back in range(REFUSALS_DAYS)):
        for file in sorted((home / "gates" / str(day)).glob("[!.]*.json")):
            result = json.loads(file.read_bytes())
            if not result["success"]:
                critical = [failure for failure in result["failures"] if failure["severity"] == "critical"]
                found.append((day, file.stem, critical[0]["message"] if critical else ""))
    return found


def _value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return _plain(row[0]) if row else None


def _rows(connection: duckdb.DuckDBPyConnection, table: Table) -> dict[str, Any]:
    cursor = connection.execute(table.query)
    columns = [column[0] for column in cursor.description or ()]
    return {
        "title": table.title,
        "columns": columns,
        "rows": [[_plain(value) for value in row] for row in cursor.fetchall()],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _folder(home: Path, as_of: dt.date) -> Path:
    return home / "reports" / f"as_of={as_of}"


def _dates(home: Path) -> list[dt.date]:
    """Returns the dates of which there is a report, oldest first."""
    names = (path.parent.name for path in (home / "reports").glob("as_of=*/report.json"))
    return sorted(dt.date.fromisoformat(name.removeprefix("as_of=")) for name in names)


# Plots ---------------------------------------------------------------------------------------------------------------


def plots(tables: Mapping[str, Any]) -> dict[str, bytes]:
    """Draws what a report's tables hold, PNG bytes by name; what has no rows is not drawn.

    Args:
        tables: `columns` and `rows` by the table's name, as `compose` returns them.
    """
    drawn: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
        "lists_by_day": _draw_lists,
        "notices_by_month": _draw_notices,
        "overturn_rates": _draw_appeals,
        "funnel": _draw_funnel,
        "enforcement_by_month": _draw_enforcement,
    }
    records = {
        name: [dict(zip(tables[name]["columns"], row, strict=True)) for row in tables[name]["rows"]] for name in drawn
    }
    return {
        name.partition("_")[0].replace("overturn", "appeals"): draw(records[name])
        for name, draw in drawn.items()
        if records[name]
    }


def _draw_lists(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("Rows of the lists, by day")
    days = sorted({row["as_of_date"] for row in rows})
    for name in LISTS:
        of = {row["as_of_date"]: row["row_count"] for row in rows if row["list_name"] == name}
        axes.plot([days.index(day) for day in of], list(of.values()), marker="o", markersize=3, label=name)
    shown = range(0, len(days), max(1, len(days) // 6))
    axes.set_xticks(shown, [days[at] for at in shown])
    axes.set_ylim(bottom=0)
    return _finished(figure, axes)


def _draw_notices(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("Notices by the month in which they came")
    below = [0] * len(rows)
    for name in ("upheld", "rejected", "pending"):
        height = [row[f"{name}_count"] for row in rows]
        axes.bar([row["month_date"][:7] for row in rows], height, bottom=below, width=0.6, label=name)
        below = [one + other for one, other in zip(below, height, strict=True)]
    return _finished(figure, axes)


def _draw_appeals(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("Appeals: decided, and upheld of them")
    names = [row["value"][:12] if row["grouped_by"] == "policy" else row["value"] for row in rows]
    labels = [
        f"{row['grouped_by']}: {name}" if row["grouped_by"] != "all" else "all"
        for row, name in zip(rows, names, strict=True)
    ]
    axes.barh(labels[::-1], [row["decided_count"] for row in rows][::-1], color="#b8c4cf", height=0.7, label="decided")
    axes.barh(labels[::-1], [row["upheld_count"] for row in rows][::-1], color="#c1121f", height=0.4, label="upheld")
    return _finished(figure, axes)


def _draw_funnel(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("From flag to suspects (counterfeits)")
    for at, kind in enumerate(("listing", "merchant", "lead")):
        of = {
            row["stage"]: row["entity_count"]
            for row in rows
            if (row["violation_type"], row["entity_kind"]) == ("counterfeit", kind)
        }
        places = [len(STAGES) - number - 0.27 * at for number in range(len(STAGES))]
        axes.barh(places, [of.get(stage, 0) for stage in STAGES], height=0.25, label=f"{kind}s")
    axes.set_yticks(
        [len(STAGES) - number - 0.27 for number in range(len(STAGES))], [stage.replace("_", " ") for stage in STAGES]
    )
    return _finished(figure, axes)


def _draw_enforcement(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("Seized by month, USD")
    months = sorted({row["month_date"][:7] for row in rows})
    below = [0.0] * len(months)
    for authority in sorted({row["authority"] or "unknown" for row in rows}):
        of = {
            row["month_date"][:7]: row["seized_value_usd"]
            for row in rows
            if (row["authority"] or "unknown") == authority
        }
        height = [of.get(month, 0.0) for month in months]
        axes.bar(months, height, bottom=below, width=0.6, label=authority)
        below = [one + other for one, other in zip(below, height, strict=True)]
    return _finished(figure, axes)


def _axes(title: str) -> tuple[Any, Any]:
    from ml.plots import new_axes

    return new_axes(title, "", "", 7.2, 2.4)


def _finished(figure: Any, axes: Any) -> bytes:
    from ml.plots import png

    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
    return png(figure)


# For others ----------------------------------------------------------------------------------------------------------


def compose_public(home: Path, first: dt.date, last: dt.date) -> dict[str, Any]:
    """Returns what a platform can show of a period, as known at its end: no entity, no person, no small number.

    Counts under 5 that are not zero are told as "<5"; shares, times and values that rest on fewer than 5 are not told (None).

    Args:
        home: The home.
        first: The period's first day.
        last: Its last; marts as of it have to be there.

    Raises:
        BadInputError: The period is none, or there are no marts as of its last day.
    """
    if first > last:
        raise BadInputError(f"--from {first} lies after --to {last}. Give the older day first.")
    with _marts(home, last) as connection:

        def row(query: str) -> tuple[Any, ...]:
            found = connection.execute(query, {"first": first, "last": last}).fetchone()
            return tuple(_plain(value) for value in found or ())

        def within(moment: str) -> str:
            return f"cast({moment} as date) between $first and $last"

        received, decided, upheld, taken_down, median, p90 = row(
            "select count(*), count(*) filter (where outcome <> 'pending'), count(*) filter (where outcome = 'upheld'), "
            "count(takedown_hours), quantile_disc(takedown_hours, 0.5), quantile_disc(takedown_hours, 0.9) "
            f"from notices where {within('submitted_at')}"
        )
        banned, returned = row(
            f"select count(*), count(*) filter (where returned_count > 0) from banned_merchants where {within('banned_at')}"
        )
        lodged, closed, won, wait = row(
            "select count(*), count(*) filter (where outcome <> 'pending'), count(*) filter (where outcome = 'upheld'), "
            f"quantile_disc(decision_days, 0.5) from appeals where {within('submitted_at')}"
        )
        actions, acted_on, suspects, items, value = row(
            "select count(*), count(distinct merchant_id), coalesce(sum(suspect_count), 0), coalesce(sum(seized_count), 0), "
            f"coalesce(sum(seized_value_usd), 0) from enforcement_results where {within('occurred_at')}"
        )
        kinds = connection.execute(
            "select coalesce(kind, 'other') as kind, count(*) from enforcement_results "
            f"where {within('occurred_at')} group by 1 order by 1",
            {"first": first, "last": last},
        ).fetchall()
        sampled = prevalence_of(connection, first, last)
    is_told = sampled["answered"] >= FEW
    shared = {part(won, closed), few(won), part(closed, lodged)}
    return {
        "from": str(first),
        "to": str(last),
        "base_currency": "USD",
        "prevalence": {
            "test_buys": few(sampled["bought"]),
            "with_a_verdict": part(sampled["answered"], sampled["bought"]),
            "counterfeit_share": sampled["share"] if is_told else None,
            "low": sampled["low"] if is_told else None,
            "high": sampled["high"] if is_told else None,
        },
        "notices": {
            "received": few(received),
            "decided": part(decided, received),
            "upheld": part(upheld, decided),
            "led_to_a_takedown": part(taken_down, received),
            "hours_to_takedown_median": median if taken_down >= FEW else None,
            "hours_to_takedown_90_of_100": p90 if taken_down >= FEW else None,
        },
        "returning_sellers": {"banned": few(banned), "came_back": part(returned, banned)},
        "appeals": {
            "received": few(lodged),
            "decided": part(closed, lodged),
            "upheld": part(won, closed),
            "upheld_share": round(won / closed, 4)
            if closed >= FEW and all(map(str.isdigit, map(str, shared)))
            else None,
            "days_to_a_decision_median": wait if closed >= FEW else None,
        },
        "enforcement": {
            "actions": few(actions),
            "actions_by_kind": _without_small(dict(kinds)),
            "merchants": part(acted_on, actions),
            "suspects": None if 0 < actions < FEW else few(int(suspects)),
            "items_seized": None if 0 < actions < FEW else int(items),
            "value_seized_usd": None if 0 < actions < FEW else value,
        },
        "notes": [
            FEW_NOTE.format(last=last),
            PREVALENCE_NOTE,
            "Returning sellers: merchants banned in the period of whom another account, by what they share, registered since.",
        ],
    }


def few(count: int) -> int | str:
    """Returns a count, or that it is small."""
    return f"<{FEW}" if 0 < count < FEW else count


def part(count: int, whole: int) -> int | str:
    """Returns a count out of a whole that is told too, so that neither it nor the rest can be computed where it is small."""
    return f">{whole - FEW}" if count >= FEW and 0 < whole - count < FEW else few(count)


def _without_small(counts: Mapping[str, int]) -> dict[str, int]:
    """Returns counts of 5 and more by kind, the small ones together, with the least of the others if that is needed."""
    told = {kind: count for kind, count in sorted(counts.items()) if count >= FEW}
    rest = sum(counts.values()) - sum(told.values())
    while 0 < rest < FEW and told:
        rest += told.pop(min(told, key=lambda kind: (told[kind], kind)))
    return told | ({"others": rest} if rest >= FEW else {})


# Words ---------------------------------------------------------------------------------------------------------------


def render_html(report: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Returns the report as one HTML file that needs nothing else.

    Args:
        report: What `compose` returns.
        pictures: PNG bytes by name.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible_in_html
    )
    environment.filters |= {"figure": _figure_words, "cell": _cell_words, "words": lambda name: name.replace("_", " ")}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    images = {name: base64.b64encode(picture).decode() for name, picture in pictures.items()}
    return template.render(report=report, sections=SECTIONS, pictures=images) + "\n"


def render_report(path: Path, report: Mapping[str, Any]) -> str:
    """Returns where a report is and its figures, with what they were in the one before, a line each."""
    lines = [f"Report as of {report['as_of']}: {path}"]
    lines += [f"Before: the report as of {report['previous']}" if report["previous"] else "It is the first."]
    for section in SECTIONS:
        lines += ["", section.title]
        for figure in report["figures"]:
            if figure["name"].split(".")[0] == section.figures:
                before = f"   (before: {_figure_words(figure, 'before')})" if report["previous"] else ""
                lines.append(f"  {figure['label']:<55} {_figure_words(figure):>14}{before}")
    return "\n".join([*lines, "", *report["notes"]])


def render_public(report: Mapping[str, Any]) -> str:
    """Returns the public report as Markdown."""
    lines = [f"# Counterfeits, {report['from']} to {report['to']}"]
    for part, told in report.items():
        if isinstance(told, dict):
            lines += ["", f"## {part.replace('_', ' ').capitalize()}", ""]
            lines += [f"- {_public_words(name, value)}" for name, value in told.items()]
    return "\n".join([*lines, "", *report["notes"]])


def _public_words(name: str, value: Any) -> str:
    label = PUBLIC_SHARES.get(name, name.replace("_", " "))
    if value is None or value == {}:
        return f"{label}: too few to tell"
    if isinstance(value, dict):
        return f"{label}: {', '.join(f'{shorten(kind)} {count:,}' for kind, count in value.items())}"
    if name in PUBLIC_SHARES:
        return f"{label}: {value:.1%}"
    return f"{label}: {f'{value:,}' if isinstance(value, int) else value}"


def _figure_words(figure: Mapping[str, Any], which: str = "value") -> str:
    value, unit = figure[which], figure["unit"]
    if value is None:
        return "-"
    if unit == "share":
        return f"{value:.1%}"
    return f"{value:,.0f} USD" if unit == "usd" else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _cell_words(value: Any, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.endswith("_share"):
        return f"{value:.1%}"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)[:19]
