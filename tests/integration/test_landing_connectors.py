"""The same rows from any kind of source become the same load; unreadable sources are refused with the reason."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.landing_fixtures import CONTRACT, LISTINGS, MERCHANTS
from tests.source_fixtures import (
    CONNECTORS,
    ENVIRONMENT,
    PASSWORD,
    Options,
    Postgres,
    as_parquet,
    bucket,
    in_storage,
    landed,
    sources_file,
)
from touchstone.core.errors import BadInputError
from touchstone.demo.generate import generate
from touchstone.landing.connectors import SourceFolders
from touchstone.landing.extract import Extractor
from touchstone.landing.ledger import Ledger, LoadRecord, pinned_loads
from touchstone.landing.sources import read_sources

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source tables of a small demo marketplace."""
    folder = tmp_path_factory.mktemp("market") / "demo"
    generate(folder, scale=0.0005, seed=3)
    return folder / "sources"


@pytest.fixture(scope="module")
def postgres(postgres: Postgres, market: Path) -> Postgres:
    """A PostgreSQL server with the marketplace's tables."""
    postgres.fill(market)
    return postgres


@pytest.fixture(scope="module")
def from_parquet(
    market: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, LoadRecord]:
    """The loads from the marketplace's own Parquet files."""
    folder = tmp_path_factory.mktemp("parquet")
    return landed(sources_file(folder, as_parquet(market, folder, request)), folder / "landing")


@pytest.mark.parametrize("connector", [name for name in CONNECTORS if name != "parquet"])
def test_every_connector_gives_the_same_loads_as_parquet(
    connector: str,
    market: Path,
    from_parquet: dict[str, LoadRecord],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    records = landed(sources_file(tmp_path, CONNECTORS[connector](market, tmp_path, request)), tmp_path / "landing")
    assert {name: record.message for name, record in records.items() if record.status != "accepted"} == {}
    assert {name: record.load_id for name, record in records.items()} == {
        name: record.load_id for name, record in from_parquet.items()
    }
    everything = b"".join(file.read_bytes() for file in (tmp_path / "landing").rglob("*") if file.is_file())
    assert PASSWORD.encode() not in everything
    assert b"a secret of the store" not in everything


def test_postgres_is_read_in_a_session_that_cannot_write(postgres: Postgres, tmp_path: Path) -> None:
    inputs = {"merchants": postgres.options("merchants"), "listings": postgres.options("listings")}
    sneaky = "select * from postgres_query('{alias}', 'update listings set title = ''mine'' returning *')"
    sources = sources_file(tmp_path, inputs)
    with duckdb.connect() as connection:
        place = SourceFolders(tmp_path, tmp_path)
        sources.inputs["listings"].attach(connection, "listings", place)
        alias = str(
            connection.execute(
                "select database_name from duckdb_databases() where database_name like 'database:%'"
            ).fetchall()[0][0]
        )
        for writing in (sneaky.format(alias=alias), f'delete from "{alias}".public.listings'):
            with pytest.raises(duckdb.Error):
                connection.execute(writing).fetchall()
        assert (
            "on"
            in connection.execute(
                f"select * from postgres_query('{alias}', 'select current_setting(''default_transaction_read_only'')')"
            ).fetchall()[0]
        )
    assert "mine" not in postgres.run("select count(*), max(title) from listings where title = 'mine'", "shop")


REFUSED_POSTGRES = [
    ({"host": "no-such-host.invalid"}, "PostgreSQL at no-such-host.invalid:5432, database shop cannot be read", "Correct `host`"),
    ({"host": "127.0.0.1", "port": 1}, "PostgreSQL at 127.0.0.1:1, database shop cannot be read", "Is the server up"),
    ({"user": "nobody"}, "nobody", "Correct `user`"),
    ({"database": "shopp"}, "shopp", "Correct `database`"),
    ({"table": "listing"}, "has no readable table listing", "Did you mean listings?"),
    ({"schema": "market"}, "has no readable table listings", "It has: none."),
    ({"port": "many"}, "inputs.listings.port", "integer"),
    ({"sslmode": "no"}, "inputs.listings.sslmode", "require"),
    ({"pasword": "x"}, "inputs.listings.pasword is not a known key", "did you mean password?"),
    ({"password": "kept:out"}, "inputs.listings.password is written out", "password: ${NAME}"),
    ({"password": "${NO_SUCH_VARIABLE}"}, "NO_SUCH_VARIABLE, which is not set", "Set it"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "printed", "remedy"), REFUSED_POSTGRES)
def test_an_unreadable_postgres_source_is_reported_with_location_reason_and_remedy(
    changes: Options, printed: str, remedy: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchstone.core.retry.FIRST_PAUSE_SECONDS", 0.01)
    inputs = {"merchants": postgres.options("merchants"), "listings": postgres.options("listings") | changes}
    began = time.monotonic()
    try:
        message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
    except BadInputError as error:
        message = str(error)
    assert printed in message
    assert remedy in message
    assert PASSWORD not in message
    assert "kept:out" not in message
    assert time.monotonic() - began < 30


def test_a_wrong_password_is_reported_without_showing_it(postgres: Postgres, tmp_path: Path) -> None:
    inputs = {"merchants": postgres.options("merchants"), "listings": postgres.options("listings")}
    sources_file(tmp_path, inputs)
    wrong = read_sources(tmp_path / "sources.yml", {"SHOP_PASSWORD": "not this one"})
    message = landed(wrong, tmp_path / "landing")["listings"].message
    assert "password authentication failed" in message
    assert "Correct `user`, or the value of the variable that `password` names" in message
    assert "not this one" not in message


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        ("name::int", "the server reports: invalid input syntax for type integer [sql]"),
        ("('{' || name)::json::text", "the server reports: invalid input syntax for type json [sql]"),
        ("reject(name)", "the server refuses; its log has the reason and the values [sql]"),
    ],
)
def test_a_postgres_error_about_a_value_is_reported_without_the_value(
    expression: str, printed: str, postgres: Postgres, tmp_path: Path
) -> None:
    body = "begin raise exception 'no good: %', $1; end"
    postgres.run(
        f"create or replace function reject(text) returns text language plpgsql as '{body.replace("'", "''")}'", "shop"
    )
    postgres.run(
        "drop view if exists people_view; create table if not exists people as select 'm1' as merchant_id, 'Ann Secret' as name",
        "shop",
    )
    postgres.run(f"create view people_view as select merchant_id, {expression} as country from people", "shop")
    postgres.run("grant select on people_view, people to shop", "shop")
    inputs = {"merchants": postgres.options("people_view"), "listings": postgres.options("listings")}
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["merchants"].message
    assert printed in message
    assert "Ann" not in message


