"""Packs contain only the reader's own rows and permitted columns, and no executable, hidden or deceptive content."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.audiences import AUDIENCES_PATH, Audiences, load_audiences
from expectations.contract import load_contract
from tests.hostile import HOSTILE
from tests.leads_fixtures import DAY, Goods, Made, Merchant, hostile_market, landed_of, mart_columns
from touchstone.casework.evidence_facts import describe_score
from touchstone.casework.evidence_packs import gather, visible, write_packs
from touchstone.casework.evidence_sections import SECTIONS, Reader
from touchstone.casework.leads import read_leads
from touchstone.casework.statements_of_reasons import statement, statement_id, statement_text
from touchstone.core.errors import BadInputError
from touchstone.core.files import sha256_bytes
from touchstone.core.lists import LISTS

NOW = dt.datetime(2026, 7, 1, tzinfo=dt.UTC)
AT = dt.datetime(2026, 6, 1)  # noqa: DTZ001  # landed times have no zone: they are UTC
FORMULA = re.compile("\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
INTERNAL = Reader("internal")
GERMANY = Reader("authority", jurisdiction="DE")
ACME = Reader("brand", brand="acme")


def packed(made: Made, reader: Reader, pictures: Path | None = None, name: str = "packs") -> list[Path]:
    """Writes the packs of all leads for a reader."""
    leads = read_leads(made.home)
    packs = gather(made.home, leads, [lead["lead_id"] for lead in leads.current()], reader, pictures)
    return write_packs(packs, made.home / name, now=NOW, who="somebody")


def texts(folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yields the path and text of every file of packs; escapes in JSON are decoded."""
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes().decode(errors="replace")
            yield str(path), json.dumps(json.loads(content), ensure_ascii=False) if path.suffix == ".json" else content


# Rows and columns by reader ------------------------------------------------------------------------------------------


def test_every_column_has_audiences_and_personal_ones_are_never_shown_to_a_brand() -> None:
    audiences = load_audiences()
    for table, declared in load_contract().tables.items():
        for column, one in declared.columns.items():
            assert audiences.may_see("internal", f"{table}.{column}")
            if one.personal:
                assert not audiences.may_see("brand", f"{table}.{column}"), (table, column)
            if one.personal == "hash":
                assert not audiences.may_see("authority", f"{table}.{column}"), (table, column)


def test_every_mart_column_read_by_packs_has_audiences() -> None:
    made = load_audiences().made
    for mart in set(made) & set(mart_columns()) - {"lead_merchants"}:
        assert {column for columns in made[mart].values() for column in columns} == set(mart_columns()[mart]), mart
    for mart in ("leads", "lead_merchants", "lead_changes"):
        assert mart in made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rules: rules["contract"].pop("orders"), "tables that only the contract"),
        (lambda rules: rules["contract"]["orders"]["authority"].remove("amount"), "amount"),
        (lambda rules: rules["contract"]["merchants"]["both"].append("stranger"), "stranger"),
        (
            lambda rules: rules["contract"]["merchants"].update(brand=["name"], authority=["region", "city"]),
            "is personal",
        ),
        (lambda rules: rules["made"]["leads"]["both"].append("rank"), "named twice"),
    ],
)
def test_audience_rules_that_miss_a_column_or_show_a_personal_one_are_refused(
    change: Any, message: str, tmp_path: Path
) -> None:
    rules = yaml.safe_load(AUDIENCES_PATH.read_text())
    change(rules)
    file = tmp_path / "audiences.yml"
    file.write_text(yaml.safe_dump(rules))
    with pytest.raises(BadInputError, match=message):
        load_audiences(file)


def test_every_section_names_the_sources_of_its_columns() -> None:
    audiences: Audiences = load_audiences()
    for name, section in SECTIONS.items():
        assert set(section.key) <= set(section.columns), name
        for source in section.columns.values():
            audiences.may_see("brand", source)


