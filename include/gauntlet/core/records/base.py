"""The base of every record: frozen, strict about keys, with a digest of its content."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from gauntlet.core.digest import sha256_json


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone: write one, as in 2026-03-01T02:00:00Z")
    return value.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(_in_utc)]
"""A point in time: aware, kept in UTC."""


class Record(BaseModel):
    """A small immutable fact that travels between tasks and stays in the store.

    Records are a wire format: moving or renaming a class is a breaking change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    @property
    def record_digest(self) -> str:
        """SHA-256 of the record's canonical JSON; infinities and NaN are strings there, so every record has one."""
        return sha256_json(json.loads(self.model_dump_json()))
