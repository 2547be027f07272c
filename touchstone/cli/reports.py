"""The command that shows the reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from touchstone.cli.common import (
    Json,
    as_json_text,
    date_of,
    day_of,
    print_result,
    settings_of,
)
from touchstone.core.errors import BadInputError
from touchstone.core.files import write_bytes


def report(
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="The report of which day; else the newest.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="What can be shown to others: no entity, no person, no small number.")
    ] = False,
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="With --public, the first day.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="With --public, the last day.")] = None,
    to_file: Annotated[
        Path | None, typer.Option("--to-file", metavar="FILE", help="With --public, writes it there instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Says where the report of a day is, and its figures; or, with --public, what of a period can be shown to others.

    Example: touchstone report --public --from 2026-04-01 --to 2026-06-30 --to-file report.md
    """
    from touchstone.casework import reports

    home = settings_of().home
    if not public:
        if first or last or to_file:
            raise BadInputError("--from, --to and --to-file go with --public. For the report of a day give --as-of.")
        path, told = reports.read_report(home, day_of(as_of, "--as-of"))
        print_result({"path": str(path), **told}, as_json, lambda: reports.render_report(path, told))
        return
    if first is None or last is None or as_of is not None:
        raise BadInputError("--public needs --from and --to, and takes no --as-of.")
    shown = reports.compose_public(home, date_of(first, "--from"), date_of(last, "--to"))
    if to_file is None:
        print_result(shown, as_json, lambda: reports.render_public(shown))
        return
    write_bytes(to_file, as_json_text(shown).encode() if as_json else f"{reports.render_public(shown)}\n".encode())
    print_result({"written": str(to_file)}, as_json, lambda: f"The public report is in {to_file}.")
