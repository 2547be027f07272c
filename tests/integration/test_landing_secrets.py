"""Hostile SQL over a real database: it accesses nothing, and no file, list or message shows the password or key."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pytest
import yaml

from tests.conftest import Outcome, touchstone
from tests.hostile_sql import HOSTILE_EXPRESSIONS, HOSTILE_QUERIES
from tests.landing_fixtures import LISTINGS, MERCHANTS
from tests.source_fixtures import ENVIRONMENT, PASSWORD, Postgres, landed, sources_file
from touchstone.landing.connectors import SourceFolders
from touchstone.landing.databases import DuckDBConnector, PostgresConnector
from touchstone.landing.sql import Limits, connection_with, lock, quoted

KEY = "the key of this marketplace"
VARIABLES = ENVIRONMENT | {"TOUCHSTONE_HMAC_KEY": KEY}
FORMS = {PASSWORD, KEY, quote(PASSWORD, safe=""), json.dumps(PASSWORD)[1:-1], repr(PASSWORD)[1:-1], "of 'sight"}
LEAK = "select l.*, t.content from listings as l join merchants as m using (merchant_id), read_text({0}) as t"
READS_ALL = LEAK.format("current_setting('temp_directory') || '/*'")
"""SQL that once printed the password: binding fails on `using`, and the part after the comma was then not checked."""


@pytest.fixture(scope="module")
def shop(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Returns the options of two tables of a database, by name."""
    folder = tmp_path_factory.mktemp("hostile")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, sql in {"merchants": MERCHANTS, "listings": LISTINGS}.items():
            connection.execute(f"copy ({sql}) to '{folder}/{name}.parquet' (format parquet)")
    postgres.fill(folder, "hostile")
    return {name: postgres.options(name, schema="hostile") for name in ("merchants", "listings")}


def write(
    folder: Path, shop: Mapping[str, Any], entry: Mapping[str, Any], views: Mapping[str, str] | None = None
) -> Path:
    """Writes a sources file over the database."""
    inputs = {**shop, "offers": shop["listings"], "sellers": shop["merchants"]}
    tables = {"merchants": {"input": "merchants"}, "listings": entry}
    content = {"version": 1, "name": "shop", "inputs": inputs, "views": dict(views or {}), "tables": tables}
    file = folder / "sources.yml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return file


def places(shop: Mapping[str, Any], folder: Path) -> Iterator[tuple[Path, str]]:
    """Writes hostile sources files one by one; yields each with the term by which it has to be refused."""
    for sql, printed in HOSTILE_QUERIES.items():
        yield write(folder, shop, {"query": sql}), printed
        yield write(folder, shop, {"input": "seen"}, {"seen": sql}), printed
    for sql, printed in HOSTILE_EXPRESSIONS.items():
        yield write(folder, shop, {"input": "offers", "columns": {"title": sql}}), printed


def assert_no_secret(home: Path, outcome: Outcome) -> None:
    """Asserts that no output of a command and no file of a home contains the secrets."""
    for form in FORMS:
        assert form not in outcome.stdout + outcome.stderr
        assert not [path for path in home.rglob("*") if path.is_file() and form.encode() in path.read_bytes()], form


