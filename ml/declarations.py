"""Model declarations: what a risk model rates, for which violation, and with which features.

`ml/models.yml` is authoritative for the features of a model. The meaning of a feature (signal, unit, description) is in the
dbt project's YAML, which is read here as data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

from ml.flagging import MOST_EXPOSED
from touchstone.core.errors import BadInputError
from touchstone.core.lists import ENTITIES, ID_COLUMNS, Entity, relation_of
from touchstone.core.yaml import load_packaged_yaml

Controller = Literal["subject", "third_party", "platform"]
Signal = Literal["spec", "price", "review", "logo", "text", "merchant", "link", "order"]
Audience = Literal["internal", "brand", "authority", "merchant"]
SIGNALS: Final[tuple[Signal, ...]] = get_args(Signal)
CONTROLLERS: Final[tuple[Controller, ...]] = ("subject", "third_party", "platform")
# Who may read reasons. Internal may read all and is never listed.
AUDIENCES: Final[tuple[Audience, ...]] = get_args(Audience)
TEXTS: Final = ("own", "others")
VIOLATION_TYPES: Final = ("counterfeit", "brushing")
ROOT: Final = Path(__file__).resolve().parent.parent
MODELS_FILE: Final = ROOT / "ml" / "models.yml"
FEATURES_FOLDER: Final = ROOT / "dbt_project" / "models" / "features"

# Bounds by unit. Lags in hours may be negative (a review before its delivery), and so may deviations.
UNIT_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "share": (0.0, 1.0), "boolean": (0.0, 1.0), "stars": (0.0, 5.0), "count": (0.0, math.inf), "days": (0.0, math.inf),
    "base": (0.0, math.inf), "ratio": (0.0, math.inf),
}  # fmt: skip


@dataclass(frozen=True)
class Feature:
    """One column that a model reads.

    Attributes:
        name: The column in `features.parquet`.
        signal: One of `SIGNALS`; reasons are given by signal.
        unit: The unit of its values (`ratio`, `share`, `count`, `days`, `base`, ...).
        description: Its description in the dbt project.
        controlled_by: Who can influence it: the rated subject, a third party, or the platform.
        monotone: 1 if the risk must not decrease with it, -1 if it must not increase, 0 for no constraint.
        words: The wording of a reason, with one placeholder (see `ml/reason_text.py`); empty to use the column's name.
        between: Lowest and highest possible value, if they differ from its unit's; otherwise empty.
        audiences: Who may read it in addition to internal, sorted, any of `AUDIENCES`.
        text: For the score of a text (ml/text_scores.py), whose it is: `own`, or `others` for the merchant's other listings;
            empty for a feature that dbt makes.
    """

    name: str
    signal: str
    unit: str
    description: str
    controlled_by: Controller
    monotone: int
    words: str
    between: tuple[float, ...] = ()
    audiences: tuple[str, ...] = ()
    text: str = ""

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest possible value."""
        least, most = self.between or UNIT_BOUNDS.get(self.unit, (-math.inf, math.inf))
        return least, most

    def as_dict(self) -> dict[str, Any]:
        """Returns the feature as JSON-serialisable data, for the model's JSON and its digests."""
        return {
            "name": self.name,
            "signal": self.signal,
            "unit": self.unit,
            "description": self.description,
            "controlled_by": self.controlled_by,
            "monotone": self.monotone,
            "words": self.words,
            "between": list(self.between),
            "audiences": list(self.audiences),
            "text": self.text,
        }

    @staticmethod
    def from_dict(body: Mapping[str, Any]) -> Feature:
        """Reads what `as_dict` wrote; without audiences the feature is internal."""
        lists = {name: tuple(body.get(name, ())) for name in ("between", "audiences")}
        return Feature(**{**body, **lists})


