"""Where the local stack keeps its things, and how its parts reach each other."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import gauntlet
from gauntlet.core.duration import format_duration
from gauntlet.core.errors import InfrastructureError
from gauntlet.demo.airflow_env import AirflowPlaces, Secrets, airflow_environment
from gauntlet.demo.ports import LOOPBACK
from gauntlet.settings import Settings

HOME = Path(".gauntlet/demo")
MODEL = "credit_default"
DATA_VARIABLE = "CREDIT_DEFAULT_DATA"
PER_DAY = 1_200.0
"""Applications per day of the demo's own portfolio: enough for every gate, little enough for two cores."""
WORLD_AHEAD = timedelta(days=3650)
"""The simulated world has a time of its own, whatever this machine's clock says."""
USUAL_PORTS = {"airflow": 8080, "mlflow": 5000, "server": 8300, "scheduler-health": 8974}
OURS = ("AIRFLOW", "GAUNTLET_", "MLFLOW_", "CREDIT_DEFAULT_")
"""Inherited variables with these beginnings would make the demo depend on the caller's set-up."""


@dataclass(frozen=True)
class Layout:
    """Folders and ports of one local stack."""

    home: Path
    ports: dict[str, int]

    @property
    def root(self) -> Path:
        """The repository: where ``dags``, ``plugins`` and ``config`` are."""
        return repository()

    @property
    def world(self) -> Path:
        """The simulated warehouse."""
        return self.home / "warehouse"

    @property
    def models(self) -> Path:
        """The demo's own specs."""
        return self.home / "models"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.home / "logs"

    @property
    def airflow(self) -> AirflowPlaces:
        """Airflow's places."""
        return AirflowPlaces(
            home=self.home / "airflow",
            dags=self.root / "dags",
            plugins=self.root / "plugins",
            python_path=(self.root / "include", self.root / "config"),
            port=self.ports["airflow"],
            health_port=self.ports["scheduler-health"],
        )

    def url(self, name: str) -> str:
        """Address of a part: ``airflow``, ``mlflow`` or ``server``."""
        return f"http://{LOOPBACK}:{self.ports[name]}"

    @property
    def settings(self) -> Settings:
        """The settings with which every part of this stack runs, whatever the caller's environment says."""
        return Settings(
            environment="dev",
            database_url=None,
            blobs_url=None,
            server_token=None,
            server_workers=1,
            as_of_ahead=WORLD_AHEAD,
            home=self.home / "gauntlet",
            models=self.models,
            mlflow_url=self.url("mlflow"),
            server_url=self.url("server"),
            server_admin=f"unix:{self.admin_socket}",
        )

    @property
    def admin_socket(self) -> Path:
        """The model server's admin socket: in the home, unless its path is longer than a socket's may be."""
        inside = self.home / "gauntlet/server/admin.sock"
        if len(str(inside).encode()) < 100:
            return inside
        return Path(f"/tmp/gauntlet-{os.getuid()}-{self.ports['server']}.sock")  # noqa: S108 - named after user and port

    def environment(self, keys: Secrets) -> dict[str, str]:
        """The environment of all child processes."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        settings = self.settings
        return inherited | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
            "GAUNTLET_HOME": str(settings.home),
            "GAUNTLET_MODELS": str(settings.models),
            "GAUNTLET_MLFLOW_URL": settings.mlflow_url,
            "GAUNTLET_SERVER_URL": settings.server_url,
            "GAUNTLET_AIRFLOW_URL": self.url("airflow"),
            "GAUNTLET_SERVER_ADMIN": settings.admin,
            "GAUNTLET_AS_OF_AHEAD": format_duration(settings.as_of_ahead),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            DATA_VARIABLE: str(self.world),
            **airflow_environment(self.airflow, keys),
        }


def repository() -> Path:
    """The checkout this package runs from; the demo needs its DAGs and specs."""
    root = Path(gauntlet.__file__).parents[2]
    for name in ("dags", "include/models"):
        if not (root / name).is_dir():
            raise InfrastructureError(f"{root / name}: not there; the demo runs from a checkout of the repository")
    return root
