"""Lead packs: what is handed to whom about a lead, one folder a lead, made on demand from what stands in a home.

    <folder>/<lead_id>/{lead.json,lead.html,custody.json,receipt.json}
                       evidence/{<section>.csv,<sha256>.jpg}   statements/statement-<16 hex>.{json,txt}

Which rows and columns a reader gets is decided in `sections`. All that people wrote is hostile until shown otherwise: it is made
visible and cut before it is shown, names no file, runs in no spreadsheet, and a picture is opened before it is embedded. The same
home gives the same bytes, but for `receipt.json`, which says when a pack was made.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from expectations.audiences import load_audiences
from expectations.contract import Contract, load_contract
from ml.explain import for_audience
from touchstone.casework.evidence_sections import ACTIONS, GOODS, OURS, SECTIONS, Reader, Section
from touchstone.casework.leads import Leads, manifest_of, mart_file, read_leads
from touchstone.casework.statements_of_reasons import statement, statement_text
from touchstone.core.errors import BadInputError, counted
from touchstone.core.files import canonical_json, replacing_directory, sha256_bytes, sha256_file
from touchstone.core.settings import Settings
from touchstone.core.text import MOST_CHARACTERS, shorten, visible, visible_in_html, visible_values
from touchstone.landing.images import content_of
from touchstone.landing.ledger import Ledger, LoadRecord, pinned_loads
from touchstone.landing.sources import picture_folder
from touchstone.landing.views import create_views
from touchstone.publishing.candidate import csv_bytes
from touchstone.publishing.history import Shelf

TEMPLATE: Final = Path(__file__).resolve().parent / "lead.html"
STYLE: Final = Path(__file__).resolve().parent / "lead.css"
MOST_SHOWN: Final = 40
"""Listings on the page, the worst first; the CSV has all."""
MOST_PICTURE_PIXELS: Final = 40_000_000
_PICTURE_KINDS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
_MARTS: Final = (
    "rated_listings", "rated_merchants", "expected_harms", "merchant_ties", "discrepancies", "brushed_orders",
    "brushing_services",
)  # fmt: skip
_IN_WORDS: Final = (
    (95, "almost certain"),
    (80, "very likely"),
    (60, "likely"),
    (40, "about even"),
    (20, "unlikely"),
    (0, "very unlikely"),
)


# As JSON, and in words ----------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it: dates as text, money as text with its digits, text as it was written."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def in_words(score: float) -> str:
    """Returns a probability of 0 to 100 in words, and the number."""
    return f"{next(words for least, words in _IN_WORDS if score >= least)} ({score:.0f} of 100)"


# Gathering ------------------------------------------------------------------------------------------------------------


@dataclass
class Pack:
    """All that a reader gets of a lead, by section, filtered by row and column."""

    lead: dict[str, Any]
    reader: Reader
    as_of: dt.date
    sections: dict[str, pa.Table]
    actions: list[dict[str, Any]]
    sources: dict[str, Any]
    pictures: dict[str, bytes] = field(default_factory=dict)
    """Bytes of the pictures that are held, by digest."""
    unheld: int = 0
    merchant_count: int = 0
    """Merchants of the whole marketplace, beside which it is told how rare a link is."""

    def rows(self, section: str) -> list[dict[str, Any]]:
        """Returns a section's rows; none where the reader does not get it."""
        return self.sections[section].to_pylist() if section in self.sections else []


