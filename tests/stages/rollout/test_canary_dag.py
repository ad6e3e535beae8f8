"""The canary's own DAG file in Airflow's own engine: every stage a task that waits as a deferred one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from gauntlet import pipeline
from gauntlet.core.records.rollout import RolloutPhase, RolloutState

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("airflow_database"),
]

ROOT = Path(__file__).parents[3]
STAGES = ["shadow", "step_1_5_percent", "step_2_50_percent", "step_3_100_percent"]

WHY = {"reason": "to be seen in Airflow"}


@pytest.fixture
def dag(make_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, list[int]]:
    """The canary DAG of a world in which every look comes a second after the last, with traffic in between."""
    from airflow.dag_processing.dagbag import DagBag

    world = make_world(shadow={"hold": "2s", "requests": 50}, tick="200ms")
    world.champion()
    world.challenger()
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "loans.yaml").write_text(
        yaml.safe_dump(world.spec.model_dump(mode="json", exclude_none=True), sort_keys=False)
    )
    monkeypatch.setitem(os.environ, "GAUNTLET_MODELS", str(folder))
    monkeypatch.setattr(pipeline, "_services", lambda: world.services)
    looks: list[int] = []
    real = pipeline.tick

    def tick(run: Any, step: int) -> RolloutState:
        looks.append(step)
        world.clock.wait(1)
        if world.server.routing.canary is not None:
            world.traffic(200, **world.kind)
        return real(run, step)

    world.kind = {}
    monkeypatch.setattr(pipeline, "tick", tick)
    found = DagBag(str(ROOT / "dags" / "canary.py"))
    assert not found.import_errors
    return found.dags["loans__canary"], world, looks


def states(done: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in done.get_task_instances()}


def test_every_stage_is_a_task_that_waits_in_the_triggerer(dag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gauntlet.orchestration.triggers import NextTick

    fired, run = 0, NextTick.run

    async def counted(self: NextTick) -> Any:
        nonlocal fired
        fired += 1
        async for event in run(self):
            yield event

    monkeypatch.setattr(NextTick, "run", counted)
    canary, world, looks = dag
    done = canary.test(logical_date=None, run_conf=WHY, mark_success_pattern="promote|close_rollout")
    ended = states(done)
    assert {ended[stage] for stage in STAGES} == {"success"}, ended
    assert looks == sorted(looks)
    assert all(looks.count(step) >= 2 for step in (-1, 0, 1, 2))
    (state,) = world.store.records.newest("loans", RolloutState)
    assert state.phase is RolloutPhase.BAKE
    assert world.routing.weight_ppm == 1_000_000
    # A look ends by deferring: that a stage was looked at again means that a trigger has fired for it.
    assert fired == len(looks) - len(STAGES)


def test_a_challenger_that_fails_ends_the_run_red_and_returns_the_traffic(dag: Any) -> None:
    canary, world, _ = dag
    world.kind = {"live": {"id2": lambda x: 0.05 + 0.5 * (x > 0.2)}}
    done = canary.test(logical_date=None, run_conf=WHY)
    ended = states(done)
    assert str(done.state) == "failed"
    assert ended["shadow"] == "failed"
    assert ended["step_1_5_percent"] == "upstream_failed"
    assert ended["close_rollout"] == "success"
    assert world.routing.canary is None
