"""Buttons on tasks lead to what the plugin serves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from starlette.routing import Match

from gauntlet.core.records.run import run_name
from gauntlet.orchestration import tasks
from gauntlet.orchestration.links import DriftReportLink
from gauntlet.web.app import create_app

RUN = SimpleNamespace(dag_id="loans__drift_check", run_id="scheduled__2026-03-01T02:00:00+00:00", task_id="check_drift")


@pytest.fixture(scope="module")
def app() -> FastAPI:
    from gauntlet.orchestration.access import guards

    return create_app(guards())


def matched(app: FastAPI, path: str) -> dict[str, Any]:
    """What the route that serves a path makes of it."""
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "root_path": ""}
    for route in app.routes:
        found, child = route.matches(scope)
        if found is Match.FULL:
            return dict(child["path_params"])
    raise AssertionError(f"nothing serves {path}")


@pytest.mark.usefixtures("airflow_database")
def test_the_task_of_a_drift_check_links_to_its_page(app: FastAPI) -> None:
    address = DriftReportLink().get_link(None, ti_key=RUN)
    path = urlsplit(address).path
    assert path.startswith("/gauntlet/api/")
    assert "+" not in path.removeprefix("/gauntlet")
    params = matched(app, path.removeprefix("/gauntlet").replace("%3A", ":").replace("%2B", "+"))
    assert params == {"model": "loans", "run": run_name(RUN.dag_id, RUN.run_id), "kind": "drift"}


@pytest.mark.usefixtures("airflow_database")
def test_the_link_is_on_the_task() -> None:
    links = tasks.check_drift.operator_class.operator_extra_links
    assert [type(link) for link in links] == [DriftReportLink]
