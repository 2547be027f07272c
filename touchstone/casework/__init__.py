"""What is done with a list: policies tried, leads, test buys, suppressions, appeals and other outcomes, reports, traces.

Here is what an analyst does, over files that the pipeline has written. It never imports Dagster. What comes back from the world
(verdicts, decisions, appeals, hand-overs, cases) enters as loads of the contract's tables, like any source.
"""
