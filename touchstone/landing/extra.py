"""A marketplace's own columns in the landing zone: the contract with them, and the values that features are made of.

They land under their own names and types, checked like the contract's columns. The warehouse has their values as numbers by
name: a boolean as 0 and 1, a category as 0 and 1 for each of its values. What a sources file says of them is in `ml/extra.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from expectations.contract import EXTRA_TYPE, Column, ColumnType, Contract
from ml.extra import ExtraColumn
from touchstone.core.errors import BadInputError
from touchstone.core.text import list_some, visible
from touchstone.landing.sources import Sources
from touchstone.landing.sql import literal, quoted

TYPES: Mapping[str, ColumnType] = {"number": "double", "boolean": "boolean", "category": "string"}


def extended_contract(sources: Sources, contract: Contract) -> Contract:
    """Returns the contract with the columns that a sources file adds.

    Args:
        sources: The sources file.
        contract: The contract.

    Raises:
        BadInputError: A table takes no further columns, or has a column of that name; the message names all problems.
    """
    tables, problems = dict(contract.tables), []
    for name, source in sources.tables.items():
        if not source.extra or name not in contract.tables:
            continue
        table, place = contract.tables[name], f"tables.{name}.extra"
        if not table.takes_extra:
            takers = [taker for taker, one in contract.tables.items() if one.takes_extra]
            problems.append(f"{place}: {name} takes no columns of your own. Put them into {list_some(takers)}.")
            continue
        taken = sorted({*table.columns, *table.added_columns} & set(source.extra))
        problems += [f"{place}.{column} is a column of {name} already. Choose another name." for column in taken]
        keys = [key for column, extra in source.extra.items() for key in extra.keys(column)]
        problems += [
            f"{place}: two columns or values give the feature {key}. Rename one of them."
            for key in sorted(set(keys))
            if keys.count(key) > 1
        ]
        added = {
            column: Column(type=TYPES[extra.type], description=extra.description or column, values=extra.values)
            for column, extra in source.extra.items()
        }
        tables[name] = table.model_copy(update={"columns": table.columns | added})
    if problems:
        lines = [f"  {visible(problem)}" for problem in problems]
        raise BadInputError("\n".join([f"{sources.path} does not match the contract:", *lines]))
    return contract.model_copy(update={"tables": tables})


def extra_values(extra: Mapping[str, ExtraColumn], present: Collection[str]) -> str:
    """Returns SQL for the values of declared columns over the rows of a load, as `MAP(VARCHAR, DOUBLE)`.

    Args:
        extra: The declared columns of the table.
        present: The columns of the load. One that an earlier load lacks is null there.
    """
    values = {
        key: _value(name, value) if name in present else "null"
        for name, column in sorted(extra.items())
        for key, value in column.keys(name).items()
    }
    if not values:
        return f"cast(null as {EXTRA_TYPE})"
    keys = ", ".join(map(literal, values))
    return f"map([{keys}], cast([{', '.join(values.values())}] as double[]))"


def _value(name: str, value: str | None) -> str:
    """Returns SQL for one value; null if it is infinite or no number, or an earlier load has the column with another type."""
    if value is None:
        number = f"try_cast({quoted(name)} as double)"
        return f"case when isfinite({number}) then {number} end"
    return f"cast(try_cast({quoted(name)} as varchar) = {literal(value)} as double)"
