"""Times the whole pipeline on a demo marketplace of a given scale, stage by stage, and prints one JSON object.

Generation runs in a process of its own, so that its memory does not count. `make bench SCALE=0.1` calls this; what was
measured, and on what, is kept in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def touchstone(home: Path, *arguments: str) -> tuple[float, str]:
    """Runs one command over a home; returns its seconds and what it printed on stdout."""
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603  # our own command
        [str(Path(sys.executable).parent / "touchstone"), *arguments],
        env=os.environ | {"TOUCHSTONE_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 3}:
        raise SystemExit(f"touchstone {' '.join(arguments)} ended with {done.returncode}")
    return round(time.monotonic() - began, 1), done.stdout


def written_bytes(home: Path) -> dict[str, int]:
    """Returns the bytes below each folder of a home."""
    return {
        entry.name: sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
        if entry.is_dir()
        else entry.stat().st_size
        for entry in sorted(home.iterdir())
    }


def measure(home: Path, scale: float, seed: int) -> dict[str, Any]:
    """Makes the marketplace, runs the pipeline twice (the second run finds its models trained), and returns the figures."""
    generation, _ = touchstone(home, "demo", "--scale", str(scale), "--seed", str(seed))
    first, first_output = touchstone(home, "run", "--approve-if-passing", "--json")
    again, again_output = touchstone(home, "run", "--json")
    runs = {}
    for name, seconds, output in (("first", first, first_output), ("again", again, again_output)):
        record = json.loads((home / "runs" / f"{json.loads(output)['run_id']}.json").read_text())
        runs[name] = {
            "seconds": seconds,
            "peak_memory_mib": record["peak_memory_mib"],
            "stages": {stage["name"]: stage["seconds"] for stage in record["stages"]},
            "rows": {name: rows for stage in record["stages"] for name, rows in stage["rows"].items()},
        }
    return {"scale": scale, "seed": seed, "generation_seconds": generation, "runs": runs, "bytes": written_bytes(home)}


def main() -> None:
    """Parses the arguments and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--home", type=Path, help="Keep the home here instead of in a temporary folder.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder)
        print(json.dumps(measure(home, arguments.scale, arguments.seed), indent=2))


if __name__ == "__main__":
    main()
