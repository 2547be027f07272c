"""Verifies published versions and the data that they depend on: `touchstone verify`.

`publishing` verifies its own files, and `landing` its loads; this module looks up a manifest's loads in the ledger. A load that
was pruned or erased is not damaged: the ledger has the date and the reason, and verification reports them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from touchstone.casework import leads
from touchstone.core.errors import VerificationError
from touchstone.core.home import Home
from touchstone.landing.ledger import Ledger, LoadStatus, damage, load_statuses
from touchstone.publishing.history import ListStore
from touchstone.publishing.manifest import Manifest
from touchstone.publishing.verify import verify


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        problems: Sentences about data that does not match its digest.
        notes: Sentences about loads that were pruned or erased.
    """

    problems: list[str]
    notes: list[str]


def manifests(published: Path, list_name: str | None = None, version: str | None = None) -> Iterator[Manifest]:
    """Yields the manifests of published versions that can be read; verification reports the others.

    Args:
        published: Folder of the published lists.
        list_name: Only this list.
        version: Only this version.
    """
    for directory in sorted(published.glob("*/*/manifest.json")):
        name, own_version = directory.parent.parent.name, directory.parent.name
        if (list_name or name, version or own_version) != (name, own_version):
            continue
        try:
            yield ListStore(published, name).manifest(own_version)
        except VerificationError:
            continue


def verify_home(home: Path, list_name: str | None = None, version: str | None = None) -> Verification:
    """Recomputes every digest of published versions, of the loads that they name and, for a whole home, of its leads.

    Args:
        home: The home.
        list_name: Only this list.
        version: Only this version of it.

    Raises:
        BadInputError: There is no such list or version.
    """
    published, landing = Home(home).published, Home(home).landing
    problems = [str(problem) for problem in verify(published, list_name, version)]
    problems += leads.problems(home) if list_name is None else []
    users: dict[tuple[str, str], list[str]] = {}
    for manifest in manifests(published, list_name, version):
        for table, load_ids in manifest.inputs.loads.tables.items():
            for load_id in dict.fromkeys(load_ids):
                users.setdefault((table, load_id), []).append(str(manifest.as_of))
    ledger = Ledger(landing)
    if not users or not ledger.log.path.is_file():
        return Verification(problems, ["There is no landing zone: loads were not verified."] if users else [])
    try:
        lines = ledger.lines()
    except VerificationError as error:
        return Verification([*problems, str(error)], [])
    statuses = load_statuses(lines)
    notes = []
    for key, named_by in sorted(users.items()):
        problem, note = _verify_load(landing, key, statuses.get(key))
        use = f"; published versions that use it: {len(named_by)}, the newest of {max(named_by)}."
        problems += [f"{problem}{use}"] if problem else []
        notes += [f"{note}{use}"] if note else []
    return Verification(problems, notes)


def _verify_load(landing: Path, key: tuple[str, str], status: LoadStatus | None) -> tuple[str | None, str | None]:
    """Returns a problem or a note about a load; neither if it is as it landed."""
    if status is None:
        return f"The ledger has no load {key[0]}/{key[1]}", None
    if status.removals:
        return None, f"Load {status.removals[0]}"
    problem = "; ".join(f"{path} {what}" for path, what in damage(landing, [status.load]))
    return problem or None, None