@pytest.mark.parametrize(
    ("audience", "more"),
    [
        ("brand", {}),
        ("authority", {}),
        ("internal", {"brand": "Acme"}),
        ("brand", {"brand": "A", "jurisdiction": "DE"}),
    ],
)
def test_an_incomplete_or_contradictory_reader_is_refused(audience: Any, more: Mapping[str, str]) -> None:
    with pytest.raises(BadInputError, match=f"--audience {audience}"):
        Reader(audience, **more)


def test_a_jurisdiction_must_be_a_country() -> None:
    with pytest.raises(BadInputError, match="not a country"):
        Reader("authority", jurisdiction="Germany")


COUNTRIES, BRANDS = ("CN", "DE", None), ("Acme", "ACME", "Bolt", None)


@st.composite
def markets(draw: st.DrawFn) -> list[Merchant]:
    """Merchants in two rings and alone, in three countries, with listings of two brands and none; IDs are distinct."""
    merchants = []
    for number in range(draw(st.integers(2, 6))):
        goods = tuple(
            Goods(
                f"listing-{number}-{place}-",
                brand=draw(st.sampled_from(BRANDS)),
                title=f"title-{number}-{place}-",
                score=90,
            )
            for place in range(draw(st.integers(1, 3)))
        )
        merchants.append(
            Merchant(
                f"merchant-{number}-",
                goods,
                country=draw(st.sampled_from(COUNTRIES)),
                name=f"name-{number}-",
                city=f"city-{number}-",
                ring=draw(st.sampled_from([None, "ring-a", "ring-b"])),
                service=draw(st.sampled_from([None, "service-s"])),
                brushing_score=draw(st.sampled_from([1, 90])),
            )
        )
    return merchants


def everything(
    merchants: Sequence[Merchant],
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[dict[str, Any]]]]:
    """Returns the landed rows and marts of a market, with a row of each kind about each merchant and listing."""
    goods = [(merchant, one) for merchant in merchants for one in merchant.goods]
    landed = landed_of(merchants) | {
        "brands": [{"brand_id": "brand-acme", "name": "Acme"}, {"brand_id": "brand-bolt", "name": "Bolt"}],
        "listing_images": [
            {
                "image_id": f"image-{one.listing_id}",
                "listing_id": one.listing_id,
                "role": "main",
                "uri": f"{one.listing_id}.jpg",
                "sha256": sha256_bytes(one.listing_id.encode()),
            }
            for _, one in goods
        ],
        "notices": [
            {
                "notice_id": f"notice-{one.listing_id}{brand}",
                "listing_id": one.listing_id,
                "reporter_id": f"reporter-{one.listing_id}",
                "brand_id": f"brand-{brand}",
                "kind": "counterfeit",
                "submitted_at": AT,
                "outcome": "upheld",
                "reason": "reason-notice",
                "decided_at": AT,
            }
            for _, one in goods
            for brand in ("acme", "bolt")
        ],
        "test_buys": [
            {
                "test_buy_id": f"buy-{one.listing_id}",
                "listing_id": one.listing_id,
                "plan_id": "plan-secret",
                "ordered_at": AT,
                "verdict": "counterfeit",
                "decided_at": AT,
            }
            for _, one in goods
        ],
        "moderation_decisions": [
            {
                "entity_kind": kind,
                "entity_id": entity,
                "violation_type": "counterfeit",
                "decided_at": AT,
                "verdict": "fake",
                "decided_by": f"moderator-{entity}",
            }
            for merchant, one in goods
            for kind, entity in (("listing", one.listing_id), ("merchant", merchant.merchant_id))
        ],
        "platform_actions": [
            {
                "action_id": f"action-{entity}",
                "entity_kind": kind,
                "entity_id": entity,
                "kind": "takedown",
                "occurred_at": AT,
            }
            for merchant, one in goods
            for kind, entity in (("listing", one.listing_id), ("merchant", merchant.merchant_id))
        ],
        "enforcement_actions": [
            {"action_id": f"raid-{one.merchant_id}", "merchant_id": one.merchant_id, "kind": "raid", "occurred_at": AT}
            for one in merchants
        ],
        "cases": [
            {
                "case_id": f"case-{one.merchant_id}",
                "merchant_id": one.merchant_id,
                "stage": "filed",
                "stage_at": AT,
                "defendant": f"defendant-{one.merchant_id}",
                "violation_type": "counterfeit",
            }
            for one in merchants
        ],
    }
    marts = {
        "discrepancies": [
            {
                "as_of_date": DAY,
                "listing_id": one.listing_id,
                "field": "case",
                "reference": reference,
                "words": f"words-{one.listing_id}{reference}",
            }
            for _, one in goods
            for reference in ("brand", "peers")
        ],
        "brushed_orders": [
            {
                "as_of_date": DAY,
                "review_key": f"order:{one.listing_id}",
                "listing_id": one.listing_id,
                "merchant_id": merchant.merchant_id,
                "buyer_id": f"buyer-{one.listing_id}",
                "occurred_date": DAY,
            }
            for merchant, one in goods
        ],
        "brushing_services": [
            {
                "as_of_date": DAY,
                "service_id": one.service,
                "buyer_id": f"account-{one.merchant_id}",
                "merchant_id": one.merchant_id,
            }
            for one in merchants
            if one.service
        ],
    }
    return landed, marts


