"""Runs dbt inside this process: never a subprocess, which a killed run would leave behind with the warehouse's lock.

Reading the project takes dbt some seconds, so what it read is kept in a cache (`cache_folder`) with the project's digest:
`manifest.json`, which Dagster's definitions are made of, and dbt's own form of it, which a run starts from. Both are
rebuilt when the project has changed, and are the same for every home.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.dbt_results import DbtNode
from touchstone.core.errors import BadInputError, TouchstoneError
from touchstone.core.files import write_bytes
from touchstone.core.home import Home
from touchstone.core.revision import project_digest
from touchstone.core.settings import DBT_PROJECT, Settings

if TYPE_CHECKING:
    import duckdb
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

logger = logging.getLogger("touchstone")
SMALL_LANDING_BYTES = 500_000_000
SMALL_MODELS_AT_ONCE = 4
MANIFEST, PARSED, DIGEST = "manifest.json", "partial_parse.msgpack", "project-digest"


def cache_folder(project: Path) -> Path:
    """Returns the folder that keeps the parsed project: its `target/`, or the user's cache if the installation is read-only."""
    target = project / "target"
    if (target / DIGEST).exists() or os.access(project, os.W_OK):
        return target
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "touchstone" / f"dbt-{project_digest()[:16]}"


CACHE = cache_folder(DBT_PROJECT)


def prepare_manifest() -> dict[str, Any]:
    """Returns dbt's manifest as data, parsed again only if the project has changed since it was parsed."""
    if not _is_current():
        _parse()
    manifest: dict[str, Any] = json.loads((CACHE / MANIFEST).read_bytes())
    return manifest


def run_dbt(settings: Settings, arguments: Sequence[str]) -> list[DbtNode]:
    """Runs one dbt command over the home's warehouse and returns how each node ended.

    Raises:
        TouchstoneError: dbt failed otherwise than by a data test.
    """
    with _environment(
        settings.home,
        threads=settings.threads,
        memory_limit=settings.memory_limit,
        models_at_once=_models_at_once(settings),
    ):
        # Besides tables, dbt writes a manifest and results, which nobody reads.
        results = _invoke(
            [*arguments, "--no-write-json"], target=Home(settings.home).dbt_target, manifest=read_project()
        )
    nodes = [
        DbtNode(item.node.unique_id, str(item.status), item.execution_time, item.message or "", item.failures)
        for item in results
    ]
    broken = [node for node in nodes if node.status == "error"]
    if broken:
        raise TouchstoneError(
            f"dbt could not build {broken[0].unique_id} ({len(broken)} of {len(nodes)} nodes failed): "
            f"{broken[0].message.strip()}"
        )
    return nodes


def run_command(settings: Settings, arguments: Sequence[str]) -> bool:
    """Runs a dbt command as a person gave it, with its output on the terminal; returns whether every node succeeded.

    Raises:
        BadInputError: dbt could not run it: unknown options, or a project that cannot be parsed.
    """
    with _environment(settings.home, threads=settings.threads, memory_limit=settings.memory_limit):
        # Variables change the project, and `parse` reads it: both start from the files.
        is_parsed_again = {"--vars", "parse", "--help"} & set(arguments)
        manifest = None if is_parsed_again else read_project()
        outcome = _run_in_process([*arguments, *_project_options(Home(settings.home).dbt_target, arguments)], manifest)
    if outcome.exception is not None:
        raise BadInputError(f"dbt does not run `{' '.join(arguments)}`: {outcome.exception}") from outcome.exception
    return bool(outcome.success)


def show_previous(connection: duckdb.DuckDBPyConnection, *, full_refresh: bool) -> None:
    """Shows dbt what the incremental tables hold before it starts: one view each in schema `previous`.

    Models read their own earlier rows there, so that their SQL is the same whether or not their tables exist.

    Args:
        connection: The warehouse, open for writing.
        full_refresh: Whether the tables are to be rebuilt: then the views are empty, as in a first run.
    """
    connection.execute("create schema if not exists previous")
    tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    for source in read_project().sources.values():
        if source.source_name != "previous":
            continue
        query = f"select {', '.join(source.columns)} from main.{source.name}"
        if source.name not in tables or full_refresh:
            nothing = [f"cast(null as {column.data_type}) as {name}" for name, column in source.columns.items()]
            query = f"select {', '.join(nothing)} where false"
        connection.execute(f"create or replace view previous.{source.name} as {query}")


