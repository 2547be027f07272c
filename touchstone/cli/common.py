"""Shared by all commands: options, parsing of dates, the writer lock, and printing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.core.errors import BadInputError, format_count
from touchstone.core.home import ensure_schema, home_lock
from touchstone.core.settings import Settings, read_settings
from touchstone.core.text import shorten, terminal_lines

if TYPE_CHECKING:
    from touchstone.landing.land import Recorded

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Why = Annotated[str, typer.Option("--why", help="Reason, for the log.")]
Who = Annotated[
    str, typer.Option("--who", help="Name of the person, for the log.", envvar=["TOUCHSTONE_REVIEWER", "USER"])
]

AsOf = Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="As-of date; default: the newest.")]
RatedDay = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="Rated day to draw from; default: the newest rated day."),
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Random seed; default: derived from what can be drawn and the day.")
]
Window = Annotated[
    int,
    typer.Option("--window", metavar="DAYS", min=0, help="Do not draw again what was drawn within this many days."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and count only; record nothing.")]
RowsFile = Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet with the contract's columns.")]


def settings_of_command(**overrides: object) -> Settings:
    """Returns the settings of this command; overrides take precedence over the environment."""
    return read_settings(**overrides)


def parse_date(text: str, option: str) -> date:
    """Parses the date of an option.

    Args:
        text: The value, such as 2026-06-30.
        option: The option, for the message.

    Returns:
        The date.

    Raises:
        BadInputError: The value is no date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(f"{option} {shorten(text)}: not a date. Write it as 2026-06-30.") from error


def parse_day(text: str | None, option: str) -> date | None:
    """Parses the date of an option that may be absent; see `parse_date`."""
    return None if text is None else parse_date(text, option)


def parse_time(text: str, option: str) -> datetime:
    """Parses the time of an option; a time without a zone is UTC.

    Args:
        text: The value, such as 2026-07-01T12:00.
        option: The option, for the message.

    Returns:
        The time, in UTC.

    Raises:
        BadInputError: The value is no time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(f"{option} {shorten(text)}: not a time. Write it as 2026-07-01T12:00.") from error
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


@contextmanager
def writing(purpose: str) -> Iterator[Settings]:
    """Holds the home's writer lock, waiting for it if necessary, and yields the settings."""
    settings = settings_of_command()
    ensure_schema(settings)
    with home_lock(settings, purpose):
        yield settings


def print_result(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result on stdout: as one JSON object with unchanged values, or as text that is safe on a terminal."""
    typer.echo(json.dumps(value, indent=2, default=str) if as_json else terminal_lines(text()))


def print_message(message: object) -> None:
    """Prints an error or a progress message on stderr, safe on a terminal."""
    typer.echo(terminal_lines(str(message)), err=True)


def as_json_text(value: Any) -> str:
    """Returns a result as the text of a JSON file in ASCII with sorted keys, so that hidden characters are escaped."""
    return json.dumps(value, indent=2, sort_keys=True, default=str, allow_nan=False) + "\n"


def print_recorded(recorded: Recorded, as_json: bool) -> None:
    """Prints the result of a command that records rows."""
    from touchstone.casework.outcomes import recorded_facts

    print_result(recorded_facts(recorded), as_json, lambda: render_recorded(recorded))


def render_recorded(recorded: Recorded) -> str:
    """Returns how many of the given rows are new or replace others."""
    if recorded.new + recorded.changed == 0:
        return f"{recorded.table}: nothing new; the given rows ({format_count(recorded.given, 'row')}) are recorded already."
    counts = f"{format_count(recorded.given, 'row')} given, {recorded.new:,} new, {recorded.changed:,} replaced"
    if recorded.load is None:
        return f"{recorded.table}: {counts}. Dry run: nothing was recorded."
    return f"{recorded.table}: {counts}. They take effect with the next `touchstone run`."


def format_share(value: float | None) -> str:
    """Formats a share with three decimals, or as a dash if there is none."""
    return "-" if value is None else f"{value:.3f}"