@dataclass(frozen=True)
class Declaration:
    """One risk model.

    Attributes:
        name: Its name.
        rates: The published list that it rates; the names of its tables derive from it (see `relation_of`).
        entity: The kind of entity in that list.
        violation_type: The violation.
        features: The features.
        most_exposed: Largest share of the honest merchants, 0 to 1, that may reach the floor.
    """

    name: str
    rates: str
    entity: Entity
    violation_type: str
    features: tuple[Feature, ...]
    most_exposed: float = MOST_EXPOSED

    @property
    def id_column(self) -> str:
        """The id column of a rated entity."""
        return ID_COLUMNS[self.entity]

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature columns, in the order of the boosters."""
        return tuple(feature.name for feature in self.features)

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """The columns of the features that dbt makes; scores of texts are computed from the texts."""
        return tuple(feature.name for feature in self.features if not feature.text)

    @property
    def own_conduct(self) -> tuple[int, ...]:
        """Positions of the features that no third party controls."""
        return tuple(index for index, feature in enumerate(self.features) if feature.controlled_by != "third_party")

    def as_dict(self) -> dict[str, Any]:
        """Returns everything that a score depends on, for digests; not the list's name."""
        return {
            "name": self.name,
            "entity": self.entity,
            "violation_type": self.violation_type,
            "features": [feature.as_dict() for feature in self.features],
        }


def load_declarations(
    models_file: Path = MODELS_FILE, features_folder: Path = FEATURES_FOLDER
) -> dict[str, Declaration]:
    """Reads every declared model.

    Args:
        models_file: The declarations (`ml/models.yml`).
        features_folder: The folder whose `*.yml` describe `listing_features` and the like.

    Returns:
        The declarations by model name, in the file's order.

    Raises:
        BadInputError: A declaration is invalid, or a declared feature has no `meta` in the dbt project.
    """
    meanings = read_meanings(features_folder)
    audiences = default_audiences(models_file)
    models = _mapping(_read_yaml(models_file), "models", models_file)
    return {name: _declaration(name, body, meanings, audiences, models_file) for name, body in models.items()}


@cache
def default_audiences(models_file: Path = MODELS_FILE) -> dict[str, tuple[str, ...]]:
    """Returns who, in addition to internal, may read a reason about a feature, by signal.

    Args:
        models_file: The declarations (`ml/models.yml`).

    Raises:
        BadInputError: A signal has no audiences, or unknown ones.
    """
    audiences = _by_signal(_read_yaml(models_file), models_file.name)
    if left_out := [signal for signal in SIGNALS if signal not in audiences]:
        raise BadInputError(
            f"{models_file.name}: audiences leaves out {', '.join(left_out)}; "
            f"each signal has a list of {', '.join(AUDIENCES)}."
        )
    return audiences


