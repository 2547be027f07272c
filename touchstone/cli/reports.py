"""The command that shows the reports, and how they are printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from touchstone.cli.common import (
    Json,
    as_json_text,
    parse_date,
    parse_day,
    print_result,
    settings_of_command,
)
from touchstone.cli.tables import render_table
from touchstone.core.errors import BadInputError
from touchstone.core.files import write_bytes
from touchstone.core.text import MOST_TITLE_COLUMNS, shorten

PUBLIC_SHARES = {
    "counterfeit_share": "counterfeit share",
    "low": "95 % interval, lower bound",
    "high": "95 % interval, upper bound",
    "upheld_share": "upheld share",
}
"""The values of the public report that are shares, with their labels."""


def report(
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="Date of the report; default: the newest.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A report to publish: no entities, no persons, no small numbers.")
    ] = False,
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day of the public report.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the public report.")] = None,
    to_file: Annotated[
        Path | None, typer.Option("--to-file", metavar="FILE", help="Write the public report to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Shows the figures of the daily outcomes report and its path or, with --public, a report of a period to publish.

    Example: touchstone report --public --from 2026-04-01 --to 2026-06-30 --to-file report.md
    """
    from touchstone.casework.public_report import compose_public
    from touchstone.casework.reports import read_report

    home = settings_of_command().home
    if not public:
        if first or last or to_file:
            raise BadInputError("--from, --to and --to-file need --public. For the report of one day use --as-of.")
        path, facts = read_report(home, parse_day(as_of, "--as-of"))
        print_result({"path": str(path), **facts}, as_json, lambda: render_report(path, facts))
        return
    if first is None or last is None or as_of is not None:
        raise BadInputError("--public needs --from and --to, and does not accept --as-of.")
    facts = compose_public(home, parse_date(first, "--from"), parse_date(last, "--to"))
    if to_file is None:
        print_result(facts, as_json, lambda: render_public(facts))
        return
    write_bytes(to_file, as_json_text(facts).encode() if as_json else f"{render_public(facts)}\n".encode())
    print_result({"written": str(to_file)}, as_json, lambda: f"The public report is in {to_file}.")


def render_report(path: Path, report: Mapping[str, Any]) -> str:
    """Returns the path of a report and its figures, with their values in the previous report."""
    from touchstone.casework.reports import SECTIONS, format_figure

    lines = [f"Report as of {report['as_of']}: {path}"]
    lines += [f"Previous report: as of {report['previous']}" if report["previous"] else "There is no previous report."]
    for section in SECTIONS:
        rows = [
            (
                figure["label"],
                format_figure(figure),
                f"(before: {format_figure(figure, 'before')})" if report["previous"] else "",
            )
            for figure in report["figures"]
            if figure["name"].split(".")[0] == section.figures
        ]
        lines += ["", section.title, *render_table((), rows, right=(1,), indent=2, max_cell_columns=MOST_TITLE_COLUMNS)]
    return "\n".join([*lines, "", *report["notes"]])


def render_public(report: Mapping[str, Any]) -> str:
    """Returns the public report as Markdown."""
    lines = [f"# Counterfeits, {report['from']} to {report['to']}"]
    for section, values in report.items():
        if isinstance(values, dict):
            lines += ["", f"## {section.replace('_', ' ').capitalize()}", ""]
            lines += [f"- {_format_public(name, value)}" for name, value in values.items()]
    return "\n".join([*lines, "", *report["notes"]])


def _format_public(name: str, value: Any) -> str:
    label = PUBLIC_SHARES.get(name, name.replace("_", " "))
    if value is None or value == {}:
        return f"{label}: too few to show"
    if isinstance(value, dict):
        return f"{label}: {', '.join(f'{shorten(kind)} {count:,}' for kind, count in value.items())}"
    if name in PUBLIC_SHARES:
        return f"{label}: {value:.1%}"
    return f"{label}: {f'{value:,}' if isinstance(value, int) else value}"
