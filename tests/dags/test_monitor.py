"""The hourly look, run by Airflow's own engine: one task per layer, a red layer is red, and people are told."""

from __future__ import annotations

from typing import Any

import pytest
from tests.dags.test_recovery import MODEL, dag, play
from tests.orchestration.test_ramp import RUN

from gauntlet import pipeline
from gauntlet.core.errors import LayerUnhealthy
from gauntlet.core.records.monitoring import Layer

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("airflow_database"),
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked for; the data layer is unhealthy."""
    asked: list[str] = []

    def look(_services: Any, _run: Any, layer: Layer) -> None:
        asked.append(layer.value)
        if layer == Layer.DATA:
            raise LayerUnhealthy(f"{MODEL} data: income is missing")

    monkeypatch.setattr(pipeline, "open_run", lambda *_, **__: RUN)
    monkeypatch.setattr(pipeline, "_services", lambda: None)
    monkeypatch.setattr("gauntlet.stages.monitor.look", look)
    for stage in ("raise_alerts", "guard_champion"):
        monkeypatch.setattr(f"gauntlet.stages.{stage}.{stage}", lambda *_, stage=stage: asked.append(stage))
    return asked


def test_each_layer_is_a_task_and_a_red_one_is_seen_and_told(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, tasks, _ = play("monitor", monkeypatch)
    assert {layer: tasks[layer] for layer in Layer} == dict.fromkeys(Layer, "success") | {Layer.DATA: "failed"}
    assert asked.count("data") == 1, "a finding is not tried again"
    assert set(asked) == {*Layer, "raise_alerts", "guard_champion"}
    assert set(asked[-2:]) == {"raise_alerts", "guard_champion"}, "after every layer"


def test_it_looks_every_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dag("monitor", monkeypatch).timetable.expression == "45 * * * *"
