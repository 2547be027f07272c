"""The command `touchstone trace`, and how a trace is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from touchstone.cli.common import Json, parse_day, print_result, settings_of_command
from touchstone.cli.tables import render_table
from touchstone.core.text import MOST_SENTENCE_COLUMNS, shorten, wrap

FEATURES_SHOWN = 25
MAX_VALUE_COLUMNS = 60


def trace(
    list_name: Annotated[str, typer.Argument(metavar="LIST", help="The list, such as listings.")],
    entity_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the entity; for the list of reviews also an order or review id.")
    ],
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="As-of date of the list; default: the newest.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Version of the list; default: the one in force.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Maximum number of rows of each source table, newest first.")] = 5,
    as_json: Json = False,
) -> None:
    """Traces a row of a list to its score, model, features, gates, loads and source rows; exits with 4 on a wrong digest.

    Example: touchstone trace listings l8db06853d139410a --as-of 2026-06-30
    """
    from touchstone.publishing import trace as tracing

    day = parse_day(as_of, "--as-of")
    facts = tracing.trace(settings_of_command().home, list_name, entity_id, as_of=day, version=version, rows=rows)
    print_result(facts, as_json, lambda: render_trace(facts))


def render_trace(facts: Mapping[str, Any]) -> str:
    """Returns a trace as text, from the row of the list to its source rows."""
    sections = [
        _row_lines(facts),
        _score_lines(facts["score"]),
        _model_lines(facts["model"]),
        _feature_lines(facts),
        _gate_lines(facts["verdict"]),
        _load_lines(facts["loads"]),
    ]
    tables = facts["source_rows"]
    sections += [_source_lines(name, table) for name, table in tables.items() if table["row_count"]]
    empty = [name for name, table in tables.items() if not table["row_count"]]
    if empty:
        sections.append([f"SOURCE ROWS: none in {', '.join(empty)}"])
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _row_lines(facts: Mapping[str, Any]) -> list[str]:
    row, manifest, entity_id = facts["row"], facts["manifest"], shorten(facts["entity_id"])
    version = facts["version"] or f"no version; candidate of {facts['as_of']}"
    if row is None:
        lines = [f"{entity_id} is not on the list {facts['list']} of {facts['as_of']} ({version}):"]
        lines += wrap("; ".join(facts["why_not_listed"]))
    else:
        lines = [f"{entity_id} is row {row['rank']} of {manifest['row_count']} on {facts['list']} ({version})"]
        name = row.get("title") or row.get("name")
        lines += wrap(
            _format_pairs({"name": name, **{key: row[key] for key in ("brand", "category", "price", "currency")}})
        )
        lines.append(f"  {row['action']}, since {row['first_flagged_date']} ({row['days_on_list']} days)")
    lines += wrap("; ".join(facts["notes"]), "  NOTE: ") if facts["notes"] else []
    if facts["publication"]:
        run = facts["publication"]["run"]
        lines.append(f"  published {run.get('published_at')} by run {run.get('run_id')}; all digests match")
    inputs = manifest["inputs"]
    digests = {"loads": inputs["loads"]["digest"], "dbt_build": inputs["dbt_build"], "code": inputs["code_revision"]}
    digests |= {"policy": manifest["policy"], "suites": inputs["suites"], "features": inputs["features"]}
    lines += wrap("built from " + _format_pairs({name: digest[:12] for name, digest in digests.items()}))
    return lines


def _score_lines(score: Mapping[str, Any]) -> list[str]:
    limits = [("SCORE", "score", "threshold"), ("own_conduct_score", "own_conduct_score", "floor")]
    parts = [f"{label} {_format(score[name])}, {limit} {_format(score[limit])}" for label, name, limit in limits]
    lines = ["; ".join(parts)]
    lines.append("  " + _format_pairs({name: score[name] for name in ("margin", "band", "expected_precision")}))
    if score["term"]:
        lines += wrap(f"by the policy's term: {shorten(score['term']['description'], MOST_SENTENCE_COLUMNS)}")
    for reason in score["reasons"] or []:
        signals = "+".join(name for name in (reason["signal"], reason.get("with_signal")) if name)
        quote = f" ({reason['quote']})" if "quote" in reason else ""
        text = shorten(f"{reason['text']}{quote}", MOST_SENTENCE_COLUMNS)
        lines += wrap(text, f"  {signals} {reason['effect']:+.2f}: ")
    return lines if score["reasons"] is not None else [*lines, "  no reasons were recorded"]


def _model_lines(model: Mapping[str, Any]) -> list[str]:
    approval = model["approval"]
    lines = [f"MODEL {model['name']} version {model['version']}, {model['digest'][:12]}"]
    lines += wrap(f"{approval['action']} {_format_decision(approval)}")
    if approval["is_override"]:
        lines += wrap("; ".join(approval["failures"]), "  OVERRIDE despite: ")
    return lines


def _feature_lines(facts: Mapping[str, Any]) -> list[str]:
    features = facts["features"]
    if features is None:
        return ["FEATURES are missing"]
    category = _format(facts["category"] or "all categories")
    lines = [f"FEATURES, most extreme first; typical for {category}; share of entities at least as extreme"]
    rows = [
        (
            feature["name"],
            _format(feature["value"]),
            f"typical {_format(feature['typical'])}",
            _format_percent(feature["as_extreme_share"]),
            f"{feature['signal']}, {feature['controlled_by']}",
        )
        for feature in features[:FEATURES_SHOWN]
    ]
    lines += render_table((), rows, right=(1, 3), indent=2)
    rest = len(features) - FEATURES_SHOWN
    return [*lines, f"  and {rest} more: --json prints all"] if rest > 0 else lines


def _gate_lines(verdict: Mapping[str, Any] | None) -> list[str]:
    if verdict is None:
        return ["GATES: the verdict is missing"]
    lines = [f"GATES {'passed' if verdict['passed'] else 'REFUSED'}"]
    for gate in verdict["gates"]:
        result = "passed" if gate["passed"] else "REFUSED"
        lines.append(f"  {gate['gate']}: {gate['expectations_run']} expectations, {result}")
        for failure in gate["failures"]:
            lines += wrap(f"{failure['severity']}: {failure['message']}", "    ")
    return lines


def _load_lines(loads: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            load["table"],
            load["load_id"],
            str(load["landed_at"])[:16].replace("T", " "),
            f"{load['row_count']:,} rows",
            "by command" if load["is_recorded"] else load["mode"],
            "" if load["state"] == "unchanged" else load["state"].upper(),
        )
        for load in loads
    ]
    lines = ["LOADS", *render_table((), rows, right=(3,), indent=2)]
    for load in loads:
        if load["state"] != "unchanged":
            replacement = f"; replaced by {load['replaced_by']}" if load["replaced_by"] else ""
            lines.append(f"  {load['table']}/{load['load_id']}: {load['state']}{replacement}")
            for removal in load["removals"]:
                lines += wrap(_format_decision({**removal, "at": removal["at"][:16]}), "    ")
    return lines


def _source_lines(name: str, table: Mapping[str, Any]) -> list[str]:
    loads = {tuple(row["load_ids"]) for row in table["rows"]}
    newest = f", the newest {len(table['rows'])}" if len(table["rows"]) < table["row_count"] else ""
    only_load = f", from load {_format_loads(*loads)}" if len(loads) == 1 else ""
    lines = [f"SOURCE ROWS {name}: {table['row_count']:,}{newest}{only_load}"]
    for row in table["rows"]:
        load = {} if only_load else {"load": _format_loads(row["load_ids"])}
        lines += wrap(_format_pairs({**load, **row["row"]}), "  - ")
    return lines


def _format_decision(decision: Mapping[str, Any]) -> str:
    """Formats who decided something, when and why."""
    return f"by {shorten(decision['who'])} at {decision['at']}: {shorten(decision['why'], MOST_SENTENCE_COLUMNS)}"


def _format_loads(load_ids: Sequence[str]) -> str:
    return f"{load_ids[0]} and {len(load_ids) - 1} later" if len(load_ids) > 1 else load_ids[0]


def _format_pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_format(value)}" for name, value in values.items() if value is not None)


def _format(value: Any) -> str:
    """Formats a value on one line, shortened if it is long."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return shorten(text, MAX_VALUE_COLUMNS)


def _format_percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
