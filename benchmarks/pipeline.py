"""Times the whole pipeline on a demo marketplace of a given scale, stage by stage.

    make bench SCALE=1
    python benchmarks/pipeline.py --scale 0.1 --new-day

Prints one JSON object and keeps it, with a plot, below benchmarks/results/. Generation runs in a process of its own, so
that its memory does not count. `--new-day` then measures a day that comes on top: the same marketplace as it was known a
day before (rows and columns that came later taken away by the contract's `known_at`) is landed, shaped and rated from
nothing with the models there are, and the last day after it. What was measured, and on what, is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from expectations.contract import load_contract

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results")
LAST_DAY = date(2026, 6, 30)
DAILY_TABLES = ("int_order_days", "int_review_days", "int_sighting_days", "int_case_days", "int_merchant_days")
SUMS_OF_LOADS = "int_load_days"
MADE_BY_RUNS = (
    *(
        "landing",
        "pinned",
        "signals",
        "features",
        "training",
        "scores",
        "reasons",
        "marts",
        "gates",
        "candidates",
        "dbt",
    ),
)


def touchstone(home: Path, *arguments: str, **environment: str) -> tuple[float, str]:
    """Runs one command over a home; returns its seconds and what it printed on stdout."""
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603  # our own command
        [str(Path(sys.executable).parent / "touchstone"), *arguments],
        env=os.environ | {"TOUCHSTONE_HOME": str(home)} | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 3}:
        raise SystemExit(f"touchstone {' '.join(arguments)} ended with {done.returncode}")
    return round(time.monotonic() - began, 1), done.stdout


def run(home: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """Runs the pipeline over a home and returns its figures: seconds, memory and bytes of the whole and of each stage."""
    seconds, output = touchstone(home, "run", "--json", *arguments, **environment)
    summary = json.loads(output)
    record = json.loads((home / "runs" / f"{summary['run_id']}.json").read_text())
    stages = {stage["name"]: stage for stage in record["stages"]}
    landing = stages["landing"]
    landed = sum(landing["rows"].values())
    for name, stage in stages.items():
        # Shape and the gate on what landed write no rows that count: what they read is what landed.
        rows = landed if name in {"landing", "gate landed", "shape"} else sum(stage["rows"].values())
        stage["rows_per_second"] = round(rows / stage["seconds"]) if rows and stage["seconds"] else None
        for nothing in ("name", "has_failed"):
            del stage[nothing]
    return {
        "exit_code": summary["exit_code"],
        "seconds": seconds,
        "seconds_from_landed_to_published": round(seconds - landing["seconds"], 1),
        "peak_memory_mib": record["peak_memory_mib"],
        "peak_memory_after_landing_mib": max(
            stage["peak_memory_mib"] for stage in stages.values() if stage is not landing
        ),
        "landed_rows": landed,
        "stages": stages,
    }


def seconds_of(figures: dict[str, Any], *models: str) -> float:
    """Returns how long some models of the shape took in a run."""
    steps: dict[str, float] = figures["stages"]["shape"]["steps"]
    return round(sum(steps.get(name, 0.0) for name in models), 2)


def seconds_without_training(figures: dict[str, Any]) -> float:
    """Returns the seconds of a run without its stages that train."""
    stages: dict[str, Any] = figures["stages"]
    trained = sum(stage["seconds"] for name, stage in stages.items() if name.startswith("train "))
    return round(figures["seconds"] - trained, 1)


def written_bytes(home: Path) -> dict[str, int]:
    """Returns the bytes below each folder of a home."""
    return {
        entry.name: sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
        if entry.is_dir()
        else entry.stat().st_size
        for entry in sorted(home.iterdir())
    }


def known_the_day_before(home: Path, target: Path) -> Path:
    """Writes the demo's sources as they were known at the end of the day before the last; returns their sources file."""
    cut = LAST_DAY - timedelta(days=1)
    sources = home / "marketplace" / "sources"
    (target / "sources").mkdir(parents=True)
    shutil.copy(home / "marketplace" / "sources.yml", target)
    shutil.copytree(home / "marketplace" / "pictures", target / "pictures", copy_function=os.link)
    contract = load_contract()
    with duckdb.connect(":memory:") as connection:
        for name in contract.in_landing_order():
            table, source = contract.tables[name], sources / f"{name}.parquet"
            if not source.exists():
                continue
            columns = [
                f'case when cast("{table.columns[column].known_at}" as date) <= $cut then "{column}" end as "{column}"'
                if table.columns[column].known_at
                else f'"{column}"'
                for column in connection.read_parquet(str(source)).columns
            ]
            known = [
                f'coalesce(cast("{table.event_at}" as date) <= $cut, true)' if table.event_at else "$cut is not null"
            ]
            # What has no time of its own is known with what it belongs to.
            known += [
                f"""\"{column}\" in (select "{kept[1]}" from read_parquet('{target}/sources/{kept[0]}.parquet'))"""
                for column, declared in table.columns.items()
                if table.event_at is None and declared.references
                for kept in [declared.references.split(".")]
            ]
            connection.execute(
                f"""copy (select {", ".join(columns)} from read_parquet('{source}') where {" and ".join(known)})
                to '{target}/sources/{name}.parquet' (format parquet)""",
                {"cut": cut},
            )
    return target / "sources.yml"


