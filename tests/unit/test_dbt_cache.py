"""The location of the parsed dbt project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestration.dbt_runner import DIGEST, cache_folder
from touchstone.core.revision import project_digest


def test_a_writable_project_keeps_the_parsed_project_in_target(tmp_path: Path) -> None:
    assert cache_folder(tmp_path) == tmp_path / "target"


def test_a_read_only_installation_keeps_the_parsed_project_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions do not prevent root from writing, and tests may run as root.
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder(tmp_path) == tmp_path / "cache" / "touchstone" / f"dbt-{project_digest()[:16]}"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(tmp_path).is_relative_to(tmp_path / ".cache" / "touchstone")


def test_a_prepared_read_only_installation_uses_its_own_parsed_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / DIGEST).write_text("digest")
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert cache_folder(tmp_path) == tmp_path / "target"
