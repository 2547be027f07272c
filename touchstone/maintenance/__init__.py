"""Maintenance of a home: verification, the doctor, pruning, erasure, alerts.

It depends on landing and publishing, and never imports Dagster: it works on files, also in a home whose runs fail.
"""
