"""Casework: what is done with the lists. Leads, evidence packs, test buys, suppressions, appeals, other outcomes, and reports.

The package reads files that the pipeline has written, and never imports Dagster. Verdicts, decisions, appeals, hand-overs and
cases enter as loads of the contract's tables, like any source.
"""
