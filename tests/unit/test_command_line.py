"""Imports of the command line, and signals and closed pipes during start and exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"dagster", "dbt", "great_expectations", "matplotlib", "mlflow", "pandas", "pyarrow", "sqlalchemy", "xgboost"}


def test_the_command_line_imports_heavy_libraries_lazily():
    result = subprocess.run(
        [sys.executable, "-c", "import sys, touchstone.cli.main; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(result.stdout.split())
    assert {"touchstone.cli.main", "typer"} <= loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_imports_is_handled(tmp_path: Path, number: signal.Signals):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-c", "from touchstone.cli.start import main; main()", "verify"],
        env=os.environ | {"TOUCHSTONE_HOME": str(tmp_path)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "pydantic" not in (line := process.stderr.readline()):
        assert line, "it ended before it imported pydantic"
    process.send_signal(number)
    message = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number
    assert f"Stopped by {number.name}. Lists are published atomically" in message
    assert "Traceback" not in message


def test_a_closed_output_pipe_exits_quietly(tmp_path: Path):
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", "from touchstone.cli.start import main; main()", "--help"],
        env=os.environ | {"TOUCHSTONE_HOME": str(tmp_path)},
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")
