"""``gauntlet rollback`` as a person types it: a real model server under requests, MLflow taken away, no Airflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from tests.processes import free_port, wait_for
from tests.serving.servers import ENTITY, MODEL, train, write_release

from gauntlet.bootstrap import build
from gauntlet.core.ledger import Change
from gauntlet.core.ports import Services
from gauntlet.core.records.ledger import CandidateState, RollbackReport, Transition
from gauntlet.core.records.rollout import PPM, ServedVersion
from gauntlet.settings import Settings
from gauntlet.stages.aliases import project_aliases
from gauntlet.stages.releases import served

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "include/models/credit_default.yaml"
LIMIT_S = 5.0


@dataclass
class Installation:
    """One home, its model server and its MLflow server, both real and in processes of their own."""

    services: Services
    settings: Settings
    environment: dict[str, str]
    mlflow: subprocess.Popen[bytes]
    port: int
    rows: list[dict[str, Any]]

    def crown(self, folder: Path, version_id: str) -> ServedVersion:
        """Make a release champion the way a promotion does."""
        running = self.services
        release = write_release(folder, train(int(version_id[-1]), numeric=2), version_id, model=MODEL)
        uri = running.blobs.put_folder(folder, f"releases/{MODEL}/{release.digest}")
        release = release.model_copy(update={"uri": uri})
        run = running.registry.open_run(MODEL, f"{MODEL}/{version_id}", {})
        registered = running.registry.register(MODEL, run, release, folder, {})
        running.records.put(f"{MODEL}/{version_id}", registered)
        version = served(registered)
        running.server.prepare(MODEL, release)
        said: dict[str, Any] = {"model": MODEL, "actor": "test", "reason": "crowned"}
        row = running.routing.read(MODEL)
        if row.stable is not None:
            lease = datetime.now(UTC) + timedelta(hours=1)
            canary = {"canary": version, "weight_ppm": PPM, "rollout": version_id, "lease_until": lease, "salt": "s"}
            row = running.routing.swap(
                row.model_copy(update=canary), expected_epoch=row.epoch, actor="test", action="ramp", reason="crowned"
            )
            state = CandidateState
            event = Transition(
                candidate=release.digest, version=version, before=state.CANARY, after=state.PROMOTING, **said
            )
            running.ledger.commit(Change(action="promotion", transitions=(event,), **said))
        gone = {"canary": None, "weight_ppm": 0, "rollout": None, "lease_until": None}
        row = running.ledger.commit(
            Change(
                action="promotion",
                routing=row.model_copy(update={**gone, "stable": version, "previous": row.stable}),
                routing_epoch=row.epoch,
                champion_epoch=running.ledger.champion(MODEL).epoch,
                **said,
            )
        )
        running.server.apply(row, 30)
        project_aliases(running, MODEL)
        return version

    def command(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``gauntlet``."""
        return subprocess.run(
            [sys.executable, "-m", "gauntlet.cli", *words],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def installation(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home, models = Path("/tmp") / f"gl-{os.getpid()}", tmp_path / "models"  # a Unix socket's path is short
    models.mkdir()
    text = SHIPPED.read_text().replace("model: credit_default", f"model: {MODEL}")
    (models / f"{MODEL}.yaml").write_text(text.replace("entity: customer_id", f"entity: {ENTITY}"))
    port = free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "GAUNTLET", "MLFLOW"))
    } | {
        "GAUNTLET_HOME": str(home),
        "GAUNTLET_MODELS": str(models),
        "GAUNTLET_MLFLOW_URL": f"http://127.0.0.1:{port}",
        "PYTHONPATH": str(ROOT / "include"),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = (tmp_path / "log").open("wb")
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", *words]
        started.append(
            subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
        )
        return started[-1]

    try:
        mlflow = start(
            *("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"),
            *("--artifacts-destination", str(tmp_path / "artifacts")),
        )
        start("gauntlet.cli", "serve", "--port", "0", "--workers", "2")
        address = wait_for(lambda: _read(home / "server" / "address.json"), 90)
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/health").is_success, 120)
        settings = Settings(home=home, models=models, mlflow_url=f"http://127.0.0.1:{port}")
        rows = [{**row, ENTITY: f"c{n}"} for n, row in enumerate(train(1, numeric=2).rows[:50])]
        yield Installation(build(settings), settings, environment, mlflow, address["port"], rows)
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)
        log.close()
        subprocess.run(["rm", "-rf", str(home)], check=True)


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


class Asking(Thread):
    """Asks for predictions until stopped, and notes when which version answered."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(daemon=True)
        self.url = f"http://127.0.0.1:{installation.port}/v1/models/{MODEL}/predict"
        self.rows, self.over, self.answers = installation.rows, Event(), list[tuple[float, str]]()

    def run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self.over.is_set():
                response = client.post(self.url, json={"row": self.rows[len(self.answers) % len(self.rows)]})
                version = response.json()["version_id"] if response.is_success else f"status {response.status_code}"
                self.answers.append((time.time(), version))
                self.over.wait(0.005)

    def wait_for(self, version: str) -> None:
        """Until this version has answered."""
        there: Callable[[], bool] = lambda: bool(self.answers) and self.answers[-1][1] == version  # noqa: E731
        wait_for(there, 30)

    def stop(self) -> None:
        self.over.set()
        self.join(30)


@pytest.mark.filterwarnings("ignore")
def test_traffic_is_back_within_five_seconds_with_mlflow_and_airflow_down(
    installation: Installation, tmp_path: Path
) -> None:
    installation.crown(tmp_path / "one", "v_1")
    installation.crown(tmp_path / "two", "v_2")
    assert installation.services.registry.aliases(MODEL) == {"previous": 1, "champion": 2}
    os.killpg(installation.mlflow.pid, signal.SIGKILL)
    installation.mlflow.wait(30)
    asking = Asking(installation)
    asking.start()
    asking.wait_for("v_2")
    began = time.time()
    done = installation.command("rollback", MODEL, "--reason", "complaints", "--json")
    asking.wait_for("v_1")
    asking.stop()

    assert done.returncode == 0, done.stderr
    report = RollbackReport.model_validate_json(done.stdout)
    assert (report.offender.version_id, report.restored.version_id, report.servers) == ("v_2", "v_1", 2)
    assert report.registry.startswith("aliases are left to the reconciler")
    assert report.seconds < LIMIT_S
    last_bad = max(at for at, version in asking.answers if version == "v_2")
    assert last_bad - began < LIMIT_S
    assert {version for _, version in asking.answers} == {"v_1", "v_2"}, "no request failed"
    assert report.last_served_at is None or report.last_served_at.timestamp() == pytest.approx(last_bad, abs=1.0)
    # The model server has begun it, before the command's own imports: one rollback, one entry each.
    actions = [entry.action for entry in installation.services.audit.entries(MODEL)]
    assert actions.count("rollback.routing") == actions.count("rollback.done") == 1
    assert actions.count("record.RollbackConfirmed") == 1

    # A second one has nothing to return to, says so, and changes nothing.
    again = installation.command("rollback", MODEL, "--reason", "again")
    assert again.returncode == 1
    assert "nothing to return to: v2 (v_2): quarantined: complaints" in again.stderr.replace("\n", " ")
    assert installation.services.routing.read(MODEL).stable.version_id == "v_1"
