"""The benchmark of product codes: check digits, and which numbers a title gets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from product_codes import Found, check_digit, numbered


def test_check_digits_are_those_of_gs1() -> None:
    assert check_digit("400638133393") == "1"
    assert check_digit("03600029145") == "2"


def test_each_title_gets_a_number_and_what_it_is() -> None:
    rng = np.random.default_rng(1)
    written = [numbered(rng, "Pen") for _ in range(200)]
    assert all("Pen" in title and title != "Pen" for title, _, _ in written)
    gtins = [gtin for _, found, _ in written for gtin in found]
    assert gtins
    assert all(check_digit(gtin[:-1]) == gtin[-1] for gtin in gtins)
    assert all(check_digit(gtin[:-1]) != gtin[-1] for _, _, found in written for gtin in found)


def test_precision_and_recall_count_each_code_of_a_title_once() -> None:
    found = Found()
    found.count(["a", "a", "b"], ["a", "c"])
    assert found.row("codes") == "| codes | 2 | 2 | 0.500 | 0.500 |"