def prepared(home: Path, merchants: Sequence[Merchant]) -> Made:
    """Returns a made-up home with rows of every kind about every entity, and leads."""
    landed, marts = everything(merchants)
    made = Made(home, landed)
    made.land()
    ids = sorted(one.merchant_id for one in merchants)
    made.find(merchants, rows=marts, ties=[(a, b) for a in ids for b in ids if a < b], lists=tuple(LISTS))
    return made


def foreign_to_acme(merchants: Sequence[Merchant]) -> set[str]:
    """Returns the words that the brand Acme must not read: of other brands' listings, other merchants, persons."""
    words = {word for one in merchants for word in (one.name, one.city)}
    for merchant in merchants:
        own = [one for one in merchant.goods if (one.brand or "").lower() == "acme"]
        words |= set() if own else {merchant.merchant_id}
        words |= {word for one in merchant.goods if one not in own for word in (one.listing_id, one.title)}
    return words | {"raid-", "case-", "defendant-", "Bolt", "brand-bolt", "peers"}


def foreign_to_germany(merchants: Sequence[Merchant]) -> set[str]:
    """Returns the words that an authority of Germany must not read: merchants in other countries."""
    elsewhere = [one for one in merchants if one.country != "DE"]
    words = {word for one in elsewhere for word in (one.merchant_id, one.name, one.city)}
    return words | {word for one in elsewhere for goods in one.goods for word in (goods.listing_id, goods.title)}


@settings(max_examples=6)
@given(merchants=markets())
def test_a_pack_contains_no_row_or_personal_column_outside_its_readers_permission(merchants: list[Merchant]) -> None:
    with TemporaryDirectory() as folder:
        made = prepared(Path(folder), merchants)
        internal = "".join(text for _, text in texts(packed(made, INTERNAL, name="internal")))
        assert all(one.merchant_id in internal for one in merchants)
        of_nobody_outside = {"reporter-", "moderator-", "buyer-", "account-", "plan-secret"}
        for reader, foreign in ((ACME, foreign_to_acme(merchants)), (GERMANY, foreign_to_germany(merchants))):
            for path, text in texts(packed(made, reader, name=reader.audience)):
                assert {word for word in foreign | of_nobody_outside if word in text} == set(), path


