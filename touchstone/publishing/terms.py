"""The policy's terms as a day applies them: which thresholds they come to by the model that rates, and which rows they list.

How rows are decided on is SQL of the marts (`dbt_project/macros/terms.sql`). What is asked on demand of a day that is rated,
by other terms than its own, runs the same text over the mart's file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import duckdb
from jinja2 import Environment
from pydantic import BaseModel, ConfigDict

from touchstone.core.errors import format_count
from touchstone.core.lists import LISTS, ListName
from touchstone.publishing.policy import Action, Policy, Term

MACRO = Path(__file__).resolve().parents[2] / "dbt_project" / "macros" / "terms.sql"
_BY_DECISIONS = (
    "More decisions on {} drawn at random would change this: record them in `moderation_decisions` with their "
    "`inclusion_probability`."
)
_MORE_VERDICTS: Mapping[ListName, str] = {
    "listings": (
        "More verdicts on listings drawn at random would change this: `touchstone test-buys plan` draws listings to buy."
    ),
    "merchants": _BY_DECISIONS.format("merchants"),
    "reviews": _BY_DECISIONS.format("orders and reviews"),
    "brushing_merchants": _BY_DECISIONS.format("merchants"),
}
"""What would let a target precision pick the threshold, by list: verdicts that calibrate its model."""


class AppliedTerm(BaseModel):
    """One of a list's terms with all that it comes to.

    Attributes:
        term: Its place among those of the list, from 1; the last has no conditions and takes what no other does.
        category: Only rows of this category path or below it.
        brand: Only rows of this brand.
        country: Only rows of merchants of this country.
        target_precision: The precision that picked the threshold, 0 to 1; None where the policy states a threshold.
        basis: `target`, or `fallback` where the model's precision table knows no score that reaches it, or `stated`.
        threshold: The least score to flag.
        floor: The least own_conduct_score to flag: the model's, whatever the policy says.
        capacity: The most rows a day; None for any.
        corroboration: How many signals must speak against a row.
        action: What the list asks for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    term: int
    category: str | None = None
    brand: str | None = None
    country: str | None = None
    target_precision: float | None = None
    basis: Literal["target", "fallback", "stated"]
    threshold: float
    floor: float
    capacity: int | None = None
    corroboration: int = 1
    action: Action

    @property
    def conditions(self) -> dict[str, str]:
        """What a row must be for this term to decide on it."""
        found = {name: getattr(self, name) for name in ("category", "brand", "country")}
        return {name: value for name, value in found.items() if value is not None}

    def __str__(self) -> str:
        """Returns the term in words."""
        whom = ", ".join(f"{name} {value}" for name, value in self.conditions.items()) or "all else"
        target = "" if self.target_precision is None else f" (target {self.target_precision:g}, {self.basis})"
        capacity = "" if self.capacity is None else f", {self.capacity} a day at most"
        corroboration = "" if self.corroboration == 1 else f", {self.corroboration} signals at least"
        return f"{whom}: {self.action} from {self.threshold:g}{target}{capacity}{corroboration}"


def applied_terms(policy: Policy, list_name: ListName, flagging: Mapping[str, Any]) -> tuple[AppliedTerm, ...]:
    """Returns the terms of a list in the order in which they are tried, the last for all else.

    Args:
        policy: The policy.
        list_name: The list.
        flagging: What the model that rates keeps of its precision table, thresholds and floor.
    """
    stated = [term for term in policy.terms if term.list_name == list_name]
    return tuple(_applied(policy, term, at, flagging) for at, term in enumerate([*stated, None], start=1))


def _applied(policy: Policy, term: Term | None, at: int, flagging: Mapping[str, Any]) -> AppliedTerm:
    from ml.flagging import threshold_for

    own = {} if term is None else term.model_dump(exclude={"list_name"}, exclude_none=True)
    threshold, basis = own.pop("threshold", None), "stated"
    target = None if threshold is not None else own.pop("target_precision", policy.target_precision)
    if target is not None:
        threshold, expected = threshold_for(flagging, target)
        basis = "fallback" if expected is None else "target"
    shared = {name: getattr(policy, name) for name in ("capacity", "corroboration", "action")}
    floor = float(flagging["floor"])
    found = {"term": at, "target_precision": target, "basis": basis, "threshold": threshold, "floor": floor}
    return AppliedTerm.model_validate({**shared, **own, **found})


def fallback_notes(list_name: ListName, terms: Sequence[AppliedTerm], flagging: Mapping[str, Any]) -> list[str]:
    """Explains, for each term whose target precision picks no threshold, from which score it flags instead and what helps.

    Args:
        list_name: The list.
        terms: Its terms, as `applied_terms` gives them.
        flagging: What the model that rates keeps of its precision table.

    Returns:
        One text a term, in the order of the terms; none where each has its threshold.
    """
    return [_fallback_note(list_name, term, flagging) for term in terms if term.basis == "fallback"]


def _fallback_note(list_name: ListName, term: AppliedTerm, flagging: Mapping[str, Any]) -> str:
    conditions = "".join(f", {name} {value}" for name, value in term.conditions.items())
    row = next((row for row in flagging["table"] if row["score"] == term.threshold), None)
    estimate = f"no verdict lies at {term.threshold:g} or above"
    if row and row["precision"] is not None:
        estimate = (
            f"at {term.threshold:g} it is {row['precision']:.2f}, 95 % interval {row['low']:.2f} to {row['high']:.2f}, "
            f"from {format_count(row['verdicts'], 'verdict')}"
        )
    return (
        f"{list_name}{conditions}: flagged from a fallback score of {term.threshold:g}, because the verdicts do not show which "
        f"score reaches the policy's precision of {term.target_precision:g} ({estimate}). {_MORE_VERDICTS[list_name]}"
    )


def decide(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    list_name: ListName,
    mart: Path,
    terms: Sequence[AppliedTerm],
    model_digest: str,
) -> None:
    """Decides by some terms on all rows of a rated mart, as the mart itself did by its own.

    Args:
        connection: Where the table is made; its other tables stay.
        table: What to call it: a row an entity with its id, category, score, margin, expected_precision, term, action,
            is_flagged, held_by, is_listed and is_unexplained (held for want of signals, having no reasons at all).
        list_name: The mart's list.
        mart: The mart's Parquet file, of a day.
        terms: The terms.
        model_digest: The model that their thresholds are of.
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
    """Returns the mart's own CTEs, over the relations `rated` and `terms`."""
    macros: Any = Environment(autoescape=False).from_string(MACRO.read_text(encoding="utf-8")).module  # noqa: S701  # SQL, not HTML
    return str(macros.decided("rated", key))
