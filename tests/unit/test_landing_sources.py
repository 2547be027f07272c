"""The sources file: problems are reported with the file, the location and a remedy."""

from __future__ import annotations

import traceback
from pathlib import Path

import duckdb
import pytest

from expectations.contract import load_contract
from touchstone.core.errors import BadInputError
from touchstone.landing.extract import check_mapping
from touchstone.landing.sources import Sources, TableSource, picture_folder, read_sources

GOOD = """
version: 1
name: shop
inputs:
  items: {connector: parquet, path: "${DATA}/items-*.parquet"}
  sellers: {connector: csv, path: sellers.csv, delimiter: ";", "null": ["", "NULL"]}
views:
  cheap: select * from items where price < 10
  cheapest: select * from cheap order by price limit 5
tables:
  merchants: {query: "select id as merchant_id from sellers"}
  listings:
    input: cheapest
    where: price is not null
    cursor: listed_at
    columns: {listing_id: "md5(vendor || '|' || title)", merchant_id: "(select min(id) from sellers)"}
"""


def read(tmp_path: Path, text: str, **environment: str) -> Sources:
    path = tmp_path / "sources.yml"
    path.write_text(text)
    return read_sources(path, {"DATA": "/data", **environment})


def refused(tmp_path: Path, text: str, **environment: str) -> str:
    with pytest.raises(BadInputError) as error:
        check_mapping(read(tmp_path, text, **environment), load_contract())
    assert str(tmp_path / "sources.yml") in str(error.value)
    assert "hunter2" not in "".join(traceback.format_exception(error.value)), (
        "neither said nor in a cause, which is kept"
    )
    return str(error.value)


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    sources = read(tmp_path, GOOD)
    check_mapping(sources, load_contract())
    assert sources.name == "shop"
    assert sources.tables["listings"].cursor == "listed_at"
    assert sources.relations_of("listings") == ["cheap", "cheapest", "items", "sellers"]
    assert sources.origin_of("listings") == "shop: parquet ${DATA}/items-*.parquet; csv sellers.csv"


def test_the_image_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).pictures is None
    assert picture_folder(tmp_path / "sources.yml") is None
    (tmp_path / "shots").mkdir()
    assert read(tmp_path, f"{GOOD}pictures: shots\n").pictures == tmp_path / "shots"
    assert picture_folder(tmp_path / "sources.yml") == tmp_path / "shots"
    assert picture_folder(tmp_path / "absent.yml") is None


def test_a_missing_image_folder_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, f"{GOOD}pictures: shots\n")
    assert "pictures is 'shots', and there is no such folder next to the file" in message
    with pytest.raises(BadInputError, match="no such folder"):
        picture_folder(tmp_path / "sources.yml")


def test_variables_are_expanded_in_inputs(tmp_path: Path) -> None:
    sources = read(tmp_path, GOOD, DATA="/elsewhere")
    assert sources.inputs["items"].model_dump()["path"] == "/elsewhere/items-*.parquet"


def test_the_digest_of_a_table_depends_on_its_query(tmp_path: Path) -> None:
    first, second = read(tmp_path, GOOD), read(tmp_path, GOOD.replace("price is not null", "price > 0"))
    assert first.tables["listings"].digest() != second.tables["listings"].digest()
    assert first.tables["merchants"].digest() == second.tables["merchants"].digest()


