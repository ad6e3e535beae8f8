"""Recalibration and threshold change from Airflow's form to the live server: served where they win, refused else."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.demo.logs import leaks, logs_of

from gauntlet.bootstrap import build
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.records.gates import GateReceipt
from gauntlet.core.records.model import Derivation, DerivationKind, ModelSidecar
from gauntlet.core.records.rollout import RolloutState, ServedVersion
from gauntlet.core.records.run import run_name
from gauntlet.demo.airflow_api import Airflow, DagRun
from gauntlet.demo.airflow_env import load_secrets
from gauntlet.demo.components import components
from gauntlet.demo.layout import DATA_VARIABLE, MODEL, PER_DAY, USUAL_PORTS, Layout
from gauntlet.demo.nights import NIGHTS
from gauntlet.demo.overlay import merged, write_spec
from gauntlet.demo.ports import choose
from gauntlet.demo.screen import Screen
from gauntlet.demo.stack import Stack
from gauntlet.demo.story import Story
from gauntlet.simulation.events import NIGHT_ONE
from gauntlet.simulation.events import story as scenario_of
from gauntlet.simulation.world import World, live_rows

pytestmark = [pytest.mark.airflow, pytest.mark.soak, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]
BAD, GOOD = 0.6, 0.15
"""Thresholds inside the approved band: nearly everybody is lent to, and about as many as pays."""


@dataclass
class Installation:
    """A running stack with a champion that decides by a threshold that is far too high."""

    story: Story
    layout: Layout

    def play(self, kind: str, night: int, params: dict[str, Any]) -> tuple[DagRun, dict[str, str]]:
        """Trigger a manual DAG as its form does, and wait for its end."""
        as_of = NIGHT_ONE + timedelta(days=night - 1)
        self.story.world.advance(as_of)
        run = self.story.airflow.trigger(
            f"{MODEL}__{kind}", datetime.now(NIGHT_ONE.tzinfo), params | {"as_of": as_of.isoformat()}
        )
        return self.ended(run), self.story.airflow.tasks(run.dag_id, run.run_id)

    def ended(self, run: DagRun) -> DagRun:
        until = time.monotonic() + 300
        while not run.over:
            self.story.check_stack()
            assert time.monotonic() < until, f"{run.dag_id}: {self.story.airflow.tasks(run.dag_id, run.run_id)}"
            time.sleep(0.5)
            run = self.story.airflow.run(run.dag_id, run.run_id)
        return run

    def canary(self, known: set[str]) -> RolloutState:
        """The rollout that the registration has started by its asset."""
        until = time.monotonic() + 60
        while not (new := [run for run in self.story.airflow.runs(f"{MODEL}__canary") if run.run_id not in known]):
            assert time.monotonic() < until, "no asset event has started the canary"
            time.sleep(0.5)
        done = self.ended(new[0])
        state = self.story.services.records.get(f"{MODEL}/{run_name(done.dag_id, done.run_id)}", RolloutState)
        assert done.state == "success", state.reason
        return state

    def canaries(self) -> set[str]:
        return {run.run_id for run in self.story.airflow.runs(f"{MODEL}__canary")}

    @property
    def champion(self) -> ServedVersion:
        stable = self.story.services.routing.read(MODEL).stable
        assert stable is not None
        return stable

    @property
    def sidecar(self) -> ModelSidecar:
        """What the champion's release says beside its trees."""
        folder = self.story.services.blobs.fetch_folder(self.champion.release_uri, self.champion.release_digest)
        return ModelSidecar.model_validate_json((folder / "sidecar.json").read_bytes())

    def answers(self, count: int = 200) -> list[dict[str, Any]]:
        """What the live server says to some applications."""
        rows = live_rows(self.story.world.scenario, self.story.services.clock.now(), count)
        request = urllib.request.Request(
            f"{self.layout.url('server')}/v1/models/{MODEL}/predict",
            json.dumps({"rows": rows}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answered: list[dict[str, Any]] = json.load(response)["predictions"]
        return answered

    def refusals(self, run: DagRun) -> set[str]:
        """The gates that did not let the candidate through."""
        receipts = self.story.services.records.named(f"{MODEL}/{run_name(run.dag_id, run.run_id)}", GateReceipt)
        return {gate for gate, receipt in receipts.items() if not receipt.satisfied}

    def derivation(self) -> Derivation:
        """How the champion came about."""
        found = self.story.services.records.newest(MODEL, Derivation, limit=20)
        return next(one for one in found if one.release == self.champion.release_digest)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("derived")
    layout = Layout(home, choose(USUAL_PORTS)[0])
    for folder in (layout.logs, home / "mlflow", layout.settings.home):
        folder.mkdir(parents=True, exist_ok=True)
    path = layout.models / f"{MODEL}.yaml"
    write_spec(layout.root / "include/models" / f"{MODEL}.yaml", path)
    banded = {"training": {"threshold": BAD, "threshold_band": [0.05, BAD]}}
    path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), banded), sort_keys=False))
    world = World(layout.world, scenario_of(NIGHT_ONE, PER_DAY))
    world.advance(NIGHT_ONE)
    keys = load_secrets(layout.airflow.home)
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = str(layout.world)
    stack = Stack(home, layout.ports, lambda _: None)
    airflow = Airflow(layout.url("airflow"), keys.password)
    try:
        stack.start(components(layout), layout.environment(keys), layout.logs)
        with Screen() as screen:
            story = Story(
                model=MODEL,
                world=world,
                night_one=NIGHT_ONE,
                airflow=airflow,
                airflow_home=layout.airflow.home,
                services=build(layout.settings),
                screen=screen,
                check_stack=stack.check,
            )
            story.wait_for_dags()
            story.play(NIGHTS[0])
            yield Installation(story, layout)
    finally:
        airflow.close()
        stack.stop()
        os.environ.pop(DATA_VARIABLE) if before is None else os.environ.__setitem__(DATA_VARIABLE, before)


