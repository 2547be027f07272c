"""Walks back from a row of a list to all that it came from, over files alone: the warehouse may be gone.

    row -> manifest -> score -> model and its approval -> features -> verdict and gates -> loads -> source rows

`opened` holds every file that a version names against its digest, once; `Evidence.trace` then answers for any entity that was
rated. What a run leaves for a date can be pruned later: where it is absent, a trace says so and goes on without. What is
there and not as the manifest or the ledger says is not handed out. How rows belong together is read from the contract.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import duckdb

from expectations.contract import Contract, load_contract
from ml.approvals import Decision
from ml.drift import as_extreme_share
from ml.model import RiskModel, read_model
from ml.registry import Registry
from touchstone.core.errors import BadInputError, GateRefusedError, VerificationError
from touchstone.core.files import sha256_file
from touchstone.core.lists import LISTS, ListDefinition
from touchstone.core.text import MOST_SENTENCE_COLUMNS, shorten, wrap
from touchstone.landing.ledger import Ledger, LoadRecord, LoadStatus, PinnedLoads, load_statuses, verify_files
from touchstone.publishing.candidate import Candidate, newest_candidate
from touchstone.publishing.history import HISTORY_FILE, Publication, Shelf, in_force
from touchstone.publishing.manifest import Manifest, version_date
from touchstone.publishing.publish import candidate_subject
from touchstone.publishing.source_rows import Row, SourceRows
from touchstone.publishing.verdict import CANDIDATE_GATE, VERDICT_FILE, Verdict, read_verdict
from touchstone.publishing.verify import verify

FEATURES_SHOWN: Final = 25
HELD_WORDS: Final = {
    "corroboration": "fewer than {corroboration} signals speak against it, and the policy's term asks for so many ({words})",
    "capacity": "others with higher scores took the {capacity} places that the policy's term has a day ({words})",
}
LONGEST_VALUE: Final = 60


@dataclass(frozen=True)
class Chosen:
    """One list of one date, as it was published, or as it waits where no gate let it through.

    Attributes:
        manifest: What it stands on.
        directory: The folder that holds it.
        publication: Its newest line of history; None of a candidate that was not published.
    """

    manifest: Manifest
    directory: Path
    publication: Publication | None

    @property
    def rated(self) -> ListDefinition:
        """What is rated."""
        return LISTS[self.manifest.list_name]

    @property
    def list_file(self) -> Path:
        """The list itself."""
        return self.directory / f"{self.rated.list_name}.parquet"

    def __str__(self) -> str:
        """Returns what to call it."""
        kind = "candidate" if self.publication is None else "version"
        return f"{kind} {self.manifest.version} of list {self.rated.list_name}"


def trace(
    home: Path,
    list_name: str,
    entity_id: str,
    *,
    as_of: date | None = None,
    version: str | None = None,
    rows: int = 5,
) -> dict[str, Any]:
    """Returns all that one row of a list came from; see `opened` and `Evidence.trace`."""
    with opened(home, list_name, as_of=as_of, version=version) as evidence:
        return evidence.trace(entity_id, rows=rows)


@contextmanager
def opened(home: Path, list_name: str, *, as_of: date | None = None, version: str | None = None) -> Iterator[Evidence]:
    """Opens what a list of one date stands on, having recomputed the digest of every file.

    Args:
        home: The home.
        list_name: The list.
        as_of: The date; the version in force at it is opened, or the candidate where none was published.
        version: A version; without it and without a date, the one that LATEST names.

    Yields:
        The evidence, for as long as its files are open.

    Raises:
        BadInputError: There is no such list or version, or nothing was rated as of that date.
        VerificationError: A file does not match the manifest or the ledger, the log of approvals or the model was changed.
    """
    chosen = _chosen(home, list_name, as_of, version)
    receipt = _receipt(chosen)
    decision, model = _model(home, chosen, receipt)
    known = _loads(home, chosen)
    contract = load_contract()
    with duckdb.connect(":memory:") as connection:
        loads = _standing(known, contract)
        files, notes = _files(home, chosen)
        yield Evidence(
            home=home,
            chosen=chosen,
            receipt=receipt,
            verdict=_verdict(home, chosen),
            decision=decision,
            model=model,
            load_statuses=known,
            files=files,
            gone=notes,
            connection=connection,
            source_rows=SourceRows(connection, home / "landing", loads, contract, chosen.manifest.as_of),
        )


def _chosen(home: Path, list_name: str, as_of: date | None, version: str | None) -> Chosen:
    rated = next((one for name, one in LISTS.items() if name == list_name), None)
    if rated is None:
        raise BadInputError(f"There is no list {list_name!r}; there are {', '.join(LISTS)}.")
    shelf = Shelf(home / "published", list_name)
    history = shelf.history()
    if version is not None and all(line.version != version for line in history):
        raise BadInputError(f"List {list_name} has no version {version!r}. It has {_told(history)}.")
    if version is not None and as_of is not None and version_date(version) != as_of:
        raise BadInputError(f"Version {version} is not as of {as_of}. Leave out --as-of or --version.")
    name = version or (shelf.latest() if as_of is None else in_force(history, as_of))
    if name is not None:
        _refuse_damage(shelf, name)
        line = next(line for line in reversed(history) if line.version == name)
        return Chosen(shelf.manifest(name), shelf.version_directory(name), line)
    candidate = newest_candidate(rated.list_name, home / "candidates", as_of) if as_of else None
    if candidate is None:
        asked = f"of {as_of} " if as_of else ""
        raise BadInputError(f"No list {list_name} {asked}is there. There is {_told(history)}.")
    chosen = Chosen(candidate.manifest(), candidate.directory, None)
    recorded = chosen.manifest.files[chosen.list_file.name]
    found = sha256_file(chosen.list_file) if chosen.list_file.is_file() else None
    if found != recorded:
        raise _unlike(chosen.list_file, found, recorded, chosen)
    return chosen


def _told(history: Sequence[Publication]) -> str:
    versions = list(dict.fromkeys(line.version for line in history))
    return ", ".join(versions) or "none yet: start with `touchstone run`"


def _refuse_damage(shelf: Shelf, version: str) -> None:
    """Raises where a version's own files, or the history that names it, are not as they were published."""
    at_fault = [
        str(problem)
        for problem in verify(shelf.published, shelf.list_name, version)
        if problem.path.is_relative_to(shelf.version_directory(version)) or problem.path.name == HISTORY_FILE
    ]
    if at_fault:
        raise VerificationError("\n".join([f"Version {version} of list {shelf.list_name} is damaged:", *at_fault]))


