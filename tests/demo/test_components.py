from __future__ import annotations

from pathlib import Path

import pytest

from gauntlet.demo.components import Component, components
from gauntlet.demo.layout import USUAL_PORTS, Layout


@pytest.fixture
def parts() -> dict[str, Component]:
    return {part.name: part for part in components(Layout(Path("/home/demo"), USUAL_PORTS))}


def test_what_runs_tasks_starts_after_the_api_server_answers(parts: dict[str, Component]) -> None:
    for name in ("airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"):
        assert parts[name].after == ("airflow-api-server",)
    assert parts["airflow-api-server"].after == ("airflow-db",)
    assert parts["airflow-db"].once


def test_every_need_is_a_component(parts: dict[str, Component]) -> None:
    assert {need for part in parts.values() for need in part.after} <= set(parts)


def test_every_listener_is_told_to_stay_on_loopback(parts: dict[str, Component]) -> None:
    for name in ("mlflow", "model-server", "airflow-api-server"):
        command = parts[name].command
        assert command[command.index("--host") + 1] == "127.0.0.1"
    for name in ("airflow-scheduler", "airflow-triggerer"):
        assert "--skip-serve-logs" in parts[name].command


def test_each_says_what_it_waits_for(parts: dict[str, Component]) -> None:
    assert all(len(part.waits_for) > 5 for part in parts.values())
    assert len({part.waits_for for part in parts.values()}) == len(parts)
