"""`touchstone evaluate`: what our models are worth on a labelled table of somebody's own; read, measured, logged and told.

Here is what the command asks for and how its answer reads. How a table is cut, learned from and measured is in `ml/protocol.py`.
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
    from ml.protocol import Cut, Findings
    from ml.tables import Roles, Table

METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "f1": "F1 at the threshold",
    "precision_at_k": "precision at k",
    "calibration_slope": "calibration slope",
    "brier_skill": "Brier skill",
}
MEANING = "Mean over the cuts, ± their standard deviation; in brackets a 95 % interval from drawing test rows again."
RATED_NAMES = {"blend": "our models", "prevalence": "prevalence", "logistic_regression": "logistic regression"}


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        table: The table's file.
        roles: Which column is what.
        splits: A file of splits; None for the split column or for drawn ones.
        test_size: The share of rows that test, where they are drawn.
        seeds: How many seeds.
        edges: A file of edges; None for none.
        hops: How far they are followed.
        trials: How many sets of parameters are tried.
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
        """Raises BadInputError where options exclude each other or ask for nothing."""
        if self.splits is not None and self.roles.split is not None:
            raise BadInputError("--split and --splits both say how the table is cut. Give one of them.")
        for option, file in (("--splits", self.splits), ("--edges", self.edges)):
            if file is not None and self.roles.id is None:
                raise BadInputError(f"{option} names rows by their id. Say which column that is: --id COLUMN.")
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
    """Measures our models on a table and logs what came of it to MLflow.

    Args:
        settings: The settings; the run is logged into their home.
        wanted: What is asked for.
        progress: Called with a line a cut.

    Returns:
        What was found, and where MLflow's pages show it, below their address.

    Raises:
        BadInputError: A file or an option is wrong; nothing is logged.
    """
    from ml.protocol import evaluate_table, inputs_of
    from ml.tables import read_edges, read_table

    wanted.check()
    table = read_table(wanted.table, wanted.roles)
    cuts = _cuts(wanted, table)
    edges, nowhere = ({}, 0) if wanted.edges is None else read_edges(wanted.edges, table)
    warnings = []
    if nowhere:
        warnings.append(
            f"{nowhere:,} edges of {wanted.edges} lead nowhere, for neither end is an id of the table: they are left out."
        )
    inputs = inputs_of(table, edges, wanted.hops)
    progress(
        f"{len(table):,} rows, {int(table.label.sum()):,} of them positive ("
        f"{shorten(wanted.roles.label)} = {shorten(table.positive)}), "
        f"{len(inputs.names) + len(inputs.categories):,} features, {len(cuts)} cuts"
    )
    found = evaluate_table(
        table,
        inputs,
        cuts,
        trials=wanted.trials,
        with_baseline=wanted.with_baseline,
        warnings=warnings,
        progress=progress,
    )
    return found, _log(settings, wanted, found)


def _cuts(wanted: Wanted, table: Table) -> list[Cut]:
    from ml.protocol import cuts_by_column, cuts_by_draw
    from ml.tables import read_splits

    seeds = list(range(wanted.seeds))
    if wanted.splits is not None:
        return cuts_by_column(table, read_splits(wanted.splits, table, str(wanted.roles.id)), seeds)
    if table.split is not None:
        return cuts_by_column(table, {str(wanted.roles.split): table.split}, seeds)
    return cuts_by_draw(table, wanted.test_size, seeds)


def _log(settings: Settings, wanted: Wanted, found: Findings) -> str:
    from ml.mlflow_client import MlflowConnection
    from ml.plots import table_pictures
    from ml.protocol import pooled
    from ml.run_log import RunLog

    told = found.as_dict()
    metrics = {
        f"{prefix}{metric}{'' if which == 'mean' else f'_{which}'}": value
        for prefix, rated in {
            "": told["metrics"],
            **{f"{name}_": each for name, each in told["baseline"].items()},
        }.items()
        for metric, summary in rated.items()
        for which, value in summary.items()
        if value is not None
    }
    first = found.measured[0]
    files = {
        "evaluation.json": canonical_json(told),
        "cuts.json": canonical_json([one.as_dict() for one in found.measured]),
        "chosen.json": canonical_json([_chosen(one.cut.name, one.blend) for one in found.measured]),
        **table_pictures(pooled(found), 100.0 * first.blend.threshold),
    }  # fmt: skip
    parameters = {
        "label": wanted.roles.label,
        "rows": found.rows,
        "positives": found.positives,
        "cuts": len(found.measured),
        "trials": wanted.trials,
        "edges": wanted.edges.name if wanted.edges else "none",
        "hops": wanted.hops if wanted.edges else 0,
    }
    ensure_schema(settings)
    with home_lock(settings, "touchstone evaluate"):
        return RunLog(MlflowConnection(settings.home)).log_evaluation(
            wanted.table.name, describe(told, wanted.roles.label), files, metrics, parameters, sha256_file(wanted.table)
        )


def _chosen(cut: str, blend: Any) -> dict[str, Any]:
    return {
        "cut": cut,
        "trials": [trial.as_dict() for trial in blend.trials],
        "text share": blend.text_share,
        "linear share": blend.linear_share,
        "neighbours' share": blend.near_share,
        "calibration": blend.calibration.as_dict(),
        "threshold": blend.threshold,
    }


def render(told: Mapping[str, Any], address: str) -> str:
    """Returns the answer as a person reads it: one table, and what looks like a leak."""
    lines = [f"{told['rows']:,} rows, {told['positives']:,} positive", ""]
    heads, body = _compared(told)
    lines += _columns([heads, *body])
    lines += ["", MEANING]
    lines += ["\n" + "\n".join(wrap(f"Warning: {warning}", "")) for warning in told["warnings"]]
    lines += ["", f"In MLflow: {address}   (after `touchstone ui`)"]
    return "\n".join(lines)


def describe(told: Mapping[str, Any], label: str) -> str:
    """Returns the answer as MLflow's page of the run shows it, in Markdown."""
    from ml.card import table

    first, second = (
        f"{METRIC_NAMES[name]} {_figure(told['metrics'][name])}" for name in ("average_precision", "auroc")
    )
    share = told["positives"] / told["rows"]
    heads, body = _compared(told)
    opening = (
        f"Of {told['rows']:,} rows {told['positives']:,} ({share:.1%}) are positives by `{visible(label)}`; our models rank them "
        f"with {first} and {second}."
    )
    warnings = [f"**Warning:** {visible(warning)}" for warning in told["warnings"]]
    return "\n\n".join([opening, *warnings, table(heads, body), MEANING])


