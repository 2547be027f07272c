"""The plugin by which dbt's connections have the functions of `touchstone/core/words.py`; `dbt_project/profiles.yml` names it."""

from __future__ import annotations

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from touchstone.core.words import register


class Plugin(BasePlugin):
    """Registers the functions when dbt opens the warehouse."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Adds the functions to a connection."""
        register(conn)
