"""What published versions stand on, and whether it still stands: `touchstone verify`.

Publishing verifies its own files, landing its loads; here a manifest's loads are looked up in the ledger. A load that was
pruned, or erased for a person's sake, is no damage: the ledger says when and why, and verification says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from touchstone.casework import leads
from touchstone.core.errors import VerificationError
from touchstone.landing.ledger import Fate, Ledger, damage, fates
from touchstone.publishing.history import ListStore
from touchstone.publishing.manifest import Manifest
from touchstone.publishing.verify import verify


@dataclass(frozen=True)
class Verification:
    """What verification found.

    Attributes:
        problems: What does not hold, a sentence each.
        notes: What is as it should be and yet not as it was: loads that were pruned or erased.
    """

    problems: list[str]
    notes: list[str]


def manifests(published: Path, list_name: str | None = None, version: str | None = None) -> Iterator[Manifest]:
    """Yields the manifests of published versions that can be read; verification says which cannot."""
    for directory in sorted(published.glob("*/*/manifest.json")):
        name, found = directory.parent.parent.name, directory.parent.name
        if (list_name or name, version or found) != (name, found):
            continue
        try:
            yield ListStore(published, name).manifest(found)
        except VerificationError:
            continue


def verify_home(home: Path, list_name: str | None = None, version: str | None = None) -> Verification:
    """Recomputes every digest of what is published, of the loads that it names and, of a whole home, of its leads.

    Args:
        home: The home.
        list_name: Only this list.
        version: Only this version of it.

    Raises:
        BadInputError: There is no such list or version.
    """
    published, landing = home / "published", home / "landing"
    problems = [str(problem) for problem in verify(published, list_name, version)]
    problems += leads.problems(home) if list_name is None else []
    users: dict[tuple[str, str], list[str]] = {}
    for manifest in manifests(published, list_name, version):
        for table, load_ids in manifest.inputs.loads.tables.items():
            for load_id in dict.fromkeys(load_ids):
                users.setdefault((table, load_id), []).append(str(manifest.as_of))
    ledger = Ledger(landing)
    if not users or not ledger.log.path.is_file():
        return Verification(problems, ["There is no landing zone here: loads were not verified."] if users else [])
    try:
        lines = ledger.lines()
    except VerificationError as error:
        return Verification([*problems, str(error)], [])
    known = fates(lines)
    notes = []
    for key, named_by in sorted(users.items()):
        problem, note = _state(landing, key, known.get(key))
        stands = f"; published versions that stood on it: {len(named_by)}, the newest of {max(named_by)}."
        problems += [f"{problem}{stands}"] if problem else []
        notes += [f"{note}{stands}"] if note else []
    return Verification(problems, notes)


def _state(landing: Path, key: tuple[str, str], fate: Fate | None) -> tuple[str | None, str | None]:
    """Returns what is wrong with a load, or what became of it; neither where it stands as it landed."""
    if fate is None:
        return f"The ledger knows no load {key[0]}/{key[1]}", None
    if fate.removals:
        return None, f"Load {fate.removals[0]}"
    wrong = "; ".join(f"{path} {what}" for path, what in damage(landing, [fate.load]))
    return wrong or None, None
