"""The trigger sleeps in the triggerer's loop and fires once."""

from __future__ import annotations

import asyncio
import importlib
import time
from datetime import UTC, datetime, timedelta

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


def fire(moment: datetime) -> list[object]:
    from gauntlet.orchestration.triggers import NextTick

    async def collect() -> list[object]:
        return [event.payload async for event in NextTick(moment.isoformat()).run()]

    return asyncio.run(collect())


def test_it_fires_once_at_its_moment() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=0.2)
    assert fire(moment) == [moment.isoformat()]
    assert datetime.now(UTC) >= moment


def test_a_moment_that_has_passed_fires_at_once() -> None:
    started = time.monotonic()
    fire(datetime.now(UTC) - timedelta(days=1))
    assert time.monotonic() - started < 10


def test_it_survives_storage() -> None:
    from gauntlet.orchestration.triggers import NextTick

    path, arguments = NextTick("2026-03-01T02:00:00+00:00").serialize()
    module, name = path.rsplit(".", 1)
    again = getattr(importlib.import_module(module), name)(**arguments)
    assert again.serialize() == (path, arguments)
