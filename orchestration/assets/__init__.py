"""Dagster assets, one module a stage, in the order of the flow. Thin: read, call, record metadata."""