def test_a_pack_contains_its_readers_rows_and_columns(tmp_path: Path) -> None:
    shops = [
        Merchant(
            "merchant-0-",
            (Goods("listing-0-0-"), Goods("listing-0-1-", "Bolt")),
            country="DE",
            ring="r",
            name="name-0-",
        ),
        Merchant("merchant-1-", (Goods("listing-1-0-"),), country="DE", ring="r"),
    ]
    made = prepared(tmp_path, shops)
    brand = "".join(text for _, text in texts(packed(made, ACME, name="brand")))
    for word in (
        "listing-0-0-",
        "listing-1-0-",
        "notice-listing-0-0-acme",
        "buy-listing-0-0-",
        "words-listing-0-0-brand",
        "cheap",
    ):
        assert word in brand
    authority = "".join(text for _, text in texts(packed(made, GERMANY, name="authority")))
    for word in ("listing-0-1-", "name-0-", "device", "raid-merchant-0-", "defendant-merchant-0-", "Bolt"):
        assert word in authority


def test_a_lead_without_rows_of_its_reader_has_no_pack(tmp_path: Path) -> None:
    made = prepared(tmp_path, [Merchant("merchant-0-", (Goods("listing-0-", "Bolt"),), country="CN")])
    assert packed(made, ACME) == packed(made, GERMANY) == []


def test_a_pack_excludes_data_after_its_day(tmp_path: Path) -> None:
    merchants = [Merchant("merchant-0-", (Goods("listing-0-0-"),))]
    landed, marts = everything(merchants)
    late = dt.datetime(2026, 7, 1, 1)  # noqa: DTZ001  # as landed
    landed["notices"] = [{**landed["notices"][0], "decided_at": late, "reason": "added-late"}]
    landed["test_buys"] = [{**landed["test_buys"][0], "ordered_at": late}]
    made = Made(tmp_path, landed)
    made.land()
    made.find(merchants, rows=marts)
    (folder,) = packed(made, INTERNAL)
    result = json.loads((folder / "lead.json").read_text())
    assert [(row["outcome"], row["reason"]) for row in result["notices"]] == [("pending", None)]
    assert result["test_buys"] == []
    assert not any("added-late" in text for _, text in texts([folder]))


def test_packs_are_deterministic_and_their_custody_digests_match(tmp_path: Path) -> None:
    made = prepared(
        tmp_path, [Merchant("merchant-0-", (Goods("listing-0-0-"),), ring="r"), Merchant("merchant-1-", ring="r")]
    )
    (one,), (other,) = packed(made, INTERNAL, name="one"), packed(made, INTERNAL, name="other")
    files = {path.relative_to(one): path.read_bytes() for path in one.rglob("*") if path.is_file()}
    assert files == {path.relative_to(other): path.read_bytes() for path in other.rglob("*") if path.is_file()}
    custody = json.loads(files.pop(Path("custody.json")))
    receipt = json.loads(files.pop(Path("receipt.json")))
    assert receipt["custody_sha256"] == sha256_bytes((one / "custody.json").read_bytes())
    assert {name: entry["sha256"] for name, entry in custody["files"].items()} == {
        str(name): sha256_bytes(content) for name, content in files.items()
    }
    assert {load["table"] for load in custody["sources"]["loads"]} == set(made.landed)
    assert {entry["list"] for entry in custody["sources"]["lists"]} == set(LISTS)


def test_images_are_evidence_only_if_their_digests_match(tmp_path: Path) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(buffer, "PNG")
    contents = {"good": buffer.getvalue(), "html": b"<script>alert(1)</script>", "other": b"other bytes"}
    goods = tuple(Goods(f"listing-{name}-") for name in contents)
    merchants = [Merchant("merchant-0-", goods)]
    made = Made(tmp_path, landed_of(merchants))
    root = tmp_path / "pictures"
    root.mkdir()
    for name, content in contents.items():
        (root / name).write_bytes(content)
    made.landed["listing_images"] = [
        {
            "image_id": f"image-{name}",
            "listing_id": f"listing-{name}-",
            "role": "main",
            "uri": uri,
            "sha256": sha256_bytes(b"what it was" if name == "other" else content),
        }
        for (name, content), uri in zip(contents.items(), ("good", "html", "other"), strict=True)
    ]
    made.land()
    made.find(merchants)
    (folder,) = packed(made, INTERNAL, root)
    assert [path.name for path in (folder / "evidence").iterdir() if path.suffix != ".csv"] == [
        f"{sha256_bytes(contents['good'])}.png"
    ]
    assert (folder / "lead.html").read_text().count("data:image/jpeg;base64,") == 1
    assert "The contents of 2 images" in (folder / "lead.html").read_text()


