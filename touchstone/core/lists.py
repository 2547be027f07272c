"""The lists: which model rates each, and which entity a row of it is. Every stage takes these names from here.

`ml/models.yml` declares the inputs of each model. A test checks that both files, and every other place that names a list, agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from touchstone.core.errors import BadInputError

Entity = Literal["listing", "merchant", "review"]
ENTITIES: Final[tuple[Entity, ...]] = ("listing", "merchant", "review")
# The id column of each entity. Orders are rated together with their reviews, and reviews without an order on their own, so that
# neither `order_id` nor `review_id` identifies every row.
ID_COLUMNS: Final[Mapping[Entity, str]] = {"listing": "listing_id", "merchant": "merchant_id", "review": "review_key"}
# Further id columns of an entity; any may be null.
CARRIED: Final[Mapping[Entity, tuple[str, ...]]] = {"review": ("order_id", "review_id")}
ListName = Literal["listings", "merchants", "reviews", "brushing_merchants"]


@dataclass(frozen=True)
class ListDefinition:
    """One list, its model and its entity.

    Attributes:
        list_name: The list; also the folder of its features and training rows.
        model: The model that rates it.
        entity: The entity of a row.
    """

    list_name: ListName
    model: str
    entity: Entity

    @property
    def relation(self) -> str:
        """The prefix of its dbt relations: `<relation>_spine`, `_features`, `_scores` and `_reasons`."""
        return relation_of(self.list_name)

    @property
    def mart(self) -> str:
        """The mart that the list is built from."""
        return f"rated_{self.list_name}"

    @property
    def key(self) -> str:
        """The id column of a row."""
        return ID_COLUMNS[self.entity]

    @property
    def training_stage(self) -> str:
        """The name of its training stage in the run record."""
        return f"train {self.model}"

    @property
    def carried(self) -> tuple[str, ...]:
        """Further id columns of a row; any may be null."""
        return CARRIED.get(self.entity, ())


def relation_of(list_name: str) -> str:
    """Returns the prefix of the dbt relations of a list: `listing` for `listings`."""
    return list_name.removesuffix("s")


LISTS: Final[Mapping[ListName, ListDefinition]] = {
    definition.list_name: definition
    for definition in (
        ListDefinition("listings", "listing_counterfeit", "listing"),
        ListDefinition("merchants", "merchant_counterfeit", "merchant"),
        ListDefinition("reviews", "review_brushing", "review"),
        ListDefinition("brushing_merchants", "merchant_brushing", "merchant"),
    )
}


def list_of_model(model: str) -> ListDefinition:
    """Returns the list that a model rates.

    Args:
        model: The name of a model.

    Returns:
        The definition of its list.

    Raises:
        BadInputError: There is no such model.
    """
    by_model = {definition.model: definition for definition in LISTS.values()}
    if model not in by_model:
        raise BadInputError(f"There is no model {model}; the models are {', '.join(by_model)}.")
    return by_model[model]
