"""Publishing: from rated entities to a published list, and how lists are read, verified and traced.

A list becomes visible in one atomic step, after this package has checked that every gate passed on exactly these bytes. It never
imports Dagster. Its decisions depend on files and their digests, not on objects in memory.
"""
