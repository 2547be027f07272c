"""What keeps a home sound beside the runs: verification, the doctor, pruning, erasure, alerts.

It knows landing and publishing, and never imports Dagster: it works on files, and on a home whose runs do not.
"""
