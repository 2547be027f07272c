"""What a policy would do: beside the one in force, over the dates that are rated already. Nothing is trained or rated anew.

The marts of those dates hold how everything was rated and who was suppressed; by `publishing.terms` they are decided on anew,
by the very text that decided then, once by each policy. How many of each are right is told twice: by the scores, which are
calibrated probabilities, so that their mean over what is listed is its expected precision; and by the bands, the share of
positives that verdicts found in each ten points of score, where enough did.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchstone.core.errors import BadInputError, VerificationError
from touchstone.core.lists import LISTS, ListName
from touchstone.core.settings import Settings
from touchstone.core.text import LONG_LINE_COLUMNS, MOST_SENTENCE_COLUMNS, pad, shorten, visible, wrap
from touchstone.publishing.history import Shelf, in_force
from touchstone.publishing.policy import Policy, load_policy
from touchstone.publishing.terms import AppliedTerm, applied_terms, decide

if TYPE_CHECKING:
    import duckdb

    from ml.registry import Registry

EXAMPLES = 10
CATEGORIES_SHOWN = 12


@dataclass(frozen=True)
class Side:
    """What one policy makes of a list on a day.

    Attributes:
        flagged: Entities at or above threshold and floor of their term.
        listed: Those of them that nothing keeps off.
        held: The others, by what keeps them off.
        by_scores: Mean score of what is listed, 0 to 1; None where nothing is.
        by_bands: Mean of what its bands expect, 0 to 1; None where no band of it is well known.
        refusal: Why the gate on the list would refuse it; None where it would not for its length.
        terms: By term, in words: how many are rated, flagged and listed by it.
    """

    flagged: int
    listed: int
    held: Mapping[str, int]
    by_scores: float | None
    by_bands: float | None
    refusal: str | None
    terms: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Tried:
    """A list on a day, by the policy in force now and by the one that is tried.

    Attributes:
        list_name: The list.
        as_of: The day.
        rated: Entities that were rated.
        published: Rows of the version in force for that day, by the policy of then; None where none was published.
        is_policy_of_now: Whether that version is by the very policy that is in force now.
        in_force: By the policy in force now.
        tried: By the one that is tried.
        added: Entities that only the tried one lists; of the first, by score, `examples` has ids, scores and categories.
        dropped: Entities that only the one in force lists.
        other_action: Entities that both list, for another action.
        unexplained: Entities that the tried one holds for want of corroboration and that have no reasons, since nobody meant to
            flag them when they were rated: rated under it, some of them may be listed.
        categories: By category, rows by the policy in force and by the tried one.
        examples: The highest scores among what is added and dropped.
    """

    list_name: ListName
    as_of: dt.date
    rated: int
    published: int | None
    is_policy_of_now: bool | None
    in_force: Side
    tried: Side
    added: int
    dropped: int
    other_action: int
    unexplained: int
    categories: Mapping[str, tuple[int, int]]
    examples: Mapping[str, list[Mapping[str, Any]]]


@dataclass(frozen=True)
class Trial:
    """What came of trying a policy.

    Attributes:
        file: Its file.
        digest: Its digest.
        digest_in_force: That of the policy in force.
        first: The first date.
        last: The last date.
        days: A list a day.
        not_rated: The dates between that nothing was rated as of.
        not_tried: Lists of a date that could not be decided on anew, and why.
    """

    file: Path
    digest: str
    digest_in_force: str
    first: dt.date
    last: dt.date
    days: tuple[Tried, ...]
    not_rated: tuple[dt.date, ...]
    not_tried: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain data, with the sums over all dates."""
        return {**asdict(self), "totals": totals(self.days)}


