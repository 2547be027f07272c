"""The structure of the code: no import cycles, and no private names of libraries."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("touchstone", "orchestration", "ml", "expectations")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


# docs/decisions/0020 explains why no public name does it.
INDISPENSABLE = {"dagster._core.workspace.load.load_workspace_process_context_from_yaml_paths"}
MODULES = {module_of(path): path for path in FILES}


def imported(path: Path) -> Iterator[str]:
    """The project's modules that a module imports, including imports in functions and for types."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


def test_there_are_no_import_cycles():
    graph = {
        name: {other for other in imported(path) if other in MODULES and other != name}
        for name, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises a CycleError that names the cycle


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_module_or_name_of_a_library_is_imported(path: Path):
    private = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if node.module.partition(".")[0] not in {*PACKAGES, "__future__"}
        and any(part.startswith("_") for part in (*node.module.split("."), alias.name))
    ]
    assert set(private) <= INDISPENSABLE
