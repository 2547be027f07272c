"""What commands share: options, parsing of dates, the writer lock, and printing. No command is here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.core.errors import BadInputError
from touchstone.core.home import ensure_schema, home_lock
from touchstone.core.settings import Settings, read_settings
from touchstone.core.text import shorten, terminal_lines

if TYPE_CHECKING:
    from touchstone.landing.land import Recorded

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Why = Annotated[str, typer.Option("--why", help="Why, for the log.")]
Who = Annotated[
    str, typer.Option("--who", help="Who gives the command, for the log.", envvar=["TOUCHSTONE_REVIEWER", "USER"])
]

AsOf = Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="As of which day; else the newest.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check and count.")]
Given = Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet, with the contract's columns.")]


def settings_of(**overrides: object) -> Settings:
    """Returns the settings of this command; overrides win over the environment."""
    return read_settings(**overrides)


def date_of(text: str, option: str) -> date:
    """Returns the date that an option names.

    Raises:
        BadInputError: It is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(f"{option} {shorten(text)}: not a date. Write it as 2026-06-30.") from error


def day_of(text: str | None, option: str) -> date | None:
    """Returns the date that an option names, or None where it is not given."""
    return None if text is None else date_of(text, option)


def moment_of(text: str, option: str) -> datetime:
    """Returns the moment that an option names; without a zone it is UTC.

    Raises:
        BadInputError: It is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(f"{option} {shorten(text)}: not a time. Write it as 2026-07-01T12:00.") from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def writing(purpose: str) -> Iterator[Settings]:
    """Holds the home's lock, having waited for whoever holds it; yields the settings."""
    settings = settings_of()
    ensure_schema(settings)
    with home_lock(settings, purpose):
        yield settings


def print_result(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result on stdout: as one JSON object with every value as it is, or in words that are safe on a terminal."""
    typer.echo(json.dumps(value, indent=2, default=str) if as_json else terminal_lines(text()))


def print_message(message: object) -> None:
    """Prints an error or how far a command has come on stderr, safe on a terminal."""
    typer.echo(terminal_lines(str(message)), err=True)


def as_json_text(value: Any) -> str:
    """Returns a result as the text of a JSON file in ASCII, keys sorted: what hides in a value is escaped there."""
    return json.dumps(value, indent=2, sort_keys=True, default=str, allow_nan=False) + "\n"


def print_recorded(recorded: Recorded, as_json: bool) -> None:
    """Prints what became of rows that a command recorded."""
    from touchstone.casework.outcomes import recorded_facts, render_recorded

    print_result(recorded_facts(recorded), as_json, lambda: render_recorded(recorded))


def format_share(value: float | None) -> str:
    """Returns a share with three decimals, or a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"