def source_columns(name: str) -> dict[str, str]:
    """Returns the columns of a table of source `landed` with their types, as the project declares them."""
    source = read_project().sources[f"source.touchstone.landed.{name}"]
    return {column: str(declared.data_type) for column, declared in source.columns.items()}


def _models_at_once(settings: Settings) -> int:
    """Returns how many models dbt builds at once (dbt's `threads`): several while tables are small, as a small one uses one core.

    Four at once instead of one save 7 s of a run of 93 s at scale 0.02; large tables would share the memory and spill
    (docs/performance.md).
    """
    landed = sum(path.stat().st_size for path in Home(settings.home).landing.rglob("*.parquet"))
    return SMALL_MODELS_AT_ONCE if landed < SMALL_LANDING_BYTES and settings.threads > 1 else 1


def _is_current() -> bool:
    return (CACHE / DIGEST).exists() and (CACHE / DIGEST).read_text() == project_digest()


@functools.cache
def read_project() -> Manifest:
    """Returns the project as dbt reads it, once a process, with all of dbt imported. A run writes into it."""
    for part in ("dbt.cli.main", "dbt.adapters.duckdb"):
        import_module(part)
    from dbt.contracts.graph.manifest import Manifest

    if not _is_current():
        _parse()
    return Manifest.from_msgpack((CACHE / PARSED).read_bytes())


def _parse() -> None:
    """Reads the project and keeps what was read; the digest comes last, so that a kill leaves nothing that looks current."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _environment(folder, threads=1, memory_limit="1GB"):  # for dbt's profile, which names a home
            _invoke(["parse"], target=folder, manifest=None)
        for file in (MANIFEST, PARSED):
            write_bytes(CACHE / file, (folder / file).read_bytes())
    write_bytes(CACHE / DIGEST, project_digest().encode())


def _run_in_process(arguments: Sequence[str], manifest: Manifest | None) -> dbtRunnerResult:
    """Runs dbt and closes its connections, without which the warehouse's file stays locked for later readers here."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    try:
        return dbtRunner(manifest=manifest).invoke(list(arguments))
    finally:
        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]  # dbt-duckdb gives it no types


def _invoke(arguments: Sequence[str], *, target: Path, manifest: Manifest | None) -> Any:
    options = [*_project_options(target, arguments), "--no-use-colors", "--quiet", "--log-level-file", "none"]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        outcome = _run_in_process([*arguments, *options], manifest)
    if output.getvalue().strip():
        logger.info("dbt: %s", output.getvalue().strip())
    if outcome.exception is not None:
        raise TouchstoneError(f"dbt {arguments[0]} failed: {outcome.exception}") from outcome.exception
    return outcome.result


def _project_options(target: Path, arguments: Sequence[str]) -> list[str]:
    """Returns the options that say where the project is and where dbt writes; none for a request for help."""
    if "--help" in arguments or not arguments:
        return []
    options = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    return [*options, "--target-path", str(target), "--log-path", str(target / "logs")]


@contextlib.contextmanager
def _environment(home: Path, *, threads: int, memory_limit: str, models_at_once: int = 1) -> Iterator[None]:
    """Hands dbt's profile its values, which it reads from the environment alone."""
    values = {
        "TOUCHSTONE_HOME": str(home),
        "TOUCHSTONE_THREADS": str(threads),
        "TOUCHSTONE_MEMORY_LIMIT": memory_limit,
        "TOUCHSTONE_MODELS_AT_ONCE": str(models_at_once),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


if __name__ == "__main__":
    # `make install` calls this, so that the code location loads at once the first time too.
    prepare_manifest()
