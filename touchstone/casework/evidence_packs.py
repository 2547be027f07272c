"""Evidence packs: what is handed over about a lead, one folder per lead, written on demand from the files of a home.

    <folder>/<lead_id>/{lead.json,lead.html,custody.json,receipt.json}
                       evidence/{<section>.csv,<sha256>.jpg}   statements/statement-<16 hex>.{json,txt}

`evidence_sections` decides which rows and columns a reader gets, `evidence_facts` what follows from them, `evidence_page`
renders them. Text that people wrote is treated as hostile: it is made visible and shortened before it is shown, never names a
file, and cannot run in a spreadsheet; images are decoded before they are embedded. The same home gives the same bytes, except for
`receipt.json`, which records when a pack was written.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from expectations.audiences import load_audiences
from expectations.contract import Contract, load_contract
from ml.explain import for_audience
from touchstone.casework.currencies import base_currency
from touchstone.casework.evidence_facts import known_facts, statements, timeline, unknown_facts, volumes
from touchstone.casework.evidence_page import MAX_LISTINGS_SHOWN, image_suffix, render_page
from touchstone.casework.evidence_sections import (
    ACTIONS,
    LISTINGS_IN_SCOPE,
    MERCHANTS_IN_SCOPE,
    SECTIONS,
    EvidencePack,
    Reader,
    Section,
)
from touchstone.casework.leads import Leads, mart_file, read_leads, read_manifest
from touchstone.casework.statements_of_reasons import statement_text
from touchstone.core.errors import BadInputError
from touchstone.core.files import canonical_json, replacing_directory, sha256_bytes, sha256_file
from touchstone.core.home import Home
from touchstone.core.settings import Settings
from touchstone.core.text import MOST_CHARACTERS, visible, visible_values
from touchstone.landing.images import read_image
from touchstone.landing.ledger import LoadRecord
from touchstone.landing.sources import picture_folder
from touchstone.landing.views import open_landed_views
from touchstone.publishing.candidate import csv_bytes
from touchstone.publishing.history import ListStore

_MARTS: Final = (
    "rated_listings", "rated_merchants", "expected_harms", "merchant_ties", "discrepancies", "brushed_orders",
    "brushing_services",
)  # fmt: skip
# Gathering ------------------------------------------------------------------------------------------------------------


def gather(
    home: Path,
    leads: Leads,
    lead_ids: Sequence[str],
    reader: Reader,
    image_root: Path | None,
    *,
    limit: int | None = None,
) -> list[EvidencePack]:
    """Gathers the evidence packs of some leads. A lead of which the reader may see no merchant has none.

    Args:
        home: The home.
        leads: The leads of a date.
        lead_ids: The leads to gather.
        reader: Who reads the packs.
        image_root: The folder that image addresses are relative to, if there is one.
        limit: Maximum number of leads, the first of which the reader may see something; None for all.

    Returns:
        The packs, in the order of `lead_ids`.

    Raises:
        BadInputError: There is no such lead, or the marts of the date were removed.
    """
    contract = load_contract()
    requested = [leads.lead(lead_id) for lead_id in dict.fromkeys(lead_ids)]
    scope = {
        "audience": reader.audience, "brand": reader.brand, "jurisdiction": reader.jurisdiction, "as_of": leads.as_of,
    }  # fmt: skip
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        loads = _create_views(connection, home, leads, contract)
        columns = {name: [lead[name] for lead in requested] for name in ("lead_id", "kind", "group_id")}
        connection.register(
            "requested_leads", pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        )
        connection.execute(MERCHANTS_IN_SCOPE, _parameters(MERCHANTS_IN_SCOPE, scope))
        if limit is not None:
            requested = _keep_first(connection, requested, limit)
        connection.execute(LISTINGS_IN_SCOPE, _parameters(LISTINGS_IN_SCOPE, scope))
        tables = {name: _section(connection, section, reader, scope) for name, section in SECTIONS.items()}
        actions = connection.execute(ACTIONS, _parameters(ACTIONS, scope)).to_arrow_table().to_pylist()
        ((merchant_count,),) = connection.execute("select count(*) from now_merchants").fetchall()
        visible_leads = _visible_leads(connection)
    sources = _sources(home, leads, loads, reader)
    packs = []
    for lead in requested:
        if lead["lead_id"] in visible_leads:
            pack = EvidencePack(
                lead=_visible_columns(lead, reader),
                reader=reader,
                as_of=leads.as_of,
                sections={
                    name: _rows_of_lead(table, lead["lead_id"]) for name, table in tables.items() if table is not None
                },
                actions=[row for row in actions if row["lead_id"] == lead["lead_id"]],
                sources=sources,
                merchant_count=merchant_count,
            )
            _add_images(pack, image_root)
            packs.append(pack)
    return packs


def _visible_leads(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Returns the leads of which the reader may see a merchant."""
    return {row[0] for row in connection.execute("select distinct lead_id from visible_merchants").fetchall()}