def read_meanings(features_folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Reads the description and meta of each feature column in the dbt project.

    Args:
        features_folder: Folder of the feature models' YAML files.

    Returns:
        By dbt model and column: `description` and the column's `meta`, for the columns that have a `meta.signal`.
    """
    meanings: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted(features_folder.glob("*.yml")):
        for model in _read_yaml(path).get("models") or []:
            columns = meanings.setdefault(str(model["name"]), {})
            columns.update({str(column["name"]): _meaning(column) for column in model.get("columns") or []})
    return {
        model: {name: meaning for name, meaning in columns.items() if meaning} for model, columns in meanings.items()
    }


def _meaning(column: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a column's meta from the column or, as newer dbt expects, from its `config`."""
    meta = {**(column.get("config") or {}).get("meta", {}), **(column.get("meta") or {})}
    description = " ".join(str(column.get("description") or "").split())
    return {"description": description, **meta} if "signal" in meta else {}


def _declaration(
    name: str,
    body: Any,
    meanings: Mapping[str, Mapping[str, Mapping[str, Any]]],
    audiences: Mapping[str, tuple[str, ...]],
    where: Path,
) -> Declaration:
    place = f"{where.name}, model {name}"
    entity = _one_of(body, "entity", ENTITIES, place)
    violation_type = _one_of(body, "violation_type", VIOLATION_TYPES, place)
    rates = str(body.get("rates"))
    relation = f"{relation_of(rates)}_features"
    if relation not in meanings:
        raise BadInputError(f"{place}: rates is {rates!r}, and the dbt project describes no {relation}.")
    meanings_by_column = meanings[relation]
    declared = _mapping(body, "features", where, place)
    audiences = {**audiences, **_by_signal(body, place)}
    features = tuple(
        _feature(column, given, meanings_by_column, audiences, place) for column, given in declared.items()
    )
    if not any(feature.controlled_by != "third_party" for feature in features):
        raise BadInputError(
            f"{place}: no feature is controlled by the subject or the platform; no one could be flagged."
        )
    most_exposed = body.get("most_exposed", MOST_EXPOSED)
    if not isinstance(most_exposed, int | float) or not 0 <= most_exposed <= 1:
        raise BadInputError(f"{place}: most_exposed is {most_exposed!r}; it is a share, 0 to 1.")
    return Declaration(name, rates, entity, violation_type, features, float(most_exposed))


def _feature(
    column: str,
    given: Any,
    meanings_by_column: Mapping[str, Mapping[str, Any]],
    audiences: Mapping[str, tuple[str, ...]],
    place: str,
) -> Feature:
    place = f"{place}, feature {column}"
    text = given.get("text", "")
    if text:
        _one_of(given, "text", TEXTS, place)
        meanings_by_column = {column: given}
    if column not in meanings_by_column:
        raise BadInputError(
            f"{place}: no column of that name has meta: {{signal, unit}} in the dbt project's features."
        )
    meaning = meanings_by_column[column]
    monotone = given.get("monotone", 0)
    if monotone not in (-1, 0, 1):
        raise BadInputError(f"{place}: monotone is {monotone!r}; it is -1, 0 or 1.")
    if not meaning.get("unit"):
        raise BadInputError(f"{place}: its meta in the dbt project has no unit.")
    between = tuple(meaning.get("between", ()))
    if between and not (len(between) == 2 and between[0] < between[1]):
        raise BadInputError(f"{place}: between is {list(between)} in its meta; it is the lowest and the highest value.")
    signal = _one_of(meaning, "signal", SIGNALS, place)
    return Feature(
        name=column,
        signal=signal,
        unit=str(meaning["unit"]),
        description=str(meaning["description"]),
        controlled_by=_one_of(given, "controlled_by", CONTROLLERS, place),
        monotone=int(monotone),
        words=str(given.get("words", "")),
        between=tuple(float(end) for end in between),
        audiences=_audiences(given["audiences"], place) if "audiences" in given else audiences[signal],
        text=str(text),
    )


def _by_signal(body: Mapping[str, Any], place: str) -> dict[str, tuple[str, ...]]:
    """Returns the audiences by signal, for the signals that `body` lists."""
    given = body.get("audiences", {})
    if not isinstance(given, dict) or not set(given) <= set(SIGNALS):
        raise BadInputError(f"{place}: audiences is {given!r}; it is a mapping by signal: {', '.join(SIGNALS)}.")
    return {signal: _audiences(readers, f"{place}, signal {signal}") for signal, readers in given.items()}


def _audiences(given: Any, place: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(audience in AUDIENCES for audience in given):
        raise BadInputError(f"{place}: audiences is {given!r}; it is a list of {', '.join(AUDIENCES)}.")
    return tuple(sorted(set(given) - {"internal"}))


def _one_of[Allowed: str](body: Any, key: str, allowed: tuple[Allowed, ...], place: str) -> Allowed:
    value = body.get(key) if isinstance(body, Mapping) else None
    if value not in allowed:
        raise BadInputError(f"{place}: {key} is {value!r}; it is one of {', '.join(allowed)}.")
    return allowed[allowed.index(value)]


def _mapping(body: Any, key: str, where: Path, place: str = "") -> dict[str, Any]:
    value = body.get(key) if isinstance(body, Mapping) else None
    if not isinstance(value, dict) or not value:
        raise BadInputError(f"{place or where.name}: {key} has to be a mapping with at least one entry.")
    return {str(name): given or {} for name, given in value.items()}


def _read_yaml(path: Path) -> dict[str, Any]:
    content = load_packaged_yaml(path)
    return content if isinstance(content, dict) else {}
