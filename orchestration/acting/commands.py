"""The commands by which people act on lists; they parse, call and print, nothing else.

Each group is a typer application that `add_to` hangs into the `touchstone` command.
"""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the `touchstone` command."""