def _keep_first(
    connection: duckdb.DuckDBPyConnection, requested: list[dict[str, Any]], limit: int
) -> list[dict[str, Any]]:
    """Returns the first leads of which the reader may see something, and removes the others from the connection."""
    visible_leads = _visible_leads(connection)
    first = [lead for lead in requested if lead["lead_id"] in visible_leads][:limit]
    kept = [lead["lead_id"] for lead in first]
    connection.execute("delete from visible_merchants where not list_contains($kept, lead_id)", {"kept": kept})
    return first


def _parameters(query: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters that a query uses; DuckDB refuses others."""
    return {name: value for name, value in values.items() if re.search(rf"\${name}\b", query)}


def _create_views(
    connection: duckdb.DuckDBPyConnection, home: Path, leads: Leads, contract: Contract
) -> list[LoadRecord]:
    """Creates views of the leads, the marts and lists of their date, and the newest row of each key in the landing zone.

    Returns:
        The loads that the views read.
    """
    pins = open_landed_views(connection, home, contract)
    for name, table in contract.tables.items():
        connection.execute(
            f"create view now_{name} as select rows.* from landed.{name} as rows semi join landed.loads as loads "
            f"on loads.table_name = '{name}' and loads.load_id = rows.load_id and loads.is_current "
            f"qualify row_number() over (partition by {', '.join(table.key)} order by landed_at desc, rows.load_id desc) = 1"
        )
    for mart in _MARTS:
        path = mart_file(home, mart, leads.as_of)
        if not path.is_file():
            raise BadInputError(
                f"{path} is missing, so the leads of {leads.as_of} cannot be exported. Rate the day again."
            )
        connection.from_parquet(str(path), hive_partitioning=False).create_view(mart)
    for name, rows in (("leads", leads.leads), ("lead_merchants", leads.merchants), ("lead_changes", leads.changes)):
        connection.register(name, rows)
    versions = _versions(home, leads)
    for name in ("listings", "merchants", "brushing_merchants"):
        key = "listing_id" if name == "listings" else "merchant_id"
        if name in versions:
            path = ListStore(Home(home).published, name).version_directory(versions[name]) / f"{name}.parquet"
            connection.from_parquet(str(path), hive_partitioning=False).create_view(f"listed_{name}")
        else:
            connection.execute(
                f"create view listed_{name} as select null::varchar as {key}, null::varchar as action, null::date as "
                f"first_flagged_date, "
                "null::double as score, null::varchar as reasons where false"
            )
    return [load for loads in pins.current.values() for load in loads]


def _versions(home: Path, leads: Leads) -> dict[str, str]:
    """Returns the published version of each list that the leads were built from."""
    versions: dict[str, str] = read_manifest(leads.folder)["lists"]
    return {name: version for name, version in versions.items() if (Home(home).published / name / version).is_dir()}


def _section(
    connection: duckdb.DuckDBPyConnection, section: Section, reader: Reader, scope: Mapping[str, Any]
) -> pa.Table | None:
    """Returns a section of all leads with the columns that the reader may see; None if a key column is not among them."""
    audiences = load_audiences()
    columns = [name for name, source in section.columns.items() if audiences.may_see(reader.audience, source)]
    if not set(section.key) <= set(columns):
        return None
    query = f"select lead_id, {', '.join(columns)} from ({section.query}) order by lead_id, {section.order_by}"
    table = connection.execute(query, _parameters(query, scope)).to_arrow_table()
    if "reasons" not in columns:
        return table
    texts = [reasons and _reasons_for(reasons, reader) for reasons in table["reasons"].to_pylist()]
    return table.set_column(table.column_names.index("reasons"), "reasons", pa.array(texts, pa.string()))


def _reasons_for(reasons: str, reader: Reader) -> str:
    """Returns the reasons that a reader may see; a brand does not get quotes that may name another brand's logo."""
    visible_reasons = json.loads(for_audience(reasons, reader.audience))
    if reader.audience == "brand":
        for reason in visible_reasons:
            if reason["signal"] == "logo":
                reason.pop("quote", None)
    return json.dumps(visible_reasons, ensure_ascii=False)


def _rows_of_lead(table: pa.Table, lead_id: str) -> pa.Table:
    return table.filter(pa.compute.equal(table["lead_id"], lead_id)).drop_columns(["lead_id"])


def _visible_columns(lead: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    audiences, nested = load_audiences(), ("merchants", "history")
    return {
        name: value
        for name, value in lead.items()
        if name not in nested and audiences.may_see(reader.audience, f"leads.{name}")
    }


def _add_images(pack: EvidencePack, root: Path | None) -> None:
    """Reads the images of the listings on the page, each once; counts those that are missing or are no images."""
    shown = {row["listing_id"] for row in pack.rows("listings")[:MAX_LISTINGS_SHOWN]}
    addresses: dict[str, list[str]] = {}
    for row in pack.rows("images"):
        if row["listing_id"] in shown and row["sha256"]:
            addresses.setdefault(row["sha256"], []).append(row["uri"] or "")
    for sha256, uris in sorted(addresses.items()):
        content = read_image(root.resolve(), sha256, uris) if root is not None else ""
        if isinstance(content, bytes) and image_suffix(content):
            pack.images[sha256] = content
        else:
            pack.missing_images += 1


def _sources(home: Path, leads: Leads, loads: Sequence[LoadRecord], reader: Reader) -> dict[str, Any]:
    """Returns the sources of all packs of an export, with digests and times."""
    lists = []
    for name, version in sorted(_versions(home, leads).items()):
        store = ListStore(Home(home).published, name)
        line = next(line for line in store.history() if line.version == version)
        receipt = json.loads((store.version_directory(version) / line.receipt).read_bytes())
        lists.append(
            {
                "list": name, "version": version, "manifest_sha256": line.manifest_sha256,
                "published_at": receipt["run"].get("published_at"), "model_sha256": store.manifest(version).inputs.model.digest,
            }
        )  # fmt: skip
    load_facts = [
        {
            "table": load.table, "load_id": load.load_id, "content_sha256": load.content_digest, "rows": load.row_count,
            "landed_at": load.landed_at.isoformat(), **({"source": load.source} if reader.audience == "internal" else {}),
        }
        for load in sorted(loads, key=lambda load: (load.table, load.landed_at))
    ]  # fmt: skip
    marts = {mart: sha256_file(mart_file(home, mart, leads.as_of)) for mart in _MARTS}
    return {
        "base_currency": base_currency(home, leads.as_of),
        "leads_manifest_sha256": leads.digest,
        "lists": lists,
        "marts_sha256": marts,
        "loads": load_facts,
    }


# Exporting ------------------------------------------------------------------------------------------------------------


def export(
    settings: Settings,
    reader: Reader,
    folder: Path,
    lead_ids: Sequence[str],
    *,
    limit: int,
    as_of: dt.date | None,
    who: str,
) -> dict[str, Any]:
    """Writes the evidence packs of some leads for a reader.

    Args:
        settings: The settings.
        reader: Who reads the packs.
        folder: The output folder.
        lead_ids: The leads; if empty, the first of which the reader may see something.
        limit: Maximum number of leads if none is named.
        as_of: The date of the leads; by default the newest.
        who: Who gives the command, for the receipts.

    Returns:
        The date, the reader's name and the folders of the packs.

    Raises:
        BadInputError: There is no such lead, brand or date, or the reader may see nothing of a named lead.
    """
    leads = read_leads(settings.home, as_of)
    requested = list(lead_ids) or [lead["lead_id"] for lead in leads.current()]
    packs = gather(
        settings.home,
        leads,
        requested,
        reader,
        picture_folder(settings.sources_file),
        limit=None if lead_ids else limit,
    )
    if empty := sorted(set(lead_ids) - {pack.lead["lead_id"] for pack in packs}):
        raise BadInputError(
            f"{', '.join(empty)}: the {reader.name} may see nothing of it. Name other leads or another reader."
        )
    if not packs:
        raise BadInputError(
            f"The {visible(reader.name)} may see nothing of any lead as of {leads.as_of}. Spell the name as the lists do."
        )
    written = write_packs(packs, folder, now=dt.datetime.now(dt.UTC), who=who)
    return {"as_of": leads.as_of, "reader": reader.name, "packs": [str(path) for path in written]}


# Writing --------------------------------------------------------------------------------------------------------------


def write_packs(packs: Sequence[EvidencePack], folder: Path, *, now: dt.datetime, who: str) -> list[Path]:
    """Writes one folder per lead, replacing an earlier pack of the same lead.

    Args:
        packs: The packs.
        folder: The output folder; created if absent.
        now: The time of the export, for the receipts.
        who: Who exports them, for the receipts.

    Returns:
        The folders.
    """
    return [_write(pack, folder / _folder_name(pack.lead["lead_id"]), now, who) for pack in packs]


def _folder_name(lead_id: str) -> str:
    """Returns the folder name of a lead: its id, whose form is checked."""
    if not re.fullmatch(r"lead-[0-9a-f]{12}", lead_id):
        raise BadInputError(f"{lead_id!r} is not a lead id. `touchstone leads list` names them.")
    return lead_id


def _write(pack: EvidencePack, target: Path, now: dt.datetime, who: str) -> Path:
    contents = dict(pack_files(pack))
    digests = {
        name: {"sha256": sha256_bytes(content), "bytes": len(content)} for name, content in sorted(contents.items())
    }
    head = {"lead_id": pack.lead["lead_id"], "as_of": str(pack.as_of), "reader": visible(pack.reader.name)}
    custody = canonical_json({**head, "files": digests, "sources": pack.sources})
    receipt = {
        "exported_at": now.isoformat(timespec="seconds"),
        "exported_by": visible(who),
        "custody_sha256": sha256_bytes(custody),
    }
    contents |= {"custody.json": custody, "receipt.json": canonical_json(receipt)}
    with replacing_directory(target) as temporary:
        for name, content in contents.items():
            file = temporary / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
    return target


def pack_files(pack: EvidencePack) -> Iterator[tuple[str, bytes]]:
    """Yields the files of a pack by name, except custody and receipt; `lead.html` is the last."""
    pack_statements = statements(pack)
    contents: dict[str, bytes] = {}
    for name, table in pack.sections.items():
        if table.num_rows:
            contents[f"evidence/{name}.csv"] = csv_bytes(table, MOST_CHARACTERS)
    for one in pack_statements:
        contents[f"statements/{one['statement_id']}.json"] = _json(one)
        contents[f"statements/{one['statement_id']}.txt"] = statement_text(visible_values(one)).encode()
    for sha256, content in pack.images.items():
        contents[f"evidence/{hashlib.sha256(content).hexdigest()}.{image_suffix(content)}"] = content
        if sha256 != hashlib.sha256(content).hexdigest():
            raise BadInputError(
                f"The file of image {visible(sha256)} has another digest than its row. Land the images again."
            )
    data = {
        "lead": pack.lead,
        "as_of": pack.as_of,
        "reader": {
            "audience": pack.reader.audience,
            "brand": pack.reader.brand,
            "jurisdiction": pack.reader.jurisdiction,
        },
        "known": known_facts(pack),
        "not_known": unknown_facts(pack),
        "timeline": timeline(pack),
        "volumes": volumes(pack),
        **{name: [_with_reasons(row) for row in pack.rows(name)] for name in pack.sections},
        "statements": [one["statement_id"] for one in pack_statements],
    }
    contents["lead.json"] = _json(data)
    contents["lead.html"] = render_page(pack, data, pack_statements, contents).encode()
    yield from contents.items()


def _json(value: Any) -> bytes:
    """Returns canonical JSON in ASCII, so that hidden characters are escaped."""
    return (json.dumps(_to_json(value), sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode()


def _with_reasons(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "reasons": json.loads(row["reasons"] or "[]")} if "reasons" in row else dict(row)


def _to_json(value: Any) -> Any:
    """Converts a value to JSON types: dates and decimals become text."""
    if isinstance(value, Mapping):
        return {name: _to_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(one) for one in value]
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
