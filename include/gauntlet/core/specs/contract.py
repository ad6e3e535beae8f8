"""What must hold of the data before it is used. Evaluated by Great Expectations."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gauntlet.core.duration import Duration
from gauntlet.core.specs.base import Section

ColumnType = Literal["integer", "number", "string", "boolean", "timestamp", "date"]


class ColumnContract(Section):
    """What must hold of one column."""

    type: ColumnType | None = None
    max_null: float = Field(ge=0, le=1, default=0.0)
    """Largest share of nulls; a column of nulls only never passes."""
    minimum: float | str | None = None
    maximum: float | str | None = None
    values: tuple[str | int | float | bool, ...] | None = None
    regex: str | None = None
    unique: bool = False
    mean: tuple[float, float] | None = None
    """The mean lies in this closed range: catches a change of units."""
    mostly: float = Field(gt=0, le=1, default=1.0)
    """Share of non-null rows that must satisfy minimum, maximum, values and regex."""


class Relation(Section):
    """``left op right`` holds in every row where both are present."""

    left: str
    op: Literal["<=", "<", "==", ">=", ">"]
    right: str


class ContractSection(Section):
    """The data contract. Row volume is always checked; an empty table never passes."""

    rows: tuple[int, int | None]
    """Least and most rows of a pull; the least is at least 1."""
    freshness: Duration | None = None
    """The newest row is at most this much older than the newest row that could be there."""
    columns: dict[str, ColumnContract]
    unique_together: tuple[tuple[str, ...], ...] = ()
    relations: tuple[Relation, ...] = ()
    exact_columns: bool = False
    """Whether further columns are refused."""
    pii: tuple[str, ...] = ()
    """Columns whose values are never printed; protected columns never are either."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        least, most = self.rows
        if least < 1 or (most is not None and most < least):
            raise ValueError("rows: [least, most] with 1 <= least <= most")
        return self