def test_regions_that_discrepancies_name_are_outlined(tmp_path: Path) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), "gray").save(buffer, "PNG")
    merchants = [Merchant("merchant-0-", (Goods("listing-0-"),))]
    made = Made(tmp_path, landed_of(merchants))
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "good").write_bytes(buffer.getvalue())
    sha256 = sha256_bytes(buffer.getvalue())
    made.landed["listing_images"] = [
        {"image_id": "i", "listing_id": "listing-0-", "role": "main", "uri": "good", "sha256": sha256}
    ]
    made.land()
    row = {"as_of_date": DAY, "listing_id": "listing-0-", "reference": "picture"}
    region = "0.2,0.2 0.6,0.2 0.6,0.5 0.2,0.5"
    rows = [
        row | {"field": "contact", "picture_sha256": sha256, "region": region, "words": "states <b>a number</b>"},
        row | {"field": "watermark", "picture_sha256": "f" * 64, "region": region, "words": "bears a name"},
        row | {"field": "title", "picture_sha256": sha256, "region": None, "words": "is a logo"},
    ]
    made.find(merchants, rows={"discrepancies": rows})
    (folder,) = packed(made, INTERNAL, root)
    page = (folder / "lead.html").read_text()
    images = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    whole, outlined = (np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))).astype(int) for image in images)
    assert (whole.max(axis=2) - whole.min(axis=2)).max() < 10
    reds = np.argwhere(outlined[..., 0] - outlined[..., 1] > 90)
    assert reds.min(axis=0) == pytest.approx((0.2 * 200, 0.2 * 300), abs=4)
    assert reds.max(axis=0) == pytest.approx((0.5 * 200, 0.6 * 300), abs=4)
    assert "states &lt;b&gt;a number&lt;/b&gt;" in page
    assert page.count("the picture is not in this pack") == 1
    assert region in (folder / "evidence" / "discrepancies.csv").read_text()


