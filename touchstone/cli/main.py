"""The `touchstone` command: its command groups, exit codes and logging.

Results go to stdout, or one JSON object with `--json`; logs and errors go to stderr. Exit codes: 0 done, 1 internal
error, 2 invalid usage, configuration or source, or a disk error, 3 a gate refused, 4 verification failed; 128 plus the signal
number if a signal stopped the command (130 SIGINT, 143 SIGTERM, 129 SIGHUP), 141 if the reader of its output went away.
"""

from __future__ import annotations

import io
import logging
import signal
import sys
import traceback

import typer
from typer.exceptions import TyperException

from touchstone.cli import (
    audits,
    dbt,
    evaluate,
    leads,
    lists,
    maintenance,
    models,
    outcomes,
    pipeline,
    policies,
    reports,
    sources,
    test_buys,
    trace,
)
from touchstone.cli.common import print_message, settings_of_command
from touchstone.cli.signals import stoppable
from touchstone.core.errors import ExitCode, TouchstoneError, describe_disk_error
from touchstone.core.secrets import hide
from touchstone.core.text import TerminalFormatter

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Scores the listings and merchants of a marketplace by their counterfeit risk, and publishes lists.",
)
app.add_typer(sources.app, name="sources")
app.add_typer(lists.app, name="lists")
app.add_typer(models.app, name="models")
app.add_typer(maintenance.alerts_app, name="alerts")
app.add_typer(outcomes.suppress_app, name="suppress")
app.add_typer(outcomes.decisions_app, name="decisions")
app.add_typer(outcomes.appeals_app, name="appeals")
app.add_typer(outcomes.cases_app, name="cases")
app.add_typer(test_buys.app, name="test-buys")
app.add_typer(audits.app, name="audits")
app.add_typer(leads.app, name="leads")
app.add_typer(policies.app, name="policies")
for command in (
    pipeline.demo,
    pipeline.run,
    pipeline.backfill,
    pipeline.backtest,
    evaluate.evaluate,
    lists.verify,
    maintenance.doctor,
    maintenance.prune,
    maintenance.erase,
    pipeline.ui,
    trace.trace,
    reports.report,
):
    app.command()(command)
app.command(context_settings=dbt.PASSED_ON)(dbt.dbt)


def main() -> None:
    """Runs the command line; every expected failure becomes a message and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 gets escapes, as on stderr
    _log_to_stderr()
    try:
        with stoppable():  # outermost, so that no handler below reports an interrupted command as an error
            app(standalone_mode=False)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer exits so if the output pipe is closed
            raise SystemExit(128 + signal.SIGPIPE) from None
        raise
    except TouchstoneError as error:
        _fail(str(error), error.exit_code)
    except typer.Abort:
        _fail("Stopped.", ExitCode.INTERNAL_ERROR)
    except TyperException as error:
        _fail(f"{error.format_message()} `touchstone --help` lists the commands.", ExitCode.BAD_INPUT)
    except Exception as error:  # noqa: BLE001  # last resort: a disk error or an internal error
        if (refusal := describe_disk_error(str(error))) is not None:
            _fail(f"{refusal} The home is {settings_of_command().home}.", ExitCode.BAD_INPUT)
        print_message(hide(traceback.format_exc()))
        _fail(
            f"Internal error (this is a bug in Touchstone): {error!r}. Please report it with the lines above.",
            ExitCode.INTERNAL_ERROR,
        )


def _log_to_stderr() -> None:
    """Logs our own messages and the warnings of libraries to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    ours = logging.getLogger("touchstone")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False  # Dagster rewrites records that reach the root logger


def _fail(message: str, code: ExitCode) -> None:
    print_message(hide(message))
    raise SystemExit(int(code))
