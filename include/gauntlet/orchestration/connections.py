"""Airflow connections as SQLAlchemy URLs, for sources written as ``airflow://<connection id>``."""

from __future__ import annotations

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from gauntlet.core.errors import SpecError

# Airflow names connection types, SQLAlchemy names drivers.
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "sqlite": "sqlite"}


def connection_url(connection_id: str) -> str:
    """The SQLAlchemy URL of an Airflow connection; SpecError when there is none of that name."""
    try:
        connection = BaseHook.get_connection(connection_id)
    except AirflowNotFoundException:
        raise SpecError(
            f"airflow://{connection_id}: Airflow has no connection of that id; add it under Admin, Connections"
        ) from None
    if "url" in connection.extra_dejson:
        # Addresses that Airflow's own form cannot hold, such as those of Apprise.
        return str(connection.extra_dejson["url"])
    scheme, rest = connection.get_uri().split(":", 1)
    return f"{DRIVERS.get(scheme, scheme)}:{rest}"