@pytest.mark.parametrize(
    ("old", "new", "printed"),
    [
        ("version: 1", "version: 2", "version is 2; this version of Touchstone reads 1"),
        ("name: shop", "name: shop\ncolour: red", "colour is not a known key. The known names are: version, name"),
        ("name: shop", "name: shop\ntabels: {}", "tabels is not a known key; did you mean tables?"),
        ("name: shop", "name: shop\nname: other", "the key 'name' is given twice"),
        ("name: shop", "name: [", "not valid YAML"),
        (
            "connector: parquet",
            "connector: parket",
            "inputs.items.connector is 'parket', which is none of parquet, csv",
        ),
        ("connector: parquet", "connector: [parquet]", "inputs.items.connector is none of parquet, csv"),
        (
            "name: shop",
            "name: shop\n? [a, b]\n: 1",
            "a key is a map or a list, and must be a word, in line 4, column 3",
        ),
        ("name: shop", "name: !!timestamp x", "is a tag, and has no place here; if it is text, put it into quotes"),
        ('delimiter: ";"', "delimiter: " + "9" * 5000, "a number has more than 40 digits"),
        ('delimiter: ";"', "delimiter: 0x_", "a number or an escaped character in it cannot be read"),
        ('delimiter: ";"', 'delimiter: "\\UFFFFFFFF"', "a number or an escaped character in it cannot be read"),
        ("{connector: parquet", "&all {s3: *all, connector: parquet", "a map or list holds itself, in line 5"),
        ("name: shop", "name: " + "[" * 3000, "it is nested too deep"),
        ("sellers.csv", r'"sell\0ers.csv"', "a null character or half a character (a surrogate) has no place here"),
        ("sellers.csv", r'"\ud800.csv"', "a null character or half a character (a surrogate) has no place here"),
        ('"null": ["", "NULL"]', 'null: [""], "null": [NULL]', "the key 'null' is given twice"),
        ("delimiter:", "delimeter:", "inputs.sellers.delimeter is not a known key; did you mean delimiter?"),
        ('path: "${DATA}/items-*.parquet"', "", "inputs.items.path: Field required"),
        ("${DATA}", "${OTHER}", "needs the environment variable OTHER, which is not set"),
        (
            "    cursor: listed_at",
            "    cursors: listed_at",
            "tables.listings.cursors is not a known key; did you mean cursor?",
        ),
        (
            "    cursor: listed_at",
            "    cursor: listed_at\n    changed_at: listed_at",
            "give `cursor`, if rows never change, or `changed_at`, if they do; not both",
        ),
        ("    cursor: listed_at", "    changed_at: a; b", "tables.listings.changed_at cannot be used"),
        (
            "    cursor: listed_at",
            "    changed_at: (select max(id) from seller)",
            "tables.listings.changed_at reads 'seller', which is not an input or earlier view; did you mean sellers?",
        ),
        (
            "    input: cheapest",
            "    input: cheapset",
            "reads 'cheapset', which is not an input or earlier view; did you mean cheapest?",
        ),
        (
            "md5(vendor",
            "no_such_function(vendor",
            "tables.listings.columns.listing_id cannot be used: it calls no_such_function, which is not an allowed function",
        ),
        (
            "md5(vendor",
            "(select content from read_text('x')) || (vendor",
            "tables.listings.columns.listing_id cannot be used",
        ),
        ("    input: cheapest", "    where2: x", "tables.listings.where2"),
        ("    input: cheapest", "    input: items\n    query: select 1", "exactly one of `input` and `query`"),
        (
            "select id as merchant_id from sellers",
            "select 1; select 2",
            "tables.merchants.query cannot be used: only one statement",
        ),
        ("select id as merchant_id from sellers", "delete from sellers", "only a select"),
        (
            "select id as merchant_id from sellers",
            "select * from 'other.parquet'",
            "Files are read only through `inputs`",
        ),
        ("price is not null", "price is not null; select 1", "tables.listings.where cannot be used"),
        ("md5(vendor || '|' || title)", "md5(vendor", "tables.listings.columns.listing_id cannot be used"),
        ("md5(vendor || '|' || title)", "(select x from nowhere)", "reads 'nowhere'"),
        ("select * from cheap order", "select * from cheapest order", "views.cheapest reads 'cheapest'"),
        ("  cheap: select", "  items: select", "has the name of an input"),
        (
            "merchants: {query",
            "merchant: {query",
            "tables.merchant is not a table of the contract; did you mean merchants?",
        ),
        ("views:", "masked: [replica, '(']\nviews:", "masked.1 cannot be used: it is not a regular expression"),
        ("views:", "masked: ['a*']\nviews:", "masked.0 cannot be used: it matches the empty text"),
        ("views:", "masked: [1:1]\nviews:", "masked.0: Input should be a valid string (it is '61')"),
        ("merchants: {query", "brands: {query", "tables.merchants is required"),
        ('listing_id: "md5', 'listing: "md5', "tables.listings.columns.listing is not a column of the contract"),
        ("cursor: listed_at", "cursor: lister", "tables.listings.cursor: lister is not a column"),
        ("cursor: listed_at", "cursor: title", "must be a timestamp, a date or an integer"),
    ],
)
def test_an_invalid_file_is_refused_with_the_location(old: str, new: str, printed: str, tmp_path: Path) -> None:
    assert old in GOOD
    assert printed in refused(tmp_path, GOOD.replace(old, new))


