"""Policy trials: what a policy would list on days that are rated already, compared with the policy in force.

Nothing is trained or rated again. The marts of those days hold the ratings and the suppressions; `publishing.terms` applies
the terms of each policy to them with the same SQL that built the marts. The expected precision is computed twice: from the
scores, which are calibrated probabilities, as their mean over the listed rows; and from the bands, as the share of positive
verdicts in each ten points of score, where there are enough.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from ml.model import flagging_under
from ml.registry import Registry
from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.home import Home
from touchstone.core.last_run import what_is_missing
from touchstone.core.lists import LISTS, ListName
from touchstone.core.settings import Settings
from touchstone.publishing.history import ListStore, in_force
from touchstone.publishing.policy import Policy, load_policy
from touchstone.publishing.terms import AppliedTerm, applied_terms, decide

EXAMPLES = 10


@dataclass(frozen=True)
class PolicyOutcome:
    """The outcome of one policy for a list on a day.

    Attributes:
        flagged: Entities at or above the threshold and the floor of their term.
        listed: Flagged entities that nothing holds back.
        held: The other flagged entities, by what holds them back.
        by_scores: Mean score of the listed rows, 0 to 1; None if there are none.
        by_bands: Mean expected precision of their bands, 0 to 1; None if no band has enough verdicts.
        refusal: Why the gate would refuse the list for its length; None if it would not.
        terms: For each term its description, and how many rows are rated, flagged and listed by it.
    """

    flagged: int
    listed: int
    held: Mapping[str, int]
    by_scores: float | None
    by_bands: float | None
    refusal: str | None
    terms: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class TriedList:
    """A list on a day under the policy in force now and under the tried policy.

    Attributes:
        list_name: The list.
        as_of: The day.
        rated: Entities that were rated.
        published: Rows of the version in force for that day, under the policy of that time; None if none was published.
        is_current_policy: Whether that version was built under the policy in force now.
        in_force: The outcome of the policy in force now.
        tried: The outcome of the tried policy.
        added: Entities that only the tried policy lists.
        dropped: Entities that only the policy in force lists.
        other_action: Entities that both list, with different actions.
        unexplained: Entities without recorded reasons that the tried policy holds back for missing corroboration. Reasons are
            recorded only for flagged entities, so rating again under the tried policy could list some of them.
        categories: By category, the listed rows under the policy in force and under the tried policy.
        examples: Ids, scores and categories of the highest scores among the added and the dropped entities.
    """

    list_name: ListName
    as_of: dt.date
    rated: int
    published: int | None
    is_current_policy: bool | None
    in_force: PolicyOutcome
    tried: PolicyOutcome
    added: int
    dropped: int
    other_action: int
    unexplained: int
    categories: Mapping[str, tuple[int, int]]
    examples: Mapping[str, list[Mapping[str, Any]]]


@dataclass(frozen=True)
class PolicyTrial:
    """The result of a policy trial.

    Attributes:
        file: The file of the policy.
        digest: The digest of the policy.
        digest_in_force: The digest of the policy in force.
        first: The first date.
        last: The last date.
        days: One entry per list and day.
        not_rated: The dates in between that are not rated.
        not_tried: Lists of a date that could not be decided again, with the reason.
    """

    file: Path
    digest: str
    digest_in_force: str
    first: dt.date
    last: dt.date
    days: tuple[TriedList, ...]
    not_rated: tuple[dt.date, ...]
    not_tried: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Returns the result as plain data, with the totals over all dates."""
        return {**asdict(self), "totals": trial_totals(self.days)}


def try_policy(
    settings: Settings, file: Path, first: dt.date | None = None, last: dt.date | None = None
) -> PolicyTrial:
    """Applies a policy to the rated days and compares it with the policy in force.

    Args:
        settings: The settings; they name the home and the policy in force.
        file: The policy to try.
        first: The first date; None for the first rated one.
        last: The last date; None for the last rated one.

    Returns:
        The result.

    Raises:
        BadInputError: The policy is invalid, or none of the dates is rated.
    """
    policy, current = load_policy(file), load_policy(settings.policy)
    dates = _rated_dates(settings.home)
    first, last = first or min(dates, default=dt.date.max), last or max(dates, default=dt.date.min)
    chosen = sorted(date for date in dates if first <= date <= last)
    if not chosen:
        if not dates:
            missing = what_is_missing(settings.home, "`touchstone run` rates one.")
            raise BadInputError(f"No day is rated in {settings.home} yet. {missing}")
        raise BadInputError(
            f"No date from {first} to {last} is rated in {settings.home}; the rated dates lie between {min(dates)} "
            f"and {max(dates)}. Give other dates, or rate more: `touchstone backfill --from DATE --to DATE`."
        )
    registry, days, not_tried = Registry(settings.home), list[TriedList](), list[str]()
    for date in chosen:
        for name in (name for name in LISTS if name in {*current.lists, *policy.lists}):
            mart = _mart(settings.home, name, date)
            try:
                if mart.is_file() and (tried := _tried(settings.home, registry, mart, name, date, (current, policy))):
                    days.append(tried)
            except (BadInputError, VerificationError) as error:
                not_tried.append(f"{name} as of {date}: {error}")
    span = (first + dt.timedelta(days=offset) for offset in range((last - first).days + 1))
    return PolicyTrial(
        file=file,
        digest=policy.digest,
        digest_in_force=current.digest,
        first=first,
        last=last,
        days=tuple(days),
        not_rated=tuple(date for date in span if date not in dates),
        not_tried=tuple(not_tried),
    )