def test_the_form_takes_no_threshold_outside_the_band_and_nothing_without_a_reason(installation: Installation) -> None:
    first = installation.champion
    for params in ({"threshold": 0.9, "reason": "lend to everybody"}, {"threshold": 0.2}, {"reason": "no threshold"}):
        with pytest.raises(InfrastructureError, match=r": 4\d\d: "):
            installation.play("set_threshold", 2, params)
    assert installation.champion == first
    assert installation.story.airflow.runs(f"{MODEL}__set_threshold") == []


def test_a_threshold_that_earns_more_goes_through_gates_and_canary_and_serves(installation: Installation) -> None:
    first, known = installation.champion, installation.canaries()
    assert {one["decision"] for one in installation.answers() if one["score"] < BAD} == {0}
    params = {"threshold": GOOD, "reason": "too many defaults get a loan"}
    run, tasks = installation.play("set_threshold", 2, params)
    assert run.state == "success", installation.refusals(run)
    assert {state for task, state in tasks.items() if task.startswith("gates.")} == {"success"}
    installation.canary(known)
    made = installation.derivation()
    assert (made.kind, made.source, made.threshold) == (DerivationKind.THRESHOLD, first.release_digest, GOOD)
    assert (made.reason, made.by) == (params["reason"], "admin")
    for one in installation.answers():
        assert one["version"] == installation.champion.version == first.version + 1
        assert one["decision"] == int(one["score"] >= GOOD)


def test_a_threshold_that_earns_less_is_refused_by_a_gate_and_changes_nothing(installation: Installation) -> None:
    champion, known = installation.champion, installation.canaries()
    run, tasks = installation.play("set_threshold", 2, {"threshold": BAD, "reason": "as it was before"})
    assert run.state == "failed"
    assert installation.refusals(run) == {"versus_champion"}
    assert tasks["gates.versus_champion"] == "failed"
    assert tasks["register_challenger"] == "upstream_failed"
    assert installation.champion == champion
    assert installation.canaries() == known


def test_a_recalibration_brings_the_level_of_the_live_scores_back(installation: Installation) -> None:
    """A third of the defaults have turned out paid: the champion ranks as before and says too much."""
    champion, before = installation.champion, installation.sidecar
    said = installation.answers(1000)
    for file in sorted(installation.layout.world.glob("*.parquet")):
        table = pq.read_table(file)
        lucky = [(value == 1 and place % 3 == 0) for place, value in enumerate(table["defaulted"].to_pylist())]
        paid = pa.array([
            0 if free else value for free, value in zip(lucky, table["defaulted"].to_pylist(), strict=True)
        ])
        place = table.column_names.index("defaulted")
        pq.write_table(table.set_column(place, "defaulted", paid.cast(table.schema.field("defaulted").type)), file)
    known = installation.canaries()
    run, _ = installation.play("recalibrate", 2, {"reason": "the level is off since the moratorium"})
    assert run.state == "success", installation.refusals(run)
    installation.canary(known)
    made, after = installation.derivation(), installation.sidecar
    assert (made.kind, made.source) == (DerivationKind.CALIBRATION, champion.release_digest)
    assert (after.tree_digest, after.threshold) == (before.tree_digest, before.threshold)
    assert after.calibration != before.calibration
    now = installation.answers(1000)
    assert {one["version"] for one in now} == {champion.version + 1}
    ratio = sum(one["score"] for one in now) / sum(one["score"] for one in said)
    assert 0.5 < ratio < 0.85


def test_no_log_of_any_component_names_a_customer_or_a_secret(installation: Installation) -> None:
    """Airflow's own logs among them: of the scheduler, the api-server and every task."""
    names = {path.name for path in logs_of(installation.layout.home)}
    assert {"airflow-scheduler.log", "airflow-api-server.log", "model-server.log"} <= names
    assert any("derive" in str(path) for path in logs_of(installation.layout.home))
    assert leaks(installation.layout.home) == []
