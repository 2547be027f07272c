"""A lead's page as its recipient opens it: a local file, in a real Chromium, offline.

It requests no external resource.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chromium import launch
from conftest import touchstone
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from test_ui import SCREENSHOTS

from tests.hostile import HOSTILE
from tests.leads_fixtures import Goods, Made, Merchant, landed_of
from tests.unit.test_evidence_packs import GERMANY, packed


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = launch(playwright)
        yield started
        started.close()


@dataclass
class Opened:
    """A page that was opened offline, its requests, and its console output."""

    page: Page
    asked: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)


def opened(browser: Browser, file: Path) -> Opened:
    """Opens a file offline."""
    context = browser.new_context(offline=True, viewport={"width": 1120, "height": 1400})
    found = Opened(context.new_page())
    found.page.on("request", lambda request: found.asked.append(request.url))
    found.page.on("console", lambda message: found.printed.append(message.text))
    found.page.on("pageerror", lambda error: found.printed.append(str(error)))
    found.page.on("dialog", lambda dialog: (found.printed.append(dialog.message), dialog.dismiss()))
    found.page.goto(file.as_uri())
    return found


def assert_self_contained(found: Opened, file: Path) -> None:
    """Fails if the page requested anything but itself and its embedded images, or printed to the console."""
    assert [url for url in found.asked if not url.startswith("data:image/jpeg")] == [file.as_uri()]
    assert found.printed == []


def test_a_lead_of_the_demo_opens_offline_and_renders_correctly(browser: Browser, home: Path, tmp_path: Path) -> None:
    done = touchstone(
        home, "leads", "export", "--audience", "internal", "--to", str(tmp_path / "packs"), "--limit", "1", "--json"
    )
    assert done.code == 0, done.stderr
    (folder,) = done.json["packs"]
    file = Path(folder) / "lead.html"
    found = opened(browser, file)
    for title in (
        "What is known, and how certain it is",
        "What is not known",
        "Merchants",
        "Listings",
        "Timeline",
        "Custody: sources and digests",
    ):
        expect(found.page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    assert found.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing runs off the page"
    assert found.page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert_self_contained(found, file)
    with Image.open(io.BytesIO(found.page.screenshot())) as picture:
        picture.convert("RGB").quantize(128).save(
            Path(os.environ.get(SCREENSHOTS, tmp_path)) / "lead.png", optimize=True
        )
    found.page.emulate_media(media="print")
    assert found.page.pdf().startswith(b"%PDF")
    assert_self_contained(found, file)


def test_a_page_with_hostile_text_runs_no_script_and_makes_no_request(browser: Browser, tmp_path: Path) -> None:
    merchants = [
        Merchant(
            f"{value}{number}", (Goods(f"{value}{number}", title=value, url=value),), name=value, country="DE", ring="r"
        )
        for number, value in enumerate(HOSTILE)
        if len(value) < 1000
    ]
    made = Made(tmp_path, landed_of(merchants))
    made.land()
    made.find(merchants)
    (folder,) = packed(made, GERMANY)
    found = opened(browser, folder / "lead.html")
    assert found.page.evaluate("document.scripts.length") == 0
    assert found.page.locator("h1").inner_text().startswith("Ring")
    assert found.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert_self_contained(found, folder / "lead.html")
