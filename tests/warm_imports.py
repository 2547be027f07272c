"""The modules that a forked command finds imported; see `warm.py`.

They must not open a home's files or start threads.
"""

from __future__ import annotations

import importlib
import sys

from ml.mlflow_client import load_mlflow
from touchstone.core.settings import quiet_libraries

# A command's main module has a file. Without one, DuckDB assumes an interactive session when imported, and prints
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
