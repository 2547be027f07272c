"""The source contract as typed data, and what is generated from it.

`contract.yml` is the one definition of what a marketplace's tables mean. This module reads and validates it, says which
DuckDB type each column lands as, and writes the two files that repeat it for others: dbt's `sources.yml` and
`docs/source-contract.md`. What landing checks against the contract, and what suites judge beyond it, is not here.

    python -m expectations.contract --write    regenerates both files
    python -m expectations.contract --check    exits 1 and names the files that are out of date
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from touchstone.core.errors import BadInputError
from touchstone.core.files import canonical_json, sha256_bytes, write_bytes
from touchstone.core.yaml import load_packaged_yaml

HERE = Path(__file__).resolve().parent
CONTRACT_PATH = HERE / "contract.yml"
WAREHOUSE_SOURCES_PATH = HERE / "warehouse_sources.yml"
DBT_SOURCES_PATH = HERE.parent / "dbt_project" / "models" / "staging" / "sources.yml"
DOCS_PATH = HERE.parent / "docs" / "source-contract.md"

ColumnType = Literal["string", "integer", "decimal", "double", "boolean", "date", "timestamp", "json"]

SQL_TYPES: dict[ColumnType, str] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "decimal": "DECIMAL(18,4)",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "json": "VARCHAR",
}
LANDED_COLUMNS: dict[str, tuple[str, str]] = {
    "load_id": ("VARCHAR", "The load that the row came with: a digest of the load's content."),
    "landed_at": ("TIMESTAMP", "When that load landed (UTC)."),
    "is_current": (
        "BOOLEAN",
        "Whether the load belongs to the table's present state: the newest full load and its increments.",
    ),
    "is_increment": ("BOOLEAN", "Whether the load is an increment, whose rows replace earlier ones with the same key."),
    "is_only_load": ("BOOLEAN", "Whether the table has no other pinned load, so that every row has one version."),
    "is_new": ("BOOLEAN", "Whether int_load_days does not yet contain the load."),
}
EXTRA_COLUMN = "extra"
"""The column of the landed views with the values of the columns that a sources file adds, by name."""
EXTRA_TYPE = "MAP(VARCHAR, DOUBLE)"
STALE_AFTER_DAYS = 2
"""After how many days `dbt source freshness` warns of a table that did not land again."""
GENERATED_NOTE = "Generated from expectations/contract.yml by `python -m expectations.contract --write`; do not edit."

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


COUNTER_WINDOWS = (7, 30, 90)
"""The windows, in days, that a counter of a snapshot may have next to its value to date."""


def windowed_name(counter: str, days: int) -> str:
    """Returns the column of a counter's value in the last days, such as `returned_30d_count` of `returned_count`."""
    stem, _, unit = counter.rpartition("_")
    return f"{stem}_{days}d_{unit}"


def _in_windows(counter: str, description: str) -> list[tuple[str, str]]:
    """Returns the columns of a counter with their descriptions."""
    stem = description.rstrip(".")
    return [
        (counter, f"{stem}, to date."),
        *((windowed_name(counter, days), f"{stem}, in the last {days} days.") for days in COUNTER_WINDOWS),
    ]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """One column of the contract; times are UTC, and `unit` names what a number counts.

    A column that is `by_anybody` is written by merchants or buyers: an unreadable value affects only its own row.
    """

    type: ColumnType
    description: str
    required: bool = False
    unit: str | None = None
    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] = ()
    references: Annotated[str, Field(pattern=r"^[a-z_]+\.[a-z0-9_]+$")] | None = None
    personal: Literal["hash", "masked"] | None = None
    history: Literal["event", "loads", "none"] | None = None
    known_at: Identifier | None = None
    by_anybody: bool = False

    @property
    def sql_type(self) -> str:
        """Returns the DuckDB type that the column lands as."""
        return SQL_TYPES[self.type]

    @property
    def reference(self) -> tuple[str, str] | None:
        """Returns the table and the column that this one refers to, if it does."""
        if self.references is None:
            return None
        table, _, column = self.references.partition(".")
        return table, column