def test_all_contract_violations_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("merchants: {query", "merchant: {query").replace("cursor: listed_at", "cursor: title")
    message = refused(tmp_path, text)
    assert all(
        printed in message for printed in ("tables.merchants is required", "tables.merchant is no", "cursor: title")
    )


@pytest.mark.parametrize("text", ["", "- 1", "just text"])
def test_a_file_that_is_not_a_mapping_is_refused(text: str, tmp_path: Path) -> None:
    assert "is not a mapping" in refused(tmp_path, text)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="Name an existing sources file"):
        read_sources(tmp_path / "none.yml", {})


def test_a_secret_from_the_environment_is_in_no_message(tmp_path: Path) -> None:
    text = GOOD.replace('delimiter: ";"', 'delimiter: "${HIDDEN}"')
    assert "hunter2" not in refused(tmp_path, text, HIDDEN="hunter2-is-too-long")


LAUGHS = "\n".join(f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 9)}]" for level in range(1, 10))


@pytest.mark.parametrize("last", ["inputs: *x9", "inputs: {<<: *x9}", "name: *x9"])
def test_exponentially_expanding_aliases_are_refused_immediately(last: str, tmp_path: Path) -> None:
    text = f"version: 1\nx0: &x0 {{a: lol}}\n{LAUGHS}\n{last}\ntables: {{}}\n"
    assert "with its aliases written out it has more than 100,000 keys and values" in refused(tmp_path, text)


SELLERS = '{connector: csv, path: sellers.csv, delimiter: ";", "null": ["", "NULL"]}'
POSTGRES = "connector: postgres, host: h, user: u, database: d, table: t"


def test_merge_keys_are_overridden_by_explicit_ones(tmp_path: Path) -> None:
    text = GOOD.replace("items: {connector: parquet", "items: &file {connector: csv, null: [NA]")
    sellers = read(tmp_path, text.replace(SELLERS, "{<<: *file, path: sellers.csv}")).inputs["sellers"].model_dump()
    assert (sellers["path"], sellers["null"]) == ("sellers.csv", ["NA"])


