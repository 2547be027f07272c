"""The rated lists: each with the model that rates it and the entity of its rows. Every stage takes these names from here.

`ml/models.yml` declares what a model reads. A test compares both, and every other place that names a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from touchstone.core.errors import BadInputError

Entity = Literal["listing", "merchant", "review"]
ENTITIES: Final[tuple[Entity, ...]] = ("listing", "merchant", "review")
# The key column of a rated entity. Orders are rated with their reviews, and reviews without an order by themselves, so that
# neither order_id nor review_id identifies all of them.
ID_COLUMNS: Final[Mapping[Entity, str]] = {"listing": "listing_id", "merchant": "merchant_id", "review": "review_key"}
# Further ids of an entity; each may be null.
CARRIED: Final[Mapping[Entity, tuple[str, ...]]] = {"review": ("order_id", "review_id")}
ListName = Literal["listings", "merchants", "reviews", "brushing_merchants"]


@dataclass(frozen=True)
class Rated:
    """One list and the model that rates it.

    Attributes:
        list_name: The list, and the folder of its features and training rows.
        model: The model that rates it.
        entity: The entity of a row.
    """

    list_name: ListName
    model: str
    entity: Entity

    @property
    def relation(self) -> str:
        """Prefix of its dbt relations: `<relation>_spine`, `_features`, `_scores` and `_reasons`."""
        return relation_of(self.list_name)

    @property
    def mart(self) -> str:
        """The mart that the list is built from."""
        return f"rated_{self.list_name}"

    @property
    def key(self) -> str:
        """The key column of a row."""
        return ID_COLUMNS[self.entity]

    @property
    def training_stage(self) -> str:
        """Name of the stage in a run record that trains its model."""
        return f"train {self.model}"

    @property
    def carried(self) -> tuple[str, ...]:
        """Further id columns of a row; each may be null."""
        return CARRIED.get(self.entity, ())


def relation_of(list_name: str) -> str:
    """Returns the prefix of a list's dbt relations: `listing` for `listings`."""
    return list_name.removesuffix("s")


_ALL = (
    Rated("listings", "listing_counterfeit", "listing"),
    Rated("merchants", "merchant_counterfeit", "merchant"),
    Rated("reviews", "review_brushing", "review"),
    Rated("brushing_merchants", "merchant_brushing", "merchant"),
)
RATED: Final[Mapping[ListName, Rated]] = {rated.list_name: rated for rated in _ALL}


def rated_by(model: str) -> Rated:
    """Returns the list that a model rates.

    Raises:
        BadInputError: There is no such model.
    """
    by_model = {rated.model: rated for rated in _ALL}
    if model not in by_model:
        raise BadInputError(f"There is no model {model}. The models are {', '.join(by_model)}.")
    return by_model[model]
