"""Hand-overs: the append-only record of which lead went to which brand or authority, and when."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb

from expectations.contract import load_contract
from touchstone.casework.leads import read_leads
from touchstone.casework.outcomes import record_rows
from touchstone.core.errors import BadInputError
from touchstone.core.settings import Settings
from touchstone.landing.land import Recorded
from touchstone.landing.views import open_landed_views


def record_hand_over(settings: Settings, lead_id: str, recipient: str, audience: str, at: dt.datetime) -> Recorded:
    """Records that a lead was handed over. The row is appended and never replaces another.

    Args:
        settings: The settings; the caller holds the home's lock.
        lead_id: The lead.
        recipient: Who received it.
        audience: brand or authority.
        at: When (UTC).

    Returns:
        What was recorded.

    Raises:
        BadInputError: There is no such lead, it did not exist at that time, the recipient is empty, or the same hand-over is
            recorded for another audience.
    """
    lead = read_leads(settings.home).lead(lead_id)
    if not recipient.strip():
        raise BadInputError("--to is empty. Name who received the lead.")
    if at.date() < lead["since_date"]:
        raise BadInputError(
            f"--at {at:%Y-%m-%d}: {lead_id} is a lead since {lead['since_date']}. Give the time of the hand-over."
        )
    row = {"lead_id": lead_id, "recipient": recipient, "handed_over_at": at.replace(tzinfo=None), "audience": audience}
    for recorded in read_hand_overs(settings.home):
        if {**recorded, "audience": audience} == row and recorded["audience"] != audience:
            raise BadInputError(
                f"This hand-over is recorded already, for the audience {recorded['audience']}. Give another time."
            )
    return record_rows(settings, "lead_hand_overs", [row], label=f"hand-over of {lead_id}")


def read_hand_overs(home: Path) -> list[dict[str, Any]]:
    """Returns every recorded hand-over, oldest first."""
    contract = load_contract()
    with duckdb.connect(":memory:") as connection:
        open_landed_views(connection, home, contract)
        query = "select distinct handed_over_at, lead_id, recipient, audience from landed.lead_hand_overs order by all"
        rows: list[dict[str, Any]] = connection.execute(query).to_arrow_table().to_pylist()
    return rows
