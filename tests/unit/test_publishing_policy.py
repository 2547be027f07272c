"""The policy: the default one is sound, mistakes are named with their key, and the digest follows the values alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundwork.errors import BadInputError
from orchestration.publishing.policy import load_policy
from orchestration.rated import RATED

DEFAULT = Path(__file__).resolve().parents[2] / "policies" / "default.yml"
LISTS = f"lists: [{', '.join(RATED)}]"


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_default_policy_is_what_the_design_says():
    policy = load_policy(DEFAULT)
    assert (policy.target_precision, policy.action, policy.allow_empty) == (0.9, "review", False)
    assert policy.lists == tuple(RATED)
    assert 0 < policy.max_flagged_share < 0.5


@pytest.mark.parametrize(
    ("was", "is_now", "key"),
    [
        ("target_precision: 0.90", "target_precision: 1.5", "target_precision"),
        ("target_precision: 0.90", "target_precision: high", "target_precision"),
        ("target_precision: 0.90", "", "target_precision"),
        ("action: review", "action: burn", "action"),
        ("allow_empty: false", "allow_empty: perhaps", "allow_empty"),
        ("max_flagged_share: 0.10", "max_flagged_share: 0", "max_flagged_share"),
        (LISTS, "lists: [ships]", "lists"),
        (LISTS, "lists: []", "lists"),
        ("action: review", "action: review\nthreshold: 80", "threshold"),
        ("action: review", "action: [", "not YAML"),
        ("block: 8.0", "block: 0.1", "drift: Value error, block is less than warn"),
        ("block: 8.0", "stop: 4.0", "drift.stop"),
    ],
)
def test_a_mistake_is_refused_with_its_key(tmp_path: Path, was: str, is_now: str, key: str):
    text = DEFAULT.read_text(encoding="utf-8")
    assert was in text
    with pytest.raises(BadInputError, match=key):
        load_policy(write(tmp_path, text.replace(was, is_now)))


@pytest.mark.parametrize("text", ["", "- a list\n"])
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, text: str):
    with pytest.raises(BadInputError, match="the file"):
        load_policy(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(BadInputError, match="absent"):
        load_policy(tmp_path / "absent.yml")


def test_digest_follows_values_not_comments(tmp_path: Path):
    text = DEFAULT.read_text(encoding="utf-8")
    digest = load_policy(DEFAULT).digest
    assert load_policy(write(tmp_path, "# another comment\n" + text)).digest == digest
    assert load_policy(write(tmp_path, text.replace("0.90", "0.91"))).digest != digest
