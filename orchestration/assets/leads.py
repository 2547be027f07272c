"""Leads as an asset: made a day, once every list of that day is published.

What a lead is, and how it keeps its id, is in `dbt_project/models/leads/`; what they are built from, and how they are
written, is in `touchstone/casework/leads.py`.
"""

import dagster as dg

from orchestration.automation import LISTS_GROUP, ONE_DAY_A_RUN, after_lists
from orchestration.dbt_runner import source_columns
from orchestration.resources import Run
from touchstone.casework.leads import TABLES, lead_inputs, leads_folder, write_leads
from touchstone.core.errors import VerificationError
from touchstone.core.lists import LISTS

KEY = dg.AssetKey(["leads", "ranked"])


def lead_assets(daily: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Returns the step that makes the leads of a day; it waits for all lists.

    A list that is not made, because its model is off, would keep any other step that waits for it from running. So what it
    waits for comes together as one input, which takes a graph: that runs as soon as one list is there. A list that a gate
    refuses keeps it from running.
    """

    @dg.op(name="make_leads", ins={"lists": dg.In(dg.Nothing)}, required_resource_keys={"run"})
    def make(context: dg.OpExecutionContext) -> dg.Output[None]:
        run: Run = context.resources.run
        with run.record.stage("leads") as stage:
            stage.rows = build_leads(run)
        folder = dg.MetadataValue.path(str(leads_folder(run.home, run.as_of)))
        return dg.Output(None, metadata={**stage.rows, "folder": folder})

    # Dagster identifies a graph's inputs by the names of its arguments.
    @dg.graph(name="leads", ins={name: dg.GraphIn() for name in LISTS})
    def graph(listings, merchants, reviews, brushing_merchants):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return make([listings, merchants, reviews, brushing_merchants])

    return [
        dg.AssetsDefinition.from_graph(
            graph,
            keys_by_input_name={name: dg.AssetKey(["published", name]) for name in LISTS},
            keys_by_output_name={"result": KEY},
            partitions_def=daily,
            group_name=LISTS_GROUP,
            backfill_policy=ONE_DAY_A_RUN,
            descriptions_by_output_name={
                "result": "Whom to look into first, by expected harm, of what is published: rings, merchants, brushing services."
            },
            owners_by_output_name={"result": ["team:brand-protection"]},
            automation_conditions_by_output_name={"result": after_lists()},
        )
    ]


def build_leads(run: Run) -> dict[str, int]:
    """Shows dbt what the leads of the date are built from, builds them, and writes them; returns the number of leads by kind.

    Raises:
        GateRefusedError: A list was scored for the date but is not published from these ratings.
        VerificationError: The leads of the previous date are damaged, or a data test refused the new ones.
    """
    inputs = lead_inputs(run.home, run.as_of, run.policy.lists)
    with run.warehouse.connect():
        run.warehouse.show_rows("published_lists", source_columns("published_lists"), inputs.published())
        run.warehouse.show_table("merchant_groups", inputs.merchant_groups())
        for name in ("lead_candidates", *(f"previous_{table}" for table in TABLES)):
            run.warehouse.show_parquet(name, inputs.files.get(name), source_columns(name))
    nodes = run.warehouse.build("tag:leads")
    if failed := [node for node in nodes if node.status == "fail"]:
        raise VerificationError(
            f"The leads of {run.as_of} fail the data test {failed[0].unique_id.split('.')[2]} ({failed[0].message}), so none "
            "were written; the previous leads are unchanged. Please report this with the run's record."
        )
    with run.warehouse.connect() as connection:
        return write_leads(run.home, inputs, connection)
