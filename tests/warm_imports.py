"""What a forked command finds imported; see `warm.py`. Nothing here may open a file of a home or start a thread that works."""

from __future__ import annotations

import importlib
import sys

from ml.mlflow_client import load_mlflow
from touchstone.core.settings import quiet_libraries

# As a command's main module has one: without, DuckDB takes the process for somebody's prompt when it is imported, and draws
# the progress of slow queries on stdout.
sys.modules["__main__"].__file__ = __file__
quiet_libraries()
load_mlflow()
for name in (
    "dagster",
    "dagster_dbt",
    "dbt.adapters.duckdb.connections",
    "dbt.cli.main",
    "matplotlib.figure",
    "pandas",
    "pyarrow.parquet",
    "xgboost",
    "expectations.gx_in_duckdb",
    "touchstone.cli.main",
):
    importlib.import_module(name)