# Hostile text ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects the elements of a page and their requests."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each element."""
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack of a ring of a hundred hostile merchants, for an authority, which may read names too."""
    home = tmp_path_factory.mktemp("hostile")
    merchants = hostile_market()
    made = Made(home, landed_of(merchants))
    made.landed["platform_actions"] = [
        {
            "action_id": f"{number}",
            "entity_kind": "merchant",
            "entity_id": one.merchant_id,
            "kind": "ban",
            "occurred_at": AT,
            "reason": one.name,
        }
        for number, one in enumerate(merchants)
    ]
    made.land()
    made.find(merchants, ties=[(merchants[0].merchant_id, one.merchant_id) for one in merchants[1:]])
    (folder,) = packed(made, GERMANY)
    return folder


def test_there_are_a_hundred_hostile_values() -> None:
    assert len(set(HOSTILE)) >= 100
    assert max(map(len, HOSTILE)) >= 100_000


def test_no_file_name_contains_user_text(hostile: Path) -> None:
    for path in hostile.rglob("*"):
        assert re.fullmatch(r"[a-z0-9_-]+(\.[a-z]+)?", path.name), path
        assert not path.is_symlink()
    assert {path.name for path in hostile.parent.iterdir()} == {hostile.name}


def test_no_csv_cell_is_a_formula_or_has_invisible_characters(hostile: Path) -> None:
    cells = 0
    for path in sorted(hostile.glob("evidence/*.csv")):
        for row in csv.reader(io.StringIO(path.read_text())):
            for cell in row:
                cells += 1
                assert not FORMULA.match(cell) or re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", cell), (
                    path,
                    cell[:60],
                )
                assert cell.isprintable(), (path, cell[:60])
                assert len(cell) < 32_767
    assert cells > 10 * len(HOSTILE)


def test_the_page_has_no_scripts_requests_or_invisible_characters(hostile: Path) -> None:
    content = (hostile / "lead.html").read_text()
    page = Page()
    page.feed(content)
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "base", "form", "a", "svg", "video", "audio"}
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in {"href", "srcset", "action", "style"}
        assert name != "src" or value.startswith("data:image/jpeg;base64,")
    policies = {value for name, value in page.attributes if name == "content"}
    assert any(value.startswith("default-src 'none'; img-src data:") for value in policies)
    assert all(sign.isprintable() or sign == "\n" for sign in content)
    assert "(cut: 100,0" in content
    assert len(content) < 5_000_000


def test_statements_have_no_invisible_characters_and_the_record_is_verbatim(hostile: Path) -> None:
    for path in hostile.glob("statements/*.txt"):
        assert all(sign.isprintable() or sign == "\n" for sign in path.read_text()), path
    raw = (hostile / "lead.json").read_bytes()
    assert raw.isascii()
    assert {row["name"] for row in json.loads(raw)["merchants"]} == set(HOSTILE)


@given(text=st.text(max_size=50))
def test_visible_escapes_only_unprintable_characters(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


# Text ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "words"), [(100, "almost certain (100"), (79.9, "likely (80"), (40, "about even (40"), (0, "very un")]
)
def test_a_probability_is_rendered_as_words_and_number(score: float, words: str) -> None:
    assert describe_score(score).startswith(words)


def action(**more: Any) -> dict[str, Any]:
    return {
        "entity_kind": "listing",
        "entity_id": "l1",
        "violation_type": "counterfeit",
        "kind": "remove",
        "at": DAY,
        **more,
    }


def test_a_statement_has_everything_required_by_article_17() -> None:
    reasons = [
        {"signal": "price", "audiences": ["merchant"], "text": "half the price"},
        {"signal": "link", "audiences": ["authority"], "text": "linked to others"},
    ]
    result = statement(action(score=93.2, as_of=DAY, reasons=json.dumps(reasons), notice_count=2, ships_to="DE, FR"))
    assert result["decision"]["is_restriction"]
    assert "DE, FR" in result["decision"]["territorial_scope"]
    assert result["decision"]["duration"]
    assert result["facts_and_circumstances"]["facts"] == ["half the price"]
    assert "2 upheld notices under Article 16" in result["facts_and_circumstances"]["origin"]
    assert result["automated_means"]["in_detection"]
    assert result["automated_means"]["in_decision"]
    assert result["legal_ground"]
    assert result["contractual_ground"]
    assert len(result["redress"]) == 3
    text = statement_text(result)
    assert all(
        part in text
        for part in ("1. Decision", "2. Facts", "3. Automated", "4. Legal", "5. Contractual", "6. Means of redress")
    )
    assert "linked to others" not in text


def test_a_statement_of_an_unrestrictive_action_declares_it() -> None:
    result = statement(action(kind="review", score=60.0, as_of=DAY, reasons=None))
    assert not result["decision"]["is_restriction"]
    assert result["facts_and_circumstances"]["origin"] == "Own-initiative investigation"


def test_a_decision_of_the_platform_is_not_attributed_to_a_model() -> None:
    result = statement(action(kind="takedown", reason="sold fakes"))
    assert not result["automated_means"]["in_decision"]
    assert result["facts_and_circumstances"]["facts"] == ["Reason given by the platform: sold fakes"]


def test_each_action_has_its_own_statement() -> None:
    actions = [action(), action(kind="ban"), action(violation_type="brushing"), action(entity_id="l2"), action(at=AT)]
    assert len({statement_id(one) for one in actions}) == len(actions)
    assert statement_id(action(entity_id="../../x")).startswith("statement-")
