"""Risk models: training sets, training, evaluation, calibration, registration, scoring and explanation.

Everything here reads Parquet files and writes Parquet files and MLflow records. Nothing here opens a warehouse, knows
an orchestrator or computes a feature: features are the dbt project's.
"""
