"""The landing stage as assets: one a contract table, pulled together in one step."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from expectations.contract import Contract
from orchestration.automation import DAILY_FRESHNESS, LANDING_GROUP
from orchestration.metadata import materialized
from orchestration.resources import Run, logger
from touchstone.core.errors import TouchstoneError, describe_disk_error, format_count
from touchstone.core.settings import MAX_AGE
from touchstone.demo.create import demo_is_due, make_demo
from touchstone.landing.land import land
from touchstone.landing.ledger import Ledger, LoadRecord, loads_in_use, pinned_loads
from touchstone.landing.sources import identifier_key, read_sources
from touchstone.landing.sql import Limits

GROUP = LANDING_GROUP
RETRIES = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
OWNERS = ["team:data-engineering"]


def landing_assets(contract: Contract) -> dg.AssetsDefinition:
    """Returns the step that lands every table of the sources file, one asset a contract table."""
    specs = [
        dg.AssetSpec(
            ["landed", name],
            group_name=GROUP,
            owners=OWNERS,
            description=f"{table.description} Pulled from the source, checked against the contract, immutable.",
            kinds={"parquet"},
            tags={
                "required": str(table.required).lower(),
                "personal_data": str(any(column.personal for column in table.columns.values())).lower(),
            },
            freshness_policy=DAILY_FRESHNESS,
        )
        for name, table in contract.tables.items()
    ]

    @dg.multi_asset(
        name="land_tables",
        specs=specs,
        can_subset=True,
        retry_policy=RETRIES,
        required_resource_keys={"run"},
    )
    def land(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run: Run = context.resources.run
        try:
            with run.record.stage("landing") as stage:
                records = land_sources(run)
                stage.rows = {record.table: record.row_count for record in records if record.status != "refused"}
        except Exception as error:
            # What a person has to correct is not tried again; a source that does not answer has been tried again already.
            is_refusal = isinstance(error, TouchstoneError) or describe_disk_error(str(error)) is not None
            raise dg.Failure(str(error), allow_retries=not is_refusal) from error
        found = {record.table: record for record in records}
        for name in contract.tables:
            yield from materialized(context, dg.AssetKey(["landed", name]), _load_metadata(found.get(name)))

    return land


def land_sources(run: Run) -> list[LoadRecord]:
    """Pulls every table of the sources file into the landing zone, the demo made first where it is the source.

    Raises:
        BadInputError: The sources file cannot be used, or a refused table has no earlier load to stand in.
    """
    if demo_is_due(run.settings):
        make_demo(run.settings)
    sources = read_sources(run.settings.sources_file, os.environ)
    records = land(
        sources,
        run.contract,
        run.landing,
        hmac_key=identifier_key(sources, run.settings),
        now=datetime.now(UTC),
        limits=Limits.from_settings(run.settings),
    )
    run.record.facts["refused_loads"] = {
        record.table: "the new load was refused." for record in records if record.status == "refused"
    }
    pins = pinned_loads(Ledger(run.landing).read(), run.contract)
    in_use = loads_in_use(records, pins, run.as_of, MAX_AGE)
    run.record.facts["refused_loads"] |= {found.table: str(found) for found in in_use}
    refusals = {record.table: record.message for record in records if record.status == "refused"}
    run.record.facts["notes"] = [f"{found}\n{refusals[found.table]}" for found in in_use]
    run.record.facts["notes"] += [
        f"{record.table}: {format_count(record.set_aside_rows, 'row')} that broke the contract set aside; "
        f"landing/quarantine/{record.table}.csv in the home lists them."
        for record in records
        if record.set_aside_rows and record.status != "refused"
    ]
    for note in run.record.facts["notes"]:
        logger.warning("%s", note)
    return records


def _load_metadata(record: LoadRecord | None) -> dict[str, Any]:
    if record is None:
        return {"status": "not in the sources file: an empty table of the right shape", "rows": 0}
    if record.status == "refused":
        return {
            "status": "refused: the load before stays in use",
            "why": dg.MetadataValue.md(f"```\n{record.message}\n```"),
        }
    return {
        "status": record.status,
        "rows": record.row_count,
        **({"rows_set_aside": record.set_aside_rows} if record.set_aside_rows else {}),
        "load": record.load_id or "",
        "mode": record.mode,
        "newest_event_date": str(record.newest_event_date or ""),
        "source": record.source,
    }