def try_policy(settings: Settings, file: Path, first: dt.date | None = None, last: dt.date | None = None) -> Trial:
    """Decides on what was rated by a policy, beside the one in force.

    Args:
        settings: The settings; they name the home and the policy in force.
        file: The policy to try.
        first: The first date; None for the first that was rated.
        last: The last date; None for the last that was rated.

    Raises:
        BadInputError: The policy is not sound, or nothing was rated as of any of the dates.
    """
    from ml.registry import Registry

    policy, now = load_policy(file), load_policy(settings.policy)
    dates = _rated_dates(settings.home)
    first, last = first or min(dates, default=dt.date.max), last or max(dates, default=dt.date.min)
    chosen = sorted(date for date in dates if first <= date <= last)
    if not chosen:
        if not dates:
            raise BadInputError(f"Nothing in {settings.home} is rated yet. `touchstone run` rates a day.")
        raise BadInputError(
            f"No date from {first} to {last} is rated in {settings.home}; those that are lie between {min(dates)} and "
            f"{max(dates)}. Give others, or rate some: `touchstone backfill --from DATE --to DATE`."
        )
    registry, days, not_tried = Registry(settings.home), list[Tried](), list[str]()
    for date in chosen:
        for name in (name for name in LISTS if name in {*now.lists, *policy.lists}):
            mart = _mart(settings.home, name, date)
            try:
                if mart.is_file() and (tried := _tried(settings.home, registry, mart, name, date, (now, policy))):
                    days.append(tried)
            except (BadInputError, VerificationError) as error:
                not_tried.append(f"{name} as of {date}: {error}")
    span = (first + dt.timedelta(days=at) for at in range((last - first).days + 1))
    return Trial(
        file=file,
        digest=policy.digest,
        digest_in_force=now.digest,
        first=first,
        last=last,
        days=tuple(days),
        not_rated=tuple(date for date in span if date not in dates),
        not_tried=tuple(not_tried),
    )


def _rated_dates(home: Path) -> set[dt.date]:
    marts = (home / "marts" / rated.mart for rated in LISTS.values())
    return {dt.date.fromisoformat(file.parent.name[6:]) for mart in marts for file in mart.glob("as_of=*/*.parquet")}


def _mart(home: Path, name: ListName, date: dt.date) -> Path:
    mart = LISTS[name].mart
    return home / "marts" / mart / f"as_of={date}" / f"{mart}.parquet"


