"""The messages of the last run, for commands that find nothing, because a run did not get far enough to make it."""

from __future__ import annotations

from pathlib import Path

from touchstone.core.home import Home
from touchstone.core.run_record import RunRecord


def what_is_missing(home: Path, never_run: str) -> str:
    """Returns why something that a run makes does not exist, and what to do about it.

    Args:
        home: The home.
        never_run: What to do if no run has ended yet, a sentence.

    Returns:
        The messages of the last run that ended, whatever ended it; `never_run` if there was none.
    """
    ended = [record for record in RunRecord.read_all(Home(home).runs) if record.outcome != "running"]
    if not ended:
        return never_run
    last = ended[-1]
    notes = last.facts.get("notes", [])
    messages = [text for text in (notes if last.outcome == "done" else [last.message, *notes]) if text]
    head = f"The last run ({last.run_id}, {last.started_at[:10]}) ended as {last.outcome}"
    if not messages:
        return f"{head} and did not make it. `touchstone doctor` checks the home."
    return "\n".join([f"{head} with these messages:", *messages])
