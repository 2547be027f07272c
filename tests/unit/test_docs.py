"""Links, citations and ordering in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
CODE = ("touchstone", "orchestration", "ml", "expectations", "dbt_project/models", "dbt_project/macros", "benchmarks")
CITED = re.compile(r"docs/decisions/(\d{4})")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_to_a_repository_file_resolves(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_decision_cited_in_code_exists() -> None:
    decisions = {page.name[:4] for page in ROOT.glob("docs/decisions/[0-9]*.md")}
    sources = [
        path for folder in CODE for path in ROOT.glob(f"{folder}/**/*") if path.suffix in {".py", ".sql", ".yml"}
    ]
    cited = {number for path in sources for number in CITED.findall(path.read_text(encoding="utf-8"))}
    assert cited, "no decision is cited, so the pattern is out of date"
    assert cited <= decisions


def test_the_glossary_is_in_alphabetical_order() -> None:
    rows = [
        line.split("|")[1]
        for line in (ROOT / "docs/glossary.md").read_text(encoding="utf-8").splitlines()
        if "|" in line
    ]
    terms = [re.sub(r"\(.*|[^a-z ]", "", term.lower().replace("-", " ")).strip() for term in rows[2:]]
    assert terms == sorted(terms)
