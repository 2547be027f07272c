"""The code location: everything that Dagster loads, assembled in one place.

`build_definitions` serves production, tests and the command line alike; what differs between them is an argument.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from expectations.contract import load_contract
from orchestration import automation, checks
from orchestration.assets.leads import lead_assets
from orchestration.assets.lists import list_assets
from orchestration.assets.models import score_assets, training_assets
from orchestration.assets.reports import report_asset
from orchestration.assets.signals import signal_assets
from orchestration.assets.sources import landing_assets
from orchestration.assets.warehouse import dbt_steps
from orchestration.dbt_runner import prepare_manifest
from orchestration.resources import run_resource
from touchstone.core.settings import Settings, quiet_libraries, read_settings


def build_definitions(settings: Settings, **overrides: Any) -> dg.Definitions:
    """Returns the definitions of one home.

    Args:
        settings: The home's settings.
        **overrides: Arguments of `dagster.Definitions` that replace the defaults, such as `resources`.
    """
    quiet_libraries()
    contract = load_contract()
    manifest = prepare_manifest()
    daily = automation.daily_partitions(settings)
    arguments: dict[str, Any] = {
        "assets": [
            landing_assets(contract),
            *dbt_steps(manifest, daily),
            *signal_assets(),
            training_assets(),
            *score_assets(daily),
            *list_assets(daily),
            *lead_assets(daily),
            report_asset(daily),
        ],
        "asset_checks": checks.gates(contract, daily),
        "jobs": automation.jobs(),
        "schedules": automation.schedules(settings),
        "sensors": [automation.promotion_sensor(settings), automation.automation_sensor()],
        "resources": {"run": run_resource(settings)},
        "executor": dg.in_process_executor,
    }
    return dg.Definitions(**{**arguments, **overrides})


@dg.definitions
def definitions() -> dg.Definitions:
    """Returns the definitions of the home that the environment names."""
    return build_definitions(read_settings())
