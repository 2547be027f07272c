"""The product's own code, none of which imports Dagster."""
