"""A warm command is one like any other: what its libraries find out about the process is what a shell's command has."""

from __future__ import annotations

from pathlib import Path

import duckdb

from tests.warm import CONTEXT


def _write_setting(file: str) -> None:
    row = duckdb.execute("select current_setting('enable_progress_bar')").fetchone()
    Path(file).write_text(str(row), encoding="utf-8")


def test_no_progress_is_drawn_into_what_a_command_prints(tmp_path: Path) -> None:
    result = tmp_path / "setting"
    process = CONTEXT.Process(target=_write_setting, args=(str(result),))
    process.start()
    process.join()
    assert result.read_text(encoding="utf-8") == "(False,)"
