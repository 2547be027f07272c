"""Candidates: a list as it would be published, with its manifest, before the verdict of the gates.

    candidates/<list>/<sha256>/{<list>.parquet,<list>.csv,manifest.json[,verdict.json]}
    candidates/<list>/as_of=<date>.json    the candidate that was built last for a date

A candidate holds the rows of a mart that are flagged and not held back. The same mart, policy, inputs and previous version
give the same bytes; `<sha256>` is the digest of the manifest. `verdict` and `publish` decide whether it is published.
"""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from touchstone.core.errors import VerificationError
from touchstone.core.failpoints import failpoint
from touchstone.core.files import replacing_directory, sha256_bytes, sha256_file, write_json
from touchstone.core.lists import LISTS, ListName
from touchstone.core.text import MOST_CELL_CHARACTERS, visible, visible_sql
from touchstone.publishing.history import ListStore, previous_version
from touchstone.publishing.manifest import MANIFEST_FILE, Held, Manifest, ManifestInputs
from touchstone.publishing.policy import Policy
from touchstone.publishing.terms import AppliedTerm


@dataclass(frozen=True)
class ListShape:
    """The identifying columns of a list: its ids, the key first, and the column with the name for people."""

    ids: tuple[str, ...]
    label: str


SHAPES: Mapping[ListName, ListShape] = {
    "listings": ListShape(ids=("listing_id", "merchant_id"), label="title"),
    "merchants": ListShape(ids=("merchant_id",), label="name"),
    "reviews": ListShape(ids=("review_key", "order_id", "review_id", "listing_id", "merchant_id"), label="title"),
    "brushing_merchants": ListShape(ids=("merchant_id",), label="name"),
}
_MART_COLUMNS = {
    "url": "VARCHAR",
    "category": "VARCHAR",
    "brand": "VARCHAR",
    "price": "DECIMAL(18,4)",
    "currency": "VARCHAR",
    "score": "DOUBLE",
    "own_conduct_score": "DOUBLE",
    "band": "VARCHAR",
    "expected_precision": "DOUBLE",
    "reasons": "VARCHAR",
}
_ROW_GROUP_ROWS = 65_536
_FORMULA_STARTS = r"^\s*[=+\-@\t\r＝＋－＠]"  # noqa: RUF001  # spreadsheets accept the full-width characters, too


def list_columns(list_name: ListName) -> tuple[str, ...]:
    """Returns the columns of a list, in order."""
    shape = SHAPES[list_name]
    tail = ("is_calibrated", "action", "first_flagged_date", "days_on_list", "is_new")
    return ("rank", *shape.ids, shape.label, *_MART_COLUMNS, *tail)


@dataclass(frozen=True)
class Candidate:
    """A candidate on disk."""

    directory: Path
    list_name: ListName

    @property
    def sha256(self) -> str:
        """The identity of the candidate, from the name of its folder; `publish` recomputes it."""
        return self.directory.name

    @property
    def parquet(self) -> Path:
        """The Parquet file of the list, for its gate."""
        return self.directory / f"{self.list_name}.parquet"

    def manifest(self) -> Manifest:
        """Reads the manifest.

        Returns:
            The manifest.

        Raises:
            VerificationError: It is missing, or its SHA-256 is not the identity of the candidate.
        """
        path = self.directory / MANIFEST_FILE
        if not path.is_file():
            raise VerificationError(f"Candidate {self.directory} has no {MANIFEST_FILE}. Build the list again.")
        manifest = Manifest.from_bytes(path.read_bytes(), str(path))
        if manifest.sha256 != self.sha256:
            raise VerificationError(f"Candidate {self.directory} was changed after it was built. Build the list again.")
        return manifest


def build_candidate(
    list_name: ListName,
    mart: Path,
    *,
    policy: Policy,
    terms: Sequence[AppliedTerm],
    inputs: ManifestInputs,
    published: Path,
    candidates: Path,
    as_of: dt.date,
) -> Candidate:
    """Builds the candidate of a list from the flagged rows of a mart, and writes it atomically.

    Args:
        list_name: The list.
        mart: Parquet file of the list's mart, such as `rated_listings`.
        policy: The policy in force.
        terms: The applied terms by which the mart was built.
        inputs: The inputs for the manifest.
        published: Folder of published lists; the version in force at the latest earlier as_of is the previous one.
        candidates: Folder of candidates.
        as_of: The as-of date of the mart.

    Returns:
        The candidate.

    Raises:
        VerificationError: The previous version does not match its manifest, or the history is damaged.
    """
    store = ListStore(published, list_name)
    previous = previous_version(store.history(), as_of)
    rows = _rows(list_name, mart, _previous_list(store, previous), as_of, is_calibrated=inputs.model.is_calibrated)
    rated_count, flagged_count, held = _counts(mart)
    files = {f"{list_name}.parquet": _parquet_bytes(rows), f"{list_name}.csv": csv_bytes(rows)}
    manifest = Manifest(
        list_name=list_name,
        as_of=as_of,
        rated_count=rated_count,
        row_count=rows.num_rows,
        flagged_count=flagged_count,
        held=held,
        inputs=inputs,
        mart=sha256_file(mart),
        policy=policy.digest,
        terms=tuple(terms),
        previous=previous,
        files={name: sha256_bytes(content) for name, content in files.items()},
    )
    candidate = Candidate(candidates / list_name / manifest.sha256, list_name)
    _write(candidate, {**files, MANIFEST_FILE: manifest.to_bytes()})
    pointer = _pointer(candidates, list_name, as_of)
    with failpoint("candidate.point", pointer):
        write_json(pointer, {"candidate_sha256": manifest.sha256})
    return candidate


