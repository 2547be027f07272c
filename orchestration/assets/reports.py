"""The report of a day as an asset: written when the day's lists are published, or were refused.

Its contents are in `touchstone/casework/reports.py`.
"""

from collections.abc import Iterator

import dagster as dg

from orchestration.assets.warehouse import OUTCOMES
from orchestration.automation import ONE_DAY_A_RUN, REPORTS_GROUP, after_lists
from orchestration.charts import picture_metadata
from orchestration.resources import Run
from touchstone.casework.coverage import coverage_markdown, read_coverage
from touchstone.casework.reports import read_report, write_report


def report_asset(daily: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """Returns the step that writes the report of a day.

    It also reports the lists that were published or refused, so it comes last: by priority, as a list that was refused or has
    no model would otherwise keep it from being written.
    """
    spec = dg.AssetSpec(
        ["reports", "outcomes"],
        group_name=REPORTS_GROUP,
        owners=["team:brand-protection"],
        description="Outcomes of flags, notices, appeals and leads, and pending decisions: report.html and report.json.",
        deps=[["marts", mart] for mart in OUTCOMES],
        kinds={"html"},
        automation_condition=after_lists(),
    )

    @dg.multi_asset(
        name="report",
        specs=[spec],
        partitions_def=daily,
        backfill_policy=ONE_DAY_A_RUN,
        required_resource_keys={"run"},
        op_tags={"dagster/priority": "-1"},
    )
    def report(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run: Run = context.resources.run
        with run.record.stage("report"):
            pictures = write_report(run.home, run.as_of)
        path, _ = read_report(run.home, run.as_of)
        plots = {f"plot_{name}": picture_metadata(picture, name) for name, picture in pictures.items()}
        coverage = read_coverage(run.home, run.as_of)
        shown = {"coverage": dg.MetadataValue.md(coverage_markdown(coverage))} if coverage else {}
        yield dg.MaterializeResult(
            asset_key=spec.key, metadata={"report": dg.MetadataValue.path(str(path)), **shown, **plots}
        )

    return report
