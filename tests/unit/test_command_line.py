"""What the command line loads before it knows what is asked."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"dagster", "dbt", "great_expectations", "matplotlib", "mlflow", "pandas", "pyarrow", "sqlalchemy", "xgboost"}


def test_the_command_line_loads_heavy_libraries_only_where_they_are_used():
    told = subprocess.run(
        [sys.executable, "-c", "import sys, orchestration.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(told.stdout.split())
    assert {"orchestration.cli", "typer"} <= loaded
    assert not HEAVY & loaded
