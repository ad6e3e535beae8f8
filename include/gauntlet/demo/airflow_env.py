"""Airflow's configuration as environment variables: one place for the demo and the tests.

The numbers are measured: with the defaults a task costs about a second of waiting, and 32 idle
workers hold 1.1 GB.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

ADMIN = "admin"
SIMPLE_AUTH = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
RECORDS = "airflow.* gauntlet.core.records.*"
"""What may be read from XCom: Airflow's own types and our records."""


@dataclass(frozen=True)
class AirflowPlaces:
    """Where one Airflow lives: its home, the repository's folders, its ports, what tasks may import."""

    home: Path
    dags: Path
    plugins: Path
    python_path: tuple[Path, ...]
    port: int
    health_port: int
    parallelism: int = 4
    database: str | None = None
    """SQLAlchemy URL; unset: SQLite in ``home``."""


@dataclass(frozen=True)
class Secrets:
    """Random once per home, and the same in all components."""

    fernet: str
    api: str
    jwt: str
    password: str


def airflow_environment(places: AirflowPlaces, keys: Secrets) -> dict[str, str]:
    """The variables every Airflow component of one installation shares."""
    options = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__DAGS_FOLDER": str(places.dags),
        "CORE__PLUGINS_FOLDER": str(places.plugins),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__PARALLELISM": str(places.parallelism),
        "CORE__ALLOWED_DESERIALIZATION_CLASSES": RECORDS,
        "CORE__AUTH_MANAGER": SIMPLE_AUTH,
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(places.home)),
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{places.port}/execution/",
        "CORE__FERNET_KEY": keys.fernet,
        "API__SECRET_KEY": keys.api,
        "API_AUTH__JWT_SECRET": keys.jwt,
        "API__HOST": "127.0.0.1",
        "API__PORT": str(places.port),
        "API__BASE_URL": f"http://127.0.0.1:{places.port}",
        "API__WORKERS": "1",
        "DATABASE__SQL_ALCHEMY_CONN": places.database or f"sqlite:///{places.home}/airflow.db",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "60",
        "EXECUTION_API__JWT_EXPIRATION_TIME": "14400",
        "LOGGING__BASE_LOG_FOLDER": str(places.home / "logs"),
        "SCHEDULER__ENABLE_HEALTH_CHECK": "True",
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(places.health_port),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }
    return {
        "AIRFLOW_HOME": str(places.home),
        "PYTHONPATH": os.pathsep.join(str(path) for path in places.python_path),
        **{f"AIRFLOW__{name}": value for name, value in options.items()},
    }


def passwords_file(home: Path) -> Path:
    """Where Airflow's simple login keeps its passwords."""
    return home / "passwords.json"


def load_secrets(home: Path) -> Secrets:
    """The secrets of an Airflow home, made on first use; files are readable by the owner only."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "secrets.json"
    if not path.exists():
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        _write_private(path, [fernet, *(secrets.token_urlsafe(length) for length in (32, 64, 12))])
    keys = Secrets(*json.loads(path.read_text()))
    _write_private(passwords_file(home), {ADMIN: keys.password})
    return keys


def _write_private(path: Path, content: object) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(json.dumps(content))
