"""The command `touchstone evaluate`: trains and evaluates the models on a labelled table of the user.

This module has the options and the output. How a table is split, trained on and evaluated is in `ml/table_evaluation.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from touchstone.cli.common import Json, print_message, print_result, settings_of_command
from touchstone.cli.tables import render_table
from touchstone.core.errors import BadInputError
from touchstone.core.files import canonical_json, sha256_file
from touchstone.core.home import ensure_schema, home_lock
from touchstone.core.settings import Settings
from touchstone.core.text import shorten, visible, wrap

if TYPE_CHECKING:
    from ml.labelled_table import Roles, Table
    from ml.table_evaluation import Cut, Findings

METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "f1": "F1 at the threshold",
    "precision_at_k": "precision at k",
    "calibration_slope": "calibration slope",
    "brier_skill": "Brier skill",
}
MEANING = "Mean over the splits ± standard deviation; in brackets a 95 % bootstrap interval over test rows."
RATED_NAMES = {"blend": "Touchstone", "prevalence": "prevalence", "logistic_regression": "logistic regression"}


@dataclass(frozen=True)
class EvaluationOptions:
    """The options of an evaluation.

    Attributes:
        table: The file of the table.
        roles: The roles of the columns.
        splits: A file of splits; None for the split column or random splits.
        test_size: The share of test rows of random splits.
        seeds: The number of random seeds.
        edges: A file of edges; None for none.
        hops: The maximum distance along edges.
        trials: The number of hyperparameter candidates.
        with_baseline: Also evaluate the prevalence and a logistic regression.
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
        """Raises BadInputError if options conflict or are out of range."""
        if self.splits is not None and self.roles.split is not None:
            raise BadInputError("--split and --splits conflict. Give one of them.")
        for option, file in (("--splits", self.splits), ("--edges", self.edges)):
            if file is not None and self.roles.id is None:
                raise BadInputError(f"{option} refers to rows by id. Name the id column: --id COLUMN.")
        if not 0 < self.test_size < 1:
            raise BadInputError(f"--test-size {self.test_size:g}: not a share between 0 and 1. Write it as 0.2.")
        for option, number, minimum in (
            ("--seeds", self.seeds, 1),
            ("--hops", self.hops, 1),
            ("--trials", self.trials, 0),
        ):
            if number < minimum:
                raise BadInputError(f"{option} {number}: too small. The minimum is {minimum}.")


def measure_table(
    settings: Settings, options: EvaluationOptions, progress: Callable[[str], None] = lambda _: None
) -> tuple[Findings, str]:
    """Trains and evaluates the models on a table, and logs the results to MLflow.

    Args:
        settings: The settings; the run is logged into their home.
        options: The options.
        progress: Called with a line for each split.

    Returns:
        The results, and their location in MLflow's UI, relative to its address.

    Raises:
        BadInputError: A file or an option is wrong; nothing is logged.
    """
    from ml.labelled_table import read_edges, read_table
    from ml.table_evaluation import build_inputs, evaluate_table

    options.check()
    table = read_table(options.table, options.roles)
    cuts = _cuts(options, table)
    edges, nowhere = ({}, 0) if options.edges is None else read_edges(options.edges, table)
    warnings = []
    if nowhere:
        warnings.append(f"{nowhere:,} edges of {options.edges} are ignored: neither end is an id of the table.")
    inputs = build_inputs(table, edges, options.hops)
    progress(
        f"{len(table):,} rows, {int(table.label.sum()):,} of them positive ("
        f"{shorten(options.roles.label)} = {shorten(table.positive)}), "
        f"{len(inputs.names) + len(inputs.categories):,} features, {len(cuts)} cuts"
    )
    findings = evaluate_table(
        table,
        inputs,
        cuts,
        trials=options.trials,
        with_baseline=options.with_baseline,
        warnings=warnings,
        progress=progress,
    )
    return findings, _log(settings, options, findings)


def _cuts(options: EvaluationOptions, table: Table) -> list[Cut]:
    from ml.labelled_table import read_splits
    from ml.table_evaluation import random_splits, splits_by_column

    seeds = list(range(options.seeds))
    if options.splits is not None:
        return splits_by_column(table, read_splits(options.splits, table, str(options.roles.id)), seeds)
    if table.split is not None:
        return splits_by_column(table, {str(options.roles.split): table.split}, seeds)
    return random_splits(table, options.test_size, seeds)


