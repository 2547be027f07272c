"""`touchstone evaluate`: trains and evaluates a model on the user's own labelled table.

This module has the options and the output of the command. Splitting, training and metrics are in `ml/table_evaluation.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import Json, print_message, print_result, settings_of_command
from touchstone.core.errors import BadInputError
from touchstone.core.files import canonical_json, sha256_file
from touchstone.core.home import ensure_schema, home_lock
from touchstone.core.settings import Settings
from touchstone.core.text import shorten, visible, wrap

if TYPE_CHECKING:
    from ml.labelled_table import Roles, Table
    from ml.table_evaluation import Findings, Split

METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "f1": "F1 at the threshold",
    "precision_at_k": "precision at k",
    "calibration_slope": "calibration slope",
    "brier_skill": "Brier skill",
}
MEANING = "Mean over the splits, ± standard deviation; in brackets a 95 % bootstrap interval over test rows."
MODEL_NAMES = {"ensemble": "Touchstone", "prevalence": "prevalence", "logistic_regression": "logistic regression"}


@dataclass(frozen=True)
class Wanted:
    """The options of the command.

    Attributes:
        table: The table's file.
        roles: The roles of the columns.
        splits: A file of splits; None for the split column or for random splits.
        test_size: The share of test rows in random splits.
        seeds: Number of seeds.
        edges: A file of edges; None for none.
        hops: Number of hops that are followed.
        trials: Number of candidates of the parameter search.
        with_baseline: Whether to compare with the prevalence and a logistic regression.
    """

    table: Path
    roles: Roles
    splits: Path | None = None
    test_size: float = 0.2
    seeds: int = 5
    edges: Path | None = None
    hops: int = 2
    trials: int = 30
    with_baseline: bool = False

    def check(self) -> None:
        """Raises BadInputError if options are invalid or exclude each other."""
        if self.splits is not None and self.roles.split is not None:
            raise BadInputError("--split and --splits both define the splits. Give one of them.")
        for option, file in (("--splits", self.splits), ("--edges", self.edges)):
            if file is not None and self.roles.id is None:
                raise BadInputError(f"{option} refers to rows by their id. Name the column: --id COLUMN.")
        if not 0 < self.test_size < 1:
            raise BadInputError(f"--test-size {self.test_size:g}: a share between 0 and 1, such as 0.2.")
        for option, number, least in (
            ("--seeds", self.seeds, 1),
            ("--hops", self.hops, 1),
            ("--trials", self.trials, 0),
        ):
            if number < least:
                raise BadInputError(f"{option} {number}: a whole number from {least} on.")


def measure_table(
    settings: Settings, wanted: Wanted, progress: Callable[[str], None] = lambda _: None
) -> tuple[Findings, str]:
    """Evaluates our models on a table and logs the results to MLflow.

    Args:
        settings: The settings; the run is logged into their home.
        wanted: The options.
        progress: Called with a line per split.

    Returns:
        The results, and the path of the run in MLflow's UI.

    Raises:
        BadInputError: A file or an option is wrong; nothing is logged.
    """
    from ml.labelled_table import read_edges, read_table
    from ml.table_evaluation import build_inputs, evaluate_table

    wanted.check()
    table = read_table(wanted.table, wanted.roles)
    splits = _splits(wanted, table)
    edges, nowhere = ({}, 0) if wanted.edges is None else read_edges(wanted.edges, table)
    warnings = []
    if nowhere:
        warnings.append(
            f"{nowhere:,} edges of {wanted.edges} have no end that is an id of the table: they are ignored."
        )
    inputs = build_inputs(table, edges, wanted.hops)
    progress(
        f"{len(table):,} rows, {int(table.label.sum()):,} of them positive ("
        f"{shorten(wanted.roles.label)} = {shorten(table.positive)}), "
        f"{len(inputs.names) + len(inputs.categories):,} features, {len(splits)} splits"
    )
    found = evaluate_table(
        table,
        inputs,
        splits,
        trials=wanted.trials,
        with_baseline=wanted.with_baseline,
        warnings=warnings,
        progress=progress,
    )
    return found, _log(settings, wanted, found)


def _splits(wanted: Wanted, table: Table) -> list[Split]:
    from ml.labelled_table import read_splits
    from ml.table_evaluation import random_splits, splits_by_column

    seeds = list(range(wanted.seeds))
    if wanted.splits is not None:
        return splits_by_column(table, read_splits(wanted.splits, table, str(wanted.roles.id)), seeds)
    if table.split is not None:
        return splits_by_column(table, {str(wanted.roles.split): table.split}, seeds)
    return random_splits(table, wanted.test_size, seeds)


def _log(settings: Settings, wanted: Wanted, found: Findings) -> str:
    from ml.mlflow_client import MlflowConnection
    from ml.plots import table_pictures
    from ml.run_log import RunLog
    from ml.table_evaluation import pooled

    results = found.as_dict()
    metrics = {
        f"{prefix}{metric}{'' if which == 'mean' else f'_{which}'}": value
        for prefix, rated in {
            "": results["metrics"],
            **{f"{name}_": each for name, each in results["baseline"].items()},
        }.items()
        for metric, summary in rated.items()
        for which, value in summary.items()
        if value is not None
    }
    first = found.measured[0]
    files = {
        "evaluation.json": canonical_json(results),
        "splits.json": canonical_json([one.as_dict() for one in found.measured]),
        "ensembles.json": canonical_json([_ensemble_facts(one.split.name, one.ensemble) for one in found.measured]),
        **table_pictures(pooled(found), 100.0 * first.ensemble.threshold),
    }  # fmt: skip
    parameters = {
        "label": wanted.roles.label,
        "rows": found.rows,
        "positives": found.positives,
        "splits": len(found.measured),
        "trials": wanted.trials,
        "edges": wanted.edges.name if wanted.edges else "none",
        "hops": wanted.hops if wanted.edges else 0,
    }
    ensure_schema(settings)
    with home_lock(settings, "touchstone evaluate"):
        return RunLog(MlflowConnection(settings.home)).log_evaluation(
            wanted.table.name,
            describe(results, wanted.roles.label),
            files,
            metrics,
            parameters,
            sha256_file(wanted.table),
        )


def _ensemble_facts(split: str, ensemble: Any) -> dict[str, Any]:
    return {
        "split": split,
        "candidates": [candidate.as_dict() for candidate in ensemble.candidates],
        "text_weight": ensemble.text_weight,
        "linear_weight": ensemble.linear_weight,
        "neighbour_weight": ensemble.neighbour_weight,
        "calibration": ensemble.calibration.as_dict(),
        "threshold": ensemble.threshold,
    }


def render(results: Mapping[str, Any], address: str) -> str:
    """Returns the results for a terminal: one table, and warnings."""
    lines = [f"{results['rows']:,} rows, {results['positives']:,} positive", ""]
    heads, body = _compared(results)
    lines += _columns([heads, *body])
    lines += ["", MEANING]
    lines += ["\n" + "\n".join(wrap(f"Warning: {warning}", "")) for warning in results["warnings"]]
    lines += ["", f"In MLflow: {address}   (after `touchstone ui`)"]
    return "\n".join(lines)


def describe(results: Mapping[str, Any], label: str) -> str:
    """Returns the results as Markdown, for the run's page in MLflow."""
    from ml.card import table

    first, second = (
        f"{METRIC_NAMES[name]} {_figure(results['metrics'][name])}" for name in ("average_precision", "auroc")
    )
    share = results["positives"] / results["rows"]
    heads, body = _compared(results)
    opening = (
        f"{results['positives']:,} of {results['rows']:,} rows ({share:.1%}) are positive by `{visible(label)}`; our models "
        f"rank them with {first} and {second}."
    )
    warnings = [f"**Warning:** {visible(warning)}" for warning in results["warnings"]]
    return "\n\n".join([opening, *warnings, table(heads, body), MEANING])