def gather(
    home: Path,
    leads: Leads,
    lead_ids: Sequence[str],
    reader: Reader,
    pictures: Path | None,
    *,
    limit: int | None = None,
) -> list[Pack]:
    """Gathers the packs of some leads; a lead of which the reader may see no merchant has none.

    Args:
        home: The home.
        leads: The leads as of a date.
        lead_ids: Which of them.
        reader: For whom.
        pictures: The folder that the addresses of pictures start from, if there is one.
        limit: How many leads at most, the first of them of which the reader may see something; without one, all.

    Raises:
        BadInputError: There is no such lead, or the marts of the date are gone.
    """
    contract = load_contract()
    asked = [leads.lead(lead_id) for lead_id in dict.fromkeys(lead_ids)]
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        loads = _open(connection, home, leads, contract)
        table = pa.table(
            {name: pa.array([lead[name] for lead in asked], pa.string()) for name in ("lead_id", "kind", "group_id")}
        )
        connection.register("asked", table)
        whose = {
            "audience": reader.audience, "brand": reader.brand, "jurisdiction": reader.jurisdiction, "as_of": leads.as_of,
        }  # fmt: skip
        connection.execute(OURS, _named(OURS, whose))
        if limit is not None:
            asked = _first(connection, asked, limit)
        connection.execute(GOODS, _named(GOODS, whose))
        found = {name: _section(connection, section, reader, whose) for name, section in SECTIONS.items()}
        acted = connection.execute(ACTIONS, _named(ACTIONS, whose)).to_arrow_table().to_pylist()
        ((merchants,),) = connection.execute("select count(*) from now_merchants").fetchall()
        ours = {row[0] for row in connection.execute("select distinct lead_id from ours").fetchall()}
    sources = _sources(home, leads, loads, reader)
    packs = []
    for lead in asked:
        if lead["lead_id"] not in ours:
            continue
        sections = {name: _of_lead(table, lead["lead_id"]) for name, table in found.items() if table is not None}
        actions = [row for row in acted if row["lead_id"] == lead["lead_id"]]
        pack = Pack(_seen_of(lead, reader), reader, leads.as_of, sections, actions, sources, merchant_count=merchants)
        _add_pictures(pack, pictures)
        packs.append(pack)
    return packs


