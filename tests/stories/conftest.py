"""A lender's installation without Airflow: the real store, MLflow, trainer, model server and live traffic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.processes import free_port, wait_for_answer
from tests.stories.nightly import retrain

from gauntlet.bootstrap import build
from gauntlet.core.ports import Services
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision
from gauntlet.demo.overlay import write_spec
from gauntlet.settings import Settings
from gauntlet.simulation.events import story
from gauntlet.simulation.world import World

ROOT = Path(__file__).parents[2]
MODEL = "credit_default"
SCENARIO = story()
NIGHT_ONE = datetime.fromisoformat("2026-03-02T01:00:00+00:00")
RATE = 60


@dataclass
class Lender:
    """The pipeline of one model, night by night."""

    services: Services
    world: World
    settings: Settings
    tripped: dict[str, Exception] = field(default_factory=dict)

    def night(self, number: int, *, reason: str, force: bool = False, run_type: str = "scheduled") -> RunContext:
        """Let the warehouse catch up and open the night's run."""
        from gauntlet.stages.open_run import open_run

        as_of = NIGHT_ONE + timedelta(days=number - 1)
        self.world.advance(as_of)
        return open_run(
            self.services,
            MODEL,
            f"night_{number}",
            run_type=run_type,
            logical_date=as_of,
            run_after=as_of,
            params={"reason": reason, "force_retrain": force},
            requested_by="story",
            ahead=timedelta(days=3650),  # the world's time is not this machine's
        )

    def decide(self, run: RunContext) -> TriggerDecision:
        """Drift check and decision."""
        from gauntlet.stages.check_drift import check_drift
        from gauntlet.stages.decide import decide

        check_drift(self.services, run)
        return decide(self.services, run)

    def retrain(self, run: RunContext) -> list[str]:
        """Everything from the pull to the registration; the gates that failed, in order."""
        return retrain(self.services, run)

    def canary(self, number: int) -> RolloutState:
        """The newest challenger's rollout on live traffic, as the canary DAG runs it, teardown included."""
        from gauntlet.stages.close_rollout import close_rollout
        from gauntlet.stages.open_rollout import open_rollout
        from gauntlet.stages.open_run import open_run
        from gauntlet.stages.preflight import preflight
        from gauntlet.stages.promote import promote
        from gauntlet.stages.tick import tick

        spec = self.services.specs.get(MODEL)
        now = self.services.clock.now()
        run = open_run(
            self.services,
            MODEL,
            f"canary_{number}",
            run_type="asset_triggered",
            logical_date=None,
            run_after=now,
            params={},
            requested_by="story",
        )
        state = open_rollout(self.services, run)
        try:
            preflight(self.services, run)
            for step in range(len(spec.rollout.steps)) if state.stable else ():
                while not tick(self.services, run, step).step_done(step):
                    time.sleep(spec.rollout.tick.total_seconds())
            promote(self.services, run)
        finally:
            close_rollout(self.services, run)
        return self.services.records.get(run.key, RolloutState)

    @property
    def champion(self) -> int | None:
        """The version that has all traffic."""
        routing = self.services.routing.read(MODEL)
        return routing.stable.version if routing.stable else None

    def wants_retrain(self, run: RunContext) -> bool:
        """Whether the night's recorded decision asks for a retrain."""
        return self.services.records.get(run.key, TriggerDecision).action is TriggerAction.RETRAIN


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lender]:
    """One lender for the six nights of a module."""
    home = tmp_path_factory.mktemp("lender")
    port = free_port()
    settings = Settings(
        home=home / "g",
        models=home / "models",
        mlflow_url=f"sqlite:///{home}/mlflow.db",
        server_url=f"http://127.0.0.1:{port}",
        database_url=None,
        blobs_url=None,
        server_token=None,
        server_admin=f"unix:{home}/admin.sock",
    )
    write_spec(ROOT / "include/models/credit_default.yaml", home / "models/credit_default.yaml")
    os.environ["CREDIT_DEFAULT_DATA"] = str(home / "warehouse")
    environment = {
        **os.environ,
        "GAUNTLET_HOME": str(settings.home),
        "GAUNTLET_MODELS": str(settings.models),
        "GAUNTLET_SERVER_ADMIN": settings.admin,
    }
    world = World(home / "warehouse", SCENARIO)
    world.advance(NIGHT_ONE)
    serve = [sys.executable, "-m", "gauntlet.cli", "serve", "--port", str(port)]
    traffic = [sys.executable, "-m", "gauntlet.simulation.traffic", "--url", settings.server_url, "--rate", str(RATE)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in (("server", serve), ("traffic", [*traffic, "--world", str(world.folder)])):
            with (home / f"{name}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
                )
            if name == "server":
                wait_for_answer(f"{settings.server_url}/livez", running[0], home / "server.log")
        yield Lender(build(settings), world, settings)
    finally:
        for process in reversed(running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(20)
        os.environ.pop("CREDIT_DEFAULT_DATA", None)
