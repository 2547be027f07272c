"""Brings a source's tables into the landing zone: connectors, contract checks, immutable Parquet files, the ledger.

Only ingestion is here: the contract defines what the data means, and dbt transforms it. Nothing here depends on Dagster, a model
or a list.
"""