class Table(_Strict):
    """One table of the contract. A sources file may add columns to one that `takes_extra`."""

    description: str
    key: tuple[Identifier, ...] = Field(min_length=1)
    columns: dict[Identifier, Column] = Field(min_length=1)
    required: bool = False
    event_at: Identifier | None = None
    takes_extra: bool = False

    @model_validator(mode="after")
    def _names_exist(self) -> Table:
        named = [*self.key, *([self.event_at] if self.event_at else [])]
        named += [column.known_at for column in self.columns.values() if column.known_at]
        unknown = sorted(set(named) - set(self.columns))
        if unknown:
            raise ValueError(f"key, event_at or known_at names columns that the table does not have: {unknown}")
        if self.event_at and self.columns[self.event_at].type not in ("date", "timestamp"):
            raise ValueError(f"event_at names {self.event_at}, which is no date or timestamp")
        hashed = [
            name for name, column in self.columns.items() if column.personal == "hash" and column.type != "string"
        ]
        if hashed:
            raise ValueError(f"{hashed} are personal: hash, so they must be strings, as a hash is one")
        if set(self.columns) & {*LANDED_COLUMNS, EXTRA_COLUMN}:
            raise ValueError(
                f"{sorted(LANDED_COLUMNS)} and {EXTRA_COLUMN} are added by landing and cannot be columns of a table"
            )
        return self

    @property
    def added_columns(self) -> dict[str, tuple[str, str]]:
        """The type and the description of the columns that landed views have in addition to the contract's."""
        if not self.takes_extra:
            return LANDED_COLUMNS
        extra = (EXTRA_TYPE, "Values of the columns that the sources file adds, by name; null without such columns.")
        return {EXTRA_COLUMN: extra, **LANDED_COLUMNS}

    def is_needed(self, column: str) -> bool:
        """Returns whether a row must have a value in `column`: keys always, others where the contract says required."""
        return column in self.key or self.columns[column].required

    @property
    def keeps_loads(self) -> bool:
        """Returns whether earlier loads are the history of some column, so that all full loads stay in view."""
        return any(column.history == "loads" for column in self.columns.values())

    @property
    def sorting(self) -> tuple[str, ...]:
        """The columns by which a load's rows are sorted: by day, the most frequent filter, then by key."""
        return tuple(dict.fromkeys([*([self.event_at] if self.event_at else []), *self.key]))

    def digest(self) -> str:
        """Returns the SHA-256 of what in the table's declaration determines its rows."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json", exclude={"takes_extra"})))


class Contract(_Strict):
    """Every table that Touchstone knows."""

    version: Literal[1]
    tables: dict[Identifier, Table]
    counters: dict[Identifier, Column] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_counters(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Adds the counters, to date and of each window, to the tables with `counters: true`."""
        counters = {
            name: declared | {"description": description}
            for counter, declared in content.get("counters", {}).items()
            for name, description in _in_windows(counter, declared["description"])
        }
        tables = {name: dict(table) for name, table in content["tables"].items()}
        for table in tables.values():
            if table.pop("counters", False):
                table["columns"] = table["columns"] | counters
        return content | {"tables": tables}

    @model_validator(mode="after")
    def _references_exist(self) -> Contract:
        for name, table in self.tables.items():
            for column_name, column in table.columns.items():
                self._check_reference(f"{name}.{column_name}", column)
        return self

    def _check_reference(self, place: str, column: Column) -> None:
        if column.reference is None:
            return
        table, referred = column.reference
        if table not in self.tables or self.tables[table].key != (referred,):
            raise ValueError(f"{place} refers to {column.references}, which is no table's whole key")
        if self.tables[table].columns[referred].personal != column.personal:
            raise ValueError(f"{place} and {column.references} must both be personal in the same way, or neither")

    def tables_by_key(self) -> dict[str, str]:
        """Returns, by column, the table of which it is the whole key."""
        return {table.key[0]: name for name, table in self.tables.items() if len(table.key) == 1}

    def parents(self, table: str) -> dict[str, str]:
        """Returns, by column of a table, the table whose row it names.

        A column that bears the name of another table's whole key names a row of it, though the contract may not ask for it to
        be there (`references`): an order's buyer may have landed nowhere.
        """
        by_key = self.tables_by_key()
        columns = self.tables[table].columns
        named = {
            name: column.reference[0] if column.reference else by_key.get(name) for name, column in columns.items()
        }
        return {name: parent for name, parent in named.items() if parent is not None and parent != table}

    def kinds(self, table: str) -> dict[str, str]:
        """Returns, by the kinds that a table's `entity_kind` may hold, the table whose row its `entity_id` then names."""
        if "entity_kind" not in self.tables[table].columns:
            return {}
        return {kind: f"{kind}s" for kind in self.tables[table].columns["entity_kind"].values}

    def in_landing_order(self) -> list[str]:
        """Returns the tables' names, each after those that it refers to, otherwise as declared."""
        ordered: list[str] = []

        def visit(name: str) -> None:
            if name in ordered:
                return
            for column in self.tables[name].columns.values():
                if column.reference and column.reference[0] != name:
                    visit(column.reference[0])
            ordered.append(name)

        for name in self.tables:
            visit(name)
        return ordered


