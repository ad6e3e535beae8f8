"""Waiting without a worker: the triggerer sleeps, no process does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class NextTick(BaseTrigger):
    """Fires once, at ``moment`` (ISO 8601, aware)."""

    def __init__(self, moment: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moment = moment

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The form in which the trigger is stored."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"moment": self.moment}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep until the moment, then fire."""
        left = (datetime.fromisoformat(self.moment) - datetime.now(UTC)).total_seconds()
        await asyncio.sleep(max(0.0, left))
        yield TriggerEvent(self.moment)  # type: ignore[no-untyped-call]