def _receipt(chosen: Chosen) -> dict[str, Any] | None:
    if chosen.publication is None:
        return None
    content: dict[str, Any] = json.loads((chosen.directory / chosen.publication.receipt).read_bytes())
    return content


def _unlike(path: Path, found: str | None, recorded: str, chosen: Chosen) -> VerificationError:
    """Returns what to say of a file that is not as the manifest says, by its SHA-256; None where it is absent."""
    return VerificationError(
        f"{path} is not what {chosen} was made from: its SHA-256 is {(found or 'that of no file')[:12]}…, recorded is "
        f"{recorded[:12]}…. It was changed, or {chosen.manifest.as_of} was rated again since. Restore it from a backup, or rate "
        f"the day again: `touchstone run --as-of {chosen.manifest.as_of}`."
    )


def _files(home: Path, chosen: Chosen) -> tuple[dict[str, Path | None], list[str]]:
    """Returns what the run of the date left: `features`, `scores` and `mart`; None for what is not there any more, and says so.

    Raises:
        VerificationError: One of them is neither what the list was made from nor what a later run made for the same date.
    """
    manifest, rated = chosen.manifest, chosen.rated
    day = f"as_of={manifest.as_of}"
    named = {
        "features": (home / "features" / rated.list_name / day / "features.parquet", manifest.inputs.features),
        "scores": (home / "scores" / rated.model / day / "scores.parquet", manifest.inputs.scores),
        "mart": (home / "marts" / rated.mart / day / f"{rated.mart}.parquet", manifest.mart),
    }
    files: dict[str, Path | None] = {}
    notes = []
    for name, (path, digest) in named.items():
        found = sha256_file(path) if path.is_file() else None
        files[name] = path if found == digest else None
        if found is None:
            notes.append(f"{name} as of {manifest.as_of}: not there any more, pruned or removed.")
        elif found != digest:
            later = _made_for(home, chosen, found)
            if later is None:
                raise _unlike(path, found, digest, chosen)
            notes.append(
                f"{name} as of {manifest.as_of}: made anew since for candidate {later}, the former not there any more."
            )
    return files, notes