@cache
def load_contract(path: Path = CONTRACT_PATH) -> Contract:
    """Reads and validates the source contract.

    Args:
        path: The YAML file; by default the project's own.

    Raises:
        BadInputError: The file contradicts itself or holds keys that the contract does not have.
    """
    try:
        return Contract.model_validate(load_packaged_yaml(path))
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise BadInputError("\n".join([f"{path} is no valid source contract. Correct:", *lines])) from error


def render_dbt_sources(contract: Contract, warehouse_sources: Path = WAREHOUSE_SOURCES_PATH) -> str:
    """Returns dbt's `sources.yml`: the contract's tables as schema `landed` shows them, and the hand-written ones."""
    tables = [_dbt_table(name, table) for name, table in contract.tables.items()]
    tables += load_packaged_yaml(warehouse_sources)["tables"]
    source = {
        "name": "landed",
        "schema": "landed",
        "description": "Views over the pinned loads, and over what orchestration hands to dbt; made before dbt starts.",
        "tables": tables,
    }
    body = yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False, width=120, allow_unicode=True)
    return f"# {GENERATED_NOTE}\n{body}"


def _dbt_table(name: str, table: Table) -> dict[str, Any]:
    columns = [_dbt_column(column_name, column) for column_name, column in table.columns.items()]
    columns += [
        {"name": added, "description": description, "data_type": sql_type.lower()}
        for added, (sql_type, description) in table.added_columns.items()
    ]
    meta: dict[str, Any] = {"key": list(table.key), "required": table.required}
    if table.event_at:
        meta["event_at"] = table.event_at
    config = {
        # A warning only: the gate on landed loads decides whether they are too old to rate, against the date that is rated.
        "freshness": {"warn_after": {"count": STALE_AFTER_DAYS, "period": "day"}},
        "loaded_at_field": "landed_at",
        "meta": meta,
    }
    return {"name": name, "description": table.description, "config": config, "columns": columns}


def _dbt_column(name: str, column: Column) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "name": name,
        "description": column.description,
        "data_type": column.sql_type.lower(),
    }
    meta = {key: getattr(column, key) for key in ("unit", "personal", "history", "known_at") if getattr(column, key)}
    if meta:
        rendered["config"] = {"meta": meta}
    return rendered


def render_docs(contract: Contract) -> str:
    """Returns the page that shows the contract to a person who maps tables to it."""
    parts = [_DOCS_HEAD.format(note=GENERATED_NOTE)]
    parts += [_docs_table(name, table) for name, table in contract.tables.items()]
    return "\n".join(parts)


