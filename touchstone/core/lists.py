"""What is rated: each list with the model that rates it and what its rows are. Every stage takes these names from here.

`ml/models.yml` declares what a model reads; a test holds both, and whatever else names a list, to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from touchstone.core.errors import BadInputError

Entity = Literal["listing", "merchant", "review"]
ENTITIES: Final[tuple[Entity, ...]] = ("listing", "merchant", "review")
# The column that names a rated entity. Orders are rated with their reviews, and reviews without an order alone, so that
# neither id names them all.
ID_COLUMNS: Final[Mapping[Entity, str]] = {"listing": "listing_id", "merchant": "merchant_id", "review": "review_key"}
# Further ids that an entity has, any of which may be null.
CARRIED: Final[Mapping[Entity, tuple[str, ...]]] = {"review": ("order_id", "review_id")}
ListName = Literal["listings", "merchants", "reviews", "brushing_merchants"]


@dataclass(frozen=True)
class Rated:
    """One list, and what rates it.

    Attributes:
        list_name: The list, and the folder of its features and training rows.
        model: The model that rates it.
        entity: What a row of it is.
    """

    list_name: ListName
    model: str
    entity: Entity

    @property
    def relation(self) -> str:
        """What its dbt relations are called by: `<relation>_spine`, `_features`, `_scores` and `_reasons`."""
        return relation_of(self.list_name)

    @property
    def mart(self) -> str:
        """The mart that the list is made of."""
        return f"rated_{self.list_name}"

    @property
    def key(self) -> str:
        """The column that names a row."""
        return ID_COLUMNS[self.entity]

    @property
    def training_stage(self) -> str:
        """What a run's record calls the training of its model."""
        return f"train {self.model}"

    @property
    def carried(self) -> tuple[str, ...]:
        """Further ids that a row has; any may be null."""
        return CARRIED.get(self.entity, ())


def relation_of(list_name: str) -> str:
    """Returns what the dbt relations of a list are called by: `listing` for `listings`."""
    return list_name.removesuffix("s")


_ALL = (
    Rated("listings", "listing_counterfeit", "listing"),
    Rated("merchants", "merchant_counterfeit", "merchant"),
    Rated("reviews", "review_brushing", "review"),
    Rated("brushing_merchants", "merchant_brushing", "merchant"),
)
RATED: Final[Mapping[ListName, Rated]] = {rated.list_name: rated for rated in _ALL}


def rated_by(model: str) -> Rated:
    """Returns what a model rates.

    Raises:
        BadInputError: There is no such model.
    """
    found = {rated.model: rated for rated in _ALL}
    if model not in found:
        raise BadInputError(f"There is no model {model}; there are {', '.join(found)}.")
    return found[model]
