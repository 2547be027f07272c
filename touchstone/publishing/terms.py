"""Applied terms of a policy: the thresholds that they have under the model that rates, and the rows that they list.

The SQL that decides on rows is a macro of the marts (`dbt_project/macros/terms.sql`). To apply other terms to a rated day, the
same SQL runs over the file of the mart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import duckdb
from jinja2 import Environment
from pydantic import BaseModel, ConfigDict

from ml.flagging import threshold_for
from touchstone.core.errors import format_count
from touchstone.core.lists import LISTS, ListName
from touchstone.publishing.policy import Action, Policy, Term

MACRO = Path(__file__).resolve().parents[2] / "dbt_project" / "macros" / "terms.sql"
RANKING_CAPACITY = 100
"""Rows a day of a list that is a ranking, unless the policy sets a capacity."""
_BY_DECISIONS = (
    "To change this, record more decisions on randomly drawn {} in `moderation_decisions`, with their "
    "`inclusion_probability`."
)
_MORE_VERDICTS: Mapping[ListName, str] = {
    "listings": (
        "To change this, record more verdicts on randomly drawn listings: `touchstone test-buys plan` draws them."
    ),
    "merchants": _BY_DECISIONS.format("merchants"),
    "reviews": _BY_DECISIONS.format("orders and reviews"),
    "brushing_merchants": _BY_DECISIONS.format("merchants"),
}
"""How to get the verdicts that a target precision needs to determine a threshold, by list."""


class AppliedTerm(BaseModel):
    """A term of a list with its effective values.

    Attributes:
        term: Its position among the terms of the list, from 1; the last has no conditions and decides all remaining rows.
        category: Only rows of this category path or below it.
        brand: Only rows of this brand.
        country: Only rows of merchants of this country.
        target_precision: The precision that determined the threshold, 0 to 1; None if the policy states a threshold.
        basis: Origin of the threshold: `target`; `fallback` if no score of the model's precision table reaches the target;
            `ranking` if the scores are no probabilities, so that the capacity decides; or `stated`.
        threshold: The lowest score to flag.
        floor: The lowest own_conduct_score to flag; always the model's.
        capacity: Maximum number of rows a day; None for no limit.
        corroboration: Minimum number of signals among the reasons of a row.
        action: The action that the list asks for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    term: int
    category: str | None = None
    brand: str | None = None
    country: str | None = None
    target_precision: float | None = None
    basis: Literal["target", "fallback", "ranking", "stated"]
    threshold: float
    floor: float
    capacity: int | None = None
    corroboration: int = 1
    action: Action

    @property
    def conditions(self) -> dict[str, str]:
        """The conditions that a row must meet."""
        values = {name: getattr(self, name) for name in ("category", "brand", "country")}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        """Describes the term."""
        conditions = ", ".join(f"{name} {value}" for name, value in self.conditions.items()) or "all other rows"
        target = " (a ranking)" if self.basis == "ranking" else ""
        target = target if self.target_precision is None else f" (target {self.target_precision:g}, {self.basis})"
        capacity = "" if self.capacity is None else f", at most {self.capacity} a day"
        corroboration = "" if self.corroboration == 1 else f", at least {self.corroboration} signals"
        return f"{conditions}: {self.action} from {self.threshold:g}{target}{capacity}{corroboration}"


def applied_terms(policy: Policy, list_name: ListName, flagging: Mapping[str, Any]) -> tuple[AppliedTerm, ...]:
    """Applies the terms of a policy to a list.

    Args:
        policy: The policy.
        list_name: The list.
        flagging: The precision table, thresholds and floor of the model that rates.

    Returns:
        The terms in order; the last decides all remaining rows.
    """
    stated = [term for term in policy.terms if term.list_name == list_name]
    return tuple(_apply(policy, term, number, flagging) for number, term in enumerate([*stated, None], start=1))


