"""The base of every spec section: frozen, and an unknown key is an error with a hint."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a model spec. Thresholds live here and nowhere else.

    No number is infinite or NaN: a margin of ``.inf``, or a column compared with ``.nan``, would let everything pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