def _rated_dates(home: Path) -> set[dt.date]:
    return {day for definition in LISTS.values() for day in Home(home).mart_dates(definition.mart)}


def _mart(home: Path, name: ListName, date: dt.date) -> Path:
    mart = LISTS[name].mart
    return Home(home).mart(mart, date)


def _tried(
    home: Path, registry: Registry, mart: Path, name: ListName, date: dt.date, policies: tuple[Policy, Policy]
) -> TriedList | None:
    """Returns a list of a day under both policies; None if no entity was rated."""
    with duckdb.connect(":memory:") as connection:
        digest = _model_digest(connection, mart)
        if digest is None:
            return None
        model = registry.once_champion(LISTS[name].model, digest)
        if model is None:
            raise BadInputError(
                f"the model that rated it ({digest[:12]}) is not a champion in this home's approvals log, so its "
                f"threshold for a target "
                "precision is unknown. Rate the date again: `touchstone backfill --again`."
            )
        sides = []
        for table, policy in zip(("in_force", "tried"), policies, strict=True):
            flagging = flagging_under(model.card, policies[0].assumed_share(name))
            terms = applied_terms(policy, name, flagging) if name in policy.lists else ()
            decide(connection, table, name, mart, terms, digest)
            sides.append(_side(connection, table, policy, terms, is_calibrated=model.is_calibrated))
        return _compare(connection, home, name, date, policies[0], (sides[0], sides[1]))


def _model_digest(connection: duckdb.DuckDBPyConnection, mart: Path) -> str | None:
    """Returns the digest of the model that rated; None if no entity was rated."""
    columns = {name for name, *_ in connection.execute("describe from read_parquet(?)", [str(mart)]).fetchall()}
    if not {"country", "signal_count", "suppressed_until_date"} <= columns:
        raise BadInputError(
            "it was rated by a version of Touchstone without policy terms. Rate the date again: `touchstone backfill --again`."
        )
    digests = connection.execute(
        "select distinct model_digest from read_parquet(?, hive_partitioning = false)", [str(mart)]
    ).fetchall()
    if len(digests) > 1:
        raise BadInputError("several models rated it. Rate the date again: `touchstone backfill --again`.")
    return str(digests[0][0]) if digests else None


def _side(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    policy: Policy,
    terms: Sequence[AppliedTerm],
    *,
    is_calibrated: bool,
) -> PolicyOutcome:
    term_counts = connection.execute(
        f"select term, count(*), count(*) filter (is_flagged), count(*) filter (is_listed) from {table} group by term"
    ).fetchall()
    counts = {
        term: {"rated": rated, "flagged": flagged, "listed": listed} for term, rated, flagged, listed in term_counts
    }
    points, banded, in_bands, unsuppressed = connection.execute(
        "select sum(cast(score as decimal(9, 4))) filter (is_listed), "
        "sum(cast(expected_precision as decimal(9, 4))) filter (is_listed), count(expected_precision) filter (is_listed), "
        f"count(*) filter (is_flagged and held_by is distinct from 'suppression') from {table}"
    ).fetchall()[0]
    rated, flagged, listed = (sum(count[name] for count in counts.values()) for name in ("rated", "flagged", "listed"))
    held = connection.execute(
        f"select held_by, count(*) from {table} where held_by is not null group by held_by order by held_by"
    ).fetchall()
    none = {"rated": 0, "flagged": 0, "listed": 0}
    least_rows = policy.least_rows(is_calibrated=is_calibrated)
    return PolicyOutcome(
        flagged=flagged,
        listed=listed,
        held=dict(held),
        by_scores=round(float(points) / listed / 100, 4) if listed else None,
        by_bands=round(float(banded) / in_bands, 4) if in_bands else None,
        refusal=_refusal(policy, least_rows, rated, listed, unsuppressed) if terms else None,
        terms=tuple({"term": term.term, "description": str(term), **counts.get(term.term, none)} for term in terms),
    )