def _apply(policy: Policy, term: Term | None, number: int, flagging: Mapping[str, Any]) -> AppliedTerm:
    own = {} if term is None else term.model_dump(exclude={"list_name"}, exclude_none=True)
    threshold, basis = own.pop("threshold", None), "stated"
    shared = {name: getattr(policy, name) for name in ("capacity", "corroboration", "action")}
    if flagging["basis"] == "ranking":
        own.pop("target_precision", None)  # no score of a ranking is known to reach any precision
        shared["capacity"] = policy.capacity or RANKING_CAPACITY
        if threshold is None:
            threshold, basis = float(flagging["threshold"]), "ranking"
    target = None if threshold is not None else own.pop("target_precision", policy.target_precision)
    if target is not None:
        threshold, expected = threshold_for(flagging, target)
        basis = "fallback" if expected is None else "target"
    floor = float(flagging["floor"])
    effective = {"term": number, "target_precision": target, "basis": basis, "threshold": threshold, "floor": floor}
    return AppliedTerm.model_validate({**shared, **own, **effective})


def fallback_notes(list_name: ListName, terms: Sequence[AppliedTerm], flagging: Mapping[str, Any]) -> list[str]:
    """Explains the fallback threshold of each term whose target precision determines none.

    Args:
        list_name: The list.
        terms: Its terms, as `applied_terms` gives them.
        flagging: The precision table of the model that rates.

    Returns:
        One message per such term, in the order of the terms.
    """
    return [_fallback_note(list_name, term, flagging) for term in terms if term.basis == "fallback"]


def _fallback_note(list_name: ListName, term: AppliedTerm, flagging: Mapping[str, Any]) -> str:
    conditions = "".join(f", {name} {value}" for name, value in term.conditions.items())
    row = next((row for row in flagging["table"] if row["score"] == term.threshold), None)
    estimate = f"there is no verdict at {term.threshold:g} or above"
    if row and row["precision"] is not None:
        estimate = (
            f"at {term.threshold:g} the precision is {row['precision']:.2f}, 95 % interval {row['low']:.2f} to "
            f"{row['high']:.2f}, "
            f"from {format_count(row['verdicts'], 'verdict')}"
        )
    return (
        f"{list_name}{conditions}: the fallback threshold of {term.threshold:g} applies, because the verdicts do not show which "
        f"score reaches the target precision of {term.target_precision:g} ({estimate}). {_MORE_VERDICTS[list_name]}"
    )


def decide(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    list_name: ListName,
    mart: Path,
    terms: Sequence[AppliedTerm],
    model_digest: str,
) -> None:
    """Applies terms to all rows of a mart, with the SQL that built the mart.

    Args:
        connection: The connection in which the table is created.
        table: The name of the table: one row per entity with its id, category, score, margin, expected_precision, term, action,
            is_flagged, held_by, is_listed and is_unexplained (held back for missing corroboration, without recorded reasons).
        list_name: The list of the mart.
        mart: The Parquet file of the mart.
        terms: The terms.
        model_digest: The model that the thresholds belong to.
    """
    key = LISTS[list_name].key
    columns = {
        "model_digest": "varchar", "term": "integer", "category": "varchar", "brand": "varchar", "country": "varchar",
        "threshold": "double", "floor": "double", "capacity": "bigint", "corroboration": "bigint", "action": "varchar",
    }  # fmt: skip
    connection.execute(
        f"create or replace temporary table terms ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
    )
    rows = [{"model_digest": model_digest, **term.model_dump()} for term in terms]
    if rows:
        connection.executemany(
            f"insert into terms values ({', '.join('?' for _ in columns)})",
            [[row[name] for name in columns] for row in rows],
        )
    own = "term, action, is_flagged, held_by"
    connection.execute(
        f"""
        create or replace temporary table {table} as
        with rated as (select * exclude ({own}) from read_parquet($mart, hive_partitioning = false)),
        {_decided(key)}
        select
          {key}, category, score, margin, expected_precision, {own},
          is_flagged and held_by is null as is_listed,
          held_by is not distinct from 'corroboration' and reasons is null as is_unexplained
        from decided
        """,
        {"mart": str(mart)},
    )


@cache
def _decided(key: str) -> str:
    """Returns the CTEs of the mart's macro, over the relations `rated` and `terms`."""
    macros: Any = Environment(autoescape=False).from_string(MACRO.read_text(encoding="utf-8")).module  # noqa: S701  # SQL, not HTML
    return str(macros.decided("rated", key))
