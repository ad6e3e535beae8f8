"""Six nights, played through the real scheduler and checked one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gauntlet.core.errors import GauntletError
from gauntlet.core.ports import Services
from gauntlet.core.records.run import run_name
from gauntlet.demo import facts as recorded
from gauntlet.demo.airflow_api import Airflow, DagRun, task_log, task_words
from gauntlet.demo.nights import Claim, Evidence, Night
from gauntlet.demo.screen import NightRow, Screen
from gauntlet.simulation.world import World

POLL_SECONDS = 0.4
LOOK_SECONDS = 1.5
"""Between two looks at single tasks, which cost the api-server more than the run's state."""
BUSY = frozenset({"queued", "running", "deferred", "up_for_retry", "up_for_reschedule"})
OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
KINDS = ("drift_check", "retrain", "canary")


class StoryFailed(GauntletError):
    """A night did not end as the story says, or did not end."""


@dataclass(frozen=True)
class Patience:
    """How long to wait: for the DAGs to be read, for an asset to start a run, for a run to end."""

    dags: float = 60.0
    asset: float = 45.0
    run: float = 240.0


@dataclass
class Story:
    """Plays nights against one running stack."""

    model: str
    world: World
    night_one: datetime
    airflow: Airflow
    airflow_home: Path
    services: Services
    screen: Screen
    check_stack: Callable[[], None]
    patience: Patience = Patience()

    def wait_for_dags(self) -> None:
        """Wait until Airflow has read the model's DAGs; a file that cannot be imported is named."""
        wanted = {self._dag(kind) for kind in KINDS}
        until = time.monotonic() + self.patience.dags
        missing = wanted
        while time.monotonic() < until:
            missing = wanted - set(self.airflow.dags())
            if not missing:
                return
            if errors := self.airflow.import_errors():
                raise StoryFailed("Airflow cannot import DAG files:\n" + "\n".join(errors))
            self._pause()
        raise StoryFailed(f"Airflow has not read {', '.join(sorted(missing))} after {self.patience.dags:.0f} s")

    def play(self, night: Night) -> NightRow:
        """Play one night; :class:`StoryFailed` names the night, what is not so, and the log to read."""
        began = time.monotonic()
        row = NightRow(night.number, night.title)
        self.screen.night(night.number, night.title, night.expectation)
        try:
            seen = self._happen(night, row)
        except GauntletError as error:
            row.seconds = time.monotonic() - began
            self.screen.night_over(row, failed=True)
            raise StoryFailed(f"night {night.number} ({night.title}): {self._cause(error)}") from error
        row.fill(seen)
        row.seconds = time.monotonic() - began
        broken = [claim for claim in night.check(seen) if not claim.holds]
        self.screen.night_over(row, failed=bool(broken))
        if broken:
            raise StoryFailed(self._complaint(night, seen, broken))
        return row

    def _happen(self, night: Night, row: NightRow) -> Evidence:
        as_of = self.night_one + timedelta(days=night.number - 1)
        before = recorded.champion(self.services, self.model)
        known = {run.run_id for kind in KINDS for run in self.airflow.runs(self._dag(kind))}
        row.timed("world", lambda: self.world.advance(as_of))
        drift = None
        if night.drift_first:
            drift_run = self._run_by_hand("drift_check", night, as_of, row)
            drift = recorded.retrain_facts(self.services, self.model, run_name(drift_run.dag_id, drift_run.run_id))
            retrain = self._finish(self._started_by_asset("retrain", known), row)
        else:
            retrain = self._run_by_hand("retrain", night, as_of, row)
        facts = recorded.retrain_facts(self.services, self.model, retrain.run_id)
        canary = None
        if night.canary and retrain.state == "success" and facts.registered is not None:
            canary = self._finish(self._started_by_asset("canary", known), row)
        return Evidence(
            champion_before=before,
            champion_after=recorded.champion(self.services, self.model),
            retrain=retrain,
            tasks=self.airflow.tasks(retrain.dag_id, retrain.run_id),
            facts=facts,
            drift=drift,
            canary=canary,
            canary_tasks=self.airflow.tasks(canary.dag_id, canary.run_id) if canary else None,
            rollout=recorded.rollout_state(self.services, self.model, canary.run_id) if canary else None,
            quarantined=frozenset(recorded.quarantined(self.services, self.model)),
        )

    def _run_by_hand(self, kind: str, night: Night, as_of: datetime, row: NightRow) -> DagRun:
        params = {"reason": night.reason, "as_of": as_of.isoformat(), "force_retrain": night.force}
        return self._finish(self.airflow.trigger(self._dag(kind), as_of, params), row)

    def _started_by_asset(self, kind: str, known: set[str]) -> DagRun:
        dag_id = self._dag(kind)
        until = time.monotonic() + self.patience.asset
        while time.monotonic() < until:
            for run in self.airflow.runs(dag_id):
                if run.run_id not in known:
                    return run
            self.screen.now(f"waiting for the asset to start {dag_id}")
            self._pause()
        raise StoryFailed(f"no asset event has started {dag_id} within {self.patience.asset:.0f} s")

    def _finish(self, run: DagRun, row: NightRow) -> DagRun:
        began = looked = time.monotonic()
        self.screen.now(f"{run.dag_id}: scheduling")
        while not run.over:
            self._pause()
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                self.screen.now(f"{run.dag_id}: {self._running(run)}")
            run = self.airflow.run(run.dag_id, run.run_id)
            if not run.over and time.monotonic() - began > self.patience.run:
                raise StoryFailed(
                    f"{run.dag_id} has not ended after {self.patience.run:.0f} s: {self._running(run)}{self._broken()}"
                )
        row.stages[run.dag_id.removeprefix(f"{self.model}__")] = time.monotonic() - began
        return run

    def _running(self, run: DagRun) -> str:
        tasks = self.airflow.tasks(run.dag_id, run.run_id)
        busy = {name.split(".")[0] for name, state in tasks.items() if state in BUSY}
        done = sum(state in OVER for state in tasks.values())
        return f"{', '.join(sorted(busy)) or 'scheduling'} ({done} of {len(tasks)} tasks done)"

    def _broken(self) -> str:
        """Why Airflow may have stopped scheduling a DAG: its file or its spec can no longer be read."""
        broken = [dag_id for dag_id in self.airflow.dags() if dag_id.endswith("__broken_spec")]
        found = [*self.airflow.import_errors(), *(f"{dag_id} is among the DAGs" for dag_id in broken)]
        return "".join(f"\n  {line}" for line in found)

    def _pause(self) -> None:
        self.check_stack()
        time.sleep(POLL_SECONDS)

    def _dag(self, kind: str) -> str:
        return f"{self.model}__{kind}"

    def _cause(self, error: GauntletError) -> GauntletError:
        """A process that has ended explains why nobody answered."""
        try:
            self.check_stack()
        except GauntletError as ended:
            return ended
        return error

    def _complaint(self, night: Night, seen: Evidence, broken: list[Claim]) -> str:
        lines = [f"night {night.number} ({night.title}) did not end as it should: {night.expectation}"]
        lines += [f"  - {claim.sentence} (look at {claim.task})" for claim in broken]
        kind, _, task = broken[0].task.partition("/")
        run = {"retrain": seen.retrain, "canary": seen.canary}.get(kind)
        if run and (log := task_log(self.airflow_home, run, task)):
            lines.append(f"Read {log}; its end:\n{task_words(log)}")
        else:
            lines.append(f"Read the logs of {kind}/{task} under {self.airflow_home / 'logs'}")
        return "\n".join(lines)
