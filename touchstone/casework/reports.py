"""The daily outcomes report: figures and tables, each of them one query over the marts of the date.

    reports/as_of=<date>/report.json    every figure and table, with the value in the previous report
    reports/as_of=<date>/report.html    the same as one self-contained HTML file with charts, rendered from the JSON

The queries are in `report.yml`, so anyone can run them against the marts. A list as of a day is acted on the next day, so the
funnel counts flags of earlier lists; the lists published as of the day itself are in the section on lists.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from jinja2 import Environment, StrictUndefined

from ml.registry import Registry
from ml.sampling import prevalence
from touchstone.casework.coverage import coverage_rows, read_coverage
from touchstone.casework.currencies import base_currency
from touchstone.casework.report_charts import draw_charts
from touchstone.casework.test_buys import CERTAIN
from touchstone.core.errors import BadInputError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import canonical_json, replacing_directory
from touchstone.core.home import Home
from touchstone.core.last_run import what_is_missing
from touchstone.core.lists import LISTS, ListName
from touchstone.core.text import visible_in_html
from touchstone.core.yaml import load_packaged_yaml
from touchstone.publishing.history import ListStore, in_force, in_force_before
from touchstone.publishing.read import read_list

TEMPLATE: Final = Path(__file__).with_name("report.html")
DEFINITIONS: Final = Path(__file__).with_name("report.yml")
MARTS: Final = (
    *("reporters", "notices", "appeals", "overturn_rates", "strikes", "test_buy_verdicts", "banned_merchants"),
    *("enforcement_results", "enforcement_months", "funnel", "funnel_months", "lead_history", "case_register"),
    *("confirmed_counterfeiters", "confirmed_accounts", "currencies"),
)
PREVALENCE_DAYS: Final = 90
REFUSALS_DAYS: Final = 7
VERSIONS_SHOWN: Final = 30


@dataclass(frozen=True)
class Figure:
    """One number of the report: its label, its unit, and its query over the marts."""

    label: str
    unit: str
    query: str


@dataclass(frozen=True)
class Table:
    """One table of the report: its heading and its query, which orders the rows."""

    title: str
    query: str


@dataclass(frozen=True)
class Section:
    """A section of the page: its heading, the prefix of its figures' names, its tables and charts."""

    title: str
    figures: str = ""
    tables: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()


DECISIONS: Final = (
    *("notices_waiting", "notices_oldest", "appeals_waiting", "unreviewed"),
    *("leads_waiting", "models_waiting", "refused_gates"),
)
SECTIONS: Final = (
    Section("Pending decisions", "decisions", DECISIONS),
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
    "Prevalence: Hajek estimate with a correction for ratio bias, over test buys with known inclusion probability, stratified as "
    "in their plan (if unknown, by the arms of the plan), with the Korn-Graubard 95 % interval. Buys without a verdict are "
    "represented by the other buys of their stratum."
)


@functools.cache
def definitions() -> tuple[Mapping[str, Figure], Mapping[str, Table]]:
    """Returns the definitions of all figures (except those of test buys) and tables, by name."""
    content = load_packaged_yaml(DEFINITIONS)
    figures = {name: Figure(*parts) for name, parts in content["figures"].items()}
    return figures, {name: Table(*parts) for name, parts in content["tables"].items()}


# The daily report -------------------------------------------------------------------------------------------------


def write_report(home: Path, as_of: dt.date) -> dict[str, bytes]:
    """Writes the report of a date atomically. The same marts, lists, gates and approvals give the same bytes.

    Args:
        home: The home.
        as_of: The date.

    Returns:
        The charts, PNG bytes by name.

    Raises:
        BadInputError: The marts of the date do not exist.
    """
    report = compose(home, as_of)
    charts = draw_charts(report["tables"])
    folder = _folder(home, as_of)
    with failpoint("report.write", folder), replacing_directory(folder) as temporary:
        (temporary / "report.json").write_bytes(canonical_json(report))
        (temporary / "report.html").write_text(render_html(report, charts), encoding="utf-8")
    return charts