def new_day(home: Path) -> dict[str, Any]:
    """Returns the figures of a first run without generation and training, of the day after it, and how they compare."""
    sources = known_the_day_before(home, home / "the-day-before")
    for folder in MADE_BY_RUNS:
        shutil.rmtree(home / folder, ignore_errors=True)
    (home / "warehouse.duckdb").unlink()
    first = run(home, "--sources", str(sources), "--as-of", str(LAST_DAY - timedelta(days=1)))
    after = run(home, "--as-of", str(LAST_DAY))
    daily = [seconds_of(figures, *DAILY_TABLES) for figures in (first, after)]
    # The table of changed days is no daily table, but belongs to their cost.
    sums = [seconds_of(figures, SUMS_OF_LOADS) for figures in (first, after)]
    return {
        "first": first,
        "after": after,
        "daily_tables_seconds": {"first": daily[0], "after": daily[1]},
        "daily_tables_share": round(daily[1] / daily[0], 3),
        "sums_of_loads_seconds": {"first": sums[0], "after": sums[1]},
        "daily_tables_with_sums_share": round((daily[1] + sums[1]) / (daily[0] + sums[0]), 3),
        "run_share": round(after["seconds"] / first["seconds"], 3),
    }


def plot(figures: dict[str, Any], target: Path) -> None:
    """Draws seconds, peak memory and bytes written of each stage of the first run, as adjacent bars."""
    from matplotlib.figure import Figure

    stages = {name: stage for name, stage in figures["run"]["stages"].items() if stage["seconds"] >= 0.5}
    names = list(stages)[::-1]
    measures = {
        "seconds": [stages[name]["seconds"] for name in names],
        "peak memory, GiB": [stages[name]["peak_memory_mib"] / 1024 for name in names],
        "written, GiB": [(stages[name]["written_mib"] or 0) / 1024 for name in names],
    }
    figure = Figure(figsize=(11, 0.6 + 0.32 * len(names)), layout="constrained")
    for place, (axes, (measure, values)) in enumerate(zip(figure.subplots(1, 3), measures.items(), strict=True)):
        bars = axes.barh(names, values, color="#3b6ea5")
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axes.set_xlabel(measure)
        axes.margins(x=0.18)
        axes.spines[["top", "right"]].set_visible(False)
        if place:
            axes.set_yticklabels([])
    figure.savefig(target, dpi=110)


def main() -> None:
    """Parses the arguments, measures, and keeps and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--memory-limit", default="8GB", help="Memory that DuckDB may use.")
    parser.add_argument("--new-day", action="store_true", help="Also measure a day that comes on top.")
    parser.add_argument("--home", type=Path, help="Keep the home here instead of in a temporary folder.")
    arguments = parser.parse_args()
    os.environ["TOUCHSTONE_MEMORY_LIMIT"] = arguments.memory_limit
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder)
        generation = 0.0
        if not (home / "marketplace").exists():
            generation, _ = touchstone(home, "demo", "--scale", str(arguments.scale), "--seed", str(arguments.seed))
        figures = {
            "scale": arguments.scale,
            "seed": arguments.seed,
            "memory_limit": arguments.memory_limit,
            "cores": os.cpu_count(),
            "generation_seconds": generation,
            "run": run(home, "--approve-if-passing"),
            "bytes": written_bytes(home),
        }
        if arguments.new_day:
            figures["new_day"] = new_day(home)
            figures["new_day"]["run_share_of_a_first_run_without_training"] = round(
                figures["new_day"]["after"]["seconds"] / seconds_without_training(figures["run"]), 3
            )
    RESULTS.mkdir(exist_ok=True)
    name = f"scale-{arguments.scale:g}-{arguments.memory_limit}"
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    plot(figures, RESULTS / f"{name}.png")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