def _made_for(home: Path, chosen: Chosen, digest: str) -> str | None:
    """Returns the candidate of the same date that names a file of such a digest, or None."""
    for folder in sorted((home / "candidates" / chosen.manifest.list_name).glob("[0-9a-f]*/")):
        manifest = Candidate(folder, chosen.manifest.list_name).manifest()
        named = (manifest.inputs.features, manifest.inputs.scores, manifest.mart)
        if manifest.as_of == chosen.manifest.as_of and digest in named:
            return manifest.version
    return None


def _verdict(home: Path, chosen: Chosen) -> tuple[Verdict, str] | None:
    """Returns the verdict and its SHA-256, having seen that it is about these very files; None where it is absent."""
    manifest = chosen.manifest
    candidate = Candidate(home / "candidates" / manifest.list_name / manifest.sha256, manifest.list_name)
    path = candidate.directory / VERDICT_FILE
    if not path.is_file():
        return None
    try:
        verdict = read_verdict(candidate)
    except GateRefusedError as error:
        raise VerificationError(f"{path} is not sound. Restore it from a backup.") from error
    subjects = {**manifest.inputs.subjects, CANDIDATE_GATE: candidate_subject(manifest)}
    strayed = [gate for gate, result in verdict.gates.items() if subjects.get(gate) != result.subject_digest]
    if verdict.candidate != manifest.sha256 or strayed:
        raise VerificationError(f"{path} is not about {chosen}: {', '.join(strayed) or 'it names another candidate'}.")
    return verdict, sha256_file(path)


def _model(home: Path, chosen: Chosen, receipt: Mapping[str, Any] | None) -> tuple[Decision, RiskModel]:
    """Returns the decision by which the model rated then, and the model with the bytes that were reviewed."""
    rating = chosen.manifest.inputs.model
    registry = Registry(home)
    head = (receipt or {}).get("run", {}).get("approvals_head")
    decision = registry.approvals.approval_of(rating.name, rating.digest, head)
    if decision is None:
        raise VerificationError(
            f"{registry.approvals.path} has no approval of {rating.name} {rating.digest[:12]}…, which rated {chosen}. Restore it "
            "from a backup."
        )
    return decision, read_model(registry.home / decision.folder, rating.digest)


def _loads(home: Path, chosen: Chosen) -> list[LoadStatus]:
    """Returns what became of each load that the manifest names, having recomputed the digests of those that stand."""
    ledger = Ledger(home / "landing")
    known = load_statuses(ledger.lines())
    named = [
        (table, i) for table, ids in sorted(chosen.manifest.inputs.loads.tables.items()) for i in dict.fromkeys(ids)
    ]
    unknown = [f"{table}/{load_id}" for table, load_id in named if (table, load_id) not in known]
    if unknown:
        raise VerificationError(
            f"{ledger.log.path} knows no load {', '.join(unknown)}, on which {chosen} stands. Restore it from a backup."
        )
    found = [known[key] for key in named]
    verify_files(home / "landing", [status.current for status in found if status.current is not None])
    return found


def _standing(known: Sequence[LoadStatus], contract: Contract) -> PinnedLoads:
    """Returns the loads that hold the rows now, each once, in the order in which they landed."""
    by_table: dict[str, dict[str | None, LoadRecord]] = {}
    for status in known:
        if status.current is not None and status.current.table in contract.tables:
            by_table.setdefault(status.current.table, {})[status.current.load_id] = status.current
    tables = {table: tuple(loads.values()) for table, loads in by_table.items()}
    return PinnedLoads(by_table=tables, current=tables)


