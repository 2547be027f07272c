"""How long `touchstone evaluate` takes on a network: 12,000 rows by 40 columns, 500,000 edges, ten splits, defaults.

Of 300 groups, within which half of the edges run, some are worse than others; one column is informative, two more only
together. With `--network rings` rows are reviews, edges lead to their users and products, and a tenth of the users are of 40
rings, of which each praises six products; with `plain` there are 50 columns and no edges. Prints seconds, the most memory
that was held, and what was measured.

    make bench-evaluate
    python benchmarks/own_labels.py --rows 6000 --edges 150000 --splits 2 --trials 10    (a small one)
    python benchmarks/own_labels.py --network rings --rows 8000 --splits 2 --trials 10
    python benchmarks/own_labels.py --network plain --rows 2000000 --splits 1
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUPS, RINGS, COLUMNS, SEED = 300, 40, 40, 5
PARTS, SHARES = ("train", "validation", "test"), (0.5, 0.25, 0.25)


def write_groups(folder: Path, rows: int, edges: int, splits: int) -> None:
    """Writes a network of groups: nodes.parquet, edges.parquet and splits.parquet."""
    random = np.random.default_rng(SEED)
    numbers = random.normal(size=(rows, COLUMNS)).astype(np.float32)
    group = random.integers(0, GROUPS, rows)
    logit = numbers[:, 0] + 0.8 * numbers[:, 1] * numbers[:, 2] + random.normal(size=GROUPS)[group]
    label = random.random(rows) < 1 / (1 + np.exp(2.5 - 1.3 * logit))
    first, second = random.integers(0, rows, edges), random.integers(0, rows, edges)
    members = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[members], np.arange(GROUPS + 1))
    size = starts[group[first] + 1] - starts[group[first]]
    near = members[starts[group[first]] + (random.random(edges) * size).astype(np.int64)]
    second = np.where(random.random(edges) < 0.5, near, second)
    write(folder, random, numbers, label, (names("n", first), names("n", second)), splits)


def write_rings(folder: Path, rows: int, _: int, splits: int) -> None:
    """Writes the same files of reviews; a review is fake mostly where its user is of a ring."""
    random = np.random.default_rng(SEED)
    users, products = rows // 4, rows // 15
    user, ring = random.integers(0, users, rows), random.integers(0, RINGS, users)
    is_hired = (random.random(users) < 0.1)[user]
    praised = random.integers(0, products, (RINGS, 6))[ring[user], random.integers(0, 6, rows)]
    product = np.where(is_hired & (random.random(rows) < 0.7), praised, random.integers(0, products, rows))
    label = is_hired & (random.random(rows) < 0.8)
    numbers = random.normal(size=(rows, 12)).astype(np.float32)
    numbers[:, 0] += 0.7 * label
    numbers[:, 1] += 0.5 * is_hired
    numbers[:, 2] += label * numbers[:, 3]
    ids = names("n", np.arange(rows))
    ends = np.concatenate([ids, ids]), np.concatenate([names("u", user), names("p", product)])
    write(folder, random, numbers, label, ends, splits)


def write_plain(folder: Path, rows: int, _: int, splits: int) -> None:
    """Writes a table without edges, of which a tenth are positives."""
    random = np.random.default_rng(SEED)
    numbers = random.normal(size=(rows, 50)).astype(np.float32)
    logit = numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + np.abs(numbers[:, 3])
    write(folder, random, numbers, random.random(rows) < 1 / (1 + np.exp(4.0 - logit)), None, splits)


def names(letter: str, numbers: Any) -> Any:
    """Returns ids."""
    return np.array([f"{letter}{number}" for number in numbers])


def write(folder: Path, random: np.random.Generator, numbers: Any, label: Any, ends: Any, splits: int) -> None:
    """Writes what was made; what an edge leads to is its type. Without ends there are no edges."""
    ids = names("n", np.arange(len(label)))
    columns = {f"x{at}": numbers[:, at] for at in range(numbers.shape[1])}
    pq.write_table(pa.table({"id": ids, "label": label.astype(int), **columns}), folder / "nodes.parquet")
    if ends is not None:
        kind = [end[0] for end in ends[1]]
        pq.write_table(pa.table({"src": ends[0], "dst": ends[1], "type": kind}), folder / "edges.parquet")
    sides = {f"split_{at}": random.choice(PARTS, len(label), p=SHARES) for at in range(splits)}
    pq.write_table(pa.table({"id": ids, **sides}), folder / "splits.parquet")


NETWORKS = {"groups": write_groups, "rings": write_rings, "plain": write_plain}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the network, measures it by the real command, and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--edges", type=int, default=500_000)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="groups")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        NETWORKS[options.network](folder, options.rows, options.edges, options.splits)
        file = folder / "edges.parquet"
        edges = ["--edges", str(file)] if file.exists() else []
        begun = time.perf_counter()
        done = subprocess.run(  # noqa: S603  # our own command
            [
                str(Path(sys.executable).parent / "touchstone"), "evaluate", str(folder / "nodes.parquet"), "--label", "label",
                "--id", "id", "--splits", str(folder / "splits.parquet"), "--json", "--trials", str(options.trials), *edges,
            ],
            env=os.environ | {"TOUCHSTONE_HOME": str(folder / "home")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
    gigabytes = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2)
    print(json.dumps({"seconds": round(seconds, 1), "gigabytes": gigabytes, **json.loads(done.stdout)}, indent=2))


if __name__ == "__main__":
    main()
