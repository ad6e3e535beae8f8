"""The production set-up: its file is sound, and its very commands run against a real PostgreSQL."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.deploy.compose import ROOT, Native, interpolate, load
from tests.processes import free_port, wait_for

LONG_RUNNING = (
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "mlflow",
    "model-server",
    "exporter",
)
CELERY = ("airflow-scheduler-celery", "airflow-worker")
FOREIGN = ("postgres", "objects", "redis", "statsd-exporter", "prometheus", "alertmanager", "grafana")
OURS = (*LONG_RUNNING, *CELERY)


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
    assert len(strong) == 12
    assert len(set(strong.values())) == 12
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


def test_the_example_itself_starts_nothing() -> None:
    """Every secret of the example is empty, and each one that is missing stops the start by its name."""
    example = (ROOT / ".env.example").read_text().splitlines()
    plain = dict(line.split("=", 1) for line in example if line and not line.startswith("#"))
    names = [name for name, text in plain.items() if not text]
    assert len(names) == 12
    filled = plain | dict.fromkeys(names, "s")
    interpolate(load(), filled)
    for name in names:
        with pytest.raises(KeyError, match=f"{name}: run make secrets"):
            interpolate(load(), filled | {name: ""})


def test_every_setting_that_compose_hands_over_is_one_the_code_reads_and_none_is_forgotten() -> None:
    from gauntlet.settings import Settings

    given = {name for name in load()["x-gauntlet-environment"] if name.startswith("GAUNTLET_")}
    given |= {name for name in load()["services"]["model-server"]["environment"] if name.startswith("GAUNTLET_")}
    known = {f"GAUNTLET_{name.upper()}" for name in Settings.model_fields}
    assert given <= known
    # With defaults that are right inside the containers, or meant for other set-ups.
    left = {"MLFLOW_TIMEOUT_S", "SERVER_ADMIN_LISTEN", "SERVER_TOKEN", "SERVER_TOKEN_FILE", "AS_OF_AHEAD"}
    assert known - given == {f"GAUNTLET_{name}" for name in left}


def test_nothing_is_published_beyond_loopback() -> None:
    ports = [str(port) for service in load()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_long_running_service_has_a_health_check_and_restarts() -> None:
    services = load()["services"]
    for name in (*OURS, *FOREIGN):
        assert "test" in services[name]["healthcheck"], name
        assert services[name]["restart"] == "unless-stopped", name


def test_every_service_has_limits() -> None:
    for name, service in load()["services"].items():
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys(), name


def test_images_of_others_are_pinned() -> None:
    for name in FOREIGN:
        image, _, tag = load()["services"][name]["image"].partition(":")
        assert tag not in ("", "latest"), image


def test_the_file_fits_the_compose_specification() -> None:
    done = subprocess.run(
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yaml")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_profiles_differ_by_executor_only() -> None:
    services = load()["services"]
    local, celery = services["airflow-scheduler"]["environment"], services["airflow-scheduler-celery"]["environment"]
    differing = {name for name in celery if celery[name] != local.get(name)}
    assert {name.split("__")[1] for name in differing} == {"CORE", "CELERY"}
    assert local["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert celery["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    chosen = {name: service.get("profiles") for name, service in services.items() if "profiles" in service}
    assert chosen == {
        "airflow-scheduler": ["local"],
        "airflow-scheduler-celery": ["celery"],
        "airflow-worker": ["celery"],
        "redis": ["celery"],
    }


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
    for name in OURS:
        service = load()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_images_of_others_write_nothing_but_their_volumes() -> None:
    """All but the object store, whose image needs to; what they write in between lies in memory."""
    services = load()["services"]
    for name in FOREIGN:
        service = services[name]
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name == "objects":
            continue
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
    volumes = set(load()["volumes"])
    for name, service in services.items():
        mounted = {str(volume).partition(":")[0] for volume in service.get("volumes", [])}
        assert {each for each in mounted if not each.startswith("./")} <= volumes, name
    for name, folder in (
        ("postgres", "/var/lib/postgresql/data"),
        ("objects", "/data"),
        ("grafana", "/var/lib/grafana"),
    ):
        assert any(str(volume).endswith(f":{folder}") for volume in services[name]["volumes"]), name


@dataclass
class Metrics:
    """Receives what Airflow sends to the StatsD exporter."""

    socket: socket.socket

    def names(self) -> set[str]:
        """The metrics that have arrived since the last call."""
        found = set()
        self.socket.settimeout(0.2)
        try:
            while True:
                found |= {line.split(":", 1)[0] for line in self.socket.recv(65536).decode().splitlines()}
        except TimeoutError:
            return found


@dataclass(frozen=True)
class Stack:
    """The whole compose file, natively."""

    native: Native
    statsd: Metrics
    api: int
    exporter: int
    server: int


@pytest.fixture(scope="module")
def stack(postgres_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services of the compose file, natively, in its start order; of the foreign ones those this machine has."""
    folder = tmp_path_factory.mktemp("compose")
    values = secrets_of(folder)
    names = ("api", "mlflow", "server", "health", "objects", "redis", "exporter", "prometheus", "log")
    ports = {name: free_port() for name in names}
    for name in ("airflow", "gauntlet"):
        (folder / name).mkdir()
    environment = {**os.environ, **values, **postgres_server.environment}
    subprocess.run(
        ["bash", str(ROOT / "deploy/postgres/databases.sh")], env=environment, check=True, capture_output=True
    )
    statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    statsd.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    statsd.bind(("127.0.0.1", 0))
    services = interpolate(load(), values)["services"]
    native = Native(
        services,
        folder,
        {
            "postgres:5432": f"127.0.0.1:{postgres_server.port}",
            "airflow-apiserver:8080": f"127.0.0.1:{ports['api']}",
            "http://mlflow:5000": f"http://127.0.0.1:{ports['mlflow']}",
            "http://objects:8333": f"http://127.0.0.1:{ports['objects']}",
            "redis:6379": f"127.0.0.1:{ports['redis']}",
            "exporter:9310": f"127.0.0.1:{ports['exporter']}",
            "localhost:9090": f"127.0.0.1:{ports['prometheus']}",
            "127.0.0.1:8080": f"127.0.0.1:{ports['api']}",
            "127.0.0.1:5000": f"127.0.0.1:{ports['mlflow']}",
            "127.0.0.1:8300": f"127.0.0.1:{ports['server']}",
            "127.0.0.1:8974": f"127.0.0.1:{ports['health']}",
            "127.0.0.1:9310": f"127.0.0.1:{ports['exporter']}",
            "model-server:8300": f"127.0.0.1:{ports['server']}",
            "0.0.0.0": "127.0.0.1",
            "--port=5000": f"--port={ports['mlflow']}",
            "/opt/gauntlet": str(ROOT),
            "/var/lib/airflow": str(folder / "airflow"),
            "/var/lib/gauntlet": str(folder / "gauntlet"),
        },
    )
    for name, port, old in (
        ("airflow-apiserver", ports["api"], "8080"),
        ("model-server", ports["server"], "8300"),
        ("exporter", ports["exporter"], "9310"),
    ):
        services[name]["command"] = [str(port) if part == old else part for part in services[name]["command"]]
    for name in ("airflow-scheduler", "airflow-scheduler-celery"):
        services[name]["environment"]["AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT"] = str(ports["health"])
    for service in services.values():
        if "AIRFLOW__METRICS__STATSD_HOST" in service.get("environment", {}):
            service["environment"]["AIRFLOW__METRICS__STATSD_HOST"] = "127.0.0.1"
            service["environment"]["AIRFLOW__METRICS__STATSD_PORT"] = str(statsd.getsockname()[1])
            service["environment"]["AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT"] = str(ports["log"])
    # An S3 server of the tests: SeaweedFS is no Debian package. It has the buckets that SeaweedFS makes at its start.
    services["objects"]["command"] = ["moto_server", "-H", "127.0.0.1", "-p", str(ports["objects"])]
    services["redis"]["command"] += ["--port", str(ports["redis"]), "--bind", "127.0.0.1"]
    stack = Stack(native, Metrics(statsd), ports["api"], ports["exporter"], ports["server"])
    try:
        native.start("objects")
        _buckets(native)
        native.run("airflow-init", 120)
        for name in ("mlflow", "airflow-apiserver"):
            native.start(name)
        for name in ("mlflow", "airflow-apiserver"):
            native.wait_healthy(name, 120)
        for name in ("airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "model-server", "exporter"):
            native.start(name)
        yield stack
    finally:
        native.stop()
        statsd.close()


def _buckets(native: Native) -> None:
    import boto3
    from botocore.config import Config

    environment = native.environment("mlflow")
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 40, "mode": "standard"}, connect_timeout=1),
    )
    deadline = time.monotonic() + 60
    for bucket in native.services["objects"]["environment"]["S3_BUCKET"].split(","):
        while True:
            try:
                client.create_bucket(Bucket=bucket)
                break
            except Exception:
                assert time.monotonic() < deadline
                time.sleep(0.3)
    client.close()


