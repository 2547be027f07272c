"""The charts of the outcomes report, drawn from its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ml.plots import new_axes, png
from touchstone.core.lists import LISTS

STAGES: Final = ("flagged", "reviewed", "confirmed", "handed_over", "acted_on", "suspects_named")


def draw_charts(tables: Mapping[str, Any]) -> dict[str, bytes]:
    """Draws the charts of a report; a table without rows has none.

    Args:
        tables: `columns` and `rows` by the table's name, as `reports.compose` returns them.

    Returns:
        PNG bytes by name.
    """
    drawings: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
        "lists_by_day": _draw_lists,
        "notices_by_month": _draw_notices,
        "overturn_rates": _draw_appeals,
        "funnel": _draw_funnel,
        "enforcement_by_month": _draw_enforcement,
    }
    records = {
        name: [dict(zip(tables[name]["columns"], row, strict=True)) for row in tables[name]["rows"]]
        for name in drawings
    }
    return {
        name.partition("_")[0].replace("overturn", "appeals"): draw(records[name])
        for name, draw in drawings.items()
        if records[name]
    }


def _draw_lists(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("Rows of the lists, by day")
    days = sorted({row["as_of_date"] for row in rows})
    for name in LISTS:
        counts = {row["as_of_date"]: row["row_count"] for row in rows if row["list_name"] == name}
        axes.plot([days.index(day) for day in counts], list(counts.values()), marker="o", markersize=3, label=name)
    shown = range(0, len(days), max(1, len(days) // 6))
    axes.set_xticks(shown, [days[index] for index in shown])
    axes.set_ylim(bottom=0)
    return _finished(figure, axes)


def _draw_notices(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("Notices by month of submission")
    below = [0] * len(rows)
    for name in ("upheld", "rejected", "pending"):
        height = [row[f"{name}_count"] for row in rows]
        axes.bar([row["month_date"][:7] for row in rows], height, bottom=below, width=0.6, label=name)
        below = [bottom + top for bottom, top in zip(below, height, strict=True)]
    return _finished(figure, axes)


def _draw_appeals(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("Appeals: decided and upheld")
    names = [row["value"][:12] if row["grouped_by"] == "policy" else row["value"] for row in rows]
    labels = [
        f"{row['grouped_by']}: {name}" if row["grouped_by"] != "all" else "all"
        for row, name in zip(rows, names, strict=True)
    ]
    axes.barh(labels[::-1], [row["decided_count"] for row in rows][::-1], color="#b8c4cf", height=0.7, label="decided")
    axes.barh(labels[::-1], [row["upheld_count"] for row in rows][::-1], color="#c1121f", height=0.4, label="upheld")
    return _finished(figure, axes)


def _draw_funnel(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("From flag to suspects (counterfeiting)")
    for index, kind in enumerate(("listing", "merchant", "lead")):
        counts = {
            row["stage"]: row["entity_count"]
            for row in rows
            if (row["violation_type"], row["entity_kind"]) == ("counterfeit", kind)
        }
        places = [len(STAGES) - number - 0.27 * index for number in range(len(STAGES))]
        axes.barh(places, [counts.get(stage, 0) for stage in STAGES], height=0.25, label=f"{kind}s")
    axes.set_yticks(
        [len(STAGES) - number - 0.27 for number in range(len(STAGES))], [stage.replace("_", " ") for stage in STAGES]
    )
    return _finished(figure, axes)


def _draw_enforcement(rows: list[dict[str, Any]]) -> bytes:
    figure, axes = _axes("Seized by month, base currency")
    months = sorted({row["month_date"][:7] for row in rows})
    below = [0.0] * len(months)
    for authority in sorted({row["authority"] or "unknown" for row in rows}):
        values = {
            row["month_date"][:7]: row["seized_value_base"]
            for row in rows
            if (row["authority"] or "unknown") == authority
        }
        height = [values.get(month, 0.0) for month in months]
        axes.bar(months, height, bottom=below, width=0.6, label=authority)
        below = [bottom + top for bottom, top in zip(below, height, strict=True)]
    return _finished(figure, axes)


def _axes(title: str) -> tuple[Any, Any]:
    return new_axes(title, "", "", 7.2, 2.4)


def _finished(figure: Any, axes: Any) -> bytes:
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
    return png(figure)
