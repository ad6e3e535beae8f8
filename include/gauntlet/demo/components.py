"""The processes of the local stack, in the order they start, and how each says that it is ready."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from gauntlet.demo.layout import MODEL, PER_DAY, Layout
from gauntlet.demo.ports import LOOPBACK
from gauntlet.simulation.events import NIGHT_ONE

Ready = Callable[[], bool]
PYTHON = sys.executable
RATE = 80
"""Live requests per second of the demo."""


@dataclass(frozen=True)
class Component:
    """One process. ``after`` are components that must be ready first; ``once``: it ends with 0 when it is ready."""

    name: str
    command: tuple[str, ...]
    waits_for: str
    """What people read while it is not ready."""
    ready: Ready | None = None
    after: tuple[str, ...] = ()
    once: bool = False
    patience: float = 120.0


def components(layout: Layout) -> tuple[Component, ...]:
    """All of them; those without ``after`` start at once."""
    return (*_services(layout), *_airflow(layout), _traffic(layout))


def _services(layout: Layout) -> tuple[Component, ...]:
    store = layout.home / "mlflow"
    return (
        Component(
            "mlflow",
            (
                *(PYTHON, "-m", "mlflow", "server", "--workers", "1"),
                *("--host", LOOPBACK, "--port", str(layout.ports["mlflow"])),
                *("--backend-store-uri", f"sqlite:///{store}/mlflow.db"),
                *("--serve-artifacts", "--artifacts-destination", str(store / "artifacts")),
            ),
            "MLflow: make its database and answer",
            answers(f"{layout.url('mlflow')}/health"),
        ),
        Component(
            "model-server",
            (PYTHON, "-m", "gauntlet.cli", "serve", "--host", LOOPBACK, "--port", str(layout.ports["server"])),
            "model server: listen",
            answers(f"{layout.url('server')}/livez"),
        ),
    )


def _airflow(layout: Layout) -> tuple[Component, ...]:
    health = f"{layout.url('airflow')}/api/v2/monitor/health"
    airflow = (PYTHON, "-m", "airflow")
    # Scheduler, processor and triggerer talk to the api-server; started before it, tasks fail without a start date.
    needs = ("airflow-api-server",)
    return (
        Component("airflow-db", (*airflow, "db", "migrate"), "Airflow: make its database", once=True),
        Component(
            "airflow-api-server",
            (*airflow, "api-server", "--host", LOOPBACK, "--port", str(layout.ports["airflow"]), "--workers", "1"),
            "Airflow api-server: answer",
            answers(health),
            after=("airflow-db",),
        ),
        Component(
            "airflow-scheduler",
            (*airflow, "scheduler", "--skip-serve-logs"),
            "Airflow scheduler: load the libraries tasks need, send a heartbeat",
            healthy(health, "scheduler"),
            needs,
        ),
        Component(
            "airflow-dag-processor",
            (*airflow, "dag-processor"),
            "Airflow DAG processor: send a heartbeat",
            healthy(health, "dag_processor"),
            needs,
        ),
        Component(
            "airflow-triggerer",
            (*airflow, "triggerer", "--skip-serve-logs"),
            "Airflow triggerer: send a heartbeat",
            healthy(health, "triggerer"),
            needs,
        ),
    )


def _traffic(layout: Layout) -> Component:
    world = ("--world", str(layout.world), "--night-one", NIGHT_ONE.isoformat(), "--per-day", str(PER_DAY))
    options = ("--url", layout.url("server"), "--model", MODEL, "--rate", str(RATE), *world)
    return Component(
        "traffic",
        (PYTHON, "-m", "gauntlet.simulation.traffic", *options),
        "traffic: start",
        after=("model-server",),
    )


def answers(url: str) -> Ready:
    """Ready when the address answers with 200."""
    return lambda: _get(url) is not None


def healthy(url: str, part: str) -> Ready:
    """Ready when Airflow's health page calls ``part`` healthy."""

    def ready() -> bool:
        page = _get(url)
        return page is not None and (page.json().get(part) or {}).get("status") == "healthy"

    return ready


def _get(url: str) -> Any:
    with contextlib.suppress(httpx.HTTPError):
        answer = httpx.get(url, timeout=2.0, trust_env=False)
        return answer if answer.status_code == 200 else None
    return None