def gauntlet(native: Native, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line inside the model server's container."""
    return subprocess.run(
        [sys.executable, "-m", "gauntlet.cli", *arguments],
        env=native.environment("model-server"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.airflow
@pytest.mark.parametrize("name", LONG_RUNNING)
def test_the_commands_of_the_compose_file_become_healthy_on_postgresql(stack: Stack, name: str) -> None:
    stack.native.wait_healthy(name, 120)


@pytest.mark.airflow
def test_each_service_has_a_database_of_its_own(stack: Stack, postgres_server) -> None:
    for name in ("airflow", "mlflow", "gauntlet"):
        password = next(
            value for key, value in secrets_values(stack.native.folder).items() if key == f"{name.upper()}_DB_PASSWORD"
        )
        for other in ("airflow", "mlflow", "gauntlet"):
            done = subprocess.run(
                ["psql", "-h", "127.0.0.1", "-p", str(postgres_server.port), "-U", name, "-d", other, "-c", "select 1"],
                env={**os.environ, "PGPASSWORD": password},
                capture_output=True,
                check=False,
            )
            assert (done.returncode == 0) == (name == other), (name, other)


@pytest.mark.airflow
def test_mlflow_wants_a_name_and_a_password(stack: Stack) -> None:
    environment = stack.native.environment("model-server")
    search = f"{environment['GAUNTLET_MLFLOW_URL']}/api/2.0/mlflow/registered-models/search"
    assert httpx.get(search).status_code == 401
    user = (environment["MLFLOW_TRACKING_USERNAME"], environment["MLFLOW_TRACKING_PASSWORD"])
    assert httpx.get(search, auth=user).status_code == 200
    assert httpx.get(search, auth=user, headers={"host": "elsewhere.example"}).status_code == 403


@pytest.mark.airflow
def test_the_pipeline_reaches_every_service(stack: Stack) -> None:
    done = gauntlet(stack.native, "doctor", "--json")
    findings = {each["check"]: each for each in json.loads(done.stdout)}
    wanted = ("versions", "state", "mlflow", "model server", "agreement credit_default", "audit log")
    assert {name: findings[name]["outcome"] for name in wanted} == dict.fromkeys(wanted, "passed"), findings


@pytest.mark.airflow
def test_releases_and_artifacts_go_to_the_object_store(stack: Stack, tmp_path: Path) -> None:
    script = (
        "import mlflow, sys; from pathlib import Path; from gauntlet.bootstrap import services;"
        "running = services(); file = Path(sys.argv[1]); uri = running.blobs.put_file(file, 'probe/x.txt');"
        "run = running.registry.open_run('credit_default', 'probe', {});"
        "running.registry.log(run, artifacts={'probe': file}); print(uri)"
    )
    file = tmp_path / "x.txt"
    file.write_text("kept in the store")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(file)],
        env=stack.native.environment("model-server"),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "s3://gauntlet/probe/x.txt"
    listed = {bucket: _keys(stack.native, bucket) for bucket in ("gauntlet", "mlflow")}
    assert "probe/x.txt" in listed["gauntlet"]
    assert any(key.endswith("probe/x.txt") for key in listed["mlflow"])


def _keys(native: Native, bucket: str) -> list[str]:
    import s3fs

    environment = native.environment("mlflow")
    files = s3fs.S3FileSystem(
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        skip_instance_cache=True,
    )
    return [str(key).removeprefix(f"{bucket}/") for key in files.find(bucket)]


@pytest.mark.airflow
def test_airflow_sends_its_metrics(stack: Stack) -> None:
    wait_for(lambda: "airflow.scheduler_heartbeat" in stack.statsd.names(), 60)


@pytest.mark.airflow
def test_a_real_prometheus_scrapes_what_its_file_names(stack: Stack, tmp_path: Path) -> None:
    tool = shutil.which("prometheus")
    if tool is None:
        pytest.skip("Prometheus is not installed (Debian package prometheus)")
    source = ROOT / "deploy" / "prometheus"
    shutil.copy(source / "rules.yml", tmp_path)
    port = stack.native.replace["localhost:9090"].rsplit(":", 1)[1]
    text = (source / "prometheus.yml").read_text().replace("15s", "1s").replace("30s", "1s").replace("20s", "1s")
    (tmp_path / "prometheus.yml").write_text(stack.native.mapped(text))
    command = [
        tool,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: _up(port, "model-server") and _up(port, "pipeline"), 40, (tmp_path / "log").read_text)
        rules = httpx.get(f"http://127.0.0.1:{port}/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
        wait_for(lambda: _firing(port, "Watchdog"), 30, (tmp_path / "log").read_text)
        assert not _firing(port, "ModelServerDown")
        assert _query(port, "gauntlet_canary_weight_ratio")[0]["metric"]["model"] == "credit_default"
    finally:
        process.terminate()
        process.wait(20)


def _query(port: str, expression: str) -> list[dict]:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": expression})
    except httpx.TransportError:
        return []
    return answer.json().get("data", {}).get("result", []) if answer.status_code == 200 else []


def _up(port: str, job: str) -> bool:
    found = _query(port, f'up{{job="{job}"}}')
    return bool(found) and found[0]["value"][1] == "1"


def _firing(port: str, alert: str) -> bool:
    return bool(_query(port, f'ALERTS{{alertname="{alert}", alertstate="firing"}}'))


@pytest.mark.airflow
def test_a_celery_worker_runs_a_task(stack: Stack, postgres_server) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("Redis is not installed (Debian package redis-server)")
    native = stack.native
    native.wait_healthy("airflow-scheduler", 60)
    native.stop_one("airflow-scheduler")
    native.start("redis")
    for name in CELERY:
        native.start(name)
    for name in CELERY:
        native.wait_healthy(name, 90)
    airflow(native, "dags", "unpause", "credit_default__drift_check")
    airflow(
        native, "dags", "trigger", "credit_default__drift_check", "--run-id", "by_celery", "-c", '{"reason": "a try"}'
    )
    log = native.folder / "airflow-worker.log"
    wait_for(lambda: _state(postgres_server, "open_run") in ("success", "failed"), 90, log.read_text)
    assert _state(postgres_server, "open_run") == "success"
    assert "celery" in (native.folder / "airflow-worker.log").read_text().lower()
    assert any(
        name.startswith("airflow.ti.finish.credit_default__drift_check.open_run") for name in stack.statsd.names()
    )


def airflow(native: Native, *arguments: str) -> None:
    done = subprocess.run(
        ["airflow", *arguments],
        env=native.environment("airflow-worker"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def _state(postgres_server, task: str) -> str:
    query = f"select state from task_instance where run_id = 'by_celery' and task_id = '{task}'"
    done = subprocess.run(
        ["psql", "-Atd", "airflow", "-c", query],
        env={**os.environ, **postgres_server.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


CREATE = """
import sys
from pathlib import Path
from gauntlet.bootstrap import services
running = services()
running.audit.append("restorer", "backup.tried", "credit_default", "a back-up", {"reason": "to see it again"})
running.blobs.put_file(Path(sys.argv[1]), "backup/x.txt")
run = running.registry.open_run("credit_default", "backed-up", {"kept": "yes"})
running.registry.log(run, artifacts={"backup": Path(sys.argv[1])})
"""
LOOK = """
import json
from gauntlet.bootstrap import services
from gauntlet.core.digest import sha256_bytes
from gauntlet.stages.verify_audit import verify_audit
running = services()
kept = running.blobs.fetch("s3://gauntlet/backup/x.txt", sha256_bytes(b"worth keeping"))
print(json.dumps({
    "entries": [entry.digest for entry in running.audit.entries()],
    "unbroken": not verify_audit(running),
    "blob": kept.read_text(),
    "run": running.registry.open_run("credit_default", "backed-up", {}),
}))
"""


@pytest.mark.airflow
def test_what_is_backed_up_wiped_and_restored_is_as_before(stack: Stack, postgres_server, tmp_path: Path) -> None:
    native = stack.native
    native.wait_healthy("mlflow", 60)
    state = native.folder / "gauntlet"
    (state / "reports").mkdir(exist_ok=True)
    (state / "reports" / "kept.html").write_text("<p>a report</p>")
    file = tmp_path / "x.txt"
    file.write_text("worth keeping")
    inside(native, CREATE, str(file))
    before = json.loads(inside(native, LOOK))
    assert before["unbroken"]
    assert before["entries"]
    stopped = [name for name in native.running if name not in ("objects", "redis")]
    for name in stopped:
        native.stop_one(name)

    backup = tmp_path / "backup"
    assert script(native, postgres_server, "backup.sh", str(backup)).returncode == 0
    assert script(native, postgres_server, "backup.sh", str(backup)).returncode == 2, "a back-up is never overwritten"
    psql = {**os.environ, **postgres_server.environment}
    for name in ("gauntlet", "mlflow", "airflow"):
        subprocess.run(["psql", "-qc", f"DROP DATABASE {name} WITH (FORCE)"], env=psql, check=True, capture_output=True)
    shutil.rmtree(state)
    state.mkdir()
    _wipe(native)

    assert script(native, postgres_server, "restore.sh", str(backup)).returncode == 2, "needs --replace"
    damaged = tmp_path / "damaged"
    shutil.copytree(backup, damaged)
    with (damaged / "state.tar").open("ab") as tar:
        tar.write(b"x")
    assert script(native, postgres_server, "restore.sh", str(damaged), "--replace").returncode == 1
    assert not list(state.iterdir()), "nothing is touched by a damaged back-up"
    done = script(native, postgres_server, "restore.sh", str(backup), "--replace")
    assert done.returncode == 0, done.stderr

    for name in ("mlflow", "model-server"):
        native.start(name)
        native.wait_healthy(name, 120)
    after = json.loads(inside(native, LOOK))
    # What the services wrote between the look and their stop is there too, never less.
    assert after["entries"][: len(before["entries"])] == before["entries"]
    assert {**after, "entries": None} == {**before, "entries": None}
    assert (state / "reports" / "kept.html").read_text() == "<p>a report</p>"
    assert any(key.endswith("backup/x.txt") for key in _keys(native, "mlflow"))
    query = ["psql", "-Atd", "airflow", "-c", "select count(*) from dag"]
    assert int(subprocess.run(query, env=psql, check=True, capture_output=True).stdout) > 0


def inside(native: Native, source: str, *arguments: str) -> str:
    """The last line a script prints in the model server's container."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source, *arguments],
        env=native.environment("model-server"),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return (done.stdout.strip().splitlines() or [""])[-1]


def script(native: Native, postgres_server, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of deploy's scripts with its commands run here instead of in containers."""
    environment = {
        **native.environment("model-server"),
        **postgres_server.environment,
        "IN_POSTGRES": "",
        "IN_SERVICE": "",
        "STATE": str(native.folder / "gauntlet"),
    }
    return subprocess.run(
        ["bash", str(ROOT / "deploy" / name), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def _wipe(native: Native) -> None:
    import s3fs

    environment = native.environment("mlflow")
    files = s3fs.S3FileSystem(
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        skip_instance_cache=True,
    )
    for bucket in ("gauntlet", "mlflow"):
        files.rm(bucket, recursive=True)