@dataclass(frozen=True)
class Evidence:
    """What a list of one date stands on, with every digest recomputed.

    Attributes:
        home: The home.
        chosen: The list.
        receipt: The receipt of its newest publication; None of a candidate.
        verdict: The verdict on it and that file's SHA-256; None where it is absent.
        decision: The approval in force when it was rated.
        model: The model that rated.
        load_statuses: Each load that the manifest names, and what became of it.
        files: `features`, `scores` and `mart` of the date; None where one is absent.
        gone: A sentence for each of these that is absent.
        connection: Reads the date's files.
        source_rows: The rows of these loads.
    """

    home: Path
    chosen: Chosen
    receipt: dict[str, Any] | None
    verdict: tuple[Verdict, str] | None
    decision: Decision
    model: RiskModel
    load_statuses: list[LoadStatus]
    files: dict[str, Path | None]
    gone: list[str]
    connection: duckdb.DuckDBPyConnection
    source_rows: SourceRows

    @property
    def as_of(self) -> date:
        """The date that is rated."""
        return self.chosen.manifest.as_of

    def trace(self, entity_id: str, *, rows: int = 5) -> dict[str, Any]:
        """Returns all that the rating of one entity came from, as plain data.

        Args:
            entity_id: Its id; of an order or a review its own id will do.
            rows: Of each source table at most so many rows, the newest.

        Returns:
            `row`, as it is on the list, or None with `why_not_listed`; `publication`, `manifest`, `score`, `model`, `features`
            (the most unusual first), `verdict`, `loads`, `source_rows` by table, and `notes` on what is not there any more.

        Raises:
            BadInputError: Nothing of that id was rated as of the date.
        """
        manifest, rated = self.chosen.manifest, self.chosen.rated
        key = self._key(entity_id)
        row = self._row(self.chosen.list_file, key)
        found = {name: self._row(path, key) for name, path in self.files.items()}
        known = row or found["scores"]
        if known is None:
            raise BadInputError(self._unrated(entity_id))
        score = self._score(row, found)
        ids = {name: known.get(name) for name in (rated.key, *rated.carried)}
        brand = (found["mart"] or row or {}).get("brand")
        return {
            "list": rated.list_name,
            "entity_id": key,
            "as_of": str(self.as_of),
            "version": manifest.version if self.chosen.publication else None,
            "is_listed": row is not None,
            "row": row,
            "why_not_listed": [] if row else self._why_not(score),
            "publication": self._publication(),
            "manifest": manifest.model_dump(mode="json"),
            "score": score,
            "model": self._model_facts(),
            "category": (found["features"] or {}).get("category"),
            "features": features_told(self.model, found["features"], score["reasons"] or []),
            "verdict": self._verdict_facts(),
            "loads": [_load_facts(status) for status in self.load_statuses],
            "source_rows": self.source_rows.about(ids, brand, rows=rows),
            "notes": self._notes(),
        }

    def _key(self, entity_id: str) -> str | None:
        """Returns the key of a rated or listed row, given it or another of its ids."""
        ids = ", ".join((self.chosen.rated.key, *self.chosen.rated.carried))
        found = self._rows(
            f"select {self.chosen.rated.key} as key from read_parquet($path, hive_partitioning = false) where $id in ({ids}) "
            "order by 1",
            {"path": str(self.files["scores"] or self.chosen.list_file), "id": entity_id},
        )
        return str(found[0]["key"]) if found else None

    def _row(self, path: Path | None, key: str | None) -> Row | None:
        if path is None or key is None:
            return None
        query = f"select * from read_parquet($path, hive_partitioning = false) where {self.chosen.rated.key} = $key"
        return next(iter(self._rows(query, {"path": str(path), "key": key})), None)

    def _rows(self, query: str, values: Mapping[str, object]) -> list[Row]:
        told = self.connection.execute(query, values)
        names = [str(column[0]) for column in told.description or ()]
        return [dict(zip(names, row, strict=True)) for row in told.fetchall()]

    def _unrated(self, entity_id: str) -> str:
        """Says that an entity was not rated as of the date, and when it was."""
        rated = self.chosen.rated
        said = f"Nothing of the id {entity_id!r} was rated for the list {rated.list_name} as of {self.as_of}"
        if self.files["scores"] is None:
            said = f"{self.chosen} has no row {entity_id!r}, and who else was rated then is not there any more"
        scores = sorted(str(path) for path in (self.home / "scores" / rated.model).glob("as_of=*/scores.parquet"))
        keys = ", ".join((rated.key, *rated.carried))
        query = f"select distinct as_of from read_parquet($paths, hive_partitioning = true) where $id in ({keys}) order by 1"
        dates = [str(row["as_of"]) for row in self._rows(query, {"paths": scores, "id": entity_id})] if scores else []
        if dates:
            return f"{said}. It was as of {', '.join(dates)}: name one by --as-of."
        days = ", ".join(Path(path).parent.name.removeprefix("as_of=") for path in scores) or "no date"
        return f"{said}, nor ever: scores are there of {days}. Only what is live is rated; check the id, and the list."

    def _score(self, row: Row | None, found: Mapping[str, Row | None]) -> dict[str, Any]:
        """Returns the rating beside the limits that decided on it; from the list alone where the date's files are gone."""
        limits, terms = self.chosen.manifest.inputs.model, self.chosen.manifest.terms or ()
        told = {**(row or {}), **(found["mart"] or {}), **(found["scores"] or {})}
        names = (
            "score",
            "own_conduct_score",
            "margin",
            "band",
            "expected_precision",
            "is_flagged",
            "is_suppressed",
            "held_by",
        )
        term = next((term for term in terms if term.term == told.get("term")), None)
        reasons = told.get("reasons")
        return {
            **{name: told.get(name) for name in names},
            "model_digest": told.get("model_digest", limits.digest),
            "term": None if term is None else term.model_dump(mode="json") | {"words": str(term)},
            "threshold": limits.threshold if term is None else term.threshold,
            "floor": limits.floor,
            "reasons": None if reasons is None else json.loads(reasons),
        }

    def _why_not(self, score: Mapping[str, Any]) -> list[str]:
        unpublished = (
            [] if self.chosen.publication else [f"nothing was published as of {self.as_of}: {self._refusal()}"]
        )
        return unpublished + why_not_listed(score, self.chosen.manifest.policy)

    def _refusal(self) -> str:
        if self.verdict is None:
            return "its gates did not run to the end"
        return "; ".join(self.verdict[0].refusals()) or "its gates let it through, and it was not published"

    def _publication(self) -> dict[str, Any] | None:
        line = self.chosen.publication
        return None if line is None else {**line.model_dump(), "run": (self.receipt or {}).get("run", {})}

    def _model_facts(self) -> dict[str, Any]:
        limits, told = self.chosen.manifest.inputs.model, asdict(self.decision)
        approval = ("action", "version", "who", "why", "at", "evaluation", "is_override", "failures", "replaces")
        return {
            "name": limits.name,
            "digest": limits.digest,
            "version": self.decision.version,
            "threshold": limits.threshold,
            "floor": limits.floor,
            "folder": self.decision.folder,
            "approval": {name: told[name] for name in approval},
        }

    def _verdict_facts(self) -> dict[str, Any] | None:
        if self.verdict is None:
            return None
        verdict, digest = self.verdict
        published_by = (self.receipt or {}).get("verdict_sha256")
        return {
            "passed": verdict.passed,
            "sha256": digest,
            "is_as_published": digest == published_by,
            "gates": [
                {
                    "gate": gate,
                    "passed": result.success,
                    "expectations_run": result.expectations_run,
                    "subject_digest": result.subject_digest,
                    "failures": [failure.model_dump(mode="json") for failure in result.failures],
                }
                for gate, result in verdict.gates.items()
            ],
        }

    def _notes(self) -> list[str]:
        """Says what is as it should be and yet not as it was."""
        notes = [*self.gone]
        if self.verdict is None:
            notes.append("the verdict is not there any more: pruned, or removed.")
        elif self.receipt and self.verdict[1] != self.receipt["verdict_sha256"]:
            notes.append("the same list was judged again after it was published: the verdict is the newer one.")
        return notes + [f"load {removal}." for status in self.load_statuses for removal in status.removals]