def _tried(
    home: Path, registry: Registry, mart: Path, name: ListName, date: dt.date, policies: tuple[Policy, Policy]
) -> Tried | None:
    """Returns a list of a day by both policies; None where nobody was rated."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        digest = _model_digest(connection, mart)
        if digest is None:
            return None
        model = registry.once_champion(LISTS[name].model, digest)
        if model is None:
            raise BadInputError(
                f"the model that rated it, {digest[:12]}, never was a champion by this home's log, so what it makes of a "
                "target precision is not known. Rate the date again: `touchstone backfill --again`."
            )
        sides = []
        for table, policy in zip(("in_force", "tried"), policies, strict=True):
            terms = applied_terms(policy, name, model.card["flagging"]) if name in policy.lists else ()
            decide(connection, table, name, mart, terms, digest)
            sides.append(_side(connection, table, policy, terms))
        return _compared(connection, home, name, date, policies[0], (sides[0], sides[1]))


def _model_digest(connection: duckdb.DuckDBPyConnection, mart: Path) -> str | None:
    """Returns which model rated; None where nobody is."""
    columns = {name for name, *_ in connection.execute("describe from read_parquet(?)", [str(mart)]).fetchall()}
    if not {"country", "signal_count", "suppressed_until_date"} <= columns:
        raise BadInputError(
            "it was rated by a Touchstone that knew no terms. Rate the date again: `touchstone backfill --again`."
        )
    found = connection.execute(
        "select distinct model_digest from read_parquet(?, hive_partitioning = false)", [str(mart)]
    ).fetchall()
    if len(found) > 1:
        raise BadInputError("several models rated it. Rate the date again: `touchstone backfill --again`.")
    return str(found[0][0]) if found else None


def _side(connection: duckdb.DuckDBPyConnection, table: str, policy: Policy, terms: Sequence[AppliedTerm]) -> Side:
    of_terms = connection.execute(
        f"select term, count(*), count(*) filter (is_flagged), count(*) filter (is_listed) from {table} group by term"
    ).fetchall()
    counts = {term: {"rated": rated, "flagged": flagged, "listed": listed} for term, rated, flagged, listed in of_terms}
    points, banded, in_bands, unsuppressed = connection.execute(
        "select sum(cast(score as decimal(9, 4))) filter (is_listed), "
        "sum(cast(expected_precision as decimal(9, 4))) filter (is_listed), count(expected_precision) filter (is_listed), "
        f"count(*) filter (is_flagged and held_by is distinct from 'suppression') from {table}"
    ).fetchall()[0]
    rated, flagged, listed = (sum(found[name] for found in counts.values()) for name in ("rated", "flagged", "listed"))
    held = connection.execute(
        f"select held_by, count(*) from {table} where held_by is not null group by held_by order by held_by"
    ).fetchall()
    none = {"rated": 0, "flagged": 0, "listed": 0}
    return Side(
        flagged=flagged,
        listed=listed,
        held=dict(held),
        by_scores=round(float(points) / listed / 100, 4) if listed else None,
        by_bands=round(float(banded) / in_bands, 4) if in_bands else None,
        refusal=_refusal(policy, rated, listed, unsuppressed) if terms else None,
        terms=tuple({"term": term.term, "says": str(term), **counts.get(term.term, none)} for term in terms),
    )


def _refusal(policy: Policy, rated: int, listed: int, unsuppressed: int) -> str | None:
    if not listed and not policy.allow_empty:
        return "it is empty, and allow_empty is false"
    if rated >= 20 and unsuppressed > policy.max_flagged_share * rated:
        return f"{unsuppressed / rated:.4f} of what is rated is flagged, and max_flagged_share is {policy.max_flagged_share:g}"
    return None


def _compared(
    connection: duckdb.DuckDBPyConnection,
    home: Path,
    name: ListName,
    date: dt.date,
    now: Policy,
    sides: tuple[Side, Side],
) -> Tried:
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
    published, policy_of_then = _published(home, name, date)
    return Tried(
        list_name=name,
        as_of=date,
        rated=rated,
        published=published,
        is_policy_of_now=None if policy_of_then is None else policy_of_then == now.digest,
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
    shelf = Shelf(home / "published", name)
    version = in_force(shelf.history(), date)
    if version is None:
        return None, None
    manifest = shelf.manifest(version)
    return manifest.row_count, manifest.policy


def totals(days: Sequence[Tried]) -> dict[str, dict[str, Any]]:
    """Returns by list the sums over all dates: rows by each policy, what they expect, what moved, and rows by category."""
    found: dict[str, dict[str, Any]] = {}
    for name in (name for name in LISTS if any(day.list_name == name for day in days)):
        own = [day for day in days if day.list_name == name]
        categories: Counter[str] = Counter()
        before: Counter[str] = Counter()
        for day in own:
            before.update({category: counts[0] for category, counts in day.categories.items()})
            categories.update({category: counts[1] for category, counts in day.categories.items()})
        found[name] = {
            "dates": len(own),
            "in_force": _sum(day.in_force for day in own),
            "tried": _sum(day.tried for day in own),
            **{
                what: sum(getattr(day, what) for day in own)
                for what in ("added", "dropped", "other_action", "unexplained")
            },
            "categories": {
                category: (before[category], categories[category]) for category in sorted(before | categories)
            },
        }
    return found


def _sum(sides: Iterator[Side]) -> dict[str, Any]:
    own = list(sides)
    listed = sum(side.listed for side in own)
    right = sum(side.by_scores * side.listed for side in own if side.by_scores is not None)
    return {"listed": listed, "by_scores": round(right / listed, 4) if listed else None}


def policy_facts(file: Path) -> dict[str, Any]:
    """Returns what a sound policy says, as plain data.

    Raises:
        BadInputError: It is not sound.
    """
    policy = load_policy(file)
    return {
        "file": str(file),
        "digest": policy.digest,
        **policy.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def render_policy(facts: Mapping[str, Any]) -> str:
    """Returns in words that a policy is sound, and its terms in the order in which they are tried."""
    lines = [f"{visible(facts['file'])} is sound: {facts['digest'][:12]}."]
    for at, term in enumerate(facts["terms"], start=1):
        lines += wrap(", ".join(f"{name} {shorten(value)}" for name, value in term.items()), f"  {at}. ")
    return "\n".join(lines)


def render_trial(trial: Trial) -> str:
    """Returns what came of trying a policy, a line a list and date, then by category and by term."""
    lines = [
        (
            f"{shorten(trial.file.name)} ({trial.digest[:12]}) compared with the policy in force ({trial.digest_in_force[:12]}), "
            f"{trial.first} to {trial.last}. Left of the bar is the policy in force."
        ),
        f"{'as of':10}  {'list':18}  {'rated':>9}  {'listed':>15}  {'added':>6}  {'dropped':>7}  by scores      by bands",
    ]
    lines += [_line(str(day.as_of), day.list_name, f"{day.rated:,}", _plain(day)) for day in trial.days]
    sums = totals(trial.days)
    lines += [_line("all dates", name, "", found) for name, found in sums.items()]
    lines.append(
        "By scores: the precision to expect of what is listed, by its calibrated scores; by bands: by what verdicts found in its "
        "bands of score, where enough did."
    )
    for name, found in sums.items():
        lines += _category_lines(name, found["categories"])
    lines += _term_lines(trial.days)
    lines += [
        f"{day.list_name} as of {day.as_of} would be refused: {day.tried.refusal}."
        for day in trial.days
        if day.tried.refusal
    ]
    for name, found in sums.items():
        if found["other_action"]:
            lines.append(f"{name}: {found['other_action']:,} rows stay, for another action.")
        if found["unexplained"]:
            lines.append(
                f"{name}: {found['unexplained']:,} rows are held for want of signals only since nobody explained them then."
            )
    others = [f"{day.list_name} {day.as_of}" for day in trial.days if day.is_policy_of_now is False]
    if others:
        lines.append(f"Published then under another policy than that of now: {', '.join(others)}.")
    if trial.not_rated:
        lines.append(f"Not rated: {', '.join(map(str, trial.not_rated))}.")
    lines += [f"Not tried: {said}" for said in trial.not_tried]
    return "\n".join(lines)


def _plain(day: Tried) -> dict[str, Any]:
    return {"in_force": asdict(day.in_force), "tried": asdict(day.tried), "added": day.added, "dropped": day.dropped}


def _line(date: str, name: str, rated: str, found: Mapping[str, Any]) -> str:
    before, after = found["in_force"], found["tried"]
    expected = [
        " | ".join(f"{side[kind]:.3f}" if side.get(kind) is not None else "-    " for side in (before, after))
        for kind in ("by_scores", "by_bands")
    ]
    return (
        f"{date:10}  {name:18}  {rated:>9}  {before['listed']:>6,} | {after['listed']:<6,}  {found['added']:>6,}  "
        f"{found['dropped']:>7,}  {expected[0]}  {expected[1]}"
    ).rstrip()


def _category_lines(name: str, categories: Mapping[str, tuple[int, int]]) -> list[str]:
    moved = sorted(categories.items(), key=lambda item: (-abs(item[1][1] - item[1][0]), -max(item[1]), item[0]))
    shown = moved[:CATEGORIES_SHOWN]
    lines = [f"{name}, rows by category, what moves most first"] if shown else []
    lines += [f"  {pad(category or 'none', 30)} {before:>6,} | {after:<6,}" for category, (before, after) in shown]
    left = len(moved) - len(shown)
    return [*lines, f"  and {left} more"] if left else lines


def _term_lines(days: Sequence[Tried]) -> list[str]:
    """Returns what each term of the tried policy decides on, summed over all dates; its thresholds are those of the last date."""
    lines = []
    for name in dict.fromkeys(day.list_name for day in days):
        own = [day for day in days if day.list_name == name]
        if own[-1].tried.terms:
            lines.append(f"{name}, by the terms of the tried policy")
        for at, term in enumerate(own[-1].tried.terms):
            counts = [sum(day.tried.terms[at][what] for day in own) for what in ("rated", "flagged", "listed")]
            told = "decides on {:,} rows, flags {:,}, lists {:,}".format(*counts)
            lines += wrap(
                f"{shorten(term['says'], MOST_SENTENCE_COLUMNS)}: {told}",
                f"  {term['term']}. ",
                width=LONG_LINE_COLUMNS,
            )
    return lines
