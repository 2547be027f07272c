"""The wheel runs without a checkout: it includes dbt project, policies and templates."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel and installs it into an environment of its own; returns that environment's bin folder.

    Its dependencies are those of this environment, whose own (editable) copy of the project is not on the path: a path
    file in a folder that another path file names is not read.
    """
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("environment")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, cwd=folder)
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    library = next((folder / "lib").glob("python3*")) / "site-packages"
    (library / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True, cwd=folder)
    return folder / "bin"


@pytest.mark.slow
def test_the_wheel_runs_the_whole_pipeline_without_a_checkout(installed: Path, tmp_path: Path):
    home = tmp_path / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOUCHSTONE_", "PYTHON"))}
    environment |= {"TOUCHSTONE_HOME": str(home), "TOUCHSTONE_DEMO_SCALE": "0.02"}

    def touchstone(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(installed / "touchstone"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)

    where = subprocess.run(
        [str(installed / "python"), "-c", "import touchstone, orchestration; print(touchstone.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert str(installed.parent) in where.stdout
    run = touchstone("run", "--approve-if-passing")
    assert run.returncode == 0, run.stderr
    assert "Touchstone rated the marketplace" in run.stdout
    verified = touchstone("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert any((home / "published").glob("*/*/manifest.json"))