def features_told(
    model: RiskModel, row: Row | None, reasons: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]] | None:
    """Returns what a model read of a row, the most unusual first.

    Args:
        model: The model.
        row: The row's features, as they are in `features/`; None where they are not there any more.
        reasons: Its reasons.

    Returns:
        By feature: name, signal, controlled_by, unit, `value`, `usual`, as the model keeps it for the category,
        `as_extreme_share` of those who lived when the model was trained (None if an earlier release trained it), and
        `signal_effect`, that of the reason which its whole signal gave; None where there is no row.
    """
    if row is None:
        return None
    usual = model.body["baseline"].get(row["category"], model.body["baseline"][""])
    effects = {
        signal: reason["effect"]
        for reason in reversed(reasons)
        for signal in (reason["signal"], reason.get("with_signal"))
    }
    lived = model.body.get("reference", {})
    told = [
        {
            "name": feature.name,
            "signal": feature.signal,
            "controlled_by": feature.controlled_by,
            "unit": feature.unit,
            "value": (value := row[feature.name]),
            "usual": expected,
            "as_extreme_share": as_extreme_share(lived[feature.name], value) if feature.name in lived else None,
            "signal_effect": effects.get(feature.signal),
        }
        for feature, expected in zip(model.features, usual, strict=True)
    ]
    return sorted(told, key=_unusual_first)


