"""The demo marketplace: a generator with known truth, at any scale. Nothing here imports Dagster."""
