"""Who outside may see which column: `audiences.yml`, read and held to the contract. It alone decides what is shown to whom."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from expectations.contract import load_contract
from touchstone.core.errors import BadInputError
from touchstone.core.yaml import load_packaged_yaml

Audience = Literal["internal", "brand", "authority"]
AUDIENCES: Final[tuple[Audience, ...]] = get_args(Audience)
AUDIENCES_PATH: Final = Path(__file__).resolve().parent / "audiences.yml"
Columns = dict[Literal["both", "brand", "authority", "internal"], tuple[str, ...]]
_READERS: Final[dict[str, frozenset[str]]] = {
    "both": frozenset({"brand", "authority"}),
    "brand": frozenset({"brand"}),
    "authority": frozenset({"authority"}),
    "internal": frozenset(),
}


class Audiences(BaseModel):
    """The columns of the contract's tables, and of what is made of them, by who may see them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contract: dict[str, Columns]
    made: dict[str, Columns]

    @model_validator(mode="after")
    def _covers_the_contract(self) -> Audiences:
        tables = load_contract().tables
        if set(self.contract) != set(tables):
            raise ValueError(
                f"tables that only the contract or only this has: {sorted(set(self.contract) ^ set(tables))}"
            )
        for name, groups in {**self.contract, **self.made}.items():
            columns = [column for group in groups.values() for column in group]
            if twice := sorted({column for column in columns if columns.count(column) > 1}):
                raise ValueError(f"{name}: named twice: {twice}")
            if name not in self.contract:
                continue
            if strangers := sorted(set(columns) ^ set(tables[name].columns)):
                raise ValueError(f"{name}: only the contract or only this has {strangers}")
            for column, declared in tables[name].columns.items():
                if declared.personal and self.may_see("brand", f"{name}.{column}"):
                    raise ValueError(f"{name}.{column} is personal: it never reaches a brand")
        return self

    def may_see(self, audience: Audience, column: str) -> bool:
        """Returns whether an audience may see `table.column`.

        Raises:
            KeyError: The column is not classified.
        """
        table, _, name = column.partition(".")
        groups = self.contract.get(table) or self.made[table]
        for group, columns in groups.items():
            if name in columns:
                return audience == "internal" or audience in _READERS[group]
        raise KeyError(column)


@cache
def load_audiences(path: Path = AUDIENCES_PATH) -> Audiences:
    """Returns who may see what.

    Raises:
        BadInputError: The file is invalid: it misses a column, or lets a personal one reach a brand.
    """
    try:
        return Audiences.model_validate(load_packaged_yaml(path))
    except ValidationError as error:
        raise BadInputError(f"{path} is invalid: {error.errors()[0]['msg']}") from error
