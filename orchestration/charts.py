"""Pictures of what gates judge and what lists hold, as PNG bytes. Those of models are in `ml/plots.py`.

`markdown` is how Dagster shows one: inline in a check's description, one click away in an asset's metadata. A file that a
gate has refused may be of any shape: where it lacks what would be drawn, there is no picture, and the gate's message says why.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from ml.plots import new_axes, png

NOW, BEFORE, LIMIT = "#33658a", "#b8c4cf", "#c1121f"
EDGES = range(0, 105, 5)  # of the bands of score that are counted
TABLES_SHOWN, FEATURES_SHOWN = 8, 8
WIDTH, HEIGHT = 7.2, 2.2  # a check's page shows so much without a click
OPENS_A_PICTURE = "\n\n!["


def markdown(picture: bytes, title: str) -> str:
    """Returns Markdown that contains a picture itself."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture).decode()})"


def picture_metadata(picture: bytes | None, title: str) -> dg.MetadataValue[Any]:
    """Returns a picture as metadata of an asset, or that there was nothing to draw."""
    return (
        dg.MetadataValue.text("nothing to draw") if picture is None else dg.MetadataValue.md(markdown(picture, title))
    )


def with_picture(text: str, picture: bytes | None, title: str) -> str:
    """Returns Markdown: a text and, below it, a picture if there is one; see `text_of`."""
    return text if picture is None else f"{text}\n\n{markdown(picture, title)}"


def text_of(description: str) -> str:
    """Returns the text of a description that `with_picture` made."""
    return description.partition(OPENS_A_PICTURE)[0]


def loads(rows: Sequence[Mapping[str, Any]], ages: Mapping[str, int], *, failed: AbstractSet[str]) -> bytes:
    """Draws the loads in use, those that failed and then the largest: their rows, and the age of their newest event.

    Args:
        rows: `table_name`, `row_count`, `previous_row_count` (of the full load before) and `max_age_days` of each load in use.
        ages: Days from the newest event to the day that is rated, by table.
        failed: The tables of which an expectation did not hold.
    """
    order = sorted(rows, key=lambda row: (row["table_name"] not in failed, -row["row_count"], row["table_name"]))
    shown = order[:TABLES_SHOWN][::-1]
    names = [row["table_name"] for row in shown]
    colours = {name: LIMIT if name in failed else NOW for name in names}
    figure, axes = new_axes("", "", "", WIDTH, HEIGHT)
    axes.remove()
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(names, [row["row_count"] for row in shown], height=0.7, color=list(colours.values()))
    left.set_title("Rows", fontsize=9)
    before = [(row["previous_row_count"], row["table_name"]) for row in shown if row["previous_row_count"]]
    if before:
        left.plot(*zip(*before, strict=True), "|", color="black", markersize=9)
        left.set_title("Rows (black: in the full load before)", fontsize=9)
    _count_in_powers_of_ten(left.xaxis, left.set_xscale)
    left.set_xlim(left=0)
    known = [name for name in names if name in ages]
    right.barh(known, [ages[name] for name in known], height=0.7, color=[colours[name] for name in known])
    if known:
        allowed = {row["table_name"]: row["max_age_days"] for row in shown}
        right.plot([allowed[name] for name in known], known, "|", color=LIMIT, markersize=9)
    right.set_title("Days since the newest event (red: allowed)", fontsize=9)
    for panel in (left, right):
        panel.grid(axis="x", alpha=0.25)
        panel.tick_params(labelsize=7)
    return png(figure)


def scores(now: Path, before: Path | None, *, threshold: float, entities: str) -> bytes | None:
    """Draws how many entities have which score, with those of the date before and the threshold.

    Args:
        now: Parquet file with a column `score`.
        before: The same of the date before, where there is one.
        threshold: The score from which an entity may be flagged.
        entities: What is rated.
    """
    counts, counts_before = _score_counts(now), _score_counts(before) if before else None
    if counts is None:
        return None
    figure, axes = _score_axes(f"Scores of {entities}", entities, counts, NOW)
    if counts_before is not None:
        axes.stairs(counts_before, EDGES, color="black", linewidth=1.2, label="the date before")
    _mark_threshold(axes, threshold)
    return png(figure)


def listed(candidate: Path, rated: Path, *, threshold: float, entities: str) -> bytes | None:
    """Draws how many entities are rated and how many of them a list holds, by score.

    Args:
        candidate: Parquet file of the list.
        rated: Parquet file of all that is rated.
        threshold: The score from which an entity may be flagged.
        entities: What is rated.
    """
    on_list, counts = _score_counts(candidate), _score_counts(rated)
    if on_list is None or counts is None:
        return None
    figure, axes = _score_axes(f"{entities.capitalize()} on the list, by score", entities, counts, BEFORE)
    axes.stairs(on_list, EDGES, fill=True, color=LIMIT, label="on the list")
    _mark_threshold(axes, threshold)
    return png(figure)


