"""Where a message leads its reader: the dashboard and the runbook, as addresses that a browser opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from gauntlet.core.spec import ModelSpec


@dataclass(frozen=True)
class Addresses:
    """What people's browsers reach; ``None``: there is no such thing, or nobody has said where."""

    grafana: str | None = None
    """A dashboard with the variable ``model``."""
    airflow: str | None = None
    """Airflow's UI, which has Gauntlet's page."""


def dashboard(spec: ModelSpec, at: Addresses) -> str | None:
    """The spec's own dashboard, else Grafana's, else the alerts on the page inside Airflow."""
    if spec.alerts.dashboard or at.grafana is None:
        return spec.alerts.dashboard or _page(spec, at)
    return f"{at.grafana}?var-model={quote(spec.model)}"


def runbook(spec: ModelSpec, at: Addresses) -> str:
    """The owner's runbook; a document of the repository is served by the page inside Airflow, where there is one."""
    where = spec.owner.runbook
    if "://" in where or at.airflow is None:
        return where
    return f"{at.airflow.rstrip('/')}/gauntlet/api/models/{quote(spec.model)}/runbook"


def _page(spec: ModelSpec, at: Addresses) -> str | None:
    if at.airflow is None:
        return None
    return f"{at.airflow.rstrip('/')}/plugin/gauntlet/gauntlet/?dag={quote(spec.model)}__monitor"
