"""What Gauntlet adds to the Airflow UI. Every task process loads this file: nothing heavy at module level."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/gauntlet"


class GauntletPlugin(AirflowPlugin):
    """A navigation entry and a tab on each DAG and DAG run, served by a FastAPI app behind Airflow's own login."""

    name = "gauntlet"
    external_views = [
        {"name": "Gauntlet", "href": f"{PREFIX}/", "destination": "nav", "url_route": "gauntlet"},
        {"name": "Gauntlet", "href": f"{PREFIX}/?dag={{DAG_ID}}", "destination": "dag", "url_route": "gauntlet-dag"},
        {
            "name": "Gauntlet",
            "href": f"{PREFIX}/?dag={{DAG_ID}}&run={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "gauntlet-run",
        },
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Imported when the api-server asks, which no task does: FastAPI costs a second of CPU."""
        from gauntlet.orchestration.access import guards
        from gauntlet.web.app import create_app

        return [{"app": create_app(guards()), "url_prefix": PREFIX, "name": "Gauntlet"}]
