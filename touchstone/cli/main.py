"""The `touchstone` command: its groups put together, its exit codes, its log.

Results go to stdout, or one JSON object with `--json`; logs and errors go to stderr. Exit codes: 0 done, 1 a fault of
ours, 2 bad usage, configuration or source, or a disk that refuses, 3 a gate refused, 4 verification failed; 128 and the
signal's number where a signal stopped it (130 SIGINT, 143 SIGTERM, 129 SIGHUP), 141 where nobody read what it printed.
"""

from __future__ import annotations

import io
import logging
import signal
import sys
import traceback

import typer
from typer.exceptions import TyperException

from orchestration.process import spare_the_collector
from touchstone.cli import (
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
)
from touchstone.cli.common import print_message, settings_of
from touchstone.cli.start import stoppable
from touchstone.core.errors import ExitCode, TouchstoneError, disk_refusal
from touchstone.core.secrets import hide
from touchstone.core.text import TerminalFormatter

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rates the goods and merchants of a marketplace for the risk that they are counterfeit, and publishes lists.",
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
    lists.trace,
    reports.report,
):
    app.command()(command)
app.command(context_settings=dbt.PASSED_ON)(dbt.dbt)


def main() -> None:
    """Runs the command line; every expected failure ends as a sentence and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a terminal that is not of UTF-8 gets the numbers, as on stderr
    _log_to_stderr()
    spare_the_collector()
    try:
        with stoppable():  # already here, for what follows must not explain what a signal broke off
            app(standalone_mode=False)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer's way to end where nobody reads what is printed
            raise SystemExit(128 + signal.SIGPIPE) from None
        raise
    except TouchstoneError as error:
        _fail(str(error), error.exit_code)
    except typer.Abort:
        _fail("Stopped.", ExitCode.FAULT)
    except TyperException as error:
        _fail(f"{error.format_message()} `touchstone --help` shows what there is.", ExitCode.BAD_INPUT)
    except Exception as error:  # noqa: BLE001  # the last resort: a disk that refuses, or a fault of ours, told as one
        if (refusal := disk_refusal(str(error))) is not None:
            _fail(f"{refusal} The home is {settings_of().home}.", ExitCode.BAD_INPUT)
        print_message(hide(traceback.format_exc()))
        _fail(f"A fault of ours: {error!r}. Please report it with the lines above.", ExitCode.FAULT)


def _log_to_stderr() -> None:
    """Our own lines as they are; of the libraries only warnings. Dagster rewrites lines that reach the root logger."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    ours = logging.getLogger("touchstone")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def _fail(message: str, code: ExitCode) -> None:
    print_message(hide(message))
    raise SystemExit(int(code))