def _unusual_first(told: Mapping[str, Any]) -> tuple[float, float, str]:
    share, effect = told["as_extreme_share"], told["signal_effect"]
    return (1.0 if share is None else share, -(effect or 0.0), told["name"])


def why_not_listed(score: Mapping[str, Any], policy: str) -> list[str]:
    """Returns why what was rated is not on its list, a sentence each.

    Args:
        score: What `Evidence.trace` tells as `score`.
        policy: Digest of the policy that the list was made by.
    """
    said = []
    if score["score"] < score["threshold"]:
        said.append(f"its score {score['score']:g} is below the threshold {score['threshold']:g}")
    if score["own_conduct_score"] < score["floor"]:
        said.append(f"its own_conduct_score {score['own_conduct_score']:g} is below the floor {score['floor']:g}")
    if score["is_suppressed"]:
        said.append("it is suppressed: by a suppression, or by an appeal that was upheld")
    if score["held_by"] in HELD_WORDS:
        said.append(HELD_WORDS[score["held_by"]].format(**score["term"]))
    if score["is_suppressed"] is None:
        said.append("the mart, which says whether it was suppressed, is not there any more")
    return said or [f"it was flagged, and the policy {policy[:12]} left it out"]


def _load_facts(status: LoadStatus) -> dict[str, Any]:
    """Returns a load's line of the ledger, its digest, and what the ledger says of it since."""
    return {
        **status.load.model_dump(mode="json"),
        "content_digest": status.load.content_digest,
        "state": status.removals[0].status if status.removals else "as it landed",
        "stands_in": status.current.load_id if status.current is not None and status.removals else None,
        # The ledger keeps whose rows were erased; a trace need not hand it on.
        "removals": [line.model_dump(mode="json", exclude={"person": {"value_hash"}}) for line in status.removals],
    }


# In words ---------------------------------------------------------------------------------------------------------


def render(told: Mapping[str, Any]) -> str:
    """Returns a trace in words, in the order of the walk."""
    parts = [_row_words(told), _score_words(told["score"]), _model_words(told["model"]), _feature_words(told)]
    parts += [_verdict_words(told), _load_words(told["loads"])]
    parts += [_table_words(name, found) for name, found in told["source_rows"].items() if found["row_count"]]
    empty = [name for name, found in told["source_rows"].items() if not found["row_count"]]
    if empty:
        parts.append([f"SOURCE ROWS: none of {', '.join(empty)}"])
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _row_words(told: Mapping[str, Any]) -> list[str]:
    row, manifest, entity_id = told["row"], told["manifest"], shorten(told["entity_id"])
    where = told["version"] or f"no version, but the candidate of {told['as_of']}"
    if row is None:
        lines = [f"{entity_id} is not on the list {told['list']} of {told['as_of']} ({where}):"]
        lines += wrap("; ".join(told["why_not_listed"]))
    else:
        lines = [f"{entity_id} is row {row['rank']} of {manifest['row_count']} on {told['list']} ({where})"]
        name = row.get("title") or row.get("name")
        lines += wrap(_pairs({"called": name, **{key: row[key] for key in ("brand", "category", "price", "currency")}}))
        lines.append(f"  {row['action']}, since {row['first_flagged_date']} ({row['days_on_list']} days)")
    lines += wrap("; ".join(told["notes"]), "  NOTE: ") if told["notes"] else []
    if told["publication"]:
        run = told["publication"]["run"]
        lines.append(f"  published {run.get('published_at')} by run {run.get('run_id')}; every digest holds")
    inputs = manifest["inputs"]
    digests = {"loads": inputs["loads"]["digest"], "dbt_build": inputs["dbt_build"], "code": inputs["code_revision"]}
    digests |= {"policy": manifest["policy"], "suites": inputs["suites"], "features": inputs["features"]}
    lines += wrap("stands on " + _pairs({name: digest[:12] for name, digest in digests.items()}))
    return lines