def _log(settings: Settings, options: EvaluationOptions, findings: Findings) -> str:
    from ml.mlflow_client import MlflowConnection
    from ml.plots import table_pictures
    from ml.run_log import RunLog
    from ml.table_evaluation import pooled

    results = findings.as_dict()
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
    first = findings.measured[0]
    files = {
        "evaluation.json": canonical_json(results),
        "cuts.json": canonical_json([one.as_dict() for one in findings.measured]),
        "chosen.json": canonical_json([_chosen(one.cut.name, one.blend) for one in findings.measured]),
        **table_pictures(pooled(findings), 100.0 * first.blend.threshold),
    }  # fmt: skip
    parameters = {
        "label": options.roles.label,
        "rows": findings.rows,
        "positives": findings.positives,
        "cuts": len(findings.measured),
        "trials": options.trials,
        "edges": options.edges.name if options.edges else "none",
        "hops": options.hops if options.edges else 0,
    }
    ensure_schema(settings)
    with home_lock(settings, "touchstone evaluate"):
        return RunLog(MlflowConnection(settings.home)).log_evaluation(
            options.table.name,
            describe(results, options.roles.label),
            files,
            metrics,
            parameters,
            sha256_file(options.table),
        )


def _chosen(cut: str, blend: Any) -> dict[str, Any]:
    return {
        "cut": cut,
        "trials": [trial.as_dict() for trial in blend.trials],
        "text share": blend.text_share,
        "linear share": blend.linear_share,
        "neighbours' share": blend.neighbour_share,
        "calibration": blend.calibration.as_dict(),
        "threshold": blend.threshold,
    }


def render_evaluation(results: Mapping[str, Any], address: str) -> str:
    """Returns the results as text: one table, and warnings about possible leakage."""
    lines = [f"{results['rows']:,} rows, {results['positives']:,} positive", ""]
    headers, body = _comparison(results)
    lines += render_table(headers, body)
    lines += ["", MEANING]
    lines += ["\n" + "\n".join(wrap(f"Warning: {warning}", "")) for warning in results["warnings"]]
    lines += ["", f"In MLflow: {address}   (after `touchstone ui`)"]
    return "\n".join(lines)


def describe(results: Mapping[str, Any], label: str) -> str:
    """Returns the results as Markdown, for the run's page in MLflow."""
    from ml.card import table

    first, second = (
        f"{METRIC_NAMES[name]} {_format_metric(results['metrics'][name])}" for name in ("average_precision", "auroc")
    )
    share = results["positives"] / results["rows"]
    headers, body = _comparison(results)
    opening = (
        f"{results['positives']:,} of {results['rows']:,} rows ({share:.1%}) positive by `{visible(label)}`. Touchstone ranks "
        f"them with {first} and {second}."
    )
    warnings = [f"**Warning:** {visible(warning)}" for warning in results["warnings"]]
    return "\n\n".join([opening, *warnings, table(headers, body), MEANING])


def _comparison(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the rows of the table that compares the models with the baselines."""
    rated = {"blend": results["metrics"], **results["baseline"]}
    body = [
        [label, *(_format_metric(summaries[metric]) for summaries in rated.values())]
        for metric, label in METRIC_NAMES.items()
    ]
    return ["", *(RATED_NAMES[name] for name in rated)], body


def _format_metric(summary: Mapping[str, float | None]) -> str:
    if summary["mean"] is None:
        return "none"
    spread = "" if summary["sd"] is None else f" ± {summary['sd']:.4f}"
    interval = "" if summary["low"] is None else f" ({summary['low']:.4f} to {summary['high']:.4f})"
    return f"{summary['mean']:.4f}{spread}{interval}"


def evaluate(  # noqa: PLR0917  typer passes them by name
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Labelled table, .parquet or .csv.")],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="Label column with two values.")],
    id_column: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="Id column; never a feature.")] = None,
    features: Annotated[str, typer.Option(metavar="a,b", help="Feature columns; default: all other columns.")] = "",
    drop: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Column to ignore; can be repeated.")] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Text column; can be repeated.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Group column; no group is split between training and test.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Time column; the latest rows become the test set.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with train, validation or test.")] = None,
    splits: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the id and one split column per split.")
    ] = None,
    test_size: Annotated[float, typer.Option(help="Share of test rows.")] = 0.2,
    seeds: Annotated[int, typer.Option(help="Number of random splits, or of seeds for a given split.")] = 5,
    edges: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Edges with columns src and dst, and optionally weight and type."),
    ] = None,
    hops: Annotated[int, typer.Option(help="Maximum distance along edges.")] = 2,
    trials: Annotated[int, typer.Option(help="Number of hyperparameter candidates; 0 for none.")] = 30,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also evaluate the prevalence and a logistic regression.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Trains and evaluates the models on a labelled table of your own.

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
    options = EvaluationOptions(table, roles, splits, test_size, seeds, edges, hops, trials, baseline)
    findings, address = measure_table(settings_of_command(), options, print_message)
    results = findings.as_dict()
    print_result(results, as_json, lambda: render_evaluation(results, address))


def _names(given: list[str] | None) -> tuple[str, ...]:
    """Returns the column names of an option that can be repeated or comma-separated."""
    return tuple(name.strip() for each in given or () for name in each.split(",") if name.strip())
