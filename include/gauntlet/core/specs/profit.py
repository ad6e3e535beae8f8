"""What a decision is worth: the business metric of a model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from gauntlet.core.specs.base import Section


class ProfitSection(Section):
    """Value of one decision, from columns of the data or from a function of your own.

    Columns: a row whose score is on the ``act`` side of the threshold is acted on and yields ``gain`` when its label is
    ``good``, else minus ``loss``; a row not acted on yields 0.
    """

    act: Literal["below", "above"] = "below"
    """Which side of the threshold is acted on: below for "lend when the risk is low"."""
    good: Literal[0, 1] = 0
    """The label of a row that ends well."""
    gain: str | float | None = None
    """A column of the data, or one number for all rows."""
    loss: str | float | None = None
    """A column of the data, or one number for all rows; written as a positive number."""
    function: str | None = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", default=None)
    """``module:function`` called with (label, score, threshold, columns); returns the value of each row."""
    columns: tuple[str, ...] = ()
    """Columns that ``function`` reads."""
    aggregate: Literal["mean", "sharpe"] = "mean"
    """``sharpe``: mean over standard deviation of the row values, for backtests."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.function is None) == (self.gain is None or self.loss is None):
            raise ValueError("profit: give gain and loss, or a function; one of the two")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """The data columns this metric needs."""
        named = tuple(value for value in (self.gain, self.loss) if isinstance(value, str))
        return named + self.columns