def read_report(home: Path, as_of: dt.date | None) -> tuple[Path, dict[str, Any]]:
    """Reads a report.

    Args:
        home: The home.
        as_of: The date; None for the newest report.

    Returns:
        The path of the HTML page, and the content of report.json.

    Raises:
        BadInputError: There is no such report.
    """
    dates = _dates(home)
    if not dates or (as_of is not None and as_of not in dates):
        hint = f"The newest is as of {dates[-1]}. `touchstone run` writes one." if dates else "No report exists yet. "
        hint += "" if dates else what_is_missing(home, "`touchstone run` writes one.")
        raise BadInputError(f"There is no report as of {as_of or 'any date'}. {hint}")
    folder = _folder(home, as_of or dates[-1])
    return folder / "report.html", json.loads((folder / "report.json").read_bytes())


def figure_values(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a report's figures by name."""
    return {figure["name"]: figure["value"] for figure in report["figures"]}


def compose(home: Path, as_of: dt.date) -> dict[str, Any]:
    """Computes the report of a date.

    Args:
        home: The home.
        as_of: The date.

    Returns:
        The report as plain data: figures with their value in the previous report, and tables.

    Raises:
        BadInputError: The marts of the date do not exist.
    """
    earlier = [date for date in _dates(home) if date < as_of]
    before = figure_values(read_report(home, earlier[-1])[1]) if earlier else {}
    currency = base_currency(home, as_of)
    with open_marts(home, as_of) as connection:
        _create_state(connection, home, as_of)
        figure_definitions, table_definitions = definitions()
        values: dict[str, tuple[str, str, Any]] = {
            name: (figure.label, figure.unit, _value(connection, figure.query))
            for name, figure in figure_definitions.items()
        }
        tables = {name: _rows(connection, table) for name, table in table_definitions.items()}
        values |= _test_buy_figures(connection, as_of)
        rate_notes = _missing_rates(connection, currency)
    figures = [
        {
            "name": name,
            "label": label,
            "unit": currency if unit == "base" else unit,
            "value": value,
            "before": before.get(name),
        }
        for name, (label, unit, value) in values.items()
    ]
    return {
        "as_of": str(as_of),
        "previous": str(earlier[-1]) if earlier else None,
        "base_currency": currency,
        "figures": figures,
        "tables": tables,
        "coverage": [list(row) for row in coverage_rows(coverage)] if (coverage := read_coverage(home, as_of)) else [],
        "notes": [*rate_notes, PREVALENCE_NOTE],
    }


def estimate_prevalence(connection: duckdb.DuckDBPyConnection, first: dt.date, last: dt.date) -> dict[str, Any]:
    """Estimates the share of counterfeits among all active listings from the test buys ordered in a period.

    Args:
        connection: Has the mart `test_buy_verdicts`, as from `open_marts`.
        first: The period's first day.
        last: The period's last day.

    Returns:
        `bought` and `answered` (buys with a known inclusion probability, and those of them with a verdict), `counterfeit`, and
        `share`, `low` and `high` (95 %), None without a verdict.
    """
    columns = connection.execute(
        "select case when picks.stratum = $certain then -1 else dense_rank() over (order by bought.plan_id nulls first, "
        "picks.stratum nulls first, case when picks.stratum is null then bought.arm end nulls first) end as stratum, "
        "bought.inclusion_probability, coalesce(bought.verdict, '') as verdict, coalesce(picks.risk, -1) as risk "
        "from test_buy_verdicts as bought left join picks using (plan_id, listing_id) where bought.inclusion_probability > 0 "
        "and cast(bought.ordered_at as date) between $first and $last order by bought.test_buy_id",
        {"certain": CERTAIN, "first": first, "last": last},
    ).fetchnumpy()
    verdict = np.asarray(columns["verdict"], dtype=np.str_)
    is_counterfeit, answered = verdict == "counterfeit", np.isin(verdict, ("counterfeit", "genuine"))
    counts = {"bought": len(verdict), "answered": int(answered.sum()), "counterfeit": int(is_counterfeit.sum())}
    if not answered.any():
        return {**counts, "share": None, "low": None, "high": None}
    stratum, probability = columns["stratum"].astype(np.int64), np.asarray(columns["inclusion_probability"])
    # A buy outside our plans has no recorded risk at the time of the draw; the overall share is used for it.
    risk = np.asarray(columns["risk"])
    rough = prevalence(stratum, probability, np.maximum(risk, 0), is_counterfeit, answered)
    estimate = prevalence(stratum, probability, np.where(risk < 0, rough.share, risk), is_counterfeit, answered)
    return {**counts, "share": round(estimate.share, 6), "low": round(estimate.low, 6), "high": round(estimate.high, 6)}


def _test_buy_figures(connection: duckdb.DuckDBPyConnection, as_of: dt.date) -> dict[str, tuple[str, str, Any]]:
    estimate = estimate_prevalence(connection, as_of - dt.timedelta(days=PREVALENCE_DAYS - 1), as_of)
    return {
        "test_buys.bought_count": (
            f"Test buys of {PREVALENCE_DAYS} days, with known probability",
            "count",
            estimate["bought"],
        ),
        "test_buys.answered_count": ("with a verdict", "count", estimate["answered"]),
        "test_buys.counterfeit_count": ("counterfeit", "count", estimate["counterfeit"]),
        "test_buys.prevalence_share": ("Share of counterfeits among all listings", "share", estimate["share"]),
        "test_buys.prevalence_low": ("95 % interval, lower bound", "share", estimate["low"]),
        "test_buys.prevalence_high": ("95 % interval, upper bound", "share", estimate["high"]),
    }


def _missing_rates(connection: duckdb.DuckDBPyConnection, base: str) -> list[str]:
    """Says which share of each table's amounts has no exchange rate; nothing if all have one."""
    shares = connection.execute(
        "select table_name, sum(no_rate_count) / sum(amount_count) as share from currencies where amount_count > 0 "
        "group by table_name having share > 0 order by table_name"
    ).fetchall()
    parts = ", ".join(f"{table} {share:.2%}" for table, share in shares)
    return [f"Amounts without an exchange rate to {base}, which features do not compare: {parts}."] if shares else []


@contextmanager
def open_marts(home: Path, as_of: dt.date) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yields an in-memory DuckDB connection with a view of each mart of a date, and the picks of all test-buy plans.

    Raises:
        BadInputError: The marts of the date do not exist.
    """
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        for mart in MARTS:
            file = Home(home).mart(mart, as_of)
            if not file.is_file():
                raise BadInputError(
                    f"There is no mart {mart} as of {as_of} ({file}). `touchstone run --as-of {as_of}` or `touchstone backfill` "
                    "builds it."
                )
            connection.read_parquet(str(file), hive_partitioning=False).create_view(mart)
        plans = sorted(str(path) for path in Home(home).test_buys.glob("*/picks.parquet"))
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


def _create_state(connection: duckdb.DuckDBPyConnection, home: Path, as_of: dt.date) -> None:
    """Creates the tables that are no marts: published lists, leads, pending models, and refused gates."""
    connection.execute(
        "create table lists (list_name varchar, as_of_date date, version varchar, row_count bigint, rated_count bigint, "
        "is_calibrated boolean, is_newest boolean, is_previous boolean); "
        "create table listed (list_name varchar, entity_kind varchar, entity_id varchar, other_id varchar, score double, "
        "first_flagged_date date, days_on_list integer, is_new boolean); "
        "create view reviewed as select distinct entity_kind, entity_id from funnel where stage = 'reviewed'; "
        "create table models_waiting (model varchar, version integer, gate varchar); "
        "create table refused_gates (as_of_date date, gate varchar, why varchar)"
    )
    for name in LISTS:
        _insert_list(connection, home, name, as_of)
    _insert_leads(connection, home, as_of)
    connection.execute(_STATE)
    _insert(connection, "models_waiting", _pending_models(home))
    _insert(connection, "refused_gates", _refused_gates(home, as_of))


def _insert_list(connection: duckdb.DuckDBPyConnection, home: Path, name: ListName, as_of: dt.date) -> None:
    """Inserts the newest versions of a list up to a date, and the rows of the version in force at it."""
    definition, store = LISTS[name], ListStore(Home(home).published, name)
    history = store.history()
    current = in_force(history, as_of)
    versions = in_force_before(history, as_of) | ({as_of: current} if current else {})
    previous_day = max((day for day in versions if day < as_of), default=None)
    for day, version in list(versions.items())[-VERSIONS_SHOWN:]:
        manifest = store.manifest(version)
        is_calibrated = manifest.inputs.model.is_calibrated
        row = [name, day, version, manifest.row_count, manifest.rated_count, is_calibrated]
        connection.execute(
            "insert into lists values (?, ?, ?, ?, ?, ?, ?, ?)", [*row, version == current, day == previous_day]
        )
    if current is None:
        return
    own, other = (definition.carried or (definition.key, None))[:2]
    kind = f"case when {own} is null then 'review' else '{own.removesuffix('_id')}' end"
    connection.register("rows", read_list(Home(home).published, name, current).rows)
    connection.execute(
        f"insert into listed select '{name}', {kind}, coalesce({own}, {other or 'null'}), {other or 'null'}, score, "
        "first_flagged_date, days_on_list, is_new from rows"
    )
    connection.unregister("rows")


def _insert_leads(connection: duckdb.DuckDBPyConnection, home: Path, as_of: dt.date) -> None:
    """Creates the table of the newest leads up to a date."""
    connection.execute(
        "create table leads (lead_id varchar, kind varchar, rank bigint, since_date date, merchant_count bigint, "
        "expected_harm_base decimal(38, 4))"
    )
    earlier = [day for day in Home(home).lead_dates() if day <= as_of]
    if earlier:
        columns = "lead_id, kind, rank, since_date, merchant_count, expected_harm_base"
        connection.execute(
            f"insert into leads select {columns} from read_parquet(?, hive_partitioning = false) where status = 'found'",
            [str(Home(home).leads(earlier[-1]) / "leads.parquet")],
        )


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[object]]) -> None:
    for row in rows:
        connection.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)


def _pending_models(home: Path) -> list[tuple[str, int, str]]:
    """Returns the newest undecided version of each model, with its result at the promotion gate."""
    lines = Registry(home).approvals.decisions()
    newest = {line.model: line for line in lines if line.action == "train"}
    decided = {(line.model, line.version) for line in lines if line.action in {"approve", "reject", "rollback"}}
    return [
        (line.model, line.version, "failed" if line.failures else "passed")
        for line in newest.values()
        if (line.model, line.version) not in decided
    ]


def _refused_gates(home: Path, as_of: dt.date) -> list[tuple[dt.date, str, str]]:
    """Returns the gates whose newest result refuses, for each of the last days, with the first critical failure."""
    refusals = []
    for day in (as_of - dt.timedelta(days=back) for back in range(REFUSALS_DAYS)):
        for file in sorted(Home(home).gates(day).glob("[!.]*.json")):
            result = json.loads(file.read_bytes())
            if not result["success"]:
                critical = [failure for failure in result["failures"] if failure["severity"] == "critical"]
                refusals.append((day, file.stem, critical[0]["message"] if critical else ""))
    return refusals


def _value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return to_json(row[0]) if row else None


def _rows(connection: duckdb.DuckDBPyConnection, table: Table) -> dict[str, Any]:
    cursor = connection.execute(table.query)
    columns = [column[0] for column in cursor.description or ()]
    return {
        "title": table.title,
        "columns": columns,
        "rows": [[to_json(value) for value in row] for row in cursor.fetchall()],
    }


def to_json(value: Any) -> Any:
    """Converts a value of DuckDB to a JSON type: decimals become floats, dates and times text."""
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _folder(home: Path, as_of: dt.date) -> Path:
    return Home(home).report(as_of)


def _dates(home: Path) -> list[dt.date]:
    """Returns the dates that have a report, oldest first."""
    return Home(home).report_dates()


# HTML ---------------------------------------------------------------------------------------------------------------


def render_html(report: Mapping[str, Any], charts: Mapping[str, bytes]) -> str:
    """Renders the report as one self-contained HTML file.

    Args:
        report: The report, as `compose` returns it.
        charts: PNG bytes by name.

    Returns:
        The page.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible_in_html
    )
    environment.filters |= {"figure": format_figure, "cell": _format_cell, "title": lambda name: name.replace("_", " ")}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    images = {name: base64.b64encode(chart).decode() for name, chart in charts.items()}
    return template.render(report=report, sections=SECTIONS, charts=images) + "\n"


def format_figure(figure: Mapping[str, Any], which: str = "value") -> str:
    """Formats the `value` of a figure, or its value `before`, in its unit."""
    value, unit = figure[which], figure["unit"]
    if value is None:
        return "-"
    if unit == "share":
        return f"{value:.1%}"
    if unit.isupper():  # a currency
        return f"{value:,.0f} {unit}"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _format_cell(value: Any, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.endswith("_share"):
        return f"{value:.1%}"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)[:19]
