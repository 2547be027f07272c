"""From rated entities to a published list: candidate, verdict, manifest, publication, verification, reading. Nothing else.

A list becomes visible by one atomic step, after this package has checked itself that every gate passed on exactly these
bytes. It never imports Dagster, and what decides here is files and their digests, never objects that a caller holds.
"""
