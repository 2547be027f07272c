"""A dbt command that a person gives in a shell, over the warehouse of a home.

Belongs here: what a command needs before dbt starts, and after it. The commands that a run gives are in `resources.Warehouse`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from expectations.contract import load_contract
from orchestration.dbt_runner import run_command, show_previous
from orchestration.resources import Warehouse
from touchstone.core.home import Home
from touchstone.core.settings import Settings
from touchstone.core.warehouse import removed_if_damaged
from touchstone.landing.as_of import default_as_of
from touchstone.landing.ledger import Ledger, pinned_loads

OFFLINE = frozenset({"ls", "list", "parse", "deps", "clean"})
"""Commands that do not open the warehouse."""
WRITING = frozenset({"build", "run", "seed", "snapshot", "test", "retry", "clone", "run-operation"})
"""Commands that write tables or query them, and so need the landed views; the others only read the catalogue."""


def run_dbt_command(settings: Settings, arguments: Sequence[str]) -> bool:
    """Runs a dbt command whose output goes to the terminal; the caller holds the writer lock unless it is offline.

    A writing command first sees what a run would see: the loads that count now, the date of the last run (or the last
    complete day), and what the incremental tables hold. The next run rebuilds what a person may have changed.

    Args:
        settings: Name the home.
        arguments: dbt's own, beginning with the command: `("build", "--select", "int_order_days")`.

    Returns:
        Whether every node succeeded.

    Raises:
        BadInputError: dbt could not run the command at all.
        WarehouseDamagedError: The warehouse's file is damaged; it was removed.
    """
    if arguments and arguments[0] in WRITING:
        _prepare(settings, full_refresh=bool({"--full-refresh", "-f"} & set(arguments)))
    with removed_if_damaged(settings.home):
        return run_command(settings, arguments)


def _prepare(settings: Settings, *, full_refresh: bool) -> None:
    contract = load_contract()
    landing = Home(settings.home).landing
    pins, warehouse = pinned_loads(Ledger(landing).read(), contract), Warehouse(settings)
    with warehouse.connect() as connection:
        warehouse.pin(pins, contract, landing)
        as_of, with_training = _last_run(warehouse) or (default_as_of(landing, pins), False)
        warehouse.set_run(as_of=as_of, with_training=with_training)
        warehouse.invalidate_steps()
        show_previous(connection, full_refresh=full_refresh)


def _last_run(warehouse: Warehouse) -> tuple[date, bool] | None:
    """Returns what the last run was about, if there was one: its date, and whether it built training rows."""
    path = warehouse.pinned / "run.parquet"
    if not path.exists():
        return None
    with warehouse.connect() as connection:
        rows = connection.execute("select as_of, with_training from read_parquet(?)", [str(path)]).fetchall()
    return rows[0] if rows else None
