"""A forked command behaves like one from a shell, also for what libraries detect about the process."""

from __future__ import annotations

from pathlib import Path

import duckdb

from tests.warm import CONTEXT


def _write_setting(file: str) -> None:
    row = duckdb.execute("select current_setting('enable_progress_bar')").fetchone()
    Path(file).write_text(str(row), encoding="utf-8")


def test_no_progress_bar_is_printed_into_a_commands_output(tmp_path: Path) -> None:
    result = tmp_path / "setting"
    process = CONTEXT.Process(target=_write_setting, args=(str(result),))
    process.start()
    process.join()
    assert result.read_text(encoding="utf-8") == "(False,)"
