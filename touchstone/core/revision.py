"""Digests of the code: what rated and published, and what built the warehouse's tables."""

from __future__ import annotations

import functools

from touchstone.core.files import sha256_bytes, sha256_tree
from touchstone.core.settings import DBT_PROJECT, PROJECT_ROOT

PACKAGES = ("touchstone", "orchestration", "ml", "expectations")


def code_revision() -> str:
    """Returns a digest of the code that rates and publishes: the same code gives the same revision in any checkout."""
    trees = [sha256_tree(PROJECT_ROOT / name, ("**/*.py", "**/*.yml", "**/*.sql", "**/*.csv")) for name in PACKAGES]
    return sha256_bytes("".join([*trees, project_digest()]).encode())


@functools.cache
def project_digest() -> str:
    """Returns a digest of the dbt project's models, macros, seeds and configuration."""
    return sha256_tree(
        DBT_PROJECT,
        ("*.yml", "models/**/*.sql", "models/**/*.yml", "macros/**/*.sql", "seeds/**/*"),
    )
