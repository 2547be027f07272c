"""How long `touchstone evaluate` takes on a network: 12,000 rows by 40 columns, 500,000 edges, ten splits, defaults.

Of 300 groups, within which half of the edges run, some are worse than others; one column tells something, two more only
together. Prints seconds, and what was measured.

    make bench-evaluate
    python benchmarks/own_labels.py --rows 2000 --edges 20000 --splits 2    (a small one)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUPS, COLUMNS, SEED = 300, 40, 5
PARTS, SHARES = ("train", "validation", "test"), (0.5, 0.25, 0.25)


def write_network(folder: Path, rows: int, edges: int, splits: int) -> None:
    """Writes nodes.parquet, edges.parquet and splits.parquet."""
    random = np.random.default_rng(SEED)
    numbers = random.normal(size=(rows, COLUMNS)).astype(np.float32)
    group = random.integers(0, GROUPS, rows)
    told = numbers[:, 0] + 0.8 * numbers[:, 1] * numbers[:, 2] + random.normal(size=GROUPS)[group]
    label = random.random(rows) < 1 / (1 + np.exp(2.5 - 1.3 * told))
    first, second = random.integers(0, rows, edges), random.integers(0, rows, edges)
    members = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[members], np.arange(GROUPS + 1))
    size = starts[group[first] + 1] - starts[group[first]]
    near = members[starts[group[first]] + (random.random(edges) * size).astype(np.int64)]
    second = np.where(random.random(edges) < 0.5, near, second)
    ids = np.array([f"n{at}" for at in range(rows)])
    columns = {f"x{at}": numbers[:, at] for at in range(COLUMNS)}
    pq.write_table(pa.table({"id": ids, "label": label.astype(int), **columns}), folder / "nodes.parquet")
    pq.write_table(pa.table({"src": ids[first], "dst": ids[second]}), folder / "edges.parquet")
    sides = {f"split_{at}": random.choice(PARTS, rows, p=SHARES) for at in range(splits)}
    pq.write_table(pa.table({"id": ids, **sides}), folder / "splits.parquet")


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the network, measures it by the real command, and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--edges", type=int, default=500_000)
    parser.add_argument("--splits", type=int, default=10)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_network(folder, options.rows, options.edges, options.splits)
        begun = time.perf_counter()
        done = subprocess.run(  # noqa: S603  # our own command
            [
                str(Path(sys.executable).parent / "touchstone"), "evaluate", str(folder / "nodes.parquet"), "--label", "label",
                "--id", "id", "--edges", str(folder / "edges.parquet"), "--splits", str(folder / "splits.parquet"), "--json",
            ],
            env=os.environ | {"TOUCHSTONE_HOME": str(folder / "home")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": round(seconds, 1), **json.loads(done.stdout)}, indent=2))


if __name__ == "__main__":
    main()
