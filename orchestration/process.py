"""What a process that runs stages spares itself, whoever started it: the command line, Dagster's daemon or a person's job.

Run as a program it is the daemon of `touchstone ui`. Nothing here changes what comes out; docs/performance.md has what each
spares.
"""

from __future__ import annotations

import atexit
import functools
import gc
import os
from importlib.metadata import entry_points
from threading import Lock
from typing import Any

MOST_EVENT_LOGS = 4  # of which engines are kept: each run has one, and one holds what all have of assets


@functools.cache
def spare_the_collector() -> None:
    """Has Python look for garbage seldom, and not at all at the end.

    Libraries leave millions of objects that live as long as the process: to look through them all took a run of the demo six
    seconds, and its end three more (docs/performance.md).
    """
    gc.set_threshold(500_000)
    atexit.register(gc.freeze)


@functools.cache
def keep_engines() -> None:
    """Has Dagster keep the engines that open its event logs, of which it makes one for each statement otherwise.

    An engine compiles a statement once. Compiling each of a run's thousand anew took four seconds of a run of the demo. Dagster
    has no setting for it, and a storage class of our own would override what is as private (`_connect`) and stand in each
    home's dagster.yaml. So one name is replaced here, what is stored stays as it is, and a test tells when Dagster moves it.

    Dagster also opens and closes a connection for each statement, and SQLite writes its log through whenever the last one
    closes: nine thousand of the twelve thousand waits for the disk in a run of the demo, eight seconds. So one connection of
    our own stays open, and a commit waits for the disk only when the log is full. A kill loses nothing by that; after a power
    cut the history may lack its last events, never be torn, and nothing that is published rests on it. Whoever watches a run
    in Dagster's UI is told by the file's time, which is set after each write, as nothing else of the file changes for long.
    """
    import sqlite3

    import sqlalchemy
    from dagster._core.storage.event_log.sqlite import sqlite_event_log as event_log

    make = event_log.create_engine  # type: ignore[attr-defined]  # it stands there, but is not exported
    kept: dict[str, tuple[Any, sqlite3.Connection]] = {}
    one_at_a_time = Lock()

    def without_waiting(connection: Any, _: object) -> None:
        connection.execute("pragma synchronous = normal")

    def engine(address: str, **options: Any) -> Any:
        with one_at_a_time:
            if address not in kept:
                if len(kept) == MOST_EVENT_LOGS:
                    close = kept.pop(next(iter(kept)))[1].close
                    atexit.unregister(close)
                    close()
                kept[address] = opened(address, **options)
            return kept[address][0]

    def opened(address: str, **options: Any) -> tuple[Any, sqlite3.Connection]:
        made = make(address, **options)
        database = str(made.url.database)

        def tell_watchers(connection: sqlite3.Connection | None, _: object) -> None:
            if connection is not None and connection.total_changes:
                os.utime(database)

        sqlalchemy.event.listen(made, "connect", without_waiting)
        sqlalchemy.event.listen(made, "checkin", tell_watchers)
        stays_open = sqlite3.connect(database, check_same_thread=False, **options["connect_args"])
        stays_open.execute("pragma journal_mode = wal").fetchall()
        stays_open.execute("select * from sqlite_master").fetchall()  # who has read nothing counts as not there
        atexit.register(stays_open.close)  # which writes the log through and takes it away
        return made, stays_open

    event_log.create_engine = engine  # type: ignore[attr-defined, assignment]  # not exported; takes what Dagster gives


if __name__ == "__main__":
    # `touchstone ui` starts Dagster's daemon by this: it writes what a run is going to make, line by line, before it starts it.
    (daemon,) = entry_points(group="console_scripts", name="dagster-daemon")
    spare_the_collector()
    keep_engines()
    daemon.load()()
