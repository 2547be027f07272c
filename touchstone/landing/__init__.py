"""Pulls a source's tables into the landing zone: connectors, the contract's checks, immutable Parquet, the ledger.

Everything about how a user's data comes in is here; what it means is the contract's, and what is made of it is dbt's.
Nothing here knows Dagster, a model or a list.
"""
