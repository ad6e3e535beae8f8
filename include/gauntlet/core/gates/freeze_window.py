"""May anything be deployed now?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from gauntlet.core.gates.config import GateConfig
from gauntlet.core.gates.evidence import Evidence
from gauntlet.core.gates.verdict import conclude, fact
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.specs.freeze import DAYS, Dates, Weekly

NAME = "freeze_window"


class FreezeWindowConfig(GateConfig):
    """When deployments are allowed, and when not. A freeze by hand holds always."""

    allowed: tuple[Weekly, ...] = ()
    """Only then; empty: at any time that is not frozen."""
    frozen: tuple[Weekly, ...] = ()
    dates: tuple[Dates, ...] = ()


def evaluate(evidence: Evidence, config: FreezeWindowConfig) -> GateVerdict:
    """The moment of judging against windows, dates and a freeze by hand."""
    moment = evidence.judged_at.astimezone(ZoneInfo(evidence.spec.schedule.timezone))
    return conclude(NAME, list(_checks(evidence, config, moment)))


def _checks(evidence: Evidence, config: FreezeWindowConfig, moment: datetime) -> Iterator[Measurement]:
    shown = f"{DAYS[moment.weekday()]} {moment:%Y-%m-%d %H:%M} {evidence.spec.schedule.timezone}"
    why = evidence.frozen
    yield fact("frozen_by_hand", why is None, f"{shown}: {f'1 freeze > 0: {why}' if why else '0 freezes by hand ≤ 0'}")
    inside = sum(window.holds(moment) for window in config.frozen)
    yield fact(
        "frozen_hours",
        inside == 0,
        f"{shown}: in {inside} {'>' if inside else '≤'} 0 of {len(config.frozen)} frozen windows",
    )
    closed = [item for item in config.dates if item.first <= moment.date() <= item.last]
    reason = f": {closed[0].reason}" if closed else ""
    yield fact(
        "frozen_dates",
        not closed,
        f"{shown}: in {len(closed)} {'>' if closed else '≤'} 0 of {len(config.dates)} frozen dates{reason}",
    )
    if config.allowed:
        open_ = sum(window.holds(moment) for window in config.allowed)
        sign = "≥" if open_ else "<"
        yield fact(
            "deployment_window", open_ > 0, f"{shown}: in {open_} {sign} 1 of {len(config.allowed)} deployment windows"
        )
