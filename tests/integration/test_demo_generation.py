"""Demo generation: the same bytes for the same arguments, atomically, with bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from touchstone.core.errors import BadInputError
from touchstone.core.files import sha256_tree
from touchstone.demo import generate as module
from touchstone.demo.generate import generate
from touchstone.demo.world import World

SCALE = 0.0012


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    generate(tmp_path / "one", scale=SCALE, seed=21)
    generate(tmp_path / "two", scale=SCALE, seed=21)
    generate(tmp_path / "other", scale=SCALE, seed=22)
    one, two, other = (sha256_tree(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one != other


def test_a_second_marketplace_replaces_the_first(tmp_path: Path) -> None:
    generate(tmp_path / "demo", scale=SCALE, seed=21)
    (tmp_path / "demo" / "sources" / "left_over.parquet").touch()
    report = generate(tmp_path / "demo", scale=0.0005, seed=21)
    assert report.rows["merchants"] == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]
    assert not (tmp_path / "demo" / "sources" / "left_over.parquet").exists()


def test_a_failed_generation_leaves_the_existing_marketplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(tmp_path / "demo", scale=SCALE, seed=21)
    before = sha256_tree(tmp_path / "demo")

    def die(_world: World) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_chunks", die)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "demo", scale=SCALE, seed=23)
    assert sha256_tree(tmp_path / "demo") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo"]


def test_a_killed_generation_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from touchstone.demo import generate as g\n"
        "g.truth_tables = lambda chunk: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"g.generate(Path(sys.argv[1]), scale={SCALE}, seed=21)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "demo")], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "demo").exists()
    generate(tmp_path / "demo", scale=SCALE, seed=21)
    assert (tmp_path / "demo" / "sources.yml").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0001}, "scale 0.0001 is out of range; give a number from 0.0005"),
        ({"scale": float("nan")}, "scale nan is out of range"),
        ({"scale": SCALE, "days": 30}, "30 days are out of range; give 60 to 3650"),
        ({"scale": SCALE, "seed": -1}, "seed -1 is negative"),
        ({"scale": SCALE, "hardness": 0.0}, "hardness 0.0 is out of range"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message.replace(".", r"\.")):
        generate(tmp_path / "demo", **arguments)
    assert not (tmp_path / "demo").exists()


def _peak_megabytes(scale: float, directory: Path) -> float:
    """Returns the peak memory of a process that only generates."""
    program = (
        "import resource, sys; from pathlib import Path; from touchstone.demo.generate import generate\n"
        f"generate(Path(sys.argv[1]), scale={scale}, seed=21)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(directory)], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


def test_memory_does_not_grow_with_scale(tmp_path: Path) -> None:
    one, four = _peak_megabytes(0.005, tmp_path / "one"), _peak_megabytes(0.02, tmp_path / "four")
    assert four < one * 1.25 + 20


def test_orders_scale_with_the_length_of_the_history(tmp_path: Path) -> None:
    usual = generate(tmp_path / "usual", scale=SCALE, seed=21).rows
    longer = generate(tmp_path / "longer", scale=SCALE, days=240, seed=21).rows
    assert longer["orders"] == 2 * usual["orders"] == 2 * 24_000
    assert longer["listings"] == usual["listings"]
