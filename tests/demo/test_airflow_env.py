from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from gauntlet.demo.airflow_env import ADMIN, AirflowPlaces, airflow_environment, load_secrets, passwords_file
from gauntlet.demo.layout import USUAL_PORTS, Layout


@pytest.fixture
def places(tmp_path: Path) -> AirflowPlaces:
    return AirflowPlaces(
        tmp_path, Path("/r/dags"), Path("/r/plugins"), (Path("/r/include"), Path("/r/config")), 8081, 8975
    )


def test_measured_settings_and_addresses_are_there(places: AirflowPlaces) -> None:
    environment = airflow_environment(places, load_secrets(places.home))
    assert environment["AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] == "0.2"
    assert environment["AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL"] == "1"
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "4"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8081/execution/"
    assert environment["AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES"] == "airflow.* gauntlet.core.records.*"
    assert environment["PYTHONPATH"] == "/r/include:/r/config"


def test_nothing_listens_beyond_loopback(places: AirflowPlaces) -> None:
    environment = airflow_environment(places, load_secrets(places.home))
    hosts = {name: value for name, value in environment.items() if name.endswith("HOST")}
    assert hosts
    assert set(hosts.values()) == {"127.0.0.1"}


def test_secrets_are_random_kept_and_private(tmp_path: Path) -> None:
    first, other = load_secrets(tmp_path / "a"), load_secrets(tmp_path / "b")
    assert load_secrets(tmp_path / "a") == first
    assert not {first.api, first.jwt, first.fernet, first.password} & {
        other.api,
        other.jwt,
        other.fernet,
        other.password,
    }
    assert len(base64.urlsafe_b64decode(first.fernet)) == 32
    for path in (tmp_path / "a/secrets.json", passwords_file(tmp_path / "a")):
        assert path.stat().st_mode & 0o077 == 0
    assert json.loads(passwords_file(tmp_path / "a").read_text()) == {ADMIN: first.password}


def test_the_callers_settings_do_not_leak_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("GAUNTLET_DATABASE_URL", "postgresql+psycopg://production")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://production:5000")
    layout = Layout(tmp_path, USUAL_PORTS)
    environment = layout.environment(load_secrets(layout.airflow.home))
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "GAUNTLET_DATABASE_URL" not in environment
    assert "MLFLOW_TRACKING_URI" not in environment
    assert not any("production" in value for value in environment.values())
    assert layout.settings.database == f"sqlite:///{tmp_path}/gauntlet/gauntlet.db"


def test_child_processes_and_the_story_use_the_same_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path, USUAL_PORTS | {"mlflow": 5999})
    environment = layout.environment(load_secrets(layout.airflow.home))
    told = layout.settings
    assert environment["GAUNTLET_HOME"] == str(told.home)
    assert environment["GAUNTLET_MODELS"] == str(told.models)
    assert environment["GAUNTLET_MLFLOW_URL"] == told.mlflow_url == "http://127.0.0.1:5999"
    assert environment["GAUNTLET_SERVER_ADMIN"] == told.admin


def test_a_deep_home_gets_a_socket_with_a_short_path(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    assert len(str(Layout(deep, USUAL_PORTS).admin_socket)) < 100
    assert Layout(Path("/g"), USUAL_PORTS).admin_socket == Path("/g/gauntlet/server/admin.sock")