def _compared(told: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The heads and the lines of the table that sets our models beside the baselines."""
    rated = {"blend": told["metrics"], **told["baseline"]}
    body = [
        [said, *(_figure(summaries[metric]) for summaries in rated.values())] for metric, said in METRIC_NAMES.items()
    ]
    return ["", *(RATED_NAMES[name] for name in rated)], body


def _figure(summary: Mapping[str, float | None]) -> str:
    if summary["mean"] is None:
        return "none"
    spread = "" if summary["sd"] is None else f" ± {summary['sd']:.4f}"
    interval = "" if summary["low"] is None else f" ({summary['low']:.4f} to {summary['high']:.4f})"
    return f"{summary['mean']:.4f}{spread}{interval}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def evaluate(  # noqa: PLR0917  typer passes them by name
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A labelled table, .parquet or .csv.")],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The label, of two values.")],
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Names the rows; never a feature.")
    ] = None,
    features: Annotated[str, typer.Option(metavar="a,b", help="The features; without it, all other columns.")] = "",
    drop: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column that is left out; may be repeated.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="A column of text; may be repeated.")] = None,
    group: Annotated[str | None, typer.Option(metavar="COLUMN", help="Rows of one group stay on one side.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="When a row was: the last rows test.")] = None,
    split: Annotated[str | None, typer.Option(metavar="COLUMN", help="Says train, validation or test.")] = None,
    splits: Annotated[Path | None, typer.Option(metavar="FILE", help="The id, and one such column a split.")] = None,
    test_size: Annotated[float, typer.Option(help="The share of rows that test.")] = 0.2,
    seeds: Annotated[
        int, typer.Option(help="How many cuts are drawn, or how many seeds one split is learned with.")
    ] = 5,
    edges: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Columns src, dst, and maybe weight and type.")
    ] = None,
    hops: Annotated[int, typer.Option(help="How far edges are followed.")] = 2,
    trials: Annotated[int, typer.Option(help="How many sets of parameters are tried; 0 for none.")] = 30,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Beside the prevalence and a logistic regression.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Says what our models are worth on a labelled table of your own.

    Example: touchstone evaluate reviews.csv --label fake --id review_id --text body --group author --baseline
    """
    from ml.tables import Roles

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
    told = found.as_dict()
    print_result(told, as_json, lambda: render(told, address))


def _names(given: list[str] | None) -> tuple[str, ...]:
    """The names of an option that may be repeated, or hold several with commas between them."""
    return tuple(name.strip() for each in given or () for name in each.split(",") if name.strip())
