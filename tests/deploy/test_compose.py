"""The production set-up: its file is sound, and its very commands run against a real PostgreSQL."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.compose import ROOT, Native, free_port, interpolate, load

LONG_RUNNING = (
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "mlflow",
    "model-server",
)


def secrets_of(folder: Path) -> dict[str, str]:
    shutil.copy(ROOT / ".env.example", folder)
    subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "make_secrets.py")], cwd=folder, check=True, capture_output=True
    )
    return secrets_values(folder)


def test_secrets_are_strong_private_and_written_once(tmp_path: Path) -> None:
    values = secrets_of(tmp_path)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    strong = {
        name: text
        for name, text in values.items()
        if "PASSWORD" in name or "SECRET" in name or "TOKEN" in name or "KEY" in name
    }
    assert len(strong) == 8
    assert len(set(strong.values())) == 8
    assert min(map(len, strong.values())) >= 40
    assert len(base64.urlsafe_b64decode(values["AIRFLOW_FERNET_KEY"])) == 32
    again = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "make_secrets.py")], cwd=tmp_path, check=False, capture_output=True
    )
    assert again.returncode == 1
    assert secrets_values(tmp_path) == values


def secrets_values(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_a_missing_secret_stops_the_start() -> None:
    example = (ROOT / ".env.example").read_text().splitlines()
    empty = dict(line.split("=", 1) for line in example if line and not line.startswith("#"))
    with pytest.raises(KeyError, match="run make secrets"):
        interpolate(load(), empty)


def test_nothing_is_published_beyond_loopback() -> None:
    ports = [str(port) for service in load()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_long_running_service_has_a_health_check_and_restarts() -> None:
    services = load()["services"]
    for name in (*LONG_RUNNING, "postgres"):
        assert "test" in services[name]["healthcheck"], name
        assert services[name]["restart"] == "unless-stopped", name


def test_the_start_order_is_by_health() -> None:
    services = load()["services"]
    for name in ("airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"):
        needs = services[name]["depends_on"]
        assert needs["airflow-apiserver"]["condition"] == "service_healthy"
        assert needs["airflow-init"]["condition"] == "service_completed_successfully"
    for name in ("airflow-init", "mlflow", "model-server"):
        assert services[name]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_all_airflow_services_share_secrets_and_code() -> None:
    services = load()["services"]
    for name in (
        "AIRFLOW__API__SECRET_KEY",
        "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__CORE__FERNET_KEY",
        "PYTHONPATH",
    ):
        values = {services[service]["environment"][name] for service in services if service.startswith("airflow-")}
        assert len(values) == 1, name


def test_containers_run_without_root_and_without_a_writable_root() -> None:
    assert "USER gauntlet" in (ROOT / "Dockerfile").read_text()
    for name in LONG_RUNNING:
        service = load()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


@pytest.fixture(scope="module")
def native(postgres_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Native]:
    """All services of the compose file, natively, in its start order."""
    folder = tmp_path_factory.mktemp("compose")
    values = secrets_of(folder)
    api, mlflow, server, health = free_port(), free_port(), free_port(), free_port()
    for name in ("airflow", "gauntlet", "mlflow"):
        (folder / name).mkdir()
    environment = {**os.environ, **values, **postgres_server.environment}
    subprocess.run(
        ["bash", str(ROOT / "deploy/postgres/databases.sh")], env=environment, check=True, capture_output=True
    )
    services = interpolate(load(), values)["services"]
    native = Native(
        services,
        folder,
        {
            "postgres:5432": f"127.0.0.1:{postgres_server.port}",
            "airflow-apiserver:8080": f"127.0.0.1:{api}",
            "http://mlflow:5000": f"http://127.0.0.1:{mlflow}",
            "127.0.0.1:8080": f"127.0.0.1:{api}",
            "127.0.0.1:5000": f"127.0.0.1:{mlflow}",
            "127.0.0.1:8300": f"127.0.0.1:{server}",
            "127.0.0.1:8974": f"127.0.0.1:{health}",
            "model-server:8300": f"127.0.0.1:{server}",
            "0.0.0.0": "127.0.0.1",
            "--port=5000": f"--port={mlflow}",
            "/opt/gauntlet": str(ROOT),
            "/var/lib/airflow": str(folder / "airflow"),
            "/var/lib/gauntlet": str(folder / "gauntlet"),
            "/var/lib/mlflow": str(folder / "mlflow"),
        },
    )
    for name, port, old in (("airflow-apiserver", api, "8080"), ("model-server", server, "8300")):
        services[name]["command"] = [str(port) if part == old else part for part in services[name]["command"]]
    services["airflow-scheduler"]["environment"]["AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT"] = str(health)
    try:
        native.run("airflow-init", 120)
        for name in ("mlflow", "airflow-apiserver"):
            native.start(name)
        for name in ("mlflow", "airflow-apiserver"):
            native.wait_healthy(name, 120)
        for name in ("airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "model-server"):
            native.start(name)
        yield native
    finally:
        native.stop()


@pytest.mark.airflow
@pytest.mark.parametrize("name", LONG_RUNNING)
def test_the_commands_of_the_compose_file_become_healthy_on_postgresql(native: Native, name: str) -> None:
    native.wait_healthy(name, 120)


@pytest.mark.airflow
def test_each_service_has_a_database_of_its_own(native: Native, postgres_server) -> None:
    for name in ("airflow", "mlflow", "gauntlet"):
        password = next(
            value for key, value in secrets_values(native.folder).items() if key == f"{name.upper()}_DB_PASSWORD"
        )
        for other in ("airflow", "mlflow", "gauntlet"):
            done = subprocess.run(
                ["psql", "-h", "127.0.0.1", "-p", str(postgres_server.port), "-U", name, "-d", other, "-c", "select 1"],
                env={**os.environ, "PGPASSWORD": password},
                capture_output=True,
                check=False,
            )
            assert (done.returncode == 0) == (name == other), (name, other)