def _refusal(policy: Policy, least_rows: int, rated: int, listed: int, unsuppressed: int) -> str | None:
    if listed < least_rows:
        return "it is empty and allow_empty is false"
    if rated >= 20 and unsuppressed > policy.max_flagged(rated):
        share = unsuppressed / rated
        return f"{share:.4f} of the rated entities are flagged and max_flagged_share is {policy.max_flagged_share:g}"
    return None


def _compare(
    connection: duckdb.DuckDBPyConnection,
    home: Path,
    name: ListName,
    date: dt.date,
    current: Policy,
    sides: tuple[PolicyOutcome, PolicyOutcome],
) -> TriedList:
    key = LISTS[name].key
    connection.execute(
        f"create table compared as select tried.{key} as entity_id, tried.score, tried.margin, tried.category, "
        "in_force.is_listed as was_listed, tried.is_listed, in_force.action as was_action, tried.action, tried.is_unexplained "
        f"from tried inner join in_force on in_force.{key} = tried.{key}"
    )
    rated, added, dropped, other_action, unexplained = connection.execute(
        "select count(*), count(*) filter (is_listed and not was_listed), count(*) filter (was_listed and not is_listed), "
        "count(*) filter (was_listed and is_listed and action <> was_action), count(*) filter (is_unexplained) from compared"
    ).fetchall()[0]
    categories = connection.execute(
        "select coalesce(category, ''), count(*) filter (was_listed), count(*) filter (is_listed) from compared "
        "where was_listed or is_listed group by all order by all"
    ).fetchall()
    examples = {
        what: connection.execute(
            f"select entity_id, score, category from compared where {moved} order by score desc, margin desc, entity_id limit ?",
            [EXAMPLES],
        ).fetchall()
        for what, moved in (("added", "is_listed and not was_listed"), ("dropped", "was_listed and not is_listed"))
    }
    published, published_policy = _published(home, name, date)
    return TriedList(
        list_name=name,
        as_of=date,
        rated=rated,
        published=published,
        is_current_policy=None if published_policy is None else published_policy == current.digest,
        in_force=sides[0],
        tried=sides[1],
        added=added,
        dropped=dropped,
        other_action=other_action,
        unexplained=unexplained,
        categories={category: (before, after) for category, before, after in categories},
        examples={
            what: [dict(zip(("entity_id", "score", "category"), row, strict=True)) for row in rows]
            for what, rows in examples.items()
        },
    )


def _published(home: Path, name: ListName, date: dt.date) -> tuple[int | None, str | None]:
    """Returns how many rows the version in force for a day has, and the digest of its policy."""
    store = ListStore(Home(home).published, name)
    version = in_force(store.history(), date)
    if version is None:
        return None, None
    manifest = store.manifest(version)
    return manifest.row_count, manifest.policy


def trial_totals(days: Sequence[TriedList]) -> dict[str, dict[str, Any]]:
    """Returns the totals over all dates by list: rows and expected precision under each policy, changes, and rows by category."""
    totals: dict[str, dict[str, Any]] = {}
    for name in (name for name in LISTS if any(day.list_name == name for day in days)):
        own = [day for day in days if day.list_name == name]
        after: Counter[str] = Counter()
        before: Counter[str] = Counter()
        for day in own:
            before.update({category: counts[0] for category, counts in day.categories.items()})
            after.update({category: counts[1] for category, counts in day.categories.items()})
        totals[name] = {
            "dates": len(own),
            "in_force": _sum(day.in_force for day in own),
            "tried": _sum(day.tried for day in own),
            **{
                what: sum(getattr(day, what) for day in own)
                for what in ("added", "dropped", "other_action", "unexplained")
            },
            "categories": {category: (before[category], after[category]) for category in sorted(before | after)},
        }
    return totals


def _sum(sides: Iterator[PolicyOutcome]) -> dict[str, Any]:
    own = list(sides)
    listed = sum(side.listed for side in own)
    expected = sum(side.by_scores * side.listed for side in own if side.by_scores is not None)
    return {"listed": listed, "by_scores": round(expected / listed, 4) if listed else None}


def policy_facts(file: Path) -> dict[str, Any]:
    """Loads a policy and returns it as plain data.

    Args:
        file: The file of the policy.

    Returns:
        Its path, its digest and its values.

    Raises:
        BadInputError: The policy is invalid.
    """
    policy = load_policy(file)
    return {
        "file": str(file),
        "digest": policy.digest,
        **policy.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