def newest_candidate(list_name: ListName, candidates: Path, as_of: dt.date) -> Candidate | None:
    """Returns the newest candidate of a date, or None."""
    pointer = _pointer(candidates, list_name, as_of)
    if not pointer.is_file():
        return None
    return Candidate(candidates / list_name / json.loads(pointer.read_bytes())["candidate_sha256"], list_name)


def _pointer(candidates: Path, list_name: ListName, as_of: dt.date) -> Path:
    return candidates / list_name / f"as_of={as_of.isoformat()}.json"


def _write(candidate: Candidate, contents: Mapping[str, bytes]) -> None:
    """Writes the folder of a candidate unless it exists unchanged; a damaged one is replaced together with its verdict."""
    directory = candidate.directory
    if all((directory / name).is_file() and (directory / name).read_bytes() == contents[name] for name in contents):
        return
    with failpoint("candidate.write", directory), replacing_directory(directory) as temporary:
        for name, content in contents.items():
            (temporary / name).write_bytes(content)


def _previous_list(store: ListStore, version: str | None) -> Path | None:
    if version is None:
        return None
    path = store.version_directory(version) / f"{store.list_name}.parquet"
    if not path.is_file() or sha256_file(path) != store.manifest(version).files[path.name]:
        raise VerificationError(f"{path} does not match its manifest. Run `touchstone verify {store.list_name}`.")
    return path


def _rows(list_name: ListName, mart: Path, previous: Path | None, as_of: dt.date, *, is_calibrated: bool) -> pa.Table:
    """Returns the rows of the list, in rank order."""
    key = LISTS[list_name].key
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        connection.execute(f"create table previous ({key} varchar, first_flagged_date date)")
        if previous is not None:
            connection.execute(
                f"insert into previous select {key}, first_flagged_date from read_parquet(?)", [str(previous)]
            )
        return connection.execute(
            _query(list_name), {"as_of": as_of, "mart": str(mart), "is_calibrated": is_calibrated}
        ).to_arrow_table()


def _counts(mart: Path) -> tuple[int, int, Held]:
    """Returns the numbers of rated and of flagged entities of a mart, and of those held back by cause."""
    held = ", ".join(f"count(*) filter (where held_by = '{name}')" for name in Held.model_fields)
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        query = f"select count(*), count(*) filter (where is_flagged), {held} from read_parquet(?, hive_partitioning = false)"
        rated, flagged, *counts = connection.execute(query, [str(mart)]).fetchall()[0]
    return rated, flagged, Held(**dict(zip(Held.model_fields, counts, strict=True)))


def _query(list_name: ListName) -> str:
    shape, key = SHAPES[list_name], LISTS[list_name].key
    texts = {**dict.fromkeys((*shape.ids, shape.label), "VARCHAR"), **_MART_COLUMNS}
    columns = ",\n  ".join(f"cast(mart.{name} as {kind}) as {name}" for name, kind in texts.items())
    return f"""
        select
          row_number() over (order by mart.score desc, mart.margin desc, mart.{key}) as rank,
          {columns},
          cast($is_calibrated as boolean) as is_calibrated,
          cast(mart.action as varchar) as action,
          coalesce(previous.first_flagged_date, cast($as_of as date)) as first_flagged_date,
          cast(cast($as_of as date) - coalesce(previous.first_flagged_date, cast($as_of as date)) as integer) as days_on_list,
          previous.{key} is null as is_new
        from read_parquet($mart, hive_partitioning = false) as mart
        left join previous on previous.{key} = mart.{key}
        where mart.is_flagged and mart.held_by is null
        order by rank
    """


def _parquet_bytes(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pa.parquet.write_table(rows, buffer, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
    return buffer.getvalue()


def csv_bytes(rows: pa.Table, most: int = MOST_CELL_CHARACTERS) -> bytes:
    """Returns rows as CSV that is safe to open in a spreadsheet. It is for people; programs read the Parquet file next to it.

    Hidden characters are escaped and long texts are cut (`core.text.visible`), so that a row is one line; a text that a
    spreadsheet would run as a formula gets a leading `'`.

    Args:
        rows: The rows.
        most: Maximum number of characters of a text.

    Returns:
        The CSV file.
    """
    buffer = io.BytesIO()
    inert = [_inert(_visible(column, most)) for column in rows.columns]
    pa.csv.write_csv(pa.table(inert, names=rows.column_names), buffer)
    return buffer.getvalue()


def cell_of(text: str) -> str:
    """Returns a text as `csv_bytes` writes it, for reading such a file back."""
    (cell,) = _inert(pa.chunked_array([[visible(text, MOST_CELL_CHARACTERS)]])).to_pylist()
    return str(cell)


def _visible(column: pa.ChunkedArray, most: int) -> pa.ChunkedArray:
    """Applies `visible` to a column of text; a column of short, printable ASCII is returned unchanged."""
    if not pa.types.is_string(column.type):
        return column
    is_odd = pa.compute.or_kleene(
        pa.compute.match_substring_regex(column, "[^ -~]"), pa.compute.greater(pa.compute.binary_length(column), most)
    )
    if not pa.compute.any(is_odd).as_py():
        return column
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        # Row numbers keep the order with several threads.
        connection.register("texts", pa.table({"number": pa.array(np.arange(len(column))), "value": column}))
        query = f"select {visible_sql('value', most)} as value from texts order by number"
        return connection.execute(query).to_arrow_table()["value"]


def _inert(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    runs = pa.compute.match_substring_regex(column, _FORMULA_STARTS)
    return pa.compute.if_else(runs, pa.compute.binary_join_element_wise("'", column, ""), column)
