"""Rules of a policy: the indicators they may use, and refused rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from touchstone.core.errors import BadInputError
from touchstone.publishing.policy import RuleColumn, load_policy

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = (ROOT / "policies" / "default.yml").read_text(encoding="utf-8")


def policy_with(rule: str, folder: Path) -> Path:
    path = folder / "policy.yml"
    path.write_text(re.sub(r"rules: \[\].*", f"rules:\n  - {{{rule}}}", DEFAULT), encoding="utf-8")
    return path


def test_rules_may_use_the_indicators_of_the_dbt_macro() -> None:
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
def test_an_invalid_rule_is_refused_by_its_key(rule: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        load_policy(policy_with(rule, tmp_path))