@pytest.mark.parametrize(
    ("sellers", "printed"),
    [
        ("postgres://reader:hunter2@db.internal/shop", "inputs.sellers: Input should be a valid dictionary"),
        (f"[{{{POSTGRES}, password: hunter2}}]", "inputs.sellers: Input should be a valid dictionary"),
        (f"{{{POSTGRES}, password: hunter2}}", "inputs.sellers.password is written out"),
        (f"{{{POSTGRES}, password: hunter2: x}}", "expected ',' or '}', but got ':', in line 6, column "),
        (
            f"{{{POSTGRES}, password: hunter2, password: hunter23}}",
            "the key 'password' is given twice, in line 6, column ",
        ),
        (f"{{{POSTGRES}, password: *hunter2}}", "found undefined alias, in line 6, column "),
        (f"{{{POSTGRES}, password: !hunter2 }}", "is a tag, and has no place here"),
        (f"{{{POSTGRES}, password: !hunter2!x y}}", "found undefined tag handle, in line 6, column "),
        (f'{{{POSTGRES}, password: "hunter2" oops}}', "in line 6, column "),
        (f"{{{POSTGRES}, password:hunter2}}", "inputs.sellers.password… is not a known key; did you mean password?"),
        ("{connector: postgres, host: h, password: '${SECRET}'}", "inputs.sellers.user: Field required"),
        ("{connector: 'postgres://u:hunter2@h'}", "inputs.sellers.connector is none of parquet, csv"),
        (f"{{{POSTGRES}, host: 'reader:hunter2@db'}}".replace("host: h, ", ""), "inputs.sellers.host is an address"),
        (f"{{{POSTGRES}, host: 'postgres://db'}}".replace("host: h, ", ""), "inputs.sellers.host is an address"),
        (f"{{{POSTGRES}, host: '${{ADDRESS}}'}}".replace("host: h, ", ""), "inputs.sellers.host is an address"),
        ("{connector: csv, path: 's3://key:hunter2@bucket/x', s3: {}}", "inputs.sellers.path has a user or password"),
        (
            "{connector: csv, path: 's3://bucket/x@y', s3: {endpoint: 'http://key:hunter2@store'}}",
            "inputs.sellers.s3.endpoint has a user or password before an @",
        ),
        (
            "{connector: csv, path: 's3://bucket/x@y', s3: {endpoint: 'http://${LOGIN}store'}}",
            "inputs.sellers.s3.endpoint has a user or password before an @",
        ),
    ],
)
def test_possible_secrets_are_in_no_message(sellers: str, printed: str, tmp_path: Path) -> None:
    assert SELLERS in GOOD
    variables = {"SECRET": "hunter2", "ADDRESS": "postgres://u:hunter2@db/d", "LOGIN": "key:hunter2@"}
    assert printed in refused(tmp_path, GOOD.replace(SELLERS, sellers), **variables)


@pytest.mark.parametrize("value", ["no\udcffutf-8", "nu\0ll"])
def test_a_variable_without_valid_text_is_refused_by_name(value: str, tmp_path: Path) -> None:
    printed = "inputs.items.path needs the environment variable DATA, which is not valid UTF-8 text"
    assert printed in refused(tmp_path, GOOD, DATA=value)


@pytest.mark.parametrize(
    ("written", "read_as"), [("[NA, 2026-02-30]", ["NA", "2026-02-30"]), ('["", "NULL"]', ["", "NULL"])]
)
def test_the_null_option_needs_no_quotes_and_reads_dates_as_text(
    written: str, read_as: list[str], tmp_path: Path
) -> None:
    sources = read(tmp_path, GOOD.replace('"null": ["", "NULL"]', f"null: {written}"))
    assert sources.inputs["sellers"].model_dump()["null"] == read_as


@pytest.mark.parametrize(
    ("query", "relation"),
    [
        ("select ';' from sellers;", "select ';' from sellers"),
        ("select 'é' from sellers ; ;\n", "select 'é' from sellers  \n"),
        ("select 1 -- x;", "select 1 -- x;"),
        ("select 1; -- x;", "select 1 -- x;"),
        ("select 1 /* a; */;/* b; */", "select 1 /* a; *//* b; */"),
    ],
)
def test_a_query_may_end_in_semicolons(query: str, relation: str) -> None:
    assert TableSource(query=query).relation == f"(\n{relation}\n)"
    assert duckdb.sql("select 1 as sellers").query("sellers", f"from {TableSource(query=query).relation}").fetchone()


def test_the_example_in_the_contract_documentation_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "source-contract.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    sources = read(tmp_path, example, SHOP_DIR="/shop")
    check_mapping(sources, load_contract())
    assert sources.identifiers == "personal"
