"""No malicious file takes more than a minute or 2 GB to be refused: the real command on adversarial files."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.landing_fixtures import MERCHANTS
from tests.source_fixtures import sources_file

SECONDS, MEMORY_KB = 60, 2 * 1024 * 1024
MB = 1 << 20
HEAD, ROW = b"listing_id,merchant_id,title,listed_at\n", b"l2,m1,Watch,2026-03-01\n"
LINE = b'{"listing_id": "l1", "merchant_id": "m1", "listed_at": "2026-03-01"}\n'


def repeated(path: Path, head: bytes, chunk: bytes, times: int, tail: bytes = b"") -> None:
    """Writes a file, gzipped if its name ends so."""
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(head)
        for _ in range(times):
            file.write(chunk)
        file.write(tail)


def write_listings(path: Path, titles: pa.Array, **options: object) -> None:
    """Writes listings with the given titles as Parquet."""
    rows = len(titles)
    columns = {"listing_id": [f"l{place}" for place in range(rows)], "merchant_id": ["m1"] * rows}
    listed = {"title": titles, "listed_at": ["2026-03-01"] * rows}
    pq.write_table(pa.table(columns | listed), path, compression="zstd", write_statistics=False, **options)


def one_dictionary(path: Path) -> None:
    """Writes a dictionary whose single value has a gigabyte."""
    write_listings(path, pa.array(["x" * (1000 * MB)]), data_page_size=1 << 31, dictionary_pagesize_limit=(1 << 31) - 1)


def one_page(path: Path) -> None:
    """Writes a thousand values of a megabyte in one page."""
    titles = pa.array(["x" * MB + str(place) for place in range(1000)])
    write_listings(path, titles, use_dictionary=False, data_page_size=1 << 31)


def one_value(path: Path) -> None:
    """Writes a hundred thousand rows that share a value of a megabyte: 100 GB in a file of a few KB."""
    write_listings(path, pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * MB])))


ADVERSARIAL: dict[str, tuple[Callable[[Path], None], str]] = {
    "strings.parquet": (
        lambda path: write_listings(path, pa.array(["x" * (10 * MB)] * 50)),
        "title: a value has more than",
    ),
    "strings.csv": (
        lambda path: repeated(path, HEAD, b"l1,m1," + b"x" * (10 * MB) + b",2026-03-01\n", 20),
        "line 2 has more than 2,000,000 characters",
    ),
    "strings.jsonl": (
        lambda path: repeated(path, b"", LINE[:-2] + b', "title": "' + b"x" * (10 * MB) + b'"}\n', 20),
        "title: a value has more than",
    ),
    "deep.jsonl": (
        lambda path: repeated(path, b'{"listing_id": "l1", "specs": ' + b'{"a":' * 10_000 + b"1", b"}", 10_001, b"\n"),
        "missing column",
    ),
    "quote.csv": (
        lambda path: repeated(path, HEAD + b'l1,m1,"Watch,2026-03-01\n', ROW * 1000, 200 * MB // 23_000),
        "the rows cannot be read",
    ),
    "row.csv": (
        lambda path: repeated(path, HEAD + b"l1,m1,", b"x" * MB, 500, b",2026-03-01\n"),
        "line 2 has more than",
    ),
    "line.jsonl": (lambda path: repeated(path, b'{"listing_id": "', b"x" * MB, 500, b'"}\n'), "line 1 has more than"),
    "rows.csv.gz": (lambda path: repeated(path, HEAD, ROW * 40_000, 4000), "unpacks to more than 100 times its size"),
    "row.csv.gz": (lambda path: repeated(path, HEAD + b"l1,m1,", b"x" * MB, 4000), "line 2 has more than"),
    "head.csv.gz": (lambda path: repeated(path, b"", b"x" * MB, 4000), "line 1 has more than"),
    "rows.jsonl.gz": (lambda path: repeated(path, b"", LINE * 20_000, 3000), "unpacks to more than 100 times its size"),
    "columns.csv": (
        lambda path: path.write_text("\n".join([",".join(f"c{at}" for at in range(100_000)), "1," * 99_999 + "1\n"])),
        "more than 10,000 columns",
    ),
    "columns.jsonl": (
        lambda path: path.write_text(json.dumps({f"c{at}": 1 for at in range(100_000)}) + "\n"),
        "more than 10,000 columns",
    ),
    "columns.parquet": (
        lambda path: pq.write_table(pa.table({f"c{at}": [1] for at in range(100_000)}), path),
        "more than 10,000 columns",
    ),
    "dictionary.parquet": (one_dictionary, "title: a value has more than"),
    "page.parquet": (one_page, "title: a value has more than"),
    "value.parquet": (one_value, "title: a value has more than"),
}


def peak_kb(pid: int) -> int:
    """Returns the peak memory of a process; `getrusage` would include this process's memory at the fork."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_an_adversarial_file_is_refused_within_time_and_memory_limits(name: str, tmp_path: Path) -> None:
    make, message = ADVERSARIAL[name]
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"copy ({MERCHANTS}) to '{tmp_path}/merchants.parquet' (format parquet)")
    make(tmp_path / name)
    inputs = {
        "merchants": {"connector": "parquet", "path": "merchants.parquet"},
        "listings": {"connector": name.split(".")[1], "path": name},
    }
    sources = sources_file(tmp_path, inputs, identifiers="public")
    began = time.monotonic()
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "touchstone"), "sources", "check", str(sources.path)],
            env=os.environ | {"TOUCHSTONE_HOME": str(tmp_path / "home")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_kb(process.pid))
            time.sleep(0.02)
    seconds = time.monotonic() - began
    text = (tmp_path / "output").read_text()
    (tmp_path / name).unlink()
    assert process.returncode == 2, text
    assert "listings: this load was refused; none of its rows landed." in text
    assert message in text
    assert len(text) < 5_000
    assert 0 < peak < MEMORY_KB, f"{peak / 1024:.0f} MB"
    assert seconds < SECONDS