_DOCS_HEAD = """# The source contract

<!-- {note} -->

The tables and columns that Touchstone reads. Only `merchants` and `listings` are required. Leave out tables and columns that
you do not have: they count as empty, and the features that need them are null. Map your own tables to these in one sources
file, with SQL expressions where names or units differ; `touchstone sources check FILE` reports what does not fit.

```yaml
version: 1
name: shop
identifiers: personal            # those of persons are stored as HMACs with your TOUCHSTONE_HMAC_KEY; or `public`
inputs:                          # named relations; paths are relative to this file, ${{NAME}} comes from the environment
  items: {{connector: parquet, path: "${{SHOP_DIR}}/items-*.parquet"}}
  sellers: {{connector: csv, path: sellers.csv, delimiter: ";"}}
  prices: {{connector: parquet, path: prices.parquet}}
views:                           # optional queries over inputs and earlier views, to be used by several tables
  live_items: select * from items where state <> 'draft'
tables:                          # contract table: an input (or view), or a query
  merchants: {{query: "select id as merchant_id, shop_name as name, joined as registered_at from sellers"}}
  listings:
    input: live_items
    columns:                     # contract column: SQL over the input's columns; other columns are matched by name
      listing_id: cast(item_no as varchar)
      merchant_id: seller
    where: price is not null
  listing_prices:
    input: prices
    cursor: observed_at          # for an append-only table: the next load reads only newer rows
    # changed_at: updated_at     # for a table whose rows change: the next load reads only new and changed rows
```

- Times are UTC. A timestamp without a zone is taken as UTC. Nothing may lie before 1970 or after 2100.
- Amounts are `decimal` with four places; more places are rounded. Their currency is in a column next to them, and `fx_rates`
  gives the value of one unit in the base currency. That is `TOUCHSTONE_BASE_CURRENCY`, by default the most frequent currency of
  what landed. Without `fx_rates` only amounts in the base currency are compared; a run reports how many others there are. The
  rates may contain the base currency itself, with rate 1.
- **Key** columns together identify a row: never null, and unique in combination. **Required** columns are never null.
- *Personal: hash*: only an HMAC with your key is stored; an empty value is stored as null. *Personal: masked*: the value is
  stored and never shown in a message.
- *By anybody*: written by merchants or buyers. An unreadable value affects only its own row: it is stored as it is (a text of
  up to 4,000,000 bytes is truncated to 100,000 characters), no feature uses it, and the run reports how many there are. If more
  than half are unreadable, the load is refused.
- *Known* states from when a value may be used: `event`, from the time in the row (in the named column, else in the table's
  event column); `loads`, as of the load that contained it; `none`, only for the present, so it is never a feature.
"""


def _docs_table(name: str, table: Table) -> str:
    windowed = {windowed_name(name, days) for name in table.columns for days in COUNTER_WINDOWS if "_" in name}
    facts = [f"Key: {', '.join(f'`{key}`' for key in table.key)}."]
    if table.event_at:
        facts.append(f"Event: `{table.event_at}`.")
    if table.required:
        facts.append("**This table is required.**")
    if table.takes_extra:
        facts.append("Takes [columns of your own](sources.md#columns-of-your-own).")
    if windowed & set(table.columns):
        example = ", ".join(f"`{windowed_name('order_count', days)}`" for days in COUNTER_WINDOWS)
        facts.append(f"Columns marked *to date* also exist for the last {_listed(COUNTER_WINDOWS)} days: {example}.")
    rows = [
        _docs_column(column_name, column, table)
        for column_name, column in table.columns.items()
        if column_name not in windowed
    ]
    head = ["", f"## {name}", "", table.description, " ".join(facts), ""]
    return "\n".join([*head, "| column | type | known | rules | what |", "|---|---|---|---|---|", *rows])


def _listed(numbers: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _docs_column(name: str, column: Column, table: Table) -> str:
    rules = ["required"] if table.is_needed(name) else []
    if column.min is not None or column.max is not None:
        bounds = ["" if bound is None else f"{bound:g}" for bound in (column.min, column.max)]
        rules.append(f"{bounds[0]} to {bounds[1]}" if all(bounds) else f"at least {bounds[0]}")
    if column.values:
        rules.append("one of " + ", ".join(f"`{value}`" for value in column.values))
    if column.references:
        rules.append(f"refers to `{column.references}`")
    if column.personal:
        rules.append(f"personal: {column.personal}")
    if column.by_anybody:
        rules.append("by anybody")
    unit = f" ({column.unit})" if column.unit else ""
    known = (column.history or "") + (f", `{column.known_at}`" if column.known_at else "")
    return f"| `{name}` | {column.type}{unit} | {known} | {'; '.join(rules)} | {column.description} |"


def generated_files(contract: Contract) -> dict[Path, bytes]:
    """Returns, by path, the content that each generated file must have."""
    return {
        DBT_SOURCES_PATH: render_dbt_sources(contract).encode(),
        DOCS_PATH: (render_docs(contract) + "\n").encode(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the generated files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m expectations.contract", description="What the contract generates.")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--write", action="store_true", help="regenerate dbt's sources.yml and docs/source-contract.md")
    choice.add_argument("--check", action="store_true", help="exit 1 where one of them is out of date")
    write = parser.parse_args(arguments).write
    stale = [
        (path, content)
        for path, content in generated_files(load_contract()).items()
        if not path.exists() or path.read_bytes() != content
    ]
    for path, content in stale:
        if write:
            write_bytes(path, content)
        sys.stderr.write(f"{'written' if write else 'out of date'}: {path}\n")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main())