def _first(connection: duckdb.DuckDBPyConnection, asked: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """Returns the first leads of which the reader sees something, and leaves the connection only these."""
    seen = {row[0] for row in connection.execute("select distinct lead_id from ours").fetchall()}
    first = [lead for lead in asked if lead["lead_id"] in seen][:limit]
    kept = [lead["lead_id"] for lead in first]
    connection.execute("delete from ours where not list_contains($kept, lead_id)", {"kept": kept})
    return first


def _named(query: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those parameters that a query names: DuckDB refuses others."""
    return {name: value for name, value in values.items() if re.search(rf"\${name}\b", query)}


def _open(connection: duckdb.DuckDBPyConnection, home: Path, leads: Leads, contract: Contract) -> list[LoadRecord]:
    """Shows a connection the leads, the marts and lists of their date, and the newest row of each key in the landing zone.

    Returns:
        The loads that are shown.
    """
    landing = home / "landing"
    pins = pinned_loads(Ledger(landing).read(), contract)
    create_views(connection, landing, pins, contract)
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
                f"{path} is gone, so there is nothing to show of the leads of {leads.as_of}. Rate the day again."
            )
        connection.from_parquet(str(path), hive_partitioning=False).create_view(mart)
    for name, rows in (("leads", leads.leads), ("lead_merchants", leads.merchants), ("lead_changes", leads.changes)):
        connection.register(name, rows)
    versions = _versions(home, leads)
    for name in ("listings", "merchants", "brushing_merchants"):
        key = "listing_id" if name == "listings" else "merchant_id"
        if name in versions:
            path = Shelf(home / "published", name).version_directory(versions[name]) / f"{name}.parquet"
            connection.from_parquet(str(path), hive_partitioning=False).create_view(f"listed_{name}")
        else:
            connection.execute(
                f"create view listed_{name} as select null::varchar as {key}, null::varchar as action, null::date as "
                f"first_flagged_date, "
                "null::double as score, null::varchar as reasons where false"
            )
    return [load for loads in pins.current.values() for load in loads]


def _versions(home: Path, leads: Leads) -> dict[str, str]:
    versions: dict[str, str] = manifest_of(leads.folder)["lists"]
    return {name: version for name, version in versions.items() if (home / "published" / name / version).is_dir()}


def _section(
    connection: duckdb.DuckDBPyConnection, section: Section, reader: Reader, whose: Mapping[str, Any]
) -> pa.Table | None:
    """Returns a section of all leads with the columns that the reader may see; None where these say nothing."""
    audiences = load_audiences()
    seen = [name for name, source in section.columns.items() if audiences.may_see(reader.audience, source)]
    if not set(section.key) <= set(seen):
        return None
    query = f"select lead_id, {', '.join(seen)} from ({section.query}) order by lead_id, {section.order_by}"
    table = connection.execute(query, _named(query, whose)).to_arrow_table()
    if "reasons" not in seen:
        return table
    told = pa.array([reasons and _told(reasons, reader) for reasons in table["reasons"].to_pylist()], pa.string())
    return table.set_column(table.column_names.index("reasons"), "reasons", told)


def _told(reasons: str, reader: Reader) -> str:
    """Returns the reasons that a reader may read; to a brand, without the quote that may name another brand's logo."""
    told = json.loads(for_audience(reasons, reader.audience))
    if reader.audience == "brand":
        told = [
            {name: one for name, one in reason.items() if name != "quote" or reason["signal"] != "logo"}
            for reason in told
        ]
    return json.dumps(told, ensure_ascii=False)


def _of_lead(table: pa.Table, lead_id: str) -> pa.Table:
    return table.filter(pa.compute.equal(table["lead_id"], lead_id)).drop_columns(["lead_id"])


def _seen_of(lead: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    audiences, named = load_audiences(), ("merchants", "history")
    return {
        name: value
        for name, value in lead.items()
        if name not in named and audiences.may_see(reader.audience, f"leads.{name}")
    }


def _add_pictures(pack: Pack, root: Path | None) -> None:
    """Reads the pictures of the listings on the page, each once; what is no picture is not held."""
    shown = {row["listing_id"] for row in pack.rows("listings")[:MOST_SHOWN]}
    uris: dict[str, list[str]] = {}
    for row in pack.rows("pictures"):
        if row["listing_id"] in shown and row["sha256"]:
            uris.setdefault(row["sha256"], []).append(row["uri"] or "")
    for sha256, addresses in sorted(uris.items()):
        content = content_of(root.resolve(), sha256, addresses) if root is not None else ""
        if isinstance(content, bytes) and _kind(content):
            pack.pictures[sha256] = content
        else:
            pack.unheld += 1


def _kind(content: bytes) -> str | None:
    """Returns the ending of a picture's file name, or None where it is no picture that a browser should be handed."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            is_fine = picture.width * picture.height <= MOST_PICTURE_PIXELS
            return _PICTURE_KINDS.get(picture.format or "") if is_fine else None
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _small(content: bytes) -> str | None:
    """Returns a picture as a data address: drawn anew and small, so that nothing of its file is left but what is seen."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            small = picture.convert("RGB")
            small.thumbnail((180, 180))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=80)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _sources(home: Path, leads: Leads, loads: Sequence[LoadRecord], reader: Reader) -> dict[str, Any]:
    """Returns what all packs of an export stand on, with digests and times."""
    lists = []
    for name, version in sorted(_versions(home, leads).items()):
        shelf = Shelf(home / "published", name)
        line = next(line for line in shelf.history() if line.version == version)
        receipt = json.loads((shelf.version_directory(version) / line.receipt).read_bytes())
        lists.append(
            {
                "list": name, "version": version, "manifest_sha256": line.manifest_sha256,
                "published_at": receipt["run"].get("published_at"), "model_sha256": shelf.manifest(version).inputs.model.digest,
            }
        )  # fmt: skip
    told = [
        {
            "table": load.table, "load_id": load.load_id, "content_sha256": load.content_digest, "rows": load.row_count,
            "landed_at": load.landed_at.isoformat(), **({"source": load.source} if reader.audience == "internal" else {}),
        }
        for load in sorted(loads, key=lambda load: (load.table, load.landed_at))
    ]  # fmt: skip
    marts = {mart: sha256_file(mart_file(home, mart, leads.as_of)) for mart in _MARTS}
    return {"leads_manifest_sha256": leads.digest, "lists": lists, "marts_sha256": marts, "loads": told}


# What follows from it -------------------------------------------------------------------------------------------------


def timeline(pack: Pack) -> list[dict[str, Any]]:
    """Returns what happened when, oldest first, of what the reader sees."""
    events: list[tuple[Any, str, str]] = []
    for section, at, say in (
        ("merchants", "registered_at", lambda row: ("merchant", f"{row['merchant_id']} joined the platform")),
        (
            "listings",
            "listed_at",
            lambda row: ("listing", f"{row['listing_id']} was first offered") if row["is_listed"] else None,
        ),
        (
            "notices",
            "submitted_at",
            lambda row: ("notice", f"a notice ({row['kind']}) about {row['listing_id']}: {row['outcome']}"),
        ),
        ("test_buys", "ordered_at", lambda row: ("test buy", f"{row['listing_id']} was bought to be examined")),
        ("test_buys", "decided_at", lambda row: ("test buy", f"{row['listing_id']}: {row['verdict']}")),
        (
            "decisions",
            "decided_at",
            lambda row: (
                "decision",
                f"{row['entity_kind']} {row['entity_id']}, {row['violation_type']}: {row['verdict']}",
            ),
        ),
        (
            "actions",
            "occurred_at",
            lambda row: ("platform", f"{row['kind']} of {row['entity_kind']} {row['entity_id']}"),
        ),
        ("enforcement", "occurred_at", lambda row: ("authority", f"{row['kind']} at {row['merchant_id']}")),
        (
            "appeals",
            "submitted_at",
            lambda row: ("appeal", f"about {row['entity_kind']} {row['entity_id']}: {row['outcome']}"),
        ),
        ("cases", "stage_at", lambda row: ("court", f"{row['case_id']} against {row['merchant_id']}: {row['stage']}")),
        ("hand_overs", "handed_over_at", lambda row: ("hand-over", f"to {row['recipient']} ({row['audience']})")),
        ("history", "as_of_date", lambda row: ("lead", row["change"])),
    ):
        rows = [(row[at], say(row)) for row in pack.rows(section) if row.get(at) is not None]
        events += [(when, *said) for when, said in rows if said is not None]
    return [
        {"at": str(when)[:10], "what": what, "text": text}
        for when, what, text in sorted(events, key=lambda e: (str(e[0]), *e[1:]))
    ]


def volumes(pack: Pack) -> list[dict[str, Any]]:
    """Returns listings, units of 30 days, their value and harm by category; none for whom orders are not."""
    sums: dict[str, dict[str, Any]] = {}
    for row in pack.rows("listings"):
        if "unit_count" not in row:
            return []
        at = sums.setdefault(
            row["category"] or "no category",
            {"listings": 0, "units": 0, "value_usd": Decimal(0), "harm_usd": Decimal(0)},
        )
        at["listings"] += 1
        at["units"] += row["unit_count"] or 0
        at["value_usd"] += (row["unit_count"] or 0) * (row["price_usd"] or Decimal(0))
        at["harm_usd"] += row["expected_harm_usd"] or Decimal(0)
    total = {name: sum(one[name] for one in sums.values()) for name in ("listings", "units", "value_usd", "harm_usd")}
    return [{"category": name, **sums[name]} for name in sorted(sums)] + (
        [{"category": "all", **total}] if sums else []
    )


def known(pack: Pack) -> list[dict[str, str]]:
    """Returns what is known, each with how surely, in words and number."""
    return [
        {"what": what, "how_surely": surely} for what, surely in (*_recorded(pack), *_estimated(pack), *_tied(pack))
    ]


def _recorded(pack: Pack) -> Iterator[tuple[str, str]]:
    """Yields what is on record."""
    for section, column, value, words in (
        ("test_buys", "verdict", "counterfeit", "bought and examined: counterfeit"),
        ("test_buys", "verdict", "genuine", "bought and examined: genuine"),
        ("notices", "outcome", "upheld", "notices upheld"),
        ("notices", "outcome", "rejected", "notices rejected"),
        ("decisions", "verdict", "fake", "decisions of moderators: fake"),
        ("decisions", "verdict", "genuine", "decisions of moderators: genuine"),
    ):
        if count := sum(row[column] == value for row in pack.rows(section)):
            yield f"{words}, {count}", "on record"
    if count := len(pack.rows("enforcement")):
        yield f"actions of authorities, {count}", "on record"


def _estimated(pack: Pack) -> Iterator[tuple[str, str]]:
    """Yields what the models say, of merchants as far as the reader may know it and of all listings together."""
    for row in pack.rows("merchants"):
        if row.get("score") is not None:
            precision = row["expected_precision"]
            proved = f"; of such ratings {100 * precision:.0f} % proved right" if precision is not None else ""
            yield f"{row['merchant_id']} sells counterfeits", f"{in_words(float(row['score']))}, estimated{proved}"
        if row.get("brushing_score") is not None and row["is_brushing_listed"]:
            yield f"{row['merchant_id']} buys orders or reviews", f"{in_words(float(row['brushing_score']))}, estimated"
    scores = [row["score"] for row in pack.rows("listings") if row["score"] is not None]
    if scores:
        yield (
            f"of {len(scores)} living listings {sum(scores) / 100:.1f} are counterfeit",
            "estimated, the sum of risks",
        )


def _tied(pack: Pack) -> Iterator[tuple[str, str]]:
    """Yields what ties the merchants."""
    within = [row for row in pack.rows("links") if row["is_within"]]
    if within:
        rarest, firm = min(row["bearer_count"] for row in within), sum(row["is_verified"] for row in within)
        yield (
            f"the merchants share identifiers: {len(within)} ties, the rarest value borne by {rarest} of {pack.merchant_count:,}",
            f"on record; others cannot have planted {firm} of them. That the merchants act together follows, and has no number",
        )


def unknown(pack: Pack) -> list[str]:
    """Returns what is not known, which a reader would else take for granted."""
    listings, merchants = pack.rows("listings"), pack.rows("merchants")
    found = ["Who the persons behind the accounts are: accounts are told apart by what they use, not by who they are."]
    examined = {row["listing_id"] for row in pack.rows("test_buys") if row["verdict"] in {"counterfeit", "genuine"}}
    bought = sum(row["listing_id"] in examined for row in listings)
    found.append(
        f"Whether {len(listings) - bought} of {len(listings)} living listings are genuine: nobody has examined the goods."
    )
    if unrated := sum(row["score"] is None for row in listings):
        found.append(f"The risk of {unrated} listings: nothing rates them.")
    if unpriced := sum("price_usd" in row and row["price_usd"] is None for row in listings):
        found.append(f"The value of {unpriced} listings: no rate or no price is known.")
    if unheld := pack.unheld:
        found.append(f"What {unheld} pictures show: their files are not held, or are no pictures.")
    if planted := sum(not row["is_verified"] for row in pack.rows("links")):
        found.append(f"Whether {planted} links are the merchants' own: a third party could have planted them.")
    if any(row.get("role") == "served" for row in merchants):
        found.append(
            "Which of the merchants pay the service: its accounts buy elsewhere, too, and a rival can have one framed."
        )
    if pack.reader.audience == "brand":
        found.append("What else the merchants offer, and what ties them: a brand is told of its own goods alone.")
    if pack.reader.audience == "authority":
        found.append(f"Whether accounts outside {pack.reader.jurisdiction} belong to it: they are not in this pack.")
    found.append(
        "What came after the day that everything is told as of; orders outside the platform; the stock that is not on offer."
    )
    return found


def statements(pack: Pack) -> list[dict[str, Any]]:
    """Returns the statement of reasons of each action, of lists and of the platform, on what the reader sees."""
    upheld: dict[str, int] = {}
    for row in pack.rows("notices"):
        upheld[row["listing_id"]] = upheld.get(row["listing_id"], 0) + (row["outcome"] == "upheld")
    acted = [
        {
            **row,
            "as_of": pack.as_of,
            "reasons": _of_brand(row["reasons"], pack.reader),
            "notice_count": upheld.get(row["entity_id"], 0),
        }
        for row in pack.actions
    ]
    acted += [
        {
            **row,
            "violation_type": "counterfeit",
            "at": row["occurred_at"],
            "notice_count": upheld.get(row["entity_id"], 0),
        }
        for row in pack.rows("actions")
    ]
    return sorted((statement(action) for action in acted), key=lambda told: told["statement_id"])


def _of_brand(reasons: str | None, reader: Reader) -> str | None:
    """Returns reasons without those that a brand may not read, where it is one that reads the statement."""
    if not reasons or reader.audience != "brand":
        return reasons
    return json.dumps([reason for reason in json.loads(reasons) if "brand" in reason.get("audiences", ())])


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
    """Writes packs for a reader and says which.

    Args:
        settings: The settings.
        reader: For whom.
        folder: Where.
        lead_ids: Which leads; without any, the first of which the reader may see something.
        limit: How many, where none is named.
        as_of: As of which date; by default the newest that has leads.
        who: Who gives the command.

    Raises:
        BadInputError: There is no such lead, brand or date, or a lead that is named holds nothing that is the reader's.
    """
    leads = read_leads(settings.home, as_of)
    wanted = list(lead_ids) or [lead["lead_id"] for lead in leads.found()]
    packs = gather(
        settings.home, leads, wanted, reader, picture_folder(settings.sources_file), limit=None if lead_ids else limit
    )
    if missed := sorted(set(lead_ids) - {pack.lead["lead_id"] for pack in packs}):
        raise BadInputError(
            f"{', '.join(missed)}: nothing of it is for the {reader.name}. Name other leads, or another reader."
        )
    if not packs:
        raise BadInputError(
            f"No lead as of {leads.as_of} holds anything for the {visible(reader.name)}. Is it spelled as the lists do?"
        )
    written = write_packs(packs, folder, now=dt.datetime.now(dt.UTC), who=who)
    return {"as_of": leads.as_of, "reader": reader.name, "packs": [str(path) for path in written]}


def render_export(done: Mapping[str, Any]) -> str:
    """Returns what was exported, for a terminal."""
    lines = [
        f"{counted(len(done['packs']), 'lead')} as of {done['as_of']} for: {shorten(done['reader'], 100)}",
        *(visible(path) for path in done["packs"]),
    ]
    return "\n".join([*lines, "Open lead.html in each; custody.json has the digests."])


# Writing --------------------------------------------------------------------------------------------------------------


def write_packs(packs: Sequence[Pack], folder: Path, *, now: dt.datetime, who: str) -> list[Path]:
    """Writes one folder a lead; what was there of the same lead goes.

    Args:
        packs: The packs.
        folder: Where; made if absent.
        now: When they are made, for their receipts.
        who: Who makes them.
    """
    return [_write(pack, folder / _name(pack.lead["lead_id"]), now, who) for pack in packs]


def _name(lead_id: str) -> str:
    """Returns a lead's id as the name of its folder; it is one by its form alone."""
    if not re.fullmatch(r"lead-[0-9a-f]{12}", lead_id):
        raise BadInputError(f"{lead_id!r} is not the id of a lead.")
    return lead_id


def _write(pack: Pack, target: Path, now: dt.datetime, who: str) -> Path:
    contents = dict(files(pack))
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


def files(pack: Pack) -> Iterator[tuple[str, bytes]]:
    """Yields the files of a pack, but for custody and receipt, by their names within it; `lead.html` is the last."""
    told = statements(pack)
    made: dict[str, bytes] = {}
    for name, table in pack.sections.items():
        if table.num_rows:
            made[f"evidence/{name}.csv"] = csv_bytes(table, MOST_CHARACTERS)
    for one in told:
        made[f"statements/{one['statement_id']}.json"] = _json(one)
        made[f"statements/{one['statement_id']}.txt"] = statement_text(visible_values(one)).encode()
    for sha256, content in pack.pictures.items():
        made[f"evidence/{hashlib.sha256(content).hexdigest()}.{_kind(content)}"] = content
        if sha256 != hashlib.sha256(content).hexdigest():
            raise BadInputError(f"A picture is not what its row says: {visible(sha256)}.")
    data = {
        "lead": pack.lead,
        "as_of": pack.as_of,
        "reader": {
            "audience": pack.reader.audience,
            "brand": pack.reader.brand,
            "jurisdiction": pack.reader.jurisdiction,
        },
        "known": known(pack),
        "not_known": unknown(pack),
        "timeline": timeline(pack),
        "volumes": volumes(pack),
        **{name: [_with_reasons(row) for row in pack.rows(name)] for name in pack.sections},
        "statements": [one["statement_id"] for one in told],
    }
    made["lead.json"] = _json(data)
    made["lead.html"] = page(pack, data, told, made).encode()
    yield from made.items()


def _json(value: Any) -> bytes:
    """Returns JSON in ASCII: what hides in a text stands there by its number."""
    return (json.dumps(_plain(value), sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode()


def _with_reasons(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "reasons": json.loads(row["reasons"] or "[]")} if "reasons" in row else dict(row)


def page(pack: Pack, data: Mapping[str, Any], told: Sequence[Mapping[str, Any]], made: Mapping[str, bytes]) -> str:
    """Returns the lead as one page of HTML that asks for nothing: no script, no address, pictures and style within it."""
    from jinja2 import Environment, StrictUndefined

    style = STYLE.read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=visible_in_html
    )
    small = {sha256: address for sha256, content in pack.pictures.items() if (address := _small(content))}
    by_listing: dict[str, list[dict[str, Any]]] = {}
    for row in pack.rows("pictures"):
        by_listing.setdefault(row["listing_id"], []).append(row)
    shown = [
        {**row, "pictures": _pictures_of(by_listing.get(row["listing_id"], []), small)}
        for row in data.get("listings", [])[:MOST_SHOWN]
    ]
    tables = {
        name: {"title": SECTIONS[name].title, "rows": visible_values(data[name][:100]), "count": len(data[name])}
        for name in ("test_buys", "notices", "decisions", "actions", "enforcement", "appeals", "cases", "hand_overs")
        if data.get(name)
    }
    sha256 = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        style=style,
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{sha256}'; base-uri 'none'; form-action 'none'",
        lead=visible_values(data["lead"]),
        as_of=pack.as_of,
        reader=visible(pack.reader.name),
        known=visible_values(data["known"]),
        not_known=data["not_known"],
        merchants=visible_values(data["merchants"]),
        links=visible_values(data.get("links", [])[:200]),
        merchant_count=f"{pack.merchant_count:,}",
        link_count=len(data.get("links", [])),
        accounts=len({row.get("buyer_id") for row in data.get("accounts", [])} - {None}),
        transaction_count=len(data.get("transactions", [])),
        listings=_shown_but_pictures(shown),
        listing_count=len(data.get("listings", [])),
        timeline=visible_values(data["timeline"][-150:]),
        event_count=len(data["timeline"]),
        volumes=visible_values(data["volumes"]),
        tables=tables,
        statements=visible_values(list(told)[:100]),
        statement_count=len(told),
        sources=visible_values(pack.sources),
        files={name: sha256_bytes(content) for name, content in sorted(made.items())},
    )


def _pictures_of(rows: Sequence[Mapping[str, Any]], small: Mapping[str, str]) -> list[str]:
    """Returns the first two pictures of a listing that differ."""
    return [small[sha256] for sha256 in dict.fromkeys(row["sha256"] for row in rows) if sha256 in small][:2]


def _shown_but_pictures(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows made visible; the pictures in them are ours, and longer than any text."""
    return [
        {
            **visible_values({name: value for name, value in row.items() if name != "pictures"}),
            "pictures": row["pictures"],
        }
        for row in rows
    ]
