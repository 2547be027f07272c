"""Traces a row of a list back to everything that it was computed from. It reads files only; the warehouse is not needed.

    row -> manifest -> score -> model and its approval -> features -> verdict and gates -> loads -> source rows

`open_evidence` verifies the digest of every file that a version names, once; `Evidence.trace` then answers for any rated
entity. Files of a date may have been pruned: a trace notes what is missing and continues. A file that exists but does not
match the manifest or the ledger is an error. How rows belong together is read from the contract.
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

from expectations.contract import load_contract
from ml.approvals import Decision
from ml.drift import as_extreme_share
from ml.model import RiskModel
from touchstone.core.errors import BadInputError
from touchstone.core.home import Home
from touchstone.landing.ledger import LoadStatus
from touchstone.publishing.source_rows import Row, SourceRows
from touchstone.publishing.traced_version import (
    TracedVersion,
    check_files,
    find_version,
    pin_remaining_loads,
    read_checked_verdict,
    read_loads,
    read_model_and_approval,
    read_receipt,
)
from touchstone.publishing.verdict import Verdict

HELD_REASONS: Final = {
    "corroboration": "fewer than {corroboration} signals corroborate it, as the policy's term requires ({description})",
    "capacity": "the capacity of the policy's term, {capacity} rows a day, went to higher scores ({description})",
}


def trace(
    home: Path,
    list_name: str,
    entity_id: str,
    *,
    as_of: date | None = None,
    version: str | None = None,
    rows: int = 5,
) -> dict[str, Any]:
    """Traces one row of a list; see `open_evidence` and `Evidence.trace`."""
    with open_evidence(home, list_name, as_of=as_of, version=version) as evidence:
        return evidence.trace(entity_id, rows=rows)


@contextmanager
def open_evidence(
    home: Path, list_name: str, *, as_of: date | None = None, version: str | None = None
) -> Iterator[Evidence]:
    """Opens the files that a list of one date was built from, and verifies the digest of each.

    Args:
        home: The home.
        list_name: The list.
        as_of: The date: opens the version in force at it, or its candidate if none was published.
        version: A version; without it and without a date, the one that LATEST names.

    Yields:
        The evidence, for as long as its files are open.

    Raises:
        BadInputError: There is no such list or version, or nothing was rated as of that date.
        VerificationError: A file does not match the manifest or the ledger, or the log of approvals or the model was changed.
    """
    traced = find_version(home, list_name, as_of, version)
    receipt = read_receipt(traced)
    decision, model = read_model_and_approval(home, traced, receipt)
    loads = read_loads(home, traced)
    contract = load_contract()
    with duckdb.connect(":memory:") as connection:
        pins = pin_remaining_loads(loads, contract)
        files, notes = check_files(home, traced)
        yield Evidence(
            home=home,
            traced=traced,
            receipt=receipt,
            verdict=read_checked_verdict(home, traced),
            decision=decision,
            model=model,
            loads=loads,
            files=files,
            missing_files=notes,
            connection=connection,
            source_rows=SourceRows(connection, Home(home).landing, pins, contract, traced.manifest.as_of),
        )


@dataclass(frozen=True)
class Evidence:
    """The verified files that a list of one date was built from.

    Attributes:
        home: The home.
        traced: The version of the list.
        receipt: The receipt of its newest publication; None for a candidate.
        verdict: Its verdict and the SHA-256 of that file; None if it is missing.
        decision: The approval in force when it was rated.
        model: The model that rated it.
        loads: Each load that the manifest names, with its status.
        files: `features`, `scores` and `mart` of the date; None for one that is missing.
        missing_files: A note for each of these that is missing.
        connection: Reads the date's files.
        source_rows: The rows of the loads.
    """

    home: Path
    traced: TracedVersion
    receipt: dict[str, Any] | None
    verdict: tuple[Verdict, str] | None
    decision: Decision
    model: RiskModel
    loads: list[LoadStatus]
    files: dict[str, Path | None]
    missing_files: list[str]
    connection: duckdb.DuckDBPyConnection
    source_rows: SourceRows

    @property
    def as_of(self) -> date:
        """The as-of date of the list."""
        return self.traced.manifest.as_of

    def trace(self, entity_id: str, *, rows: int = 5) -> dict[str, Any]:
        """Traces the rating of one entity.

        Args:
            entity_id: The id of the entity; an order or a review may be given by its own id.
            rows: Maximum number of rows of each source table, the newest.

        Returns:
            Plain data: `row` of the list, or None with `why_not_listed`; `publication`, `manifest`, `score`, `model`,
            `features` (the most extreme first), `verdict`, `loads`, `source_rows` by table, and `notes` on missing files.

        Raises:
            BadInputError: No entity of that id was rated as of the date.
        """
        manifest, definition = self.traced.manifest, self.traced.definition
        key = self._key(entity_id)
        row = self._row(self.traced.list_file, key)
        stored = {name: self._row(path, key) for name, path in self.files.items()}
        rated_row = row or stored["scores"]
        if rated_row is None:
            raise BadInputError(self._unrated_message(entity_id))
        score = self._score(row, stored)
        ids = {name: rated_row.get(name) for name in (definition.key, *definition.carried)}
        brand = (stored["mart"] or row or {}).get("brand")
        return {
            "list": definition.list_name,
            "entity_id": key,
            "as_of": str(self.as_of),
            "version": manifest.version if self.traced.publication else None,
            "is_listed": row is not None,
            "row": row,
            "why_not_listed": [] if row else self._why_not(score),
            "publication": self._publication(),
            "manifest": manifest.model_dump(mode="json"),
            "score": score,
            "model": self._model_facts(),
            "category": (stored["features"] or {}).get("category"),
            "features": describe_features(self.model, features_of(stored), score["reasons"] or []),
            "verdict": self._verdict_facts(),
            "loads": [_load_facts(load) for load in self.loads],
            "source_rows": self.source_rows.about(ids, brand, rows=rows),
            "notes": self._notes(),
        }

    def _key(self, entity_id: str) -> str | None:
        """Returns the key of a rated or listed row, given any of its ids."""
        ids = ", ".join((self.traced.definition.key, *self.traced.definition.carried))
        rows = self._rows(
            f"select {self.traced.definition.key} as key from read_parquet($path, hive_partitioning = false) where $id in "
            f"({ids}) "
            "order by 1",
            {"path": str(self.files["scores"] or self.traced.list_file), "id": entity_id},
        )
        return str(rows[0]["key"]) if rows else None

    def _row(self, path: Path | None, key: str | None) -> Row | None:
        if path is None or key is None:
            return None
        query = (
            f"select * from read_parquet($path, hive_partitioning = false) where {self.traced.definition.key} = $key"
        )
        return next(iter(self._rows(query, {"path": str(path), "key": key})), None)

    def _rows(self, query: str, values: Mapping[str, object]) -> list[Row]:
        cursor = self.connection.execute(query, values)
        names = [str(column[0]) for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _unrated_message(self, entity_id: str) -> str:
        """Returns the message that an entity was not rated as of the date, with the dates on which it was."""
        definition = self.traced.definition
        message = f"No entity {entity_id!r} was rated for the list {definition.list_name} as of {self.as_of}"
        if self.files["scores"] is None:
            message = f"{self.traced} has no row {entity_id!r}, and the scores of that date are missing"
        scored = Home(self.home).score_dates(definition.model)
        scores = [str(Home(self.home).scores(definition.model, day)) for day in scored]
        keys = ", ".join((definition.key, *definition.carried))
        query = f"select distinct as_of from read_parquet($paths, hive_partitioning = true) where $id in ({keys}) order by 1"
        dates = [str(row["as_of"]) for row in self._rows(query, {"paths": scores, "id": entity_id})] if scores else []
        if dates:
            return f"{message}. It was rated as of {', '.join(dates)}: choose one with --as-of."
        days = ", ".join(map(str, scored)) or "none"
        return (
            f"{message} or on any date with scores ({days}). Only active entities are rated; check the id and the list."
        )

    def _score(self, row: Row | None, stored: Mapping[str, Row | None]) -> dict[str, Any]:
        """Returns the rating with the limits that decided on it; from the list alone if the files of the date are missing."""
        limits, terms = self.traced.manifest.inputs.model, self.traced.manifest.terms or ()
        values = {**(row or {}), **(stored["mart"] or {}), **(stored["scores"] or {})}
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
        term = next((term for term in terms if term.term == values.get("term")), None)
        reasons = values.get("reasons")
        return {
            **{name: values.get(name) for name in names},
            "model_digest": values.get("model_digest", limits.digest),
            "term": None if term is None else term.model_dump(mode="json") | {"description": str(term)},
            "threshold": limits.threshold if term is None else term.threshold,
            "floor": limits.floor,
            "reasons": None if reasons is None else json.loads(reasons),
        }

    def _why_not(self, score: Mapping[str, Any]) -> list[str]:
        unpublished = (
            [] if self.traced.publication else [f"no version was published as of {self.as_of}: {self._refusal()}"]
        )
        return unpublished + why_not_listed(score, self.traced.manifest.policy)

    def _refusal(self) -> str:
        if self.verdict is None:
            return "its gates did not complete"
        return "; ".join(self.verdict[0].refusals()) or "its gates passed, but it was not published"

    def _publication(self) -> dict[str, Any] | None:
        line = self.traced.publication
        return None if line is None else {**line.model_dump(), "run": (self.receipt or {}).get("run", {})}

    def _model_facts(self) -> dict[str, Any]:
        limits, decision = self.traced.manifest.inputs.model, asdict(self.decision)
        approval = ("action", "version", "who", "why", "at", "evaluation", "is_override", "failures", "replaces")
        return {
            "name": limits.name,
            "digest": limits.digest,
            "version": self.decision.version,
            "threshold": limits.threshold,
            "floor": limits.floor,
            "folder": self.decision.folder,
            "approval": {name: decision[name] for name in approval},
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
        """Returns notes on missing, replaced and changed inputs."""
        notes = [*self.missing_files]
        if self.verdict is None:
            notes.append("the verdict is missing: pruned or removed.")
        elif self.receipt and self.verdict[1] != self.receipt["verdict_sha256"]:
            notes.append("the list was judged again after its publication: this is the newer verdict.")
        return notes + [f"load {removal}." for load in self.loads for removal in load.removals]


def features_of(stored: Mapping[str, Row | None]) -> Row | None:
    """Returns the features of a row as the model read them: those that were stored, and the scores of texts that were rated."""
    return stored["features"] and {**(stored["scores"] or {}), **stored["features"]}


def describe_features(
    model: RiskModel, row: Row | None, reasons: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]] | None:
    """Returns the features of a row as the model read them, the most extreme first.

    Args:
        model: The model.
        row: The features of the row, from `features_of`; None if they are missing.
        reasons: The reasons of the row.

    Returns:
        For each feature: name, signal, controlled_by, unit, `value`; `typical`, the model's baseline for the category;
        `as_extreme_share`, the share of the training population at least as extreme (None for models of earlier releases); and
        `signal_effect`, the effect of the reason that its signal gave. None if there is no row.
    """
    if row is None:
        return None
    typical = model.body["baseline"].get(row["category"], model.body["baseline"][""])
    effects = {
        signal: reason["effect"]
        for reason in reversed(reasons)
        for signal in (reason["signal"], reason.get("with_signal"))
    }
    reference = model.body.get("reference", {})
    features = [
        {
            "name": feature.name,
            "signal": feature.signal,
            "controlled_by": feature.controlled_by,
            "unit": feature.unit,
            "value": (value := row.get(feature.name) if feature.text else row[feature.name]),
            "typical": baseline,
            "as_extreme_share": as_extreme_share(reference[feature.name], value) if feature.name in reference else None,
            "signal_effect": effects.get(feature.signal),
        }
        for feature, baseline in zip(model.features, typical, strict=True)
    ]
    return sorted(features, key=_extreme_first)


def _extreme_first(feature: Mapping[str, Any]) -> tuple[float, float, str]:
    share, effect = feature["as_extreme_share"], feature["signal_effect"]
    return (1.0 if share is None else share, -(effect or 0.0), feature["name"])


def why_not_listed(score: Mapping[str, Any], policy: str) -> list[str]:
    """Returns why a rated entity is not on its list, one phrase per reason.

    Args:
        score: The `score` of `Evidence.trace`.
        policy: Digest of the policy of the list.

    Returns:
        The phrases.
    """
    causes = []
    if score["score"] < score["threshold"]:
        causes.append(f"its score {score['score']:g} is below the threshold {score['threshold']:g}")
    if score["own_conduct_score"] < score["floor"]:
        causes.append(f"its own_conduct_score {score['own_conduct_score']:g} is below the floor {score['floor']:g}")
    if score["is_suppressed"]:
        causes.append("it is suppressed, by a suppression or an upheld appeal")
    if score["held_by"] in HELD_REASONS:
        causes.append(HELD_REASONS[score["held_by"]].format(**score["term"]))
    if score["is_suppressed"] is None:
        causes.append("the mart is missing, so it is unknown whether it was suppressed")
    return causes or [f"it was flagged, and the policy {policy[:12]} excluded it"]


def _load_facts(load: LoadStatus) -> dict[str, Any]:
    """Returns the ledger's record of a load, its digest, and its later removals."""
    return {
        **load.load.model_dump(mode="json"),
        "content_digest": load.load.content_digest,
        "state": load.removals[0].status if load.removals else "unchanged",
        "replaced_by": load.current.load_id if load.current is not None and load.removals else None,
        # The ledger keeps whose rows were erased; a trace does not pass it on.
        "removals": [line.model_dump(mode="json", exclude={"person": {"value_hash"}}) for line in load.removals],
    }