def _compared(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Returns heads and rows of the table that compares our models with the baselines."""
    rated = {"ensemble": results["metrics"], **results["baseline"]}
    body = [
        [name, *(_figure(summaries[metric]) for summaries in rated.values())] for metric, name in METRIC_NAMES.items()
    ]
    return ["", *(MODEL_NAMES[name] for name in rated)], body


def _figure(summary: Mapping[str, float | None]) -> str:
    if summary["mean"] is None:
        return "none"
    spread = "" if summary["sd"] is None else f" ± {summary['sd']:.4f}"
    interval = "" if summary["low"] is None else f" ({summary['low']:.4f} to {summary['high']:.4f})"
    return f"{summary['mean']:.4f}{spread}{interval}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def evaluate(  # noqa: PLR0917  typer passes them by name
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A labelled table, .parquet or .csv.")],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The label, with two values.")],
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="The id of a row; never a feature.")
    ] = None,
    features: Annotated[str, typer.Option(metavar="a,b", help="The features; by default all other columns.")] = "",
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column to ignore; may be repeated.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="A text column; may be repeated.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Rows of one group stay on one side of a split.")
    ] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="The time of a row: the latest rows test.")] = None,
    split: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="A column with train, validation or test.")
    ] = None,
    splits: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the id and one such column per split.")
    ] = None,
    test_size: Annotated[float, typer.Option(help="The share of test rows.")] = 0.2,
    seeds: Annotated[int, typer.Option(help="Number of random splits, or of seeds for a given split.")] = 5,
    edges: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with columns src and dst, optionally weight and type.")
    ] = None,
    hops: Annotated[int, typer.Option(help="Number of hops along edges.")] = 2,
    trials: Annotated[int, typer.Option(help="Number of candidates of the parameter search; 0 for none.")] = 30,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Compare with the prevalence and a logistic regression.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Trains and evaluates our models on your own labelled table.

    Example: touchstone evaluate reviews.csv --label fake --id review_id --text body --group author --baseline
    """
    from ml.labelled_table import Roles

    roles = Roles(
        label=label,
        id=id_column,
        group=group,
        time=time,
        split=split,
        texts=_names(text),
        features=tuple(_names([features])) or None,
        drop=_names(drop),
    )
    wanted = Wanted(table, roles, splits, test_size, seeds, edges, hops, trials, baseline)
    found, address = measure_table(settings_of_command(), wanted, print_message)
    results = found.as_dict()
    print_result(results, as_json, lambda: render(results, address))


def _names(given: list[str] | None) -> tuple[str, ...]:
    """Returns the names of an option that may be repeated or comma-separated."""
    return tuple(name.strip() for each in given or () for name in each.split(",") if name.strip())
