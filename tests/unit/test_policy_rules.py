"""Rules of a policy: which signs they may look at, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from touchstone.core.errors import BadInputError
from touchstone.publishing.policy import RuleColumn, load_policy

ROOT = Path(__file__).resolve().parents[2]
SOUND = (ROOT / "policies" / "default.yml").read_text(encoding="utf-8")


def policy_with(rule: str, folder: Path) -> Path:
    path = folder / "policy.yml"
    path.write_text(re.sub(r"rules: \[\].*", f"rules:\n  - {{{rule}}}", SOUND), encoding="utf-8")
    return path


def test_a_rule_may_look_at_the_signs_that_dbt_offers() -> None:
    macro = (ROOT / "dbt_project" / "macros" / "brushing.sql").read_text(encoding="utf-8")
    offered = macro[macro.index("macro rule_columns()") :]
    assert re.findall(r"'(\w+)'", offered) == list(get_args(RuleColumn))


def test_a_rule_is_part_of_the_policys_digest(tmp_path: Path) -> None:
    rule = "name: hour, column: hour_order_count, at_least: 4, action: watch"
    policy = load_policy(policy_with(rule, tmp_path))
    assert policy.rules[0].at_least == 4
    other = load_policy(policy_with(rule.replace("4", "5"), tmp_path))
    assert len({policy.digest, other.digest, load_policy(ROOT / "policies" / "default.yml").digest}) == 3


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("name: hour, column: hour_order_count, action: watch", "at_least or at_most"),
        ("name: hour, column: score, at_least: 4, action: watch", "column"),
        ("name: 'an hour', column: hour_order_count, at_least: 4, action: watch", "name"),
        ("name: hour, column: hour_order_count, at_least: 4, action: shoot", "action"),
        ("name: hour, column: hour_order_count, at_least: 4, action: watch, list: reviews", "list"),
    ],
)
def test_a_rule_that_is_not_sound_is_refused_by_the_key(rule: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        load_policy(policy_with(rule, tmp_path))
