"""The champion's own decisions, against earlier looks that found nothing wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.monitoring import Layer, LayerReport, Severity, Symptom
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.core.specs.monitoring import ModelLayerSection, MonitoringSection
from gauntlet.stages.monitor_layers import decided

NOW = datetime(2026, 3, 6, 9, tzinfo=UTC)
CHAMPION = ServedVersion(version=1, version_id="v1", release_uri="u", release_digest="d")
RUN: Any = SimpleNamespace(model="m", as_of=NOW)


class Journal:
    def __init__(self, rows: list[tuple[str, str, int]]) -> None:
        self.rows, self.asked = rows, []

    def read(self, model: str, since: datetime, until: datetime) -> pa.Table:
        self.asked.append(until - since)
        version, status, decision = zip(*self.rows, strict=True)
        return pa.table({"version_id": version, "status": status, "decision": pa.array(decision, pa.int16())})


def world(rows: list[tuple[str, str, int]], *, drop: float | None = 0.5, spoilt: int = 0) -> tuple[Any, Any, Journal]:
    store, journal = MemoryStore(SimpleNamespace(now=lambda: NOW)), Journal(rows)
    for place in range(12 + spoilt):
        until = NOW - timedelta(hours=place + 1)
        bad = place < spoilt
        symptom = Symptom(
            key="model.diversity",
            layer=Layer.MODEL,
            severity=Severity.WARNING,
            outcome=Outcome.FAILED,
            sentence="decisions differ less",
        )
        report = LayerReport(
            model="m",
            run=f"look-{place}",
            layer=Layer.MODEL,
            outcome=Outcome.FAILED if bad else Outcome.PASSED,
            reason="",
            symptoms=(symptom,) if bad else (),
            values={"diversity": 0.0 if bad else 0.8},
            since=None,
            until=until,
            at=until,
        )
        store.records.put(f"m/look-{place}", report, Layer.MODEL.value)
    section = MonitoringSection(model=ModelLayerSection(diversity_drop=drop))
    services: Any = SimpleNamespace(records=store.records, journal=journal)
    return services, SimpleNamespace(monitoring=section), journal


def rows(version: str, ones: int, zeros: int, status: str = "ok") -> list[tuple[str, str, int]]:
    return [(version, status, 1)] * ones + [(version, status, 0)] * zeros


def test_a_champion_that_says_the_same_to_all_is_a_symptom() -> None:
    services, spec, journal = world(rows("v1", 5, 995))
    (look,) = decided(services, RUN, spec, CHAMPION)
    assert [symptom.key for symptom in look.symptoms] == ["model.diversity"]
    assert journal.asked == [spec.monitoring.model.window]


def test_other_versions_and_failed_rows_do_not_make_up_for_it() -> None:
    services, spec, _ = world(rows("v1", 5, 995) + rows("v2", 900, 100) + rows("v1", 900, 0, "error"))
    (look,) = decided(services, RUN, spec, CHAMPION)
    assert look.outcome is Outcome.FAILED
    assert look.symptoms[0].n == 1000


@pytest.mark.parametrize("spoilt", [0, 40])
def test_what_was_wrong_before_does_not_become_usual(spoilt: int) -> None:
    services, spec, _ = world(rows("v1", 5, 995), spoilt=spoilt)
    assert decided(services, RUN, spec, CHAMPION)[0].outcome is Outcome.FAILED
    services, spec, _ = world(rows("v1", 300, 700), spoilt=spoilt)
    assert decided(services, RUN, spec, CHAMPION)[0].outcome is Outcome.PASSED


def test_it_is_off_unless_the_spec_asks() -> None:
    services, spec, journal = world(rows("v1", 5, 995), drop=None)
    assert decided(services, RUN, spec, CHAMPION) == []
    assert journal.asked == []
