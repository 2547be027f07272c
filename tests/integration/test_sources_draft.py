# ruff: noqa: RUF001  other languages
"""`touchstone sources draft`: the demo's tables under other names, other sources than CSV, and bad input."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import duckdb
import pytest
import yaml

from expectations.contract import load_contract
from tests.draft_fixtures import RENAMINGS, correctness, write_renamed
from tests.source_fixtures import ENVIRONMENT, PASSWORD, Postgres
from touchstone.demo.generate import generate
from touchstone.landing.draft.draft import Draft, draft_sources
from touchstone.landing.land import check
from touchstone.landing.sources import read_sources

LEAST_RIGHT = {
    "abbreviated": 0.9,
    "camel_case": 0.9,
    "german": 0.9,
    "portuguese": 0.9,
    "russian": 0.9,
    "spanish": 0.85,
    "polish": 0.85,
}
"""The share of columns that have to be mapped right; the last two are held out (see their files)."""

SELLERS = "seller_id,shop_name,joined_on,country\ns1,Alpha,2024-01-02,US\ns2,Beta,2024-02-03,DE\n"
ITEMS = (
    "item_id,seller_id,title,price,currency,created_at\n"
    'i1,s1,Red shoes,"1,50",EUR,31.01.2026 10:00\n'
    'i2,s2,Blue shoes,"20,00",EUR,01.02.2026 11:30\n'
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draft") / "demo"
    generate(folder, scale=0.001, days=60, seed=11)
    return folder / "sources"


def draft(folder: Path, *arguments: str | Path, environment: dict[str, str] | None = None) -> Draft:
    return draft_sources(
        list(map(str, arguments)), load_contract(), name="market", folder=folder, environment=environment or {}
    )


def checked(folder: Path, text: str, environment: dict[str, str] | None = None) -> dict[str, int]:
    """Checks a draft as `touchstone sources check` does, and returns the rows by table."""
    file = folder / "market.yml"
    file.write_text(text, encoding="utf-8")
    reports = check(read_sources(file, environment or {}), load_contract(), hmac_key=b"key")
    assert all(report.accepted for report in reports), [report.message for report in reports if not report.accepted]
    return {report.table: report.row_count for report in reports}


@pytest.mark.parametrize("renaming", LEAST_RIGHT)
def test_the_demo_under_other_names_is_mapped_and_accepted(demo: Path, tmp_path: Path, renaming: str) -> None:
    expected = write_renamed(
        demo, tmp_path, yaml.safe_load((RENAMINGS / f"{renaming}.yml").read_text(encoding="utf-8"))
    )
    drafted = draft(tmp_path, *sorted(tmp_path.glob("*.csv")))
    right, wrong = correctness(drafted.text, expected)
    assert right >= LEAST_RIGHT[renaming] * len(expected), wrong
    assert not drafted.missing
    rows = checked(tmp_path, drafted.text)
    for table in ("merchants", "listings", "orders"):
        count = duckdb.execute("select count(*) from read_parquet(?)", [str(demo / f"{table}.parquet")]).fetchone()
        assert count == (rows[table],)


def test_a_draft_is_reproducible(demo: Path, tmp_path: Path) -> None:
    files = [demo / "listings.parquet", demo / "merchants.parquet", demo / "orders.parquet"]
    assert draft(tmp_path, *files).text == draft(tmp_path, *files).text


def two_files(folder: Path, sellers: bytes = SELLERS.encode(), items: bytes = ITEMS.encode()) -> tuple[Path, Path]:
    (folder / "sellers.csv").write_bytes(sellers)
    (folder / "items.csv").write_bytes(items)
    return folder / "sellers.csv", folder / "items.csv"


def landed_titles(folder: Path, text: str) -> list[str]:
    """Returns the titles as the drafted sources file reads them."""
    content = yaml.safe_load(text)
    (folder / "m.yml").write_text(text, encoding="utf-8")
    sources = read_sources(folder / "m.yml", {})
    from touchstone.landing.connectors import SourceFolders

    work = folder / "work"
    work.mkdir()
    with duckdb.connect() as connection:
        name = content["tables"]["listings"]["input"]
        sources.inputs[name].attach(connection, name, SourceFolders(folder, work))
        title = content["tables"]["listings"]["columns"]["title"]
        return [row[0] for row in connection.execute(f"select {title} from {name} order by 1").fetchall()]


def test_decimal_commas_and_dates_are_converted(tmp_path: Path) -> None:
    text = draft(tmp_path, *two_files(tmp_path)).text
    columns = yaml.safe_load(text)["tables"]["listings"]["columns"]
    assert columns["price"] == "replace(regexp_replace(price, '[^0-9,+-]', '', 'g'), ',', '.')"
    assert columns["listed_at"] == "strptime(created_at, '%d.%m.%Y %H:%M')"
    assert checked(tmp_path, text) == {"merchants": 2, "listings": 2}


@pytest.mark.parametrize(
    ("encoding", "title", "option"),
    [
        ("utf-8-sig", "Rote Schuhe, größer", None),
        ("utf-16", "Rote Schuhe, größer", "utf-16"),
        ("cp1252", "„Schöne“ Schuhe für 5 € – größer, hübsch und für Füße über Größe 40", None),
        ("cp1251", "Красные кроссовки для бега, новые, очень удобные и недорогие", "windows-1251"),
    ],
)
def test_encodings_are_found_out_and_read(tmp_path: Path, encoding: str, title: str, option: str | None) -> None:
    lines = ITEMS.replace("Red shoes", f'"{title}"').replace("Blue shoes", f'"{title}"')
    text = draft(tmp_path, *two_files(tmp_path, items=lines.encode(encoding))).text
    if option:
        assert yaml.safe_load(text)["inputs"]["items"]["encoding"] == option
    assert landed_titles(tmp_path, text) == [title, title]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters_are_found_out(tmp_path: Path, delimiter: str) -> None:
    sellers = SELLERS.replace(",", delimiter)
    text = draft(tmp_path, *two_files(tmp_path, sellers=sellers.encode())).text
    assert yaml.safe_load(text)["inputs"]["sellers"]["delimiter"] == delimiter
    assert checked(tmp_path, text) == {"merchants": 2, "listings": 2}


def test_words_for_null_and_gzip_are_found_out(tmp_path: Path) -> None:
    _, items = two_files(tmp_path, sellers=SELLERS.replace("2024-02-03", "NULL").encode())
    packed = tmp_path / "sellers.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "sellers.csv").read_bytes()))
    text = draft(tmp_path, packed, items).text
    assert yaml.safe_load(text)["inputs"]["sellers"]["null"] == ["", "NULL"]
    assert checked(tmp_path, text) == {"merchants": 2, "listings": 2}


def test_sellers_of_listings_stand_in_for_a_missing_table_of_merchants(tmp_path: Path) -> None:
    _, items = two_files(tmp_path)
    drafted = draft(tmp_path, items)
    assert "No table of merchants was found" in drafted.text
    assert checked(tmp_path, drafted.text) == {"merchants": 2, "listings": 2}


def test_a_missing_required_column_and_labels_are_named(tmp_path: Path) -> None:
    sellers, items = two_files(tmp_path, items=b"item_id,seller_id,title\ni1,s1,Red shoes\ni2,s2,Blue shoes\n")
    drafted = draft(tmp_path, sellers, items)
    assert "REQUIRED, but not found: listed_at" in drafted.text
    assert "No labels were found" in drafted.text


def test_rows_that_refer_to_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    files = two_files(tmp_path)
    orders = tmp_path / "orders.csv"
    rows = "".join(f"o{n},i{1 + n % 2},s1,2026-03-01 10:00\n" for n in range(20))
    orders.write_text(f"order_id,item_id,seller_id,ordered_at\n{rows}o99,i9,s1,2026-03-01 10:00\n")
    text = draft(tmp_path, *files, orders).text
    assert "`where` leaves out rows: listing_id: " in text
    assert checked(tmp_path, text)["orders"] == 20


def test_a_table_with_a_repeated_key_is_commented_out(tmp_path: Path) -> None:
    files = two_files(tmp_path)
    reviews = tmp_path / "reviews.csv"
    reviews.write_text(
        "review_id,item_id,stars,text,created_at\nr1,i1,5,very good,2026-03-01\nr1,i2,4,good,2026-03-02\n"
    )
    drafted = draft(tmp_path, *files, reviews)
    assert drafted.refused == ("reviews",)
    assert re.search(r"#.*REFUSED by the check: review_id: .*\[key\]", drafted.text)
    assert "reviews" not in yaml.safe_load(drafted.text)["tables"]


def test_json_lines_and_a_pattern_of_files(tmp_path: Path) -> None:
    (tmp_path / "sellers.jsonl").write_text(
        '{"seller_id": "s1", "shop_name": "Alpha"}\n{"seller_id": "s2", "shop_name": "B"}\n'
    )
    two_files(tmp_path)
    (tmp_path / "items-1.csv").write_text(ITEMS)
    (tmp_path / "items-2.csv").write_text(ITEMS.replace("i1", "i3").replace("i2", "i4"))
    text = draft(tmp_path, tmp_path / "sellers.jsonl", f"{tmp_path}/items-*.csv").text
    assert checked(tmp_path, text) == {"merchants": 2, "listings": 4}


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_file_of_a_database(tmp_path: Path, kind: str) -> None:
    files = two_files(tmp_path)
    path = tmp_path / f"shop.{kind}"
    if kind == "duckdb":
        with duckdb.connect(str(path)) as connection:
            for file in files:
                connection.execute(f"create table {file.stem} as from read_csv('{file}', all_varchar = true)")
    else:
        import csv
        import sqlite3

        with sqlite3.connect(path) as database:
            for file in files:
                with file.open(newline="") as lines:
                    header, *rows = csv.reader(lines)
                database.execute(f"create table {file.stem} ({', '.join(header)})")
                database.executemany(f"insert into {file.stem} values ({', '.join('?' * len(header))})", rows)
    text = draft(tmp_path, f"{kind}:///{path}").text
    assert text == draft(tmp_path, path).text
    assert checked(tmp_path, text) == {"merchants": 2, "listings": 2}


def test_postgres_without_its_password_in_the_draft(postgres: Postgres, tmp_path: Path) -> None:
    for file in two_files(tmp_path):
        rows = "read_csv(?, all_varchar = true)"
        duckdb.execute(f"copy (from {rows}) to '{tmp_path}/{file.stem}.parquet'", [str(file)])
    postgres.fill(tmp_path, "draft_shop")
    user = f"shop:{quote(PASSWORD, safe='')}"
    drafted = draft(tmp_path, f"postgresql://{user}@/shop?host={quote(postgres.host, safe='')}&schema=draft_shop")
    assert PASSWORD not in drafted.text
    assert drafted.variables == ("SHOP_PASSWORD",)
    assert ("password", "${SHOP_PASSWORD}") in yaml.safe_load(drafted.text)["inputs"]["items"].items()
    assert checked(tmp_path, drafted.text, ENVIRONMENT) == {"merchants": 2, "listings": 2}


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "there is no such file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "blank": (lambda path: path.write_bytes(b" \n\n"), "is empty"),
    "binary": (lambda path: path.write_bytes(bytes(range(256)) * 20), "binary file"),
    "workbook": (lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 60), "Excel workbook"),
    "gzip without its ending": (lambda path: path.write_bytes(gzip.compress(b"a,b\n1,2\n")), "ending .gz"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "pipe": (os.mkfifo, "not a file"),
    "damaged parquet": (lambda path: path.write_bytes(b"PAR1" + b"x" * 50), "cannot be"),
    "damaged sqlite": (lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 50), "cannot be"),
    "no header": (lambda path: path.write_bytes(b"a,a\n1,2\n"), "must be a header"),
    "no listings": (
        lambda path: path.write_bytes(b"wind,rain\n1,2\n"),
        "No table could be the merchants or the listings",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_a_clear_error(tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    path = tmp_path / "table.csv"
    make(path)
    done = touchstone(tmp_path, "sources", "draft", str(path))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://reader:hunter22@127.0.0.1:1/shop", "cannot be read"),
        ("postgresql://127.0.0.1/shop", "needs a user and a database"),
        ("postgresql://reader:${NOT_SET_ANYWHERE}@127.0.0.1/shop", "NOT_SET_ANYWHERE"),
        ("postgresql://reader@host:port/shop", "cannot be read"),
        ("mysql://reader@host/shop", "is not a database that is read"),
        ("sqlite:///nowhere.db", "there is no such file"),
    ],
)
def test_a_bad_database_is_a_clear_error_without_the_password(tmp_path: Path, url: str, message: str) -> None:
    done = touchstone(tmp_path, "sources", "draft", url)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "hunter22" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    files = list(map(str, two_files(tmp_path)))
    target = tmp_path / "market.yml"
    target.write_text("mine")
    refused = touchstone(tmp_path, "sources", "draft", *files, "--output", str(target))
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert target.read_text() == "mine"
    done = touchstone(tmp_path, "sources", "draft", *files, "--output", str(target), "--force")
    assert done.returncode == 0, done.stderr
    assert "2 tables mapped: merchants, listings" in done.stderr
    assert yaml.safe_load(target.read_text())["name"] == "my_market"


def touchstone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TOUCHSTONE_HOME": str(folder / "home"), "TOUCHSTONE_HMAC_KEY": "0123456789abcdef"}
    return subprocess.run(
        [sys.executable, "-c", "from touchstone.cli.start import main; main()", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
