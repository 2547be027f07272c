"""The renderer of every table that a command prints: plain text, as wide as its contents and never wider than a terminal line."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

from touchstone.core.text import MOST_ID_COLUMNS, TERMINAL_COLUMNS, shorten


def render_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Collection[int] = (),
    indent: int = 0,
    max_cell_columns: int = MOST_ID_COLUMNS,
) -> list[str]:
    """Renders rows as lines of plain text with aligned columns.

    Every cell is made visible and shortened, so no value can break a line or begin one. A table that would exceed the width of a
    terminal line is cut with an ellipsis.

    Args:
        headers: Column titles; empty for a table without a header line.
        rows: Rows of values; None becomes an empty cell.
        right: Indexes of the columns that are aligned to the right.
        indent: Spaces before each line.
        max_cell_columns: The greatest width of a cell.

    Returns:
        The lines, without trailing spaces.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=bool(headers))
    for index in range(len(headers) or max(map(len, rows), default=0)):
        table.add_column(
            Text(headers[index]) if headers else "",
            justify="right" if index in right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*(Text("" if value is None else shorten(value, max_cell_columns)) for value in row))
    output = io.StringIO()
    console = Console(
        file=output, width=TERMINAL_COLUMNS - indent, force_terminal=False, color_system=None, _environ={}
    )
    console.print(table)
    return [f"{' ' * indent}{line.rstrip()}" for line in output.getvalue().splitlines()]