def known_shares(now: Path, before: Path | None) -> bytes | None:
    """Draws for which share of entities a feature is known, for the features that lost most since the date before.

    Args:
        now: Parquet file with a column a feature.
        before: The same of the date before, where there is one.
    """
    shares, earlier = _known_shares(now), _known_shares(before) if before else {}
    if not shares:
        return None
    ordered = sorted(shares, key=lambda name: (shares[name] - earlier.get(name, shares[name]), shares[name], name))
    names = ordered[:FEATURES_SHOWN][::-1]
    marked = [name for name in names if name in earlier]
    title = "Share of entities that have a feature, where it fell most (black: the date before)"
    figure, axes = new_axes(title if marked else "Features that fewest entities have", "", "", WIDTH, HEIGHT)
    axes.barh(names, [shares[name] for name in names], color=NOW, height=0.7)
    if marked:
        axes.plot([earlier[name] for name in marked], marked, "|", color="black", markersize=9)
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=7)
    return png(figure)


def drift(indices: Mapping[str, Mapping[str, float]], *, warn: float) -> bytes | None:
    """Draws what has moved most since the model's cut, over days, with the index from which the gate warns.

    Args:
        indices: Population stability index by feature and day.
        warn: The policy's limit.
    """
    if not indices:
        return None
    figure, axes = new_axes(
        "What has moved most since the model's cut (population stability index)", "", "", WIDTH, HEIGHT
    )
    days = sorted({day for by_day in indices.values() for day in by_day})
    for name, by_day in indices.items():
        axes.plot([days.index(day) for day in by_day], list(by_day.values()), marker="o", markersize=3, label=name)
    axes.axhline(warn, color=LIMIT, linewidth=1.2, linestyle="--", label=f"warns from {warn:g}")
    shown = range(0, len(days), max(1, len(days) // 6))
    axes.set_xticks(shown, [days[index] for index in shown])
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6, ncols=2)
    return png(figure)


def versions(rows: Mapping[str, int], list_name: str) -> bytes:
    """Draws how long the published list of each day is.

    Args:
        rows: The number of rows by day.
        list_name: The list.
    """
    figure, axes = new_axes(f"Rows of the published list of {list_name}, by day", "", "rows", WIDTH, HEIGHT)
    axes.bar(range(len(rows)), [rows[day] for day in sorted(rows)], color=NOW, width=0.6)
    axes.set_xticks(range(len(rows)), sorted(rows), rotation=30, ha="right")
    axes.set_xlim(-0.6, max(len(rows), 6) - 0.4)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=7)
    return png(figure)


def _score_axes(title: str, entities: str, counts: Sequence[int], colour: str) -> tuple[Any, Any]:
    figure, axes = new_axes(title, "score", entities, WIDTH, HEIGHT)
    axes.stairs(counts, EDGES, fill=True, color=colour, label="rated")
    _count_in_powers_of_ten(axes.yaxis, axes.set_yscale)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, 100)
    axes.tick_params(labelsize=7)
    return figure, axes


def _count_in_powers_of_ten(axis: Any, set_scale: Any) -> None:
    set_scale("symlog", linthresh=1)
    axis.set_major_formatter(lambda count, _: f"{count:,.0f}")


def _mark_threshold(axes: Any, threshold: float) -> None:
    axes.axvline(threshold, color=LIMIT, linewidth=1.2, linestyle="--", label=f"threshold {threshold:.1f}")
    axes.legend(fontsize=7)


def _score_counts(file: Path) -> list[int] | None:
    """Returns the number of rows in each band of score, what lies outside 0 to 100 counted at the ends."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.sql(
            "select * from read_parquet($file, hive_partitioning = false)", params={"file": str(file)}
        )
        if "score" not in rows.columns:
            return None
        counted = connection.execute(
            "with scores as (select try_cast(score as double) as score from rows) "
            "select cast(greatest(0, least(?, floor(score / ?))) as integer) as band, count(*) "
            "from scores where isfinite(score) group by band",
            [len(EDGES) - 2, EDGES[1]],
        ).fetchall()
    counts = dict(counted)
    return [counts.get(band, 0) for band in range(len(EDGES) - 1)]


def _known_shares(file: Path) -> dict[str, float]:
    """Returns the share of rows for which a column is known, by column; nothing for a file without rows."""
    with duckdb.connect(":memory:") as connection:
        return dict(
            connection.execute(
                "with t as (from read_parquet(?, hive_partitioning = false)), "
                "counts as (unpivot (select count(columns(*)) from t) on columns(*) into name feature value known) "
                "select feature, known / total from counts cross join (select count(*) as total from t) where total > 0",
                [str(file)],
            ).fetchall()
        )