def _score_words(score: Mapping[str, Any]) -> list[str]:
    limits = [("SCORE", "score", "threshold"), ("own_conduct_score", "own_conduct_score", "floor")]
    lines = ["; ".join(f"{said} {_said(score[name])}, {limit} {_said(score[limit])}" for said, name, limit in limits)]
    lines.append("  " + _pairs({name: score[name] for name in ("margin", "band", "expected_precision")}))
    lines += (
        wrap(f"by the policy's term: {shorten(score['term']['words'], MOST_SENTENCE_COLUMNS)}") if score["term"] else []
    )
    for reason in score["reasons"] or []:
        signals = "+".join(name for name in (reason["signal"], reason.get("with_signal")) if name)
        quote = f" ({reason['quote']})" if "quote" in reason else ""
        lines += wrap(
            shorten(f"{reason['text']}{quote}", MOST_SENTENCE_COLUMNS), f"  {signals} {reason['effect']:+.2f}: "
        )
    return lines if score["reasons"] is not None else [*lines, "  no reasons were recorded of it"]


def _model_words(model: Mapping[str, Any]) -> list[str]:
    approval = model["approval"]
    lines = [f"MODEL {model['name']} version {model['version']}, {model['digest'][:12]}"]
    lines += wrap(f"{approval['action']} {_by(approval)}")
    if approval["is_override"]:
        lines += wrap("; ".join(approval["failures"]), "  OVERRIDE, although: ")
    return lines


def _feature_words(told: Mapping[str, Any]) -> list[str]:
    features = told["features"]
    if features is None:
        return ["FEATURES are not there any more"]
    lines = [
        f"FEATURES, the most unusual first; usual in {_said(told['category'] or 'all categories')}, and who else was so extreme"
    ]
    lines += [
        f"  {one['name']:<42}{_said(one['value']):>12}  usual {_said(one['usual']):<10}{_percent(one['as_extreme_share'])}"
        f"  {one['signal']}, {one['controlled_by']}"
        for one in features[:FEATURES_SHOWN]
    ]
    rest = len(features) - FEATURES_SHOWN
    return [*lines, f"  and {rest} less unusual ones: --json has all"] if rest > 0 else lines


def _verdict_words(told: Mapping[str, Any]) -> list[str]:
    verdict = told["verdict"]
    if verdict is None:
        return ["GATES: their verdict is not there any more"]
    lines = [f"GATES {'let it through' if verdict['passed'] else 'REFUSED it'}"]
    for gate in verdict["gates"]:
        lines.append(
            f"  {gate['gate']}: {gate['expectations_run']} expectations, {'passed' if gate['passed'] else 'REFUSED'}"
        )
        for failure in gate["failures"]:
            lines += wrap(f"{failure['severity']}: {failure['message']}", "    ")
    return lines


def _load_words(loads: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["LOADS"]
    for load in loads:
        landed = str(load["landed_at"])[:16].replace("T", " ")
        mode = "by command" if load["is_recorded"] else load["mode"]
        lines.append(f"  {load['table']:<22}{load['load_id']}  {landed}  {load['row_count']:>11,} rows  {mode}")
        if load["state"] != "as it landed":
            stands = f"; {load['stands_in']} stands in" if load["stands_in"] else ""
            lines.append(f"    {load['state'].upper()} since{stands}")
            for line in load["removals"]:
                lines += wrap(_by({**line, "at": line["at"][:16]}), "    ")
    return lines


def _table_words(name: str, found: Mapping[str, Any]) -> list[str]:
    loads = {tuple(one["load_ids"]) for one in found["rows"]}
    newest = f", the newest {len(found['rows'])}" if len(found["rows"]) < found["row_count"] else ""
    of_one = f", of load {_ids_said(*loads)}" if len(loads) == 1 else ""
    lines = [f"SOURCE ROWS {name}: {found['row_count']:,}{newest}{of_one}"]
    for one in found["rows"]:
        of_this = {} if of_one else {"load": _ids_said(one["load_ids"])}
        lines += wrap(_pairs({**of_this, **one["row"]}), "  - ")
    return lines


def _by(line: Mapping[str, Any]) -> str:
    """Returns who decided something, when and why."""
    return f"by {shorten(line['who'])} at {line['at']}: {shorten(line['why'], MOST_SENTENCE_COLUMNS)}"


def _ids_said(load_ids: Sequence[str]) -> str:
    return f"{load_ids[0]} and {len(load_ids) - 1} later" if len(load_ids) > 1 else load_ids[0]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_said(value)}" for name, value in values.items() if value is not None)


def _said(value: Any) -> str:
    """Returns a value on one line of a terminal, cut where it is long."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return shorten(text, LONGEST_VALUE)


def _percent(share: float | None) -> str:
    return f"{'':8}" if share is None else f"{100 * share:6.1f} %"
