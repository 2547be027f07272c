"""What a forked command finds imported; see `warm.py`. Nothing here may open a file of a home or start a thread that works."""

from __future__ import annotations

import importlib

from ml.registry import load_mlflow
from orchestration.settings import quiet_libraries

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
    "orchestration.cli",
):
    importlib.import_module(name)
