"""The Agora benchmark on the real market: it runs as documented, and reads no feature that encodes the label."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, shared_data


@pytest.mark.slow
def test_results_are_for_held_out_listings_and_features_that_do_not_encode_the_label():
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "agora.py"),
        "--data",
        str(shared_data("agora")),
        "--draws",
        "200",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    read = set(re.findall(r"`(\w+)`", done.stdout.partition("Features used")[2].partition("\n")[0]))
    assert {"price_base", "merchant_age_days", "merchant_active_listing_count"} <= read
    assert not [name for name in read if "confirmed" in name or "evasive" in name or "category_count" in name]
    judged, vendors = re.findall(r"ranks ([\d,]+) listings of (\d+) vendors", done.stdout)[0]
    assert int(judged.replace(",", "")) > 1500
    assert int(vendors) > 100
    for way in ("title", "merchant texts", "signals", "shipped model", "starter, without labels"):
        assert len(re.findall(rf"^\| {way} \| 0\.\d+ \(", done.stdout, re.MULTILINE)) == 2


def test_missing_tables_are_reported(tmp_path: Path):
    command = [sys.executable, str(ROOT / "benchmarks" / "agora.py"), "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"no listings_daily.parquet in {tmp_path}" in done.stderr
    assert "TOUCHSTONE_SHARED" in done.stderr