def test_a_hostile_file_accesses_no_source_and_exits_with_2(
    postgres: Postgres, shop: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    file = write(tmp_path, shop, {"query": READS_ALL})
    postgres.run("alter role shop connection limit 0")  # a connection attempt fails with this message
    try:
        for command in (("sources", "check", str(file)), ("run", "--sources", str(file))):
            outcome = touchstone(home, *command, **VARIABLES)
            assert outcome.code == 2, outcome
            assert (
                f"{file}: tables.listings.query cannot be used: it calls read_text, which reads files" in outcome.stderr
            )
            assert "current_setting, which reads settings" in outcome.stderr
            assert "too many connections" not in outcome.stdout + outcome.stderr
            assert_no_secret(home, outcome)
    finally:
        postgres.run("alter role shop connection limit -1")
    assert (home / "runs").is_dir(), "the run left its record"


@pytest.mark.slow
def test_every_hostile_file_accesses_no_source_and_exits_with_2(
    postgres: Postgres, shop: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    postgres.run("alter role shop connection limit 0")
    try:
        for number, (file, printed) in enumerate(places(shop, tmp_path)):
            command = ("run", "--sources", str(file)) if number % 20 == 0 else ("sources", "check", str(file))
            outcome = touchstone(home, *command, **VARIABLES)
            assert outcome.code == 2, (file.read_text(), outcome)
            assert printed.lower() in outcome.stderr.lower(), (file.read_text(), outcome)
            assert "too many connections" not in outcome.stdout + outcome.stderr
            assert_no_secret(home, outcome)
    finally:
        postgres.run("alter role shop connection limit -1")


def test_the_password_is_in_no_file_and_no_list_while_the_database_is_attached(
    postgres: Postgres, shop: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Not even a view in a DuckDB file, written by an attacker, can find it."""
    work = tmp_path / "work"
    work.mkdir()
    lists = ("duckdb_databases", "duckdb_secrets", "duckdb_settings", "duckdb_variables", "duckdb_views")
    with duckdb.connect(str(tmp_path / "spy.duckdb")) as spy:
        for name in lists:
            spy.execute(f"create view {name}_seen as select * from {name}()")
    options = {**shop["listings"], "password": PASSWORD}
    place = SourceFolders(tmp_path, work)
    with connection_with(Limits(), work) as connection:
        PostgresConnector.model_validate(options).attach(connection, "listings", place)
        readable = [
            path
            for name in lists
            for path in DuckDBConnector.model_validate(
                {"connector": "duckdb", "path": "spy.duckdb", "table": f"{name}_seen"}
            ).attach(connection, name, place)
        ]
        lock(connection, readable, work)
        # Reconnections need the password, too.
        for _ in range(3):
            assert connection.execute("select count(*) from listings").fetchall() == [(6,)]
            postgres.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'shop'")
        seen = [str(connection.execute(f"from {quoted(name)}").fetchall()) for name in lists]
        assert postgres.host in seen[0], "the database is attached"
        assert not [form for form in FORMS for text in seen if form in text]
        with pytest.raises(duckdb.Error, match="unredacted secrets is disabled"):
            connection.execute("from duckdb_secrets(redact = false)")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in files for form in FORMS if form.encode() in path.read_bytes()]


def test_a_value_equal_to_the_password_is_not_shown_in_a_refusal(
    postgres: Postgres, shop: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    literal = "'" + PASSWORD.replace("'", "''") + "'"
    postgres.run(f"create table odd as select * from hostile.listings; update odd set currency = {literal}", "shop")
    postgres.run("grant select on odd to shop", "shop")
    inputs = {"merchants": shop["merchants"], "listings": postgres.options("odd")}
    entries = {"listings": {"columns": {"price": "currency"}}}
    record = landed(sources_file(tmp_path, inputs, entries), tmp_path / "landing")["listings"]
    assert record.status == "refused"
    assert "price='[secret]'" in record.message.replace('"', "'")
    assert not [form for form in FORMS if form in record.message]


def test_an_unexpected_error_leaves_landing_without_the_password(
    shop: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster stores the error of a step with its causes."""

    def fail(connector: PostgresConnector, *_: object) -> None:
        raise duckdb.InternalException(f"no connection with password={connector.password}")

    sources = sources_file(tmp_path, {"merchants": shop["merchants"], "listings": shop["listings"]})
    monkeypatch.setattr(PostgresConnector, "attach", fail)
    with pytest.raises(RuntimeError, match=r"password=\[secret\]") as error:
        landed(sources, tmp_path / "landing")
    everything = "".join(traceback.format_exception(error.value))
    assert not [form for form in FORMS if form in everything]
    assert "password=" not in repr(sources)
