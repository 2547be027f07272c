"""How a process that runs stages writes Dagster's history: few disk syncs, and subscribers receive each line."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy

from orchestration.history import open_instance
from touchstone.core.home import prepare_home
from touchstone.core.settings import read_settings


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of a new home."""
    monkeypatch.setenv("DAGSTER_HOME", "put back after the test")
    settings = read_settings(home=tmp_path)
    prepare_home(settings)
    with open_instance(settings) as opened:
        yield opened


@pytest.mark.usefixtures("instance")
def test_a_commit_does_not_sync_to_disk_and_is_visible_to_other_readers(tmp_path: Path):
    database = tmp_path / "dagster" / "history" / "runs" / "index.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{database}", poolclass=sqlalchemy.pool.NullPool)
    for number in range(2):
        with engine.begin() as connection:
            assert connection.execute(sqlalchemy.text("pragma synchronous")).scalar() == 1  # normal
            connection.execute(sqlalchemy.text(f"create table kept_{number} (name)"))
        assert database.with_name("index.db-wal").exists(), "the log was checkpointed when the connection closed"
    with sqlite3.connect(database) as reader:
        assert reader.execute("select count(*) from sqlite_master where name like 'kept_%'").fetchall() == [(2,)]


@pytest.mark.usefixtures("instance")
def test_databases_outside_dagster_s_history_keep_their_settings(tmp_path: Path):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("pragma synchronous")).scalar() == 2  # full, SQLite's default


def test_a_subscriber_of_a_run_receives_each_line_when_it_is_written(instance: dg.DagsterInstance):
    run_id, seen = str(uuid.uuid4()), []
    lines = [f"line {number}" for number in range(5)]
    instance.watch_event_logs(run_id, None, lambda entry, _: seen.append(entry.user_message))
    for number, line in enumerate(lines, start=1):
        instance.event_log_storage.store_event(dg.EventLogEntry(None, 20, line, run_id, time.time()))
        deadline = time.monotonic() + 10
        while len(seen) < number and time.monotonic() < deadline:
            time.sleep(0.05)
        assert seen == lines[:number]