@pytest.mark.parametrize("columns", [{}, {"buyer_id": "id"}])
@pytest.mark.parametrize(
    ("name", "content"), [("b.csv", "b1,Ann Secret\nb2,Bob Secret\n"), ("b.jsonl", '{"b1": 1, "Ann Secret": 2}\n')]
)
def test_column_names_that_may_be_values_are_not_reported(
    name: str, content: str, columns: Options, market: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The column names of a file without a header are its first row."""
    (tmp_path / name).write_text(content)
    inputs = {table: as_parquet(market, tmp_path, request)[table] for table in ("merchants", "listings")}
    inputs["buyers"] = {"connector": name.partition(".")[2], "path": name}
    sources = sources_file(tmp_path, inputs, {"buyers": {"columns": columns}})
    message = landed(sources, tmp_path / "landing")["buyers"].message
    assert "is there a header?" in message or 'Referenced column "id" not found' in message
    assert "Secret" not in message


def test_a_timestamp_text_is_not_accepted_as_a_date(
    market: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "rates.csv").write_text(
        "currency,date,rate\nEUR,2026-06-01 00:00:00,1.1\nEUR,2026-06-02 12:00:00,1.1\n"
    )
    inputs = {table: as_parquet(market, tmp_path, request)[table] for table in ("merchants", "listings")}
    inputs["fx_rates"] = {"connector": "csv", "path": "rates.csv"}
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["fx_rates"].message
    assert "date: 1 of 2 rows cannot be read as date" in message


def test_a_damaged_object_is_named_by_its_address(
    storage: str, market: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bucket(storage).put_object(Bucket="market", Key="torn/part-0.parquet", Body=b"PAR1 and no more")
    inputs = as_parquet(market, tmp_path, request) | {"orders": in_storage(storage, "s3://market/torn/*.parquet")}
    inputs = {name: inputs[name] for name in ("merchants", "listings", "orders")}
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["orders"].message
    assert "s3://market/torn/part-0.parquet cannot be read" in message
    assert "fetched" not in message


def test_a_slow_statement_times_out(postgres: Postgres, tmp_path: Path) -> None:
    postgres.run("create or replace view slow as select * from listings where pg_sleep(1)::text = ''", "shop")
    postgres.run("grant select on slow to shop", "shop")
    inputs = {"merchants": postgres.options("merchants"), "listings": postgres.options("slow", statement_seconds=2)}
    began = time.monotonic()
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
    assert "statement timeout" in message
    assert time.monotonic() - began < 20


def test_a_connection_that_breaks_once_is_retried(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server ends the session in the middle of the read; the read is retried and complete."""
    postgres.run("create or replace view long as select * from listings where pg_sleep(0.002)::text = ''", "shop")
    postgres.run("grant select on long to shop", "shop")
    ended: list[str] = []

    def end_the_session() -> None:
        # Queries that look up the table mention it too, in pg_attribute: those are not the read.
        query = """
            select count(pg_terminate_backend(pid)) as ended from pg_stat_activity
            where application_name = 'touchstone' and state = 'active' and query like '%long%'
            and query not like '%pg_attribute%'
        """
        while not ended:
            if "     1" in (result := postgres.run(query)):
                ended.append(result)

    killer = Thread(target=end_the_session)
    killer.start()
    inputs = {"merchants": postgres.options("merchants"), "listings": postgres.options("long")}
    record = landed(sources_file(tmp_path / "long", inputs), tmp_path / "long" / "landing")["listings"]
    killer.join()
    whole = {"merchants": postgres.options("merchants"), "listings": postgres.options("listings")}
    expected = landed(sources_file(tmp_path / "whole", whole), tmp_path / "whole" / "landing")["listings"]
    assert ended
    assert (record.status, record.load_id) == ("accepted", expected.load_id), record.message
    assert (
        f"reading shop: postgres {postgres.host} shop long, for table listings: attempt 1 of 4 failed (" in caplog.text
    )
    assert "; the next one follows in 0.5 s." in caplog.text


def test_a_connection_that_breaks_during_the_table_lookup_is_retried(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server ends the session that queries its catalogue while it waits for a lock."""
    locked = tmp_path / "locked"
    end_one_session = f"""
        begin;
        lock table pg_constraint in access exclusive mode;
        \\! touch {locked}
        do $$ begin
            for turn in 1 .. 3000 loop
                perform pg_sleep(0.01), pg_stat_clear_snapshot();
                exit when (
                    select count(pg_terminate_backend(pid)) from pg_stat_activity
                    where application_name = 'touchstone' and wait_event_type = 'Lock'
                ) > 0;
            end loop;
        end $$;
        commit
    """
    killer = Thread(target=postgres.run, args=(end_one_session, "shop"))
    killer.start()
    # The process signals that it holds the lock by creating this file; a process that died creates none.
    while killer.is_alive() and not locked.exists():
        time.sleep(0.01)
    inputs = {name: postgres.options(name) for name in ("merchants", "listings")}
    record = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"]
    killer.join()
    assert record.status == "accepted", record.message
    result = f"opening PostgreSQL at {postgres.host}:5432, database shop, for table listings: attempt 1 of 4 failed ("
    assert result in caplog.text


def test_a_connection_that_always_breaks_fails_after_retries_and_nothing_lands(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    postgres.run("create or replace view torn as select * from listings where pg_sleep(0.002)::text = ''", "shop")
    postgres.run("grant select on torn to shop", "shop")
    given_up = Event()

    def end_every_session() -> None:
        # Excluding the queries that look up the table, which mention it too, in pg_attribute.
        query = """
            select count(pg_terminate_backend(pid)) as ended from pg_stat_activity
            where application_name = 'touchstone' and state = 'active' and query like '%torn%'
            and query not like '%pg_attribute%'
        """
        while not given_up.is_set():
            postgres.run(query)

    killer = Thread(target=end_every_session)
    killer.start()
    inputs = {"merchants": postgres.options("merchants"), "listings": postgres.options("torn")}
    record = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"]
    given_up.set()
    killer.join()
    assert record.status == "refused"
    assert (
        f"reading shop: postgres {postgres.host} shop torn, for table listings: 4 attempts failed (" in record.message
    )
    assert "Is the server up, and does it let a read finish?" in record.message
    assert PASSWORD not in record.message
    tried = [line for line in caplog.messages if "for table listings: attempt" in line]
    assert [line.partition("for table listings: ")[2][:16] for line in tried] == [
        f"attempt {n} of 4 f" for n in (1, 2, 3)
    ]
    assert not (tmp_path / "landing" / "listings").exists()


def test_a_database_that_changes_during_the_read_is_read_from_one_snapshot(postgres: Postgres, tmp_path: Path) -> None:
    """Rows are added, removed and changed during a slow read: the table lands as of the start of the read."""
    postgres.run("create table shifting as select * from listings", "shop")
    postgres.run("create view shifting_slowly as select * from shifting where pg_sleep(0.002)::text = ''", "shop")
    postgres.run("grant select on shifting, shifting_slowly to shop", "shop")
    merchants = {"merchants": postgres.options("merchants")}
    before = landed(
        sources_file(tmp_path / "before", merchants | {"listings": postgres.options("shifting")}),
        tmp_path / "before" / "landing",
    )["listings"]
    changed: list[str] = []

    def change() -> None:
        # The read quotes the view's name; the earlier lookup of its columns passes the name as a value.
        reading = (
            """select 1 as reading from pg_stat_activity where state = 'active' and query like '%"shifting_slowly"%'"""
        )
        while "     1" not in postgres.run(f"{reading} and application_name = 'touchstone'"):
            pass
        changed.append(postgres.run("update shifting set title = 'changed'", "shop"))
        changed.append(
            postgres.run("delete from shifting where listing_id > (select min(listing_id) from shifting)", "shop")
        )

    changer = Thread(target=change)
    changer.start()
    slow = sources_file(tmp_path / "slow", merchants | {"listings": postgres.options("shifting_slowly")})
    during = landed(slow, tmp_path / "slow" / "landing")["listings"]
    changer.join()
    assert "UPDATE" in changed[0]
    assert "DELETE" in changed[1]
    assert (during.status, during.load_id) == ("accepted", before.load_id), during.message


def test_unreadable_storage_is_reported_with_location_reason_and_remedy(
    storage: str, market: Path, tmp_path: Path
) -> None:
    bucket(storage).upload_file(str(market / "listings.parquet"), "market", "listings.parquet")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        unused = f"http://127.0.0.1:{closed.getsockname()[1]}"
    cases = [
        (
            in_storage(storage, "s3://nowhere/listings.parquet"),
            "s3://nowhere/listings.parquet at http",
            "Correct `path`",
        ),
        (in_storage(storage, "s3://market/nothing.parquet"), "s3://market/nothing.parquet", "Correct `path`"),
        (
            in_storage(storage, "s3://market/nothing-*.parquet"),
            "there is no object s3://market/nothing-*",
            "correct `path`",
        ),
        (
            in_storage(unused, "s3://market/listings.parquet"),
            "Could not connect to the endpoint",
            "Is `endpoint` right",
        ),
        (in_storage("127.0.0.1:9000", "s3://market/x"), "inputs.listings.s3.endpoint", "^https?://"),
        (in_storage(storage, "/listings.parquet"), "`s3` configures access to storage", "starts with s3://"),
        (
            in_storage(storage, "s3://market/x") | {"s3": {"secret_key": "mine"}},
            "s3.secret_key is written out",
            "${NAME}",
        ),
    ]
    for number, (options, printed, remedy) in enumerate(cases):
        inputs = {"merchants": {"connector": "parquet", "path": str(market / "merchants.parquet")}, "listings": options}
        try:
            folder = tmp_path / str(number)
            message = landed(sources_file(folder, inputs), folder / "landing")["listings"].message
        except BadInputError as error:
            message = str(error)
        assert printed in message
        assert remedy in message
        assert ENVIRONMENT["STORE_SECRET"] not in message


def test_storage_that_never_responds_times_out(market: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        inputs = {
            "merchants": {"connector": "parquet", "path": str(market / "merchants.parquet")},
            "listings": in_storage(endpoint, "s3://market/listings.parquet", read_seconds=0.3),
        }
        began = time.monotonic()
        message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
    assert "Read timeout" in message
    assert time.monotonic() - began < 30
    tried = [
        line
        for line in caplog.messages
        if line.startswith(f"reading s3://market/listings.parquet at {endpoint}: attempt")
    ]
    assert [line.partition(" failed (Read timeout")[0][-6:] for line in tried] == ["1 of 4", "2 of 4", "3 of 4"]


FILES: list[tuple[str, bytes | None, Options, str]] = [
    ("shop.sqlite", None, {"connector": "sqlite", "table": "listings"}, "there is no file"),
    ("shop.sqlite", b"no database at all", {"connector": "sqlite", "table": "listings"}, "file is not a database"),
    ("shop.sqlite", b"", {"connector": "sqlite", "table": "listings"}, "has no readable table listings. It has: none"),
    ("shop.duckdb", b"no database at all", {"connector": "duckdb", "table": "listings"}, "not a valid DuckDB database"),
    ("items.jsonl", b"", {"connector": "jsonl"}, "no line holds an object. If the file may be empty, list the keys"),
    ("items.jsonl", b"[1, 2]\n", {"connector": "jsonl"}, "no line holds an object"),
    ("items.jsonl", b'{"listing_id": "l1"\n', {"connector": "jsonl"}, "at byte 20 in line 1: unexpected end of data"),
    ("items.jsonl", b'{"listing_id": "l1", "LISTING_ID": "l2"}\n', {"connector": "jsonl"}, "differ only in case"),
    ("items.jsonl", b'{"listing_id": "\xff\xfe"}\n', {"connector": "jsonl"}, "in line 1: invalid UTF-8 encoding in string"),
    ("items.jsonl", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, {"connector": "jsonl"}, "missing column"),
    ("items.jsonl", b"\0" * 100_000, {"connector": "jsonl"}, "at byte 1 in line 1: unexpected character"),
    ("items.jsonl", b'{"listing_id": "l1"}\n{"listing_id": "l2" oops}\n', {"connector": "jsonl"}, "in line 2: unexpected"),
    ("items.jsonl", b'\xef\xbb\xbf{"listing_id": "l1"}\n', {"connector": "jsonl"}, "starts with a byte-order mark"),
    ("items.jsonl", b'{"listing_id": "l1", "": 1}\n', {"connector": "jsonl"}, "some keys are empty"),
    ("items.jsonl.zst", b"\x28\xb5\x2f\xfd\x04", {"connector": "jsonl"}, "has a compression that is not supported"),
]  # fmt: skip


HEAD = b"listing_id,merchant_id,title,listed_at\n"
ROW = b",m1,Watch,2026-03-01\n"
CSV: Options = {"connector": "csv"}
FILES += [
    ("items.csv", b"", CSV, "the first line must be a header"),
    ("items.csv", b"\0" * 100_000, CSV, "the first line must be a header"),
    ("items.csv", HEAD.replace(b",", b"|"), CSV, "the header has 1 column, split at '|' it has 4. Set `delimiter: \"|\"`"),
    ("items.csv", HEAD + b"l1,m1,\xff\xfe,2026-03-01\n", CSV, "cannot be read as utf-8 text. Set `encoding`"),
    ("items.csv", HEAD + b"l1,m1,Watch,2026-03-01,more\n", CSV, "Expected Number of Columns: 4 Found: 5"),
    ("items.csv", HEAD + b"l1,m1\n", CSV, "Columns: 4 Found: 2; file items.csv; delimiter ','"),
    ("items.csv", b"id,title,ID\nl1,a,b\n", CSV, "at ',' it has 3 columns, of which columns 1 and 3 have the same name"),
    ("items.csv", HEAD + b'l1,m1,"Watch,2026-03-01\n' + b"l2" + ROW * 200_000, CSV, "the rows cannot be read"),
    ("items.csv", HEAD + b"l1,m1," + b"long" * 2_500_000 + b",2026-03-01\n", CSV, "line 2 has more than 2,000,000"),
    ("items.csv", (HEAD + b"l1" + ROW).decode().encode("utf-16"), CSV | {"encoding": "latin-1"}, "must be a header"),
    ("items.csv", "\ufefflisting_id\nl1\n".encode("utf-16-be"), CSV | {"encoding": "utf-16"}, "starts with a byte-order mark"),
    ("items.csv.bz2", b"BZh91AY&SY", CSV, "has a compression that is not supported"),
    ("long" * 100 + ".csv", None, CSV, "there is no file"),
    ("items.csv", HEAD + b"l1,m1,too long: Ann,2026-03-01,more\n", CSV, "CSV Error on Line: 2; Expected Number of Columns: 4"),
    ("items.csv", HEAD + b"l1,m1,ERROR:  permission denied for Ann,2026-03-01,more\n", CSV, "CSV Error on Line: 2; Expected"),
    ("items.csv", HEAD + b"l1,m1,connection refused by Ann,2026-03-01,more\n", CSV, "CSV Error on Line: 2; Expected"),
    ("items.csv", HEAD.replace(b"title", b"specs") + b'l1,m1,"' + b"[" * 10_000 + b'",2026-03-01\n', CSV, "read as json"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "options", "printed"), FILES, ids=[f"{name}-{printed[:40]}" for name, _, _, printed in FILES]
)
def test_an_unreadable_file_is_reported_with_the_reason(
    name: str, content: bytes | None, options: Options, printed: str, market: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    inputs = {
        "merchants": {"connector": "parquet", "path": str(market / "merchants.parquet")},
        "listings": options | {"path": name},
    }
    began = time.monotonic()
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
    assert message.startswith("listings: this load was refused; none of its rows landed.")
    assert printed in message
    assert "Ann" not in message, "a row is not quoted"
    assert not (tmp_path / "landing" / "listings").exists()
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("connector", "names", "path"),
    [
        (connector, *case)
        for connector in ("csv", "jsonl", "parquet")
        for case in [
            (["l[1]", "l1"], "l[1].{}"),
            (["l*", "l1"], "l[*].{}"),
            (["title=Bag/merchant_id=m2/l1"], "title=Bag/merchant_id=m2/*.{}"),
            (["[shop]/l1"], "[[]shop]/l?.{}"),
        ]
    ],
)
def test_special_characters_in_file_names_are_read_literally(
    connector: str, names: list[str], path: str, market: Path, tmp_path: Path
) -> None:
    with duckdb.connect() as connection:
        merchant = connection.execute(f"select min(merchant_id) from '{market}/merchants.parquet'").fetchall()[0][0]
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            form = {"csv": "format csv, header", "jsonl": "format json", "parquet": "format parquet"}[connector]
            row = f"select '{name}' as listing_id, '{merchant}' as merchant_id, 'Watch' as title, '2026-03-01' as listed_at"
            connection.execute(f"copy ({row}) to '{tmp_path}/plain' ({form})")
            (tmp_path / "plain").rename(tmp_path / f"{name}.{connector}")
    inputs = {
        "merchants": {"connector": "parquet", "path": str(market / "merchants.parquet")},
        "listings": {"connector": connector, "path": path.format(connector)},
    }
    record = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"]
    assert record.status == "accepted", record.message
    (file,) = record.paths(tmp_path / "landing")
    read = "select listing_id, merchant_id, title from read_parquet(?, hive_partitioning = false)"
    assert duckdb.execute(read, [str(file)]).fetchall() == [(names[0], merchant, "Watch")]


@pytest.mark.parametrize(("precision", "scale"), [(45, 4), (50, 18)])
def test_a_decimal_with_too_many_digits_is_refused(precision: int, scale: int, market: Path, tmp_path: Path) -> None:
    rows = pq.read_table(market / "listings.parquet").slice(0, 1)
    price = pa.array([Decimal("19.99")], pa.decimal256(precision, scale))
    pq.write_table(rows.set_column(rows.schema.get_field_index("price"), "price", price), tmp_path / "items.parquet")
    inputs = {
        "merchants": {"connector": "parquet", "path": str(market / "merchants.parquet")},
        "listings": {"connector": "parquet", "path": "items.parquet"},
    }
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
    assert f"column price is a decimal of {precision} digits" in message


@pytest.mark.parametrize(
    ("sql_type", "value", "printed"),
    [
        ("numeric(18,4)", "'NaN'", "a numeric is NaN or infinite [sql]"),
        ("numeric", "'NaN'", "price: 1 of 1 rows cannot be read as decimal [type]"),
        ("numeric", "'-Infinity'", "price: 1 of 1 rows cannot be read as decimal [type]"),
        ("numeric(5,-2)", "1200", "column price has a negative scale"),
    ],
)
def test_a_postgres_nan_or_infinity_does_not_land_as_zero(
    sql_type: str, value: str, printed: str, postgres: Postgres, market: Path, tmp_path: Path
) -> None:
    with duckdb.connect() as connection:
        merchant = connection.execute(f"select min(merchant_id) from '{market}/merchants.parquet'").fetchall()[0][0]
    priced = f"select 'l1' as listing_id, '{merchant}' as merchant_id, {value}::{sql_type} as price, now() as listed_at"
    postgres.run(f"drop table if exists priced; create table priced as {priced}", "shop")
    postgres.run("grant select on priced to shop", "shop")
    inputs = {
        "merchants": {"connector": "parquet", "path": str(market / "merchants.parquet")},
        "listings": postgres.options("priced"),
    }
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
    assert printed in message


def test_a_locked_duckdb_file_is_reported_with_the_writing_process(
    market: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    code = f"import duckdb; c = duckdb.connect('{tmp_path}/shop.duckdb'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        inputs = as_parquet(market, tmp_path, request)
        inputs = {
            "merchants": inputs["merchants"],
            "listings": {"connector": "duckdb", "path": "shop.duckdb", "table": "items"},
        }
        message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
        writer.communicate(b"\n")
    assert f"shop.duckdb cannot be read: process {writer.pid} has it open for writing" in message
    assert "Wait until it is closed, or use a copy" in message


def test_rows_before_an_overlong_line_do_not_land_alone(
    market: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """DuckDB's reader silently drops a last line that is longer than its buffer."""
    with duckdb.connect() as connection:
        merchant = connection.execute(f"select min(merchant_id) from '{market}/merchants.parquet'").fetchall()[0][0]
    row = f"l1,{merchant},Watch,2026-03-01\n".encode()
    (tmp_path / "items.csv").write_bytes(HEAD + row + b"l2,m1," + b"x" * 40_000_000 + b",2026-03-01\n")
    inputs = {"merchants": as_parquet(market, tmp_path, request)["merchants"], "listings": CSV | {"path": "items.csv"}}
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
    assert "items.csv: line 3 has more than 2,000,000 characters" in message


def test_parquet_with_encrypted_columns_is_refused(market: Path, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute("set force_mbedtls_unsafe = 'true'")
        connection.execute("pragma add_parquet_key('key', '0123456789112345')")
        footer = "encryption_config {footer_key: 'key'}"
        connection.execute(
            f"copy (from read_parquet('{market}/listings.parquet')) to '{tmp_path}/items.parquet' ({footer})"
        )
    inputs = {name: {"connector": "parquet", "path": str(market / f"{name}.parquet")} for name in ("merchants",)}
    inputs["listings"] = {"connector": "parquet", "path": "items.parquet"}
    message = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"].message
    assert "items.parquet cannot be read" in message
    assert "encrypted" in message


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_lands_equally_with_any_line_end_and_byte_order_mark(
    ending: bytes, mark: bytes, market: Path, tmp_path: Path
) -> None:
    with duckdb.connect() as connection:
        merchant = connection.execute(f"select min(merchant_id) from '{market}/merchants.parquet'").fetchall()[0][0]
    rows = [b"listing_id,merchant_id,title,listed_at", f'l1,{merchant},"Watch, gold",2026-03-01'.encode()]
    (tmp_path / "items.csv").write_bytes(mark + ending.join(rows) + ending)
    inputs = {
        "merchants": {"connector": "parquet", "path": str(market / "merchants.parquet")},
        "listings": CSV | {"path": "items.csv"},
    }
    record = landed(sources_file(tmp_path, inputs), tmp_path / "landing")["listings"]
    titles = duckdb.execute(
        "select title from read_parquet($files)", {"files": [str(path) for path in record.paths(tmp_path / "landing")]}
    )
    assert titles.fetchall() == [("Watch, gold",)]


def test_sqlite_values_of_any_type_are_read_as_text(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table sellers (merchant_id, name, registered_at)")
        shop.executemany(
            "insert into sellers values (?, ?, ?)",
            [("007", "Ann", "2026-01-01 10:00:00"), (8, b"Bo", "2026-01-01T10:00:00Z"), (2.5, None, "2026-01-02")],
        )
    sources = sources_file(
        tmp_path,
        {"sellers": {"connector": "sqlite", "path": "shop.sqlite", "table": "sellers"}},
    )
    with duckdb.connect() as connection:
        sources.inputs["sellers"].attach(connection, "sellers", SourceFolders(tmp_path, tmp_path))
        rows = connection.execute("from sellers order by merchant_id").fetchall()
    assert rows == [
        ("007", "Ann", "2026-01-01 10:00:00"),
        ("2.5", None, "2026-01-02"),
        ("8", "Bo", "2026-01-01T10:00:00Z"),
    ]


def orders_of(landing: Path) -> list[tuple[Any, ...]]:
    pins = pinned_loads(Ledger(landing).read(), CONTRACT)
    files = [str(path) for load in pins.current["orders"] for path in load.paths(landing)]
    return duckdb.execute("select * from read_parquet($files) order by order_id", {"files": files}).fetchall()


@pytest.mark.parametrize("mode_key", ["cursor", "changed_at"])
def test_a_growing_postgres_table_is_pulled_incrementally(mode_key: str, postgres: Postgres, tmp_path: Path) -> None:
    def grown(until: str) -> None:
        query = f"create or replace view grown as select * from orders where placed_at < '{until}'"
        postgres.run(f"{query}; grant select on grown to shop", "shop")

    inputs = {name: postgres.options(name) for name in ("merchants", "listings", "buyers")}
    inputs["orders"] = postgres.options("grown")
    sources = sources_file(tmp_path, inputs, {"orders": {mode_key: "placed_at"}})
    grown("2026-06-01")
    first = landed(sources, tmp_path / "landing")["orders"]
    grown("2027-01-01")
    second = landed(sources, tmp_path / "landing")["orders"]
    third = landed(sources, tmp_path / "landing")["orders"]
    whole = landed(sources, tmp_path / "whole")["orders"]
    assert [record.mode for record in (first, second, third, whole)] == ["full", "incremental", "incremental", "full"]
    assert third.status == "unchanged"
    assert 0 < second.row_count < whole.row_count
    assert first.row_count + second.row_count == whole.row_count
    assert orders_of(tmp_path / "landing") == orders_of(tmp_path / "whole")


@pytest.mark.parametrize("column", ["placed_at", "placed_at as changed_at"])
def test_the_watermark_filter_is_pushed_down_to_the_database(column: str, postgres: Postgres, tmp_path: Path) -> None:
    sources = sources_file(tmp_path, {name: postgres.options(name) for name in ("merchants", "listings", "orders")})
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        sources.inputs["orders"].attach(connection, "orders", SourceFolders(tmp_path, tmp_path))
        asked = f"select {column}, order_id from orders"
        name = column.rsplit(maxsplit=1)[-1]
        query = Extractor.push_down(asked, name, "TIMESTAMP WITH TIME ZONE", has_nulls=False)
        plan = str(connection.execute(f"explain {query}", {"watermark": "2026-06-01"}).fetchall())
    assert plan.count("POSTGRES_SCAN") == 1
    assert "placed_at>=" in plan
    assert "FILTER" not in plan


def test_corrected_and_deleted_rows_are_detected_by_a_full_pull(postgres: Postgres, tmp_path: Path) -> None:
    query = "create or replace view moving as select * from listings where true"
    postgres.run(f"{query}; grant select on moving to shop", "shop")
    inputs = {"merchants": postgres.options("merchants"), "listings": postgres.options("moving")}
    sources = sources_file(tmp_path, inputs)
    before = landed(sources, tmp_path / "landing")["listings"]
    columns = "listing_id, merchant_id, 'Corrected' as title"
    kept = "listing_id <> (select min(listing_id) from listings)"
    postgres.run(
        f"drop view moving; create view moving as select {columns}, listed_at from listings where {kept}", "shop"
    )
    postgres.run("grant select on moving to shop", "shop")
    after = landed(sources, tmp_path / "landing")["listings"]
    assert (after.status, after.row_count) == ("accepted", before.row_count - 1)
    titles = duckdb.execute(
        "select distinct title from read_parquet($files)",
        {"files": [str(path) for path in after.paths(tmp_path / "landing")]},
    ).fetchall()
    assert titles == [("Corrected",)]


def test_the_postgres_example_lands(postgres: Postgres, tmp_path: Path) -> None:
    example = ROOT / "examples" / "postgres"
    postgres.run("create database example")
    postgres.run((example / "shop.sql").read_text(), "example")
    postgres.run("create role touchstone_reader login password 'secret'")
    postgres.run("grant select on all tables in schema public to touchstone_reader", "example")
    content = (example / "sources.yml").read_text().replace("database: shop", "database: example")
    (tmp_path / "sources.yml").write_text(content)
    sources = read_sources(tmp_path / "sources.yml", {"SHOP_HOST": postgres.host, "SHOP_PASSWORD": "secret"})
    records = landed(sources, tmp_path / "landing")
    assert {name: record.message for name, record in records.items() if record.status != "accepted"} == {}
    assert records["listings"].row_count == 380
    assert sorted(records) == sorted(sources.tables)
    again = landed(sources, tmp_path / "landing")
    assert {record.status for record in again.values()} == {"unchanged"}
    assert again["listing_prices"].mode == "incremental"
    paid_back = (
        "paid_back_at = timestamptz '2026-07-01', paid_back_because = 'fake', touched_at = timestamptz '2026-07-01'"
    )
    postgres.run(f"update purchases set {paid_back} where purchase_no = 7", "example")
    changed = landed(sources, tmp_path / "landing")["orders"]
    assert (changed.mode, changed.status, changed.row_count) == ("incremental", "accepted", 1)


BROKEN = [
    ("a column missing", "listings", "select * exclude (listed_at) from t", "listed_at: the source has no such column"),
    (
        "a column renamed",
        "listings",
        "select * exclude (price), price as cost from t",
        "cost: not a column of the contract",
    ),
    (
        "a column retyped",
        "listings",
        "select * replace ('soon' as listed_at) from t",
        "listed_at: 6 of 6 rows cannot be read as timestamp",
    ),
    (
        "a null key",
        "listings",
        "select * replace (nullif(listing_id, 'l2') as listing_id) from t",
        "listing_id: 1 of 6 rows must have a value",
    ),
    ("a key twice", "listings", "from t union all (from t order by listing_id limit 1)", "listing_id: 1 key in 2 rows"),
    (
        "an orphan",
        "listings",
        "select * replace ('m9' as merchant_id) from t",
        "merchant_id: not in merchants, in 6 rows",
    ),
    ("a value out of range", "listings", "select * replace (-price as price) from t", "price: 6 of 6 rows are below 0"),
    (
        "an unknown value",
        "listings",
        "select *, 'stolen' as condition from t",
        "condition: 6 of 6 rows are none of new, refurbished, used",
    ),
    (
        "a date in the future",
        "listings",
        "select * replace (timestamptz '2101-01-01 00:00:00+00' as listed_at) from t",
        "listed_at: 6 of 6 rows are outside 1970-01-01 to 2100-12-31",
    ),
    (
        "the year 1",
        "listings",
        "select * replace (timestamptz '0001-01-01 00:00:00+00' as listed_at) from t",
        "listed_at: 6 of 6 rows are outside 1970-01-01 to 2100-12-31",
    ),
    (
        "not a number",
        "fx_rates",
        "select * replace ('nan'::double as rate) from t",
        "rate: 3 of 3 rows are infinite or not a number",
    ),
    (
        "infinity",
        "fx_rates",
        "select * replace ('infinity'::double as rate) from t",
        "rate: 3 of 3 rows are infinite or not a number",
    ),
    (
        "a number of 40 digits",
        "listings",
        "select *, repeat('9', 40) as stock from t",
        "stock: 6 of 6 rows cannot be read as integer",
    ),
    (
        "a price of 40 digits",
        "listings",
        "select * replace (repeat('9', 40) as price) from t",
        "price: 6 of 6 rows cannot be read as decimal",
    ),
    (
        "JSON that is none",
        "listings",
        "select *, '{\"a\": ' as specs from t",
        "specs: 6 of 6 rows cannot be read as json",
    ),
    ("no row", "listings", "from t where false", "the source has no rows, and the table is required"),
]
RATES = "select 'EUR' as currency, date '2026-06-01' + i::integer as date, 1.1::double as rate from range(3) as r(i)"
OTHERWISE = {
    # The sources file declares that each line of JSON has all columns, so a missing one is null in every row.
    ("a column missing", "jsonl"): "listed_at: 6 of 6 rows must have a value and has none",
    # A JSON lines file without lines has no column names unless the sources file declares them.
    ("no row", "jsonl"): "the source has no rows, and the table is required",
    # SQLite stores infinity and NaN as null.
    ("not a number", "sqlite"): "rate: 3 of 3 rows must have a value",
}


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize(("case", "table", "query", "printed"), BROKEN, ids=[case for case, *_ in BROKEN])
def test_broken_input_is_refused_equally_from_every_source(
    case: str, table: str, query: str, printed: str, connector: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    good = tmp_path / "good"
    good.mkdir()
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, sql in {"merchants": MERCHANTS, "listings": LISTINGS, "fx_rates": RATES}.items():
            connection.execute(f"create or replace table t as {sql}")
            written = query if name == table else "from t"
            connection.execute(f"copy ({written}) to '{good}/{name}.parquet' (format parquet)")
    record = landed(sources_file(tmp_path, CONNECTORS[connector](good, tmp_path, request)), tmp_path / "landing")[table]
    assert record.status == "refused"
    assert record.message.startswith(f"{table}: this load was refused; none of its rows landed.")
    assert OTHERWISE.get((case, connector), printed) in record.message
    assert not (tmp_path / "landing" / table).exists()
