"""Competitors cannot frame an honest merchant: actions of buyers and reporters change nobody's own_conduct_score.

A marketplace is rated twice by one champion, as it is and with hundreds of honest merchants under attack
(tests/framing.py). No attack lists an entity below the floor. Entities between floor and threshold can be listed by
one, and the floor ensures that they are few.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ml.registry import Registry
from tests.conftest import NEXT_DAY, Homes, run, touchstone
from tests.framing import LIST_OF_MODEL, drawn_attacks, frame, honest_merchants, listed, moved_features, scores

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from quality import AS_OF, TRAINED_AS_OF

VICTIMS = 500
MOST_ONLY_BY_THE_ATTACK = 0.02
BRUSHING = "merchant_brushing"
"""Its features of a merchant's own conduct are shares of its orders, which buyers influence: its own_conduct_score may
change, but nobody may get on its list."""
CHECK_SEED = 1029
MOVED_BY_BUYERS = {"delivery_days", "one_star_share", "complaint_share", "refund_not_authentic_share"}
FELT_BY = 20


@dataclass(frozen=True)
class Framed:
    """Two homes with the same champions, one of them under attack, and the victims of the attack."""

    peaceful: Path
    attacked: Path
    victims: list[str]


def attacked_home(trained: Path, peaceful: Path, home: Path, as_of: str, count: int) -> list[str]:
    """Makes a home with the champions of another, and its marketplace under attack; returns the victims.

    Nothing has landed there yet: the landed gate compares with the load before, and refuses so many bad reviews at
    once. A slowly growing attack would pass it.
    """
    victims = honest_merchants(peaceful, as_of, count)
    assert len(victims) == count
    for name in ("marketplace", "models", "mlflow-artifacts", "signals"):
        shutil.copytree(trained / name, home / name)
    shutil.copy(trained / "mlflow.db", home)
    frame(home, as_of, dict(zip(victims, drawn_attacks(count), strict=True)))
    return victims


def assert_own_conduct_is_unchanged(peaceful: Path, attacked: Path, as_of: str) -> None:
    """Asserts that third parties change no own-conduct feature and no own_conduct_score of any entity."""
    for model in LIST_OF_MODEL.keys() - {BRUSHING}:
        moved = moved_features(peaceful, attacked, model, as_of)
        assert not moved["subject"], f"{model}: a third party moves what ml/models.yml says the subject controls"
        assert not moved["platform"], f"{model}: a third party moves what ml/models.yml says the platform controls"
        assert set(moved["third_party"]) >= MOVED_BY_BUYERS
        before, after = scores(peaceful, model, as_of), scores(attacked, model, as_of)
        assert not [entity for entity, (_, own) in before.items() if after[entity][1] != own], (
            f"{model}: own conduct moved"
        )
        risen = sum(after[entity][0] > score for entity, (score, _) in before.items())
        assert risen >= FELT_BY, f"{model}: the attack was hardly felt"


def only_by_the_attack(
    peaceful: Path, attacked: Path, as_of: str, victims: list[str], models: Iterable[str] = tuple(LIST_OF_MODEL)
) -> set[str]:
    """Returns the victims that are listed, or have a listing that is, only because of the attack.

    Any new entry of a list has to lie at or above the floor.
    """
    framed: set[str] = set()
    for model in models:
        name = LIST_OF_MODEL[model]
        champion, same = Registry(attacked).champion(model), Registry(peaceful).champion(model)
        assert champion is not None
        assert same is not None
        assert champion.model_digest == same.model_digest
        before, after = listed(peaceful, name, as_of), listed(attacked, name, as_of)
        own = {entity: own for entity, (_, own) in scores(attacked, model, as_of).items()}
        assert not [entity for entity in after if own[entity] < champion.floor], f"{name}: listed below the floor"
        framed |= {merchant for entity, merchant in after.items() if entity not in before}
    return framed & set(victims)


def test_in_a_small_marketplace_only_features_controlled_by_buyers_change(homes: Homes, tmp_path: Path):
    """Although the model was trained on meaningless labels (conftest.py)."""
    attacked = tmp_path / "attacked"
    victims = attacked_home(homes.rated, homes.undisturbed, attacked, NEXT_DAY, 60)
    done = run(attacked, homes.policy, NEXT_DAY)
    assert done.code == 0, done.stdout + done.stderr
    assert_own_conduct_is_unchanged(homes.undisturbed, attacked, NEXT_DAY)
    only_by_the_attack(homes.undisturbed, attacked, NEXT_DAY, victims)


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framed]:
    """A marketplace of 5,000 merchants, undisturbed and with 500 of them under attack: some fifteen minutes."""
    folder = tmp_path_factory.mktemp("framing")
    trained, peaceful, attacked = folder / "trained", folder / "peaceful", folder / "attacked"
    done = touchstone(trained, "demo", "--scale", "0.05", "--seed", str(CHECK_SEED))
    assert done.code == 0, done.stderr
    done = touchstone(trained, "run", "--as-of", TRAINED_AS_OF, "--train", "--approve-if-passing")
    assert done.code == 0, done.stdout + done.stderr
    shutil.copytree(trained, peaceful)
    done = touchstone(peaceful, "run", "--as-of", AS_OF)
    assert done.code == 0, done.stdout + done.stderr
    victims = attacked_home(trained, peaceful, attacked, AS_OF, VICTIMS)
    done = touchstone(attacked, "run", "--as-of", AS_OF)
    assert done.code == 0, done.stdout + done.stderr
    yield Framed(peaceful, attacked, victims)
    shutil.rmtree(folder)


@pytest.mark.slow
def test_of_500_framed_merchants_none_below_the_floor_is_listed(framed: Framed):
    assert_own_conduct_is_unchanged(framed.peaceful, framed.attacked, AS_OF)
    only_by_the_attack(framed.peaceful, framed.attacked, AS_OF, framed.victims)


@pytest.mark.slow
def test_of_500_framed_merchants_few_are_listed(framed: Framed, record_property: Callable[[str, object], None]):
    counterfeits = LIST_OF_MODEL.keys() - {BRUSHING}
    by_attack = only_by_the_attack(framed.peaceful, framed.attacked, AS_OF, framed.victims, counterfeits)
    record_property("listed_only_by_the_attack", len(by_attack))
    assert len(by_attack) <= MOST_ONLY_BY_THE_ATTACK * VICTIMS, sorted(by_attack)


@pytest.mark.slow
def test_of_500_framed_merchants_none_is_on_the_list_of_brushers(framed: Framed):
    assert only_by_the_attack(framed.peaceful, framed.attacked, AS_OF, framed.victims, [BRUSHING]) == set()
